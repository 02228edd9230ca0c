"""Pages of what came in and of whom: finding, one event, one delivery, one order, one visitor."""

import re
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

from postback.db import Tx

JANE = {"email": "jane@secret.example", "phone": "+14155550100"}


async def send(served: Any, **event: Any) -> None:
    status, receipt = await served.call("POST", "/v1/events", event)
    assert status == 202, receipt


async def first(served: Any, kind: str) -> str:
    _, page = await served.call("GET", f"/v1/admin/{kind}")
    return page["items"][0]["id"]


async def test_finding_leads_to_what_was_meant_and_keeps_it_out_of_every_address(served: Any, owner: Any) -> None:
    await send(served, event="purchase", order_id="o/1", visitor_id="v/1", user_data=JANE, value=5, currency="EUR")
    await send(served, event="lead", event_id="o/1")
    found = await owner.submit("/app/events", "/app/find", q="jane@secret.example")
    assert (found.status, found.location) == (303, "/app/visitors/v%2F1")
    several = await owner.submit("/app/find", q="o/1")
    assert (several.status, "2 found" in several.text) == (200, True)
    assert f"/app/orders/o%2F1?site={served.keys.site}" in several.links
    nothing = await owner.submit("/app/find", q="nobody@secret.example")
    assert (nothing.status, "Nothing is known by that" in nothing.text) == (200, True)
    assert [form["q"] for form in nothing.forms if "q" in form] == ["nobody@secret.example"]
    assert (await owner.submit("/app/find", q=" ")).status == 422


async def test_an_order_of_another_site_than_is_looked_at_opens(served: Any, owner: Any) -> None:
    await send(served, event="purchase", order_id="o/1", event_id="e1", value=5, currency="EUR")
    assert (await served.call("POST", "/v1/admin/sites", {"name": "Second"}))[0] == 201
    _, sites = await served.call("GET", "/v1/admin/sites")
    second = next(site["id"] for site in sites["items"] if site["id"] != served.keys.site)
    assert (await owner.submit("/app/events", "/app/look-at", site=second)).status == 303
    found = await owner.submit("/app/find", q="o/1")
    assert found.location == f"/app/orders/o%2F1?site={served.keys.site}"
    order = await owner.get(found.location)
    assert (order.status, "€5.00" in order.text) == (200, True)
    conversion = await owner.get(f"/app/conversions/{await first(served, 'conversions')}")
    assert found.location in conversion.links


async def test_an_event_shows_what_came_with_it_and_each_try_in_turn_and_one_is_sent_again(
    served: Any, owner: Any, tx: Tx
) -> None:
    config = {"config": {"url": "http://127.0.0.1:9/x"}, "name": "Mine"}
    assert (await served.call("POST", "/v1/admin/integration-catalog/webhook/install", config))[0] == 201
    await send(served, event="Order Completed", event_id="e1", order_id="o1", user_data=JANE, value=5, currency="EUR")
    event = await first(served, "events")
    for n, outcome in enumerate(("retry", "failed"), 1):
        await tx.execute(
            "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome, reason, head, request, response)"
            " SELECT bucket, event_id, destination_id, %s, now() + %s * interval '1 s', %s, %s,"
            " 'POST http://127.0.0.1:9/x', '{}', 'no' FROM delivery",
            (n, n, outcome, f"reason {n}"),
        )
    await tx.execute("UPDATE delivery SET status = 'failed', reason = 'reason 2', attempt = 2, settled_at = now()")
    page = await owner.get(f"/app/events/{event}")
    assert "jane" not in page.text
    said = r"email_sha256.*\[secret\].*Normalised.*Sent with the event.*Try 1.*reason 1.*Try 2.*reason 2"
    assert re.search(said, page.text, re.S)
    assert "Purchases" in page.text
    delivery = await first(served, "deliveries")
    assert (await owner.submit(f"/app/events/{event}", f"/app/deliveries/{delivery}", do="replay")).status == 303
    _, jobs = await served.call("GET", "/v1/admin/replays")
    assert [(job["total"], job["filter"]["ids"]) for job in jobs["items"]] == [(1, [delivery])]


async def test_an_order_says_what_it_was_worth_after_each_post(served: Any, owner: Any) -> None:
    await send(served, event="purchase", order_id="o/1", value=100, currency="EUR")
    await send(served, event="refund", order_id="o/1", value=30, currency="EUR")
    page = await owner.get("/app/orders/o%2F1")
    assert re.search(r"€70.00\s+worth now.*€100.00\s+worth then.*Refund.*€70.00\s+worth then", page.text, re.S)


async def test_visitors_are_listed_and_one_shows_what_was_seen_in_one_line(served: Any, owner: Any) -> None:
    await send(served, event="purchase", order_id="o1", value=5, currency="EUR", visitor_id="a/b", user_data=JANE)
    page = await owner.get("/app/visitors")
    assert "/app/visitors/a%2Fb" in page.links
    assert ">email<" in page.html
    page = await owner.get(f"/app/visitors/{quote('a/b', safe='')}")
    assert "Purchases: €5.00" in page.text
    assert "jane" not in page.text
    assert {"kind": "visitor_id", "value": "a/b"}.items() <= next(f for f in page.forms if "kind" in f).items()


async def test_a_visitors_page_shows_what_the_visitor_sent(served: Any, owner: Any) -> None:
    await send(served, event="add_to_cart", visitor_id="v/1")
    await send(served, event="purchase", order_id="o1", visitor_id="v/1", value=5, currency="EUR")
    await send(served, event="search", visitor_id="v/2")
    page = await owner.get("/app/visitors/v%2F1")
    assert re.search("Purchases: €5.00.*Add to cart", page.text, re.S)
    assert "Search" not in page.text.split("What was seen")[1].split("Facts")[0]
    [link] = [link for link in page.links if link.startswith("/app/events?visitor=")]
    listed = await owner.get(link)
    assert ("add_to_cart" in listed.text, "search</a>" in listed.text) == (True, False)


async def test_a_span_of_days_is_the_sites_own_and_its_last_day_counts(served: Any, owner: Any, tx: Tx) -> None:
    await tx.execute("UPDATE site SET timezone = 'Pacific/Auckland'")
    await tx.execute("UPDATE config_version SET version = version + 1")
    await send(served, event="lead", event_id="e1")
    [(today,)] = await (await tx.execute("SELECT (now() AT TIME ZONE 'Pacific/Auckland')::date::text")).fetchall()
    for kind, shown in (("events", "e1"), ("conversions", "Leads"), ("visitors", "No visitor"), ("deliveries", "")):
        page = await owner.get(f"/app/{kind}?from={today}&to={today}")
        assert (page.status, shown in page.text) == (200, True), kind
    [(since,)] = await (
        await tx.execute(
            "SELECT (%s::date::timestamp AT TIME ZONE 'Pacific/Auckland' AT TIME ZONE 'UTC')::text", [today]
        )
    ).fetchall()
    assert (
        f"events?from={since.replace(' ', 'T')}Z&to=" in (await owner.get(f"/app/events?from={today}&to={today}")).text
    )
    before = await owner.get(f"/app/events?to={date.fromisoformat(today) - timedelta(days=1)}")
    assert "No event fits" in before.text
    assert (await owner.get("/app/events?from=2026-02-30")).status == 422
    for kind in ("events", "orders", "deliveries", "conversions", "visitors", "audit"):
        assert (await owner.get(f"/app/{kind}?from=0001-01-01")).status == 200


async def test_a_list_is_narrowed_by_note_site_and_event(served: Any, owner: Any) -> None:
    await send(served, event="purchase", event_id="twice", value=1, currency="EUR")
    await send(served, event="purchase", event_id="twice", value=2, currency="EUR")
    await send(served, event="lead", event_id="once")
    found = await owner.get("/app/events?note=collision")
    assert ("twice" in found.text, "once" in found.text) == (True, False)
    events = await served.call("GET", "/v1/admin/events?event_id=once")
    found = await owner.get(f"/app/conversions?event={events[1]['items'][0]['id']}")
    assert ("once" in found.text, "twice" in found.text) == (True, False)


async def test_orders_are_listed_and_found_by_their_number(served: Any, owner: Any) -> None:
    empty = await owner.get("/app/orders")
    assert "No orders yet" in empty.text
    await send(served, event="purchase", order_id="o/1", value=100, currency="EUR")
    await send(served, event="refund", order_id="o/1", value=30, currency="EUR")
    await send(served, event="purchase", order_id="o2", value=5, currency="EUR", order_status="pending")
    page = await owner.get("/app/orders")
    assert "/app/orders" in page.nav
    assert re.search(r"o2.*Pending.*€0.00.*o/1.*Completed.*€70.00", page.text, re.S)
    found = await owner.get("/app/orders?order_id=o/1&status=&site=")
    assert ("o2" in found.text, f"/app/orders/o%2F1?site={served.keys.site}" in found.links) == (False, True)
    assert "No order fits" in (await owner.get("/app/orders?order_id=o")).text


async def test_a_reason_ends_once_and_what_a_paused_integration_has_waits_for_it(
    served: Any, owner: Any, tx: Tx
) -> None:
    config = {"config": {"url": "http://127.0.0.1:9/x"}, "name": "Mine"}
    _, webhook = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", config)
    await send(served, event="lead", event_id="e1")
    event, delivery = await first(served, "events"), await first(served, "deliveries")
    await tx.execute("UPDATE delivery SET reason = 'refused on demand.', fix = 'Ask less.'")
    page = await owner.get(f"/app/events/{event}")
    assert ("refused on demand. Ask less." in page.text, "next try" in page.text) == (True, True)
    assert (await served.call("POST", f"/v1/admin/destinations/{webhook['id']}/pause"))[0] == 200
    for path, said in (
        (f"/app/events/{event}", "sent when it is resumed"),
        (f"/app/deliveries/{delivery}", "when Mine is resumed"),
        ("/app/deliveries", "when it is resumed"),
    ):
        page = await owner.get(path)
        assert (said in page.text, "next try " in page.text) == (True, False), path
    _, shown = await served.call("GET", f"/v1/admin/deliveries/{delivery}")
    assert (shown["status"], shown["paused"], shown["next_attempt_at"]) == ("queued", True, None)
    _, told = await served.call("GET", "/v1/events/e1", key=served.keys.api_key)
    assert "next_attempt_at" not in told["deliveries"][0]
