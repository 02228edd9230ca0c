"""Conversions: events that fulfilled a goal, and the orders that some of them are worth.

Tables: orders (bucket by the hash of site and order id), conversion (with an order in the order's bucket, else in its
event's; the id's last bits say which). A conversion with an order is worth what the order is: `orders.fold`.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from operator import attrgetter
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import asdict
from psycopg.rows import args_row

from postback import orders
from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip
from postback.money import Money
from postback.orders import Ledger
from postback.queue import dirty, lists

_queries = Queries("conversions")
_encode = msgspec.json.Encoder().encode
_ledger = msgspec.json.Decoder(Ledger).decode
ORDERS_EXAMINED = 16  # of each bucket, at first
ORDER_CANCELLED = "order cancelled: it was taken back before this was sent"


class Held(Struct):
    """An order as a flush builds it. Ids are 16 bytes."""

    key: bytes
    site_id: bytes
    order_id: str
    ledger: Ledger
    status: str = "pending"


# A row: id, bucket, workspace, site, goal's number, event, order's key and its id, value in major units and its
# currency, the sender's label, visitor's key, session, when. Ids and keys are 16 bytes. No value: none given, and the
# goal has none. A plain tuple, because one is made for nearly every event.
NewConversion = tuple[
    bytes, int, bytes, bytes, int, bytes, bytes | None, str | None, Decimal | None, str | None, str | None,
    bytes | None, str | None, datetime,
]  # fmt: skip


class Order(Struct, frozen=True):
    """A stored order."""

    key: UUID
    site_id: UUID
    order_id: str
    status: str
    ledger: Ledger
    first_seen_at: datetime
    changed_at: datetime

    def state(self, counts_from: str) -> orders.State:
        return orders.fold(self.ledger.entries, counts_from)


class Conversion(Struct, frozen=True):
    id: UUID
    event_id: UUID
    goal_id: int
    site_id: UUID
    order_key: UUID | None
    order_id: str | None
    value: Decimal | None
    currency: str | None
    source: str | None
    visitor_key: UUID | None
    session_id: str | None
    occurred_at: datetime


class Filter(Struct, frozen=True, kw_only=True):
    """None: any. `visitor_key`: that named this visitor, or one of the sessions. `event_id`: ours."""

    workspace_id: UUID
    goal_id: int | None = None
    site_id: UUID | None = None
    order_id: str | None = None
    event_id: UUID | None = None
    visitor_key: UUID | None = None
    session_ids: list[str] = []


def key_of(site_id: bytes, order_id: str) -> bytes:
    """16 bytes that name an order's row."""
    return blake2b(site_id + order_id.encode(), digest_size=16).digest()


def id_of(event_id: bytes, place: int, ordinal: int) -> bytes:
    """The id of the conversion that an event is of its goal at `ordinal`, in the bucket at `place`: the event's own,
    but for the bits that name the bucket and, from the second goal on, some of its random ones."""
    head = event_id[:15] if not ordinal else (int.from_bytes(event_id[:15]) ^ (ordinal << 8)).to_bytes(15)
    return head + bytes(((event_id[15] & 0xC0) | place,))


def near(event_id: UUID) -> tuple[UUID, UUID]:
    """Least and greatest id that a conversion of an event may have."""
    return UUID(bytes=event_id.bytes[:12] + bytes(4)), UUID(bytes=event_id.bytes[:12] + b"\xff" * 4)


def insert_new(trip: Trip, held: Iterable[Held], now: datetime) -> None:
    """Write orders in the hope that all are new; one that is not refuses the whole transaction (23505)."""
    rows = sorted(held, key=_key)
    trip.add(_queries.insert_new_orders, _named(rows) | _state(rows) | {"now": now})


def lock(trip: Trip, held: Iterable[Held], now: datetime) -> Rows:
    """Hold some orders to the end of the transaction, making those that are not there. Rows: for `fill`."""
    return trip.add(_queries.lock_orders, _named(sorted(held, key=_key)) | {"now": now})


def fill(held: dict[bytes, Held], rows: Rows) -> None:
    """What was posted of the orders before."""
    for key, ledger in rows.all:
        if ledger:
            held[bytes(key or b"")].ledger = _ledger(ledger)


def hours(held: Iterable[Held]) -> set[dirty.Hour]:
    """Where the conversions lie that some orders may have: in their bucket, in the hours of their posts."""
    return {
        (buckets.of_key(order.key), dirty.hour_of(UUID(entry.event_id)))
        for order in held
        for entry in order.ledger.entries
    }


def write(trip: Trip, held: Iterable[Held], now: datetime) -> None:
    """Write orders that are held."""
    rows = sorted(held, key=_key)
    keys = [row.key for row in rows]
    trip.add(_queries.write_orders, _places(keys) | {"keys": arrays.uuids(keys)} | _state(rows) | {"now": now})


_key = attrgetter("key")


def _places(keys: Sequence[bytes]) -> dict[str, object]:
    own = [buckets.of_key(key) for key in keys]
    return {"buckets": arrays.ints(own), "touched": arrays.ints(sorted(set(own)))}


def _named(rows: Sequence[Held]) -> dict[str, object]:
    keys = [row.key for row in rows]
    return _places(keys) | {
        "keys": arrays.uuids(keys),
        "site_ids": arrays.uuids([row.site_id for row in rows]),
        "order_ids": arrays.texts([row.order_id for row in rows]),
    }


def _state(rows: Sequence[Held]) -> dict[str, object]:
    return {
        "statuses": arrays.texts([row.status for row in rows]),
        "ledgers": arrays.byteas([_encode(row.ledger) for row in rows]),
    }


def insert(trip: Trip, new: Sequence[NewConversion]) -> None:
    """Write conversions: one statement."""
    (
        ids, own, workspace_ids, site_ids, goal_ids, event_ids, order_keys, order_ids, values, currencies, sources,
        visitor_keys, session_ids, occurred_at,
    ) = zip(*sorted(new), strict=True)  # fmt: skip
    trip.add(
        _queries.insert,
        {
            "buckets": arrays.ints(own),
            "touched": arrays.ints(sorted(set(own))),
            "ids": arrays.uuids(ids),
            "workspace_ids": arrays.uuids(workspace_ids),
            "site_ids": arrays.uuids(site_ids),
            "goal_ids": arrays.bigints(goal_ids),
            "event_ids": arrays.uuids(event_ids),
            "order_keys": arrays.uuids(order_keys),
            "order_ids": arrays.texts(order_ids),
            "values": arrays.texts([None if value is None else str(value) for value in values]),
            "currencies": arrays.texts(currencies),
            "sources": arrays.texts(sources),
            "visitor_keys": arrays.uuids(visitor_keys),
            "session_ids": arrays.texts(session_ids),
            "occurred_at": arrays.times(occurred_at),
        },
    )


def end_sales(trip: Trip, event_ids: Sequence[bytes], now: datetime) -> None:
    """Whatever is still to be sent of some events is skipped: their orders were taken back."""
    ids = sorted({UUID(bytes=id_) for id_ in event_ids}, key=lambda id_: (buckets.of_id(id_), id_))
    own = [buckets.of_id(id_) for id_ in ids]
    low, high = buckets.span(ids)
    trip.add(
        _queries.end_sales,
        {
            "buckets": arrays.ints(own),
            "touched": arrays.ints(sorted(set(own))),
            "ids": arrays.uuids(id_.bytes for id_ in ids),
            "min_id": low,
            "max_id": high,
            "reason": ORDER_CANCELLED,
            "now": now,
        },
    )


def worth_now(one: Conversion, order: Order | None, counts_from: str) -> tuple[Decimal | None, str | None]:
    """What a conversion is worth, and the currency: what its order is, where it has one whose posts say it."""
    state = order.state(counts_from) if order is not None else None
    if state is None or state.worth is None:
        return one.value, one.currency
    return state.worth, state.currency or one.currency


async def received(tx: Tx, own: Sequence[int], low: UUID, high: UUID) -> list[Conversion]:
    """Conversions of some buckets with ids from `low` to below `high`. Decoded a thousand at a time, between which
    others may run."""
    async with tx.cursor(row_factory=args_row(Conversion), binary=True) as cursor:
        await cursor.execute(_queries.received, {"buckets": list(own), "low": low, "high": high})
        found: list[Conversion] = []
        while page := await cursor.fetchmany(1000):
            found += page
            await asyncio.sleep(0)
        return found


async def orders_of(tx: Tx, found: Sequence[Conversion]) -> dict[UUID, Order]:
    """The orders of some conversions, by key."""
    keys = sorted({one.order_key.bytes for one in found if one.order_key is not None})
    return {order.key: order for order in await _read_orders(tx, keys)}


async def worth(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Money]:
    """What some orders are worth now, by key; without those that do not count yet, or of which no post says it."""
    row = _places(keys) | {"keys": arrays.uuids(keys)}
    found: dict[bytes, Money] = {}
    for key, stored, counts_from in await (await tx.execute(_queries.worth, row)).fetchall():
        ledger = _ledger(stored) if stored else Ledger([])
        state = orders.fold(ledger.entries, counts_from)
        if state.currency and state.worth is not None and (state.counts or state.status in orders.TAKEN_BACK):
            found[key.bytes] = Money(max(state.worth, Decimal(0)), state.currency)
    return found


async def taken_back(tx: Tx, keys: Collection[bytes]) -> set[UUID]:
    """The events that made some orders count which were cancelled or refunded since."""
    gone = [order.ledger for order in await _read_orders(tx, sorted(keys)) if order.status in orders.TAKEN_BACK]
    return {UUID(ledger.counted_by) for ledger in gone if ledger.counted_by is not None}


async def posts_of(tx: Tx, keys: Sequence[bytes]) -> list[UUID]:
    """The events that were posts of some orders, newest first."""
    found = await _read_orders(tx, sorted(keys))
    return sorted((UUID(entry.event_id) for order in found for entry in order.ledger.entries), reverse=True)


async def _read_orders(tx: Tx, keys: Sequence[bytes]) -> list[Order]:
    if not keys:
        return []
    row = _places(keys) | {"keys": arrays.uuids(keys)}
    async with tx.cursor(row_factory=args_row(_order)) as cursor:
        return await (await cursor.execute(_queries.read_orders, row)).fetchall()


async def find_orders(tx: Tx, site_ids: Sequence[UUID], order_id: str) -> list[Order]:
    """The orders of this id, at most one of each site; the newest first. Of an erased one nobody is told."""
    keys = sorted({key_of(site_id.bytes, order_id) for site_id in site_ids})
    found = [order for order in await _read_orders(tx, keys) if order.order_id == order_id]
    return sorted(found, key=lambda order: order.first_seen_at, reverse=True)


async def list_orders(
    tx: Tx,
    site_ids: Sequence[UUID],
    status: str | None,
    *,
    since: datetime,
    before: tuple[datetime, UUID],
    limit: int,
    seconds: float,
) -> tuple[list[Order], tuple[datetime, UUID] | None]:
    """Orders of some sites below (first seen, key) `before`, first seen last first; and down to where they are all
    there is; None: there are no more. What is rare is found page by page, as in `queue.lists`."""
    found: list[Order] = []
    examined, deadline = ORDERS_EXAMINED, time.monotonic() + seconds
    wanted = {"site_ids": list(site_ids), "status": status, "since": since, "buckets": list(buckets.BUCKETS)}
    while True:
        place = {"before_at": before[0], "before": before[1]}
        row = wanted | place | {"examined": examined, "limit": limit - len(found)}
        async with tx.cursor(row_factory=args_row(_order)) as cursor:
            rows = await (await cursor.execute(_queries.list_orders, row)).fetchall()
        floor = await (await tx.execute(_queries.orders_floor, row)).fetchone()
        found += [one for one in rows if floor is None or (one.first_seen_at, one.key) >= floor]
        if floor is None or len(found) >= limit or time.monotonic() > deadline:
            return found, floor
        before, examined = floor, min(examined * 4, lists.EXAMINED_MAX)


async def read(tx: Tx, workspace_id: UUID, id_: UUID) -> Conversion | None:
    row = {"bucket": buckets.of_id(id_), "id": id_, "min_id": id_, "max_id": id_, "workspace_id": workspace_id}
    async with tx.cursor(row_factory=args_row(Conversion)) as cursor:
        return await (await cursor.execute(_queries.read, row)).fetchone()


async def list_all(
    tx: Tx, wanted: Filter, *, min_id: UUID, max_id: UUID, limit: int
) -> tuple[list[Conversion], UUID | None]:
    """Conversions newest first, and the id down to which they are all there is; None: there are no more.

    What is rare is found page by page, as in `queue.lists`.
    """
    found: list[Conversion] = []
    examined, deadline = lists.EXAMINED, time.monotonic() + lists.LOOKING_SECONDS
    while True:
        row = asdict(wanted) | {"min_id": min_id, "max_id": max_id, "examined": examined, "limit": limit - len(found)}
        async with tx.cursor(row_factory=args_row(Conversion)) as cursor:
            rows = await (await cursor.execute(_queries.list_all, row)).fetchall()
        floor = await (await tx.execute(_queries.list_floor, row)).fetchone()
        found += [one for one in rows if floor is None or one.id >= floor[0]]
        if floor is None or len(found) >= limit or time.monotonic() > deadline:
            return found, floor[0] if floor else None
        max_id, examined = UUID(int=floor[0].int - 1), min(examined * 2, lists.EXAMINED_MAX)


def _order(
    key: UUID, site_id: UUID, order_id: str, status: str, ledger: bytes, first_seen_at: datetime, changed_at: datetime
) -> Order:
    known = _ledger(ledger) if ledger else Ledger([])
    return Order(key, site_id, order_id, status, known, first_seen_at, changed_at)
