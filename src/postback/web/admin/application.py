"""The admin API and the dashboard put together: their paths, in one Litestar application."""

import asyncio
from collections import Counter
from functools import cache
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import Scope

from postback.db import Pool
from postback.intake.directory import Directory
from postback.intake.writer import Writer
from postback.pii import Vault
from postback.queue import lists
from postback.settings import Settings
from postback.web import dashboard, health, metrics, openapi, reference, tag, wire
from postback.web.admin import (
    answers,
    attention,
    audit,
    blueprints,
    catalog,
    conversions,
    deliveries,
    destinations,
    event_types,
    events,
    find,
    goals,
    keys,
    members,
    orders,
    own,
    plans,
    privacy,
    probe,
    replays,
    reports,
    sites,
    trial,
    usage,
    visitors,
    workspaces,
)
from postback.web.admin.access import caller_of, require_caller
from postback.web.admin.bodies import JsonResponse, StrictRequest
from postback.web.admin.hub import HUB, Hub, hub_of
from postback.web.calls import Calls
from postback.web.live import Live

PREFIX = "/v1/admin"
_PULSE, _GAUGES = "postback.pulse", "postback.gauges"
_ROOMS = (
    keys, workspaces, members, sites, goals, event_types, plans, audit,
    catalog, destinations, blueprints, probe, trial, events, deliveries, replays, conversions, orders, usage,
    visitors, privacy, find, own, reports, attention,
)  # fmt: skip
# Litestar answers OPTIONS by itself; here paths take what /openapi.json says. No handler has a method of this name.
_REFUSED = "-"


@cache
def _made() -> Litestar:
    """The paths, without what they serve: that comes with each request's scope. Making it takes 0.3 s."""
    return Litestar(
        [
            Router(
                PREFIX,
                route_handlers=[h for room in _ROOMS for h in room.HANDLERS],
                guards=[require_caller],
                response_headers={"Cache-Control": "no-store"},  # a browser whose cookie is the key keeps none
            ),
            *health.HANDLERS,
            *metrics.HANDLERS,
            *openapi.HANDLERS,
            *reference.HANDLERS,
            *tag.HANDLERS,
            dashboard.router(),
        ],
        dependencies={
            "hub": Provide(hub_of, sync_to_thread=False),
            "pulse": Provide(_pulse, sync_to_thread=False),
            "gauges": Provide(_gauges, sync_to_thread=False),
            "caller": Provide(caller_of, sync_to_thread=False),
            "looking": Provide(_looking, sync_to_thread=False),
        },
        request_class=StrictRequest,
        response_class=JsonResponse,
        exception_handlers={
            **answers.HANDLERS,
            NotFoundException: _no_route,
            MethodNotAllowedException: _no_route,
        },
        openapi_config=None,
        logging_config=None,
    )


def _no_route(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """A path or method that nothing takes: said by a page among pages, else by JSON."""
    is_page = f"{request.scope['path']}/".startswith(f"{dashboard.PREFIX}/")
    handlers: Any = dashboard.problems.HANDLERS if is_page else answers.HANDLERS
    return handlers[HTTPException if is_page else type(error)](request, error)


def _pulse(scope: Scope) -> health.Pulse:
    return scope["state"][_PULSE]


def _looking() -> float:
    """Seconds that a list may look for what is rare."""
    return lists.LOOKING_SECONDS


def _gauges(scope: Scope) -> metrics.Gauges:
    return scope["state"][_GAUGES]


class Admin:
    """`application` is ASGI. Needs no lifespan."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        writer: Writer,
        vault: Vault,
        settings: Settings,
        requests: Counter[tuple[str, int]],
        calls: Calls,
        live: Live,
    ) -> None:
        self._shared = {
            HUB: Hub(pool, directory, writer, vault, settings, requests, calls, asyncio.Lock(), live),
            _PULSE: health.Pulse(),
            _GAUGES: metrics.Gauges(),
        }
        self._requests = requests
        self._app = _made()

    async def application(self, scope: wire.Scope, receive: wire.Receive, send: wire.Send) -> int:
        """Gives every answer an id, and counts it under its path's form; returns its status."""
        status = 0

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", wire.new_request_id().encode())]
            await send(message)

        scope.setdefault("state", {}).update(self._shared)
        if scope["method"] == "OPTIONS":
            scope = {**scope, "method": _REFUSED}
        await self._app(scope, receive, answer)  # type: ignore[arg-type]  # plain ASGI
        self._requests[scope.get("path_template", "other"), status] += 1
        return status
