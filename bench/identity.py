"""Joins beside many visitors: the two look-ups of a claim of events, with a hundred times as many visitors as before.

The server makes visitors and links itself: keys are random over all buckets, each visitor has a click id and a session
link. What is measured is what `delivery.identity.find` asks for 500 events that name a visitor, and for 500 that name a
session: links, then visitors.
"""

import random
import time
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

NAME, EVENTS, TURNS, WARM_UP, CHUNK, SLOWER = "identity", 500, 15, 5, 500_000, 1.5
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
# What was filled at once was written past PostgreSQL's cache; read once, it is there as far as there is room.
READ = (
    "SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET max_parallel_workers_per_gather = 0",
    *(
        f"SELECT count({column}) FROM {table} WHERE {everything}"
        for table in ("visitor", "link")
        for column, everything in (("key", "bucket >= 0"), ("bucket", "ctid >= '(0,0)'"))
    ),
)  # fmt: skip


async def measure(report: Report, plan: Plan, server: Embedded) -> None:
    await database.make(server, NAME)
    await database.make_tables(server, NAME)
    connection = await pool.connect(Secret(database.dsn(server, NAME)))
    first: dict[str, float] = {}
    filled = 0
    try:
        for number in plan.visitors:
            async with database.without_keys(server, NAME, "visitor", "link"):
                await database.fill(server, NAME, (filled, number), CHUNK, _statements)
            filled = number
            progress(f"stored {number:,} visitors")
            await database.execute(server, NAME, "VACUUM ANALYZE visitor", "VACUUM ANALYZE link", "CHECKPOINT", *READ)
            for what in ("visitor", "session"):
                before = await _pages(connection)
                took = await _joins(connection, number, what)
                pages = (await _pages(connection) - before) / (EVENTS * (TURNS + WARM_UP))
                shown = f"{took * 1000:.1f} ms, {pages:.1f} pages an event"
                row = report.add(f"join of {EVENTS} events by {what}", f"{number:,} visitors", shown)
                if first.setdefault(what, took) != took:
                    row.at_most(took / first[what], SLOWER, f"times what it takes with {plan.visitors[0]:,}")
                progress(f"join by {what} with {number:,} visitors: {took * 1000:.1f} ms")
    finally:
        await connection.close()
        await database.drop(server, NAME)


def _statements(low: int, high: int) -> list[str]:
    return [one.format(low=low, high=high) for one in FILL]


async def _joins(tx: Tx, number: int, what: str) -> float:
    """The median time of one claim's two look-ups; every turn joins other visitors."""
    times: list[float] = []
    for _ in range(TURNS + WARM_UP):
        chosen = [random.randint(1, number) for _ in range(EVENTS)]
        own = [_key("visitor", n) for n in chosen]
        begin = time.perf_counter()
        if what == "visitor":
            _, twins = await links.find(tx, (), own)
            found = await visitors.find(tx, sorted({*own, *twins}))
        else:
            linked, _ = await links.find(tx, sorted(_key("link", n) for n in set(chosen)))
            found = await visitors.find(tx, sorted(key for keys in linked.values() for key in keys))
        times.append(time.perf_counter() - begin)
        if len(found) < len(set(chosen)):
            raise BenchError("A visitor was not found.")
    return median(times[WARM_UP:])


async def _pages(tx: Tx) -> int:
    """How many pages of the two tables and their indexes were read on this connection and before."""
    await tx.execute("SELECT pg_stat_force_next_flush()")
    row = await (await tx.execute(PAGES)).fetchone()
    return int(row[0]) if row else 0


def _key(kind: str, n: int) -> bytes:
    return md5(f"{kind}{n}".encode(), usedforsecurity=False).digest()
