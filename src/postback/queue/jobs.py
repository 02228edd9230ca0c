"""Jobs: replays and backfills, what they take, how far they came.

Table: job. A step locks its job's row, and writes what it did to deliveries and how far it came in one transaction:
stopped, crashed or run by two at once, it goes on where it was and takes nothing twice. An id names its bucket, as
always; who has that bucket's lease runs the job.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets

_queries = Queries("jobs")
Kind = Literal["replay", "backfill"]
Status = Literal["running", "done", "stopped", "failed"]


class Selection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job takes; None: any. `statuses`, `reason` (how it begins) and `event_ids` (by destination) narrow a
    replay. Times are those of arrival, from `since` on and before `until`."""

    destination_ids: list[UUID]
    statuses: list[str] = []
    reason: str | None = None
    event_ids: dict[UUID, list[UUID]] | None = None
    since: datetime | None = None
    until: datetime | None = None
    name: str | None = None
    site_id: UUID | None = None


class Place(Struct, frozen=True):
    """Where one destination's walk goes on: `bucket` is an index into BUCKETS, `after` the last event that was seen."""

    bucket: int = 0
    after: UUID | None = None


class Job(Struct, frozen=True):
    """`total` None: not counted to the end. `done`: deliveries queued; `skipped`: written as skipped at once.
    `position`: destinations that are not finished."""

    id: UUID
    workspace_id: UUID
    kind: Kind
    selection: Selection
    status: Status
    total: int | None
    done: int
    skipped: int
    position: dict[UUID, Place]
    reason: str | None
    created_by: str
    created_at: datetime
    changed_at: datetime


class _Stored(Struct, frozen=True):
    id: UUID
    workspace_id: UUID
    kind: str
    filter: str
    status: str
    total: int | None
    done: int
    skipped: int
    position: str
    reason: str | None
    created_by: str
    created_at: datetime
    changed_at: datetime


def draft(*, id: UUID, workspace_id: UUID, kind: Kind, selection: Selection, created_by: str, now: datetime) -> Job:
    """A job that is not written yet. It takes what was settled before `now`."""
    position = dict.fromkeys(selection.destination_ids, Place())
    return Job(id, workspace_id, kind, selection, "running", None, 0, 0, position, None, created_by, now, now)


async def add(tx: Tx, job: Job) -> None:
    """Write a job; it runs from the commit on."""
    texts = {"filter": _text(job.selection), "position": _text(job.position), "created_by": job.created_by}
    row = {"bucket": buckets.of_id(job.id), "id": job.id, "workspace_id": job.workspace_id, "kind": job.kind}
    await tx.execute(_queries.insert, row | texts | {"total": job.total, "now": job.created_at})


async def read(tx: Tx, workspace_id: UUID, kind: Kind, id: UUID) -> Job | None:
    found = await _one(tx, _queries.read, id)
    return found if found is not None and (found.workspace_id, found.kind) == (workspace_id, kind) else None


async def list_all(tx: Tx, workspace_id: UUID, kind: Kind, *, before: UUID, limit: int) -> list[Job]:
    """Newest first, those older than `before`."""
    row = {"buckets": list(buckets.BUCKETS), "workspace_id": workspace_id, "kind": kind, "before": before}
    async with tx.cursor(row_factory=args_row(_Stored), binary=True) as cursor:
        await cursor.execute(_queries.list_all, row | {"limit": limit})
        return [_job(stored) for stored in await cursor.fetchall()]


async def running(tx: Tx, own: Sequence[int]) -> list[UUID]:
    """Jobs to go on with in some buckets, the oldest first."""
    cursor = await tx.execute(_queries.running, {"buckets": list(own)}, binary=True)
    return [id_ for (id_,) in await cursor.fetchall()]


async def hold(tx: Tx, id: UUID) -> Job | None:
    """A job, locked to the end of the transaction; None where it does not run any more."""
    return await _one(tx, _queries.hold, id)


async def advance(
    tx: Tx,
    id: UUID,
    *,
    done: int,
    skipped: int,
    position: dict[UUID, Place],
    now: datetime,
    reason: str | None = None,
) -> None:
    """Add to the counts of a job that is held; without a place to go on at it is done."""
    row = {"bucket": buckets.of_id(id), "id": id, "done": done, "skipped": skipped, "now": now, "reason": reason}
    status: Status = "running" if position else "done"
    await tx.execute(_queries.advance, row | {"position": _text(position), "status": status})


async def stop(tx: Tx, id: UUID, now: datetime) -> bool:
    """Once it is committed nothing more is taken. False: it did not run."""
    return await _move(tx, id, "stopped", ["running"], now)


async def resume(tx: Tx, id: UUID, now: datetime) -> bool:
    """Go on where it was. False: it runs, or is done."""
    return await _move(tx, id, "running", ["stopped", "failed"], now)


async def fail(tx: Tx, id: UUID, reason: str, now: datetime) -> bool:
    return await _move(tx, id, "failed", ["running"], now, reason)


async def _move(
    tx: Tx, id: UUID, status: Status, from_statuses: list[str], now: datetime, reason: str | None = None
) -> bool:
    row = {"bucket": buckets.of_id(id), "id": id, "status": status, "from_statuses": from_statuses, "now": now}
    return await (await tx.execute(_queries.move, row | {"reason": reason})).fetchone() is not None


async def _one(tx: Tx, query: bytes, id: UUID) -> Job | None:
    async with tx.cursor(row_factory=args_row(_Stored), binary=True) as cursor:
        await cursor.execute(query, {"bucket": buckets.of_id(id), "id": id})
        stored = await cursor.fetchone()
    return _job(stored) if stored is not None else None


def _job(stored: _Stored) -> Job:
    return Job(
        stored.id,
        stored.workspace_id,
        stored.kind,  # type: ignore[arg-type]  # the table's own words
        msgspec.json.decode(stored.filter, type=Selection),
        stored.status,  # type: ignore[arg-type]  # the table's own words
        stored.total,
        stored.done,
        stored.skipped,
        msgspec.json.decode(stored.position, type=dict[UUID, Place]),
        stored.reason,
        stored.created_by,
        stored.created_at,
        stored.changed_at,
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
