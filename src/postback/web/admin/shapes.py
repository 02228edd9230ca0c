"""Shapes that several paths answer with."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from postback import destinations, queue, secret
from postback.blueprint import Blueprint
from postback.destinations import Destination, Label, Lane
from postback.queue import DeliveryStatus, EventRow

State = Literal["active", "paused", "held"]
Status = Literal["queued", "retrying", "delivered", "skipped", "failed", "held"]


class DestinationOut(Struct, frozen=True):
    """`config` with its secrets masked. `reason` and `fix`: why it is held, and what to do. `blueprint`: the live one;
    `blueprint_version` 0: the connector's default, none was ever written."""

    id: UUID
    connector: str
    name: str
    variant: str
    status: State
    reason: str | None
    fix: str | None
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
    """`name`: the destination's. `attempt`: tries so far. `next_attempt_at` null: none is due, or it is held."""

    id: str
    event: EventRef
    destination: UUID
    connector: str
    name: str
    status: Status
    reason: str | None
    fix: str | None
    attempt: int
    next_attempt_at: datetime | None
    settled_at: datetime | None


def delivery_out(delivery: DeliveryStatus, event: EventRow, label: Label | None, lane: Lane | None) -> DeliveryOut:
    """An open delivery reads as held while its destination is."""
    is_open = delivery.status in queue.OPEN
    is_held = is_open and lane is not None and lane.state == "held"
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
        next_attempt_at=delivery.due_at if is_open and not is_held else None,
        settled_at=delivery.settled_at,
    )
