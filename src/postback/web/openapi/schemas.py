"""Structs as JSON schemas, and the answers that many paths share."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Raw, Struct

from postback.dialects import Problem
from postback.errors import (
    Conflict,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Stale,
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
TAG = {"ETag": {"$ref": "#/components/headers/ETag"}}
# What a status means, whatever the path.
MEANINGS = {
    400: "The body cannot be read.",
    Unauthenticated.status: "No key, a wrong one, a revoked one, or one of the other environment.",
    Forbidden.status: "A key that may not do this here.",
    NotFound.status: "There is no such thing in this workspace.",
    MethodNotAllowed.status: "The path takes another method, named in Allow.",
    TimedOut.status: "The body came too slowly.",
    Conflict.status: "Not in its present state.",
    Stale.status: "It has changed since the ETag that If-Match names; nothing was changed.",
    TooLarge.status: "The body is too large.",
    Unsupported.status: "The body is not JSON, or packed in a way not known.",
    Invalid.status: "A field cannot be used; it is named.",
    TooMany.status: "Too many requests; Retry-After says when again.",
    Unavailable.status: "The database is away, or too much waits; nothing was written. Try again.",
}
BODY_STATUSES = (400, TimedOut.status, TooLarge.status, Unsupported.status, Invalid.status)

NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
ID: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 256}
AMOUNT: Schema = {"type": ["number", "null"], "minimum": 0, "description": "Major units of the currency."}
TIME: Schema = {"type": ["string", "null"], "format": "date-time", "description": "ISO 8601; without a zone: UTC."}
# What any ingest path may answer.
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


class Refusal(Struct):
    error: Problem


class Schemas:
    """Schemas of types, those of structs as named components."""

    def __init__(self) -> None:
        self._components: dict[str, Schema] = {}

    def of(self, kind: Any, prefix: str = "") -> Schema:
        """One type's schema; `prefix` tells structs of one name apart."""
        (schema,), components = msgspec.json.schema_components([_plain(kind)], ref_template=f"{REF}{prefix}{{name}}")
        self._components |= {_name(f"{prefix}{name}"): _as_we_write(part) for name, part in components.items()}
        return _as_we_write(schema)

    def change(self, name: str, properties: Mapping[str, Schema]) -> None:
        """Say of some fields of a component what their type does not."""
        self._components[name]["properties"].update(properties)

    def components(self) -> dict[str, Schema]:
        return dict(sorted(self._components.items()))


def answer(
    schema: Schema, description: str, media_type: str = "application/json", *, is_tagged: bool = False
) -> Schema:
    headers = HEADERS | TAG if is_tagged else HEADERS
    return {"description": description, "headers": headers, "content": {media_type: {"schema": schema}}}


def refusals(schema: Schema, statuses: Iterable[int]) -> dict[str, Schema]:
    """The answers of these statuses, all of one shape."""
    return {str(status): answer(schema, MEANINGS[status]) for status in sorted(statuses)}


def head(name: str, summary: str, keys: list[str] | None = None) -> Schema:
    return {
        "operationId": name,
        "tags": ["ingest"],
        "summary": summary,
        "security": [{key: []} for key in keys or ["key"]],
    }


def body_of(schema: Schema, examples: dict[str, Any]) -> Schema:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _plain(kind: Any) -> Any:
    """The type with `Any` for `Raw`, of whose defaults msgspec makes no schema, and with times that have a zone."""
    if isinstance(kind, type) and issubclass(kind, Struct) and get_origin(kind) is None:
        return _twin(kind)
    if kind is Raw:
        return Any
    if kind is datetime:
        return Annotated[datetime, Meta(tz=True)]
    if not (parts := get_args(kind)) or get_origin(kind) is Literal:
        return kind
    plain = tuple(_plain(part) if not isinstance(part, Meta) else part for part in parts)
    if plain == parts:
        return kind
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return Union[plain]  # noqa: UP007  # of a tuple
    return Annotated[plain] if get_origin(kind) is Annotated else get_origin(kind)[plain]  # type: ignore[index]


@cache
def _twin(kind: type[Struct]) -> type[Struct]:
    hints = get_type_hints(kind, include_extras=True)
    plain = {name: _plain(hint) for name, hint in hints.items()}
    if plain == hints:
        return kind
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.required:
            fields.append((field.name, plain[field.name]))
        elif field.default_factory is not NODEFAULT:
            fields.append((field.name, plain[field.name], msgspec.field(default_factory=field.default_factory)))
        else:
            default = None if isinstance(field.default, Raw) else field.default
            fields.append((field.name, plain[field.name], msgspec.field(default=default)))
    config = kind.__struct_config__
    return msgspec.defstruct(
        kind.__name__,
        fields,
        kw_only=True,
        namespace={"__doc__": kind.__doc__},
        rename={field.name: field.encode_name for field in msgspec.structs.fields(kind)},
        tag_field=config.tag_field,
        tag=config.tag,
        forbid_unknown_fields=config.forbid_unknown_fields,
    )


def _as_we_write(value: Any) -> Any:
    """Decimals are written as numbers; names are those of `_name`, and stand nowhere else."""
    if isinstance(value, dict):
        if isinstance(value.get("title"), str) and "type" in value:
            value = {key: inner for key, inner in value.items() if key != "title"}
        if isinstance(text := value.get("description"), str):
            value = {**value, "description": " ".join(text.split())}
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
