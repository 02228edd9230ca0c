"""Velaro's Conversion Goals API: `POST /Conversions/record`, one conversion of a goal a request.

Answers 200 `{"success": true, "conversionId": "...", "duplicate": false}`, a duplicate with the first one's id; errors
are `{"success": false, "error": "<sentence naming the field>"}`, 400 for whatever of the body cannot be used.

The post names its goal and no event: the name stands for the goal's first event name, which intake knows. `amount`
blank, null or absent: the goal's own value; else a JSON number in major units. `visitorId` is a session of the browser
tag, or a visitor. `siteId` is ignored: the key's site counts. Dedup: goal and `integrationOrderId`, none without one;
that id makes no order. Source: Velaro, Conversion Goals API, read 2026-11-21; `contracts/README.md` 1.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, Encoder

from postback.dialects import Answer, Dialect, Parsed, Result, decode, sentence
from postback.errors import Invalid, PostbackError
from postback.event import RawEvent
from postback.money import amount

MAX_SOURCE = 100
NAMES = {
    "event": "goalId",
    "goal_id": "goalId",
    "session_id": "visitorId",
    "value": "amount",
    "order_id": "integrationOrderId",
}
_NOTHING = Raw()


class _Conversion(Struct, kw_only=True, gc=False):
    goalId: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    visitorId: str | None = None
    amount: Raw = _NOTHING
    integrationOrderId: str | None = None
    integrationSource: Annotated[str, Meta(max_length=MAX_SOURCE)] | None = None


_CONVERSION = Decoder(_Conversion)


def parse(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The one conversion of a body. Raises Invalid, naming the field."""
    sent = decode(_CONVERSION, body)
    order_id = sent.integrationOrderId or None
    event = RawEvent(
        name="conversion",
        dialect="velaro",
        dedup_space="velaro",
        goal_id=sent.goalId,
        amount=None if _is_blank(sent.amount) else amount(sent.amount, "amount"),
        order_id=order_id,
        session_id=sent.visitorId or None,
        source=sent.integrationSource or None,
    )
    if order_id is not None:
        event.dedup = f"{sent.goalId}\0{order_id}"
    return Parsed([event])


def _is_blank(sent: Raw) -> bool:
    """Whether the amount is text of nothing but white space, escaped white space too."""
    return bytes(sent).startswith(b'"') and not _TEXT.decode(sent).strip()


_TEXT = Decoder(str)


class _Recorded(Struct):
    success: bool
    conversionId: str
    duplicate: bool


class _Refused(Struct):
    success: bool
    error: str


_ENCODE = Encoder().encode


def answer(results: Sequence[Result], single: bool) -> Answer:
    """The conversion's id. An event that made none (a test's) is named by its own."""
    result = results[0]
    if isinstance(result, PostbackError):
        return refuse(result)
    id_ = str(UUID(bytes=result.conversion_id)) if result.conversion_id else result.event_id
    return Answer(200, _ENCODE(_Recorded(True, id_, result.duplicate)))


def refuse(error: PostbackError) -> Answer:
    """Every body that cannot be used is 400 here; the other errors have their own status."""
    status = 400 if isinstance(error, Invalid) else error.status
    return Answer(status, _ENCODE(_Refused(False, sentence(error, NAMES))))


DIALECT = Dialect(name="velaro", parse=parse, answer=answer, refuse=refuse)
