"""Convultra's tables over HTTP: the body, its properties, user data, context, limits and errors, each test named after
its row or its table."""

import json
from typing import Any

import psycopg

from tests.contracts.clients import made, newest

FULL: dict[str, Any] = {
    "event_type": "purchase",
    "timestamp": "2026-06-01T12:00:00Z",
    "session_id": "s-1",
    "user_id": "u-1",
    "properties": {
        "order_id": "C-1", "value": 64.50, "currency": "EUR", "coupon": "SPRING",
        "items": [{"product_id": "lamp", "quantity": 1, "price": 64.5}],
    },
    "user_data": {
        "email": "ann@example.com", "phone": "+12025550143", "first_name": "Ann", "last_name": "Lee", "city": "Austin",
        "state": "TX", "postal_code": "73301", "country": "US",
    },
    "context": {
        "ip": "203.0.113.8", "user_agent": "Mozilla/5.0", "page_url": "https://shop.example/checkout",
        "referrer": "https://search.example/", "gclid": "g-1", "fbclid": "f-1", "msclkid": "m-1",
    },
}  # fmt: skip


async def track(served: Any, body: object, path: str = "/v1/track", **more: Any) -> tuple[int, Any]:
    return await served.call("POST", path, body, key=more.pop("key", served.keys.api_key), **more)


async def refused(served: Any, field: str, body: object) -> None:
    status, answer = await track(served, body)
    assert (status, answer.keys(), answer["success"]) == (400, {"success", "error"}, False), (field, answer)
    assert field in answer["error"], (field, answer)


async def test_request_body_each_field_has_its_place(served: Any) -> None:
    assert (await track(served, FULL))[0] == 200
    event = await newest(served)
    assert (event["name"], event["occurred_at"], event["session_id"]) == ("purchase", "2026-06-01T12:00:00Z", "s-1")
    assert (event["order_id"], event["value"], event["currency"]) == ("C-1", 64.5, "EUR")
    assert (event["url"], event["referrer"]) == ("https://shop.example/checkout", "https://search.example/")
    assert [(item["product_id"], item["quantity"]) for item in event["items"]] == [("lamp", 1)]
    assert event["properties"] == {"coupon": "SPRING"}


async def test_request_body_each_field_of_a_wrong_type_is_400_and_named(served: Any) -> None:
    await refused(served, "event_type", {})
    for field, value in (
        ("event_type", 5), ("event_type", ""), ("event_type", "x" * 101), ("timestamp", 1717243200),
        ("timestamp", "yesterday"), ("session_id", ["s"]), ("session_id", ""), ("user_id", {}), ("properties", []),
        ("user_data", "ann"), ("context", "here"),
    ):  # fmt: skip
        await refused(served, field, FULL | {field: value})
    await refused(served, "list", [FULL])


async def test_properties_each_field_of_a_wrong_type_is_400_and_named(served: Any) -> None:
    for field, value in (
        ("order_id", 5), ("order_id", "x" * 257), ("value", "64.50"), ("value", ""), ("value", -1), ("currency", "EURO"),
        ("currency", 978), ("items", {}), ("items", [{}] * 1001),
    ):  # fmt: skip
        await refused(served, f"properties.{field}", FULL | {"properties": FULL["properties"] | {field: value}})


async def test_user_data_all_fields_are_hashed_and_each_of_a_wrong_type_is_400_and_named(served: Any) -> None:
    assert (await track(served, FULL))[0] == 200
    sent = (await newest(served))["identifiers"]
    for field in FULL["user_data"]:
        assert sent[f"{field}_sha256"] == "sent"
        await refused(served, f"user_data.{field}", FULL | {"user_data": {field: 5}})


async def test_context_each_field_has_its_place_and_of_a_wrong_type_is_400_and_named(served: Any) -> None:
    assert (await track(served, FULL))[0] == 200
    assert {"gclid", "fbclid", "msclkid"} <= (await newest(served))["identifiers"].keys()
    for field in FULL["context"]:
        await refused(served, f"context.{field}", FULL | {"context": {field: 5}})


async def test_context_may_hold_the_session_too(served: Any) -> None:
    assert (await track(served, {"event_type": "lead", "context": {"session_id": "s-2"}}))[0] == 200
    assert (await newest(served))["session_id"] == "s-2"


async def test_limit_100_events_a_batch(served: Any) -> None:
    for count, expected in ((100, 200), (101, 400), (0, 400)):
        status, answer = await track(served, {"events": [{"event_type": "page_view"}] * count}, "/v1/track/batch")
        assert status == expected
        assert answer["success"] is (expected == 200)
    assert "events" in answer["error"]
    _, listed = await served.call("GET", "/v1/admin/events?limit=200")
    assert len(listed["items"]) == 100


async def test_limit_1_mb_a_request(served: Any) -> None:
    for path, event in (("/v1/track", FULL), ("/v1/track/batch", {"events": [FULL]})):
        for size, expected in ((990_000, 200), (1_000_001, 413)):
            body = json.dumps(event | {"padding": "x" * size}).encode()
            status, answer = await track(served, body, path, headers={"Content-Type": "application/json"})
            assert (status, answer["success"]) == (expected, expected == 200), (path, size)


async def test_a_batch_answers_for_each_event_in_order_and_is_false_only_when_none_was_valid(served: Any) -> None:
    mixed = {"events": [FULL, {"event_type": 5}, {"event_type": "lead"}]}
    status, answer = await track(served, mixed, "/v1/track/batch")
    assert (status, answer["success"]) == (200, True)
    assert [result["success"] for result in answer["results"]] == [True, False, True]
    assert "event_type" in answer["results"][1]["error"]
    status, answer = await track(served, {"events": [{}, 5]}, "/v1/track/batch")
    assert (status, answer["success"]) == (200, False)


async def test_error_200_success_the_event_is_tracked(served: Any) -> None:
    status, answer = await track(served, FULL)
    assert (status, answer.keys(), answer["success"]) == (200, {"success", "event_id"}, True)
    status, kept = await served.call("GET", f"/v1/events/{answer['event_id']}", key=served.keys.api_key)
    assert (status, kept["event"]) == (200, "purchase")


async def test_error_400_bad_request_says_what_of_the_format_to_check(served: Any) -> None:
    for body, words in (({}, "event_type"), ([FULL], "list"), ("lead", "object")):
        await refused(served, words, body)
    for text in (b"{", b"", b"order=1"):
        status, answer = await track(served, text, headers={"Content-Type": "application/json"})
        assert (status, answer["success"], "JSON" in answer["error"]) == (400, False, True), answer


async def test_error_401_unauthorized_wherever_the_key_stands(served: Any) -> None:
    for path in ("/v1/track", "/v1/track?api_key=pb_live_unknown", "/v1/track/batch?api_key=pb_live_unknown"):
        async with served.http.post(served.url + path, json=FULL) as sent:
            answer = await sent.json()
            assert (sent.status, answer.keys()) == (401, {"success", "error"}), path
            assert "key" in answer["error"]


async def test_error_500_and_429_are_retried_and_the_retry_counts_once(served: Any) -> None:
    _, first = await track(served, FULL)
    _, second = await track(served, FULL)
    assert first == second
    keyed = {"headers": {"Idempotency-Key": "try-1"}}
    _, first = await track(served, {"event_type": "lead"}, **keyed)
    _, second = await track(served, {"event_type": "lead"}, **keyed)
    assert first == second
    _, other = await track(served, {"event_type": "lead"})
    assert other["event_id"] != first["event_id"]


async def test_limit_1000_requests_a_minute_and_429_says_when_to_come_again(served: Any) -> None:
    """The minute's counter stands at 995 already; a batch is one request."""
    assert (await track(served, FULL))[0] == 200
    with psycopg.connect(served.dsn.reveal()) as conn:
        assert conn.execute("SELECT n, cap FROM rate_window").fetchall() == [(1, 1000)]
        conn.execute("UPDATE rate_window SET n = 995")
    headers = {"Authorization": f"Bearer {served.keys.api_key}"}
    for left in range(4, -3, -1):
        path, body = ("/v1/track", FULL) if left % 2 else ("/v1/track/batch", {"events": [FULL] * 20})
        async with served.http.post(served.url + path, json=body, headers=headers) as sent:
            answer = await sent.json()
            assert (sent.headers["RateLimit-Limit"], sent.headers["RateLimit-Remaining"]) == ("1000", str(max(0, left)))
            assert 0 < int(sent.headers["RateLimit-Reset"]) <= 60
            assert (sent.status, answer["success"]) == ((200, True) if left >= 0 else (429, False))
            if left < 0:
                assert answer.keys() == {"success", "error"}
                assert "1,000 requests a minute" in answer["error"]
                assert sent.headers["Retry-After"] == sent.headers["RateLimit-Reset"]
    key = await made(served, "keys", {"label": "another", "scopes": ["ingest"]})
    assert (await track(served, FULL, key=key["key"]))[0] == 200


async def test_limit_of_requests_is_a_setting_of_the_key(served: Any) -> None:
    for rate, expected in ((2, [200, 200, 429]), (0, [200] * 3)):
        sent = {"label": "its own", "scopes": ["ingest"], "rate_limit_per_minute": rate}
        key = await made(served, "keys", sent)
        posts = [(await track(served, {"event_type": "page_view"}, key=key["key"]))[0] for _ in range(3)]
        assert posts == expected


async def test_a_request_that_is_refused_for_its_body_is_not_counted(served: Any) -> None:
    key = await made(served, "keys", {"label": "two", "scopes": ["ingest"], "rate_limit_per_minute": 2})
    for body, expected in (({}, 400), (FULL, 200), ([], 400), (FULL, 200), (FULL, 429)):
        assert (await track(served, body, key=key["key"]))[0] == expected
