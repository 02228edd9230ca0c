"""Who calls: a key, or a person who is signed in; what each may do, by scopes.

Runs before a body is read or anything is looked up. A key is confirmed against the workspace's version on every call, a
person's role read, so that nothing begun after a revocation was answered gets past it. Reading takes the scope `admin`
or `read`, of the whole workspace, changing `admin`, unless a handler's `opt` says otherwise.
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
from postback.web import wire
from postback.web.admin import signed_in
from postback.web.admin.hub import Hub, hub_of
from postback.web.calls import name_caller
from postback.workspaces import accounts

SCOPES = "scopes"
# Of what is counted: goals and event types.
COUNTING = ("admin", "goals")
CALLER = "postback.caller"


class Caller(Struct, frozen=True):
    """Who calls and what they may, the workspace as of this request, and the time it began. `actor`: as the audit log
    names them."""

    snapshot: Snapshot
    scopes: frozenset[str]
    actor: str
    now: datetime

    @property
    def workspace_id(self) -> UUID:
        return self.snapshot.workspace.id

    def may(self, handler: BaseRouteHandler) -> bool:
        return not self.scopes.isdisjoint(scopes_of(handler))


def scopes_of(handler: BaseRouteHandler) -> Sequence[str]:
    """Any one of these opens a handler: what its `opt` says, else `admin`, and `read` where it only reads."""
    by_method = ("admin", "read") if "GET" in getattr(handler, "http_methods", ()) else ("admin",)
    return handler.opt.get(SCOPES, by_method)


async def require_caller(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
    """The guard of the admin API. Raises Unauthenticated, Forbidden, Invalid, Unavailable."""
    hub = hub_of(connection.scope)
    authorization = wire.read_headers(connection.scope["headers"]).get("authorization")
    if authorization is None and signed_in.token_of(connection) is not None:
        caller = await _person(connection, hub)
    else:
        caller = await _key(connection, hub, authorization or "")
    if not caller.may(handler):
        scopes = " or ".join(scopes_of(handler))
        raise Forbidden(f"This needs the scope {scopes}; you have {', '.join(sorted(caller.scopes))}.")
    _check_query(connection.scope["query_string"], handler)
    connection.scope["state"][CALLER] = caller


async def _key(connection: ASGIConnection, hub: Hub, authorization: str) -> Caller:
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "bearer" or not text:
        raise Unauthenticated("Missing API key: send Authorization: Bearer YOUR_ADMIN_KEY.")
    if problem := keys.diagnose(text, hub.settings.environment):
        raise problem
    now = hub.writer.now()
    snapshot, key = await hub.directory.authenticate(keys.fingerprint(text), now)
    name_caller(cast("wire.Scope", connection.scope), key)
    snapshot = await hub.directory.confirm(snapshot, key, now)
    if key.site_id is not None:
        raise Forbidden("This API key is bound to one site; the admin API takes keys of the whole workspace.")
    return Caller(snapshot, frozenset(key.scopes), f"key {key.label} ...{key.last_four}", now)


async def _person(connection: ASGIConnection, hub: Hub) -> Caller:
    person = await signed_in.require(connection, hub)
    if cast("wire.Scope", connection.scope)["method"] not in signed_in.SAFE:
        signed_in.require_token(person, connection.headers.get(signed_in.HEADER, ""))
    return await caller_for(person, hub)


async def caller_for(person: signed_in.Person, hub: Hub) -> Caller:
    """A person as a caller. Raises Forbidden, Unavailable."""
    session = person.session
    if session.role is None:
        raise Forbidden("You are no longer a member of this workspace.")
    snapshot = await hub.directory.current(session.workspace_id)
    return Caller(snapshot, accounts.RIGHTS[session.role], f"account {session.email}", person.now)


def caller_of(scope: Scope) -> Caller:
    return scope["state"][CALLER]


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
