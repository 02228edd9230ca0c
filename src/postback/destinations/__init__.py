"""Destinations: connectors installed with a config. What changes while sending (held, paused, what a 429 taught)
stands apart, in the destination's `lane` row.

Tables: destination (its config sealed as a whole), lane (see `lane.py`), blueprint (versions, see `versions.py`),
oauth_token (see `tokens.py`). Installing, changing and removing bump the workspace's version.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args, get_type_hints
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct, structs
from psycopg.rows import args_row

from postback import secret, workspaces
from postback.blueprint import Blueprint
from postback.blueprint.mapping import Compiled
from postback.connectors import Connector, Request, Skipped, catalog, otherwise
from postback.db import Queries, Tx, buckets
from postback.destinations.lane import Lane, came_back, lanes, set_state, teach, went_down
from postback.errors import Conflict, Invalid, NotFound, PostbackError
from postback.event import Event
from postback.orders import TAKEN_BACK
from postback.pii.seal import Sealer
from postback.secret import Secret

# What `lane.py` gives, beside what stands here.
__all__ = ["Lane", "came_back", "lanes", "set_state", "teach", "went_down"]

log = structlog.get_logger()
_decode_blueprint = msgspec.json.Decoder(Blueprint).decode
_queries = Queries("destinations")


# What the tag says of its visitor, and is no event of any platform.
OF_VISITOR = frozenset({"identify", "consent"})


class Destination(Struct, frozen=True):
    """An installed connector. `config` is the connector's own struct, secrets in clear inside `Secret`; None where it
    does not open, or where the destination was removed. `blueprint`: what becomes of its events, None: what the
    connector does of itself; `blueprint_version` 0: none was ever written."""

    id: UUID
    workspace_id: UUID
    connector: Connector
    variant: str
    name: str
    config: Any
    created_at: datetime
    removed_at: datetime | None = None
    blueprint: Compiled | None = None
    blueprint_version: int = 0

    @property
    def bucket(self) -> int:
        """The home bucket: where its lane row is."""
        return buckets.of_id(self.id)


class Label(Struct, frozen=True):
    """What a destination is called; for one that was removed too."""

    id: UUID
    connector: str
    name: str
    removed_at: datetime | None


class _Stored(Struct, frozen=True):
    id: UUID
    workspace_id: UUID
    connector: str
    variant: str
    name: str
    config: bytes
    created_at: datetime
    removed_at: datetime | None
    blueprint: str | None
    blueprint_version: int


def connector_named(name: str, variant: str = "default") -> Connector:
    """Raises NotFound; Invalid where the connector has no such variant."""
    try:
        connector = catalog()[name]
    except KeyError:
        raise NotFound(f"There is no connector {name}; there are {', '.join(sorted(catalog()))}.") from None
    if (found := connector.of_variant(variant)) is None:
        known = ", ".join(one.variant for one in (connector, *connector.variants))
        raise Invalid(f"{connector.title} has no variant {variant}; it has {known}.", field="variant")
    return found


def read_config(connector: Connector, config: dict[str, Any]) -> Struct:
    """A config as sent, as the connector's struct. Raises Invalid naming `config.<name>`."""
    known = connector.config.__struct_fields__
    if unknown := sorted(set(config) - set(known)):
        raise Invalid(
            f"{connector.title} has no field {unknown[0]}; it has {', '.join(known)}.", field=f"config.{unknown[0]}"
        )
    hints = get_type_hints(connector.config)
    for name, value in config.items():
        takes = (hints[name], *get_args(hints[name]))
        is_absent = value is None and type(None) in takes
        if Secret in takes and not is_absent and not (isinstance(value, str) and value):
            raise Invalid("A secret is a text that is not empty.", field=f"config.{name}")
    try:
        return msgspec.convert(config, connector.config, dec_hook=secret.decode_hook)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`") or (what.split("`")[1] if "missing required field" in what else "")
        raise Invalid(f"{what}.", field=f"config.{name}" if name else "config") from None


def secret_fields(connector: Connector) -> frozenset[str]:
    """Fields of its config that hold a secret."""
    hints = get_type_hints(connector.config)
    return frozenset(name for name, hint in hints.items() if Secret in (hint, *get_args(hint)))


def config_text(config: Struct, show: Callable[[Secret], str | None]) -> dict[str, Any]:
    """A config as plain values; secrets as `show` gives them."""
    return {
        name: show(value) if isinstance(value := getattr(config, name), Secret) else msgspec.to_builtins(value)
        for name in config.__struct_fields__
    }


def skip_reason(destination: Destination, event: Event, age: timedelta) -> str | None:
    """Why a destination will not be sent an event of this age, as far as the event alone tells; None: it is queued."""
    connector, blueprint = destination.connector, destination.blueprint
    if blueprint is not None and not blueprint.takes(event.name):
        return f"not mapped: the blueprint has no rule for {event.name}"
    if blueprint is None and connector.names is not None and event.name not in connector.names:
        return f"not mapped: {connector.title} has no event for {event.name}"
    if (
        event.dialect == "tag"
        and event.name in OF_VISITOR
        and not (blueprint is not None and blueprint.names(event.name))
    ):
        return f"not mapped: {event.name} is of the visitor, and goes where a blueprint names it"
    if event.consent is not None and event.consent.denies(connector.consent):
        return "consent: denied by the visitor"
    status = event.order.status if event.order else None
    if status in TAKEN_BACK and not connector.retracts:
        return f"no retraction: {connector.title} takes no order back"
    limit = connector.max_age(event)
    if limit is not None and age > limit:
        return f"expired: {connector.title} takes events up to {_span(limit)} old"
    return None


async def install(
    tx: Tx,
    sealer: Sealer,
    *,
    id: UUID,
    workspace_id: UUID,
    connector: Connector,
    variant: str,
    name: str | None,
    config: Struct,
    now: datetime,
) -> Destination:
    """Add a destination; from the commit on every event has a delivery to it. `name` None: the connector's title, with
    a number where that is taken. Raises Invalid; Conflict where the name is another one's."""
    if name is not None and (not 1 <= len(name) <= 100 or "\x00" in name):
        raise Invalid("A name has 1 to 100 characters.", field="name")
    # First, so that one at a time looks at the names.
    await workspaces.bump(tx, workspace_id)
    name = await _free_name(tx, workspace_id, connector.title, name)
    row = {"id": id, "workspace_id": workspace_id, "now": now, "bucket": buckets.of_id(id)}
    named = {"connector": connector.name, "variant": variant, "name": name, "config": _sealed(sealer, config)}
    await tx.execute(_queries.insert, row | named)
    await tx.execute(_queries.insert_lane, row)
    return Destination(id, workspace_id, connector, variant, name, config, now, blueprint=compiled(connector, None))


async def change(tx: Tx, sealer: Sealer, destination: Destination, *, name: str, config: Struct, now: datetime) -> None:
    """Write a new name and config; a destination that was held sends again. Raises Conflict where the name is another
    one's."""
    await workspaces.bump(tx, destination.workspace_id)
    if name.casefold() != destination.name.casefold():
        await _free_name(tx, destination.workspace_id, name, name)
    await tx.execute(
        _queries.update,
        {
            "id": destination.id,
            "workspace_id": destination.workspace_id,
            "name": name,
            "config": _sealed(sealer, config),
        },
    )
    await set_state(tx, destination.id, "active", {"held"}, now)


async def _free_name(tx: Tx, workspace_id: UUID, title: str, wanted: str | None) -> str:
    """The wanted name, or one made of the title, that no installed destination has in any case."""
    known = {one.name.casefold() for one in (await labels(tx, workspace_id)).values() if one.removed_at is None}
    if wanted is not None and wanted.casefold() in known:
        raise Conflict(f"There is an integration named {wanted} already; give this one another name.", field="name")
    names = (title, *(f"{title} {number}" for number in range(2, len(known) + 2)))
    return wanted or next(name for name in names if name.casefold() not in known)


async def remove(tx: Tx, workspace_id: UUID, id: UUID, now: datetime) -> None:
    """No event goes there from the commit on; what is open ends as skipped. Raises NotFound."""
    cursor = await tx.execute(_queries.remove, {"workspace_id": workspace_id, "id": id, "now": now})
    if await cursor.fetchone() is None:
        raise NotFound("There is no such destination.")
    await tx.execute(_queries.drop_token, {"bucket": buckets.of_id(id), "id": id})
    await workspaces.bump(tx, workspace_id)


def compiled(connector: Connector, blueprint: Blueprint | None, field: str = "blueprint") -> Compiled | None:
    """A blueprint made ready for a connector, its default where it is None; None: what the connector does of itself.

    Raises Invalid, naming the field below `field`.
    """
    rules = blueprint or connector.blueprint
    return Compiled(rules, connector.platform, field) if rules is not None else None


async def write_blueprint(
    tx: Tx, destination: Destination, blueprint: Blueprint | None, *, by: str, now: datetime
) -> Destination:
    """Make a blueprint live as a new version; None: the connector's default. What waits is built by it; the one that
    is live already stays as it is. Raises Invalid.

    Versions are numbered in turn: the workspace's version is bumped first, which one at a time does.
    """
    ready = compiled(destination.connector, blueprint)
    # One that does not open may have a blueprint that no longer holds: it is replaced.
    if ready == destination.blueprint and destination.config is not None:
        return destination
    await workspaces.bump(tx, destination.workspace_id)
    body = msgspec.json.encode(blueprint).decode() if blueprint is not None else None
    cursor = await tx.execute(
        _queries.insert_blueprint, {"id": destination.id, "body": body, "now": now, "created_by": by}
    )
    row = await cursor.fetchone()
    assert row is not None
    return structs.replace(destination, blueprint=ready, blueprint_version=row[0])


async def of_workspaces(tx: Tx, sealer: Sealer, workspace_ids: Sequence[UUID]) -> list[Destination]:
    """Installed destinations, oldest first."""
    async with tx.cursor(row_factory=args_row(_Stored), binary=True) as cursor:
        await cursor.execute(_queries.of_workspaces, {"workspace_ids": list(workspace_ids)})
        return [_opened_or_not(sealer, row) for row in await cursor.fetchall()]


async def all_sendable(tx: Tx, sealer: Sealer) -> list[Destination]:
    """Every destination, removed ones too: their open deliveries are still to end."""
    async with tx.cursor(row_factory=args_row(_Stored), binary=True) as cursor:
        await cursor.execute(_queries.all_sendable)
        return [_opened_or_not(sealer, row) for row in await cursor.fetchall()]


async def read(tx: Tx, sealer: Sealer, workspace_id: UUID, id: UUID) -> Destination:
    """Raises NotFound, SealError."""
    return _opened(sealer, await _stored(tx, workspace_id, id))


async def read_any(tx: Tx, sealer: Sealer, workspace_id: UUID, id: UUID) -> Destination:
    """As `read`; `config` None where it does not open. Raises NotFound."""
    return _opened_or_not(sealer, await _stored(tx, workspace_id, id))


async def _stored(tx: Tx, workspace_id: UUID, id: UUID) -> _Stored:
    async with tx.cursor(row_factory=args_row(_Stored), binary=True) as cursor:
        await cursor.execute(_queries.read, {"workspace_id": workspace_id, "id": id})
        if row := await cursor.fetchone():
            return row
    raise NotFound("There is no such destination.")


async def labels(tx: Tx, workspace_id: UUID) -> dict[UUID, Label]:
    """Every destination that a workspace ever had."""
    async with tx.cursor(row_factory=args_row(Label), binary=True) as cursor:
        await cursor.execute(_queries.labels, {"workspace_id": workspace_id})
        return {label.id: label for label in await cursor.fetchall()}


async def installed(tx: Tx) -> list[Label]:
    """What is installed now, in every workspace; configs stay sealed."""
    async with tx.cursor(row_factory=args_row(Label), binary=True) as cursor:
        return await (await cursor.execute(_queries.installed)).fetchall()


def _span(limit: timedelta) -> str:
    hours = int(limit.total_seconds() // 3600)
    return f"{hours // 24} days" if hours % 24 == 0 else f"{hours} hours"


def _sealed(sealer: Sealer, config: Struct) -> bytes:
    return sealer.seal(msgspec.json.encode(config_text(config, Secret.reveal)))


def _opened_or_not(sealer: Sealer, row: _Stored) -> Destination:
    """As `_opened`; one that does not open has `config` None: events are queued for it, none is sent, and it harms no
    other destination."""
    try:
        if row.removed_at is None:
            return _opened(sealer, row)
    except (PostbackError, msgspec.DecodeError) as error:
        log.error("destination does not open", destination_id=str(row.id), error=str(error))
    try:
        connector = connector_named(row.connector, row.variant)
    except (NotFound, Invalid):
        connector = _unknown(row.connector)
    return _destination(row, connector, None, None)


def _unknown(name: str) -> Connector:
    """Stands for a connector that this version does not have."""

    def build(*_: object) -> Skipped:
        return Skipped(f"there is no connector {name}")

    return Connector(
        name=name,
        title=name,
        category="unknown",
        config=Struct,
        build=build,
        pack=lambda items, config, now: Request(method="POST", url=""),
        interpret=lambda response, count: otherwise(response),
        identifiers=frozenset(),
        docs="",
    )


def _opened(sealer: Sealer, row: _Stored) -> Destination:
    connector = connector_named(row.connector, row.variant)
    config = read_config(connector, msgspec.json.decode(sealer.unseal(row.config)))
    rules = _decode_blueprint(row.blueprint) if row.blueprint is not None else None
    return _destination(row, connector, config, compiled(connector, rules))


def _destination(row: _Stored, connector: Connector, config: Any, blueprint: Compiled | None) -> Destination:
    return Destination(
        id=row.id,
        workspace_id=row.workspace_id,
        connector=connector,
        variant=row.variant,
        name=row.name,
        config=config,
        created_at=row.created_at,
        removed_at=row.removed_at,
        blueprint=blueprint,
        blueprint_version=row.blueprint_version,
    )
