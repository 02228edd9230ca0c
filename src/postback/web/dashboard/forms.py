"""Forms: what they ask for, and the API's body that is made of what was typed."""

import re
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from msgspec import Struct
from msgspec.json import Decoder

from postback import dialects
from postback.errors import Invalid, Rejected, Stale, Unsupported
from postback.web import wire
from postback.web.admin.hub import Hub

MAX_BYTES = 200_000
TYPE = "application/x-www-form-urlencoded"


class Form(dict[str, str]):
    """Fields by name, as typed."""


class Field(Struct, frozen=True):
    """`kind`: text, email, password, secret, number, amount, list (comma between), lines, switch, select, json.

    `options`: value and text, of a select to choose from, of a text to search. `of`: the object that it belongs to,
    such as `config`. `is_set`: a secret that is kept unless another is typed.
    """

    name: str
    label: str
    kind: str = "text"
    help: str = ""
    required: bool = False
    options: list[tuple[str, str]] = []
    of: str | None = None
    advanced: bool = False
    is_set: bool = False
    placeholder: str = ""


async def read(request: Request[Any, Any, Any], hub: Hub) -> Form:
    """Raises Unsupported, Invalid, TooLarge, TimedOut."""
    headers = wire.read_headers(request.scope["headers"])
    if headers.get("content-type", TYPE).partition(";")[0].strip().lower() != TYPE:
        raise Unsupported("Forms are sent as application/x-www-form-urlencoded.")
    limits = wire.Limits(hub.settings.slow_body_seconds, hub.settings.slow_body_bytes_per_second)
    body = await wire.read_body(request.receive, headers, MAX_BYTES, limits)  # type: ignore[arg-type]
    try:
        form = Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=500))
    except ValueError:
        raise Invalid("The form cannot be read.") from None
    if name := next((name for name, text in form.items() if "\x00" in text), None):
        raise Invalid(f"{name} may not hold the character NUL.", field=name)
    return form


def decode(kind: type[Any], fields: list[Field], form: Form, *, patch: bool) -> Any:
    """What was typed, as the API's body. An empty optional field is left out, of a patch it is null.

    Raises Invalid as the API does, naming the field.
    """
    body: dict[str, Any] = {}
    for field in fields:
        held = body.setdefault(field.of, {}) if field.of else body
        text = form.get(field.name, "").strip() if field.kind != "password" else form.get(field.name, "")
        if field.kind == "switch":
            held[field.name] = bool(text)
        elif patch and field.name not in form:
            continue
        elif text:
            held[field.name] = _value(field, text)
        elif field.kind in ("list", "lines"):
            held[field.name] = []
        elif field.required:
            held[field.name] = ""
        elif patch and field.kind != "secret":
            held[field.name] = None
    return dialects.decode(_decoder(kind), msgspec.json.encode(body))


class Told(Struct, frozen=True):
    """A mistake in the words of a form. `label`: of the field that is wrong; empty where the form has no such field.
    `is_stale`: the thing was changed since the form was read."""

    message: str
    field: str | None
    label: str
    is_stale: bool


def told(problem: Rejected, fields: list[Field]) -> Told:
    """The API's field name, where its message begins with it, is said as the form's label."""
    bare = (problem.field or "").removeprefix("config.").partition("[")[0]
    label = next((field.label for field in fields if field.name == bare), "")
    named = re.compile(rf"(?:config\.)?{re.escape(bare)}(?:\[\d+\])?(?= )").match(problem.message) if label else None
    message = label + problem.message[named.end() :] if named else problem.message
    return Told(message, problem.field, label, isinstance(problem, Stale))


def _value(field: Field, text: str) -> Any:
    match field.kind:
        case "list" | "lines":
            parts = text.replace("\n", ",").split(",")
            return [part.strip() for part in parts if part.strip()]
        case "number":
            return int(text) if text.isdecimal() else text
        case "amount":
            try:
                number = Decimal(text)
            except InvalidOperation:
                raise Invalid(f"{field.label} must be a number, such as 99.00.", field=field.name) from None
            return msgspec.Raw(format(number, "f").encode()) if number.is_finite() else text
        case "json":
            try:
                return msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                raise Invalid(f"{field.label} is no JSON: {error}.", field=field.name) from None
        case _:
            return text


@cache
def _decoder(kind: type[Any]) -> Decoder[Any]:
    return Decoder(kind)
