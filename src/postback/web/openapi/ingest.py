"""Operations of the ingest paths, from the structs that the dialects decode and encode with.

Where a struct takes a field unread (`Raw`), what may stand there is said here.
"""

from typing import Any

from postback.dialects import convultra, native, roasproof
from postback.errors import (
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from postback.event import RawUser
from postback.web.ingest import EventStatus
from postback.web.openapi.schemas import MEANINGS, Refusal, Schema, Schemas, answer, refusals

NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
AMOUNT: Schema = {"type": ["number", "null"], "minimum": 0, "description": "Major units of the currency."}
ID: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": convultra.MAX_ID}
IDS = ("event_id", "order_id", "visitor_id", "session_id")
CHOICE: Schema = {"enum": [True, False, "granted", "denied", None]}
TIME: Schema = {"type": ["string", "null"], "format": "date-time", "description": "ISO 8601; without a zone: UTC."}
COMMON = (
    400,
    Unauthenticated.status,
    Forbidden.status,
    MethodNotAllowed.status,
    TimedOut.status,
    TooLarge.status,
    Unsupported.status,
    TooMany.status,
    Unavailable.status,
)
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
            **dict.fromkeys(IDS, ID),
        },
    )
    schemas.change("NativeItem", {"price": AMOUNT, "total": AMOUNT})
    schemas.change("NativeConsent", dict.fromkeys(("analytics", "ad_user_data", "ad_personalization"), CHOICE))
    many: Schema = {
        "type": "object",
        "properties": {"events": _list(one, native.MAX_EVENTS)},
        "required": ["events"],
    }
    result, results = schemas.of(native._Result, "Native"), schemas.of(native._Results, "Native")
    refusal = schemas.of(Refusal)
    body = _body({"anyOf": [one, many]}, {"one": _ORDER, "many": {"events": [_ORDER]}})
    body["content"]["application/x-ndjson"] = {"schema": {"type": "string", "description": "One event a line."}}
    return {
        **_head("events", "Events in Postback's own form: one, a list, or NDJSON"),
        "parameters": [
            {
                "name": "dry_run",
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
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
        **_head("event_status", "What became of an event"),
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
        **_head("roasproof_events", "An event in ROASproof's form"),
        "requestBody": _body(event, {"order": {**example, "custom_data": {"order_number": "1001"}}}),
        "responses": {
            "202": answer(schemas.of(roasproof._Receipt, "Roasproof"), "Written down for good."),
            **refusals(schemas.of(Refusal), (*COMMON, Invalid.status)),
        },
    }


def _track(schemas: Schemas) -> Schema:
    event = _convultra_event(schemas)
    return {
        **_head("track", "An event in Convultra's form", ["key", "key_in_query"]),
        "parameters": [_idempotency_key()],
        "requestBody": _body(event, {"order": _convultra_order()}),
        "responses": {
            "200": answer(schemas.of(convultra._Tracked, "Convultra"), "Written down for good."),
            **refusals(schemas.of(convultra._Refused, "Convultra"), COMMON),
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
        **_head("track_batch", "Up to 100 events in Convultra's form", ["key", "key_in_query"]),
        "parameters": [_idempotency_key()],
        "requestBody": _body(body, {"orders": {"events": [_convultra_order()]}}),
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
        "description": "A repeat with the same key is one event.",
    }


def _head(name: str, summary: str, keys: list[str] | None = None) -> Schema:
    return {
        "operationId": name,
        "tags": ["ingest"],
        "summary": summary,
        "security": [{key: []} for key in keys or ["key"]],
    }


def _body(schema: Schema, examples: dict[str, Any]) -> Schema:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}
