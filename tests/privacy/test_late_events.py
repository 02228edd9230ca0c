"""Events that come in after their person was erased, or while they are: what was done before stays gone, what is done afterwards is a new person's."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from postback import tombstones
from postback.db import Tx, buckets
from postback.event import RawBrowser, RawUser
from tests.intake.taking import scalar
from tests.privacy.erasable import EMAIL_HASH, JANE, PERSON, Erasable, everything, forms, raw


async def test_an_order_goes_on_after_its_person_was_erased(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.submit([await hub.order("completed", visitor_id="v1", user=None)])
    await hub.erase("visitor_id", "v1")
    assert await scalar(tx, "SELECT order_id FROM orders") == "erased"
    await hub.submit([await hub.order("refunded")])
    assert await scalar(tx, "SELECT status FROM orders") == "refunded"
    assert len({one.order_key for one in await hub.conversions()}) == 1


async def test_posts_of_an_erased_order_keep_its_number_nowhere(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Refunds", events=["refund"])
    order = {"order_id": "order-of-jane", "currency": "EUR"}
    await hub.put("e1", JANE, amount=Decimal(10), **order)
    posts = [await hub.put(f"r{n}", name="refund", amount=Decimal(3), **order) for n in range(3)]
    done = await hub.erase("email", JANE["email"])
    assert {str(id_) for id_ in posts} < await hub.erased()
    assert done.removed["events"] == 4
    text = await everything(tx)
    assert not [form for form in forms("order-of-jane") if form in text]
    assert await scalar(tx, "SELECT count(*) FROM conversion WHERE value IS NOT NULL") > 0


async def test_a_late_event_of_what_they_did_before_does_not_bring_them_back(hub: Erasable, tx: Tx) -> None:
    goal = await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON)
    await hub.erase("email", JANE["email"])
    before = datetime.now(UTC) - timedelta(minutes=5)
    late = await hub.send(event_id="late", **raw(PERSON), occurred_at=before, amount=Decimal(7), currency="EUR")
    assert (late.event_id, [(d.status, d.reason) for d in late.destinations]) == ("late", [("skipped", "erased")])
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 0
    assert await scalar(tx, "SELECT count(*) FROM link") == 0
    text = await everything(tx)
    assert not [needle for needle in ("v-jane", "order-of-jane", "late") for form in forms(needle) if form in text]
    assert (await hub.send(event_id="late", **raw(PERSON), occurred_at=before)).duplicate
    assert await hub.is_balanced(hub.destination)
    counted = [(c.goal_id, c.visitor_key, c.session_id) for c in await hub.conversions()]
    assert (goal.id, None, None) in counted


async def test_late_events_by_what_was_found_beside_are_stopped_too_but_not_another_persons(hub: Erasable) -> None:
    phone = {"phone": "+14155550100"}
    await hub.put("e1", {"email": "a@x.example"} | phone, visitor_id="v1")
    await hub.erase("email", "a@x.example")
    before = datetime.now(UTC) - timedelta(minutes=5)
    stopped = [await hub.put(f"l{n}", user, occurred_at=before, **more) for n, (user, more) in enumerate(
        [(phone, {}), (None, {"visitor_id": "v1"}), ({"email": "a@x.example"}, {})])]  # fmt: skip
    await hub.put("b", phone | {"email": "b@x.example"}, visitor_id="v1", occurred_at=before)
    assert {str(id_) for id_ in stopped} < await hub.erased()
    assert len(await hub.erased()) == 4


async def test_what_they_do_afterwards_is_a_new_persons(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    await hub.erase("email", JANE["email"])
    again = await hub.put("new", **PERSON | {"order_id": "another"})
    assert "erased" not in (await hub.bodies())[str(again)].get("notes", ())
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 1
    assert (await hub.fates())[-1] == ("queued", None)


async def test_an_event_that_waits_while_its_person_is_erased_is_judged_anew(hub: Erasable) -> None:
    waiting = await hub.pending(event_id="w", **raw(PERSON))
    await hub.erase("email", JANE["email"])
    accepted = await hub.take(waiting)
    assert await hub.erased() == {str(UUID(bytes=accepted.id))}
    assert accepted.event_id == "w"


async def test_tombstones_keep_the_newest_erasure_and_outlive_the_trim(hub: Erasable, tx: Tx) -> None:
    first = await hub.erase("visitor_id", "v1")
    again = await hub.erase("visitor_id", "v1")
    stones = await tombstones.find(tx, [first.subject])
    assert stones[first.subject].is_seed
    assert stones[first.subject].erased_at > buckets.time_of(again.id) - timedelta(seconds=1)


async def test_a_late_post_that_bears_only_an_erased_orders_number_is_kept_without_it(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Refunds", events=["refund"])
    order = {"order_id": "order-of-jane", "currency": "EUR"}
    await hub.put("e1", JANE, amount=Decimal(10), **order)
    await hub.erase("email", JANE["email"])
    before = datetime.now(UTC) - timedelta(minutes=5)
    late = await hub.put("r1", name="refund", amount=Decimal(3), occurred_at=before, **order)
    bobs = await hub.put(
        "r2", {"email": "bob@x.example"}, name="refund", amount=Decimal(3), occurred_at=before, **order
    )
    assert str(late) in await hub.erased()
    assert str(bobs) not in await hub.erased()
    assert (await hub.bodies())[str(late)].get("order", {}).get("id") is None
    assert await scalar(tx, "SELECT count(*) FROM orders") == 1
    assert await scalar(tx, f"SELECT count(*) FROM conversion WHERE event_id = '{late}'") == 1


async def test_a_repeat_that_bears_no_time_does_not_bring_them_back(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    before = datetime.now(UTC)
    await hub.erase("email", JANE["email"])
    await hub.put("late", **PERSON, occurred_at=before)
    for event_id in ("e1", "late"):
        assert (await hub.send(event_id=event_id, **raw(PERSON))).duplicate
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 0
    assert await scalar(tx, "SELECT count(*) FROM link") == 0
    text = await everything(tx)
    assert not [form for needle in ("v-jane", EMAIL_HASH) for form in forms(needle) if form in text]


async def test_a_repeat_does_not_bring_them_back_before_the_walk_has_come_by(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    asked = await hub.ask("email", JANE["email"])
    assert (await hub.send(event_id="e1", **raw(PERSON))).duplicate
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 0
    await hub.finish(asked.id)
    assert await scalar(tx, "SELECT count(*) FROM link") == 0


async def visit(hub: Erasable, event_ids: list[str], started_at: datetime, now: datetime, **fields: Any) -> None:
    """A batch of the tag."""
    ms = int(started_at.timestamp() * 1000)
    identifiers = {"gclid": ("jane-click", ms, ms), "fbp": ("fb.1.1.2", ms, int(now.timestamp() * 1000))}
    browser = RawBrowser(
        site_key=hub.site.site_key, visitor_id="v-jane", session_id="s-jane", sent_at=now, started_at=started_at,
        landing="https://shop.example/jane-page", utm={"source": "jane-news"}, identifiers=identifiers,
    )  # fmt: skip
    said = {"visitor_id": "v-jane", "session_id": "s-jane", "dialect": "tag", "name": "page_view", "browser": browser}
    await hub.submit([await hub.pending(event_id=id_, **said | fields) for id_ in event_ids])


@pytest.mark.parametrize("user", [None, {"user": RawUser(email="bob@x.example")}], ids=["nobody", "somebody else"])
async def test_what_the_browser_says_of_before_stays_gone(hub: Erasable, tx: Tx, user: dict[str, Any] | None) -> None:
    """It goes on with its session, and keeps its click ids."""
    started_at = datetime.now(UTC) - timedelta(minutes=10)
    await visit(hub, ["e1"], started_at, datetime.now(UTC), user=RawUser(email=JANE["email"]))
    assert await scalar(tx, "SELECT source FROM touch") == "jane-news"
    done = await hub.erase("email", JANE["email"])
    assert (done.removed["visitors"], done.removed["touches"]) == (1, 1)
    await asyncio.sleep(0.05)  # the writer's clock is as exact as its last flush
    since = datetime.now(UTC)
    await visit(hub, ["e2", "e3"], started_at, since, **(user or {}))
    assert len(await hub.erased()) == 1
    text = await everything(tx)
    assert not [needle for needle in ("jane-click", "jane-news", "jane-page") for form in forms(needle) if form in text]
    rows = "SELECT identifiers->'fbp'->>0, (identifiers->'fbp'->>1)::bigint FROM visitor"
    value, first_ms = (await (await tx.execute(rows.encode())).fetchall())[0]
    assert value == "fb.1.1.2"
    assert first_ms > started_at.timestamp() * 1000
    assert await scalar(tx, "SELECT count(*) FROM touch") == 0


async def test_a_session_that_begins_after_the_erasure_and_another_browsers_are_kept(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    before = datetime.now(UTC)
    await hub.erase("email", JANE["email"])
    await asyncio.sleep(0.05)
    now = datetime.now(UTC)
    await visit(hub, ["e2"], now, now)
    await visit(hub, ["e3"], before, now, visitor_id="v-bob", session_id="s-bob")
    assert await scalar(tx, "SELECT count(*) FROM touch") == 2
    assert await scalar(tx, "SELECT count(*) FROM visitor WHERE identifiers ? 'gclid'") == 2


@pytest.mark.parametrize("timed", [0, 1])
async def test_a_repeat_that_bears_no_time_does_not_bring_them_back_in_one_flush_with_the_late_one(
    hub: Erasable, tx: Tx, timed: int
) -> None:
    """Whichever of the two comes first."""
    await hub.put("e1", **PERSON)
    before = {"occurred_at": datetime.now(UTC)}
    await hub.erase("email", JANE["email"])
    both = [await hub.pending(event_id="late", **raw(PERSON), **(before if n == timed else {})) for n in (0, 1)]
    await hub.submit(both)
    assert [await scalar(tx, f"SELECT count(*) FROM {table}") for table in ("event", "visitor", "link")] == [2, 0, 0]
    text = await everything(tx)
    assert not [form for needle in ("v-jane", EMAIL_HASH, "late") for form in forms(needle) if form in text]


async def test_somebody_elses_event_of_the_same_id_stays_theirs(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    before = datetime.now(UTC)
    await hub.erase("email", JANE["email"])
    bobs = await hub.pending(event_id="late", user=RawUser(email="bob@x.example"), visitor_id="v-bob")
    await hub.submit([bobs, await hub.pending(event_id="late", **raw(PERSON), occurred_at=before)])
    assert str(UUID(bytes=bobs.id)) not in await hub.erased()
    assert await scalar(tx, "SELECT array_agg(id) FROM visitor") == ["v-bob"]


async def test_somebody_elses_repeat_shows_what_it_bears(hub: Erasable, tx: Tx) -> None:
    bob = {"email": "bob@x.example"}
    await hub.put("e1", **PERSON)
    await hub.put("e2", visitor_id="v-bob")
    await hub.erase("email", JANE["email"])
    await hub.put("e2", bob, visitor_id="v-bob")
    assert "email_sha256" in str(await scalar(tx, "SELECT identifiers FROM visitor"))
