"""`/v1/admin/replays` and `/v1/admin/backfills`: jobs that queue settled deliveries again, or give a destination
deliveries of past events. The worker does them; here they are counted, made, watched, stopped and resumed.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct, field

from postback import destinations
from postback.db import Tx, buckets
from postback.delivery import selection
from postback.delivery.estimate import estimate
from postback.delivery.replay import Scene
from postback.destinations import Lane
from postback.dialects import moment
from postback.errors import Conflict, Invalid, NotFound
from postback.queue import jobs
from postback.queue.jobs import Job, Kind, Selection
from postback.queue.lists import LAST_ID
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.changes import changing
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, first_of, read_ids
from postback.web.admin.shapes import JobOut, job_out
from postback.workspaces.audit import Change

Settled = Literal["failed", "skipped", "delivered"]
IDS_MAX = 1000
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class _Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to` are times of arrival; `name` is the event's standard name, `site` a site's id. `dry_run`: count,
    and make nothing."""

    since: Moment | None = field(name="from", default=None)
    until: Moment | None = field(name="to", default=None)
    name: str | None = None
    site: UUID | None = None
    dry_run: bool = False


class ReplayIn(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to send again; absent: any. `ids`: deliveries' ids. `status`: failed and skipped ones if absent, delivered
    ones only with `include_delivered`. `reason`: how it begins. `from` and `to` are times of arrival; `name` is the
    event's standard name, `site` a site's id. `dry_run`: count, and make nothing. Unknown fields are refused."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=IDS_MAX)] | None = None
    destination: UUID | None = None
    status: Settled | list[Settled] | None = None
    reason: Annotated[str, Meta(min_length=1)] | None = None
    include_delivered: bool = False


class BackfillIn(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which past events a destination is to have: those it has no delivery of, and that the platform still takes.
    `from` and `to` are times of arrival; `name` is the event's standard name, `site` a site's id. `dry_run`: count, and
    make nothing. Unknown fields are refused."""

    destination: UUID


class JobPatch(Struct, frozen=True):
    """`running`: go on where it was stopped. `stopped`: as DELETE."""

    status: Literal["running", "stopped"]


class Tally(Struct, frozen=True):
    """What it would take. `may_count_twice`: of these, what the platform took before, or may have, and no longer knows
    as a repeat. `complete` false: there was more than could be counted; these are lower bounds."""

    total: int
    may_count_twice: int
    complete: bool


_ALSO = {"also": {200: Tally}}
_FAILED = {"status": "failed", "reason": "no email", "from": "2026-11-01"}
_PURCHASES = {"destination": "01a1fbf7-086b-7ab2-9996-26a150972041", "from": "2026-11-01", "name": "purchase"}


@post("/replays", opt={EXAMPLE: _FAILED, **_ALSO}, summary="Send settled deliveries again")
async def create_replay(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[ReplayIn]) -> JobOut | Response[Tally]:
    """They are queued again, under their own ids, while little else is due; a dry run is answered by 200."""
    asked = [data.status] if isinstance(data.status, str) else data.status
    statuses = selection.statuses(asked, include_delivered=data.include_delivered)
    ids = [destination.id for destination in caller.snapshot.destinations]
    if data.destination is not None:
        ids = [_installed(data.destination, caller)]
    by_id = selection.by_id(data.ids, ids) if data.ids is not None else None
    wanted = Selection(
        destination_ids=ids if by_id is None else list(by_id),
        statuses=statuses,
        reason=data.reason,
        event_ids=by_id,
        **_common(data, caller),
    )
    return await _create(hub, caller, "replay", wanted, data.dry_run)


@post("/backfills", opt={EXAMPLE: _PURCHASES, **_ALSO}, summary="Give a destination deliveries of past events")
async def create_backfill(
    hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[BackfillIn]
) -> JobOut | Response[Tally]:
    """Up to the platform's age limit; events that have a delivery to it already are passed by. A dry run: 200."""
    wanted = Selection(destination_ids=[_installed(data.destination, caller)], **_common(data, caller))
    return await _create(hub, caller, "backfill", wanted, data.dry_run)


@get("/replays", summary="List replays, newest first")
async def list_replays(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[JobOut]:
    return await _list(hub, caller, "replay", limit, cursor)


@get("/backfills", summary="List backfills, newest first")
async def list_backfills(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[JobOut]:
    return await _list(hub, caller, "backfill", limit, cursor)


@get("/replays/{replay_id:uuid}", summary="One replay and how far it came")
async def read_replay(hub: Needs[Hub], caller: Needs[Caller], replay_id: FromPath[UUID]) -> JobOut:
    return await _read(hub, caller, "replay", replay_id)


@get("/backfills/{backfill_id:uuid}", summary="One backfill and how far it came")
async def read_backfill(hub: Needs[Hub], caller: Needs[Caller], backfill_id: FromPath[UUID]) -> JobOut:
    return await _read(hub, caller, "backfill", backfill_id)


@patch(
    "/replays/{replay_id:uuid}",
    summary="Stop a replay, or go on where it was stopped",
    opt={EXAMPLE: {"status": "stopped"}},
)
async def change_replay(
    hub: Needs[Hub], caller: Needs[Caller], replay_id: FromPath[UUID], data: JSONBody[JobPatch]
) -> JobOut:
    return await _change(hub, caller, "replay", replay_id, data.status)


@patch(
    "/backfills/{backfill_id:uuid}",
    summary="Stop a backfill, or go on where it was stopped",
    opt={EXAMPLE: {"status": "stopped"}},
)
async def change_backfill(
    hub: Needs[Hub], caller: Needs[Caller], backfill_id: FromPath[UUID], data: JSONBody[JobPatch]
) -> JobOut:
    return await _change(hub, caller, "backfill", backfill_id, data.status)


@delete("/replays/{replay_id:uuid}", summary="Stop a replay; what it queued is still sent")
async def stop_replay(hub: Needs[Hub], caller: Needs[Caller], replay_id: FromPath[UUID]) -> None:
    """Repeating is harmless, and so is stopping one that is done."""
    await _stop(hub, caller, "replay", replay_id)


@delete("/backfills/{backfill_id:uuid}", summary="Stop a backfill; what it queued is still sent")
async def stop_backfill(hub: Needs[Hub], caller: Needs[Caller], backfill_id: FromPath[UUID]) -> None:
    """Repeating is harmless, and so is stopping one that is done."""
    await _stop(hub, caller, "backfill", backfill_id)


async def _create(hub: Hub, caller: Caller, kind: Kind, wanted: Selection, dry_run: bool) -> JobOut | Response[Tally]:
    job = jobs.draft(
        id=buckets.new_id(caller.now),
        workspace_id=caller.workspace_id,
        kind=kind,
        selection=wanted,
        created_by=caller.actor,
        now=caller.now,
    )
    installed = {destination.id: destination for destination in caller.snapshot.destinations}
    scene = Scene(installed, {}, caller.now, timedelta(days=hub.settings.retention_days))
    async with hub.pool.connection() as tx:
        found = await estimate(tx, job, scene)
    if dry_run:
        return Response(Tally(found.total, found.may_count_twice, found.is_complete), status_code=200)
    job = msgspec.structs.replace(job, total=found.total if found.is_complete else None)
    async with changing(hub, caller) as change:
        await jobs.add(change.tx, job)
        shown = (await _shown(change.tx, [job], caller))[0]
        await change.record("created", kind, job.id, after=shown)
    return shown


async def _list(hub: Hub, caller: Caller, kind: Kind, limit: int, cursor: str | None) -> Page[JobOut]:
    before = after[0] if (after := read_ids(cursor, 1)) is not None else LAST_ID
    async with hub.pool.connection() as tx:
        found = await jobs.list_all(tx, caller.workspace_id, kind, before=before, limit=limit + 1)
        shown = await _shown(tx, found[:limit], caller)
    return first_of(found, shown, lambda job: job.id.bytes, limit)


async def _read(hub: Hub, caller: Caller, kind: Kind, id_: UUID) -> JobOut:
    async with hub.pool.connection() as tx:
        return (await _shown(tx, [await _find(tx, caller, kind, id_)], caller))[0]


async def _change(hub: Hub, caller: Caller, kind: Kind, id_: UUID, status: Literal["running", "stopped"]) -> JobOut:
    async with changing(hub, caller) as change:
        before = await _find(change.tx, caller, kind, id_)
        moved = await (jobs.resume if status == "running" else jobs.stop)(change.tx, id_, caller.now)
        job = await _find(change.tx, caller, kind, id_)
        if not moved and job.status == "done":
            raise Conflict(f"This {kind} is done: there is nothing left of it. Make a new one.")
        return await _record(change, caller, before, job, moved=moved)


async def _stop(hub: Hub, caller: Caller, kind: Kind, id_: UUID) -> None:
    async with changing(hub, caller) as change:
        before = await _find(change.tx, caller, kind, id_)
        moved = await jobs.stop(change.tx, id_, caller.now)
        await _record(change, caller, before, await _find(change.tx, caller, kind, id_), moved=moved)


async def _record(change: Change, caller: Caller, before: Job, after: Job, *, moved: bool) -> JobOut:
    """Write down that a job was stopped or resumed, where it was; how far it came meanwhile is no change of ours."""
    old, new = await _shown(change.tx, [before, after], caller)
    action = "stopped" if after.status == "stopped" else "resumed"
    await change.record(action, after.kind, after.id, before=old if moved else new, after=new)
    return new


async def _find(tx: Tx, caller: Caller, kind: Kind, id_: UUID) -> Job:
    if (job := await jobs.read(tx, caller.workspace_id, kind, id_)) is None:
        raise NotFound(f"There is no such {kind}.")
    return job


async def _shown(tx: Tx, found: Sequence[Job], caller: Caller) -> list[JobOut]:
    lanes: dict[UUID, Lane] = {}
    if any(job.status == "running" for job in found):
        homes = sorted({destination.bucket for destination in caller.snapshot.destinations})
        lanes = await destinations.lanes(tx, homes)
    names = {destination.id: destination.name for destination in caller.snapshot.destinations}
    return [job_out(job, names, lanes) for job in found]


def _installed(id_: UUID, caller: Caller) -> UUID:
    if all(id_ != destination.id for destination in caller.snapshot.destinations):
        raise Invalid("There is no such destination in this workspace.", field="destination")
    return id_


def _common(data: _Asked, caller: Caller) -> dict[str, Any]:
    if data.site is not None and data.site not in caller.snapshot.sites:
        raise Invalid("There is no such site in this workspace.", field="site")
    since = moment(data.since, "from") if data.since is not None else None
    until = moment(data.until, "to") if data.until is not None else None
    if since is not None and until is not None and until <= since:
        raise Invalid("to must lie after from.", field="to")
    return {"since": since, "until": until, "name": data.name, "site_id": data.site}


HANDLERS = [
    create_replay,
    create_backfill,
    list_replays,
    list_backfills,
    read_replay,
    read_backfill,
    change_replay,
    change_backfill,
    stop_replay,
    stop_backfill,
]
