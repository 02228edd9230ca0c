"""The first page: what needs doing. Until there is an event, the way to the first one; later what goes wrong, and what
came last."""

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs

from postback.web.admin import deliveries, destinations, events, keys
from postback.web.admin.keys import KeyIn
from postback.web.dashboard.view import View

RECENT = 8


@get("/")
async def home(view: Needs[View]) -> Response[str]:
    found = await view.ask(events.list_all, limit=RECENT, site=view.site.id if view.site else None)
    if not found.items and found.next_cursor is None:
        return await _start(view)
    installed = await view.ask(destinations.list_all, limit=500)
    failed = await view.ask(deliveries.list_all, limit=5, status="failed")
    return view.page("home.html", events=found.items, installed=installed.items, failed=failed.items)


@get("/start")
async def start(view: Needs[View]) -> Response[str]:
    return await _start(view)


@post("/start/key", status_code=200)
async def make_key(view: Needs[View]) -> Response[str]:
    """An ingest key, made on request and shown in the curl, once."""
    made = await view.ask(keys.create, data=KeyIn(label="Get started", scopes=["ingest"]))
    return await _start(view, key=made.key)


async def _start(view: View, key: str | None = None) -> Response[str]:
    first = await view.ask(events.list_all, limit=1)
    installed = await view.ask(destinations.list_all, limit=1)
    delivered = await view.ask(deliveries.list_all, limit=1, status="delivered")
    return view.page(
        "start.html",
        event=next(iter(first.items), None),
        destination=next(iter(installed.items), None),
        delivery=next(iter(delivered.items), None),
        may_make_key=view.may(keys.create),
        key=key,
    )


HANDLERS = [home, start, make_key]
