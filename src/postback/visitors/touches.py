"""Touches: the start of a session with its source, and interactions with a widget (`open`).

Table: touch (bucket by the visitor, cut into months by id). The id of a session's start is made of its time and its
session id, so that every batch of a session makes the same one; that of an interaction is made of its event's id.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Trip

SESSION, OPEN = "session", "open"
MAX_TEXT = 300
_queries = Queries("visitors")


class Touch(Struct, frozen=True, kw_only=True):
    """`visitor_key` and `id` are 16 bytes. `source` None: direct. `click_id`: the name of the one that it came with."""

    visitor_key: bytes
    id: bytes
    workspace_id: bytes
    site_id: bytes | None
    kind: str
    session_id: str | None
    at: datetime
    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    click_id: str | None = None
    referrer: str | None = None
    landing: str | None = None
    product: str | None = None
    widget: str | None = None
    placement: str | None = None
    is_bot: bool = False


class Visit(NamedTuple):
    """The start of a session, as far as it takes credit. `source` None: direct."""

    site_id: UUID | None
    session_id: str | None
    at: datetime
    source: str | None
    medium: str | None
    campaign: str | None


def id_of(at: datetime, text: str) -> bytes:
    """A UUIDv7 of this time, the same for the same text."""
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=9).digest())
    return buckets.make_ids(1, int(at.timestamp() * 1000), digest & 63, digest)[0]


def insert(trip: Trip, new: Iterable[Touch]) -> None:
    """Write touches; those that are known stay. One statement, rows in key order."""
    rows = sorted({(one.visitor_key, one.id): one for one in new}.values(), key=lambda one: (one.visitor_key, one.id))
    own = [buckets.of_key(row.visitor_key) for row in rows]
    texts = {
        name: arrays.texts(getattr(row, name.removesuffix("s")) for row in rows)
        for name in (
            "session_ids sources mediums campaigns terms contents click_ids referrers landings products widgets "
            "placements"
        ).split()
    }
    trip.add(
        _queries.insert_touches,
        texts
        | {
            "buckets": arrays.ints(own),
            "touched": arrays.ints(sorted(set(own))),
            "visitor_keys": arrays.uuids(row.visitor_key for row in rows),
            "ids": arrays.uuids(row.id for row in rows),
            "workspace_ids": arrays.uuids(row.workspace_id for row in rows),
            "site_ids": arrays.uuids(row.site_id for row in rows),
            "kinds": arrays.texts(row.kind for row in rows),
            "at": arrays.times(row.at for row in rows),
            "are_bots": arrays.ints(int(row.is_bot) for row in rows),
        },
    )


async def of_visitors(tx: Tx, keys: Sequence[bytes], since: datetime, until: datetime, limit: int) -> list[Touch]:
    """The newest first. A session is told once, though a wrong clock may have filed it twice."""
    found = await _read(tx, keys, buckets.floor(since), _end(until), limit)
    first = {(one.visitor_key, one.session_id): one.id for one in found if one.kind == SESSION}
    return [one for one in found if one.kind != SESSION or first[one.visitor_key, one.session_id] == one.id]


async def all_of(tx: Tx, key: bytes, until: datetime, page: int) -> AsyncIterator[list[Touch]]:
    """All that is filed of a visitor, the newest first, a page at a time."""
    end = _end(until)
    while found := await _read(tx, [key], UUID(int=0), end, page):
        yield found
        end = UUID(int=UUID(bytes=found[-1].id).int - 1)


def _end(until: datetime) -> UUID:
    return buckets.floor(until + timedelta(milliseconds=1))


async def _read(tx: Tx, keys: Sequence[bytes], min_id: UUID, max_id: UUID, limit: int) -> list[Touch]:
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    async with tx.cursor(row_factory=args_row(_touch), binary=True) as cursor:
        await cursor.execute(_queries.touches_of, row | {"min_id": min_id, "max_id": max_id, "limit": limit})
        return await cursor.fetchall()


async def visits(tx: Tx, keys: Sequence[bytes], since: datetime, until: datetime) -> dict[bytes, list[Visit]]:
    """The sessions of some visitors, by visitor, the newest first; without those of bots."""
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    span = {"min_id": buckets.floor(since), "max_id": _end(until)}
    found: dict[bytes, list[Visit]] = {}
    for key, *visit in await (await tx.execute(_queries.visits, row | span, binary=True)).fetchall():
        found.setdefault(key.bytes, []).append(Visit(*visit))
    return found


def _touch(
    visitor_key: UUID, id: UUID, workspace_id: UUID, site_id: UUID | None, kind: str, session_id: str | None,
    at: datetime, *texts: str | bool | None,
) -> Touch:  # fmt: skip
    names = Touch.__struct_fields__[7:]
    ids = (visitor_key.bytes, id.bytes, workspace_id.bytes, site_id.bytes if site_id else None)
    fixed = dict(zip(Touch.__struct_fields__[:7], (*ids, kind, session_id, at), strict=True))
    return Touch(**fixed, **dict(zip(names, texts, strict=True)))  # type: ignore[arg-type]
