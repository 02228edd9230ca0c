"""What is stored of a person, as JSON: the walk of an erasure, reading.

One object, sent in parts while it is found: `events`, each with what is sealed opened, its deliveries, what was sent of
it, and its conversions; `visitors`, with those that bear the person's phone and nobody's name, and their `touches`;
`links` (how many lead to the person). While nothing is found, white space.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import structs

from postback import destinations, queue, visitors
from postback.db import Queries, Tx, buckets
from postback.db.buckets import BUCKETS
from postback.privacy import people
from postback.privacy.erasing import MOST_ROUNDS, SHARED_BY, is_shared, new_in, order_keys, posts_of, spans, take
from postback.privacy.people import Found, Person, Reader
from postback.visitors import links, touches
from postback.visitors.touches import Touch

PAGE = 1000
TOGETHER = 200
MOST_TOUCHES = 10_000
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_queries = Queries("privacy")
_encode = msgspec.json.Encoder(decimal_format="number").encode


async def export(tx: Tx, reader: Reader, person: Person, now: datetime) -> AsyncIterator[bytes]:
    """`person` as `people.meant` gave it."""
    maker = reader.maker
    await people.widen(tx, person, list(person.visitors), maker)
    yield b'{"events":['
    labels = {id_: label.name for id_, label in (await destinations.labels(tx, reader.workspace_id)).items()}
    is_first, given, shared = True, set[UUID](), False
    for _ in range(MOST_ROUNDS):
        found = Person(person.seeds, {}, [])
        shared = False
        for bucket in BUCKETS:
            yield b"\n"
            async for mine in _of_bucket(tx, reader, person, bucket, now):
                new = [one for one in mine if one.row.id not in given]
                given |= {one.row.id for one in new}
                for start in range(0, len(new), TOGETHER):
                    for shown in await _events(tx, new[start : start + TOGETHER], labels):
                        yield (b"" if is_first else b",") + _encode(shown)
                        is_first = False
                for one in mine:
                    if one.spreads and not shared:
                        found.add(one.traces, one.visitor_keys, maker)
                shared |= is_shared(person, found)
        if shared or not any(new_in(person, found).values()):
            break
        await people.widen(tx, person, take(person, found, maker), maker)
    nameless: list[bytes] = []
    async for keys in reader.nameless(tx, person, now, PAGE):
        nameless += keys
        yield b"\n"
    own = [*person.visitors, *([] if shared else nameless[: SHARED_BY["visitor"]])]
    yield b'],"visitors":' + _encode(await _visitors(tx, reader, own)) + b',"touches":'
    met = await touches.of_visitors(tx, own, FIRST, now, MOST_TOUCHES) if own else []
    yield _encode([_touch(one) for one in met]) + b',"links":'
    yield _encode(len((await links.find(tx, sorted(person.macs())))[0])) + b"}"


async def _of_bucket(
    tx: Tx, reader: Reader, person: Person, bucket: int, now: datetime
) -> AsyncIterator[Sequence[Found]]:
    after, until = UUID(int=0), people.LAST
    while True:
        rows = await reader.page(tx, bucket, after, until, PAGE)
        if mine := list(reader.theirs(rows, person, now)):
            posts = await posts_of(tx, reader, mine, person, now)
            yield [*mine, *(one for found in posts.values() for one in found)]
        if len(rows) < PAGE:
            return
        after = rows[-1].id


async def _events(tx: Tx, mine: Sequence[Found], labels: dict[UUID, str]) -> list[dict[str, Any]]:
    ids = [one.row.id for one in mine]
    statuses = await queue.deliveries_of(tx, ids)
    sent: dict[tuple[UUID, UUID], list[dict[str, Any]]] = defaultdict(list)
    for bucket in sorted({buckets.of_id(id_) for id_ in ids}):
        own = [id_ for id_ in ids if buckets.of_id(id_) == bucket]
        low, high = buckets.span(own)
        row = {"bucket": bucket, "ids": own, "min_id": low, "max_id": high}
        cursor = await tx.execute(_queries.attempts, row, binary=True)
        for event_id, destination_id, n, at, outcome, request, response in await cursor.fetchall():
            shown = {"n": n, "at": at, "outcome": outcome, "request": _text(request), "response": response}
            sent[event_id, destination_id].append(shown)
    worth: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    cursor = await tx.execute(_queries.conversions, spans(ids, order_keys(mine)), binary=True)
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
                    "destination": labels.get(row.destination_id),
                    "status": row.status,
                    "reason": row.reason,
                    "settled_at": row.settled_at,
                    "attempts": sent[one.row.id, row.destination_id],
                }
                for row in statuses.get(one.row.id, ())
            ],
            "conversions": worth[one.row.id],
        }
        for one in mine
    ]


async def _visitors(tx: Tx, reader: Reader, keys: Sequence[bytes]) -> list[dict[str, Any]]:
    found = await visitors.find(tx, keys) if keys else {}
    return [
        {
            "identifiers": {
                name: {
                    "value": one.value,
                    "first_seen_at": one.first_seen_at,
                    "last_seen_at": one.last_seen_at,
                    "origin": one.origin,
                }
                for name, one in visitor.identifiers.items()
            },
            "id": visitor.id,
            "readable": reader.open(visitor.sealed) | reader.open(visitor.device),
            "first_seen_at": visitor.first_seen_at,
            "last_seen_at": visitor.last_seen_at,
        }
        for visitor in found.values()
    ]


def _touch(one: Touch) -> dict[str, Any]:
    shown = structs.asdict(one)
    return {name: value for name, value in shown.items() if value is not None and not isinstance(value, bytes)}


def _text(request: bytes | None) -> str | None:
    return bytes(request).decode("utf-8", "replace") if request is not None else None
