"""Joins beside many visitors: the two look-ups of a claim of events, with a hundred times as many visitors as before.

The server makes visitors and links itself: keys are random over all buckets, each visitor has a click id and a session
link. What is measured is what `delivery.identity.find` asks for 500 events that name a visitor, and for 500 that name a
session: links, then visitors.
"""

import random
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import md5
from statistics import median
from uuid import UUID

from bench import database
from bench.plan import Plan
from bench.process import BenchError, progress
from bench.report import Report
from postback import visitors
from postback.db import Tx, pool
from postback.db.buckets import BUCKETS
from postback.db.embedded import Embedded
from postback.secret import Secret
from postback.visitors import links

NAME, EVENTS, TURNS, WARM_UP, CHUNK, SLOWER = "identity", 500, 60, 10, 500_000, 1.5
WORKSPACE = UUID(int=1)
_BUCKET = f"(ARRAY[{', '.join(map(str, BUCKETS))}])[(('x' || left({{digest}}, 2))::bit(8)::int & 63) + 1]"
_VISITOR, _LINK = "md5('visitor' || n)", "md5('link' || n)"
FILL = (
    "INSERT INTO visitor (bucket, key, workspace_id, identifiers, first_seen_at, last_seen_at) "
    f"SELECT {_BUCKET.format(digest=_VISITOR)}, {_VISITOR}::uuid, '{WORKSPACE}', "
    "jsonb_build_object('gclid', jsonb_build_array('click' || n, 1763719200123, 1763719200123, 'tag')), now(), now() "
    "FROM generate_series({low}::int, {high}::int) n",
    "INSERT INTO link (bucket, key, visitor_key, kind, origin, first_seen_at, seen_at) "
    f"SELECT {_BUCKET.format(digest=_LINK)}, {_LINK}::uuid, {_VISITOR}::uuid, 'session', 'tag', now(), now() "
    "FROM generate_series({low}::int, {high}::int) n",
)

PAGES = (
    "SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) FROM pg_statio_user_tables "
    "WHERE relname IN ('visitor', 'link')"
)
# What was filled at once was written past PostgreSQL's cache; read once, it is there as far as there is room. The
# connection that joins reads it: a page costs it faults the first time that it comes by, and a worker's is an old one.
READ = (
    "SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    *(
        f"SELECT count({column}) FROM {table} WHERE {everything}"
        for table in ("visitor", "link")
        for column, everything in (("key", "bucket >= 0"), ("bucket", "ctid >= '(0,0)'"))
    ),
)  # fmt: skip


async def measure(report: Report, plan: Plan, server: Embedded) -> None:
    """Turns alternate between the numbers: between two joins of one, as in a worker, much else passes the caches."""
    async with AsyncExitStack() as stack:
        sides = {number: await stack.enter_async_context(_stored(server, number)) for number in plan.visitors}
        for what in ("visitor", "session"):
            times: dict[int, list[float]] = {number: [] for number in sides}
            before = {number: await _pages(connection) for number, connection in sides.items()}
            for _ in range(WARM_UP + TURNS):
                for number, connection in sides.items():
                    times[number].append(await _join(connection, number, what))
            took = {number: median(each[WARM_UP:]) for number, each in times.items()}
            for number, connection in sides.items():
                pages = (await _pages(connection) - before[number]) / (EVENTS * (WARM_UP + TURNS))
                shown = f"{took[number] * 1000:.1f} ms, {pages:.1f} pages an event"
                row = report.add(f"join of {EVENTS} events by {what}", f"{number:,} visitors", shown)
                if number != plan.visitors[0]:
                    row.at_most(took[number] / took[plan.visitors[0]], SLOWER, f"times {plan.visitors[0]:,}'s")
                progress(f"join by {what} with {number:,} visitors: {took[number] * 1000:.1f} ms")


@asynccontextmanager
async def _stored(server: Embedded, number: int) -> AsyncGenerator[Tx]:
    """A connection that has come by every page of this many visitors."""
    name = f"{NAME}_{number}"
    await database.make(server, name)
    await database.make_tables(server, name)
    connection = await pool.connect(Secret(database.dsn(server, name)))
    try:
        async with database.without_keys(server, name, "visitor", "link"):
            await database.fill(server, name, (0, number), CHUNK, _statements)
        await database.execute(server, name, "VACUUM ANALYZE visitor", "VACUUM ANALYZE link", "CHECKPOINT")
        async with connection.transaction():
            for statement in READ:
                await connection.execute(statement.encode())
        yield connection
    finally:
        await connection.close()
        await database.drop(server, name)


def _statements(low: int, high: int) -> list[str]:
    return [one.format(low=low, high=high) for one in FILL]


async def _join(tx: Tx, number: int, what: str) -> float:
    """How long one claim's two look-ups take, of visitors chosen anew."""
    chosen = [random.randint(1, number) for _ in range(EVENTS)]
    own = [_key("visitor", n) for n in chosen]
    begin = time.perf_counter()
    if what == "visitor":
        _, twins = await links.find(tx, (), own)
        found = await visitors.find(tx, sorted({*own, *twins}))
    else:
        linked, _ = await links.find(tx, sorted(_key("link", n) for n in set(chosen)))
        found = await visitors.find(tx, sorted(key for keys in linked.values() for key in keys))
    took = time.perf_counter() - begin
    if len(found) < len(set(chosen)):
        raise BenchError("A visitor was not found.")
    return took


async def _pages(tx: Tx) -> int:
    """How many pages of the two tables and their indexes were read on this connection and before."""
    await tx.execute("SELECT pg_stat_force_next_flush()")
    row = await (await tx.execute(PAGES)).fetchone()
    return int(row[0]) if row else 0


def _key(kind: str, n: int) -> bytes:
    return md5(f"{kind}{n}".encode(), usedforsecurity=False).digest()
