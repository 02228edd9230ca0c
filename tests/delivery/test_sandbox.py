"""The first connectors against their platforms' stand-ins, while these misbehave: nothing is lost, nothing counts twice
where the platform drops repeats, and the ledger balances."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from postback.destinations import Destination
from postback.event import Order, Page
from postback.money import Money
from tests.delivery.delivering import Hub, until
from tests.delivery.stand_ins import StandIn, StandIns

COUNT = 12
# The state in which every delivery ends or rests, by fault: for ever for those that do not pass.
PASSING = [("429", 1), ("500", 2), ("slow", 2), ("down", 2), ("reset", 2), ("garbage", 1)]


async def install(hub: Hub, platform: StandIn) -> Destination:
    configs: dict[str, dict[str, Any]] = {
        "meta": {"dataset_id": "123", "access_token": "EAAB", "endpoint": platform.endpoint},
        "ga4": {"measurement_id": "G-ABC1234567", "api_secret": "s3cr3t", "endpoint": platform.endpoint},
        "webhook": {"url": f"{platform.endpoint}/in", "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
        "tiktok": {"pixel_code": "C3QABC", "access_token": "tt", "endpoint": platform.endpoint},
    }
    return await hub.install(platform.name, **configs[platform.name])


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
    hub: Hub, stand_ins: StandIns, connector: str, mode: str, times: int
) -> None:
    if (connector, mode) == ("meta", "429"):
        return  # waits a minute, see below
    to = await install(hub, stand_ins[connector])
    await stand_ins[connector].fault(mode, times=times, **({"delay_ms": 3000} if mode == "slow" else {}))
    await purchases(hub, to)
    async with hub.worker(send_timeout_seconds=1):
        assert await hub.settled(seconds=20) == {"delivered": COUNT}
    await hub.balances(to)
    answered = [r for r in await stand_ins[connector].requests() if r["status"] in (200, 204)]
    assert answered


async def test_a_minute_goes_by_after_meta_has_asked_for_fewer_calls(hub: Hub, stand_ins: StandIns) -> None:
    to = await install(hub, stand_ins["meta"])
    await stand_ins["meta"].fault("429")
    await purchases(hub, to)
    async with hub.worker():

        async def is_taught() -> bool:
            return (await hub.lane(to)).not_before is not None

        await until(is_taught)
        before = len(await stand_ins["meta"].requests())
        await purchases(hub, to)
        await asyncio.sleep(1.5)
        assert len(await stand_ins["meta"].requests()) == before
    assert (await hub.lane(to)).rate is not None
    [hour] = await hub.balances(to)
    assert hour.pending == 2 * COUNT


@pytest.mark.parametrize("connector", ["meta", "ga4", "webhook", "tiktok"])
@pytest.mark.parametrize("mode", ["down", "hang", "500"])
async def test_a_platform_that_stays_away_keeps_its_queue(
    hub: Hub, stand_ins: StandIns, connector: str, mode: str
) -> None:
    to = await install(hub, stand_ins[connector])
    await stand_ins[connector].fault(mode)
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
    hub: Hub, stand_ins: StandIns, connector: str
) -> None:
    to = await install(hub, stand_ins[connector])
    await stand_ins[connector].fault("auth")
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
async def test_a_batch_is_refused_for_one_event_and_the_others_arrive(
    hub: Hub, stand_ins: StandIns, connector: str
) -> None:
    to = await install(hub, stand_ins[connector])
    await stand_ins[connector].fault("reject_event", match="p7-0")
    await purchases(hub, to)
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT - 1, "failed": 1}
    await hub.balances(to)
    [(reason, fix)] = await hub.rows("reason, fix", "status = 'failed'")
    assert reason
    assert fix
    taken = Counter(
        event["event_id"]
        for r in await stand_ins[connector].requests()
        if r["status"] == 200 and (connector == "meta" or "p7-0" not in r["raw"])
        for event in r["body"]["data"]
    )
    assert set(taken.values()) == {1}
    assert len(taken) == COUNT - 1
