"""What events come to, on a real database: goals fulfilled, orders that are one conversion, what is delivered of them."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from postback import installation, workspaces
from postback.db import buckets
from postback.errors import Forbidden, Invalid
from postback.intake import sales
from postback.orders import State
from postback.workspaces import SiteIn
from tests.intake.taking import NOW, Hub, execute

META = {"dataset_id": "123456789012345", "access_token": "EAAB-token"}


async def fulfilled(hub: Hub) -> list[str]:
    """The goals' names of every conversion, oldest first."""
    async with hub.pool.connection() as tx:
        names = dict(await (await tx.execute("SELECT id, name FROM goal")).fetchall())
    return [names[one.goal_id] for one in await hub.conversions()]


async def test_an_event_fulfils_the_goals_of_its_name(hub: Hub) -> None:
    await hub.add_goal("Demo", events=["lead", "contact"])
    for name in ("purchase", "lead", "contact", "page_view"):
        await hub.send(name=name)
    assert sorted(await fulfilled(hub)) == ["Demo", "Demo", "Leads", "Purchases"]


async def test_a_label_keeps_no_email_address(hub: Hub) -> None:
    await hub.send(name="lead", source="crm, jane@secret.example")
    assert [one.source for one in await hub.conversions()] == ["crm, [email]"]


async def test_a_goal_of_an_alias_takes_the_standard_event(hub: Hub) -> None:
    await hub.add_goal("Cart", events=["Product Added"])
    await hub.send(name="add_to_cart")
    assert await fulfilled(hub) == ["Cart"]


async def test_a_filter_lets_only_some_events_through(hub: Hub) -> None:
    await hub.add_goal("Big", events=["subscribe"], filter="value > 100.0")
    await hub.add_goal("Anything big", filter="value > 100.0")
    await hub.send(name="subscribe", amount=Decimal(50), currency="USD")
    await hub.send(name="subscribe")
    assert await fulfilled(hub) == []
    await hub.send(name="subscribe", amount=Decimal(150), currency="USD")
    await hub.send(name="schedule", amount=Decimal(150), currency="USD")
    assert sorted(await fulfilled(hub)) == ["Anything big", "Anything big", "Big"]


async def test_an_event_that_names_a_goal_fulfils_that_one_alone(hub: Hub) -> None:
    goal = await hub.add_goal("By number")
    await hub.send(name="lead", goal_id=goal.id)
    assert await fulfilled(hub) == ["By number"]


async def test_a_disabled_goal_is_fulfilled_by_nothing_and_refused_by_number(hub: Hub) -> None:
    goal = await hub.add_goal("Off", events=["contact"], active=False)
    await hub.send(name="contact")
    assert await fulfilled(hub) == []
    with pytest.raises(Invalid) as refused:
        await hub.pending(goal_id=goal.id)
    assert refused.value.field == "goal_id"


async def test_a_goal_of_another_site_is_forbidden_to_a_key_of_one_site(hub: Hub) -> None:
    async with hub.pool.connection() as tx, tx.transaction():
        site = workspaces.new_site(buckets.new_id(NOW), hub.workspace.id, SiteIn(name="other"))
        other, _ = await installation.add_site(tx, site, NOW)
    goal = await hub.add_goal("There", other)
    assert (await hub.pending(goal_id=goal.id)).event.site_id == other.id
    execute(hub.dsn, f"UPDATE api_key SET site_id = '{hub.site.id}'; UPDATE config_version SET version = version + 1")
    with pytest.raises(Forbidden) as refused:
        await hub.pending(goal_id=goal.id)
    assert refused.value.field == "goal_id"


async def test_a_default_value_is_that_of_events_without_an_amount_and_not_of_0(hub: Hub) -> None:
    execute(hub.dsn, "UPDATE site SET currency = 'EUR'; UPDATE config_version SET version = version + 1")
    await hub.add_goal("Worth 25", events=["contact"], default_value=b"25.5")
    await hub.add_goal("Worth nothing known", events=["schedule"])
    await hub.send(name="contact")
    await hub.send(name="contact", amount=Decimal(0), currency="USD")
    await hub.send(name="schedule")
    assert [(one.value, one.currency) for one in await hub.conversions()] == [
        (Decimal("25.5"), "EUR"),
        (Decimal(0), "USD"),
        (None, None),
    ]


async def test_a_repeat_makes_no_second_conversion(hub: Hub) -> None:
    for _ in range(3):
        await hub.send(event_id="e1")
    assert await fulfilled(hub) == ["Purchases"]


async def test_an_order_is_one_conversion_of_each_goal_whatever_is_posted_of_it(hub: Hub) -> None:
    await hub.add_goal("Sales", events=["purchase"])
    for status in ("pending", "processing", "completed", "refunded"):
        await hub.take(await hub.order(status))
    found = await hub.conversions()
    assert sorted(await fulfilled(hub)) == ["Purchases", "Sales"]
    order = await hub.read_order()
    assert {(one.order_id, one.order_key) for one in found} == {("A-1", order.key)}
    assert all(buckets.of_id(one.id) == buckets.of_key(order.key.bytes) for one in found)
    assert [entry.status for entry in order.ledger.entries] == ["pending", "processing", "completed", "refunded"]
    assert order.state("completed").worth == 0


async def test_only_the_post_that_first_makes_an_order_count_is_delivered(hub: Hub) -> None:
    destination = await hub.add_destination()
    for status in ("pending", "on-hold", "completed"):
        await hub.take(await hub.order(status))
    assert await hub.fates() == [
        ("skipped", "order not completed: it is pending"),
        ("skipped", "order not completed: it is on-hold"),
        ("queued", None),
    ]
    assert (await hub.read_order()).status == "completed"
    assert await hub.is_balanced(destination)


async def test_a_site_whose_orders_count_from_processing_delivers_that_post(hub: Hub) -> None:
    await hub.add_destination()
    await hub.change_site(order_counts_from="processing")
    for status in ("pending", "processing", "completed"):
        await hub.take(await hub.order(status))
    assert await hub.fates() == [
        ("skipped", "order not completed: it is pending"),
        ("queued", None),
        ("skipped", sales.COUNTED_ALREADY),
    ]


async def test_a_site_that_changes_what_counts_is_heeded_by_posts_that_wait(hub: Hub) -> None:
    await hub.add_destination()
    waiting = await hub.order("processing")
    await hub.change_site(order_counts_from="processing")
    await hub.take(waiting)
    assert await hub.fates() == [("queued", None)]


@pytest.mark.parametrize("is_one_flush", [True, False])
async def test_a_second_purchase_of_an_order_that_counts_is_not_delivered(hub: Hub, is_one_flush: bool) -> None:
    await hub.add_destination()
    posts = [await hub.pending(event_id=id_, order_id="A-1", amount=Decimal(40), currency="EUR") for id_ in "ab"]
    for flush in [posts] if is_one_flush else [[post] for post in posts]:
        await hub.submit(flush)
    assert await hub.fates() == [("queued", None), ("skipped", sales.COUNTED_ALREADY)]
    assert await fulfilled(hub) == ["Purchases"]
    assert (await hub.read_order()).state("completed").worth == 40


async def test_a_completion_after_the_cancellation_is_not_delivered(hub: Hub) -> None:
    await hub.add_destination()
    for status in ("cancelled", "completed"):
        await hub.take(await hub.order(status))
    assert await hub.fates() == [("skipped", sales.NEVER_COUNTED), ("skipped", sales.CANCELLED)]
    order = await hub.read_order()
    assert (order.status, order.ledger.counted_by) == ("cancelled", None)


@pytest.mark.parametrize("is_one_flush", [True, False])
async def test_a_cancellation_ends_what_was_not_sent_yet_and_the_ledger_balances(hub: Hub, is_one_flush: bool) -> None:
    hook, meta = await hub.add_destination(), await hub.add_destination("meta", **META)
    posts = [await hub.order(status) for status in ("completed", "cancelled")]
    for flush in [posts] if is_one_flush else [[post] for post in posts]:
        await hub.submit(flush)
    fates = sorted(await hub.fates(), key=str)
    assert fates == sorted(
        [
            ("skipped", "order cancelled: it was taken back before this was sent"),
            ("skipped", "order cancelled: it was taken back before this was sent"),
            ("queued", None),
            ("skipped", "no retraction: Meta Conversions API takes no order back"),
        ],
        key=str,
    )
    assert await hub.is_balanced(hook, meta)


async def test_an_order_that_was_taken_back_is_retracted_once(hub: Hub) -> None:
    await hub.add_destination()
    for status in ("completed", "cancelled", "refunded"):
        await hub.take(await hub.order(status))
    assert (await hub.fates())[1:] == [("queued", None), ("skipped", sales.ENDED_ALREADY)]


async def test_a_cancellation_that_a_later_completion_overtook_takes_nothing_back(hub: Hub) -> None:
    await hub.add_destination()
    at = {"order_id": "A-1", "amount": Decimal(40), "currency": "EUR"}
    await hub.send(event_id="late", order_status="completed", occurred_at=NOW - timedelta(minutes=1), **at)
    await hub.send(event_id="early", order_status="cancelled", occurred_at=NOW - timedelta(minutes=9), **at)
    assert await hub.fates() == [("queued", None), ("skipped", sales.OVERTAKEN)]
    assert (await hub.read_order()).state("completed").worth == 40


async def test_a_refund_before_its_order_is_taken_off_when_it_comes(hub: Hub) -> None:
    fields = {"order_id": "A-1", "currency": "EUR"}
    await hub.send(name="refund", event_id="r", amount=Decimal(15), **fields)
    await hub.send(event_id="p", amount=Decimal(40), **fields)
    order = await hub.read_order()
    assert order.status == "completed"
    assert order.state("completed") == State("completed", True, Decimal(25), "EUR")
    assert await fulfilled(hub) == ["Purchases"]


async def test_a_refund_without_an_amount_leaves_the_orders_currency(hub: Hub) -> None:
    await hub.take(await hub.order("completed"))
    await hub.send(name="refund", order_id="A-1")
    order = await hub.read_order()
    assert (order.status, order.state("completed").currency) == ("refunded", "EUR")


async def test_a_refund_of_what_was_taken_back_already_is_not_delivered(hub: Hub) -> None:
    await hub.add_destination()
    for status in ("completed", "refunded"):
        await hub.take(await hub.order(status))
    await hub.send(name="refund", order_id="A-1", amount=Decimal(15), currency="EUR")
    assert (await hub.fates())[2:] == [("skipped", sales.ENDED_ALREADY)]


async def test_a_refund_is_in_its_orders_currency(hub: Hub) -> None:
    await hub.take(await hub.order("completed"))
    refund = {"name": "refund", "order_id": "A-1", "amount": Decimal(15)}
    [refused] = await hub.submit([await hub.pending(**refund, currency="USD")])
    assert isinstance(refused, Invalid)
    assert (refused.field, "EUR" in refused.message) == ("currency", True)
    await hub.send(**refund, currency="EUR")
    assert (await hub.read_order()).state("completed").worth == 25


async def test_a_post_of_a_goal_makes_no_order_of_its_label(hub: Hub) -> None:
    goal = await hub.add_goal("Recorded", events=["purchase"])
    for label in ("INV-1", "INV-2"):
        sent = {"dialect": "velaro", "name": "conversion", "goal_id": goal.id, "order_id": label}
        await hub.send(**sent, amount=Decimal(5), dedup_space="velaro", dedup=label)
    assert [(one.order_id, one.order_key) for one in await hub.conversions()] == [("INV-1", None), ("INV-2", None)]


async def test_an_order_takes_a_thousand_posts_and_no_more(hub: Hub) -> None:
    posts = [
        await hub.pending(name="refund", order_id="A-1", amount=Decimal("0.01"), currency="EUR") for _ in range(999)
    ]
    await hub.submit(posts)
    last = [await hub.pending(order_id="A-1", amount=Decimal(40), currency="EUR") for _ in range(2)]
    taken, refused = await hub.submit(last)
    assert isinstance(refused, Invalid)
    assert taken != refused
    assert len((await hub.read_order()).ledger.entries) == 1000


async def test_two_writers_that_meet_one_order_deliver_it_once(hub: Hub) -> None:
    await hub.add_destination()
    other = hub.another_writer()
    await other.start()
    posts = [await hub.pending(order_id="A-1", amount=Decimal(40), currency="EUR") for _ in range(20)]
    await asyncio.gather(*((other if n % 2 else hub.writer).submit([post]) for n, post in enumerate(posts)))
    await other.close()
    assert sorted(await hub.fates(), key=str) == [("queued", None)] + [("skipped", sales.COUNTED_ALREADY)] * 19
    assert await fulfilled(hub) == ["Purchases"]
    assert len((await hub.read_order()).ledger.entries) == 20
