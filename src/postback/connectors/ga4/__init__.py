"""GA4 Measurement Protocol: up to 25 events of one client a POST, always answered 2xx.

Nothing proves that Google took an event, or that the secret is right: a wrong one is answered 204 too. So what Google
would drop without a word (names, lengths, counts, missing parameters) is put right here, before it is sent.
Dedup: `transaction_id` of purchases and refunds, else none. Time: unix microseconds, at most 72 hours old. Money: JSON
number, major units. Refunds retract. Retrying is safe for what has a transaction id only.
Source: https://developers.google.com/analytics/devguides/collection/protocol/ga4, read 2026-11-20.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta, Struct

from postback.connectors import (
    UNSTATED_RATE,
    Connector,
    Delivered,
    Endpoint,
    Failed,
    Item,
    Outcome,
    Request,
    Response,
    Skipped,
    encode,
    exact,
    host,
    is_retraction,
    otherwise,
    said,
    search_term,
    sent_time,
    worth,
)
from postback.connectors.ga4.client import IDENTIFIERS, client_id, client_of
from postback.event import Event, JoinedEvent
from postback.secret import Secret


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HOST = "https://www.google-analytics.com"
NAMES = {
    "page_view": "page_view",
    "view_content": "view_item",
    "search": "search",
    "add_to_cart": "add_to_cart",
    "add_to_wishlist": "add_to_wishlist",
    "initiate_checkout": "begin_checkout",
    "add_payment_info": "add_payment_info",
    "refund": "refund",
    "lead": "generate_lead",
    "signup": "sign_up",
    "purchase": "purchase",
    "subscribe": "subscribe",
    "start_trial": "start_trial",
    "contact": "contact",
    "schedule": "schedule",
}
MAX_NAME_CHARS = 40
MAX_PARAMS = 25
MAX_ITEMS_OF_AN_ORDER = 200
MAX_CHARS = 100
LONGER = {"page_title": 300, "page_referrer": 420, "page_location": 1000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_")
RESERVED_EVENTS = _words(
    "ad_activeview ad_click ad_exposure ad_impression ad_query adunit_exposure app_clear_data app_install app_update "
    "app_remove app_exception app_store_refund app_store_subscription_cancel app_store_subscription_convert "
    "app_store_subscription_renew app_upgrade dynamic_link_app_open dynamic_link_app_update dynamic_link_first_open "
    "error first_open first_visit in_app_purchase notification_dismiss notification_foreground notification_open "
    "notification_receive notification_send os_update screen_view session_start user_engagement"
)
# Parameters that are ours to fill, so that a property of that name is not sent; and one that Google reserves.
OURS = _words("value currency transaction_id items session_id engagement_time_msec debug_mode firebase_conversion")
NUMBERS = frozenset({"tax", "shipping"})

_NUMERIC, _NOT_NUMERIC = (int, float), (str, bool)  # tuples: a union is made anew each time that it is read
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_]")
_HASH = re.compile(r"\b[a-f0-9]{64}\b").search
_DIGITS = re.compile(r"[0-9]{1,20}").fullmatch


class Config(Struct, frozen=True):
    measurement_id: Annotated[
        str,
        Meta(
            title="Measurement id",
            description="G-..., under Admin > Data streams > your web stream.",
            pattern=r"^G-[A-Z0-9]+\Z",
        ),
    ]
    api_secret: Annotated[
        Secret,
        Meta(
            title="API secret",
            description="Admin > Data streams > your stream > Measurement Protocol API secrets. Google never says "
            "whether it is right: look for the events in the property's DebugView or Realtime report.",
        ),
    ]
    validate_only: Annotated[
        bool,
        Meta(
            title="Validate only",
            description="Send to Google's validation server, which says what is wrong and records nothing.",
            extra={"advanced": True},
        ),
    ] = False
    debug_mode: Annotated[
        bool,
        Meta(
            title="Show in DebugView",
            description="Events show in DebugView, and are still recorded.",
            extra={"advanced": True},
        ),
    ] = False
    endpoint: Endpoint = None


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event with all that its request says of the client; Skipped when there is no client, or Google drops it."""
    name = "refund" if is_retraction(event) else NAMES.get(event.name) or _name(event.name, RESERVED_EVENTS)
    if not name:
        return Skipped("no event name left: GA4 takes A-Z, digits and _ only")
    if not (id_ := client_id(event)):
        return Skipped("no client id")
    if name in ("purchase", "refund") and event.value is None:
        return Skipped(f"{name} needs value and currency")
    if name == "refund" and not _order_id(event):
        return Skipped("refund needs order_id")
    client = client_of(event, id_)
    timestamp = (sent_time(event, now) - EPOCH) // MICROSECOND
    told = {"name": name, "timestamp_micros": timestamp, "params": _params(event, name, config)}
    group = encode(client)
    return Item({**client, "events": [told]}, group=group, size=len(group) + len(encode(told)) + len(',"events":[]'))


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    """One request of one client; the items differ in their event only."""
    body = items[0].body | {"events": [event for item in items for event in item.body["events"]]}
    if config.validate_only:
        body["validation_behavior"] = "ENFORCE_RECOMMENDATIONS"
    return _request(body, config, is_validation=config.validate_only)


def interpret(response: Response, count: int) -> Outcome:
    """2xx says received, never accepted; the validation server lists what is wrong."""
    if not 200 <= response.status < 300:
        return otherwise(response)
    match response.json:
        case {"validationMessages": []}:
            return Delivered("valid; the validation server records nothing")
        case {"validationMessages": [*messages]}:
            return Failed(_said(messages), fix="Correct what Google names, in the event or in the blueprint.")
        case _:
            return Delivered("received; Google does not say whether it was accepted")


def probe(config: Config, now: datetime) -> Request:
    """One event for the validation server, which records nothing."""
    event = {"name": "postback_test", "params": {"engagement_time_msec": 1}}
    return _request({"client_id": "1000000000.1000000000", "events": [event]}, config, is_validation=True)


def interpret_probe(response: Response) -> Outcome:
    """That Google is reached and reads us; it looks at neither the secret nor the measurement id."""
    match interpret(response, 1), response.json:
        case Delivered(), {"validationMessages": []}:
            return Delivered("Google reads what is sent. It offers no check of the API secret or the measurement id.")
        case Delivered(), _:
            return Failed("not an answer of Google's validation server", fix="Check this destination's endpoint.")
        case outcome, _:
            return outcome


def _request(body: dict[str, Any], config: Config, *, is_validation: bool) -> Request:
    path = "debug/mp/collect" if is_validation else "mp/collect"
    query = f"measurement_id={config.measurement_id}&api_secret={config.api_secret}"
    return Request(method="POST", url=f"{host(config, HOST)}/{path}?{query}", json=body)


def _session_id(event: JoinedEvent) -> str | None:
    """Digits, from the cookie `_ga_<stream>` in its old form (GS1.1.<id>.…) or its new one (GS2.1.s<id>$o…)."""
    text = event.click_ids.get("ga_session_id")
    if text and text.startswith("GS") and text.count(".") >= 2:
        fields = text.split(".", 2)[2]
        if text.startswith("GS1"):
            text = fields.split(".", 1)[0]
        else:
            text = next((field[1:] for field in fields.split("$") if field.startswith("s")), None)
    return text if text and _DIGITS(text) else None


def _params(event: JoinedEvent, name: str, config: Config) -> dict[str, Any]:
    """Ours first, then the event's properties while there is room."""
    params: dict[str, Any] = {"engagement_time_msec": 1}
    if session_id := _session_id(event):
        params["session_id"] = session_id
    if config.debug_mode:
        params["debug_mode"] = 1
    params |= worth(event)
    if transaction_id := _transaction_id(event, name):
        params["transaction_id"] = transaction_id
    if event.order and (items := _items(event)):
        params["items"] = items
    if event.page:
        _put(params, "page_location", event.page.url)
        _put(params, "page_referrer", event.page.referrer)
    for key, value in _own_properties(event, name):
        if len(params) == MAX_PARAMS:
            break
        _put(params, key, value)
    return params


def _put(params: dict[str, Any], name: str, value: Any) -> None:
    """Add a value that Google takes, cut to its length; a parameter that is there stays."""
    if name in params:
        return
    if isinstance(value, str):
        # A hash may be a person's, and Google wants none in a parameter.
        if value and not (len(value) >= 64 and _HASH(value)):
            params[name] = value[: LONGER.get(name, MAX_CHARS)]
    elif isinstance(value, _NUMERIC) and (number := exact(value)) is not None:
        params[name] = number


def _own_properties(event: JoinedEvent, name: str) -> Iterator[tuple[str, Any]]:
    properties = event.properties
    if name == "search" and (term := search_term(event)):
        yield "search_term", term
    if name == "page_view" and "title" in properties:
        yield "page_title", properties["title"]
    for key, value in properties.items():
        param = _name(key, OURS)
        if param and key not in OURS and not (param in NUMBERS and isinstance(value, _NOT_NUMERIC)):
            yield param, value


def _transaction_id(event: Event, name: str) -> str | None:
    """The order's id, by which Google drops repeats; a purchase without an order has its event's instead."""
    order_id = _order_id(event)
    if name in ("purchase", "refund"):
        order_id = order_id or event.event_id
    # The end of a long id tells orders apart better than its beginning.
    return order_id[-MAX_CHARS:] if order_id else None


def _order_id(event: Event) -> str | None:
    return event.order.id if event.order else None


def _items(event: Event) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for line in event.order.items[:MAX_ITEMS_OF_AN_ORDER] if event.order else ():
        item: dict[str, Any] = {}
        _put(item, "item_id", line.product_id)
        _put(item, "item_name", line.name)
        if not item:
            continue
        if line.unit_price is not None:
            item["price"] = line.unit_price
        if line.quantity is not None:
            item["quantity"] = line.quantity
        items.append(item)
    return items


@lru_cache(maxsize=4096)
def _name(text: str, reserved: frozenset[str]) -> str:
    """The name in Google's letters; empty where none of it is left."""
    name = _NOT_IN_NAMES.sub("_", text.lower())
    if not name.strip("_"):
        return ""
    if name in reserved or name.startswith(RESERVED_PREFIXES) or not name[0].isalpha():
        name = f"e_{name}"
    return name[:MAX_NAME_CHARS]


def _said(messages: Sequence[Any]) -> str:
    texts = [
        f"{message.get('validationCode')} {message.get('fieldPath')}: {message.get('description')}"
        for message in messages
        if isinstance(message, dict)
    ]
    return said(*texts, between="; ") or "Google's validation server refused it"


def _repeat_is_safe(event: Event) -> bool:
    """Google drops a repeat of what has a transaction id, and of nothing else."""
    return event.name == "purchase" or is_retraction(event)


CONNECTOR = Connector(
    name="ga4",
    title="Google Analytics 4",
    category="analytics",
    about="Gives Google Analytics purchases, leads and the rest that a browser alone would lose.",
    config=Config,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS,
    platform_names=NAMES,
    docs="https://developers.google.com/analytics/devguides/collection/protocol/ga4",
    consent=frozenset({"analytics"}),
    private=frozenset({"ip_override", "user_id", "city", "region", "postal_code", "country"}),
    max_items=25,
    max_bytes=129_000,
    max_age=lambda event: timedelta(hours=72),
    repeat_is_safe=_repeat_is_safe,
    retracts=True,
    probe=probe,
    interpret_probe=interpret_probe,
    rate=UNSTATED_RATE,
)
