"""Shapes that several paths answer with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from msgspec import Struct, field

from postback import destinations, queue, secret
from postback.blueprint import Blueprint
from postback.db import Tx, buckets
from postback.delivery import selection
from postback.destinations import Destination, Label, Lane
from postback.queue import DeliveryStatus, EventRow, jobs
from postback.queue.jobs import Job

State = Literal["active", "paused", "held"]
Status = Literal["queued", "retrying", "delivered", "skipped", "failed", "held"]


class DestinationOut(Struct, frozen=True):
    """`config` with its secrets masked. `reason`, `fix`: why it is held, and what to do. `down_since`: since when its
    platform does not answer, or with a 5xx; what waits is tried again by itself. `blueprint`: the live one;
    `blueprint_version` 0: the connector's default, none was ever written."""

    passing: ClassVar[tuple[str, ...]] = ("down_since", "down_reason")
    id: UUID
    connector: str
    name: str
    variant: str
    status: State
    reason: str | None
    fix: str | None
    down_since: datetime | None
    down_reason: str | None
    config: dict[str, Any]
    blueprint: Blueprint
    blueprint_version: int
    created_at: datetime


def destination_out(destination: Destination, lane: Lane | None) -> DestinationOut:
    """`lane` None: nothing has happened to it yet."""
    return DestinationOut(
        id=destination.id,
        connector=destination.connector.name,
        name=destination.name,
        variant=destination.variant,
        status=lane.state if lane else "active",  # type: ignore[arg-type]  # the lane's own words
        reason=lane.reason if lane else None,
        fix=lane.fix if lane else None,
        down_since=lane.down_since if lane else None,
        down_reason=lane.down_reason if lane else None,
        config=destinations.config_text(destination.config, lambda _: secret.MASK) if destination.config else {},
        blueprint=live_blueprint(destination),
        blueprint_version=destination.blueprint_version,
        created_at=destination.created_at,
    )


def live_blueprint(destination: Destination) -> Blueprint:
    """What holds for its events, written out where it is the connector's default."""
    return destination.blueprint.blueprint if destination.blueprint else destination.connector.default_blueprint


class EventRef(Struct, frozen=True):
    """`id`: that of `/v1/admin/events/{id}`; `event_id`: the sender's."""

    id: UUID
    event_id: str
    name: str


class DeliveryOut(Struct, frozen=True):
    """`name`: the destination's. `attempt`: tries so far. `paused`: the destination is, and what is open is sent once
    it is resumed. `next_attempt_at` null: none is due, or it is held or paused."""

    id: str
    event: EventRef
    destination: UUID
    connector: str
    name: str
    status: Status
    reason: str | None
    fix: str | None
    attempt: int
    paused: bool
    next_attempt_at: datetime | None
    settled_at: datetime | None


def _is_held(delivery: DeliveryStatus, lane: Lane | None) -> bool:
    """An open delivery reads as held while its destination is."""
    return delivery.status in queue.OPEN and lane is not None and lane.state == "held"


async def outcomes(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """What became of some events: how many of each one's deliveries are in which state."""
    if not ids:
        return {}
    stored = await queue.deliveries_of(tx, ids)
    homes = {buckets.of_id(one.destination_id) for rows in stored.values() for one in rows if one.status in queue.OPEN}
    lanes = await destinations.lanes(tx, sorted(homes)) if homes else {}
    return {
        id_: Counter("held" if _is_held(one, lanes.get(one.destination_id)) else one.status for one in rows)
        for id_, rows in stored.items()
    }


def delivery_out(delivery: DeliveryStatus, event: EventRow, label: Label | None, lane: Lane | None) -> DeliveryOut:
    is_open, is_held = delivery.status in queue.OPEN, _is_held(delivery, lane)
    is_paused = is_open and lane is not None and lane.state == "paused"
    return DeliveryOut(
        id=queue.delivery_id(delivery.event_id, delivery.destination_id),
        event=EventRef(event.id, event.event_id, event.name),
        destination=delivery.destination_id,
        connector=label.connector if label else "",
        name=label.name if label else "",
        status="held" if is_held else delivery.status,  # type: ignore[arg-type]  # the queue's own words
        reason=lane.reason if is_held and lane else delivery.reason,
        fix=lane.fix if is_held and lane else delivery.fix,
        attempt=delivery.attempt,
        paused=is_paused,
        next_attempt_at=delivery.due_at if is_open and not is_held and not is_paused else None,
        settled_at=delivery.settled_at,
    )


class FilterOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it was asked for."""

    ids: list[str] | None = None
    status: list[str] | None = None
    reason: str | None = None
    since: datetime | None = field(name="from", default=None)
    until: datetime | None = field(name="to", default=None)
    name: str | None = None
    site: UUID | None = None


class JobOut(Struct, frozen=True):
    """`total`: what it takes, as counted when it was made; null: too much to count. `done`: deliveries queued so far;
    `skipped`: those that a backfill wrote as skipped at once. `reason`: why it waits, or what happened to it."""

    id: UUID
    status: jobs.Status
    total: int | None
    done: int
    skipped: int
    reason: str | None
    destinations: list[UUID]
    filter: FilterOut
    created_by: str
    created_at: datetime
    changed_at: datetime


def job_out(job: Job, names: Mapping[UUID, str], lanes: Mapping[UUID, Lane]) -> JobOut:
    """`names`: of the destinations that are installed."""
    wanted = job.selection
    return JobOut(
        id=job.id,
        status=job.status,
        total=job.total,
        done=job.done,
        skipped=job.skipped,
        reason=job.reason or _waits(job, names, lanes),
        destinations=wanted.destination_ids,
        filter=FilterOut(
            ids=selection.ids_of(wanted),
            status=wanted.statuses or None,
            reason=wanted.reason,
            since=wanted.since,
            until=wanted.until,
            name=wanted.name,
            site=wanted.site_id,
        ),
        created_by=job.created_by,
        created_at=job.created_at,
        changed_at=job.changed_at,
    )


def _waits(job: Job, names: Mapping[UUID, str], lanes: Mapping[UUID, Lane]) -> str | None:
    """A destination that sends nothing and keeps a job waiting."""
    for id_ in job.position if job.status == "running" else ():
        if (lane := lanes.get(id_)) is not None and lane.state != "active":
            return f"waits: {names.get(id_, id_)} is {lane.state}"
    return None
