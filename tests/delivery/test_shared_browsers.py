"""What goes out with whose event, where several people used one browser."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
import pytest

from postback import visitors
from postback.db.trip import Trip
from postback.event import Consent
from postback.visitors import links
from tests.delivery.delivering import Hub
from tests.delivery.test_prepare import EVENT, NOW, Place, destination

JANE, BOB, WORK = "a" * 64, "b" * 64, "c" * 64
EMAIL, ID, PHONE, NAME = "email_sha256", "external_id_sha256", "phone_sha256", "first_name_sha256"
READABLE = destination(identifiers=frozenset({"city", "client_ip_address", "client_user_agent"}))
BY_EMAIL = {JANE: (("email", JANE),), BOB: (("email", BOB),)}


@pytest.fixture
def place(hub: Hub) -> Place:
    return Place(hub)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


async def prove(place: Place, a: str, b: str, email: str) -> None:
    """Two visitors are one person by an email, as a flush copies it to each."""
    keys = [visitors.key_of(place.workspace, id_) for id_ in (a, b)]
    trip = Trip(place.hub.tx, place.hub.prepared)
    links.record(trip, links.both_ways(*keys, place.link("email", email), "native", ago(8)), datetime.now(UTC))
    await trip.run()


async def test_an_order_of_his_gets_nothing_of_hers_though_she_came_back_by_another_name(place: Place) -> None:
    await place.saw(
        "v1", {EMAIL: JANE, ID: JANE, PHONE: JANE}, at=ago(9), links=(*BY_EMAIL[JANE], ("external_id", JANE)),
        readable={"city": "Sofia"},
    )  # fmt: skip
    await place.saw("v1", {EMAIL: BOB}, at=ago(6), links=BY_EMAIL[BOB])
    his = msgspec.structs.replace(EVENT, visitor_id="v1", user={EMAIL: BOB})
    joined = await place.joined(his, READABLE)
    assert (joined.user, joined.readable) == ({EMAIL: BOB}, {})
    await place.saw(
        "v1", {ID: JANE, PHONE: JANE, NAME: JANE}, at=ago(3), links=(("external_id", JANE),), readable={"city": "Sofia"}
    )
    joined = await place.joined(his, READABLE)
    assert (joined.user, joined.readable) == ({EMAIL: BOB}, {})
    # What bears the name that she came back by gets what was said since.
    hers = msgspec.structs.replace(his, user={ID: JANE})
    assert (await place.joined(hers, READABLE)).user == {ID: JANE, PHONE: JANE, NAME: JANE}


@pytest.mark.parametrize("user", [{}, {EMAIL: BOB}])
async def test_a_browser_that_she_shared_leads_nobody_else_to_her_own(place: Place, user: dict[str, str]) -> None:
    await place.saw("v1", {EMAIL: JANE}, at=ago(9), links=BY_EMAIL[JANE])
    await place.saw(
        "v2", {EMAIL: JANE, PHONE: JANE, NAME: JANE, "gclid": "hers", "fbp": "hers"}, at=ago(8), links=BY_EMAIL[JANE],
        device={"client_ip_address": "198.51.100.7"}, readable={"city": "Sofia"},
    )  # fmt: skip
    await prove(place, "v1", "v2", JANE)
    await place.saw("v1", {EMAIL: BOB}, at=ago(3), links=BY_EMAIL[BOB])
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", user=user), READABLE)
    assert (joined.user, joined.click_ids, joined.readable) == ({EMAIL: BOB}, {}, {})
    # To what bears her email it does, also without the browser's own name for it.
    hers = msgspec.structs.replace(EVENT, visitor_id="v1", user={EMAIL: JANE})
    assert (await place.joined(hers)).click_ids == {"gclid": "hers", "fbp": "hers"}


async def test_of_another_persons_own_browser_a_denial_counts_and_no_grant(place: Place) -> None:
    chosen = visitors.as_identifiers({}, Consent(analytics=True, ad_user_data=False))
    await place.saw("v1", {EMAIL: JANE}, at=ago(9), links=BY_EMAIL[JANE])
    await place.saw("v2", {EMAIL: JANE} | chosen, at=ago(1), links=BY_EMAIL[JANE])
    await prove(place, "v1", "v2", JANE)
    denied = visitors.as_identifiers({}, Consent(analytics=False))
    await place.saw("v1", {EMAIL: BOB} | denied, at=ago(3), links=BY_EMAIL[BOB])
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", user={EMAIL: BOB}))
    assert joined.consent == Consent(analytics=False, ad_user_data=False)


async def test_a_browser_found_by_her_email_gives_her_nothing_once_he_used_it(place: Place) -> None:
    await place.saw("v1", {EMAIL: JANE, PHONE: JANE}, at=ago(9), links=BY_EMAIL[JANE])
    await place.saw("v1", {EMAIL: BOB, "gclid": "his"}, at=ago(3), links=BY_EMAIL[BOB])
    joined = await place.joined(msgspec.structs.replace(EVENT, user={EMAIL: JANE}))
    assert (joined.user, joined.click_ids, joined.visitor_id) == ({EMAIL: JANE}, {}, None)


@pytest.mark.parametrize("user", [{}, {ID: JANE, EMAIL: WORK}, {ID: JANE}, {EMAIL: WORK}], ids=str)
async def test_who_changed_her_email_on_one_device_keeps_the_click_of_another(
    place: Place, user: dict[str, str]
) -> None:
    """Another email beside the same user id: the browser is hers, or may be; what is the browser's is given."""
    both = (*BY_EMAIL[JANE], ("external_id", JANE))
    await place.saw("phone", {EMAIL: JANE, ID: JANE, PHONE: JANE, "gclid": "hers"}, at=ago(9), links=both)
    await place.saw("laptop", {EMAIL: JANE, ID: JANE}, at=ago(8), links=both)
    await prove(place, "phone", "laptop", JANE)
    await place.saw("laptop", {EMAIL: WORK, ID: JANE}, at=ago(3), links=(("email", WORK), ("external_id", JANE)))
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="laptop", user=user))
    is_told = ID in user or not user  # by the email alone the phone is not known to be hers
    assert joined.click_ids == ({"gclid": "hers"} if is_told else {})
    assert (PHONE in joined.user) == (user == {ID: JANE})
    by_link = await place.joined(msgspec.structs.replace(EVENT, user={ID: JANE, EMAIL: WORK}))
    assert by_link.click_ids == {"gclid": "hers"}


async def test_her_email_before_the_last_login_leads_to_the_browser_alone(place: Place) -> None:
    await place.saw("v1", {EMAIL: JANE, ID: JANE, "gclid": "hers"}, at=ago(9), links=BY_EMAIL[JANE])
    await place.saw("v1", {EMAIL: WORK, ID: JANE, PHONE: JANE}, at=ago(6), links=(("email", WORK),))
    await place.saw("v1", {ID: JANE}, at=ago(3), links=(("external_id", JANE),))
    joined = await place.joined(msgspec.structs.replace(EVENT, user={EMAIL: WORK}))
    assert (joined.click_ids, joined.user) == ({"gclid": "hers"}, {EMAIL: WORK})


async def test_what_was_seen_in_the_events_own_session_is_at_hand(place: Place) -> None:
    """One browser with two ids, the shop's and the checkout's, and an email in each."""
    session = ("session", "s1")
    await place.saw("shop", {EMAIL: JANE, "gclid": "hers"}, at=ago(9), links=(*BY_EMAIL[JANE], session))
    await place.saw("checkout", {}, at=ago(8), links=(session,))
    await prove(place, "shop", "checkout", JANE)
    order = msgspec.structs.replace(EVENT, visitor_id="checkout", session_id="s1", user={EMAIL: WORK})
    joined = await place.joined(order)
    assert (joined.click_ids, joined.user) == ({"gclid": "hers"}, {EMAIL: WORK})


@pytest.mark.parametrize("n", range(3))
async def test_her_own_visitor_is_told_whoever_is_found_first(place: Place, n: int) -> None:
    denied = visitors.as_identifiers({}, Consent(ad_personalization=False))
    await place.saw(f"shared {n}", {EMAIL: JANE}, at=ago(9), links=BY_EMAIL[JANE])
    await place.saw(f"shared {n}", {EMAIL: BOB} | denied, at=ago(6), links=BY_EMAIL[BOB])
    await place.saw(f"own {n}", {EMAIL: JANE, "gclid": "hers"}, at=ago(5), links=BY_EMAIL[JANE])
    joined = await place.joined(msgspec.structs.replace(EVENT, user={EMAIL: JANE}))
    assert (joined.visitor_id, joined.click_ids) == (f"own {n}", {"gclid": "hers"})
    assert joined.consent == Consent(ad_personalization=False)


async def test_two_people_are_hardly_ever_taken_for_one(place: Place) -> None:
    taken = 0
    for n in range(2000):
        keys = [place.link("email", sha256(f"{who} {n}".encode()).hexdigest()) for who in ("jane", "bob")]
        bits = links.people([("email", keys[0])]) | links.people([("email", keys[1])])
        assert not links.has_others(links.people([("email", keys[1])]), [("email", keys[1])])
        taken += not links.has_others(bits, [("email", keys[1])])
    assert taken < 2000 / 200  # about one of a thousand
