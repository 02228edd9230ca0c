"""A chart: one measure of a report over its period, beside the time before, as rows of a table that is drawn."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from msgspec import Struct

from postback.reports import reading
from postback.web.admin.periods import Period
from postback.web.admin.reports import Overview, Point
from postback.web.admin.sums import Revenue
from postback.web.dashboard import render


class Row(Struct, frozen=True):
    """An hour or a day of a chart: when it is, long and short; the number now and before, plain and as it is shown."""

    when: str
    short: str
    now: Decimal
    before: Decimal
    shown: str
    shown_before: str


class Chart(Struct, frozen=True):
    """One measure over the period."""

    name: str
    rows: list[Row]

    @property
    def is_empty(self) -> bool:
        return not any(row.now or row.before for row in self.rows)


def measures(revenue: Sequence[Revenue]) -> dict[str, str]:
    """What the chart may show; revenue by currency."""
    ordered = sorted(revenue, key=lambda one: -one.conversions)
    named = {f"revenue-{one.currency}": f"Revenue, {one.currency}" for one in ordered}
    return {"conversions": "Conversions", **named}


def chosen(asked: Mapping[str, str], known: Mapping[str, str]) -> str:
    """Which measure a page's query asks for."""
    return asked["show"] if asked.get("show") in known else "conversions"


def instant(day: date, zone: ZoneInfo) -> str:
    return f"{reading.midnight(day, zone):%Y-%m-%dT%H:%M:%SZ}"


def chart(found: Overview, measure: str, name: str) -> Chart:
    trend, zone = found.trend, ZoneInfo(found.period.timezone)
    is_hourly = len(trend) > 1 and trend[1].at - trend[0].at < timedelta(hours=2)
    currency = measure.removeprefix("revenue-") if measure.startswith("revenue-") else None
    rows: list[Row] = []
    for point in trend:
        now, before = _of_point(point, measure, currency)
        shown, earlier = (_shown(one, currency) for one in (now, before))
        at = point.at.astimezone(zone)
        when = at.strftime("%a %-d %b, %H:%M" if is_hourly else "%a %-d %b %Y")
        short = at.strftime("%H:%M" if is_hourly and at.hour else "%-d %b")
        rows.append(Row(when, short, now, before, shown, earlier))
    return Chart(name, rows)


def _shown(number: Decimal, currency: str | None) -> str:
    return render.amount(number, currency) if currency else render.count(int(number))


def _of_point(point: Point, measure: str, currency: str | None) -> tuple[Decimal, Decimal]:
    if currency is None:
        of = point.conversions if measure == "conversions" else point.sessions
        return Decimal(of.now), Decimal(of.before)
    mine = next(
        (one for one in point.revenue if one.currency == currency), Revenue(currency, 0, Decimal(0), Decimal(0))
    )
    return mine.now, mine.before


def span(period: Period) -> str:
    """From when to when, and what it is compared with."""
    zone = ZoneInfo(period.timezone)
    ends = (period.since, period.until, period.before_from, period.before_to)
    since, until, *before = (f"{at.astimezone(zone):%-d %b %Y, %H:%M}" for at in ends)
    return f"{since}, to {until}, beside {before[0]}, to {before[1]}"
