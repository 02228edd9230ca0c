"""Convultra's server API: `POST /v1/track`, one event, and `POST /v1/track/batch`, `{"events": [...]}` of 1 to 100.

Answers 200 `{"success": true, "event_id": "evt_<ms>_<80 bits>"}`, a batch with such a result for each of its events,
in order; errors are `{"success": false, "error": "..."}`. A batch of none or of too many events is 400 and nothing of
it is recorded; else the valid ones are, whatever the others are, and `success` at the top is false only when none was.

Any `event_type` is taken. `session_id` stands at the top or in `context`, click ids in `context`. Of `properties`,
order id, value, currency and items go to their own places, the rest is forwarded. Money: JSON numbers in major units.
Dedup: the `Idempotency-Key` header (with the index in a batch), else site, `event_type` and order id; intake adds the
site. Source: Convultra, Server API, as published, read 2026-11-21; `contracts/README.md` 5.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import Raw, Struct, structs
from msgspec.json import Decoder, Encoder

from postback.dialects import (
    Accepted,
    Answer,
    ClickIds,
    Dialect,
    Parsed,
    Result,
    decode,
    decode_or_invalid,
    items,
    moment,
    sentence,
)
from postback.errors import Invalid, PostbackError, Unavailable
from postback.event import RawEvent, RawUser
from postback.money import amount

MAX_EVENTS = 100
REQUESTS_PER_MINUTE = 1000
MAX_ID = 256
OWN_PLACE = ("order_id", "value", "currency", "items")
NAMES = {
    "event": "event_type",
    "occurred_at": "timestamp",
    "value": "properties.value",
    "currency": "properties.currency",
    "order_id": "properties.order_id",
}
_NOTHING = Raw()


class _Context(ClickIds, kw_only=True, gc=False):
    ip: str | None = None
    user_agent: str | None = None
    page_url: str | None = None
    referrer: str | None = None
    session_id: str | None = None


class _Event(Struct, kw_only=True, gc=False):
    event_type: str
    timestamp: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    properties: Raw = _NOTHING
    user_data: RawUser | None = None
    context: _Context | None = None


class _Properties(Struct, kw_only=True, gc=False):
    order_id: str | None = None
    value: Raw = _NOTHING
    currency: str | None = None
    items: list[Raw] | None = None


class _Batch(Struct):
    events: list[_Event]


class _Parts(Struct):
    events: list[Raw]


_EVENT = Decoder(_Event)
_BATCH = Decoder(_Batch)
_PARTS = Decoder(_Parts)
_PROPERTIES = Decoder(_Properties | None)
_FREE = Decoder(dict[str, Any])


def parse(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The one event of a body. Raises Invalid, naming the field."""
    key = _idempotency_key(headers)
    return Parsed([_raw_event(decode(_EVENT, body), key and f"track {key}")])


def parse_batch(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The events of a batch. Raises Invalid where it cannot be read, or holds none or too many."""
    key = _idempotency_key(headers)
    try:
        sent: Sequence[_Event | Invalid] = decode(_BATCH, body).events
    except Invalid:
        sent = [decode_or_invalid(_EVENT, part) for part in decode(_PARTS, body).events[: MAX_EVENTS + 1]]
    if not 0 < len(sent) <= MAX_EVENTS:
        raise Invalid(f"events must hold 1 to {MAX_EVENTS} events.", field="events")
    return Parsed(
        [_raw_or_invalid(one, key and f"{index} {key}") for index, one in enumerate(sent)],
        single=False,
    )


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_ID:
        raise Invalid(f"Idempotency-Key must have 1 to {MAX_ID} characters.", field="Idempotency-Key")
    return key


def _raw_or_invalid(sent: _Event | Invalid, key: str | None) -> RawEvent | Invalid:
    if isinstance(sent, Invalid):
        return sent
    try:
        return _raw_event(sent, key)
    except Invalid as invalid:
        return invalid


def _raw_event(sent: _Event, key: str | None) -> RawEvent:
    event = RawEvent(name=sent.event_type, dialect="convultra", session_id=sent.session_id, user=sent.user_data)
    if sent.timestamp is not None:
        event.occurred_at = moment(sent.timestamp, "timestamp")
    if sent.properties:
        _take_properties(event, sent.properties)
    if context := sent.context:
        event.url = context.page_url
        event.referrer = context.referrer
        if event.session_id is None:
            event.session_id = context.session_id
        event.click_ids = context.sent()
    if sent.user_id is not None or context:
        user = event.user = sent.user_data or RawUser()
        user.user_id = sent.user_id or user.user_id
        if context:
            user.client_ip_address = context.ip or user.client_ip_address
            user.client_user_agent = context.user_agent or user.client_user_agent
    if key is not None:
        event.dedup_space, event.dedup = "convultra-key", key
    elif event.order_id is not None:
        # The length says where the name ends: no name and order id read as another's.
        event.dedup_space = "convultra-order"
        event.dedup = f"{len(event.name)} {event.name} {event.order_id}"
    return event


def _take_properties(event: RawEvent, sent: Raw) -> None:
    if (properties := decode(_PROPERTIES, sent, under="properties")) is None:
        return
    event.order_id = properties.order_id
    event.amount = amount(properties.value, "properties.value")
    event.currency = properties.currency
    free = decode(_FREE, sent, under="properties")
    if properties.items:
        event.items = items.read(properties.items, "properties.items", event.notes)
    for name in OWN_PLACE:
        free.pop(name, None)
    event.properties = free or None


class _Tracked(Struct):
    success: bool
    event_id: str


class _Refused(Struct):
    success: bool
    error: str


class _Results(Struct):
    success: bool
    results: list[_Tracked | _Refused]


_ENCODE = Encoder().encode


def answer(results: Sequence[Result], single: bool) -> Answer:
    """What became of each event, in order. When nothing was written because the hub was away, that is the answer."""
    if single:
        first = results[0]
        return refuse(first) if isinstance(first, PostbackError) else Answer(200, _ENCODE(_result(first)))
    if all(isinstance(result, Unavailable) for result in results):
        return refuse(results[0])  # pyright: ignore[reportArgumentType]
    success = any(isinstance(result, Accepted) for result in results)
    return Answer(200, _ENCODE(_Results(success, [_result(result) for result in results])))


def _result(result: Result) -> _Tracked | _Refused:
    if isinstance(result, Accepted):
        return _Tracked(True, evt_id(UUID(bytes=result.id)))
    return _Refused(False, sentence(result, NAMES))


def refuse(error: PostbackError) -> Answer:
    """Every body that cannot be used is 400 here; the other errors have their own status."""
    return Answer(400 if isinstance(error, Invalid) else error.status, _ENCODE(_result(error)))


def evt_id(id: UUID) -> str:
    """Convultra's form of our UUIDv7: its milliseconds in decimal, its other 80 bits in hex."""
    return f"evt_{id.int >> 80}_{id.int & _REST:020x}"


def from_evt_id(text: str) -> UUID | None:
    """The UUID that `evt_id` wrote; None for any other text."""
    if not (found := _EVT_ID(text)):
        return None
    milliseconds = int(found[1])
    return UUID(int=milliseconds << 80 | int(found[2], 16)) if milliseconds < 1 << 48 else None


_REST = (1 << 80) - 1
_EVT_ID = re.compile(r"evt_(0|[1-9][0-9]{0,14})_([0-9a-f]{20})").fullmatch

DIALECT = Dialect(
    name="convultra",
    parse=parse,
    answer=answer,
    refuse=refuse,
    key_in_query=True,
    rate_per_minute=REQUESTS_PER_MINUTE,
)
BATCH = structs.replace(DIALECT, parse=parse_batch)
