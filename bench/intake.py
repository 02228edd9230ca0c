"""Posts: Postback, the FastAPI baseline and a bare ASGI answer take turns under the same load.

Before each turn both databases are emptied, so that the faster side does not pay for having stored more. After each
turn the rows are counted: an answer without a row stops the benchmark.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from bench import database, load, resources, serve
from bench.load import BATCH, Figures, Target
from bench.plan import Plan
from bench.process import BenchError, Program, free_port, module, progress, running, surroundings, uvicorn
from bench.report import Report
from postback.db.embedded import Embedded

POSTBACK, BASELINE, BARE = "Postback", "FastAPI baseline", "bare ASGI answer"
BASELINE_DATABASE, BASELINE_KEY = "baseline", "pb_live_baseline"
BATCH_CONNECTIONS = 16
MOST_RSS_MB = 200


@dataclass
class Side:
    """One program under load. `table` is where its events are counted, None: it stores none."""

    name: str
    program: Program
    single: Target
    batch: Target
    deployment: serve.Deployment | None = None
    database: str | None = None
    server: Embedded | None = None
    singles: dict[int, Figures] = field(default_factory=dict)

    async def empty(self) -> None:
        if self.server and self.database:
            await database.empty(self.server, self.database)

    async def stored(self) -> int | None:
        if self.deployment:
            return await self.deployment.stored()
        if self.server and self.database:
            return int(await database.number(self.server, self.database, "SELECT count(*) FROM dedup"))
        return None


@asynccontextmanager
async def postback(deployment: serve.Deployment) -> AsyncGenerator[Side]:
    async with serve.api(deployment) as (program, port):
        target = deployment.target(port)
        yield Side(POSTBACK, program, target, target, deployment, deployment.database, deployment.server)


@asynccontextmanager
async def baseline(server: Embedded) -> AsyncGenerator[Side]:
    await database.make(server, BASELINE_DATABASE)
    await database.make_tables(server, BASELINE_DATABASE)
    port = free_port()
    extra = {"BASELINE_DSN": database.dsn(server, BASELINE_DATABASE), "BASELINE_KEY": BASELINE_KEY}
    async with running("baseline", uvicorn("bench.baseline:app", port), surroundings(extra)) as program:
        await program.until_listening(port)
        single, batch = Target(port, "/events", BASELINE_KEY), Target(port, "/batch", BASELINE_KEY)
        yield Side(BASELINE, program, single, batch, None, BASELINE_DATABASE, server)


@asynccontextmanager
async def bare() -> AsyncGenerator[Side]:
    port = free_port()
    async with running("bare", uvicorn("bench.bare:app", port)) as program:
        await program.until_listening(port)
        target = Target(port, "/", "none")
        yield Side(BARE, program, target, target)


@asynccontextmanager
async def sink() -> AsyncGenerator[int]:
    """The platform that takes everything; gives its port."""
    port = free_port()
    async with running("sink", module("bench.sink", str(port)), stop_seconds=5) as program:
        await program.until_listening(port)
        yield port


async def measure(report: Report, plan: Plan, server: Embedded) -> float:
    """Fills the report; gives the rate of Postback's single posts at 64 connections."""
    async with AsyncExitStack() as stack:
        sink_port = await stack.enter_async_context(sink())
        three = [serve.meta(sink_port), serve.ga4(sink_port), serve.webhook(sink_port)]
        deployment = await serve.install(server, "intake", three)
        ours = await stack.enter_async_context(postback(deployment))
        theirs = await stack.enter_async_context(baseline(server))
        sides = [ours, theirs, await stack.enter_async_context(bare())]
        for connections in (1, 64, 256):
            rounds = plan.rounds if connections == 64 else plan.other_rounds
            results = await take_turns(sides, plan, rounds, connections=connections)
            for side in sides:
                side.singles[connections] = results[side.name]
                measure_name = (
                    f"posts of one event, {connections} {'connection' if connections == 1 else 'connections'}"
                )
                row = report.add_rate(measure_name, side.name, results[side.name])
                rate = results[POSTBACK].per_second
                if side is ours and connections == 64:
                    row.at_least(rate / results[BASELINE].per_second, 6, "the baseline")
                if side is ours and connections > 1:
                    row.at_least(rate / results[BARE].per_second, 0.25, "the bare answer", percent=True)
        results = await take_turns(sides, plan, plan.rounds, connections=BATCH_CONNECTIONS, batch=BATCH)
        for side in sides:
            name = f"posts of {BATCH} events, {BATCH_CONNECTIONS} connections"
            row = report.add_rate(
                name, side.name + (" with a batch endpoint" if side is theirs else ""), results[side.name]
            )
            if side is ours:
                rate = results[POSTBACK].per_second
                row.at_least(rate / theirs.singles[64].per_second, 20, "the baseline's single posts")
                row.at_least(rate / results[BASELINE].per_second, 2, "the baseline's batches")
        await _with_goals(report, plan, ours, deployment)
        await _with_worker(report, plan, ours, deployment)
        _memory(report, sides)
        rate = ours.singles[64].per_second
    # What is left of them would be vacuumed beside the next parts.
    for name in (deployment.database, BASELINE_DATABASE):
        await database.drop(server, name)
    return rate


async def take_turns(
    sides: Sequence[Side], plan: Plan, rounds: int, *, connections: int, batch: int = 0
) -> dict[str, Figures]:
    """Medians by side: each is emptied, warmed up and measured, then comes the next, and so on round by round."""
    runs: dict[str, list[Figures]] = {side.name: [] for side in sides}
    for turn in range(rounds):
        for side in sides:
            await side.empty()
            figures = await measure_one(side, plan, connections=connections, batch=batch)
            runs[side.name].append(figures)
            what = f"batches of {batch}" if batch else "single posts"
            progress(
                f"{what}, {connections} connections, round {turn + 1} of {rounds}: {side.name} "
                f"{figures.per_second:,.0f} events/s, p99 {figures.p99_ms:.1f} ms"
            )
    return {name: load.medians(of_side) for name, of_side in runs.items()}


async def measure_one(side: Side, plan: Plan, *, connections: int, batch: int = 0) -> Figures:
    """One turn of one side: warm up, load, count the rows."""
    target = side.batch if batch else side.single
    before = await side.stored()
    warm = await load.run(target, connections=connections, seconds=plan.warm_up, batch=batch)
    figures = await load.run(target, connections=connections, seconds=plan.run, batch=batch)
    side.program.check()
    after = await side.stored()
    if before is not None and after is not None and after - before < warm.events + figures.events:
        raise BenchError(
            f"{side.name} answered {warm.events + figures.events} events with 2xx, but stored {after - before}."
        )
    return figures


async def _with_goals(report: Report, plan: Plan, ours: Side, deployment: serve.Deployment) -> None:
    """What goals, a plan and a key's rate add: the same posts, in turns, with none of them and with all."""
    names = "without goals, plan and rate", "with goals, a plan and a rate"
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for turn in range(plan.rounds):
        for name in names:
            await deployment.limit(is_on=name == names[1])
            await ours.empty()
            figures = await measure_one(ours, plan, connections=64)
            runs[name].append(figures)
            progress(f"single posts {name}, round {turn + 1} of {plan.rounds}: {figures.per_second:,.0f} events/s")
    await deployment.limit(is_on=False)
    without, with_all = (load.medians(runs[name]) for name in names)
    report.add_rate("posts of one event, 64 connections", f"Postback {names[0]}", without)
    row = report.add_rate("posts of one event, 64 connections", f"Postback {names[1]}", with_all)
    row.at_least(with_all.per_second / without.per_second, 0.85, "its rate without", percent=True)


async def _with_worker(report: Report, plan: Plan, ours: Side, deployment: serve.Deployment) -> None:
    """The same posts while a worker delivers them to three destinations on the same two cores."""
    progress("single posts while a worker delivers")
    await ours.empty()
    async with serve.worker(deployment) as program:
        figures = await measure_one(ours, plan, connections=64)
        program.check()
        size = max(map(resources.peak_rss_mb, resources.family(program.pid)))
    report.add_rate("posts of one event, 64 connections", "Postback, its worker delivering meanwhile", figures)
    report.add("memory, under load, peak", "Postback: worker", f"{size:.0f} MB")


def _memory(report: Report, sides: Sequence[Side]) -> None:
    for side in sides:
        size = max(map(resources.peak_rss_mb, resources.family(side.program.pid)))
        name = f"{side.name}: API process" if side.deployment else side.name
        row = report.add("memory, under load, peak", name, f"{size:.0f} MB")
        if side.deployment:
            row.at_most(size, MOST_RSS_MB, "MB")
