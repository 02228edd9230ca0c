"""Workers: they share the buckets, take over from the dead, and end without loss."""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from uuid import UUID

import psycopg
import pytest
from aiohttp import web

from postback import worker
from postback.connectors import catalog
from postback.db import Pool, connect
from postback.delivery.leases import Leases
from postback.installation import Made
from postback.secret import Secret
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver, open_hub, settings, until, working


@pytest.fixture
async def hub(database: Secret, installed: Made, pool: Pool):
    catalog().update(FOR_TESTS)
    opened = await open_hub(database, pool)
    yield opened
    await opened.tx.close()
    for name in FOR_TESTS:
        del catalog()[name]


@pytest.fixture
async def platform():
    async with Receiver().serve() as receiver:
        yield receiver


async def test_two_workers_share_the_buckets_and_send_nothing_twice(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    async with hub.worker() as first, hub.worker() as second:

        async def is_shared() -> bool:
            return len(first.leases.epochs) == len(second.leases.epochs) == 32

        await until(is_shared)
        assert not first.leases.epochs.keys() & second.leases.epochs.keys()
        await hub.put([to], 640, flushes=64)
        assert await hub.settled() == {"delivered": 640}
        assert 0 < first.settled < 640
    assert Counter(platform.ids).most_common(1)[0][1] == 1
    await hub.balances(to)


@pytest.mark.parametrize("count", [1, 3, 5, 9, 14, 33, 64])
async def test_every_worker_gets_a_fair_share(database: Secret, installed: Made, count: int) -> None:
    tx = await connect(database)
    workers = [Leases(UUID(int=number), 60) for number in range(count)]
    for _ in range(4):
        for one in workers:
            await one.renew(tx, lambda bucket: False)
    held = sorted(len(one.epochs) for one in workers)
    await tx.close()
    assert sum(held) == 64
    assert held[-1] - held[0] <= 1, held


async def test_a_worker_that_joins_under_load_takes_its_share_without_a_repeat(hub: Hub, platform: Receiver) -> None:
    async def slow(ids: list[str]) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return web.Response(text="{}")

    platform.answer = slow
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 300, flushes=64)
    async with hub.worker() as first:
        await until(lambda: _saw(platform, 20))
        async with hub.worker() as second:
            assert await hub.settled(seconds=60) == {"delivered": 300}
            assert second.settled > 0
            assert first.settled + second.settled == 300
    assert len(platform.ids) == 300
    await hub.balances(to)


async def _saw(platform: Receiver, count: int) -> bool:
    return len(platform.requests) >= count


async def test_a_dead_workers_buckets_are_taken_over_and_its_deliveries_go_out(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DEAD_WORKER, hub.dsn.reveal(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )  # fmt: skip
    assert child.stdout is not None
    assert (await child.stdout.readline()).strip() == b"holds 64"
    async with hub.worker() as survivor:
        await asyncio.sleep(0.5)
        assert len(survivor.leases.epochs) < 64
        child.kill()
        await child.wait()
        died = time.monotonic()
        await hub.put([to], 64, flushes=64)

        async def has_all() -> bool:
            return len(survivor.leases.epochs) == 64

        await until(has_all, seconds=8)
        assert time.monotonic() - died < 2 * 10 / 8 + 1  # a lease of 8 s is taken over within 10
        assert await hub.settled() == {"delivered": 64}
    await hub.balances(to)


DEAD_WORKER = """
import asyncio, sys
from uuid import UUID
from postback.db import connect
from postback.delivery.leases import Leases
from postback.secret import Secret
async def main():
    tx = await connect(Secret(sys.argv[1]))
    mine = Leases(UUID(int=77), 2)
    while True:
        await mine.renew(tx, lambda bucket: True)
        print("holds", len(mine.epochs), flush=True)
        await asyncio.sleep(0.25)
asyncio.run(main())
"""


async def test_a_worker_that_stops_settles_what_is_under_way_and_gives_its_buckets_back(
    hub: Hub, platform: Receiver
) -> None:
    async def slow(ids: list[str]) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(text="{}")

    platform.answer = slow
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 50, flushes=5)
    async with hub.worker():
        await until(lambda: _saw(platform, 4))
    statuses = await hub.statuses()
    assert statuses["delivered"] == len(platform.requests)
    assert statuses["queued"] == 50 - len(platform.requests)
    assert await hub.attempts("n", "outcome IS NULL") == []
    [(owned,)] = await (await hub.tx.execute("SELECT count(*) FROM lease WHERE owner IS NOT NULL")).fetchall()
    assert owned == 0
    [(workers,)] = await (await hub.tx.execute("SELECT count(*) FROM worker")).fetchall()
    assert workers == 0
    platform.answer = platform.take
    async with hub.worker():
        assert await hub.settled() == {"delivered": 50}
    assert len(platform.ids) == 50
    await hub.balances(to)


async def test_a_worker_whose_connections_are_cut_goes_on_and_repeats_nothing(hub: Hub, platform: Receiver) -> None:
    async def slow(ids: list[str]) -> web.StreamResponse:
        await asyncio.sleep(0.01)
        return web.Response(text="{}")

    platform.answer = slow
    to = await hub.install("careful", url=platform.url, token="t0ken")
    await hub.put([to], 200, flushes=20)
    async with hub.worker():
        for _ in range(3):
            await asyncio.sleep(0.15)
            with contextlib.suppress(psycopg.Error):
                await hub.tx.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )
        counts = await hub.settled(seconds=20)
    assert counts == {"delivered": 200}
    assert Counter(platform.ids).most_common(1)[0][1] == 1
    await hub.balances(to)


async def test_a_worker_waits_for_a_database_that_is_not_installed_yet(empty_database: Secret) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.work(settings(), empty_database, stop))
    await asyncio.sleep(0.3)
    assert not task.done()
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_worker_without_work_is_nearly_idle(hub: Hub, platform: Receiver) -> None:
    for _ in range(3):
        await hub.install("acme", url=platform.url, token="t0ken")
    async with working(hub.dsn, settings(lease_seconds=8)):
        await asyncio.sleep(1)
        cpu, began = time.process_time(), time.monotonic()
        await asyncio.sleep(2)
        used = (time.process_time() - cpu) / (time.monotonic() - began)
    assert used < 0.1  # the figure itself stands in the benchmarks
