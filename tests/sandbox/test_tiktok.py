import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.sandbox import Answer, Request, tiktok
from tests.sandbox.bodies import ABSENT, changed_data, repeated_data, told

NOW = 1_795_200_010.0
PATH = "/open_api/v1.3/event/track/"
# reference/destinations/tiktok.md, section 10, verbatim
EXAMPLE = b"""\
{"event_source": "web", "event_source_id": "C3QABCDEF7U123456789", "partner_name": "Postback",
 "data": [{
  "event": "Purchase", "event_time": 1795200000, "event_id": "ord-7001:purchase",
  "user": {
   "email": ["86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d"],
   "phone": ["36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"],
   "external_id": ["0d645cc06eba0a8c1387065bc50d982b9c0834959f0807ceedf1178342a5acd9"],
   "city": "sanfrancisco", "state": "ca", "country": "us",
   "zip_code": "91dc2519ea98c5002cf2091e6a12b772eafdce9dca618e626d7d3b8275361789",
   "ip": "203.0.113.9", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)", "locale": "en-US",
   "ttclid": "E.C.P.example", "ttp": "2F7h37YkS1j57AYSKTI7IHhJPYH"},
  "page": {"url": "https://shop.example.com/thanks", "referrer": "https://shop.example.com/cart"},
  "properties": {"value": 59.9, "currency": "USD", "order_id": "ord-7001", "content_type": "product",
   "contents": [{"content_id": "sku-1", "content_name": "Mug", "price": 59.9, "quantity": 1, "brand": "Acme"}]},
  "limited_data_use": false}]}"""


def post(body: object, *, path: str = PATH, method: str = "POST", token: str | None = "tt", **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} | ({"access-token": token} if token is not None else {}) | headers
    return tiktok.answer(Request(method, path, {}, given, raw), NOW)


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    return changed_data(EXAMPLE, *changes)


def test_the_worked_example_is_taken_as_it_stands() -> None:
    answer = post(EXAMPLE)
    assert (answer.status, answer.events) == (200, 1)
    assert told(answer) | {"request_id": ""} == {"code": 0, "message": "OK", "request_id": "", "data": {}}


ACCEPTED: dict[str, list[tuple[str, object]]] = {
    "a single hash in place of a list": [("user.email", "b" * 64)],
    "an old event": [("event_time", 1_000_000_000)],
    "an address and an agent as identity": [("user", {"ip": "2001:db8::1", "user_agent": "curl/8"})],
    "a cookie as identity": [("user", {"ttp": "2F7h37YkS1j57AYSKTI7IHhJPYH"})],
    "no properties": [("event", "Pageview"), ("properties", ABSENT)],
    "an event in a shop, without a page": [
        ("/event_source", "offline"), ("page", ABSENT), ("limited_data_use", ABSENT),
    ],
    "an event from an app": [("/event_source", "app"), ("app", {"app_id": "1"}), ("ad", {"is_retargeting": True})],
    "a lead of a CRM": [
        ("/event_source", "crm"), ("lead", {"lead_id": "7"}), ("page", ABSENT), ("limited_data_use", ABSENT),
    ],
    "a test event": [("/test_event_code", "TEST1")],
    "ids of contents": [("properties.contents", ABSENT), ("properties.content_ids", ["sku-1"])],
}  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_it_takes(changes: list[tuple[str, object]]) -> None:
    answer = post(changed(*changes))
    assert (answer.status, told(answer)["code"]) == (200, 0), told(answer)


REFUSED: dict[str, tuple[list[tuple[str, object]], str]] = {
    "an email in clear": ([("user.email", "jane@example.com")], "data.0.user.email"),
    "a hash in upper case": ([("user.phone", ["A" * 64])], "data.0.user.phone"),
    "the phone of version 1.0": ([("user.phone_number", "a" * 64)], "data.0.user"),
    "a city that is not plain": ([("user.city", "San Francisco")], "data.0.user.city"),
    "a country in upper case": ([("user.country", "US")], "data.0.user.country"),
    "an address that is none": ([("user.ip", "10.0.0")], "data.0.user.ip"),
    "nobody": ([("user", {"city": "berlin", "ip": "203.0.113.9"})], "data.0.user"),
    "milliseconds": ([("event_time", 1795200000000)], "data.0.event_time"),
    "an ISO time": ([("event_time", "2026-11-20T18:40:00Z")], "data.0.event_time"),
    "no time": ([("event_time", ABSENT)], "data.0"),
    "the future": ([("event_time", int(NOW) + 120)], "data.0.event_time"),
    "no name": ([("event", "")], "data.0.event"),
    "a website event without a page": ([("page", ABSENT)], "data.0.page.url"),
    "a page that is a path": ([("page.url", "/thanks")], "data.0.page.url"),
    "a negative value": ([("properties.value", -1)], "data.0.properties.value"),
    "a value as text": ([("properties.value", "59.90")], "data.0.properties.value"),
    "a value without currency": ([("properties.currency", ABSENT)], "data.0.properties.currency"),
    "a currency in lower case": ([("properties.currency", "usd")], "data.0.properties.currency"),
    "contents and ids of contents": ([("properties.content_ids", ["sku-1"])], "data.0.properties.content_ids"),
    "an id of contents that is a number": (
        [("properties.contents", [{"content_id": 1}])],
        "data.0.properties.contents.0",
    ),
    "an unknown property": ([("properties.contents_ids", [])], "data.0.properties"),
    "limited data use in a shop": ([("/event_source", "offline")], "data.0.limited_data_use"),
    "an app on a website": ([("app", {"app_id": "1"})], "data.0.app"),
    "an unknown source": ([("/event_source", "store")], "event_source"),
    "no pixel": ([("/event_source_id", ABSENT)], "event_source_id"),
    "no events": ([("/data", [])], "data"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(changes: list[tuple[str, object]], words: str) -> None:
    answer = post(changed(*changes))
    assert (answer.status, told(answer)["code"], answer.events) == (200, 40002, 0)
    assert words in told(answer)["message"]


def test_one_bad_event_fails_the_whole_request() -> None:
    body = repeated_data(EXAMPLE, 3)
    body["data"][2]["user"] = {}
    answer = post(body)
    assert (told(answer)["code"], answer.events) == (40002, 0)
    assert "data.2.user" in told(answer)["message"]


def small(count: int) -> dict[str, Any]:
    event = {"event": "Lead", "event_time": 1795200000, "user": {"ttp": "x"}, "page": {"url": "https://a.example/"}}
    return {"event_source": "web", "event_source_id": "C3Q", "data": [event] * count}


def test_a_thousand_events_are_taken_and_one_more_is_not() -> None:
    assert post(small(1000)).events == 1000
    assert told(post(small(1001)))["code"] == 40002


def test_more_than_a_megabyte_is_refused() -> None:
    answer = post(EXAMPLE + b" " * 1_000_000)
    assert told(answer)["code"] == 40002
    assert "1 MB" in told(answer)["message"]


def test_test_events_come_one_at_a_time() -> None:
    assert told(post(repeated_data(EXAMPLE, 2) | {"test_event_code": "TEST1"}))["code"] == 40002


@pytest.mark.parametrize(("token", "code"), [(None, 40104), ("", 40104), ("two words", 40105)])
def test_without_a_token_nothing_is_read(token: str | None, code: int) -> None:
    assert told(post(b"{", token=token))["code"] == code


def test_a_bearer_is_no_token() -> None:
    assert told(post(EXAMPLE, token=None, authorization="Bearer tt"))["code"] == 40104


def test_a_pixel_that_cannot_be_is_unknown() -> None:
    assert told(post(changed(("/event_source_id", "no pixel"))))["code"] == 40007


@pytest.mark.parametrize("path", ["/", "/open_api/v1.3/event/track", "/open_api/v1.2/pixel/track/"])
def test_another_path_is_not_found(path: str) -> None:
    assert post(EXAMPLE, path=path).status == 404


def test_only_posts_are_taken() -> None:
    assert post(b"", method="GET").status == 405


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda j: st.lists(j) | st.dictionaries(
    st.sampled_from(["data", "event", "event_time", "user", "email", "properties", "value", "x"]), j)))  # fmt: skip
def test_it_answers_any_json(value: object) -> None:
    for body in (value, changed(("/data", value)), changed(("user", value)), changed(("properties", value))):
        assert told(post(body))["code"] in (0, 40002)
