"""Whom an identifier means, and which stored events are theirs.

Nothing stored is indexed by person, so events are walked, bucket by bucket; see docs/decisions/erasure.md.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from psycopg.rows import args_row

from postback import pii, visitors
from postback.db import Queries, Tx, buckets
from postback.db.buckets import BUCKETS
from postback.errors import Invalid
from postback.event import Event
from postback.pii import Sealer, SealError
from postback.pii.person import ERASED, NAMES, Maker, Trace, belongs, hashes
from postback.visitors import links

log = structlog.get_logger()
Kind = Literal["email", "phone", "external_id", "user_id", "visitor_id"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LAST = UUID(int=2**128 - 1)
_queries = Queries("privacy")
_decode = msgspec.json.Decoder(Event).decode


class Person(Struct):
    """MACs by kind; `seeds`: those that were asked for. `visitors`: keys of the rows. All are 16 bytes. `identifiers`:
    the same MACs, each identifier's as it was met first."""

    seeds: list[bytes]
    known: dict[str, list[bytes]]
    visitors: list[bytes]
    identifiers: dict[str, list[tuple[bytes, ...]]] = {}

    def macs(self) -> set[bytes]:
        return {mac for macs in self.known.values() for mac in macs}

    def add(self, traces: Sequence[Trace], visitor_keys: Sequence[bytes], maker: Maker) -> None:
        """What is theirs too."""
        self.visitors += [key for key in dict.fromkeys(visitor_keys) if key not in self.visitors]
        for kind, macs in [*traces, *(("visitor", (maker.of_visitor(key),)) for key in visitor_keys)]:
            held = self.known.setdefault(kind, [])
            new = [mac for mac in dict.fromkeys(macs) if mac not in held]
            if len(new) == len(set(macs)):
                self.identifiers.setdefault(kind, []).append(macs)
            held += new

    def join(self, other: "Person", maker: Maker) -> None:
        """What is known of another is theirs too, each identifier as it was met there."""
        each = [(kind, macs) for kind, all_ in other.identifiers.items() for macs in all_]
        self.add([*each, *((kind, tuple(macs)) for kind, macs in other.known.items())], other.visitors, maker)

    def asked(self, maker: Maker) -> "Person":
        """Without all that came along with what was asked for."""
        seeds = set(self.seeds)
        return Person(
            self.seeds,
            {kind: [mac for mac in macs if mac in seeds] for kind, macs in self.known.items()},
            [key for key in self.visitors if maker.of_visitor(key) in seeds],
            {kind: [one for one in all_ if not seeds.isdisjoint(one)] for kind, all_ in self.identifiers.items()},
        )


class Stored(Struct, frozen=True):
    """An event as it lies there; `body` None: another workspace's."""

    id: UUID
    body: bytes | None
    sealed: bytes | None
    visitor_key: UUID | None
    site_id: UUID | None
    event_id: str
    order_id: str | None


class Found(Struct, frozen=True):
    """An event of the person. `spreads`: what else it names is theirs too. `is_asked`: it bears what was asked for."""

    row: Stored
    event: Event
    readable: dict[str, str]
    traces: list[Trace]
    visitor_keys: list[bytes]
    spreads: bool
    is_asked: bool


class Reader:
    """Reads one workspace's events as people. `sealer` opens what tells a user id."""

    def __init__(self, workspace_id: UUID, sealer: Sealer, maker: Maker) -> None:
        self.workspace_id = workspace_id
        self.maker = maker
        self._sealer = sealer

    async def page(self, tx: Tx, bucket: int, after: UUID, until: UUID, examined: int) -> list[Stored]:
        """The next events of a bucket, up to the id `until`."""
        row = {"bucket": bucket, "min_id": UUID(int=min(after.int + 1, LAST.int)), "max_id": until}
        async with tx.cursor(row_factory=args_row(Stored), binary=True) as cursor:
            await cursor.execute(_queries.events, row | {"workspace_id": self.workspace_id, "examined": examined})
            return await cursor.fetchall()

    async def some(self, tx: Tx, bucket: int, ids: Sequence[UUID]) -> list[Stored]:
        """Some events of a bucket."""
        low, high = buckets.span(ids)
        row = {"bucket": bucket, "ids": list(ids), "min_id": low, "max_id": high}
        async with tx.cursor(row_factory=args_row(Stored), binary=True) as cursor:
            await cursor.execute(_queries.some_events, row | {"workspace_id": self.workspace_id})
            return await cursor.fetchall()

    def theirs(
        self, rows: Sequence[Stored], person: Person, erased_at: datetime, *,
        are_all: bool = False, beside: list[UUID] | None = None,
    ) -> Iterator[Found]:  # fmt: skip
        """Those of the person, or `are_all`, that occurred, or came, until a moment. What was erased already is
        nobody's. `beside` takes the ids of others, of whenever, that share a browser, a line or a name with the
        person."""
        seeds, known = set(person.seeds), person.macs()
        for row in rows:
            if row.body is None:
                continue
            try:
                event = _decode(row.body)
            except msgspec.DecodeError:
                log.error("a stored event cannot be read", event_id=row.id.hex)
                continue
            is_since = event.occurred_at > erased_at and buckets.time_of(row.id) > erased_at
            if ERASED in event.notes or (is_since and beside is None):
                continue
            readable = self.open(row.sealed)
            visitor_key = row.visitor_key.bytes if row.visitor_key is not None else None
            visitor_keys = visitors.keys_of(event, self.workspace_id, visitor_key)
            traces = self.maker.of_event(event, visitor_keys, readable.get("user_id"))
            is_theirs, spreads = belongs(traces, seeds, known)
            if (is_theirs or are_all) and not is_since:
                is_asked = any(not seeds.isdisjoint(macs) for _, macs in traces)
                yield Found(row, event, readable, traces, visitor_keys, spreads, is_asked)
            elif beside is not None and any(not known.isdisjoint(macs) for _, macs in traces):
                beside.append(row.id)

    async def visitors(self, tx: Tx, bucket: int, after: UUID, limit: int) -> list[tuple[UUID, dict[str, Any]]]:
        """The next visitors of a bucket: the keys of their rows, and the identifiers as they lie there."""
        row = {"bucket": bucket, "after": after, "workspace_id": self.workspace_id, "limit": limit}
        page = await (await tx.execute(_queries.visitors, row, binary=True)).fetchall()
        return [(key, identifiers or {}) for key, identifiers in page]

    def said(
        self, identifiers: Mapping[str, Any], known: Set[bytes], erased_at: datetime, *, is_theirs: bool = False
    ) -> tuple[list[str], bool]:
        """Which hashes of a visitor's row may be the person's, of those said until a moment: all but another's email,
        id and phone. And whether the row named nobody else until then. `is_theirs`: the person was seen in it, whatever
        it bears."""
        until_ms = erased_at.timestamp() * 1000
        since = 1 if is_theirs else 2
        borne = {n: one[0] for n, one in identifiers.items() if n.endswith("_sha256") and one[since] <= until_ms}
        traces = self.maker.of_user(borne)
        others = {kind for kind, macs in traces if known.isdisjoint(macs)}
        if len(others) == len(traces) and not is_theirs:
            return [], False
        kept = tuple(f"{kind}_" for kind in others)
        names = [name for name in borne if identifiers[name][2] <= until_ms and not name.startswith(kept)]
        return names, others.isdisjoint(NAMES)

    async def nameless(self, tx: Tx, person: Person, erased_at: datetime, examined: int) -> AsyncIterator[list[bytes]]:
        """Keys of rows, beside the person's, that bear what is theirs and name nobody else: a list for each page of
        all visitors."""
        known, own = person.macs(), set(person.visitors)
        for bucket in BUCKETS:
            after, is_more = UUID(int=0), True
            while is_more:
                page = await self.visitors(tx, bucket, after, examined)
                yield [
                    key.bytes
                    for key, identifiers in page
                    if key.bytes not in own and self.said(identifiers, known, erased_at)[1]
                ]
                if is_more := len(page) == examined:
                    after = page[-1][0]

    def open(self, sealed: bytes | None) -> dict[str, str]:
        """Readable identifiers, as far as they open."""
        try:
            return pii.reveal(sealed, self._sealer) if sealed else {}
        except SealError:  # its key is gone, and what it sealed with it
            return {}


async def meant(tx: Tx, workspace_id: UUID, kind: Kind, value: str, country: str | None, maker: Maker) -> Person:
    """Whom somebody asks for, and the visitors seen with it; nobody need be stored. Raises Invalid. `country`:
    of phones without a plus."""
    if not value.strip() or len(value) > 1024:
        raise Invalid(f"{kind} must have 1 to 1024 characters.", field=kind)
    person = Person([], {}, [])
    if kind == "visitor_id":
        person.add([], [visitors.key_of(workspace_id, pii.stored_id(value))], maker)
        person.seeds = sorted(person.macs())
    else:
        hashed = hashes(kind, value.strip(), country)
        if not (traces := maker.of_user(hashed)):
            raise Invalid(f"This is no {kind} that an event could bear; nothing is stored under it.", field=kind)
        person.add(traces, [], maker)
        person.seeds = sorted(person.macs())
        person.add(maker.all_of_user(hashed), [], maker)
        # The first is the receipt's subject.
        person.seeds += sorted(person.macs().difference(person.seeds))
        linked, _ = await links.find(tx, person.seeds)
        person.add([], sorted({key for found in linked.values() for key in found}), maker)
    return person
