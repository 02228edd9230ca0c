"""Selektable's tables over HTTP: the payload, the items, the troubleshooting. Each test is named after its row.

Every field missing, or of the wrong type, is in `tests/dialects/test_selektable.py`.
"""

from typing import Any

import psycopg

from tests.contracts.clients import cap, made, newest

PATH = "/api/webhooks/orders"
LINE = {"productId": "lamp", "quantity": 2, "priceCents": 2000, "totalCents": 4000}


def order(served: Any, **changes: Any) -> dict[str, Any]:
    return {
        "orderId": "A-1",
        "storeId": served.keys.site_key,
        "organizationId": served.keys.organization_id,
        "visitorId": "v-1",
        "sessionId": "s-1",
        "totalCents": 4000,
        "currency": "EUR",
        "platform": "custom",
        "status": "completed",
        "orderCreatedAt": "2026-06-01T12:00:00.000Z",
        "items": [LINE],
    } | changes


async def post(served: Any, body: object, **more: Any) -> tuple[int, Any]:
    return await served.call("POST", PATH, body, key=more.pop("key", served.keys.api_key), **more)


def is_refusal(answer: Any, *words: str) -> bool:
    return answer.keys() == {"success", "error"} and not answer["success"] and all(w in answer["error"] for w in words)


async def test_an_order_is_kept_as_it_was_posted(served: Any) -> None:
    assert await post(served, order(served)) == (200, {"success": True})
    event = await newest(served)
    shown = {name: event[name] for name in ("name", "event_id", "order_id", "order_status", "value", "currency")}
    assert shown == {
        "name": "purchase", "event_id": "A-1", "order_id": "A-1", "order_status": "completed", "value": 40,
        "currency": "EUR",
    }  # fmt: skip
    assert (event["visitor_id"], event["session_id"], event["site"]) == ("v-1", "s-1", served.keys.site)
    assert event["occurred_at"] == "2026-06-01T12:00:00Z"
    assert [(item["product_id"], item["quantity"], float(item["price"])) for item in event["items"]] == [
        ("lamp", 2, 20)
    ]


async def test_fields_total_cents_and_price_cents_are_minor_units_of_the_currency(served: Any) -> None:
    for currency, value, price in (("EUR", 40, 20), ("JPY", 4000, 2000), ("KWD", 4, 2)):
        assert (await post(served, order(served, orderId=currency, currency=currency)))[0] == 200
        event = await newest(served)
        assert (float(event["value"]), float(event["items"][0]["price"])) == (value, price), currency


async def test_a_form_without_a_total_and_items_is_a_lead(served: Any) -> None:
    assert (await post(served, order(served, totalCents=0, currency="USD", items=[])))[0] == 200
    assert (await newest(served))["name"] == "lead"


async def test_field_status_a_repeat_is_a_duplicate_and_another_status_is_not(served: Any) -> None:
    for status in ("pending", "completed", "pending", "completed", "refunded"):
        assert await post(served, order(served, status=status)) == (200, {"success": True})
    _, listed = await served.call("GET", "/v1/admin/events?order_id=A-1")
    assert [event["order_status"] for event in listed["items"]] == ["refunded", "completed", "pending"]


async def test_field_total_cents_that_is_not_the_sum_of_the_items_is_accepted_and_noted(served: Any) -> None:
    assert (await post(served, order(served, totalCents=4599)))[0] == 200
    assert (await newest(served))["notes"] == ["totalCents: is not the sum of the items"]


async def test_each_field_is_required(served: Any) -> None:
    for field in order(served):
        sent = {name: value for name, value in order(served).items() if name != field}
        status, answer = await post(served, sent)
        assert (status, is_refusal(answer, field)) == (400, True), (field, answer)
    for field in LINE:
        status, answer = await post(served, order(served, items=[{n: v for n, v in LINE.items() if n != field}]))
        assert (status, is_refusal(answer, f"items[0].{field}")) == (400, True), (field, answer)


async def test_each_field_that_cannot_be_used_is_400_and_named(served: Any) -> None:
    wrong: dict[str, Any] = {
        "orderId": "", "storeId": 5, "organizationId": None, "visitorId": "", "sessionId": "", "totalCents": "40.00",
        "currency": "EURO", "platform": "shopify", "status": "shipped", "orderCreatedAt": "yesterday",
        "items": [LINE] * 1001,
    }  # fmt: skip
    for field, value in wrong.items():
        status, answer = await post(served, order(served, **{field: value}))
        assert (status, is_refusal(answer, field)) == (400, True), (field, answer)
    for field, value in (("quantity", 0), ("priceCents", 1.5), ("totalCents", -1), ("productId", None)):
        status, answer = await post(served, order(served, items=[LINE | {field: value}]))
        assert (status, is_refusal(answer, f"items[0].{field}")) == (400, True), (field, answer)
    status, answer = await post(served, order(served, orderCreatedAt="1999-12-31T00:00:00Z"))
    assert (status, is_refusal(answer, "orderCreatedAt")) == (400, True)
    status, answer = await post(served, [order(served)])
    assert (status, is_refusal(answer, "list")) == (400, True)


async def test_troubleshooting_make_sure_you_include_the_authorization_header(served: Any) -> None:
    async with served.http.post(served.url + PATH, json=order(served)) as answer:
        assert (answer.status, is_refusal(await answer.json(), "Authorization: Bearer")) == (401, True)
    _, made = await served.call("POST", "/v1/admin/keys", {"label": "shop", "scopes": ["ingest"], "prefix": "sel"})
    assert made["key"].startswith("sel_")
    assert await post(served, order(served), key=made["key"]) == (200, {"success": True})
    status, answer = await post(served, order(served), key="sel_unknown")
    assert (status, is_refusal(answer, "key")) == (401, True)


async def test_troubleshooting_the_store_id_matches_your_dashboard(served: Any) -> None:
    status, answer = await post(served, order(served, storeId="store_of_nobody"))
    assert (status, is_refusal(answer, "storeId")) == (403, True)


async def test_troubleshooting_the_visitor_id_and_session_id_are_not_empty(served: Any) -> None:
    for field in ("visitorId", "sessionId"):
        status, answer = await post(served, order(served, **{field: ""}))
        assert (status, is_refusal(answer, field)) == (400, True)


async def test_troubleshooting_another_session_is_still_the_same_visitor(served: Any) -> None:
    seen = {"event": "page_view", "visitor_id": "v-1", "session_id": "s-1", "click_ids": {"gclid": "g-1"}}
    assert (await served.call("POST", "/v1/events", seen))[0] == 202
    assert (await post(served, order(served, sessionId="another tab")))[0] == 200
    assert (await newest(served))["identifiers"] == {"gclid": "visitor"}


async def test_troubleshooting_the_organization_id_matches_your_dashboard(served: Any) -> None:
    status, answer = await post(served, order(served, organizationId="org_of_nobody"))
    assert (status, is_refusal(answer, "organizationId")) == (403, True)


async def test_troubleshooting_a_store_of_another_site_than_the_keys_or_of_another_workspace(served: Any) -> None:
    other = await made(served, "sites", {"name": "Other"})
    key = await made(served, "keys", {"label": "other", "scopes": ["ingest"], "site": other["id"], "prefix": "sel"})
    status, answer = await post(served, order(served), key=key["key"])
    assert (status, is_refusal(answer, "storeId")) == (403, True)
    assert (await post(served, order(served, storeId=other["site_key"]), key=key["key"]))[0] == 200
    theirs = await made(served, "workspaces", {"name": "theirs"})
    for field, value in (("organizationId", theirs["organization_id"]), ("storeId", theirs["site_key"])):
        status, answer = await post(served, order(served, **{field: value}))
        assert (status, is_refusal(answer, field)) == (403, True), field


async def test_field_status_the_highest_that_was_posted_holds_whatever_the_order_of_arrival(served: Any) -> None:
    rule = {
        ("pending", "processing", "on-hold"): "processing",
        ("pending", "completed", "processing"): "completed",
        ("completed", "completed", "pending"): "completed",
        ("cancelled", "completed"): "cancelled",
        ("completed", "refunded", "cancelled"): "refunded",
    }
    for number, statuses in enumerate(rule):
        for status in statuses:
            assert await post(served, order(served, orderId=f"O-{number}", status=status)) == (200, {"success": True})
    with psycopg.connect(served.dsn.reveal()) as conn:
        found = conn.execute("SELECT status FROM orders ORDER BY order_id").fetchall()
        assert [status for (status,) in found] == list(rule.values())
        assert conn.execute("SELECT count(*) FROM conversion").fetchone() == (len(rule),)


async def test_field_status_is_answered_alike_at_a_plans_cap_for_an_order_that_is_known(served: Any) -> None:
    await cap(served, 1)
    assert await post(served, order(served)) == (200, {"success": True})
    for _ in range(2):
        status, answer = await post(served, order(served, orderId="A-2"))
        assert (status, is_refusal(answer, "plan")) == (429, True)
    assert await post(served, order(served, status="refunded")) == (200, {"success": True})


async def test_an_event_is_found_by_its_order_id(served: Any) -> None:
    for status in ("pending", "completed"):
        await post(served, order(served, status=status))
    status, shown = await served.call("GET", "/v1/events/A-1", key=served.keys.api_key)
    assert (status, shown["event_id"], shown["event"]) == (200, "A-1", "purchase")
    assert (await served.call("GET", "/v1/events/A-1?event=lead", key=served.keys.api_key))[0] == 404
    assert (await served.call("GET", "/v1/events/A-2", key=served.keys.api_key))[0] == 404
    other = await made(served, "sites", {"name": "Other"})
    key = await made(served, "keys", {"label": "other", "scopes": ["ingest"], "site": other["id"]})
    assert (await served.call("GET", "/v1/events/A-1", key=key["key"]))[0] == 404
