"""Links: from a session, a hashed email or phone, a user id to the visitors that were seen with it, and from visitor to
visitor where they are proved to be one person.

Table: link (bucket by its key; what a visitor reached at a destination is a link too, in the visitor's bucket). A row
holds the set of its visitors; past MOST_VISITORS of them it is a shared device or a test address, and joins nobody.
A user id or an email that two visitors share proves them one person. What it proves is copied to each of them: a row
of kind alias, whose key is the visitor's own and begins with the same 10 bytes for all its aliases, so that one
look-up finds them with the sessions and the emails. A copy grows with its original, past the limit too.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from postback import pii
from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip

MOST_VISITORS = 50
ALIAS, TOKEN, REACHED = "alias", "token", "reached"
# Who shares one of these is one person.
PROOFS = frozenset(("external_id", "email"))
_HEAD = 10
_ARRAY_HEAD = 20
_queries = Queries("visitors")


class NewLink(Struct, frozen=True):
    key: bytes
    kind: str
    visitor_keys: tuple[bytes, ...]
    origin: str
    at: datetime


def alias_key(visitor_key: bytes, via: bytes) -> bytes:
    """The key under which a visitor finds who else it is, by what `via` names."""
    return _alias_head(visitor_key) + via[: 16 - _HEAD]


def aliases_of(visitor_key: bytes) -> tuple[bytes, bytes]:
    """The span of keys of all of a visitor's aliases."""
    head = _alias_head(visitor_key)
    return head + bytes(16 - _HEAD), head + b"\xff" * (16 - _HEAD)


def _alias_head(visitor_key: bytes) -> bytes:
    return hashlib.blake2b(visitor_key, digest_size=_HEAD, person=b"alias").digest()


def both_ways(a: bytes, b: bytes, via: bytes, origin: str, at: datetime) -> tuple[NewLink, NewLink]:
    """That two visitors are one."""
    return (
        NewLink(alias_key(a, via), ALIAS, (b,), origin, at),
        NewLink(alias_key(b, via), ALIAS, (a,), origin, at),
    )


def token_key(link_key: bytes, workspace: bytes, nonce: bytes) -> bytes:
    """The key under which stands who took a pb_vid."""
    return pii.link_key(link_key, workspace, TOKEN, nonce.hex())


def people(links: Iterable[tuple[str, bytes]]) -> int:
    """Two bits of 64 for each name of one person, as a signed number: the first of each kind that is said together."""
    bits, named = 0, set[str]()
    for kind, key in links:
        if kind in PROOFS and kind not in named:
            named.add(kind)
            bits |= 1 << (key[-1] & 63) | 1 << (key[-2] & 63)
    return bits - (1 << 64) if bits >> 63 else bits


def has_others(bits: int, links: Iterable[tuple[str, bytes]]) -> bool:
    """Whether more people were named than these names are of; of a thousand others one to four are not told apart."""
    return bits & ~people(links) != 0


def record(trip: Trip, found: Iterable[NewLink], now: datetime) -> Rows:
    """Add visitors to links: one statement. The rows it gives are for `shared`."""
    folded: dict[bytes, NewLink] = {}
    for link in found:
        before = folded.get(link.key)
        folded[link.key] = link if before is None else _merged(before, link)
    rows = [folded[key] for key in sorted(folded)]
    own = [buckets.of_key(row.key) for row in rows]
    return trip.add(_queries.upsert_links, _params(own, rows, now))


def _merged(a: NewLink, b: NewLink) -> NewLink:
    first = a if a.at <= b.at else b
    return NewLink(a.key, a.kind, tuple(dict.fromkeys(a.visitor_keys + b.visitor_keys)), first.origin, first.at)


def _params(own: Sequence[int], rows: Sequence[NewLink], now: datetime) -> dict[str, object]:
    return {
        "buckets": arrays.ints(own),
        "keys": arrays.uuids(row.key for row in rows),
        "visitor_keys": arrays.uuids(row.visitor_keys[0] for row in rows),
        "others": arrays.texts(_text(row.visitor_keys[1:]) for row in rows),
        "kinds": arrays.texts(row.kind for row in rows),
        "origins": arrays.texts(row.origin for row in rows),
        "seen_at": arrays.times(row.at for row in rows),
        "now": now,
        "touched": arrays.ints(sorted(set(own))),
    }


def _text(keys: Sequence[bytes]) -> str | None:
    return f"{{{','.join(key.hex() for key in keys)}}}" if keys else None


def shared(told: Rows, now: datetime) -> list[NewLink]:
    """What `record` found that proves visitors to be one person, as it is copied to each of them."""
    copies: list[NewLink] = []
    for key, kind, origin, visitor_key, others in told.all:
        if (kind or b"").decode() not in PROOFS or key is None or visitor_key is None:
            continue
        all_ = (visitor_key, *_uuids(others))
        for one in all_:
            rest = tuple(other for other in all_ if other != one)
            copies.append(NewLink(alias_key(one, key), ALIAS, rest, (origin or b"").decode(), now))
    return copies


def _uuids(array: bytes | None) -> list[bytes]:
    """The elements of a uuid[] in binary."""
    if not array or len(array) < _ARRAY_HEAD:
        return []
    (count,) = struct.unpack_from("!i", array, 12)
    return [array[_ARRAY_HEAD + 4 + place * 20 : _ARRAY_HEAD + 20 + place * 20] for place in range(count)]


async def find(
    tx: Tx, keys: Iterable[bytes], aliased: Iterable[bytes] = ()
) -> tuple[dict[bytes, list[bytes]], dict[bytes, list[bytes]]]:
    """Link key -> its visitors, of those known and within the limit; visitor key -> who else it is. One look-up."""
    whose = {_alias_head(key): key for key in aliased}
    spans = [(key, key) for key in keys] + [aliases_of(key) for key in whose.values()]
    own = [buckets.of_key(low) for low, _ in spans]
    row = {
        "buckets": arrays.ints(own),
        "lows": arrays.uuids(low for low, _ in spans),
        "highs": arrays.uuids(high for _, high in spans),
        "touched": arrays.ints(sorted(set(own))),
    }
    linked: dict[bytes, list[bytes]] = {}
    twins: dict[bytes, dict[bytes, None]] = {}
    cursor = await tx.execute(_queries.find_links, row, binary=True)
    for key, kind, visitor_key, others in await cursor.fetchall():
        found = [visitor_key.bytes, *(other.bytes for other in others or ())]
        # An alias does not count the visitor itself.
        if len(found) + (kind == ALIAS) > MOST_VISITORS:
            continue
        if kind == ALIAS:
            twins.setdefault(whose[key.bytes[:_HEAD]], {}).update(dict.fromkeys(found))
        else:
            linked[key.bytes] = sorted(found)
    return linked, {key: sorted(found) for key, found in twins.items() if len(found) < MOST_VISITORS}


async def claim(tx: Tx, key: bytes, visitor_key: bytes, now: datetime) -> bytes:
    """Who took what bears this key: the first who asks, for ever."""
    row = _params([buckets.of_key(key)], [NewLink(key, TOKEN, (visitor_key,), "tag", now)], now)
    found = await (await tx.execute(_queries.claim, row, binary=True)).fetchone()
    assert found is not None
    return found[0].bytes


async def reached(tx: Tx, marks: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    """Of some (link key, visitor key), the link keys that `remember` put into their visitors' buckets."""
    keys, own = [key for key, _ in marks], [buckets.of_key(visitor_key) for _, visitor_key in marks]
    spans = {"lows": arrays.uuids(keys), "highs": arrays.uuids(keys)}
    row = spans | {"buckets": arrays.ints(own), "touched": arrays.ints(sorted(set(own)))}
    return {key.bytes for key, *_ in await (await tx.execute(_queries.find_links, row, binary=True)).fetchall()}


async def remember(tx: Tx, marks: Sequence[tuple[bytes, bytes, datetime]], at: datetime) -> None:
    """Keep (link key, visitor key, since) in the visitors' buckets; repeating is harmless."""
    own = {key: (buckets.of_key(visitor_key), key, visitor_key, since) for key, visitor_key, since in marks}
    rows = sorted(own.values())
    new = [NewLink(key, REACHED, (visitor_key,), "", since) for _, key, visitor_key, since in rows]
    await tx.execute(_queries.upsert_links, _params([bucket for bucket, *_ in rows], new, at))
