"""Visitors: what was seen of a browser, and the links by which a conversion without a visitor id finds one.

Tables: visitor (bucket by the hash of workspace and visitor id), link and touch, see `links` and `touches`. Every
write is a union: an identifier keeps the first and the last time of its value, of two values the later seen stays, so
that the same facts make the same rows in whatever order they arrive; of experiments the newest 50 stay. Hashes, click
ids, experiments and choices of consent are kept as they are; what is readable is sealed.

    links       from identifiers to visitors, and between visitors that are one person
    touches     what brought a visitor
    referrers   what a source is, and what takes no credit
    tokens      pb_vid: a visitor carried to another domain
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip
from postback.event import Consent, Event
from postback.visitors import links as linking
from postback.visitors import touches
from postback.visitors.links import NewLink
from postback.visitors.touches import Touch

_queries = Queries("visitors")
_EXPERIMENT = "experiment."  # and its id: the variation that the visitor was put into
MAX_EXPERIMENTS = 50
_CONSENT = "consent."  # and the purpose
# Where two choices bear one time the greater text stays: a denial.
_CHOICES = {True: "allowed", False: "denied"}
LATEST_MS = 4_102_444_800_000  # the year 2100
# A visitor in whom as many of 64 bits are set was about 50 people: a shared device.
SHARED_BITS = 51


class Identifier(NamedTuple):
    """Times are unix ms; `origin`: the dialect that said this value first."""

    value: str
    first_ms: int
    last_ms: int
    origin: str = ""

    @property
    def first_seen_at(self) -> datetime:
        return _time(self.first_ms)

    @property
    def last_seen_at(self) -> datetime:
        return _time(self.last_ms)

    @property
    def is_dated(self) -> bool:
        """Whether its times can be meant."""
        return 0 < self.first_ms < LATEST_MS


def _time(ms: int) -> datetime:
    """The nearest that there is, where it is out of range."""
    return datetime.fromtimestamp(min(max(ms, 0), LATEST_MS) / 1000, UTC)


class Browser(Struct, frozen=True, kw_only=True):
    """What the tag says once for all events of a batch. `links`: to visitors that are proved to be the same person."""

    identifiers: dict[str, Identifier] = {}
    touch: Touch | None = None
    links: tuple[NewLink, ...] = ()

    def since(self, at: datetime) -> "Browser":
        """Without what was before a moment."""
        ms = int(at.timestamp() * 1000)
        return Browser(
            identifiers={
                name: Identifier(one.value, max(one.first_ms, ms), one.last_ms, one.origin)
                for name, one in self.identifiers.items()
                if one.last_ms > ms
            },
            touch=self.touch if self.touch is not None and self.touch.at > at else None,
            links=self.links,
        )


class Seen(Struct, frozen=True, kw_only=True):
    """What one event showed of its visitor at a time. `identifiers`: name -> value. `links`: kind and key of what leads
    to it. `sealed`: readable identifiers that were sent; `device`: those of the connection. `id` None: not known."""

    key: bytes
    workspace_id: UUID
    identifiers: dict[str, str]
    at: datetime
    id: str | None = None
    sealed: bytes | None = None
    device: bytes | None = None
    links: tuple[tuple[str, bytes], ...] = ()
    origin: str = ""
    site_id: bytes | None = None
    browser: Browser | None = None
    touch: Touch | None = None


class Visitor(Struct, frozen=True):
    """`sealed`: what was sent of it, readable; `device`: IP address and user agent that the tag came from."""

    key: UUID
    workspace_id: UUID
    identifiers: dict[str, Identifier]
    sealed: bytes | None
    device: bytes | None = None
    people: int = 0
    id: str | None = None
    site_id: UUID | None = None
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    sealed_at: datetime | None = None
    device_at: datetime | None = None

    @property
    def is_shared(self) -> bool:
        """Whether so many people were seen in it that it proves nothing of any."""
        return (self.people & 0xFFFFFFFFFFFFFFFF).bit_count() >= SHARED_BITS


_identifiers = msgspec.json.Decoder(dict[str, Identifier])
_encode = msgspec.json.Encoder().encode


def key_of(workspace_id: UUID, visitor_id: str) -> bytes:
    """16 bytes that name a visitor's row; another workspace's same id is another row."""
    return hashlib.blake2b(visitor_id.encode(), digest_size=16, key=workspace_id.bytes).digest()


def keys_of(event: Event, workspace_id: UUID, visitor_key: bytes | None) -> list[bytes]:
    """Rows of visitors that a stored event names; a Velaro post's session may be a visitor's id."""
    keys = [visitor_key] if visitor_key is not None else []
    if event.dialect == "velaro" and event.session_id:
        keys.append(key_of(workspace_id, event.session_id))
    return keys


def as_identifiers(experiments: Mapping[str, str], consent: Consent | None = None) -> dict[str, str]:
    """Experiment to variation, and what was chosen of consent, as a visitor's row keeps them."""
    kept = {f"{_EXPERIMENT}{experiment}": variation for experiment, variation in experiments.items()}
    if consent is not None:
        for purpose in Consent.__struct_fields__:
            if (choice := getattr(consent, purpose)) is not None:
                kept[f"{_CONSENT}{purpose}"] = _CHOICES[choice]
    return kept


def experiments(identifiers: Mapping[str, Identifier]) -> dict[str, str]:
    """Experiment to variation, as last seen."""
    return {
        name.removeprefix(_EXPERIMENT): one.value for name, one in identifiers.items() if name.startswith(_EXPERIMENT)
    }


def consent(identifiers: Mapping[str, Identifier]) -> dict[str, tuple[bool, datetime]]:
    """The latest choice of each purpose, and when it was last made."""
    return {
        name.removeprefix(_CONSENT): (one.value == _CHOICES[True], one.last_seen_at)
        for name, one in identifiers.items()
        if name.startswith(_CONSENT)
    }


def denials(identifiers: Mapping[str, Identifier]) -> dict[str, Identifier]:
    """What was chosen last of consent, where it was denied."""
    return {
        name: one for name, one in identifiers.items() if name.startswith(_CONSENT) and one.value == _CHOICES[False]
    }


def merged(all_: Iterable[Mapping[str, Identifier]]) -> dict[str, Identifier]:
    """As if all were one visitor's: what the upsert makes of rows that meet."""
    found: dict[str, Identifier] = {}
    for identifiers in all_:
        for name, one in identifiers.items():
            found[name] = _later(known, one) if (known := found.get(name)) is not None else one
    return found


def _later(a: Identifier, b: Identifier) -> Identifier:
    if a.value == b.value:
        first = a if a.first_ms <= b.first_ms else b
        return Identifier(a.value, first.first_ms, max(a.last_ms, b.last_ms), first.origin)
    return max(a, b, key=lambda one: (one.last_ms, one.value))


def record(trip: Trip, seen: Sequence[Seen], now: datetime) -> Rows | None:
    """Upsert visitors, links and touches: at most three statements, rows in key order, each row once.

    The rows it gives are for `links.shared`; None where nothing in them could prove anything.
    """
    folded: dict[bytes, _Row] = {}
    found: list[NewLink] = []
    new: list[Touch] = []
    batches: set[int] = set()
    for one in seen:
        if (row := folded.get(one.key)) is None:
            row = folded[one.key] = _Row(one)
        row.add(one)
        found += [NewLink(key, kind, (one.key,), one.origin, one.at) for kind, key in one.links]
        if one.touch is not None:
            new.append(one.touch)
        if (browser := one.browser) is not None and id(browser) not in batches:
            batches.add(id(browser))
            row.identifiers = merged((row.identifiers, browser.identifiers))
            found += browser.links
            if browser.touch is not None:
                new.append(browser.touch)
    rows = [folded[key] for key in sorted(folded)]
    own = [buckets.of_key(row.first.key) for row in rows]
    trip.add(
        _queries.upsert,
        {
            "buckets": arrays.ints(own),
            "keys": arrays.uuids(row.first.key for row in rows),
            "workspace_ids": arrays.uuids(row.first.workspace_id.bytes for row in rows),
            "ids": arrays.texts(row.first.id for row in rows),
            "site_ids": arrays.uuids(row.site_id for row in rows),
            "identifiers": arrays.byteas(_encode(_newest(row.identifiers)) for row in rows),
            "sealed": arrays.byteas(row.sealed for row in rows),
            "sealed_at": arrays.times(row.sealed_at for row in rows),
            "device": arrays.byteas(row.device for row in rows),
            "device_at": arrays.times(row.device_at for row in rows),
            "people": arrays.bigints(row.people for row in rows),
            "seen_at": arrays.times(row.seen_at for row in rows),
            "now": now,
            "touched": arrays.ints(sorted(set(own))),
        },
    )
    told = linking.record(trip, found, now) if found else None
    if new:
        touches.insert(trip, new)
    return told if any(link.kind in linking.PROOFS for link in found) else None


def _newest(identifiers: dict[str, Identifier]) -> dict[str, Identifier]:
    """Without the experiments beyond the newest, as the upsert leaves out those of the row."""
    if len(identifiers) <= MAX_EXPERIMENTS:
        return identifiers
    names = [name for name in identifiers if name.startswith(_EXPERIMENT)]
    names.sort(key=lambda name: (-identifiers[name].last_ms, name.encode()))
    older = frozenset(names[MAX_EXPERIMENTS:])
    return {name: one for name, one in identifiers.items() if name not in older}


class _Row:
    """One visitor's row as a flush writes it."""

    def __init__(self, first: Seen) -> None:
        self.first = first
        self.identifiers: dict[str, Identifier] = {}
        self.site_id = first.site_id
        self.sealed = self.device = None
        self.sealed_at: datetime | None = None
        self.device_at: datetime | None = None
        self.seen_at = first.at
        self.people = 0

    def add(self, seen: Seen) -> None:
        ms, at = int(seen.at.timestamp() * 1000), seen.at
        said = {name: Identifier(value, ms, ms, seen.origin) for name, value in seen.identifiers.items()}
        self.identifiers = merged((self.identifiers, said)) if self.identifiers else said
        self.seen_at = min(self.seen_at, at)
        self.people |= linking.people(seen.links)
        if seen.sealed is not None and (self.sealed_at is None or at >= self.sealed_at):
            self.sealed, self.sealed_at = seen.sealed, at
        if seen.device is not None and (self.device_at is None or at >= self.device_at):
            self.device, self.device_at = seen.device, at


async def find(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Visitor]:
    """Visitors by key, of those known."""
    own = [buckets.of_key(key) for key in keys]
    row = {"buckets": arrays.ints(own), "keys": arrays.uuids(keys), "touched": arrays.ints(sorted(set(own)))}
    async with tx.cursor(row_factory=args_row(_visitor), binary=True) as cursor:
        await cursor.execute(_queries.find, row)
        return {visitor.key.bytes: visitor for visitor in await cursor.fetchall()}


def _visitor(key: UUID, workspace_id: UUID, identifiers: str, *rest: Any) -> Visitor:
    return Visitor(key, workspace_id, _identifiers.decode(identifiers), *rest)
