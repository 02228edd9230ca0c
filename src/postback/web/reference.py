"""`/docs`: the API to read, one page of plain HTML that this server makes of /openapi.json. No script, nothing from
anywhere else, and a policy that says so.
"""

import shlex
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response, get
from litestar.enums import MediaType
from msgspec import Struct

from postback.web import openapi
from postback.web.openapi.schemas import REF, Schema

KEYS = {"ingest": "YOUR_KEY", "admin": "YOUR_ADMIN_KEY"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Type(Struct, frozen=True):
    """A type in words; `link`: the component that says more."""

    text: str
    link: str | None = None


class Field(Struct, frozen=True):
    """A field of a body, or a parameter; `place` of a parameter: path, query, header."""

    name: str
    type: Type
    is_required: bool
    description: str
    place: str = ""


class Answer(Struct, frozen=True):
    status: str
    description: str
    type: Type | None


class Operation(Struct, frozen=True):
    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body: Type | None
    fields: list[Field]
    answers: list[Answer]
    curl: str


class Group(Struct, frozen=True):
    name: str
    description: str
    operations: list[Operation]


class Component(Struct, frozen=True):
    name: str
    description: str
    fields: list[Field]


@get("/docs", summary="The API, to read", media_type=MediaType.HTML)
async def read(request: Request[Any, Any, Any]) -> Response[str]:
    """Made when it is first asked for."""
    state = request.app.state
    if "reference" not in state:
        state["reference"] = page(openapi.document(request.app))
    return Response(
        state["reference"], media_type=MediaType.HTML, headers=_HEADERS | {"Content-Security-Policy": policy()}
    )


def page(document: Schema) -> str:
    """The whole page of a description."""
    style, template = _parts()
    return template.render(
        style=style,
        title=document["info"]["title"],
        version=document["info"]["version"],
        summary=document["info"]["summary"],
        groups=groups(document),
        components=components(document),
    )


def policy() -> str:
    """What a browser may do with the page: show it in its own style."""
    digest = b64encode(sha256(_parts()[0].encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _parts() -> tuple[str, Any]:
    environment = Environment(
        loader=PackageLoader("postback.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader: Any = environment.loader
    return loader.get_source(environment, "reference.css")[0], environment.get_template("reference.html")


def groups(document: Schema) -> list[Group]:
    """Operations by tag, in the order of the tags, then of the paths."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append(_operation(document, path, method, operation))
    return [Group(tag["name"], tag["description"], found[tag["name"]]) for tag in document["tags"]]


def components(document: Schema) -> list[Component]:
    """Bodies that answers and fields refer to."""
    return [
        Component(name, schema.get("description", ""), _fields(schema))
        for name, schema in document["components"]["schemas"].items()
    ]


def _operation(document: Schema, path: str, method: str, operation: Schema) -> Operation:
    body: Schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    named = _component(document, body.get("schema", {}))
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=[
            Field(one["name"], type_of(one["schema"]), one["required"], one.get("description", ""), one["in"])
            for one in operation.get("parameters", [])
        ],
        body=type_of(body["schema"]) if body else None,
        fields=_fields(named),
        answers=[
            Answer(status, answer["description"], _answered(answer))
            for status, answer in sorted(operation["responses"].items())
        ],
        curl=_curl(path, method, operation, body),
    )


def _component(document: Schema, schema: Schema) -> Schema:
    """What a schema refers to, where it refers to one thing."""
    return document["components"]["schemas"][schema["$ref"].removeprefix(REF)] if "$ref" in schema else schema


def _answered(answer: Schema) -> Type | None:
    for content in answer.get("content", {}).values():
        return type_of(content["schema"])
    return None


def _fields(schema: Schema) -> list[Field]:
    required = schema.get("required", ())
    return [
        Field(name, type_of(inner), name in required, inner.get("description", ""))
        for name, inner in schema.get("properties", {}).items()
    ]


def type_of(schema: Schema) -> Type:
    """A schema in words."""
    if (ref := schema.get("$ref")) is not None:
        name = ref.removeprefix(REF)
        return Type(name, name)
    if parts := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        kinds = [type_of(part) for part in parts]
        texts = dict.fromkeys(kind.text for kind in kinds if kind.text)
        links = [kind.link for kind in kinds if kind.link]
        return Type(" or ".join(texts), links[0] if len(links) == 1 else None)
    if "enum" in schema:
        return Type(" | ".join(msgspec.json.encode(value).decode() for value in schema["enum"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return Type(" or ".join(kind))
    if kind == "array":
        inner = type_of(schema.get("items", {}))
        return Type(f"list of {inner.text}", inner.link)
    return Type(f"{kind}{_bounds(schema)}")


def _bounds(schema: Schema) -> str:
    """What of a plain type is allowed, in brackets."""
    said = [schema["format"]] if "format" in schema else []
    for least, most, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        if least in schema and most in schema:
            said.append(f"{schema[least]}–{schema[most]}{unit}")
        elif least in schema or most in schema:
            said.append(f"at {'least' if least in schema else 'most'} {schema.get(least, schema.get(most))}{unit}")
    if "default" in schema and schema["default"] is not None:
        said.append(f"default {msgspec.json.encode(schema['default']).decode()}")
    return f" ({', '.join(said)})" if said else ""


def _curl(path: str, method: str, operation: Schema, body: Schema) -> str:
    """A call with the first example of a body."""
    lines = [f'curl {"" if method == "get" else f"-X {method.upper()} "}"$POSTBACK{path}"']
    if operation["security"]:
        lines.append(f"-H 'Authorization: Bearer {KEYS[operation['tags'][0]]}'")
    examples = [one["value"] for one in body.get("examples", {}).values()] or [body.get("example")]
    if examples[0] is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(msgspec.json.encode(examples[0]).decode())}"]
    return " \\\n  ".join(lines)


HANDLERS = [read]
