import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.dialects import segment
from postback.dialects.context import PERSON
from postback.errors import Invalid
from postback.event import RawEvent, RawUser

SETTINGS = settings(max_examples=100)


def read(**message: object) -> RawEvent:
    (event,) = segment.TRACK.parse(json.dumps({"event": "a"} | message).encode(), {}).events
    assert isinstance(event, RawEvent)
    return event


@pytest.mark.parametrize("wrong", [False, True])
def test_a_batch_holds_at_most_2500_messages(wrong: bool) -> None:
    def body(count: int) -> bytes:
        messages = [*[{"type": "track", "event": "a"}] * (count - 1), 3 if wrong else {"type": "track", "event": "b"}]
        return json.dumps({"batch": messages}).encode()

    assert len(segment.BATCH.parse(body(2500), {}).events) == 2500
    with pytest.raises(Invalid) as refused:
        segment.BATCH.parse(body(2501), {})
    assert segment.BATCH.refuse(refused.value).status == 400
    assert refused.value.field == "batch"


def test_an_order_has_at_most_1000_products() -> None:
    assert len(read(properties={"products": [{}] * 1000}).items) == 1000
    with pytest.raises(Invalid) as refused:
        read(properties={"products": [{}] * 1001})
    assert refused.value.field == "properties.products"


@SETTINGS
@given(st.decimals(min_value=0, max_value=10**20, places=3))
def test_an_amount_is_the_same_as_a_number_and_as_text(amount: Decimal) -> None:
    number = segment.TRACK.parse(b'{"event": "a", "properties": {"revenue": %s}}' % f"{amount:f}".encode(), {})
    text = segment.TRACK.parse(b'{"event": "a", "properties": {"revenue": "%s"}}' % f"{amount:f}".encode(), {})
    assert number == text
    assert isinstance(event := text.events[0], RawEvent)
    assert event.amount == amount


@SETTINGS
@given(
    # NUL is refused wherever it stands.
    st.dictionaries(
        st.sampled_from(sorted(PERSON)),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
        | st.integers()
        | st.none()
        | st.booleans(),
    )
)
def test_nothing_of_a_person_stays_among_the_properties(traits: dict[str, object]) -> None:
    body = {"userId": "u", "traits": traits | {"name": "Ann Lee", "address": {"city": "Rome"}}}
    (event,) = segment.IDENTIFY.parse(json.dumps(body).encode(), {}).events
    assert isinstance(event, RawEvent)
    assert event.properties is None
    assert isinstance(event.user, RawUser)


@pytest.mark.parametrize(
    ("body", "has_basic_auth", "is_segment"),
    [
        ({"event_type": "a"}, False, False),
        ({"event_type": "a", "type": "track", "event": "a", "userId": "u"}, True, False),
        ({"event_type": None, "event": "a"}, False, False),
        ({}, True, True),
        ({}, False, False),
        ({"properties": {"event": "a"}}, False, False),
        ({"writeKey": "k"}, False, True),
        ({"type": "track"}, False, True),
        ({"event": "a"}, False, True),
        ({"anonymousId": "a"}, False, True),
        ({"userId": "u"}, False, True),
        ({"properties": {"event_type": "a"}, "event": "b"}, False, True),
    ],
)
def test_a_body_is_segments_by_what_it_names(body: dict[str, object], has_basic_auth: bool, is_segment: bool) -> None:
    assert segment.glance(json.dumps(body).encode()).is_ours(has_basic_auth) is is_segment


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"writeKey": "k"}', "k"),
        (b'{"writeKey": "\\u006b"}', "k"),
        (b'{"batch": [], "writeKey": "k "}', "k "),
        (b'{"writeKey": 5}', None),
        (b'{"writeKey": null}', None),
        (b'{"batch": [{"writeKey": "k"}]}', None),
        (b'["writeKey"]', None),
        (b'{"writeKey": "k"', None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_the_key_is_the_text_at_the_top(body: bytes, key: str | None) -> None:
    assert segment.glance(body).key() == key


@SETTINGS
@given(st.binary(max_size=60))
def test_any_body_may_be_looked_at(body: bytes) -> None:
    segment.glance(body).key()
