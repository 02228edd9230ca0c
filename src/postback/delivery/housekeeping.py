"""What time undoes: partitions are made ahead, those past the retention time are counted, then dropped; old dedup rows,
visitors, links and jobs go; what is open for a destination that was removed ends.

Repeating is harmless, and so is being stopped anywhere. Partitions are the business of the worker that has the first
bucket; the rest each worker does in its own buckets.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import structlog
from msgspec import Struct

from postback import keys
from postback.db import Pool, Queries, Tx, buckets, partitions
from postback.queue import ledger, sending
from postback.queue.sending import Window
from postback.settings import Settings
from postback.workspaces import origins, sessions

log = structlog.get_logger()
_queue, _visitors, _jobs = Queries("queue"), Queries("visitors"), Queries("jobs")
TRIM_ROWS = 1000
REMOVED = "destination removed"
_FAR = timedelta(days=3650)
# The ledger goes with the deliveries: both are counted in the transaction that drops them.
_COUNTED = ("delivery", "usage")


class Kept(Struct, frozen=True):
    """How long each kind of data is kept."""

    events: timedelta
    attempts: timedelta
    sealed: timedelta
    visitors: timedelta

    @property
    def sooner(self) -> dict[str, timedelta]:
        """Partitioned tables that may go before their events."""
        return {"attempt": min(self.attempts, self.events), "touch": min(self.visitors, self.events)}


def kept(settings: Settings) -> Kept:
    days = (
        settings.retention_days,
        settings.attempt_retention_days,
        settings.sealed_retention_days,
        settings.visitor_retention_days,
    )
    return Kept(*(timedelta(days=n) for n in days))


async def keep_partitions(pool: Pool, now: datetime, kept: Kept) -> None:
    """Make partitions ahead and drop those whose retention is over."""
    async with pool.connection() as tx:
        await partitions.make_ahead(tx, now)
        for early, age in kept.sooner.items():
            for name, table, _ in await partitions.older_than(tx, now - age):
                if table == early:
                    async with tx.transaction():
                        await tx.execute(_queue.wait_briefly)
                        await _drop(tx, name)
        old = await partitions.older_than(tx, now - kept.events)
        for start, group in groupby(old, key=lambda found: found[2]):
            names = {table: name for name, table, _ in group}
            async with tx.transaction():
                await tx.execute(_queue.wait_briefly)
                await ledger.file_month(tx, start, now)
                for table in _COUNTED:
                    await _drop(tx, names.get(table))
            for table in names.keys() - set(_COUNTED):
                async with tx.transaction():
                    await tx.execute(_queue.wait_briefly)
                    await _drop(tx, names[table])


async def _drop(tx: Tx, name: str | None) -> None:
    if name is not None:
        await partitions.drop(tx, name)
        log.info("partition dropped", partition=name)


async def end_removed(pool: Pool, removed: Sequence[UUID], own: Sequence[int], now: datetime, window: Window) -> int:
    """End what is open for destinations that were removed; how many it were."""
    ended = 0
    if not removed or not own:
        return 0
    async with pool.connection() as tx:
        pairs = [(bucket, id_) for id_ in removed for bucket in own]
        for bucket, destination_id, _ in await sending.due(tx, pairs, now + _FAR, window):
            while True:
                count = await sending.end_open(tx, destination_id, bucket, "skipped", REMOVED, None, now, window.oldest)
                ended += count
                if count < sending.END_OPEN_ROWS:
                    break
    return ended


async def trim(pool: Pool, own: Sequence[int], now: datetime, kept: Kept) -> int:
    """Forget what is too old, in some buckets: keys of events, visitors, links, jobs,
    touches; how many it were."""
    count = await trim_dedup(pool, own, now - kept.events)
    ages = ((_visitors.trim, kept.visitors), (_visitors.trim_links, kept.visitors), (_jobs.trim, kept.events))
    for statement, age in ages:
        count += await _trim(pool, own, statement, now - age)
    # Whole months are dropped; what came later with an older time lies in the default partition.
    first = partitions.month(now - kept.sooner["touch"])
    return count + await _trim(pool, own, _visitors.trim_touches, UUID(int=buckets.floor(first).int - 1))


async def trim_usage(pool: Pool, own: Sequence[int], now: datetime) -> None:
    """Forget, in some buckets, what keys were used in hours that nobody asks for any more, sessions that ended, and
    origins that are refused no more."""
    if own:
        async with pool.connection() as tx:
            await keys.trim_usage(tx, own, now)
            await sessions.trim(tx, own, now)
            await origins.trim(tx, own, now)


async def trim_dedup(pool: Pool, own: Sequence[int], oldest: datetime) -> int:
    """Forget the keys of events older than `oldest`, in some buckets; how many it were."""
    return await _trim(pool, own, Queries("intake").trim, buckets.floor(oldest))


async def _trim(pool: Pool, own: Sequence[int], statement: bytes, oldest: datetime | UUID) -> int:
    """A thousand rows a transaction, in the order of their keys."""
    count = 0
    row = {"oldest": oldest, "limit": TRIM_ROWS, "min_id": UUID(int=0)}
    for bucket in own:
        after = UUID(int=0)
        while True:
            async with pool.connection() as tx:
                cursor = await tx.execute(statement, row | {"bucket": bucket, "after": after})
                gone = [key for (key,) in await cursor.fetchall()]
            count += len(gone)
            if len(gone) < TRIM_ROWS:
                break
            after = max(gone)
    return count
