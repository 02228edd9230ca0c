"""`/v1/admin/destinations/{id}/blueprint` and `.../test`: versions, roll-back, and what a draft would change.

A blueprint is written by `PATCH /v1/admin/destinations/{id}`; each is kept as a version, the highest is live, and a
roll-back makes an earlier one live again as a new version. Version 0 is the connector's default.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from postback import destinations
from postback.blueprint import Blueprint
from postback.db import Tx
from postback.delivery import prepare, preview
from postback.delivery.preview import Previewed
from postback.destinations import Destination, versions
from postback.destinations.versions import Version
from postback.errors import Conflict, Invalid
from postback.queue import EventRow, lists, sending
from postback.queue.lists import LAST_ID, EventFilter
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.changes import changing
from postback.web.admin.destinations import NOUN, as_it_is, current, find
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, first_of, read_ids
from postback.web.admin.shapes import EventRef, live_blueprint

MAX_LAST = 100
MAX_CHANGES = 100
MAX_VERSION = 2**31 - 1


class BlueprintOut(Struct, frozen=True):
    """`created_at` and `created_by` null: the connector's default, which nobody wrote."""

    version: int
    blueprint: Blueprint
    created_at: datetime | None
    created_by: str | None


class RollbackIn(Struct, frozen=True):
    """`version` absent: the one before the live one; 0: the connector's default."""

    version: Annotated[int, Meta(ge=0, le=MAX_VERSION)] | None = None


class TestIn(Struct, frozen=True):
    """`blueprint`: the draft; null: the connector's default; absent: the live one. `last`: how many events, the newest.
    `event`: only those of this name."""

    blueprint: Blueprint | UnsetType | None = UNSET
    last: Annotated[int, Meta(ge=1, le=MAX_LAST)] = 20
    event: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class Would(Struct, frozen=True):
    """What would become of an event. `request`: method, url, headers, body, masked; null where none would be sent."""

    status: Literal["queued", "skipped", "failed"]
    reason: str | None
    request: dict[str, Any] | None


class ChangeOut(Struct, frozen=True):
    """One difference; null where there is nothing at `path`."""

    path: str
    live: Any
    draft: Any


class TestedEvent(Struct, frozen=True):
    """`changes`: the first hundred."""

    event: EventRef
    changes: list[ChangeOut]
    live: Would
    draft: Would


class TestOut(Struct, frozen=True):
    """`changed`: how many of the events the draft would treat in another way."""

    changed: int
    events: list[TestedEvent]


@get("/destinations/{destination_id:uuid}/blueprint", summary="The live blueprint of a destination")
async def read(hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID]) -> BlueprintOut:
    destination = find(caller, destination_id)
    async with hub.pool.connection() as tx:
        return await _live(tx, destination)


@get("/destinations/{destination_id:uuid}/blueprints", summary="Its versions, newest first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    destination_id: FromPath[UUID],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[BlueprintOut]:
    destination = find(caller, destination_id)
    after = read_ids(cursor, 1)
    below = min(after[0].int, MAX_VERSION) if after else MAX_VERSION
    async with hub.pool.connection() as tx:
        found = await versions.below(tx, destination.id, below, limit=limit + 1)
    shown = [_shown(destination, version) for version in found[:limit]]
    return first_of(found, shown, lambda version: UUID(int=version.version).bytes, limit)


@post(
    "/destinations/{destination_id:uuid}/blueprint/rollback",
    status_code=200,
    summary="Make an earlier version live",
    opt={EXAMPLE: {"version": 0}},
)
async def rollback(
    hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID], data: JSONBody[RollbackIn]
) -> BlueprintOut:
    """As a new version, so that this too can be rolled back."""
    async with changing(hub, caller) as change:
        destination, before = await current(change, hub, destination_id)
        number = destination.blueprint_version - 1 if data.version is None else data.version
        if number < 0:
            raise Conflict("No blueprint was ever written for this destination; there is nothing to go back to.")
        body = await _body_of(change.tx, destination, number)
        destination = await destinations.write_blueprint(change.tx, destination, body, by=caller.actor, now=caller.now)
        after = await as_it_is(change.tx, destination)
        await change.record("changed", NOUN, destination_id, before=before, after=after)
        return await _live(change.tx, destination)


@post(
    "/destinations/{destination_id:uuid}/test",
    status_code=200,
    summary="Try a draft blueprint on the last events",
    opt={EXAMPLE: {"blueprint": {"rules": [{"event": "purchase", "filter": "value >= 10.0"}]}, "last": 20}},
)
async def test(
    hub: Needs[Hub], caller: Needs[Caller], destination_id: FromPath[UUID], data: JSONBody[TestIn]
) -> TestOut:
    """Runs the newest events of the workspace through the draft and through the live blueprint, with what is known of
    their visitors now, and shows how the requests differ. Nothing is sent, and nothing written."""
    live = find(caller, destination_id)
    if live.config is None:
        raise Conflict("The config of this destination does not open, so no request can be built; send it anew.")
    ready = live.blueprint
    if data.blueprint is not UNSET:
        ready = destinations.compiled(live.connector, data.blueprint)
    draft = msgspec.structs.replace(live, blueprint=ready)
    async with hub.pool.connection() as tx:
        rows = await _newest(tx, caller.workspace_id, data.event, data.last)
        stored = await sending.events(tx, [row.id.bytes for row in rows]) if rows else {}
        known = await prepare.join(tx, list(stored.values()), hub.vault)
    tested: list[TestedEvent] = []
    for row in rows:
        if (one := known.get(row.id.bytes)) is not None:
            now_, then = (_would(preview.show_one(one, to, hub.vault, caller.now)) for to in (live, draft))
            changes = [change for change, _ in zip(_differences(now_, then), range(MAX_CHANGES), strict=False)]
            tested.append(TestedEvent(EventRef(row.id, row.event_id, row.name), changes, now_, then))
            await asyncio.sleep(0)  # a hundred events are some time; others are answered meanwhile
    return TestOut(sum(bool(one.changes) for one in tested), tested)


async def _live(tx: Tx, destination: Destination) -> BlueprintOut:
    found = await versions.below(tx, destination.id, destination.blueprint_version + 1, limit=1)
    return _shown(destination, found[0]) if found else BlueprintOut(0, live_blueprint(destination), None, None)


async def _body_of(tx: Tx, destination: Destination, number: int) -> Blueprint | None:
    """Raises Invalid where there is no such version."""
    if number == 0:
        return None
    found = await versions.below(tx, destination.id, number + 1, limit=1)
    if not found or found[0].version != number:
        newest = destination.blueprint_version
        raise Invalid(f"There is no version {number}; the newest is {newest}.", field="version")
    return found[0].body


async def _newest(tx: Tx, workspace_id: UUID, name: str | None, limit: int) -> list[EventRow]:
    wanted = EventFilter(workspace_id=workspace_id, name=name)
    found, _ = await lists.events(tx, wanted, min_id=UUID(int=0), max_id=LAST_ID, limit=limit)
    return found[:limit]


def _shown(destination: Destination, version: Version) -> BlueprintOut:
    body = version.body or destination.connector.default_blueprint
    return BlueprintOut(version.version, body, version.created_at, version.created_by)


def _would(shown: Previewed) -> Would:
    return Would(shown.status, shown.reason, shown.request)  # type: ignore[arg-type]  # the three words of a preview


def _differences(live: Would, draft: Would) -> Iterator[ChangeOut]:
    for name in Would.__struct_fields__:
        yield from _between(name, getattr(live, name), getattr(draft, name))


def _between(path: str, live: Any, draft: Any) -> Iterator[ChangeOut]:
    """Differences of two JSON values, by the path to each."""
    if isinstance(live, dict) and isinstance(draft, dict):
        one, other = cast("dict[str, Any]", live), cast("dict[str, Any]", draft)
        for name in [*one, *(name for name in other if name not in one)]:
            yield from _between(f"{path}.{name}", one.get(name), other.get(name))
    elif isinstance(live, list) and isinstance(draft, list) and len(live) == len(draft):
        for place, (one, other) in enumerate(zip(live, draft, strict=True)):
            yield from _between(f"{path}[{place}]", one, other)
    elif live != draft:
        yield ChangeOut(path, live, draft)


HANDLERS = [read, list_all, rollback, test]
