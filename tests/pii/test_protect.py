import os
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.errors import Invalid
from postback.event import CLICK_IDS, HASHED, READABLE, Consent, Item, RawEvent, RawUser
from postback.money import Money
from postback.pii import Protected, Sealer, SiteFacts, protect, reveal

NOW = datetime(2026, 11, 20, 10, 15, 30, 250_000, tzinfo=UTC)
SITE = SiteFacts(site_id=UUID(int=7), country="US", currency="EUR")
SEAL = Sealer([b"k" * 32], os.urandom)
DIGEST = "0D645CC06EBA0A8C1387065BC50D982B9C0834959F0807CEEDF1178342A5ACD9"
JANE = "86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d"
NAMES = list(RawUser.__struct_fields__)


def protected(keep_email: bool = False, **fields: Any) -> Protected:
    raw = RawEvent(**({"name": "purchase", "dialect": "native", "event_id": "e-1"} | fields))
    before = msgspec.json.encode(raw)
    result = protect(raw, site=SITE, now=NOW, seal=SEAL, keep_email=keep_email)
    assert msgspec.json.encode(raw) == before, "the raw event was altered"
    return result


def readable(result: Protected) -> dict[str, str]:
    return reveal(result.sealed, SEAL) if result.sealed else {}


def refused_field(**fields: Any) -> str | None:
    with pytest.raises(Invalid) as refused:
        protected(**fields)
    return refused.value.field


def test_an_event_without_anything_is_an_event() -> None:
    result = protected(name="page_view", event_id=None)
    assert len(result.event.event_id) == 32
    assert result.event.occurred_at == NOW
    assert result.event.site_id == SITE.site_id
    assert (result.sealed, result.links, result.event.notes) == (None, [], ())


def test_an_event_without_id_gets_one_from_the_callers_source() -> None:
    raw = RawEvent(name="lead", dialect="native")
    assert protect(raw, site=SITE, now=NOW, seal=SEAL, new_id=lambda: "made").event.event_id == "made"


def test_an_alias_becomes_the_standard_name_and_the_name_as_sent_is_kept() -> None:
    event = protected(name="Order Completed").event
    assert (event.name, event.source_name) == ("purchase", "Order Completed")


@pytest.mark.parametrize("name", ["", " ", "x" * 101])
def test_a_name_that_is_empty_or_too_long_is_refused(name: str) -> None:
    assert refused_field(name=name) == "event"


@pytest.mark.parametrize("field", ["event_id", "order_id", "visitor_id", "session_id"])
@pytest.mark.parametrize("value", ["", "x" * 257])
def test_an_id_that_is_empty_or_too_long_is_refused_by_name(field: str, value: str) -> None:
    assert refused_field(**{field: value}) == field


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (NOW + timedelta(minutes=5), NOW + timedelta(minutes=5)),
        (NOW + timedelta(hours=24), NOW + timedelta(hours=24)),
        (NOW.astimezone(timezone(timedelta(hours=2))), NOW),
        (NOW.replace(tzinfo=None), NOW),
        (datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_kept_in_utc(sent: datetime, kept: datetime) -> None:
    event = protected(occurred_at=sent).event
    assert event.occurred_at == kept
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize(
    "sent",
    [
        NOW + timedelta(hours=24, seconds=1),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    ],
)
def test_a_time_of_another_age_is_refused(sent: datetime) -> None:
    assert refused_field(occurred_at=sent) == "occurred_at"


@pytest.mark.parametrize(
    ("amount", "currency", "value", "notes"),
    [
        ("249", "usd", Money(Decimal("249.00"), "USD"), 0),
        ("249.00", None, Money(Decimal("249.00"), "EUR"), 1),
        ("10.005", "EUR", Money(Decimal("10.01"), "EUR"), 1),
        (None, "EUR", None, 0),
    ],
)
def test_an_amount_becomes_money(amount: str | None, currency: str | None, value: Money | None, notes: int) -> None:
    event = protected(amount=Decimal(amount) if amount else None, currency=currency).event
    assert event.value == value
    assert len(event.notes) == notes


def test_an_unusable_amount_is_refused_by_name() -> None:
    assert refused_field(amount=Decimal(-1), currency="EUR") == "value"
    assert refused_field(amount=Decimal(1), currency="EURO") == "currency"
    assert refused_field(currency="EURO") == "currency"


def test_an_unknown_action_source_becomes_other_and_none_stays_none() -> None:
    assert protected(action_source=None).event.action_source is None
    assert protected(action_source="phone_call").event.action_source == "phone_call"
    event = protected(action_source="carrier_pigeon").event
    assert event.action_source == "other"
    assert "carrier_pigeon" not in event.notes[0]


@pytest.mark.parametrize("field", sorted(set(NAMES) - {"client_ip_address", "client_user_agent"}))
def test_a_hash_fills_every_variant_of_its_field_and_is_never_hashed_again(field: str) -> None:
    result = protected(user=RawUser(**{field: f" {DIGEST} "}))
    assert set(result.event.user.values()) == {DIGEST.lower()}
    name = "external_id" if field == "user_id" else field
    assert set(result.event.user) == {each for each in HASHED if each.startswith(f"{name}_")}
    assert result.event.notes == ()


def test_what_a_destination_needs_in_clear_is_sealed_and_nothing_else() -> None:
    everything = RawUser(
        email="Jane@Example.com", phone="+14155550123", first_name="Jane", last_name="Doe", date_of_birth="1990-04-15",
        gender="f", street="1 Main St", city="San Francisco", state="CA", postal_code="94103", country="us",
        external_id="ext-1", user_id="user-1", client_ip_address="203.0.113.7", client_user_agent="Mozilla/5.0",
    )  # fmt: skip
    result = protected(user=everything)
    assert readable(result) == {
        "city": "San Francisco",
        "state": "CA",
        "postal_code": "94103",
        "country": "US",
        "user_id": "user-1",
        "client_ip_address": "203.0.113.7",
        "client_user_agent": "Mozilla/5.0",
    }
    assert set(result.readable) == set(readable(result)) == READABLE - {"email"}
    assert result.event.user.keys() == HASHED
    assert readable(protected(keep_email=True, user=everything))["email"] == "Jane@Example.com"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("203.0.113.7", "203.0.113.7"), ("2001:DB8::1", "2001:db8::1"), ("::ffff:203.0.113.7", "203.0.113.7")],
)
def test_an_address_is_kept_in_its_usual_form(sent: str, kept: str) -> None:
    assert readable(protected(user=RawUser(client_ip_address=sent))) == {"client_ip_address": kept}


def test_links_tie_by_session_email_phone_and_own_ids() -> None:
    user = RawUser(email="jane.doe@example.com", phone="+14155550123", external_id="a", user_id="b")
    links = protected(user=user, session_id="s-1").links
    assert [kind for kind, _ in links] == ["email", "phone", "external_id", "external_id", "session"]
    assert ("email", JANE) in links
    assert ("session", "s-1") in links


def test_a_user_id_and_an_external_id_are_one_identifier() -> None:
    by_user = protected(user=RawUser(user_id="U-1"))
    by_external = protected(user=RawUser(external_id=" U-1 "))
    both = protected(user=RawUser(user_id="U-1", external_id="U-1"))
    assert by_user.links == by_external.links == both.links
    assert by_user.event.user == by_external.event.user


def test_a_phone_without_a_country_takes_the_users_then_the_sites() -> None:
    site = protected(user=RawUser(phone="(415) 555-0123")).event.user
    user = protected(user=RawUser(phone="030 901820", country="DE")).event.user
    plus = protected(user=RawUser(phone="+14155550123")).event.user
    assert site == plus
    assert user["phone_sha256"] == protected(user=RawUser(phone="+4930901820")).event.user["phone_sha256"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fbclid", "IwAR2Example_-"),
        ("fbc", "fb.1.1795190000000.IwAR2example"),
        ("fbc", "fb.1.1700000000000.AbC.AQIBAQIA"),
        ("fbp", "fb.1.1596403881668.1116446470"),
        ("gclid", "CjwKCAiA-EXAMPLE"),
        ("ttclid", "E.C.P.example"),
    ],
)
def test_a_click_id_is_kept_to_the_letter(name: str, value: str) -> None:
    event = protected(click_ids={name: value}).event
    assert event.click_ids == {name: value}
    assert event.notes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fbc", "IwAR2example"),
        ("fbc", "fb.1.x.IwAR"),
        ("fbc", "fb.1.1795190000000."),
        ("fbp", "fb.1.1596403881668"),
        ("fbp", "fb.1.1.2.3.4"),
        ("gclid", "x" * 1025),
        ("gclid", "a\nb"),
        ("gclid", "jane@example.com"),
        ("gclid", "jane%40example.com"),
        ("fbc", "fb.1.1795190000000.jane%2540example.com"),
        ("madeup", "x"),
    ],
)
def test_a_malformed_click_id_is_dropped_alone_with_a_note(name: str, value: str) -> None:
    event = protected(click_ids={name: value, "wbraid": "kept"}).event
    assert event.click_ids == {"wbraid": "kept"}
    assert len(event.notes) == 1
    assert value == "x" or value not in event.notes[0]


def test_ids_and_addresses_that_hold_an_email_keep_none_of_it() -> None:
    result = protected(
        event_id="jane@example.com",
        order_id="jane@example.com",
        visitor_id="jane@example.com",
        session_id="jane@example.com",
        url="https://x.example/?e=jane%40example.com",
        referrer="https://x.example/jane@example.com",
        items=(Item(product_id="p", name="Gift for jane@example.com"), Item(product_id="q")),
        user=RawUser(user_id="jane@example.com"),
    )
    assert b"jane" not in msgspec.json.encode(result.event)
    assert result.event.page is not None
    assert result.event.page.url == "https://x.example/?e=[email]"
    assert result.event.visitor_id == result.event.session_id == dict(result.links)["session"]
    assert readable(result) == {"user_id": result.event.visitor_id}
    assert len(result.event.notes) == 8


def test_experiments_that_are_long_or_hold_an_email_are_dropped_with_a_note() -> None:
    wrong = {"jane@example.com": "a", "1": "jane%40example.com", "2": "x" * 65, "x" * 65: "b"}
    event = protected(experiments=wrong | {"3": "kept @ 100%", "4": "x" * 64}).event
    assert event.experiments == {"3": "kept @ 100%", "4": "x" * 64}
    assert event.notes == ("experiments: 4 too long or of the form of an email address dropped",)


def test_an_event_has_at_most_50_experiments() -> None:
    event = protected(experiments={str(n): "v" for n in range(60)}).event
    assert list(event.experiments) == [str(n) for n in range(50)]
    assert event.notes == ("experiments: more than 50, 10 dropped",)


def test_what_is_not_personal_is_carried_over() -> None:
    consent = Consent(ad_user_data=False)
    event = protected(
        goal_id=12, consent=consent, experiments={"e": "v"}, properties={"a": 1}, is_test=True, notes=["from the dialect"],
        order_id="o-1", order_status="completed", items=(Item(product_id="p"),),
    ).event  # fmt: skip
    assert (event.goal_id, event.consent, event.experiments, event.is_test) == (12, consent, {"e": "v"}, True)
    assert event.properties == {"a": 1}
    assert event.notes == ("from the dialect",)
    assert event.order is not None
    assert (event.order.id, event.order.status, event.order.items) == ("o-1", "completed", (Item(product_id="p"),))


planted = st.text("abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=20)


@given(planted)
def test_no_planted_plaintext_is_left_in_what_is_stored(word: str) -> None:
    address = f"{word}@example.com"
    user = RawUser(**dict.fromkeys(NAMES, word))
    for who in (user, RawUser(email=address, user_id=address, external_id=address, first_name=address, city=address)):
        result = protected(
            user=who,
            url=f"https://x.example/{address}?m={word}%40example.com",
            referrer=f"https://x.example/?u={address}",
            properties={
                "mail": address,
                "email": address,
                "phone": word,
                "text": f"from {address}",
                "deep": [{"mail": address, "phone": word}],
                address: 1,
            },
            event_id=address, order_id=address, visitor_id=address, session_id=address, action_source=word,
            click_ids={word: word, "fbc": word, "gclid": address},
            items=(Item(name=address),),
        )  # fmt: skip
        assert word.encode() not in msgspec.json.encode(result.event)
        assert word.encode() not in (result.sealed or b"")
        assert word not in repr(result.links)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=80), max_size=6))
def test_no_value_of_a_user_ever_fails_the_event(fields: dict[str, str]) -> None:
    result = protected(user=RawUser(**fields))
    assert result.event.user.keys() <= HASHED
    assert all(len(digest) == 64 for digest in result.event.user.values())
    assert set(readable(result)) == set(result.readable) <= READABLE


@given(st.dictionaries(st.sampled_from(sorted(CLICK_IDS)), st.text(max_size=80), max_size=3))
def test_no_click_id_ever_fails_the_event(click_ids: dict[str, str]) -> None:
    assert protected(click_ids=click_ids).event.click_ids.items() <= click_ids.items()


keys = st.text("kq_ é", max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**37), 10**37)
    | st.text(st.characters(codec="utf-8", exclude_characters="@%"))
)
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@given(nested)
def test_properties_without_an_at_sign_are_kept_verbatim(value: Any) -> None:
    assert protected(properties={"x": value}).event.properties == {"x": value}


def test_a_stored_event_reads_back_as_it_was() -> None:
    event = protected(user=RawUser(email="jane@example.com"), amount=Decimal("1.5"), url="https://x.example/").event
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
