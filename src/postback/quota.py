"""Limits: requests a key may send in a minute, billable events a workspace or a site may send in a month.

Tables: rate_window (the counters, one row a subject, all in one bucket), usage (billable events by site, as each writer
counts them). Only what has a limit has a counter. A rate window begins with its first counted request and lasts 60 s;
months are UTC calendar months of when an event was received.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip, int8, moment

_queries = Queries("quota")
WINDOW = timedelta(seconds=60)
OVERAGE_TIMES = 3
_BUCKET = buckets.BUCKETS[0]


class Limit(Struct, frozen=True):
    """How many `subject` (a key, a workspace or a site, 16 bytes) may send: requests a minute, or events a month."""

    subject: bytes
    cap: int
    is_monthly: bool


class Count(Struct, frozen=True):
    """What was counted in the window, this flush included."""

    n: int
    ends_at: datetime
    cap: int


def require(trip: Trip, counts: dict[Limit, int], now: datetime) -> Rows:
    """Count against limits. One that is passed refuses the whole transaction. Must be the last before COMMIT."""
    return trip.add(_queries.require, _rows(counts, now))


def add(trip: Trip, counts: dict[Limit, int], now: datetime) -> Rows:
    """The same; who asks looks at the totals, and rolls back."""
    return trip.add(_queries.add, _rows(counts, now))


def totals(rows: Rows) -> dict[bytes, Count]:
    """By subject."""
    return {bytes(row[0] or b""): Count(int8(row[1]), moment(row[2]), int8(row[3])) for row in rows.all}


def _rows(counts: dict[Limit, int], now: datetime) -> dict[str, object]:
    ordered = sorted(counts, key=lambda limit: limit.subject)
    return {
        "bucket": _BUCKET,
        "subjects": arrays.uuids(limit.subject for limit in ordered),
        "ends_at": arrays.times(month_end(now) if limit.is_monthly else now + WINDOW for limit in ordered),
        "counts": arrays.bigints(counts[limit] for limit in ordered),
        "caps": arrays.bigints(limit.cap for limit in ordered),
        "now": now,
    }


def month_start(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(at: datetime) -> datetime:
    return month_start(month_start(at) + timedelta(days=32))


async def used(
    tx: Tx, workspace_id: UUID, site_ids: Sequence[UUID], since: datetime, until: datetime
) -> dict[UUID, int]:
    """Billable events by site."""
    row = {
        "buckets": arrays.ints(sorted(buckets.BUCKETS)),
        "since": since,
        "until": until,
        "workspace_id": workspace_id,
        "site_ids": list(site_ids),
    }
    found = await (await tx.execute(_queries.used, row)).fetchall()
    return {site: int(n) for site, n in found}
