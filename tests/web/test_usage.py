"""`/v1/admin/usage`: billable events of a UTC month, once each, against what the plans allow."""

from datetime import UTC, datetime
from typing import Any

USAGE = "/v1/admin/usage"


async def send(served: Any, expected: int = 202, **event: Any) -> None:
    status, receipt = await served.call("POST", "/v1/events", event)
    assert status == expected, receipt


async def usage(served: Any, query: str = "", **more: Any) -> Any:
    status, found = await served.call("GET", USAGE + query, **more)
    assert status == 200, found
    return found


async def give_plan(served: Any, path: str, **fields: Any) -> None:
    _, plan = await served.call("POST", "/v1/admin/plans", {"name": path, **fields})
    status, body = await served.call("PATCH", path, {"plan": plan["id"]})
    assert status == 200, body


async def test_only_billable_events_count_once_each(served: Any) -> None:
    await served.call("POST", "/v1/admin/event-types", {"name": "quiz", "billable": True})
    empty = await usage(served)
    assert empty == {
        "period": f"{datetime.now(UTC):%Y-%m}", "used": 0, "cap": None, "overage": 0,
        "by_site": [{"site": served.keys.site, "name": "default", "used": 0, "cap": None, "overage": 0}],
    }  # fmt: skip
    for event in ("purchase", "lead", "signup", "subscribe", "quiz", "page_view", "refund", "other"):
        for _ in range(2):
            await send(served, event=event, event_id=f"e-{event}")
    found = await usage(served)
    assert (found["used"], found["by_site"][0]["used"]) == (5, 5)


async def test_an_order_counts_once_whatever_its_posts(served: Any) -> None:
    for status in ("pending", "completed", "refunded"):
        await send(served, event="purchase", order_id="o1", order_status=status)
    assert (await usage(served))["used"] == 1


async def test_what_is_past_the_cap_is_overage_up_to_three_times(served: Any) -> None:
    await give_plan(served, f"/v1/admin/workspaces/{served.keys.workspace}", monthly_cap=2, overage=True)
    for n in range(8):
        await send(served, 202 if n < 6 else 429, event="lead", event_id=f"l{n}")
    found = await usage(served)
    assert (found["used"], found["cap"], found["overage"]) == (6, 2, 4)


async def test_a_sites_plan_caps_it_beside_the_workspaces(served: Any) -> None:
    _, site = await served.call("POST", "/v1/admin/sites", {"name": "second"})
    await give_plan(served, f"/v1/admin/workspaces/{served.keys.workspace}", monthly_cap=3)
    await give_plan(served, f"/v1/admin/sites/{site['id']}", monthly_cap=1)
    for expected in (202, 429):
        await send(served, expected, event="lead", site_key=site["site_key"])
    for expected in (202, 202, 429):
        await send(served, expected, event="lead")
    found = await usage(served)
    assert (found["used"], found["cap"], found["overage"]) == (3, 3, 0)
    assert [(one["name"], one["used"], one["cap"]) for one in found["by_site"]] == [
        ("default", 2, None), ("second", 1, 1),
    ]  # fmt: skip


async def test_what_a_removed_site_used_stays_used(served: Any) -> None:
    _, used = await served.call("POST", "/v1/admin/sites", {"name": "used"})
    _, unused = await served.call("POST", "/v1/admin/sites", {"name": "unused"})
    await send(served, event="lead", site_key=used["site_key"])
    for site in (used, unused):
        assert (await served.call("DELETE", f"/v1/admin/sites/{site['id']}"))[0] == 204
    found = await usage(served)
    assert (found["used"], [one["name"] for one in found["by_site"]]) == (1, ["default", "used"])


async def test_another_month_is_asked_for_by_name(served: Any) -> None:
    await send(served, event="lead")
    assert (await usage(served, f"?period={datetime.now(UTC):%Y-%m}"))["used"] == 1
    past = await usage(served, "?period=2020-02")
    assert (past["period"], past["used"]) == ("2020-02", 0)


async def test_a_period_that_is_no_month_is_named(served: Any) -> None:
    for period in ("", "2026", "2026-13", "2026-1", "2026-11-01", "11-2026", "1999-12", "\uff12\uff10\uff12\uff16-11"):
        status, body = await served.call("GET", USAGE, params={"period": period})
        assert (status, body["error"]["field"]) == (422, "period"), period


async def test_another_workspaces_events_are_not_counted(served: Any) -> None:
    await send(served, event="lead")
    _, neighbour = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    theirs = await usage(served, key=neighbour["admin_key"])
    assert (theirs["used"], [one["site"] for one in theirs["by_site"]]) == (0, [neighbour["site"]])
