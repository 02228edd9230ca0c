"""`/v1/admin/events`: what was accepted, newest first, and one event with what became of it.

Times of the list are those of arrival. Hashes and readable personal data are not shown: `identifiers` says which there
are and where each came from.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from postback import destinations, keys, orders, pii, queue, visitors, workspaces
from postback.db import Tx, buckets
from postback.delivery import identity, prepare
from postback.dialects import convultra
from postback.errors import NotFound
from postback.event import IDENTIFIERS, Event
from postback.intake import dedup
from postback.pii import Sealer, SealError
from postback.queue import EventRow, lists, sending
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_text, read_ids
from postback.web.admin.shapes import DeliveryOut, delivery_out, outcomes
from postback.web.admin.spans import From, Status, To, ids_between, stored_as

DialectName = Literal["native", "tag", "segment", "convultra", "roasproof", "selektable", "velaro"]
_decode = msgspec.json.Decoder(Event).decode


class EventOut(Struct, frozen=True):
    """`event_id`: the sender's. `name`: the standard name, `source_name` as sent. `site`: a site's id. `has_order`:
    `order_id` is of an order, and not a label alone. `outcomes`: how many of its deliveries are in which state."""

    id: UUID
    event_id: str
    name: str
    source_name: str
    site: UUID | None
    occurred_at: datetime
    received_at: datetime
    value: Decimal | None
    currency: str | None
    order_id: str | None
    has_order: bool
    order_status: str | None
    dialect: str
    notes: list[str]
    outcomes: dict[str, int]


class SentWith(Struct, frozen=True):
    """`api_key`: `id` as `/v1/admin/keys` has it. `site_key`: the tag's, public; `id` and `label` are the site's."""

    kind: Literal["api_key", "site_key"]
    id: UUID
    label: str
    prefix: str | None


class EventDetails(EventOut, frozen=True, kw_only=True):
    """`key`: what it was sent with; null: it was stored before that was kept. `identifiers`: what can match it to a
    person, and where each came from: `sent`, or joined from its `visitor`, by `session` or by `link`. Values are not
    shown."""

    key: SentWith | None
    action_source: str | None
    url: str | None
    referrer: str | None
    visitor_id: str | None
    session_id: str | None
    consent: dict[str, bool]
    identifiers: dict[str, str]
    experiments: dict[str, str]
    items: list[dict[str, Any]]
    properties: dict[str, Any]
    deliveries: list[DeliveryOut]


@get("/events", summary="List events, newest first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    looking: Needs[float],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    since: From = None,
    until: To = None,
    name: Annotated[str | None, QueryParameter(description="The event's standard name.")] = None,
    site: Annotated[UUID | None, QueryParameter(description="A site's id.")] = None,
    key: Annotated[UUID | None, QueryParameter(description="An API key's id; a site's: what its tag sent.")] = None,
    status: Annotated[Status | None, QueryParameter(description="With a delivery in this state.")] = None,
    event_id: Annotated[str | None, QueryParameter(description="The sender's id, or ours.")] = None,
    order_id: Annotated[str | None, QueryParameter(description="The order's id.")] = None,
    note: Annotated[Literal["collision", "erased"] | None, QueryParameter(description="With this note.")] = None,
    visitor: Annotated[str | None, QueryParameter(description="A visitor's id.")] = None,
    dialect: Annotated[DialectName | None, QueryParameter(description="As which it came.")] = None,
) -> Page[EventOut]:
    """A page may hold fewer items than its limit, and yet have a `next_cursor`: what is rare is looked for in steps."""
    min_id, max_id = ids_between(since, until, caller.now)
    if (after := read_ids(cursor, 1)) is not None:
        max_id = min(max_id, UUID(int=max(0, after[0].int - 1)))
    async with hub.pool.connection() as tx:
        statuses, ids = None, list[UUID]()
        if status is not None:
            ids = list(await destinations.labels(tx, caller.workspace_id))
            lanes = await destinations.lanes(tx, sorted({buckets.of_id(id_) for id_ in ids}))
            statuses, ids = stored_as(status, ids, lanes)
        wanted = lists.EventFilter(
            workspace_id=caller.workspace_id,
            site_id=site,
            key_id=key,
            name=name,
            event_id=event_id,
            order_id=order_id,
            note=note,
            dialect=dialect,
            visitor_key=_key_of(caller, visitor) if visitor else None,
            statuses=statuses,
            destination_ids=ids,
        )
        if event_id is not None and (named := await known_ids(tx, caller.workspace_id, event_id)):
            found, floor = await _among(tx, wanted, [id_ for id_ in named if min_id <= id_ <= max_id]), None
        else:
            found, floor = await lists.events(
                tx, wanted, min_id=min_id, max_id=max_id, limit=limit + 1, seconds=looking
            )
        became = await outcomes(tx, [event.id for event in found[:limit]])
    return Page([event_out(event, became[event.id]) for event in found[:limit]], _next(found, floor, limit))


def _key_of(caller: Caller, visitor_id: str) -> UUID:
    return UUID(bytes=visitors.key_of(caller.workspace_id, pii.stored_id(visitor_id)))


@get("/events/{event:uuid}", summary="One event with its deliveries")
async def read(hub: Needs[Hub], caller: Needs[Caller], event: FromPath[UUID]) -> EventDetails:
    async with hub.pool.connection() as tx:
        row = await queue.event_row(tx, event)
        if row is None or row.workspace_id != caller.workspace_id:
            raise NotFound("There is no such event.")
        stored = (await queue.deliveries_of(tx, [event]))[event]
        labels = await destinations.labels(tx, caller.workspace_id)
        lanes = await destinations.lanes(tx, sorted({buckets.of_id(one.destination_id) for one in stored}))
        identifiers = await _identifiers(tx, hub, event)
        key = await _sent_with(tx, row)
    shown = [delivery_out(one, row, labels.get(one.destination_id), lanes.get(one.destination_id)) for one in stored]
    became = dict(Counter(one.status for one in shown))
    return EventDetails(
        **_fields(row), **_more(_decode(row.body), identifiers), key=key, outcomes=became, deliveries=shown
    )


async def _sent_with(tx: Tx, row: EventRow) -> SentWith | None:
    if row.key_id is None:
        return None
    for site in await workspaces.sites(tx, [row.workspace_id], with_removed=True):
        if site.id == row.key_id:
            return SentWith("site_key", site.id, site.name, None)
    try:
        key = await keys.read(tx, row.workspace_id, row.key_id)
    except NotFound:
        return None
    return SentWith("api_key", key.id, key.label, key.prefix)


async def _identifiers(tx: Tx, hub: Hub, id_: UUID) -> dict[str, str]:
    """What an event has, and what the visitor's row would add to it if it were sent now, by what the visitor was found;
    nothing that was denied. What is sealed under a key that is gone is left out."""
    [stored] = (await sending.events(tx, [id_.bytes])).values()
    sealer = hub.vault.sealer
    known = (await prepare.join(tx, [stored], hub.vault))[stored.id]
    found: dict[str, str] = {}
    if known is not None:
        choice = identity.consent(known.event, stored.id, known.layers)
        for layer in reversed(identity.allowed(known.layers, choice)):
            names = (name for name in layer.identifiers if name in IDENTIFIERS)
            readable = (name for blob in layer.sealed for name in _sealed(blob, sealer))
            found |= dict.fromkeys([*names, *readable], layer.origin)
        event = known.event
        found |= dict.fromkeys([*event.user, *event.click_ids, *_sealed(stored.sealed, sealer)], "sent")
    return found


def _sealed(sealed: bytes | None, sealer: Sealer) -> Iterable[str]:
    """The names of what is readable."""
    try:
        return pii.reveal(sealed, sealer) if sealed else ()
    except SealError:
        return ()


async def known_ids(tx: Tx, workspace_id: UUID, event_id: str) -> list[UUID]:
    """Our ids of the events behind an id of the sender's, or of one that we answered; newest first."""
    found = await dedup.find_by_sender_id(tx, workspace_id, pii.stored_id(event_id))
    if (own := convultra.from_evt_id(event_id) or uuid_of(event_id)) is not None:
        found.append(own)
    return found


async def _among(tx: Tx, wanted: lists.EventFilter, ids: list[UUID]) -> list[EventRow]:
    """Those of a few events that are wanted, whatever sender's id they bear."""
    found: list[EventRow] = []
    for id_ in dict.fromkeys(ids):
        any_id = msgspec.structs.replace(wanted, event_id=None)
        found += (await lists.events(tx, any_id, min_id=id_, max_id=id_, limit=1))[0]
    return found


def _next(found: list[EventRow], floor: UUID | None, limit: int) -> str | None:
    if len(found) > limit:
        return cursor_text(found[limit - 1].id.bytes)
    return cursor_text(floor.bytes) if floor else None


def uuid_of(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def event_out(row: EventRow, outcomes: dict[str, int]) -> EventOut:
    return EventOut(**_fields(row), outcomes=outcomes)


def _fields(row: EventRow) -> dict[str, Any]:
    event = _decode(row.body)
    return {
        "id": row.id,
        "event_id": row.event_id,
        "name": row.name,
        "source_name": event.source_name,
        "site": row.site_id,
        "occurred_at": event.occurred_at,
        "received_at": buckets.time_of(row.id),
        "value": event.value.amount if event.value else None,
        "currency": event.value.currency if event.value else None,
        "order_id": row.order_id,
        "has_order": row.order_id is not None and orders.is_post(row.name, event.dialect),
        "order_status": event.order.status if event.order else None,
        "dialect": event.dialect,
        "notes": list(dict.fromkeys([*event.notes, *(row.notes or ())])),
    }


def _more(event: Event, identifiers: dict[str, str]) -> dict[str, Any]:
    consent = msgspec.to_builtins(event.consent) if event.consent else {}
    return {
        "action_source": event.action_source,
        "url": event.page.url if event.page else None,
        "referrer": event.page.referrer if event.page else None,
        "visitor_id": event.visitor_id,
        "session_id": event.session_id,
        "consent": consent,
        "identifiers": identifiers,
        "experiments": event.experiments,
        "items": [msgspec.structs.asdict(item) for item in event.order.items] if event.order else [],
        "properties": event.properties,
    }


HANDLERS = [list_all, read]
