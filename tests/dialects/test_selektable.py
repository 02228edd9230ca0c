"""The rows of Selektable's field table, each field missing, of the wrong type, or out of its bounds."""

import json
from typing import Any

import pytest

from postback.dialects.selektable import DIALECT, STATUSES
from postback.errors import Invalid
from postback.event import RawEvent

LINE = {"productId": "lamp", "quantity": 2, "priceCents": 3500, "totalCents": 7000}
ORDER = {
    "orderId": "A-31",
    "storeId": "site_1",
    "organizationId": "org_1",
    "visitorId": "v_31",
    "sessionId": "s_31",
    "totalCents": 7000,
    "currency": "EUR",
    "platform": "custom",
    "status": "completed",
    "orderCreatedAt": "2026-05-04T10:00:00+02:00",
    "items": [LINE],
}
IDS = ("orderId", "storeId", "organizationId", "visitorId", "sessionId")


def read(order: dict[str, Any]) -> RawEvent:
    (event,) = DIALECT.parse(json.dumps(order).encode(), {}).events
    assert isinstance(event, RawEvent)
    return event


def refused(order: dict[str, Any]) -> str | None:
    """The field that is named, in the sentence of a 400 too."""
    with pytest.raises(Invalid) as caught:
        read(order)
    answer = DIALECT.refuse(caught.value)
    assert answer.status == 400
    assert str(caught.value.field) in json.loads(answer.body)["error"]
    return caught.value.field


@pytest.mark.parametrize("field", ORDER)
def test_every_field_is_required(field: str) -> None:
    assert refused({name: value for name, value in ORDER.items() if name != field}) == field
    assert refused(ORDER | {field: None}) == field


@pytest.mark.parametrize("field", LINE)
def test_every_field_of_an_item_is_required(field: str) -> None:
    line = {name: value for name, value in LINE.items() if name != field}
    assert refused(ORDER | {"items": [LINE, line]}) == f"items[1].{field}"


@pytest.mark.parametrize("field", IDS)
def test_an_id_is_text_of_1_to_256_characters(field: str) -> None:
    for value in ("", "x" * 257, 17, ["x"]):
        assert refused(ORDER | {field: value}) == field


@pytest.mark.parametrize("field", ["totalCents"])
@pytest.mark.parametrize("value", [70.5, "7000", "", -1, 2**63, 10**400, True])
def test_a_total_is_a_whole_number_that_is_not_negative(field: str, value: object) -> None:
    assert refused(ORDER | {field: value}) == field
    assert refused(ORDER | {"items": [LINE | {field: value}]}) == f"items[0].{field}"


@pytest.mark.parametrize("value", [70.5, "3500", -1])
def test_a_price_is_a_whole_number_that_is_not_negative(value: object) -> None:
    assert refused(ORDER | {"items": [LINE | {"priceCents": value}]}) == "items[0].priceCents"


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", 1_000_000_001])
def test_a_quantity_is_a_whole_number_from_1(value: object) -> None:
    assert refused(ORDER | {"items": [LINE | {"quantity": value}]}) == "items[0].quantity"


@pytest.mark.parametrize("value", ["EURO", "", "XAU", 978])
def test_a_currency_is_a_code_of_iso_4217(value: object) -> None:
    assert refused(ORDER | {"currency": value}) == "currency"


@pytest.mark.parametrize("value", ["woocommerce", "shopify", "Custom", "", 1])
def test_the_platform_is_custom(value: object) -> None:
    assert refused(ORDER | {"platform": value}) == "platform"


@pytest.mark.parametrize("value", ["shipped", "Completed", "", 1])
def test_a_status_not_in_the_six_is_refused(value: object) -> None:
    assert refused(ORDER | {"status": value}) == "status"


def test_each_status_of_an_order_is_told_apart_from_its_others_and_not_from_itself() -> None:
    keys = [read(ORDER | {"status": status}).dedup for status in STATUSES]
    assert len(set(keys)) == len(STATUSES) == 6
    assert keys == [read(ORDER | {"status": status, "totalCents": 1}).dedup for status in STATUSES]


@pytest.mark.parametrize("value", ["today", "", "1777888000", 1777888000])
def test_the_time_is_iso_8601(value: object) -> None:
    assert refused(ORDER | {"orderCreatedAt": value}) == "orderCreatedAt"


def test_there_are_at_most_1000_items() -> None:
    assert len(read(ORDER | {"items": [LINE] * 1000}).items) == 1000
    assert refused(ORDER | {"items": [LINE] * 1001}) == "items"
    assert refused(ORDER | {"items": {"0": LINE}}) == "items"
    assert refused(ORDER | {"items": [LINE, "lamp"]}) == "items[1]"


def test_what_does_not_add_up_is_noted_once_however_many_lines_there_are() -> None:
    event = read(ORDER | {"items": [LINE | {"totalCents": 1}] * 1000})
    assert event.notes == [
        "totalCents: is not the sum of the items",
        "items[0].totalCents: is not priceCents times quantity",
        "items[1].productId: is that of items[0] too",
    ]
