"""What fixtures cannot say: which events share a request."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from postback.connectors import Item
from postback.connectors.tiktok import CONNECTOR, Config, build, pack
from postback.event import JoinedEvent, Page
from postback.secret import Secret

NOW = datetime(2026, 11, 20, 18, 40, tzinfo=UTC)
CONFIG = Config(
    pixel_code="C3QABC", access_token=Secret("t"), app_id="7", offline_event_set_id="8", crm_event_set_id="9"
)


def _item(config: Config = CONFIG, **fields: Any) -> Item:
    given: dict[str, Any] = {
        "id": UUID(int=1),
        "event_id": "e-1",
        "name": "contact",
        "source_name": "contact",
        "occurred_at": NOW,
        "received_at": NOW,
        "dialect": "native",
        "page": Page(url="https://shop.example.com/"),
        "user": {"email_sha256": "a" * 64},
    }
    built = build(JoinedEvent(**given | fields), config, NOW)
    assert isinstance(built, Item), built
    return built


def test_events_of_one_source_share_a_request_and_others_do_not() -> None:
    sources = {"website": "web", "app": "app", "physical_store": "offline", "phone_call": "crm", "email": "crm"}
    items = {source: _item(action_source=source) for source in sources}
    assert items["phone_call"].group == items["email"].group
    assert len({item.group for item in items.values()}) == 4
    for source, item in items.items():
        assert pack([item, item], CONFIG, NOW).json["event_source"] == sources[source]
    assert CONNECTOR.max_items == 1000


def test_test_events_go_one_at_a_time() -> None:
    config = msgspec.structs.replace(CONFIG, test_event_code="TEST1")
    items = [_item(config, id=UUID(int=n)) for n in range(3)]
    assert len({item.group for item in items}) == 3


def test_click_ids_past_their_age_are_dropped_by_the_hub() -> None:
    assert CONNECTOR.click_id_ages == {"ttclid": timedelta(days=30), "ttp": timedelta(days=396)}
