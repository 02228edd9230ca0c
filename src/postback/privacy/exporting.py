"""What is stored of a person, as JSON: the walk of an erasure, reading.

One object, sent in parts while it is found: `events`, each with what is sealed opened, its deliveries, what was sent of
it, and its conversions; `visitors`, with those that bear the person's phone and nobody's name, and their `touches`;
`links` (how many lead to the person). While nothing is found, white space.

Of what names somebody else too, only what is the person's: another's post of their order is shown without whose it is,
a visitor's row that bears another's email or id with what of it an erasure takes away, an attempt that went out with
hashes which are not known to be theirs without what was sent and answered.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence, Set
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from postback import destinations, queue, visitors
from postback.db import Queries, Tx, buckets
from postback.db.buckets import BUCKETS
from postback.event import Order
from postback.pii.person import NAMES, Maker, stripped
from postback.privacy import lent, people, posts, rounds, visitor_rows
from postback.privacy.people import Found, Person, Reader
from postback.privacy.rounds import SHARED_BY
from postback.visitors import Visitor, links, touches
from postback.visitors.touches import Touch

PAGE = 1000
TOGETHER = 200
ANOTHERS = "another person's: shown without them"
LENT = "not shown: its visitor lent it what may be another person's"
_queries = Queries("privacy")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Whose(Struct):
    """The person as far as known in a round. `hashes`: what they said themselves, or their visitors' rows bear of them.
    `labels`: names of destinations."""

    maker: Maker
    labels: dict[UUID, str]
    known: set[bytes]
    hashes: set[str]

    def is_lent(self, said: str, body: bytes) -> bool:
        """Whether what was said of an event to a platform, or by it, is another's."""
        return lent.is_of_others(said, body, self.hashes, self.known, self.maker)


async def export(tx: Tx, reader: Reader, person: Person, now: datetime) -> AsyncIterator[bytes]:
    """`person` as `people.meant` gave it."""
    maker = reader.maker
    person, shared = await rounds.begin(tx, person, maker)
    yield b'{"events":['
    labels = {id_: label.name for id_, label in (await destinations.labels(tx, reader.workspace_id)).items()}
    whose = Whose(maker, labels, set(), set())
    is_first, given, is_first_round = True, set[UUID](), True
    others: dict[UUID, Found] = {}
    while True:
        found = Person(person.seeds, {}, [])
        whose.known = known = person.macs()
        whose.hashes |= await _hashes(tx, reader, person)
        for bucket in BUCKETS:
            yield b"\n"
            async for here, is_asked in _of_bucket(tx, reader, person, bucket, now):
                shared = shared or rounds.learn(person, found, here, maker)
                whose.hashes.update(*(one.event.user.values() for one in here if one.spreads))
                if is_first_round and not is_asked:
                    continue
                others |= {one.row.id: one for one in here if _is_anothers(one, known)}
                new = [one for one in here if one.row.id not in given and not _is_anothers(one, known)]
                given |= {one.row.id for one in new}
                async for shown in _shown(tx, new, whose):
                    yield (b"" if is_first else b",") + shown
                    is_first = False
        if shared or rounds.is_last(person, found, is_first=is_first_round):
            break
        if shared := not await rounds.take(tx, person, found, maker):
            break
        is_first_round = False
    if shared and is_first_round:
        person = person.asked(maker)
    async for shown in _shown(tx, [_without(one) for id_, one in others.items() if id_ not in given], whose):
        yield (b"" if is_first else b",") + shown
        is_first = False
    nameless: list[bytes] = []
    async for keys in reader.nameless(tx, person, now, PAGE):
        nameless += keys
        yield b"\n"
    own = [*person.visitors, *([] if shared else nameless[: SHARED_BY["visitor"]])]
    rows = await visitors.find(tx, own) if own else {}
    shared_rows = visitor_rows.shared(reader, person, rows)
    seen = [_visitor(reader, row, shared_rows.get(key)) for key, row in rows.items()]
    yield b'],"visitors":' + _encode(seen) + b',"touches":['
    sessions, is_first = set(person.known.get("session", ())), True
    for key in own:
        async for page in touches.all_of(tx, key, now, PAGE):
            for one in page:
                if key not in shared_rows or visitor_rows.is_of(one, sessions, maker):
                    yield (b"" if is_first else b",") + _encode(_touch(one))
                    is_first = False
    yield b'],"links":' + _encode(len((await links.find(tx, sorted(person.macs())))[0])) + b"}"


async def _hashes(tx: Tx, reader: Reader, person: Person) -> set[str]:
    """What the rows of the person's visitors bear, but for what is another's."""
    rows = await visitors.find(tx, person.visitors) if person.visitors else {}
    shared = visitor_rows.shared(reader, person, rows)
    return {row.identifiers[name].value for key, row in rows.items() for name in shared.get(key, row.identifiers)}


def _is_anothers(one: Found, known: Set[bytes]) -> bool:
    """Whether a post of the person's order is somebody else's."""
    return not one.spreads and any(kind in NAMES and known.isdisjoint(macs) for kind, macs in one.traces)


def _without(one: Found) -> Found:
    """A post of the person's order without whose it is."""
    order = one.event.order
    event = structs.replace(
        stripped(one.event, one.row.id),
        order=Order(id=order.id, status=order.status) if order is not None else None,
        notes=(ANOTHERS,),
    )
    return structs.replace(one, event=event, readable={})


async def _of_bucket(
    tx: Tx, reader: Reader, person: Person, bucket: int, now: datetime
) -> AsyncIterator[tuple[Sequence[Found], bool]]:
    """The person's events, by the page: those that bear what was asked for (true), and the others; both with what else
    was posted of their orders."""
    after, until = UUID(int=0), people.LAST
    while True:
        rows = await reader.page(tx, bucket, after, until, PAGE)
        mine = list(reader.theirs(rows, person, now))
        for is_asked in (True, False):
            if own := [one for one in mine if one.is_asked == is_asked]:
                of_orders = await posts.find(tx, reader, own, person, now)
                yield [*own, *(one for found in of_orders.values() for one in found)], is_asked
        if len(rows) < PAGE:
            return
        after = rows[-1].id


async def _shown(tx: Tx, found: Sequence[Found], whose: Whose) -> AsyncIterator[bytes]:
    for start in range(0, len(found), TOGETHER):
        for shown in await _events(tx, found[start : start + TOGETHER], whose):
            yield _encode(shown)


async def _events(tx: Tx, mine: Sequence[Found], whose: Whose) -> list[dict[str, Any]]:
    ids = [one.row.id for one in mine]
    bodies = {one.row.id: one.row.body or b"" for one in mine}
    statuses = await queue.deliveries_of(tx, ids)
    sent: dict[tuple[UUID, UUID], list[dict[str, Any]]] = defaultdict(list)
    for bucket in sorted({buckets.of_id(id_) for id_ in ids}):
        own = [id_ for id_ in ids if buckets.of_id(id_) == bucket]
        low, high = buckets.span(own)
        row = {"bucket": bucket, "ids": own, "min_id": low, "max_id": high}
        cursor = await tx.execute(_queries.attempts, row, binary=True)
        for event_id, destination_id, n, at, outcome, reason, head, request, response in await cursor.fetchall():
            said = {"reason": reason, "head": head, "request": _text(request), "response": response}
            if whose.is_lent("\n".join(one for one in said.values() if one), bodies[event_id]):
                said = dict.fromkeys(said) | {"reason": LENT}
            sent[event_id, destination_id].append({"n": n, "at": at, "outcome": outcome} | said)
    worth: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    cursor = await tx.execute(_queries.conversions, posts.spans(ids, posts.order_keys(mine)), binary=True)
    for event_id, id_, goal_id, value, currency, at in await cursor.fetchall():
        worth[event_id].append({"id": id_, "goal_id": goal_id, "value": value, "currency": currency, "occurred_at": at})
    return [
        {
            "id": one.row.id,
            "received_at": buckets.time_of(one.row.id),
            "event": one.event,
            "readable": one.readable,
            "deliveries": [
                {
                    "destination": whose.labels.get(row.destination_id),
                    "status": row.status,
                    "reason": LENT if whose.is_lent(row.reason or "", bodies[one.row.id]) else row.reason,
                    "settled_at": row.settled_at,
                    "attempts": sent[one.row.id, row.destination_id],
                }
                for row in (statuses.get(one.row.id, ()) if one.event.notes != (ANOTHERS,) else ())
            ],
            "conversions": worth[one.row.id],
        }
        for one in mine
    ]


def _visitor(reader: Reader, visitor: Visitor, theirs: Sequence[str] | None) -> dict[str, Any]:
    """`theirs`: of a row that names somebody else too, which hashes may be the person's."""
    identifiers, readable = visitor.identifiers, reader.open(visitor.sealed) | reader.open(visitor.device)
    if theirs is not None:
        identifiers, readable = {name: identifiers[name] for name in theirs}, {}
    return {
        "identifiers": {
            name: {
                "value": one.value,
                "first_seen_at": one.first_seen_at,
                "last_seen_at": one.last_seen_at,
                "origin": one.origin,
            }
            for name, one in identifiers.items()
        },
        "id": visitor.id,
        "readable": readable,
        "first_seen_at": visitor.first_seen_at,
        "last_seen_at": visitor.last_seen_at if theirs is None else None,
    }


def _touch(one: Touch) -> dict[str, Any]:
    shown = structs.asdict(one)
    return {name: value for name, value in shown.items() if value is not None and not isinstance(value, bytes)}


def _text(request: bytes | None) -> str | None:
    return bytes(request).decode("utf-8", "replace") if request is not None else None
