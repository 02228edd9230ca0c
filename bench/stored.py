"""Posts into tables that hold millions of events, in turn with posts into empty ones; the dashboard's pages over them.

The server makes the events itself: dedup keys are random over all buckets, ids rise over the last three weeks, the rest
is that of one event which was posted, and each has one delivery, delivered (three would only take longer: new ones go
to the end of their index). Autovacuum is off for these tables: the fill alone would keep it busy for minutes. After a
checkpoint each page is logged whole at its first change; a longer warm-up keeps that moment out of the figures.
"""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bench import dashboard, database, load, serve
from bench.intake import BATCH_CONNECTIONS, Side, postback, sink, take_turns
from bench.load import BATCH
from bench.plan import Plan
from bench.process import FOLDER, progress
from bench.report import Report
from postback.db.buckets import BUCKETS
from postback.db.embedded import Embedded

LEAST = 0.7
FILLED, EMPTY = "filled", "empty"
SPAN_MS = 21 * 86_400_000
CHUNK = 100_000
BYTES_AN_EVENT, WAL_BYTES = 2_500, 6_000_000_000

# {low}, {high}: numbers of events; {first_ms}, {step}: the time of number n is first_ms + n * step, whole milliseconds.
_BUCKET = f"(ARRAY[{', '.join(map(str, BUCKETS))}])"
_DIGEST = "md5('key' || n)"
_ID = (
    "(lpad(to_hex({first_ms} + (n * {step})::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || "
    "substr(md5(n::text), 4, 13) || lpad(to_hex((n % 4) * 64 + n % 64), 2, '0'))::uuid"
)
_NUMBERS = "FROM generate_series({low}::int, {high}::int) n"
FILL = (
    f"INSERT INTO dedup (bucket, key, event_id, body_hash) "
    f"SELECT {_BUCKET}[(('x' || left({_DIGEST}, 2))::bit(8)::int & 63) + 1], {_DIGEST}::uuid, {_ID}, n {_NUMBERS}",
    f"INSERT INTO event (bucket, id, workspace_id, site_id, name, event_id, order_id, body, sealed) "
    f"SELECT {_BUCKET}[n % 64 + 1], {_ID}, e.workspace_id, e.site_id, e.name, 'stored-' || n, 'order-' || n, e.body, "
    f"e.sealed {_NUMBERS} CROSS JOIN copied e",
    f"INSERT INTO delivery (bucket, event_id, destination_id, status, attempt, due_at, settled_at) "
    f"SELECT {_BUCKET}[n % 64 + 1], {_ID}, d.id, 'delivered', 1, now(), now() {_NUMBERS} "
    f"CROSS JOIN (SELECT id FROM destination ORDER BY id LIMIT 1) d",
)
TABLES = (
    "SELECT string_agg(format('ALTER TABLE %I SET (autovacuum_enabled = off)', relname), '; ') FROM pg_class "
    "WHERE relkind = 'r' AND relname ~ '^(dedup|event|delivery)(_|$)'"
)


@dataclass(frozen=True)
class Numbering:
    """When the event of a number was received."""

    first_ms: int
    step: float

    def statements(self, low: int, high: int) -> list[str]:
        return [s.format(low=low, high=high, first_ms=self.first_ms, step=self.step) for s in FILL]


async def measure(report: Report, plan: Plan, server: Embedded) -> None:
    async with sink() as sink_port, _sides(server, sink_port) as (deployment, filled, empty):
        now_ms = int(await database.number(server, FILLED, "SELECT extract(epoch FROM now()) * 1000"))
        numbering = Numbering(now_ms - SPAN_MS, SPAN_MS / plan.stored[-1])
        stored = 0
        for number in plan.stored:
            if (free := shutil.disk_usage(FOLDER).free) < number * BYTES_AN_EVENT + WAL_BYTES:
                row = report.add("posts beside stored events", f"Postback, {number:,} stored", "not measured")
                row.check(False, f"{free / 1e9:.0f} GB of disk are free, which is too little")
                return
            await _fill(server, numbering, stored, number)
            stored = number
            progress(f"warming up with {number:,} events stored")
            warm_up = plan.stored_warm_up
            await load.run(filled.single, connections=BATCH_CONNECTIONS, seconds=warm_up, batch=BATCH)
            await _compare(report, plan, number, filled, empty)
        await dashboard.measure(report, plan, server, deployment, filled.single.port, stored)


@asynccontextmanager
async def _sides(server: Embedded, sink_port: int) -> AsyncGenerator[tuple[serve.Deployment, Side, Side]]:
    """Two installations of Postback: one that is filled and never emptied, one that is emptied before each turn."""
    three = [serve.meta(sink_port), serve.ga4(sink_port), serve.webhook(sink_port)]
    filled = await serve.install(server, FILLED, three)
    empty = await serve.install(server, EMPTY, three)
    async with postback(filled) as filled_side, postback(empty) as empty_side:
        await serve.fill(filled, filled_side.single.port, 1)  # the one that is copied
        # By itself: no index leads to it among the copies.
        await database.execute(server, FILLED, "CREATE TABLE copied AS SELECT * FROM event")
        yield filled, replace(filled_side, name=FILLED, database=None), replace(empty_side, name=EMPTY)


async def _fill(server: Embedded, numbering: Numbering, low: int, high: int) -> None:
    async with await database.connect(server, FILLED) as connection:
        row = await (await connection.execute(TABLES)).fetchone()
        await connection.execute(row[0].encode() if row else b"")
    async with database.without_keys(server, FILLED, "dedup"):
        await database.fill(server, FILLED, (low, high), CHUNK, numbering.statements)
    progress(f"stored {high:,} events")
    await database.execute(server, FILLED, "ANALYZE dedup", "ANALYZE event", "ANALYZE delivery", "CHECKPOINT")


async def _compare(report: Report, plan: Plan, number: int, filled: Side, empty: Side) -> None:
    for what, connections, batch in (
        ("posts of one event, 64 connections", 64, 0),
        (f"posts of {BATCH} events, {BATCH_CONNECTIONS} connections", BATCH_CONNECTIONS, BATCH),
    ):
        results = await take_turns([filled, empty], plan, plan.stored_rounds, connections=connections, batch=batch)
        report.add_rate(what, "Postback, none stored", results[EMPTY])
        row = report.add_rate(what, f"Postback, {number:,} stored", results[FILLED])
        share = results[FILLED].per_second / results[EMPTY].per_second
        row.at_least(share, LEAST, "its rate with none", percent=True)
