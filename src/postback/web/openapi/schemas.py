"""Structs as JSON schemas, and the answers that many paths share."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from postback.dialects import Problem
from postback.errors import (
    Conflict,
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

Schema = dict[str, Any]
REF = "#/components/schemas/"
HEADERS = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
# What a status means, whatever the path.
MEANINGS = {
    400: "The body cannot be read.",
    Unauthenticated.status: "No key, a wrong one, a revoked one, or one of the other environment.",
    Forbidden.status: "A key that may not do this here.",
    NotFound.status: "There is no such thing in this workspace.",
    MethodNotAllowed.status: "The path takes another method, named in Allow.",
    TimedOut.status: "The body came too slowly.",
    Conflict.status: "Not in its present state.",
    TooLarge.status: "The body is too large.",
    Unsupported.status: "The body is not JSON, or packed in a way not known.",
    Invalid.status: "A field cannot be used; it is named.",
    TooMany.status: "Too many requests; Retry-After says when again.",
    Unavailable.status: "The database is away, or too much waits; nothing was written. Try again.",
}
BODY_STATUSES = (400, TimedOut.status, TooLarge.status, Unsupported.status, Invalid.status)


class Refusal(Struct):
    error: Problem


class Schemas:
    """Schemas of types, those of structs as named components."""

    def __init__(self) -> None:
        self._components: dict[str, Schema] = {}

    def of(self, kind: Any, prefix: str = "") -> Schema:
        """One type's schema; `prefix` tells structs of one name apart."""
        (schema,), components = msgspec.json.schema_components([kind], ref_template=f"{REF}{prefix}{{name}}")
        self._components |= {_name(f"{prefix}{name}"): _as_we_write(part) for name, part in components.items()}
        return _as_we_write(schema)

    def change(self, name: str, properties: Mapping[str, Schema]) -> None:
        """Say of some fields of a component what their type does not."""
        self._components[name]["properties"].update(properties)

    def components(self) -> dict[str, Schema]:
        return dict(sorted(self._components.items()))


def answer(schema: Schema, description: str, media_type: str = "application/json") -> Schema:
    return {"description": description, "headers": HEADERS, "content": {media_type: {"schema": schema}}}


def refusals(schema: Schema, statuses: Iterable[int]) -> dict[str, Schema]:
    """The answers of these statuses, all of one shape."""
    return {str(status): answer(schema, MEANINGS[status]) for status in sorted(statuses)}


def _as_we_write(value: Any) -> Any:
    """Decimals are written as numbers; names are those of `_name`."""
    if isinstance(value, dict):
        if value.get("format") == "decimal":
            return {**{k: v for k, v in value.items() if k not in ("type", "format")}, "type": "number"}
        return {
            key: REF + _name(inner.removeprefix(REF)) if key == "$ref" else _as_we_write(inner)
            for key, inner in value.items()
        }
    return [_as_we_write(inner) for inner in value] if isinstance(value, list) else value


def _name(name: str) -> str:
    """`Native_Event` is NativeEvent, `Page_KeyOut_` is KeyOutPage."""
    if name.startswith("Page_"):
        return name.removeprefix("Page_").rstrip("_") + "Page"
    return name.replace("_", "")
