"""Deliveries that did not end at the first try, by what came back or did not: waits, repeats, and when they end."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from tests.delivery.delivering import Hub, Receiver, refuse, until


@pytest.mark.parametrize("status", [500, 503, 408, 429])
async def test_a_platform_that_is_busy_is_asked_again(hub: Hub, platform: Receiver, status: int) -> None:
    platform.answer = refuse(status)
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 8)
    async with hub.worker():
        await until(lambda: hub.has_tried("retry", 8))
        platform.answer = platform.take
        assert await hub.settled() == {"delivered": 8}
    await hub.balances(to)
    attempts = Counter(await hub.attempts("outcome, status"))
    assert attempts["delivered", 200] == 8
    assert attempts["retry", status] >= 8
    assert all(n >= 2 for (n,) in await hub.rows("attempt"))


async def test_a_wait_that_the_platform_asks_for_is_kept(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(503, {"Retry-After": "300"})
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1)
    async with hub.worker():
        await until(lambda: hub.has_tried("retry", 1))
    [(status, due_at)] = await hub.rows("status, due_at")
    assert status == "retrying"
    assert timedelta(seconds=290) < due_at - datetime.now(UTC) <= timedelta(seconds=300)
    assert len(platform.requests) == 1


async def test_a_429_slows_the_lane_of_every_worker_and_loses_nothing(hub: Hub, platform: Receiver) -> None:
    calls = 0

    async def throttle(ids: list[str]) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return web.Response(status=429, headers={"Retry-After": "1"}) if calls == 1 else web.Response(text="{}")

    platform.answer = throttle
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 200, flushes=20)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 200}
    lane = await hub.lane(to)
    assert lane.rate is not None
    assert lane.rate < 10_000
    # Those under way when the 429 came may still arrive; the rest waits for a second.
    late = [at for at in platform.times if at > platform.times[0] + 0.9]
    assert len(platform.times) - len(late) <= 5
    await hub.balances(to)


async def test_an_answer_that_never_comes_is_repeated_where_that_is_safe(hub: Hub, platform: Receiver) -> None:
    platform.answer = platform.hang
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 3)
    async with hub.worker(send_timeout_seconds=1):
        await until(lambda: hub.has_tried("unknown", 3))
        platform.answer = platform.take
        assert await hub.settled() == {"delivered": 3}
    assert Counter(await hub.attempts("outcome, reason")) == {
        ("unknown", "no answer within 1 s"): 3,
        ("delivered", None): 3,
    }


@pytest.mark.parametrize("way", ["hang", "reset"])
async def test_an_unknown_outcome_fails_where_a_repeat_could_count_twice(
    hub: Hub, platform: Receiver, way: str
) -> None:
    async def vanish(ids: list[str]) -> web.StreamResponse:
        if way == "hang":
            await asyncio.Event().wait()
        raise web.HTTPOk(headers={"content-length": "nonsense"})

    platform.answer = vanish
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 3)
    async with hub.worker(send_timeout_seconds=1):
        assert await hub.settled() == {"failed": 3}
    rows = await hub.rows("reason, fix")
    assert all(reason.startswith("outcome unknown: ") and "by hand" in fix for reason, fix in rows)
    assert len(platform.requests) == 3
    await hub.balances(to)


async def test_a_refused_connection_is_tried_again_even_where_a_repeat_is_not_safe(
    hub: Hub, platform: Receiver
) -> None:
    to = await hub.install("careful", url="http://127.0.0.1:1/", token="t0ken")
    await hub.put([to], 2)
    async with hub.worker():
        await until(lambda: hub.has_tried("retry", 2))
    assert {reason for (reason,) in await hub.attempts("reason")} == {"the connection was refused"}
    assert await hub.statuses() == {"retrying": 2}


async def test_an_attempt_that_its_worker_did_not_live_to_settle_is_repeated_or_failed_by_whether_that_is_safe(
    hub: Hub, platform: Receiver
) -> None:
    safe = await hub.install("acme", url=platform.url, token="t0ken")
    unsafe = await hub.install("careful", url=platform.url, token="t0ken")
    ids = await hub.put([safe, unsafe], 2)
    for to in (safe, unsafe):
        await hub.tx.execute(
            "INSERT INTO attempt (bucket, event_id, destination_id, n, at) SELECT bucket, event_id, destination_id, 1, now()"
            " FROM delivery WHERE event_id = %s AND destination_id = %s",
            (ids[0], to.id),
        )
    async with hub.worker():
        await hub.settled([safe, unsafe])
    assert await hub.statuses(safe) == {"delivered": 2}
    assert await hub.statuses(unsafe) == {"delivered": 1, "failed": 1}
    [(reason, attempt)] = await hub.rows("reason, attempt", f"status = 'failed' AND destination_id = '{unsafe.id}'")
    assert (reason, attempt) == ("outcome unknown: the worker died before an answer came", 1)
    assert await hub.attempts("n, outcome", f"event_id = '{ids[0]}' AND destination_id = '{safe.id}'") == [
        (1, "unknown"),
        (2, "delivered"),
    ]
    await hub.balances(safe, unsafe)


async def test_no_event_is_sent_that_is_too_old_for_the_platform(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("aged", url=platform.url, token="t0ken")
    await hub.put([to], 1, occurred_at=datetime.now(UTC) - timedelta(hours=2))
    await hub.put([to], 1, occurred_at=datetime.now(UTC) - timedelta(minutes=59, seconds=59))
    platform.answer = refuse(503, {"Retry-After": "30"})
    async with hub.worker():
        assert await hub.settled() == {"failed": 2}
    assert sorted(reason for (reason,) in await hub.rows("reason"))[-1] == "expired: answered 503"
    assert len(platform.requests) <= 1
    await hub.balances(to)


async def test_retries_end_after_the_connectors_time_where_any_age_is_taken(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(500)
    to = await hub.install("hasty", url=platform.url, token="t0ken")
    await hub.put([to], 1)
    async with hub.worker():
        assert await hub.settled() == {"failed": 1}
    [(reason, attempt)] = await hub.rows("reason, attempt")
    assert reason == "gave up: answered 500"
    assert attempt == len(platform.requests)
