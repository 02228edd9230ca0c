"""`/v1/admin/reports`: sums of a period beside those of the time before. See `postback.reports` for what is counted.

Revenue is net of refunds, listed by currency, never converted.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency as Needs
from msgspec import Struct

from postback import destinations, workspaces
from postback.goals import Goal
from postback.reports import reading
from postback.reports.reading import Line
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.periods import Asked, InCurrency, OfGoal, OfSite, Period, Steps, asked_for
from postback.web.admin.spans import From, To
from postback.web.admin.sums import (
    Compared,
    Deliveries,
    Rate,
    Revenue,
    deliveries_of,
    held_among,
    n_of,
    rate_of,
    revenue_of,
)

MOST_CHANNELS = 500


class Point(Struct, frozen=True):
    """`at`: when the hour or the day begins."""

    at: datetime
    conversions: Compared
    sessions: Compared
    revenue: list[Revenue]


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
    """Of conversions: the last touch's, else what the event tells. `source` null: direct; `unknown`: not known."""

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
        asked = await asked_for(tx, caller, since, until, site, goal, currency)
        step = asked.steps(group_by)
        now, before = await asked.sums(tx, ("conversion", "session", "delivery"), ("site", "destination"))
        trend = await asked.sums(tx, ("conversion", "session"), (step,))
        held = await held_among(tx, [*now, *before])
    sites: defaultdict[UUID, list[Line]] = defaultdict(list)
    for line in now:
        if line.site_id is not None:
            sites[line.site_id].append(line)
    return Overview(
        period=asked.period,
        conversions=Compared(n_of(now, "conversion"), n_of(before, "conversion")),
        sessions=Compared(n_of(now, "session"), n_of(before, "session")),
        conversion_rate=Rate(rate_of(now, goal), rate_of(before, goal)),
        revenue=revenue_of(now, before),
        deliveries=deliveries_of(now, before, held),
        sites=sorted(
            (
                SiteSums(id_, _name(caller.snapshot.sites.get(id_)), n_of(lines, "conversion"), n_of(lines, "session"))
                for id_, lines in sites.items()
            ),
            key=lambda one: (-one.conversions, -one.sessions, one.site),
        ),
        trend=_trend(asked, step, *trend),
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
        asked = await asked_for(tx, caller, since, until, site, goal, currency)
        now, before = await asked.sums(tx, ("conversion", "session"), ("goal", "site"))
        span = asked.period.since, asked.period.until
        labelled = await reading.sums(tx, asked.wanted, ("conversion",), ("goal", "label"), *span)
    aims = caller.snapshot.goals
    numbers = {line.goal_id for line in (*now, *before) if line.goal_id is not None}
    numbers |= {id_ for id_, aim in aims.items() if site in (None, aim.site_id) and goal in (None, id_)}
    labels: defaultdict[int | None, defaultdict[str | None, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in labelled:
        labels[line.goal_id][line.label].append(line)
    items: list[GoalSums] = []
    for number in numbers:
        aim = aims.get(number)
        mine, earlier = _of_goal(now, number, aim), _of_goal(before, number, aim)
        items.append(
            GoalSums(
                goal=number,
                name=aim.name if aim else None,
                conversions=Compared(n_of(mine, "conversion"), n_of(earlier, "conversion")),
                revenue=revenue_of(mine, earlier),
                conversion_rate=Rate(rate_of(mine, number), rate_of(earlier, number)),
                labels=[
                    LabelSums(label, n_of(lines, "conversion"), revenue_of(lines, ()))
                    for label, lines in sorted(labels[number].items(), key=lambda one: -n_of(one[1], "conversion"))
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
        asked = await asked_for(tx, caller, since, until, site, goal, currency)
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
            conversions=Compared(n_of(mine, "conversion"), n_of(earlier, "conversion")),
            sessions=Compared(n_of(mine, "session"), n_of(earlier, "session")),
            revenue=revenue_of(mine, earlier),
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
        asked = await asked_for(tx, caller, since, until, site)
        now, before = await asked.sums(tx, ("delivery",), ("destination",))
        held = await held_among(tx, [*now, *before])
        labels = await destinations.labels(tx, caller.workspace_id)
    items = [
        DestinationSums(
            id_,
            label.connector,
            label.name,
            deliveries_of(
                [line for line in now if line.destination_id == id_],
                [line for line in before if line.destination_id == id_],
                held,
            ),
        )
        for id_, label in labels.items()
        if any(line.destination_id == id_ for line in (*now, *before)) or label.removed_at is None
    ]
    return Destinations(asked.period, sorted(items, key=lambda one: (one.name, one.destination)))


def _trend(asked: Asked, step: Literal["hour", "day"], now: Sequence[Line], before: Sequence[Line]) -> list[Point]:
    """Every hour or day of the period, empty ones too."""
    steps = list(asked.starts(step))
    mine = _by_step([key for key, _, _ in steps], now, asked)
    theirs = _by_step([earlier for _, earlier, _ in steps], before, asked)
    return [
        Point(
            at,
            Compared(n_of(mine[key], "conversion"), n_of(theirs[earlier], "conversion")),
            Compared(n_of(mine[key], "session"), n_of(theirs[earlier], "session")),
            revenue_of(mine[key], theirs[earlier]),
        )
        for key, earlier, at in steps
    ]


def _by_step(steps: Sequence[date], lines: Sequence[Line], asked: Asked) -> dict[date, list[Line]]:
    """The hours of a site with another clock are where they begin; of its days, those that the period only touches are
    at its ends: nothing that is counted is left out."""
    found: dict[date, list[Line]] = {step: [] for step in steps}
    for line in lines:
        at = reading.floor(line.hour, asked.zone) if line.hour is not None else line.day or steps[0]
        found[min(max(at, steps[0]), steps[-1])].append(line)
    return found


def _of_goal(lines: Sequence[Line], goal: int, aim: Goal | None) -> list[Line]:
    """A goal's conversions, and the sessions of its site."""
    mine = [line for line in lines if line.goal_id == goal]
    sites = {aim.site_id} if aim else {line.site_id for line in mine}
    return mine + [line for line in lines if line.kind == "session" and line.site_id in sites]


def _name(site: workspaces.Site | None) -> str | None:
    return site.name if site else None


HANDLERS = [overview, by_goal, by_channel, by_destination]
