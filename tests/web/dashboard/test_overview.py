"""The first page, once there are events: what the reports say of a period, and what needs somebody."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from postback.db import buckets, connect
from postback.reports.keeper import Keeper
from postback.web.admin.periods import Period
from postback.web.admin.reports import Overview
from postback.web.admin.sums import Compared, Deliveries, Rate
from postback.web.dashboard.overview import figures


@pytest.fixture
async def counted(served: Any) -> Any:
    for number in range(3):
        event = {"event": "purchase", "event_id": f"e{number}", "value": 1000.5, "currency": "EUR"}
        event["occurred_at"] = (datetime.now(UTC) - timedelta(days=9 * (number == 2))).isoformat()
        assert (await served.call("POST", "/v1/events", event))[0] == 202
    tx = await connect(served.dsn)
    await Keeper().round(tx, buckets.BUCKETS, datetime.now(UTC))
    await tx.close()
    return served


async def test_it_shows_a_period_beside_the_time_before(owner: Any, counted: Any) -> None:
    page = await owner.get("/app")
    assert page.status == 200
    for said in ("€2,001.00", "+100 %", "from €1,000.50", "Events go nowhere yet", "Install the first integration"):
        assert said in page.text, said
    assert [held["data-now"] for _, held in page.tags if "data-now" in held] == ["0"] * 6 + ["2"]


async def test_the_chart_shows_what_is_asked_for_by_the_hour_or_the_day(owner: Any, counted: Any) -> None:
    page = await owner.get("/app?period=today&show=revenue-EUR")
    numbers = [held["data-now"] for _, held in page.tags if "data-now" in held]
    assert abs(len(numbers) - datetime.now(UTC).hour - 1) <= 1
    assert sum(map(float, numbers)) == 2001
    assert (await owner.get("/app?show=revenue-XXX")).status == 200


async def test_a_period_that_cannot_be_is_named_and_kept_in_the_form(owner: Any, counted: Any) -> None:
    for query, said in (
        ("from=2026-13-01", "from must be a day"),
        ("from=2026-11-05&to=2026-11-01", "to must be later"),
        ("goal=none", "goal cannot be read"),
        ("site=01a1fbf7-086b-7ab2-9996-26a150972041", "There is no such site"),
    ):
        page = await owner.get(f"/app?{query}")
        assert page.status == 422
        assert said in page.text
        assert "€2,001.00" in page.text
    page = await owner.get("/app?from=2026-11-05&to=nonsense")
    assert {"2026-11-05", "nonsense"} <= {held.get("value") for tag, held in page.tags if tag == "input"}


async def test_days_are_those_of_the_site_and_the_last_one_counts(owner: Any, counted: Any) -> None:
    today = datetime.now(UTC).date()
    page = await owner.get(f"/app?from={today}&to={today}")
    assert "€2,001.00" in page.text
    page = await owner.get(f"/app?from={today - timedelta(days=3)}&to={today - timedelta(days=2)}")
    assert "Nothing in this period" in page.text


async def test_today_is_compared_as_far_as_it_has_come(owner: Any, counted: Any) -> None:
    today = datetime.now(UTC).date()
    page = await owner.get(f"/app?from={today}&to={today}")
    assert abs(len([held for _, held in page.tags if "data-now" in held]) - datetime.now(UTC).hour - 1) <= 1


async def test_days_of_a_site_that_is_chosen_are_its_own(owner: Any, counted: Any) -> None:
    zone = ZoneInfo("Pacific/Kiritimati")
    status, site = await counted.call("POST", "/v1/admin/sites", {"name": "Far", "timezone": zone.key})
    assert status == 201
    page = await owner.get(f"/app?site={site['id']}&goal=1")
    days = [held["data-short"] for _, held in page.tags if "data-short" in held]
    assert (len(days), days[-1]) == (7, f"{datetime.now(zone):%-d %b}")
    assert f"site={site['id']}&goal=1" in page.text, "the call asks for the same"


@pytest.mark.parametrize(
    ("now", "before", "change", "mood"),
    [(22, 2, "+1,000 %", "good"), (1400, 2, "", "good"), (1, 2, "−50 %", "bad"), (2, 2, "±0 %", ""), (5, 0, "", "")],
)
def test_a_change_that_says_nothing_is_left_out(now: int, before: int, change: str, mood: str) -> None:
    found = figures(overview(Compared(now, before), Compared(0, 0)))[0]
    assert (found.change, found.mood, found.before) == (change, mood, str(before or ""))


@pytest.mark.parametrize(("sessions", "mood"), [(20, "bad"), (19, "")])
def test_a_share_of_few_is_neither_good_nor_bad(sessions: int, mood: str) -> None:
    rates = [one for one in figures(overview(Compared(1, 1), Compared(sessions, 500))) if one.change.endswith("points")]
    assert [(one.change, one.mood) for one in rates] == [("−5.0 points", mood), ("−5.0 points", "")]


def overview(conversions: Compared, sessions: Compared) -> Overview:
    """With rates that fell, of sessions and of few deliveries."""
    at, none, rate = datetime.now(UTC), Compared(0, 0), Rate(0.90, 0.95)
    deliveries = Deliveries(Compared(9, 900), none, none, none, none, rate)
    return Overview(Period(at, at, at, at, "UTC"), conversions, sessions, rate, [], deliveries, [], [])


async def test_a_goal_shows_its_trend_of_thirty_days_by_the_chart_of_the_first_page(
    served: Any, owner: Any, counted: Any
) -> None:
    page = await owner.get("/app/goals/1?show=revenue-EUR")
    numbers = [held["data-now"] for _, held in page.tags if "data-now" in held]
    assert len(numbers) == 30
    assert [(29 - day, float(number)) for day, number in enumerate(numbers) if float(number)] == [
        (9, 1000.5),
        (0, 2001),
    ]
    assert ("Revenue, EUR" in page.text, "?show=conversions" in page.links) == (True, True)
    assert "data-chart" in (await owner.get("/app/goals/1?show=sessions")).html
    leads = await owner.get("/app/goals/2")
    assert ("None in the last 30 days" in leads.text, "data-chart" in leads.html) == (True, False)
    assert (await served.call("PATCH", "/v1/admin/goals/2", {"active": False}))[0] == 200
    assert "It is switched off" in (await owner.get("/app/goals/2")).text
