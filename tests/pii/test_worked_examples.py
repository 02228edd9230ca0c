"""The worked examples of the platforms' pages, hash for hash (`reference/destinations/`, read 2026-11-20)."""

from hashlib import sha256

import pytest

from postback.event import HASHED, RawUser
from postback.pii.identify import identify

JANE = "86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d"
JANEDOE_GMAIL = "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"
JANEDOE = "c4d25e9c90ff23e9145397bc6fbd5385ca5fbe78211222ccbecd0b369ebb19a6"
PLUS_0123 = "36a2cef4ff9bf7a1abd2a93359136b870393be4106e6c5d19b72ff564f9deca4"
PLUS_2671 = "cb6880e416769253645cb9c6b8989154bf66a56a77fc14c81fb1019663cbb928"
DIGITS_2671 = "758fbf68945f21c416814c539ab578876c8d98fb69e6da692def92cd52417fe0"
FIRST = "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"
LAST = "799ef92a11af918e3fb741df42934f3b568ed2d93ac1df74f1b8d41a27932a6f"

# Page, what was sent, the identifier that the platform takes, its hash.
EXAMPLES = [
    ("meta", {"email": " Jane.Doe@Example.com "}, "email_sha256", JANE),
    ("meta", {"email": "Jane.Doe+promo@Gmail.com"}, "email_sha256", "5f0d1df1fc49e30424381b57b1d4c73e067772a4267dde043a19b026935602c8"),
    ("meta", {"phone": "+1 (415) 555-0123"}, "phone_digits_sha256", "413ba75461ab5f99d36820e561ea97e2bd80f9cb586f7ecea6cf4c496518950a"),
    ("meta", {"city": "San Francisco"}, "city_sha256", "1a6bd4d9d79dc0a79b53795c70d3349fa9e38968a3fbefbfe8783efb1d2b6aac"),
    ("meta", {"state": "CA"}, "state_sha256", "6959097001d10501ac7d54c0bdb8db61420f658f2922cc26e46d536119a31126"),
    ("meta", {"state": "California", "country": "US"}, "state_sha256", "6959097001d10501ac7d54c0bdb8db61420f658f2922cc26e46d536119a31126"),
    ("meta", {"postal_code": "94103-1234"}, "postal_code_sha256", "91dc2519ea98c5002cf2091e6a12b772eafdce9dca618e626d7d3b8275361789"),
    ("meta", {"country": "US"}, "country_sha256", "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"),
    ("meta", {"date_of_birth": "1990-04-15"}, "date_of_birth_sha256", "5be1507be4da222549f321c7d5a4513e1287238d5ddc83622a12ff5e155bbe1b"),
    ("meta", {"gender": "F"}, "gender_sha256", "252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111"),
    ("meta", {"first_name": "Jane"}, "first_name_sha256", FIRST),
    ("meta", {"last_name": "Doe"}, "last_name_sha256", LAST),
    ("meta", {"external_id": "user-48151"}, "external_id_sha256", "0d645cc06eba0a8c1387065bc50d982b9c0834959f0807ceedf1178342a5acd9"),
    ("ga4", {"email": " Jane.Doe@Example.com"}, "email_google_sha256", JANE),
    ("ga4", {"email": "Jane.Doe@Gmail.com"}, "email_google_sha256", JANEDOE_GMAIL),
    ("ga4", {"phone": "(415) 555-0123", "country": "US"}, "phone_sha256", PLUS_0123),
    ("ga4", {"first_name": "Jane"}, "first_name_google_sha256", FIRST),
    ("google_ads", {"email": " Jane.Doe@Example.com"}, "email_google_sha256", JANE),
    ("google_ads", {"email": "Jane.Doe+promo@Gmail.com"}, "email_google_sha256", JANEDOE_GMAIL),
    ("google_ads", {"email": "user.name+NYC@Example.com"}, "email_google_sha256", "f109a2a632fbcea5fc82049f50beed3d8621bf9034399f437fb622222acccdac"),
    ("google_ads", {"phone": "+1 (415) 555-0123"}, "phone_sha256", PLUS_0123),
    ("google_ads", {"first_name": "Jane"}, "first_name_google_sha256", FIRST),
    ("google_ads", {"last_name": "Doe"}, "last_name_google_sha256", LAST),
    ("tiktok", {"email": " Jane.Doe@Example.com "}, "email_sha256", JANE),
    ("tiktok", {"phone": "+1 (415) 555-0123"}, "phone_sha256", PLUS_0123),
    ("tiktok", {"external_id": "user-48151"}, "external_id_lower_sha256", "0d645cc06eba0a8c1387065bc50d982b9c0834959f0807ceedf1178342a5acd9"),
    ("tiktok", {"first_name": "Jane"}, "first_name_nospace_sha256", FIRST),
    ("tiktok", {"last_name": "Doe"}, "last_name_nospace_sha256", LAST),
    ("tiktok", {"postal_code": "94103"}, "postal_code_full_sha256", "91dc2519ea98c5002cf2091e6a12b772eafdce9dca618e626d7d3b8275361789"),
    ("microsoft_ads", {"email": "Jane.Doe+promo@Example.com"}, "email_nodots_sha256", JANEDOE),
    ("microsoft_ads", {"phone": "+1 (415) 555-2671"}, "phone_sha256", PLUS_2671),
    ("reddit", {"email": "Jane.Doe+promo@Example.com"}, "email_nodots_sha256", JANEDOE),
    ("reddit", {"phone": "+1 (415) 555-2671 ext 9"}, "phone_sha256", PLUS_2671),
    ("reddit", {"external_id": "CUST-0042"}, "external_id_sha256", "66d619f6d5afd99b369b11f3a8000689b064ad248eadb78fb16b05fdb348690b"),
    ("linkedin", {"email": " Jane.Doe@Example.com "}, "email_sha256", JANE),
    ("amazon_ads", {"phone": "+1 (415) 555-2671"}, "phone_digits_sha256", DIGITS_2671),
    ("amazon_ads", {"postal_code": "SW1A 1AA"}, "postal_code_sha256", "830e1d4b9838bab1f5c2acdb23e0b502ff13a9832c4632e8d67a1d43d3b7f614"),
    ("openai_ads", {"phone": "+1 (415) 555-2671"}, "phone_digits_sha256", DIGITS_2671),
    ("pinterest", {"city": "New York"}, "city_sha256", "350c754ba4d38897693aa077ef43072a859d23f613443133fecbbd90a3512ca5"),
    ("snapchat", {"email": "Person@Example.com"}, "email_sha256", "542d240129883c019e106e3b1b2d3f3cb3537c43c425364de8e951d5a3083345"),
    ("snapchat", {"phone": "+44 844 412 4653"}, "phone_digits_sha256", "dc008fda46e2e64002cf2f82a4906236282d431c4f75e5b60bfe79fc48546383"),
    ("x_ads", {"email": "test-email@test.com"}, "email_sha256", "e586883b2b4faf78d48300a79e0e15138d664cdf796ffb86e533170a9893eda8"),
    ("x_ads", {"phone": "+11234567890"}, "phone_sha256", "1fa6b8d986d9b9cd01bf36951815158bbde9f520c0567c835dfe34783d0a4231"),
]  # fmt: skip

# What was sent, the identifier, the text that is hashed: the pages' rules where they give no example.
NORMALISED = [
    ({"first_name": "O'Neil"}, "first_name_sha256", "oneil"),
    ({"first_name": "O’Neil"}, "first_name_sha256", "oneil"),
    ({"first_name": "Mary Ann"}, "first_name_sha256", "mary ann"),
    ({"first_name": "Mary Ann"}, "first_name_nospace_sha256", "maryann"),
    ({"first_name": "Mary Ann"}, "first_name_google_sha256", "mary ann"),
    ({"last_name": "Müller-Lüdenscheidt 2"}, "last_name_google_sha256", "müllerlüdenscheidt"),
    ({"last_name": "Doe3"}, "last_name_sha256", "doe3"),
    ({"email": "jane doe@example.com"}, "email_google_sha256", "janedoe@example.com"),
    ({"email": "j.a.ne+x@GoogleMail.com"}, "email_google_sha256", "jane@googlemail.com"),
    ({"phone": "+44 (0)20 7946 0958"}, "phone_sha256", "+442079460958"),
    ({"phone": "00359 88 123 4567"}, "phone_sha256", "+359881234567"),
    ({"phone": "088 123 4567", "country": "bg"}, "phone_sha256", "+359881234567"),
    ({"phone": "+1234567890"}, "phone_sha256", "+1234567890"),
    ({"state": "California"}, "state_sha256", "ca"),
    ({"state": "Ontario", "country": "CA"}, "state_sha256", "on"),
    ({"state": "New South Wales", "country": "AU"}, "state_sha256", "newsouthwales"),
    ({"state": "Georgia", "country": "DE"}, "state_sha256", "georgia"),
    ({"postal_code": "94103-1234"}, "postal_code_full_sha256", "941031234"),
    ({"street": "1 Main St. #4"}, "street_sha256", "1 main st 4"),
    ({"date_of_birth": "1990/04/15"}, "date_of_birth_sha256", "19900415"),
    ({"date_of_birth": "19900415"}, "date_of_birth_sha256", "19900415"),
    ({"date_of_birth": "1990-04-15T00:00:00Z"}, "date_of_birth_sha256", "19900415"),
    ({"gender": "Female"}, "gender_sha256", "f"),
    ({"external_id": " CUST-0042 "}, "external_id_sha256", "CUST-0042"),
    ({"external_id": " CUST-0042 "}, "external_id_lower_sha256", "cust-0042"),
    ({"user_id": " CUST-0042 "}, "external_id_lower_sha256", "cust-0042"),
]

UNUSABLE = [
    ("email", ["jane", "[email protected]", "@example.com", "jane@", "jane@example", "a@b@c.com", "Jane <jane@x.com>", "a@b.", "none"]),
    ("phone", ["+0000000000", "+123456", "+1234567890123456", "4155550123", "hello", "+", "0000000000", "+1-800-FLOWERS", "+٣٣٣٣٣٣٣٣"]),
    ("country", ["United States", "USA", "zz", "1"]),
    ("postal_code", ["-", "1"]),
    ("date_of_birth", ["1990-02-30", "15/04/1990", "yesterday", "0001-01-01", "99999999"]),
    ("gender", ["x", "unknown"]),
    ("first_name", ["---", "."]),
    ("city", ["123", "-"]),
    ("state", ["12", "'"]),
    ("street", ["#"]),
    ("client_ip_address", ["256.1.1.1", "1.2.3", "1.2.3.4:80", "fe80::1%eth0", "localhost", "01.2.3.4", "1.2.3.4, 5.6.7.8"]),
    ("email", ["x" * 2000 + "@example.com"]),
    ("client_user_agent", ["x" * 2000]),
    ("user_id", ["x" * 257]),
]  # fmt: skip


@pytest.mark.parametrize(("page", "sent", "name", "expected"), EXAMPLES)
def test_a_pages_worked_example_gives_its_hash(page: str, sent: dict[str, str], name: str, expected: str) -> None:
    assert identify(RawUser(**sent), None, [], keep_email=False).hashed[name] == expected


@pytest.mark.parametrize(("sent", "name", "text"), NORMALISED)
def test_a_pages_rule_gives_its_text(sent: dict[str, str], name: str, text: str) -> None:
    hashed = identify(RawUser(**sent), None, [], keep_email=False).hashed
    assert hashed[name] == sha256(text.encode()).hexdigest()
    assert hashed.keys() <= HASHED


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in UNUSABLE for value in values])
def test_an_unusable_value_is_dropped_alone_with_a_note_that_does_not_hold_it(field: str, value: str) -> None:
    notes: list[str] = []
    found = identify(RawUser(**{"last_name": "Doe", field: value}), None, notes, keep_email=True)
    assert set(found.hashed) == {"last_name_sha256", "last_name_nospace_sha256", "last_name_google_sha256"}
    assert not found.readable
    assert len(notes) == 1
    assert notes[0].startswith(f"user_data.{field}: ")
    assert len(value) < 2 or value not in notes[0]


def test_every_hashed_identifier_is_made_from_some_field() -> None:
    everything = RawUser(
        email="a@b.co", phone="+14155550123", first_name="a", last_name="b", date_of_birth="19900415", gender="f", street="s",
        city="c", state="s", postal_code="94103", country="us", external_id="e",
    )  # fmt: skip
    assert identify(everything, None, [], keep_email=False).hashed.keys() == HASHED
