"""What fixtures cannot say: how several events of one visitor are sent, and what a configuration may not be."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from postback import destinations
from postback.connectors import Failed, Item, Response
from postback.connectors.convert import CONNECTOR
from postback.errors import Invalid
from postback.event import JoinedEvent, Order, Page

NOW = datetime(2026, 11, 20, 18, 40, tzinfo=UTC)
TRACKING = destinations.connector_named("convert", "tracking")
PROJECT = {"account_id": "10001234", "project_id": "20005678", "api_key": "k"}
CONFIG = destinations.read_config(TRACKING, PROJECT | {"goal_map": {"purchase": "1", "lead": "2"}})


def _item(**fields: Any) -> Item:
    given: dict[str, Any] = {
        "id": UUID(int=1),
        "event_id": "e-1",
        "name": "purchase",
        "source_name": "purchase",
        "occurred_at": NOW,
        "received_at": NOW,
        "dialect": "native",
        "visitor_id": "v-1",
        "order": Order(id="o-1"),
    }
    built = TRACKING.build(JoinedEvent(**given | fields), CONFIG, NOW)
    assert isinstance(built, Item), built
    return built


def test_events_of_one_visitor_share_one_entry() -> None:
    items = [_item(), _item(name="lead", source_name="lead"), _item(visitor_id="v-2", readable={"country": "de"})]
    visitors = TRACKING.pack(items, CONFIG, NOW).json["visitors"]
    assert {visitor["visitorId"]: len(visitor["events"]) for visitor in visitors} == {"v-1": 4, "v-2": 2}
    assert [visitor.get("segments") for visitor in visitors] == [None, {"country": "DE"}]
    assert TRACKING.max_items == 50


def test_what_one_event_says_of_its_visitor_is_kept_with_the_others() -> None:
    items = [_item(readable={"country": "DE"}), _item(name="lead", source_name="lead")]
    [visitor] = TRACKING.pack(items, CONFIG, NOW).json["visitors"]
    assert visitor["segments"] == {"country": "DE"}


def test_an_answer_that_is_not_converts_is_no_refusal_of_the_batch() -> None:
    """Or the batch would be halved and sent again, and might count twice."""
    outcome = TRACKING.interpret(Response(200, {}, b"<html>"), 3)
    assert isinstance(outcome, list)
    assert [type(one) for one in outcome] == [Failed] * 3


def test_both_variants_are_one_connector() -> None:
    assert (CONNECTOR.of_variant("default"), CONNECTOR.of_variant("tracking")) == (CONNECTOR, TRACKING)
    assert CONNECTOR.of_variant("other") is None
    assert TRACKING.advice


@pytest.mark.parametrize(
    ("variant", "config", "field"),
    [
        ("default", {"account_id": "1", "project_id": "2"}, "config.api_key"),
        ("default", {"account_id": "1", "api_key": "k"}, "config.project_id"),
        ("default", {"project_id": "1", "api_key": "k"}, "config.account_id"),
        ("default", PROJECT | {"project_id": "evil.example/"}, "config.project_id"),
        ("default", PROJECT | {"account_id": ""}, "config.account_id"),
        ("default", PROJECT | {"goal_map": {"": "1"}}, "config.goal_map"),
        ("default", PROJECT | {"goal_map": {"lead": ""}}, "config.goal_map"),
        ("default", PROJECT | {"currency": "usd"}, "config.currency"),
        ("default", PROJECT | {"sdk_key": "1"}, "config.sdk_key"),
        ("tracking", PROJECT, "config.goal_map"),
        ("tracking", PROJECT | {"goal_map": {}}, "config.goal_map"),
        ("tracking", PROJECT | {"goal_map": {"lead": "Lead"}}, "config.goal_map"),
        ("tracking", PROJECT | {"goal_map": {"lead": "1"}, "sdk_key": "a/../b"}, "config.sdk_key"),
        ("other", PROJECT, "variant"),
    ],
)
def test_a_wrong_configuration_is_refused_by_its_field(variant: str, config: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        destinations.read_config(destinations.connector_named("convert", variant), config)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("url", "goal"),
    [
        ("https://shop.example.com/", "home"),
        ("https://shop.example.com", "home"),
        ("https://shop.example.com/cart/?step=2#top", "cart"),
        ("https://shop.example.com/shop/mugs/7", "mugs"),
        ("https://shop.example.com/shop/", "shop"),
        ("https://other.example.com/cart", "cart"),
        ("/cart?x=1", "cart"),
        ("https://shop.example.com/nowhere", None),
    ],
)
def test_a_page_view_reaches_the_goal_of_its_page(url: str, goal: str | None) -> None:
    pages = {"https://shop.example.com/": "home", "/cart": "cart", "/shop/*": "shop", "/shop/mugs/*": "mugs"}
    config = destinations.read_config(CONNECTOR, PROJECT | {"goal_map": pages})
    event = JoinedEvent(
        id=UUID(int=1), event_id="e", name="page_view", source_name="page", occurred_at=NOW, received_at=NOW,
        dialect="segment", visitor_id="v", page=Page(url=url),
    )  # fmt: skip
    built = CONNECTOR.build(event, config, NOW)
    assert (built.body["goal_id"] if isinstance(built, Item) else None) == goal
