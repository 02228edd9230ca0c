from hashlib import sha256
from typing import Any

import pytest

from postback.errors import Invalid
from postback.event import RawUser
from postback.pii import doors


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jane@example.com", "[email]"),
        ("mail jane.doe+x@shop.example.com, please", "mail [email], please"),
        ("https://x.example/?email=jane%40example.com&b=1", "https://x.example/?email=[email]&b=1"),
        ("https://x.example/?e=jane%252Bp%2540example.co", "https://x.example/?e=[email]"),
        ("jürgen@bücher.de", "[email]"),
        ("a@x.com b@y.org", "[email] [email]"),
        ("react@18.2.0", "react@18.2.0"),
        ("https://maps.example/@41.40,2.17,15z", "https://maps.example/@41.40,2.17,15z"),
        ("@jane", "@jane"),
        ("100%40", "100%40"),
        ("jane@localhost", "jane@localhost"),
    ],
)
def test_text_of_the_form_of_an_email_address_is_masked_and_all_else_kept(text: str, expected: str) -> None:
    assert doors.masked(text) == expected


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + " @", "%40" * 60_000, "a@" * 100_000, "x@" + "a.1" * 60_000, "a%40b.1" * 30_000]
)
def test_masking_takes_time_in_proportion_to_length(text: str) -> None:
    doors.masked(text)  # Would take minutes, were it quadratic.


def test_a_property_under_a_name_of_user_data_moves_there() -> None:
    sent = {"email": "jane@example.com", "phone": 14155550123, "order": "7", "country": ["DE"]}
    notes: list[str] = []
    kept, user = doors.properties(sent, None, notes)
    assert kept == {"order": "7", "country": ["DE"]}
    assert user == RawUser(email="jane@example.com", phone="14155550123")
    assert notes == ["properties.email: moved to user_data", "properties.phone: moved to user_data"]
    assert sent["email"] == "jane@example.com"


def test_what_user_data_has_already_wins_over_a_property() -> None:
    given = RawUser(phone="+14155550123")
    kept, user = doors.properties({"phone": "+49 30 123456", "city": "Berlin"}, given, notes := [])
    assert (kept, user) == ({}, RawUser(phone="+14155550123", city="Berlin"))
    assert given == RawUser(phone="+14155550123")
    assert "properties.phone: dropped, user_data has one" in notes


def test_properties_without_personal_data_are_kept_as_the_same_object() -> None:
    sent = {"a": "text", "n": 1, "f": 1.5, "b": True, "none": None, "items": [{"sku": "x", "state": "new"}]}
    kept, user = doors.properties(sent, None, notes := [])
    assert kept is sent
    assert user is None
    assert notes == []


def test_nested_personal_data_is_masked_or_removed() -> None:
    sent = {
        "cart": [{"buyer": {"mail": "jane@example.com", "phone": "+14155550123", "state": "new"}}],
        "jane@example.com": 1,
    }
    kept, user = doors.properties(sent, None, notes := [])
    assert kept == {"cart": [{"buyer": {"mail": "[email]", "state": "new"}}], "[email]": 1}
    assert user is None
    assert len(notes) == 1


def test_properties_nest_up_to_32_levels() -> None:
    doors.properties({"x": nested(32)}, None, [])
    for value in (nested(33), nested(5000)):
        with pytest.raises(Invalid) as refused:
            doors.properties({"x": value}, None, [])
        assert refused.value.field == "properties.x"


@pytest.mark.parametrize("value", [10**38, -(10**38), [10**38], {"y": 10**400}])
def test_an_integer_beyond_38_digits_is_refused_by_name(value: Any) -> None:
    doors.properties({"x": 10**38 - 1}, None, [])
    with pytest.raises(Invalid) as refused:
        doors.properties({"x": value}, None, [])
    assert refused.value.field == "properties.x"


def test_an_id_is_kept_unless_it_holds_an_email_address() -> None:
    assert doors.stored_id("order-7") == "order-7"
    notes: list[str] = []
    stored = doors.stored_id("jane@example.com", "order_id", notes)
    assert stored == sha256(b"jane@example.com").hexdigest() == doors.stored_id("jane@example.com")
    assert doors.stored_id(stored) == stored
    assert notes == ["order_id: has the form of an email address, kept as its SHA-256"]
