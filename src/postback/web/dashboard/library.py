"""The library of integrations, and installing one from the connector's own fields."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback import secret
from postback.blueprint import ANY
from postback.errors import NotFound, Rejected
from postback.web.admin import catalog, destinations
from postback.web.admin.catalog import Entry, FieldOut, InstallIn
from postback.web.admin.shapes import DestinationOut
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View

_KINDS = {"boolean": "switch", "integer": "number", "number": "amount", "object": "json", "array": "list"}


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
    names = {one.name.lower() for one in (await view.ask(destinations.list_all, limit=500)).items}
    free = (f"{entry.name} {number}" for number in range(2, len(names) + 3))
    name = entry.name if entry.name.lower() not in names else next(one for one in free if one.lower() not in names)
    return _page(view, entry, variant if variant in entry.variants else "default", {"name": name}, None)


@post("/integrations/library/{connector:str}")
async def install(view: Needs[View], connector: FromPath[str]) -> Response[Any]:
    """A secret that was made is shown by this answer, once. The name that the form gives refuses a second sending."""
    entry = await view.ask(catalog.read, connector=connector)
    variant = view.form.get("variant", "default")
    if variant not in entry.variants:
        raise NotFound("There is no such variant.")
    try:
        body = view.body(InstallIn, [*fields_of(entry, variant), Field("variant", "Variant"), name_of(entry)])
        made = await view.ask(catalog.install, connector=connector, data=body)
    except Rejected as problem:
        return _page(view, entry, variant, view.form, problem)
    if shown_once := _made(entry, variant, made, view.form):
        return view.page("installed.html", made=made, secrets=shown_once)
    return view.to(f"/app/integrations/{made.id}", "installed")


def name_of(entry: Entry) -> Field:
    return Field("name", "Name", placeholder=entry.name, help="As lists show it; no two have the same.")


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


def _takes(entry: Entry) -> list[tuple[str, str | None]]:
    """Standard events by our names, those that matter most first, and what the platform calls them."""
    rules = {rule.event: rule.to for rule in entry.blueprint.rules}
    first = ["purchase", "lead"]
    names = [*first, *(name for name in rules if name not in first)]
    return [(name, rules.get(name)) for name in names if name != ANY and (name in rules or ANY in rules)]


def _page(view: View, entry: Entry, variant: str, values: dict[str, str], problem: Rejected | None) -> Response[str]:
    own = fields_of(entry, variant)
    config = {field.name: "..." for field in own if field.required}
    example = {"name": entry.name, "variant": variant, "config": config, "delivery_mode": "server_side"}
    return view.page(
        "install.html", problem.status if problem else 200, entry=entry, variant=variant,
        fields=[name_of(entry), *own], values=values, problem=problem, example=example,
        takes=_takes(entry), takes_any=any(rule.event == ANY for rule in entry.blueprint.rules),
    )  # fmt: skip


HANDLERS = [library, install_form, install]
