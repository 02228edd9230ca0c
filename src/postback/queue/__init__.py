"""The durable queue: events, one delivery for each event and destination, the attempts, who may send them, and jobs.

Tables: event, delivery, attempt, usage, lease, worker, ledger_hour, job. Rows of a flush lie in one bucket, chosen
in turn; an event's id names it. Statements by id carry the ids' span, so that only their partitions are read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Trip
from postback.pii.person import ERASED

_queries = Queries("queue")
NO_DESTINATION = bytes(16)
COLLISIONS = bytes(15) + b"\x01"  # counted as if it were a destination, as events are


# An event to write: id, workspace, site, API key's id, name, the sender's id, order's id, body (JSON of event.Event),
# what is sealed, the key of the visitor whose id was sent, and the place of its fate. Ids and keys are 16 bytes.
# A plain tuple, because one is made for every event.
NewEvent = tuple[
    bytes, bytes, bytes | None, bytes, str, str, str | None, bytes, bytes | None, bytes | None, int
]  # fmt: skip


class Line(Struct, frozen=True):
    """What one destination (16 bytes) will do with events of one fate: `queued`, or `skipped` with its reason."""

    destination_id: bytes
    status: str
    due_at: datetime
    reason: str | None


class DeliveryStatus(Struct, frozen=True):
    event_id: UUID
    destination_id: UUID
    status: str
    attempt: int
    due_at: datetime
    reason: str | None
    fix: str | None
    settled_at: datetime | None


class EventRow(Struct, frozen=True):
    """A stored event; `body` is JSON of event.Event. `key_id`: the API key's that sent it; of the tag's the site's."""

    id: UUID
    workspace_id: UUID
    site_id: UUID | None
    key_id: UUID | None
    name: str
    event_id: str
    order_id: str | None
    body: bytes
    notes: list[str] | None

    @property
    def is_erased(self) -> bool:
        """Whether it was stripped of its person."""
        return ERASED in _noted(self.body).notes


class _Noted(Struct, frozen=True):
    """What is read of a body."""

    notes: tuple[str, ...] = ()


_noted = msgspec.json.Decoder(_Noted).decode

OPEN = frozenset({"queued", "retrying"})
# What a reason begins with, as far as it is ours: behind it a platform's own words may stand, which may quote an event.
OURS = "^(?:(?:expired|gave up|outcome unknown|our bug|no access token): )*[^:;]*"


def delivery_id(event_id: UUID, destination_id: UUID) -> str:
    """The id shown of a delivery: its event's and its destination's."""
    return f"{event_id.hex}-{destination_id.hex}"


def read_delivery_id(text: str) -> tuple[UUID, UUID] | None:
    """Event and destination of a delivery's id; None: it is none."""
    event, _, destination = text.partition("-")
    try:
        return (UUID(hex=event), UUID(hex=destination)) if len(event) == len(destination) == 32 else None
    except ValueError:
        return None


def put(trip: Trip, bucket: int, events: Sequence[NewEvent], fates: Sequence[Sequence[Line]]) -> None:
    """Write events, at least one, and deliveries of one flush: two statements. `fates`: what the places mean."""
    ids, workspace_ids, site_ids, key_ids, names, event_ids, order_ids, bodies, sealed, visitor_keys, places = zip(
        *events, strict=True
    )
    id_array = arrays.uuids(ids)
    trip.add(
        _queries.insert_events,
        {
            "bucket": bucket,
            "ids": id_array,
            "workspace_ids": arrays.uuids(workspace_ids),
            "site_ids": arrays.uuids(site_ids),
            "key_ids": arrays.uuids(key_ids),
            "names": arrays.texts(names),
            "event_ids": arrays.texts(event_ids),
            "order_ids": arrays.texts(order_ids),
            "bodies": arrays.byteas(bodies),
            "sealed": arrays.byteas(sealed),
            "visitor_keys": arrays.uuids(visitor_keys),
        },
    )
    lines = [(place, line) for place, fate in enumerate(fates) for line in fate]
    if lines:
        trip.add(
            _queries.insert_deliveries,
            {
                "bucket": bucket,
                "event_ids": id_array,
                "fates": arrays.ints(places),
                "line_fates": arrays.ints(place for place, _ in lines),
                "destination_ids": arrays.uuids(line.destination_id for _, line in lines),
                "statuses": arrays.texts(line.status for _, line in lines),
                "due_at": arrays.times(line.due_at for _, line in lines),
                "reasons": arrays.texts(line.reason for _, line in lines),
            },
        )


def count(trip: Trip, writer: UUID, hour: datetime, counts: Mapping[tuple[bytes, bytes], int]) -> None:
    """Add to this writer's own rows: (workspace, destination) -> deliveries, destination zero -> events."""
    keys = sorted(counts)
    trip.add(
        _queries.count,
        {
            "bucket": buckets.of_id(writer),
            "writer": writer,
            "hour": hour,
            "workspace_ids": arrays.uuids(w for w, _ in keys),
            "destination_ids": arrays.uuids(d for _, d in keys),
            "counts": arrays.bigints(counts[key] for key in keys),
        },
    )


def note(trip: Trip, ids: Sequence[UUID], note: str) -> None:
    """Add a note to events that are stored; repeating is harmless."""
    ordered = sorted(set(ids), key=lambda i: (buckets.of_id(i), i))
    trip.add(_queries.note, _by_id(ordered) | {"note": note})


async def event_row(tx: Tx, id_: UUID) -> EventRow | None:
    async with tx.cursor(row_factory=args_row(EventRow), binary=True) as cursor:
        row = {"bucket": buckets.of_id(id_), "id": id_, "min_id": id_, "max_id": id_}
        return await (await cursor.execute(_queries.event_row, row)).fetchone()


async def deliveries_of(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, list[DeliveryStatus]]:
    """Deliveries by event; an unknown event has none."""
    async with tx.cursor(row_factory=args_row(DeliveryStatus), binary=True) as cursor:
        await cursor.execute(_queries.deliveries_of, _by_id(ids))
        found: dict[UUID, list[DeliveryStatus]] = {id_: [] for id_ in ids}
        for row in await cursor.fetchall():
            found[row.event_id].append(row)
    return found


def _by_id(ids: Sequence[UUID]) -> dict[str, object]:
    own = [buckets.of_id(id_) for id_ in ids]
    low, high = buckets.span(ids)
    return {
        "buckets": arrays.ints(own),
        "ids": arrays.uuids(id_.bytes for id_ in ids),
        "touched": arrays.ints(sorted(set(own))),
        "min_id": low,
        "max_id": high,
    }
