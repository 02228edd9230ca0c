"""TikTok Events API 2.0: `POST /open_api/v1.3/event/track/`, up to 1,000 events of one source, all taken or none.

Auth: the header `Access-Token`. Hashes: 64 lower-case hex digits. `event_time`: unix seconds, of any age, not ahead.
HTTP is 200 for nearly everything; `{"code", "message", "request_id", "data"}` decides, 0 is taken.
What the page leaves open is refused: an unknown field, a time more than a minute ahead, a test of several events.
Source: reference/destinations/tiktok.md, path v1.3, read 2026-11-21.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from postback.sandbox import forms
from postback.sandbox.platform import Answer, Platform, Refusal, Request, Unreadable, in_json, read

PATH = "/open_api/v1.3/event/track/"
MAX_EVENTS, MAX_BYTES = 1000, 1_000_000
MAX_AHEAD_SECONDS = 60  # clocks differ a little
OK, NO_PERMISSION, INVALID, NO_SUCH_PIXEL, TOO_MANY, NO_TOKEN, BAD_TOKEN, INTERNAL = (
    0, 40001, 40002, 40007, 40100, 40104, 40105, 50000,
)  # fmt: skip

Text = Annotated[str, Meta(min_length=1)]
Maybe = Text | UnsetType
Hash = Annotated[str, Meta(pattern=forms.SHA256)]
Hashes = Hash | Annotated[list[Hash], Meta(min_length=1)] | UnsetType
Place = Annotated[str, Meta(pattern=r"\A[^\W_A-Z]+\Z")] | UnsetType  # letters and digits, in lower case
Address = Annotated[str, Meta(pattern=forms.WEB_ADDRESS)] | UnsetType
Amount = Annotated[float, Meta(ge=0)] | UnsetType


class User(Struct, frozen=True, forbid_unknown_fields=True):
    """Hashed but for the places, the address, the agent, the cookies and the ids of devices."""

    email: Hashes = UNSET
    phone: Hashes = UNSET
    external_id: Hashes = UNSET
    first_name: Hash | UnsetType = UNSET
    last_name: Hash | UnsetType = UNSET
    zip_code: Hash | UnsetType = UNSET
    city: Place = UNSET
    state: Place = UNSET
    country: Place = UNSET
    ip: Maybe = UNSET
    user_agent: Maybe = UNSET
    ttclid: Maybe = UNSET
    ttp: Maybe = UNSET
    locale: Annotated[str, Meta(pattern=r"\A[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")] | UnsetType = UNSET
    idfa: Maybe = UNSET
    gaid: Maybe = UNSET
    idfv: Maybe = UNSET
    att_status: Literal["AUTHORIZED", "DENIED", "NOT_DETERMINED", "RESTRICTED", "NOT_APPLICABLE"] | UnsetType = UNSET


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    url: Address = UNSET
    referrer: Address = UNSET


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    content_id: Maybe = UNSET
    content_type: Literal["product", "product_group"] | UnsetType = UNSET
    content_name: str | UnsetType = UNSET
    content_category: str | UnsetType = UNSET
    price: Amount = UNSET
    quantity: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    brand: str | UnsetType = UNSET


class Properties(Struct, frozen=True, forbid_unknown_fields=True):
    value: Amount = UNSET
    currency: str | UnsetType = UNSET
    contents: list[Content] | UnsetType = UNSET
    content_ids: list[Text] | UnsetType = UNSET
    content_type: Literal["product", "product_group"] | UnsetType = UNSET
    num_items: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    order_id: str | UnsetType = UNSET
    shop_id: str | UnsetType = UNSET
    query: str | UnsetType = UNSET
    search_string: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    delivery_category: Literal["in_store", "curbside", "home_delivery"] | UnsetType = UNSET
    predicted_ltv: float | UnsetType = UNSET


class App(Struct, frozen=True, forbid_unknown_fields=True):
    app_id: Text
    app_name: Maybe = UNSET
    app_version: Maybe = UNSET


class Ad(Struct, frozen=True, forbid_unknown_fields=True):
    callback: Maybe = UNSET
    campaign_id: Maybe = UNSET
    ad_id: Maybe = UNSET
    creative_id: Maybe = UNSET
    is_retargeting: bool | UnsetType = UNSET
    attributed: bool | UnsetType = UNSET
    attribution_type: Maybe = UNSET
    attribution_provider: Maybe = UNSET


class Lead(Struct, frozen=True, forbid_unknown_fields=True):
    lead_id: Maybe = UNSET
    lead_event_source: Maybe = UNSET


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    event: Text
    event_time: Annotated[int, Meta(ge=100_000_000, lt=10_000_000_000)]  # seconds, not milliseconds
    user: User
    event_id: Maybe = UNSET
    page: Page | UnsetType = UNSET
    properties: Properties | UnsetType = UNSET
    limited_data_use: bool | UnsetType = UNSET
    app: App | UnsetType = UNSET
    ad: Ad | UnsetType = UNSET
    lead: Lead | UnsetType = UNSET


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """The events are read once token and pixel were found right."""

    event_source: Literal["web", "app", "offline", "crm"]
    event_source_id: Text
    data: Raw
    partner_name: Maybe = UNSET
    test_event_code: Maybe = UNSET


class Told(Struct, frozen=True):
    code: int
    message: str
    request_id: str
    data: dict[str, str] = {}


class Invalid(Exception):
    """The request cannot be taken; nothing of it is. `message` names the field."""

    def __init__(self, message: str, code: int = INVALID) -> None:
        super().__init__(message)
        self.message, self.code = message, code


READ_BODY = msgspec.json.Decoder(Body)
READ_EVENTS = msgspec.json.Decoder(Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)])


def answer(request: Request, now: float) -> Answer:
    """TikTok's answer to a request: taken as a whole or refused as a whole."""
    if request.path != PATH:
        return in_json(404, _told(40400, f"No such path: {request.path}", now))
    if request.method != "POST":
        return in_json(405, _told(40500, f"{request.method} is not allowed here.", now))
    try:
        body, events = _read(request)
        for index, event in enumerate(events):
            _check(body.event_source, event, f"data.{index}", now)
    except Invalid as wrong:
        return in_json(200, _told(wrong.code, wrong.message, now))
    return in_json(200, _told(OK, "OK", now), events=len(events))


def refuse(request: Request, refusal: Refusal, now: float) -> Answer:
    """TikTok's own words for a fault. Too many calls are told by a code; the status is what the sandbox promises."""
    match refusal:
        case "429":
            return in_json(429, _told(TOO_MANY, "Too many requests. Please retry in some time.", now))
        case "500":
            return in_json(500, _told(INTERNAL, "System error", now))
        case "auth":
            return in_json(200, _told(BAD_TOKEN, "Access token is incorrect or has been revoked.", now))
        case "reject_event":
            return in_json(200, _told(INVALID, "data.0: An event of this request was refused on demand.", now))


def _read(request: Request) -> tuple[Body, list[Event]]:
    token = request.headers.get("access-token", "")
    if not token:
        raise Invalid("Access token is empty.", NO_TOKEN)
    if not forms.is_token(token):
        raise Invalid("Access token is incorrect.", BAD_TOKEN)
    if request.media_type != "application/json":
        raise Invalid("The content type must be application/json.")
    if len(request.raw) > MAX_BYTES:
        raise Invalid("The body has more than 1 MB.")
    try:
        body = read(READ_BODY.decode, request.raw)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", body.event_source_id):
            raise Invalid(f"There is no event source {body.event_source_id}.", NO_SUCH_PIXEL)
        events = read(READ_EVENTS.decode, body.data, "data")
    except Unreadable as error:
        dotted = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", error.path)
        raise Invalid(f"{dotted or 'body'}: {error.what}.") from error
    if body.test_event_code is not UNSET and len(events) > 1:
        raise Invalid("test_event_code: test events must come one at a time.")
    return body, events


def _check(source: str, event: Event, here: str, now: float) -> None:
    """What types alone do not tell; raises Invalid."""
    if event.event_time > now + MAX_AHEAD_SECONDS:
        raise Invalid(f"{here}.event_time: It is in the future.")
    if source == "web" and (event.page is UNSET or event.page.url is UNSET):
        raise Invalid(f"{here}.page.url: Missing data for required field.")
    if event.limited_data_use is not UNSET and source not in ("web", "app"):
        raise Invalid(f"{here}.limited_data_use: It is for web and app events only.")
    for field, of_source in (("app", "app"), ("ad", "app"), ("lead", "crm")):
        if getattr(event, field) is not UNSET and source != of_source:
            raise Invalid(f"{here}.{field}: It is for {of_source} events only.")
    user = event.user
    if user.ip is not UNSET and not forms.is_ip(user.ip):
        raise Invalid(f"{here}.user.ip: Not an IPv4 or IPv6 address.")
    known = (user.email, user.phone, user.external_id, user.ttclid, user.ttp)
    if all(one is UNSET for one in known) and UNSET in (user.ip, user.user_agent):
        raise Invalid(f"{here}.user: Nobody can be matched by it.")
    if event.properties is not UNSET:
        _check_properties(event.properties, f"{here}.properties")


def _check_properties(properties: Properties, here: str) -> None:
    if properties.currency is not UNSET and not forms.is_currency(properties.currency):
        raise Invalid(f"{here}.currency: Not an ISO 4217 code.")
    if properties.value is not UNSET and properties.currency is UNSET:
        raise Invalid(f"{here}.currency: Missing data for required field.")
    if properties.contents is not UNSET and properties.content_ids is not UNSET:
        raise Invalid(f"{here}.content_ids: They are for events without contents.")


def _told(code: int, message: str, now: float) -> Told:
    return Told(code, message, f"{int(now * 1_000_000):020d}")


PLATFORM = Platform("tiktok", answer, refuse)
