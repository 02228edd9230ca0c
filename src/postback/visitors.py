"""Visitors: what was seen of a browser, and the links by which a conversion without a visitor id finds one.

Tables: visitor (bucket by the hash of workspace and visitor id), link (bucket by the MAC of an identifier; what a
visitor reached at a destination is a link too, in the visitor's bucket).
`identifiers` hold `[value, unix ms when it was first seen with this value]`, hashes, click ids and experiments alone;
what is readable is sealed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Trip
from postback.event import Event

_queries = Queries("visitors")
_EXPERIMENT = "experiment."  # and its id: the variation that the visitor was put into


class Seen(Struct, frozen=True):
    """What one event showed of its visitor. `identifiers`: name -> value. `links`: keys that lead to it."""

    key: bytes
    workspace_id: UUID
    identifiers: dict[str, str]
    sealed: bytes | None
    links: tuple[bytes, ...]
    at: datetime


class Visitor(Struct, frozen=True):
    key: UUID
    workspace_id: UUID
    identifiers: dict[str, tuple[str, int]]
    sealed: bytes | None


_identifiers = msgspec.json.Decoder(dict[str, tuple[str, int]])


def key_of(workspace_id: UUID, visitor_id: str) -> bytes:
    """16 bytes that name a visitor's row; another workspace's same id is another row."""
    return hashlib.blake2b(visitor_id.encode(), digest_size=16, key=workspace_id.bytes).digest()


def keys_of(event: Event, workspace_id: UUID, visitor_key: bytes | None) -> list[bytes]:
    """Rows of visitors that a stored event names; a Velaro post's session may be a visitor's id."""
    keys = [visitor_key] if visitor_key is not None else []
    if event.dialect == "velaro" and event.session_id:
        keys.append(key_of(workspace_id, event.session_id))
    return keys


def as_identifiers(experiments: Mapping[str, str]) -> dict[str, str]:
    """Experiment to variation, as a visitor's row keeps them."""
    return {f"{_EXPERIMENT}{experiment}": variation for experiment, variation in experiments.items()}


def experiments(visitor: Visitor) -> dict[str, str]:
    """Experiment to variation, as last seen."""
    return {
        name.removeprefix(_EXPERIMENT): value
        for name, (value, _) in visitor.identifiers.items()
        if name.startswith(_EXPERIMENT)
    }


def record(trip: Trip, seen: Sequence[Seen]) -> None:
    """Upsert visitors and links: two statements, rows in key order, each row once. Must be in order of time."""
    folded: dict[bytes, Seen] = {}
    links: dict[bytes, Seen] = {}
    for one in seen:
        before = folded.get(one.key)
        folded[one.key] = one if before is None else _merged(before, one)
        links |= dict.fromkeys(one.links, one)
    rows = [folded[key] for key in sorted(folded)]
    own = [buckets.of_key(row.key) for row in rows]
    trip.add(
        _queries.upsert,
        {
            "buckets": arrays.ints(own),
            "keys": arrays.uuids(row.key for row in rows),
            "workspace_ids": arrays.uuids(row.workspace_id.bytes for row in rows),
            "identifiers": arrays.byteas(_encoded(row) for row in rows),
            "sealed": arrays.byteas(row.sealed for row in rows),
            "seen_at": arrays.times(row.at for row in rows),
            "touched": arrays.ints(sorted(set(own))),
        },
    )
    if links:
        keys = sorted(links)
        own = [buckets.of_key(key) for key in keys]
        trip.add(
            _queries.upsert_links,
            {
                "buckets": arrays.ints(own),
                "keys": arrays.uuids(keys),
                "visitor_keys": arrays.uuids(links[key].key for key in keys),
                "seen_at": arrays.times(links[key].at for key in keys),
                "touched": arrays.ints(sorted(set(own))),
            },
        )


async def find_links(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Link key -> visitor key, of those known."""
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    found = await (await tx.execute(_queries.find_links, row)).fetchall()
    return {key.bytes: visitor_key.bytes for key, visitor_key in found}


async def reached(tx: Tx, marks: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    """Of some (link key, visitor key), the link keys that `remember` put into their visitors' buckets."""
    keys, own = [key for key, _ in marks], [buckets.of_key(visitor_key) for _, visitor_key in marks]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    return {key.bytes for key, _ in await (await tx.execute(_queries.find_links, row)).fetchall()}


async def remember(tx: Tx, marks: Sequence[tuple[bytes, bytes]], at: datetime) -> None:
    """Keep (link key, visitor key) in the visitors' buckets; repeating is harmless."""
    rows = sorted({key: (buckets.of_key(visitor_key), key, visitor_key) for key, visitor_key in marks}.values())
    await tx.execute(
        _queries.upsert_links,
        {
            "buckets": arrays.ints(bucket for bucket, _, _ in rows),
            "keys": arrays.uuids(key for _, key, _ in rows),
            "visitor_keys": arrays.uuids(visitor_key for _, _, visitor_key in rows),
            "seen_at": arrays.times(at for _ in rows),
            "touched": arrays.ints(sorted({bucket for bucket, _, _ in rows})),
        },
    )


async def find(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Visitor]:
    """Visitors by key, of those known."""
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    async with tx.cursor(row_factory=args_row(_visitor), binary=True) as cursor:
        await cursor.execute(_queries.find, row)
        return {visitor.key.bytes: visitor for visitor in await cursor.fetchall()}


def _visitor(key: UUID, workspace_id: UUID, identifiers: str, sealed: bytes | None) -> Visitor:
    return Visitor(key, workspace_id, _identifiers.decode(identifiers), sealed)


def _encoded(seen: Seen) -> bytes:
    ms = int(seen.at.timestamp() * 1000)
    return msgspec.json.encode({name: (value, ms) for name, value in seen.identifiers.items()})


def _merged(before: Seen, later: Seen) -> Seen:
    return Seen(
        later.key,
        later.workspace_id,
        before.identifiers | later.identifiers,
        later.sealed or before.sealed,
        before.links + later.links,
        later.at,
    )
