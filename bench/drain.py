"""Delivery: a queue that was filled while no worker ran, and how fast one worker empties it, and two.

Each turn begins with a copy of the filled database, so that all turns find the same. Time runs from the first request
at the platform to the last delivery that is settled in the database. A bare aiohttp client posts the same request over
as many connections, in turn with it. Two workers share the buckets before the destination is resumed. Last, the same
queue beside one whose platform never answers.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp

from bench import database, serve
from bench.intake import sink
from bench.plan import Plan
from bench.process import FOLDER, BenchError, module, output_of, progress
from bench.report import Report, Row, rate
from postback.db.embedded import Embedded

COPY = "drain_turn"
STARTING_SECONDS = 30
SETTLING_SECONDS = 3
OPEN = "status IN ('queued', 'retrying')"


@dataclass(frozen=True)
class Drained:
    """One turn: deliveries a second, and what the platform saw of it."""

    per_second: float
    seen: dict[str, Any]
    largest: dict[str, Any]
    is_empty: bool

    @property
    def events_a_request(self) -> float:
        return self.seen["events"] / self.seen["requests"]


async def measure(report: Report, plan: Plan, server: Embedded, single_posts: float | None) -> None:
    """`single_posts`: the rate of intake that a batching connector is to surpass, None: not measured."""
    async with sink() as port:
        await _batching(report, plan, server, port, single_posts)
        await _one_by_one(report, plan, server, port)


async def _batching(report: Report, plan: Plan, server: Embedded, port: int, single_posts: float | None) -> None:
    queue = await _filled(server, "drain_meta", [serve.meta(port)], plan.batched_deliveries)
    turns: list[Drained] = []
    bare: list[float] = []
    for _ in range(plan.other_rounds):
        turns.append(await _drain(queue, port, "meta", plan))
        bare.append(await _bare(port, turns[-1], plan))
    row = _row(report, f"delivery in batches, {plan.batched_deliveries:,} queued", "Postback to Meta", turns)
    if single_posts:
        row.at_least(_rate(turns) / single_posts, 1, "single-post intake")
    report.add(row.measure, "bare aiohttp client, same requests", f"{rate(median(bare))} events/s")
    await database.drop(server, queue.database)


async def _one_by_one(report: Report, plan: Plan, server: Embedded, port: int) -> None:
    alone = await _filled(server, "drain_webhook", [serve.webhook(port)], plan.single_deliveries)
    both = [serve.webhook(port), serve.webhook(port, "hole")]
    beside = await _filled(server, "drain_hole", both, plan.single_deliveries)
    turns: list[Drained] = []
    turns_of_two: list[Drained] = []
    turns_beside: list[Drained] = []
    bare: list[float] = []
    for _ in range(plan.rounds):
        turns.append(await _drain(alone, port, "webhook", plan))
        bare.append(await _bare(port, turns[-1], plan))
        turns_of_two.append(await _drain(alone, port, "webhook", plan, workers=2))
        turns_beside.append(await _drain(beside, port, "webhook", plan))
    row = _row(report, f"delivery one by one, {plan.single_deliveries:,} queued", "Postback to a webhook", turns)
    row.at_least(_rate(turns) / median(bare), 0.6, "the bare client", percent=True)
    row = _row(report, row.measure, "Postback to a webhook, --worker-processes 2", turns_of_two)
    row.at_least(_rate(turns_of_two) / median(bare), 0.6, "the bare client", percent=True)
    report.add(row.measure, "bare aiohttp client, same requests", f"{rate(median(bare))} events/s")
    row = _row(report, row.measure, "Postback, a second webhook never answering", turns_beside)
    row.at_least(_rate(turns_beside) / _rate(turns), 0.9, "its rate alone", percent=True)
    for queue in (alone, beside):
        await database.drop(server, queue.database)


def _row(report: Report, measure: str, of: str, turns: Sequence[Drained]) -> Row:
    connections = median(turn.seen["connections"] for turn in turns)
    per_request = median(turn.events_a_request for turn in turns)
    plural = "connection" if connections == 1 else "connections"
    shown = f"{rate(_rate(turns))} events/s, {per_request:.0f} a request, {connections:.0f} {plural}"
    if not all(turn.is_empty for turn in turns):
        shown += ", not emptied in time"
    return report.add(measure, of, shown)


def _rate(turns: Sequence[Drained]) -> float:
    return median(turn.per_second for turn in turns)


async def _filled(server: Embedded, name: str, to: Sequence[serve.Destination], number: int) -> serve.Deployment:
    progress(f"queueing {number:,} deliveries to {' and '.join(d.name for d in to)}")
    deployment = await serve.install(server, name, to)
    async with serve.api(deployment) as (_, port):
        await serve.fill(deployment, port, number)
    await database.execute(server, name, "VACUUM ANALYZE", "CHECKPOINT")
    return deployment


async def _drain(queue: serve.Deployment, port: int, place: str, plan: Plan, *, workers: int = 1) -> Drained:
    """One turn on a copy of the queue."""
    server = queue.server
    await _ask(port, "/_sink/reset", "POST")
    await database.make(server, COPY, template=queue.database)
    try:
        name = {"meta": "Meta"}.get(place, place)
        destination = f"(SELECT id FROM destination WHERE name = '{name}')"
        expected = await database.number(
            server, COPY, f"SELECT count(*) FROM delivery WHERE destination_id = {destination} AND {OPEN}"
        )
        copied = queue.copied_to(COPY)
        async with AsyncExitStack() as stack:
            if workers > 1:
                await serve.destinations(copied, "pause")
            program, *others = [
                await stack.enter_async_context(serve.worker(copied, stop_seconds=0.5)) for _ in range(workers)
            ]
            if others:
                await _until_shared(server, workers)
                await serve.destinations(copied, "resume")
            await _until_sent(port, place, int(expected), plan.longest_drain, program.check)
            await _until_settled(server, f"destination_id = {destination} AND {OPEN}")
        seen = (await _ask(port, "/_sink/stats")).get(place)
        if not seen:
            raise BenchError(f"The worker sent nothing to {place} within {STARTING_SECONDS} s:\n{program.said()}")
        settled = f"FROM delivery WHERE destination_id = {destination} AND status = 'delivered'"
        number = await database.number(server, COPY, f"SELECT count(*) {settled}")
        last_at = await database.number(server, COPY, f"SELECT extract(epoch FROM max(settled_at)) {settled}")
        if not number:
            raise BenchError(f"The worker settled nothing of {place}:\n{program.said()}")
        largest = await _ask(port, f"/_sink/largest/{place}")
        drained = Drained(number / max(last_at - seen["first_at"], 0.001), seen, largest, number >= expected)
        progress(f"drained {number:,.0f} of {expected:,.0f} to {place} at {drained.per_second:,.0f} events/s")
        return drained
    finally:
        await database.drop(server, COPY)


async def _until_sent(port: int, place: str, expected: int, seconds: int, check: Any) -> None:
    """Wait until the platform has seen all, or for `seconds` after the first."""
    begin, first = time.monotonic(), None
    while time.monotonic() - (first or begin) < (seconds if first else STARTING_SECONDS):
        await asyncio.sleep(0.2)
        check()
        seen = (await _ask(port, "/_sink/stats")).get(place)
        if seen and first is None:
            first = time.monotonic()
        if seen and seen["events"] >= expected:
            return


async def _until_shared(server: Embedded, workers: int) -> None:
    """Wait until each worker has its part of the buckets."""
    shares = "SELECT owner, count(*) AS buckets FROM lease WHERE expires_at > now() GROUP BY owner"
    fair = f"SELECT count(*) FROM ({shares}) AS share WHERE buckets = 64 / {workers}"
    deadline = time.monotonic() + STARTING_SECONDS
    while await database.number(server, COPY, fair) < workers:
        if time.monotonic() > deadline:
            raise BenchError(f"{workers} workers do not share the work after {STARTING_SECONDS} s.")
        await asyncio.sleep(0.2)


async def _until_settled(server: Embedded, waiting: str) -> None:
    """Wait a little for what was sent last."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while time.monotonic() < deadline:
        if not await database.number(
            server, COPY, f"SELECT count(*) FROM (SELECT FROM delivery WHERE {waiting} LIMIT 1)"
        ):
            return
        await asyncio.sleep(0.2)


async def _bare(port: int, turn: Drained, plan: Plan) -> float:
    """Events a second of a bare client that sends the largest request that came, over as many connections."""
    dropped = ("host", "content-length", "connection", "transfer-encoding")
    headers = {name: value for name, value in turn.largest["headers"].items() if name not in dropped}
    file = FOLDER / "sample.json"
    file.write_text(json.dumps({"headers": headers, "body": turn.largest["body"]}))
    url = f"http://127.0.0.1:{port}{turn.largest['path']}"
    arguments = [url, str(file), str(turn.seen["connections"]), str(plan.bare_client)]
    said = json.loads(await output_of("bare client", module("bench.client", *arguments), seconds=plan.bare_client + 30))
    per_second = said["requests"] / said["seconds"] * turn.largest["events"]
    progress(f"bare client: {per_second:,.0f} events/s")
    return per_second


async def _ask(port: int, path: str, method: str = "GET") -> Any:
    async with aiohttp.request(method, f"http://127.0.0.1:{port}{path}") as response:
        return await response.json()
