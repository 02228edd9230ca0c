"""Replays: what they take; and that a job takes each delivery once, whatever stops it."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postback.connectors import catalog
from postback.db import connect
from postback.db.buckets import BUCKETS
from postback.delivery import estimate as estimates
from postback.delivery import housekeeping, replay
from postback.delivery.housekeeping import Kept
from postback.destinations import Destination
from postback.queue import jobs
from postback.queue.jobs import Job, Kind
from tests.delivery.delivering import Hub, Receiver, acme, until
from tests.delivery.replaying import FAILED_FIRST, RETENTION, estimated, finish, is_done, make, read, scene


@pytest.fixture
async def to(hub: Hub, platform: Receiver) -> Destination:
    return await hub.install("careful", url=platform.url, token="t0ken")


async def test_a_replay_reopens_the_same_row_and_its_attempts_are_numbered_on(
    hub: Hub, to: Destination, platform: Receiver
) -> None:
    platform.answer = lambda ids: _answer(400)
    await hub.put([to], 3)
    async with hub.worker():
        assert await hub.settled() == {"failed": 3}
        platform.answer = platform.take
        job = await make(hub, "replay", to, total=3)
        await until(lambda: is_done(hub, job))
        assert await hub.settled() == {"delivered": 3}
    assert await hub.rows("attempt, tries, reason, fix") == [(2, 1, None, None)] * 3
    assert await hub.attempts("n, outcome") == [(1, "failed"), (2, "delivered")] * 3
    done = await read(hub, job)
    assert (done.status, done.total, done.done, done.skipped) == ("done", 3, 3, 0)
    await hub.balances(to)


async def _answer(status: int) -> web.Response:
    return web.Response(status=status)


async def test_a_replay_takes_what_its_filter_says_and_nothing_else(hub: Hub, to: Destination) -> None:
    other = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    old = await hub.put([to, other], 4, at=now - timedelta(days=2), flushes=2)
    new = await hub.put([to, other], 4, name="purchase", flushes=2)
    await hub.tx.execute(FAILED_FIRST.encode())
    await hub.tx.execute(
        "UPDATE delivery SET status = 'skipped', reason = 'consent: denied' WHERE event_id = %s", (new[0],)
    )
    await hub.tx.execute("UPDATE delivery SET status = 'delivered', reason = NULL WHERE event_id = %s", (new[1],))
    await hub.tx.execute("UPDATE delivery SET status = 'queued', settled_at = NULL WHERE event_id = %s", (new[2],))
    yesterday = now - timedelta(days=1)
    both = [to, other]
    for who, wanted, expected in (
        (both, {}, 12),
        ([to], {}, 6),
        ([to], {"statuses": ["failed"]}, 5),
        ([to], {"statuses": ["skipped"]}, 1),
        ([to], {"statuses": ["failed", "skipped", "delivered"]}, 7),
        ([to], {"reason": "no em"}, 5),
        ([to], {"reason": "email"}, 0),
        ([to], {"since": yesterday}, 2),
        ([to], {"until": yesterday}, 4),
        ([to], {"since": yesterday, "statuses": ["failed"], "reason": "no email", "name": "purchase"}, 1),
        ([to], {"name": "lead"}, 4),
        ([to], {"site_id": UUID(int=1)}, 0),
        ([to], {"event_ids": {to.id: [old[0], new[0], new[2]]}}, 2),
        (both, {"event_ids": {to.id: [old[0]], other.id: [old[1], new[3]]}}, 3),
    ):
        async with hub.tx.transaction(force_rollback=True):
            job = await make(hub, "replay", *who, **wanted)
            assert await estimated(hub, job, *who) == (expected, 0), wanted
            before = Counter(await hub.rows("event_id, destination_id, status"))
            assert (await finish(hub, job, *who)).done == expected, wanted
            moved = Counter(await hub.rows("event_id, destination_id, status")) - before
            assert moved.total() == expected
            assert {status for _, _, status in moved} <= {"queued"}
            assert {id_ for _, id_, _ in moved} <= {d.id for d in who}


async def test_what_an_orders_rule_skipped_is_not_replayed(hub: Hub, to: Destination) -> None:
    ids = await hub.put([to], 4)
    reasons = ("order not completed: it is pending", "order counted already", "no retraction: x", "no identifier")
    for id_, reason in zip(ids, reasons, strict=True):
        await hub.tx.execute(
            "UPDATE delivery SET status = 'skipped', reason = %s, settled_at = now() WHERE event_id = %s", (reason, id_)
        )
    assert (await finish(hub, await make(hub, "replay", to), to)).done == 1
    assert await hub.rows("event_id", "status = 'queued'") == [(ids[3],)]


async def test_what_a_bot_sent_is_neither_replayed_nor_counted(hub: Hub, to: Destination) -> None:
    ids = await hub.put([to], 2, is_bot=True)
    await hub.tx.execute("UPDATE delivery SET status = 'skipped', reason = 'bot: x', settled_at = now()")
    await hub.tx.execute("UPDATE delivery SET reason = 'not mapped: x' WHERE event_id = %s", (ids[0],))
    job = await make(hub, "replay", to)
    assert await estimated(hub, job, to) == (0, 0)
    assert (await finish(hub, job, to)).done == 0
    assert await hub.statuses() == {"skipped": 2}


async def test_a_replay_takes_only_what_was_settled_before_it_was_made(hub: Hub, to: Destination) -> None:
    ids = await hub.put([to], 2)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, "replay", to)
    await hub.tx.execute("UPDATE delivery SET settled_at = now() + interval '1 s' WHERE event_id = %s", (ids[0],))
    assert (await finish(hub, job, to)).done == 1


async def test_an_event_that_lies_ahead_is_not_due_before_its_time(hub: Hub, to: Destination) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=3)
    await hub.put([to], 1, due_at=ahead)
    await hub.tx.execute("UPDATE delivery SET status = 'skipped', reason = 'x', settled_at = now()")
    assert (await finish(hub, await make(hub, "replay", to), to)).done == 1
    [(due_at,)] = await hub.rows("due_at")
    assert due_at >= ahead


async def test_a_dry_run_says_what_would_count_twice(hub: Hub, platform: Receiver) -> None:
    def is_lead(event: Any) -> bool:
        return event.name == "lead"

    catalog()["fussy"] = acme("fussy", dedup_window=timedelta(hours=48), repeat_is_safe=is_lead)
    try:
        fussy = await hub.install("fussy", url=platform.url, token="t0ken")
        safe = await hub.install("webhook", url=platform.url)
        now = datetime.now(UTC)
        for name, outcome, days, status in (
            ("purchase", "delivered", 1, "delivered"),  # inside the window: dropped as a repeat
            ("purchase", "delivered", 3, "delivered"),
            ("purchase", "unknown", 3, "failed"),  # it may have arrived
            ("purchase", "failed", 3, "failed"),
            ("lead", "delivered", 3, "delivered"),  # a repeat of it is safe at any time
        ):
            at = now - timedelta(days=days)
            [id_] = await hub.put([fussy, safe], 1, name=name, at=at)
            await hub.tx.execute(
                "UPDATE delivery SET status = %s, settled_at = %s WHERE event_id = %s", (status, at, id_)
            )
            await hub.tx.execute(
                "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome)"
                " SELECT bucket, event_id, destination_id, 1, %s, %s FROM delivery WHERE event_id = %s", (at, outcome, id_)
            )  # fmt: skip
        every = ["failed", "skipped", "delivered"]
        assert await estimated(hub, await make(hub, "replay", fussy, statuses=every), fussy) == (5, 2)
        assert await estimated(hub, await make(hub, "replay", fussy), fussy) == (2, 1)
        assert await estimated(hub, await make(hub, "replay", safe, statuses=every), safe) == (5, 0)
    finally:
        del catalog()["fussy"]


async def test_what_cannot_be_counted_in_time_is_told_to_be_more(hub: Hub, to: Destination) -> None:
    job = await make(hub, "replay", to)
    found = await estimates.estimate(hub.tx, job, await scene(hub, to), seconds=-1)
    assert not found.is_complete


async def test_a_stopped_job_takes_nothing_and_a_resumed_one_goes_on(
    hub: Hub, to: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "EXAMINED", 3)
    await hub.put([to], 30, flushes=5)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, "replay", to)
    now = datetime.now(UTC)
    assert await replay.step(hub.tx, job.id, await scene(hub, to))
    assert await jobs.stop(hub.tx, job.id, now)
    assert not await jobs.stop(hub.tx, job.id, now)
    before = await hub.statuses()
    assert 0 < before["queued"] < 30
    assert not await replay.step(hub.tx, job.id, await scene(hub, to))
    assert await jobs.running(hub.tx, BUCKETS) == []
    assert await hub.statuses() == before
    assert await jobs.resume(hub.tx, job.id, now)
    assert not await jobs.resume(hub.tx, job.id, now)
    assert (await finish(hub, job, to)).done == 30
    assert not await jobs.resume(hub.tx, job.id, now)
    assert await hub.statuses() == {"queued": 30}


async def test_old_jobs_are_forgotten_and_what_runs_is_not(hub: Hub, to: Destination) -> None:
    done, running = await make(hub, "replay", to), await make(hub, "replay", to)
    await hub.tx.execute("UPDATE job SET changed_at = now() - interval '401 days'")
    await jobs.stop(hub.tx, done.id, datetime.now(UTC) - RETENTION - timedelta(days=1))
    assert await housekeeping.trim(hub.pool, BUCKETS, datetime.now(UTC), Kept(*[RETENTION] * 4)) == 1
    assert [job.id for job in await listed(hub)] == [running.id]


async def listed(hub: Hub) -> list[Job]:
    return await jobs.list_all(hub.tx, hub.workspace.id, "replay", before=UUID(int=2**128 - 1), limit=9)


# What may happen to a job between its steps, and within them.
HAPPENINGS = st.lists(st.sampled_from(["step", "two at once", "die", "stop", "resume", "fail again"]), max_size=25)


@pytest.mark.parametrize("kind", ["replay", "backfill"])
@given(happenings=HAPPENINGS, sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), examined=st.integers(1, 12))
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
async def test_whatever_stops_a_job_each_delivery_is_taken_exactly_once(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    happenings: Sequence[str],
    sizes: Sequence[int],
    examined: int,
) -> None:
    await hub.tx.execute("TRUNCATE job, event, delivery, usage, attempt")
    monkeypatch.setattr(replay, "EXAMINED", examined)
    some = [await hub.install(name, url="http://x/", token="t0ken") for name in ("careful", "acme")]
    for size in sizes:
        await hub.put(some if kind == "replay" else [], size)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, kind, *some)
    taken: Counter[tuple[UUID, UUID]] = Counter()
    for happening in [*happenings, "resume"]:
        match happening:
            case "step":
                await replay.step(hub.tx, job.id, await scene(hub, *some))
            case "two at once":
                async with await connect(hub.dsn) as other:
                    now = await scene(hub, *some)
                    await asyncio.gather(replay.step(hub.tx, job.id, now), replay.step(other, job.id, now))
            case "die":
                async with await connect(hub.dsn) as dying, dying.transaction(force_rollback=True):
                    await replay.step(dying, job.id, await scene(hub, *some))
            case "stop":
                await jobs.stop(hub.tx, job.id, datetime.now(UTC))
            case "resume":
                await jobs.resume(hub.tx, job.id, datetime.now(UTC))
            case _:  # what was taken is sent, and fails
                taken.update(await hub.rows("event_id, destination_id", "status = 'queued'"))
                await hub.tx.execute(
                    "UPDATE delivery SET status = 'failed', settled_at = now() + interval '1 s' WHERE status = 'queued'"
                )
    ended = await finish(hub, job, *some)
    taken.update(await hub.rows("event_id, destination_id", "status = 'queued'"))
    assert ended.status == "done"
    assert ended.done == len(taken) == sum(sizes) * 2
    assert set(taken.values()) <= {1}
    if sum(sizes):
        await hub.balances(*some)


async def test_a_worker_killed_in_the_middle_changes_nothing_of_the_outcome(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 300, flushes=64)
    await hub.tx.execute(FAILED_FIRST.encode())
    job = await make(hub, "replay", to)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING_RUNNER, hub.dsn.reveal(), str(job.id), str(to.id),
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert child.stdout is not None
    for _ in range(3):
        assert await child.stdout.readline() == b"a step\n"
    child.kill()
    await child.wait()
    halfway = await read(hub, job)
    assert 0 < halfway.done < 300
    async with hub.worker():
        await until(lambda: is_done(hub, job))
        assert await hub.settled() == {"delivered": 300}
    assert (await read(hub, job)).done == 300
    assert Counter(platform.ids).most_common(1)[0][1] == 1
    assert set(await hub.rows("attempt, tries")) == {(4, 1)}
    await hub.balances(to)


DYING_RUNNER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from uuid import UUID
from tests.delivery.delivering import FOR_TESTS
from postback.db import connect
from postback.delivery import replay
from postback.destinations import Destination
from postback.secret import Secret
async def main():
    replay.EXAMINED = 7
    tx = await connect(Secret(sys.argv[1]))
    to = Destination(UUID(sys.argv[3]), UUID(int=0), FOR_TESTS["acme"], "default", "x", None, datetime.now(UTC))
    while await replay.step(tx, UUID(sys.argv[2]), replay.Scene({to.id: to}, {}, datetime.now(UTC), timedelta(days=400))):
        print("a step", flush=True)
        await asyncio.sleep(0.02)
asyncio.run(main())
"""


async def test_two_workers_run_a_job_once_and_live_traffic_goes_on(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 400, flushes=30)
    await hub.tx.execute(FAILED_FIRST.encode())
    async with hub.worker(), hub.worker():
        job = await make(hub, "replay", to)
        await hub.put([to], 100, flushes=10, prefix="live")
        await until(lambda: is_done(hub, job))
        assert await hub.settled() == {"delivered": 500}
    assert (await read(hub, job)).done == 400
    assert Counter(platform.ids).most_common(1)[0][1] == 1
    await hub.balances(to)
