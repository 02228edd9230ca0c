"""Filters: what is true of an event, what is refused and where, and that none raises or takes long."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.blueprint import filters, syntax
from postback.errors import Invalid
from postback.event import Consent, Event, Item, Order, Page
from postback.money import Money

BARE = Event(
    event_id="e-0", name="lead", source_name="lead", occurred_at=datetime(2026, 11, 2, tzinfo=UTC), dialect="native"
)
FULL = Event(
    event_id="e-1",
    name="purchase",
    source_name="Order Completed",
    occurred_at=datetime(2026, 11, 2, 17, 30, tzinfo=UTC),
    dialect="segment",
    action_source="website",
    goal_id=7,
    visitor_id="v-1",
    value=Money(Decimal("129.90"), "EUR"),
    order=Order(id="A-1", status="completed", items=(Item(product_id="SKU-1", quantity=2, price=Decimal("64.95")),)),
    page=Page(url="https://shop.example/thanks"),
    user={"email_sha256": "a" * 64},
    click_ids={"gclid": "g1"},
    consent=Consent(analytics=True),
    experiments={"100": "2"},
    properties={"plan": "pro", "seats": 12, "tags": ["new", "b2b"], "nested": {"deep": [1, 2.5, None, True]}},
)

TRUE = [
    "true",
    "name == 'purchase' && source_name == 'Order Completed'",
    "dialect in ['segment', 'native']",
    "action_source == 'website' && goal_id == 7",
    "value >= 129.9 && value > 100 && currency == 'EUR'",
    "value * 2.0 > 259.0",
    "order.id.startsWith('A-') && order.status == 'completed'",
    "items.exists(i, i.product_id == 'SKU-1' && i.quantity > 1)",
    "items.all(i, i.price < 65.0) && size(items) == 1",
    "items.exists_one(line, line.price > value / 3.0)",
    "page.url.endsWith('/thanks') && !has(page.referrer)",
    "page.url.matches('^https://[a-z.]+/')",
    "consent.analytics && !has(consent.ad_user_data)",
    "experiments['100'] == '2'",
    "properties.plan == 'pro' && properties.seats >= 10",
    "'b2b' in properties.tags && properties.nested.deep[1] == 2.5",
    "!has(properties.coupon) || properties.coupon == 'NONE'",
    "'gclid' in identifiers && 'email_sha256' in identifiers && 'visitor_id' in identifiers",
    "occurred_at > timestamp('2026-01-01T00:00:00Z') && occurred_at.getHours() == 17",
    "is_test ? false : value != null",
    r"r'\d'.matches('.d') // a note",
]


@pytest.mark.parametrize("text", TRUE)
def test_a_filter_reads_the_canonical_event(text: str) -> None:
    assert filters.compile(text)(FULL)


@pytest.mark.parametrize(
    "text",
    [
        "properties.plan == 'pro'",
        "properties.a.b.c == 1",
        "value > 100.0",
        "order.id == 'A-1'",
        "items[0].quantity == 1",
        "page.url.contains('/')",
        "int(name) == 1",
        "1 / size(items) > 0",
        "experiments['100'] == '2'",
        "!(properties.plan == 'pro')",
        "consent.analytics",
    ],
)
def test_what_the_event_lacks_makes_a_filter_false(text: str) -> None:
    assert filters.compile(text)(BARE) is False


def test_another_kind_than_expected_makes_a_filter_false() -> None:
    event = Event(**{name: getattr(BARE, name) for name in BARE.__struct_fields__} | {"properties": {"plan": [1]}})
    assert filters.compile("properties.plan.startsWith('p')")(event) is False
    assert filters.compile("properties.plan > 3")(event) is False
    assert filters.compile("properties.plan")(event) is False


REFUSED = [
    ("nme == 'x'", "In the filter, at character 1: there is no variable nme; did you mean name?"),
    ("name ==", "In the filter, at character 8: it ends too early."),
    ("", "In the filter, at character 1: it ends too early."),
    (
        "is_test ||\n nmae == 'x'",
        "In the filter, at line 2, character 2: there is no variable nmae; did you mean name?",
    ),
    ("name = 'x'", "In the filter, at character 6: equality is written ==."),
    ("name == 'x", "In the filter, at character 9: this text does not end."),
    ("name == '''x'''", "In the filter, at character 11: a text in quotes may not touch another."),
    ("name == 'x')", "In the filter, at character 12: there is no bracket that this ) closes."),
    ("user.email == 'x'", "there is no variable user"),
    ("page{url: 'x'} == page", "a { may not follow a name"),
    ("name.lower() == 'x'", "there is no function lower"),
    ("sum(items) == 1", "there is no function sum"),
    ("items.filter(i, true).size() > 1", "there is no function filter"),
    ("items.map(i, i.price).size() > 1", "there is no function map"),
    ("items.exists(i, items.exists(j, i == j))", "at character 17: items may not be read inside"),
    ("items.exists(i, [i].exists(j, i == j))", "exists may not stand inside another"),
    ("items.exists(i, i.product_id in properties.skus)", "properties may not be read inside"),
    ("items.exists(i, i.name.matches('x'))", "matches may not stand inside"),
    ("items.exists(name, true)", "name has a meaning already; choose another name"),
    ("items.exists(true)", "exists takes a name, a comma and a condition"),
    ("items.exists(i, true) && i == 1", "there is no variable i"),
    (" && ".join(["items.all(i, true)"] * 6), "a filter has at most 5 of all"),
    ("name.matches(name)", "matches takes a pattern in quotes"),
    ("name.matches('[')", "the pattern '[' cannot be used: unclosed character class."),
    (r"name.matches('(\\w{99}){99}')", "a pattern repeats at most 100 times"),
    ("name.matches('" + "a" * 200 + "')", "a pattern has at most 100 characters"),
    ("name.matches('a') || name.matches('b') || name.matches('c') || name.matches('d')", "at most 3 of matches"),
    ("(" * 21 + "true" + ")" * 21, "brackets nest at most 20 deep"),
    ("true || " * 200 + "true", "A filter has at most 1000 characters; this one has 1604."),
    ("name", "this one gives a text. Compare it with something."),
    ("value * 2 > 3.0", "puts kinds together that do not go together (Unsupported operation: float * int)"),
    ("name > 5", "puts kinds together that do not go together"),
    ("name.startsWith(1)", "The filter calls startsWith on what it does not take."),
    ("name == '\ud800'", "The filter cannot be read as CEL."),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_mistake_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        filters.compile(text, "rules[0].filter")
    assert message in refusal.value.message
    assert refusal.value.field == "rules[0].filter"


def test_the_same_text_is_compiled_once() -> None:
    assert filters.compile("name == 'lead'") is filters.compile("name == 'lead'")


def test_a_filter_sees_that_an_identifier_is_there_and_not_its_value() -> None:
    assert "a" * 64 not in str(filters.view(FULL))
    assert "g1" not in str(filters.view(FULL))
    assert filters.view(FULL)["identifiers"] == ["email_sha256", "gclid", "visitor_id"]


def test_only_the_beginning_of_what_is_long_is_read() -> None:
    long = {"list": list(range(5000)), "after": 1, "text": "x" * 5000}
    event = Event(**{name: getattr(BARE, name) for name in BARE.__struct_fields__} | {"properties": long})
    assert filters.compile("size(properties.list) == 999")(event)
    assert filters.compile("!has(properties.after)")(event)


SIGNS = ". ( ) [ ] { } , : ? ! - + * / % == < && || // ' \"".split()
NAMES = sorted(syntax.VARIABLES | syntax.LOOPS | syntax.METHODS | syntax.FUNCTIONS | syntax.WORDS | {"i", "plan"})
LITERALS = ["'x'", "1", "2.5", "9223372036854775807", "'(a+)+$'", "'\\\\w{99}'"]
PIECES = st.sampled_from([*NAMES, *SIGNS, *LITERALS, "\n", " "])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=50))
def test_any_text_is_a_filter_or_refused_as_invalid(text: str) -> None:
    try:
        made = filters.compile(text)
    except Invalid:
        return
    assert made(FULL) in (True, False)
    assert made(BARE) in (True, False)


@given(st.sampled_from(TRUE), st.dictionaries(st.sampled_from(["plan", "seats", "tags", "nested", "coupon"]), VALUES))
def test_a_filter_says_true_or_false_of_any_properties(text: str, sent: dict[str, object]) -> None:
    event = Event(**{name: getattr(FULL, name) for name in FULL.__struct_fields__} | {"properties": sent})
    assert filters.compile(text)(event) in (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "items.exists(i, " + " || ".join(["page.url.contains(i.name)"] * 32) + ")",
        "items.exists(i, " + "+".join(["page.url"] * 100) + " == i.name)",
        "items.exists(i, " + " || ".join(["i.name in identifiers"] * 39) + ")",
        " || ".join(["items.exists(i, i.name == '' || i.product_id == '' || has(i.price))"] * 5),
        "items.exists(i, " + "+".join(["i.name"] * 100) + " == '')",
        "properties.list.exists(i, " + "+".join(["i"] * 300) + " == '')",
        "+".join(["properties.text"] * 60) + " == ''",
        "page.url.matches('(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(x+x+)+y')",
        r" || ".join([r"page.url.matches('\\w{99}!')"] * 3),
    ],
)
def test_a_hostile_filter_over_the_longest_event_ends_soon(text: str) -> None:
    event = Event(
        event_id="e-2",
        name="purchase",
        source_name="purchase",
        occurred_at=BARE.occurred_at,
        dialect="native",
        order=Order(items=tuple(Item(product_id="p" * 3000, name="n" * 3000) for _ in range(1000))),
        page=Page(url="https://shop.example/" + "x" * 100_000),
        properties={"text": "t" * 1_000_000, "list": ["l" * 3000] * 5000},
    )
    made = filters.compile(text)
    began = time.process_time()
    made(event)
    assert time.process_time() - began < 2
