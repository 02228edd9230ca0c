"""Deliveries on their way, through a real worker, to a platform that answers as told."""

from collections import Counter

from delivering import Hub, Receiver


async def test_what_is_queued_is_delivered_once_and_the_ledger_balances(hub: Hub, platform: Receiver) -> None:
    to = await hub.install("acme", url=platform.url, token="t0ken")
    await hub.put([to], 95, flushes=7)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 95}
    assert Counter(platform.ids) == Counter(f"e{n}" for n in range(95))
    assert Counter(await hub.attempts("outcome, status, n")) == {("delivered", 200, 1): 95}
    [hour] = await hub.balances(to)
    assert (hour.accepted, hour.delivered) == (95, 95)
