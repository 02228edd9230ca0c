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


async def look(dialect: Dialect, scope: Scope, receive: Receive, limits: Limits) -> tuple[Dialect, Scope, Receive]:
    """The dialect that the body is of, and the request as `Ingest` reads it. Raises what reading a body raises."""
    if dialect.name != "segment" and dialect is not convultra.DIALECT:
        return dialect, scope, receive
    headers = wire.read_headers(scope["headers"])
    kind, _, credentials = headers.get("authorization", "").partition(" ")
    is_basic = kind.lower() == "basic"
    is_other = bool(kind) and not is_basic
    key = _user_name(credentials) if is_basic else None
    if dialect.name == "segment" and (key or is_other):
        return dialect, _with_key(scope, key), receive
    body = await wire.read_body(receive, headers, dialect.max_bytes, limits)
    found = segment.glance(body)
    if dialect is convultra.DIALECT and found.is_ours(is_basic):
        dialect = segment.TRACK
    if dialect.name == "segment" and not key and not is_other:
        key = found.key()
    dropped = (b"content-encoding", b"content-length", *((b"authorization",) if is_basic else ()))
    kept = [header for header in scope["headers"] if header[0] not in dropped]
    return dialect, _with_key({**scope, "headers": kept}, key), _Read(body).receive


def require_key(dialect: Dialect, scope: Scope) -> None:
    """Raises Unauthenticated where a Segment request has no key, and says where one may stand."""
    if dialect.name == "segment" and "authorization" not in wire.read_headers(scope["headers"]):
        raise Unauthenticated(NO_KEY)


def _with_key(scope: Scope, key: str | None) -> Scope:
    if not key:
        return scope
    others: list[Header] = [header for header in scope["headers"] if header[0] != b"authorization"]
    return {**scope, "headers": [*others, (b"authorization", b"Bearer " + key.encode("latin-1", "replace"))]}


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
