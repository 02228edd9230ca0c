"""Kills under load: a random one of API, worker and PostgreSQL dies while events come in without a pause.

Used by the test (12 kills in 120 s, beside other tests) and by `make soak ROUNDS=200`, which prints its figures.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter

import aiohttp
from msgspec import Struct

from tests.faults.hub import Hub, installation, purchase

ROLES = ("api", "worker", "postgres")
CLIENTS = 8


class Figures(Struct):
    """What a run counted. `slowest_recovery_seconds`: from a kill to the next acknowledged event."""

    kills: Counter[str]
    acknowledged: int = 0
    repeats: int = 0
    refused: int = 0
    slowest_recovery_seconds: float = 0.0
    seconds: float = 0.0


class Load:
    """Clients that post one event after the other, each until it is acknowledged, with the same id."""

    def __init__(self, hub: Hub, between_seconds: float) -> None:
        self.hub = hub
        self.between_seconds = between_seconds
        self.acknowledged: dict[str, str] = {}
        self.last_acknowledged = time.monotonic()
        self.figures = Figures(Counter())
        self.stopping = False

    async def client(self, number: int) -> None:
        count = 0
        while not self.stopping:
            event_id = f"kill-{number}-{count}"
            await self.post(event_id)
            count += 1
            await asyncio.sleep(self.between_seconds)

    async def post(self, event_id: str) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                status, body = await self.hub.post(purchase(event_id))
                if status == 202:
                    self.acknowledged[event_id] = body["status"]
                    self.figures.repeats += body["status"] == "duplicate"
                    self.last_acknowledged = time.monotonic()
                    return
                assert status in (503, 408), (status, body)
                self.figures.refused += 1
            await asyncio.sleep(0.05)


async def run(
    hub: Hub,
    *,
    rounds: int,
    pause_seconds: float,
    seed: int,
    least_seconds: float = 0,
    between_seconds: float = 0.02,  # a load that the stand-ins, which share the two cores, keep up with
) -> tuple[Figures, set[str]]:
    """Kill `rounds` times under a load that lasts `least_seconds`; the figures and the ids that were acknowledged."""
    dice = random.Random(seed)
    load = Load(hub, between_seconds)
    began = time.monotonic()
    clients = [asyncio.create_task(load.client(n)) for n in range(CLIENTS)]
    for _ in range(rounds):
        await asyncio.sleep(pause_seconds * dice.uniform(0.5, 1.5))
        role = dice.choice(ROLES)
        # A child that was just killed may not be back yet.
        while not (pids := hub.processes(role)):
            await asyncio.sleep(0.1)
        killed = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGKILL)
        load.figures.kills[role] += 1
        while load.last_acknowledged <= killed:
            for client in clients:
                if client.done():
                    client.result()
            assert time.monotonic() - killed < 60, f"nothing is acknowledged 60 s after the kill of {role}"
            await asyncio.sleep(0.02)
        load.figures.slowest_recovery_seconds = max(
            load.figures.slowest_recovery_seconds, load.last_acknowledged - killed
        )
    await asyncio.sleep(max(0.0, began + least_seconds - time.monotonic()))
    load.stopping = True
    await asyncio.gather(*clients)
    load.figures.acknowledged = len(load.acknowledged)
    load.figures.seconds = time.monotonic() - began
    return load.figures, set(load.acknowledged)


async def check(hub: Hub, acknowledged: set[str]) -> dict[str, int]:
    """Every acknowledged event is stored exactly once, every delivery ended, the ledger balances. Counts by status."""
    await hub.until_settled(seconds=120)
    stored = Counter(row[0] for row in await hub.rows("SELECT event_id FROM event"))
    assert not (missing := acknowledged - stored.keys()), (
        f"{len(missing)} acknowledged events are lost: {sorted(missing)[:5]}"
    )
    assert not (twice := [e for e, n in stored.items() if n > 1]), f"stored twice: {twice[:5]}"
    [(events,)] = await hub.rows("SELECT count(*) FROM event")
    [(deliveries,)] = await hub.rows("SELECT count(*) FROM delivery")
    assert deliveries == events * len(hub.destinations)
    code, text = await hub.ledger()
    assert code == 0, text
    return dict(await hub.rows("SELECT status, count(*)::int FROM delivery GROUP BY status"))


async def soak(rounds: int) -> None:
    async with installation(api_processes=2) as hub:
        for connector in ("meta", "ga4", "webhook"):
            await hub.install(connector)
        figures, acknowledged = await run(hub, rounds=rounds, pause_seconds=3, seed=int(time.time()))
        ended = await check(hub, acknowledged)
    print(f"{rounds} kills in {figures.seconds:.0f} s: {dict(figures.kills)}")
    print(
        f"{figures.acknowledged} events acknowledged, {figures.repeats} of them after a lost answer, none lost, none twice"
    )
    print(f"{figures.refused} requests answered 503; slowest recovery {figures.slowest_recovery_seconds:.1f} s")
    print(f"deliveries by end: {ended}; the ledger balances")


if __name__ == "__main__":
    asyncio.run(soak(int(sys.argv[1])))
