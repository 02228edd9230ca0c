"""One request of a page: who looks, at which workspace and site, and what they may.

The guard reads the session, checks where a change comes from, and makes the view. A page gets all that it shows, and
does all that it does, through the admin API's own handlers, by `ask`; what a handler's scopes refuse to a role, no page
can do.
"""

import inspect
import re
import shlex
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.response import Redirect, Stream
from litestar.types import Scope

from postback.db import buckets
from postback.errors import Forbidden, Invalid, Rejected
from postback.queue import lists
from postback.web.admin import signed_in
from postback.web.admin.access import Caller, caller_for
from postback.web.admin.hub import Hub, hub_of
from postback.web.admin.signed_in import Person
from postback.web.dashboard import forms, render, trend
from postback.web.dashboard.forms import Field, Form
from postback.workspaces import Site, accounts, sessions
from postback.workspaces.accounts import Seat

VIEW = "postback.view"
_DAY = re.compile(r"20\d{2}-\d{2}-\d{2}")
_ADDRESS = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")


class NoSeat(Rejected):
    """The account is a member of no workspace any more."""

    status = 403


class View:
    """`site` None: all sites. `form`: what was sent; empty where nothing was."""

    def __init__(
        self, request: Request[Any, Any, Any], hub: Hub, person: Person, caller: Caller, seats: list[Seat], form: Form
    ) -> None:
        self.request = request
        self.hub = hub
        self.person = person
        self.caller = caller
        self.seats = seats
        self.form = form
        self.path: str = request.scope["path"]
        self.email = person.session.email
        self.role = person.session.role or ""
        self.workspace = caller.snapshot.workspace
        self.sites = list(caller.snapshot.sites.values())
        self.site = caller.snapshot.sites.get(person.session.site_id) if person.session.site_id else None
        self.csrf = person.csrf()
        self.now = caller.now
        self.theme = theme_of(request)

    @property
    def zone(self) -> ZoneInfo:
        """The site's, or where all are looked at the first one's."""
        site = self.site or next(iter(self.sites), None)
        return ZoneInfo(site.timezone if site else "UTC")

    @property
    def once(self) -> UUID:
        """The id that a form gives to what it makes, which is so made once, however often the form is sent."""
        return buckets.new_id(self.now)

    @property
    def address(self) -> str:
        return address_of(self.request)

    def may(self, handler: BaseRouteHandler) -> bool:
        return self.caller.may(handler)

    def require(self, handler: BaseRouteHandler) -> None:
        """Raises Forbidden where the role may not do what a handler does."""
        if not self.may(handler):
            raise Forbidden(f"Your role, {render.words(self.role).lower()}, may not do this; ask an admin.")

    def site_named(self, id_: Any) -> str:
        site: Site | None = self.caller.snapshot.sites.get(id_)
        return site.name if site else "removed site"

    @property
    def senders(self) -> dict[str, str]:
        """What events are sent with: API keys and tags of sites that are in use, by id, each with its name."""
        held = self.caller.snapshot.keys.values()
        named = {str(key.id): key.label for key in held if "ingest" in key.scopes}
        named |= {str(site.id): f"Tag of {site.name}" for site in self.sites}
        return dict(sorted(named.items(), key=lambda one: one[1].lower()))

    def query(self, **changed: object) -> str:
        """This page's query with some parameters changed; None takes one away."""
        kept = {**dict(self.request.query_params.items()), **changed}
        return "?" + urlencode({name: value for name, value in kept.items() if value not in (None, "")})

    def list_call(self, path: str) -> str:
        """The admin API's path of the list that a page shows, as it is narrowed."""
        sent = {name: self._end(name, text) for name, text in self.request.query_params.items() if text}
        return f"{path}?{urlencode(sent, safe=':')}"

    def _end(self, name: str, text: str) -> str:
        """An end of a span as the API takes it: a day begins by the site's clock, and the last one is a whole one."""
        if name not in ("from", "to") or not _DAY.fullmatch(text):
            return text
        try:
            day = date.fromisoformat(text) + timedelta(days=name == "to")
        except ValueError:
            return text
        return trend.instant(day, self.zone)

    def page(self, template: str, status: int = 200, **context: Any) -> Response[str]:
        """`problem`, where there is one, is said in the words of the `fields` that the page shows."""
        if isinstance(problem := context.get("problem"), Rejected):
            context["problem"] = forms.told(problem, context.get("fields", []))
        return render.respond(self.request, template, status, view=self, **context)

    async def ask(self, handler: BaseRouteHandler, **given: Any) -> Any:
        """What a handler of the admin API answers. Raises what it raises, Forbidden where the role may not.

        `looking`: seconds that a list may look for what is rare; 0 for what nobody asked for by a filter.
        """
        self.require(handler)
        shared = {"hub": self.hub, "caller": self.caller, "request": self.request, "looking": lists.LOOKING_SECONDS}
        wanted = inspect.signature(handler.fn).parameters
        answer = await handler.fn(**{name: held for name, held in shared.items() if name in wanted} | given)
        return answer.content if isinstance(answer, Response) and not isinstance(answer, Stream) else answer

    async def ask_list(self, handler: BaseRouteHandler, **given: Any) -> Any:
        """A list as the page's own query narrows it, and as the site that is looked at does."""
        return await self.ask(handler, **self.narrowed(handler, given) | given)

    def narrowed(self, handler: BaseRouteHandler, given: Mapping[str, Any] = {}) -> dict[str, Any]:
        """What the page's query says of a handler's parameters, but for those `given`. Raises Invalid."""
        sent: dict[str, Any] = {}
        for name, (wire_name, kind, bounds) in _parameters(handler).items():
            text = self.request.query_params.get(wire_name, "").strip()
            if text and name not in given:
                sent[name] = _read(wire_name, self._end(wire_name, text), kind, bounds)
            elif name == "site" and self.site is not None:
                sent[name] = self.site.id
        return sent

    def query_value(self, name: str, handler: BaseRouteHandler, default: Any = None) -> Any:
        """One parameter of the page's query, as a handler takes it. Raises Invalid."""
        _, kind, bounds = _parameters(handler)[name]
        text = self.request.query_params.get(name, "").strip()
        return _read(name, text, kind, bounds) if text else default

    def curl(self, method: str, path: str, body: object = None) -> str:
        """The admin API's call that does what an action of the page does."""
        address = f"{self.address}/v1/admin/{path.rstrip('?')}"
        lines = [f"curl {'' if method == 'GET' else f'-X {method} '}{shlex.quote(address)}"]
        lines.append('-H "Authorization: Bearer $POSTBACK_ADMIN_KEY"')
        if body is not None:
            lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(msgspec.json.encode(body).decode())}"]
        return " \\\n  ".join(lines)

    def event_curl(self, body: object, key: str = "YOUR_KEY") -> str:
        """One that sends an event; the body is quoted for a shell, whatever names it holds."""
        return " \\\n  ".join(
            [
                f"curl -X POST {shlex.quote(self.address + '/v1/events')}",
                f'-H "Authorization: Bearer {key}"',
                "-H 'Content-Type: application/json'",
                f"-d {shlex.quote(msgspec.json.encode(body).decode())}",
            ]
        )

    def to(self, path: str, done: str | None = None) -> Redirect:
        return Redirect(path + (f"?done={done}" if done else ""), status_code=303)

    def body(self, kind: type[Any], fields: list[Field], *, patch: bool = False) -> Any:
        """The body of an API call, as a form says it. Raises Invalid, naming the field."""
        return forms.decode(kind, fields, self.form, patch=patch)


async def require_person(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every page. Raises Unauthenticated, Forbidden, Unavailable."""
    assert isinstance(connection, Request)
    hub = hub_of(connection.scope)
    person = await signed_in.require(connection, hub)
    form = Form()
    if connection.method not in signed_in.SAFE:
        signed_in.require_same_site(connection)
        form = await forms.read(connection, hub)
        signed_in.require_token(person, form.get(signed_in.FIELD) or connection.headers.get(signed_in.HEADER, ""))
    async with hub.pool.connection() as tx:
        seats = await accounts.seats(tx, person.session.account_id)
        if person.session.role is None:
            if not seats:
                raise NoSeat("You are a member of no workspace any more; ask an owner for an invitation.")
            await sessions.look_at(tx, person.token, seats[0].workspace_id, None)
            person = await signed_in.require(connection, hub)
    caller = await caller_for(person, hub)
    connection.scope["state"][VIEW] = View(connection, hub, person, caller, seats, form)


def view_of(scope: Scope) -> View:
    return scope["state"][VIEW]


def theme_of(request: Request[Any, Any, Any]) -> str:
    """`light`, `dark`, or empty: as the system has it."""
    wanted = request.cookies.get("postback_theme", "")
    return wanted if wanted in ("light", "dark") else ""


def address_of(request: Request[Any, Any, Any]) -> str:
    """Where the browser finds us; text that cannot break out of a shell's word."""
    host = request.headers.get("host", "")
    safe = host if _ADDRESS.fullmatch(host) else "localhost:8080"
    return f"{'https' if signed_in.is_https(request) else 'http'}://{safe}"


@cache
def _parameters(handler: BaseRouteHandler) -> Mapping[str, tuple[str, Any, QueryParameter]]:
    """Query parameters of a handler: name in the query, type, bounds."""
    found: dict[str, tuple[str, Any, QueryParameter]] = {}
    for name, hint in get_type_hints(handler.fn, include_extras=True).items():
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, QueryParameter):
                found[name] = (note.name or name, _plain(hint), note)
    return found


def _plain(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return _plain(next(part for part in get_args(hint) if part is not type(None)))
    return hint


def _read(name: str, text: str, kind: Any, bounds: QueryParameter) -> Any:
    if "\x00" in text:
        raise Invalid(f"{name} may not hold the character NUL.", field=name)
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise Invalid(f"{name} cannot be read.", field=name) from None
    most, least = bounds.le, bounds.ge
    if (most is not None and value > most) or (least is not None and value < least):
        raise Invalid(f"{name} is out of bounds.", field=name)
    return value
