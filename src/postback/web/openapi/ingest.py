"""Operations of the ingest paths, from the structs that the dialects decode and encode with.

Where a struct takes a field unread (`Raw`), what may stand there is said here.
"""

from postback.dialects import convultra, native, roasproof, selektable, velaro
from postback.errors import (
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from postback.event import PURPOSES, RawUser
from postback.web.openapi import segment
from postback.web.openapi.schemas import (
    AMOUNT,
    COMMON,
    ID,
    MEANINGS,
    NAME,
    TIME,
    Refusal,
    Schema,
    Schemas,
    answer,
    body_of,
    head,
    refusals,
)
from postback.web.status import EventStatus

IDS = ("event_id", "order_id", "visitor_id", "session_id")
CHOICE: Schema = {"enum": [True, False, "granted", "denied", None]}
_ORDER: Schema = {
    "event": "purchase",
    "event_id": "order-1001",
    "value": 129.9,
    "currency": "EUR",
    "order_id": "1001",
    "user_data": {"email": "jane@example.com"},
}


def paths(schemas: Schemas) -> dict[str, Schema]:
    return {
        "/v1/events": {"post": _native(schemas)},
        "/v1/events/{event_id}": {"get": _status(schemas)},
        "/api/v1/events": {"post": _roasproof(schemas)},
        "/api/webhooks/orders": {"post": _selektable(schemas)},
        "/Conversions/record": {"post": _velaro(schemas)},
        "/v1/track": {"post": _track(schemas)},
        "/v1/track/batch": {"post": _batch(schemas)},
    }


def _native(schemas: Schemas) -> Schema:
    one = schemas.of(native._Event, "Native")
    schemas.change(
        "NativeEvent",
        {
            "event": NAME,
            "value": AMOUNT,
            "occurred_at": TIME,
            "order_status": {"enum": [*native.ORDER_STATUSES, None]},
            "consent": {
                "type": ["object", "null"],
                "properties": dict.fromkeys(PURPOSES, CHOICE),
                "additionalProperties": False,
            },
            **dict.fromkeys(IDS, ID),
        },
    )
    schemas.change("NativeItem", {"price": AMOUNT, "total": AMOUNT})
    many: Schema = {
        "type": "object",
        "properties": {"events": _list(one, native.MAX_EVENTS)},
        "required": ["events"],
    }
    result, results = schemas.of(native._Result, "Native"), schemas.of(native._Results, "Native")
    refusal = schemas.of(Refusal)
    body = body_of({"anyOf": [one, many]}, {"one": _ORDER, "many": {"events": [_ORDER]}})
    body["content"]["application/x-ndjson"] = {"schema": {"type": "string", "description": "One event a line."}}
    return {
        **head("events", "Events in Postback's own form: one, a list, or NDJSON"),
        "parameters": [
            {
                "name": "dry_run",
                "in": "query",
                "required": False,
                "schema": {"enum": ["1", "true", "yes", "0", "false", "no"]},
                "description": "`1`, `true` or `yes`: store nothing, and show the request to each destination.",
            }
        ],
        "requestBody": body,
        "responses": {
            "202": answer({"anyOf": [result, results]}, "Written down for good; a list has a result for each event."),
            **refusals(refusal, COMMON),
            "422": answer({"anyOf": [result, refusal]}, MEANINGS[Invalid.status]),
        },
    }


def _status(schemas: Schemas) -> Schema:
    statuses = (
        Unauthenticated.status,
        Forbidden.status,
        NotFound.status,
        MethodNotAllowed.status,
        Unavailable.status,
    )
    return {
        **head("event_status", "What became of an event"),
        "parameters": [
            {
                "name": "event_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
                "description": "The sender's id, percent-encoded, or the one that we answered.",
            },
            {
                "name": "event",
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                "description": "The event's name, where one id bears several.",
            },
        ],
        "responses": {
            "200": answer(schemas.of(EventStatus), "The event and its deliveries."),
            **refusals(schemas.of(Refusal), statuses),
        },
    }


def _roasproof(schemas: Schemas) -> Schema:
    event = schemas.of(roasproof._Event, "Roasproof")
    user: Schema = {
        "anyOf": [{"allOf": [schemas.of(RawUser), schemas.of(roasproof._Keys, "Roasproof")]}, {"type": "null"}]
    }
    names = {"type": "string", "enum": sorted(roasproof.STANDARD_EVENTS)}
    schemas.change("RoasproofKeys", {"visitor_id": ID})
    own: dict[str, Schema] = {"event": names, "event_id": ID, "occurred_at": TIME, "value": AMOUNT, "user_data": user}
    schemas.change("RoasproofEvent", own)
    example = {name: value for name, value in _ORDER.items() if name != "order_id"}
    return {
        **head("roasproof_events", "An event in ROASproof's form"),
        "requestBody": body_of(event, {"order": {**example, "custom_data": {"order_number": "1001"}}}),
        "responses": {
            "202": answer(schemas.of(roasproof._Receipt, "Roasproof"), "Written down for good."),
            **refusals(schemas.of(Refusal), (*COMMON, Invalid.status)),
        },
    }


def _velaro(schemas: Schemas) -> Schema:
    body = schemas.of(velaro._Conversion, "Velaro")
    blank: Schema = {"type": "string", "description": "Nothing but white space: the goal's own value."}
    own = {"amount": {"anyOf": [AMOUNT, blank]}}
    schemas.change("VelaroConversion", own)
    return {
        **head("velaro_record", "A conversion of a goal in Velaro's form"),
        "requestBody": body_of(body, {"order": {"goalId": 123, "amount": 129.9, "integrationOrderId": "1001"}}),
        "responses": {
            "200": answer(schemas.of(velaro._Recorded, "Velaro"), "Written down for good."),
            **refusals(schemas.of(velaro._Refused, "Velaro"), COMMON),
        },
    }


def _selektable(schemas: Schemas) -> Schema:
    body = schemas.of(selektable._Order, "Selektable")
    own: dict[str, Schema] = {
        "platform": {"const": selektable.PLATFORM},
        "status": {"enum": [*selektable.STATUSES]},
        "orderCreatedAt": {**TIME, "type": "string"},
    }
    schemas.change("SelektableOrder", own)
    line = {"productId": "sku-1", "quantity": 1, "priceCents": 12990, "totalCents": 12990}
    ids = {"orderId": "1001", "storeId": "SITE_KEY", "organizationId": "ORGANIZATION_ID"}
    order = ids | {"visitorId": "v_1", "sessionId": "s_1", "totalCents": 12990, "currency": "EUR", "items": [line]}
    order |= {"platform": "custom", "status": "completed", "orderCreatedAt": "2026-07-03T09:41:00Z"}
    return {
        **head("selektable_orders", "An order at one of its statuses in Selektable's form"),
        "requestBody": body_of(body, {"order": order}),
        "responses": {
            "200": answer(schemas.of(selektable._Taken, "Selektable"), "Written down for good."),
            **refusals(schemas.of(selektable._Refused, "Selektable"), COMMON),
        },
    }


def _track(schemas: Schemas) -> Schema:
    """Convultra's and Segment's: which it is, is told by `event_type`."""
    event, message = _convultra_event(schemas), segment.message_of(schemas, "track")
    tracked, refused = schemas.of(convultra._Tracked, "Convultra"), schemas.of(convultra._Refused, "Convultra")
    return {
        **head("track", "An event in Convultra's form, or in Segment's", ["key", "key_in_query", "key_as_user"]),
        "parameters": [{**_idempotency_key(), "schema": {"type": "string"}}],
        "requestBody": body_of(
            {"anyOf": [event, message]}, {"order": _convultra_order(), "segment": segment.EXAMPLES["track"]}
        ),
        "responses": {
            "200": answer({"anyOf": [tracked, segment.taken(schemas)]}, "Written down for good."),
            **refusals({"anyOf": [refused, segment.refused(schemas)]}, COMMON),
        },
    }


def _batch(schemas: Schemas) -> Schema:
    events = _list(_convultra_event(schemas), convultra.MAX_EVENTS)
    body: Schema = {"type": "object", "properties": {"events": events}, "required": ["events"]}
    tracked, refused = schemas.of(convultra._Tracked, "Convultra"), schemas.of(convultra._Refused, "Convultra")
    results: Schema = {
        "type": "object",
        "properties": {
            "success": {"type": "boolean"},
            "results": {"type": "array", "items": {"anyOf": [tracked, refused]}},
        },
        "required": ["success", "results"],
    }
    return {
        **head("track_batch", "Up to 100 events in Convultra's form", ["key", "key_in_query"]),
        "parameters": [_idempotency_key()],
        "requestBody": body_of(body, {"orders": {"events": [_convultra_order()]}}),
        "responses": {
            "200": answer(results, "A result for each event, in order."),
            **refusals(refused, COMMON),
        },
    }


def _list(event: Schema, most: int) -> Schema:
    """A list is taken whatever its items are: each has a result of its own."""
    other: Schema = {"description": "Anything else is answered as invalid, alone."}
    return {"type": "array", "items": {"anyOf": [event, other]}, "minItems": 1, "maxItems": most}


def _convultra_event(schemas: Schemas) -> Schema:
    event = schemas.of(convultra._Event, "Convultra")
    properties: Schema = {
        "type": ["object", "null"],
        "description": "order_id, value, currency and items go to their own places, the rest is forwarded.",
        "properties": {
            "order_id": ID,
            "value": AMOUNT,
            "currency": {"type": ["string", "null"]},
            "items": {"type": ["array", "null"]},
        },
    }
    own: dict[str, Schema] = {"event_type": NAME, "timestamp": TIME, "session_id": ID}
    schemas.change("ConvultraEvent", {**own, "properties": properties})
    schemas.change("ConvultraContext", {"session_id": ID})
    return event


def _convultra_order() -> Schema:
    return {"event_type": "purchase", "properties": {"order_id": "1001", "value": 129.9, "currency": "EUR"}}


def _idempotency_key() -> Schema:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": convultra.MAX_ID},
        "description": f"1 to {convultra.MAX_ID} characters: a repeat with the same key is one event of Convultra's.",
    }
