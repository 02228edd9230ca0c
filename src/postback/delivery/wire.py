"""HTTP/1.1 as the sender speaks it: one request at a time on a connection, connections kept for a few seconds.

Small on purpose. The library that we would use otherwise costs 80 us a request (aiohttp 3.14, measured), more than all
that a delivery needs besides; and here the address that was checked is plainly the one that is connected to. Answers
are parsed by llhttp, the parser of Node. No redirects, no cookies, no proxies, no compression.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import httptools
from msgspec import Struct
from yarl import URL

HEAD_BYTES_MAX = 65_536
# Node closes idle connections after 5 s: one that is used later may be gone when the request arrives.
IDLE_SECONDS = 4.0

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Unreached(Exception):
    """No connection came about: nothing was sent."""


class Broken(Exception):
    """The request was written, and no whole answer came."""


class Target(Struct, frozen=True):
    """Where a URL leads."""

    host: str
    port: int
    is_tls: bool
    head: str

    @staticmethod
    def of(method: str, url: URL) -> "Target":
        """Raises ValueError for a URL that leads nowhere."""
        if url.raw_host is None or url.port is None or url.scheme not in ("http", "https"):
            raise ValueError("no web address")
        head = f"{method} {url.raw_path_qs} HTTP/1.1\r\nhost: {url.host_port_subcomponent}\r\n"
        return Target(url.raw_host, url.port, url.scheme == "https", head)


class Answered(Struct, frozen=True):
    """`headers` have lower-case names; `body` is cut at the cap."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """`resolve` gives a host's addresses, checked. `timeout_seconds`: from the request to the end of its answer."""

    def __init__(
        self, resolve: Resolve, *, timeout_seconds: float, connect_seconds: float, body_bytes_max: int
    ) -> None:
        self._resolve = resolve
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = connect_seconds
        self._body_bytes_max = body_bytes_max
        self._idle: dict[tuple[str, int, bool], list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])

    async def ask(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send one request. Raises Unreached, Broken, and what `resolve` raises."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = f"{target.head}{lines}content-length: {len(body)}\r\n\r\n".encode() + body
        key = (target.host, target.port, target.is_tls)
        connection = self._kept(key) or await self._connect(target)
        try:
            answered = await connection.ask(request, self._timeout_seconds)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            connection.idle_since = time.monotonic()
            self._idle.setdefault(key, []).append(connection)
        else:
            connection.close()
        return answered

    async def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # lets transports end

    def _kept(self, key: tuple[str, int, bool]) -> "_Connection | None":
        """The connection that was used last, if one is still good; those behind it may go stale."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.is_reusable and time.monotonic() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self, target: Target) -> "_Connection":
        """Try a host's addresses in turn."""
        self._sweep()
        problem: Exception | None = None
        try:
            async with asyncio.timeout(self._connect_seconds):
                for address in await self._resolve(target.host, target.port):
                    try:
                        return await self._connect_to(address, target)
                    except ssl.SSLCertVerificationError:
                        problem = Unreached("the host's certificate is not valid")
                    except (ssl.SSLError, ConnectionResetError):
                        problem = Unreached("no TLS connection came about" if target.is_tls else "the connection broke")
                    except OSError:
                        problem = Unreached("the connection was refused")
        except TimeoutError:
            raise Unreached(f"no connection within {self._connect_seconds:g} s") from None
        raise problem or Unreached("the host's name was not found")

    async def _connect_to(self, address: str, target: Target) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(loop, self._body_bytes_max, self._open),
            address,
            target.port,
            ssl=self._tls if target.is_tls else None,
            server_hostname=target.host if target.is_tls else None,
        )
        return connection

    def _sweep(self) -> None:
        """Close connections that nobody will use again."""
        oldest = time.monotonic() - IDLE_SECONDS
        for key, idle in list(self._idle.items()):
            for connection in [c for c in idle if c.idle_since < oldest or not c.is_reusable]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[key]


class _Connection(asyncio.Protocol):
    """One connection; the callbacks `on_...` are the parser's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, body_bytes_max: int, register: "set[_Connection]") -> None:
        self._loop = loop
        self._body_bytes_max = body_bytes_max
        self._register = register
        self._answered: asyncio.Future[Answered] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._timeout_seconds = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._forget_answer()
        self.is_reusable = True
        self.idle_since = 0.0

    async def ask(self, request: bytes, timeout_seconds: float) -> Answered:
        self._forget_answer()
        self._answered = self._loop.create_future()
        self._deadline = self._loop.time() + timeout_seconds
        self._timeout_seconds = timeout_seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)
        self._transport.write(request)
        try:
            return await self._answered
        finally:
            self._answered = None

    def close(self) -> None:
        self.is_reusable = False
        self._register.discard(self)
        self._transport.abort()

    def _look_at_the_clock(self) -> None:
        """One timer for all requests of a connection: making one for each costs more than looking too early."""
        self._timer = None
        if self._answered is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)
        else:
            self._fail(f"no answer within {self._timeout_seconds:g} s")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._register.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        self._register.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._has_head and not self._has_length and exc is None:
            self._finish()  # an answer without a length ends with its connection
        self._fail("the connection broke before a whole answer came")

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self.close()  # nobody asked
            return
        if self._answered.done():
            self.is_reusable = False  # it may be taken for the next answer
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_reusable = False
            self._fail("the answer is not HTTP")
            return
        if not self._has_head:
            self._grow_head(len(data))  # a header that is not whole yet is held by the parser

    def _grow_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            self._fail("the head of the answer is too long")

    def on_message_begin(self) -> None:
        if self._has_head:
            self.is_reusable = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._has_head = True
            self._has_length = "content-length" in self._headers or "transfer-encoding" in self._headers

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes >= self._body_bytes_max:
            self.is_reusable = False  # what is left is not read
            self._finish()

    def on_message_complete(self) -> None:
        if not self._has_head:  # 1xx: the answer itself follows
            self._headers = {}
            return
        if not self._parser.should_keep_alive():
            self.is_reusable = False
        self._finish()

    def _finish(self) -> None:
        if self._answered is not None and not self._answered.done():
            body = b"".join(self._body)[: self._body_bytes_max]
            self._answered.set_result(Answered(self._parser.get_status_code(), dict(self._headers), body))

    def _fail(self, reason: str) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(Broken(reason))

    def _forget_answer(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._has_head = False
        self._has_length = False
