"""Erasure: what is the person's goes, what is another's stays, and what was counted stays counted."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from postback import tombstones, workspaces
from postback.db import Tx, buckets
from postback.db.trip import Trip
from postback.errors import Invalid
from postback.event import RawUser
from postback.privacy import erasing, erasures, receipt
from postback.privacy.people import Kind
from postback.visitors import links
from tests.intake.taking import scalar
from tests.privacy.erasable import Erasable, everything, forms

JANE = {"email": "Jane.Doe@gmail.com", "phone": "+14155550123", "external_id": "cust-7", "first_name": "Jane"}
EMAIL_HASH = hashlib.sha256(b"jane.doe@gmail.com").hexdigest()
PERSON = {
    "user": JANE | {"client_ip_address": "198.51.100.7", "user_id": "login-7"},
    "visitor_id": "v-jane",
    "session_id": "s-jane",
    "click_ids": {"fbclid": "jane-click"},
    "order_id": "order-of-jane",
    "url": "https://shop.example/jane-page",
    "properties": {"gift": "jane-note"},
}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "jane.doe@gmail.com"),
        ("email", "janedoe+news@gmail.com"),
        ("email", hashlib.sha256(b"jane.doe@gmail.com").hexdigest()),
        ("phone", "+1 415 555-0123"),
        ("phone", hashlib.sha256(b"14155550123").hexdigest()),
        ("external_id", "cust-7"),
        ("user_id", "cust-7"),
        ("user_id", "login-7"),
        ("external_id", "login-7"),
        ("visitor_id", "v-jane"),
    ],
)
async def test_a_person_is_erased_by_whatever_names_them(hub: Erasable, tx: Tx, kind: Kind, value: str) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    mine = await hub.put("event-of-jane", **PERSON, amount=Decimal(40), currency="EUR")
    other = await hub.put("o", {"email": "bob@x.example"}, visitor_id="v-bob", order_id="of-bob")
    before = (await hub.bodies())[str(other)]
    done = await hub.erase(kind, value)
    assert await hub.erased() == {str(mine)}
    assert (await hub.bodies())[str(other)] == before
    assert {name: done.removed[name] for name in ("events", "visitors", "deliveries_cancelled", "conversions")} == {
        "events": 1, "visitors": 1, "deliveries_cancelled": 1, "conversions": 2,
    }  # fmt: skip
    text = await everything(tx)
    hashed = [hashlib.sha256(v.encode()).hexdigest() for v in ("jane.doe@gmail.com", "+14155550123", "cust-7", "jane")]
    planted = ["v-jane", "s-jane", "jane-click", "order-of-jane", "jane-page", "jane-note", "event-of-jane", *hashed]
    assert not [needle for needle in planted for form in forms(needle) if form in text]
    assert "v-bob" in text or b"v-bob".hex() in text


async def test_what_is_counted_stays_as_it_was(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON, amount=Decimal(40), currency="EUR")
    counts = "SELECT array_agg((writer, hour, destination_id, n)::text ORDER BY 1) FROM usage"
    worth = "SELECT array_agg((id, goal_id, order_key, value, currency, occurred_at)::text ORDER BY id) FROM conversion"
    before = [await scalar(tx, query) for query in (counts, worth)]
    assert await hub.erase("email", JANE["email"])
    assert [await scalar(tx, query) for query in (counts, worth)] == before
    assert await hub.fates() == [("skipped", "erased")]
    assert await hub.is_balanced(hub.destination)
    body = next(iter((await hub.bodies()).values()))
    assert (body["name"], body["value"]["amount"]) == ("purchase", "40.00")


async def test_an_order_goes_on_after_its_person_was_erased(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.submit([await hub.order("completed", visitor_id="v1", user=None)])
    await hub.erase("visitor_id", "v1")
    assert await scalar(tx, "SELECT order_id FROM orders") == "erased"
    await hub.submit([await hub.order("refunded")])
    assert (await hub.read_order()).status == "refunded"
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


async def test_what_the_person_is_named_by_beside_is_theirs_too(hub: Erasable) -> None:
    email, phone, account = {"email": "a@x.example"}, {"phone": "+14155550100"}, {"external_id": "acc"}
    theirs = [
        await hub.put("view", visitor_id="v1", session_id="s1"),
        await hub.put("by-session", session_id="s1", dialect="selektable"),
        await hub.put("signup", email, visitor_id="v1"),
        await hub.put("call", email | phone),
        await hub.put("by-phone", phone),
        await hub.put("login", account, visitor_id="v1"),
        await hub.put("by-account", account, visitor_id="v2"),
        await hub.put("other-browser", visitor_id="v2"),
    ]
    await hub.erase("email", "a@x.example")
    assert await hub.erased() == {str(id_) for id_ in theirs}


@pytest.mark.parametrize(
    "shared", [{"visitor_id": "family"}, {"user": {"phone": "+14155550100"}}, {"session_id": "kiosk"}]
)
async def test_who_shares_a_browser_or_a_phone_is_somebody_else(hub: Erasable, shared: dict[str, Any]) -> None:
    common = shared.get("user", {})
    fields = {name: value for name, value in shared.items() if name != "user"}
    mine = await hub.put("a", {"email": "a@x.example"} | common, **fields)
    await hub.put("b", {"email": "b@x.example"} | common, **fields)
    await hub.put("b2", {"email": "b@x.example"})
    await hub.erase("email", "a@x.example")
    assert await hub.erased() == {str(mine)}


async def test_what_many_share_leads_to_nobody(hub: Erasable) -> None:
    phone = {"phone": "+14155550100"}
    own = [await hub.put(f"c{n}", phone | {"email": f"c{n}@x.example"}) for n in range(12)]
    await hub.put("elsewhere", {"email": "c3@x.example"})
    done = await hub.erase("phone", phone["phone"])
    assert await hub.erased() == {str(id_) for id_ in own}
    assert done.receipt is not None
    assert '"shared":true' in done.receipt


async def test_rows_of_visitors_past_the_limit_of_a_link_lose_what_was_asked_for(hub: Erasable, tx: Tx) -> None:
    email = {"email": JANE["email"]}
    waiting = [await hub.pending(event_id=f"e{n}", user=RawUser(**email), visitor_id=f"v{n}") for n in range(53)]
    await hub.submit(waiting)
    await hub.put("mine", visitor_id="v0", click_ids={"gclid": "click"})
    done = await hub.erase("email", email["email"])
    assert done.receipt is not None
    assert '"visitors_narrowed":53' in done.receipt
    assert EMAIL_HASH not in await everything(tx)
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 53


async def test_a_late_event_of_what_they_did_before_does_not_bring_them_back(hub: Erasable, tx: Tx) -> None:
    goal = await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON)
    await hub.erase("email", JANE["email"])
    before = datetime.now(UTC) - timedelta(minutes=5)
    late = await hub.send(event_id="late", **_raw(PERSON), occurred_at=before, amount=Decimal(7), currency="EUR")
    assert (late.event_id, [(d.status, d.reason) for d in late.destinations]) == ("late", [("skipped", "erased")])
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 0
    assert await scalar(tx, "SELECT count(*) FROM link") == 0
    text = await everything(tx)
    assert not [needle for needle in ("v-jane", "order-of-jane", "late") for form in forms(needle) if form in text]
    assert (await hub.send(event_id="late", **_raw(PERSON), occurred_at=before)).duplicate
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
    waiting = await hub.pending(event_id="w", **_raw(PERSON))
    await hub.erase("email", JANE["email"])
    accepted = await hub.take(waiting)
    assert await hub.erased() == {str(UUID(bytes=accepted.id))}
    assert accepted.event_id == "w"


async def test_another_workspaces_person_is_not_touched(hub: Erasable) -> None:
    await hub.put("e1", **PERSON)
    theirs = Erasable(hub.pool, hub.dsn)
    theirs.vault = hub.vault
    await theirs.install()
    await theirs.erase("email", JANE["email"])
    assert await hub.erased() == set()
    late = await hub.put("late", **PERSON, occurred_at=datetime.now(UTC) - timedelta(hours=1))
    assert str(late) not in await hub.erased()


async def test_an_erasure_goes_on_where_it_was_stopped(hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "EXAMINED", 40)
    for n in range(30):
        await hub.put(f"e{n}", {"email": "a@x.example"}, visitor_id=f"v{n % 3}")
    asked = await hub.ask("email", "a@x.example")
    while not await hub.erased():
        await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))
    assert len(await hub.erased()) < 30
    state = (await erasures.read(tx, hub.workspace.id, asked.id)).state
    async with tx.transaction(force_rollback=True):
        await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))
    assert (await erasures.read(tx, hub.workspace.id, asked.id)).state == state
    done = await hub.finish(asked.id)
    assert len(await hub.erased()) == done.removed["events"] == 30
    assert not await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))


async def test_who_asks_again_while_it_runs_gets_the_same_one(hub: Erasable) -> None:
    first = await hub.ask("email", "A@x.example")
    assert (await hub.ask("email", "a@x.example")).id == first.id
    await hub.finish(first.id)
    assert (await hub.ask("email", "a@x.example")).id != first.id


async def test_who_asks_again_while_it_runs_is_erased_until_then(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", JANE, visitor_id="v1")
    first = await hub.ask("email", JANE["email"])
    for _ in range(5):  # past the first buckets
        await erasing.step(tx, first.id, hub.tools, datetime.now(UTC))
    between = await hub.put("e2", JANE, visitor_id="v1", click_ids={"gclid": "later-click"})
    second = await hub.ask("email", JANE["email"])
    assert second.id == first.id
    done = await hub.finish(first.id)
    assert str(between) in await hub.erased()
    assert (done.removed["events"], done.removed["visitors"]) == (2, 2)
    text = await everything(tx)
    assert not [form for form in (*forms("later-click"), *forms(EMAIL_HASH)) if form in text]


async def test_what_a_new_person_does_in_the_browser_between_rounds_stays(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="v1", click_ids={"gclid": "janes-first"})
    await hub.put("e2", JANE)
    await hub.put("e3", {"external_id": "cust-7"}, visitor_id="v2", click_ids={"gclid": "janes-second"})
    asked = await hub.ask("email", JANE["email"])
    for n in (1, 2):  # v2 is found to be hers on the way
        await hub.put(f"b{n}", {"email": "bob@x.example"}, visitor_id=f"v{n}", click_ids={"fbclid": f"bobs-{n}"})
    done = await hub.finish(asked.id)
    assert await hub.erased() == {id_ for id_, body in (await hub.bodies()).items() if "bobs" not in str(body)}
    rows = "SELECT id, identifiers->'fbclid'->>0, identifiers ? 'gclid', identifiers ? 'external_id_sha256' FROM visitor ORDER BY 1"
    assert await (await tx.execute(rows.encode())).fetchall() == [
        ("v1", "bobs-1", False, False),
        ("v2", "bobs-2", False, False),
    ]
    assert (done.removed["visitors"], done.removed["visitors_narrowed"]) == (1, 1)


async def test_an_erasure_that_stumbles_stops_no_other_persons(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await hub.ask("email", "a@x.example"), await hub.ask("email", "b@x.example")
    hold = erasures.hold

    async def stumble(tx: Tx, id: UUID) -> erasures.Erasure | None:
        if id == bad.id:
            raise psycopg.errors.DeadlockDetected
        return await hold(tx, id)

    monkeypatch.setattr(erasures, "hold", stumble)
    while (await erasures.read(tx, hub.workspace.id, good.id)).status == "running":
        assert await erasing.run(tx, [bad.id, good.id], hub.tools, datetime.now(UTC))


@pytest.mark.parametrize("waiting", ["a round", "who asks again"])
async def test_an_erasure_waits_for_a_change_of_the_workspace_before_it_locks_anything(
    hub: Erasable, tx: Tx, waiting: str
) -> None:
    await hub.put("e1", JANE)  # without a visitor: that the email is hers is found by the first round
    await hub.put("e2", {"email": JANE["email"]})
    asked = await hub.ask("phone", JANE["phone"])
    async with hub.pool.connection() as admin, admin.transaction():
        await workspaces.hold(admin, hub.workspace.id)
        waiter = asyncio.create_task(hub.finish(asked.id) if waiting == "a round" else hub.ask("phone", JANE["phone"]))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(5):
            while not await scalar(tx, waits):
                assert not waiter.done(), f"{waiting} does not wait for the workspace"
                await asyncio.sleep(0.01)
        await admin.execute("SET LOCAL lock_timeout = '50ms'")  # before a deadlock is found
        try:
            await erasures.hold(admin, asked.id)
        except psycopg.errors.LockNotAvailable:
            pytest.fail(f"{waiting} locked the erasure before the workspace: a deadlock with whoever changes both")
        await workspaces.bump(admin, hub.workspace.id)
    await waiter
    await hub.finish(asked.id)
    assert len(await hub.erased()) == 2


async def test_what_was_sent_is_blanked_and_what_is_under_way_is_never_written(hub: Erasable, tx: Tx) -> None:
    id_ = await hub.put("e1", **PERSON)
    sent = "INSERT INTO attempt VALUES (%s, %s, %s, %s, now(), %s, 'said jane', 200, 5, 'POST x', 'jane', 'jane')"
    key = (buckets.of_id(id_), id_, hub.destination)
    for n, outcome in ((1, "retry"), (2, None)):
        await tx.execute(sent, (*key, n, outcome))
    await hub.erase("email", JANE["email"])
    rows = await (await tx.execute("SELECT outcome, status, reason, head, request, response FROM attempt")).fetchall()
    assert sorted(rows) == [("retry", 200, None, None, None, None), ("unknown", 200, None, None, None, None)]
    assert await hub.fates() == [("skipped", erasing.PERHAPS)]


async def test_what_was_cancelled_is_looked_at_again_when_nothing_can_be_under_way(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    asked = await hub.ask("email", JANE["email"])
    tools = erasing.Tools(hub.vault.sealer, hub.vault.link_key, timedelta(seconds=60))
    now = datetime.now(UTC)
    while await erasing.step(tx, asked.id, tools, now):
        pass
    id_ = next(iter(await hub.bodies()))
    await tx.execute(
        "INSERT INTO attempt SELECT bucket, event_id, destination_id, 1, now(), NULL, NULL, NULL, NULL, 'h', 'jane', 'r'"
        "  FROM delivery WHERE event_id = %s", (id_,),
    )  # fmt: skip
    assert not await erasing.step(tx, asked.id, tools, now + timedelta(seconds=59))
    await erasing.step(tx, asked.id, tools, now + timedelta(seconds=61))
    assert await scalar(tx, "SELECT request FROM attempt") is None
    assert (await erasures.read(tx, hub.workspace.id, asked.id)).status == "done"


async def test_a_receipt_says_what_was_removed_and_names_nobody(hub: Erasable) -> None:
    await hub.put("e1", **PERSON)
    done = await hub.erase("email", JANE["email"])
    assert done.receipt is not None
    assert done.signature is not None
    shown = receipt.shown(hub.vault.link_key, done.receipt, done.signature)
    assert receipt.is_genuine(hub.vault.link_key, shown)
    assert '"events":1' in shown.text
    assert not [value for value in (*JANE.values(), "v-jane") if value.lower() in shown.text.lower()]
    assert hashlib.sha256(b"jane.doe@gmail.com").hexdigest() not in shown.text
    forged = receipt.Receipt(shown.text.replace('"events":1', '"events":2'), shown.signature, shown.public_key)
    assert not receipt.is_genuine(hub.vault.link_key, forged)
    assert not receipt.is_genuine(bytes(32), shown)


@pytest.mark.parametrize(("kind", "value"), [("email", "nobody"), ("phone", "12"), ("email", " "), ("visitor_id", "")])
async def test_what_is_no_identifier_is_refused(hub: Erasable, kind: Kind, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        await hub.ask(kind, value)
    assert refused.value.field == kind


async def test_an_export_holds_what_is_stored_and_what_is_sealed_opened(hub: Erasable) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON, amount=Decimal(40), currency="EUR")
    await hub.put("e2", {"phone": JANE["phone"]})
    await hub.put("o", {"email": "bob@x.example"})
    found = await hub.export("email", JANE["email"])
    first, second = sorted(found["events"], key=lambda one: one["id"])
    assert first["event"]["order"]["id"] == "order-of-jane"
    assert first["readable"]["client_ip_address"] == "198.51.100.7"
    assert [c["value"] for c in first["conversions"]] == [40, 40]
    assert [d["status"] for d in first["deliveries"]] == ["queued"]
    assert second["event"]["event_id"] == "e2"
    assert found["visitors"][0]["identifiers"]["fbclid"]["value"] == "jane-click"
    assert found["visitors"][0]["readable"]["user_id"] == "login-7"
    assert found["links"] >= 4
    await hub.erase("email", JANE["email"])
    assert await hub.export("email", JANE["email"]) == {"events": [], "visitors": [], "touches": [], "links": 0}


async def test_tombstones_keep_the_newest_erasure_and_outlive_the_trim(hub: Erasable, tx: Tx) -> None:
    first = await hub.erase("visitor_id", "v1")
    again = await hub.erase("visitor_id", "v1")
    stones = await tombstones.find(tx, [first.subject])
    assert stones[first.subject].is_seed
    assert stones[first.subject].erased_at > buckets.time_of(again.id) - timedelta(seconds=1)


def _raw(fields: dict[str, Any]) -> dict[str, Any]:
    from postback.event import RawUser

    return fields | {"user": RawUser(**fields["user"])}


async def test_what_brought_a_visitor_goes_and_whom_they_shared_with_keeps_theirs(hub: Erasable, tx: Tx) -> None:
    await hub.put("a", {"email": "a@x.example"}, visitor_id="tablet")
    await hub.put("b", {"email": "b@x.example"}, visitor_id="tablet")
    await hub.put("b2", {"email": "b@x.example"}, visitor_id="own")
    key = "SELECT visitor_key FROM event WHERE event_id = 'a'"
    tablet, own = [await scalar(tx, query) for query in (key, "SELECT visitor_key FROM event WHERE event_id = 'b2'")]
    for visitor_key in (tablet, own):
        assert isinstance(visitor_key, UUID)
        await tx.execute(
            "INSERT INTO touch (bucket, visitor_key, id, workspace_id, kind, at) VALUES (%s, %s, %s, %s, 'session', now())",
            (buckets.of_key(visitor_key.bytes), visitor_key, buckets.floor(datetime.now(UTC)), hub.workspace.id),
        )
    done = await hub.erase("email", "a@x.example")
    assert done.removed["touches"] == 1
    assert await scalar(tx, "SELECT array_agg(visitor_key) FROM touch") == [own]
    assert (
        await scalar(tx, f"SELECT count(*) FROM link WHERE visitor_key = '{tablet}' OR '{tablet}' = ANY (others)") == 0
    )
    assert await scalar(tx, "SELECT array_agg(DISTINCT visitor_key) FROM link WHERE kind = 'email'") == [own]
    assert await scalar(tx, "SELECT count(*) FROM link WHERE kind = 'alias'") == 0


async def test_a_visitor_proved_to_be_the_same_is_erased_too(hub: Erasable, tx: Tx) -> None:
    first = await hub.put("shop", visitor_id="v1")
    second = await hub.put("checkout", visitor_id="v2")
    keys = await (await tx.execute("SELECT visitor_key FROM event ORDER BY id")).fetchall()
    (a,), (b,) = keys
    trip = Trip(tx, set())
    links.record(trip, links.both_ways(a.bytes, b.bytes, b"via" * 6, "tag", datetime.now(UTC)), datetime.now(UTC))
    await trip.run()
    await hub.erase("visitor_id", "v1")
    assert await hub.erased() == {str(first), str(second)}
    assert await scalar(tx, "SELECT count(*) FROM link") == 0
