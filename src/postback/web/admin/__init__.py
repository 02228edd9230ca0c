"""The admin API: `/v1/admin/...` with a key, and what any installation has beside it: health, metrics,
`/openapi.json`, `/docs`.

Handlers stay thin: they call the rooms below and give their shapes. A handler's signature is the truth: its paths,
parameters, body and answer stand in `/openapi.json` as they are declared.

    hub           what the handlers of a process share
    access        who calls, and what they may
    signed_in     people, by the dashboard's cookie
    bodies        bodies in and out
    answers       what goes wrong
    pages, spans  lists
    shapes        what several paths answer with
    addresses     private ones are refused
    changes       of the configuration: in turn, written down, never over what the caller has not seen
    keys, workspaces, members, sites, goals, event_types, plans, audit      the paths
    catalog, destinations, blueprints, probe, events, deliveries, replays, conversions, usage
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ExceptionHandlersMap

from postback.db import Pool
from postback.installation import Vault
from postback.intake.directory import Directory
from postback.intake.writer import Writer
from postback.settings import Settings
from postback.web import health, metrics, openapi, reference, wire
from postback.web.admin import (
    answers,
    audit,
    blueprints,
    catalog,
    conversions,
    deliveries,
    destinations,
    event_types,
    events,
    goals,
    keys,
    members,
    plans,
    probe,
    replays,
    sites,
    usage,
    workspaces,
)
from postback.web.admin.access import caller_of, require_caller
from postback.web.admin.bodies import JsonResponse, StrictRequest
from postback.web.admin.hub import Hub
from postback.web.calls import Calls

PREFIX = "/v1/admin"
_ROOMS = (
    keys, workspaces, members, sites, goals, event_types, plans, audit,
    catalog, destinations, blueprints, probe, events, deliveries, replays, conversions, usage,
)  # fmt: skip
# Litestar answers OPTIONS by itself; here paths take what /openapi.json says. No handler has a method of this name.
_REFUSED = "-"


def _of_pages(pages: Sequence[Router]) -> ExceptionHandlersMap:
    """What has no route of its own below the pages is answered by them."""

    def of(kind: type[HTTPException]) -> Callable[[Any, Any], Any]:
        def answer(request: Request, error: HTTPException) -> Response:
            for page in pages:
                if f"{request.scope['path']}/".startswith(f"{page.path}/"):
                    return page.exception_handlers[HTTPException](request, error)  # type: ignore[return-value]
            return answers.HANDLERS[kind](request, error)  # type: ignore[return-value]

        return answer

    return {kind: of(kind) for kind in (NotFoundException, MethodNotAllowedException)}


class Admin:
    """`application` is ASGI. Needs no lifespan. `pages`: what stands beside the API, and is not of it."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        writer: Writer,
        vault: Vault,
        settings: Settings,
        requests: Counter[tuple[str, int]],
        calls: Calls,
        *,
        pages: Sequence[Router] = (),
    ) -> None:
        hub = Hub(pool, directory, writer, vault, settings, requests, calls)
        pulse, gauges = health.Pulse(), metrics.Gauges()
        self._requests = requests
        self._app = Litestar(
            [
                Router(PREFIX, route_handlers=[h for room in _ROOMS for h in room.HANDLERS], guards=[require_caller]),
                *health.HANDLERS,
                *metrics.HANDLERS,
                *openapi.HANDLERS,
                *reference.HANDLERS,
                *pages,
            ],
            dependencies={
                "hub": Provide(lambda: hub, sync_to_thread=False),
                "pulse": Provide(lambda: pulse, sync_to_thread=False),
                "gauges": Provide(lambda: gauges, sync_to_thread=False),
                "caller": Provide(caller_of, sync_to_thread=False),
            },
            state=State({"hub": hub}),
            request_class=StrictRequest,
            response_class=JsonResponse,
            exception_handlers={**answers.HANDLERS, **_of_pages(pages)},
            openapi_config=None,
            logging_config=None,
        )

    async def application(self, scope: wire.Scope, receive: wire.Receive, send: wire.Send) -> int:
        """Gives every answer an id, and counts it under its path's form; returns its status."""
        status = 0

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", wire.new_request_id().encode())]
            await send(message)

        if scope["method"] == "OPTIONS":
            scope = {**scope, "method": _REFUSED}
        await self._app(scope, receive, answer)  # type: ignore[arg-type]  # plain ASGI
        self._requests[scope.get("path_template", "other"), status] += 1
        return status
