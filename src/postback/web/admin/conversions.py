"""`/v1/admin/conversions`: events that fulfilled a goal, newest first; and orders, which some of them are worth.

Times of the list are those of arrival. An order's conversion is worth what the order is when it is read.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from postback import conversions, orders, pii, workspaces
from postback.conversions import Conversion, Filter
from postback.db import Tx, buckets
from postback.errors import NotFound
from postback.event import Event
from postback.orders import Entry, State
from postback.queue import EventRow, lists
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_text, read_ids
from postback.web.admin.spans import From, To, ids_between
from postback.workspaces import Site

ORDERS = b"/orders/"
Status = Literal["pending", "on-hold", "processing", "completed", "cancelled", "refunded"]
OfSite = Annotated[UUID | None, QueryParameter(description="A site's id.")]
_decode = msgspec.json.Decoder(Event).decode


class ConversionOut(Struct, frozen=True):
    """`event`: the id of `/v1/admin/events/{id}`; `event_id`: the sender's. `value`: what it is worth now; null: none
    was given, and the goal has none. `source`: the sender's label. `type` null: not attributed yet.
    `time_to_conversion_seconds`: from the last touch."""

    id: UUID
    event: UUID
    event_id: str
    goal_id: int
    site: UUID
    value: Decimal | None
    currency: str | None
    order_id: str | None
    source: str | None
    visitor_id: str | None
    session_id: str | None
    type: Literal["direct", "assisted"] | None
    time_to_conversion_seconds: int | None
    occurred_at: datetime


class EntryOut(Struct, frozen=True):
    """One post of an order. `event`: the id of `/v1/admin/events/{id}`; `event_id`: the sender's. `status` null: a
    refund, of `amount`, or of all where that is null. `changed_at` null: the sender does not say when it changed.
    `order_status` and `value`: where the order stood, and what it was worth, once this was posted."""

    event: UUID
    event_id: str
    status: Status | None
    amount: Decimal | None
    changed_at: datetime | None
    received_at: datetime
    order_status: Status
    value: Decimal | None


class OrderOut(Struct, frozen=True):
    """`value`: what it is worth now; 0 where it does not count, null where no post said how much it is. `ledger`: all
    that was posted of it, in order of arrival."""

    order_id: str
    site: UUID
    status: Status
    value: Decimal | None
    currency: str | None
    ledger: list[EntryOut]


@get("/conversions", summary="List conversions, newest first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    since: From = None,
    until: To = None,
    goal: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1, description="A goal's number.")] = None,
    site: OfSite = None,
    order_id: Annotated[str | None, QueryParameter(description="The order's id.")] = None,
    event: Annotated[UUID | None, QueryParameter(description="Our id of the event that it is.")] = None,
) -> Page[ConversionOut]:
    """A page may hold fewer items than its limit, and yet have a `next_cursor`: what is rare is looked for in steps."""
    min_id, max_id = ids_between(since, until, caller.now)
    if (after := read_ids(cursor, 1)) is not None:
        max_id = min(max_id, UUID(int=max(0, after[0].int - 1)))
    if event is not None:
        low, high = conversions.near(event)
        min_id, max_id = max(min_id, low), min(max_id, high)
    wanted = Filter(
        workspace_id=caller.workspace_id,
        goal_id=goal,
        site_id=site,
        order_id=pii.stored_id(order_id) if order_id is not None else None,
        event_id=event,
    )
    async with hub.pool.connection() as tx:
        found, floor = await conversions.list_all(tx, wanted, min_id=min_id, max_id=max_id, limit=limit + 1)
        items = await shown(tx, caller, found[:limit])
    if len(found) > limit:
        return Page(items, cursor_text(found[limit - 1].id.bytes))
    return Page(items, cursor_text(floor.bytes) if floor else None)


@get("/conversions/{conversion:uuid}", summary="One conversion")
async def read(hub: Needs[Hub], caller: Needs[Caller], conversion: FromPath[UUID]) -> ConversionOut:
    async with hub.pool.connection() as tx:
        found = await conversions.read(tx, caller.workspace_id, conversion)
        if found is None:
            raise NotFound("There is no such conversion.")
        (item,) = await shown(tx, caller, [found])
    return item


@get("/orders/{order_id:path}", summary="One order with all that was posted of it")
async def read_order(
    hub: Needs[Hub],
    caller: Needs[Caller],
    request: Request[Any, Any, Any],
    order_id: FromPath[str],
    site: OfSite = None,
) -> OrderOut:
    """`order_id`: the sender's, percent-encoded. The newest, where several sites have one of this id."""
    sent = pii.stored_id(_order_id(request))
    async with hub.pool.connection() as tx:
        known = await _sites(tx, caller)
        wanted = [id_ for id_ in known if site in (None, id_)]
        order = next(iter(await conversions.find_orders(tx, wanted, sent)), None)
        if order is None:
            raise NotFound("There is no such order.")
        events = await lists.event_rows(tx, [UUID(entry.event_id) for entry in order.ledger.entries])
    counts_from, entries = known[order.site_id].order_counts_from, order.ledger.entries
    state = order.state(counts_from)
    after = [orders.fold(entries[: place + 1], counts_from) for place in range(len(entries))]
    return OrderOut(
        order_id=order.order_id,
        site=order.site_id,
        status=state.status,  # type: ignore[arg-type]  # the fold's own words
        value=state.worth,
        currency=state.currency,
        ledger=[_entry(entry, events, then) for entry, then in zip(entries, after, strict=True)],
    )


def _order_id(request: Request[Any, Any, Any]) -> str:
    """As it was sent: Litestar folds slashes, which an order id may hold."""
    raw: bytes = request.scope["raw_path"]
    return unquote(raw.partition(b"?")[0].partition(ORDERS)[2].decode("latin-1"))


async def _sites(tx: Tx, caller: Caller) -> dict[UUID, Site]:
    """Sites by id, removed ones too: what they took stays."""
    return {site.id: site for site in await workspaces.sites(tx, [caller.workspace_id], with_removed=True)}


async def shown(tx: Tx, caller: Caller, found: Sequence[Conversion]) -> list[ConversionOut]:
    """Conversions with what they are worth now."""
    sites = await _sites(tx, caller)
    orders = await conversions.orders_of(tx, found)
    events = await lists.event_rows(tx, sorted({one.event_id for one in found}))
    items: list[ConversionOut] = []
    for one in found:
        order = orders.get(one.order_key) if one.order_key is not None else None
        value, currency = conversions.worth_now(one, order, sites[one.site_id].order_counts_from)
        event = events.get(one.event_id)
        items.append(
            ConversionOut(
                id=one.id,
                event=one.event_id,
                event_id=event.event_id if event else str(one.event_id),
                goal_id=one.goal_id,
                site=one.site_id,
                value=value,
                currency=currency,
                order_id=one.order_id,
                source=one.source,
                visitor_id=_decode(event.body).visitor_id if event else None,
                session_id=one.session_id,
                type=None,
                time_to_conversion_seconds=None,
                occurred_at=one.occurred_at,
            )
        )
    return items


def _entry(entry: Entry, events: dict[UUID, EventRow], then: State) -> EntryOut:
    id_ = UUID(entry.event_id)
    event = events.get(id_)
    return EntryOut(
        event=id_,
        event_id=event.event_id if event else str(id_),
        status=entry.status,  # type: ignore[arg-type]  # the dialects' own check
        amount=entry.amount,
        changed_at=entry.at,
        received_at=buckets.time_of(id_),
        order_status=then.status,  # type: ignore[arg-type]  # the fold's own words
        value=then.worth,
    )


HANDLERS = [list_all, read, read_order]
