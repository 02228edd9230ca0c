"""What fixtures cannot say: how events of several clients, long values and many properties are sent."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from postback.connectors import Item
from postback.connectors.ga4 import CONNECTOR, Config, build, pack
from postback.event import Consent, JoinedEvent, Order, Page
from postback.event import Item as Line
from postback.money import Money
from postback.secret import Secret

NOW = datetime(2026, 11, 20, 18, 40, tzinfo=UTC)
CONFIG = Config(measurement_id="G-ABC1234567", api_secret=Secret("s3cr3t"))


def _item(**fields: Any) -> Item:
    given: dict[str, Any] = {
        "id": UUID(int=1),
        "event_id": "e-1",
        "name": "contact",
        "source_name": "contact",
        "occurred_at": NOW,
        "received_at": NOW,
        "dialect": "native",
        "click_ids": {"ga_client_id": "1.2"},
    }
    built = build(JoinedEvent(**given | fields), CONFIG, NOW)
    assert isinstance(built, Item), built
    return built


def test_events_of_one_client_share_a_request() -> None:
    items = [_item(name="contact"), _item(name="schedule")]
    assert items[0].group == items[1].group
    request = pack(items, CONFIG, NOW)
    assert [event["name"] for event in request.json["events"]] == ["contact", "schedule"]
    assert CONNECTOR.max_items == 25


def test_events_that_differ_in_what_a_request_says_of_its_client_do_not() -> None:
    groups = [
        _item(),
        _item(click_ids={"ga_client_id": "1.3"}),
        _item(readable={"user_id": "u"}),
        _item(readable={"client_ip_address": "203.0.113.9"}),
        _item(consent=Consent(ad_user_data=True)),
        _item(user={"phone_sha256": "a" * 64}),
    ]
    assert len({item.group for item in groups}) == len(groups)


def test_an_event_of_another_session_of_the_client_still_shares_its_request() -> None:
    other = _item(click_ids={"ga_client_id": "1.2", "ga_session_id": "17"})
    assert other.group == _item().group


def test_a_long_order_id_keeps_its_end() -> None:
    value = Money(Decimal(1), "USD")
    ids = [f"{'0' * 200}{n}" for n in (1, 2)]
    sent = [_item(name="purchase", value=value, order=Order(id=id)).body["events"][0]["params"] for id in ids]
    assert [params["transaction_id"] for params in sent] == [id[-100:] for id in ids]


def test_no_more_than_25_parameters_and_200_lines_are_sent() -> None:
    [event] = _item(
        properties={f"p{n}": n for n in range(40)},
        order=Order(items=tuple(Line(product_id=str(n)) for n in range(300))),
    ).body["events"]
    assert len(event["params"]) == 25
    assert len(event["params"]["items"]) == 200


def test_addresses_of_pages_may_be_longer_than_other_values() -> None:
    [event] = _item(page=Page(url="https://a.example/" + "a" * 2000, referrer="https://b.example/" + "b" * 2000)).body[
        "events"
    ]
    assert len(event["params"]["page_location"]) == 1000
    assert len(event["params"]["page_referrer"]) == 420
