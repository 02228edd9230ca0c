"""Hours to count again: what somebody changed that reports have counted, told to whoever keeps them.

Table: dirty_hour. A mark is an hour of a bucket (when the conversion, or the delivery's event, was received) under an
id of its own, written in the transaction of the change: no two writers meet in a row, and what is marked while the hour
is counted stays marked.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Trip

_queries = Queries("reports")
Hour = tuple[int, datetime]  # a bucket, and when the hour begins


def hour_of(id_: UUID) -> datetime:
    """When something was received, by its id: the start of the UTC hour."""
    return buckets.time_of(id_).replace(minute=0, second=0, microsecond=0)


def mark_in(trip: Trip, hours: Collection[Hour], id_: UUID, due_at: datetime) -> None:
    """As `mark`, in a flush."""
    trip.add(_queries.mark, _row(((*hour, due_at) for hour in sorted(hours)), id_))


async def mark(tx: Tx, hours: Iterable[tuple[int, datetime, datetime]], id_: UUID) -> None:
    """Have hours counted again, each from a time on. The same hour under the same id is one mark."""
    await tx.execute(_queries.mark, _row(hours, id_))


async def mark_deliveries(tx: Tx, event_ids: Iterable[UUID], now: datetime) -> None:
    """Have the hours of some events counted again: their deliveries were queued."""
    hours = {(buckets.of_id(id_), hour_of(id_)) for id_ in event_ids}
    if hours:
        await mark(tx, ((*hour, now) for hour in sorted(hours)), buckets.new_id(now))


async def mark_site(tx: Tx, workspace_id: UUID, site_id: UUID, now: datetime) -> None:
    """Have all that was counted of a site counted again."""
    row = {"buckets": list(buckets.BUCKETS), "workspace_id": workspace_id, "site_id": site_id}
    await tx.execute(_queries.mark_site, row | {"id": buckets.new_id(now), "now": now})


def _row(hours: Iterable[tuple[int, datetime, datetime]], id_: UUID) -> dict[str, object]:
    all_ = list(hours)
    return {
        "buckets": arrays.ints(bucket for bucket, _, _ in all_),
        "touched": arrays.ints(sorted({bucket for bucket, _, _ in all_})),
        "hours": arrays.times(hour for _, hour, _ in all_),
        "due_at": arrays.times(due_at for _, _, due_at in all_),
        "id": id_,
    }
