"""Postback's own form: `POST /v1/events`, every field that the canonical event has, under its own name.

A body is one event, `{"events": [...]}` of at most 1000, or NDJSON (`application/x-ndjson`), at most 1000 lines. A list
answers 202 with one result each, in order, and a wrong item harms no other; a single event answers with its one result,
422 where it is invalid. Unknown fields are ignored, save inside `consent`, where one may be a denial; a wrong type is
an error that names the field.

Money: JSON numbers in major units. Times: ISO 8601, UTC where no zone is named. Dedup: name + `event_id`, in the space
shared with ROASproof, Segment and the tag. Consent: true, false, "granted" or "denied".
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, Encoder

from postback.dialects import (
    Accepted,
    Answer,
    DestinationResult,
    Dialect,
    Parsed,
    Problem,
    Result,
    decode,
    decode_or_invalid,
    items,
    moment,
    problem,
)
from postback.errors import Invalid, PostbackError, Unavailable
from postback.event import PURPOSES, Consent, Item, RawEvent, RawUser
from postback.money import amount

MAX_EVENTS = 1000
ORDER_STATUSES = ("pending", "on-hold", "processing", "completed", "cancelled", "refunded")
_MAX_TOLD_CHARS = 64
_NOTHING = Raw()


class _Item(Struct, gc=False):
    product_id: str | None = None
    name: str | None = None
    quantity: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    price: Raw = _NOTHING
    total: Raw = _NOTHING


class _Fields(Struct, kw_only=True, gc=False):
    event_id: str | None = None
    occurred_at: str | None = None
    value: Raw = _NOTHING
    currency: str | None = None
    order_id: str | None = None
    order_status: str | None = None
    items: list[_Item] | None = None
    url: str | None = None
    referrer: str | None = None
    action_source: str | None = None
    site_key: str | None = None
    goal_id: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    visitor_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    user_data: RawUser | None = None
    click_ids: dict[str, str | None] | None = None
    consent: dict[str, Any] | None = None
    experiments: dict[str, str | int | None] | None = None
    properties: dict[str, Any] | None = None


class _Event(_Fields, kw_only=True, gc=False):
    event: str


class _Body(_Fields, kw_only=True, gc=False):
    """One event, or a list of them: read in one go, since nothing says beforehand which it is."""

    event: str | None = None
    events: list[_Event] | None = None


class _Parts(Struct):
    events: list[Raw] | None = None


_EVENT = Decoder(_Event)
_BODY = Decoder(_Body)
_PARTS = Decoder(_Parts)


def parse(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The events of a body. Raises Invalid where it cannot be read, or is a list of none or of too many."""
    if "ndjson" in headers.get("content-type", "").lower():
        lines = [line for line in body.split(b"\n") if line and not line.isspace()]
        return _list([decode_or_invalid(_EVENT, line) for line in lines[: MAX_EVENTS + 1]])
    try:
        sent = decode(_BODY, body)
    except Invalid as invalid:
        parts = decode(_PARTS, body).events
        if parts is not None:
            return _list([decode_or_invalid(_EVENT, part) for part in parts[: MAX_EVENTS + 1]])
        if invalid.malformed:
            raise
        return Parsed([invalid])
    if sent.events is not None:
        return _list(sent.events)
    if sent.event is None:
        return Parsed([Invalid("event is required.", field="event")])
    try:
        return Parsed([_raw_event(sent.event, sent)])
    except Invalid as invalid:
        return Parsed([invalid])


def _list(sent: Sequence[_Event | Invalid]) -> Parsed:
    if not 0 < len(sent) <= MAX_EVENTS:
        raise Invalid(f"events must hold 1 to {MAX_EVENTS} events.", field="events")
    return Parsed([_raw_or_invalid(one) for one in sent], single=False)


def _raw_or_invalid(sent: _Event | Invalid) -> RawEvent | Invalid:
    if isinstance(sent, Invalid):
        return sent
    try:
        return _raw_event(sent.event, sent)
    except Invalid as invalid:
        return invalid


def _raw_event(name: str, sent: _Fields) -> RawEvent:
    user, status, click_ids, experiments = sent.user_data, sent.order_status, sent.click_ids, sent.experiments
    if sent.user_id is not None:
        user = user or RawUser()
        user.user_id = sent.user_id
    if status is not None and status not in ORDER_STATUSES:
        raise Invalid(f"order_status must be one of {', '.join(ORDER_STATUSES)}.", field="order_status")
    # CPython packs more than 15 keywords of one call in a dict, which costs a microsecond: the rarer fields follow.
    event = RawEvent(
        name=name,
        dialect="native",
        event_id=sent.event_id,
        dedup=sent.event_id,
        occurred_at=moment(sent.occurred_at, "occurred_at") if sent.occurred_at is not None else None,
        amount=amount(sent.value, "value") if sent.value else None,
        currency=sent.currency,
        order_id=sent.order_id,
        order_status=status,
        items=_items(sent.items) if sent.items else (),
        url=sent.url,
        visitor_id=sent.visitor_id,
        session_id=sent.session_id,
        user=user,
        properties=sent.properties,
    )
    event.referrer = sent.referrer
    event.action_source = sent.action_source
    event.site_key = sent.site_key
    event.goal_id = sent.goal_id
    if click_ids:
        event.click_ids = {name: value for name, value in click_ids.items() if value}
    if experiments:
        event.experiments = {name: str(value) for name, value in experiments.items() if value is not None}
    if sent.consent is not None:
        event.consent = _consent(sent.consent)
    return event


def _items(sent: list[_Item]) -> tuple[Item, ...]:
    items.refuse_too_many(sent, "items")
    read: list[Item] = []
    try:
        for item in sent:
            price = amount(raw, "price") if (raw := item.price) else None
            total = amount(raw, "total") if (raw := item.total) else None
            read.append(
                Item(product_id=item.product_id, name=item.name, quantity=item.quantity, price=price, total=total)
            )
    except Invalid as invalid:
        path = f"items[{len(read)}].{invalid.field}"
        raise Invalid(invalid.message.replace(str(invalid.field), path, 1), field=path) from None
    return tuple(read)


def _consent(sent: dict[str, Any]) -> Consent:
    for name in sent:
        if name not in PURPOSES:
            field = f"consent.{name[:_MAX_TOLD_CHARS]}"
            raise Invalid(f"{field} is no purpose: there are {', '.join(PURPOSES)}.", field=field)
    return Consent(**{name: _choice(value, f"consent.{name}") for name, value in sent.items()})


def _choice(sent: Any, field: str) -> bool | None:
    if sent is None or isinstance(sent, bool):
        return sent
    if sent not in ("granted", "denied"):
        raise Invalid(f'{field} must be true, false, "granted" or "denied".', field=field)
    return sent == "granted"


class _Result(Struct, omit_defaults=True):
    index: int
    status: str
    event_id: str | None = None
    error: Problem | None = None
    destinations: list[DestinationResult] | None = None
    notes: tuple[str, ...] = ()


class _Results(Struct):
    results: list[_Result]


class _Refusal(Struct):
    error: Problem


_ENCODE = Encoder(decimal_format="number").encode


def answer(results: Sequence[Result], single: bool) -> Answer:
    """What became of each event, in order. When nothing was written because the hub was away, that is the answer."""
    if single:
        first = results[0]
        if isinstance(first, PostbackError) and not isinstance(first, Invalid):
            return refuse(first)
        return Answer(first.status if isinstance(first, Invalid) else 202, _ENCODE(_result(0, first)))
    if all(isinstance(result, Unavailable) for result in results):
        return refuse(results[0])  # pyright: ignore[reportArgumentType]
    return Answer(202, _ENCODE(_Results([_result(index, result) for index, result in enumerate(results)])))


def _result(index: int, result: Result) -> _Result:
    if isinstance(result, Accepted):
        status = "duplicate" if result.duplicate else "accepted"
        return _Result(index, status, result.event_id, None, result.destinations, result.notes)
    return _Result(index, "invalid", error=problem(result))


def refuse(error: PostbackError) -> Answer:
    return Answer(error.status, _ENCODE(_Refusal(problem(error))))


DIALECT = Dialect(
    name="native",
    parse=parse,
    answer=answer,
    refuse=refuse,
    max_bytes=4_000_000,
    content_types=frozenset({"application/json", "application/x-ndjson"}),
)
