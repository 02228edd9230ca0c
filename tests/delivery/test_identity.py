"""What the visitors that an event is joined with may give it, and what holds of their consent."""

from datetime import timedelta
from hashlib import sha256
from itertools import permutations

import msgspec
import pytest

from postback import visitors
from postback.event import Consent, RawUser
from postback.pii.identify import identify
from tests.delivery.delivering import Hub
from tests.delivery.test_prepare import EVENT, NOW, Place, destination

JANE, BOB = "a" * 64, "b" * 64
EMAIL, GOOGLE, NODOTS = "email_sha256", "email_google_sha256", "email_nodots_sha256"
PHONE, DIGITS, NAME = "phone_sha256", "phone_digits_sha256", "first_name_sha256"


@pytest.fixture
def place(hub: Hub) -> Place:
    return Place(hub)


@pytest.mark.parametrize(("ahead", "withdrawn", "holds"), [(0, -1, True), (0, 1, False), (240, 1, False)])
async def test_a_grant_that_is_dated_ahead_is_as_old_as_its_arrival(
    place: Place, ahead: int, withdrawn: int, holds: bool
) -> None:
    denial = visitors.as_identifiers({}, Consent(ad_user_data=False))
    await place.saw("v1", denial, at=NOW + timedelta(seconds=withdrawn))
    event = msgspec.structs.replace(
        EVENT, visitor_id="v1", consent=Consent(ad_user_data=True), occurred_at=NOW + timedelta(seconds=ahead)
    )
    assert (await place.joined(event)).consent == Consent(ad_user_data=holds)


@pytest.mark.parametrize(
    ("seen", "sent", "filled"),
    [
        # Another person: nothing of hers.
        ({EMAIL: JANE, GOOGLE: JANE, NODOTS: JANE, PHONE: JANE}, {GOOGLE: BOB}, set()),
        ({EMAIL: JANE, GOOGLE: JANE, NODOTS: JANE, PHONE: JANE}, {NODOTS: BOB}, set()),
        ({GOOGLE: JANE, PHONE: JANE}, {EMAIL: BOB, GOOGLE: BOB, NODOTS: BOB}, set()),
        ({"external_id_lower_sha256": JANE, NAME: JANE}, {"external_id_lower_sha256": BOB}, set()),
        # Whose the email is cannot be told.
        ({EMAIL: JANE, NODOTS: JANE, PHONE: JANE}, {GOOGLE: BOB}, {PHONE}),
        # A phone is no proof of a person; one is not mixed with another.
        ({PHONE: JANE, DIGITS: JANE, NAME: JANE}, {PHONE: BOB}, {NAME}),
        ({PHONE: JANE, DIGITS: JANE, NAME: JANE}, {DIGITS: BOB}, {NAME}),
        ({NAME: JANE, "first_name_google_sha256": JANE}, {NAME: BOB}, set()),
        # The same person.
        ({EMAIL: JANE, GOOGLE: JANE, NODOTS: JANE, PHONE: JANE}, {GOOGLE: JANE}, {EMAIL, NODOTS, PHONE}),
        ({PHONE: JANE, DIGITS: JANE}, {DIGITS: JANE}, {PHONE}),
        ({EMAIL: JANE, GOOGLE: JANE, NODOTS: JANE}, {PHONE: BOB}, {EMAIL, GOOGLE, NODOTS}),
    ],
)
async def test_the_variants_of_a_field_are_of_one_person(
    place: Place, seen: dict[str, str], sent: dict[str, str], filled: set[str]
) -> None:
    await place.saw("v1", seen)
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", user=sent))
    assert joined.user == {name: seen[name] for name in filled} | sent


async def test_the_variants_of_a_field_are_of_one_visitor_where_several_are_joined(place: Place) -> None:
    session = (("session", "s1"),)
    await place.saw("v1", {EMAIL: JANE, GOOGLE: JANE, PHONE: JANE}, links=session)
    await place.saw("v2", {EMAIL: BOB, NODOTS: BOB}, links=session, at=NOW + timedelta(seconds=1))
    event = msgspec.structs.replace(EVENT, session_id="s1")
    assert (await place.joined(event)).user == {EMAIL: BOB, NODOTS: BOB}
    # Of several ways the first.
    await place.saw("v3", {GOOGLE: JANE, DIGITS: BOB})
    event = msgspec.structs.replace(event, visitor_id="v3")
    assert (await place.joined(event)).user == {GOOGLE: JANE, DIGITS: BOB}


async def test_the_variants_that_a_visitor_gives_were_seen_together(place: Place) -> None:
    jane = dict.fromkeys((EMAIL, GOOGLE, NODOTS), JANE)
    await place.saw("v1", jane, at=NOW - timedelta(minutes=3))
    await place.saw("v1", {GOOGLE: JANE}, at=NOW - timedelta(minutes=2))
    event = msgspec.structs.replace(EVENT, visitor_id="v1")
    assert (await place.joined(event)).user == jane
    # Hers of this name is gone; the others are not his.
    await place.saw("v1", {GOOGLE: BOB}, at=NOW - timedelta(minutes=1))
    for user in ({}, {GOOGLE: BOB}):
        assert (await place.joined(msgspec.structs.replace(event, user=user))).user == {GOOGLE: BOB}
    assert (await place.joined(msgspec.structs.replace(event, user={EMAIL: JANE}))).user == {EMAIL: JANE, NODOTS: JANE}


@pytest.mark.parametrize("is_sent_again", [False, True])
async def test_who_was_named_in_a_browser_before_gives_nothing_to_who_is_now(place: Place, is_sent_again: bool) -> None:
    to = destination(identifiers=frozenset({"city"}))
    await place.saw(
        "v1", {EMAIL: JANE, PHONE: JANE, "fbp": "p"}, at=NOW - timedelta(minutes=9), links=(("email", JANE),),
        readable={"city": "Sofia"},
    )  # fmt: skip
    await place.saw("v1", {EMAIL: BOB} | ({NAME: BOB} if is_sent_again else {}), links=(("email", BOB),))
    event = msgspec.structs.replace(EVENT, visitor_id="v1", user={EMAIL: BOB})
    joined = await place.joined(event, to)
    assert joined.user == {EMAIL: BOB} | ({NAME: BOB} if is_sent_again else {})
    assert (joined.click_ids, joined.readable) == ({"fbp": "p"}, {})
    # Neither to what names nobody.
    assert PHONE not in (await place.joined(msgspec.structs.replace(event, user={}), to)).user
    await place.saw("v1", {EMAIL: JANE}, at=NOW + timedelta(minutes=1), links=(("email", JANE),))
    assert (await place.joined(msgspec.structs.replace(event, user={EMAIL: JANE}), to)).user == {EMAIL: JANE}


async def test_who_is_alone_in_a_browser_gives_what_was_said_before_the_name(place: Place) -> None:
    await place.saw(
        "v1", {PHONE: JANE}, at=NOW - timedelta(days=3), links=(("phone", JANE),), readable={"city": "Sofia"}
    )
    await place.saw("v1", {EMAIL: JANE}, at=NOW - timedelta(days=2), links=(("email", JANE),))
    await place.saw("v1", {"external_id_sha256": JANE}, at=NOW - timedelta(days=1), links=(("external_id", JANE),))
    event = msgspec.structs.replace(EVENT, visitor_id="v1", user={EMAIL: JANE})
    joined = await place.joined(event, destination(identifiers=frozenset({"city"})))
    assert joined.user == {EMAIL: JANE, PHONE: JANE, "external_id_sha256": JANE}
    assert joined.readable == {"city": "Sofia"}


def said(**user: str) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """Hashes and links of what somebody sent."""
    found = identify(RawUser(**user), None, [], keep_email=False)
    return found.hashed, tuple((kind, digest) for kind, digest in found.links)


@pytest.mark.parametrize(("field", "text"), [("email", "jane.doe@corp.example"), ("external_id", "Cust-7")])
@pytest.mark.parametrize("hashed_by", ["nobody", "the browser", "the backend", "both"])
async def test_the_same_in_clear_and_as_a_hash_is_one_person(
    place: Place, field: str, text: str, hashed_by: str
) -> None:
    digest = sha256(text.encode()).hexdigest()
    seen, links = said(**{field: digest if hashed_by in ("the browser", "both") else text}, phone="+14155550123")
    await place.saw("v1", seen, links=links)
    own, _ = said(**{field: digest if hashed_by in ("the backend", "both") else text})
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", user=own))
    assert joined.user[PHONE] == seen[PHONE]


async def test_a_user_id_and_an_external_id_that_come_together_are_one_persons(place: Place) -> None:
    both = {"external_id": "cust-7", "user_id": "login-7"}
    for minutes, more in ((9, {"phone": "+14155550123"}), (8, {"email": "jane@x.example"})):
        hashed, links = said(**both, **more)
        await place.saw("v1", hashed, links=links, at=NOW - timedelta(minutes=minutes))
    assert PHONE in (await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1"))).user


async def test_who_comes_back_to_a_browser_gets_nothing_of_others_in_whatever_order_it_arrives(place: Place) -> None:
    facts = [({EMAIL: JANE}, JANE, 9), ({EMAIL: BOB, PHONE: BOB}, BOB, 6), ({EMAIL: JANE}, JANE, 3)]
    for n, order in enumerate(permutations(facts)):
        for hashes, who, minutes in order:
            at = NOW - timedelta(minutes=minutes)
            await place.saw(f"v{n}", hashes, links=(("email", who),), at=at)
        joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id=f"v{n}", user={EMAIL: JANE}))
        assert joined.user == {EMAIL: JANE}, order
