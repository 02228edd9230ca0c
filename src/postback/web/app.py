"""The ASGI application of one process: ingest paths to `ingest`, health and metrics here, all else to the admin API."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from postback.errors import Unavailable
from postback.web import wire
from postback.web.ingest import ROUTES, STATUS_PREFIX, Ingest
from postback.web.wire import Disconnected, Receive, Scope, Send

log = structlog.get_logger()
Application = Callable[[Any, Any, Any], Awaitable[None]]


class App:
    """`admin` answers whatever has no path here. `requests` counts answers by path and status, for /metrics."""

    admin: Application

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self.requests: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        try:
            if (dialect := ROUTES.get(path)) is not None:
                self.requests[path, await self._ingest.post(dialect, scope, receive, send)] += 1
            elif path.startswith(STATUS_PREFIX):
                self.requests[STATUS_PREFIX, await self._ingest.status(scope, send)] += 1
            else:
                await self.admin(scope, receive, send)
        except Disconnected:
            return
        except Exception:
            # Our bug: one line with the id that the caller sees, nothing of the request itself.
            error_id = wire.new_request_id()
            log.exception("request failed", error_id=error_id, path=path if path in ROUTES else "other")
            failure = Unavailable(f"Something went wrong here; nothing is known to be written. Error {error_id}.")
            failure.status, failure.code = 500, "internal_error"
            await wire.answer(send, 500, wire.plain_error(failure))
            self.requests[path if path in ROUTES else "other", 500] += 1
