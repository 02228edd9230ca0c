"""HTTP on one connection: uvicorn's protocol, with bounds on a request's head, and a direct way for the usual post.

A post to an ingest path that came whole in one read needs no task, no ASGI messages and no event of its own: all those
that came in one round of the event loop are judged one after the other, which is quicker than each as it is read, and
answered when their commit is. `Ingest.take` says whether a request is such a one; any other goes the ASGI way, from its
beginning. Answers of one connection keep the order of its requests either way.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postback.dialects import Dialect, tag
from postback.errors import Unavailable
from postback.keys import ApiKey
from postback.web import collect, wire
from postback.web.app import App
from postback.web.ingest import ROUTES, Answering
from postback.web.wire import Header

log = structlog.get_logger()
HEAD_SECONDS = 30
HEAD_BYTES = 65_536
TURNED_AWAY_MAX = 100
TURNED_AWAY_SECONDS = 1
_NO_ROOM = Unavailable("All connections of this server are taken; try again in a second.")
_NO_ROOM_ANSWER = 503, wire.plain_error(_NO_ROOM), (*wire.extra_headers(_NO_ROOM), (b"connection", b"close"))
_DIRECT = {path.encode(): dialect for path, dialect in ROUTES.items()} | {collect.PATH.encode(): tag.DIALECT}


class Protocol(HttpToolsProtocol):
    app: App
    _head_open = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _idle_since: float | None = None
    _direct: Dialect | None = None
    _arrived: "tuple[Dialect, _Call, Any] | None" = None
    _body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        if len(self.connections) >= self.app.connections_max:
            transport.set_protocol(full := _Full(self.app))
            full.connection_made(transport)
            return
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._direct is not None:
            # The rest of the body is still to come.
            self._direct = None
            self._to_asgi()
            if self._body:
                super().on_body(self._body)
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)
            if self._head_bytes > HEAD_BYTES:
                self._give_up()

    def shutdown(self) -> None:
        """The server stops: streams, which would not end by themselves, do."""
        self.app.live.end()
        super().shutdown()

    def on_message_begin(self) -> None:
        self.take_arrived()
        self._head_open, self._head_bytes = True, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._head_open = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if (dialect := _DIRECT.get(self.url)) is not None and self._may_be_direct():
            self._direct, self._body = dialect, b""
        else:
            self._to_asgi()

    def _may_be_direct(self) -> bool:
        parser: Any = self.parser
        cycle: Any = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
        )

    def on_body(self, body: bytes) -> None:
        if self._direct is None:
            super().on_body(body)
        else:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        if (dialect := self._direct) is None:
            super().on_message_complete()
            return
        self._arrived, self._direct = (dialect, call := _Call(self, self.url.decode()), self.cycle), None
        self.cycle = call  # type: ignore[assignment]  # what uvicorn asks of a cycle, it has
        if not self.app.arrived:
            self.loop.call_soon(_take_all, self.app)
        self.app.arrived.append(self)

    def take_arrived(self) -> None:
        """Take the direct request that came whole and waits for its turn, if there is one."""
        if self._arrived is None:
            return
        (dialect, call, before), self._arrived = self._arrived, None
        try:
            is_taken = self._take(dialect, call.answer)
        except Exception:
            log.exception("request failed before it was written", path=call.path)
            is_taken = False
        if not is_taken:
            self.cycle = before
            self._to_asgi()
            if self._body:
                super().on_body(self._body)
            super().on_message_complete()
            # What became of it while it waited: the server stops, or the sender is gone.
            self.cycle.keep_alive, self.cycle.disconnected = call.keep_alive, call.disconnected

    def _take(self, dialect: Dialect, answer: Answering) -> bool:
        if dialect is tag.DIALECT:
            peer = self.client[0] if self.client else None
            return self.app.collect.take(self.headers, self._body, peer, self.scheme == "https", answer)
        return self.app.ingest.take(dialect, self.headers, self._body, answer)

    def _to_asgi(self) -> None:
        """Begin the request anew, as uvicorn knows it."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        # One timer a connection, not one a request: when it fires it looks since when there was nothing to do.
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def _give_up(self) -> None:
        if self._head_open and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()


def _take_all(app: App) -> None:
    arrived, app.arrived = app.arrived, []
    for protocol in arrived:
        try:
            protocol.take_arrived()
        except Exception:  # one that cannot be taken harms no other
            log.exception("request failed before it was answered")
            protocol.transport.close()


class _Full(asyncio.Protocol):
    """A connection that is one too many: what it asks is answered with 503, and it is closed within a second; at once,
    where many such are open."""

    _is_answered = False

    def __init__(self, app: App) -> None:
        self._app = app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._app.turned_away += 1
        self._timer = asyncio.get_running_loop().call_later(TURNED_AWAY_SECONDS, transport.abort)
        if self._app.turned_away > TURNED_AWAY_MAX:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        # What is still to come is passed over: closing on a client that sends would take the answer away from it.
        if not self._transport.is_closing() and not self._is_answered:
            self._is_answered = True
            self._app.requests["other", 503] += 1
            self._transport.write(wire.message(*_NO_ROOM_ANSWER))
            self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._app.turned_away -= 1


class _Nobody:
    def set(self) -> None:
        """Nobody waits."""


class _Call:
    """A direct request under way; stands where uvicorn keeps a cycle, so that what comes after it waits."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "path", "response_complete")
    message_event = _Nobody()

    def __init__(self, protocol: Protocol, path: str) -> None:
        self._protocol = protocol
        self.path = path
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    def answer(self, status: int, body: bytes, extra: Sequence[Header], key: ApiKey | None) -> None:
        protocol = self._protocol
        self.response_complete = True
        protocol.app.requests[self.path, status] += 1
        if key is not None:
            protocol.app.calls.count(key, status, protocol.client[0] if protocol.client else None)
        transport = protocol.transport
        if self.disconnected or transport.is_closing():
            return
        if not self.keep_alive:
            extra = (*extra, (b"connection", b"close"))
        transport.write(wire.message(status, body, extra))
        if not self.keep_alive:
            transport.close()
        protocol.on_response_complete()
