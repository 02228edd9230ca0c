"""The sender: the only code that touches the network. One client for all lanes.

It connects to addresses that it checked (see `addresses`), follows no redirect, keeps no cookie, uses no proxy, reads a
capped part of the answer, and puts secrets into a request at the last moment: percent-encoded in a URL or a form,
escaped in JSON, as they are in a header. It never raises for what the network or a platform does: the answer says what
happened, and whether the platform may have read the request.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, quote_plus

import msgspec
from msgspec import Struct
from yarl import URL

from postback import __version__
from postback.connectors import LONGEST_WAIT_SECONDS, Request, Response
from postback.delivery import addresses
from postback.delivery.addresses import Blocked, Resolver
from postback.delivery.wire import Broken, Client, Resolve, Target, Unreached
from postback.secret import Secret

CONNECT_SECONDS = 5.0
_TARGETS_MAX = 10_000
_STAND_IN = "pbsecret"
_STAND_IN_BYTES = _STAND_IN.encode()
_OUR_HEADERS = {"content-type": "application/json", "user-agent": f"Postback/{__version__}", "accept": "*/*"}


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
    """`resolve`: None for the system's resolver, checked. Close it when done."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        response_bytes_max: int,
        allow_private: bool,
        resolve: Resolve | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._targets: dict[tuple[str, str], Target] = {}
        self._resolver = Resolver(allow_private=allow_private)
        self._client = Client(
            resolve or self._resolver,
            timeout_seconds=timeout_seconds,
            connect_seconds=min(CONNECT_SECONDS, timeout_seconds),
            body_bytes_max=response_bytes_max,
        )

    async def close(self) -> None:
        await self._client.close()
        self._resolver.close()

    async def send(self, request: Request, secrets: Sequence[Secret], content: bytes | None = None) -> Answer:
        """Send once. `content`: the request's, where it was encoded already."""
        try:
            target = self._target(request, secrets)
            headers = _headers(request.headers, secrets)
            body = _body(request, secrets, request.content() if content is None else content)
        except Blocked as blocked:
            return Unsendable(blocked.message, addresses.FIX)
        except ValueError:
            return Unsendable("The configuration makes no valid HTTP request.", "Check this destination's fields.")
        try:
            answered = await self._client.ask(target, headers, body)
        except Blocked as blocked:
            return Unsendable(blocked.message, addresses.FIX)
        except Unreached as error:
            return NotSent(str(error))
        except Broken as error:
            return Unanswered(str(error))
        if "retry-after" in answered.headers:
            answered.headers["retry-after"] = _seconds(answered.headers["retry-after"], time.time())
        return Response(answered.status, answered.headers, answered.body)

    def _target(self, request: Request, secrets: Sequence[Secret]) -> Target:
        """Checked once for each method and URL. Raises Blocked, ValueError."""
        key = (request.method, request.url)
        if (target := self._targets.get(key)) is None:
            full = request.url
            if _STAND_IN in full:
                for secret in secrets:
                    full = full.replace(secret.stand_in, quote(secret.reveal(), safe=""))
            url = URL(full)
            if not self._allow_private:
                addresses.check(url)
            if len(self._targets) >= _TARGETS_MAX:
                self._targets.clear()
            target = self._targets[key] = Target.of(request.method, url)
        return target


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
    if request.body is None and request.json is None and request.form is None:
        return b""
    if request.body is None and _STAND_IN_BYTES in content:
        for secret in secrets:
            value = secret.reveal()
            written = quote_plus(value).encode() if request.form is not None else msgspec.json.encode(value)[1:-1]
            content = content.replace(secret.stand_in.encode(), written)
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
