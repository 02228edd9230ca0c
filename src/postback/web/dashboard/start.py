"""The way to the first event: shown in place of the overview until there is one."""

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs

from postback.web.admin import deliveries, destinations, events, keys
from postback.web.admin.keys import KeyIn
from postback.web.dashboard.view import View


@get("/start")
async def start(view: Needs[View]) -> Response[str]:
    return await first(view)


@post("/start/key", status_code=200)
async def make_key(view: Needs[View]) -> Response[str]:
    """An ingest key, made on request and shown in the curl, once."""
    made = await view.ask(keys.create, data=KeyIn(label="Get started", scopes=["ingest"]))
    return await first(view, key=made.key)


async def first(view: View, key: str | None = None) -> Response[str]:
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


HANDLERS = [start, make_key]
