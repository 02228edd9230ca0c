"""The first page: how it goes, what needs somebody, what came last. Before there is an event, the way to the first."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import Response, get
from litestar.di import NamedDependency as Needs
from markupsafe import Markup
from msgspec import Struct

from postback.errors import Invalid
from postback.web.admin import attention, reports
from postback.web.admin.sums import Compared, Rate, Revenue
from postback.web.dashboard import render, start, trend
from postback.web.dashboard.view import View

PERIODS = {"today": "Today", "7": "7 days", "28": "28 days", "90": "90 days"}
RECENT = 8
SHOWN = 12
FEW = 20
MOST_PERCENT = 1000  # past which a change is told by what it is from
_CONVERT = "Of the sessions that the tag saw, those with a conversion; a conversion without a session is not in it."
_SUCCESS = "Of the deliveries that were delivered or failed, those that were delivered; of all sites."
_NONE = Markup('<span class="none">—</span>')


class Figure(Struct, frozen=True):
    """`values`: as they are shown, one a currency. `before` empty: there is nothing to compare with; `change` empty: or
    it says nothing. `mood`: good, bad, or empty where neither."""

    name: str
    values: list[str]
    change: str
    mood: str
    before: str
    about: str = ""


@get("/")
async def overview(view: Needs[View]) -> Response[str]:
    newest = await start.newest(view, RECENT)
    if not newest.items and newest.next_cursor is None:
        return await start.first(view)
    asked, problem = view.request.query_params, None
    try:
        site = view.query_value("site", reports.overview, default=view.site.id if view.site else None)
        goal = view.query_value("goal", reports.overview)
        since, until = _period(view, site, asked.get("period", ""), asked.get("from", ""), asked.get("to", ""))
        found, goals, channels, shares, waiting = await _answers(view, since, until, site, goal)
    except Invalid as wrong:
        problem, site, goal = wrong, None, None
        since, until = _period(view, None, "7", "", "")
        found, goals, channels, shares, waiting = await _answers(view, since, until, site, goal)
    asked_for = {"from": since, "to": until, "site": site, "goal": goal}
    measures = trend.measures(found.revenue) | {"sessions": "Sessions"}
    measure = trend.chosen(asked, measures)
    return view.page(
        "overview.html",
        status=422 if problem else 200,
        problem=problem,
        report=found,
        goals=goals.items,
        labels=_labels(goals.items),
        channels=channels,
        shares=shares,
        attention=waiting.items,
        events=newest.items,
        aims=list(view.caller.snapshot.goals.values()),
        period=_chosen(asked),
        periods=PERIODS,
        site=site,
        goal=goal,
        figures=figures(found),
        measures=measures,
        measure=measure,
        chart=trend.chart(found, measure, measures[measure]),
        span=trend.span(found.period),
        call="reports/overview?" + urlencode({name: value for name, value in asked_for.items() if value}, safe=":"),
    )


async def _answers(view: View, since: str, until: str | None, site: UUID | None, goal: int | None) -> tuple[Any, ...]:
    """The reports and what needs somebody, asked for at once. Raises Invalid."""
    span = {"since": since, "until": until, "site": site}
    return await asyncio.gather(
        view.ask(reports.overview, **span, goal=goal),
        view.ask(reports.by_goal, **span, goal=goal),
        view.ask(reports.by_channel, **span, goal=goal),
        view.ask(reports.by_destination, **span),
        view.ask(attention.read),
    )


def _chosen(asked: Any) -> str:
    if asked.get("from") or asked.get("to"):
        return "custom"
    return asked["period"] if asked.get("period") in PERIODS else "7"


def _period(view: View, site: UUID | None, period: str, since: str, until: str) -> tuple[str, str | None]:
    """As the API takes it. Days are those of the site that is looked at; the last one counts, today's as far as it has
    come. Raises Invalid."""
    chosen = view.caller.snapshot.sites.get(site) if site is not None else None
    zone = ZoneInfo(chosen.timezone) if chosen is not None else view.zone
    today = view.now.astimezone(zone).date()
    if since or until:
        last = _day(until, "to") if until else today
        first = _day(since, "from") if since else last
        return trend.instant(first, zone), trend.instant(last + timedelta(days=1), zone) if last < today else None
    days = 1 if period == "today" else int(period) if period in PERIODS else 7
    return trend.instant(today - timedelta(days=days - 1), zone), None


def _day(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 2000 <= day.year < 2100:
        raise Invalid(f"{field} must be a day such as 2026-11-20.", field=field)
    return day


def figures(found: reports.Overview) -> list[Figure]:
    of, sessions = found.deliveries, found.sessions
    settled = [of.delivered.now + of.failed.now, of.delivered.before + of.failed.before]
    return [
        _count("Conversions", found.conversions),
        _revenue(found.revenue),
        _count("Sessions", sessions),
        _rate("Conversion rate, of sessions", found.conversion_rate, min(sessions.now, sessions.before), _CONVERT),
        _rate("Delivery success", of.success, min(settled), _SUCCESS),
    ]


def _count(name: str, of: Compared) -> Figure:
    change, mood = _change(Decimal(of.now), Decimal(of.before))
    return Figure(name, [render.count(of.now)], change, mood, render.count(of.before) if of.before else "")


def _revenue(all_: Sequence[Revenue]) -> Figure:
    """That with the most conversions first; the change is its."""
    ordered = sorted(all_, key=lambda one: -one.conversions)
    if not ordered:
        return Figure("Revenue", [_NONE], "", "", "")
    change, mood = _change(ordered[0].now, ordered[0].before)
    values: list[str] = [render.amount(one.now, one.currency) for one in ordered]
    before = render.amount(ordered[0].before, ordered[0].currency) if ordered[0].before else ""
    return Figure("Revenue", values, change, mood, before)


def _rate(name: str, of: Rate, least: int, about: str) -> Figure:
    """`least`: of how many it is a share, now or before; of few, a change is chance."""
    if of.now is None:
        return Figure(name, [_NONE], "", "", "", about)
    if of.before is None:
        return Figure(name, [render.percent(of.now)], "", "", "", about)
    points = round((of.now - of.before) * 100, 1)
    mood = "" if least < FEW or not points else "good" if points > 0 else "bad"
    change = f"{_sign(points)}{abs(points):.1f} points"
    return Figure(name, [render.percent(of.now)], change, mood, render.percent(of.before), about)


def _change(now: Decimal, before: Decimal) -> tuple[str, str]:
    if before <= 0:
        return "", ""
    share = (now - before) / before * 100
    mood = "good" if share > 0 else "bad" if share < 0 else ""
    return f"{_sign(share)}{abs(share):,.0f} %" if share <= MOST_PERCENT else "", mood


def _sign(number: Decimal | float) -> str:
    return "+" if number > 0 else "−" if number < 0 else "±"


def _labels(goals: Sequence[reports.GoalSums]) -> list[tuple[str | None, int]]:
    """The senders' labels over all goals."""
    counted: Counter[str | None] = Counter()
    for goal in goals:
        for one in goal.labels:
            counted[one.label] += one.conversions
    return counted.most_common(SHOWN)


HANDLERS = [overview]
