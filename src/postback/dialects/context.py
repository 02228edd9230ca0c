"""What Segment's context and traits say: whose browser or device it was, and who the person is.

Traits have names in camel or snake case, an address of its own, and a full name that is split at its white space. What
is taken of a person is taken away, so that it stands nowhere in clear.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from postback.dialects import ClickIds
from postback.event import Consent, RawEvent, RawUser

Id = str | int | None
# What categories of consent are usually called: parts of their names, in lower case.
_MEASURING = ("analytic", "statistic", "performance", "measure")
_ADVERTISING = ("advert", "market", "target")
_WORD_BEGINS = re.compile("(?<=[a-z])(?=[A-Z])")
CAMPAIGN = {
    "source": "utm_source", "medium": "utm_medium", "name": "utm_campaign",
    "term": "utm_term", "content": "utm_content",
}  # fmt: skip
MOBILE = ("ios", "android")
PERSON = {
    "email": "email", "phone": "phone", "gender": "gender", "id": "external_id", "external_id": "external_id",
    "firstName": "first_name", "first_name": "first_name", "lastName": "last_name", "last_name": "last_name",
    "birthday": "date_of_birth", "date_of_birth": "date_of_birth", "dateOfBirth": "date_of_birth",
    "street": "street", "city": "city", "state": "state", "country": "country",
    "postalCode": "postal_code", "postal_code": "postal_code",
}  # fmt: skip
ADDRESS = {
    name: field for name, field in PERSON.items() if field in ("street", "city", "state", "country", "postal_code")
}
# Of an event's own properties: those alone that name a person whatever the event is. `pii` knows the snake case ones.
IN_PROPERTIES = {name: PERSON[name] for name in ("firstName", "lastName", "birthday", "dateOfBirth", "postalCode")}


class _Page(Struct, gc=False):
    url: str | None = None
    referrer: str | None = None


class _Device(Struct, gc=False):
    type: str | None = None


class _Consent(Struct, gc=False):
    analytics: bool | None = None
    ad_user_data: bool | None = None
    ad_personalization: bool | None = None
    categoryPreferences: dict[str, bool | None] | None = None


class Context(ClickIds, kw_only=True, gc=False):
    ip: str | None = None
    userAgent: str | None = None
    sessionId: Id = None
    page: _Page | None = None
    device: _Device | None = None
    campaign: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    consent: _Consent | None = None
    experiments: dict[str, str | int | None] | None = None


def id_text(id_: Id) -> str | None:
    return None if id_ is None else str(id_)


def within(own: Context | None, around: Context | None) -> Context | None:
    """A message's context, its gaps filled from that of its batch."""
    if own is None or around is None:
        return own or around
    return msgspec.structs.replace(
        around, **{name: value for name in Context.__struct_fields__ if (value := getattr(own, name)) is not None}
    )


def fill(event: RawEvent, context: Context) -> None:
    """Put what the context says where the event has nothing."""
    user = event.user = event.user or RawUser()
    user.client_ip_address, user.client_user_agent = context.ip, context.userAgent
    event.session_id = id_text(context.sessionId)
    if context.traits:
        take_traits(user, dict(context.traits))
    if context.page:
        event.url, event.referrer = event.url or context.page.url, event.referrer or context.page.referrer
    if click_ids := context.sent():
        event.click_ids = click_ids | (event.click_ids or {})
    if context.campaign:
        utm = {CAMPAIGN[name]: value for name, value in context.campaign.items() if name in CAMPAIGN and value}
        event.properties = utm | (event.properties or {}) or None
    if context.device and (context.device.type or "").lower() in MOBILE:
        event.action_source = "app"
    if context.consent:
        event.consent = _consent(context.consent, event.notes)
    if context.experiments:
        event.experiments = {name: str(value) for name, value in context.experiments.items() if value is not None}


def _consent(sent: _Consent, notes: list[str]) -> Consent:
    """Its own purposes, else what the categories of a consent manager mean; of two that mean one, the denial."""
    chosen: dict[str, bool] = {}
    is_lost = False
    for name, choice in (sent.categoryPreferences or {}).items():
        if choice is None:
            continue
        meant = _purposes(name, choice)
        is_lost |= not (meant or choice)
        for purpose in meant:
            chosen[purpose] = choice and chosen.get(purpose, True)
    if is_lost:
        notes.append("context.consent.categoryPreferences: a denial of a category that means no purpose here")
    for purpose in Consent.__struct_fields__:
        if (choice := getattr(sent, purpose)) is not None:
            chosen[purpose] = choice
    return Consent(**chosen)


def _purposes(category: str, choice: bool) -> list[str]:
    """What a category means: a grant only where one of its words begins so, a denial wherever that stands in it."""
    name = _WORD_BEGINS.sub(" ", category).lower() if choice else category.lower()
    has = (lambda part: re.search(rf"(?<![a-z]){part}", name)) if choice else name.__contains__
    found = ["analytics"] if any(map(has, _MEASURING)) else []
    if any(map(has, _ADVERTISING)):
        found += ["ad_user_data", "ad_personalization"]
    return found


def take_traits(user: RawUser, traits: dict[str, Any], names: Mapping[str, str] = PERSON) -> None:
    """Fill the user's gaps from the traits, and take those of `names` out of them."""
    for name, field in names.items():
        if name in traits:
            _fill(user, field, traits.pop(name))
    if names is PERSON:
        address = traits.pop("address", None)
        if isinstance(address, dict):
            for name, field in ADDRESS.items():
                _fill(user, field, address.get(name))
        else:
            _fill(user, "street", address)
        _fill_names(user, traits.pop("name", None))


def _fill(user: RawUser, field: str, value: Any) -> None:
    if getattr(user, field) or isinstance(value, bool) or not isinstance(value, str | int):
        return
    text = str(value)
    # A birthday is sent as a date, or as a time of that day.
    setattr(user, field, text.partition("T")[0] if field == "date_of_birth" else text)


def _fill_names(user: RawUser, name: Any) -> None:
    words = name.split() if isinstance(name, str) else []
    if words and not user.first_name and not user.last_name:
        user.first_name = words[0]
        user.last_name = words[-1] if len(words) > 1 else None
