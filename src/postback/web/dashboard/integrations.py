"""Integrations: the library, installing from the connector's own fields, and a destination with its log and actions."""

from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback import secret
from postback.connectors import catalog as connectors
from postback.errors import NotFound, Rejected
from postback.web.admin import blueprints, catalog, deliveries, destinations, probe, replays
from postback.web.admin.blueprints import TestIn
from postback.web.admin.bodies import etag
from postback.web.admin.catalog import Entry, FieldOut, InstallIn
from postback.web.admin.destinations import DestinationPatch
from postback.web.admin.replays import ReplayIn
from postback.web.admin.shapes import DestinationOut
from postback.web.dashboard.forms import Field
from postback.web.dashboard.render import STATUSES, pretty
from postback.web.dashboard.view import View

_KINDS = {"boolean": "switch", "integer": "number", "number": "amount", "object": "json", "array": "list"}
NAME = Field("name", "Name", help="As lists show it, where there is more than one.")


@get("/integrations")
async def list_all(view: Needs[View]) -> Response[str]:
    return view.page("integrations.html", found=await view.ask(destinations.list_all, limit=500), titles=_titles())


@get("/integrations/library")
async def library(view: Needs[View]) -> Response[str]:
    every = await view.ask(catalog.list_all, limit=500)
    found = await view.ask_list(catalog.list_all, limit=500)
    installed = await view.ask(destinations.list_all, limit=500)
    counts: dict[str, int] = {}
    for one in installed.items:
        counts[one.connector] = counts.get(one.connector, 0) + 1
    categories = sorted({entry.category for entry in every.items})
    return view.page("library.html", found=found, categories=categories, counts=counts)


@get("/integrations/library/{connector:str}")
async def install_form(view: Needs[View], connector: FromPath[str]) -> Response[str]:
    entry = await view.ask(catalog.read, connector=connector)
    variant = view.request.query_params.get("variant", "default")
    return _install_page(view, entry, variant if variant in entry.variants else "default", {"name": entry.name}, None)


@post("/integrations/library/{connector:str}")
async def install(view: Needs[View], connector: FromPath[str]) -> Response[Any]:
    """A secret that was made is shown by this answer, once."""
    entry = await view.ask(catalog.read, connector=connector)
    variant = view.form.get("variant", "default")
    if variant not in entry.variants:
        raise NotFound("There is no such variant.")
    try:
        body = view.body(InstallIn, [*fields_of(entry, variant), Field("variant", "Variant"), NAME])
        made = await view.ask(catalog.install, connector=connector, data=body)
    except Rejected as problem:
        return _install_page(view, entry, variant, view.form, problem)
    if shown_once := _made(entry, variant, made, view.form):
        return view.page("installed.html", made=made, secrets=shown_once)
    return view.to(f"/app/integrations/{made.id}", "installed")


@get("/integrations/{id_:uuid}")
async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _page(view, await view.ask(destinations.read, destination_id=id_))


@post("/integrations/{id_:uuid}", status_code=200)
async def act(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    """What the button `do` says: pause, resume, probe, test, count or replay what failed, save, remove."""
    shown = await view.ask(destinations.read, destination_id=id_)
    form, given = view.form, {"destination_id": id_}
    try:
        match form.get("do"):
            case "pause":
                await view.ask(destinations.pause, **given)
            case "resume":
                await view.ask(destinations.resume, **given)
            case "remove":
                await view.ask(destinations.remove, if_match=form.get("etag"), **given)
                return view.to("/app/integrations", "removed")
            case "probe":
                return await _page(view, shown, probed=await view.ask(probe.probe, **given))
            case "test":
                return await _page(view, shown, tested=await view.ask(blueprints.test, data=TestIn(last=1), **given))
            case "count":
                asked = ReplayIn(destination=id_, status="failed", dry_run=True)
                return await _page(view, shown, counted=await view.ask(replays.create_replay, data=asked))
            case "replay":
                await view.ask(replays.create_replay, data=ReplayIn(destination=id_, status="failed"))
                return view.to(f"/app/integrations/{id_}", "replaying")
            case _:
                entry = await view.ask(catalog.read, connector=shown.connector)
                body = view.body(DestinationPatch, [*fields_of(entry, shown.variant, shown), NAME], patch=True)
                await view.ask(destinations.change, data=body, if_match=form.get("etag"), **given)
    except NotFound:
        raise
    except Rejected as problem:
        return await _page(view, shown, values=form if form.get("do") == "save" else None, problem=problem)
    return view.to(f"/app/integrations/{id_}", "changed")


def fields_of(entry: Entry, variant: str, held: DestinationOut | None = None) -> list[Field]:
    """A connector's form; secrets that a destination has stay where nothing is typed."""
    fields = entry.fields if variant == "default" else entry.variant_fields[variant]
    return [_field(field, bool(held and field.secret and held.config.get(field.name))) for field in fields]


def _field(field: FieldOut, is_set: bool) -> Field:
    kind = "secret" if field.secret else _KINDS.get(field.type, "text")
    return Field(
        field.name, field.title, kind=kind, help=field.description, required=field.required and not is_set, of="config",
        advanced=field.advanced, is_set=is_set,
    )  # fmt: skip


def _made(entry: Entry, variant: str, made: DestinationOut, form: dict[str, str]) -> dict[str, str]:
    """Secrets that were made for it, by title."""
    return {
        field.label: made.config[field.name]
        for field in fields_of(entry, variant)
        if field.kind == "secret" and not form.get(field.name)
        if made.config.get(field.name) not in (None, secret.MASK)
    }


def _install_page(
    view: View, entry: Entry, variant: str, values: dict[str, str], problem: Rejected | None
) -> Response[str]:
    status = problem.status if problem else 200
    own = fields_of(entry, variant)
    config = {field.name: "..." for field in own if field.required}
    example = {"name": entry.name, "variant": variant, "config": config, "delivery_mode": "server_side"}
    return view.page(
        "install.html", status, entry=entry, variant=variant, fields=[NAME, *own], values=values, problem=problem,
        example=example,
    )  # fmt: skip


async def _page(view: View, shown: DestinationOut, **more: Any) -> Response[str]:
    entry = await view.ask(catalog.read, connector=shown.connector)
    fields = [NAME, *fields_of(entry, shown.variant, shown)]
    values = more.pop("values", None)
    if values is None:
        typed = {name: _typed(value) for name, value in shown.config.items() if value != secret.MASK}
        values = {"name": shown.name} | typed
    status = view.request.query_params.get("status")
    given: dict[str, Any] = {"destination": shown.id, "limit": 20, "status": status if status in STATUSES else None}
    log = await view.ask_list(deliveries.list_all, **given)
    jobs = await view.ask(replays.list_replays, limit=20)
    problem = more.get("problem")
    return view.page(
        "integration.html",
        problem.status if problem else 200,
        shown=shown,
        entry=entry,
        etag=etag(shown),
        fields=fields,
        values=values,
        found=log,
        statuses=STATUSES,
        can_probe=_can_probe(shown),
        jobs=[job for job in jobs.items if shown.id in job.destinations][:3],
        **{"problem": None, "probed": None, "tested": None, "counted": None} | more,
    )


def _typed(value: Any) -> str:
    return "" if value is None else ("on" if value else "") if isinstance(value, bool) else pretty(value)


def _can_probe(shown: DestinationOut) -> bool:
    kind = connectors()[shown.connector].of_variant(shown.variant)
    return kind is not None and kind.probe is not None


def _titles() -> dict[str, str]:
    return {name: connector.title for name, connector in connectors().items()}


HANDLERS = [list_all, library, install_form, install, read, act]
