"""Sums of periods: whole weeks and days from `daily`, the hours at their ends, or all of them by the hour, from
`hourly`. Where an end is nearer to its day's end than to its start, the day is read, and the hours past the end are
taken away.

Each site's days are those of its own clock. What belongs to no site (deliveries) goes by the first site's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from postback.db import Queries, Tx
from postback.reports import Kind, Sums, home, monday
from postback.reports.counting import local
from postback.workspaces import Site

By = Literal["day", "hour", "site", "goal", "channel", "label", "destination"]
_DAY = timedelta(days=1)
_QUARTER = 900
_NONE = UUID(int=0)  # of what belongs to no site
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
    """What was counted in [since, until), which begin an hour, cut by `by`; by currency and status always. Labels and
    channels are of different cuts: by both at once is not kept."""
    return (await sums_of(tx, wanted, kinds, by, [(since, until)]))[0]


async def sums_of(
    tx: Tx, wanted: Wanted, kinds: Collection[Kind], by: Collection[By], spans: Sequence[tuple[datetime, datetime]]
) -> list[list[Line]]:
    """The same of each of some spans, in one query."""
    assert not {"label", "channel"} <= set(by)
    zones: dict[ZoneInfo, list[UUID]] = {ZoneInfo(wanted.first.timezone if wanted.first else "UTC"): [_NONE]}
    for site in wanted.sites:
        zones.setdefault(ZoneInfo(site.timezone), []).append(site.id)
    all_ = [id_ for ids in zones.values() for id_ in ids]
    cut = next((name for name in ("label", "channel") if name in by), "total")
    days, hours = list[_Days](), list[_Hours]()
    for place, (since, until) in enumerate(spans):
        first, last = (_nearest(at, next(iter(zones))) for at in (since, until))
        if "hour" in by or last - first < _DAY:
            hours.append(_Hours(place, 1, all_, since, until))
            continue
        days += _days(place, cut, first, last, in_weeks="day" not in by)
        for sign, at, day in ((1, since, first), (-1, until, last)):
            hours += _edge(place, sign, at, [(ids, midnight(day, zone)) for zone, ids in zones.items()])
    row = {
        "workspace_id": wanted.workspace_id,
        "bucket": home(wanted.workspace_id),
        "cut": cut,
        "kinds": list(kinds),
        "goal_id": wanted.goal_id,
        "currency": wanted.currency,
        "site_ids": all_,
        **{f"by_{name}": name in by for name in ("day", "hour", "site", "goal", "destination")},
        **{f"days_{name}": [getattr(one, name) for one in days] for name in _Days._fields},
        **{f"hours_{name}": [getattr(one, name) for one in hours] for name in _Hours._fields},
        "days_place": [str(one.place) for one in days],
        "hours_place": [str(one.place) for one in hours],
        "hours_sites": [f"{{{','.join(map(str, one.sites))}}}" for one in hours],
    }
    found: list[list[Line]] = [[] for _ in spans]
    for place, *dims, n, converted, converted_any, revenue in await (
        await tx.execute(_queries.sums, row, binary=True)
    ).fetchall():
        found[place].append(Line(*dims, sums=Sums(n, converted, converted_any, revenue)))
    return found


async def last_hour(tx: Tx, workspace_id: UUID) -> datetime | None:
    """When the last hour begins, by its site's clock, in which events were counted; None: none ever was."""
    row = {"bucket": home(workspace_id), "workspace_id": workspace_id}
    found = await (await tx.execute(_queries.last_hour, row, binary=True)).fetchone()
    return found[0] if found else None


class _Days(NamedTuple):
    """Days that are summed for the span at a place, whatever the site's clock; of a cut by the week, whole weeks."""

    place: int
    cut: str
    since: date
    until: date


class _Hours(NamedTuple):
    """Hours of some sites that are added, or where `sign` is -1 taken away."""

    place: int
    sign: int
    sites: Sequence[UUID]
    since: datetime
    until: datetime


def _days(place: int, cut: str, since: date, until: date, *, in_weeks: bool) -> list[_Days]:
    first, last = monday(since + 6 * _DAY), monday(until)
    if not in_weeks or first >= last:
        return [_Days(place, cut, since, until)]
    return [_Days(place, cut, since, first), _Days(place, f"week_{cut}", first, last), _Days(place, cut, last, until)]


def _nearest(at: datetime, zone: ZoneInfo) -> date:
    """The day whose start is nearest."""
    return (at.astimezone(zone) + _DAY / 2).date()


def _edge(place: int, sign: int, at: datetime, days: Sequence[tuple[list[UUID], datetime]]) -> list[_Hours]:
    """The hours from an end of a span to where the days of sites begin, or end; those that all have in common once."""
    is_one_way = len({midnight < at for _, midnight in days}) == 1
    pivot = min((midnight for _, midnight in days), key=lambda midnight: abs(midnight - at)) if is_one_way else at
    ways = [([id_ for ids, _ in days for id_ in ids], at, pivot), *((ids, pivot, midnight) for ids, midnight in days)]
    return [
        _Hours(place, sign if since < until else -sign, ids, min(since, until), max(since, until))
        for ids, since, until in ways
        if since != until
    ]


def revenue(lines: Sequence[Line]) -> defaultdict[str, Sums]:
    """Of conversions, by currency; nothing for those that do not occur."""
    found: defaultdict[str, Sums] = defaultdict(Sums)
    for line in lines:
        if line.kind == "conversion" and line.currency is not None:
            found[line.currency].add(line.sums)
    return found
