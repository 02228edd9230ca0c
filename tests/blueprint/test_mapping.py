"""Blueprints: which rule holds, what it makes of an event, and what cannot be written."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.blueprint import Blueprint, Unmapped, default
from postback.blueprint.mapping import Compiled, Platform
from postback.connectors import Connector, catalog
from postback.errors import Invalid
from postback.event import STANDARD_NAMES, Consent, Event, Item, Order, Page
from postback.money import Money

ACME = Platform("Acme", None, {"purchase": "Sale", "lead": "Lead", "signup": "Lead"})
STRICT = Platform("Strict", frozenset({"purchase", "lead"}), {"purchase": "Sale", "lead": "Lead"})
EVENT = Event(
    event_id="e-1",
    name="purchase",
    source_name="Order Completed",
    occurred_at=datetime(2026, 11, 2, tzinfo=UTC),
    dialect="segment",
    value=Money(Decimal("129.90"), "EUR"),
    order=Order(id="A-1", status="completed", items=(Item(product_id="SKU-1", quantity=2),)),
    page=Page(url="https://shop.example/thanks", referrer="https://shop.example/cart"),
    consent=Consent(ad_personalization=False),
    properties={"margin": 45.5, "invoice": 4711, "plan": "pro", "cart": {"id": "c-9"}, "text": "12.345"},
)


def compiled(*rules: dict[str, Any], to: Platform = ACME) -> Compiled:
    blueprint = msgspec.json.decode(msgspec.json.encode({"rules": rules}), type=Blueprint)
    return Compiled(blueprint, to)


def applied(*rules: dict[str, Any], event: Event = EVENT, to: Platform = ACME) -> Event:
    shaped = compiled(*rules, to=to).apply(event)
    assert isinstance(shaped, Event)
    return shaped


def named(name: str) -> Event:
    return msgspec.structs.replace(EVENT, name=name, source_name=name)


def test_the_first_rule_that_fits_holds() -> None:
    rules = (
        {"event": "purchase", "filter": "value > 1000.0", "to": "Big"},
        {"event": "Order Completed", "filter": "value > 100.0", "to": "Middle"},
        {"event": "*", "to": "Small"},
    )
    assert applied(*rules).name == "Middle"
    assert applied(*rules, event=named("lead")).name == "Small"


def test_an_event_that_no_rule_takes_is_not_mapped_and_says_why() -> None:
    mapped = compiled({"event": "purchase", "filter": "value > 1000.0"})
    assert mapped.apply(EVENT) == Unmapped("not mapped: no filter of the blueprint holds for this purchase")
    assert mapped.apply(named("lead")) == Unmapped("not mapped: the blueprint has no rule for lead")
    assert (mapped.takes("purchase"), mapped.takes("lead")) == (True, False)


@pytest.mark.parametrize(
    ("to", "name", "source_name"),
    [
        ("Sale", "purchase", "Order Completed"),
        ("purchase", "purchase", "Order Completed"),
        ("Lead", "lead", "Lead"),
        ("signup", "signup", "signup"),
        ("Sign Up", "Sign Up", "Sign Up"),
        ("Trial Started", "start_trial", "Trial Started"),
        ("100123", "100123", "100123"),
    ],
)
def test_a_name_is_the_platforms_or_ours_or_free(to: str, name: str, source_name: str) -> None:
    shaped = applied({"event": "purchase", "to": to})
    assert (shaped.name, shaped.source_name) == (name, source_name)


def test_where_two_of_ours_share_a_platforms_name_an_event_keeps_its_own() -> None:
    assert applied({"event": "signup", "to": "Lead"}, event=named("signup")).name == "signup"


def test_a_platform_with_a_fixed_list_takes_no_other_name() -> None:
    with pytest.raises(Invalid, match=r"Strict has no event Signup; it has Lead, Sale\.") as refusal:
        compiled({"event": "*"}, {"event": "signup", "to": "Signup"}, to=STRICT)
    assert refusal.value.field == "blueprint.rules[1].to"
    any_event = compiled({"event": "*"}, to=STRICT)
    assert (any_event.takes("lead"), any_event.takes("signup")) == (True, False)
    assert compiled({"event": "signup", "to": "Lead"}, to=STRICT).takes("signup")


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"kind": "sent"}, "129.90 EUR"),
        ({"kind": "none"}, None),
        ({"kind": "fixed", "amount": 5, "currency": "usd"}, "5.00 USD"),
        ({"kind": "times", "factor": 0.35}, "45.47 EUR"),
        ({"kind": "times", "factor": 0}, "0.00 EUR"),
        ({"kind": "property", "name": "margin"}, "45.50 EUR"),
        ({"kind": "property", "name": "text"}, "12.35 EUR"),
        ({"kind": "property", "name": "plan"}, None),
        ({"kind": "property", "name": "missing", "currency": "USD"}, None),
    ],
)
def test_a_value_goes_by_its_rule(rule: dict[str, Any], value: str | None) -> None:
    shaped = applied({"event": "*", "value": rule})
    assert (f"{shaped.value.amount} {shaped.value.currency}" if shaped.value else None) == value


def test_an_event_without_a_value_has_none_to_multiply_and_the_rules_currency() -> None:
    bare = msgspec.structs.replace(EVENT, value=None)
    assert applied({"event": "*", "value": {"kind": "times", "factor": 2}}, event=bare).value is None
    rule = {"kind": "property", "name": "margin"}
    assert applied({"event": "*", "value": rule}, event=bare).value is None
    shaped = applied({"event": "*", "value": {**rule, "currency": "JPY"}}, event=bare)
    assert shaped.value == Money(Decimal(46), "JPY")


def test_fields_constants_and_what_is_left_out() -> None:
    shaped = applied(
        {
            "event": "*",
            "fields": {
                "order.id": "properties.invoice",
                "properties.cart": "properties.cart.id",
                "properties.was": "source_name",
                "properties.plan": "properties.missing",
                "page.url": "value",
            },
            "constants": {"action_source": "app", "properties.channel": "web", "properties.beta": True},
            "without": ["page.referrer", "items", "properties.margin"],
        }
    )
    assert shaped.order == Order(id="4711", status="completed")
    assert shaped.page == Page(url="129.90")
    assert shaped.action_source == "app"
    assert shaped.properties == {
        "invoice": 4711, "plan": "pro", "cart": "c-9", "text": "12.345", "was": "Order Completed", "channel": "web",
        "beta": True,
    }  # fmt: skip


def test_properties_can_be_begun_anew() -> None:
    rule = {"event": "*", "without": ["properties"], "fields": {"properties.plan": "properties.plan"}}
    assert applied(rule).properties == {"plan": "pro"}
    assert EVENT.properties["margin"] == 45.5


def test_a_purpose_that_was_denied_withholds_the_event() -> None:
    denied = compiled({"event": "*", "consent": ["ad_personalization"]}).apply(EVENT)
    assert denied == Unmapped("consent: denied by the visitor")
    assert applied({"event": "*", "consent": ["analytics"]}) is EVENT


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        ({"filter": "nme == 1"}, "filter", "at character 1: there is no variable nme"),
        ({"fields": {"user.email": "name"}}, "fields", "There is no place user.email here"),
        ({"fields": {"properties.email": "name"}}, "fields", "would be personal data"),
        ({"fields": {"properties.x": "user.email_sha256"}}, "fields.properties.x", "There is no place user"),
        ({"fields": {"properties.x": "visitor_id"}}, "fields.properties.x", "There is no place visitor_id"),
        ({"fields": {"order.status": "name"}}, "fields", "There is no place order.status here"),
        ({"constants": {"action_source": "moon"}}, "constants.action_source", "action_source takes one of app,"),
        ({"constants": {"order.id": True}}, "constants.order.id", "order.id takes a text"),
        ({"constants": {"properties.x": "jo@example.com"}}, "constants.properties.x", "may not hold an email"),
        ({"without": ["items", "user"]}, "without[1]", "There is no place user here"),
        ({"value": {"kind": "fixed", "amount": "5", "currency": "EUR"}}, "value.amount", "must be a JSON number"),
        ({"value": {"kind": "fixed", "amount": -5, "currency": "EUR"}}, "value.amount", "must not be negative"),
        ({"value": {"kind": "fixed", "amount": None, "currency": "EUR"}}, "value.amount", "must be a number"),
        ({"value": {"kind": "fixed", "amount": 5, "currency": "XXY"}}, "value.currency", "ISO 4217"),
        ({"value": {"kind": "times", "factor": 1001}}, "value.factor", "multiplied by at most 1000"),
        ({"value": {"kind": "property", "name": "x", "currency": "XXY"}}, "value.currency", "ISO 4217"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_by_name(rule: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        compiled({"event": "*", **rule})
    assert refusal.value.field == f"blueprint.rules[0].{field}"
    assert message in refusal.value.message


@given(
    st.decimals(0, 10**38 - 1, allow_nan=False, places=12) | st.integers(0, 10**38 - 1),
    st.decimals(0, 1000, allow_nan=False, places=6),
    st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_a_multiplied_value_has_exactly_its_currencys_decimals(amount: Decimal, factor: Decimal, currency: str) -> None:
    from postback import money

    event = msgspec.structs.replace(EVENT, value=Money(money.rounded(Decimal(amount), currency)[0], currency))
    shaped = applied({"event": "*", "value": {"kind": "times", "factor": float(factor)}}, event=event)
    assert shaped.value is not None
    assert -shaped.value.amount.as_tuple().exponent == money.minor_units(currency)


@pytest.mark.parametrize("connector", catalog().values(), ids=sorted(catalog()))
def test_a_default_blueprint_written_out_does_what_the_connector_does_of_itself(connector: Connector) -> None:
    written = Compiled(connector.default_blueprint, connector.platform)
    for name in [*STANDARD_NAMES, "Trial Booked"]:
        event = msgspec.structs.replace(EVENT, name=name, consent=None)
        assert written.takes(name) is (connector.names is None or name in connector.names)
        if written.takes(name):
            assert written.apply(event) is event


def test_a_connector_that_takes_any_name_has_a_rule_for_any() -> None:
    assert [rule.event for rule in default({"purchase": "Sale"}, None).rules] == ["purchase", "*"]
    assert [rule.event for rule in default({"purchase": "Sale"}, frozenset({"purchase", "lead"})).rules] == [
        "purchase",
        "lead",
    ]


@pytest.mark.parametrize("connector", catalog().values(), ids=sorted(catalog()))
def test_a_connectors_own_names_stand_in_its_default_blueprint(connector: Connector) -> None:
    module = __import__(f"postback.connectors.{connector.name}", fromlist=["NAMES"])
    assert dict(connector.platform_names) == getattr(module, "NAMES", {})
