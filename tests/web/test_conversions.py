"""`/v1/admin/conversions`: events that fulfilled a goal, each worth what its order is worth now."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from postback.queue import lists

CONVERSIONS, GOALS = "/v1/admin/conversions", "/v1/admin/goals"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"


async def send(served: Any, **event: Any) -> None:
    status, receipt = await served.call("POST", "/v1/events", event)
    assert status == 202, receipt


async def items(served: Any, query: str = "", **more: Any) -> list[dict[str, Any]]:
    status, page = await served.call("GET", CONVERSIONS + query, **more)
    assert status == 200, page
    return page["items"]


async def goal_named(served: Any, name: str) -> int:
    _, page = await served.call("GET", GOALS)
    return next(goal["id"] for goal in page["items"] if goal["name"] == name)


async def test_a_purchase_is_a_conversion_of_the_sites_own_goal(served: Any) -> None:
    await send(
        served,
        event="Order Completed",
        event_id="e1",
        order_id="o1",
        value=129.90,
        currency="EUR",
        visitor_id="v1",
        session_id="s1",
        occurred_at="2026-11-20T10:00:00Z",
    )
    (found,) = await items(served)
    assert found | {"id": "", "event": ""} == {
        "id": "", "event": "", "event_id": "e1", "goal_id": await goal_named(served, "Purchases"), "site": served.keys.site,
        "value": 129.90, "currency": "EUR", "order_id": "o1", "has_order": True, "source": None, "visitor_id": "v1", "session_id": "s1",
        "type": None, "time_to_conversion_seconds": None, "occurred_at": "2026-11-20T10:00:00Z",
    }  # fmt: skip
    unknown = {"source": "unknown", "medium": None, "campaign": None}
    assert await served.call("GET", f"{CONVERSIONS}/{found['id']}") == (200, found | {"channel": unknown})


async def test_one_says_what_it_is_credited_to(served: Any) -> None:
    await send(served, event="purchase", event_id="e1", url="https://shop.example/?utm_source=meta&utm_medium=paid")
    (found,) = await items(served)
    _, shown = await served.call("GET", f"{CONVERSIONS}/{found['id']}")
    assert shown["channel"] == {"source": "meta", "medium": "paid", "campaign": None}


async def test_velaros_conversion_id_and_source_are_those_of_the_list(served: Any) -> None:
    goal = await goal_named(served, "Leads")
    body = {"goalId": goal, "amount": 7.5, "visitorId": "s9", "integrationOrderId": "i1", "integrationSource": "crm"}
    status, answer = await served.call("POST", "/Conversions/record", body)
    assert status == 200, answer
    (found,) = await items(served)
    assert found["id"] == answer["conversionId"]
    assert (found["goal_id"], found["value"], found["source"]) == (goal, 7.5, "crm")
    assert (found["session_id"], found["order_id"], found["has_order"]) == ("s9", "i1", False)


async def test_a_conversion_without_an_amount_is_worth_what_the_goal_says(served: Any) -> None:
    _, goal = await served.call("POST", GOALS, {"name": "x", "events": ["quiz"], "default_value": 3, "currency": "EUR"})
    await send(served, event="quiz")
    await send(served, event="lead")
    without, with_default = await items(served)
    assert (without["value"], with_default["goal_id"], with_default["value"]) == (None, goal["id"], 3)


async def test_it_is_worth_what_its_order_is_worth_now(served: Any) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({"event": "refund", "value": 30}, 70),
        ({"event": "refund", "value": 100}, 0),
        ({"event": "refund"}, 0),
        ({"event": "purchase", "order_status": "cancelled"}, 0),
        ({"event": "purchase", "order_status": "processing", "occurred_at": "2026-01-01"}, 100),
    ]
    for n, (later, value) in enumerate(cases):
        order = {"order_id": f"o{n}", "currency": "EUR"}
        await send(served, event="purchase", event_id=f"p{n}", value=100, **order)
        await send(served, **order, **later)
        (found,) = await items(served, f"?order_id=o{n}")
        assert (found["event_id"], found["value"], found["currency"]) == (f"p{n}", value, "EUR"), later


async def test_an_order_is_one_conversion_and_worth_nothing_until_it_counts(served: Any) -> None:
    order = {"event": "purchase", "order_id": "o1", "value": 40, "currency": "EUR"}
    await send(served, **order, order_status="pending")
    (pending,) = await items(served)
    assert pending["value"] == 0
    await send(served, **order, order_status="completed")
    assert await items(served) == [pending | {"value": 40}]


async def test_conversions_are_found_by_what_they_say(served: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await send(served, event="purchase", event_id="p1", order_id="o1", value=1)
    await send(served, event="lead", event_id="l1")
    after = datetime.now(UTC) + timedelta(seconds=5)
    leads = await goal_named(served, "Leads")
    for query, expected in (
        ("", ["l1", "p1"]),
        (f"?goal={leads}", ["l1"]),
        ("?goal=999999", []),
        ("?order_id=o1", ["p1"]),
        ("?order_id=o2", []),
        (f"?site={served.keys.site}", ["l1", "p1"]),
        (f"?site={NOBODY}", []),
        (f"?from={quote(before.isoformat())}&to={quote(after.isoformat())}", ["l1", "p1"]),
        (f"?from={quote(after.isoformat())}", []),
        (f"?to={quote(before.isoformat())}", []),
    ):
        assert [one["event_id"] for one in await items(served, query)] == expected, query


async def test_pages_go_back_in_time_and_miss_nothing(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(7):
        await send(served, event="lead", event_id=f"l{n}")
        await send(served, event="purchase", event_id=f"p{n}", order_id=f"o{n}")
    monkeypatch.setattr(lists, "EXAMINED", 1)
    for query, kinds in (("limit=3", "lp"), (f"limit=2&goal={await goal_named(served, 'Leads')}", "l")):
        seen: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            _, page = await served.call("GET", f"{CONVERSIONS}?{query}{cursor and f'&cursor={cursor}'}")
            seen += page["items"]
            cursor = page["next_cursor"]
        assert sorted(one["event_id"] for one in seen) == [f"{kind}{n}" for kind in kinds for n in range(7)]
        assert [one["id"] for one in seen] == sorted((one["id"] for one in seen), reverse=True)


async def test_another_workspaces_conversions_are_not_there(served: Any) -> None:
    await send(served, event="purchase", order_id="o1")
    (found,) = await items(served)
    _, neighbour = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    theirs = neighbour["admin_key"]
    assert await items(served, key=theirs) == []
    for id_ in (found["id"], NOBODY):
        status, body = await served.call("GET", f"{CONVERSIONS}/{id_}", key=theirs)
        assert (status, body["error"]["code"]) == (404, "not_found")


async def test_a_filter_that_cannot_be_one_is_named(served: Any) -> None:
    for query in ("goal=x", "goal=0", "site=x", "from=x", "to=x", "cursor=x", "limit=0"):
        status, body = await served.call("GET", f"{CONVERSIONS}?{query}")
        assert (status, body["error"]["field"]) == (422, query.partition("=")[0]), query


async def test_the_conversions_of_a_removed_site_stay(served: Any) -> None:
    _, site = await served.call("POST", "/v1/admin/sites", {"name": "x", "order_counts_from": "processing"})
    order = {"event": "purchase", "order_id": "o1", "order_status": "processing", "value": 5, "currency": "EUR"}
    await send(served, **order, site_key=site["site_key"])
    before = await items(served)
    assert (before[0]["site"], before[0]["value"]) == (site["id"], 5)
    assert (await served.call("DELETE", f"/v1/admin/sites/{site['id']}"))[0] == 204
    assert await items(served) == before


async def test_conversions_of_one_event_are_found_wherever_they_lie(served: Any) -> None:
    """Those of an order lie in its bucket, the others with their event."""
    await send(served, event="purchase", event_id="e1", order_id="o1", value=1, currency="EUR")
    await send(served, event="lead", event_id="e2")
    await send(served, event="lead", event_id="e3")
    _, page = await served.call("GET", "/v1/admin/events")
    for event in page["items"]:
        assert [one["event_id"] for one in await items(served, f"?event={event['id']}")] == [event["event_id"]]
    assert await items(served, f"?event={NOBODY}") == []
