"""Limits: requests a key may send in a minute, billable events a workspace or a site may send in a month.

Tables: rate_window (the counters, one row a subject, all in one bucket), usage (billable events by site, as each writer
counts them; those of dropped partitions are in ledger_hour). Only what has a limit has a counter. A rate window begins
with its first counted request and lasts 60 s; months are UTC calendar months of when an event was received.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from postback import workspaces
from postback.db import Queries, Tx, arrays, buckets
from postback.db.trip import Rows, Trip, int8, moment
from postback.errors import Invalid
from postback.workspaces import Workspace, plans
from postback.workspaces.plans import Plan

_queries = Queries("quota")
WINDOW = timedelta(seconds=60)
OVERAGE_TIMES = 3
_BUCKET = buckets.BUCKETS[0]
_PERIOD = re.compile("2[0-9]{3}-(0[1-9]|1[0-2])").fullmatch


class Limit(Struct, frozen=True):
    """How many `subject` (a key, a workspace or a site, 16 bytes) may send: requests a minute, or events a month."""

    subject: bytes
    cap: int
    is_monthly: bool


class SiteUsage(Struct, frozen=True):
    """`used`: billable events of the month. `cap` null: the site has none of its own. `overage`: those past the cap."""

    site: UUID
    name: str
    used: int
    cap: int | None
    overage: int


class Usage(Struct, frozen=True):
    """`period`: a UTC month. `used`: its billable events. `cap`: that of today's plan, null: none. `overage`: those
    past it."""

    period: str
    used: int
    cap: int | None
    overage: int
    by_site: list[SiteUsage]


class Month(Struct, frozen=True):
    """`period`: a UTC month. `used`: its billable events."""

    period: str
    used: int


class Count(Struct, frozen=True):
    """What was counted in the window, this flush included."""

    n: int
    ends_at: datetime
    cap: int


def require(trip: Trip, counts: dict[Limit, int], now: datetime) -> Rows:
    """Count against limits. One that is passed refuses the whole transaction. Must be the last before COMMIT."""
    return trip.add(_queries.require, _rows(counts, now))


def add(trip: Trip, counts: dict[Limit, int], now: datetime) -> Rows:
    """The same; who asks looks at the totals, and rolls back."""
    return trip.add(_queries.add, _rows(counts, now))


def totals(rows: Rows) -> dict[bytes, Count]:
    """By subject."""
    return {bytes(row[0] or b""): Count(int8(row[1]), moment(row[2]), int8(row[3])) for row in rows.all}


def _rows(counts: dict[Limit, int], now: datetime) -> dict[str, object]:
    ordered = sorted(counts, key=lambda limit: limit.subject)
    return {
        "bucket": _BUCKET,
        "subjects": arrays.uuids(limit.subject for limit in ordered),
        "ends_at": arrays.times(month_end(now) if limit.is_monthly else now + WINDOW for limit in ordered),
        "counts": arrays.bigints(counts[limit] for limit in ordered),
        "caps": arrays.bigints(limit.cap for limit in ordered),
        "now": now,
    }


def month_start(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(at: datetime) -> datetime:
    return month_start(month_start(at) + timedelta(days=32))


def month_of(period: str) -> datetime:
    """When a month begins that is written as 2026-11. Raises Invalid."""
    if not _PERIOD(period):
        raise Invalid("period must be a month, such as 2026-11.", field="period")
    return datetime(int(period[:4]), int(period[5:]), 1, tzinfo=UTC)


async def counters(tx: Tx, subjects: Sequence[UUID], now: datetime) -> dict[UUID, Count]:
    """The counters of some workspaces, sites or keys that run now."""
    row = {"bucket": _BUCKET, "subjects": list(subjects), "now": now}
    found = await (await tx.execute(_queries.counters, row)).fetchall()
    return {subject: Count(n, ends_at, cap) for subject, n, ends_at, cap in found}


async def usage(tx: Tx, workspace: Workspace, month: datetime) -> Usage:
    """What a workspace and its sites used in a month, named by its start. A removed site is there if it used any."""
    sites = await workspaces.sites(tx, [workspace.id], with_removed=True)
    kept = {site.id for site in await workspaces.sites(tx, [workspace.id])}
    known = {plan.id: plan for plan in await plans.read_all(tx)}
    counted = await used(tx, workspace.id, [site.id for site in sites], month, month_end(month))
    by_site = [
        SiteUsage(site.id, site.name, n, *_against(known.get(site.plan_id) if site.plan_id else None, n))
        for site in sites
        if (n := counted.get(site.id, 0)) or site.id in kept
    ]
    total = sum(counted.values())
    plan = known.get(workspace.plan_id) if workspace.plan_id else None
    return Usage(f"{month:%Y-%m}", total, *_against(plan, total), by_site)


async def history(tx: Tx, workspace: Workspace, now: datetime, months: int) -> list[Month]:
    """The newest months first, this one included; those before the workspace was made are left out."""
    begin = month_start(now)
    starts = [begin]
    while len(starts) < months:
        starts.append(month_start(starts[-1] - timedelta(days=1)))
    sites = await workspaces.sites(tx, [workspace.id], with_removed=True)
    row = _sought(workspace.id, [site.id for site in sites], starts[-1], month_end(begin))
    found = {month: int(n) for month, n in await (await tx.execute(_queries.used_by_month, row)).fetchall()}
    made = month_start(buckets.time_of(workspace.id))
    return [Month(f"{at:%Y-%m}", found.get(at.replace(tzinfo=None), 0)) for at in starts if at >= made]


def _against(plan: Plan | None, n: int) -> tuple[int | None, int]:
    """The cap that a plan sets, and how many are past it."""
    return (plan.monthly_cap, max(0, n - plan.monthly_cap)) if plan is not None else (None, 0)


async def used(
    tx: Tx, workspace_id: UUID, site_ids: Sequence[UUID], since: datetime, until: datetime
) -> dict[UUID, int]:
    """Billable events by site."""
    row = _sought(workspace_id, site_ids, since, until)
    found = await (await tx.execute(_queries.used, row)).fetchall()
    return {site: int(n) for site, n in found}


def _sought(workspace_id: UUID, site_ids: Sequence[UUID], since: datetime, until: datetime) -> dict[str, object]:
    return {
        "buckets": arrays.ints(sorted(buckets.BUCKETS)),
        "since": since,
        "until": until,
        "workspace_id": workspace_id,
        "site_ids": list(site_ids),
    }
