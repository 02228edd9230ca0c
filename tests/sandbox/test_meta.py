import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.sandbox import Answer, Request, meta
from tests.sandbox.bodies import ABSENT, changed_data, repeated_data, told

NOW = 1_795_200_010.0
DAY = 86_400
# reference/destinations/meta.md, section 10, verbatim
EXAMPLE = b"""\
{"access_token": "EAAB-example", "partner_agent": "postback", "test_event_code": "TEST12345",
 "data": [{
  "event_name": "Purchase", "event_time": 1795200000, "event_id": "ord-7001:purchase",
  "action_source": "website", "event_source_url": "https://shop.example.com/thanks",
  "user_data": {
   "em": ["86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d"],
   "ph": ["413ba75461ab5f99d36820e561ea97e2bd80f9cb586f7ecea6cf4c496518950a"],
   "country": ["79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"],
   "external_id": ["0d645cc06eba0a8c1387065bc50d982b9c0834959f0807ceedf1178342a5acd9"],
   "client_ip_address": "203.0.113.9", "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
   "fbc": "fb.1.1795190000000.IwAR2example", "fbp": "fb.1.1795180000000.1116446470"},
  "custom_data": {"value": 59.9, "currency": "USD", "order_id": "ord-7001", "content_type": "product",
   "content_ids": ["sku-1"], "contents": [{"id": "sku-1", "quantity": 1, "item_price": 59.9}], "num_items": 1},
  "data_processing_options": []}]}"""


def post(body: object, *, path: str = "/v26.0/123456789012345/events", query: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return meta.answer(Request("POST", path, query or {}, {"content-type": "application/json"}, raw), NOW)


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    return changed_data(EXAMPLE, *changes)


def test_the_worked_example_is_taken_as_it_stands() -> None:
    answer = post(EXAMPLE)
    assert answer.status == 200
    assert told(answer)["events_received"] == 1
    assert told(answer)["messages"] == []
    assert told(answer)["fbtrace_id"].startswith("A")
    assert answer.events == 1


ACCEPTED = {
    "a single hash in place of a list": [("user_data.em", "b" * 64)],
    "a lower-case currency": [("custom_data.currency", "eur")],
    "a property of one's own": [("custom_data.shop_floor", "two"), ("custom_data.is_gift", True)],
    "a whole value": [("custom_data.value", 60)],
    "a fifth part of fbc": [("user_data.fbc", "fb.1.1700000000000.AbC_-x.AQIBAQIA")],
    "an event of the last second of the seventh day": [("event_time", int(NOW) - 7 * DAY + 1)],
    "a sale in a shop 61 days ago": [("action_source", "physical_store"), ("event_time", int(NOW) - 61 * DAY)],
    "an event elsewhere without a page": [
        ("action_source", "system_generated"),
        ("event_source_url", ABSENT),
        ("user_data.client_user_agent", ABSENT),
    ],
    "an address and an agent as identity": [
        ("user_data", {"client_ip_address": "2001:db8::1", "client_user_agent": "curl/8"})
    ],
    "an event without custom data": [("event_name", "PageView"), ("custom_data", ABSENT)],
    "limited data use in California": [
        ("data_processing_options", ["LDU"]),
        ("data_processing_options_country", 1),
        ("data_processing_options_state", 1000),
    ],
    "a reference to an earlier event": [("original_event_data", {"event_name": "Lead", "event_id": "e"})],
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_it_takes(changes: list[tuple[str, object]]) -> None:
    answer = post(changed(*changes))
    assert answer.status == 200, answer.body


# What it is called, what is changed, the subcode, words of the explanation
REFUSED: list[tuple[str, list[tuple[str, object]], int | None, str]] = [
    ("too old", [("event_time", int(NOW) - 7 * DAY - 1)], 2804003, "past"),
    ("too old for a shop", [("action_source", "physical_store"), ("event_time", int(NOW) - 63 * DAY)], 2804003, "62"),
    ("ahead", [("event_time", int(NOW) + 300)], None, "future"),
    ("milliseconds", [("event_time", 1795200000000)], None, "event_time"),
    ("a time in text", [("event_time", "1795200000")], None, "event_time"),
    ("a time with a fraction", [("event_time", 1795200000.5)], None, "event_time"),
    ("no time", [("event_time", ABSENT)], None, "event_time"),
    ("no name", [("event_name", ABSENT)], None, "event_name"),
    ("a name with a dot", [("event_name", "a.b")], None, "event_name"),
    ("a name of 51 characters", [("event_name", "a" * 51)], None, "event_name"),
    ("no action source", [("action_source", ABSENT)], None, "action_source"),
    ("an unknown action source", [("action_source", "web")], None, "action_source"),
    ("an empty event id", [("event_id", "")], None, "event_id"),
    ("a website event without its page", [("event_source_url", ABSENT)], None, "event_source_url"),
    ("a page without a host", [("event_source_url", "/thanks")], None, "event_source_url"),
    ("a website event without agent", [("user_data.client_user_agent", ABSENT)], None, "client_user_agent"),
    ("no user data", [("user_data", ABSENT)], None, "user_data"),
    ("a plain email", [("user_data.em", ["jane@example.com"])], None, "em"),
    ("an upper-case hash", [("user_data.em", ["A" * 64])], None, "em"),
    ("a short hash", [("user_data.ph", ["a" * 63])], None, "ph"),
    ("a hash and a line feed", [("user_data.ph", "a" * 64 + "\n")], None, "ph"),
    ("no hashes", [("user_data.em", [])], None, "em"),
    ("null for a hash", [("user_data.em", None)], None, "em"),
    ("a plain country", [("user_data.country", "us")], None, "country"),
    ("an unknown user field", [("user_data.email", "a" * 64)], None, "email"),
    ("no ip address", [("user_data.client_ip_address", "localhost")], None, "client_ip_address"),
    ("fbc in seconds", [("user_data.fbc", "fb.1.1795190000.IwAR2example")], None, "fbc"),
    ("fbp of text", [("user_data.fbp", "fb.1.1795180000000.abc")], None, "fbp"),
    ("weak identity", [("user_data", {"client_user_agent": "curl/8", "ct": "a" * 64})], 2804050, "enough"),
    ("an address alone", [("action_source", "email"), ("user_data", {"client_ip_address": "::1"})], 2804050, "enough"),
    ("a purchase without value", [("custom_data.value", ABSENT)], None, "value and currency"),
    ("a purchase without currency", [("custom_data.currency", ABSENT)], None, "value and currency"),
    ("a purchase without custom data", [("custom_data", ABSENT)], None, "value and currency"),
    ("a value in text", [("custom_data.value", "59.90")], None, "value"),
    ("a negative purchase", [("custom_data.value", -1)], None, "negative"),
    ("a currency that is none", [("custom_data.currency", "US$")], None, "currency"),
    ("a content type that is none", [("custom_data.content_type", "sku")], None, "content_type"),
    ("content ids that are numbers", [("custom_data.content_ids", [1])], None, "content_ids"),
    ("a quantity in text", [("custom_data.contents", [{"id": "a", "quantity": "1"}])], None, "quantity"),
    ("an unknown field of a content", [("custom_data.contents", [{"sku": "a"}])], None, "sku"),
    ("a delivery that is none", [("custom_data.delivery_category", "drone")], None, "delivery_category"),
    ("items in text", [("custom_data.num_items", "1")], None, "num_items"),
    ("an object as property", [("custom_data.shop", {"floor": 2})], None, "shop"),
    ("null as property", [("custom_data.shop", None)], None, "shop"),
    ("an unknown field", [("event_timestamp", 1)], None, "event_timestamp"),
    ("opting out in text", [("opt_out", "true")], None, "opt_out"),
    ("an unknown processing option", [("data_processing_options", ["GDPR"])], None, "data_processing_options"),
    (
        "geolocated LDU without address",
        [
            ("data_processing_options", ["LDU"]),
            ("data_processing_options_country", 0),
            ("data_processing_options_state", 0),
            ("user_data.client_ip_address", ABSENT),
        ],
        None,
        "client_ip_address",
    ),
    ("no data", [("/data", ABSENT)], None, "data"),
    ("an empty list", [("/data", [])], None, "data"),
    ("data that is no list", [("/data", {})], None, "data"),
    ("an unknown field at the top", [("/pixel_id", "1")], None, "pixel_id"),
    ("an empty test code", [("/test_event_code", "")], None, "test_event_code"),
    ("a proof that is no hash", [("/appsecret_proof", "x")], None, "appsecret_proof"),
]


@pytest.mark.parametrize(("changes", "subcode", "words"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_it_refuses(changes: list[tuple[str, object]], subcode: int | None, words: str) -> None:
    answer = post(changed(*changes))
    error = told(answer)["error"]
    assert (answer.status, error["code"], error.get("error_subcode")) == (400, 100, subcode)
    assert words in error["error_user_msg"]
    assert error["is_transient"] is False
    assert {"message", "type", "error_user_title", "fbtrace_id"} <= error.keys()
    assert answer.events == 0


def test_one_event_that_is_too_old_fails_the_whole_request() -> None:
    body = repeated_data(EXAMPLE, 3)
    body["data"][2]["event_time"] -= 8 * DAY
    answer = post(body)
    assert (answer.status, told(answer)["error"]["error_subcode"], answer.events) == (400, 2804003, 0)
    assert "data[2]" in told(answer)["error"]["error_user_msg"]


def test_a_thousand_events_are_taken_and_one_more_is_not() -> None:
    assert told(post(repeated_data(EXAMPLE, 1000)))["events_received"] == 1000
    assert told(post(repeated_data(EXAMPLE, 1001)))["error"]["code"] == 100


def test_the_token_may_be_in_the_query() -> None:
    assert post(changed(("/access_token", ABSENT)), query={"access_token": "EAAB"}).status == 200


@pytest.mark.parametrize("token", [ABSENT, "", "two words"])
def test_without_a_token_nothing_is_read(token: object) -> None:
    answer = post(changed(("/access_token", token), ("event_time", 1)))
    assert (answer.status, told(answer)["error"]["code"]) == (400, 190)


def test_a_dataset_that_is_no_number_is_unknown() -> None:
    error = told(post(EXAMPLE, path="/v26.0/pixel/events"))["error"]
    assert (error["code"], error["error_subcode"]) == (100, 33)


@pytest.mark.parametrize("path", ["/", "/123/events", "/v26.0/123", "/v26.0/123/event", "/v26/123/events"])
def test_an_unknown_path_is_told_in_graphs_shape(path: str) -> None:
    answer = post(EXAMPLE, path=path)
    assert (answer.status, told(answer)["error"]["code"]) == (404, 100)


def test_a_form_may_hold_the_events_as_json() -> None:
    form = urlencode({"access_token": "EAAB", "data": json.dumps(json.loads(EXAMPLE)["data"])}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert meta.answer(Request("POST", "/v26.0/1/events", {}, headers, form), NOW).status == 200


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"data": [{"event_name": "\xff"}], "access_token": "a"}'])
def test_what_cannot_be_read_is_refused(raw: bytes) -> None:
    answer = post(raw)
    assert (answer.status, told(answer)["error"]["code"]) == (400, 100)


def test_a_click_id_past_90_days_is_taken_with_a_warning() -> None:
    old = f"fb.1.{int((NOW - 91 * DAY) * 1000)}.IwAR2example"
    answer = post(changed(("user_data.fbc", old)))
    assert answer.status == 200
    assert "fbc" in told(answer)["messages"][0]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda j: st.lists(j) | st.dictionaries(
    st.sampled_from(["data", "event_name", "event_time", "user_data", "em", "custom_data", "value", "x"]), j)))  # fmt: skip
def test_it_answers_any_json(value: object) -> None:
    for body in (value, {"access_token": "a", "data": value}, changed(("user_data", value)),
                 changed(("custom_data", value))):  # fmt: skip
        answer = post(body)
        assert answer.status == 200 or told(answer)["error"]["code"] in (100, 190)
