"""Amounts of money: Decimal with an ISO 4217 currency, never binary floating point.

Minor units follow the currency (JPY 0, USD 2, KWD 3), from ISO's own table in the `iso4217` package. Codes without a
minor unit (gold, the test code) are no money here. Rounding is half up, always to exactly the currency's decimals.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal

import iso4217
import msgspec
from msgspec import Struct

from postback.errors import Invalid

MINOR_UNITS: dict[str, int] = {
    code: int(units) for code, row in iso4217.raw_table.items() if code and (units := str(row["CcyMnrUnts"])).isdigit()
}
MAX_DIGITS = 38
MIN_EXPONENT, MAX_EXPONENT = -12, 26

_UNIT = {code: Decimal(1).scaleb(-units) for code, units in MINOR_UNITS.items()}
# 38 digits times 10^26 is the widest amount; the default context's 28 digits would refuse it.
_WIDE = Context(prec=MAX_DIGITS + MAX_EXPONENT + 12, rounding=ROUND_HALF_UP)
_COMMON = re.compile(rb"(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,12})?").fullmatch
_PLAIN = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?").fullmatch


class Money(Struct, frozen=True):
    """`amount` in major units, with exactly the decimals that the currency has."""

    amount: Decimal
    currency: str


def currency(code: str, *, field: str = "currency") -> str:
    """The ISO 4217 code in upper case; Invalid where there is no such currency."""
    if code in MINOR_UNITS:
        return code
    if (upper := code.upper()) in MINOR_UNITS:
        return upper
    raise Invalid(f"{field} must be an ISO 4217 code such as EUR.", field=field)


def minor_units(currency: str) -> int:
    """How many decimals the currency has."""
    return MINOR_UNITS[currency]


def rounded(amount: Decimal, currency: str) -> tuple[Decimal, bool]:
    """The amount with exactly the currency's decimals, half up, and whether its worth changed."""
    exact = amount.quantize(_UNIT[currency], context=_WIDE)
    return exact, exact != amount


def to_minor(money: Money) -> int:
    """In minor units; the amount has no more decimals than its currency."""
    return int(money.amount.scaleb(MINOR_UNITS[money.currency], context=_WIDE))


def from_minor(minor: int, currency: str) -> Money:
    return Money(Decimal(minor).scaleb(-MINOR_UNITS[currency], context=_WIDE), currency)


def amount(
    raw: msgspec.Raw | bytes | None, field: str, *, allow_negative: bool = False, allow_text: bool = False
) -> Decimal | None:
    """The one decoder of amounts, from the JSON token as sent; None where it is absent or null.

    Takes JSON numbers only: finite, at most 38 digits, exponent between -12 and 26. Else Invalid, naming the field.
    `allow_text`: plain decimal text too, such as "249.00", without an exponent.
    """
    token = bytes(raw) if raw is not None else b""
    if allow_text and token[:1] == b'"':
        if not _PLAIN(token[1:-1]):
            raise Invalid(f"{field} must be a number, or plain decimal text such as 249.00.", field=field)
        token = token[1:-1]
    if _COMMON(token):
        return Decimal(token.decode())
    if not token or token == b"null":
        return None
    if token[:1] == b'"':
        raise Invalid(f"{field} must be a JSON number, not text: write 249.00 without quotes.", field=field)
    if not _NUMBER(token):
        raise Invalid(f"{field} must be a number.", field=field)
    value = Decimal(token.decode())
    _, digits, exponent = value.as_tuple()
    # A sum made in JavaScript may have 17 digits (59.900000000000006): then its size is bounded, not its decimals.
    is_small = isinstance(exponent, int) and (exponent >= MIN_EXPONENT or value.adjusted() >= MIN_EXPONENT)
    if not is_small or len(digits) > MAX_DIGITS or int(exponent) > MAX_EXPONENT:
        raise Invalid(
            f"{field} must have at most {MAX_DIGITS} digits and no exponent beyond {MIN_EXPONENT} and {MAX_EXPONENT}.",
            field=field,
        )
    if value == 0:
        return abs(value)
    if value < 0 and not allow_negative:
        raise Invalid(f"{field} must not be negative.", field=field)
    return value
