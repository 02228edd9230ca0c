"""GA4 Measurement Protocol: `POST /mp/collect` (always 204) and `POST /debug/mp/collect` (says what is wrong).

Auth: `measurement_id` or `firebase_app_id`, and `api_secret`, in the query; no answer tells whether they are right, so
the fault `auth` is a 204 too. Times: unix microseconds, at most 72 h ago. What GA4 would have dropped, changed or
ignored without a word is in the answer's `problems`, whatever `validation_behavior` says: a required parameter that is
missing, a stale time and personal data in a parameter too.
Source: reference/destinations/ga4.md, read 2026-11-21.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import msgspec

from postback.sandbox import forms
from postback.sandbox.platform import Answer, Json, Platform, Problem, Refusal, Request, in_json


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PATHS = {"/mp/collect": False, "/debug/mp/collect": True}
MAX_BYTES, MAX_EVENTS, MAX_PARAMS, MAX_PROPERTIES, MAX_ITEMS, MAX_ITEM_PARAMS = 130_000, 25, 25, 25, 200, 10
MAX_AGE_MICROS, MAX_AHEAD_MICROS = 72 * 3600 * 1_000_000, 60 * 1_000_000
TEXT_LENGTH, LONGER_TEXTS = 100, {"page_title": 300, "page_referrer": 420, "page_location": 1000}

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED_PREFIXES = ("firebase_", "ga_", "google_")  # `_` and `gtag.` are no valid names to begin with
RESERVED_EVENTS = _words(
    "ad_activeview ad_click ad_exposure ad_impression ad_query adunit_exposure app_clear_data app_install app_update"
    " app_remove app_exception app_store_refund app_store_subscription_cancel app_store_subscription_convert"
    " app_store_subscription_renew app_upgrade dynamic_link_app_open dynamic_link_app_update dynamic_link_first_open"
    " error first_open first_visit in_app_purchase notification_dismiss notification_foreground notification_open"
    " notification_receive notification_send os_update screen_view session_start user_engagement"
)
RESERVED_PARAMS = frozenset({"firebase_conversion"})
RESERVED_PROPERTIES = _words(
    "first_open_time first_visit_time last_deep_link_referrer user_id first_open_after_install"
)
REQUIRED_PARAMS = {
    **dict.fromkeys(("purchase", "refund"), ("currency", "value", "transaction_id")),
    **dict.fromkeys(
        ("add_to_cart", "begin_checkout", "add_payment_info", "view_item", "add_to_wishlist"),
        ("currency", "value", "items"),
    ),
    "search": ("search_term",),
    "generate_lead": ("currency", "value"),
}
ITEM_NUMBERS = _words("price quantity discount index")
ITEM_TEXTS = _words(
    "item_id item_name item_brand item_category item_category2 item_category3 item_category4 item_category5"
    " item_variant coupon affiliation item_list_id item_list_name location_id promotion_id"
)
# An address of mail, or a hash as long as the SHA-256 of one.
PERSONAL = re.compile(r"[^\s@/?&=:]+(@|%40)[^\s@/?&=:]+\.[A-Za-z]{2,}|\b[a-f0-9]{64}\b")

Problems = Iterator[Problem]


def answer(request: Request, now: float) -> Answer:
    """204 whatever came, or on the debug path the list of what is wrong."""
    if (debug := PATHS.get(request.path)) is None:
        return _page(404, "Not Found")
    if request.method != "POST":
        return _page(405, "Method Not Allowed")
    if len(request.raw) >= MAX_BYTES:
        return _page(413, "Request Entity Too Large")
    body = _read(request.raw)
    problems = tuple(_problems(body, request, now))
    if debug:
        return in_json(200, {"validationMessages": problems}, problems=problems)
    problems = (*_stream_problems(request), *problems)
    return Answer(204, events=0 if problems else len(_events(body)), problems=problems)


def refuse(request: Request, refusal: Refusal, now: float) -> Answer:
    """GA4 has words for overload only; all else passes for 204."""
    is_debug = PATHS.get(request.path) is True
    dropped = Problem("events", "An event of this request was refused on demand.", "VALUE_INVALID")
    match refusal:
        case "429":
            return _page(429, "Too Many Requests")
        case "500":
            return _page(500, "Internal Server Error")
        case "auth" if is_debug:  # the validation server does not look at the secret
            return answer(request, now)
        case "auth":
            return Answer(204, problems=(Problem("api_secret", "The secret is not the stream's.", "VALUE_INVALID"),))
        case "reject_event" if is_debug:
            return in_json(200, {"validationMessages": (dropped,)}, problems=(dropped,))
        case "reject_event":
            return Answer(204, problems=(dropped,))


def _page(status: int, title: str) -> Answer:
    html = f"<!DOCTYPE html><html lang=en><title>Error {status} ({title})!!1</title><p><b>{status}.</b> {title}.</html>"
    return Answer(status, html.encode(), {"content-type": "text/html; charset=UTF-8"}, problems=())


def _read(raw: bytes) -> Json:
    try:
        return cast(Json, msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _events(body: Json) -> list[Json]:
    events = body.get("events") if isinstance(body, dict) else None
    return events if isinstance(events, list) else []


def _stream_problems(request: Request) -> Problems:
    """Of the query, which the validation server does not look at."""
    web, app = request.query.get("measurement_id", ""), request.query.get("firebase_app_id", "")
    if not re.fullmatch(r"G-[A-Z0-9]+", web) and not re.fullmatch(r"\d+:\d+:\w+:\w+", app):
        yield Problem("measurement_id", "Missing, or not of the form G-XXXXXXX.", "VALUE_INVALID")
    if not forms.is_token(request.query.get("api_secret")):
        yield Problem("api_secret", "Missing or not of its form.", "VALUE_REQUIRED")
    if request.media_type != "application/json":
        yield Problem("content-type", "Not application/json.", "VALUE_INVALID")


def _problems(body: Json, request: Request, now: float) -> Problems:
    """Of the body."""
    if not isinstance(body, dict):
        yield Problem("", "The body is not a JSON object.", "VALUE_INVALID")
        return
    needed, other = "client_id", "app_instance_id"
    if "firebase_app_id" in request.query:
        needed, other = other, needed
    if needed not in body:
        yield Problem(needed, f"{needed} is required.", "VALUE_REQUIRED")
    if other in body:
        yield Problem(other, f"{other} is not for this kind of stream.", "VALUE_INVALID")
    for field, value in body.items():
        if field not in BODY:
            yield Problem(field, "There is no such field.", "VALUE_INVALID")
        else:
            yield from BODY[field](field, value, now)
    if "events" not in body:
        yield Problem("events", "events is required.", "VALUE_REQUIRED")


def _events_problems(field: str, events: Json, now: float) -> Problems:
    if not isinstance(events, list) or not events:
        yield Problem(field, "events must be a list of 1 to 25 events.", "VALUE_REQUIRED")
        return
    if len(events) > MAX_EVENTS:
        yield Problem(field, f"{len(events)} events, {MAX_EVENTS} are allowed.", "EXCEEDED_MAX_ENTITIES")
    for index, event in enumerate(events):
        yield from _event_problems(f"Event at index: [{index}]", event, now)


def _event_problems(here: str, event: Json, now: float) -> Problems:
    if not isinstance(event, dict):
        yield Problem("events", f"{here} is not an object.", "VALUE_INVALID")
        return
    name, params = event.get("name"), event.get("params")
    if isinstance(name, str):
        yield from _name_problems("events", here, name, 40, RESERVED_EVENTS)
    else:
        yield Problem("events.name", f"{here} has no name.", "VALUE_REQUIRED")
    for field in sorted(event.keys() - {"name", "params", "timestamp_micros"}):
        yield Problem(f"events.{field}", f"{here} has an unknown field [{field}].", "VALUE_INVALID")
    if "timestamp_micros" in event:
        yield from _time_problems("events.timestamp_micros", event["timestamp_micros"], now)
    if isinstance(params, dict):
        yield from _params_problems(here, name if isinstance(name, str) else "", params)
    else:
        yield Problem("events.params", f"{here} has no params.", "VALUE_REQUIRED")


def _params_problems(here: str, event_name: str, params: dict[str, Json]) -> Problems:
    if len(params) > MAX_PARAMS:
        yield Problem("events.params", f"{here} has {len(params)} params.", "EXCEEDED_MAX_ENTITIES")
    for name, value in params.items():
        yield from _name_problems("events.params", f"{here} param", name, 40, RESERVED_PARAMS)
        if name == "items":
            yield from _items_problems(here, value)
        else:
            yield from _value_problems(f"events.params.{name}", value, LONGER_TEXTS.get(name, TEXT_LENGTH))
    required = REQUIRED_PARAMS.get(event_name, ())
    if "value" in params and "currency" not in required:
        required = (*required, "currency")
    for name in required:
        if params.get(name) in (None, "", []):
            yield Problem(f"events.params.{name}", f"{here} needs param [{name}].", "VALUE_REQUIRED")
    yield from _known_param_problems(here, event_name, params)


def _known_param_problems(here: str, event_name: str, params: Mapping[str, Json]) -> Problems:
    for name in ("value", "tax", "shipping"):
        if name in params and not _is_number(params[name]):
            yield Problem(f"events.params.{name}", f"{here} param [{name}] is not a number.", "VALUE_INVALID")
    value = params.get("value")
    if event_name in ("purchase", "refund") and isinstance(value, int | float) and value < 0:
        yield Problem("events.params.value", f"{here} has a negative value.", "VALUE_INVALID")
    if "currency" in params and not forms.is_currency(params["currency"]):
        yield Problem("events.params.currency", f"{here} currency is no ISO 4217 code.", "VALUE_INVALID")
    if not isinstance(params.get("transaction_id", ""), str):
        yield Problem("events.params.transaction_id", f"{here} transaction_id is not text.", "VALUE_INVALID")
    if not re.fullmatch(r"\d+", str(params.get("session_id", "0"))):
        yield Problem("events.params.session_id", f"{here} session_id is not digits.", "VALUE_INVALID")
    engaged = params.get("engagement_time_msec", 1)
    if not isinstance(engaged, int) or isinstance(engaged, bool) or engaged < 1:
        yield Problem("events.params.engagement_time_msec", f"{here} engagement time is below 1.", "VALUE_INVALID")


def _items_problems(here: str, items: Json) -> Problems:
    if not isinstance(items, list):
        yield Problem("events.params.items", f"{here} items is not a list.", "VALUE_INVALID")
        return
    if len(items) > MAX_ITEMS:
        yield Problem("events.params.items", f"{here} has {len(items)} items.", "EXCEEDED_MAX_ENTITIES")
    for index, item in enumerate(items):
        yield from _item_problems(f"{here} item at index: [{index}]", item)


def _item_problems(here: str, item: Json) -> Problems:
    field = "events.params.items"
    if not isinstance(item, dict):
        yield Problem(field, f"{here} is not an object.", "VALUE_INVALID")
        return
    if not (item.get("item_id") or item.get("item_name")):
        yield Problem(field, f"{here} needs item_id or item_name.", "VALUE_REQUIRED")
    custom = item.keys() - ITEM_NUMBERS - ITEM_TEXTS
    if len(custom) > MAX_ITEM_PARAMS:
        yield Problem(field, f"{here} has {len(custom)} params of its own.", "EXCEEDED_MAX_ENTITIES")
    for name, value in item.items():
        yield from _name_problems(field, f"{here} param", name, 40, RESERVED_PARAMS)
        yield from _value_problems(f"{field}.{name}", value, TEXT_LENGTH)
        if name in ITEM_NUMBERS and not _is_number(value):
            yield Problem(f"{field}.{name}", f"{here} [{name}] is not a number.", "VALUE_INVALID")
        if name in ITEM_TEXTS and not isinstance(value, str):
            yield Problem(f"{field}.{name}", f"{here} [{name}] is not text.", "VALUE_INVALID")


def _name_problems(field: str, here: str, name: str, longest: int, reserved: frozenset[str]) -> Problems:
    if not NAME.fullmatch(name) or len(name) > longest:
        yield Problem(field, f"{here} has invalid name [{name}].", "NAME_INVALID")
    elif name in reserved or name.startswith(RESERVED_PREFIXES):
        yield Problem(field, f"{here} has reserved name [{name}].", "NAME_RESERVED")


def _value_problems(field: str, value: Json, longest: int) -> Problems:
    if value is None or isinstance(value, list | dict):
        yield Problem(field, "The value must be text or a number.", "VALUE_INVALID")
    elif isinstance(value, str) and len(value) > longest:
        yield Problem(field, f"{len(value)} characters, {longest} are allowed.", "VALUE_OUT_OF_BOUNDS")
    elif isinstance(value, str) and PERSONAL.search(value):
        yield Problem(field, "Personal data, plain or hashed, is not allowed here.", "VALUE_INVALID")


def _time_problems(field: str, micros: Json, now: float) -> Problems:
    if not isinstance(micros, int) or isinstance(micros, bool):
        yield Problem(field, "The time must be an integer of microseconds.", "VALUE_INVALID")
    elif now * 1_000_000 - micros > MAX_AGE_MICROS:
        yield Problem(field, "The time is more than 72 hours ago.", "VALUE_OUT_OF_BOUNDS")
    elif micros - now * 1_000_000 > MAX_AHEAD_MICROS:
        yield Problem(field, "The time is ahead.", "VALUE_OUT_OF_BOUNDS")


def _properties_problems(field: str, properties: Json, _: float) -> Problems:
    if not isinstance(properties, dict):
        yield Problem(field, "user_properties is not an object.", "VALUE_INVALID")
        return
    if len(properties) > MAX_PROPERTIES:
        yield Problem(field, f"{len(properties)} user properties.", "EXCEEDED_MAX_ENTITIES")
    for name, held in properties.items():
        yield from _name_problems(field, "User property", name, 24, RESERVED_PROPERTIES)
        if isinstance(held, dict) and "value" in held and held.keys() <= {"value", "timestamp_micros"}:
            yield from _value_problems(f"{field}.{name}", held["value"], 36)
        else:
            yield Problem(f"{field}.{name}", "A user property is an object with a value.", "VALUE_INVALID")


def _user_data_problems(field: str, user_data: Json, _: float) -> Problems:
    if not isinstance(user_data, dict):
        yield Problem(field, "user_data is not an object.", "VALUE_INVALID")
        return
    for name, value in user_data.items():
        here = f"{field}.{name}"
        values = value if isinstance(value, list) else [value]
        if name in ("sha256_email_address", "sha256_phone_number"):
            if not values or not all(map(forms.is_sha256, values)):
                yield Problem(here, "Not the lower-case hex of SHA-256.", "VALUE_INVALID")
        elif name == "address" and isinstance(value, list):
            for address in value:
                yield from _fields_problems(here, address, ADDRESS)
        else:
            yield Problem(here, "There is no such field.", "VALUE_INVALID")


def _fields_problems(field: str, value: Json, known: Mapping[str, Callable[[Json], bool]]) -> Problems:
    if not isinstance(value, dict):
        yield Problem(field, f"{field} is not an object.", "VALUE_INVALID")
        return
    for name, held in value.items():
        if name not in known or not known[name](held):
            yield Problem(f"{field}.{name}", "The value is invalid, or there is no such field.", "VALUE_INVALID")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and value != ""


def _of_form(pattern: str) -> Callable[[Json], bool]:
    match = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and match(value) is not None


def _only(is_right: Callable[[Json], bool]) -> Callable[[str, Json, float], Problems]:
    def problems(field: str, value: Json, _: float) -> Problems:
        if not is_right(value):
            yield Problem(field, "The value is invalid.", "VALUE_INVALID")

    return problems


def _object_of(known: Mapping[str, Callable[[Json], bool]]) -> Callable[[str, Json, float], Problems]:
    return lambda field, value, _: _fields_problems(field, value, known)


ADDRESS: dict[str, Callable[[Json], bool]] = {
    **dict.fromkeys(("sha256_first_name", "sha256_last_name", "sha256_street"), forms.is_sha256),
    **dict.fromkeys(("city", "region"), _of_form(r"[^\sA-Z\d!-/:-@\[-`{-~]+( [^\sA-Z\d!-/:-@\[-`{-~]+)*")),
    "postal_code": _of_form(r"[^\s.~]([^.~]*[^\s.~])?"),
    "country": _of_form("[A-Za-z]{2}"),
}
DEVICE = _words(
    "category language screen_resolution operating_system operating_system_version model brand browser browser_version"
)
BODY: dict[str, Callable[[str, Json, float], Problems]] = {
    "client_id": _only(_is_text),
    "app_instance_id": _only(_of_form("[0-9A-Fa-f]{32}")),
    "user_id": _only(_of_form(r"(?s).{1,256}")),
    "timestamp_micros": _time_problems,
    "user_properties": _properties_problems,
    "user_data": _user_data_problems,
    "consent": _object_of(dict.fromkeys(("ad_user_data", "ad_personalization"), _of_form("GRANTED|DENIED"))),
    "non_personalized_ads": _only(lambda value: isinstance(value, bool)),
    "ip_override": _only(lambda value: isinstance(value, str) and forms.is_ip(value)),
    "user_location": _object_of(
        {
            **dict.fromkeys(("city", "subcontinent_id", "continent_id"), _is_text),
            "region_id": _of_form("[A-Z]{2}-[A-Z0-9]{1,3}"),
            "country_id": _of_form("[A-Z]{2}"),
        }
    ),
    "device": _object_of(dict.fromkeys(DEVICE, _is_text)),
    "validation_behavior": _only(_of_form("RELAXED|ENFORCE_RECOMMENDATIONS")),
    "events": _events_problems,
}

PLATFORM = Platform("ga4", answer, refuse)
