"""ROASproof's ingest API: `POST /api/v1/events`, one event a request.

Answers 202 `{"event_id", "status": "accepted", "duplicate", "destinations": [...]}`, one entry for each active
destination, `queued` or `skipped` with the reason. Errors are `{"error": {"code", "field", "message"}}`; 422 names the
offending field, with dots. Eight event names and the workspace's own are taken; `allowed_names` holds the eight.

`user_data` holds matching keys, click ids and the visitor id; `custom_data` is forwarded whole as the event's
properties, its `order_number`, else `order_id`, being the order id. Money: JSON numbers in major units. Dedup: name and
`event_id`. `action_source` absent means website where URL and user agent are known at the send (`settled.md` 29), so
it stays None. Source: ROASproof, "Send orders and events from your backend", read 2026-11-21; `contracts/README.md` 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from postback.dialects import (
    Answer,
    ClickIds,
    DestinationResult,
    Dialect,
    Parsed,
    Problem,
    Result,
    decode,
    moment,
    problem,
)
from postback.errors import Invalid, PostbackError
from postback.event import RawEvent, RawUser
from postback.money import amount

STANDARD_EVENTS = frozenset(
    ["page_view", "view_content", "add_to_cart", "initiate_checkout", "lead", "signup", "purchase", "subscribe"]
)
NAMES = {"visitor_id": "user_data.visitor_id", "order_id": "custom_data.order_number", "properties": "custom_data"}
_NOTHING = Raw()


class _Event(Struct, kw_only=True, gc=False):
    event: str
    event_id: str | None = None
    value: Raw = _NOTHING
    currency: str | None = None
    occurred_at: str | None = None
    url: str | None = None
    action_source: str | None = None
    site_key: str | None = None
    user_data: Raw = _NOTHING
    custom_data: dict[str, Any] | None = None


class _Keys(ClickIds, kw_only=True, gc=False):
    """What of `user_data` is no personal data."""

    visitor_id: str | None = None


_EVENT = Decoder(_Event)
_USER = Decoder(RawUser | None)
_KEYS = Decoder(_Keys | None)


def parse(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The one event of a body, whatever its name. Raises Invalid, naming the field."""
    sent = decode(_EVENT, body)
    event = RawEvent(
        name=sent.event,
        dialect="roasproof",
        event_id=sent.event_id,
        dedup=sent.event_id,
        occurred_at=moment(sent.occurred_at, "occurred_at") if sent.occurred_at is not None else None,
        amount=amount(sent.value, "value"),
        currency=sent.currency,
        url=sent.url,
        action_source=sent.action_source,
        site_key=sent.site_key,
        properties=sent.custom_data,
    )
    if sent.user_data:
        event.user = decode(_USER, sent.user_data, under="user_data")
        if keys := decode(_KEYS, sent.user_data, under="user_data"):
            event.visitor_id = keys.visitor_id
            event.click_ids = keys.sent()
    if sent.custom_data:
        event.order_id = _order_id(sent.custom_data, "order_number") or _order_id(sent.custom_data, "order_id")
    return Parsed([event])


def _order_id(custom_data: Mapping[str, Any], name: str) -> str | None:
    value = custom_data.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    field = f"custom_data.{name}"
    raise Invalid(f"{field} must be text or a whole number.", field=field)


class _Receipt(Struct):
    event_id: str
    status: str
    duplicate: bool
    destinations: list[DestinationResult]


class _Refusal(Struct):
    error: Problem


_ENCODE = Encoder(decimal_format="number").encode


def answer(results: Sequence[Result], single: bool) -> Answer:
    """The receipt of the one event; a duplicate's names the first event."""
    result = results[0]
    if isinstance(result, PostbackError):
        return refuse(result)
    return Answer(202, _ENCODE(_Receipt(result.event_id, "accepted", result.duplicate, result.destinations)))


def refuse(error: PostbackError) -> Answer:
    return Answer(error.status, _ENCODE(_Refusal(problem(error, NAMES))))


DIALECT = Dialect(name="roasproof", parse=parse, answer=answer, refuse=refuse, allowed_names=STANDARD_EVENTS)
