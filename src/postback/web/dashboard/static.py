"""What pages load: style, script, icons. Named by their content, so kept for ever; packed once."""

import gzip
from functools import cache
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from postback.errors import NotFound
from postback.web.dashboard.render import STATIC

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@get("/static/{name:str}", include_in_schema=False)
async def read(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    if (found := _files().get(name)) is None:
        raise NotFound("There is no such file.")
    kind, plain, packed = found
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type=kind, headers=headers | {"Content-Encoding": "gzip"})
    return Response(plain, media_type=kind, headers=headers)


@cache
def _files() -> dict[str, tuple[str, bytes, bytes]]:
    """Type, content, and the same packed, by name."""
    found: dict[str, tuple[str, bytes, bytes]] = {}
    for file in STATIC.iterdir():
        if file.suffix in TYPES:
            content = file.read_bytes()
            found[file.name] = TYPES[file.suffix], content, gzip.compress(content, 9, mtime=0)
    return found


HANDLERS = [read]
