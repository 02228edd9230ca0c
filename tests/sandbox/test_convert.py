import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.sandbox import Answer, Request, convert
from tests.sandbox.bodies import told

NOW = 1_795_200_010.0
GOALS = "/v1/projects/20005678/goals"
TRACK = "/v1/track/10001234/20005678"
CONFIG = "/api/v1/config/10001234/20005678"
AGENT = {"user-agent": "ConvertAgent/1.0"}
BEARER = {"authorization": "Bearer key"}
# reference/destinations/convert.md, section 7, verbatim
EXAMPLE = b"""\
{"accountId": "10001234", "projectId": "20005678", "enrichData": true, "source": "js-sdk",
 "visitors": [{"visitorId": "v-3f9c2d", "segments": {"country": "US", "visitorType": "returning"},
  "events": [
   {"eventType": "conversion", "data": {"goalId": "100136097", "bucketingData": {"100218245": "100299457"}}},
   {"eventType": "conversion", "data": {"goalId": "100136097",
     "goalData": [{"key": "amount", "value": 59.9}, {"key": "productsCount", "value": 1}, {"key": "transactionId", "value": "ord-7001"}],
     "bucketingData": {"100218245": "100299457"}}}]}]}"""
GOAL: dict[str, Any] = {
    "goal_id": "Order Completed",
    "visitor_id": "v-3f9c2d",
    "revenue": 59.9,
    "transaction_id": "ord-7001",
}


def call(body: object, path: str, headers: dict[str, str], method: str = "POST") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return convert.answer(Request(method, path, {}, {"content-type": "application/json"} | headers, raw), NOW)


def track(body: object, path: str = TRACK, **headers: str) -> Answer:
    return call(body, path, AGENT | headers)


def changed(**changes: object) -> dict[str, Any]:
    """The example with other values in the data of its second event."""
    body = json.loads(EXAMPLE)
    body["visitors"][0]["events"][1]["data"] |= changes
    return body


def of_visitor(**changes: object) -> dict[str, Any]:
    body = json.loads(EXAMPLE)
    body["visitors"][0] |= changes
    return body


def test_the_worked_example_is_taken_as_it_stands() -> None:
    answer = track(EXAMPLE)
    assert (answer.status, answer.events, answer.problems) == (200, 2, ())
    assert told(answer) == {"code": 200, "message": "OK"}


def test_the_bucketing_event_of_the_page_is_taken() -> None:
    event = {"eventType": "bucketing", "data": {"experienceId": "100218245", "variationId": "100299457"}}
    assert track(of_visitor(events=[event])).events == 1


@pytest.mark.parametrize("agent", ["", "Postback/0.1", "Mozilla/5.0 ConvertAgent/1.0"])
def test_another_agent_is_answered_200_and_dropped(agent: str) -> None:
    answer = call(EXAMPLE, TRACK, {"user-agent": agent})
    assert (answer.status, answer.events) == (200, 0)
    assert told(answer) == {"code": 200, "message": "OK"}
    assert answer.problems
    assert answer.problems[0].field_path == "user-agent"


REFUSED: dict[str, dict[str, Any]] = {
    "a goal by its name": changed(goalId="Purchase"),
    "a goal id that is a number": changed(goalId=100136097),
    "no goal": changed(goalId=None),
    "an unknown key": changed(goalData=[{"key": "revenue", "value": 1}]),
    "an empty goalData": changed(goalData=[]),
    "a key twice": changed(goalData=[{"key": "amount", "value": 1}, {"key": "amount", "value": 2}]),
    "an amount as text": changed(goalData=[{"key": "amount", "value": "59.9"}]),
    "a transaction id that is a number": changed(goalData=[{"key": "transactionId", "value": 7001}]),
    "a variation that is a number": changed(bucketingData={"100218245": 100299457}),
    "an unknown field": changed(currency="USD"),
    "an email as visitor": of_visitor(visitorId="jane@example.com"),
    "no visitor id": of_visitor(visitorId=""),
    "no events": of_visitor(events=[]),
    "an unknown event type": of_visitor(events=[{"eventType": "goal", "data": {"goalId": "1"}}]),
    "a country of three letters": of_visitor(segments={"country": "USA"}),
    "no visitors": json.loads(EXAMPLE) | {"visitors": []},
    "one visitor twice": json.loads(EXAMPLE) | {"visitors": json.loads(EXAMPLE)["visitors"] * 2},
    "another project than the address's": json.loads(EXAMPLE) | {"projectId": "20005679"},
    "no account": {k: v for k, v in json.loads(EXAMPLE).items() if k != "accountId"},
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_it_refuses_the_whole_request(body: dict[str, Any]) -> None:
    answer = track(body)
    assert (answer.status, answer.events) == (400, 0)
    assert told(answer)["code"] == 400
    assert told(answer)["fields"]


def test_unknown_segments_are_dropped() -> None:
    assert track(of_visitor(segments={"browser": "CH", "shoe": 42})).status == 200


def test_a_hundred_events_are_taken_and_one_more_is_not() -> None:
    event = {"eventType": "conversion", "data": {"goalId": "1"}}
    assert track(of_visitor(events=[event] * 100)).events == 100
    assert track(of_visitor(events=[event] * 101)).status == 400


def test_an_sdk_key_takes_the_place_of_the_ids() -> None:
    assert track(EXAMPLE, "/v1/track/sdk-key", authorization="Bearer secret").status == 200
    assert track(EXAMPLE, "/v1/track/sdk-key", authorization="secret").status == 401


def test_a_project_that_begins_with_404_is_unknown_everywhere() -> None:
    body = json.loads(EXAMPLE) | {"projectId": "4041"}
    answers = [
        track(body, "/v1/track/10001234/4041"),
        track(body, "/v1/track/sdk-key"),
        call(GOAL, "/v1/projects/4041/goals", BEARER),
        call(b"", "/api/v1/config/10001234/4041", {}, "GET"),
    ]
    assert [answer.status for answer in answers] == [404] * 4
    assert {told(answer)["message"] for answer in answers} == {"Project not found"}


def test_the_documents_conversion_is_taken() -> None:
    for body in (GOAL, {"goal_id": "7", "visitor_id": "v"}, GOAL | {"bucketing": {"1": "2"}, "note": "ours"}):
        answer = call(body, GOALS, BEARER)
        assert (answer.status, answer.events) == (200, 1)


@pytest.mark.parametrize(
    "changes",
    [{"goal_id": ""}, {"goal_id": 7}, {"visitor_id": None}, {"visitor_id": "a@b.example"}, {"revenue": "59.90"},
     {"revenue": -1}, {"transaction_id": 7001}, {"bucketing": []}],
    ids=str,
)  # fmt: skip
def test_a_wrong_conversion_is_400_and_names_the_field(changes: dict[str, Any]) -> None:
    answer = call(GOAL | changes, GOALS, BEARER)
    assert answer.status == 400
    assert told(answer)["fields"] == next(iter(changes))


@pytest.mark.parametrize("header", ["", "key", "Bearer ", "Bearer two words"])
def test_the_documents_address_needs_a_key(header: str) -> None:
    assert call(GOAL, GOALS, {"authorization": header}).status == 401


def test_the_configuration_has_the_goals() -> None:
    goals = told(call(b"", CONFIG, {}, "GET"))["goals"]
    assert all(goal["id"].isdigit() and goal["name"] and goal["type"] for goal in goals)
    assert "revenue" in {goal["type"] for goal in goals}
    assert told(call(b"", GOALS, BEARER, "GET"))["goals"] == goals


@pytest.mark.parametrize("path", ["/", "/v1/goals", "/v1/track/", "/track", "/api/v2/accounts/1/projects/2/goals"])
def test_another_path_is_not_found(path: str) -> None:
    assert track(EXAMPLE, path).status == 404


@pytest.mark.parametrize(("path", "method"), [(GOALS, "PUT"), (TRACK, "GET"), (CONFIG, "POST")])
def test_another_method_is_not_allowed(path: str, method: str) -> None:
    assert call(b"", path, AGENT | BEARER, method).status == 405


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_what_cannot_be_read_is_400(raw: bytes) -> None:
    assert track(raw).status == call(raw, GOALS, BEARER).status == 400


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda j: st.lists(j) | st.dictionaries(
    st.sampled_from(["visitors", "events", "data", "goalId", "goalData", "goal_id", "visitor_id", "x"]), j)))  # fmt: skip
def test_it_answers_any_json(value: object) -> None:
    for body in (value, of_visitor(events=value), changed(goalData=value)):
        assert track(body).status in (200, 400)
        assert call(body, GOALS, BEARER).status in (200, 400)
