"""The rows of a flush, made from the events that wait for it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from postback import queue
from postback.db import buckets
from postback.dialects import DestinationResult
from postback.intake.dedup import Filed
from postback.intake.directory import Snapshot
from postback.intake.judge import Pending
from postback.queue import Line, NewEvent


def fold(events: Sequence[Pending]) -> dict[bytes, Pending]:
    """The first event under each key: a statement may not meet one row twice."""
    first: dict[bytes, Pending] = {}
    for event in events:
        first.setdefault(event.dedup_key, event)
    return first


def row(event: Pending, fate: int) -> NewEvent:
    e = event.event
    return NewEvent(
        event.id,
        event.snapshot.id_bytes,
        e.site_id.bytes if e.site_id else None,
        e.name,
        e.event_id,
        e.order.id if e.order else None,
        event.body,
        event.sealed,
        event.visitor_key,
        fate,
    )


def fates(events: Sequence[Pending], now: datetime) -> tuple[dict[int, int], list[list[Line]]]:
    """The fates that occur, each once, and the place of each by its `id()`."""
    places: dict[int, int] = {}
    fates: list[list[Line]] = []
    for event in events:
        if id(event.settled) not in places:
            places[id(event.settled)] = len(fates)
            fates.append(
                [
                    Line(destination_id, status, now + timedelta(seconds=wait) if wait else now, reason)
                    for destination_id, status, wait, reason in event.settled.rows
                ]
            )
    return places, fates


def counts(events: Sequence[Pending]) -> Counter[tuple[bytes, bytes]]:
    """What is added to usage: deliveries by destination, events, and billable ones by site."""
    found: Counter[tuple[bytes, bytes]] = Counter()
    alike: Counter[int] = Counter()
    by_id = {id(event.settled): event for event in events}
    for event in events:
        alike[id(event.settled)] += 1
        if event.is_counted and event.event.site_id is not None:
            found[event.snapshot.id_bytes, event.event.site_id.bytes] += 1
    for fate_id, n in alike.items():
        event = by_id[fate_id]
        workspace = event.snapshot.id_bytes
        found[workspace, queue.NO_DESTINATION] += n
        for destination_id, *_ in event.settled.rows:
            found[workspace, destination_id] += n
    return found


def hour(id_: bytes) -> datetime:
    return buckets.time_of(UUID(bytes=id_)).replace(minute=0, second=0, microsecond=0)


def collisions(events: Sequence[Pending], first: dict[bytes, Pending], found: dict[bytes, Filed]) -> list[UUID]:
    """First events whose repeat says something else."""
    collided: list[UUID] = []
    for event in events:
        leader = first[event.dedup_key]
        if event.dedup_key in found:
            filed = found[event.dedup_key]
            if filed.body_hash != event.body_hash:
                collided.append(filed.event_id)
        elif event.body_hash != leader.body_hash:
            collided.append(UUID(bytes=leader.id))
    return collided


def as_stored(rows: Sequence[queue.DeliveryStatus], snapshot: Snapshot) -> list[DestinationResult]:
    names = {destination.id: destination for destination in snapshot.destinations}
    return [
        DestinationResult(str(d.id), d.connector.name, d.name, row.status, row.reason)
        for row in rows
        if (d := names.get(row.destination_id))
    ]
