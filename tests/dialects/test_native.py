import json

import pytest

from postback.dialects.native import DIALECT
from postback.errors import Invalid
from postback.event import RawEvent

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.mark.parametrize("wrong", [False, True])
def test_a_list_holds_at_most_1000_events(wrong: bool) -> None:
    def events(count: int) -> list[object]:
        return [*[{"event": "a"}] * (count - 1), 3 if wrong else {"event": "b"}]

    for body, headers in [
        (lambda count: json.dumps({"events": events(count)}), {}),
        (lambda count: "\n".join(map(json.dumps, events(count))), NDJSON),
    ]:
        parsed = DIALECT.parse(body(1000).encode(), headers)
        assert len(parsed.events) == 1000
        assert sum(isinstance(event, RawEvent) for event in parsed.events) == 1000 - wrong
        with pytest.raises(Invalid) as refused:
            DIALECT.parse(body(1001).encode(), headers)
        assert refused.value.field == "events"


def test_an_item_that_is_not_utf_8_harms_no_other() -> None:
    parsed = DIALECT.parse(b'{"events": [{"event": "a"}, {"event": "\xff"}, {"event": "b"}]}', {})
    first, second, third = parsed.events
    assert isinstance(second, Invalid)
    assert [event.name for event in (first, third) if isinstance(event, RawEvent)] == ["a", "b"]
