"""Operations from the signatures of Litestar's handlers: path, parameters, body, answer, and what can go wrong."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, ParameterKwarg
from litestar.routes import HTTPRoute

from postback.errors import (
    Conflict,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Stale,
    Unauthenticated,
    Unavailable,
)
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.openapi.schemas import BODY_STATUSES, MEANINGS, Refusal, Schema, Schemas, answer, refusals

ADMIN = "/v1/admin"
PAGES = "/app"
INJECTED = frozenset({"hub", "caller", "looking", "pulse", "gauges", "request", "return", "data"})
_STATUS_TEXT = {200: "Done.", 201: "Made.", 204: "Done; there is nothing to say."}


def paths(app: Litestar, schemas: Schemas) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path.startswith(PAGES):
            continue
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                operations = found.setdefault(route.path_format, {})
                operations[method.lower()] = _operation(route.path_format, method, handler, schemas)
    return found


def _operation(path: str, method: str, handler: HTTPRouteHandler, schemas: Schemas) -> Schema:
    hints = get_type_hints(handler.fn, include_extras=True)
    needs_key, refusal = path.startswith(ADMIN), schemas.of(Refusal)
    parameters = [
        _parameter(name, hint, path, handler, schemas) for name, hint in hints.items() if name not in INJECTED
    ]
    statuses = {MethodNotAllowed.status}
    if needs_key:
        statuses |= {Unauthenticated.status, Forbidden.status, Unavailable.status}
    if path == "/readyz":
        statuses.add(Unavailable.status)
    if any(parameter["in"] == "path" for parameter in parameters):
        statuses.add(NotFound.status)
    if any(parameter["in"] != "header" for parameter in parameters):
        statuses.add(Invalid.status)
    if any(parameter["in"] == "header" for parameter in parameters):
        statuses.add(Stale.status)
    if "data" in hints:
        statuses |= {*BODY_STATUSES}
    if any(word in path for word in ("/pause", "/probe")) or (needs_key and method not in ("GET", "HEAD")):
        statuses.add(Conflict.status)
    also: dict[int, Any] = handler.opt.get("also", {})
    operation: Schema = {
        "operationId": f"{handler.fn.__module__.rpartition('.')[2]}_{handler.fn.__name__}",
        "tags": ["admin" if needs_key else "operation"],
        "summary": handler.summary,
        "responses": {
            str(handler.status_code): _answer(handler, hints["return"], schemas),
            **{str(status): answer(schemas.of(kind), _STATUS_TEXT[status]) for status, kind in also.items()},
            **refusals(refusal, statuses),
        },
        "security": [{"key": []}] if needs_key else [],
    }
    if handler.fn.__doc__:
        operation["description"] = handler.fn.__doc__
    if parameters:
        operation["parameters"] = parameters
    if "data" in hints:
        body = _without_none(hints["data"])
        content: Schema = {"schema": schemas.of(body)}
        if EXAMPLE in handler.opt:
            content["example"] = handler.opt[EXAMPLE]
        operation["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(body)),
            "content": {"application/json": content},
        }
    return operation


def _answer(handler: HTTPRouteHandler, kind: Any, schemas: Schemas) -> Schema:
    description = _STATUS_TEXT.get(handler.status_code, MEANINGS.get(handler.status_code, ""))
    if kind in (None, NoneType):
        return {"description": description}
    if get_origin(kind) in (Union, UnionType):  # with a response of another status, which `also` describes
        (kind,) = (one for one in get_args(kind) if get_origin(one) is not Response)
    if get_origin(kind) is Response:
        declared = str(getattr(handler.media_type, "value", handler.media_type))
        media_type = declared if declared.startswith("text/") else "application/json"
        return answer(handler.opt.get("answer", {"type": "string"}), description, media_type)
    if get_origin(kind) is Tagged:
        return answer(schemas.of(get_args(kind)[0]), description, is_tagged=True)
    return answer(schemas.of(kind), description)


def _parameter(name: str, hint: Any, path: str, handler: HTTPRouteHandler, schemas: Schemas) -> Schema:
    kwarg = next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, ParameterKwarg)), None)
    schema = schemas.of(_without_none(hint))
    shown: Schema = {"name": name, "in": "path", "required": True, "schema": schema}
    if f"{{{name}}}" in path:
        return shown
    place = "header" if isinstance(kwarg, HeaderParameter) else "query"
    shown |= {"name": (kwarg.name if kwarg else None) or name, "in": place, "required": False}
    default = handler.parsed_fn_signature.parameters[name].default
    if isinstance(default, int):
        schema["default"] = default
    if kwarg is not None:
        limits = {"minimum": kwarg.ge, "maximum": kwarg.le, "maxLength": kwarg.max_length}
        schema |= {word: limit for word, limit in limits.items() if limit is not None}
        schema |= kwarg.schema_extra or {}
        if kwarg.description:
            shown["description"] = kwarg.description
    return shown | {"schema": schema}


def _without_none(hint: Any) -> Any:
    """The plain type of a parameter: a query that lacks it has no null."""
    if get_origin(hint) is Annotated:
        return _without_none(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return kinds[0] if len(kinds) == 1 else hint
    return hint
