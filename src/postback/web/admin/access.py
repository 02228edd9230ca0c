"""Who calls: a key with the scope `admin`, for reading also `read`, of the whole workspace.

Runs before a body is read or anything is looked up. The key is confirmed against the workspace's version on every
call, so that nothing begun after a revocation was answered gets past it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import cast
from urllib.parse import parse_qsl
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope
from msgspec import Struct

from postback import keys
from postback.errors import Forbidden, Invalid, Unauthenticated
from postback.intake.directory import Snapshot
from postback.keys import ApiKey
from postback.web import wire
from postback.web.admin.hub import hub_of
from postback.web.calls import name_caller

SCOPES = "scopes"
CALLER = "postback.caller"


class Caller(Struct, frozen=True):
    """The key of a request, its workspace as of this request, and the time it began."""

    snapshot: Snapshot
    key: ApiKey
    now: datetime

    @property
    def workspace_id(self) -> UUID:
        return self.snapshot.workspace.id

    @property
    def actor(self) -> str:
        """Who, as the audit log names them."""
        return f"key {self.key.label} ...{self.key.last_four}"


def scopes_of(handler: BaseRouteHandler) -> Sequence[str]:
    """Any one of these opens a handler: what its `opt` says, else `admin`, and `read` where it only reads."""
    by_method = ("admin", "read") if "GET" in getattr(handler, "http_methods", ()) else ("admin",)
    return handler.opt.get(SCOPES, by_method)


async def require_key(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
    """The guard of every path that needs a key. Raises Unauthenticated, Forbidden, Invalid, Unavailable."""
    hub = hub_of(connection.scope)
    text = _key_text(wire.read_headers(connection.scope["headers"]))
    if problem := keys.diagnose(text, hub.settings.environment):
        raise problem
    now = hub.writer.now()
    snapshot, key = await hub.directory.authenticate(keys.fingerprint(text), now)
    name_caller(cast("wire.Scope", connection.scope), key)
    snapshot = await hub.directory.confirm(snapshot, key, now)
    scopes = scopes_of(handler)
    if not any(scope in key.scopes for scope in scopes):
        raise Forbidden(f"This API key has the scope {', '.join(key.scopes)}; use one with {' or '.join(scopes)}.")
    if key.site_id is not None:
        raise Forbidden("This API key is bound to one site; the admin API takes keys of the whole workspace.")
    _check_query(connection.scope["query_string"], handler)
    connection.scope["state"][CALLER] = Caller(snapshot, key, now)


def caller_of(scope: Scope) -> Caller:
    return scope["state"][CALLER]


def _key_text(headers: dict[str, str]) -> str:
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text:
        return text
    raise Unauthenticated("Missing API key: send Authorization: Bearer YOUR_ADMIN_KEY.")


def _check_query(query: bytes, handler: BaseRouteHandler) -> None:
    """Refuse what Litestar would pass over: a parameter that is named twice, a NUL, and `null`, its word for absent."""
    seen: set[str] = set()
    known = handler.parsed_fn_signature.parameters
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in seen:
            raise Invalid(f"{name} is named twice.", field=name)
        if name in known:
            seen.add(name)
            if value.lower() == "null" and str not in (known[name].annotation, *known[name].args):
                raise Invalid(f"{name} cannot be null; leave it out.", field=name)
        if "\x00" in value:
            raise Invalid(f"{name} may not hold the character NUL.", field=name)
