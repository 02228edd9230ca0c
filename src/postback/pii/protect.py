"""From a raw event, which may hold plaintext, to what may be stored."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from postback import money
from postback.errors import Invalid
from postback.event import (
    ACTION_SOURCES,
    OLDEST,
    Event,
    Item,
    Order,
    Page,
    RawEvent,
    clock_error,
    corrected,
    standard_name,
)
from postback.money import Money
from postback.pii import doors
from postback.pii.identify import click_ids, identify, prehashed
from postback.pii.seal import Sealer

MAX_AHEAD = timedelta(hours=24)
MAX_ID_CHARS = 256
MAX_NAME_CHARS = 100

_encode = msgspec.json.Encoder().encode


class SiteFacts(Struct, frozen=True):
    """What judging an event needs to know of its site. `currency`: of amounts that name none, its goal's if it has one.

    `country`: ISO 3166 alpha-2, of phone numbers that name none.
    """

    site_id: UUID | None = None
    country: str | None = None
    currency: str = "USD"


class Protected(Struct, frozen=True):
    """An event safe to store. `sealed`: its `readable` identifiers as JSON, encrypted.

    `links`: kind and value of what ties the event to a visitor, for `link_key`: `session` and its id as stored;
    `email`, `phone`, `external_id` and their SHA-256. A user id is an external id.
    """

    event: Event
    sealed: bytes | None = None
    readable: Mapping[str, str] = {}
    links: Sequence[tuple[str, str]] = ()


def protect(
    raw: RawEvent,
    *,
    site: SiteFacts,
    now: datetime,
    seal: Sealer,
    new_id: Callable[[], str] | None = None,
    keep_email: bool = False,
) -> Protected:
    """The event with hashes for identifiers, its readable ones sealed, and notes on what was dropped or changed.

    Raises Invalid, naming the field, where the event as a whole cannot be used. An identifier that cannot be used is
    dropped alone. `new_id` makes the ids of events without one (None: 32 hex digits of the sealer's randomness).
    `keep_email`: seal the email too, for mail actions. Nothing of `raw` is altered; repeating gives the same event.
    """
    notes = [*raw.notes]
    properties, user = raw.properties or {}, raw.user
    if properties:
        properties, user = doors.properties(properties, user, notes)
    links: list[tuple[str, str]] = []
    hashed: dict[str, str] = {}
    readable: dict[str, str] = {}
    if user is not None:
        hashed, readable, links = identify(user, site.country, notes, keep_email=keep_email)
    if raw.hashes:
        links += prehashed(raw.hashes, hashed, links, notes)
    # Asked here and not by each rule: most are absent, and a call costs more than the question.
    visitor_id = session_id = None
    if raw.session_id is not None:
        session_id = _id(raw.session_id, "session_id", notes)
        links.append(("session", session_id))
    if raw.visitor_id is not None:
        visitor_id = _id(raw.visitor_id, "visitor_id", notes)
    if raw.event_id is not None:
        event_id = _id(raw.event_id, "event_id", notes)
    else:
        event_id = new_id() if new_id else seal.random_bytes(16).hex()
    source = raw.action_source
    has_order = raw.order_id is not None or raw.order_status or raw.items
    # CPython packs more than 15 keywords of one call in a dict, which costs a microsecond: the rarer ones come apart.
    rare: dict[str, Any] = {}
    if properties:
        rare["properties"] = properties
    if raw.consent is not None:
        rare["consent"] = raw.consent
    if raw.experiments:
        rare["experiments"] = doors.experiments(raw.experiments, notes)
    if raw.goal_id is not None:
        rare["goal_id"] = raw.goal_id
    if raw.is_test:
        rare["is_test"] = True
    if raw.is_bot:
        rare["is_bot"] = True
    make = partial(Event, **rare) if rare else Event
    event = make(
        event_id=event_id,
        name=_name(raw.name),
        source_name=raw.name,
        occurred_at=_time(raw, raw.occurred_at, now, notes) if raw.occurred_at is not None else now,
        dialect=raw.dialect,
        action_source=source if source is None or source in ACTION_SOURCES else _action_source(source, notes),
        site_id=site.site_id,
        visitor_id=visitor_id,
        session_id=session_id,
        value=_value(raw.amount, raw.currency, site, notes),
        order=_order(raw, notes) if has_order else None,
        page=_page(raw, notes) if raw.url or raw.referrer else None,
        user=hashed,
        click_ids=click_ids(raw.click_ids, notes) if raw.click_ids else {},
        notes=tuple(notes),
    )
    return Protected(event, seal.seal(_encode(readable)) if readable else None, readable, links)


def reveal(sealed: bytes, seal: Sealer) -> dict[str, str]:
    """The readable identifiers of an event, by name."""
    return msgspec.json.decode(seal.unseal(sealed), type=dict[str, str])


def _name(name: str) -> str:
    if not name or len(name) > MAX_NAME_CHARS or not name.strip():
        raise Invalid(f"event must be a name of 1 to {MAX_NAME_CHARS} characters.", field="event")
    return standard_name(name)


def _id(text: str, field: str, notes: list[str]) -> str:
    if not text or len(text) > MAX_ID_CHARS:
        raise Invalid(f"{field} must have 1 to {MAX_ID_CHARS} characters.", field=field)
    # Asked here, because a call for each id of each event costs more than the question.
    return doors.stored_id(text, field, notes) if "@" in text or "%" in text else text


def _time(raw: RawEvent, occurred_at: datetime, now: datetime, notes: list[str]) -> datetime:
    """Kept as it is up to a day ahead: the sender of a delivery waits for it, or clamps what is minutes ahead. A
    browser's is corrected, and never ahead."""
    if raw.sent_at is not None:
        if (error := clock_error(raw.sent_at, now)) is None:
            notes.append("sent_at: more than a year off, times taken as now")
        return corrected(occurred_at, error, now)
    if occurred_at.tzinfo is None:
        occurred_at = occurred_at.replace(tzinfo=UTC)
    if occurred_at < OLDEST:
        raise Invalid("occurred_at must not be before the year 2000.", field="occurred_at")
    if occurred_at > now + MAX_AHEAD:
        raise Invalid("occurred_at must not be more than 24 hours ahead.", field="occurred_at")
    return occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC)


def _action_source(source: str, notes: list[str]) -> str:
    if (lower := source.strip().lower()) in ACTION_SOURCES:
        return lower
    notes.append("action_source: unknown, taken as other")
    return "other"


def _value(amount: Decimal | None, currency: str | None, site: SiteFacts, notes: list[str]) -> Money | None:
    if currency is not None:
        currency = money.currency(currency)
    if amount is None:
        return None
    if amount < 0:
        raise Invalid("value must not be negative.", field="value")
    if currency is None:
        currency = site.currency
        notes.append(f"currency: absent, taken as {currency}")
    exact, changed = money.rounded(amount, currency)
    if changed:
        notes.append(f"value: rounded to {money.minor_units(currency)} decimals")
    return Money(exact, currency)


def _order(raw: RawEvent, notes: list[str]) -> Order:
    order_id = _id(raw.order_id, "order_id", notes) if raw.order_id is not None else None
    items = raw.items
    for item in items:
        product_id, name = item.product_id, item.name
        if (product_id and ("@" in product_id or "%" in product_id)) or (name and ("@" in name or "%" in name)):
            items = tuple(map(_item, items))
            break
    if items is not raw.items and items != raw.items:
        notes.append(f"items: an email address was replaced by {doors.MASK}")
    return Order(id=order_id, status=raw.order_status, items=items)


def _item(item: Item) -> Item:
    product_id, name = item.product_id and doors.masked(item.product_id), item.name and doors.masked(item.name)
    if product_id == item.product_id and name == item.name:
        return item
    return replace(item, product_id=product_id, name=name)


def _page(raw: RawEvent, notes: list[str]) -> Page:
    url, referrer = raw.url or None, raw.referrer or None
    if url and ("@" in url or "%" in url):
        url = doors.page_address(url, "url", notes)
    if referrer and ("@" in referrer or "%" in referrer):
        referrer = doors.page_address(referrer, "referrer", notes)
    return Page(url=url, referrer=referrer)
