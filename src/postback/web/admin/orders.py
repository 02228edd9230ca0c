"""`/v1/admin/orders`: orders, those first seen last first, and one with all that was posted of it.

Times of the list are those of arrival. An order is worth what its ledger comes to when it is read.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from postback import conversions, orders, pii, workspaces
from postback.conversions import Order
from postback.db import Tx, buckets
from postback.errors import Invalid, NotFound
from postback.orders import Entry, State
from postback.queue import EventRow, lists
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Limit, Page, PairCursor, cursor_text, read_ids
from postback.web.admin.spans import EARLIEST, From, To, moments
from postback.workspaces import Site

ORDERS = b"/orders/"
Status = Literal["pending", "on-hold", "processing", "completed", "cancelled", "refunded"]
OfSite = Annotated[UUID | None, QueryParameter(description="A site's id.")]


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


class OrderBrief(Struct, frozen=True):
    """`order_id` null: it was erased. `value`: what it is worth now, refunds taken off; 0 where it does not count, null
    where no post said how much it is. `posts`: of which `first_seen_at` and `changed_at` are the first and the last."""

    order_id: str | None
    site: UUID
    status: Status
    value: Decimal | None
    currency: str | None
    posts: int
    first_seen_at: datetime
    changed_at: datetime


@get("/orders", summary="List orders, those first seen last first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    looking: Needs[float],
    limit: Limit = DEFAULT_LIMIT,
    cursor: PairCursor = None,
    since: From = None,
    until: To = None,
    site: OfSite = None,
    status: Annotated[Status | None, QueryParameter(description="Where it stands now.")] = None,
    order_id: Annotated[str | None, QueryParameter(description="Its number, whole.")] = None,
) -> Page[OrderBrief]:
    """A page may hold fewer items than its limit, and yet have a `next_cursor`: what is rare is looked for in steps."""
    start, end = moments(since, until, caller.now, None)
    before = (end, UUID(int=0))
    if (place := _place(cursor)) is not None:
        before = min(before, place)
    async with hub.pool.connection() as tx:
        known = await sites_of(tx, caller)
        wanted = [id_ for id_ in known if site in (None, id_)]
        if order_id is None:
            found, floor = await conversions.list_orders(
                tx, wanted, status, since=start, before=before, limit=limit + 1, seconds=looking
            )
        else:
            named = await conversions.find_orders(tx, wanted, pii.stored_id(order_id))
            floor = None
            found = [
                one for one in named
                if status in (None, one.status) and start <= one.first_seen_at and _named(one) < before
            ]  # fmt: skip
    items = [_brief(one, known[one.site_id].order_counts_from) for one in found[:limit]]
    last = _named(found[limit - 1]) if len(found) > limit else floor
    return Page(items, _cursor(*last) if last else None)


def _named(order: Order) -> tuple[datetime, UUID]:
    return order.first_seen_at, order.key


def _cursor(at: datetime, key: UUID) -> str:
    return cursor_text(((at - EARLIEST) // timedelta(microseconds=1)).to_bytes(16) + key.bytes)


def _place(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Raises Invalid."""
    if (ids := read_ids(cursor, 2)) is None:
        return None
    try:
        return EARLIEST + timedelta(microseconds=ids[0].int), ids[1]
    except OverflowError:
        raise Invalid(
            "This cursor is not one that this list gave; leave it out to begin anew.", field="cursor"
        ) from None


def _brief(order: Order, counts_from: str) -> OrderBrief:
    state = order.state(counts_from)
    is_named = conversions.key_of(order.site_id.bytes, order.order_id) == order.key.bytes
    return OrderBrief(
        order_id=order.order_id if is_named else None,
        site=order.site_id,
        status=state.status,  # type: ignore[arg-type]  # the fold's own words
        value=state.worth,
        currency=state.currency,
        posts=len(order.ledger.entries),
        first_seen_at=order.first_seen_at,
        changed_at=order.changed_at,
    )


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
        known = await sites_of(tx, caller)
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


async def sites_of(tx: Tx, caller: Caller) -> dict[UUID, Site]:
    """Sites by id, removed ones too: what they took stays."""
    return {site.id: site for site in await workspaces.sites(tx, [caller.workspace_id], with_removed=True)}


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


HANDLERS = [list_all, read_order]
