"""The rows of a flush, made from the events that wait for it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from postback import queue
from postback.db import buckets
from postback.dialects import DestinationResult
from postback.intake.dedup import Filed
from postback.intake.directory import Snapshot
from postback.intake.judge import Pending
from postback.queue import Line, NewEvent


def fold(events: Sequence[Pending]) -> dict[bytes, Pending]:
    """The first event under each key, in the order of their ids: a statement may not meet one row twice."""
    first: dict[bytes, Pending] = {}
    for event in events:
        first.setdefault(event.dedup_key, event)
    return first


class Composed(NamedTuple):
    """The rows of new events; the fates that occur, each once; and what is added to usage: deliveries by (workspace,
    destination), events, and billable ones by (workspace, site)."""

    events: list[NewEvent]
    fates: list[list[Line]]
    counts: dict[tuple[bytes, bytes], int]


def compose(new: Sequence[Pending], now: datetime) -> Composed:
    composed = Composed([], [], {})
    counts, places, leaders, tally = composed.counts, {}, [], []
    key, key_id = None, b""  # most events come with the one before's
    for pending in new:
        if pending.key is not key:
            key, key_id = pending.key, pending.key.id.bytes
        settled, event, workspace_id = pending.settled, pending.event, pending.snapshot.id_bytes
        place: int | None = places.get(id(settled))
        if place is None:
            place = places[id(settled)] = len(leaders)
            leaders.append(pending)
            tally.append(0)
        tally[place] += 1
        site_id = event.site_id.bytes if event.site_id is not None else None
        if pending.is_counted and site_id is not None:
            counts[workspace_id, site_id] = counts.get((workspace_id, site_id), 0) + 1
        composed.events.append(
            (
                pending.id,
                workspace_id,
                site_id,
                key_id,
                event.name,
                event.event_id,
                event.order.id if event.order is not None else None,
                pending.body,
                pending.sealed,
                pending.visitor_key,
                place,
            )
        )
    for leader, n in zip(leaders, tally, strict=True):
        workspace_id = leader.snapshot.id_bytes
        composed.fates.append([])
        for destination_id, status, wait, reason in leader.settled.rows:
            due_at = now + timedelta(seconds=wait) if wait else now
            composed.fates[-1].append(Line(destination_id, status, due_at, reason))
        for id_ in (queue.NO_DESTINATION, *(row[0] for row in leader.settled.rows)):
            counts[workspace_id, id_] = counts.get((workspace_id, id_), 0) + n
    return composed


def hour(id_: bytes) -> datetime:
    return buckets.time_of(UUID(bytes=id_)).replace(minute=0, second=0, microsecond=0)


def collisions(
    events: Sequence[Pending], first: dict[bytes, Pending], found: dict[bytes, Filed]
) -> list[tuple[bytes, UUID]]:
    """First events whose repeat says something else, with their workspaces."""
    collided: list[tuple[bytes, UUID]] = []
    if len(first) == len(events) and not found:
        return collided
    for event in events:
        leader = first[event.dedup_key]
        if event.dedup_key in found:
            filed = found[event.dedup_key]
            if filed.body_hash != event.body_hash:
                collided.append((event.snapshot.id_bytes, filed.event_id))
        elif event.body_hash != leader.body_hash:
            collided.append((event.snapshot.id_bytes, UUID(bytes=leader.id)))
    return collided


def as_stored(rows: Sequence[queue.DeliveryStatus], snapshot: Snapshot) -> list[DestinationResult]:
    names = {destination.id: destination for destination in snapshot.destinations}
    return [
        DestinationResult(str(d.id), d.connector.name, d.name, row.status, row.reason)
        for row in rows
        if (d := names.get(row.destination_id))
    ]
