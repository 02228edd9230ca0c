"""Limits and orders over two API processes of a real installation, which are killed meanwhile."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postback.orders import RANK, STATUSES
from tests.faults.hub import Hub, installation

pytestmark = pytest.mark.long(20)

FEW = settings(max_examples=30)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with installation(api_processes=2) as hub:
        yield hub


class Racer:
    """A client with a connection of its own that sends one event after the other until it is told 429."""

    def __init__(self, hub: Hub, number: int, key: str, most: int) -> None:
        self.hub, self.number, self.key, self.most = hub, number, key, most
        self.accepted = 0
        self.was_refused = False

    async def run(self) -> None:
        for count in range(self.most):
            if await self.post(f"{self.number}-{count}") == 429:
                self.was_refused = True
                return
            self.accepted += 1

    async def post(self, event_id: str) -> int:
        """The status, once there is one: who is not answered sends the same again."""
        headers = {"Authorization": f"Bearer {self.key}", "Connection": "close"}
        body = {"event": "lead", "event_id": event_id}
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.hub.http.post(f"{self.hub.url}/v1/events", json=body, headers=headers) as answer:
                    if answer.status in (202, 429):
                        return answer.status
                    assert answer.status == 503, await answer.text()
            await asyncio.sleep(0.05)


async def race(racers: list[Racer], *, kill_after: int | None = None, roles: tuple[str, ...] = ()) -> None:
    """Let all run to their end; meanwhile, past so many events, kill a process of each role."""
    tasks = [asyncio.create_task(racer.run()) for racer in racers]
    if kill_after is not None:
        while sum(racer.accepted for racer in racers) < kill_after:
            await asyncio.sleep(0.005)
        victims = {role: racers[0].hub.processes(role)[0] for role in roles}
        assert sum(racer.accepted for racer in racers) < racers[0].most
        for pid in victims.values():
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*tasks)
        await racers[0].hub.until_ready()
        for role, pid in victims.items():
            assert pid not in racers[0].hub.processes(role), role
    await asyncio.gather(*tasks)


async def test_20_clients_of_one_key_over_two_processes_send_as_many_as_its_minute_allows(hub: Hub) -> None:
    body = {"label": "shop", "scopes": ["ingest"], "rate_limit_per_minute": 1000}
    key = (await hub.admin("POST", "/v1/admin/keys", body, expect=201))["key"]
    racers = [Racer(hub, number, key, 200) for number in range(20)]
    await race(racers)
    accepted = sum(racer.accepted for racer in racers)
    assert 1000 <= accepted <= 1010
    assert all(racer.was_refused for racer in racers)
    assert await hub.rows("SELECT count(*)::int FROM event") == [(accepted,)]
    assert await hub.rows("SELECT count(DISTINCT writer)::int FROM usage") == [(2,)]


@pytest.mark.parametrize(("overage", "most", "roles"), [(False, 100, ("api", "postgres")), (True, 300, ("api",))])
async def test_a_cap_is_exact_while_16_clients_race_and_processes_are_killed(
    hub: Hub, overage: bool, most: int, roles: tuple[str, ...]
) -> None:
    plan = {"name": "small", "monthly_cap": 100, "overage": overage}
    made = await hub.admin("POST", "/v1/admin/plans", plan, expect=201)
    await hub.admin("PATCH", f"/v1/admin/workspaces/{hub.keys['workspace']}", {"plan": made["id"]})
    racers = [Racer(hub, number, hub.keys["api_key"], most) for number in range(16)]
    await race(racers, kill_after=most // 2, roles=roles)
    assert all(racer.was_refused for racer in racers)
    assert await hub.rows("SELECT count(*)::int FROM event") == [(most,)]
    assert await hub.rows("SELECT n::int FROM rate_window") == [(most,)]
    billed = f"SELECT sum(n)::int FROM usage WHERE destination_id = '{hub.keys['site']}'"
    assert await hub.rows(billed) == [(most,)]
    # One whose answer a kill took may have been told 429 when it came again.
    assert most - len(racers) <= sum(racer.accepted for racer in racers) <= most


async def test_any_interleaving_of_an_orders_posts_ends_where_the_rule_says_for_their_set(hub: Hub) -> None:
    """Over two processes, each post on a connection of its own; revenue never counts twice."""
    destination = await hub.install("webhook")
    numbers = iter(range(1_000_000))
    headers = {"Authorization": f"Bearer {hub.keys['api_key']}", "Connection": "close"}

    async def post(order_id: str, status: str) -> None:
        body = {
            "orderId": order_id, "storeId": hub.keys["site_key"], "organizationId": hub.keys["organization_id"],
            "visitorId": "v", "sessionId": "s", "totalCents": 4000, "currency": "EUR", "platform": "custom",
            "status": status, "orderCreatedAt": "2026-06-01T12:00:00Z", "items": [],
        }  # fmt: skip
        async with hub.http.post(f"{hub.url}/api/webhooks/orders", json=body, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, {"success": True})

    async def check(rounds: list[list[str]]) -> None:
        order_id = f"order-{next(numbers)}"
        for together in rounds:
            await asyncio.gather(*(post(order_id, status) for status in together))
        posted = {status for together in rounds for status in together}
        end = max(posted, key=RANK.__getitem__)
        assert await hub.rows(
            "SELECT o.status, (SELECT count(*)::int FROM conversion c WHERE c.order_id = o.order_id),"
            " (SELECT count(*)::int FROM event e WHERE e.order_id = o.order_id)"
            f" FROM orders o WHERE o.order_id = '{order_id}'"
        ) == [(end, 1, len(posted))]
        fates = await hub.rows(
            "SELECT convert_from(e.body, 'UTF8')::jsonb -> 'order' ->> 'status', d.status, d.reason FROM event e"
            f" JOIN delivery d ON d.event_id = e.id WHERE e.order_id = '{order_id}'"
        )
        sent = Counter(status for status, fate, _ in fates if fate != "skipped")
        assert max(sent.values(), default=0) <= 1, fates
        assert sent.keys() <= {"completed", "cancelled", "refunded"}, fates
        assert sum(sent[status] for status in ("cancelled", "refunded")) <= 1, fates
        if end == "completed":
            assert sent == {"completed": 1}, fates

    @FEW
    @given(st.lists(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=4), min_size=1, max_size=4))
    def law(rounds: list[list[str]]) -> None:
        asyncio.run_coroutine_threadsafe(check(rounds), loop).result(30)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(law)
    assert await hub.rows("SELECT count(DISTINCT writer)::int FROM usage") == [(2,)]
    await hub.until_settled(destination=destination)
    code, text = await hub.ledger()
    assert code == 0, text
