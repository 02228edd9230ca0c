"""Integrations: what is installed; one with its delivery log, configuration, test event, and what is done to it.

Blueprint, replays and backfills of one have pages of their own: `blueprints`, `replays`.
"""

from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback import secret
from postback.connectors import catalog as connectors
from postback.errors import NotFound, Rejected
from postback.web.admin import catalog, deliveries, destinations, probe, trial
from postback.web.admin.bodies import etag
from postback.web.admin.destinations import DestinationPatch
from postback.web.admin.shapes import DestinationOut
from postback.web.admin.trial import TestEventIn
from postback.web.dashboard.forms import Field
from postback.web.dashboard.library import fields_of, name_of
from postback.web.dashboard.render import STATUSES, pretty
from postback.web.dashboard.view import View


@get("/integrations")
async def list_all(view: Needs[View]) -> Response[str]:
    return view.page("integrations.html", found=await view.ask(destinations.list_all, limit=500), titles=_titles())


@get("/integrations/{id_:uuid}")
async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _log(view, await view.ask(destinations.read, destination_id=id_))


@get("/integrations/{id_:uuid}/settings")
async def settings(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _settings(view, await view.ask(destinations.read, destination_id=id_))


@get("/integrations/{id_:uuid}/test")
async def test_form(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _test(view, await view.ask(destinations.read, destination_id=id_))


@post("/integrations/{id_:uuid}/test", status_code=200)
async def test(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(destinations.read, destination_id=id_)
    try:
        data = view.body(TestEventIn, [Field("event", "Event")])
        return await _test(view, shown, sent=await view.ask(trial.send, destination_id=id_, data=data))
    except NotFound:
        raise
    except Rejected as problem:
        return await _test(view, shown, problem=problem)


@post("/integrations/{id_:uuid}", status_code=200)
async def act(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    """What the button `do` says: pause, resume, probe, save, remove."""
    shown = await view.ask(destinations.read, destination_id=id_)
    form, given, here = view.form, {"destination_id": id_}, f"/app/integrations/{id_}"
    is_settings = form.get("do") in ("save", "remove")
    try:
        match form.get("do"):
            case "pause":
                await view.ask(destinations.pause, **given)
                return view.to(here, "paused")
            case "resume":
                await view.ask(destinations.resume, **given)
                return view.to(here, "resumed")
            case "remove":
                await view.ask(destinations.remove, if_match=form.get("etag"), **given)
                return view.to("/app/integrations", "removed")
            case "probe":
                return await _log(view, shown, probed=await view.ask(probe.probe, **given))
            case _:
                entry = await view.ask(catalog.read, connector=shown.connector)
                body = view.body(
                    DestinationPatch, [*fields_of(entry, shown.variant, shown), name_of(entry)], patch=True
                )
                await view.ask(destinations.change, data=body, if_match=form.get("etag"), **given)
    except NotFound:
        raise
    except Rejected as problem:
        if is_settings:
            return await _settings(view, shown, values=form if form["do"] == "save" else None, problem=problem)
        return await _log(view, shown, problem=problem)
    return view.to(f"{here}/settings", "changed")


async def frame(view: View, shown: DestinationOut, template: str, **more: Any) -> Response[str]:
    """A page of one integration: its head, its tabs, and what the template shows."""
    entry = await view.ask(catalog.read, connector=shown.connector)
    kind = connectors()[shown.connector].of_variant(shown.variant)
    problem = more.get("problem")
    return view.page(
        template,
        problem.status if problem else 200,
        shown=shown,
        entry=entry,
        etag=etag(shown),
        queue=await view.ask(destinations.read_queue, destination_id=shown.id),
        can_probe=kind is not None and kind.probe is not None,
        **{"problem": None} | more,
    )


async def _log(view: View, shown: DestinationOut, **more: Any) -> Response[str]:
    found = await view.ask_list(deliveries.list_all, destination=shown.id, limit=20)
    return await frame(view, shown, "integration.html", found=found, statuses=STATUSES, **{"probed": None} | more)


async def _settings(view: View, shown: DestinationOut, **more: Any) -> Response[str]:
    entry = await view.ask(catalog.read, connector=shown.connector)
    fields = [name_of(entry), *fields_of(entry, shown.variant, shown)]
    values = more.pop("values", None)
    if values is None:
        typed = {name: _typed(value) for name, value in shown.config.items() if value != secret.MASK}
        values = {"name": shown.name} | typed
    return await frame(view, shown, "integration_settings.html", fields=fields, values=values, **more)


async def _test(view: View, shown: DestinationOut, **more: Any) -> Response[str]:
    names = trial.names(destinations.find(view.caller, shown.id))
    return await frame(view, shown, "integration_test.html", names=names, **{"sent": None} | more)


def _typed(value: Any) -> str:
    return "" if value is None else ("on" if value else "") if isinstance(value, bool) else pretty(value)


def _titles() -> dict[str, str]:
    return {name: connector.title for name, connector in connectors().items()}


HANDLERS = [list_all, read, settings, test_form, test, act]
