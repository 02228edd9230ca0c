"""What became of an event: `GET /v1/events/{event_id}`, by the sender's id or the one that was answered.

The newest where several bear the id. An event that its sender filed otherwise (a status of a Selektable order) is found
by its order.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from postback import conversions, destinations, pii, queue
from postback.db import Tx
from postback.dialects import convultra
from postback.errors import NotFound
from postback.intake import dedup
from postback.intake.directory import Snapshot
from postback.keys import ApiKey


class DeliveryShown(Struct, omit_defaults=True):
    id: str
    connector: str
    name: str
    status: str
    reason: str | None = None
    next_attempt_at: datetime | None = None


class EventStatus(Struct):
    event_id: str
    event: str
    status: str
    deliveries: list[DeliveryShown]


async def find(tx: Tx, snapshot: Snapshot, key: ApiKey, sent: str, name: str | None) -> EventStatus:
    """`name`: of the event, None: any. Raises NotFound, for an event of another site than the key's too."""
    stored = pii.stored_id(sent)
    ids = await dedup.find_by_sender_id(tx, snapshot.workspace.id, stored)
    if (own := convultra.from_evt_id(sent) or _uuid(sent)) is not None:
        ids.append(own)
    shown = await _first(tx, snapshot, key, ids, name)
    if shown is None:
        sites = [key.site_id] if key.site_id is not None else list(snapshot.sites)
        found = await conversions.find_orders(tx, sites, stored)
        posts = sorted((UUID(entry.event_id) for order in found for entry in order.ledger.entries), reverse=True)
        shown = await _first(tx, snapshot, key, posts, name)
    if shown is None:
        raise NotFound("There is no event of this id.")
    return shown


async def _first(tx: Tx, snapshot: Snapshot, key: ApiKey, ids: Sequence[UUID], name: str | None) -> EventStatus | None:
    for id_ in ids:
        row = await queue.event_row(tx, id_)
        if row is None or row.workspace_id != snapshot.workspace.id or (name and row.name != name):
            continue
        if key.site_id not in (None, row.site_id):
            continue
        rows = (await queue.deliveries_of(tx, [id_]))[id_]
        lanes = await destinations.lanes(tx, sorted({d.bucket for d in snapshot.destinations}))
        return _shown(row, rows, snapshot, lanes)
    return None


def _shown(
    row: queue.EventRow,
    rows: Sequence[queue.DeliveryStatus],
    snapshot: Snapshot,
    lanes: dict[UUID, destinations.Lane],
) -> EventStatus:
    known = {d.id: d for d in snapshot.destinations}
    shown: list[DeliveryShown] = []
    for delivery in rows:
        destination = known.get(delivery.destination_id)
        is_open = delivery.status in queue.OPEN
        lane = lanes.get(delivery.destination_id)
        is_held = is_open and lane is not None and lane.state == "held"
        is_paused = is_open and lane is not None and lane.state == "paused"
        shown.append(
            DeliveryShown(
                id=queue.delivery_id(delivery.event_id, delivery.destination_id),
                connector=destination.connector.name if destination else "",
                name=destination.name if destination else "removed",
                status="held" if is_held else delivery.status,
                reason=lane.reason if is_held and lane else delivery.reason,
                next_attempt_at=delivery.due_at if is_open and not is_held and not is_paused else None,
            )
        )
    return EventStatus(row.event_id, row.name, "accepted", shown)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
