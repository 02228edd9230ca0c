"""Whose a conversion is, whatever came when: the same facts join the same, what was sent wins, no workspace learns of
another's, and what too many people share joins nobody."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postback import pii, visitors
from postback.connectors import catalog
from postback.delivery import prepare
from postback.dialects import Accepted
from postback.event import Consent, JoinedEvent, RawBrowser, RawUser
from postback.intake.judge import Judge
from postback.queue import sending
from postback.visitors import links
from tests.intake.taking import Hub

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
META = catalog()["meta"]
Fact = dict[str, Any]

who = st.sampled_from("ABC")
minute = st.integers(0, 30)
maybe = st.booleans()
person = st.sampled_from(["ann@example.com", "bob@example.com"])
views = st.fixed_dictionaries({"kind": st.just("view"), "who": who, "at": minute, "clicked": maybe, "asked": maybe})
names = st.fixed_dictionaries({"kind": st.just("identify"), "who": who, "at": minute, "email": person})
merges = st.fixed_dictionaries({"kind": st.just("merge"), "who": who, "other": who, "at": minute})
sales = st.fixed_dictionaries(
    {
        "kind": st.just("sale"), "who": who, "at": minute, "visitor": maybe, "session": maybe, "clicked": maybe,
        "email": st.none() | person,
    }
)  # fmt: skip
facts = st.lists(views | names | merges | sales, min_size=2, max_size=9)


class World:
    """One run of some facts; its ids are its own. Of two emails that were said at one time the greater hash stays:
    that is the same person's in every run."""

    def __init__(self, hub: Hub, mark: str) -> None:
        self.hub, self.mark = hub, mark
        while True:
            self.run = os.urandom(6).hex()
            ann, bob = (self.hashes(email) for email in ("ann@example.com", "bob@example.com"))
            if all(ann[name] < bob[name] for name in ann):
                break

    def hashes(self, email: str) -> dict[str, str]:
        named = _raw(f"{self.run}.{email}")
        return pii.protect(named, site=pii.SiteFacts(), now=START, seal=self.hub.vault.sealer).event.user

    def visitor(self, name: str) -> str:
        return f"{name}-{self.run}"

    def key(self, name: str) -> bytes:
        return visitors.key_of(self.hub.workspace.id, self.visitor(name))

    def link(self, kind: str, value: str) -> bytes:
        return pii.link_key(self.hub.vault.link_key, self.hub.workspace.id.bytes, kind, value)

    def raw(self, number: int, fact: Fact) -> Fact:
        at, own = START + timedelta(minutes=fact["at"]), fact["who"]
        raw: Fact = {
            "name": fact["kind"], "dialect": "tag", "occurred_at": at, "event_id": f"{self.run} {number}",
            "visitor_id": self.visitor(own), "session_id": f"s{self.visitor(own)}",
        }  # fmt: skip
        click = {"gclid": f"{self.mark}-{number}"}
        match fact["kind"]:
            case "view":
                ms = int(at.timestamp() * 1000)
                seen = {"gclid": (click["gclid"], ms, ms)} if fact["clicked"] else {}
                raw["browser"] = RawBrowser(site_key="", session_id=raw["session_id"], identifiers=seen)
                raw["consent"] = Consent(analytics=fact["clicked"]) if fact["asked"] else None
            case "identify":
                raw["user"] = RawUser(email=f"{self.run}.{fact['email']}")
            case "merge":
                via = self.link("token", f"{self.run} {number}")
                twin = (self.key(fact["other"]), via) if fact["other"] != own else None
                raw["browser"] = RawBrowser(site_key="", session_id=raw["session_id"], twin=twin)
            case _:
                raw |= {"name": "purchase", "dialect": "native", "click_ids": click if fact["clicked"] else None}
                raw["visitor_id"] = raw["visitor_id"] if fact["visitor"] else None
                raw["session_id"] = raw["session_id"] if fact["session"] else None
                raw["user"] = RawUser(email=f"{self.run}.{fact['email']}") if fact["email"] else None
        return raw

    async def live(self, arrivals: list[tuple[int, Fact]], *, at_once: bool) -> dict[int, JoinedEvent]:
        """The conversions by number, as they are delivered once all has arrived."""
        pending = [(number, fact, await self.hub.pending(**self.raw(number, fact))) for number, fact in arrivals]
        if at_once:
            await self.hub.submit([one for *_, one in pending])
        else:
            for *_, one in pending:
                await self.hub.submit([one])
        ids = {number: one.result.id for number, fact, one in pending
               if fact["kind"] == "sale" and isinstance(one.result, Accepted)}  # fmt: skip
        keys = self.hub.vault
        async with self.hub.pool.connection() as tx:
            stored = await sending.events(tx, list(ids.values())) if ids else {}
            known = await prepare.join(tx, list(stored.values()), keys)
        return {
            number: prepare.join_one(one, META, keys, datetime.now(UTC))
            for number, id_ in ids.items() if (one := known[id_]) is not None
        }  # fmt: skip

    def told(self, joined: JoinedEvent) -> Fact:
        return {
            "clicks": joined.click_ids, "captured": joined.captured_at, "from": joined.provenance,
            "consent": joined.consent, "emails": {name: digest != "" for name, digest in joined.user.items()},
            "who": self.whose(joined),
        }  # fmt: skip

    def whose(self, joined: JoinedEvent) -> str | None:
        """Which person's email it bears."""
        for text in ("ann@example.com", "bob@example.com"):
            if self.hashes(text)["email_sha256"] == joined.user.get("email_sha256"):
                return text
        return None


def _raw(email: str) -> Any:
    from postback.event import RawEvent

    return RawEvent(name="x", dialect="native", user=RawUser(email=email))


@pytest.fixture
async def other(hub: Hub) -> Hub:
    """Another workspace of the same installation."""
    made = Hub(hub.pool, hub.dsn)
    made.vault, made.directory, made.writer = hub.vault, hub.directory, hub.writer
    made.judge = hub.judge = Judge(hub.vault.sealer, hub.vault.link_key, lambda: os.urandom(16).hex())
    await made.install()
    return made


@given(facts=facts, order=st.randoms(use_true_random=False), at_once=maybe)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
async def test_the_same_facts_join_the_same_in_whatever_order_they_arrive(
    hub: Hub, other: Hub, facts: list[Fact], order: Any, at_once: bool
) -> None:
    numbered = list(enumerate(facts))
    first, second, foreign = World(hub, "own"), World(hub, "own"), World(other, "theirs")
    foreign.run = second.run
    shuffled = list(numbered)
    order.shuffle(shuffled)
    once = await first.live(numbered, at_once=at_once)
    await foreign.live(numbered, at_once=True)
    again = await second.live(shuffled, at_once=not at_once)
    assert once.keys() == again.keys()
    for number, joined in once.items():
        assert first.told(joined) == second.told(again[number])
        fact = facts[number]
        if fact["clicked"]:
            assert joined.click_ids["gclid"] == f"own-{number}"
            assert "gclid" not in joined.provenance
        if fact["email"]:
            assert first.whose(joined) == fact["email"]
        assert not any(value.startswith("theirs") for value in again[number].click_ids.values())


def sale(who: str = "A", **more: Any) -> Fact:
    return {
        "kind": "sale",
        "who": who,
        "at": 20,
        "visitor": True,
        "session": False,
        "clicked": False,
        "email": None,
    } | more


def view(who: str, at: int = 1) -> Fact:
    return {"kind": "view", "who": who, "at": at, "clicked": True, "asked": False}


def identify(who: str) -> Fact:
    return {"kind": "identify", "who": who, "at": 2, "email": "ann@example.com"}


async def joined(hub: Hub, *facts: Fact) -> JoinedEvent:
    """The only sale among them."""
    [one] = (await World(hub, "own").live(list(enumerate(facts)), at_once=False)).values()
    return one


JOINS: dict[str, tuple[list[Fact], str]] = {
    "by its own visitor": ([view("A")], "visitor"),
    "by a visitor that a pb_vid carried": ([view("B"), {"kind": "merge", "who": "A", "other": "B", "at": 2}], "visitor"),
    "by a visitor that it carried": ([view("B"), {"kind": "merge", "who": "B", "other": "A", "at": 2}], "visitor"),
    "by a visitor with the same email": ([view("B"), identify("B"), identify("A")], "visitor"),
    "by its session": ([view("A"), sale(visitor=False, session=True)], "session"),
    "by the session of a visitor that was carried": (
        [view("B"), {"kind": "merge", "who": "A", "other": "B", "at": 2}, sale(visitor=False, session=True)], "session",
    ),
    "by its email": ([view("A"), identify("A"), sale(visitor=False, email="ann@example.com")], "link"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "origin"), JOINS.values(), ids=JOINS)
async def test_a_conversion_is_joined(hub: Hub, facts: list[Fact], origin: str) -> None:
    one = await joined(hub, *facts, *([] if facts[-1]["kind"] == "sale" else [sale()]))
    assert one.click_ids == {"gclid": "own-0"}
    assert one.provenance["gclid"] == origin


async def test_who_is_one_person_is_committed_with_the_event_that_proves_it(hub: Hub) -> None:
    for number, who in enumerate("AB"):
        await hub.send(name="lead", event_id=f"e{number}", visitor_id=who, user=RawUser(email="ann@example.com"))
    async with hub.pool.connection() as tx:
        proved = await (await tx.execute("SELECT xmin::text FROM event WHERE event_id = 'e1'")).fetchall()
        copied = await (await tx.execute("SELECT xmin::text FROM link WHERE kind = 'alias'")).fetchall()
    assert copied == proved * 2


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_a_repeat_adds_reaches_the_visitor_and_the_first_events_delivery(hub: Hub, at_once: bool) -> None:
    both = [
        await hub.pending(event_id="o1", visitor_id="A", user=user) for user in (None, RawUser(email="ann@example.com"))
    ]
    for flush in [both] if at_once else [[one] for one in both]:
        await hub.submit(flush)
    first, again = (one.result for one in both)
    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert (again.id, again.duplicate) == (first.id, True)
    async with hub.pool.connection() as tx:
        stored = await sending.events(tx, [first.id])
        known = (await prepare.join(tx, list(stored.values()), hub.vault))[first.id]
        assert known is not None
        built = prepare.join_one(known, META, hub.vault, datetime.now(UTC))
        assert built.provenance["email_sha256"] == "visitor"
        kinds = await (await tx.execute("SELECT kind FROM link")).fetchall()
    assert ("email",) in kinds


async def test_two_visitors_of_one_person_keep_their_own_and_fill_each_others_gaps(hub: Hub) -> None:
    one = await joined(hub, view("A", 1), view("B", 9), identify("A"), identify("B"), sale("A"))
    assert one.click_ids == {"gclid": "own-0"}


@pytest.mark.parametrize(("count", "origin"), [(links.MOST_VISITORS, "link"), (links.MOST_VISITORS + 1, None)])
async def test_an_email_that_too_many_visitors_bear_joins_nobody(hub: Hub, count: int, origin: str | None) -> None:
    crowd = [fact for n in range(count) for fact in (view(f"v{n}"), identify(f"v{n}"))]
    sold = [sale(visitor=False, email="ann@example.com"), sale("v0")]
    by_email, by_visitor = (await World(hub, "own").live(list(enumerate([*crowd, *sold])), at_once=True)).values()
    assert by_email.provenance.get("gclid") == origin
    assert by_visitor.click_ids == {"gclid": "own-0"}


async def test_a_device_that_many_people_share_joins_only_what_names_it(hub: Hub) -> None:
    world = World(hub, "own")
    emails = [f"p{n}@example.com" for n in range(120)]
    kiosk = [{"kind": "identify", "who": "kiosk", "at": 2, "email": email} for email in emails]
    own = [view("kiosk"), *kiosk, {"kind": "identify", "who": "phone", "at": 3, "email": emails[7]}]
    sold = [sale("phone"), sale(visitor=False, email=emails[8]), sale("kiosk")]
    found = await world.live(list(enumerate([*own, *sold])), at_once=True)
    assert ["gclid" in one.click_ids for one in found.values()] == [False, False, True]


async def test_the_visitors_latest_choice_holds_and_the_events_denial_too(hub: Hub) -> None:
    world = World(hub, "own")

    def asked(at: int, may: bool) -> Fact:
        return {"kind": "view", "who": "A", "at": at, "clicked": may, "asked": True}

    for choices, expected in (
        ([asked(1, True), asked(5, False)], False),
        ([asked(5, False), asked(1, True)], False),
        ([asked(1, False), asked(5, True)], True),
        ([asked(5, False), asked(5, True)], False),
    ):
        world = World(hub, "own")
        [one] = (await world.live(list(enumerate([*choices, sale()])), at_once=True)).values()
        assert one.consent is not None
        assert one.consent.analytics is expected
