"""API keys: made and shown once, rotated with a grace period, revoked after saying what will break."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec import structs

from postback import keys as rules
from postback.db import buckets
from postback.errors import Invalid, NotFound, Rejected
from postback.web.admin import events, keys
from postback.web.admin.keys import GUARDED, KeyIn, KeyListed, KeyMade, MadeAlready, RotateIn
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View

RECENT = 100  # events, by which it is said what a key sends
GRACES = [("0", "At once"), ("3600", "After an hour"), ("86400", "After a day"), ("604800", "After a week")]
_FORM_LASTS = timedelta(days=1)
_MEANINGS = {
    "ingest": "ingest: send events",
    "read": "read: look at everything",
    "admin": "admin: change everything",
    "erase": "erase: admin, and owners and erasures",
}


def _fields(view: View) -> list[Field]:
    scopes = [str(scope) for scope in get_args(rules.Scope) if scope not in GUARDED or scope in view.caller.scopes]
    return [
        Field("label", "Label", required=True, placeholder="Checkout backend", help="Who uses it: one key for each."),
        Field("scopes", "May", kind="select", options=[(scope, _MEANINGS.get(scope, scope)) for scope in scopes]),
        Field("site", "Site", kind="select", options=[("", "All sites"), *((str(s.id), s.name) for s in view.sites)],
              help="A key of one site records for that site alone."),
        Field("prefix", "Prefix", placeholder="pb", advanced=True,
              help="Whose code expects another: vel (Velaro), sel (Selektable)."),
        Field("expires_at", "Expires", placeholder="2027-01-31", advanced=True, help="ISO 8601; empty: never."),
        Field("rate_limit_per_minute", "Requests a minute", kind="number", advanced=True, help="0: no limit."),
    ]  # fmt: skip


@get("/keys")
async def list_all(view: Needs[View]) -> Response[str]:
    return view.page("keys.html", found=await view.ask_list(keys.list_all), may_make=view.may(keys.create))


@get("/keys/new")
async def new(view: Needs[View]) -> Response[str]:
    view.require(keys.create)
    return _form(view, {"scopes": "ingest"}, None)


@post("/keys/new", status_code=200)
async def create(view: Needs[View]) -> Response[str]:
    """Not a redirect: the key is shown by this answer alone. A form makes one, however often it is sent."""
    fields = [structs.replace(field, kind="list") if field.name == "scopes" else field for field in _fields(view)]
    try:
        made = await make(view, view.body(KeyIn, fields))
    except MadeAlready as problem:
        return await _again(view, problem)
    except Rejected as problem:
        return _form(view, view.form, problem)
    return view.page("key_made.html", made=made, old=None)


async def make(view: View, data: KeyIn) -> KeyMade:
    """Raises MadeAlready where this form did."""
    view.require(keys.create)
    return await keys.make(view.hub, view.caller, data, _once(view))


def _once(view: View) -> UUID:
    """The id that the form gives to what it makes."""
    with suppress(KeyError, ValueError, OverflowError):
        id_ = UUID(view.form["once"])
        if abs(view.now - buckets.time_of(id_)) <= _FORM_LASTS:
            return id_
    raise Invalid("This form is too old; open it again.")


async def _again(view: View, problem: MadeAlready) -> Response[str]:
    return await _page(view, await _find(view, problem.key_id), problem)


def _form(view: View, values: dict[str, str], problem: Rejected | None) -> Response[str]:
    status = problem.status if problem else 200
    return view.page("key_new.html", status, fields=_fields(view), values=values, problem=problem)


@get("/keys/{id_:uuid}")
async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _page(view, await _find(view, id_))


async def _page(view: View, key: KeyListed, problem: Rejected | None = None) -> Response[str]:
    newest = await view.ask(events.list_all, key=key.id, limit=RECENT, looking=0)
    names = [name for name, _ in Counter(event.name for event in newest.items).most_common()]
    status = problem.status if problem else 200
    return view.page("key.html", status, key=key, names=names, graces=GRACES, problem=problem)


@post("/keys/{id_:uuid}/rotate", status_code=200)
async def rotate(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    key = await _find(view, id_)
    try:
        data = view.body(RotateIn, [Field("grace_seconds", "Grace", kind="number")])
        view.require(keys.rotate)
        made = await keys.replace(view.hub, view.caller, id_, data, _once(view))
    except MadeAlready as problem:
        return await _again(view, problem)
    except Rejected as problem:
        return await _page(view, key, problem)
    return view.page("key_made.html", made=made, old=await _find(view, id_))


@post("/keys/{id_:uuid}/revoke")
async def revoke(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    await view.ask(keys.revoke, key_id=id_)
    return view.to(f"/app/keys/{id_}", "revoked")


async def _find(view: View, id_: UUID) -> KeyListed:
    cursor = None
    while True:
        page = await view.ask(keys.list_all, limit=500, cursor=cursor)
        for key in page.items:
            if key.id == id_:
                return key
        if (cursor := page.next_cursor) is None:
            raise NotFound("There is no such key.")


HANDLERS = [list_all, new, create, read, rotate, revoke]
