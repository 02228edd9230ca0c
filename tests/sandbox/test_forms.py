import pytest

from postback.sandbox import forms


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("203.0.113.9", True), ("2001:db8::1", True), ("fe80::1%eth0", False), ("10.0.0.0/8", False), ("", False)],
)
def test_an_ip_address_has_no_mask_and_no_zone(value: str, is_one: bool) -> None:
    assert forms.is_ip(value) is is_one


@pytest.mark.parametrize(("value", "is_one"), [("EUR", True), ("eur", False), ("EURO", False), (["EUR"], False)])
def test_a_currency_is_a_code_of_iso_4217(value: object, is_one: bool) -> None:
    assert forms.is_currency(value) is is_one


@pytest.mark.parametrize(
    ("value", "is_one"), [("0f" * 32, True), ("0F" * 32, False), ("0f" * 32 + "\n", False), (1, False)]
)
def test_a_hash_is_64_lower_case_hex_digits(value: object, is_one: bool) -> None:
    assert forms.is_sha256(value) is is_one
