"""What the Data Manager API takes: its shapes, and what types alone do not tell.

camelCase, RFC 3339 times, hashes as lower-case hex, one kind of key an identifier.
Source: reference/destinations/google_ads.md, section 2, read 2026-11-21.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from postback.sandbox import forms
from postback.sandbox.platform import Problem, Unreadable, read

DAY = 86_400
MAX_AGE_DAYS = 90
MAX_AHEAD_SECONDS = 60  # clocks differ a little
MAX_DESTINATIONS, MAX_IDENTIFIERS = 10, 10

Text = Annotated[str, Meta(min_length=1)]
Maybe = Text | UnsetType
Hash = Annotated[str, Meta(pattern=forms.SHA256)]
Digits = Annotated[str, Meta(pattern=r"\A[0-9]{1,20}\Z")]
Number = float | UnsetType
Choice = Literal["CONSENT_GRANTED", "CONSENT_DENIED"] | UnsetType
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)").fullmatch


class Fault(Struct, frozen=True):
    """`field`: its path."""

    field: str
    reason: str
    description: str


class Camel(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Account(Camel, frozen=True):
    account_type: Literal[
        "GOOGLE_ADS", "GOOGLE_ANALYTICS_PROPERTY", "DATA_PARTNER", "FLOODLIGHT_CONFIG", "DISPLAY_VIDEO_ADVERTISER",
        "DISPLAY_VIDEO_PARTNER", "GOOGLE_AD_MANAGER",
    ]  # fmt: skip
    account_id: Digits


class Destination(Camel, frozen=True):
    operating_account: Account
    product_destination_id: Digits
    login_account: Account | UnsetType = UNSET
    linked_account: Account | UnsetType = UNSET
    reference: Maybe = UNSET


class Device(Camel, frozen=True):
    ip_address: Maybe = UNSET
    user_agent: Maybe = UNSET


class AdIdentifiers(Camel, frozen=True):
    gclid: Maybe = UNSET
    gbraid: Maybe = UNSET
    wbraid: Maybe = UNSET
    session_attributes: Maybe = UNSET
    landing_page_device_info: Device | UnsetType = UNSET
    dclid: Maybe = UNSET
    mobile_device_id: Maybe = UNSET
    impression_id: Maybe = UNSET
    match_id: Maybe = UNSET


class Address(Camel, frozen=True):
    given_name: Hash
    family_name: Hash
    region_code: Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
    postal_code: Annotated[str, Meta(pattern=r"\A\S(.*\S)?\Z")]


class Identifier(Camel, frozen=True):
    """Exactly one of them."""

    email_address: Hash | UnsetType = UNSET
    phone_number: Hash | UnsetType = UNSET
    address: Address | UnsetType = UNSET


class UserData(Camel, frozen=True):
    user_identifiers: Annotated[list[Identifier], Meta(min_length=1)]


class Consent(Camel, frozen=True):
    ad_user_data: Choice = UNSET
    ad_personalization: Choice = UNSET


class CartItem(Camel, frozen=True):
    merchant_product_id: Maybe = UNSET
    item_id: Maybe = UNSET
    quantity: int | UnsetType = UNSET
    unit_price: Number = UNSET
    conversion_value: Number = UNSET


class CartData(Camel, frozen=True):
    items: list[CartItem]
    merchant_id: Maybe = UNSET
    merchant_feed_label: Maybe = UNSET
    merchant_feed_language_code: Maybe = UNSET
    transaction_discount: Number = UNSET
    coupon_codes: list[Text] | UnsetType = UNSET


class Variable(Camel, frozen=True):
    variable: Text
    value: Text


class UserProperties(Camel, frozen=True):
    customer_type: Literal["NEW", "RETURNING", "REENGAGED"] | UnsetType = UNSET
    customer_value_bucket: Literal["LOW", "MEDIUM", "HIGH"] | UnsetType = UNSET


class Event(Camel, frozen=True):
    """But for the fields that Google Analytics alone takes."""

    event_timestamp: str
    destination_references: list[Text] | UnsetType = UNSET
    transaction_id: Maybe = UNSET
    last_updated_timestamp: str | UnsetType = UNSET
    conversion_value: Number = UNSET
    currency: Maybe = UNSET
    conversion_count: Number = UNSET
    event_source: Literal["WEB", "APP", "IN_STORE", "PHONE", "MESSAGE", "OTHER"] | UnsetType = UNSET
    ad_identifiers: AdIdentifiers | UnsetType = UNSET
    user_data: UserData | UnsetType = UNSET
    consent: Consent | UnsetType = UNSET
    event_device_info: Device | UnsetType = UNSET
    cart_data: CartData | UnsetType = UNSET
    custom_variables: list[Variable] | UnsetType = UNSET
    user_properties: UserProperties | UnsetType = UNSET


class Ingest(Camel, frozen=True):
    """The events are read one by one, so that each says what is wrong with it."""

    destinations: Annotated[list[Destination], Meta(min_length=1)]
    events: Annotated[list[Raw], Meta(min_length=1)]
    encoding: Literal["HEX", "BASE64"] | UnsetType = UNSET
    consent: Consent | UnsetType = UNSET
    validate_only: bool = False


READ_INGEST = msgspec.json.Decoder(Ingest)
_READ_EVENT = msgspec.json.Decoder(Event)


def ingest_faults(body: Ingest) -> list[Fault]:
    """What is wrong with a request but for its events."""
    faults: list[Fault] = []
    if len(body.destinations) > MAX_DESTINATIONS:
        faults.append(Fault("destinations", "TOO_MANY_DESTINATIONS", f"At most {MAX_DESTINATIONS} destinations."))
    references = [destination.reference for destination in body.destinations]
    if len(references) > 1 and (UNSET in references or len(set(references)) < len(references)):
        faults.append(Fault("destinations", "DUPLICATE_DESTINATION_REFERENCE", "Each needs a reference of its own."))
    if body.encoding is not UNSET and body.encoding != "HEX":
        faults.append(Fault("encoding", "INVALID_HEX_ENCODING", "This stand-in reads HEX."))
    if body.encoding is UNSET and any(b'"userData"' in bytes(raw) for raw in body.events):
        faults.append(Fault("encoding", "REQUIRED_FIELD_MISSING", "encoding is needed with userData."))
    return faults


def read_event(raw: Raw, here: str, faults: list[Fault], now: float) -> Event | None:
    """One event, judged; what is wrong is added to `faults`."""
    try:
        event = read(_READ_EVENT.decode, raw, here)
    except Unreadable as error:
        faults.append(fault_of(error))
        return None
    faults += [Fault(f"{here}.{field}", reason, text) for field, reason, text in _event_faults(event, now)]
    return event


def fault_of(error: Unreadable) -> Fault:
    """A field that cannot be read, with the reason that Google has for it."""
    what, path, field = error.what, error.path, error.path or "request"
    reason = "INVALID_ARGUMENT"
    if "missing required field" in what:
        reason, field = "REQUIRED_FIELD_MISSING", f"{field}.{what.split('`')[1]}"
    elif re.search(r"(emailAddress|phoneNumber|givenName|familyName)$", path):
        reason = "INVALID_SHA256_FORMAT"
    elif "length >= 1" in what:
        reason = "REQUIRED_FIELD_MISSING"
    return Fault(field, reason, what)


def silent(index: int, event: Event, now: float) -> Problem | None:
    """What Google drops after it has taken the request."""
    at, here = _seconds(event.event_timestamp), f"events[{index}]"
    prefix = "PROCESSING_ERROR_REASON_"
    if at is not None and now - at > MAX_AGE_DAYS * DAY:
        return Problem(f"{here}.eventTimestamp", f"More than {MAX_AGE_DAYS} days old.", f"{prefix}EVENT_TOO_OLD")
    if event.consent is not UNSET and event.consent.ad_user_data == "CONSENT_DENIED":
        return Problem(f"{here}.consent", "The person denied it.", f"{prefix}DENIED_CONSENT")
    return None


def _event_faults(event: Event, now: float) -> Iterator[tuple[str, str, str]]:
    """Field, reason, sentence."""
    at = _seconds(event.event_timestamp)
    if at is None or at > now + MAX_AHEAD_SECONDS:
        yield "eventTimestamp", "EVENT_TIME_INVALID", "No RFC 3339 time, or one that lies ahead."
    if event.currency is not UNSET and not forms.is_currency(event.currency):
        yield "currency", "INVALID_CURRENCY_CODE", "No ISO 4217 code."
    if event.conversion_value is not UNSET and event.currency is UNSET:
        yield "currency", "REQUIRED_FIELD_MISSING", "A value needs its currency."
    clicks, user = event.ad_identifiers, event.user_data
    if (clicks is UNSET or clicks == AdIdentifiers()) and user is UNSET:
        yield "adIdentifiers", "NO_IDENTIFIERS_PROVIDED", "An event needs adIdentifiers or userData."
    if user is not UNSET:
        yield from _user_faults(user)
    if event.cart_data is not UNSET and clicks is not UNSET and not (clicks.gbraid is clicks.wbraid is UNSET):
        yield "cartData", "INVALID_ARGUMENT", "Not with gbraid or wbraid."


def _user_faults(user: UserData) -> Iterator[tuple[str, str, str]]:
    here = "userData.userIdentifiers"
    if len(user.user_identifiers) > MAX_IDENTIFIERS:
        yield here, "TOO_MANY_USER_IDENTIFIERS", f"At most {MAX_IDENTIFIERS}."
    for index, one in enumerate(user.user_identifiers):
        if [one.email_address, one.phone_number, one.address].count(UNSET) != 2:
            yield f"{here}[{index}]", "INVALID_ARGUMENT", "Exactly one of emailAddress, phoneNumber and address."


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if _RFC3339(text) else None
    except ValueError:
        return None
