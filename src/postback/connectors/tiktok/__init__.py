"""TikTok Events API 2.0: one POST for up to 1000 events of one source, all taken or none.

Dedup: pixel + `event` + `event_id`, for 48 hours; the first to arrive wins, the browser's copy included. Time: unix
seconds; no greatest age is stated, and past 28 days no click could win the event. Money: JSON number, major units. What
answers mean: `answers.py`. One bad event fails the whole request, not saying which. Retrying within the 48 hours is
safe. There is no retraction.
Source: https://business-api.tiktok.com/portal/docs, Events API 2.0, path v1.3, read 2026-11-20.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

from msgspec import Meta, Struct, structs

from postback.connectors import (
    Connector,
    Endpoint,
    Item,
    Notice,
    Request,
    Skipped,
    encode,
    exact,
    host,
    is_retraction,
    search_term,
    sent_time,
    worth,
)
from postback.connectors.tiktok.answers import interpret, interpret_probe
from postback.event import Event, JoinedEvent
from postback.event import Item as Line
from postback.secret import Secret

HOST = "https://business-api.tiktok.com"
PATH = "/open_api/v1.3/event/track/"
NAMES = {
    "page_view": "Pageview",
    "view_content": "ViewContent",
    "search": "Search",
    "add_to_cart": "AddToCart",
    "add_to_wishlist": "AddToWishlist",
    "initiate_checkout": "InitiateCheckout",
    "add_payment_info": "AddPaymentInfo",
    "signup": "CompleteRegistration",
    "subscribe": "Subscribe",
    "start_trial": "StartTrial",
    "contact": "Contact",
    "schedule": "Schedule",
}
LISTED = {"email_sha256": "email", "phone_sha256": "phone", "external_id_lower_sha256": "external_id"}
SINGLE = {
    "first_name_nospace_sha256": "first_name",
    "last_name_nospace_sha256": "last_name",
    "postal_code_full_sha256": "zip_code",
}
PLACES = ("city", "state", "country")
CLEAR = {"client_ip_address": "ip", "client_user_agent": "user_agent", "ttclid": "ttclid", "ttp": "ttp"}
IDENTIFIERS = frozenset({*LISTED, *SINGLE, *PLACES, *CLEAR})
STRONG = frozenset({"email", "phone", "external_id", "ttclid", "ttp"})

MAX_AGE = timedelta(days=28)
VIEW_WINDOW = timedelta(days=7)

_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]\S*").fullmatch
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*").fullmatch
_NOT_IN_PLACES = re.compile(r"[\W_]+")

_NUMERIC = (int, float)  # a tuple: a union is made anew each time that it is read
_TEXTS = ("shop_id", "description", "status")
_CHOICES = {
    "content_type": frozenset({"product", "product_group"}),
    "delivery_category": frozenset({"in_store", "curbside", "home_delivery"}),
}
_CONTENT_TEXTS = ("content_id", "content_type", "content_name", "content_category", "brand")

_ADD_ID = "Add that id to this destination's configuration."

SetId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class Config(Struct, frozen=True):
    pixel_code: Annotated[
        SetId,
        Meta(title="Pixel code", description="Of website events: Events Manager > your pixel > Settings."),
    ]
    access_token: Annotated[
        Secret,
        Meta(
            title="Access token",
            description="Events Manager > your pixel > Settings > Events API > Generate Access Token.",
        ),
    ]
    test_event_code: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            title="Test event code",
            description="Events Manager > Test Events. Each event is then sent by itself; remove it in production.",
        ),
    ] = None
    purchase_event: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(
            title="Name of purchases",
            description="As your pixel calls them, or both copies count: Purchase, or CompletePayment of before 2025.",
            extra={"advanced": True},
        ),
    ] = "Purchase"
    lead_event: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(
            title="Name of leads",
            description="As your pixel calls them, or both copies count: Lead, or SubmitForm of before 2025.",
            extra={"advanced": True},
        ),
    ] = "Lead"
    app_id: Annotated[
        SetId | None,
        Meta(title="App id", description="Of events from an app, else skipped.", extra={"advanced": True}),
    ] = None
    offline_event_set_id: Annotated[
        SetId | None,
        Meta(title="Offline event set id", description="Of events in a shop, else skipped.", extra={"advanced": True}),
    ] = None
    crm_event_set_id: Annotated[
        SetId | None,
        Meta(
            title="CRM event set id",
            description="Of calls, mail and the like; else the pixel's.",
            extra={"advanced": True},
        ),
    ] = None
    limited_data_use: Annotated[
        bool,
        Meta(
            title="Limited data use",
            description="Ask TikTok for it, where US state laws say so; always asked for who denied personalisation.",
            extra={"advanced": True},
        ),
    ] = False
    endpoint: Endpoint = None


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event as TikTok's, grouped by its source; Skipped when TikTok could match it to nobody."""
    if is_retraction(event):
        return Skipped("no retraction")
    page = _page(event)
    source = _source(event, config, has_url="url" in page)
    if isinstance(source, Skipped):
        return source
    user = _user(event)
    if STRONG.isdisjoint(user) and not user.keys() >= {"ip", "user_agent"}:
        return Skipped("no identifier that TikTok can match")
    body: dict[str, Any] = {
        "event": _name(event, config),
        "event_time": int(sent_time(event, now).timestamp()),
        "event_id": event.event_id,
        "user": user,
    }
    if page:
        body["page"] = page
    if properties := _properties(event):
        body["properties"] = properties
    if source[0] in ("web", "app"):
        denied = event.consent is not None and event.consent.ad_personalization is False
        body["limited_data_use"] = config.limited_data_use or denied
    if source[0] == "app":
        body["app"] = {"app_id": config.app_id}
    # TikTok shows test events only where they come one at a time.
    group = (*source, str(event.id)) if config.test_event_code else source
    return Item(body, group=group, size=len(encode(body)), notice=_late(event, now))


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    source, source_id, *_ = cast(tuple[str, ...], items[0].group)
    return _request(source, source_id, [item.body for item in items], config)


def probe(config: Config, now: datetime) -> Request:
    """An empty batch: no event, and the token is looked at before it is refused for being empty. There is no other
    harmless check: a test event needs a code of its own."""
    return _request("web", config.pixel_code, [], structs.replace(config, test_event_code=None))


def _request(source: str, source_id: str, events: list[dict[str, Any]], config: Config) -> Request:
    body: dict[str, Any] = {"event_source": source, "event_source_id": source_id, "partner_name": "Postback"}
    if config.test_event_code:
        body["test_event_code"] = config.test_event_code
    body["data"] = events
    headers = {"access-token": str(config.access_token)}
    return Request(method="POST", url=f"{host(config, HOST)}{PATH}", json=body, headers=headers)


def _name(event: Event, config: Config) -> str:
    named = {"purchase": config.purchase_event, "lead": config.lead_event}
    return named.get(event.name) or NAMES.get(event.name, event.name)


def _source(event: Event, config: Config, *, has_url: bool) -> tuple[str, str] | Skipped:
    """TikTok's kind of source, and which of that kind it is."""
    match event.action_source:
        case "app":
            return ("app", config.app_id) if config.app_id else Skipped("app events need app_id", _ADD_ID)
        case "physical_store" if config.offline_event_set_id:
            return "offline", config.offline_event_set_id
        case "physical_store":
            return Skipped("events in a shop need offline_event_set_id", _ADD_ID)
        case "website" if not has_url:
            return Skipped("website events need url", "Send url with the event.")
        case None | "website" if has_url:
            return "web", config.pixel_code
        case _ if config.crm_event_set_id:
            return "crm", config.crm_event_set_id
        case _ if has_url:
            return "web", config.pixel_code
        case _:
            return Skipped("events without a url need crm_event_set_id", _ADD_ID)


def _page(event: Event) -> dict[str, str]:
    addresses = {"url": event.page.url, "referrer": event.page.referrer} if event.page else {}
    return {key: address for key, address in addresses.items() if address and _WEB_ADDRESS(address)}


def _user(event: JoinedEvent) -> dict[str, Any]:
    user: dict[str, Any] = {}
    for ours, theirs in LISTED.items():
        if digest := event.user.get(ours):
            user[theirs] = [digest]
    for ours, theirs in SINGLE.items():
        if digest := event.user.get(ours):
            user[theirs] = digest
    for place in PLACES:
        if text := _NOT_IN_PLACES.sub("", event.readable.get(place, "").lower()):
            user[place] = text
    for ours, theirs in CLEAR.items():
        if text := event.readable.get(ours) or event.click_ids.get(ours):
            user[theirs] = text
    if isinstance(locale := event.properties.get("locale"), str) and _LOCALE(locale):
        user["locale"] = locale
    return user


def _properties(event: Event) -> dict[str, Any]:
    sent, data = event.properties, worth(event)
    for key in _TEXTS:
        if isinstance(sent.get(key), str):
            data[key] = sent[key]
    for key, choices in _CHOICES.items():
        if isinstance(choice := sent.get(key), str) and choice in choices:
            data[key] = choice
    if (predicted := _number(sent.get("predicted_ltv"))) is not None:
        data["predicted_ltv"] = predicted
    if event.name == "search" and (term := search_term(event)):
        data["query"] = data["search_string"] = term
    if event.order and event.order.id:
        data["order_id"] = event.order.id
    _add_contents(data, event)
    return data


def _add_contents(data: dict[str, Any], event: Event) -> None:
    """From the order's lines; else the sender's own `contents` or `content_ids`."""
    sent = event.properties
    lines = event.order.items if event.order else ()
    if lines:
        contents = [content for line in lines if (content := _of_line(line))]
    else:
        own = sent.get("contents")
        contents = [content for one in own if (content := _of_sender(one))] if isinstance(own, list) else []
    if contents:
        data["contents"] = contents
    elif isinstance(ids := sent.get("content_ids"), list) and (texts := [i for i in ids if isinstance(i, str) and i]):
        data["content_ids"] = texts
    if not data.keys().isdisjoint({"contents", "content_ids"}):
        data.setdefault("content_type", "product")
    if event.order and lines and event.name == "initiate_checkout":
        data["num_items"] = event.order.pieces


def _of_line(line: Line) -> dict[str, Any]:
    if not line.product_id:
        return {}
    content: dict[str, Any] = {"content_id": line.product_id}
    if line.name:
        content["content_name"] = line.name
    if line.unit_price is not None:
        content["price"] = line.unit_price
    return content | {"quantity": line.pieces}


def _of_sender(one: Any) -> dict[str, Any]:
    one = one if isinstance(one, dict) else {}
    content: dict[str, Any] = {key: one[key] for key in _CONTENT_TEXTS if isinstance(one.get(key), str) and one[key]}
    if content.get("content_type") not in (None, *_CHOICES["content_type"]):
        del content["content_type"]
    if (price := _number(one.get("price"))) is not None:
        content["price"] = price
    if isinstance(one.get("quantity"), int) and not isinstance(one["quantity"], bool):
        content["quantity"] = one["quantity"]
    return content if "content_id" in content else {}


def _number(value: Any) -> Any:
    return exact(value) if isinstance(value, _NUMERIC) and not isinstance(value, bool) else None


def _late(event: Event, now: datetime) -> Notice | None:
    if now - event.occurred_at <= VIEW_WINDOW:
        return None
    return Notice("more than 7 days old", "TikTok credits views for 7 days, clicks for 28: send events sooner.")


CONNECTOR = Connector(
    name="tiktok",
    title="TikTok Events API",
    category="advertising",
    about="Tells TikTok which visitors of its ads bought or signed up, from your server.",
    config=Config,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS,
    platform_names=NAMES,
    docs="https://business-api.tiktok.com/portal/docs",
    consent=frozenset({"ad_user_data"}),
    private=frozenset({*PLACES, "ip", "user_agent"}),
    max_items=1000,
    max_bytes=990_000,
    max_age=lambda event: MAX_AGE,
    dedup_window=timedelta(hours=48),
    click_id_ages={"ttclid": timedelta(days=30), "ttp": timedelta(days=396)},
    probe=probe,
    interpret_probe=interpret_probe,
)
