"""Deliveries on their way, through a real worker, to a platform that answers as told. After each, the ledger balances."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web

from postback import destinations
from postback.connectors import catalog
from postback.delivery import pace
from postback.event import Consent
from postback.secret import MASK
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver, refuse, until


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


async def test_what_waits_in_a_slowed_lane_does_not_outlive_an_erasure(
    hub: Hub, platform: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LEAST_RATE", 4.0)

    async def answer(ids: list[str]) -> web.StreamResponse:
        return web.Response(text="{}", status=200 if len(platform.requests) <= 60 else 429)

    platform.answer = answer
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 300, flushes=4)
    async with hub.worker(send_timeout_seconds=1):
        await until(lambda: platform.has_seen(61))
        await hub.tx.execute("DELETE FROM event")
        await asyncio.sleep(2.5)  # past two timeouts
        sent = len(platform.requests)
        await asyncio.sleep(1.5)
        assert len(platform.requests) == sent
        assert 60 <= sent < 300
        assert (await hub.settled())["skipped"] >= 200


async def test_a_reason_that_deliveries_share_shows_the_personal_data_of_none(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(200, text='{"each": ["no 81.2.69.142", "no 81.2.69.142"]}')
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 1, readable={"client_ip_address": "81.2.69.142"})
    await hub.put([to], 1, readable={"client_ip_address": "81.2.69.143"})
    async with hub.worker():
        assert await hub.settled() == {"failed": 2}
    assert len(platform.requests) == 1
    assert await hub.rows("reason") == [("no [private]",)] * 2


async def test_an_answer_that_the_database_cannot_store_does_not_stop_the_lane(hub: Hub, platform: Receiver) -> None:
    platform.answer = refuse(400, text="\x00\ufffe\udcff".encode("utf-8", "surrogatepass").decode("latin-1"))
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 2)
    async with hub.worker():
        assert await hub.settled() == {"failed": 2}


@pytest.mark.parametrize(("status", "ours"), [(200, "taken"), (503, "answered 503"), (400, "answered 400")])
async def test_what_is_said_of_many_is_kept_with_none_of_them(
    hub: Hub, platform: Receiver, status: int, ours: str
) -> None:
    """It may quote any of them, and an erasure would find it with its own event alone."""

    async def quote(ids: list[str]) -> web.StreamResponse:
        is_first = len(platform.requests) == 1
        words = f"taken; {', '.join(ids)}" if status == 200 else ", ".join(ids)
        return web.json_response({"words": words}, status=status if is_first else 200)

    platform.answer = quote
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 4, prefix="quoted-")
    async with hub.worker():
        assert await hub.settled() == {"delivered": 4}
    told = await hub.attempts("reason, response", "n = 1")
    assert told == [(ours, None)] * 4
    alone = await hub.attempts("response", "response IS NOT NULL")
    assert all(response.count("quoted-") == 1 for (response,) in alone)
