"""An erasure runs in rounds: it goes on where it was stopped, waits for changes, and ends when nothing can be under way."""

import asyncio
import hashlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from postback import workspaces
from postback.db import Tx
from postback.privacy import erasing, erasures
from postback.privacy.erasures import Erasure
from tests.intake.taking import scalar
from tests.privacy.erasable import EMAIL_HASH, JANE, PERSON, PHONE_HASH, Erasable, everything, forms


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


async def test_what_links_a_new_person_since_the_erasure_was_asked_for_stays(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", JANE, visitor_id="v1", session_id="s1")
    await hub.put("e2", {"email": JANE["email"]}, visitor_id="v2")
    asked = await hub.ask("email", JANE["email"])
    await hub.put("bobs", {"email": "bob@x.example"}, visitor_id="v1", session_id="s2")  # in her browser
    await hub.put("again", JANE, visitor_id="v9")  # herself, anew
    await hub.finish(asked.id)
    keys = dict(
        await (await tx.execute("SELECT event_id, visitor_key FROM event WHERE visitor_key IS NOT NULL")).fetchall()
    )
    assert keys.keys() == {"bobs", "again"}
    rows = await (await tx.execute("SELECT kind, visitor_key, others FROM link ORDER BY kind")).fetchall()
    assert sorted(rows) == sorted([
        ("email", keys["bobs"], None), ("session", keys["bobs"], None),
        ("email", keys["again"], None), ("external_id", keys["again"], None), ("phone", keys["again"], None),
    ])  # fmt: skip


async def test_what_her_phone_was_lent_to_leaves_the_log_when_nothing_can_be_under_way(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent before: the order of a visitor who bore her phone and no name, and that of another with it beside hers."""
    monkeypatch.setattr(erasing, "LOGS_EXAMINED", 1)
    phone, bob = {"phone": JANE["phone"]}, {"email": "bob@x.example"}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone, visitor_id="v2")
    await hub.put("n3", phone, visitor_id="v3")
    lent = [await hub.put("o2", visitor_id="v2"), await hub.put("o3", bob, visitor_id="v3")]
    other = await hub.put("o4", bob, visitor_id="v4")
    asked = await hub.ask("email", JANE["email"])
    tools = erasing.Tools(hub.vault.sealer, hub.vault.link_key, timedelta(seconds=60))
    now = datetime.now(UTC)
    while await erasing.step(tx, asked.id, tools, now):
        pass
    for id_, said in [(lent[0], PHONE_HASH), (lent[1], PHONE_HASH.upper()), (other, "ab" * 32)]:
        await tx.execute(
            "INSERT INTO attempt SELECT bucket, event_id, destination_id, 1, now(), 'delivered', NULL, 200, 5, 'POST x', %s, 'r'"
            "  FROM delivery WHERE event_id = %s", (f'{{"ph":["{said}"]}}'.encode(), id_),
        )  # fmt: skip
    assert not await erasing.step(tx, asked.id, tools, now + timedelta(seconds=59))
    while await erasing.step(tx, asked.id, tools, now + timedelta(seconds=61)):
        pass
    rows = await (await tx.execute("SELECT event_id, outcome, request IS NULL, response FROM attempt")).fetchall()
    assert sorted(rows) == [*((id_, "delivered", True, None) for id_ in lent), (other, "delivered", False, "r")]
    assert not [form for form in forms(PHONE_HASH) if form in await everything(tx)]
    done = await erasures.read(tx, hub.workspace.id, asked.id)
    assert (done.status, done.removed["attempts"]) == ("done", 2)
    assert not await hub.erased() & {str(id_) for id_ in (*lent, other)}


async def test_what_she_says_anew_stays_in_the_log(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", {"email": "bob@x.example"} | phone, visitor_id="v2")
    asked = await hub.ask("email", JANE["email"])
    anew = await hub.put("n3", phone, visitor_id="v9")
    await tx.execute(
        "INSERT INTO attempt SELECT bucket, event_id, destination_id, 1, now(), 'delivered', NULL, 200, 5, 'POST x', %s, 'r'"
        "  FROM delivery WHERE event_id = %s", (PHONE_HASH.encode(), anew),
    )  # fmt: skip
    done = await hub.finish(asked.id)
    assert done.removed["visitors_narrowed"] == 1
    assert await scalar(tx, "SELECT convert_from(request, 'UTF8') FROM attempt") == PHONE_HASH


async def sent(tx: Tx, event_id: UUID, said: str) -> None:
    """That a delivery went out with something."""
    await tx.execute(
        "INSERT INTO attempt SELECT bucket, event_id, destination_id, 1, now(), 'delivered', NULL, 200, 5, 'POST x', %s, 'r'"
        "  FROM delivery WHERE event_id = %s", (said.encode(), event_id),
    )  # fmt: skip


@pytest.mark.parametrize(
    "shared", [{"visitor_id": "v1"}, {"session_id": "s1"}, {"user": {"phone": JANE["phone"]}}], ids=str
)
async def test_what_the_persons_own_browser_lent_leaves_the_log(hub: Erasable, tx: Tx, shared: dict[str, Any]) -> None:
    """She named herself there last, so that nothing of the other is left in the row."""
    account_hash = hashlib.sha256(b"cust-7").hexdigest()
    account, phone = {"external_id": "cust-7"}, {"phone": JANE["phone"]}
    await hub.put("e1", account | phone, visitor_id="v1", session_id="s1")
    fields = shared | {"user": {"email": "bob@x.example"} | shared.get("user", {})}
    bob = await hub.put("b", **fields)
    await hub.put("e2", account | {"email": JANE["email"]}, visitor_id="v1")
    await sent(tx, bob, f"{account_hash} {PHONE_HASH}")
    done = await hub.erase("external_id", "cust-7")
    assert (done.removed["visitors"], str(bob) in await hub.erased()) == (1, False)
    assert await scalar(tx, "SELECT request FROM attempt") is None


async def test_what_her_browser_lent_while_the_erasure_ran_leaves_the_log(hub: Erasable, tx: Tx) -> None:
    """v2 is found to be hers on the way; until then it lends to who bears no name."""
    await hub.put("e1", JANE, visitor_id="v1")
    await hub.put("e2", {"external_id": "cust-7"}, visitor_id="v2")
    await hub.put("e3", {"email": JANE["email"]})
    asked = await hub.ask("email", JANE["email"])
    since = await hub.put("b", visitor_id="v2")
    await sent(tx, since, hashlib.sha256(b"cust-7").hexdigest())
    await hub.finish(asked.id)
    assert str(since) not in await hub.erased()
    assert await scalar(tx, "SELECT request FROM attempt") is None


async def test_the_log_is_not_read_where_nobody_else_was_seen(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON)
    await hub.put("o", {"email": "bob@x.example"}, visitor_id="v-bob")
    asked = await hub.ask("email", JANE["email"])
    while (state := (await erasures.look(tx, asked.id)).state) is not None:
        assert state.lent_at is None
        await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))


@pytest.mark.parametrize("beside", [None, {"email": "bob@x.example"}], ids=["no name", "another's name"])
async def test_the_log_is_read_for_a_row_of_others_that_bore_her_phone(
    hub: Erasable, tx: Tx, beside: dict[str, str] | None
) -> None:
    """Alone: no event of theirs shares anything with her but the row."""
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone, visitor_id="v2")
    lent = await hub.put("o2", beside, visitor_id="v2")
    await sent(tx, lent, PHONE_HASH)
    await hub.erase("email", JANE["email"])
    assert str(lent) not in await hub.erased()
    assert await scalar(tx, "SELECT request FROM attempt") is None


async def test_what_was_lent_is_waited_for_where_nothing_was_cancelled(hub: Erasable, tx: Tx) -> None:
    await hub.put("n1", {"email": JANE["email"]}, visitor_id="v1")
    await hub.put("b", {"email": "bob@x.example"}, visitor_id="v1")
    await tx.execute("UPDATE delivery SET status = 'delivered', settled_at = now()")
    asked = await hub.ask("email", JANE["email"])
    tools = erasing.Tools(hub.vault.sealer, hub.vault.link_key, timedelta(seconds=60))
    now = datetime.now(UTC)
    while await erasing.step(tx, asked.id, tools, now):
        pass
    state = (await erasures.look(tx, asked.id)).state
    assert (state.stage, state.cancelled_at) == ("wait", None)
    assert not await erasing.step(tx, asked.id, tools, now + timedelta(seconds=59))
    while await erasing.step(tx, asked.id, tools, now + timedelta(seconds=61)):
        pass
    assert (await erasures.look(tx, asked.id)).status == "done"


@pytest.mark.parametrize("place", ["head", "request", "response"])
async def test_what_was_lent_is_found_wherever_the_log_bears_it(hub: Erasable, tx: Tx, place: str) -> None:
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="v1")
    bob = await hub.put("b", {"email": "bob@x.example"}, visitor_id="v1")
    said = {"head": "POST x", "request": "{}", "response": "{}"} | {place: EMAIL_HASH}
    await tx.execute(
        "INSERT INTO attempt SELECT bucket, event_id, destination_id, 1, now(), 'delivered', NULL, 200, 5, %s, %s, %s"
        "  FROM delivery WHERE event_id = %s", (said["head"], said["request"].encode(), said["response"], bob),
    )  # fmt: skip
    await hub.erase("email", JANE["email"])
    assert EMAIL_HASH not in await everything(tx)
    assert await scalar(tx, "SELECT (head, request, response)::text FROM attempt") == "(,,)"


async def test_who_asks_again_is_nobody_in_the_browser_at_once(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", JANE, visitor_id="v1")
    await hub.ask("email", JANE["email"])
    await hub.put("e2", JANE, visitor_id="v1", occurred_at=datetime.now(UTC) + timedelta(seconds=1))
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 1
    await hub.ask("email", JANE["email"])
    rows = "SELECT (SELECT count(*) FROM visitor) + (SELECT count(*) FROM link WHERE kind = 'email')"
    assert await scalar(tx, rows) == 0


async def test_what_occurred_before_and_comes_while_it_is_not_known_to_be_hers_is_erased(hub: Erasable) -> None:
    await hub.put("e1", JANE)
    asked = await hub.ask("email", JANE["email"])
    late = await hub.put("e2", {"external_id": "cust-7"}, occurred_at=datetime.now(UTC) - timedelta(minutes=5))
    await asyncio.sleep(0.05)  # the writer's clock is as exact as its last flush
    since = await hub.put("e3", {"external_id": "cust-7"})
    assert await hub.erased() == set()
    await hub.finish(asked.id)
    assert str(late) in await hub.erased()
    assert str(since) not in await hub.erased()


async def test_what_came_before_and_is_dated_ahead_is_erased(hub: Erasable) -> None:
    ahead = await hub.put("e1", JANE, occurred_at=datetime.now(UTC) + timedelta(hours=1))
    await hub.erase("email", JANE["email"])
    assert await hub.erased() == {str(ahead)}


async def test_what_she_opened_and_is_dated_ahead_is_erased(hub: Erasable, tx: Tx) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    await hub.put("e1", **PERSON)
    widget = {"name": "open", "visitor_id": "v-jane", "session_id": "s-jane", "properties": {"product": "jane-product"}}
    await hub.put("o1", occurred_at=ahead, **widget)
    assert await scalar(tx, "SELECT product FROM touch WHERE at < now()") == "jane-product"
    await hub.erase("email", JANE["email"])
    text = await everything(tx)
    assert not [needle for needle in ("s-jane", "jane-product") for form in forms(needle) if form in text]


async def test_what_posts_of_her_orders_name_is_hers_whichever_is_come_by_first(hub: Erasable) -> None:
    for n in range(6):
        post = {"email": JANE["email"], "phone": f"+141555501{n:02}"}
        await hub.put(f"e{n}", post, name="refund", order_id="o1", currency="EUR", amount=Decimal(3))
    own = {str(await hub.put(f"p{n}", {"phone": f"+141555501{n:02}"})) for n in range(6)}
    await hub.erase("email", JANE["email"])
    assert own < await hub.erased()


@pytest.mark.parametrize("seed", range(3))
async def test_two_erasures_of_one_person_go_side_by_side(hub: Erasable, seed: int) -> None:
    roll = random.Random(seed)
    email, account, phone = {"email": "a@x.example"}, {"external_id": "acc"}, {"phone": "+14155550100"}
    facts: list[tuple[dict[str, str] | None, dict[str, str]]] = [
        (email | account, {}), (account | phone, {}), (email, {"visitor_id": "v1", "session_id": "s1"}), (account, {"visitor_id": "v2"}),
        (None, {"visitor_id": "v1", "session_id": "s2"}), (None, {"session_id": "s2"}), (phone, {}),
        (None, {"visitor_id": "v2", "session_id": "s3"}), (None, {"session_id": "s3"}),
    ]  # fmt: skip
    roll.shuffle(facts)
    ids = {str(await hub.put(f"e{n}", user, **more)) for n, (user, more) in enumerate(facts)}
    both = await hub.ask("email", "a@x.example"), await hub.ask("external_id", "acc")
    async with hub.pool.connection() as tx:
        for _ in range(60):
            await erasing.step(tx, roll.choice(both).id, hub.tools, datetime.now(UTC))
    for one in both:
        await hub.finish(one.id)
    assert await hub.erased() == ids


async def test_who_looked_before_another_walked_the_round_to_its_end_loses_nothing_of_what_was_cancelled(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.put("e1", **PERSON)
    asked = await hub.ask("email", JANE["email"])
    before = await erasures.look(tx, asked.id)
    monkeypatch.setattr(erasing, "EXAMINED", 10_000_000)
    assert await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))

    async def look(tx: Tx, id: UUID) -> Erasure | None:
        return before

    with monkeypatch.context() as patched:
        patched.setattr(erasures, "look", look)
        assert await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))
    done = await hub.finish(asked.id)
    assert (await hub.fates(), done.removed["deliveries_cancelled"]) == ([("skipped", "erased")], 1)
