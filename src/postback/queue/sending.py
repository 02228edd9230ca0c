"""What a bucket's owner does with its deliveries: find them, claim them, begin attempts, settle them.

Every write carries the lease's epoch, so that a worker which lost a bucket changes nothing in it. Statements take many
buckets at once; who calls gives rows of one statement in the order of their keys.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncCursor
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets, partitions

_queries = Queries("queue")
END_OPEN_ROWS = 1000
HASTEN_ROWS = 1000
TAKEN_BACK_FIX = "It may have arrived, and its order was taken back since. Look there, and take it back by hand."
# Ids are made by writers' clocks, which may go ahead of ours.
_CLOCKS_APART = timedelta(hours=1)


class Window(Struct, frozen=True):
    """The span of event ids in which open deliveries can lie; spares the partitions outside."""

    oldest: UUID
    newest: UUID


class Claimed(Struct, frozen=True):
    """Ids are 16 bytes. `attempt`: the last one's number; `tries`, `tried_at`: how many since it was queued, and the
    first one's time.

    `unfinished_at`: when the next attempt was begun already, by somebody who did not live to say how it ended.
    """

    event_id: bytes
    attempt: int
    tries: int
    tried_at: datetime | None
    due_at: datetime
    unfinished_at: datetime | None


class StoredEvent(Struct, frozen=True):
    """Ids are 16 bytes; `body` is JSON of event.Event."""

    id: bytes
    workspace_id: bytes
    body: bytes
    sealed: bytes | None
    visitor_key: bytes | None


class Ticket(Struct, frozen=True):
    """The right to write one delivery: its key (ids are 16 bytes), the epoch of the bucket's lease, and its last
    attempt's number."""

    bucket: int
    epoch: int
    event_id: bytes
    destination_id: bytes
    attempt: int


class Ended(Struct, frozen=True):
    """How an attempt ended, for the log; `outcome`: delivered, retry, failed, refused, unknown. Texts are masked.
    `identifiers`: JSON of those that the connector had, by where they came from."""

    outcome: str
    reason: str | None = None
    status: int | None = None
    latency_ms: int | None = None
    head: str | None = None
    request: bytes | None = None
    response: str | None = None
    identifiers: bytes | None = None


class Settled(Struct, frozen=True):
    """What becomes of one delivery. `ended` None: no attempt was made; `at`: when the attempt began. `reached`: what is
    to be remembered of it, the key of a link and its visitor's."""

    ticket: Ticket
    status: str
    due_at: datetime
    reason: str | None = None
    fix: str | None = None
    ended: Ended | None = None
    at: datetime | None = None
    reached: tuple[bytes, bytes] | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the platform has it, or may have it."""
        return self.ended is not None and self.ended.outcome in ("delivered", "unknown")


async def due(
    tx: Tx, pairs: Sequence[tuple[int, UUID]], until: datetime, window: Window
) -> list[tuple[int, UUID, datetime]]:
    """Of some (bucket, destination), those that have something due, and since when."""
    if not pairs:
        return []
    row = _pairs(pairs, window) | {"until": until}
    return await (await tx.execute(_queries.due, row, binary=True)).fetchall()


async def waiting(tx: Tx, pairs: Sequence[tuple[int, UUID]], window: Window) -> list[tuple[int, UUID, datetime]]:
    """Of some (bucket, destination), those that have retries waiting, and when the first is due."""
    if not pairs:
        return []
    return await (await tx.execute(_queries.waiting, _pairs(pairs, window), binary=True)).fetchall()


async def window(tx: Tx, own: Sequence[int], now: datetime, oldest: datetime) -> Window:
    """The span of ids that holds every open delivery of some buckets, by months from `oldest` on."""
    newest = buckets.floor(now + _CLOCKS_APART)
    start = partitions.month(oldest)
    while start < partitions.month(now):
        end = partitions.next_month(start)
        row = {"buckets": list(own), "low": buckets.floor(start), "high": buckets.floor(end)}
        if await (await tx.execute(_queries.has_open, row)).fetchone():
            break
        start = end
    return Window(buckets.floor(start), newest)


async def claim(
    tx: Tx,
    destination_id: UUID,
    wanted: Sequence[tuple[int, datetime, int]],
    now: datetime,
    span: Window,
    until: datetime | None = None,
) -> dict[int, list[Claimed]]:
    """Deliveries that are due now, and retries that are due by `until`, by bucket; `wanted`: bucket, no earlier than,
    how many. One round trip."""
    cursors: list[AsyncCursor[Claimed]] = []
    async with tx.pipeline():
        for bucket, since, limit in wanted:
            row = {"bucket": bucket, "destination_id": destination_id, "since": since, "limit": limit}
            row |= {"now": now, "until": until or now}
            cursor = tx.cursor(row_factory=args_row(Claimed), binary=True)
            await cursor.execute(_queries.claim, row | {"oldest": span.oldest, "newest": span.newest})
            cursors.append(cursor)
    return {bucket: await cursor.fetchall() for (bucket, *_), cursor in zip(wanted, cursors, strict=True)}


async def events(tx: Tx, ids: Sequence[bytes]) -> dict[bytes, StoredEvent]:
    async with tx.cursor(row_factory=args_row(StoredEvent), binary=True) as cursor:
        own = [buckets.BUCKETS[id_[15] & 63] for id_ in ids]
        await cursor.execute(
            _queries.events,
            {
                "buckets": arrays.ints(own),
                "ids": arrays.uuids(ids),
                "touched": list(set(own)),
                "min_id": UUID(bytes=min(ids)),
                "max_id": UUID(bytes=max(ids)),
            },
        )
        return {row.id: row for row in await cursor.fetchall()}


async def begin(tx: Tx, owner: UUID, destination_id: UUID, tickets: Sequence[Ticket], at: datetime) -> int:
    """Write that attempts begin; how many were written, fewer where a lease was lost."""
    row = {
        "destination_id": destination_id,
        "at": at,
        "owner": owner,
        "buckets": arrays.ints(t.bucket for t in tickets),
        "event_ids": arrays.uuids(t.event_id for t in tickets),
        "ns": arrays.ints(t.attempt + 1 for t in tickets),
        "epochs": arrays.bigints(t.epoch for t in tickets),
        "touched": list({t.bucket for t in tickets}),
    }
    return (await tx.execute(_queries.begin, row)).rowcount


async def withdraw(tx: Tx, owner: UUID, tickets: Sequence[Ticket]) -> None:
    """Forget attempts that were begun and not sent; repeating is harmless."""
    await tx.execute(_queries.withdraw, _keys(owner, tickets) | {"ns": arrays.ints(t.attempt + 1 for t in tickets)})


async def settle(tx: Tx, owner: UUID, rows: Sequence[Settled], now: datetime) -> AsyncCursor[Any]:
    """Write outcomes, each once: repeating is harmless. The cursor's `rowcount`: how many deliveries took theirs."""
    if ended := [(row, row.ended) for row in rows if row.ended is not None]:
        await tx.execute(
            _queries.end_attempts,
            _keys(owner, [row.ticket for row, _ in ended])
            | {
                "ns": arrays.ints(row.ticket.attempt + 1 for row, _ in ended),
                "outcomes": arrays.texts(e.outcome for _, e in ended),
                "reasons": arrays.texts(e.reason for _, e in ended),
                "statuses": arrays.ints(e.status for _, e in ended),
                "latencies": arrays.ints(e.latency_ms for _, e in ended),
                "heads": arrays.texts(e.head for _, e in ended),
                "requests": arrays.byteas(e.request for _, e in ended),
                "responses": arrays.texts(e.response for _, e in ended),
                "identifiers": arrays.byteas(e.identifiers for _, e in ended),
            },
        )
    return await tx.execute(
        _queries.settle,
        _keys(owner, [row.ticket for row in rows])
        | {
            "befores": arrays.ints(row.ticket.attempt for row in rows),
            "ns": arrays.ints(row.ticket.attempt + (row.ended is not None) for row in rows),
            "statuses": arrays.texts(row.status for row in rows),
            "due_at": arrays.times(row.due_at for row in rows),
            "reasons": arrays.texts(row.reason for row in rows),
            "fixes": arrays.texts(row.fix for row in rows),
            "settled_at": arrays.times(None if row.status == "retrying" else now for row in rows),
            "tried_at": arrays.times(row.at for row in rows),
            "taken": [row.is_taken for row in rows],
            "taken_back_fix": TAKEN_BACK_FIX,
        },
    )


async def hasten(tx: Tx, destination_id: UUID, own: Sequence[int], now: datetime, span: Window) -> None:
    """Make what waits for a retry due, HASTEN_ROWS at a time; outside a transaction."""
    row = {"destination_id": destination_id, "now": now, "limit": HASTEN_ROWS}
    row |= {"oldest": span.oldest, "newest": span.newest}
    for bucket in own:
        while (await tx.execute(_queries.hasten, row | {"bucket": bucket})).rowcount == HASTEN_ROWS:
            pass


async def end_open(
    tx: Tx, destination_id: UUID, bucket: int, status: str, reason: str, fix: str | None, now: datetime, oldest: UUID
) -> int:
    """End up to END_OPEN_ROWS open deliveries of a destination in one bucket; how many it were."""
    row = {"destination_id": destination_id, "bucket": bucket, "status": status, "reason": reason, "fix": fix}
    cursor = await tx.execute(_queries.end_open, row | {"now": now, "oldest": oldest, "limit": END_OPEN_ROWS})
    return cursor.rowcount


async def oldest_pending(tx: Tx, destination_ids: Sequence[UUID], oldest: UUID) -> dict[UUID, datetime]:
    """When the event came whose delivery has waited the longest, by destination; in constant time.

    It is one of the first in line of each bucket: a younger one may have come earlier by minutes, never by more than
    retries wait.
    """
    row = {
        "buckets": list(buckets.BUCKETS),
        "destination_ids": arrays.uuids(id_.bytes for id_ in destination_ids),
        "oldest": oldest,
    }
    found: dict[UUID, datetime] = {}
    for destination_id, event_id in await (await tx.execute(_queries.oldest_pending, row, binary=True)).fetchall():
        at = buckets.time_of(event_id)
        found[destination_id] = min(at, found.get(destination_id, at))
    return found


def _pairs(pairs: Sequence[tuple[int, UUID]], window: Window) -> dict[str, Any]:
    return {
        "buckets": arrays.ints(bucket for bucket, _ in pairs),
        "destination_ids": arrays.uuids(id_.bytes for _, id_ in pairs),
        "touched": list({bucket for bucket, _ in pairs}),
        "oldest": window.oldest,
        "newest": window.newest,
    }


def _keys(owner: UUID, tickets: Sequence[Ticket]) -> dict[str, Any]:
    ids = [t.event_id for t in tickets]
    return {
        "owner": owner,
        "buckets": arrays.ints(t.bucket for t in tickets),
        "event_ids": arrays.uuids(ids),
        "destination_ids": arrays.uuids(t.destination_id for t in tickets),
        "epochs": arrays.bigints(t.epoch for t in tickets),
        "touched": list({t.bucket for t in tickets}),
        "min_id": UUID(bytes=min(ids)),
        "max_id": UUID(bytes=max(ids)),
    }
