"""What makes two posts the same event.

Table: dedup. A key is 10 bytes of the hash of (workspace, space, id) and 6 of that of the event's name; its bucket
comes from the first part, so that a look-up by the sender's id alone is one range read of the primary key. Spaces:
"event" for `event_id` (native, ROASproof, Segment, tag), and one for each way a dialect names repeats otherwise.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol
from uuid import UUID
from zlib import crc32

from psycopg.rows import tuple_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip
from postback.event import Event
from postback.queue import lists

_queries = Queries("intake")


def key(workspace_id: bytes, space: str, id_: str, name: str) -> bytes:
    return _head(workspace_id, space, id_) + _tail(name)


def _head(workspace_id: bytes, space: str, id_: str) -> bytes:
    return blake2b(workspace_id + f"{space}\0{id_}".encode(), digest_size=10).digest()


@lru_cache(4096)
def _tail(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=6).digest()


def body_hash(event: Event) -> int:
    """A checksum of what a repeat must not change: value, currency, order id, order status."""
    value, order = event.value, event.order
    if value is None and order is None:
        return 0
    # Equal amounts have equal texts: money has exactly its currency's decimals.
    text = f"{value.amount}|{value.currency}" if value else ""
    if order:
        text += f"|{order.id}|{order.status}"
    return crc32(text.encode())


class Row(Protocol):
    """An event as it is filed: keys and ids are 16 bytes; `conversion_id`: of the conversion it is answered with."""

    dedup_key: bytes
    id: bytes
    body_hash: int
    conversion_id: bytes | None


class Filed(NamedTuple):
    """What stands under a key."""

    event_id: UUID
    body_hash: int
    conversion_id: UUID | None


def insert(trip: Trip, events: Sequence[Row]) -> Rows:
    """File events, whose keys must be sorted and differ. Rows: the keys that were new, 16 bytes."""
    return trip.add(_queries.insert_dedup, _rows(events))


def insert_new(trip: Trip, events: Sequence[Row]) -> None:
    """The same, in the hope that all are new: one that is not refuses the whole transaction (23505)."""
    trip.add(_queries.insert_new, _rows(events))


def _rows(events: Sequence[Row]) -> dict[str, object]:
    keys = [event.dedup_key for event in events]
    own = [buckets.of_key(key) for key in keys]
    return {
        "buckets": arrays.ints(own),
        "keys": arrays.uuids(keys),
        "event_ids": arrays.uuids([event.id for event in events]),
        "answer_ids": arrays.uuids([event.conversion_id for event in events]),
        "body_hashes": arrays.bigints([event.body_hash for event in events]),
        "touched": arrays.ints(sorted(set(own))),
    }


async def find(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Filed]:
    """What stands under some keys."""
    own = [buckets.of_key(k) for k in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    async with tx.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(_queries.find_dedup, row)
        return {k.bytes: Filed(*filed) for k, *filed in await cursor.fetchall()}


async def find_by_sender_id(tx: Tx, workspace_id: UUID, id_: str) -> list[UUID]:
    """Events that a sender gave this id, newest first; of an erased one nobody is told."""
    head = _head(workspace_id.bytes, "event", id_)
    row = {
        "bucket": buckets.of_key(head),
        "low": UUID(bytes=head + bytes(6)),
        "high": UUID(bytes=head + b"\xff" * 6),
    }
    found = await (await tx.execute(_queries.find_by_sender_id, row)).fetchall()
    ids = sorted((row[0] for row in found), reverse=True)
    stored = await lists.event_rows(tx, ids)
    return [id_ for id_ in ids if id_ not in stored or not stored[id_].is_erased]
