"""`/v1/admin/events`, `/v1/admin/deliveries` and the ledger: found by what they say, shown with what became of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from postback.queue import lists

EVENTS, DELIVERIES, LEDGER = "/v1/admin/events", "/v1/admin/deliveries", "/v1/admin/ledger"
EMAIL = "jane.planted@example.com"
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"
PURCHASE = {
    "event": "Order Completed",
    "event_id": "e1",
    "value": 129.90,
    "currency": "EUR",
    "order_id": "o1",
    "url": "https://shop.example/thanks",
    "user_data": {"email": EMAIL, "phone": "+491701234567", "first_name": "Planted"},
    "click_ids": {"gclid": "abc"},
    "items": [{"product_id": "p1", "quantity": 2, "price": 64.95}],
    "properties": {"plan": "gold"},
}


async def send(served: Any, event: dict[str, Any]) -> Any:
    status, receipt = await served.call("POST", "/v1/events", event)
    assert status == 202, receipt
    return receipt


async def install(served: Any, name: str = "hook") -> str:
    body = {"name": name, "config": {"url": f"http://127.0.0.1:9/{name}"}}
    status, destination = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
    assert status == 201
    return destination["id"]


async def items(served: Any, path: str) -> list[dict[str, Any]]:
    status, body = await served.call("GET", path)
    assert status == 200, body
    return body["items"]


def execute(served: Any, statement: str, *values: Any) -> None:
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute(statement, values)  # pyright: ignore[reportArgumentType]


async def test_an_event_is_listed_as_it_was_understood(served: Any) -> None:
    await send(served, PURCHASE)
    (event,) = await items(served, EVENTS)
    assert event["event_id"] == "e1"
    assert (event["name"], event["source_name"]) == ("purchase", "Order Completed")
    assert (event["value"], event["currency"], event["order_id"]) == (129.90, "EUR", "o1")
    assert event["site"] == served.keys.site
    assert event["dialect"] == "native"
    assert datetime.fromisoformat(event["received_at"]).tzinfo is not None


async def test_one_event_shows_its_deliveries_and_where_its_identifiers_came_from(served: Any) -> None:
    destination = await install(served)
    await send(served, PURCHASE)
    (listed,) = await items(served, EVENTS)
    status, event = await served.call("GET", f"{EVENTS}/{listed['id']}")
    assert status == 200
    assert listed.items() <= event.items()
    assert event["identifiers"]["email_sha256"] == "sent"
    assert event["identifiers"]["gclid"] == "sent"
    assert event["properties"] == {"plan": "gold"}
    assert event["items"][0]["price"] == 64.95
    (delivery,) = event["deliveries"]
    assert (delivery["destination"], delivery["connector"], delivery["name"]) == (destination, "webhook", "hook")
    assert (delivery["status"], delivery["event"]["event_id"]) == ("queued", "e1")


async def test_what_the_visitor_adds_is_shown_with_how_it_was_found(served: Any) -> None:
    await send(served, {"event": "page_view", "visitor_id": "v1", "click_ids": {"fbclid": "click"}})
    await send(served, {"event": "purchase", "event_id": "e9", "visitor_id": "v1", "user_data": {"email": EMAIL}})
    (listed,) = await items(served, f"{EVENTS}?event_id=e9")
    _, event = await served.call("GET", f"{EVENTS}/{listed['id']}")
    assert event["identifiers"]["fbclid"] == "visitor"
    assert event["identifiers"]["email_sha256"] == "sent"
    # Nothing that was denied.
    await send(served, {"event": "page_view", "visitor_id": "v1", "consent": {"ad_user_data": False}})
    _, event = await served.call("GET", f"{EVENTS}/{listed['id']}")
    assert "fbclid" not in event["identifiers"]
    assert event["identifiers"]["email_sha256"] == "sent"


async def test_personal_data_is_shown_nowhere(served: Any) -> None:
    await install(served)
    await send(served, PURCHASE)
    (event,) = await items(served, EVENTS)
    (delivery,) = await items(served, DELIVERIES)
    for path in (EVENTS, f"{EVENTS}/{event['id']}", DELIVERIES, f"{DELIVERIES}/{delivery['id']}"):
        _, body = await served.call("GET", path)
        for planted in (EMAIL, "1701234567", "Planted"):
            assert planted not in str(body)


async def test_events_are_found_by_what_they_say(served: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await send(served, PURCHASE)
    await send(served, {"event": "lead", "event_id": "e/2 ä"})
    await send(served, PURCHASE | {"value": 7})  # the same event, with another value
    after = datetime.now(UTC) + timedelta(seconds=5)
    everything = await items(served, EVENTS)
    assert [event["event_id"] for event in everything] == ["e/2 ä", "e1"]
    ids = {event["event_id"]: event["id"] for event in everything}
    for query, expected in (
        ("name=purchase", ["e1"]),
        ("name=lead", ["e/2 ä"]),
        ("name=signup", []),
        ("event_id=e1", ["e1"]),
        (f"event_id={quote('e/2 ä', safe='')}", ["e/2 ä"]),
        (f"event_id={ids['e1']}", ["e1"]),
        ("event_id=e1&name=lead", []),
        ("event_id=none", []),
        ("order_id=o1", ["e1"]),
        ("order_id=o2", []),
        ("note=collision", ["e1"]),
        (f"site={served.keys.site}", ["e/2 ä", "e1"]),
        (f"site={NOBODY}", []),
        (f"from={quote(before.isoformat())}&to={quote(after.isoformat())}", ["e/2 ä", "e1"]),
        (f"to={quote(before.isoformat())}", []),
        (f"from={quote(after.isoformat())}", []),
        ("from=1970-01-01&to=9999-12-31T23:59:59Z", ["e/2 ä", "e1"]),
    ):
        assert [event["event_id"] for event in await items(served, f"{EVENTS}?{query}")] == expected, query


async def test_events_say_with_which_key_they_came_and_are_found_by_it(served: Any) -> None:
    one, two = [
        (await served.call("POST", "/v1/admin/keys", {"label": label, "scopes": ["ingest"]}))[1]
        for label in ("Checkout", "Back office")
    ]
    events = [{"event": "lead", "event_id": "e1"}, {"event": "lead", "event_id": "e2"}]
    assert (await served.call("POST", "/v1/events", {"events": events}, key=one["key"]))[0] == 202
    assert (await served.call("POST", "/v1/events", {"event": "lead", "event_id": "e3"}, key=two["key"]))[0] == 202
    seen = {
        "event": "page_view",
        "event_id": "e4",
        "occurred_at": datetime.now(UTC).isoformat(),
        "url": "https://s.example/",
    }
    posted = {"site_key": served.keys.site_key, "sent_at": datetime.now(UTC).isoformat(), "events": [seen]}
    assert (await served.call("POST", "/collect", posted, key=""))[0] == 200
    assert (await served.call("DELETE", f"/v1/admin/keys/{one['id']}"))[0] == 204
    site = served.keys.site
    for key, expected in ((one["id"], ["e2", "e1"]), (two["id"], ["e3"]), (site, ["e4"]), (NOBODY, [])):
        assert [event["event_id"] for event in await items(served, f"{EVENTS}?key={key}")] == expected
    execute(served, "UPDATE event SET key_id = NULL WHERE event_id = 'e3'")  # as it was stored once
    said = {}
    for listed in await items(served, EVENTS):
        said[listed["event_id"]] = (await served.call("GET", f"{EVENTS}/{listed['id']}"))[1]["key"]
    assert said == {
        "e1": {"kind": "api_key", "id": one["id"], "label": "Checkout", "prefix": "pb"},
        "e2": said["e1"],
        "e3": None,
        "e4": {"kind": "site_key", "id": site, "label": "default", "prefix": None},
    }


@pytest.mark.parametrize("path", [EVENTS, DELIVERIES])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=20261120", "to"),
        ("from=", "from"),
        ("status=lost", "status"),
        ("status=", "status"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused_by_name(served: Any, path: str, query: str, field: str) -> None:
    status, body = await served.call("GET", f"{path}?{query}")
    assert (status, body["error"]["field"]) == (422, field)


@pytest.mark.parametrize("name", ["name", "event_id", "order_id"])
async def test_a_nul_in_a_filter_is_refused_by_name(served: Any, name: str) -> None:
    status, body = await served.call("GET", f"{EVENTS}?{name}=a%00b")
    assert (status, body["error"]["field"]) == (422, name)


async def test_deliveries_are_found_by_destination_status_and_reason_together(served: Any) -> None:
    one, two = await install(served, "one"), await install(served, "two")
    for number in range(3):
        await send(served, {"event": "purchase", "event_id": f"e{number}"})
    execute(
        served, "UPDATE delivery SET status = 'failed', reason = 'refused: no email' WHERE destination_id = %s", one
    )
    for query, expected in (
        ("", 6),
        (f"destination={one}", 3),
        ("status=failed", 3),
        ("status=queued", 3),
        (f"status=failed&destination={two}", 0),
        ("reason=refused", 3),
        (f"reason=refused&status=failed&destination={one}", 3),
        ("reason=expired", 0),
        (f"reason=refused&status=failed&destination={one}&from=2020-01-01&to=2100-01-01", 3),
        (f"reason=refused&status=failed&destination={one}&to=2020-01-01", 0),
        (f"destination={NOBODY}", 0),
    ):
        assert len(await items(served, f"{DELIVERIES}?{query}")) == expected, query
    assert len(await items(served, f"{EVENTS}?status=failed")) == 3
    assert await items(served, f"{EVENTS}?status=skipped") == []


async def test_a_delivery_shows_every_attempt(served: Any) -> None:
    await install(served)
    await send(served, PURCHASE)
    execute(
        served,
        "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome, reason, status, latency_ms, head,"
        " request, response) SELECT bucket, event_id, destination_id, 1, now(), 'retry', 'answered 500', 500, 12,"
        " E'POST https://x.example/a?b=c: d\\nauthorization: [secret]\\nwebhook-id: e1', '{\"value\": 129.90}', 'no'"
        " FROM delivery",
    )
    (listed,) = await items(served, DELIVERIES)
    _, delivery = await served.call("GET", f"{DELIVERIES}/{listed['id']}")
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["outcome"], attempt["latency_ms"]) == (500, "retry", 12)
    assert attempt["response"] == "no"
    assert attempt["request"] == {
        "method": "POST",
        "url": "https://x.example/a?b=c: d",
        "headers": {"authorization": "[secret]", "webhook-id": "e1"},
        "body": {"value": 129.90},
    }


async def test_the_ledger_balances_by_destination_and_hour(served: Any) -> None:
    one = await install(served)
    for number in range(4):
        await send(served, {"event": "purchase", "event_id": f"e{number}"})
    execute(served, "UPDATE delivery SET status = 'skipped', reason = 'no goal matched' WHERE ctid = '(0,1)'")
    _, ledger = await served.call("GET", LEDGER)
    assert ledger["balances"]
    assert {hour["destination"] for hour in ledger["items"]} == {one}
    assert sum(hour["accepted"] for hour in ledger["items"]) == 4
    skipped = [hour["skipped"].get("no goal matched", 0) for hour in ledger["items"]]
    assert (sum(skipped), sum(hour["pending"] for hour in ledger["items"])) == (1, 3)
    execute(served, "DELETE FROM delivery WHERE status = 'skipped'")
    _, ledger = await served.call("GET", LEDGER)
    assert not ledger["balances"]
    assert sum(hour["difference"] for hour in ledger["items"]) == 1
    assert await items(served, f"{LEDGER}?from=2001-01-01&to=2001-01-02") == []


async def test_what_is_rare_is_found_page_by_page(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "EXAMINED", 2)
    monkeypatch.setattr(lists, "LOOKING_SECONDS", 0.0)
    await install(served)
    batch = [{"event": "lead" if n % 50 == 0 else "purchase", "event_id": f"e{n}"} for n in range(200)]
    for start in range(0, 200, 20):
        status, _ = await served.call("POST", "/v1/events", {"events": batch[start : start + 20]})
        assert status == 202
    for path, expected in (
        (f"{EVENTS}?name=lead", 4),
        (EVENTS, 200),
        (DELIVERIES, 200),
        (f"{EVENTS}?status=queued", 200),
    ):
        found, cursor, pages = [], "", 0
        while cursor is not None:
            _, page = await served.call(
                "GET", f"{path}{'&' if '?' in path else '?'}limit=30{cursor and '&cursor=' + cursor}"
            )
            found += [item["id"] for item in page["items"]]
            cursor, pages = page["next_cursor"], pages + 1
        assert len(found) == len(set(found)) == expected
        assert found == sorted(found, reverse=True)
        assert pages > 1
