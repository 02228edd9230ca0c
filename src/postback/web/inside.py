"""Requests whose body must be looked into before they can be served: Segment's key may stand in it, and `/v1/track` is
two dialects' path.

What is found is put where every request has it: the key into the Authorization header, the body back before whoever
reads it next.
"""

import base64
import binascii
from typing import Any

from postback.dialects import Dialect, convultra, segment
from postback.errors import Unauthenticated
from postback.web import wire
from postback.web.wire import Header, Limits, Receive, Scope

NO_KEY = (
    "Missing API key: send it as the basic-auth user name, as writeKey in the body, or as Authorization: Bearer "
    "YOUR_KEY."
)


def may_differ(dialect: Dialect) -> bool:
    """Whether requests to this dialect's path go by here."""
    return dialect.name == "segment" or dialect is convultra.DIALECT


def with_bearer(scope: Scope) -> tuple[Scope, bool]:
    """The request with the user name of basic auth as its bearer key, and whether it had basic auth."""
    kind, _, credentials = wire.read_headers(scope["headers"]).get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return scope, False
    return _with_key(scope, _user_name(credentials)), True


async def look(
    dialect: Dialect, scope: Scope, receive: Receive, limits: Limits, *, has_basic_auth: bool
) -> tuple[Dialect, Scope, Receive]:
    """The dialect that the body is of, and the request as `Ingest` reads it. Raises what reading a body raises."""
    headers = wire.read_headers(scope["headers"])
    has_key = "authorization" in headers
    if dialect.name == "segment" and has_key:
        return dialect, scope, receive
    body = await wire.read_body(receive, headers, dialect.max_bytes, limits)
    found = segment.glance(body)
    if dialect is convultra.DIALECT and found.is_ours(has_basic_auth):
        dialect = segment.TRACK
    kept = [header for header in scope["headers"] if header[0] not in (b"content-encoding", b"content-length")]
    scope = {**scope, "headers": kept}
    if dialect.name == "segment" and not has_key:
        scope = _with_key(scope, found.key())
    return dialect, scope, _Read(body).receive


def require_key(dialect: Dialect, scope: Scope) -> None:
    """Raises Unauthenticated where a Segment request has no key, in head or body, and says where one may stand."""
    if dialect.name == "segment" and "authorization" not in wire.read_headers(scope["headers"]):
        raise Unauthenticated(NO_KEY)


def _with_key(scope: Scope, key: str | None) -> Scope:
    """With this key in the Authorization header, with none where it is None or empty."""
    headers: list[Header] = [header for header in scope["headers"] if header[0] != b"authorization"]
    if key:
        headers.append((b"authorization", b"Bearer " + key.encode("latin-1", "replace")))
    return {**scope, "headers": headers}


def _user_name(credentials: str) -> str | None:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[0].decode("latin-1") or None
    except (binascii.Error, ValueError):
        return None


class _Read:
    """A body that was read already, as ASGI gives bodies."""

    more_body = False

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}
