"""A destination's blueprint, through a real worker: what is sent, what is skipped, and that a change is noticed."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from postback import destinations
from postback.blueprint import Blueprint, Rule
from postback.destinations import Destination
from tests.delivery.delivering import Hub, Receiver, until


async def write(hub: Hub, to: Destination, *rules: dict[str, Any]) -> Destination:
    blueprint = msgspec.json.decode(msgspec.json.encode({"rules": rules}), type=Blueprint)
    async with hub.tx.transaction():
        return await destinations.write_blueprint(hub.tx, to, blueprint, by="a test", now=datetime.now(UTC))


async def test_what_a_filter_leaves_out_is_skipped_and_the_ledger_balances(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await write(hub, to, {"event": "purchase"}, {"event": "*", "filter": "name == 'signup'"})
    for name in ("purchase", "lead", "signup"):
        await hub.put([to], 5, prefix=name, name=name)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 10, "skipped": 5}
    assert {id_.rstrip("0123456789") for id_ in platform.ids} == {"purchase", "signup"}
    assert set(await hub.rows("reason", "status = 'skipped'")) == {
        ("not mapped: no filter of the blueprint holds for this lead",)
    }
    [hour] = await hub.balances(to)
    assert (hour.accepted, hour.delivered) == (15, 10)


async def test_a_worker_that_runs_goes_by_the_blueprint_that_was_written_last(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    async with hub.worker() as running:
        await hub.put([to], 3, prefix="a")
        assert await hub.settled() == {"delivered": 3}
        await write(hub, to, {"event": "purchase", "to": "unfit"})

        async def is_noticed() -> bool:
            return running.lanes[to.id].destination.blueprint_version == 1

        await until(is_noticed)
        await hub.put([to], 4, prefix="b", name="purchase")
        assert await hub.settled() == {"delivered": 3, "skipped": 4}


async def test_versions_that_are_written_at_once_are_numbered_in_turn(hub: Hub) -> None:
    to = await hub.install("acme", url="http://127.0.0.1:9", token="t0ken")

    async def one(name: str) -> int:
        blueprint = Blueprint((Rule(event=name),))
        async with hub.pool.connection() as tx, tx.transaction():
            written = await destinations.write_blueprint(tx, to, blueprint, by=name, now=datetime.now(UTC))
            return written.blueprint_version

    assert sorted(await asyncio.gather(*(one(name) for name in "abcd"))) == [1, 2, 3, 4]


async def test_a_blueprint_that_no_longer_holds_keeps_the_queue_and_harms_no_other(hub: Hub) -> None:
    to, other = [await hub.install("acme", url="http://127.0.0.1:9", token="t0ken") for _ in range(2)]
    await write(hub, to, {"event": "lead"})
    await hub.tx.execute("""UPDATE blueprint SET body = '{"rules": [{"event": "x", "filter": "gone == 1"}]}'""")
    known = {one.id: one for one in await destinations.of_workspaces(hub.tx, hub.vault.sealer, [hub.workspace.id])}
    assert known[to.id].config is None
    assert known[other.id].config is not None
