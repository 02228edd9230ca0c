"""What a connector sees of an event: the event, and what its visitor adds."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from postback import destinations, visitors
from postback.blueprint import Blueprint
from postback.connectors import Failed, Item, Retry, Skipped
from postback.db import buckets
from postback.db.trip import Trip
from postback.delivery import prepare
from postback.destinations import Destination
from postback.event import Consent, Event, JoinedEvent, Order, Page
from postback.pii import link_key
from postback.queue.sending import StoredEvent
from postback.visitors import Seen
from tests.delivery.delivering import FOR_TESTS, Hub

NOW = datetime.now(UTC).replace(microsecond=0)
EVENT = Event(event_id="e1", name="lead", source_name="lead", occurred_at=NOW, dialect="native")


def destination(**changes: Any) -> Destination:
    connector = msgspec.structs.replace(FOR_TESTS["acme"], **changes)
    return Destination(UUID(int=1), UUID(int=2), connector, "default", "x", None, NOW)


class Place:
    """A workspace's visitors."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.keys = hub.vault
        self.workspace = hub.workspace.id

    def link(self, kind: str, value: str) -> bytes:
        return link_key(self.keys.link_key, self.workspace.bytes, kind, value)

    async def saw(
        self, visitor: str, identifiers: dict[str, str], *, at: datetime = NOW, readable: dict[str, str] | None = None,
        device: dict[str, str] | None = None, links: tuple[tuple[str, str], ...] = (), workspace: UUID | None = None,
    ) -> None:  # fmt: skip
        sealed, device_sealed = (
            self.keys.sealer.seal(msgspec.json.encode(one)) if one else None for one in (readable, device)
        )
        workspace = workspace or self.workspace
        key = visitors.key_of(self.workspace, visitor)
        trip = Trip(self.hub.tx, self.hub.prepared)
        seen = Seen(
            id=visitor, key=key, workspace_id=workspace, identifiers=identifiers, sealed=sealed, device=device_sealed, at=at,
            links=tuple((kind, self.link(kind, value)) for kind, value in links),
        )  # fmt: skip
        visitors.record(trip, [seen], datetime.now(UTC))
        await trip.run()

    def stored(self, event: Event, *, readable: dict[str, str] | None = None) -> StoredEvent:
        key = visitors.key_of(self.workspace, event.visitor_id) if event.visitor_id else None
        sealed = self.keys.sealer.seal(msgspec.json.encode(readable)) if readable else None
        id_ = buckets.new_id(NOW)
        return StoredEvent(id_.bytes, self.workspace.bytes, msgspec.json.encode(event), sealed, key)

    async def joined(self, event: Event, to: Destination | None = None, **more: Any) -> JoinedEvent:
        row = self.stored(event, **more)
        known = (await prepare.join(self.hub.tx, [row], self.keys))[row.id]
        assert known is not None
        return prepare.join_one(known, (to or destination()).connector, self.keys, NOW)


@pytest.fixture
def place(hub: Hub) -> Place:
    return Place(hub)


async def test_the_visitor_fills_gaps_and_what_was_sent_wins(place: Place) -> None:
    seen_at = NOW - timedelta(days=3)
    await place.saw("v1", {"email_sha256": "a" * 64, "fbclid": "click", "fbp": "theirs"}, at=seen_at)
    event = msgspec.structs.replace(EVENT, visitor_id="v1", click_ids={"fbp": "ours"})
    joined = await place.joined(event)
    assert joined.user == {"email_sha256": "a" * 64}
    assert joined.click_ids == {"fbp": "ours", "fbclid": "click"}
    assert joined.provenance == {"email_sha256": "visitor", "fbclid": "visitor"}
    assert joined.captured_at == {"fbclid": seen_at}


async def test_a_click_after_the_event_had_come_is_not_its(place: Place) -> None:
    clicks = {"gclid": "c", "fbclid": "c", "fbc": "fb.1.1.c"}
    event = msgspec.structs.replace(EVENT, visitor_id="v1")
    await place.saw("v1", clicks | {"fbp": "p"}, at=NOW + timedelta(seconds=5))
    assert (await place.joined(event)).click_ids == clicks | {"fbp": "p"}
    await place.saw("v1", {"gclid": "later", "fbp": "p2", "email_sha256": "a" * 64}, at=NOW + timedelta(seconds=15))
    joined = await place.joined(event)
    assert joined.click_ids == {"fbclid": "c", "fbc": "fb.1.1.c", "fbp": "p2"}
    assert joined.user == {"email_sha256": "a" * 64}
    # Of somebody who is proved to be the same, an earlier one is taken.
    hers = {"gclid": "earlier", "email_sha256": "a" * 64}
    await place.saw("v2", hers, at=NOW - timedelta(days=1), links=(("email", "a" * 64),))
    by_link = msgspec.structs.replace(EVENT, user={"email_sha256": "a" * 64})
    await place.saw("v1", {}, links=(("email", "a" * 64),))
    assert (await place.joined(by_link)).click_ids["gclid"] == "earlier"


async def test_a_click_id_that_the_visitor_brought_earlier_keeps_its_first_time(place: Place) -> None:
    seen_at = NOW - timedelta(days=3)
    await place.saw("v1", {"fbclid": "click"}, at=seen_at)
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", click_ids={"fbclid": "click"}))
    assert joined.captured_at == {"fbclid": seen_at}
    assert joined.provenance == {}


@pytest.mark.parametrize("name", ["email_sha256", "external_id_sha256"])
async def test_another_person_in_the_same_browser_gives_only_what_is_the_browsers(place: Place, name: str) -> None:
    jane, bob = "a" * 64, "b" * 64
    hashes = {name: jane, "phone_sha256": "c" * 64}
    await place.saw("v1", hashes | {"gclid": "click", "fbp": "p"}, readable={"city": "Sofia"})
    to = destination(identifiers=frozenset({"city"}))
    event = msgspec.structs.replace(EVENT, visitor_id="v1", user={name: bob})
    joined = await place.joined(event, to)
    assert (joined.user, joined.readable) == ({name: bob}, {})
    assert joined.click_ids == {"gclid": "click", "fbp": "p"}
    joined = await place.joined(msgspec.structs.replace(event, user={name: jane}), to)
    assert (joined.user, joined.readable) == (hashes, {"city": "Sofia"})
    joined = await place.joined(msgspec.structs.replace(event, user={"first_name_sha256": bob}))
    assert joined.user == hashes | {"first_name_sha256": bob}


async def test_who_is_linked_with_another_person_gives_hashes_only_where_it_bears_the_events_own(place: Place) -> None:
    jane, bob = "a" * 64, "b" * 64
    session = (("session", "s1"),)
    await place.saw("v1", {"email_sha256": jane})
    await place.saw("v2", {"phone_sha256": "c" * 64, "fbp": "p"}, links=session)
    event = msgspec.structs.replace(EVENT, visitor_id="v1", session_id="s1", user={"email_sha256": bob})
    joined = await place.joined(event)
    assert (joined.user, joined.click_ids) == ({"email_sha256": bob}, {"fbp": "p"})
    await place.saw("v3", {"email_sha256": bob, "last_name_sha256": "d" * 64}, links=session)
    assert (await place.joined(event)).user == {"email_sha256": bob, "last_name_sha256": "d" * 64}


async def test_without_a_visitor_id_the_session_comes_before_other_links(place: Place) -> None:
    email = "e" * 64
    await place.saw("by email", {"fbp": "wrong", "email_sha256": email}, links=(("email", email),))
    await place.saw("by session", {"fbp": "right"}, links=(("session", "s1"),))
    event = msgspec.structs.replace(EVENT, session_id="s1", user={"email_sha256": email})
    joined = await place.joined(event)
    assert joined.click_ids == {"fbp": "right"}
    assert joined.provenance == {"fbp": "session"}
    joined = await place.joined(msgspec.structs.replace(event, session_id="unknown"))
    assert joined.click_ids == {"fbp": "wrong"}
    assert joined.provenance == {"fbp": "link"}


async def test_velaros_visitor_is_a_session_or_else_a_visitor(place: Place) -> None:
    await place.saw("v1", {"fbp": "by session"}, links=(("session", "s1"),))
    await place.saw("v2", {"fbp": "by its own id"})
    velaro = msgspec.structs.replace(EVENT, dialect="velaro")
    joined = await place.joined(msgspec.structs.replace(velaro, session_id="s1"))
    assert (joined.click_ids, joined.provenance) == ({"fbp": "by session"}, {"fbp": "session"})
    joined = await place.joined(msgspec.structs.replace(velaro, session_id="v2"))
    assert (joined.click_ids, joined.provenance) == ({"fbp": "by its own id"}, {"fbp": "visitor"})
    assert not (await place.joined(msgspec.structs.replace(velaro, session_id="v3"))).click_ids
    assert not (await place.joined(msgspec.structs.replace(EVENT, session_id="v2"))).click_ids


@pytest.mark.parametrize("ms", [-249_843_241_213_760, 10**15, 0])
async def test_a_stored_time_that_cannot_be_is_not_told(place: Place, ms: int) -> None:
    await place.saw("v1", {"gclid": "c"})
    row = {"identifiers": f'{{"gclid": ["c", {ms}, {ms}, "tag"]}}'}
    await place.hub.tx.execute("UPDATE visitor SET identifiers = %(identifiers)s", row)
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1"))
    assert (joined.click_ids, joined.captured_at) == ({"gclid": "c"}, {})


async def test_a_visitors_experiments_go_along_and_the_events_own_win(place: Place) -> None:
    await place.saw("v1", visitors.as_identifiers({"1": "10", "2": "20"}))
    await place.saw("v1", visitors.as_identifiers({"1": "11"}), at=NOW + timedelta(minutes=1))
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1", experiments={"2": "21"}))
    assert joined.experiments == {"1": "11", "2": "21"}
    assert (joined.user, joined.click_ids) == ({}, {})


async def test_a_link_into_another_workspace_joins_nothing(place: Place) -> None:
    await place.saw("v1", {"fbp": "theirs"}, workspace=UUID(int=99))
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="v1"))
    assert joined.click_ids == {}


async def test_an_unknown_visitor_changes_nothing(place: Place) -> None:
    joined = await place.joined(msgspec.structs.replace(EVENT, visitor_id="nobody"))
    assert (joined.user, joined.click_ids, joined.provenance) == ({}, {}, {})


async def test_readable_identifiers_are_opened_only_where_the_connector_takes_one(place: Place) -> None:
    event, readable = msgspec.structs.replace(EVENT, visitor_id="v1"), {"client_ip_address": "203.0.113.1"}
    await place.saw("v1", {}, readable={"client_user_agent": "Firefox", "client_ip_address": "203.0.113.2"})
    joined = await place.joined(
        event, destination(identifiers=frozenset({"client_ip_address", "client_user_agent"})), readable=readable
    )
    assert joined.readable == {"client_ip_address": "203.0.113.1", "client_user_agent": "Firefox"}
    assert joined.provenance == {"client_user_agent": "visitor"}
    joined = await place.joined(event, destination(identifiers=frozenset({"fbp"})), readable=readable)
    assert joined.readable == {}


async def test_click_ids_past_the_platforms_age_are_dropped(place: Place) -> None:
    old, young = NOW - timedelta(days=91), NOW - timedelta(days=89)
    await place.saw("old", {"fbclid": "c"}, at=old)
    await place.saw("young", {"fbclid": "c"}, at=young)
    to = destination(click_id_ages={"fbclid": timedelta(days=90)})
    assert (await place.joined(msgspec.structs.replace(EVENT, visitor_id="old"), to)).click_ids == {}
    assert (await place.joined(msgspec.structs.replace(EVENT, visitor_id="young"), to)).click_ids == {"fbclid": "c"}
    sent = msgspec.structs.replace(EVENT, occurred_at=old, click_ids={"fbclid": "c", "fbp": "p"})
    assert (await place.joined(sent, to)).click_ids == {"fbp": "p"}


async def test_a_claim_needs_two_look_ups_however_many_events_it_has(place: Place) -> None:
    for n in range(20):
        await place.saw(f"v{n}", {"fbp": f"p{n}"}, links=(("session", f"s{n}"),))
    rows = [
        msgspec.structs.replace(
            place.stored(msgspec.structs.replace(EVENT, visitor_id=f"v{n}" if n % 2 else None, session_id=f"s{n}")),
            id=bytes([n]) * 16,
        )
        for n in range(20)
    ]
    known = await prepare.join(place.hub.tx, rows, place.keys)
    assert [one.visitor.identifiers["fbp"][0] for one in known.values() if one and one.visitor] == [
        f"p{n}" for n in range(20)
    ]


async def test_sealed_data_that_does_not_open_waits_for_its_key(place: Place) -> None:
    row = msgspec.structs.replace(place.stored(EVENT), sealed=b"\x00" * 60)
    known = (await prepare.join(place.hub.tx, [row], place.keys))[row.id]
    assert known is not None
    built = prepare.build(known, destination(), place.keys, NOW)
    assert isinstance(built, Retry)
    assert built.after_seconds


@pytest.mark.parametrize("when", ["sent", "later"])
async def test_an_address_does_not_tell_the_click_of_who_denied_advertising(place: Place, when: str) -> None:
    page = Page(url="https://shop.example/?a=1&gclid=G1&FBCLID=F1#top", referrer="https://x.example/?msclkid=M1")
    event = msgspec.structs.replace(EVENT, visitor_id="v1", page=page)
    assert (await place.joined(event)).page == page
    if when == "sent":
        event = msgspec.structs.replace(event, consent=Consent(ad_user_data=False))
    else:
        await place.saw("v1", visitors.as_identifiers({}, Consent(ad_user_data=False)), at=NOW + timedelta(seconds=1))
    assert (await place.joined(event)).page == Page(
        url="https://shop.example/?a=1&gclid=&FBCLID=#top", referrer="https://x.example/?msclkid="
    )


@pytest.mark.parametrize("when", ["sent", "later"])
@pytest.mark.parametrize(
    ("denied", "user", "click_ids", "readable"),
    [
        (
            {"ad_personalization"},
            {"email", "phone"},
            {"fbp", "gclid", "ga_client_id"},
            {"city", "state", "client_ip_address"},
        ),
        ({"ad_user_data"}, {"email"}, {"fbp", "ga_client_id"}, {"city", "client_ip_address"}),
        ({"analytics"}, {"email", "phone"}, {"fbp", "gclid"}, {"city", "state", "client_ip_address"}),
        ({"ad_user_data", "analytics"}, {"email"}, {"fbp"}, {"city"}),
    ],
)
async def test_a_visitor_gives_nothing_of_what_was_denied_and_what_the_event_was_sent_with_stays(
    place: Place, when: str, denied: set[str], user: set[str], click_ids: set[str], readable: set[str]
) -> None:
    known = {
        "email_sha256": "a" * 64,
        "phone_sha256": "b" * 64,
        "fbp": "theirs",
        "gclid": "click",
        "ga_client_id": "1.2",
    }
    await place.saw(
        "v1", known | {"experiment.e1": "v"}, readable={"state": "NY"}, device={"client_ip_address": "1.2.3.4"}
    )
    choice = Consent(**dict.fromkeys(denied, False))
    event = msgspec.structs.replace(
        EVENT, visitor_id="v1", user={"email_sha256": "a" * 64}, click_ids={"fbp": "ours"}, experiments={"own": "1"},
        consent=choice if when == "sent" else None,
    )  # fmt: skip
    if when == "later":
        await place.saw("v1", visitors.as_identifiers({}, choice), at=NOW + timedelta(seconds=1))
    to = destination(identifiers=frozenset({"city", "state", "client_ip_address"}))
    joined = await place.joined(event, to, readable={"city": "Sofia"})
    assert set(joined.user) == {f"{name}_sha256" for name in user}
    assert (set(joined.click_ids), set(joined.readable)) == (click_ids, readable)
    assert (joined.click_ids["fbp"], joined.readable["city"]) == ("ours", "Sofia")
    assert set(joined.experiments) == ({"own"} if "analytics" in denied else {"own", "e1"})


async def test_who_denied_to_be_measured_is_not_named_where_the_event_names_nobody(place: Place) -> None:
    await place.saw("v1", {"email_sha256": "a" * 64}, links=(("email", "a" * 64),))
    event = msgspec.structs.replace(EVENT, user={"email_sha256": "a" * 64})
    assert (await place.joined(event)).visitor_id == "v1"
    denial = visitors.as_identifiers({}, Consent(analytics=False))
    await place.saw("v1", denial, at=NOW + timedelta(seconds=1))
    assert (await place.joined(event)).visitor_id is None
    assert (await place.joined(msgspec.structs.replace(event, visitor_id="v1"))).visitor_id == "v1"


async def test_what_a_bot_sent_is_not_built(place: Place) -> None:
    row = place.stored(msgspec.structs.replace(EVENT, is_bot=True))
    known = (await prepare.join(place.hub.tx, [row], place.keys))[row.id]
    assert known is not None
    assert prepare.build(known, destination(), place.keys, NOW) == Skipped("bot: events of bots are not delivered")


async def test_what_is_too_old_or_denied_is_not_built(place: Place) -> None:
    row = place.stored(msgspec.structs.replace(EVENT, occurred_at=NOW - timedelta(hours=2)))
    known = (await prepare.join(place.hub.tx, [row], place.keys))[row.id]
    assert known is not None
    built = prepare.build(known, destination(max_age=lambda event: timedelta(hours=1)), place.keys, NOW)
    assert built == Failed("expired: Acme takes events up to 1 hours old", prepare.EXPIRED_FIX)


@pytest.mark.parametrize(
    ("groups", "sizes", "most", "packed"),
    [
        ([1, 1, 1, 1, 1], [0] * 5, 2, [[0, 1], [2, 3], [4]]),
        ([1, 2, 1, 2], [0] * 4, 9, [[0, 2], [1, 3]]),
        ([1, 1, 1], [60, 60, 20], 9, [[0], [1, 2]]),
        ([1], [999], 9, [[0]]),
        ([1, 1], [0, 0], 1, [[0], [1]]),
        ([], [], 9, []),
    ],
)
def test_items_of_one_group_share_a_request_up_to_its_counts_and_bytes(
    groups: list[int], sizes: list[int], most: int, packed: list[list[int]]
) -> None:
    items = [Item({}, group=group, size=size) for group, size in zip(groups, sizes, strict=True)]
    connector = msgspec.structs.replace(FOR_TESTS["acme"], max_bytes=100)
    assert sorted(prepare.groups(items, connector, most)) == packed


def ruled(*rules: dict[str, Any], **changes: Any) -> Destination:
    blueprint = msgspec.json.decode(msgspec.json.encode({"rules": rules}), type=Blueprint)
    to = destination(**changes)
    return msgspec.structs.replace(to, blueprint=destinations.compiled(to.connector, blueprint))


async def built(place: Place, event: Event, to: Destination) -> Any:
    row = place.stored(event)
    known = (await prepare.join(place.hub.tx, [row], place.keys))[row.id]
    assert known is not None
    return prepare.build(known, to, place.keys, NOW)


async def test_a_connector_sees_the_event_as_the_blueprint_makes_it(place: Place) -> None:
    to = ruled({"event": "lead", "to": "Sale", "constants": {"properties.x": 1}}, platform_names={"purchase": "Sale"})
    event, _ = await built(place, EVENT, to)
    assert (event.name, event.source_name, event.properties) == ("purchase", "Sale", {"x": 1})
    assert event.event_id == EVENT.event_id


async def test_a_filter_sees_what_the_visitor_added(place: Place) -> None:
    await place.saw("v1", {"fbp": "p"})
    to = ruled({"event": "lead", "filter": "'fbp' in identifiers"})
    event, _ = await built(place, msgspec.structs.replace(EVENT, visitor_id="v1"), to)
    assert event.click_ids == {"fbp": "p"}
    skipped = await built(place, EVENT, to)
    assert skipped == Skipped("not mapped: no filter of the blueprint holds for this lead")


async def test_the_age_limit_is_that_of_the_event_as_it_is_sent(place: Place) -> None:
    def max_age(event: Event) -> timedelta:
        return timedelta(hours=1 if event.name == "purchase" else 9)

    event = msgspec.structs.replace(EVENT, occurred_at=NOW - timedelta(hours=2))
    to = ruled({"event": "lead", "to": "purchase"}, max_age=max_age)
    assert isinstance(await built(place, event, to), Failed)


async def test_a_cancelled_order_under_another_name_is_no_new_conversion(place: Place) -> None:
    event = msgspec.structs.replace(EVENT, name="purchase", order=Order(id="o-1", status="cancelled"))
    skipped = await built(place, event, ruled({"event": "purchase", "to": "Lead"}, retracts=True))
    assert skipped == Skipped("no retraction: the blueprint sends it as Lead")
    taken_back, _ = await built(place, event, ruled({"event": "purchase"}, retracts=True))
    assert taken_back.order == event.order


async def test_whether_a_repeat_is_safe_is_asked_of_the_event_as_it_is_sent(place: Place) -> None:
    row = place.stored(msgspec.structs.replace(EVENT, name="purchase"))
    known = (await prepare.join(place.hub.tx, [row], place.keys))[row.id]
    assert known is not None
    once = {"repeat_is_safe": lambda event: event.name == "purchase", "dedup_window": timedelta(minutes=1)}
    then = NOW - timedelta(hours=1)
    assert prepare.is_repeatable(known, ruled({"event": "*"}, **once), then, NOW)
    assert not prepare.is_repeatable(known, ruled({"event": "*", "to": "lead"}, **once), then, NOW)
    only_joined = ruled({"event": "*", "filter": "'fbp' in identifiers"}, **once)
    assert not prepare.is_repeatable(known, only_joined, then, NOW)
    assert prepare.is_repeatable(known, only_joined, NOW, NOW)
