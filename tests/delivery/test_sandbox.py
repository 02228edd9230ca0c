"""The first connectors against their platforms' stand-ins, while these misbehave: nothing is lost, nothing counts twice
where the platform drops repeats, and the ledger balances."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from delivering import Hub, until

from postback import sandbox
from postback.destinations import Destination
from postback.event import Order, Page
from postback.money import Money

COUNT = 12
# The state in which every delivery ends or rests, by fault: for ever for those that do not pass.
PASSING = [("429", 1), ("500", 2), ("slow", 2), ("down", 2), ("reset", 2), ("garbage", 1)]


@pytest.fixture
async def platforms() -> AsyncIterator[str]:
    running = await sandbox.start("127.0.0.1", 0)
    yield running.url
    await running.stop()


async def install(hub: Hub, url: str, connector: str) -> Destination:
    configs: dict[str, dict[str, Any]] = {
        "meta": {"dataset_id": "123", "access_token": "EAAB", "endpoint": f"{url}/meta"},
        "ga4": {"measurement_id": "G-ABC1234567", "api_secret": "s3cr3t", "endpoint": f"{url}/ga4"},
        "webhook": {"url": f"{url}/webhook/in", "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
        "tiktok": {"pixel_code": "C3QABC", "access_token": "tt", "endpoint": f"{url}/tiktok"},
    }
    return await hub.install(connector, **configs[connector])


async def fault(url: str, platform: str, mode: str, **more: Any) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.put(f"{url}/_sandbox/faults", json={"platform": platform, "mode": mode, **more})
        assert answer.status == 200


async def arrived(url: str, platform: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{url}/_sandbox/requests?platform={platform}")
        return (await answer.json())["requests"]


async def purchases(hub: Hub, to: Destination) -> None:
    for n in range(COUNT):
        await hub.put(
            [to], 1, name="purchase", prefix=f"p{n}-", value=Money(Decimal("9.90"), "EUR"), order=Order(id=f"o{n}"),
            user={"email_sha256": f"{n:064x}", "external_id_sha256": f"{n:064x}"},
            page=Page(url="https://shop.example.com/thanks"),
        )  # fmt: skip


@pytest.mark.parametrize("connector", ["meta", "ga4", "webhook", "tiktok"])
@pytest.mark.parametrize(("mode", "times"), PASSING)
async def test_a_fault_that_passes_costs_no_delivery(
    hub: Hub, platforms: str, connector: str, mode: str, times: int
) -> None:
    if (connector, mode) == ("meta", "429"):
        return  # waits a minute, see below
    to = await install(hub, platforms, connector)
    await fault(platforms, connector, mode, times=times, **({"delay_ms": 3000} if mode == "slow" else {}))
    await purchases(hub, to)
    async with hub.worker(send_timeout_seconds=1):
        assert await hub.settled(seconds=20) == {"delivered": COUNT}
    await hub.balances(to)
    answered = [r for r in await arrived(platforms, connector) if r["status"] in (200, 204)]
    assert answered


async def test_a_minute_goes_by_after_meta_has_asked_for_fewer_calls(hub: Hub, platforms: str) -> None:
    to = await install(hub, platforms, "meta")
    await fault(platforms, "meta", "429")
    await purchases(hub, to)
    async with hub.worker():

        async def is_taught() -> bool:
            return (await hub.lane(to)).not_before is not None

        await until(is_taught)
        before = len(await arrived(platforms, "meta"))
        await purchases(hub, to)
        await asyncio.sleep(1.5)
        assert len(await arrived(platforms, "meta")) == before
    assert (await hub.lane(to)).rate is not None
    [hour] = await hub.balances(to)
    assert hour.pending == 2 * COUNT


@pytest.mark.parametrize("connector", ["meta", "ga4", "webhook", "tiktok"])
@pytest.mark.parametrize("mode", ["down", "hang", "500"])
async def test_a_platform_that_stays_away_keeps_its_queue(hub: Hub, platforms: str, connector: str, mode: str) -> None:
    to = await install(hub, platforms, connector)
    await fault(platforms, connector, mode)
    await purchases(hub, to)
    async with hub.worker(send_timeout_seconds=1):

        async def was_tried() -> bool:
            return len(await hub.attempts("n", "outcome IS NOT NULL")) >= 3

        await until(was_tried)
    assert (await hub.statuses()).keys() <= {"queued", "retrying"}
    [hour] = await hub.balances(to)
    assert hour.pending == COUNT


@pytest.mark.parametrize("connector", ["meta", "webhook", "tiktok"])
async def test_what_a_platform_says_of_the_credential_or_the_event_is_heard(
    hub: Hub, platforms: str, connector: str
) -> None:
    to = await install(hub, platforms, connector)
    await fault(platforms, connector, "auth")
    await purchases(hub, to)
    async with hub.worker():
        if connector == "webhook":  # the specification retries every answer but 2xx and 410

            async def was_tried() -> bool:
                return len(await hub.attempts("n", "outcome = 'retry'")) >= 1

            await until(was_tried)
        else:

            async def is_held() -> bool:
                return (await hub.lane(to)).state == "held"

            await until(is_held)
            assert (await hub.lane(to)).fix
    hours = await hub.balances(to)
    assert sum(hour.held + hour.pending for hour in hours) == COUNT


@pytest.mark.parametrize("connector", ["meta", "tiktok"])
async def test_a_batch_is_refused_for_one_event_and_the_others_arrive(hub: Hub, platforms: str, connector: str) -> None:
    to = await install(hub, platforms, connector)
    await fault(platforms, connector, "reject_event", match="p7-0")
    await purchases(hub, to)
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT - 1, "failed": 1}
    await hub.balances(to)
    [(reason, fix)] = await hub.rows("reason, fix", "status = 'failed'")
    assert reason
    assert fix
    taken = Counter(
        event["event_id"]
        for r in await arrived(platforms, connector)
        if r["status"] == 200 and (connector == "meta" or "p7-0" not in r["raw"])
        for event in r["body"]["data"]
    )
    assert set(taken.values()) == {1}
    assert len(taken) == COUNT - 1
