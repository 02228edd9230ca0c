"""`/tag.js`: the browser tag, built from `tag/` and kept in `static/`. Any site may load it, by any path that is
proxied here; caches ask again after ten minutes, and are told by ETag that nothing moved.
"""

import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get

CACHE_SECONDS = 600


@get("/tag.js", summary="The browser tag", media_type="text/javascript", opt={"answer": {"type": "string"}})
async def read(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Gzipped where the browser takes that; 304 where it has it already."""
    plain, packed, etag = _script()
    headers = {
        "Cache-Control": f"public, max-age={CACHE_SECONDS}",
        "ETag": etag,
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    is_packed = "gzip" in request.headers.get("accept-encoding", "")
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    return Response(packed if is_packed else plain, media_type="text/javascript; charset=utf-8", headers=headers)


@cache
def _script() -> tuple[bytes, bytes, str]:
    """The script, the same gzipped, and its ETag: weak, for it names both."""
    plain = files("postback.web").joinpath("static", "tag.js").read_bytes()
    return plain, gzip.compress(plain, 9, mtime=0), f'W/"{sha256(plain).hexdigest()[:16]}"'


HANDLERS = [read]
