"""Selektable's order webhook: `POST /api/webhooks/orders`, one order, or one lead, at one of its statuses.

Answers 200 `{"success": true}`; errors are `{"success": false, "error": "<sentence naming the field>"}`, 400 for
whatever of the body cannot be used. Every field of the document is required. `storeId` is a site's key,
`organizationId` the workspace's id: who knows both checks them.

`totalCents` and `priceCents` are minor units of the currency: 4000 is 40.00 EUR, 4000 JPY, 4.000 KWD. A post is
`purchase`; with a total of 0 and no items it is `lead`. Dedup: site, order id and status, so that each status of an
order counts once; intake adds the site. The time is that of the order: posts carry none of the status change.
Source: Selektable, Conversion tracking, read 2026-11-21; `contracts/README.md` 4.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder

from postback import money
from postback.dialects import Answer, Dialect, Parsed, Result, decode, items, moment, sentence
from postback.errors import Invalid, PostbackError
from postback.event import Item, RawEvent

PLATFORM = "custom"
STATUSES = ("pending", "processing", "on-hold", "completed", "refunded", "cancelled")
NAMES = {
    "event_id": "orderId",
    "order_id": "orderId",
    "order_status": "status",
    "site_key": "storeId",
    "organization_id": "organizationId",
    "visitor_id": "visitorId",
    "session_id": "sessionId",
    "occurred_at": "orderCreatedAt",
    "value": "totalCents",
}
_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_Minor = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Line(Struct, kw_only=True, gc=False):
    productId: _Id
    quantity: Annotated[int, Meta(ge=1, le=items.MAX_QUANTITY)]
    priceCents: _Minor
    totalCents: _Minor


class _Order(Struct, kw_only=True, gc=False):
    orderId: _Id
    storeId: _Id
    organizationId: _Id
    visitorId: _Id
    sessionId: _Id
    totalCents: _Minor
    currency: str
    platform: str
    status: str
    orderCreatedAt: str
    items: list[_Line]


_ORDER = Decoder(_Order)


def parse(body: bytes, headers: Mapping[str, str]) -> Parsed:
    """The one order of a body. Raises Invalid, naming the field."""
    sent = decode(_ORDER, body)
    if sent.platform != PLATFORM:
        raise Invalid(f'platform must be "{PLATFORM}".', field="platform")
    if sent.status not in STATUSES:
        raise Invalid(f"status must be one of {', '.join(STATUSES)}.", field="status")
    items.refuse_too_many(sent.items, "items")
    currency = money.currency(sent.currency)
    is_lead = not sent.totalCents and not sent.items
    event = RawEvent(
        name="lead" if is_lead else "purchase",
        dialect="selektable",
        event_id=sent.orderId,
        dedup_space="selektable",
        dedup=f"{sent.orderId}\0{sent.status}",
        occurred_at=moment(sent.orderCreatedAt, "orderCreatedAt"),
        amount=_major(sent.totalCents, currency),
        currency=currency,
        order_id=sent.orderId,
        order_status=sent.status,
        items=tuple([_item(line, currency) for line in sent.items]),
        site_key=sent.storeId,
        visitor_id=sent.visitorId,
        session_id=sent.sessionId,
    )
    event.organization_id = sent.organizationId
    event.notes = _doubts(sent)
    return Parsed([event])


def _item(line: _Line, currency: str) -> Item:
    return Item(
        product_id=line.productId,
        quantity=line.quantity,
        price=_major(line.priceCents, currency),
        total=_major(line.totalCents, currency),
    )


def _major(minor: int, currency: str) -> Decimal:
    return money.from_minor(minor, currency).amount


def _doubts(sent: _Order) -> list[str]:
    """What does not add up, the first of each kind. It is taken all the same: taxes and discounts have no field."""
    notes: list[str] = []
    if sent.items and sum(line.totalCents for line in sent.items) != sent.totalCents:
        notes.append("totalCents: is not the sum of the items")
    lines = list(enumerate(sent.items))
    wrong = next((index for index, line in lines if line.priceCents * line.quantity != line.totalCents), None)
    if wrong is not None:
        notes.append(f"items[{wrong}].totalCents: is not priceCents times quantity")
    first = {line.productId: index for index, line in reversed(lines)}
    again = next((index for index, line in lines if first[line.productId] != index), None)
    if again is not None:
        notes.append(f"items[{again}].productId: is that of items[{first[sent.items[again].productId]}] too")
    return notes


class _Taken(Struct):
    success: bool


class _Refused(Struct):
    success: bool
    error: str


_ENCODE = Encoder().encode
_TAKEN = _ENCODE(_Taken(True))


def answer(results: Sequence[Result], single: bool) -> Answer:
    """The same for a new order, for a new status of one, and for a repeat."""
    result = results[0]
    return refuse(result) if isinstance(result, PostbackError) else Answer(200, _TAKEN)


def refuse(error: PostbackError) -> Answer:
    """Every body that cannot be used is 400 here; the other errors have their own status."""
    status = 400 if isinstance(error, Invalid) else error.status
    return Answer(status, _ENCODE(_Refused(False, sentence(error, NAMES))))


DIALECT = Dialect(name="selektable", parse=parse, answer=answer, refuse=refuse)
