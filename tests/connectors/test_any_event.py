"""Whatever an event holds, it is built or skipped, the same each time; batches do not depend on their order."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from postback.connectors import Connector, Item, Skipped, encode
from postback.event import JoinedEvent
from tests.connectors.fixture import config_of, each_connector, fixture_of
from tests.connectors.planted import planted_event
from tests.connectors.strategies import FEW, events


def _floats(body: Any) -> Iterator[float]:
    match body:
        case float():
            yield body
        case dict():
            for key, held in body.items():
                yield from _floats(key)
                yield from _floats(held)
        case list() | tuple():
            for held in body:
                yield from _floats(held)
        case _:
            pass


@each_connector
@FEW
@given(event=events)
def test_any_event_is_built_or_skipped_the_same_each_time_and_without_a_float(
    connector: Connector, event: JoinedEvent
) -> None:
    config = config_of(connector, fixture_of(connector).config)
    before = copy.deepcopy(event)
    built = connector.build(event, config, event.received_at)
    assert connector.build(event, config, event.received_at) == built
    assert event == before
    if isinstance(built, Skipped):
        assert built.reason
        return
    request = connector.pack([built], config, event.received_at)
    assert list(_floats(built.body)) == list(_floats(request.json)) == []
    msgspec.json.decode(request.content())
    assert all(value.isprintable() and value.isascii() for value in request.headers.values())
    assert isinstance(connector.repeat_is_safe(event), bool)
    assert built.size == 0 or built.size <= len(request.content()) + 200


@each_connector
@settings(FEW, max_examples=20)
@given(some=st.lists(events, max_size=4))
def test_the_items_of_a_batch_do_not_depend_on_their_order(connector: Connector, some: list[JoinedEvent]) -> None:
    """All of one person, so that connectors which pack by person pack them together."""
    if connector.max_items == 1:
        return
    config, first = config_of(connector, fixture_of(connector).config), planted_event()
    who = {name: getattr(first, name) for name in ("user", "click_ids", "readable", "visitor_id", "consent")}
    now = first.received_at
    batch = [first, replace(first, event_id="e-2"), *(replace(event, **who, provenance={}) for event in some)]
    built = [item for event in batch if isinstance(item := connector.build(event, config, now), Item)]
    items = [item for item in built if item.group == built[0].group]
    assert len(items) >= 2
    before = [encode(item.body) for item in items]
    forward, backward = connector.pack(items, config, now), connector.pack(items[::-1], config, now)
    assert [encode(item.body) for item in items] == before
    assert _in_order(forward.json) == _in_order(backward.json)
    assert forward.url == backward.url


def _in_order(body: Any) -> Any:
    """The body with the lists at its top level sorted."""
    return {name: sorted(map(encode, held)) if isinstance(held, list) else encode(held) for name, held in body.items()}
