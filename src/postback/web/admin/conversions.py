"""`/v1/admin/conversions`: events that fulfilled a goal, newest first.

Times of the list are those of arrival. An order's conversion is worth what the order is when it is read.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Struct, structs

from postback import conversions, pii
from postback.conversions import Conversion, Filter
from postback.db import Tx
from postback.errors import NotFound
from postback.event import Event
from postback.queue import lists
from postback.reports import counting
from postback.reports.counting import Scene
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.orders import OfSite, sites_of
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_text, read_ids
from postback.web.admin.spans import From, To, ids_between

_decode = msgspec.json.Decoder(Event).decode


class ConversionOut(Struct, frozen=True):
    """`event`: the id of `/v1/admin/events/{id}`; `event_id`: the sender's. `value`: what it is worth now; null: none
    was given, and the goal has none. `has_order`: `order_id` is of an order, and not a label alone. `source`: the
    sender's label. `type` null: not attributed yet. `time_to_conversion_seconds`: from the last touch."""

    id: UUID
    event: UUID
    event_id: str
    goal_id: int
    site: UUID
    value: Decimal | None
    currency: str | None
    order_id: str | None
    has_order: bool
    source: str | None
    visitor_id: str | None
    session_id: str | None
    type: Literal["direct", "assisted"] | None
    time_to_conversion_seconds: int | None
    occurred_at: datetime


class CreditedOut(Struct, frozen=True):
    """`source` null: it came directly; `unknown`: no session is known, and the event tells none."""

    source: str | None
    medium: str | None
    campaign: str | None


class ConversionDetails(ConversionOut, frozen=True, kw_only=True):
    """`channel`: of the visitor's last session before it, else what its event tells."""

    channel: CreditedOut


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
async def read(hub: Needs[Hub], caller: Needs[Caller], conversion: FromPath[UUID]) -> ConversionDetails:
    async with hub.pool.connection() as tx:
        found = await conversions.read(tx, caller.workspace_id, conversion)
        if found is None:
            raise NotFound("There is no such conversion.")
        (item,) = await shown(tx, caller, [found])
        channel = await counting.channel_of(tx, found, Scene(await sites_of(tx, caller), caller.snapshot.goals))
    return ConversionDetails(**structs.asdict(item), channel=CreditedOut(*channel))


async def shown(tx: Tx, caller: Caller, found: Sequence[Conversion]) -> list[ConversionOut]:
    """Conversions with what they are worth now."""
    sites = await sites_of(tx, caller)
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
                has_order=one.order_key is not None and one.order_id is not None,
                source=one.source,
                visitor_id=_decode(event.body).visitor_id if event else None,
                session_id=one.session_id,
                type=None,
                time_to_conversion_seconds=None,
                occurred_at=one.occurred_at,
            )
        )
    return items


HANDLERS = [list_all, read]
