import json
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.dialects.convultra import BATCH, DIALECT, evt_id, from_evt_id
from postback.errors import Invalid
from postback.event import RawEvent


@settings(max_examples=200)
@given(st.uuids())
def test_an_event_id_leads_back_to_its_uuid(uuid: UUID) -> None:
    assert from_evt_id(evt_id(uuid)) == uuid


def test_an_event_id_begins_with_its_unix_milliseconds() -> None:
    assert evt_id(UUID("018cc251-f400-7abc-8def-0123456789ab")) == "evt_1704067200000_7abc8def0123456789ab"


@pytest.mark.parametrize(
    "text",
    [
        "", "evt_", "evt_1704067200000_abc123", "evt_01704067200000_7abc8def0123456789ab",
        "evt_1704067200000_7ABC8DEF0123456789AB", "evt_999999999999999_7abc8def0123456789ab",
        "evt_-1_7abc8def0123456789ab", "evt_1704067200000_7abc8def0123456789ab\n", "018cc251-f400-7abc-8def-0123456789ab",
    ],
)  # fmt: skip
def test_other_texts_are_no_event_ids(text: str) -> None:
    assert from_evt_id(text) is None


@pytest.mark.parametrize("wrong", [False, True])
def test_a_batch_holds_at_most_100_events(wrong: bool) -> None:
    def body(count: int) -> bytes:
        events = [*[{"event_type": "a"}] * (count - 1), 3 if wrong else {"event_type": "b"}]
        return json.dumps({"events": events}).encode()

    assert len(BATCH.parse(body(100), {}).events) == 100
    with pytest.raises(Invalid) as refused:
        BATCH.parse(body(101), {})
    assert BATCH.refuse(refused.value).status == 400


def test_an_idempotency_key_has_at_most_256_characters() -> None:
    assert DIALECT.parse(b'{"event_type": "a"}', {"idempotency-key": "k" * 256}).events
    for dialect in (DIALECT, BATCH):
        with pytest.raises(Invalid) as refused:
            dialect.parse(b'{"event_type": "a", "events": [{"event_type": "a"}]}', {"idempotency-key": "k" * 257})
        assert refused.value.field == "Idempotency-Key"


def test_no_event_type_and_order_id_read_as_another_pair() -> None:
    def dedup(event_type: str, order_id: str) -> str | None:
        body = json.dumps({"event_type": event_type, "properties": {"order_id": order_id}}).encode()
        (event,) = DIALECT.parse(body, {}).events
        assert isinstance(event, RawEvent)
        return event.dedup

    assert dedup("a b", "c") != dedup("a", "b c")
