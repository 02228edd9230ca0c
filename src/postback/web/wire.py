"""Bodies in, answers out. A body is read to its limit and no further; one that comes too slowly is given up.

ASGI 3.0; names of headers are lower-case bytes, as servers give them.
"""

import asyncio
import contextlib
import itertools
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog

from postback.errors import (
    Invalid,
    MethodNotAllowed,
    PostbackError,
    TimedOut,
    TooLarge,
    TooMany,
    Unavailable,
    Unsupported,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

log = structlog.get_logger()
_process = os.urandom(4).hex()
_numbers = itertools.count()
_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


LONGEST_PASSED_OVER_BYTES = 16_000_000
LONGEST_PASSED_OVER_SECONDS = 3


class Disconnected(Exception):
    """The client went away; nobody waits for an answer."""


class Limits(msgspec.Struct, frozen=True):
    """A body must be complete `seconds` after its head, and come at `bytes_per_second` at least."""

    seconds: float = 30
    bytes_per_second: int = 1024


def read_headers(sent: Iterable[Header]) -> dict[str, str]:
    """Those that ingest reads; the last of a name counts."""
    return {_READ[name]: value.decode("latin-1") for name, value in sent if name in _READ}


def cookies(sent: Iterable[Header]) -> str:
    """What `read_headers` leaves out, since hardly anyone asks."""
    return "; ".join(value.decode("latin-1") for name, value in sent if name == b"cookie")


_NAMES = (
    "authorization content-type content-length content-encoding idempotency-key origin user-agent x-forwarded-for "
    "x-forwarded-proto sec-fetch-mode"
)
_READ = {name.encode(): name for name in _NAMES.split()}


async def read_body(receive: Receive, headers: Mapping[str, str], max_bytes: int, limits: Limits) -> bytes:
    """The body, unpacked. Raises TooLarge before reading on, TimedOut, Invalid, Unsupported, Disconnected."""
    encoding = headers.get("content-encoding", "identity")
    if encoding not in ("identity", "gzip"):
        raise Unsupported(f"A body may be sent plain or gzipped, not as {encoding[:40]}.")
    if int(headers.get("content-length") or 0) > max_bytes:
        raise _too_large(max_bytes)
    message = await _first(receive, limits)
    body = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(receive, body, max_bytes, limits)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return _unpack(body, max_bytes) if encoding == "gzip" else body


async def _first(receive: Receive, limits: Limits) -> dict[str, Any]:
    # Most bodies came with their head. Uvicorn knows (`more_body` of its cycle); then there is nothing to time.
    if getattr(getattr(receive, "__self__", None), "more_body", True):
        try:
            async with asyncio.timeout(limits.seconds):
                message = await receive()
        except TimeoutError:
            raise _too_slow(limits) from None
    else:
        message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message


async def _rest(receive: Receive, body: bytes, max_bytes: int, limits: Limits) -> bytes:
    began = time.monotonic()
    parts, size, more = [body], len(body), True
    try:
        async with asyncio.timeout(limits.seconds) as timer:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                # The next part must come before the pace so far falls below the limit; at first there is some grace.
                pace = began + 5 + size / limits.bytes_per_second
                loop_offset = asyncio.get_running_loop().time() - time.monotonic()
                timer.reschedule(min(began + limits.seconds, pace) + loop_offset)
    except TimeoutError:
        raise _too_slow(limits) from None
    return b"".join(parts)


def _unpack(body: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise Invalid("The body is not valid gzip.", malformed=True) from None
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof:
        raise Invalid("The gzipped body ends too early.", malformed=True)
    if unpacker.unused_data:
        raise Invalid("The gzipped body has more than one part; send one.", malformed=True)
    return plain


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes:,} bytes; send fewer events at once.")


def _too_slow(limits: Limits) -> TimedOut:
    return TimedOut(
        f"The body must be complete within {limits.seconds:g} seconds, at {limits.bytes_per_second} bytes a second."
    )


def require_json(headers: Mapping[str, str], allowed: frozenset[str]) -> None:
    kind = headers.get("content-type")
    if kind is not None and kind.partition(";")[0].strip().lower() not in allowed:
        raise Unsupported(f"The body must be {' or '.join(sorted(allowed))}; set Content-Type.")


def new_request_id() -> str:
    return f"{_process}{next(_numbers):08x}"


def message(status: int, body: bytes, extra: Sequence[Header] = ()) -> bytes:
    """A whole answer as it goes over the wire."""
    head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (_HEADS[status], len(body), new_request_id().encode())
    if extra:
        head += b"".join([b"%b: %b\r\n" % header for header in extra])
    return b"%b\r\n%b" % (head, body)


_HEADS = {
    status.value: b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


async def answer(
    send: Send, status: int, body: bytes, extra: tuple[Header, ...] = (), *, unread: Receive | None = None
) -> None:
    """Answer; `unread`: of a request whose body is still coming, before its connection is closed."""
    headers = [
        _JSON,
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", new_request_id().encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if unread is not None:
        # Closing on a client that is still sending would take the answer away from it: what comes is passed over.
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await _pass_over(unread)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def _pass_over(receive: Receive) -> None:
    left = LONGEST_PASSED_OVER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_PASSED_OVER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def extra_headers(error: PostbackError) -> tuple[Header, ...]:
    """What an error's answer carries besides its body."""
    if isinstance(error, TooMany | Unavailable):
        seconds = b"%d" % error.retry_after_seconds
        after: tuple[Header, ...] = ((b"retry-after", seconds),)
        if isinstance(error, TooMany) and error.rate is not None:
            rate = b"%d" % error.rate
            after += (b"ratelimit-limit", rate), (b"ratelimit-remaining", b"0"), (b"ratelimit-reset", seconds)
        return after
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", error.allow.encode()),)
    if isinstance(error, TooLarge | TimedOut):
        return ((b"connection", b"close"),)
    return ()


def failed(path: str) -> bytes:
    """Our bug, inside an `except`: one line in the log with the id that the caller sees, nothing of the request."""
    error_id = new_request_id()
    log.exception("request failed", error_id=error_id, path=path)
    failure = PostbackError(f"Something went wrong here; nothing is known to be written. Error {error_id}.")
    return plain_error(failure)


def plain_error(error: PostbackError) -> bytes:
    """The shape of an error where no dialect has its own: that of the native and the admin API."""
    shown: dict[str, str] = {"code": error.code, "message": error.message}
    if field := getattr(error, "field", None):
        shown["field"] = field
    return _encode({"error": shown})
