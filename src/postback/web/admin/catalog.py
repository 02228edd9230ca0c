"""`/v1/admin/integration-catalog`: what can be installed, and installing it. Forms and checks derive from each
connector's Config struct.
"""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar import get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from postback import destinations
from postback.blueprint import Blueprint
from postback.connectors import Connector, catalog
from postback.db import buckets
from postback.destinations import forms
from postback.errors import Invalid
from postback.secret import Secret
from postback.web.admin.access import Caller
from postback.web.admin.addresses import refuse_private
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import changing
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Limit, NameCursor, Page, page_of
from postback.web.admin.shapes import DestinationOut, destination_out

_WEBHOOK = {"name": "Orders", "config": {"url": "https://hooks.example.com/postback"}}
_KINDS = {
    str: "string",
    Secret: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
}


class FieldOut(Struct, frozen=True):
    """`advanced`: shown in a form only on request."""

    name: str
    title: str
    type: str
    required: bool
    secret: bool
    description: str
    advanced: bool


class Entry(Struct, frozen=True):
    """`blueprint`: the default mapping of events. `fields`: those of the variant `default`; `variant_fields`: those of
    the others, by variant, with `advice` on when to take which."""

    connector: str
    name: str
    category: str
    about: str
    variants: list[str]
    fields: list[FieldOut]
    blueprint: Blueprint
    docs: str
    variant_fields: dict[str, list[FieldOut]]
    advice: dict[str, str]


class InstallIn(Struct, frozen=True):
    """`name` absent: the connector's own, with a number where that is taken."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    variant: str = "default"
    config: dict[str, Any] = {}
    delivery_mode: Annotated[str, Meta(extra_json_schema={"enum": ["server_side"]})] = "server_side"


@get("/integration-catalog", summary="List connectors")
async def list_all(
    limit: Limit = DEFAULT_LIMIT,
    cursor: NameCursor = None,
    category: Annotated[str | None, QueryParameter(description="Only connectors of this category.")] = None,
    q: Annotated[
        str | None, QueryParameter(description="Only connectors whose name, title or category holds this.")
    ] = None,
) -> Page[Entry]:
    found = [
        connector
        for connector in catalog().values()
        if (category is None or connector.category == category) and (not q or _matches(connector, q))
    ]
    return page_of(found, entry, lambda connector: connector.name.encode(), limit, cursor, name_bytes=None)


@get("/integration-catalog/{connector:str}", summary="One connector, with its form")
async def read(connector: FromPath[str]) -> Entry:
    return entry(destinations.connector_named(connector))


@post(
    "/integration-catalog/{connector:str}/install",
    summary="Install a connector as a destination",
    opt={EXAMPLE: _WEBHOOK},
)
async def install(
    hub: Needs[Hub], caller: Needs[Caller], connector: FromPath[str], data: JSONBody[InstallIn]
) -> Tagged[DestinationOut]:
    """A secret that was made stands in `config` of this answer, and never again; all others are masked. 409 where the
    `name` is another destination's."""
    kind = destinations.connector_named(connector, data.variant)
    if data.delivery_mode != "server_side":
        raise Invalid("delivery_mode must be server_side; there is no other.", field="delivery_mode")
    made = forms.made_secrets(kind, data.config)
    config = destinations.read_config(kind, {**data.config, **made})
    refuse_private(config, hub.settings)
    async with changing(hub, caller) as change:
        installed = await destinations.install(
            change.tx,
            hub.vault.sealer,
            id=buckets.new_id(caller.now),
            workspace_id=caller.workspace_id,
            connector=kind,
            variant=data.variant,
            name=data.name,
            config=config,
            now=caller.now,
        )
        shown = destination_out(installed, None)
        await change.record("created", "destination", installed.id, after=shown)
    return Tagged(msgspec.structs.replace(shown, config={**shown.config, **made}), like=shown)


def entry(connector: Connector) -> Entry:
    return Entry(
        connector=connector.name,
        name=connector.title,
        category=connector.category,
        about=connector.about,
        variants=[one.variant for one in (connector, *connector.variants)],
        fields=_fields(connector),
        blueprint=connector.default_blueprint,
        docs=connector.docs,
        variant_fields={one.variant: _fields(one) for one in connector.variants},
        advice={one.variant: one.advice for one in (connector, *connector.variants) if one.advice},
    )


def _fields(connector: Connector) -> list[FieldOut]:
    hints = get_type_hints(connector.config, include_extras=True)
    return [_field(field, hints[field.name]) for field in msgspec.structs.fields(connector.config)]


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> FieldOut:
    kind, meta = _kind_of(hint), forms.meta_of(hint)
    return FieldOut(
        name=field.name,
        title=meta.title or field.name.replace("_", " ").capitalize(),
        type=_KINDS.get(kind, "string"),
        required=field.required,
        secret=kind is Secret,
        description=meta.description or "",
        advanced=bool((meta.extra or {}).get("advanced")),
    )


def _kind_of(hint: Any) -> type:
    """The plain type under Annotated and Optional."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _kind_of(get_args(hint)[0])
    if origin in (Union, UnionType):
        return _kind_of(next(part for part in get_args(hint) if part is not type(None)))
    return origin or hint


def _matches(connector: Connector, q: str) -> bool:
    return q.strip().lower() in f"{connector.name} {connector.title} {connector.category}".lower()


HANDLERS = [list_all, read, install]
