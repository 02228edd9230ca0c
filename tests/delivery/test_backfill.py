"""Backfills: which past events a destination is given; and what keeps any job waiting, or ends it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from postback import destinations
from postback.blueprint import Blueprint, Rule
from postback.db.buckets import BUCKETS
from postback.delivery import replay
from postback.destinations import Destination
from postback.event import Order
from postback.queue import jobs
from tests.delivery.delivering import Consent, Hub, Receiver, until
from tests.delivery.replaying import FAILED_FIRST, estimated, finish, is_done, make, read, scene


@pytest.fixture
async def to(hub: Hub, platform: Receiver) -> Destination:
    return await hub.install("careful", url=platform.url, token="t0ken")


async def test_a_new_destination_is_given_past_events_up_to_the_platforms_age(hub: Hub, platform: Receiver) -> None:
    old = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    await hub.put([old], 5, at=now - timedelta(minutes=30), flushes=3)
    await hub.put([old], 2, at=now - timedelta(hours=2))  # too old for it
    await hub.put([old], 1, consent=Consent(analytics=False), name="unfit")
    new = await hub.install("aged", url=platform.url, token="t0ken")
    has_row = await hub.put([old, new], 1)
    await hub.tx.execute(
        "UPDATE delivery SET status = 'delivered', settled_at = now() WHERE destination_id = %s", (old.id,)
    )
    await hub.tx.execute("UPDATE delivery SET status = 'delivered', settled_at = now() WHERE event_id = %s", has_row)
    job = await make(hub, "backfill", new)
    assert await estimated(hub, job, new) == (6, 0)
    async with hub.worker():
        await until(lambda: is_done(hub, job))
        assert await hub.settled([new]) == {"delivered": 6, "skipped": 1}
    assert Counter(platform.ids).most_common(1)[0][1] == 1
    assert len(platform.ids) == 5
    assert (await read(hub, job)).done == 6
    await hub.balances(old, new)
    # A second one finds nothing.
    again = await make(hub, "backfill", new)
    assert await estimated(hub, again, new) == (0, 0)
    assert (await finish(hub, again, new)).done == 0
    await hub.balances(old, new)


async def test_a_backfill_judges_as_intake_does(hub: Hub, platform: Receiver) -> None:
    first = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([first], 1, name="purchase", order=Order(id="o1", status="pending"))
    await hub.put([first], 1, name="purchase", order=Order(id="o2", status="refunded"))
    [counted] = await hub.put([first], 1, name="purchase", order=Order(id="o3", status="completed"))
    await hub.put([first], 1)
    await hub.tx.execute(
        "UPDATE delivery SET status = 'skipped', reason = 'order counted already' WHERE event_id = %s", (counted,)
    )
    new = await hub.install("careful", url=platform.url, token="t0ken")
    job = await finish(hub, await make(hub, "backfill", new), new)
    assert (job.done, job.skipped) == (1, 3)
    reasons = await hub.rows("reason", f"destination_id = '{new.id}' AND status = 'skipped'")
    # The events came in one millisecond, so that their order is anybody's.
    assert sorted(reason for (reason,) in reasons) == [
        "no retraction: Acme takes no order back", "order counted already", "order not completed: it is pending"
    ]  # fmt: skip
    await hub.balances(first, new)


async def test_what_a_bot_sent_is_not_backfilled(hub: Hub, to: Destination) -> None:
    await hub.put([], 1, is_bot=True)
    job = await make(hub, "backfill", to)
    assert await estimated(hub, job, to) == (0, 0)
    assert (await finish(hub, job, to)).done == 0
    assert await hub.rows() == []


async def test_a_backfill_goes_by_the_blueprint(hub: Hub, to: Destination) -> None:
    for name in ("purchase", "lead"):
        await hub.put([], 2, prefix=name, name=name)
    async with hub.tx.transaction():
        rules = Blueprint((Rule(event="lead"),))
        ruled = await destinations.write_blueprint(hub.tx, to, rules, by="a test", now=datetime.now(UTC))
    job = await finish(hub, await make(hub, "backfill", ruled), ruled)
    assert (job.done, job.skipped) == (2, 2)
    assert set(await hub.rows("reason", "status = 'skipped'")) == {
        ("not mapped: the blueprint has no rule for purchase",)
    }
    await hub.balances(ruled)


async def test_events_of_another_workspace_are_not_given(hub: Hub, to: Destination) -> None:
    await hub.put([], 2)
    await hub.tx.execute("UPDATE event SET workspace_id = %s WHERE event_id = 'e0'", (UUID(int=9),))
    assert (await finish(hub, await make(hub, "backfill", to), to)).done == 1


async def test_what_may_be_dropped_at_any_moment_is_left_alone(hub: Hub, to: Destination) -> None:
    await hub.put([to], 1, at=datetime.now(UTC) - timedelta(days=401))
    await hub.tx.execute(FAILED_FIRST.encode())
    assert (await finish(hub, await make(hub, "replay", to), to)).done == 0
    await hub.put([], 1, at=datetime.now(UTC) - timedelta(days=401))
    assert (await finish(hub, await make(hub, "backfill", to), to)).done == 0


async def test_a_job_adds_only_while_little_is_due_and_to_no_destination_that_sends_nothing(
    hub: Hub, platform: Receiver
) -> None:
    slow = await hub.install("slow", url=platform.url, token="t0ken")  # 20 a second: 40 may be due
    await hub.put([slow], 200, flushes=9)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, "replay", slow)

    async def queued() -> int:
        return (await hub.statuses())["queued"]

    await destinations.set_state(hub.tx, slow.id, "paused", {"active"}, datetime.now(UTC))
    assert not await replay.step(hub.tx, job.id, await scene(hub, slow))
    assert await queued() == 0
    await destinations.set_state(hub.tx, slow.id, "active", {"paused"}, datetime.now(UTC))
    assert await replay.step(hub.tx, job.id, await scene(hub, slow))
    assert await queued() == 40
    assert not await replay.step(hub.tx, job.id, await scene(hub, slow))
    await hub.tx.execute(
        "UPDATE delivery SET due_at = now() + interval '1 hour' WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM delivery WHERE status = 'queued' LIMIT 25))"
    )
    assert await replay.step(hub.tx, job.id, await scene(hub, slow))
    assert await queued() == 65


async def test_a_destination_that_is_held_keeps_no_other_waiting(hub: Hub, to: Destination) -> None:
    held = await hub.install("acme", url="http://x/", token="t0ken")
    await hub.put([held, to], 4)
    await hub.tx.execute(FAILED_FIRST.encode())
    await destinations.set_state(hub.tx, held.id, "held", {"active"}, datetime.now(UTC), "token expired", "x")
    job = await finish(hub, await make(hub, "replay", held, to), held, to)
    assert (job.status, job.done) == ("running", 4)
    assert await hub.statuses(held) == {"failed": 4}
    await destinations.set_state(hub.tx, held.id, "active", {"held"}, datetime.now(UTC))
    assert (await finish(hub, job, held, to)).status == "done"


async def test_a_job_ends_with_its_destination(hub: Hub, to: Destination) -> None:
    await hub.put([to], 2)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, "replay", to)
    await destinations.remove(hub.tx, hub.workspace.id, to.id, datetime.now(UTC))
    ended = await finish(hub, job)
    assert (ended.status, ended.done, ended.reason) == ("done", 0, replay.REMOVED)
    assert await hub.statuses() == {"failed": 2}


async def test_a_job_that_our_bug_stops_fails_and_keeps_no_other_waiting(hub: Hub, to: Destination) -> None:
    await hub.put([to], 1)
    await hub.tx.execute(FAILED_FIRST.encode())
    broken, sound = await make(hub, "replay", to), await make(hub, "replay", to)
    await hub.tx.execute("UPDATE job SET position = %s WHERE id = %s", (f'{{"{to.id}": {{"bucket": 99}}}}', broken.id))
    await replay.run(hub.tx, await jobs.running(hub.tx, BUCKETS), await scene(hub, to))
    failed = await read(hub, broken)
    assert failed.status == "failed"
    assert "our bug" in (failed.reason or "")
    assert (await read(hub, sound)).done == 1
