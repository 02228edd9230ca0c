"""`/v1/admin/reports`: sums of a period beside those of the time before. See `postback.reports` for what is counted.

A period is whole hours of the clock of the site that is asked for, of the first site where none is; the time before are
the same hours, as many days earlier as the period touches. Revenue is net of refunds, listed by currency, never
converted.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import QueryParameter
from msgspec import Struct

from postback import destinations, money, workspaces
from postback.db import Tx, buckets
from postback.errors import Invalid
from postback.goals import Goal
from postback.reports import Kind, reading
from postback.reports.reading import By, Line, Wanted
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.spans import From, To, moments

DAYS, MAX_DAYS, MAX_HOURLY_DAYS = 7, 800, 31
MOST_CHANNELS = 500
_HOUR, _MOMENT = timedelta(hours=1), timedelta(microseconds=1)
OfSite = Annotated[UUID | None, QueryParameter(description="A site's id; absent: all sites.")]
OfGoal = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1, description="A goal's number; absent: all goals.")]
InCurrency = Annotated[
    str | None,
    QueryParameter(
        description="Conversions of this currency alone.", schema_extra={"pattern": "^[A-Za-z]{3}$"}, max_length=3
    ),
]
Steps = Annotated[
    Literal["hour", "day"] | None,
    QueryParameter(description="Of the trend. Absent: hours up to two days, else days."),
]


class Compared(Struct, frozen=True):
    now: int
    before: int


class Revenue(Struct, frozen=True):
    """In major units of the currency, net of refunds. `conversions`: those of the period in this currency."""

    currency: str
    conversions: int
    now: Decimal
    before: Decimal


class Rate(Struct, frozen=True):
    """Between 0 and 1; null: there is nothing to divide by."""

    now: float | None
    before: float | None


class Period(Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Whole hours of the clock in `timezone`; `before_*`: the time that it is compared with."""

    since: datetime
    until: datetime
    before_from: datetime
    before_to: datetime
    timezone: str


class Point(Struct, frozen=True):
    """`at`: when the hour or the day begins."""

    at: datetime
    conversions: Compared
    sessions: Compared
    revenue: list[Revenue]


class Deliveries(Struct, frozen=True):
    """Of events that were received in the period, whichever site's. `success`: delivered / (delivered + failed)."""

    delivered: Compared
    skipped: Compared
    failed: Compared
    held: Compared
    pending: Compared
    success: Rate


class SiteSums(Struct, frozen=True):
    """`name` null: the site is removed."""

    site: UUID
    name: str | None
    conversions: int
    sessions: int


class Overview(Struct, frozen=True):
    """`conversion_rate`: sessions with a conversion / sessions. `sites`: those with anything in the period."""

    period: Period
    conversions: Compared
    sessions: Compared
    conversion_rate: Rate
    revenue: list[Revenue]
    deliveries: Deliveries
    sites: list[SiteSums]
    trend: list[Point]


class LabelSums(Struct, frozen=True):
    """`label`: the sender's, null: none."""

    label: str | None
    conversions: int
    revenue: list[Revenue]


class GoalSums(Struct, frozen=True):
    """`name` null: the goal is removed. `conversion_rate`: sessions with a conversion of it / sessions of its site."""

    goal: int
    name: str | None
    conversions: Compared
    revenue: list[Revenue]
    conversion_rate: Rate
    labels: list[LabelSums]


class Goals(Struct, frozen=True):
    period: Period
    items: list[GoalSums]


class Channel(Struct, frozen=True):
    """Of conversions: the last touch's. `source` null: direct."""

    source: str | None
    medium: str | None
    campaign: str | None
    conversions: Compared
    sessions: Compared
    revenue: list[Revenue]


class Channels(Struct, frozen=True):
    """Those with the most conversions; `left_out`: how many others there are."""

    period: Period
    items: list[Channel]
    left_out: int


class DestinationSums(Struct, frozen=True):
    destination: UUID
    connector: str
    name: str
    deliveries: Deliveries


class Destinations(Struct, frozen=True):
    period: Period
    items: list[DestinationSums]


class Asked:
    """What a request asks for. Raises Invalid."""

    def __init__(
        self,
        caller: Caller,
        sites: Sequence[workspaces.Site],
        since: str | None,
        until: str | None,
        site: UUID | None,
        goal: int | None = None,
        currency: str | None = None,
    ) -> None:
        self.sites = [one for one in sites if site in (None, one.id)]
        if site is not None and not self.sites:
            raise Invalid("There is no such site.", field="site")
        self.wanted = Wanted(
            workspace_id=caller.workspace_id,
            sites=self.sites,
            first=next(iter(sites), None),
            goal_id=goal,
            currency=money.currency(currency) if currency is not None else None,
        )
        own = next(iter(self.sites), self.wanted.first)
        self.zone = ZoneInfo(own.timezone if own else "UTC")
        start, end = moments(since, until, caller.now, None)
        end = reading.ceil(end if until is not None else caller.now, self.zone)
        if since is None:
            start = reading.midnight((end - _MOMENT).astimezone(self.zone).date() - timedelta(days=DAYS - 1), self.zone)
        start = reading.floor(start, self.zone)
        if start >= end:
            raise Invalid("to must be later than from.", field="to")
        self.days = ((end - _MOMENT).astimezone(self.zone).date() - start.astimezone(self.zone).date()).days + 1
        if self.days > MAX_DAYS:
            raise Invalid(f"A report covers at most {MAX_DAYS} days; let from be later.", field="from")
        before = [reading.days_before(at, self.days, self.zone) for at in (start, end)]
        self.period = Period(start, end, before[0], before[1], self.zone.key)

    async def sums(self, tx: Tx, kinds: Sequence[Kind], by: Sequence[By]) -> tuple[list[Line], list[Line]]:
        """Of the period, and of the time before."""
        now = await reading.sums(tx, self.wanted, kinds, by, self.period.since, self.period.until)
        before = await reading.sums(tx, self.wanted, kinds, by, self.period.before_from, self.period.before_to)
        return now, before

    def steps(self, group_by: Literal["hour", "day"] | None) -> Literal["hour", "day"]:
        """Raises Invalid."""
        if group_by == "hour" and self.days > MAX_HOURLY_DAYS:
            raise Invalid(f"group_by hour takes at most {MAX_HOURLY_DAYS} days.", field="group_by")
        return group_by or ("hour" if self.days <= 2 else "day")


async def _asked(tx: Tx, caller: Caller, *given: object) -> Asked:
    sites = await workspaces.sites(tx, [caller.workspace_id], with_removed=True)
    return Asked(caller, sites, *given)  # type: ignore[arg-type]  # as Asked takes them


@get("/reports/overview", summary="Conversions, revenue, sessions and deliveries of a period")
async def overview(
    hub: Needs[Hub],
    caller: Needs[Caller],
    since: From = None,
    until: To = None,
    site: OfSite = None,
    goal: OfGoal = None,
    currency: InCurrency = None,
    group_by: Steps = None,
) -> Overview:
    """The last seven days where nothing else is asked for."""
    async with hub.pool.connection() as tx:
        asked = await _asked(tx, caller, since, until, site, goal, currency)
        step = asked.steps(group_by)
        now, before = await asked.sums(tx, ("conversion", "session", "delivery"), (step, "site", "destination"))
        held = await _held(tx, [*now, *before])
    sites: defaultdict[UUID, list[Line]] = defaultdict(list)
    for line in now:
        if line.site_id is not None:
            sites[line.site_id].append(line)
    return Overview(
        period=asked.period,
        conversions=Compared(_n(now, "conversion"), _n(before, "conversion")),
        sessions=Compared(_n(now, "session"), _n(before, "session")),
        conversion_rate=Rate(_rate(now, goal), _rate(before, goal)),
        revenue=_revenue(now, before),
        deliveries=_deliveries(now, before, held),
        sites=sorted(
            (
                SiteSums(id_, _name(caller.snapshot.sites.get(id_)), _n(lines, "conversion"), _n(lines, "session"))
                for id_, lines in sites.items()
            ),
            key=lambda one: (-one.conversions, -one.sessions, one.site),
        ),
        trend=_trend(asked, step, now, before),
    )


@get("/reports/goals", summary="Conversions of a period by goal, and by the sender's label")
async def by_goal(
    hub: Needs[Hub],
    caller: Needs[Caller],
    since: From = None,
    until: To = None,
    site: OfSite = None,
    goal: OfGoal = None,
    currency: InCurrency = None,
) -> Goals:
    async with hub.pool.connection() as tx:
        asked = await _asked(tx, caller, since, until, site, goal, currency)
        now, before = await asked.sums(tx, ("conversion", "session"), ("goal", "site", "label"))
    aims = caller.snapshot.goals
    numbers = {line.goal_id for line in (*now, *before) if line.goal_id is not None}
    numbers |= {id_ for id_, aim in aims.items() if site in (None, aim.site_id) and goal in (None, id_)}
    items: list[GoalSums] = []
    for number in numbers:
        aim = aims.get(number)
        mine, earlier = _of_goal(now, number, aim), _of_goal(before, number, aim)
        labels: defaultdict[str | None, list[Line]] = defaultdict(list)
        for line in mine:
            if line.kind == "conversion":
                labels[line.label].append(line)
        items.append(
            GoalSums(
                goal=number,
                name=aim.name if aim else None,
                conversions=Compared(_n(mine, "conversion"), _n(earlier, "conversion")),
                revenue=_revenue(mine, earlier),
                conversion_rate=Rate(_rate(mine, number), _rate(earlier, number)),
                labels=[
                    LabelSums(label, _n(lines, "conversion"), _revenue(lines, ()))
                    for label, lines in sorted(labels.items(), key=lambda one: -_n(one[1], "conversion"))
                ],
            )
        )
    return Goals(asked.period, sorted(items, key=lambda one: (-one.conversions.now, one.goal)))


@get("/reports/channels", summary="Conversions of a period by their last touch, and sessions by their source")
async def by_channel(
    hub: Needs[Hub],
    caller: Needs[Caller],
    since: From = None,
    until: To = None,
    site: OfSite = None,
    goal: OfGoal = None,
    currency: InCurrency = None,
) -> Channels:
    async with hub.pool.connection() as tx:
        asked = await _asked(tx, caller, since, until, site, goal, currency)
        now, before = await asked.sums(tx, ("conversion", "session"), ("channel",))
    found: defaultdict[tuple[str | None, ...], tuple[list[Line], list[Line]]] = defaultdict(lambda: ([], []))
    for place, lines in enumerate((now, before)):
        for line in lines:
            found[line.source, line.medium, line.campaign][place].append(line)
    items = [
        Channel(
            source=source,
            medium=medium,
            campaign=campaign,
            conversions=Compared(_n(mine, "conversion"), _n(earlier, "conversion")),
            sessions=Compared(_n(mine, "session"), _n(earlier, "session")),
            revenue=_revenue(mine, earlier),
        )
        for (source, medium, campaign), (mine, earlier) in found.items()
    ]
    items.sort(key=lambda one: (-one.conversions.now, -one.sessions.now, one.source or "", one.campaign or ""))
    return Channels(asked.period, items[:MOST_CHANNELS], max(0, len(items) - MOST_CHANNELS))


@get("/reports/destinations", summary="What became of the deliveries of a period, by destination")
async def by_destination(
    hub: Needs[Hub], caller: Needs[Caller], since: From = None, until: To = None, site: OfSite = None
) -> Destinations:
    """`site`: by whose clock the period goes; deliveries are those of all sites."""
    async with hub.pool.connection() as tx:
        asked = await _asked(tx, caller, since, until, site)
        now, before = await asked.sums(tx, ("delivery",), ("destination",))
        held = await _held(tx, [*now, *before])
        labels = await destinations.labels(tx, caller.workspace_id)
    items = [
        DestinationSums(
            id_,
            label.connector,
            label.name,
            _deliveries(
                [line for line in now if line.destination_id == id_],
                [line for line in before if line.destination_id == id_],
                held,
            ),
        )
        for id_, label in labels.items()
        if any(line.destination_id == id_ for line in (*now, *before)) or label.removed_at is None
    ]
    return Destinations(asked.period, sorted(items, key=lambda one: (one.name, one.destination)))


async def _held(tx: Tx, lines: Sequence[Line]) -> set[UUID]:
    """Which destinations are held."""
    homes = sorted({buckets.of_id(line.destination_id) for line in lines if line.destination_id is not None})
    return {id_ for id_, lane in (await destinations.lanes(tx, homes)).items() if lane.state == "held"}


def _deliveries(now: Sequence[Line], before: Sequence[Line], held: set[UUID]) -> Deliveries:
    tallies: list[dict[str, int]] = []
    for lines in (now, before):
        tally: dict[str, int] = dict.fromkeys(("delivered", "skipped", "failed", "held", "pending"), 0)
        for line in lines:
            if line.kind == "delivery" and line.status is not None:
                is_open = "held" if line.destination_id in held else "pending"
                tally[line.status if line.status in tally else is_open] += line.sums.n
        tallies.append(tally)
    counts = {name: Compared(tallies[0][name], tallies[1][name]) for name in tallies[0]}
    success = [_share(tally["delivered"], tally["delivered"] + tally["failed"]) for tally in tallies]
    return Deliveries(**counts, success=Rate(*success))


def _trend(asked: Asked, step: Literal["hour", "day"], now: Sequence[Line], before: Sequence[Line]) -> list[Point]:
    """Every hour or day of the period, empty ones too."""
    by_step = [_by_step(step, now), _by_step(step, before)]
    points: list[Point] = []
    for key, earlier, at in _steps(asked, step):
        mine, theirs = by_step[0].get(key, []), by_step[1].get(earlier, [])
        points.append(
            Point(
                at,
                Compared(_n(mine, "conversion"), _n(theirs, "conversion")),
                Compared(_n(mine, "session"), _n(theirs, "session")),
                _revenue(mine, theirs),
            )
        )
    return points


def _by_step(step: Literal["hour", "day"], lines: Sequence[Line]) -> dict[date | datetime | None, list[Line]]:
    found: defaultdict[date | datetime | None, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.day if step == "day" else line.hour].append(line)
    return found


def _steps(asked: Asked, step: Literal["hour", "day"]) -> Iterable[tuple[date, date, datetime]]:
    """How lines name each step, and that of the time before; and when it begins."""
    zone, shift = asked.zone, asked.days
    if step == "hour":
        at = asked.period.since
        while at < asked.period.until:
            yield at, reading.floor(reading.days_before(at, shift, zone), zone), at
            at += _HOUR
        return
    day = asked.period.since.astimezone(zone).date()
    while (at := reading.midnight(day, zone)) < asked.period.until:
        yield day, day - timedelta(days=shift), at.astimezone(UTC)
        day += timedelta(days=1)


def _of_goal(lines: Sequence[Line], goal: int, aim: Goal | None) -> list[Line]:
    """A goal's conversions, and the sessions of its site."""
    mine = [line for line in lines if line.goal_id == goal]
    sites = {aim.site_id} if aim else {line.site_id for line in mine}
    return mine + [line for line in lines if line.kind == "session" and line.site_id in sites]


def _n(lines: Iterable[Line], kind: Kind) -> int:
    return sum(line.sums.n for line in lines if line.kind == kind)


def _rate(lines: Sequence[Line], goal: int | None) -> float | None:
    """A session that converts in two hours, or by two orders, may have been counted twice: hence the limit."""
    converted = sum(line.sums.converted_any if goal is None else line.sums.converted for line in lines)
    return _share(converted, _n(lines, "session"))


def _share(part: int, whole: int) -> float | None:
    return min(1.0, round(part / whole, 6)) if whole else None


def _revenue(now: Sequence[Line], before: Sequence[Line]) -> list[Revenue]:
    mine, theirs = reading.revenue(now), reading.revenue(before)
    return [Revenue(name, mine[name].n, mine[name].revenue, theirs[name].revenue) for name in sorted({*mine, *theirs})]


def _name(site: workspaces.Site | None) -> str | None:
    return site.name if site else None


HANDLERS = [overview, by_goal, by_channel, by_destination]
