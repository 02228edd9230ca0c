"""`/openapi.json`: OpenAPI 3.1 of every path, derived from what the code itself decodes and encodes with.

schemas    structs as JSON schemas
admin      operations from the signatures of Litestar's handlers
ingest     operations from the dialects' structs
segment    those of Segment's paths
collect    those of the browser tag
"""

from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

from postback import __version__
from postback.web.openapi import admin, collect, ingest, segment
from postback.web.openapi.schemas import Schemas


def document(app: Litestar) -> dict[str, Any]:
    """The whole description of an application."""
    schemas = Schemas()
    paths = ingest.paths(schemas) | segment.paths(schemas) | collect.paths(schemas) | admin.paths(app, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postback",
            "version": __version__,
            "summary": "Server-side conversions in, to every platform that should learn of them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "ingest", "description": "Events in, in each dialect. A key with the scope `ingest`."},
            {"name": "browser", "description": "What the browser tag calls, with a site's public key."},
            {"name": "admin", "description": "A key with the scope `admin`; for reading `read` is enough."},
            {"name": "operation", "description": "Health, figures, this page. Without a key."},
        ],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key of this installation."},
                "key_in_query": {"type": "apiKey", "in": "query", "name": "api_key"},
                "key_as_user": {"type": "http", "scheme": "basic", "description": "The key as user name, no password."},
            },
            "headers": {
                "X-Request-Id": {"schema": {"type": "string"}, "description": "Names this answer, for support."},
                "ETag": {"schema": {"type": "string"}, "description": "Names this state of the object, for If-Match."},
            },
        },
    }


@get("/openapi.json", summary="This description", opt={"answer": {"type": "object"}})
async def read(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Made when it is first asked for."""
    state = request.app.state
    if "openapi" not in state:
        state["openapi"] = msgspec.json.encode(document(request.app))
    return Response(state["openapi"], media_type="application/json")


HANDLERS = [read]
