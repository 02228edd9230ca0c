"""What was taken and what became of it: events, deliveries, conversions, orders; usage; audit log."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback.web.admin import audit, conversions, deliveries, destinations, events, goals, usage, visitors
from postback.web.dashboard.view import View

# A conversion's id is of the flush of its event.
_FLUSH = timedelta(milliseconds=20)


@get("/events")
async def list_events(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(events.list_all)
    return view.page("events.html", found=found)


@get("/events/{event:uuid}")
async def read_event(view: Needs[View], event: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(events.read, event=event)
    ways = [await view.ask(deliveries.read, delivery=one.id) for one in shown.deliveries]
    near = await view.ask(
        conversions.list_all,
        limit=500,
        since=(shown.received_at - _FLUSH).isoformat(),
        until=(shown.received_at + _FLUSH).isoformat(),
    )
    made = [one for one in near.items if one.event_id == shown.event_id and one.site == shown.site]
    return view.page("event.html", event=shown, ways=ways, conversions=made, goals=view.caller.snapshot.goals)


@get("/deliveries")
async def list_deliveries(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(deliveries.list_all)
    installed = await view.ask(destinations.list_all, limit=500)
    return view.page("deliveries.html", found=found, installed=installed.items)


@get("/deliveries/{delivery:str}")
async def read_delivery(view: Needs[View], delivery: FromPath[str]) -> Response[str]:
    return view.page("delivery.html", delivery=await view.ask(deliveries.read, delivery=delivery))


@get("/conversions")
async def list_conversions(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(conversions.list_all)
    aims = await view.ask(goals.list_all, limit=500)
    return view.page("conversions.html", found=found, goals={goal.id: goal.name for goal in aims.items})


@get("/conversions/{conversion:uuid}")
async def read_conversion(view: Needs[View], conversion: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(conversions.read, conversion=conversion)
    goal = view.caller.snapshot.goals.get(shown.goal_id)
    order = quote(shown.order_id, safe="") if shown.order_id else None
    return view.page("conversion.html", conversion=shown, goal=goal, order=order)


@get("/orders/{order_id:path}")
async def read_order(view: Needs[View], order_id: FromPath[str]) -> Response[str]:
    """The API's handler reads the id as it was sent, slashes included."""
    given: dict[str, Any] = {"order_id": order_id, "site": view.site.id if view.site else None}
    return view.page("order.html", order=await view.ask(conversions.read_order, **given))


@get("/visitors/{visitor:path}")
async def read_visitor(view: Needs[View], visitor: FromPath[str]) -> Response[str]:
    """The API's handler reads the id as it was sent."""
    shown = await view.ask(visitors.read, visitor=visitor)
    return view.page("visitor.html", visitor=shown, goals=view.caller.snapshot.goals)


@get("/usage")
async def read_usage(view: Needs[View]) -> Response[str]:
    return view.page("usage.html", usage=await view.ask_list(usage.read))


@get("/audit")
async def list_changes(view: Needs[View]) -> Response[str]:
    return view.page("audit.html", found=await view.ask_list(audit.list_all))


HANDLERS = [
    list_events, read_event, list_deliveries, read_delivery, list_conversions, read_conversion, read_order,
    read_visitor, read_usage, list_changes,
]  # fmt: skip
