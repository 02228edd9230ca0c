"""Segment's tracking API: `/v1/track`, `page`, `screen`, `identify`, `group` and `alias`, one message a request, and
`/v1/batch`, `{"batch": [...]}` of messages that say their `type`, with a `context` that fills the gaps of theirs.

Answers 200 `{"success": true}`; a batch adds `rejected` where messages could not be used: `{index, code, message,
field}`, the others are written. Errors: `{"success": false, "error", "code", "message", "field"}`: some of that world's
clients read `error`, some `code` and `message`. 400 is a body that cannot be read, or a single message of no use.

`messageId` is the event id, by which with the name a repeat is told. `anonymousId` is the visitor, `context.traits` and
the traits of `identify` are the user. Money: numbers or plain decimal text in major units: `revenue`, else `total` of
an order, else `value`. `Order Cancelled` is its order's purchase at the status `cancelled`. An alias is taken as
joining an anonymous id to a user. Source: Segment, HTTP API, Spec and Ecommerce spec, read 2026-11-21.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from postback.dialects import (
    UNREADABLE,
    Answer,
    Dialect,
    Parsed,
    Problem,
    Result,
    decode,
    decode_or_invalid,
    items,
    moment,
    problem,
    sentence,
)
from postback.dialects.context import IN_PROPERTIES, Context, Id, fill, id_text, take_traits, within
from postback.errors import Invalid, PostbackError, TooMany, Unavailable
from postback.event import CLICK_IDS, RawEvent, RawUser
from postback.money import amount

MAX_EVENTS = 2500
MAX_BATCH_BYTES = 500_000
KINDS = ("track", "page", "screen", "identify", "group", "alias")
NAMES = {
    "event_id": "messageId",
    "visitor_id": "anonymousId",
    "session_id": "context.sessionId",
    "occurred_at": "timestamp",
    "value": "properties.revenue",
    "currency": "properties.currency",
    "order_id": "properties.order_id",
}
_NOTHING = Raw()


class _Message(Struct, kw_only=True, gc=False):
    type: str | None = None
    event: str | None = None
    messageId: str | None = None
    userId: Id = None
    anonymousId: Id = None
    previousId: Id = None
    groupId: Id = None
    name: str | None = None
    category: str | None = None
    timestamp: str | None = None
    originalTimestamp: str | None = None
    properties: Raw = _NOTHING
    traits: dict[str, Any] | None = None
    context: Context | None = None


class _Properties(Struct, kw_only=True, gc=False):
    order_id: Id = None
    revenue: Raw = _NOTHING
    total: Raw = _NOTHING
    value: Raw = _NOTHING
    currency: str | None = None
    products: list[Raw] | None = None


class _Batch(Struct):
    batch: list[_Message]
    context: Context | None = None


class _Parts(Struct):
    batch: list[Raw]
    context: Context | None = None


_MESSAGE = Decoder(_Message)
_BATCH = Decoder(_Batch)
_PARTS = Decoder(_Parts)
_PROPERTIES = Decoder(_Properties | None)
_FREE = Decoder(dict[str, Any])


def parse(kind: str, body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The one message of a body, of the path's kind. Raises Invalid, naming the field."""
    return Parsed([_raw_event(kind, decode(_MESSAGE, body), None)])


def parse_batch(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The messages of a batch, each of the kind it says. Raises Invalid where it cannot be read or holds too many."""
    try:
        whole = decode(_BATCH, body)
        sent: Sequence[_Message | Invalid] = whole.batch
        context = whole.context
    except Invalid:
        parts = decode(_PARTS, body)
        sent = [decode_or_invalid(_MESSAGE, part) for part in parts.batch[: MAX_EVENTS + 1]]
        context = parts.context
    if len(sent) > MAX_EVENTS:
        raise Invalid(f"batch must hold at most {MAX_EVENTS} messages.", field="batch")
    return Parsed([_raw_or_invalid(one, context) for one in sent], single=False)


def _raw_or_invalid(sent: _Message | Invalid, context: Context | None) -> RawEvent | Invalid:
    if isinstance(sent, Invalid):
        return sent
    try:
        if sent.type not in KINDS:
            raise Invalid(f"type must be one of {', '.join(KINDS)}.", field="type")
        return _raw_event(sent.type, sent, context)
    except Invalid as invalid:
        return invalid


def _raw_event(kind: str, sent: _Message, around: Context | None) -> RawEvent:
    """`around`: the context of the batch."""
    _require(kind, sent)
    name = sent.event if kind == "track" and sent.event is not None else kind
    event = RawEvent(name=name, dialect="segment", event_id=sent.messageId, dedup=sent.messageId)
    user = event.user = RawUser(user_id=id_text(sent.userId))
    event.visitor_id = id_text(sent.anonymousId)
    if sent.timestamp is not None:
        event.occurred_at = moment(sent.timestamp, "timestamp")
    elif sent.originalTimestamp is not None:
        event.occurred_at = moment(sent.originalTimestamp, "originalTimestamp")
    if kind == "identify":
        free = dict(sent.traits or {})
        take_traits(user, free)
        event.properties = free or None
    elif kind == "group":
        event.properties = {"groupId": id_text(sent.groupId), "traits": sent.traits or {}}
    elif kind == "alias":
        event.visitor_id = event.visitor_id or id_text(sent.previousId)
    else:
        _take_properties(event, sent, kind)
    if context := within(sent.context, around):
        fill(event, context)
    if kind == "screen":
        event.action_source = "app"
    return event


def _require(kind: str, sent: _Message) -> None:
    """What a message of this kind is nothing without. An order of nobody is an order still."""
    if kind == "track":
        if sent.event is None:
            raise Invalid("event is required.", field="event")
    elif not sent.userId and (kind == "alias" or not sent.anonymousId):
        raise Invalid(
            "userId is required." if kind == "alias" else "userId or anonymousId is required.", field="userId"
        )
    if kind == "alias" and not sent.previousId:
        raise Invalid("previousId is required.", field="previousId")
    if kind == "group" and not sent.groupId:
        raise Invalid("groupId is required.", field="groupId")


def _take_properties(event: RawEvent, sent: _Message, kind: str) -> None:
    properties = decode(_PROPERTIES, sent.properties, under="properties") if sent.properties else None
    free: dict[str, Any] = {}
    if properties is not None:
        free = decode(_FREE, sent.properties, under="properties")
        _take_order(event, sent.properties, properties, free)
        if event.user:
            take_traits(event.user, free, IN_PROPERTIES)
        found = {name: free.pop(name) for name in CLICK_IDS & free.keys() if isinstance(free[name], str)}
        event.click_ids = found or None
    if kind != "track":
        free = {name: text for name, text in (("name", sent.name), ("category", sent.category)) if text} | free
        event.url, event.referrer = _if_text(free.get("url")), _if_text(free.get("referrer"))
    event.properties = free or None


def _if_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _take_order(event: RawEvent, raw: Raw, sent: _Properties, free: dict[str, Any]) -> None:
    """Order, lines and money go to their own places; what is left in `free` is forwarded."""
    event.order_id = id_text(sent.order_id)
    event.currency = sent.currency
    used = ["order_id", "currency", "products"]
    is_order = sent.order_id is not None or sent.products is not None
    for name in ("revenue", "total", "value"):
        token = getattr(sent, name)
        # A `total` may count anything, the results of a search for one.
        if token and token != Raw(b"null") and (name != "total" or is_order):
            event.amount = amount(token, f"properties.{name}", allow_text=True)
            used.append(name)
            break
    if sent.products is not None:
        event.items = items.read(sent.products, "properties.products", event.notes, allow_text=True)
    elif ("product_id" in free or "sku" in free) and (
        item := items.read_one(raw, "properties", event.notes, allow_text=True)
    ):
        event.items = (item,)
    if event.order_id is not None and event.name.strip().lower() == "order cancelled":
        event.name, event.order_status = "purchase", "cancelled"
    for name in used:
        free.pop(name, None)


class Glance(Struct, kw_only=True, gc=False):
    """What tells whose body it is, and the key in it."""

    event_type: Raw = _NOTHING
    type: Raw = _NOTHING
    event: Raw = _NOTHING
    anonymousId: Raw = _NOTHING
    userId: Raw = _NOTHING
    writeKey: Raw = _NOTHING

    def is_ours(self, has_basic_auth: bool) -> bool:
        """Whether a body posted to `/v1/track` is Segment's, not Convultra's."""
        if self.event_type:
            return False
        return has_basic_auth or bool(self.writeKey or self.type or self.event or self.anonymousId or self.userId)

    def key(self) -> str | None:
        try:
            return _KEY.decode(self.writeKey) if self.writeKey else None
        except UNREADABLE:
            return None


_GLANCE = Decoder(Glance)
_KEY = Decoder(str)


def glance(body: bytes) -> Glance:
    """A look at a body that may be anything."""
    try:
        return _GLANCE.decode(body)
    except UNREADABLE:
        return Glance()


class _Taken(Struct, omit_defaults=True):
    success: bool
    rejected: list["_Rejected"] = []


class _Rejected(Problem, frozen=True, omit_defaults=True, kw_only=True):
    index: int


class _Refused(Struct, omit_defaults=True):
    success: bool
    error: str
    code: str
    message: str
    field: str | None = None


_ENCODE = Encoder().encode


def answer(results: Sequence[Result], single: bool) -> Answer:
    """That it was taken; of a batch also what was not. Where some of it may be sent again, all of it is asked for
    again: these clients repeat whole batches or nothing, and a repeat counts once.
    """
    refused = [(index, result) for index, result in enumerate(results) if isinstance(result, PostbackError)]
    for _, result in refused:
        if single or isinstance(result, Unavailable) or (isinstance(result, TooMany) and len(refused) == len(results)):
            return refuse(result)
    return Answer(200, _ENCODE(_Taken(True, [_rejected(index, result) for index, result in refused])))


def _rejected(index: int, error: PostbackError) -> _Rejected:
    found = problem(error, NAMES)
    return _Rejected(index=index, code=found.code, message=found.message, field=found.field)


def refuse(error: PostbackError) -> Answer:
    found = problem(error, NAMES)
    status = 400 if isinstance(error, Invalid) else error.status
    return Answer(status, _ENCODE(_Refused(False, sentence(error, NAMES), found.code, found.message, found.field)))


def _dialect(parse: Callable[[bytes, Mapping[str, str]], Parsed], max_bytes: int = 1_000_000) -> Dialect:
    return Dialect(name="segment", parse=parse, answer=answer, refuse=refuse, max_bytes=max_bytes)


TRACK, PAGE, SCREEN, IDENTIFY, GROUP, ALIAS = (_dialect(partial(parse, kind)) for kind in KINDS)
BATCH = _dialect(parse_batch, MAX_BATCH_BYTES)
