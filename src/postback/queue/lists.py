"""Lists of events and deliveries, newest first, as people page through them.

A list examines so many rows of each bucket, more of them as long as it finds too little, and after a second it says
how far it came: what is rare is found page by page, and no page scans a table.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets
from postback.queue import DeliveryStatus, EventRow

_queries = Queries("queue")
EXAMINED, EXAMINED_MAX = 250, 4000
ROWS = 2000
COUNTED = 500  # of a destination's open deliveries, in each bucket
LOOKING_SECONDS = 1.0
LAST_ID = UUID(int=2**128 - 1)


class EventFilter(Struct, frozen=True, kw_only=True):
    """None: any. `statuses`: events with a delivery in one of these to one of `destination_ids`. `says`: texts, one of
    which its body holds."""

    workspace_id: UUID
    site_id: UUID | None = None
    key_id: UUID | None = None
    name: str | None = None
    event_id: str | None = None
    order_id: str | None = None
    note: str | None = None
    dialect: str | None = None
    visitor_key: UUID | None = None
    says: list[str] | None = None
    statuses: list[str] | None = None
    destination_ids: list[UUID] = []


class DeliveryFilter(Struct, frozen=True, kw_only=True):
    """`reason`: how it begins."""

    destination_ids: list[UUID]
    statuses: list[str] | None = None
    reason: str | None = None


async def events(
    tx: Tx, wanted: EventFilter, *, min_id: UUID, max_id: UUID, limit: int, seconds: float = LOOKING_SECONDS
) -> tuple[list[EventRow], UUID | None]:
    """Events newest first, and the id down to which they are all there is; None: there are no more, or `limit` are
    found."""
    found: list[EventRow] = []
    examined, deadline = EXAMINED, time.monotonic() + seconds
    while True:
        row = asdict(wanted) | {"min_id": min_id, "max_id": max_id, "examined": examined, "limit": limit - len(found)}
        async with tx.cursor(row_factory=args_row(EventRow), binary=True) as cursor:
            rows = await (await cursor.execute(_queries.list_events, row)).fetchall()
        if len(rows) == row["limit"]:
            row["min_id"] = rows[-1].id  # no further down does it matter what was not examined
        floor = await (await tx.execute(_queries.events_floor, row, binary=True)).fetchone()
        found += [event for event in rows if floor is None or event.id >= floor[0]]
        if floor is None or len(found) >= limit or time.monotonic() > deadline:
            return found, floor[0] if floor else None
        max_id, examined = UUID(int=floor[0].int - 1), min(examined * 2, EXAMINED_MAX)


async def visitors(
    tx: Tx,
    workspace_id: UUID,
    site_id: UUID | None,
    *,
    min_id: UUID,
    max_id: UUID,
    limit: int,
    seconds: float = LOOKING_SECONDS,
) -> tuple[dict[UUID, UUID], UUID | None]:
    """Visitors' keys, those who sent something last first, each with its newest event of the span; and the id down to
    which they are all there is; None: there are no more."""
    found: dict[UUID, UUID] = {}
    examined, deadline = EXAMINED, time.monotonic() + seconds
    while True:
        row = {"workspace_id": workspace_id, "site_id": site_id, "min_id": min_id, "max_id": max_id}
        row |= {"examined": examined, "limit": ROWS}
        rows = await (await tx.execute(_queries.list_visitors, row, binary=True)).fetchall()
        floor = await (await tx.execute(_queries.events_floor, row, binary=True)).fetchone()
        until = rows[-1][0] if len(rows) == ROWS else None
        if floor is not None:
            until = max(until or floor[0], floor[0])
        for id_, key in rows:
            if until is not None and id_ < until:
                break
            if key not in found:
                if len(found) == limit:
                    return found, UUID(int=id_.int + 1)
                found[key] = id_
        if until is None or time.monotonic() > deadline:
            return found, until
        max_id, examined = UUID(int=until.int - 1), min(examined * 2, EXAMINED_MAX)


async def deliveries(
    tx: Tx,
    wanted: DeliveryFilter,
    *,
    min_id: UUID,
    before: tuple[UUID, UUID],
    limit: int,
    seconds: float = LOOKING_SECONDS,
) -> tuple[list[DeliveryStatus], tuple[UUID, UUID] | None]:
    """Deliveries below (event, destination) `before`, newest event first; and down to where they are all there is."""
    found: list[DeliveryStatus] = []
    examined, deadline = EXAMINED, time.monotonic() + seconds
    while True:
        place = {"min_id": min_id, "max_id": before[0], "before": before[1]}
        row = asdict(wanted) | place | {"examined": examined, "limit": limit - len(found)}
        async with tx.cursor(row_factory=args_row(DeliveryStatus), binary=True) as cursor:
            rows = await (await cursor.execute(_queries.list_deliveries, row)).fetchall()
        floor = await (await tx.execute(_queries.deliveries_floor, row, binary=True)).fetchone()
        found += [one for one in rows if floor is None or (one.event_id, one.destination_id) >= floor]
        if floor is None or len(found) >= limit or time.monotonic() > deadline:
            return found, floor
        before, examined = floor, min(examined * 2, EXAMINED_MAX)


async def event_rows(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, EventRow]:
    """Events by id; unknown ones are absent."""
    if not ids:
        return {}
    own = [buckets.of_id(id_) for id_ in ids]
    low, high = buckets.span(ids)
    row = {
        "buckets": arrays.ints(own),
        "ids": arrays.uuids(id_.bytes for id_ in ids),
        "touched": arrays.ints(sorted(set(own))),
        "min_id": low,
        "max_id": high,
    }
    async with tx.cursor(row_factory=args_row(EventRow), binary=True) as cursor:
        await cursor.execute(_queries.event_rows, row)
        return {event.id: event for event in await cursor.fetchall()}


class Backlog(Struct, frozen=True):
    """Open deliveries of a destination. `since`: the first try of those that are retried; `reason`: why most of these
    are. `is_all` False: there are more, these are lower bounds."""

    waiting: int
    retrying: int
    since: datetime | None
    reason: str | None
    is_all: bool


async def backlog(tx: Tx, destination_id: UUID, oldest: datetime) -> Backlog:
    """What waits for a destination of events since `oldest`; a look at the longest due of each bucket."""
    row = {"buckets": list(buckets.BUCKETS), "destination_id": destination_id, "oldest": buckets.floor(oldest)}
    found = await (await tx.execute(_queries.backlog, row | {"limit": COUNTED}, binary=True)).fetchone()
    waiting, retrying, since, reason = found or (0, 0, None, None)
    return Backlog(waiting, retrying, since, reason, waiting < COUNTED)


class Attempt(Struct, frozen=True):
    """One try. `outcome` None: under way, or its worker died. `head`: method, url and headers, masked. `identifiers`:
    JSON of origin to names."""

    n: int
    at: datetime
    outcome: str | None
    reason: str | None
    status: int | None
    latency_ms: int | None
    head: str | None
    request: bytes | None
    response: str | None
    identifiers: bytes | None


async def attempts(tx: Tx, event_id: UUID, destination_id: UUID) -> list[Attempt]:
    """The tries of one delivery, oldest first."""
    row = {"bucket": buckets.of_id(event_id), "event_id": event_id, "min_id": event_id, "max_id": event_id}
    async with tx.cursor(row_factory=args_row(Attempt), binary=True) as cursor:
        await cursor.execute(_queries.attempts_of, row | {"destination_id": destination_id})
        return await cursor.fetchall()
