"""What a batch of the tag may hold that cannot be kept, and what it costs: that alone."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from postback.dialects import tag
from postback.errors import Invalid
from postback.event import Consent, RawEvent

BAD = [rb"\u0000", rb"x\ud83d", rb"\udc00 \ud83d\ude00"]
EACH = pytest.mark.parametrize("bad", BAD, ids=["NUL", "first half", "second half"])
# Of more digits than a number may have.
BIG = "<big>"
CLICKS = {"fbp": "fb.1.1.1"}
OF_BATCH = ("sent_at", "visitor_id", "session_id", "session", "identifiers", "utm", "consent", "link", "bot", "cookie")
SOUND = {
    "site_key": "k", "visitor_id": "v_1", "session_id": "s_1", "link": "AWk",
    "session": {"landing": "https://shop.example/"}, "identifiers": CLICKS,
    "utm": {"source": "google", "campaign": "spring"}, "consent": {"ad_user_data": True},
}  # fmt: skip
EVENT = {
    "event": "open", "event_id": "e1", "title": "Lamps", "url": "https://shop.example/", "product": "p1",
    "properties": {"plan": "pro", "n": 1.5}, "experiments": {"e": "v"}, "user_data": {"user_id": "u1"},
    "items": [{"name": "Lamp", "price": 10.10}],
}  # fmt: skip


def parsed(about: dict[str, Any], *events: dict[str, Any], bad: bytes = b"") -> tag.Batch:
    """`<bad>` in a text stands for what cannot be kept."""
    body = json.dumps(SOUND | about | {"events": events}).encode()
    return tag.parse(body.replace(b"<bad>", bad).replace(b'"<big>"', b"1" * 5000), {})


def only(batch: tag.Batch) -> RawEvent:
    [event] = batch.events
    assert isinstance(event, RawEvent), event
    return event


@EACH
@pytest.mark.parametrize(
    ("about", "left", "note"),
    [
        ({"visitor_id": "v_<bad>"}, {"visitor_id": None}, "visitor_id: malformed, dropped"),
        ({"session_id": "s_<bad>"}, {"session_id": None}, "session_id: malformed, dropped"),
        ({"link": "AWk<bad>"}, {"link": None}, "link: malformed, dropped"),
        ({"sent_at": "<bad>"}, {}, "sent_at: malformed, dropped"),
        ({"utm": {"campaign": "<bad>", "source": "x"}}, {"utm": {"source": "x"}}, "utm: 1 malformed, dropped"),
        ({"utm": "<bad>"}, {"utm": {}}, "utm: malformed, dropped"),
        (
            {"identifiers": CLICKS | {"gclid": {"value": "<bad>"}, "<bad>": "x"}},
            {},
            "identifiers: 2 malformed, dropped",
        ),
        ({"identifiers": CLICKS | {"gclid": {"value": "G", "first": BIG}}}, {}, "identifiers: 1 malformed, dropped"),
        ({"session": {"landing": "/<bad>"}}, {"landing": None}, "session: 1 malformed, dropped"),
        ({"bot": ["<bad>"]}, {}, "bot: 1 malformed, dropped"),
    ],
)
def test_a_malformed_part_of_a_batch_is_dropped_alone_with_a_note(
    about: dict[str, Any], left: dict[str, Any], note: str, bad: bytes
) -> None:
    batch, usual = parsed(about, EVENT, bad=bad), parsed({}, EVENT)
    event, whole = only(batch), only(usual)
    assert event.notes == [note]
    assert asdict(batch.browser) == asdict(usual.browser) | left
    assert asdict(event) == asdict(whole) | {
        "notes": event.notes, "browser": batch.browser, "visitor_id": batch.browser.visitor_id,
        "session_id": batch.browser.session_id,
    }  # fmt: skip


@EACH
@pytest.mark.parametrize(
    ("fields", "left", "note"),
    [
        ({"title": "<bad>"}, {"properties": {"product": "p1", "plan": "pro", "n": 1.5}}, "title: malformed, dropped"),
        ({"url": "https://shop.example/<bad>"}, {"url": None}, "url: malformed, dropped"),
        ({"experiments": {"e": "v", "f": "<bad>"}}, {"experiments": {"e": "v"}}, "experiments: 1 malformed, dropped"),
        ({"experiments": {"e": "v", "<bad>": "f"}}, {"experiments": {"e": "v"}}, "experiments: 1 malformed, dropped"),
        ({"experiments": {"e": "v", "f": BIG}}, {"experiments": {"e": "v"}}, "experiments: 1 malformed, dropped"),
        ({"user_data": {"email": "<bad>", "user_id": "u1"}}, {}, "user_data: 1 malformed, dropped"),
        ({"user_data": "<bad>"}, {}, "user_data: malformed, dropped"),
        (
            {"properties": {"plan": "pro", "n": 1.5, "deep": {"x": ["<bad>"]}}},
            {"properties": {"product": "p1", "title": "Lamps", "plan": "pro", "n": 1.5}},
            "properties: 1 malformed, dropped",
        ),
        ({"items": [{"name": "Lamp", "price": 10.10}, {"name": "<bad>"}]}, {}, "items: 1 malformed, dropped"),
    ],
)
def test_a_malformed_part_of_an_event_is_dropped_alone_with_a_note(
    fields: dict[str, Any], left: dict[str, Any], note: str, bad: bytes
) -> None:
    batch = parsed({}, EVENT, EVENT | fields, bad=bad)
    whole, event = batch.events
    assert isinstance(whole, RawEvent)
    assert isinstance(event, RawEvent)
    assert (whole.notes, event.notes) == ([], [note])
    for name in ("url", "experiments", "properties"):
        assert getattr(event, name) == left.get(name, getattr(whole, name))
    assert event.items[0] == whole.items[0]
    assert event.user is not None
    assert event.user.user_id == (None if fields.get("user_data") == "<bad>" else "u1")


@EACH
@pytest.mark.parametrize("field", ["event", "event_id", "order_id", "currency", "occurred_at"])
def test_text_that_an_event_cannot_be_without_is_refused_by_name_and_costs_no_other_event(
    field: str, bad: bytes
) -> None:
    refused, other = parsed({}, EVENT | {field: "<bad>", "title": "<bad>"}, EVENT, bad=bad).events
    assert isinstance(refused, Invalid)
    assert refused.field == field
    assert isinstance(other, RawEvent)


@EACH
def test_a_malformed_site_key_is_refused_by_name(bad: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        parsed({"site_key": "<bad>"}, EVENT, bad=bad)
    assert refused.value.field == "site_key"


def test_what_is_no_utf_8_is_dropped_alone_too() -> None:
    assert only(parsed({"utm": {"campaign": "<bad>"}}, EVENT, bad=b"\xff")).notes == ["utm: 1 malformed, dropped"]


@EACH
@pytest.mark.parametrize("consent", ["<bad>", {"ad_user_data": "<bad>"}, {"ad_user_data": True, "<bad>": False}])
def test_of_consent_that_cannot_be_kept_all_is_denied(consent: Any, bad: bytes) -> None:
    batch = parsed({"consent": consent}, EVENT, {"event": "consent", "event_id": "e2"}, bad=bad)
    refused, news = batch.events
    assert isinstance(refused, Invalid)
    assert isinstance(news, RawEvent)
    assert news.consent == Consent(analytics=False, ad_user_data=False, ad_personalization=False)


LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("about", "note"),
    [
        ({"visitor_id": LONG}, "visitor_id: malformed, replaced"),
        ({"session_id": LONG}, "session_id: malformed, replaced"),
        ({"link": LONG}, "link: malformed, dropped"),
        ({"utm": {"campaign": LONG}}, "utm.campaign: malformed, dropped"),
        ({"identifiers": {"gclid": LONG}}, "click_ids.gclid: malformed, dropped"),
        ({"session": {"landing": LONG}}, "session.landing: malformed, dropped"),
        ({"session": {"referrer": LONG}}, "session.referrer: malformed, dropped"),
        ({"session": LONG}, "session: not an object, dropped"),
        ({"identifiers": LONG}, "identifiers: not an object, dropped"),
        ({"utm": LONG}, "utm: not an object, dropped"),
        ({"consent": {"ad_user_data": LONG}}, "consent.ad_user_data: neither true nor false, taken as a denial"),
        ({"consent": {LONG: True}}, "consent: one of unknown name, dropped"),
    ],
)
def test_oversized_text_is_dropped_alone_with_a_note(about: dict[str, Any], note: str) -> None:
    assert only(parsed(about, EVENT)).notes == [note]


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["\0", "\ud800"])
)
values = st.recursive(
    leaves,
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("\udc00"), one, max_size=3),
)


@given(
    about=st.dictionaries(st.sampled_from(OF_BATCH), values, max_size=4),
    own=st.dictionaries(st.sampled_from(["user_data", "experiments"]), values, max_size=2),
)
@settings(max_examples=200)
def test_nothing_that_may_be_malformed_costs_the_event(about: dict[str, Any], own: dict[str, Any]) -> None:
    body = json.dumps(SOUND | about | {"events": [{"event": "consent", "event_id": "e1"} | own]})
    event = only(tag.parse(body.replace("Infinity", "1e999").replace("NaN", "null").encode(), {}))
    assert (event.name, event.event_id) == ("consent", "e1")
