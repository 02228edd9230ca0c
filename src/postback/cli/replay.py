"""`postback replay` and `postback backfill`: select, count, ask, then make the job and watch the worker do it.

The job is a row in the database: to leave, or to be killed, stops nothing. What the admin API's `replays` and
`backfills` do.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from cyclopts import Parameter

from postback import destinations, installation, workspaces
from postback.cli import show
from postback.cli.failures import FAILED, WrongUsage
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import Session, session, workspace
from postback.db import buckets
from postback.delivery import selection
from postback.delivery.estimate import Estimate, estimate
from postback.delivery.replay import Scene
from postback.destinations import Destination
from postback.errors import Conflict, Invalid, NotFound
from postback.queue import jobs, leases
from postback.queue.jobs import Job, Kind, Selection
from postback.web.admin.shapes import JobOut, job_out
from postback.workspaces import audit

POLL_SECONDS = 0.3


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Span:
    """Which events."""

    since: Annotated[datetime | None, Parameter(name="--from", help="Arrived from this time on, ISO 8601.")] = None
    until: Annotated[datetime | None, Parameter(name="--to", help="Arrived before this time, ISO 8601.")] = None
    event: Annotated[str | None, Parameter(help="Of this standard name.")] = None
    site: Annotated[str | None, Parameter(help="Of this site: id, name or site key.")] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Doing:
    """How it is done."""

    dry_run: Annotated[bool, Parameter(help="Count, and do nothing.")] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")] = False
    resume: Annotated[UUID | None, Parameter(help="Go on with a job that was stopped, by its id.")] = None
    stop: Annotated[UUID | None, Parameter(help="Stop a job, by its id; what it queued is still sent.")] = None


ANY, DOING = Span(), Doing()


async def replay(
    ids: Annotated[list[str] | None, Parameter(help="Deliveries' ids. [any]")] = None,
    place: Place = HERE,
    span: Span = ANY,
    doing: Doing = DOING,
    *,
    destination: Annotated[UUID | None, Parameter(help="Its id, as `destinations list` shows it. [all]")] = None,
    status: Annotated[
        list[str] | None, Parameter(help="failed, skipped or delivered; may be repeated. [failed and skipped]")
    ] = None,
    reason: Annotated[str | None, Parameter(help="How the reason begins.")] = None,
    include_delivered: Annotated[
        bool, Parameter(help="Also what was delivered; the count says how many would count twice.")
    ] = False,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> int:
    """Send settled deliveries again, behind live traffic; asks first."""
    if unknown := set(status or ()) - set(selection.SETTLED):
        raise WrongUsage(f"--status takes {', '.join(selection.SETTLED)}, not {min(unknown)}.")
    async with session(place.settings()) as s:
        desk = await _desk(s, in_workspace)
        if (known := await _known(desk, "replay", doing, as_json)) is not None:
            return known
        taken = list(desk.installed) if destination is None else [_installed(desk, destination)]
        by_id = selection.by_id(ids, taken) if ids else None
        wanted = Selection(
            destination_ids=taken if by_id is None else list(by_id),
            statuses=selection.statuses(status, include_delivered=include_delivered),
            reason=reason,
            event_ids=by_id,
            **await _common(desk, span),
        )
        return await _do(desk, "replay", wanted, doing, as_json)


async def backfill(
    destination: Annotated[UUID | None, Parameter(help="Its id, as `destinations list` shows it.")] = None,
    place: Place = HERE,
    span: Span = ANY,
    doing: Doing = DOING,
    *,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> int:
    """Give a destination deliveries of past events, up to the platform's age limit, behind live traffic; asks first."""
    async with session(place.settings()) as s:
        desk = await _desk(s, in_workspace)
        if (known := await _known(desk, "backfill", doing, as_json)) is not None:
            return known
        if destination is None:
            raise WrongUsage("Name the destination to fill; `postback destinations list` shows them.")
        wanted = Selection(destination_ids=[_installed(desk, destination)], **await _common(desk, span))
        return await _do(desk, "backfill", wanted, doing, as_json)


@dataclass(frozen=True)
class _Desk:
    """What a command works with: the installed destinations of one workspace."""

    session: Session
    workspace_id: UUID
    installed: dict[UUID, Destination]


async def _desk(s: Session, in_workspace: str | None) -> _Desk:
    owner = await workspace(s.tx, in_workspace)
    sealer = (await installation.open_vault(s.tx, s.settings)).sealer
    found = await destinations.of_workspaces(s.tx, sealer, [owner.id])
    return _Desk(s, owner.id, {destination.id: destination for destination in found})


async def _known(desk: _Desk, kind: Kind, doing: Doing, as_json: bool) -> int | None:
    """Stop or resume a job that there is; None where a new one is asked for."""
    if (id_ := doing.stop or doing.resume) is None:
        return None
    s = desk.session
    async with audit.changing(s.tx, desk.workspace_id, audit.COMMAND_LINE, s.now) as change:
        before = await _read(desk, kind, id_)
        moved = await (jobs.stop if doing.stop else jobs.resume)(s.tx, id_, s.now)
        job = await _read(desk, kind, id_)
        new = await _shown(desk, job)
        old = await _shown(desk, before) if moved else new
        await change.record("stopped" if doing.stop else "resumed", kind, id_, before=old, after=new)
    if doing.stop:
        await _tell(desk, job, as_json)
        return 0
    if job.status == "done":
        raise Conflict(f"This {kind} is done: there is nothing left of it.")
    return await _watch(desk, job, as_json)


async def _do(desk: _Desk, kind: Kind, wanted: Selection, doing: Doing, as_json: bool) -> int:
    s = desk.session
    job = jobs.draft(
        id=buckets.new_id(s.now),
        workspace_id=desk.workspace_id,
        kind=kind,
        selection=wanted,
        created_by=audit.COMMAND_LINE,
        now=s.now,
    )
    scene = Scene(desk.installed, {}, s.now, timedelta(days=s.settings.retention_days))
    found = await estimate(s.tx, job, scene)
    if not as_json:
        _say_count(kind, found)
    if doing.dry_run or not found.total:
        if as_json:
            show.as_json(
                {"total": found.total, "may_count_twice": found.may_count_twice, "complete": found.is_complete}
            )
        return 0
    if not doing.yes and not _agrees():
        show.say("Nothing was done.")
        return FAILED
    job = msgspec.structs.replace(job, total=found.total if found.is_complete else None)
    async with audit.changing(s.tx, desk.workspace_id, audit.COMMAND_LINE, s.now) as change:
        await jobs.add(s.tx, job)
        await change.record("created", kind, job.id, after=await _shown(desk, job))
    return await _watch(desk, job, as_json)


def _say_count(kind: Kind, found: Estimate) -> None:
    least = "" if found.is_complete else "at least "
    what = "deliveries to send again" if kind == "replay" else "past events to deliver"
    show.say(f"{least}{found.total} {what}")
    if found.may_count_twice:
        show.say(f"{least}{found.may_count_twice} of them the platform took before, or may have: they may count twice")


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody is there to be asked: --yes does it, --dry-run only counts.")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


async def _watch(desk: _Desk, job: Job, as_json: bool) -> int:
    """Show how far it comes, until it ends; where no worker runs it only waits."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    s = desk.session
    if not await leases.workers(s.tx, s.settings.lease_seconds):
        await _tell(desk, job, as_json)
        if not as_json:
            show.say("No worker runs; it begins when one does: `postback serve` or `postback worker`.")
        return 0
    if not as_json:
        show.say(f"{job.kind} {job.id}; Ctrl-C leaves it running, `postback {job.kind} --stop {job.id}` stops it")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as progress:
        task = progress.add_task("queued", total=job.total)
        while job.status == "running":
            await asyncio.sleep(POLL_SECONDS)
            job = await _read(desk, job.kind, job.id)
            progress.update(task, completed=job.done + job.skipped)
    await _tell(desk, job, as_json)
    return FAILED if job.status == "failed" else 0


async def _tell(desk: _Desk, job: Job, as_json: bool) -> None:
    shown = await _shown(desk, job)
    if as_json:
        show.as_json(shown)
        return
    skipped = f", {job.skipped} skipped" if job.skipped else ""
    reason = f" ({shown.reason})" if shown.reason else ""
    show.say(f"{job.kind} {job.id} {job.status}{reason}: {job.done} queued{skipped}")


async def _shown(desk: _Desk, job: Job) -> JobOut:
    names = {id_: destination.name for id_, destination in desk.installed.items()}
    return job_out(job, names, await destinations.lanes(desk.session.tx, buckets.BUCKETS))


async def _read(desk: _Desk, kind: Kind, id_: UUID) -> Job:
    if (job := await jobs.read(desk.session.tx, desk.workspace_id, kind, id_)) is None:
        raise NotFound(f"There is no {kind} {id_}.")
    return job


def _installed(desk: _Desk, id_: UUID) -> UUID:
    if id_ not in desk.installed:
        raise NotFound(f"There is no destination {id_}; `postback destinations list` shows them.")
    return id_


async def _common(desk: _Desk, span: Span) -> dict[str, Any]:
    since, until = _aware(span.since), _aware(span.until)
    if since is not None and until is not None and until <= since:
        raise Invalid("--to must lie after --from.", field="to")
    site_id = None
    if span.site is not None:
        known = await workspaces.sites(desk.session.tx, [desk.workspace_id])
        site_id = next((site.id for site in known if span.site in (str(site.id), site.name, site.site_key)), None)
        if site_id is None:
            raise NotFound(f"There is no site {span.site}; there are {', '.join(site.name for site in known)}.")
    return {"since": since, "until": until, "name": span.event, "site_id": site_id}


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
