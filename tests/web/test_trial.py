"""`/v1/admin/destinations/{id}/test-event` and `.../queue`, and names that are given once."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from postback import sandbox

ADMIN = "/v1/admin"
CATALOG = f"{ADMIN}/integration-catalog"


@pytest.fixture
async def stand_ins(served: Any) -> AsyncIterator[str]:
    running = await sandbox.start("127.0.0.1", 0)
    yield running.url
    await running.stop()


async def install(served: Any, connector: str, config: dict[str, Any], **more: Any) -> str:
    status, made = await served.call("POST", f"{CATALOG}/{connector}/install", {"config": config, **more})
    assert status == 201, made
    return f"{ADMIN}/destinations/{made['id']}"


@pytest.mark.parametrize(
    ("connector", "config"),
    [
        ("meta", {"dataset_id": "1234567890", "access_token": "EAAsecret"}),
        ("ga4", {"measurement_id": "G-TEST123456", "api_secret": "sesame-secret"}),
        ("tiktok", {"pixel_code": "C3QTEST", "access_token": "tt-secret"}),
        ("convert", {"account_id": "1", "project_id": "2", "api_key": "cv-secret"}),
        ("webhook", {"secret": "whsec_dGVzdCB0ZXN0IHRlc3QgdGVzdCB0ZXN0"}),
        (
            "google_ads",
            {
                "customer_id": "1234567890", "conversion_actions": {"purchase": "555666777"}, "client_id": "c",
                "client_secret": "go-secret", "refresh_token": "re-secret",
            },
        ),
    ],
)  # fmt: skip
async def test_a_test_event_reaches_each_platform_and_shows_request_and_answer(
    served: Any, stand_ins: str, connector: str, config: dict[str, Any]
) -> None:
    there = {"url": f"{stand_ins}/webhook/x"} if connector == "webhook" else {"endpoint": f"{stand_ins}/{connector}"}
    path = await install(served, connector, config | there)
    status, sent = await served.call("POST", f"{path}/test-event", {"event": "purchase"})
    assert status == 200
    assert (sent["ok"], sent["outcome"], sent["event"]) == (True, "delivered", "purchase"), sent
    assert sent["request"]["method"] == "POST"
    assert sent["event_id"].startswith("test-")
    assert "-secret" not in str(sent)
    assert "test@example.com" not in str(sent)
    assert (await served.call("GET", f"{ADMIN}/events"))[1]["items"] == []


async def test_what_a_destination_does_not_take_is_not_sent_and_why_is_said(served: Any, stand_ins: str) -> None:
    path = await install(served, "webhook", {"url": f"{stand_ins}/webhook/x"})
    await served.call("PATCH", path, {"blueprint": {"rules": [{"event": "lead"}]}})
    _, sent = await served.call("POST", f"{path}/test-event", {"event": "purchase"})
    assert (sent["ok"], sent["outcome"], sent["request"]) == (False, "skipped", None)
    assert "no rule for purchase" in sent["reason"]
    _, sent = await served.call("POST", f"{path}/test-event", {})
    assert (sent["outcome"], sent["event"]) == ("delivered", "lead")


async def test_a_refused_test_event_says_what_to_do(served: Any, stand_ins: str) -> None:
    config = {"dataset_id": "1", "access_token": "EAAsecret", "endpoint": f"{stand_ins}/meta"}
    path = await install(served, "meta", config)
    async with served.http.put(f"{stand_ins}/_sandbox/faults", json={"platform": "meta", "mode": "auth"}) as answer:
        assert answer.status == 200
    _, sent = await served.call("POST", f"{path}/test-event", {})
    assert (sent["ok"], sent["outcome"], sent["status"]) == (False, "refused", 401)
    assert sent["fix"]
    assert "error" in sent["response"]


async def test_a_name_is_given_once_whatever_its_case_and_an_absent_one_is_made(served: Any) -> None:
    config = {"config": {"url": "https://hooks.example.com/"}}
    names = [(await served.call("POST", f"{CATALOG}/webhook/install", config))[1]["name"] for _ in range(3)]
    assert names == ["Webhook", "Webhook 2", "Webhook 3"]
    status, refused = await served.call("POST", f"{CATALOG}/webhook/install", config | {"name": "webhook 2"})
    assert (status, refused["error"]["field"]) == (409, "name")
    assert "another name" in refused["error"]["message"]
    path = await install(served, "webhook", {"url": "https://hooks.example.com/"}, name="Mine")
    status, refused = await served.call("PATCH", path, {"name": "Webhook"})
    assert (status, refused["error"]["field"]) == (409, "name")
    assert (await served.call("PATCH", path, {"name": "MINE"}))[0] == 200
    assert (await served.call("DELETE", path))[0] == 204
    await install(served, "webhook", {"url": "https://hooks.example.com/"}, name="mine")


async def test_what_waits_is_counted_with_the_retries_and_their_reason(served: Any) -> None:
    path = await install(served, "webhook", {"url": "http://127.0.0.1:9/x"})
    for _ in range(3):
        await served.call("POST", "/v1/events", {"event": "lead"})
    with psycopg.connect(served.dsn.reveal()) as connection:
        connection.execute(
            "UPDATE delivery SET status = 'retrying', reason = 'answered 500', tried_at = '2026-11-20T10:00Z' "
            "WHERE event_id = (SELECT event_id FROM delivery LIMIT 1)"
        )
    status, queue = await served.call("GET", f"{path}/queue")
    assert status == 200
    assert queue == {
        "waiting": 3, "retrying": 1, "since": "2026-11-20T10:00:00Z", "reason": "answered 500", "complete": True,
    }  # fmt: skip


async def test_events_are_listed_by_what_they_came_as(served: Any) -> None:
    await served.call("POST", "/v1/events", {"event": "lead", "event_id": "n"})
    batch = {"site_key": served.keys.site_key, "events": [{"event": "page_view", "event_id": "t"}]}
    status, body = await served.call("POST", "/collect", batch)
    assert status == 200, body
    for dialect, found in (("tag", ["t"]), ("native", ["n"]), ("segment", [])):
        _, page = await served.call("GET", f"{ADMIN}/events?dialect={dialect}")
        assert [event["event_id"] for event in page["items"]] == found
