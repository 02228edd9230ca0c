"""Operations of Segment's paths. What a message says beside its order is described loosely: each kind reads its own."""

from typing import Any

from postback.dialects import segment
from postback.web.openapi.schemas import (
    AMOUNT,
    COMMON,
    ID,
    NAME,
    TIME,
    Schema,
    Schemas,
    answer,
    body_of,
    head,
    refusals,
)

EXAMPLES: dict[str, dict[str, Any]] = {
    "track": {
        "event": "Order Completed",
        "userId": "user-1",
        "messageId": "order-1001",
        "properties": {"order_id": "1001", "revenue": 129.9, "currency": "EUR"},
    },
    "page": {"anonymousId": "a-1", "name": "Home", "properties": {"url": "https://shop.example/"}},
    "screen": {"anonymousId": "a-1", "name": "Cart"},
    "identify": {"userId": "user-1", "anonymousId": "a-1", "traits": {"email": "jane@example.com"}},
    "group": {"userId": "user-1", "groupId": "g-1", "traits": {"plan": "pro"}},
    "alias": {"previousId": "a-1", "userId": "user-1"},
}
KEYS = ["key", "key_as_user"]
WITH_PROPERTIES = ("track", "page", "screen")


def paths(schemas: Schemas) -> dict[str, Schema]:
    """All but `/v1/track`, which Convultra shares."""
    kinds = {f"/v1/{kind}": {"post": _one(schemas, kind)} for kind in segment.KINDS if kind != "track"}
    return kinds | {"/v1/batch": {"post": _batch(schemas)}}


def message_of(schemas: Schemas, kind: str) -> Schema:
    """A message of a kind, without its type."""
    message = schemas.of(segment._Message, "Segment")
    ids = {"anyOf": [ID, {"type": "integer"}]}
    schemas.change("SegmentMessage", {"messageId": ID, "anonymousId": ids, "timestamp": TIME, "properties": {}})
    if kind not in WITH_PROPERTIES:
        return message
    text: Schema = {"type": "string", "description": "Plain decimal text, such as 249.00."}
    properties: Schema = {
        "type": ["object", "null"],
        "description": "Order, lines and money go to their own places, the rest is forwarded.",
        "properties": {
            "order_id": {"type": ["string", "integer", "null"]},
            "revenue": {"anyOf": [AMOUNT, text], "description": "Major units; else `total` of an order, else `value`."},
            "currency": {"type": ["string", "null"]},
            "products": {"type": ["array", "null"], "maxItems": 1000},
        },
    }
    own: dict[str, Schema] = {"properties": properties} | ({"event": NAME} if kind == "track" else {})
    required = ["event"] if kind == "track" else []
    return {"allOf": [message, {"type": "object", "properties": own, "required": required}]}


def taken(schemas: Schemas) -> Schema:
    return schemas.of(segment._Taken, "Segment")


def refused(schemas: Schemas) -> Schema:
    return schemas.of(segment._Refused, "Segment")


def _one(schemas: Schemas, kind: str) -> Schema:
    article = "An" if kind[0] in "ai" else "A"
    return {
        **head(f"segment_{kind}", f"{article} {kind} call in Segment's form", KEYS),
        "requestBody": body_of(message_of(schemas, kind), {kind: EXAMPLES[kind]}),
        "responses": {
            "200": answer(taken(schemas), "Written down for good."),
            **refusals(refused(schemas), COMMON),
        },
    }


def _batch(schemas: Schemas) -> Schema:
    anything: Schema = {"description": "What cannot be used is answered as rejected, alone."}
    message: Schema = {"anyOf": [message_of(schemas, "identify"), anything]}
    body: Schema = {
        "type": "object",
        "properties": {"batch": {"type": "array", "items": message, "maxItems": segment.MAX_EVENTS}},
        "required": ["batch"],
    }
    messages = [{"type": kind, **example} for kind, example in EXAMPLES.items()]
    return {
        **head("segment_batch", f"Up to {segment.MAX_EVENTS} calls in Segment's form", KEYS),
        "requestBody": body_of(body, {"one of each": {"batch": messages}}),
        "responses": {
            "200": answer(taken(schemas), "Written down for good, but for what is rejected."),
            **refusals(refused(schemas), COMMON),
        },
    }
