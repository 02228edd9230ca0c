"""Who sends what: workers that live, and the lease that one of them has on each bucket.

A lease that is not renewed in time is anybody's; each change of owner raises the epoch. Times are the database's.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from postback.db import Queries, Tx, buckets

_queries = Queries("queue")
# All workers are in one bucket, so that one read counts them.
HOME = buckets.BUCKETS[0]


class Lease(Struct, frozen=True):
    bucket: int
    owner: UUID | None
    is_free: bool


async def attend(tx: Tx, worker: UUID) -> datetime:
    """Say that this worker lives; the database's time."""
    rows = await (await tx.execute(_queries.attend, {"id": worker, "bucket": HOME}, binary=True)).fetchall()
    return rows[0][0]


async def leave(tx: Tx, worker: UUID) -> None:
    await tx.execute(_queries.leave, {"id": worker, "bucket": HOME})


async def workers(tx: Tx, seconds: float) -> list[UUID]:
    """Those that showed themselves within so many seconds."""
    rows = await (await tx.execute(_queries.workers, {"bucket": HOME, "seconds": seconds}, binary=True)).fetchall()
    return [row[0] for row in rows]


async def read(tx: Tx) -> list[Lease]:
    rows = await (await tx.execute(_queries.leases, {"buckets": list(buckets.BUCKETS)}, binary=True)).fetchall()
    return [Lease(*row) for row in rows]


async def renew(tx: Tx, owner: UUID, seconds: float) -> dict[int, int]:
    """Keep what one has: bucket -> epoch, without those that were lost."""
    row = {"owner": owner, "buckets": list(buckets.BUCKETS), "seconds": seconds}
    return dict(await (await tx.execute(_queries.renew, row, binary=True)).fetchall())


async def take(tx: Tx, owner: UUID, free: Sequence[int], seconds: float) -> dict[int, int]:
    """Take those of some buckets that are free still: bucket -> epoch."""
    row = {"owner": owner, "buckets": list(free), "seconds": seconds}
    return dict(await (await tx.execute(_queries.take, row, binary=True)).fetchall())


async def release(tx: Tx, owner: UUID, own: Sequence[int]) -> None:
    await tx.execute(_queries.release, {"owner": owner, "buckets": list(own)})
