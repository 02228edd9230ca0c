"""An event with every identifier planted in it, each with a value that occurs nowhere else; and what is sent of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_type_hints
from uuid import UUID

from postback.connectors import Connector, Item, Request
from postback.event import CLICK_IDS, HASHED, IDENTIFIERS, READABLE, JoinedEvent, Order, Page
from postback.event import Item as Line
from postback.money import Money
from tests.connectors.fixture import config_of, fixture_of


def _planted(name: str, index: int) -> str:
    """A value for one identifier that occurs nowhere else, of the shape that its platform issues."""
    digits = f"77{index:03d}77"
    match name:
        case "fbc" | "fbp":
            return f"fb.1.1795190000000.{digits}"
        case "client_ip_address":
            return f"2001:db8:{digits[:4]}:{digits[3:]}::1"
        case "ga_client_id":
            return f"{digits}.1"
        case "ga_session_id" | "postal_code":
            return digits
        case "country":
            return "QX"
        case _ if name in HASHED:
            return f"{index:03d}".rjust(64, "a")
        case _:
            letters = "".join(chr(ord("a") + int(digit)) for digit in digits)
            return f"planted{letters}"


PLANTED = {name: _planted(name, index) for index, name in enumerate(sorted(IDENTIFIERS))}


def planted_event(name: str = "purchase") -> JoinedEvent:
    now = datetime(2026, 11, 20, 18, 40, tzinfo=UTC)
    return JoinedEvent(
        id=UUID(int=1),
        event_id="e-1",
        name=name,
        source_name=name,
        occurred_at=now,
        received_at=now,
        dialect="native",
        value=Money(Decimal("59.90"), "USD"),
        order=Order(id="o-1", items=(Line(product_id="sku-1", quantity=1, price=Decimal("59.90")),)),
        page=Page(url="https://shop.example.com/"),
        user={name: value for name, value in PLANTED.items() if name in HASHED},
        click_ids={name: value for name, value in PLANTED.items() if name in CLICK_IDS},
        readable={name: value for name, value in PLANTED.items() if name in READABLE},
        properties={"tax": 4.5},
    )


def packed(connector: Connector, config: Any, event: JoinedEvent) -> Request:
    built = connector.build(event, config, event.received_at)
    assert isinstance(built, Item), built
    return connector.pack([built], config, event.received_at)


def sent_text(request: Request) -> str:
    return f"{request.url}\n{request.headers}\n{request.content().decode()}"


def every_config(connector: Connector) -> Iterator[Any]:
    """The fixture's, and one with every switch on: what a config lets out must be declared too."""
    values = fixture_of(connector).config
    yield config_of(connector, values)
    hints = get_type_hints(connector.config)
    on = {name: True for name in connector.config.__struct_fields__ if "bool" in str(hints[name])}
    yield config_of(connector, values | on)
