import json
from typing import Any

from postback.sandbox import Answer, Problem, Request
from postback.sandbox.records import KEPT, Records

FIELDS = {"at", "platform", "method", "path", "query", "headers", "body", "raw", "status"}


def request(raw: bytes = b"{}", media: str = "application/json") -> Request:
    return Request("POST", "/x", {"a": "1"}, {"content-type": media}, raw)


async def test_a_request_is_shown_with_all_that_arrived(caller: Any) -> None:
    await caller.call(
        "POST",
        "/webhook/a%20b/?x=1&y=",
        data=b'{"a": 1.50}',
        headers={"X-Shop": "Ä", "content-type": "application/json"},
    )
    [shown] = await caller.requests("webhook")
    assert shown.keys() == FIELDS
    assert (shown["platform"], shown["method"], shown["path"]) == ("webhook", "POST", "/webhook/a b/")
    assert (shown["query"], shown["body"], shown["raw"], shown["status"]) == (
        {"x": "1", "y": ""},
        {"a": 1.5},
        '{"a": 1.50}',
        400,
    )
    assert shown["at"] == "2026-11-20T18:40:10.000000Z"
    assert all(name == name.lower() for name in shown["headers"])
    assert shown["headers"]["content-type"] == "application/json"


async def test_only_ga4_shows_problems(caller: Any) -> None:
    await caller.send("ga4")
    await caller.call("POST", "/ga4/mp/collect", json={})
    first, second = await caller.requests("ga4")
    assert first.keys() == second.keys() == FIELDS | {"problems"}
    assert first["problems"] == []
    assert second["problems"][0].keys() == {"fieldPath", "description", "validationCode"}


async def test_requests_are_shown_oldest_first_and_by_platform(caller: Any) -> None:
    for platform in ("meta", "webhook", "meta"):
        await caller.send(platform)
    assert [shown["platform"] for shown in await caller.requests()] == ["meta", "webhook", "meta"]
    assert len(await caller.requests("meta")) == 2


async def test_requests_of_one_platform_or_of_all_are_forgotten(caller: Any) -> None:
    for platform in ("meta", "webhook", "ga4"):
        await caller.send(platform)
    assert (await caller.call("DELETE", "/_sandbox/requests?platform=meta"))[0] == 204
    assert [shown["platform"] for shown in await caller.requests()] == ["webhook", "ga4"]
    assert (await caller.stats())["meta"]["requests"] == 0
    assert (await caller.call("DELETE", "/_sandbox/requests"))[0] == 204
    assert await caller.requests() == []


async def test_an_unknown_platform_is_told_in_a_sentence(caller: Any) -> None:
    for method in ("GET", "DELETE"):
        answered, _, told = await caller.call(method, "/_sandbox/requests?platform=myspace")
        assert answered == 400
        assert "myspace" in told["error"]


async def test_stats_count_by_platform(caller: Any) -> None:
    assert (await caller.stats()).keys() >= {"ga4", "meta", "webhook"}
    await caller.send("meta")
    await caller.call("POST", "/meta/v26.0/1/events", json={})
    assert (await caller.stats())["meta"] == {
        "requests": 2,
        "unanswered": 0,
        "events_accepted": 1,
        "statuses": {"200": 1, "400": 1},
        "fault": None,
    }


def test_the_last_50000_are_kept() -> None:
    records = Records()
    for number in range(KEPT + 2):
        records.arrived("meta", "/meta", request(b"%d" % number), 0.0)
    shown = records.shown()
    assert (len(shown), shown[0].raw, shown[-1].raw) == (50_000, "2", "50001")
    assert records.counts("meta", None).requests == 50_002


def test_large_bodies_come_back_as_they_arrived() -> None:
    records = Records()
    raw = json.dumps({"data": list(range(10_000))}).encode()
    records.arrived("meta", "/meta", request(raw), 0.0)
    assert records.shown()[0].raw == raw.decode()


def test_what_is_not_json_has_no_parsed_body_and_a_form_has_its_fields() -> None:
    records = Records()
    for raw, media in ((b"\xff{", "application/json"), (b"", ""), (b"a=1&b=", "application/x-www-form-urlencoded")):
        records.arrived("webhook", "/webhook", request(raw, media), 0.0)
    assert [entry.body for entry in records.shown()] == [None, None, {"a": "1", "b": ""}]
    assert records.shown()[0].raw == "\ufffd{"


def test_the_status_is_none_until_answered() -> None:
    records = Records()
    entry = records.arrived("ga4", "/ga4", request(), 0.0)
    assert records.shown()[0].status is None
    assert records.counts("ga4", None).unanswered == 1
    records.answered(entry, Answer(204, problems=(Problem("events", "Bad.", "VALUE_INVALID"),)))
    assert records.shown()[0].status == 204
    assert records.counts("ga4", None).unanswered == 0
