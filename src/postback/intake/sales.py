"""What an event comes to: the goals it fulfils, and the order it is a post of.

One order is one conversion of each goal, whatever its status updates. Only the post that first makes it count is
delivered; one that takes it back is a retraction, where the connector can, and ends what was not sent yet. Applied
inside the flush, to orders that the transaction holds.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from msgspec import Struct, structs

from postback import conversions, orders, pii
from postback.conversions import Held, NewConversion
from postback.db import buckets
from postback.dialects import DestinationResult
from postback.errors import Invalid
from postback.event import Event, RawEvent
from postback.goals import Goal
from postback.intake.directory import Fate, Snapshot
from postback.money import Money
from postback.orders import TAKEN_BACK, UNCOUNTED, Entry, Ledger
from postback.queue.dirty import Hour
from postback.workspaces import Site

COUNTED_ALREADY = "order counted already"
CANCELLED = "order cancelled"
NEVER_COUNTED = "order never counted: there is nothing to take back"
ENDED_ALREADY = "order taken back already"
OVERTAKEN = "order counts: it was completed after this"


class Post(Struct, frozen=True):
    """What an event says of an order. `status` None: a refund. `at` None: the sender does not say when it changed.
    `counts`: whether its status is one that its site counts."""

    key: bytes
    site_id: bytes
    order_id: str
    status: str | None
    amount: Decimal | None
    at: datetime | None
    counts_from: str
    counts: bool


class Converted(Protocol):
    """An event that fulfils goals. `conversion_id`: of the one whose goal it names."""

    id: bytes
    event: Event
    post: Post | None
    goals: tuple[Goal, ...]
    conversion_id: bytes | None
    visitor_key: bytes | None
    raw: RawEvent
    snapshot: Snapshot


class Sold(Struct):
    """What a flush writes beside its events. `ended`: ids of the events whose orders were taken back. `changed`: hours
    in which conversions of orders were counted that are changed now."""

    held: dict[bytes, Held]
    conversions: list[NewConversion]
    ended: list[bytes]
    changed: Collection[Hour] = ()


def post_of(event: Event, raw: RawEvent, site: Site | None) -> Post | None:
    """What an event says of an order; None where it is none's."""
    order = event.order
    if order is None or order.id is None or site is None or not orders.is_post(event.name, raw.dialect):
        return None
    site_id, value = site.id.bytes, event.value
    status = None if event.name == "refund" else order.status or "completed"
    return Post(
        conversions.key_of(site_id, order.id),
        site_id,
        order.id,
        status,
        value.amount if value else None,
        event.occurred_at if orders.has_times(raw.dialect) else None,
        site.order_counts_from,
        status in orders.COUNTED[site.order_counts_from],
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


def held(post: Post) -> Held:
    """An order, as if nothing were known of it."""
    return Held(post.key, post.site_id, post.order_id, Ledger([]))


def apply(post: Post, event_id: bytes, event: Event, fate: Fate, sold: Sold) -> tuple[Fate, bool]:
    """File a post with its order. Gives its fate, and whether it is the order's first status. Raises Invalid."""
    order = sold.held.get(post.key)
    if order is None:
        order = sold.held[post.key] = held(post)
    ledger, value, id_ = order.ledger, event.value, event_id.hex()
    entries, entry = ledger.entries, Entry(id_, post.status, post.amount, post.at, value and value.currency)
    if not entries and post.status is not None and post.status not in TAKEN_BACK:
        # As nearly every post: nothing is known of the order, so that there is nothing to fold.
        entries.append(entry)
        order.status = post.status
        if post.counts:
            ledger.counted_by = id_
        return fate, True
    if len(entries) >= orders.MAX_ENTRIES:
        raise Invalid(f"An order takes at most {orders.MAX_ENTRIES} posts.", field="order_id")
    before = orders.fold(entries, post.counts_from)
    if post.status is None and value is not None and before.currency not in (None, value.currency):
        raise Invalid(f"currency must be {before.currency}, that of the order which is refunded.", field="currency")
    is_first = all(entry.status is None for entry in entries)
    is_ended = before.status in TAKEN_BACK
    entries.append(entry)
    state = orders.fold(entries, post.counts_from)
    order.status = state.status
    if post.status is None and is_ended:
        return skipped(fate, ENDED_ALREADY), is_first
    if post.status in TAKEN_BACK:
        if state.counts:
            return skipped(fate, OVERTAKEN), is_first
        if ledger.counted_by is None:
            return skipped(fate, NEVER_COUNTED), is_first
        if is_ended:
            return skipped(fate, ENDED_ALREADY), is_first
        sold.ended.append(bytes.fromhex(ledger.counted_by))
    elif post.counts:
        if ledger.counted_by is not None:
            return skipped(fate, COUNTED_ALREADY), is_first
        if not state.counts:
            return skipped(fate, CANCELLED), is_first
        ledger.counted_by = id_
    return fate, is_first


def convert(event: Converted, sold: Sold) -> None:
    """File the conversions of a new event. An order has one a goal."""
    e, post = event.event, event.post
    event_id, value = event.id, e.value
    place = (post.key[0] if post is not None else event_id[15]) & 63
    done = sold.held[post.key].ledger.goal_ids if post is not None else []
    for ordinal, goal in enumerate(event.goals):
        if goal.id in done:
            continue
        done.append(goal.id)
        worth = value
        if worth is None and goal.default_value is not None:
            worth = Money(goal.default_value, goal.currency or event.snapshot.sites[goal.site_id].currency)
        sold.conversions.append(
            (
                event.conversion_id or conversions.id_of(event_id, place, ordinal),
                buckets.BUCKETS[place],
                event.snapshot.id_bytes,
                goal.site_id.bytes,
                goal.id,
                event_id,
                post.key if post is not None else None,
                e.order.id if e.order is not None else None,
                worth.amount if worth is not None else None,
                worth.currency if worth is not None else None,
                pii.masked(event.raw.source) if event.raw.source is not None else None,
                event.visitor_key,
                e.session_id,
                e.occurred_at,
            )
        )
