"""What an event comes to: the goals it fulfils, and the order it is a post of.

One order is one conversion of each goal, whatever its status updates. Only the post that first makes it count is
delivered; one that takes it back is a retraction, where the connector can, and ends what was not sent yet. Applied
inside the flush, to orders that the transaction holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec import Struct, structs

from postback import conversions, orders
from postback.conversions import Held, NewConversion
from postback.dialects import DestinationResult
from postback.errors import Invalid
from postback.event import Event, RawEvent
from postback.goals import Goal
from postback.intake.directory import Fate
from postback.money import Money
from postback.orders import TAKEN_BACK, UNCOUNTED, Entry
from postback.workspaces import Site

COUNTED_ALREADY = "order counted already"
CANCELLED = "order cancelled"
NEVER_COUNTED = "order never counted: there is nothing to take back"
ENDED_ALREADY = "order taken back already"
OVERTAKEN = "order counts: it was completed after this"
# Its posts bear no time of the change.
_WITHOUT_TIMES = "selektable"
_ORDER_NAMES = frozenset({"purchase", "refund"})


class Post(Struct, frozen=True):
    """What an event says of an order. `status` None: a refund. `at` None: the sender does not say when it changed."""

    key: bytes
    site_id: bytes
    order_id: str
    status: str | None
    amount: Decimal | None
    at: datetime | None
    counts_from: str

    @property
    def counts(self) -> bool:
        return self.status is not None and orders.counts(self.status, self.counts_from)


class Sold(Struct):
    """What a flush writes beside its events. `ended`: ids of the events whose orders were taken back."""

    held: dict[bytes, Held]
    conversions: list[NewConversion]
    ended: list[bytes]


def post_of(event: Event, raw: RawEvent, site: Site | None) -> Post | None:
    """What an event says of an order; None where it is none's. Velaro's order id is a label alone."""
    order = event.order
    if order is None or order.id is None or site is None or raw.dialect == "velaro":
        return None
    if event.name not in _ORDER_NAMES and raw.dialect != _WITHOUT_TIMES:
        return None
    site_id = site.id.bytes
    return Post(
        key=conversions.key_of(site_id, order.id),
        site_id=site_id,
        order_id=order.id,
        status=None if event.name == "refund" else order.status or "completed",
        amount=event.value.amount if event.value else None,
        at=None if raw.dialect == _WITHOUT_TIMES else event.occurred_at,
        counts_from=site.order_counts_from,
    )


def judged(fate: Fate, event: Event, post: Post | None) -> Fate:
    """A fate, as far as an event alone tells: an order that does not count yet is not delivered."""
    if post is not None:
        status = None if post.counts else post.status
    else:
        status = event.order.status if event.order is not None and event.name == "purchase" else None
    return skipped(fate, f"order not completed: it is {status}") if status in UNCOUNTED else fate


def skipped(fate: Fate, reason: str) -> Fate:
    """The same, with what would be queued skipped for a reason."""
    rows = tuple(
        (id_, "skipped", 0.0, reason) if status == "queued" else (id_, status, wait, why)
        for id_, status, wait, why in fate.rows
    )
    answers: list[DestinationResult] = [
        structs.replace(answer, status="skipped", reason=reason) if answer.status == "queued" else answer
        for answer in fate.answers
    ]
    return Fate(rows, answers)


def held_by(posts: Iterable[tuple[Post, bytes]]) -> dict[bytes, Held]:
    """Orders of some posts and their workspaces' ids, as if nothing were known of them."""
    held: dict[bytes, Held] = {}
    for post, workspace_id in posts:
        if post.key not in held:
            held[post.key] = Held(post.key, workspace_id, post.site_id, post.order_id, [], [])
    return held


def apply(post: Post, event_id: bytes, event: Event, fate: Fate, sold: Sold) -> tuple[Fate, bool]:
    """File a post with its order. Gives its fate, and whether it is the order's first status. Raises Invalid."""
    order = sold.held[post.key]
    if len(order.entries) >= orders.MAX_ENTRIES:
        raise Invalid(f"An order takes at most {orders.MAX_ENTRIES} posts.", field="order_id")
    money = event.value
    if post.status is None and money is not None and order.currency not in (None, money.currency):
        raise Invalid(f"currency must be {order.currency}, that of the order which is refunded.", field="currency")
    if not order.entries and post.status is not None and post.status not in TAKEN_BACK:
        # As nearly every post: nothing is known of the order, so that there is nothing to fold.
        order.entries.append(Entry(event_id.hex(), post.status, post.amount, post.at))
        order.status, order.currency = post.status, money.currency if money is not None else None
        order.counted_by = event_id if post.counts else None
        return fate, True
    is_first = all(entry.status is None for entry in order.entries)
    is_ended = post.status in TAKEN_BACK and orders.fold(order.entries, post.counts_from).status in TAKEN_BACK
    order.entries.append(Entry(event_id.hex(), post.status, post.amount, post.at))
    state = orders.fold(order.entries, post.counts_from)
    order.status = state.status
    if money is not None:
        order.currency = money.currency
    if post.status in TAKEN_BACK:
        if state.counts:
            return skipped(fate, OVERTAKEN), is_first
        if order.counted_by is None:
            return skipped(fate, NEVER_COUNTED), is_first
        if is_ended:
            return skipped(fate, ENDED_ALREADY), is_first
        sold.ended.append(order.counted_by)
    elif post.counts:
        if order.counted_by is not None:
            return skipped(fate, COUNTED_ALREADY), is_first
        if not state.counts:
            return skipped(fate, CANCELLED), is_first
        order.counted_by = event_id
    return fate, is_first


def convert(
    goals: Sequence[Goal],
    sites: Mapping[UUID, Site],
    event_id: bytes,
    event: Event,
    post: Post | None,
    sold: Sold,
    named_id: bytes | None,
    workspace_id: bytes,
    visitor_key: bytes | None,
    source: str | None,
) -> None:
    """File the conversions of a new event. `named_id`: of the one whose goal it names. An order has one a goal."""
    place = (post.key[0] if post is not None else event_id[15]) & 63
    for ordinal, goal in enumerate(goals):
        if post is not None:
            done = sold.held[post.key].goal_ids
            if goal.id in done:
                continue
            done.append(goal.id)
        value = event.value
        if value is None and goal.default_value is not None:
            value = Money(goal.default_value, goal.currency or sites[goal.site_id].currency)
        sold.conversions.append(
            NewConversion(
                id=named_id or conversions.id_of(event_id, place, ordinal),
                workspace_id=workspace_id,
                site_id=goal.site_id.bytes,
                goal_id=goal.id,
                event_id=event_id,
                order_key=post.key if post else None,
                order_id=event.order.id if event.order else None,
                value=value.amount if value else None,
                currency=value.currency if value else None,
                source=source,
                visitor_key=visitor_key,
                session_id=event.session_id,
                occurred_at=event.occurred_at,
            )
        )
