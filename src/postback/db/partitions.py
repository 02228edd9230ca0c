"""Partitions by month: made ahead, dropped whole when retention is over.

event, delivery, attempt, conversion and touch are cut by id (a UUIDv7 begins with its time), usage by its hour. A
default partition takes what falls outside. Runs on the coordinator; repeating is harmless.
"""

import re
from datetime import UTC, datetime

from psycopg import sql

from postback.db import buckets
from postback.db.pool import Tx
from postback.db.queries import Queries

BY_ID = ("event", "delivery", "attempt", "conversion", "touch")
BY_TIME = ("usage",)
_NAME = re.compile(r"^(event|delivery|attempt|conversion|touch|usage)_(\d{4})_(\d{2})$")
_queries, _queue = Queries("partitions"), Queries("queue")


async def make_ahead(tx: Tx, now: datetime, *, months: int = 3) -> list[str]:
    """Make this month's partitions and those of the next `months`; give the names of the new ones.

    A transaction each, that gives up (55P03) where somebody reads for long: behind what waits, all intake would wait.
    """
    existing = {row[0] for row in await (await tx.execute(_queries.list_all)).fetchall()}
    made: list[str] = []
    start = month(now)
    for _ in range(months + 1):
        end = next_month(start)
        for table in BY_ID + BY_TIME:
            name = f"{table}_{start:%Y_%m}"
            if name in existing:
                continue
            low, high = (start, end) if table in BY_TIME else (buckets.floor(start), buckets.floor(end))
            async with tx.transaction():
                await tx.execute(_queue.wait_briefly)
                await tx.execute(
                    sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                        sql.Identifier(name), sql.Identifier(table), sql.Literal(str(low)), sql.Literal(str(high))
                    )
                )
            made.append(name)
        start = end
    return made


async def older_than(tx: Tx, before: datetime) -> list[tuple[str, str, datetime]]:
    """Partitions that end at or before a moment: (partition, table, its first month), oldest first."""
    found: list[tuple[str, str, datetime]] = []
    for (name,) in await (await tx.execute(_queries.list_all)).fetchall():
        if match := _NAME.match(name):
            start = datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC)
            if next_month(start) <= before:
                found.append((name, match[1], start))
    return sorted(found, key=lambda f: (f[2], f[0]))


async def drop(tx: Tx, name: str) -> None:
    if not _NAME.match(name):
        raise ValueError(f"{name} is not a partition made here")
    await tx.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


def month(at: datetime) -> datetime:
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def next_month(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
