"""The sender: the only code that touches the network. One HTTP client for all lanes.

It connects to addresses that it checked (see `addresses`), follows no redirect, keeps no cookie, uses no proxy, reads a
capped part of the answer, and puts secrets into a request at the last moment: percent-encoded in the URL, escaped in
JSON, as they are in a header. It never raises for what the network or a platform does: the answer says what happened,
and whether the platform may have read the request.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from msgspec import Struct
from yarl import URL

from postback import __version__
from postback.connectors import LONGEST_WAIT_SECONDS, Request, Response
from postback.delivery import addresses
from postback.delivery.addresses import Blocked, Resolver
from postback.secret import Secret

CONNECT_SECONDS = 5.0
# Node closes idle connections after 5 s: one that is reused later may be gone when the request arrives.
IDLE_SECONDS = 4.0
_DNS_SECONDS = 10
_URLS_MAX = 10_000
_STAND_IN = "pbsecret"
_STAND_IN_BYTES = _STAND_IN.encode()
_OUR_HEADERS = {
    "content-type": "application/json",
    "user-agent": f"Postback/{__version__}",
    "accept-encoding": "identity",  # a compressed answer would have no cap
}


class NotSent(Struct, frozen=True):
    """Nothing reached the platform: sending again is safe."""

    reason: str


class Unanswered(Struct, frozen=True):
    """The request was written and no whole answer came: the platform may have taken it."""

    reason: str


class Unsendable(Struct, frozen=True):
    """The destination's address may not be sent to, or its configuration makes no request."""

    reason: str
    fix: str


Answer = Response | NotSent | Unanswered | Unsendable


class Sender:
    """`resolver`: None for the system's, checked. Close it when done."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        response_bytes_max: int,
        allow_private: bool,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._bytes_max = response_bytes_max
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._urls: dict[str, URL] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver or Resolver(allow_private=allow_private),
                ttl_dns_cache=_DNS_SECONDS,
                limit=0,  # lanes bound their own
                keepalive_timeout=IDLE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds / 2)),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, request: Request, secrets: Sequence[Secret], content: bytes | None = None) -> Answer:
        """Send once. `content`: the request's, where it was encoded already."""
        try:
            url = self._url(request.url, secrets)
            headers = _headers(request.headers, secrets)
            body = _body(request, secrets, request.content() if content is None else content)
        except Blocked as blocked:
            return Unsendable(blocked.message, addresses.FIX)
        except ValueError:
            return Unsendable("The configuration makes no valid HTTP request.", "Check this destination's fields.")
        try:
            async with self._session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return self._gone_wrong(error)

    async def _read(self, response: aiohttp.ClientResponse) -> Response:
        parts: list[bytes] = []
        left = self._bytes_max
        stream = response.content
        while not stream.at_eof():
            parts.append(part := await stream.read(left))
            if (left := left - len(part)) <= 0:
                if not stream.at_eof():
                    response.close()  # what is left is not read
                break
        headers = {name.lower(): value for name, value in response.headers.items()}
        if "retry-after" in headers:
            headers["retry-after"] = _seconds(headers["retry-after"], time.time())
        return Response(response.status, headers, b"".join(parts))

    def _gone_wrong(self, error: Exception) -> Answer:
        if isinstance(error.__cause__, Blocked):
            return Unsendable(error.__cause__.message, addresses.FIX)
        match error:
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                return Unsendable("The address of this destination is no URL.", "Check its address.")
            case aiohttp.ClientConnectorDNSError():
                return NotSent("the host's name was not found")
            case aiohttp.ClientConnectorCertificateError():
                return NotSent("the host's certificate is not valid")
            case aiohttp.ClientSSLError():
                return NotSent("no TLS connection came about")
            case aiohttp.ClientConnectorError():
                return NotSent("the connection was refused")
            case aiohttp.ConnectionTimeoutError():
                return NotSent(f"no connection within {min(CONNECT_SECONDS, self._timeout_seconds / 2):g} s")
            case TimeoutError():
                return Unanswered(f"no answer within {self._timeout_seconds:g} s")
            case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientOSError():
                return Unanswered("the connection broke before an answer came")
            case aiohttp.ClientPayloadError():
                return Unanswered("the connection broke within the answer")
            case _:
                return Unanswered("the answer is not HTTP")

    def _url(self, text: str, secrets: Sequence[Secret]) -> URL:
        """Checked once for each text. Raises Blocked, ValueError."""
        if (url := self._urls.get(text)) is None:
            full = text
            if _STAND_IN in text:
                for secret in secrets:
                    full = full.replace(secret.stand_in, quote(secret.reveal(), safe=""))
            url = URL(full)
            if not self._allow_private:
                addresses.check(url)
            if len(self._urls) >= _URLS_MAX:
                self._urls.clear()
            self._urls[text] = url
        return url


def _headers(headers: dict[str, str], secrets: Sequence[Secret]) -> dict[str, str]:
    """Raises ValueError for a header that would break the request."""
    complete = _OUR_HEADERS | headers
    for name, value in headers.items():
        full = value
        if _STAND_IN in value:
            for secret in secrets:
                full = full.replace(secret.stand_in, secret.reveal())
            complete[name] = full
        if "\n" in full or "\r" in full or "\0" in full:
            raise ValueError(name)
    return complete


def _body(request: Request, secrets: Sequence[Secret], content: bytes) -> bytes:
    if request.body is None and _STAND_IN_BYTES in content:
        for secret in secrets:
            escaped = msgspec.json.encode(secret.reveal())[1:-1]
            content = content.replace(secret.stand_in.encode(), escaped)
    return content


def _seconds(retry_after: str, now: float) -> str:
    """Retry-After as seconds, at most a day; an HTTP date is measured from `now`."""
    try:
        return str(min(max(0.0, float(retry_after)), LONGEST_WAIT_SECONDS))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError, OverflowError):
        return retry_after
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return str(min(max(0.0, (at - datetime.fromtimestamp(now, UTC)).total_seconds()), LONGEST_WAIT_SECONDS))
