"""Sales of orders that are taken back: while the purchase is on its way, and when somebody would replay it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from postback import conversions
from postback.conversions import ORDER_CANCELLED, Held
from postback.db.trip import Trip
from postback.destinations import Destination
from postback.event import Order
from postback.orders import Entry, Ledger
from postback.queue import sending
from tests.delivery.delivering import Hub, Receiver, until
from tests.delivery.replaying import estimated, finish, make

Answer = Callable[[], Awaitable[web.StreamResponse]]


@pytest.fixture
async def to(hub: Hub, platform: Receiver) -> Destination:
    return await hub.install("careful", url=platform.url, token="t0ken")


async def end_sales(hub: Hub, ids: Sequence[UUID]) -> None:
    """As the flush does that cancels their orders."""
    async with hub.tx.transaction():
        trip = Trip(hub.tx, hub.prepared)
        conversions.end_sales(trip, [id_.bytes for id_ in ids], datetime.now(UTC))
        await trip.run()


async def taken() -> web.StreamResponse:
    return web.Response(text="{}")


async def unavailable() -> web.StreamResponse:
    return web.Response(status=503)


async def nothing() -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


@pytest.mark.parametrize(
    ("connector", "answer", "status", "reason"),
    [
        ("careful", taken, "delivered", None),
        ("careful", unavailable, "skipped", ORDER_CANCELLED),
        ("careful", nothing, "failed", "outcome unknown: "),
        ("acme", nothing, "failed", "outcome unknown: "),  # safe to repeat, had the order not been taken back
    ],
)
async def test_a_sale_that_is_on_its_way_when_its_order_is_cancelled_ends_as_the_platform_answers(
    hub: Hub, platform: Receiver, connector: str, answer: Answer, status: str, reason: str | None
) -> None:
    to = await hub.install(connector, url=platform.url, token="t0ken")
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(ids: list[str]) -> web.StreamResponse:
        arrived.set()
        await cancelled.wait()
        return await answer()

    platform.answer = slow
    [id_] = await hub.put([to], name="purchase", order=Order(id="o-1"))
    async with hub.worker(send_timeout_seconds=1):
        await arrived.wait()
        await end_sales(hub, [id_])
        assert await hub.rows("status, reason") == [("skipped", ORDER_CANCELLED)]
        cancelled.set()

        async def has_ended() -> bool:
            return bool(await hub.attempts("n", "outcome IS NOT NULL"))

        await until(has_ended)
    [(is_now, why, fix, tries)] = await hub.rows("status, reason, fix, attempt")
    assert (is_now, tries) == (status, 1)
    assert why is None if reason is None else why.startswith(reason)
    assert bool(fix) == (status == "failed")
    if connector == "acme":
        assert fix == sending.TAKEN_BACK_FIX
    assert len(platform.requests) == 1
    await hub.balances(to)


async def test_a_sale_whose_order_was_taken_back_since_is_neither_replayed_nor_backfilled(
    hub: Hub, to: Destination
) -> None:
    site_id, now = uuid4(), datetime.now(UTC)
    ids = {
        order: (await hub.put([to], name="purchase", prefix=order, site_id=site_id, order=Order(id=order)))[0]
        for order in ("stands", "cancelled", "refunded")
    }
    rows = "UPDATE delivery SET status = 'failed', reason = 'no email', settled_at = now()"
    await hub.tx.execute(rows)
    held = [
        Held(
            conversions.key_of(site_id.bytes, order), site_id.bytes, order,
            Ledger([Entry(id_.hex, "completed")], counted_by=id_.hex), "completed" if order == "stands" else order,
        )
        for order, id_ in ids.items()
    ]  # fmt: skip
    async with hub.tx.transaction():
        trip = Trip(hub.tx, hub.prepared)
        conversions.insert_new(trip, held, now)
        await trip.run()
    job = await make(hub, "replay", to)
    assert await estimated(hub, job, to) == (1, 0)
    assert (await finish(hub, job, to)).done == 1
    assert await hub.rows("event_id", "status = 'queued'") == [(ids["stands"],)]
    other = await hub.install("careful", url="http://x/", token="t0ken")
    job = await finish(hub, await make(hub, "backfill", other), other)
    assert (job.done, job.skipped) == (1, 2)
    where = f"destination_id = '{other.id}' AND status = 'skipped'"
    assert await hub.rows("reason", where) == [(ORDER_CANCELLED,)] * 2
