"""Meta Conversions API: one POST for up to 1000 events, all taken or none.

Dedup: `event_name` + `event_id`, for 48 hours; the first to arrive wins, the browser's copy included. Time: unix
seconds, at most 7 days old (62 in a shop); one event that is older fails the whole request. Money: JSON number, major
units. Refuses with HTTP 4xx and `{"error": {"code", "error_subcode", ...}}`; a batch is refused without saying which
event was wrong. Retrying within the 48 hours is safe. There is no retraction.
Source: https://developers.facebook.com/documentation/ads-commerce/conversions-api, Graph API v26.0, read 2026-11-20.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from postback.connectors import (
    Connector,
    Delivered,
    Endpoint,
    Failed,
    Item,
    Outcome,
    Refused,
    Request,
    Response,
    Retry,
    Skipped,
    encode,
    exact,
    host,
    is_retraction,
    said,
    search_term,
    sent_time,
    unlisted,
    worth,
)
from postback.event import Event, JoinedEvent, Order
from postback.secret import Secret

HOST = "https://graph.facebook.com"
NAMES = {
    "page_view": "PageView",
    "view_content": "ViewContent",
    "search": "Search",
    "add_to_cart": "AddToCart",
    "add_to_wishlist": "AddToWishlist",
    "initiate_checkout": "InitiateCheckout",
    "add_payment_info": "AddPaymentInfo",
    "lead": "Lead",
    "signup": "CompleteRegistration",
    "purchase": "Purchase",
    "subscribe": "Subscribe",
    "start_trial": "StartTrial",
    "contact": "Contact",
    "schedule": "Schedule",
}
HASHES = {
    "email_sha256": "em",
    "phone_digits_sha256": "ph",
    "first_name_sha256": "fn",
    "last_name_sha256": "ln",
    "date_of_birth_sha256": "db",
    "gender_sha256": "ge",
    "city_sha256": "ct",
    "state_sha256": "st",
    "postal_code_sha256": "zp",
    "country_sha256": "country",
    "external_id_sha256": "external_id",
}
IDENTIFIERS = frozenset({*HASHES, "client_ip_address", "client_user_agent", "fbclid", "fbc", "fbp"})
# Meta refuses an event whose only identity is a weak mix such as a city and a gender.
STRONG = frozenset({"em", "ph", "external_id", "fbc", "fbp", "client_ip_address"})

MAX_NAME_CHARS = 50
MAX_AGE, MAX_AGE_IN_A_SHOP = timedelta(days=7), timedelta(days=62)
CLICK_ID_AGE = timedelta(days=90)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

# A fifth part is the mark of Meta's own library.
_FBC = re.compile(r"fb\.\d+\.(\d{13})\.([^.\s]+)(?:\.(?:\w{2}|\w{8}))?", re.ASCII).fullmatch
_FBP = re.compile(r"fb\.\d+\.\d{13}\.\d+(?:\.(?:\w{2}|\w{8}))?", re.ASCII).fullmatch
_FBCLID = re.compile(r"[^.\s]+").fullmatch
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]\S*").fullmatch
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9 _-]")

# Keys of custom_data that are ours to fill, and those where Meta expects a type; any other takes a scalar.
_OURS = frozenset({"value", "currency", "content_ids", "contents", "num_items", "order_id"})
_TEXTS = frozenset({"content_name", "content_category", "search_string", "status", "item_number"})
_NUMBERS = frozenset({"predicted_ltv", "net_revenue"})
_CHOICES = {
    "content_type": frozenset({"product", "product_group"}),
    "delivery_category": frozenset({"in_store", "curbside", "home_delivery"}),
}
_SCALAR, _NOT_NUMERIC = (str, int, float), (str, bool)  # tuples: a union is made anew each time that it is read

THROTTLES = frozenset({4, 17, 32, 341, 613, 80003, 80004})
NO_PERMISSION = frozenset({3, 10, *range(200, 300)})
NO_SUCH_DATASET = 33


class Config(Struct, frozen=True):
    dataset_id: Annotated[
        str,
        Meta(
            title="Dataset id",
            description="The digits under Events Manager > Settings; also called pixel id.",
            pattern=r"^[0-9]{1,20}\Z",
        ),
    ]
    access_token: Annotated[
        Secret,
        Meta(title="Access token", description="Events Manager > Settings > Conversions API > Generate access token."),
    ]
    test_event_code: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            title="Test event code",
            description="Events Manager > Test events. Events show there, and still count: remove it in production.",
        ),
    ] = None
    endpoint: Endpoint = None
    api_version: Annotated[
        str,
        Meta(
            title="API version",
            description="Version of the Graph API.",
            pattern=r"^v[0-9]+\.[0-9]+\Z",
            extra={"advanced": True},
        ),
    ] = "v26.0"


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event as Meta's; Skipped when Meta would refuse it or could match it to nobody."""
    if is_retraction(event):
        return Skipped("no retraction")
    if not (name := NAMES.get(event.name) or _custom_name(event.name)):
        return Skipped("no event name left: Meta takes A-Z, digits, spaces, _ and - only")
    if name == "Purchase" and event.value is None:
        return Skipped("purchase needs value and currency")
    user, page = _user_data(event, now), event.page
    url = page.url if page and page.url and _WEB_ADDRESS(page.url) else None
    has_browser = url is not None and "client_user_agent" in user
    source = event.action_source or ("website" if has_browser else "system_generated")
    if source == "website" and not has_browser:
        return Skipped("website events need url and client_user_agent", "Send url and user_data.client_user_agent.")
    if STRONG.isdisjoint(user):
        return Skipped("no identifier that Meta can match")
    body: dict[str, Any] = {
        "event_name": name,
        "event_time": int(sent_time(event, now).timestamp()),
        "event_id": event.event_id,
        "action_source": source,
        "user_data": user,
    }
    if url:
        body["event_source_url"] = url
    if page and page.referrer:
        body["referrer_url"] = page.referrer
    if custom := _custom_data(event):
        body["custom_data"] = custom
    return Item(body, size=len(encode(body)))


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    # The token goes into the body: a URL ends up in logs.
    body = {
        "access_token": str(config.access_token),
        "partner_agent": "postback",
        "data": [item.body for item in items],
    }
    if config.test_event_code:
        body["test_event_code"] = config.test_event_code
    url = f"{host(config, HOST)}/{config.api_version}/{config.dataset_id}/events"
    return Request(method="POST", url=url, json=body)


def interpret(response: Response, count: int) -> Outcome:
    """Meta's verdict on the whole batch: `events_received`, or an error by code and subcode."""
    match response.json:
        case {"error": {"code": int(code)} as error}:
            return _error(response, code, error)
        case {"events_received": int(received)} as answer if response.status == 200:
            if received < count:
                return Failed(f"Meta took {received} of {count} events", fix="Read the answer in the delivery log.")
            return Delivered(_note(answer))
        case _:
            return unlisted(response)


def probe(config: Config, now: datetime) -> Request:
    """An empty batch: no event, and the token and the dataset are looked at before it is refused for being empty.

    Meta documents no harmless check; a test event would count.
    """
    return pack([], structs.replace(config, test_event_code=None), now)


def interpret_probe(response: Response) -> Outcome:
    """The refusal of an empty batch proves the token and the dataset."""
    outcome = interpret(response, 0)
    match outcome, response.json:
        case Failed(), {"error": {"code": 100}}:
            return Delivered("Meta knows the token and the dataset. Whether it takes an event shows with the first.")
        case _:
            return outcome


def _custom_name(name: str) -> str:
    kept = _NOT_IN_NAMES.sub("_", name.strip())[:MAX_NAME_CHARS]
    return kept if kept.strip(" _-") else ""


def _user_data(event: JoinedEvent, now: datetime) -> dict[str, Any]:
    user: dict[str, Any] = {HASHES[name]: [value] for name, value in event.user.items() if name in HASHES}
    if agent := event.readable.get("client_user_agent"):
        user["client_user_agent"] = agent
        if address := event.readable.get("client_ip_address"):  # of no use to Meta without the agent
            user["client_ip_address"] = address
    if event.click_ids:
        if (fbp := event.click_ids.get("fbp")) and _FBP(fbp):
            user["fbp"] = fbp
        if fbc := _fbc(event, now):
            user["fbc"] = fbc
    return user


def _fbc(event: JoinedEvent, now: datetime) -> str | None:
    """The click id as Meta's cookie would hold it, to the letter; None where there is none of the last 90 days."""
    fbc, fbclid = event.click_ids.get("fbc"), event.click_ids.get("fbclid")
    if not fbc and not fbclid:
        return None
    oldest = (now - CLICK_ID_AGE - EPOCH) // MILLISECOND
    cookie = _FBC(fbc) if fbc else None
    if cookie and cookie[2] == fbclid:
        fbclid = None
    # The click of this very event beats a cookie that the visitor brought along from an earlier one.
    is_superseded = fbclid and _is_sent(event, "fbclid") and not _is_sent(event, "fbc")
    if cookie and not is_superseded and int(cookie[1]) >= oldest:
        return fbc
    if fbclid and _FBCLID(fbclid):
        clicked_at = (event.captured_at.get("fbclid", event.occurred_at) - EPOCH) // MILLISECOND
        if clicked_at >= oldest:
            return f"fb.1.{clicked_at}.{fbclid}"
    return None


def _is_sent(event: JoinedEvent, identifier: str) -> bool:
    return event.provenance.get(identifier, "sent") == "sent"


def _custom_data(event: JoinedEvent) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in event.properties.items():
        if _is_usable(key, value):
            data[key] = exact(value)
    if event.name == "search" and (term := search_term(event)):
        data.setdefault("search_string", term)
    data |= worth(event)
    if order := event.order:
        if order.id:
            data["order_id"] = order.id
        if order.items:
            _add_contents(data, event, order)
    return data


def _is_usable(key: str, value: Any) -> bool:
    if key in _OURS or not isinstance(value, _SCALAR):
        return False
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _NUMBERS:
        return not isinstance(value, _NOT_NUMERIC)
    return key not in _CHOICES or value in _CHOICES[key]


def _add_contents(data: dict[str, Any], event: JoinedEvent, order: Order) -> None:
    contents: list[dict[str, Any]] = []
    for item in order.items:
        if not item.product_id:
            continue
        content: dict[str, Any] = {"id": item.product_id, "quantity": item.pieces}
        if item.unit_price is not None:
            content["item_price"] = item.unit_price
        if item.name:
            content["title"] = item.name
        contents.append(content)
    if contents:
        data.setdefault("content_type", "product")
        data["content_ids"] = [content["id"] for content in contents]
        data["contents"] = contents
    if event.name in ("purchase", "initiate_checkout"):
        data["num_items"] = order.pieces


def _error(response: Response, code: int, error: Mapping[str, Any]) -> Outcome:
    subcode, retry_after = error.get("error_subcode"), response.retry_after_seconds
    told = said(error.get("error_user_title"), error.get("error_user_msg"), error.get("message"))
    reason = f"Meta's error {code} ({subcode}): {told}" if subcode else f"Meta's error {code}: {told}"
    if code in THROTTLES:
        return Retry(reason, after_seconds=max(60.0, retry_after or 0.0), throttled=True)
    if code == 368:
        return Retry(f"temporarily blocked by Meta's policies. {reason}", after_seconds=max(1800.0, retry_after or 0.0))
    if error.get("is_transient") is True or response.status >= 500 or code in (1, 2):
        return Retry(reason, retry_after, throttled=response.status == 429)
    if code == 190:
        return Refused(reason, fix="The access token is not valid: make a new one in Events Manager > Settings.")
    if code in NO_PERMISSION:
        return Refused(reason, fix="Give the token's system user the right to manage this dataset.")
    if code == 100 and subcode == NO_SUCH_DATASET:
        return Refused(reason, fix="Check the dataset id, and that the access token was made for this dataset.")
    if code in (100, 105):
        return Failed(reason, fix="Correct what Meta names in the sender's events or this destination's blueprint.")
    return Retry(reason, retry_after, throttled=response.status == 429)


def _note(answer: Mapping[str, Any]) -> str | None:
    trace, messages = answer.get("fbtrace_id"), answer.get("messages")
    told = messages if isinstance(messages, list) else []
    # Ours first: what follows may quote an event.
    ours = f"fbtrace_id {trace}" if isinstance(trace, str) else "Meta's note" if told else None
    return said(ours, *told, between="; ") or None


def _max_age(event: Event) -> timedelta:
    return MAX_AGE_IN_A_SHOP if event.action_source == "physical_store" else MAX_AGE


CONNECTOR = Connector(
    name="meta",
    title="Meta Conversions API",
    category="advertising",
    about="Tells Meta which visitors of its ads on Facebook and Instagram bought or signed up, from your server.",
    config=Config,
    build=build,
    pack=pack,
    interpret=interpret,
    identifiers=IDENTIFIERS,
    platform_names=NAMES,
    docs="https://developers.facebook.com/documentation/ads-commerce/conversions-api",
    consent=frozenset({"ad_user_data"}),
    private=frozenset({"client_ip_address", "client_user_agent"}),
    max_items=1000,
    max_age=_max_age,
    dedup_window=timedelta(hours=48),
    click_id_ages={"fbclid": CLICK_ID_AGE, "fbc": CLICK_ID_AGE},
    probe=probe,
    interpret_probe=interpret_probe,
)
