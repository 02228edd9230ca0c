"""Bodies in and out: read to the limit with the ingest's own reader, decoded strictly into the handler's struct, and
encoded with Decimals as JSON numbers.
"""

from functools import cache
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from msgspec.json import Decoder

from postback.dialects import decode
from postback.web import wire
from postback.web.admin.hub import Hub

MAX_BYTES = 1_000_000
JSON = frozenset({"application/json"})
_encode = msgspec.json.Encoder(decimal_format="number").encode


class StrictRequest(Request[Any, Any, State]):
    """A request whose body is decoded as what its handler's `data` is declared to be; absent: an empty object.

    Litestar's own way is lenient (the text "1" is a number) and does not name fields.
    """

    _sent: bytes | None = None

    async def body(self) -> bytes:
        if self._sent is None:
            hub: Hub = self.app.state.hub
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
