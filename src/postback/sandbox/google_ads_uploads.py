"""What the uploads of the Google Ads API take: their shapes, and what types alone do not tell.

camelCase, times as `yyyy-MM-dd HH:mm:ss+HH:MM`. What is wrong with one row is said of that row.
Source: reference/destinations/google_ads.md, sections 3 and 4, read 2026-11-21.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postback.sandbox import forms
from postback.sandbox.platform import Json

DAY = 86_400
MAX_AGE_DAYS, MAX_ADJUSTED_DAYS = 90, 54
MAX_AHEAD_SECONDS = 60  # clocks differ a little
MAX_IDENTIFIERS = 5

Text = Annotated[str, Meta(min_length=1)]
Maybe = Text | UnsetType
Number = float | UnsetType
Found = Iterator[tuple[str, str]]  # error code, sentence
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d").fullmatch


class Camel(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Identifier(Camel, frozen=True):
    """A row that is no hash is refused alone."""

    hashed_email: str | UnsetType = UNSET
    hashed_phone_number: str | UnsetType = UNSET
    user_identifier_source: Literal["FIRST_PARTY", "THIRD_PARTY"] | UnsetType = UNSET


class Consent(Camel, frozen=True):
    ad_user_data: Literal["GRANTED", "DENIED"] | UnsetType = UNSET


class Conversion(Camel, frozen=True):
    conversion_action: str
    conversion_date_time: str
    conversion_value: Number = UNSET
    currency_code: Maybe = UNSET
    order_id: Maybe = UNSET
    gclid: Maybe = UNSET
    gbraid: Maybe = UNSET
    wbraid: Maybe = UNSET
    user_identifiers: list[Identifier] = []
    consent: Consent | UnsetType = UNSET
    conversion_environment: Literal["WEB", "APP"] | UnsetType = UNSET
    custom_variables: list[dict[str, str]] | UnsetType = UNSET
    cart_data: dict[str, Any] | UnsetType = UNSET
    customer_type: Maybe = UNSET


class ClickPair(Camel, frozen=True):
    gclid: Text
    conversion_date_time: str


class Restatement(Camel, frozen=True):
    adjusted_value: float
    currency_code: Maybe = UNSET


class Adjustment(Camel, frozen=True):
    adjustment_type: Literal["RETRACTION", "RESTATEMENT", "ENHANCEMENT"]
    conversion_action: str
    order_id: Maybe = UNSET
    gclid_date_time_pair: ClickPair | UnsetType = UNSET
    adjustment_date_time: str | UnsetType = UNSET
    restatement_value: Restatement | UnsetType = UNSET
    user_identifiers: list[Identifier] = []
    user_agent: Maybe = UNSET


class Upload(Camel, frozen=True):
    conversions: list[Conversion]
    partial_failure: bool = False
    validate_only: bool = False
    job_id: int | UnsetType = UNSET

    @property
    def rows(self) -> list[Any]:
        return self.conversions


class Adjust(Camel, frozen=True):
    conversion_adjustments: list[Adjustment]
    partial_failure: bool = False
    validate_only: bool = False
    job_id: int | UnsetType = UNSET

    @property
    def rows(self) -> list[Any]:
        return self.conversion_adjustments


class Kind(Struct, frozen=True):
    """One of the two uploads. `field`: what the errors call a row; `error`: the name of its codes."""

    read: Callable[[bytes], Any]
    check: Callable[[Any, str, Sequence[Any], float], Found]
    field: str
    error: str
    too_many: str


def echo(row: Conversion | Adjustment) -> dict[str, Json]:
    """A row that was taken, as the answer has it."""
    shown = ("gclid", "orderId", "adjustmentType", "conversionAction", "conversionDateTime", "adjustmentDateTime")
    return {name: value for name, value in msgspec.to_builtins(row).items() if name in shown}


def _conversion_faults(row: Conversion, customer: str, before: Sequence[Conversion], now: float) -> Found:
    yield from _action_faults(row.conversion_action, customer)
    at = _seconds(row.conversion_date_time)
    if at is None or at > now + MAX_AHEAD_SECONDS:
        yield "INVALID_CONVERSION_DATE_TIME", "No time of the form yyyy-MM-dd HH:mm:ss+HH:MM, or one that lies ahead."
    elif now - at > MAX_AGE_DAYS * DAY:
        yield "EXPIRED_EVENT", "The click is too old."
    if row.gbraid is not UNSET and row.wbraid is not UNSET:
        yield "GBRAID_WBRAID_BOTH_SET", "One of gbraid and wbraid."
    if row.gclid is not UNSET and not (row.gbraid is row.wbraid is UNSET):
        yield "VALUE_MUST_BE_UNSET", "gclid goes without gbraid and wbraid."
    if row.gclid is row.gbraid is row.wbraid is UNSET and not row.user_identifiers:
        yield "UNPARSEABLE_GCLID", "A click id or user identifiers are needed."
    yield from _identifier_faults(row.user_identifiers)
    if row.order_id is not UNSET:
        if "@" in row.order_id:
            yield "ORDER_ID_CONTAINS_PII", "An order id is nobody's address."
        if any((row.conversion_action, row.order_id) == (b.conversion_action, b.order_id) for b in before):
            yield "DUPLICATE_ORDER_ID", "Twice in this request."
    if row.currency_code is not UNSET and not forms.is_currency(row.currency_code):
        yield "INVALID_CURRENCY_CODE", "No ISO 4217 code."


def _adjustment_faults(row: Adjustment, customer: str, before: Sequence[Adjustment], now: float) -> Found:
    yield from _action_faults(row.conversion_action, customer)
    at = None if row.adjustment_date_time is UNSET else _seconds(row.adjustment_date_time)
    if row.adjustment_type != "ENHANCEMENT" and (at is None or at > now + MAX_AHEAD_SECONDS):
        yield "INVALID_ADJUSTMENT_DATE_TIME", "No time of the form yyyy-MM-dd HH:mm:ss+HH:MM, or one that lies ahead."
    pair = row.gclid_date_time_pair
    if (row.order_id is UNSET) == (pair is UNSET):
        yield "INVALID_ADJUSTMENT_KEY", "Either orderId or gclidDateTimePair."
    if pair is not UNSET:
        clicked = _seconds(pair.conversion_date_time)
        if clicked is None:
            yield "INVALID_CONVERSION_DATE_TIME", "No time of the form yyyy-MM-dd HH:mm:ss+HH:MM."
        elif now - clicked > MAX_ADJUSTED_DAYS * DAY:
            yield "CONVERSION_EXPIRED", f"More than {MAX_ADJUSTED_DAYS} days old."
    if (row.adjustment_type == "RESTATEMENT") == (row.restatement_value is UNSET):
        yield "RESTATEMENT_VALUE_MISMATCH", "restatementValue belongs to a RESTATEMENT, and to no other."
    if row.adjustment_type != "ENHANCEMENT" and (row.user_identifiers or row.user_agent is not UNSET):
        yield "INVALID_USER_IDENTIFIER", "User data belongs to an ENHANCEMENT."
    yield from _identifier_faults(row.user_identifiers)
    if any(row == other for other in before):
        yield "DUPLICATE_ADJUSTMENT_IN_REQUEST", "Twice in this request."


def _action_faults(action: str, customer: str) -> Found:
    if not re.fullmatch(rf"customers/{customer}/conversionActions/[0-9]+", action):
        yield "NO_CONVERSION_ACTION_FOUND", "There is no such conversion action in this account."


def _identifier_faults(identifiers: Sequence[Identifier]) -> Found:
    if len(identifiers) > MAX_IDENTIFIERS:
        yield "TOO_MANY_USER_IDENTIFIERS", f"At most {MAX_IDENTIFIERS}."
    for one in identifiers:
        given = [value for value in (one.hashed_email, one.hashed_phone_number) if value is not UNSET]
        if len(given) != 1 or not forms.is_sha256(given[0]):
            yield "INVALID_USER_IDENTIFIER", "One hash each: hashedEmail or hashedPhoneNumber."


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if _TIME(text) else None
    except ValueError:
        return None


UPLOADS = {
    "uploadClickConversions": Kind(
        msgspec.json.Decoder(Upload).decode, _conversion_faults, "conversions", "conversionUploadError",
        "TOO_MANY_CONVERSIONS_IN_REQUEST",
    ),
    "uploadConversionAdjustments": Kind(
        msgspec.json.Decoder(Adjust).decode, _adjustment_faults, "conversion_adjustments",
        "conversionAdjustmentUploadError", "TOO_MANY_ADJUSTMENTS_IN_REQUEST",
    ),
}  # fmt: skip
