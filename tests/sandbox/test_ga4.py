import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.sandbox import Answer, Request, ga4
from tests.sandbox.bodies import ABSENT, put

NOW = 1_795_200_010.0
HOUR_MICROS = 3_600_000_000
QUERY = {"measurement_id": "G-ABC1234567", "api_secret": "s3cr3t"}
# reference/destinations/ga4.md, section 9, verbatim
EXAMPLE = b"""\
{"client_id": "1234567890.1700000000", "user_id": "user-48151", "timestamp_micros": 1795200000000000,
 "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
 "user_data": {"sha256_email_address": ["86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d"],
  "sha256_phone_number": ["36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"]},
 "ip_override": "203.0.113.9",
 "events": [{"name": "purchase", "params": {
  "session_id": "1747323152", "engagement_time_msec": 1, "transaction_id": "ord-7001",
  "currency": "USD", "value": 59.9, "tax": 4.5, "shipping": 5.0,
  "page_location": "https://shop.example.com/thanks",
  "items": [{"item_id": "sku-1", "item_name": "Mug", "price": 50.4, "quantity": 1}]}}]}"""
REFUND = b'{"name":"refund","params":{"transaction_id":"ord-7001","currency":"USD","value":59.9,"session_id":"1747323152","engagement_time_msec":1}}'
BAD_NAME = {
    "validationMessages": [
        {
            "fieldPath": "events",
            "description": "Event at index: [0] has invalid name [_bad].",
            "validationCode": "NAME_INVALID",
        }
    ]
}


def post(
    body: object, *, path: str = "/mp/collect", query: dict[str, str] = QUERY, media: str = "application/json"
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ga4.answer(Request("POST", path, query, {"content-type": media}, raw), NOW)


def validated(body: object, **more: Any) -> list[dict[str, str]]:
    answer = post(body, path="/debug/mp/collect", **more)
    assert answer.status == 200
    return json.loads(answer.body)["validationMessages"]


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The example with values set or removed: `/` begins at the top, `:` at the event, else in its params."""
    body = json.loads(EXAMPLE)
    for path, value in changes:
        event = body["events"][0]
        place = body if path[0] == "/" else event if path[0] == ":" else event["params"]
        put(place, path.strip("/:"), value)
    return body


def test_the_worked_example_is_taken_as_it_stands() -> None:
    answer = post(EXAMPLE)
    assert (answer.status, answer.body, answer.problems, answer.events) == (204, b"", (), 1)
    assert validated(EXAMPLE) == []


def test_the_worked_refund_is_taken_as_it_stands() -> None:
    assert validated(changed(("/events", [json.loads(REFUND)]))) == []


def test_the_worked_answer_to_a_bad_name_is_given_as_it_stands() -> None:
    assert post({"client_id": "1.2", "events": [{"name": "_bad", "params": {}}]}, path="/debug/mp/collect").body == (
        json.dumps(BAD_NAME, separators=(",", ":")).encode()
    )


ACCEPTED = {
    "a truth value": [("first_order", True)],
    "a long page address": [("page_location", "https://shop.example.com/" + "a" * 900)],
    "a long title": [("page_title", "a" * 300)],
    "a param of 40 characters": [("a" * 40, "a" * 100)],
    "a session id in digits": [("session_id", 1747323152)],
    "an event's own time": [(":timestamp_micros", 1795200000000000)],
    "an item known by name": [("items", [{"item_name": "Mug"}])],
    "ten params of an item's own": [("items", [{"item_id": "1"} | {f"own{n}": n for n in range(10)}])],
    "user properties": [("/user_properties", {"plan": {"value": "pro"}})],
    "one hash in place of a list": [("/user_data.sha256_email_address", "a" * 64)],
    "an address": [
        (
            "/user_data.address",
            [{"sha256_first_name": "a" * 64, "city": "são paulo", "postal_code": "1", "country": "BR"}],
        )
    ],
    "a place and a device": [
        ("/user_location", {"city": "Springfield", "region_id": "US-CA", "country_id": "US"}),
        ("/device", {"category": "mobile", "language": "en"}),
    ],
    "strict validation": [("/validation_behavior", "ENFORCE_RECOMMENDATIONS")],
    "a client id of letters": [("/client_id", "0f8fad5b-d9cb-469f-a165-70867728950e")],
    "71 hours ago": [("/timestamp_micros", int(NOW * 1e6) - 71 * HOUR_MICROS)],
    "a lead without value, but for a custom event": [(":name", "subscribe"), (":params", {"session_id": "1"})],
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_it_takes(changes: list[tuple[str, object]]) -> None:
    assert validated(changed(*changes)) == []


# What it is called, what is changed, the field blamed, the code
REFUSED: list[tuple[str, list[tuple[str, object]], str, str]] = [
    ("no client id", [("/client_id", ABSENT)], "client_id", "VALUE_REQUIRED"),
    ("an empty client id", [("/client_id", "")], "client_id", "VALUE_INVALID"),
    ("a client id that is a number", [("/client_id", 1.2)], "client_id", "VALUE_INVALID"),
    ("an app's id beside", [("/app_instance_id", "a" * 32)], "app_instance_id", "VALUE_INVALID"),
    ("a long user id", [("/user_id", "a" * 257)], "user_id", "VALUE_INVALID"),
    ("an unknown field", [("/event_id", "a")], "event_id", "VALUE_INVALID"),
    ("a time in seconds", [("/timestamp_micros", int(NOW))], "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
    ("a time in text", [("/timestamp_micros", "1795200000000000")], "timestamp_micros", "VALUE_INVALID"),
    ("73 hours ago", [("/timestamp_micros", int(NOW * 1e6) - 73 * HOUR_MICROS)], "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
    ("an hour ahead", [("/timestamp_micros", int(NOW * 1e6) + HOUR_MICROS)], "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
    ("an old event", [(":timestamp_micros", 1795200000)], "events.timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
    ("an unknown consent", [("/consent.analytics_storage", "GRANTED")], "consent.analytics_storage", "VALUE_INVALID"),
    ("a consent in lower case", [("/consent.ad_user_data", "granted")], "consent.ad_user_data", "VALUE_INVALID"),
    ("a plain email", [("/user_data.sha256_email_address", ["a@b.co"])], "user_data.sha256_email_address", "VALUE_INVALID"),
    ("an upper-case hash", [("/user_data.sha256_phone_number", "A" * 64)], "user_data.sha256_phone_number", "VALUE_INVALID"),
    ("an address in capitals", [("/user_data.address", [{"city": "Berlin"}])], "user_data.address.city", "VALUE_INVALID"),
    ("an address not in a list", [("/user_data.address", {"city": "berlin"})], "user_data.address", "VALUE_INVALID"),
    ("a host as ip", [("/ip_override", "localhost")], "ip_override", "VALUE_INVALID"),
    ("a country in words", [("/user_location", {"country_id": "Germany"})], "user_location.country_id", "VALUE_INVALID"),
    ("an unknown device field", [("/device", {"os": "Linux"})], "device.os", "VALUE_INVALID"),
    ("an unknown behaviour", [("/validation_behavior", "STRICT")], "validation_behavior", "VALUE_INVALID"),
    ("26 user properties", [("/user_properties", {f"p{n}": {"value": n} for n in range(26)})], "user_properties", "EXCEEDED_MAX_ENTITIES"),
    ("a long user property", [("/user_properties", {"plan": {"value": "a" * 37}})], "user_properties.plan", "VALUE_OUT_OF_BOUNDS"),
    ("a long name of a user property", [("/user_properties", {"a" * 25: {"value": 1}})], "user_properties", "NAME_INVALID"),
    ("a reserved user property", [("/user_properties", {"user_id": {"value": 1}})], "user_properties", "NAME_RESERVED"),
    ("a bare user property", [("/user_properties", {"plan": "pro"})], "user_properties.plan", "VALUE_INVALID"),
    ("no events", [("/events", ABSENT)], "events", "VALUE_REQUIRED"),
    ("an empty list of events", [("/events", [])], "events", "VALUE_REQUIRED"),
    ("26 events", [("/events", [{"name": "a", "params": {}}] * 26)], "events", "EXCEEDED_MAX_ENTITIES"),
    ("an event without name", [(":name", ABSENT)], "events.name", "VALUE_REQUIRED"),
    ("an event without params", [(":params", ABSENT)], "events.params", "VALUE_REQUIRED"),
    ("an unknown field of an event", [(":event_id", "1")], "events.event_id", "VALUE_INVALID"),
    ("a name of 41 characters", [(":name", "a" * 41)], "events", "NAME_INVALID"),
    ("a name with a blank", [(":name", "sign up")], "events", "NAME_INVALID"),
    ("a name that begins with a digit", [(":name", "1st_order")], "events", "NAME_INVALID"),
    ("a reserved name", [(":name", "session_start")], "events", "NAME_RESERVED"),
    ("a reserved prefix", [(":name", "google_click")], "events", "NAME_RESERVED"),
    ("a reserved param", [("firebase_conversion", 1)], "events.params", "NAME_RESERVED"),
    ("a param with a dash", [("order-id", "1")], "events.params", "NAME_INVALID"),
    ("26 params", [(f"p{n}", n) for n in range(18)], "events.params", "EXCEEDED_MAX_ENTITIES"),
    ("a long value", [("coupon", "a" * 101)], "events.params.coupon", "VALUE_OUT_OF_BOUNDS"),
    ("null", [("coupon", None)], "events.params.coupon", "VALUE_INVALID"),
    ("a list", [("coupons", ["a"])], "events.params.coupons", "VALUE_INVALID"),
    ("an object", [("shop", {"id": 1})], "events.params.shop", "VALUE_INVALID"),
    ("an email in a param", [("contact", "jane.doe@example.com")], "events.params.contact", "VALUE_INVALID"),
    ("an email in an address", [("page_location", "https://a.co/?e=j%40x.co")], "events.params.page_location", "VALUE_INVALID"),
    ("a hash in a param", [("who", "a" * 64)], "events.params.who", "VALUE_INVALID"),
    ("a purchase without value", [("value", ABSENT)], "events.params.value", "VALUE_REQUIRED"),
    ("a purchase without currency", [("currency", ABSENT)], "events.params.currency", "VALUE_REQUIRED"),
    ("a purchase without transaction", [("transaction_id", ABSENT)], "events.params.transaction_id", "VALUE_REQUIRED"),
    ("a value without currency", [(":name", "subscribe"), ("currency", ABSENT)], "events.params.currency", "VALUE_REQUIRED"),
    ("a search for nothing", [(":name", "search")], "events.params.search_term", "VALUE_REQUIRED"),
    ("a cart without items", [(":name", "add_to_cart"), ("items", ABSENT)], "events.params.items", "VALUE_REQUIRED"),
    ("a value in text", [("value", "59.90")], "events.params.value", "VALUE_INVALID"),
    ("a negative refund", [(":name", "refund"), ("value", -5)], "events.params.value", "VALUE_INVALID"),
    ("a currency in lower case", [("currency", "usd")], "events.params.currency", "VALUE_INVALID"),
    ("a transaction that is a number", [("transaction_id", 7001)], "events.params.transaction_id", "VALUE_INVALID"),
    ("a whole session cookie", [("session_id", "GS1.1.1747323152.28")], "events.params.session_id", "VALUE_INVALID"),
    ("no engagement", [("engagement_time_msec", 0)], "events.params.engagement_time_msec", "VALUE_INVALID"),
    ("items that are no list", [("items", {})], "events.params.items", "VALUE_INVALID"),
    ("an item without id and name", [("items", [{"price": 1}])], "events.params.items", "VALUE_REQUIRED"),
    ("201 items", [("items", [{"item_id": "1"}] * 201)], "events.params.items", "EXCEEDED_MAX_ENTITIES"),
    ("a price in text", [("items", [{"item_id": "1", "price": "1"}])], "events.params.items.price", "VALUE_INVALID"),
    ("an item id that is a number", [("items", [{"item_id": 1}])], "events.params.items.item_id", "VALUE_INVALID"),
    ("11 params of an item's own", [("items", [{"item_id": "1"} | {f"own{n}": n for n in range(11)}])], "events.params.items", "EXCEEDED_MAX_ENTITIES"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "code"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_it_finds(changes: list[tuple[str, object]], field: str, code: str) -> None:
    body = changed(*changes)
    assert (field, code) in {(m["fieldPath"], m["validationCode"]) for m in validated(body)}
    answer = post(body)
    assert (answer.status, answer.body, answer.events) == (204, b"", 0)
    assert (field, code) in {(p.field_path, p.validation_code) for p in answer.problems or ()}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_what_cannot_be_read_is_a_204_with_a_problem(raw: bytes) -> None:
    answer = post(raw)
    assert answer.status == 204
    assert answer.problems


@pytest.mark.parametrize("name", ["measurement_id", "api_secret"])
def test_only_collect_finds_what_is_wrong_with_the_query(name: str) -> None:
    query = {key: value for key, value in QUERY.items() if key != name}
    assert [problem.field_path for problem in post(EXAMPLE, query=query).problems or ()] == [name]
    assert validated(EXAMPLE, query=query) == []


def test_an_app_stream_has_an_app_instance() -> None:
    query = {"firebase_app_id": "1:123:android:abc", "api_secret": "s"}
    body = changed(("/client_id", ABSENT), ("/app_instance_id", "0" * 32))
    assert post(body, query=query).problems == ()
    assert {m["fieldPath"] for m in validated(EXAMPLE, query=query)} == {"client_id", "app_instance_id"}


def test_text_that_is_not_declared_as_json_is_a_problem() -> None:
    assert [problem.field_path for problem in post(EXAMPLE, media="text/plain").problems or ()] == ["content-type"]


def test_a_body_of_130_kb_is_too_large() -> None:
    padded = EXAMPLE + b" " * (130_000 - len(EXAMPLE))
    assert post(padded[:-1]).status == 204
    assert post(padded).status == 413


def test_other_paths_and_methods_get_googles_page() -> None:
    missing = post(EXAMPLE, path="/mp/collects")
    assert (missing.status, missing.headers["content-type"]) == (404, "text/html; charset=UTF-8")
    assert ga4.answer(Request("GET", "/mp/collect", QUERY, {}, b""), NOW).status == 405


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda j: st.lists(j) | st.dictionaries(
    st.sampled_from([*ga4.BODY, "name", "params", "items", "value", "currency", "address", "city"]), j)))  # fmt: skip
def test_it_answers_any_json(value: object) -> None:
    fields = [changed((path, value)) for path in (*(f"/{name}" for name in ga4.BODY), ":name", "currency", "items")]
    for body in (value, *fields):
        assert post(body).status == 204
        validated(body)
