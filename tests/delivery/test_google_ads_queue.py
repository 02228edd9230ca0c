"""Google Ads on the queue as the flush writes it: faults that pass, tokens that end, batches that are refused."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from postback.destinations import Destination
from postback.event import Order
from postback.money import Money
from tests.delivery.delivering import Hub, until
from tests.delivery.stand_ins import GOOGLE_ADS, StandIn

COUNT = 12


async def on_the_queue(hub: Hub, google: StandIn, **more: Any) -> Destination:
    return await hub.install("google_ads", **GOOGLE_ADS | {"endpoint": google.endpoint} | more)


async def purchases(hub: Hub, to: Destination) -> None:
    for n in range(COUNT):
        await hub.put(
            [to], 1, name="purchase", prefix=f"p{n}-", value=Money(Decimal("9.90"), "EUR"), order=Order(id=f"o{n}."),
            user={"email_google_sha256": f"{n:064x}"},
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["429", "500", "down", "garbage"])
async def test_a_fault_that_passes_costs_no_delivery(hub: Hub, google: StandIn, mode: str) -> None:
    to = await on_the_queue(hub, google)
    await google.fault(mode, times=1, match="transactionId")
    await purchases(hub, to)
    async with hub.worker(send_timeout_seconds=1):
        assert await hub.settled(seconds=20) == {"delivered": COUNT}
    await hub.balances(to)
    assert len(await google.requests("/token")) == 1


async def test_an_oauth_server_that_is_away_for_a_while_costs_no_delivery(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await google.fault("down", times=1, match="grant_type")
    await purchases(hub, to)
    async with hub.worker():
        assert await hub.settled(seconds=20) == {"delivered": COUNT}
    assert len(await google.requests("/token")) == 2


async def test_a_token_that_google_ends_early_is_renewed_and_nothing_is_held(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await google.fault("auth", times=1, match="transactionId")
    await purchases(hub, to)
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT}
    assert len(await google.requests("/token")) == 2
    assert (await hub.lane(to)).state == "active"
    assert await hub.attempts("outcome", "outcome <> 'delivered'") == []


async def test_a_token_that_google_never_takes_holds_the_destination(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await google.fault("auth", match="transactionId")
    await purchases(hub, to)
    async with hub.worker():

        async def is_held() -> bool:
            return (await hub.lane(to)).state == "held"

        await until(is_held)
    assert "401" in str((await hub.lane(to)).reason)
    assert (await hub.lane(to)).fix
    assert sum(hour.held for hour in await hub.balances(to)) == COUNT


async def test_two_workers_share_one_token(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await purchases(hub, to)
    async with hub.worker(), hub.worker():
        assert await hub.settled() == {"delivered": COUNT}
    assert len(await google.requests("/token")) == 1


async def test_a_batch_refused_for_one_event_is_halved_and_the_others_arrive(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await google.fault("reject_event", match='"o7."')
    await purchases(hub, to)
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT - 1, "failed": 1}
    await hub.balances(to)
    assert await google.accepted() == COUNT - 1


async def test_events_that_google_names_fail_and_the_rest_is_sent_again(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await purchases(hub, to)
    bad = {"email_google_sha256": "not a hash"}
    await hub.put([to], 1, name="purchase", prefix="bad", user=bad, order=Order(id="o-bad"))
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT, "failed": 1}
    [(reason,)] = await hub.rows("reason", "status = 'failed'")
    assert "INVALID_SHA256_FORMAT" in reason
    assert await google.accepted() == COUNT


async def test_conversions_of_two_actions_do_not_share_a_request(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await purchases(hub, to)
    await hub.put([to], 3, name="lead", user={"email_google_sha256": "a" * 64})
    async with hub.worker():
        assert await hub.settled() == {"delivered": COUNT + 3}
    actions = {
        r["body"]["destinations"][0]["productDestinationId"]: len(r["body"]["events"])
        for r in await google.requests("events:ingest")
    }
    assert actions == {"555666777": COUNT, "555666778": 3}


async def test_the_events_of_one_order_are_one_conversion(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    for prefix in ("first", "second"):
        await hub.put([to], 1, name="purchase", prefix=prefix, order=Order(id="o-1"), click_ids={"gclid": "x"})
    async with hub.worker():
        assert await hub.settled() == {"delivered": 2}
    sent = [e["transactionId"] for r in await google.requests("events:ingest") for e in r["body"]["events"]]
    assert sent == ["o-1", "o-1"]


async def test_the_loop_ends_without_a_renewal_under_way(hub: Hub, google: StandIn) -> None:
    to = await on_the_queue(hub, google)
    await google.fault("hang", match="grant_type")
    await purchases(hub, to)
    async with hub.worker(send_timeout_seconds=1):

        async def is_asked() -> bool:
            return bool(await google.requests("/token"))

        await until(is_asked)
    assert not [task for task in asyncio.all_tasks() if "Tokens._renew" in repr(task)]
    assert (await hub.statuses()).keys() <= {"queued", "retrying"}
