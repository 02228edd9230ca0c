"""Bodies in and out: read to the limit with the ingest's own reader, decoded strictly into the handler's struct, and
encoded with Decimals as JSON numbers; objects that are changed with a tag of their state.
"""

import hashlib
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from msgspec.json import Decoder
from msgspec.structs import replace

from postback.dialects import decode
from postback.web import wire
from postback.web.admin.hub import hub_of

T = TypeVar("T")
MAX_BYTES = 1_000_000
# In a handler's `opt`: a body that it takes, for /openapi.json.
EXAMPLE = "example"
JSON = frozenset({"application/json"})
_encode = msgspec.json.Encoder(decimal_format="number").encode


class StrictRequest(Request[Any, Any, State]):
    """A request whose body is decoded as what its handler's `data` is declared to be; absent: an empty object.

    Litestar's own way is lenient (the text "1" is a number) and does not name fields.
    """

    _sent: bytes | None = None

    async def body(self) -> bytes:
        if self._sent is None:
            hub = hub_of(self.scope)
            headers = wire.read_headers(self.scope["headers"])
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                wire.require_json(headers, JSON)
            limits = wire.Limits(hub.settings.slow_body_seconds, hub.settings.slow_body_bytes_per_second)
            self._sent = await wire.read_body(self.receive, headers, MAX_BYTES, limits) or b"{}"  # type: ignore[arg-type]
        return self._sent

    async def json(self) -> Any:
        field = self.route_handler.parsed_data_field
        assert field is not None, "only handlers with `data` read a body"
        return decode(_decoder(field.annotation), await self.body())


@cache
def _decoder(kind: Any) -> Decoder[Any]:
    return Decoder(kind)


class JsonResponse(Response[Any]):
    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        if isinstance(content, bytes):
            return content
        return b"" if content is None else _encode(content)


class Tagged(JsonResponse, Generic[T]):
    """An object of the configuration with its ETag. `like`: what the tag is of, where the answer shows more once."""

    def __init__(self, shown: T, *, like: T | None = None) -> None:
        super().__init__(shown, headers={"ETag": etag(shown if like is None else like)})


def etag(shown: Any) -> str:
    """Names the state of what is shown, without what changes by itself (`passing` of its class)."""
    if passing := getattr(shown, "passing", ()):
        shown = replace(shown, **dict.fromkeys(passing))
    return f'"{hashlib.sha256(_encode(shown)).hexdigest()[:32]}"'
