"""The gate of a lane: what is held, paused or broken sends nothing, keeps its queue, and goes on with nothing lost."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from postback import destinations
from postback.connectors import Rate
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver, refuse, until


async def test_resuming_forgets_the_wait_that_the_platform_asked_for(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(429, {"retry-after": "60"})
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1)
    async with hub.worker():

        async def is_taught() -> bool:
            return (await hub.lane(to)).not_before is not None

        await until(is_taught)
        await asyncio.sleep(1.5)  # the worker has read it too
        platform.answer = platform.take
        now = datetime.now(UTC)
        await destinations.set_state(hub.tx, to.id, "paused", {"active"}, now)
        await destinations.set_state(hub.tx, to.id, "active", {"paused"}, now)
        await hub.put([to], 1)

        async def is_sent() -> bool:
            return (await hub.statuses())["delivered"] == 1

        await until(is_sent, 6)


async def test_a_refused_credential_holds_the_destination_and_resuming_loses_nothing(
    hub: Hub, platform: Receiver
) -> None:
    platform.answer = refuse(401)
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 100, flushes=10)
    async with hub.worker() as running:
        await until(lambda: hub.is_lane(to, "held"))
        await asyncio.sleep(0.3)
        lane = await hub.lane(to)
        assert (lane.reason, bool(lane.fix)) == ("answered 401", True)
        asked = len(platform.requests)
        assert asked <= 8
        [hour] = await hub.balances(to)
        assert (hour.held, hour.pending) == (100, 0)
        await asyncio.sleep(0.5)
        assert len(platform.requests) == asked
        platform.answer = platform.take
        await destinations.set_state(hub.tx, to.id, "active", {"held"}, datetime.now(UTC))
        running.wake()
        assert await hub.settled() == {"delivered": 100}
    await hub.balances(to)


async def test_a_changed_credential_is_used_at_once_and_not_held_for_what_the_old_one_was_answered(
    hub: Hub, platform: Receiver
) -> None:
    async def judge(ids: list[str]) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        is_good = platform.requests[-1]["key"] == "new"
        return web.Response(text="{}") if is_good else web.Response(status=401)

    platform.answer = judge
    to = await hub.install("acme", url=platform.url, token="old")
    await hub.put([to], 1)
    async with hub.worker() as running:
        await until(lambda: platform.has_seen(1))
        changed = destinations.read_config(to.connector, {"url": platform.url, "token": "new"})
        await destinations.change(hub.tx, hub.vault.sealer, to, name="new", config=changed, now=datetime.now(UTC))
        assert await hub.settled() == {"delivered": 1}
        assert (await hub.lane(to)).state == "active"
        running.wake()


async def test_a_paused_destination_keeps_its_queue_and_sends_it_when_resumed(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await destinations.set_state(hub.tx, to.id, "paused", {"active"}, datetime.now(UTC))
    await hub.put([to], 10)
    async with hub.worker() as running:
        await asyncio.sleep(0.5)
        assert platform.requests == []
        [hour] = await hub.balances(to)
        assert hour.pending == 10
        await destinations.set_state(hub.tx, to.id, "active", {"paused"}, datetime.now(UTC))
        running.wake()
        assert await hub.settled() == {"delivered": 10}


async def test_a_dead_destination_is_tried_now_and_then_and_its_queue_goes_out_when_it_is_back(
    hub: Hub, platform: Receiver
) -> None:
    platform.answer = refuse(500)
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 40, flushes=4)
    async with hub.worker() as running:
        lane = None

        async def is_open() -> bool:
            nonlocal lane
            lane = running.lanes.get(to.id)
            return lane is not None and lane.gate.breaker.is_open

        await until(is_open)
        assert lane is not None
        await asyncio.sleep(0.5)
        asked = len(platform.requests)
        assert asked <= 14  # ten in a row, and what was under way
        tried = len(await hub.rows("status", "attempt > 0"))
        assert tried == asked

        async def is_down() -> bool:
            return (await hub.lane(to)).down_since is not None

        await until(is_down)
        assert (await hub.lane(to)).down_reason == "answered 500"
        platform.answer = platform.take
        assert await hub.settled(seconds=12) == {"delivered": 40}
        assert not lane.gate.breaker.is_open
    assert (await hub.lane(to)).down_since is None
    await hub.balances(to)


async def test_a_worker_that_begins_anew_says_when_a_platform_is_back(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await destinations.went_down(hub.tx, to.id, "answered 500", datetime.now(UTC) - timedelta(minutes=1))
    await hub.put([to], 1)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 1}

        async def is_back() -> bool:
            return (await hub.lane(to)).down_since is None

        await until(is_back)


async def test_a_worker_that_reaches_a_platform_leaves_it_to_who_does_not(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    since = datetime.now(UTC)
    await destinations.went_down(hub.tx, to.id, "no answer", since)
    await hub.put([to], 1)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 1}
    assert (await hub.lane(to)).down_since == since


async def test_a_dead_destination_is_not_tried_with_an_event_before_its_time(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(500)
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 12)
    await hub.put([to], 3, flushes=3, due_at=datetime.now(UTC) + timedelta(minutes=5), prefix="later")
    async with hub.worker() as running:

        async def is_open() -> bool:
            return to.id in running.lanes and running.lanes[to.id].gate.breaker.is_open

        await until(is_open)
        later = datetime.now(UTC) + timedelta(hours=1)
        await hub.tx.execute("UPDATE delivery SET due_at = %s WHERE status = 'retrying'", (later,))
        platform.answer = platform.take

        async def is_done() -> bool:
            return (await hub.statuses())["delivered"] == 12

        await until(is_done, 12)
    assert await hub.statuses() == {"delivered": 12, "queued": 3}
    assert not [id_ for id_ in platform.ids if id_.startswith("later")]


async def test_a_black_hole_does_not_slow_its_neighbour(hub: Hub, platform: Receiver) -> None:
    async with Receiver().serve() as hole:
        hole.answer = hole.hang
        dead = await hub.install("acme", url=hole.url, token="t0ken")
        live = await hub.install("acme", url=platform.url, token="t0ken")
        await hub.put([dead, live], 500, flushes=20)
        began = time.monotonic()
        async with hub.worker(send_timeout_seconds=10):
            assert await hub.settled([live]) == {"delivered": 500}
            assert time.monotonic() - began < 5
        assert await hub.statuses(dead) == {"queued": 500}
        hours = await hub.balances(dead, live)
        assert sum(hour.pending for hour in hours) == 500


async def test_a_lane_keeps_to_its_rate(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("slow", url=platform.url, token="t0ken")
    await hub.put([to], 30, flushes=3)
    async with hub.worker():
        await hub.settled()
    assert platform.times[-1] - platform.times[0] > 1.0  # 20 a second
    assert all(status == "delivered" for (status,) in await hub.rows())


@pytest.mark.parametrize("status", [200, 429])
async def test_a_lane_that_another_worker_slows_goes_on_with_what_it_began(
    hub: Hub, platform: Receiver, status: int
) -> None:
    """All 64 that are under way end at once, when no more than 41 may be; and what they are told is no news."""
    is_slowed = asyncio.Event()

    async def answer(ids: list[str]) -> web.StreamResponse:
        is_early = not is_slowed.is_set()
        await is_slowed.wait()
        return web.Response(status=status if is_early else 200, text="{}")

    async def are_sent(number: int) -> bool:
        return len(platform.requests) >= number

    platform.answer = answer
    to = await hub.install("wide", url=platform.url, token="t0ken")
    await hub.put([to], 1000, flushes=16)
    async with hub.worker() as worker:
        await until(lambda: are_sent(64), 10)
        await destinations.teach(hub.tx, to.id, rate=20.0, not_before=None, now=datetime.now(UTC))
        gate = worker.lanes[to.id].gate

        async def is_told() -> bool:
            return (gate.pace.rate, gate.concurrency) == (20.0, 41)

        await until(is_told, 10)
        is_slowed.set()
        await until(lambda: are_sent(64 + 10), 10)
        assert (await hub.lane(to)).rate == 20.0


async def test_a_private_address_holds_the_destination(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 3)
    async with hub.worker(dangerous_allow_private_destinations=False):
        await until(lambda: hub.is_lane(to, "held"))
    lane = await hub.lane(to)
    assert "https" in (lane.reason or "")
    assert "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS" in (lane.fix or "")
    assert platform.requests == []
    [hour] = await hub.balances(to)
    assert hour.held == 3


def test_the_tests_platform_is_not_slowed_by_its_own_rate() -> None:
    assert FOR_TESTS["acme"].rate == Rate(10_000, 4)
