"""Sums of a period: whole days from `daily`, the hours at its ends, or all of it by the hour, from `hourly`.

Each site's days are those of its own clock. What belongs to no site (deliveries) goes by the first site's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from postback.db import Queries, Tx
from postback.reports import Kind, Sums, home
from postback.reports.counting import local
from postback.workspaces import Site

By = Literal["day", "hour", "site", "goal", "channel", "label", "destination"]
_DAY = timedelta(days=1)
_QUARTER = 900
_queries = Queries("reports")


class Wanted(Struct, frozen=True, kw_only=True):
    """`sites`: those that are summed; `first`: the one whose days those go by that belong to none. `goal_id` and
    `currency` None: any; they narrow conversions alone."""

    workspace_id: UUID
    sites: list[Site]
    first: Site | None
    goal_id: int | None = None
    currency: str | None = None


class Line(Struct, frozen=True):
    """What was summed together; what it was not cut by is None."""

    day: date | None
    hour: datetime | None
    kind: Kind
    site_id: UUID | None
    goal_id: int | None
    source: str | None
    medium: str | None
    campaign: str | None
    label: str | None
    currency: str | None
    destination_id: UUID | None
    status: str | None
    sums: Sums


def floor(at: datetime, zone: ZoneInfo) -> datetime:
    """The start of the hour, as a clock there shows it."""
    return local(zone, int(at.timestamp()) // _QUARTER)[1]


def ceil(at: datetime, zone: ZoneInfo) -> datetime:
    start = floor(at, zone)
    return start if start == at else floor(start + timedelta(hours=1, minutes=1), zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def days_before(at: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The same time of the clock, days earlier."""
    return (at.astimezone(zone) - timedelta(days=days)).astimezone(UTC)


async def sums(
    tx: Tx, wanted: Wanted, kinds: Collection[Kind], by: Collection[By], since: datetime, until: datetime
) -> list[Line]:
    """What was counted in [since, until), which begin an hour, cut by `by`; by currency and status always."""
    zones: defaultdict[ZoneInfo, list[UUID]] = defaultdict(list)
    for site in wanted.sites:
        zones[ZoneInfo(site.timezone)].append(site.id)
    nobodys = ZoneInfo(wanted.first.timezone if wanted.first else "UTC")
    zones[nobodys] += []
    found: dict[tuple[Any, ...], Sums] = {}
    for zone, site_ids in zones.items():
        row: dict[str, object] = {
            "workspace_id": wanted.workspace_id,
            "bucket": home(wanted.workspace_id),
            "kinds": list(kinds),
            "by": list(by),
            "site_ids": site_ids,
            "with_none": zone == nobodys,
            "goal_id": wanted.goal_id,
            "currency": wanted.currency,
        }
        first = since.astimezone(zone).date()
        first += _DAY if midnight(first, zone) < since else timedelta(0)
        last = until.astimezone(zone).date()
        if "hour" in by or first >= last:
            await _add_hours(tx, found, row, since, until)
            continue
        whole = row | {"since": first, "until": last}
        await _add(tx, found, _queries.sum_days, whole)
        await _add_hours(tx, found, row, since, midnight(first, zone))
        await _add_hours(tx, found, row, midnight(last, zone), until)
    return [Line(*dims, sums=one) for dims, one in found.items()]


async def _add_hours(
    tx: Tx, found: dict[tuple[Any, ...], Sums], row: dict[str, object], since: datetime, until: datetime
) -> None:
    if since < until:
        await _add(tx, found, _queries.sum_hours, row | {"since": since, "until": until})


async def _add(tx: Tx, found: dict[tuple[Any, ...], Sums], query: bytes, row: dict[str, object]) -> None:
    for *dims, n, converted, converted_any, revenue in await (await tx.execute(query, row, binary=True)).fetchall():
        one = Sums(n, converted, converted_any, revenue)
        if (known := found.get(tuple(dims))) is not None:
            known.add(one)
        else:
            found[tuple(dims)] = one


def revenue(lines: Sequence[Line]) -> defaultdict[str, Sums]:
    """Of conversions, by currency; nothing for those that do not occur."""
    found: defaultdict[str, Sums] = defaultdict(Sums)
    for line in lines:
        if line.kind == "conversion" and line.currency is not None:
            found[line.currency].add(line.sums)
    return found
