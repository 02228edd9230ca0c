"""What both of Google's ways have in common: who clicked, who bought, where, when, and with whose consent."""

import re
from datetime import UTC, datetime, timedelta

from postback.event import Event, JoinedEvent

CLICK_IDS = ("gclid", "gbraid", "wbraid")  # the best first: one is sent
CLICK_AGE = timedelta(days=90)
ADDRESS = frozenset({"first_name_sha256", "last_name_sha256", "country", "postal_code"})
SOURCES = {
    "website": "WEB",
    "app": "APP",
    "physical_store": "IN_STORE",
    "phone_call": "PHONE",
    "chat": "MESSAGE",
    "business_messaging": "MESSAGE",
}

_GCL_AW = re.compile(r"GCL\.([0-9]{10})\.([\w-]+)", re.ASCII).fullmatch
_COUNTRY = re.compile(r"[A-Za-z]{2}").fullmatch


def click(event: JoinedEvent, now: datetime) -> dict[str, str]:
    """One click id. The cookie's `gclid` serves where the address of the landing page was not kept."""
    for name in CLICK_IDS:
        if value := event.click_ids.get(name):
            return {name: value}
        if name == "gclid" and (value := _of_cookie(event.click_ids.get("gcl_aw", ""), now)):
            return {name: value}
    return {}


def _of_cookie(cookie: str, now: datetime) -> str | None:
    """The click id in `_gcl_aw`, if the click that it was set by is not too old."""
    match = _GCL_AW(cookie)
    return match[2] if match and int(match[1]) >= (now - CLICK_AGE).timestamp() else None


def address(event: JoinedEvent) -> dict[str, str]:
    """All four parts, or Google matches nobody by it."""
    user, readable = event.user, event.readable
    country, postal_code = readable.get("country", "").strip(), readable.get("postal_code", "").strip()
    if not (user.keys() | readable.keys() >= ADDRESS and _COUNTRY(country) and postal_code):
        return {}
    return {
        "givenName": user["first_name_sha256"],
        "familyName": user["last_name_sha256"],
        "regionCode": country.upper(),
        "postalCode": postal_code,
    }


def transaction_id(event: Event) -> str:
    """What Google drops repeats by: a purchase's order, by which it is taken back too; else the event."""
    if event.name == "purchase" and event.order and event.order.id:
        return event.order.id
    return event.event_id


def source(event: Event) -> str:
    """Where it happened; on a web page, if the sender names none but a page."""
    named = event.action_source or ("website" if event.page and event.page.url else "other")
    return SOURCES.get(named, "OTHER")


def rfc3339(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def ads_time(at: datetime) -> str:
    """As the Google Ads API wants it, with its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00"
