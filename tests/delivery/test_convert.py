"""Convert against its stand-in while that misbehaves; and a goal is reached once a visitor."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from postback import destinations
from postback.blueprint import Blueprint, Rule
from postback.destinations import Destination
from postback.event import Order, Page
from postback.money import Money
from tests.delivery.delivering import Hub
from tests.delivery.stand_ins import StandIn, StandIns

GOALS = {"purchase": "100136097", "/thanks": "100136098", "lead": "100136099"}


class Convert:
    """The stand-in, and destinations that deliver to it."""

    def __init__(self, hub: Hub, stand_in: StandIn) -> None:
        self.hub, self.endpoint = hub, stand_in.endpoint
        self.fault, self.arrived = stand_in.fault, stand_in.requests

    async def install(self, variant: str = "default", **more: Any) -> Destination:
        config = {"account_id": "10001234", "project_id": "20005678", "api_key": "key-of-a-test"} | more
        return await self.hub.install("convert", variant=variant, **config, endpoint=self.endpoint)

    async def told(self) -> list[dict[str, Any]]:
        """The data of each event that the tracking host took, in order."""
        return [
            event["data"]
            for request in await self.arrived()
            if request["status"] == 200
            for visitor in request["body"]["visitors"]
            for event in visitor["events"]
        ]

    async def order(self, to: Destination, visitor: str = "v-1", order_id: str = "o-1", **more: Any) -> None:
        usual: dict[str, Any] = {"name": "purchase", "value": Money(Decimal("59.90"), "USD"), "visitor_id": visitor}
        await self.hub.put([to], 1, prefix=f"{order_id}-", order=Order(id=order_id), **usual | more)

    async def last(self) -> tuple[Any, ...]:
        """The delivery that there is: status, reason, fix."""
        [row] = await self.hub.rows("status, reason, fix")
        return row


@pytest.fixture
def convert(hub: Hub, stand_ins: StandIns) -> Convert:
    return Convert(hub, stand_ins["convert"])


@pytest.mark.parametrize("variant", ["default", "tracking"])
@pytest.mark.parametrize(("mode", "times"), [("429", 1), ("500", 2), ("slow", 1)])
async def test_429_and_5xx_are_retried(hub: Hub, convert: Convert, variant: str, mode: str, times: int) -> None:
    to = await convert.install(variant, goal_map=GOALS)
    await convert.fault(mode, times=times, **({"delay_ms": 200} if mode == "slow" else {}))
    for n in range(6):
        await convert.order(to, f"v-{n}", f"o-{n}")
    async with hub.worker():
        assert await hub.settled(seconds=20) == {"delivered": 6}
    await hub.balances(to)


@pytest.mark.parametrize("variant", ["default", "tracking"])
@pytest.mark.parametrize("mode", ["down", "reset", "garbage"])
async def test_what_may_have_arrived_is_not_sent_again(hub: Hub, convert: Convert, variant: str, mode: str) -> None:
    to = await convert.install(variant, goal_map=GOALS)
    await convert.fault(mode)
    await convert.order(to)
    async with hub.worker(send_timeout_seconds=1):
        assert await hub.settled() == {"failed": 1}
    _, reason, fix = await convert.last()
    assert reason
    assert "replay it by hand" in fix
    assert len(await convert.arrived()) == 1


async def test_a_batch_is_refused_for_one_event_and_the_others_arrive(hub: Hub, convert: Convert) -> None:
    to = await convert.install("tracking", goal_map=GOALS)
    await convert.fault("reject_event", match='"v-3"')
    for n in range(6):
        await convert.order(to, f"v-{n}", f"o-{n}")
    async with hub.worker():
        assert await hub.settled() == {"delivered": 5, "failed": 1}
    await hub.balances(to)


async def test_of_a_visitors_orders_the_first_reaches_the_goal_and_all_count_as_transactions(
    hub: Hub, convert: Convert
) -> None:
    to = await convert.install("tracking", goal_map=GOALS)
    for n in range(4):
        await convert.order(to, order_id=f"o-{n}")
    async with hub.worker():
        assert await hub.settled() == {"delivered": 4}
    told = await convert.told()
    assert sum("goalData" not in data for data in told) == 1
    transactions = [one["value"] for data in told for one in data.get("goalData", ()) if one["key"] == "transactionId"]
    assert sorted(transactions) == ["o-0", "o-1", "o-2", "o-3"]


async def test_a_page_seen_again_is_skipped_also_by_the_next_worker(hub: Hub, convert: Convert) -> None:
    to = await convert.install("tracking", goal_map=GOALS)
    page = {"name": "page_view", "page": Page(url="https://shop.example.com/thanks?order=1")}
    await hub.put([to], 1, visitor_id="v-1", **page)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 1}
    await hub.put([to], 20, flushes=4, visitor_id="v-1", **page)
    await hub.put([to], 1, visitor_id="v-2", **page)
    async with hub.worker():
        assert await hub.settled() == {"delivered": 2, "skipped": 20}
    assert {row[0] for row in await hub.rows("reason", "status = 'skipped'")} == {"goal reached before"}
    assert [data["goalId"] for data in await convert.told()] == ["100136098"] * 2


async def test_what_was_not_delivered_did_not_reach_the_goal(hub: Hub, convert: Convert) -> None:
    to = await convert.install("tracking", goal_map=GOALS)
    await convert.fault("reject_event")
    await convert.order(to)
    async with hub.worker():
        assert await hub.settled() == {"failed": 1}
    await convert.fault("none")
    await convert.order(to, order_id="o-2")
    async with hub.worker():
        assert await hub.settled() == {"failed": 1, "delivered": 1}
    assert ["goalData" in data for data in await convert.told()] == [False, True]


async def test_a_goal_is_reached_by_the_event_as_the_blueprint_makes_it(hub: Hub, convert: Convert) -> None:
    to = await convert.install("tracking", goal_map=GOALS)
    rules = Blueprint((Rule(event="purchase"), Rule(event="lead", to="purchase", filter="has(order.id)")))
    async with hub.tx.transaction():
        await destinations.write_blueprint(hub.tx, to, rules, by="a test", now=datetime.now(UTC))
    async with hub.worker():
        await convert.order(to)
        assert await hub.settled() == {"delivered": 1}
        await convert.order(to, order_id="o-2", name="lead")
        await hub.put([to], 1, prefix="none-", visitor_id="v-1")
        assert await hub.settled() == {"delivered": 2, "skipped": 1}
    told = await convert.told()
    assert {data["goalId"] for data in told} == {GOALS["purchase"]}
    assert sum("goalData" not in data for data in told) == 1


async def test_another_destination_counts_for_itself(hub: Hub, convert: Convert) -> None:
    one, other = [await convert.install("tracking", goal_map=GOALS) for _ in range(2)]
    await hub.put([one, other], 1, name="lead", visitor_id="v-1")
    async with hub.worker():
        assert await hub.settled() == {"delivered": 2}
    assert len(await convert.told()) == 2
