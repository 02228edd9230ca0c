from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback import money
from postback.errors import Invalid
from postback.money import Money

currencies = st.sampled_from(sorted(money.MINOR_UNITS))
amounts = st.decimals(min_value=0, max_value=Decimal("1e15"), places=9)


class Body(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw()


def decoded(json: str, **options: bool) -> Decimal | None:
    return money.amount(msgspec.json.decode(json.encode(), type=Body).value, "value", **options)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("249.00", "249.00"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("1e2", "1E+2"),
        ("1.5E-3", "0.0015"),
        ("0.000000000001", "1E-12"),
        ("1e26", "1E+26"),
        ("9" * 38, "9" * 38),
        ("19.990000000000002", "19.990000000000002"),
        ("1e-13", None),
        ("1e27", None),
        ("1e400", None),
        ("1e999999999", None),
        ("9" * 39, None),
        ("-1", None),
        ('"249.00"', None),
        ('"NaN"', None),
        ('""', None),
        ("true", None),
        ("[1]", None),
        ('{"a": 1}', None),
    ],
)
def test_an_amount_is_a_json_number_of_bounded_size(token: str, expected: str | None) -> None:
    json = f'{{"value": {token}}}'
    if expected is None:
        with pytest.raises(Invalid) as refused:
            decoded(json)
        assert refused.value.field == "value"
        assert refused.value.message.startswith("value must")
    else:
        assert str(decoded(json)) == expected


@pytest.mark.parametrize("json", ["{}", '{"value": null}'])
def test_an_absent_amount_is_none(json: str) -> None:
    assert decoded(json) is None
    assert money.amount(None, "value") is None


@pytest.mark.parametrize(
    "token", [b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"1_000", b"0x10", "٣".encode()]
)
def test_a_token_that_is_no_json_number_is_refused(token: bytes) -> None:
    with pytest.raises(Invalid):
        money.amount(token, "value")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ('"249.00"', "249.00"), ('"0"', "0"), ('"-0.0"', "0.0"), ("249.00", "249.00"), ("1e2", "1E+2"), ("null", None),
    ],
)  # fmt: skip
def test_plain_decimal_text_is_taken_where_it_is_allowed(token: str, expected: str | None) -> None:
    amount = decoded(f'{{"value": {token}}}', allow_text=True)
    assert (None if amount is None else str(amount)) == expected


@pytest.mark.parametrize(
    "token",
    ['""', '" "', '"1e3"', '"1,000.00"', '"$5"', '"-1"', '"NaN"', '"01"', '".5"', '"5."', '"\\u0035"', f'"{"9" * 39}"'],
)
def test_any_other_text_is_refused_there_too(token: str) -> None:
    with pytest.raises(Invalid, match="value must"):
        decoded(f'{{"value": {token}}}', allow_text=True)


def test_text_is_refused_saying_so() -> None:
    with pytest.raises(Invalid, match="not text"):
        decoded('{"value": "249.00"}')


def test_a_negative_amount_is_taken_only_where_asked_for() -> None:
    assert decoded('{"value": -12.5}', allow_negative=True) == Decimal("-12.5")
    with pytest.raises(Invalid, match="negative"):
        decoded('{"value": -12.5}')


@pytest.mark.parametrize(("code", "units"), [("JPY", 0), ("USD", 2), ("KWD", 3), ("CLF", 4), ("UGX", 0), ("EUR", 2)])
def test_minor_units_are_those_of_iso_4217(code: str, units: int) -> None:
    assert money.minor_units(code) == units


@pytest.mark.parametrize("code", ["", "EURO", "XXX", "XAU", "E", "€", "ZZZ"])
def test_an_unknown_currency_is_refused_by_name(code: str) -> None:
    with pytest.raises(Invalid) as refused:
        money.currency(code, field="order.currency")
    assert refused.value.field == "order.currency"


def test_a_currency_in_lower_case_is_accepted() -> None:
    assert money.currency("eur") == "EUR"


@pytest.mark.parametrize(
    ("amount", "currency", "expected", "changed"),
    [
        ("249", "EUR", "249.00", False),
        ("10.100", "USD", "10.10", False),
        ("0.005", "USD", "0.01", True),
        ("0.004999", "USD", "0.00", True),
        ("2.5", "JPY", "3", True),
        ("1.2345", "KWD", "1.235", True),
        ("9" * 38, "KWD", "9" * 38 + ".000", False),
        ("1e26", "JPY", "1" + "0" * 26, False),
    ],
)
def test_rounding_is_half_up_to_the_currencys_decimals(
    amount: str, currency: str, expected: str, changed: bool
) -> None:
    exact, was_changed = money.rounded(Decimal(amount), currency)
    assert (str(exact), was_changed) == (expected, changed)


@given(st.integers(min_value=-(10**37), max_value=10**37), currencies)
def test_minor_units_come_back_as_they_went(minor: int, currency: str) -> None:
    assert money.to_minor(money.from_minor(minor, currency)) == minor


@given(amounts, currencies)
def test_a_rounded_amount_is_at_most_half_a_minor_unit_away_and_rounds_no_further(
    amount: Decimal, currency: str
) -> None:
    exact, changed = money.rounded(amount, currency)
    units = money.minor_units(currency)
    assert exact == amount.quantize(Decimal(1).scaleb(-units), ROUND_HALF_UP)
    assert abs(exact - amount) * 2 <= Decimal(1).scaleb(-units)
    assert changed == (exact != amount)
    assert money.rounded(exact, currency) == (exact, False)
    assert money.from_minor(money.to_minor(Money(exact, currency)), currency) == Money(exact, currency)


@given(st.decimals(min_value=0, max_value=Decimal("1e20"), places=6))
def test_a_decimal_written_as_json_is_read_back_exactly(amount: Decimal) -> None:
    token = msgspec.json.encode(amount).strip(b'"')
    assert money.amount(token, "value") == amount
