"""What is stored, walked again: settled deliveries to reopen, and events that a newer destination has no delivery of.

A walk goes through a bucket in the order of its events, so many rows at a time; who walks keeps the last one's id. All
statements are of one bucket.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from postback.db import Queries, Tx, arrays, buckets
from postback.queue import dirty
from postback.queue.jobs import Selection

_queries = Queries("history")


class Span(Struct, frozen=True):
    """A part of one bucket's events for one destination: ids from `low` to `high`. What was settled since `before` is
    left alone. `event_ids`: the only ones wanted."""

    bucket: int
    destination_id: UUID
    low: UUID
    high: UUID
    before: datetime
    event_ids: list[UUID] | None = None


class Lacking(Struct, frozen=True):
    """An event without a delivery; `body` is JSON of event.Event. `order_reason`: why its order's rule skipped it for
    others."""

    id: UUID
    body: bytes
    order_reason: str | None


class Given(Struct, frozen=True):
    """A delivery to write: `queued`, or `skipped` with its reason."""

    event_id: UUID
    status: str
    due_at: datetime
    reason: str | None


async def replayable(tx: Tx, span: Span, wanted: Selection, examined: int) -> list[tuple[UUID, bool]]:
    """The next deliveries of a span, by event, and which of them may be replayed."""
    row = _span(span) | {
        "statuses": list(wanted.statuses),
        "before": span.before,
        "reason": wanted.reason,
        "event_ids": span.event_ids,
        "name": wanted.name,
        "site_id": wanted.site_id,
        "examined": examined,
    }
    return await (await tx.execute(_queries.replayable, row, binary=True)).fetchall()


async def reopen(tx: Tx, span: Span, event_ids: Sequence[UUID], statuses: Sequence[str], now: datetime) -> int:
    """Queue deliveries again, as new but for their attempts' numbers; how many had not changed."""
    row = _span(span, event_ids) | {"statuses": list(statuses), "before": span.before, "now": now}
    await dirty.mark_deliveries(tx, event_ids, now)
    return (await tx.execute(_queries.reopen, row)).rowcount


async def taken(tx: Tx, span: Span, event_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Which of some deliveries the platform took or may have taken, and when it first did."""
    return dict(await (await tx.execute(_queries.taken, _span(span, event_ids), binary=True)).fetchall())


async def lacking(
    tx: Tx, span: Span, workspace_id: UUID, wanted: Selection, examined: int
) -> list[tuple[UUID, Lacking | None]]:
    """The next events of a span, and those of the workspace to which the destination has no delivery."""
    row = _span(span) | {"workspace_id": workspace_id, "name": wanted.name, "site_id": wanted.site_id}
    found = await (await tx.execute(_queries.lacking, row | {"examined": examined}, binary=True)).fetchall()
    return [(id_, Lacking(id_, body, reason) if body is not None else None) for id_, body, reason in found]


async def give(tx: Tx, span: Span, workspace_id: UUID, job_id: UUID, rows: Sequence[Given]) -> Counter[str]:
    """Write deliveries, and count them as accepted, in the job's own name; how many by status, without those that were
    there."""
    row = {
        "bucket": span.bucket,
        "destination_id": span.destination_id,
        "event_ids": arrays.uuids(given.event_id.bytes for given in rows),
        "statuses": arrays.texts(given.status for given in rows),
        "due_at": arrays.times(given.due_at for given in rows),
        "reasons": arrays.texts(given.reason for given in rows),
    }
    made = await (await tx.execute(_queries.give, row, binary=True)).fetchall()
    hours = Counter(buckets.time_of(event_id).replace(minute=0, second=0, microsecond=0) for event_id, _ in made)
    if hours:
        counted = {
            "bucket": buckets.of_id(job_id),
            "writer": job_id,
            "workspace_id": workspace_id,
            "destination_id": span.destination_id,
            "hours": arrays.times(sorted(hours)),
            "counts": arrays.bigints(hours[hour] for hour in sorted(hours)),
        }
        await tx.execute(_queries.count, counted)
    return Counter(status for _, status in made)


async def crowd(tx: Tx, destination_id: UUID, now: datetime, oldest: UUID, limit: int) -> int:
    """How many deliveries of a destination are due, at most `limit`."""
    row = {"buckets": list(buckets.BUCKETS), "destination_id": destination_id, "now": now, "oldest": oldest}
    found = await (await tx.execute(_queries.crowd, row | {"limit": limit}, binary=True)).fetchone()
    return found[0] if found else 0


def _span(span: Span, event_ids: Sequence[UUID] | None = None) -> dict[str, object]:
    """`event_ids`: the only ones that a statement is about."""
    row: dict[str, object] = {"bucket": span.bucket, "destination_id": span.destination_id}
    if event_ids is None:
        return row | {"min_id": span.low, "max_id": span.high}
    low, high = buckets.span(event_ids)
    return row | {"min_id": low, "max_id": high, "event_ids": list(event_ids)}
