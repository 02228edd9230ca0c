"""Meta's own normaliser (`facebook-business`) as judge of the identifiers that Meta takes.

Left out, where the page says that the two differ: punctuation in names (the SDK keeps it), US and Canadian states by
name (the SDK has no codes), postal codes of one character (the SDK keeps them).
"""

from datetime import date
from hashlib import sha256
from string import ascii_letters, ascii_lowercase, digits

import pycountry
from facebook_business.adobjects.serverside.normalize import Normalize
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.event import RawUser
from postback.pii import normalise
from postback.pii.identify import identify

# Of each kind of field: nearly 3,000 inputs together.
MANY = settings(max_examples=400)

padding = st.sampled_from(["", " ", "  "])
letters = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1, max_size=20)
words = st.lists(letters, min_size=1, max_size=3).map(" ".join)
locals_ = st.text(ascii_letters + digits + ".+_-'", min_size=1, max_size=20)
labels = st.text(ascii_letters + digits + "-", min_size=1, max_size=12)
emails = st.builds("{}{}@{}.{}{}".format, padding, locals_, labels, labels, padding)
phones = st.builds(
    "+{}{}{}{}{}".format,
    st.integers(1, 99),
    st.sampled_from([" ", "-", " (", ""]),
    st.integers(100, 999),
    st.sampled_from([" ", "-", ") ", ""]),
    st.integers(10_000, 9_999_999),
)
places = st.text(ascii_letters + digits + " .-()éöß", min_size=1, max_size=20)
postal_codes = st.text(ascii_letters + digits, min_size=2, max_size=5).flatmap(
    lambda head: st.sampled_from([head, f" {head} ", f"{head}-1234", f"{head[:2]} {head[2:]}x"])
)


def ours(name: str, **sent: str) -> str | None:
    return identify(RawUser(**sent), None, [], keep_email=False).hashed.get(name)


@MANY
@given(emails)
def test_emails_agree(email: str) -> None:
    assert ours("email_sha256", email=email) == Normalize.normalize_field("em", email)


@MANY
@given(phones)
def test_phones_with_a_country_agree(phone: str) -> None:
    assert ours("phone_digits_sha256", phone=phone) == Normalize.normalize_field("ph", phone)


@MANY
@given(words, padding)
def test_names_without_punctuation_agree(name: str, pad: str) -> None:
    sent = f"{pad}{name}{pad}"
    assert ours("first_name_sha256", first_name=sent) == Normalize.normalize_field("fn", sent)
    assert ours("last_name_sha256", last_name=sent) == Normalize.normalize_field("ln", sent)


@MANY
@given(places)
def test_cities_agree(city: str) -> None:
    theirs = Normalize.normalize_field("ct", city)
    assert (ours("city_sha256", city=city) or sha256(b"").hexdigest()) == theirs


@MANY
@given(places)
def test_states_outside_of_america_agree(state: str) -> None:
    theirs = Normalize.normalize_field("st", state)
    assert (ours("state_sha256", state=state, country="DE") or sha256(b"").hexdigest()) == theirs


@MANY
@given(postal_codes)
def test_postal_codes_agree(code: str) -> None:
    assert ours("postal_code_sha256", postal_code=code) == Normalize.normalize_field("zp", code)


def test_countries_are_those_of_iso_3166() -> None:
    assert {country.alpha_2.lower() for country in pycountry.countries} == normalise.COUNTRIES
    for code in normalise.COUNTRIES:
        assert ours("country_sha256", country=code.upper()) == Normalize.normalize_field("country", code)


@MANY
@given(st.dates(date(1900, 1, 1), date(2026, 11, 20)).map(lambda day: day.strftime("%Y%m%d")))
def test_dates_of_birth_agree(day: str) -> None:
    assert ours("date_of_birth_sha256", date_of_birth=day) == Normalize.normalize_field("db", day)


@MANY
@given(st.text("0123456789abcdefABCDEF", min_size=64, max_size=64))
def test_both_leave_a_hash_as_it_is(digest: str) -> None:
    assert ours("email_sha256", email=digest) == Normalize.normalize_field("em", digest) == digest.lower()


def test_state_codes_are_those_of_iso_3166_2() -> None:
    for country, table in (("US", normalise.US_STATES), ("CA", normalise.CANADIAN_PROVINCES)):
        official = {
            "".join(c for c in part.name.lower() if c in ascii_lowercase + "é"): part.code[3:].lower()
            for part in pycountry.subdivisions.get(country_code=country)
        }
        assert {name: table.get(name) for name in official if name in table} == {
            name: code for name, code in official.items() if name in table
        }
        assert set(table.values()) <= set(official.values())
