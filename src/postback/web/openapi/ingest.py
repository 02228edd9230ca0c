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

AMOUNT: Schema = {"type": ["number", "null"], "minimum": 0, "description": "Major units of the currency."}
FREE: Schema = {"type": ["object", "null"]}
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
    schemas.change("NativeEvent", {"value": AMOUNT, "event": {"type": "string", "minLength": 1, "maxLength": 100}})
    schemas.change("NativeItem", {"price": AMOUNT, "total": AMOUNT})
    many: Schema = {
        "type": "object",
        "properties": {"events": {"type": "array", "items": one, "minItems": 1, "maxItems": native.MAX_EVENTS}},
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
                "schema": {"type": "string", "enum": ["0", "1"]},
                "description": "1: store nothing, and show the request to each destination.",
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
    schemas.change("RoasproofEvent", {"event": names, "value": AMOUNT, "user_data": user})
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
    events: Schema = {
        "type": "array",
        "items": _convultra_event(schemas),
        "minItems": 1,
        "maxItems": convultra.MAX_EVENTS,
    }
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


def _convultra_event(schemas: Schemas) -> Schema:
    event = schemas.of(convultra._Event, "Convultra")
    properties: Schema = {
        "type": ["object", "null"],
        "description": "order_id, value, currency and items go to their own places, the rest is forwarded.",
        "properties": {
            "order_id": {"type": ["string", "null"]},
            "value": AMOUNT,
            "currency": {"type": ["string", "null"]},
            "items": {"type": ["array", "null"]},
        },
    }
    schemas.change("ConvultraEvent", {"properties": properties})
    return event


def _convultra_order() -> Schema:
    return {"event_type": "purchase", "properties": {"order_id": "1001", "value": 129.9, "currency": "EUR"}}


def _idempotency_key() -> Schema:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": convultra.MAX_ID, "pattern": "^[!-~]+$"},
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
