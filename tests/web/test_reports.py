"""`/v1/admin/reports`: sums of a period, as the worker's rounds have counted them."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from postback import workspaces
from postback.db import buckets, connect
from postback.reports import Kind, Sums, reading
from postback.reports.keeper import Keeper
from postback.reports.reading import By, Line, Wanted

REPORTS = "/v1/admin/reports"


async def send(served: Any, **event: Any) -> None:
    status, receipt = await served.call("POST", "/v1/events", event)
    assert status == 202, receipt


async def report(served: Any, what: str, **more: Any) -> Any:
    status, answer = await served.call("GET", f"{REPORTS}/{what}", **more)
    assert status == 200, answer
    return answer


async def count(served: Any, later: timedelta = timedelta(0)) -> None:
    tx = await connect(served.dsn)
    await Keeper().round(tx, buckets.BUCKETS, datetime.now(UTC) + later)
    await tx.close()


async def visit(served: Any, session: str, query: str = "") -> None:
    now = datetime.now(UTC).isoformat()
    body = {
        "site_key": served.keys.site_key, "sent_at": now, "visitor_id": f"v_{session}", "session_id": session,
        "session": {"started_at": now, "landing": f"https://shop.example/{query}", "referrer": ""},
        "events": [{"event": "page_view", "event_id": f"p{session}", "occurred_at": now}],
    }  # fmt: skip
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0 Safari/537.36"}
    status, answer = await served.call("POST", "/collect", body, headers=browser)
    assert status == 200, answer


@pytest.fixture
async def counted(served: Any) -> Any:
    """Two sessions, one of which buys; a sale of an hour long ago, which is refunded in part; a lead without a value."""
    await visit(served, "s1", "?utm_source=google&utm_medium=cpc&utm_campaign=spring")
    await visit(served, "s2")
    sale = {"event": "purchase", "currency": "EUR", "visitor_id": "v_s1", "session_id": "s1"}
    await send(served, **sale, event_id="e1", order_id="o1", value=100)
    await send(served, event="refund", event_id="e2", order_id="o1", value=30, currency="EUR")
    long_ago = (datetime.now(UTC) - timedelta(days=9)).isoformat()
    await send(served, event="purchase", event_id="e3", value=5, currency="USD", occurred_at=long_ago)
    await send(served, event="lead", event_id="e4")
    await count(served)
    return served


async def test_the_overview_sums_the_last_week_beside_the_one_before(counted: Any) -> None:
    found = await report(counted, "overview")
    assert found["conversions"] == {"now": 2, "before": 1}
    assert found["revenue"] == [
        {"currency": "EUR", "conversions": 1, "now": 70, "before": 0}, {"currency": "USD", "conversions": 0, "now": 0, "before": 5},
    ]  # fmt: skip
    assert found["sessions"] == {"now": 2, "before": 0}
    assert found["conversion_rate"] == {"now": 0.5, "before": None}
    assert len(found["trend"]) == 7
    assert sum(point["conversions"]["now"] for point in found["trend"]) == 2
    assert sum(point["conversions"]["before"] for point in found["trend"]) == 1
    assert [(site["site"], site["conversions"], site["sessions"]) for site in found["sites"]] == [
        (counted.keys.site, 2, 2)
    ]


async def test_goals_have_their_rate_and_their_labels(counted: Any) -> None:
    leads = next(goal for goal in (await report(counted, "goals"))["items"] if goal["name"] == "Leads")
    record = {"goalId": leads["goal"], "amount": 7, "integrationOrderId": "i1", "integrationSource": "crm"}
    assert (await counted.call("POST", "/Conversions/record", record))[0] == 200
    await count(counted)
    found = {goal["name"]: goal for goal in (await report(counted, "goals"))["items"]}
    assert found["Purchases"]["conversion_rate"] == {"now": 0.5, "before": None}
    assert found["Purchases"]["conversions"] == {"now": 1, "before": 1}
    assert found["Leads"]["conversion_rate"] == {"now": 0.0, "before": None}
    assert {(one["label"], one["conversions"]) for one in found["Leads"]["labels"]} == {("crm", 1), (None, 1)}
    [narrowed] = (await report(counted, f"goals?goal={leads['goal']}"))["items"]
    assert narrowed["name"] == "Leads"


async def test_channels_are_those_of_the_last_touch(counted: Any) -> None:
    found = (await report(counted, "channels?currency=eur"))["items"]
    assert [(one["source"], one["campaign"], one["conversions"]["now"], one["sessions"]["now"]) for one in found] == [
        ("google", "spring", 1, 1), (None, None, 0, 1),
    ]  # fmt: skip
    assert found[0]["revenue"] == [{"currency": "EUR", "conversions": 1, "now": 70, "before": 0}]


async def test_an_hour_is_cut_as_exactly_as_a_day(counted: Any) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    span = f"from={now:%Y-%m-%dT%H:%M:%SZ}&to={now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    found = await report(counted, f"overview?{span}")
    assert found["conversions"]["now"] == sum(point["conversions"]["now"] for point in found["trend"])
    assert len(found["trend"]) == 1
    days = await report(counted, f"overview?from={now - timedelta(days=20):%Y-%m-%dT%H:%M:%SZ}&group_by=day")
    assert days["conversions"]["now"] == 3 == sum(point["conversions"]["now"] for point in days["trend"])


@pytest.mark.parametrize(("zone", "step"), [("Asia/Kolkata", "hour"), ("Pacific/Kiritimati", "day")])
async def test_a_trend_leaves_out_nothing_of_a_site_with_another_clock(served: Any, zone: str, step: str) -> None:
    status, site = await served.call("POST", "/v1/admin/sites", {"name": "Far", "timezone": zone})
    assert status == 201, site
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    at = end - timedelta(minutes=20)
    await send(served, event="purchase", event_id="e1", site_key=site["site_key"], occurred_at=at.isoformat())
    await count(served)
    since, until = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (end - timedelta(days=1), end))
    found = await report(served, f"overview?from={since}&to={until}&group_by={step}")
    assert found["conversions"]["now"] == 1
    assert found["trend"][-1]["conversions"]["now"] == 1


async def test_destinations_are_held_to_what_the_ledger_says(counted: Any) -> None:
    body = {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/x"}}
    status, made = await counted.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    assert status == 201, made
    await send(counted, event="purchase", event_id="e9")
    await count(counted)
    [found] = (await report(counted, "destinations"))["items"]
    assert (found["name"], found["deliveries"]["pending"]) == ("Hook", {"now": 1, "before": 0})
    assert (await report(counted, "overview"))["deliveries"] == found["deliveries"]


async def test_another_workspace_sees_nothing_of_it(counted: Any) -> None:
    _, other = await counted.call("POST", "/v1/admin/workspaces", {"name": "other"})
    for what in ("overview", "overview?goal=1"):
        found = await report(counted, what, key=other["admin_key"])
        assert (found["conversions"], found["sessions"], found["revenue"]) == (
            {"now": 0, "before": 0}, {"now": 0, "before": 0}, [],
        )  # fmt: skip
    for what in ("overview", "goals", "channels", "destinations"):
        query = f"{REPORTS}/{what}?site={counted.keys.site}"
        status, answer = await counted.call("GET", query, key=other["admin_key"])
        assert (status, answer["error"]["field"]) == (422, "site")


@pytest.mark.parametrize(
    "query, field",
    [
        ("from=yesterday", "from"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "to"),
        ("from=2010-01-01T00:00:00Z&to=2020-01-01T00:00:00Z", "from"),
        ("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&group_by=hour", "group_by"),
        ("group_by=week", "group_by"),
        ("currency=XXX1", "currency"),
        ("currency=QQQ", "currency"),
        ("site=1", "site"),
        ("goal=0", "goal"),
    ],
)
async def test_what_cannot_be_used_is_named(served: Any, query: str, field: str) -> None:
    status, answer = await served.call("GET", f"{REPORTS}/overview?{query}")
    assert (status, answer["error"].get("field")) == (422, field), answer


async def test_what_goes_wrong_is_said_with_the_step_that_mends_it(counted: Any) -> None:
    assert [one["kind"] for one in (await report(counted, "attention"))["items"]] == ["no_destination"]
    body = {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/x"}}
    _, made = await counted.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    assert (await report(counted, "attention"))["items"] == []
    tx = await connect(counted.dsn)
    await tx.execute("UPDATE lane SET down_since = now(), down_reason = 'answered 503'")
    [down] = (await report(counted, "attention"))["items"]
    assert (down["kind"], down["title"], down["detail"][:13]) == ("down", "Hook cannot be reached", "Answered 503.")
    await tx.close()
    await counted.call("POST", f"/v1/admin/destinations/{made['id']}/pause")
    await send(counted, event="purchase", event_id="e3", value=6, currency="USD")
    await send(counted, event="purchase", event_id="e7")
    _, plan = await counted.call("POST", "/v1/admin/plans", {"name": "small", "monthly_cap": 2, "overage": True})
    await counted.call("PATCH", f"/v1/admin/workspaces/{counted.keys.workspace}", {"plan": plan["id"]})
    for number in range(3):
        await send(counted, event="lead", event_id=f"n{number}")
    tx = await connect(counted.dsn)
    await tx.execute("UPDATE delivery SET status = 'failed'")
    await tx.close()
    await count(counted)
    found = {one["kind"]: one for one in (await report(counted, "attention"))["items"]}
    assert list(found) == ["failed", "plan", "collision", "paused"]
    assert found["failed"]["title"] == "4 deliveries to Hook failed"
    assert found["collision"]["title"] == "1 event came again with other content"
    assert found["paused"]["link"] == f"/app/integrations/{made['id']}"


async def test_what_failed_is_counted_by_the_clock_of_the_first_site_that_ever_was(counted: Any) -> None:
    body = {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/x"}}
    await counted.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    _, second = await counted.call("POST", "/v1/admin/sites", {"name": "Second", "timezone": "Asia/Tokyo"})
    await send(counted, event="lead", event_id="n1", site_key=second["site_key"])
    tx = await connect(counted.dsn)
    await tx.execute("UPDATE delivery SET status = 'failed'")
    await count(counted)
    # Failures in each hour of three days, more from hour to hour.
    await tx.execute(
        "INSERT INTO hourly SELECT h.bucket, h.workspace_id, g.hour, (g.hour AT TIME ZONE 'UTC')::date, h.place + 1000, h.kind,"
        " h.site_id, h.goal_id, h.source, h.medium, h.campaign, h.label, h.currency, h.destination_id, h.status,"
        " extract(epoch FROM h.hour - g.hour) / 360, 0, 0, 0, h.cut FROM hourly h, generate_series(h.hour - interval '72 h',"
        " h.hour - interval '1 h', interval '1 h') g (hour) WHERE h.kind = 'delivery'"
    )
    await tx.execute("DELETE FROM daily WHERE kind = 'delivery'")
    await tx.execute(
        "INSERT INTO daily SELECT bucket, workspace_id, day, min(place) + 2000, kind, site_id, goal_id, source, medium, campaign,"
        " label, currency, destination_id, status, sum(n), 0, 0, 0, cut FROM hourly WHERE kind = 'delivery'"
        " GROUP BY bucket, workspace_id, day, kind, site_id, goal_id, source, medium, campaign, label, currency,"
        " destination_id, status, cut"
    )
    [(failures,)] = await (
        await tx.execute(
            "SELECT sum(n) FROM hourly WHERE kind = 'delivery' AND hour >= date_trunc('hour', now()) - interval '24 h'"
        )
    ).fetchall()
    await tx.close()
    assert (await counted.call("DELETE", f"/v1/admin/sites/{counted.keys.site}"))[0] == 204
    [failed] = [one for one in (await report(counted, "attention"))["items"] if one["kind"] == "failed"]
    assert failed["title"] == f"{failures:,} deliveries to Hook failed"


async def test_a_site_that_sent_each_day_and_is_silent_now_is_named(counted: Any) -> None:
    tx = await connect(counted.dsn)
    for days in range(2, 10):
        await tx.execute(
            "INSERT INTO daily SELECT bucket, workspace_id, day - %s::int, place + 100, kind, site_id, goal_id, source, medium,"
            " campaign, label, currency, destination_id, status, n, converted, converted_any, revenue, cut"
            " FROM daily WHERE kind = 'session' AND day = (SELECT max(day) FROM daily)",
            [days],
        )
    assert "silent" not in {one["kind"] for one in (await report(counted, "attention"))["items"]}
    await tx.execute("DELETE FROM hourly")
    await tx.execute("DELETE FROM daily WHERE day = (SELECT max(day) FROM daily)")
    assert "silent" in {one["kind"] for one in (await report(counted, "attention"))["items"]}
    await tx.close()


async def test_a_period_is_the_sum_of_its_hours_wherever_it_begins_and_ends(served: Any) -> None:
    chance = random.Random(7)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    keys = [served.keys.site_key]
    for zone in ("Asia/Kolkata", "America/New_York", "Europe/Berlin"):
        keys.append((await served.call("POST", "/v1/admin/sites", {"name": zone, "timezone": zone}))[1]["site_key"])
    events = [
        {
            "event": chance.choice(["purchase", "lead"]), "event_id": f"e{n}", "value": n, "currency": "EUR",
            "site_key": chance.choice(keys), "occurred_at": (now - timedelta(minutes=chance.randrange(60_000))).isoformat(),
        }
        for n in range(200)
    ]  # fmt: skip
    await send(served, events=events)
    await count(served)
    cuts: list[tuple[By, ...]] = [(), ("day", "site"), ("goal", "site"), ("goal", "label"), ("channel",)]
    tx = await connect(served.dsn)
    sites = await workspaces.sites(tx, [UUID(served.keys.workspace)])
    seen = 0
    for n in range(60):
        first = sites[n % 4]
        wanted = Wanted(workspace_id=first.workspace_id, sites=sites[: 1 + n % 5], first=first)
        spans = []
        for _ in range(2):
            since = now - timedelta(hours=chance.randrange(1, 1000))
            spans.append((since, since + timedelta(hours=chance.randrange(1, 1000))))
        for by in cuts:
            kinds: list[Kind] = ["conversion", "event"]
            found = await reading.sums_of(tx, wanted, kinds, by, spans)
            hours = await reading.sums_of(tx, wanted, kinds, [*by, "hour"], spans)
            assert [folded(lines) for lines in found] == [folded(lines) for lines in hours]
            seen += sum(line.sums.n for lines in found for line in lines if line.kind == "conversion")
    await tx.close()
    assert seen > 5_000


def folded(lines: list[Line]) -> dict[Any, Sums]:
    """Whatever the hour."""
    found: dict[Any, Sums] = {}
    for line in lines:
        found.setdefault(msgspec.structs.replace(line, hour=None, sums=None), Sums()).add(line.sums)
    return found
