"""The ASGI application of one process: ingest paths to `ingest`, all else to the admin API.

The usual post to an ingest path does not come by here: see `protocol`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from postback.web import collect, wire
from postback.web.calls import Calls
from postback.web.collect import Collect
from postback.web.ingest import ANY_CASE, ROUTES, STATUS_PREFIX, Ingest
from postback.web.live import Live
from postback.web.wire import Disconnected, Receive, Scope, Send

# Gives the status that it answered with; 0: none.
Application = Callable[[Any, Any, Any], Awaitable[int]]


class Arrived(Protocol):
    transport: Any

    def take_arrived(self) -> None: ...


class App:
    """`admin` answers whatever has no path here. `requests` counts answers by path and status, for /metrics; `calls`
    those of each key. `turned_away`: connections past `connections_max` that are still open. `arrived`: those whose
    requests came whole and are taken together."""

    admin: Application

    def __init__(self, ingest: Ingest, collect: Collect, calls: Calls, live: Live, connections_max: int) -> None:
        self.ingest = ingest
        self.collect = collect
        self.calls = calls
        self.live = live
        self.connections_max = connections_max
        self.turned_away = 0
        self.arrived: list[Arrived] = []
        self.requests: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        path = ANY_CASE.get(path.lower(), path)
        try:
            if (dialect := ROUTES.get(path)) is not None:
                status = await self.ingest.post(dialect, scope, receive, send)
                self.requests[path, status] += 1
            elif path == collect.PATH:
                status = await self.collect.post(scope, receive, send)
                self.requests[path, status] += 1
            elif path.startswith(STATUS_PREFIX):
                status = await self.ingest.status(scope, send)
                self.requests[STATUS_PREFIX, status] += 1
            else:
                status = await self.admin(scope, receive, send)
        except Disconnected:
            return
        except Exception:
            await wire.answer(send, 500, wire.failed(path if path in ROUTES or path == collect.PATH else "other"))
            status = 500
            self.requests[path if path in ROUTES or path == collect.PATH else "other", status] += 1
        self.calls.count_answer(scope, status)
