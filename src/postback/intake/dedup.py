"""What makes two posts the same event.

Table: dedup. A key is 10 bytes of the hash of (workspace, space, id) and 6 of that of the event's name; its bucket
comes from the first part, so that a look-up by the sender's id alone is one range read of the primary key. Spaces:
"event" for `event_id` (native, ROASproof, Segment, tag), and one for each way a dialect names repeats otherwise.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID
from zlib import crc32

from psycopg.rows import tuple_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip
from postback.event import Event

_queries = Queries("intake")


def key(workspace_id: bytes, space: str, id_: str, name: str) -> bytes:
    return _head(workspace_id, space, id_) + _tail(name)


def _head(workspace_id: bytes, space: str, id_: str) -> bytes:
    return blake2b(f"{space}\0{id_}".encode(), digest_size=10, key=workspace_id).digest()


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


def insert(trip: Trip, keys: Sequence[bytes], event_ids: Sequence[bytes], body_hashes: Sequence[int]) -> Rows:
    """File events under their keys, which must be sorted and differ. Rows: the keys that were new, 16 bytes."""
    return trip.add(_queries.insert_dedup, _rows(keys, event_ids, body_hashes))


def insert_new(trip: Trip, keys: Sequence[bytes], event_ids: Sequence[bytes], body_hashes: Sequence[int]) -> None:
    """The same, in the hope that all are new: one that is not refuses the whole transaction (23505)."""
    trip.add(_queries.insert_new, _rows(keys, event_ids, body_hashes))


def _rows(keys: Sequence[bytes], event_ids: Sequence[bytes], body_hashes: Sequence[int]) -> dict[str, object]:
    own = [buckets.of_key(k) for k in keys]
    return {
        "buckets": arrays.ints(own),
        "keys": arrays.uuids(keys),
        "event_ids": arrays.uuids(event_ids),
        "body_hashes": arrays.bigints(body_hashes),
        "touched": arrays.ints(sorted(set(own))),
    }


async def find(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, tuple[UUID, int]]:
    """Key -> the first event's id and its body hash, of those filed."""
    own = [buckets.of_key(k) for k in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    async with tx.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(_queries.find_dedup, row)
        return {k.bytes: (event_id, hash_) for k, event_id, hash_ in await cursor.fetchall()}


async def find_by_sender_id(tx: Tx, workspace_id: UUID, id_: str) -> list[UUID]:
    """Events that a sender gave this id, newest first."""
    head = _head(workspace_id.bytes, "event", id_)
    row = {
        "bucket": buckets.of_key(head),
        "low": UUID(bytes=head + bytes(6)),
        "high": UUID(bytes=head + b"\xff" * 6),
    }
    found = await (await tx.execute(_queries.find_by_sender_id, row)).fetchall()
    return sorted((row[0] for row in found), reverse=True)
