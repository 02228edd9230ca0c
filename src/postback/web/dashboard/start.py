"""The first page, and the way to the first delivered event: each step says by what there is whether it is done, so that
it can be left and taken up again."""

from datetime import datetime, timedelta
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from msgspec import Struct
from msgspec.json import decode

from postback.errors import Forbidden, NotFound, Rejected
from postback.keys import Scope
from postback.reports import reading
from postback.web.admin import audit, deliveries, destinations, events, keys, sites
from postback.web.admin.keys import KeyIn
from postback.web.admin.pages import Page
from postback.web.dashboard import render
from postback.web.dashboard.keys import make
from postback.web.dashboard.things import site_fields, snippet, typed
from postback.web.dashboard.view import View
from postback.workspaces import SitePatch

LABEL = "Get started"
_INGEST: list[Scope] = ["ingest"]
_ASKED = ("name", "currency", "timezone")
# As the first start makes a site.
_UNTOUCHED = {"name": "default", "currency": "USD", "timezone": "UTC"}


@get("/start")
async def start(view: Needs[View]) -> Response[str]:
    """204 to whoever asks again with `seen` while nothing is new, so that what is read and copied stays in place."""
    return await first(view)


@post("/start/site")
async def change_site(view: Needs[View]) -> Response[Any]:
    site = _site(view)
    try:
        data = view.body(SitePatch, _fields(view), patch=True)
        await view.ask(sites.change, site_id=site.id, data=data)
    except Rejected as problem:
        return await first(view, values=view.form, problem=problem)
    return view.to("/app/start", "changed")


@post("/start/key", status_code=200)
async def make_key(view: Needs[View]) -> Response[str]:
    """An ingest key, made on request and shown in the curl, once."""
    try:
        made = await make(view, KeyIn(label=LABEL, scopes=_INGEST))
    except Forbidden:
        raise
    except Rejected as problem:
        return await first(view, problem=problem)
    return await first(view, key=made.key)


async def first(view: View, **more: Any) -> Response[str]:
    last = (await newest(view, 2)).items
    event = await view.ask(events.read, event=last[0].id) if last else None
    became = "".join(one.status for one in event.deliveries) if event else ""
    seen = f"{event.id}{became}" if event else "none"
    if view.request.query_params.get("seen") == seen:
        return Response("", status_code=204, headers=render.HEADERS)
    installed = (await view.ask(destinations.list_all, limit=500)).items
    settled = await view.ask(deliveries.list_all, limit=1, status="delivered", looking=0)
    delivered = next(iter(settled.items), None)
    known = (await view.ask(keys.list_all, limit=500)).items
    tested = await _tested(view, {str(one.id) for one in installed}) if installed else []
    site, fields, problem = _site(view), _fields(view), more.get("problem")
    values = typed(site, fields)
    has_key = any("ingest" in key.scopes and (key.last_used_at or key.label == LABEL) for key in known)
    is_fresh = values == _UNTOUCHED and not has_key and event is None
    if is_fresh:
        values |= {"timezone": ""}  # a script fills in the browser's own
    return view.page(
        "start.html",
        problem.status if problem else 200,
        steps=[
            not is_fresh,
            has_key or "key" in more,
            event is not None,
            bool(installed),
            delivered is not None or any(one.is_taken for one in tested),
            delivered is not None,
        ],
        event=event,
        is_only=len(last) == 1,
        seen=seen,
        tested=next(iter(tested), None),
        destination=next(iter(installed), None),
        delivery=delivered,
        site=site,
        fields=fields,
        stub=snippet(),
        may_make_key=view.may(keys.create),
        **{"key": None, "problem": None, "values": values} | more,
    )


class Tested(Struct, frozen=True):
    """A test event as the audit log has it."""

    at: datetime
    event: str
    outcome: str

    @property
    def is_taken(self) -> bool:
        return self.outcome == "delivered"


async def _tested(view: View, installed: set[str]) -> list[Tested]:
    """Test events to what is installed still, newest first."""
    changes = (await view.ask(audit.list_all, limit=500, noun="destination")).items
    said = [(one.at, decode(one.after)) for one in changes if one.action == "tested" and one.noun_id in installed]
    return [Tested(at, after["event"], after["outcome"]) for at, after in said]


async def newest(view: View, limit: int) -> Any:
    """The newest events, at a glance: where all that came last is of another workspace, those up to the last hour in
    which this one's were counted. A page without items and cursor: there are none."""
    found = await view.ask(events.list_all, limit=limit, looking=0)
    if found.items or found.next_cursor is None:
        return found
    async with view.hub.pool.connection() as tx:
        last = await reading.last_hour(tx, view.workspace.id)
    if last is None:
        return Page([], None)
    # An hour of another clock may begin half an hour before that of arrival.
    until = (last + timedelta(hours=2)).isoformat()
    return await view.ask(events.list_all, limit=limit, looking=0, until=until)


def _site(view: View) -> Any:
    """The one that is looked at, else the first."""
    if (site := view.site or next(iter(view.sites), None)) is None:
        raise NotFound("This workspace has no site.")
    return site


def _fields(view: View) -> list[Any]:
    return [field for field in site_fields(view) if field.name in _ASKED]


HANDLERS = [start, change_site, make_key]
