"""`/v1/admin/destinations`: what is installed; change, pause, resume, remove, and try the credential."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from postback import destinations, secret
from postback.blueprint import Blueprint
from postback.db import Tx
from postback.destinations import Destination, Lane
from postback.errors import Conflict, NotFound
from postback.queue import lists
from postback.secret import Secret
from postback.web.admin.access import Caller
from postback.web.admin.addresses import refuse_private
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.web.admin.shapes import DestinationOut, destination_out
from postback.workspaces.audit import Change

NOUN = "destination"


class DestinationPatch(Struct, frozen=True):
    """What is absent stays. `config` is merged; secrets that are not sent stay; null removes an optional field.
    `blueprint` is replaced as a whole, as a new version; null: the connector's default."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    config: dict[str, Any] | UnsetType = UNSET
    blueprint: Blueprint | UnsetType | None = UNSET
    status: Literal["active", "paused"] | UnsetType = UNSET


class QueueOut(Struct, frozen=True):
    """`waiting`: open deliveries; `retrying`: those of them that were tried; `since`: the first of these tries,
    `reason`: of most of them. `complete` false: there are more than could be counted."""

    waiting: int
    retrying: int
    since: datetime | None
    reason: str | None
    complete: bool


@get("/destinations", summary="List destinations, oldest first")
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[DestinationOut]:
    installed = caller.snapshot.destinations
    async with hub.pool.connection() as tx:
        lanes = await destinations.lanes(tx, sorted({destination.bucket for destination in installed}))
    return page_of(
        installed,
        lambda destination: destination_out(destination, lanes.get(destination.id)),
        lambda destination: destination.id.bytes,
        limit,
        cursor,
    )


@get("/destinations/{destination_id:uuid}", summary="One destination")
async def read(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> Tagged[DestinationOut]:
    async with hub.pool.connection() as tx:
        return Tagged(await as_it_is(tx, find(caller, destination_id)))


@get("/destinations/{destination_id:uuid}/queue", summary="What waits for a destination")
async def read_queue(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> QueueOut:
    destination = find(caller, destination_id)
    async with hub.pool.connection() as tx:
        oldest = caller.now - timedelta(days=hub.settings.retention_days)
        found = await lists.backlog(tx, destination.id, oldest)
    return QueueOut(found.waiting, found.retrying, found.since, found.reason, found.is_all)


@patch(
    "/destinations/{destination_id:uuid}",
    summary="Change name, config, blueprint or status; a held one sends again",
    opt={EXAMPLE: {"name": "Shop, Meta"}},
)
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    destination_id: FromPath[UUID],
    data: JSONBody[DestinationPatch],
    if_match: IfMatch = None,
) -> Tagged[DestinationOut]:
    async with changing(hub, caller) as change:
        destination, before = await current(change, hub, destination_id)
        if data.name is not UNSET or data.config is not UNSET:
            destination = await _write(change, hub, destination, data)
        if data.blueprint is not UNSET:
            destination = await destinations.write_blueprint(
                change.tx, destination, data.blueprint, by=caller.actor, now=caller.now
            )
        if data.status is not UNSET:
            await _move(change.tx, destination, data.status, caller.now)
        shown = await as_it_is(change.tx, destination)
        expect(if_match, before)
        await change.record("changed", NOUN, destination_id, before=before, after=shown)
    return Tagged(shown)


@delete("/destinations/{destination_id:uuid}", summary="Remove a destination; what waits for it ends as skipped")
async def remove(
    hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID], if_match: IfMatch = None
) -> None:
    async with changing(hub, caller) as change:
        _, before = await current(change, hub, destination_id)
        expect(if_match, before)
        await destinations.remove(change.tx, caller.workspace_id, destination_id, caller.now)
        await change.record("removed", NOUN, destination_id, before=before)


@post("/destinations/{destination_id:uuid}/pause", status_code=200, summary="Stop sending, go on queueing")
async def pause(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> Tagged[DestinationOut]:
    """Repeating is harmless. A held destination sends nothing already: 409."""
    return await _moved(hub, caller, destination_id, "paused")


@post("/destinations/{destination_id:uuid}/resume", status_code=200, summary="Send what waited")
async def resume(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> Tagged[DestinationOut]:
    """From paused or held; repeating is harmless."""
    return await _moved(hub, caller, destination_id, "active")


async def _moved(
    hub: Hub, caller: Caller, destination_id: UUID, state: Literal["active", "paused"]
) -> Tagged[DestinationOut]:
    async with changing(hub, caller) as change:
        destination, before = await current(change, hub, destination_id)
        await _move(change.tx, destination, state, caller.now)
        shown = await as_it_is(change.tx, destination)
        action = "paused" if state == "paused" else "resumed"
        await change.record(action, NOUN, destination_id, before=before, after=shown)
    return Tagged(shown)


async def _move(tx: Tx, destination: Destination, state: str, now: datetime) -> None:
    from_states = {"active"} if state == "paused" else {"paused", "held"}
    if await destinations.set_state(tx, destination.id, state, from_states, now):
        return
    lane = await _lane(tx, destination)
    if lane is not None and lane.state == "held":
        raise Conflict("This destination is held and sends nothing: correct its config, or resume it.")


async def _write(change: Change, hub: Hub, destination: Destination, data: DestinationPatch) -> Destination:
    """The destination with the name and config that were sent, written."""
    name = destination.name if data.name is UNSET else data.name
    config = destination.config if data.config is UNSET else _merged(destination, data.config)
    if config is None:
        raise Conflict("The config of this destination does not open with the seal key; send the whole config.")
    if data.config is not UNSET:
        refuse_private(config, hub.settings)
    await destinations.change(change.tx, hub.vault.sealer, destination, name=name, config=config, now=change.now)
    return msgspec.structs.replace(destination, name=name, config=config)


async def current(change: Change, hub: Hub, destination_id: UUID) -> tuple[Destination, DestinationOut]:
    """The destination as it is in this transaction, and as it is shown."""
    destination = await destinations.read_any(change.tx, hub.vault.sealer, change.workspace_id, destination_id)
    return destination, await as_it_is(change.tx, destination)


async def as_it_is(tx: Tx, destination: Destination) -> DestinationOut:
    return destination_out(destination, await _lane(tx, destination))


async def _lane(tx: Tx, destination: Destination) -> Lane | None:
    return (await destinations.lanes(tx, [destination.bucket])).get(destination.id)


def find(caller: Caller, destination_id: UUID) -> Destination:
    for destination in caller.snapshot.destinations:
        if destination.id == destination_id:
            return destination
    raise NotFound("There is no such destination.")


def _merged(destination: Destination, sent: dict[str, Any]) -> Struct:
    """The config with what was sent. A mask that comes back is a secret that was not sent."""
    held = destinations.config_text(destination.config, Secret.reveal) if destination.config is not None else {}
    fresh = {name: value for name, value in sent.items() if value != secret.MASK}
    return destinations.read_config(destination.connector, held | fresh)


HANDLERS = [list_all, read, read_queue, change, remove, pause, resume]
