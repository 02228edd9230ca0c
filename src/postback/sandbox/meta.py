"""Meta Conversions API: `POST /{version}/{dataset_id}/events`, up to 1,000 events, all taken or none.

Auth: `access_token` in the query or the body. Hashes: 64 lower-case hex digits. `event_time`: unix seconds, at most
7 days ago (62 in `physical_store`), and not ahead. Refuses with HTTP 4xx and `{"error": {"code", ...}}`.
What the page leaves open is refused: an unknown field, a time more than a minute ahead.
Source: reference/destinations/meta.md, Graph API v26.0, read 2026-11-21.
"""

import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from postback.sandbox import forms
from postback.sandbox.platform import Answer, Platform, Refusal, Request, Unreadable, in_json, read

EVENTS_PATH = re.compile(r"/v\d+\.\d+/([^/]+)/events")
DAY = 86_400
MAX_EVENTS = 1000
MAX_AGE_DAYS = {"physical_store": 62}
MAX_AHEAD_SECONDS = 60  # clocks differ a little
CLICK_ID_DAYS = 90
TOO_OLD, TOO_LITTLE_IDENTITY, NO_SUCH_DATASET = 2804003, 2804050, 33
IDENTITIES = ("em", "ph", "external_id", "fbc", "fbp", "lead_id", "madid")

Text = Annotated[str, Meta(min_length=1)]
Hash = Annotated[str, Meta(pattern=forms.SHA256)]
Hashes = Hash | Annotated[list[Hash], Meta(min_length=1)] | UnsetType
Issued = Text | int | UnsetType
Maybe = Text | UnsetType


class UserData(Struct, frozen=True, forbid_unknown_fields=True):
    """Hashed but for the ids, the cookies, the address and the agent."""

    em: Hashes = UNSET
    ph: Hashes = UNSET
    fn: Hashes = UNSET
    ln: Hashes = UNSET
    db: Hashes = UNSET
    ge: Hashes = UNSET
    ct: Hashes = UNSET
    st: Hashes = UNSET
    zp: Hashes = UNSET
    country: Hashes = UNSET
    f5first: Hashes = UNSET
    f5last: Hashes = UNSET
    fi: Hashes = UNSET
    dobd: Hashes = UNSET
    dobm: Hashes = UNSET
    doby: Hashes = UNSET
    external_id: Text | Annotated[list[Text], Meta(min_length=1)] | UnsetType = UNSET
    client_ip_address: Maybe = UNSET
    client_user_agent: Maybe = UNSET
    fbc: Annotated[str, Meta(pattern=r"\Afb\.\d+\.\d{13}\.[^.\s]+(\.\w{2}|\.\w{8})?\Z")] | UnsetType = UNSET
    fbp: Annotated[str, Meta(pattern=r"\Afb\.\d+\.\d{13}\.\d+(\.\w{2}|\.\w{8})?\Z")] | UnsetType = UNSET
    lead_id: Issued = UNSET
    subscription_id: Issued = UNSET
    fb_login_id: Issued = UNSET
    page_id: Issued = UNSET
    madid: Maybe = UNSET
    anon_id: Maybe = UNSET
    ctwa_clid: Maybe = UNSET


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    id: Maybe = UNSET
    quantity: int | UnsetType = UNSET
    item_price: float | UnsetType = UNSET
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    brand: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    delivery_category: Literal["in_store", "curbside", "home_delivery"] | UnsetType = UNSET


class CustomData(Struct, frozen=True):
    """The keys whose type is fixed; any other may hold a scalar."""

    value: float | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    content_ids: list[Text] | UnsetType = UNSET
    contents: list[Content] | UnsetType = UNSET
    content_type: Literal["product", "product_group"] | UnsetType = UNSET
    content_name: str | UnsetType = UNSET
    content_category: str | UnsetType = UNSET
    search_string: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    item_number: str | UnsetType = UNSET
    num_items: int | UnsetType = UNSET
    order_id: str | UnsetType = UNSET
    predicted_ltv: float | UnsetType = UNSET
    net_revenue: float | UnsetType = UNSET
    delivery_category: Literal["in_store", "curbside", "home_delivery"] | UnsetType = UNSET


class OriginalEvent(Struct, frozen=True, forbid_unknown_fields=True):
    event_name: Maybe = UNSET
    event_time: int | UnsetType = UNSET
    order_id: Maybe = UNSET
    event_id: Maybe = UNSET


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    event_name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9 _-]{1,50}\Z")]
    event_time: Annotated[int, Meta(ge=1_000_000_000, lt=10_000_000_000)]  # ten digits: seconds
    action_source: Literal[
        "website", "app", "phone_call", "chat", "email", "physical_store",
        "system_generated", "business_messaging", "other",
    ]  # fmt: skip
    user_data: UserData
    event_id: Maybe = UNSET
    event_source_url: Annotated[str, Meta(pattern=forms.WEB_ADDRESS)] | UnsetType = UNSET
    custom_data: dict[str, Any] = {}  # CustomData is read from it, and the rest judged beside
    referrer_url: str | UnsetType = UNSET
    opt_out: bool | UnsetType = UNSET
    data_processing_options: list[Literal["LDU"]] | UnsetType = UNSET
    data_processing_options_country: Literal[0, 1] | UnsetType = UNSET
    data_processing_options_state: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    original_event_data: OriginalEvent | UnsetType = UNSET
    attribution_data: dict[str, Any] | UnsetType = UNSET
    app_data: dict[str, Any] | UnsetType = UNSET
    messaging_channel: Maybe = UNSET
    advanced_measurement_table: Maybe = UNSET


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """The token may be here or in the query. The events are read once it was found right."""

    data: Raw
    access_token: str | UnsetType = UNSET
    appsecret_proof: Hash | UnsetType = UNSET
    test_event_code: Maybe = UNSET
    partner_agent: Maybe = UNSET
    upload_id: Issued = UNSET
    upload_tag: Maybe = UNSET
    upload_source: Maybe = UNSET
    namespace_id: Issued = UNSET


class GraphError(Struct, frozen=True):
    message: str
    type: str
    code: int
    fbtrace_id: str
    is_transient: bool = False
    error_subcode: int | UnsetType = UNSET
    error_user_title: str | UnsetType = UNSET
    error_user_msg: str | UnsetType = UNSET


class Invalid(Exception):
    """The request cannot be taken; nothing of it is."""

    def __init__(self, title: str, text: str, subcode: int | UnsetType = UNSET) -> None:
        super().__init__(text)
        self.title, self.text, self.subcode = title, text, subcode


READ_BODY = msgspec.json.Decoder(Body)
READ_EVENTS = msgspec.json.Decoder(Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)])
CUSTOM_KEYS = frozenset(CustomData.__struct_fields__)


def answer(request: Request, now: float) -> Answer:
    """Meta's answer to a request: taken as a whole or refused as a whole."""
    if not (path := EVENTS_PATH.fullmatch(request.path)):
        return _error(404, now, 100, f"Unknown path components: {request.path}", type_="GraphMethodException")
    if request.method != "POST":
        return _error(400, now, 100, f"Unsupported {request.method.lower()} request.", type_="GraphMethodException")
    try:
        body = _body(request)
        if not forms.is_token(request.query.get("access_token") or body.access_token):
            return _error(400, now, 190, "Invalid OAuth access token - Cannot parse access token")
        if not path[1].isascii() or not path[1].isdigit():
            raise Invalid("Unsupported request", f"Object with ID '{path[1]}' does not exist.", NO_SUCH_DATASET)
        events = _events(body.data)
        for index, event in enumerate(events):
            _check(event, index, now)
    except Invalid as wrong:
        return _refused(wrong, now)
    messages = [text for index, event in enumerate(events) if (text := _warning(event, index, now))]
    taken = {"events_received": len(events), "messages": messages, "fbtrace_id": _trace(now)}
    return in_json(200, taken, events=len(events))


def refuse(request: Request, refusal: Refusal, now: float) -> Answer:
    """Meta's own words for a fault."""
    match refusal:
        case "429":
            return _error(429, now, 4, "Application request limit reached", transient=True)
        case "500":
            return _error(500, now, 2, "Service temporarily unavailable", transient=True)
        case "auth":
            return _error(401, now, 190, "Error validating access token: Session has expired", subcode=463)
        case "reject_event":
            return _refused(Invalid("Invalid Event", "An event of this request was refused on demand."), now)


def _body(request: Request) -> Body:
    try:
        if request.media_type == "application/x-www-form-urlencoded":
            form: dict[str, object] = dict(parse_qsl(request.raw.decode(), keep_blank_values=True))
            if "data" in form:
                form["data"] = Raw(str(form["data"]).encode())
            return read(lambda sent: msgspec.convert(sent, Body), form)
        if request.media_type != "application/json":
            raise Invalid("Unsupported Content Type", "The body must be JSON, or a form with data as JSON.")
        return read(READ_BODY.decode, request.raw)
    except (Unreadable, UnicodeDecodeError) as error:
        raise Invalid("Invalid Body", str(error)) from error


def _events(data: Raw) -> list[Event]:
    try:
        return read(READ_EVENTS.decode, data, "data")
    except Unreadable as error:
        raise Invalid("Invalid Event", str(error)) from error


def _check(event: Event, index: int, now: float) -> None:
    """What types alone do not tell; raises Invalid."""
    user, here = event.user_data, f"data[{index}]"
    age_days = MAX_AGE_DAYS.get(event.action_source, 7)
    if now - event.event_time > age_days * DAY:
        text = f"The timestamp for this event is too far in the past: {here}, more than {age_days} days."
        raise Invalid("Event Timestamp Too Old", text, TOO_OLD)
    if event.event_time > now + MAX_AHEAD_SECONDS:
        raise Invalid("Event Timestamp In The Future", f"{here}.event_time is in the future.")
    if event.action_source == "website" and (event.event_source_url is UNSET or user.client_user_agent is UNSET):
        text = f"{here}: a website event needs event_source_url and user_data.client_user_agent."
        raise Invalid("Missing Website Parameters", text)
    if user.client_ip_address is not UNSET and not forms.is_ip(user.client_ip_address):
        raise Invalid("Invalid IP Address", f"{here}.user_data.client_ip_address is no IPv4 or IPv6 address.")
    if not _is_identified(user):
        text = f"{here}.user_data does not have enough customer information to match it to anyone."
        raise Invalid("Insufficient Customer Information", text, TOO_LITTLE_IDENTITY)
    _check_custom(event, f"{here}.custom_data")
    _check_limited_use(event, here)


def _is_identified(user: UserData) -> bool:
    if user.client_ip_address is not UNSET and user.client_user_agent is not UNSET:
        return True
    return any(getattr(user, name) is not UNSET for name in IDENTITIES)


def _check_custom(event: Event, here: str) -> None:
    try:
        custom = read(lambda sent: msgspec.convert(sent, CustomData), event.custom_data, here)
    except Unreadable as error:
        raise Invalid("Invalid Custom Data", str(error)) from error
    for key in event.custom_data.keys() - CUSTOM_KEYS:
        if not isinstance(event.custom_data[key], str | int | float):
            raise Invalid("Invalid Custom Data", f"{here}.{key} must be text, a number or a truth value.")
    if custom.currency is not UNSET and not forms.is_currency(custom.currency.upper()):
        raise Invalid("Invalid Currency", f"{here}.currency is no ISO 4217 code.")
    if event.event_name == "Purchase":
        if custom.value is UNSET or custom.currency is UNSET:
            raise Invalid("Missing Purchase Parameters", f"{here}: a Purchase needs value and currency.")
        if custom.value < 0:
            raise Invalid("Invalid Purchase Value", f"{here}.value is negative.")


def _check_limited_use(event: Event, here: str) -> None:
    place = (event.data_processing_options_country, event.data_processing_options_state)
    if event.data_processing_options and place == (0, 0) and event.user_data.client_ip_address is UNSET:
        raise Invalid("Missing IP Address", f"{here}: geolocation for LDU needs user_data.client_ip_address.")


def _warning(event: Event, index: int, now: float) -> str | None:
    fbc = event.user_data.fbc
    if fbc is UNSET or now - int(fbc.split(".")[2]) / 1000 <= CLICK_ID_DAYS * DAY:
        return None
    return f"data[{index}].user_data.fbc is older than {CLICK_ID_DAYS} days and was ignored."


def _refused(wrong: Invalid, now: float) -> Answer:
    return _error(400, now, 100, "Invalid parameter", subcode=wrong.subcode, title=wrong.title, text=wrong.text)


def _error(
    status: int, now: float, code: int, message: str, *,
    type_: str = "OAuthException", subcode: int | UnsetType = UNSET, transient: bool = False,
    title: str | UnsetType = UNSET, text: str | UnsetType = UNSET,
) -> Answer:  # fmt: skip
    error = GraphError(message, type_, code, _trace(now), transient, subcode, title, text)
    return in_json(status, {"error": error})


def _trace(now: float) -> str:
    return f"A{int(now * 1_000_000):x}"


PLATFORM = Platform("meta", answer, refuse)
