"""What was taken and what became of it: events, deliveries, conversions, orders; usage; audit log."""

from typing import Any, get_args
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec.json import decode

from postback import secret
from postback.errors import Forbidden, Rejected
from postback.web.admin import audit, conversions, deliveries, destinations, events, goals, orders, replays
from postback.web.admin.audit import AuditOut
from postback.web.admin.events import EventDetails
from postback.web.admin.replays import ReplayIn
from postback.web.dashboard.view import View

_OF_PEOPLE = frozenset({"erasure", "export"})
_SAID = (
    "event_id", "occurred_at", "action_source", "value", "currency", "order_id", "order_status", "items", "url",
    "referrer", "visitor_id", "session_id", "consent", "experiments", "properties",
)  # fmt: skip


@get("/events")
async def list_events(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(events.list_all)
    return view.page("events.html", found=found)


@get("/events/{event:uuid}")
async def read_event(view: Needs[View], event: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(events.read, event=event)
    ways = [await view.ask(deliveries.read, delivery=one.id) for one in shown.deliveries]
    made = await view.ask(conversions.list_all, event=event)
    return view.page(
        "event.html",
        event=shown,
        received=_received(shown),
        ways=sorted(ways, key=lambda way: (way.attempts[0].at if way.attempts else shown.received_at, way.name)),
        conversions=made.items,
        goals=view.caller.snapshot.goals,
        may_replay=view.may(replays.create_replay),
    )


def _received(shown: EventDetails) -> dict[str, Any]:
    """What an event said, as the native API would have taken it; of identifiers the names."""
    said: dict[str, Any] = {
        "event": shown.source_name,
        **{name: getattr(shown, name) for name in _SAID},
        "user_data": {name: secret.MASK for name, origin in sorted(shown.identifiers.items()) if origin == "sent"},
    }
    return {name: value for name, value in said.items() if value not in (None, [], {})}


@get("/deliveries")
async def list_deliveries(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(deliveries.list_all)
    installed = await view.ask(destinations.list_all, limit=500)
    may_replay = view.may(replays.create_replay)
    return view.page("deliveries.html", found=found, installed=installed.items, may_replay=may_replay)


@get("/deliveries/{delivery:str}")
async def read_delivery(view: Needs[View], delivery: FromPath[str]) -> Response[str]:
    return await _delivery(view, delivery)


@post("/deliveries/{delivery:str}")
async def replay_delivery(view: Needs[View], delivery: FromPath[str]) -> Response[Any]:
    """Send one again."""
    shown = await view.ask(deliveries.read, delivery=delivery)
    asked = ReplayIn(ids=[shown.id], status=shown.status, include_delivered=shown.status == "delivered")
    try:
        await view.ask(replays.create_replay, data=asked)
    except Rejected as problem:
        if isinstance(problem, Forbidden):
            raise
        return await _delivery(view, delivery, problem)
    return view.to(f"/app/deliveries/{delivery}", "replaying")


async def _delivery(view: View, delivery: str, problem: Rejected | None = None) -> Response[str]:
    shown = await view.ask(deliveries.read, delivery=delivery)
    may = view.may(replays.create_replay)
    return view.page(
        "delivery.html", problem.status if problem else 200, delivery=shown, may_replay=may, problem=problem
    )


@get("/conversions")
async def list_conversions(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(conversions.list_all)
    aims = await view.ask(goals.list_all, limit=500)
    return view.page("conversions.html", found=found, goals={goal.id: goal.name for goal in aims.items})


@get("/conversions/{conversion:uuid}")
async def read_conversion(view: Needs[View], conversion: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(conversions.read, conversion=conversion)
    goal = view.caller.snapshot.goals.get(shown.goal_id)
    return view.page("conversion.html", conversion=shown, goal=goal)


@get("/orders")
async def list_orders(view: Needs[View]) -> Response[str]:
    return view.page("orders.html", found=await view.ask_list(orders.list_all), states=get_args(orders.Status))


@get("/orders/{order_id:path}")
async def read_order(view: Needs[View], order_id: FromPath[str]) -> Response[str]:
    """The API's handler reads the id as it was sent, slashes included."""
    return view.page("order.html", order=await view.ask_list(orders.read_order, order_id=order_id))


@get("/audit")
async def list_changes(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(audit.list_all)
    installed = await view.ask(destinations.list_all, limit=500)
    names = {str(one.id): one.name for one in installed.items}
    which = {one.id: _which(one, names) for one in found.items}
    return view.page("audit.html", found=found, which=which)


def _which(change: AuditOut, names: dict[str, str]) -> str:
    """What the thing is called, or else its id. `names`: of integrations, by id."""
    held = (decode(change.before) or {}) | (decode(change.after) or {})
    said = next((held[name] for name in ("name", "label", "email") if isinstance(held.get(name), str)), None)
    if change.noun in _OF_PEOPLE:
        return f"by {held.get('asked_by', '')}".replace("_", " ")
    return said or names.get(change.noun_id) or change.noun_id


HANDLERS = [
    list_events, read_event, list_deliveries, read_delivery, replay_delivery, list_conversions, read_conversion,
    list_orders, read_order, list_changes,
]  # fmt: skip
