"""`/v1/admin/orders`: where each stands and what it is worth now; and of one, all that was posted of it."""

from itertools import permutations
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from postback import conversions
from postback.db import Queries, buckets
from postback.queue import lists

ORDERS = "/v1/admin/orders"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"
EUR = {"currency": "EUR"}


async def post(served: Any, event: str = "purchase", order_id: str = "o1", **more: Any) -> None:
    status, receipt = await served.call("POST", "/v1/events", {"event": event, "order_id": order_id, **more})
    assert status == 202, receipt


async def order(served: Any, order_id: str = "o1", query: str = "") -> Any:
    status, found = await served.call("GET", f"{ORDERS}/{order_id}{query}")
    assert status == 200, found
    return found


def selektable(served: Any, status: str, cents: int = 4000) -> dict[str, Any]:
    return {
        "orderId": "o1", "storeId": served.keys.site_key, "organizationId": served.keys.organization_id,
        "visitorId": "v1", "sessionId": "s1", "totalCents": cents, "currency": "EUR", "platform": "custom",
        "status": status, "orderCreatedAt": "2026-11-20T09:41:00Z",
        "items": [{"productId": "p1", "quantity": 1, "priceCents": cents, "totalCents": cents}],
    }  # fmt: skip


async def test_an_order_shows_every_post_in_order_of_arrival(served: Any) -> None:
    await post(served, event_id="p1", value=100, occurred_at="2026-11-20T10:00:00Z", **EUR)
    await post(served, "refund", event_id="r1", value=30, occurred_at="2026-11-21T10:00:00Z", **EUR)
    found = await order(served)
    ledger = found.pop("ledger")
    assert found == {"order_id": "o1", "site": served.keys.site, "status": "completed", "value": 70, "currency": "EUR"}
    assert [(e["event_id"], e["status"], e["amount"], e["changed_at"]) for e in ledger] == [
        ("p1", "completed", 100, "2026-11-20T10:00:00Z"),
        ("r1", None, 30, "2026-11-21T10:00:00Z"),
    ]
    status, event = await served.call("GET", f"/v1/admin/events/{ledger[1]['event']}")
    assert (status, event["event_id"], event["received_at"]) == (200, "r1", ledger[1]["received_at"])


async def test_a_refund_takes_its_amount_and_one_without_takes_all(served: Any) -> None:
    cases: list[tuple[list[int | None], str, int]] = [
        ([30], "completed", 70),
        ([30, 30], "completed", 40),
        ([60, 40], "refunded", 0),
        ([None], "refunded", 0),
        ([10, None], "refunded", 0),
    ]
    for n, (refunds, status, value) in enumerate(cases):
        await post(served, order_id=f"o{n}", value=100, **EUR)
        for amount in refunds:
            await post(served, "refund", order_id=f"o{n}", value=amount, **EUR)
        found = await order(served, f"o{n}")
        assert (found["status"], found["value"]) == (status, value), refunds
        assert len(found["ledger"]) == 1 + len(refunds)


async def test_a_refund_that_is_sent_twice_counts_once(served: Any) -> None:
    await post(served, value=100, **EUR)
    for _ in range(2):
        await post(served, "refund", event_id="r1", value=30, **EUR)
    assert (await order(served))["value"] == 70


async def test_segments_refund_lowers_the_same_order(served: Any) -> None:
    await post(served, value=100, **EUR)
    body = {
        "event": "Order Refunded",
        "userId": "u1",
        "messageId": "m1",
        "properties": {"order_id": "o1", "total": 25, "currency": "EUR"},
    }
    assert (await served.call("POST", "/v1/track", {"type": "track", **body}))[0] == 200
    assert (await order(served))["value"] == 75


async def test_a_cancelled_order_is_worth_nothing(served: Any) -> None:
    await post(served, value=100, occurred_at="2026-11-20T10:00:00Z", **EUR)
    await post(served, value=100, order_status="cancelled", occurred_at="2026-11-20T11:00:00Z", **EUR)
    found = await order(served)
    assert (found["status"], found["value"], found["currency"]) == ("cancelled", 0, "EUR")


async def test_posts_without_a_time_of_the_change_end_in_the_highest_status(served: Any) -> None:
    for n, posted in enumerate(permutations(["pending", "completed", "refunded"])):
        for status in posted:
            body = selektable(served, status) | {"orderId": f"o{n}"}
            assert (await served.call("POST", "/api/webhooks/orders", body))[0] == 200
        found = await order(served, f"o{n}")
        assert (found["status"], found["value"]) == ("refunded", 0)
        assert [(entry["status"], entry["changed_at"]) for entry in found["ledger"]] == [(one, None) for one in posted]


async def test_posts_with_a_time_end_in_the_latest_whatever_the_order_of_arrival(served: Any) -> None:
    changes = [("completed", 12), ("cancelled", 11), ("pending", 10)]
    for status, hour in changes:
        await post(served, value=80, order_status=status, occurred_at=f"2026-11-20T{hour}:00:00Z", **EUR)
    found = await order(served)
    assert (found["status"], found["value"]) == ("completed", 80)


async def test_a_refund_that_comes_before_its_order_is_taken_off(served: Any) -> None:
    await post(served, "refund", value=30, **EUR)
    before = await order(served)
    assert (before["status"], before["value"]) == ("pending", 0)
    await post(served, value=100, **EUR)
    assert (await order(served))["value"] == 70


async def test_an_order_counts_from_the_status_that_its_site_says(served: Any) -> None:
    await post(served, value=40, order_status="processing", **EUR)
    assert (await order(served))["value"] == 0
    await served.call("PATCH", f"/v1/admin/sites/{served.keys.site}", {"order_counts_from": "processing"})
    assert (await order(served))["value"] == 40


async def test_of_several_sites_the_newest_is_shown_unless_one_is_named(served: Any) -> None:
    _, site = await served.call("POST", "/v1/admin/sites", {"name": "second"})
    await post(served, event_id="p1", value=10, **EUR)
    await post(served, event_id="p2", value=20, site_key=site["site_key"], **EUR)
    assert (await order(served))["value"] == 20
    assert (await order(served, query=f"?site={served.keys.site}"))["value"] == 10
    assert (await order(served, query=f"?site={site['id']}"))["value"] == 20
    assert (await served.call("GET", f"{ORDERS}/o1?site={NOBODY}"))[0] == 404


async def test_any_order_id_is_found_percent_encoded(served: Any) -> None:
    for order_id in ("2026/001", "a//b/", "ü 100%", "%2F", "?x=1#y"):
        await post(served, order_id=order_id, value=5, **EUR)
        found = await order(served, quote(order_id, safe=""))
        assert (found["order_id"], found["value"]) == (order_id, 5)


async def test_an_order_id_that_is_an_email_address_finds_the_order_and_is_not_shown(served: Any) -> None:
    await post(served, order_id="jane@example.com", value=5, **EUR)
    found = await order(served, "jane%40example.com")
    assert found["value"] == 5
    assert "jane" not in str(found)


async def test_an_order_of_another_workspace_is_not_found(served: Any) -> None:
    await post(served, value=5)
    _, neighbour = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    for query in ("", f"?site={served.keys.site}"):
        status, body = await served.call("GET", f"{ORDERS}/o1{query}", key=neighbour["admin_key"])
        assert (status, body["error"]["code"]) == (404, "not_found")
    assert (await served.call("GET", f"{ORDERS}/o2"))[0] == 404


async def test_each_post_says_what_the_order_was_worth_after_it(served: Any) -> None:
    await post(served, event_id="p0", order_status="pending", value=100, **EUR)
    await post(served, event_id="p1", order_status="completed", value=120, **EUR)
    await post(served, "refund", event_id="r1", value=30, **EUR)
    await post(served, "refund", event_id="r2", **EUR)
    assert [(one["order_status"], one["value"]) for one in (await order(served))["ledger"]] == [
        ("pending", 0), ("completed", 120), ("completed", 90), ("refunded", 0),
    ]  # fmt: skip


async def listed(served: Any, query: str = "") -> list[dict[str, Any]]:
    status, page = await served.call("GET", f"{ORDERS}?{query}")
    assert status == 200, page
    assert page["next_cursor"] is None
    return page["items"]


async def test_orders_are_listed_with_what_they_are_worth_now_and_found_by_what_they_are(served: Any) -> None:
    _, second = await served.call("POST", "/v1/admin/sites", {"name": "second"})
    await post(served, order_id="a/1", value=100, **EUR)
    await post(served, order_id="b", value=40, order_status="pending", **EUR)
    await post(served, order_id="b", value=9, site_key=second["site_key"], **EUR)
    await post(served, "refund", order_id="a/1", value=30, **EUR)
    newest, pending, first = await listed(served)
    assert (newest["order_id"], newest["site"], newest["value"]) == ("b", second["id"], 9)
    assert (pending["status"], pending["value"], pending["posts"]) == ("pending", 0, 1)
    assert (first["order_id"], first["value"], first["currency"], first["posts"]) == ("a/1", 70, "EUR", 2)
    assert first["first_seen_at"] < pending["first_seen_at"] < first["changed_at"]
    since = quote(pending["first_seen_at"])
    for query, expected in (
        ("status=completed", [newest, first]),
        ("status=refunded", []),
        (f"site={second['id']}", [newest]),
        (f"site={NOBODY}", []),
        ("order_id=b", [newest, pending]),
        ("order_id=b&status=pending", [pending]),
        (f"order_id=b&site={second['id']}", [newest]),
        ("order_id=a%2F1", [first]),
        ("order_id=a", []),
        (f"from={since}", [newest, pending]),
        (f"to={since}", [first]),
        (f"order_id=b&to={since}", []),
    ):
        assert await listed(served, query) == expected, query
    assert (await served.call("GET", f"{ORDERS}?cursor={'_' * 43}"))[0] == 422
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute("UPDATE orders SET order_id = 'erased' WHERE order_id = 'a/1'")
    assert (await listed(served))[-1] == first | {"order_id": None}


async def test_a_list_of_orders_is_paged_whole_and_what_is_rare_is_looked_for_in_steps(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one request are first seen at one moment."""
    monkeypatch.setattr(conversions, "ORDERS_EXAMINED", 1)
    monkeypatch.setattr(lists, "EXAMINED_MAX", 1)
    events = [
        {"event": "purchase", "order_id": f"o{n}", "order_status": "on-hold" if n % 40 == 0 else "completed"}
        for n in range(120)
    ]
    for part in (events[:90], events[90:]):
        assert (await served.call("POST", "/v1/events", {"events": part}))[0] == 202
    for query, seconds, expected in (("", 10.0, 120), ("", 0.0, 120), ("&status=on-hold", 0.0, 3)):
        monkeypatch.setattr(lists, "LOOKING_SECONDS", seconds)
        found: list[dict[str, Any]] = []
        cursor, pages = "", 0
        while cursor is not None:
            status, page = await served.call("GET", f"{ORDERS}?limit=50{query}{cursor and '&cursor=' + cursor}")
            assert status == 200, page
            found += page["items"]
            cursor, pages = page["next_cursor"], pages + 1
        assert len({one["order_id"] for one in found}) == len(found) == expected
        assert [one["first_seen_at"] for one in found] == sorted((one["first_seen_at"] for one in found), reverse=True)
        assert pages == 3 if seconds else pages > 1


async def test_no_list_of_orders_scans_the_table(served: Any) -> None:
    queries = Queries("conversions")
    row = {"site_ids": [served.keys.site], "status": None, "since": "2000-01-01", "buckets": list(buckets.BUCKETS),
           "before_at": "2100-01-01", "before": NOBODY, "examined": 16, "limit": 51}  # fmt: skip
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute(
            "INSERT INTO orders SELECT k.bucket, gen_random_uuid(), %s, n::text, 'completed', '', now() - n * interval '1 s',"
            " now() FROM bucket k, generate_series(1, 500) n",
            [served.keys.site],
        )
        conn.execute("ANALYZE orders")
        for query in (queries.list_orders, queries.orders_floor):
            plan = "\n".join(line for (line,) in conn.execute(b"EXPLAIN " + query, row).fetchall())
            assert "orders_listed" in plan
            assert "Seq Scan on orders" not in plan
            assert plan.count("Sort Key") == 1
