"""Deliveries on their way, through a real worker, to a platform that answers as told. After each, the ledger balances."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web

from postback import destinations
from postback.connectors import Rate, catalog
from postback.event import Consent
from postback.secret import MASK
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver, until


def refuse(status: int, headers: dict[str, str] | None = None, text: str = "no"):
    async def answer(ids: list[str]) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, text=text)

    return answer


async def test_what_is_queued_is_delivered_once_and_the_ledger_balances(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 95, flushes=7)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 95}
    assert Counter(platform.ids) == Counter(f"e{n}" for n in range(95))
    assert Counter(await hub.attempts("outcome, status, n")) == {("delivered", 200, 1): 95}
    [hour] = await hub.balances(to)
    assert (hour.accepted, hour.delivered) == (95, 95)


async def test_a_request_is_filled_from_all_buckets(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 64, flushes=64)
    async with hub.worker():
        await hub.settled()
    assert len(platform.requests) <= 10


async def test_events_that_are_queued_while_the_worker_runs_go_out(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    async with hub.worker() as running:
        for turn in range(5):
            await hub.put([to], 20, prefix=f"t{turn}-")
            running.wake()
            await asyncio.sleep(0.05)
        assert await hub.settled() == {"delivered": 100}
    assert Counter(platform.ids).most_common(1)[0][1] == 1


async def test_the_log_keeps_the_request_and_the_answer_masked(hub: Hub, platform: Receiver) -> None:
    async def echo(ids: list[str]) -> web.StreamResponse:
        return web.Response(text="hello t0ken-of-acme from 203.0.113.99")

    platform.answer = echo
    to = await hub.install("acme", url=platform.url, token="t0ken-of-acme")
    await hub.put([to], 1, readable={"client_ip_address": "203.0.113.99"})
    async with hub.worker():
        await hub.settled()
    [(head, request, response, status, latency)] = await hub.attempts("head, request, response, status, latency_ms")
    assert head.splitlines() == [f"POST {platform.url}?token={MASK}", f"authorization: Bearer {MASK}"]
    assert json.loads(request) == {"id": "e0", "ip": "[private]", "ids": {}}
    assert response == f"hello {MASK} from [private]"
    assert status == 200
    assert latency >= 0
    assert platform.requests[0]["key"] == "t0ken-of-acme"
    assert platform.requests[0]["events"][0]["ip"] == "203.0.113.99"
    assert platform.queries == ["token=t0ken-of-acme"]


async def test_what_the_connector_cannot_use_is_skipped_without_an_attempt(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 3, name="unfit")
    await hub.put([to], 2)
    async with hub.worker():
        assert await hub.settled() == {"skipped": 3, "delivered": 2}
    assert Counter(r for (r,) in await hub.rows("reason")) == {"no Acme event for this name": 3, None: 2}
    [hour] = await hub.balances(to)
    assert hour.skipped == {"no Acme event for this name": 3}


async def test_an_event_that_our_code_cannot_build_fails_alone(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1, name="bug")
    await hub.put([to], 5)
    async with hub.worker():
        assert await hub.settled() == {"failed": 1, "delivered": 5}
    assert ("our bug: KeyError in acme", "Report it, with the event.") in await hub.rows("reason, fix")


async def test_consent_that_was_denied_is_judged_again(hub: Hub, platform: Receiver) -> None:
    catalog()["acme"] = msgspec.structs.replace(FOR_TESTS["acme"], consent=frozenset({"ad_user_data"}))
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1, consent=Consent(ad_user_data=False))
    await hub.put([to], 1, consent=Consent(ad_user_data=True))
    await hub.put([to], 1)
    async with hub.worker():
        assert await hub.settled() == {"skipped": 1, "delivered": 2}
    assert ("consent: denied by the visitor",) in await hub.rows("reason")


@pytest.mark.parametrize("status", [500, 503, 408, 429])
async def test_a_platform_that_is_busy_is_asked_again(hub: Hub, platform: Receiver, status: int) -> None:
    platform.answer = refuse(status)
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 8)
    async with hub.worker():
        await until(lambda: _has(hub, "retry", 8))
        platform.answer = platform.take
        assert await hub.settled() == {"delivered": 8}
    await hub.balances(to)
    attempts = Counter(await hub.attempts("outcome, status"))
    assert attempts["delivered", 200] == 8
    assert attempts["retry", status] >= 8
    assert all(n >= 2 for (n,) in await hub.rows("attempt"))


async def _has(hub: Hub, outcome: str, count: int) -> bool:
    return len(await hub.attempts("n", f"outcome = '{outcome}'")) >= count


async def test_a_wait_that_the_platform_asks_for_is_kept(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(503, {"Retry-After": "300"})
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1)
    async with hub.worker():
        await until(lambda: _has(hub, "retry", 1))
    [(status, due_at)] = await hub.rows("status, due_at")
    assert status == "retrying"
    assert timedelta(seconds=290) < due_at - datetime.now(UTC) <= timedelta(seconds=300)
    assert len(platform.requests) == 1


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


async def test_a_refused_credential_holds_the_destination_and_resuming_loses_nothing(
    hub: Hub, platform: Receiver
) -> None:
    platform.answer = refuse(401)
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 100, flushes=10)
    async with hub.worker() as running:
        await until(lambda: _is(hub, to, "held"))
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


async def _is(hub: Hub, to: destinations.Destination, state: str) -> bool:
    return (await hub.lane(to)).state == state


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
        await until(lambda: _saw(platform, 1))
        changed = destinations.read_config(to.connector, {"url": platform.url, "token": "new"})
        await destinations.change(hub.tx, hub.vault.sealer, to, name="new", config=changed, now=datetime.now(UTC))
        assert await hub.settled() == {"delivered": 1}
        assert (await hub.lane(to)).state == "active"
        running.wake()


async def _saw(platform: Receiver, count: int) -> bool:
    return len(platform.requests) >= count


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


async def test_a_batch_that_is_refused_as_a_whole_is_halved_until_the_culprit_stands_alone(
    hub: Hub, platform: Receiver
) -> None:
    async def judge(ids: list[str]) -> web.StreamResponse:
        return web.Response(status=400, text="one is bad") if "e6" in ids else web.Response(text="{}")

    platform.answer = judge
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 10)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 9, "failed": 1}
    rows = await hub.rows("status, reason, fix, attempt")
    assert [row for row in rows if row[0] == "failed"] == [
        ("failed", "answered 400", "Read the answer in the delivery log.", 4)
    ]
    assert Counter(len(body["events"]) for body in platform.requests) == {10: 1, 5: 2, 3: 1, 2: 1, 1: 2}
    await hub.balances(to)


async def test_a_platform_that_judges_each_event_settles_each_by_its_own(hub: Hub, platform: Receiver) -> None:
    async def judge(ids: list[str]) -> web.StreamResponse:
        return web.json_response({"each": ["bad phone" if id_ in ("e1", "e3") else "ok" for id_ in ids]})

    platform.answer = judge
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 5)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 3, "failed": 2}
    assert [r[0] for r in await hub.rows("status")] == ["delivered", "failed", "delivered", "failed", "delivered"]
    [hour] = await hub.balances(to)
    assert hour.failed == {"bad phone": 2}


async def test_an_answer_that_never_comes_is_repeated_where_that_is_safe(hub: Hub, platform: Receiver) -> None:
    async def hang(ids: list[str]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    platform.answer = hang
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 3)
    async with hub.worker(send_timeout_seconds=1):
        await until(lambda: _has(hub, "unknown", 3))
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
        await until(lambda: _has(hub, "retry", 2))
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
        platform.answer = platform.take
        assert await hub.settled(seconds=12) == {"delivered": 40}
        assert not lane.gate.breaker.is_open
    await hub.balances(to)


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
    async def hang(ids: list[str]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with Receiver().serve() as hole:
        hole.answer = hang
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


async def test_a_removed_destinations_deliveries_end_as_skipped(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await destinations.set_state(hub.tx, to.id, "paused", {"active"}, datetime.now(UTC))
    await hub.put([to], 30, flushes=5)
    async with hub.worker():
        await asyncio.sleep(0.2)
        await destinations.remove(hub.tx, hub.workspace.id, to.id, datetime.now(UTC))
        assert await hub.settled() == {"skipped": 30}
    [hour] = await hub.balances(to)
    assert hour.skipped == {"destination removed": 30}
    assert platform.requests == []


async def test_an_event_that_was_erased_is_skipped(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 2)
    await hub.tx.execute("DELETE FROM event")
    async with hub.worker():
        assert await hub.settled() == {"skipped": 2}
    assert {r for (r,) in await hub.rows("reason")} == {"erased: the event is gone"}


async def test_a_reason_that_deliveries_share_shows_the_personal_data_of_none(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(200, text='{"each": ["no 81.2.69.142", "no 81.2.69.142"]}')
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1, readable={"client_ip_address": "81.2.69.142"})
    await hub.put([to], 1, readable={"client_ip_address": "81.2.69.143"})
    async with hub.worker():
        assert await hub.settled() == {"failed": 2}
    assert len(platform.requests) == 1
    assert await hub.rows("reason") == [("no [private]",)] * 2


async def test_a_private_address_holds_the_destination(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 3)
    async with hub.worker(dangerous_allow_private_destinations=False):
        await until(lambda: _is(hub, to, "held"))
    lane = await hub.lane(to)
    assert "https" in (lane.reason or "")
    assert "POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS" in (lane.fix or "")
    assert platform.requests == []
    [hour] = await hub.balances(to)
    assert hour.held == 3


async def test_an_answer_that_the_database_cannot_store_does_not_stop_the_lane(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(400, text="\x00\ufffe\udcff".encode("utf-8", "surrogatepass").decode("latin-1"))
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 2)
    async with hub.worker():
        assert await hub.settled() == {"failed": 2}


def test_the_tests_platform_is_not_slowed_by_its_own_rate() -> None:
    assert FOR_TESTS["acme"].rate == Rate(10_000, 4)
