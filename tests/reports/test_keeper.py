"""Reports are kept: whatever arrives, in whatever order, they say what a plain fold over all conversions says."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postback.db import Pool, Queries, buckets
from postback.reports import keeper
from postback.reports.keeper import Keeper
from postback.secret import Secret
from tests.intake.taking import execute, scalar
from tests.reports.counted import Counted

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORDERS = st.sampled_from(["A-1", "A-2", "A-3"])
STATUSES = st.sampled_from(["pending", "on-hold", "processing", "completed", "cancelled", "refunded"])
AMOUNTS = st.sampled_from(["10", "25.50"])
# Of orders that stood at their beginning when their hour was closed, so that most of what follows changes their worth.
LATER = st.sampled_from(["B-1", "B-2"])
CHANGES = st.one_of(
    st.tuples(st.just("post"), LATER, st.sampled_from(["completed", "cancelled"]), AMOUNTS),
    st.tuples(st.just("refund"), LATER, AMOUNTS),
)
STEPS = st.one_of(
    st.tuples(st.just("post"), ORDERS, STATUSES, AMOUNTS),
    st.tuples(st.just("sale"), st.sampled_from(["v1", "v2", "nobody"]), AMOUNTS, st.integers(0, 30)),
    st.tuples(st.just("lead"), st.sampled_from(["crm", "web"])),
    st.tuples(st.just("refund"), ORDERS, AMOUNTS),
    st.tuples(st.just("count"), st.booleans()),
)


async def test_the_report_is_the_fold_of_all_conversions_after_any_steps(pool: Pool, database: Secret) -> None:
    hub = Counted(pool, database)
    await hub.install()
    await hub.writer.start()
    for number, (visitor, source, days) in enumerate([("v1", "google", 40), ("v1", None, 2), ("v2", "meta", 3)]):
        await hub.visit(visitor, f"s{number}", source, timedelta(days=days))
    numbers = iter(range(10**6))

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(STEPS, min_size=3, max_size=12), st.lists(CHANGES, max_size=6))
    def run(steps: list[tuple[object, ...]], changes: list[tuple[object, ...]]) -> None:
        asyncio.run_coroutine_threadsafe(follow(next(numbers), steps, changes), loop).result()

    async def follow(world: int, steps: list[tuple[object, ...]], changes: list[tuple[object, ...]]) -> None:
        await take(world, [*steps, ("post", "B-1", "pending", "40"), ("post", "B-2", "completed", "40")])
        await hub.count()
        assert await hub.is_right()
        # Once the hour is closed, an order that changes is counted because it says so.
        await hub.count(2 * HOUR)
        await take(world, changes)
        await hub.count(2 * HOUR)
        assert await hub.is_right()

    async def take(world: int, steps: list[tuple[object, ...]]) -> None:
        for step in steps:
            number = next(numbers)
            match step:
                case ("post", str(order), str(status), str(amount)):
                    await hub.take(await hub.order(status, f"{world}-{order}", amount, dedup=f"d{number}"))
                case ("sale", str(visitor), str(amount), int(days)):
                    await hub.send(
                        event_id=f"e{number}", visitor_id=visitor, amount=Decimal(amount), currency="EUR",
                        occurred_at=datetime.now(UTC) - timedelta(days=days),
                    )  # fmt: skip
                case ("lead", str(source)):
                    await hub.send(name="lead", event_id=f"e{number}", source=source)
                case ("refund", str(order), str(amount)):
                    await hub.send(
                        name="refund", event_id=f"e{number}", order_id=f"{world}-{order}", amount=Decimal(amount),
                        currency="EUR",
                    )  # fmt: skip
                case ("count", bool(anew)):
                    await hub.count(anew=anew)
                case _:
                    raise AssertionError(step)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(run)
    await hub.count(2 * HOUR, anew=True)
    await hub.count(2 * DAY, anew=True)
    assert await hub.is_right()
    assert await hub.is_empty("dirty_total")
    await hub.writer.close()


async def test_of_many_hours_the_newest_are_summed_first_a_part_at_a_time(
    hub: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in range(60):
        await hub.send(event_id=f"e{hours}", occurred_at=datetime.now(UTC) - hours * HOUR)
    await hub.count()
    was = await hub.reported()
    execute(
        hub.dsn, "INSERT INTO dirty_total SELECT DISTINCT bucket, workspace_id, hour, gen_random_uuid() FROM hourly"
    )
    execute(hub.dsn, "UPDATE hourly SET n = 0; UPDATE daily SET n = 0")
    monkeypatch.setattr(keeper, "PART_SECONDS", 0.02)
    left: list[int] = []
    while not await hub.is_empty("dirty_total"):
        await hub.count()
        async with hub.pool.connection() as tx:
            left.append(await scalar(tx, "SELECT count(*) FROM dirty_total"))
            newer = "SELECT count(*) FROM hourly h WHERE n = 0 AND hour > (SELECT min(hour) FROM hourly WHERE n > 0)"
            assert await scalar(tx, newer) == 0
    assert left[0] > 0
    assert await hub.reported() == was


async def test_a_refund_of_an_hour_that_is_closed_is_counted_there(hub: Counted) -> None:
    await hub.take(await hub.order("completed"))
    await hub.count(2 * HOUR)
    await hub.take(await hub.order("refunded"))
    await hub.count(2 * HOUR)
    assert [worth for _, worth in (await hub.reported()).values()] == [0]


async def test_a_worker_that_dies_between_a_mark_and_the_count_loses_nothing(hub: Counted) -> None:
    await hub.take(await hub.order("completed"))
    await hub.count(2 * HOUR)
    await hub.take(await hub.order("refunded"))
    async with hub.pool.connection() as tx, tx.transaction(force_rollback=True):
        assert hub.keeper is not None
        await hub.keeper.round(tx, buckets.BUCKETS, datetime.now(UTC) + 2 * HOUR)
    await hub.count(2 * HOUR, anew=True)
    assert await hub.is_right()


async def test_an_order_seen_for_the_first_time_marks_nothing(hub: Counted) -> None:
    await hub.take(await hub.order("pending"))
    assert await hub.is_empty("dirty_hour")
    await hub.take(await hub.order("completed"))
    assert not await hub.is_empty("dirty_hour")


async def test_what_nothing_changed_is_not_written_again(hub: Counted) -> None:
    await hub.take(await hub.order("completed"))
    await hub.count()
    async with hub.pool.connection() as tx:
        before = await scalar(tx, "SELECT array_agg(xmin::text ORDER BY kind, place) FROM rollup")
        await hub.count(anew=True)
        assert await scalar(tx, "SELECT array_agg(xmin::text ORDER BY kind, place) FROM rollup") == before
    assert await hub.is_empty("dirty_total")


async def test_an_hour_whose_conversions_retention_has_dropped_stands(hub: Counted) -> None:
    await hub.take(await hub.order("completed"))
    await hub.count(2 * HOUR)
    before = await hub.reported()
    execute(hub.dsn, "DELETE FROM conversion; DELETE FROM delivery; DELETE FROM touch; DELETE FROM usage")
    await hub.count(2 * DAY, anew=True)
    assert await hub.reported() == before


async def test_what_is_found_to_be_less_than_was_counted_leaves_the_count(hub: Counted) -> None:
    for session in ("s1", "s2"):
        await hub.visit("v1", session, session, timedelta(0))
    await hub.count(2 * HOUR)
    execute(hub.dsn, "DELETE FROM touch WHERE session_id = 's1'")
    await hub.count(2 * DAY)
    assert sorted(line.source or "" for line in await hub.lines(("session",), ("channel",))) == ["s1", "s2"]


async def test_erasure_changes_neither_conversions_nor_revenue(hub: Counted) -> None:
    await hub.visit("v1", "s1", "google", HOUR)
    await hub.put(
        "e1", {"email": "jane@example.com"}, visitor_id="v1", session_id="s1", order_id="o1", amount=Decimal(40),
        currency="EUR",
    )  # fmt: skip
    await hub.count()
    assert [key[2] for key in await hub.reported("channel")] == ["google"]
    await hub.erase("email", "jane@example.com")
    await hub.count(2 * HOUR)
    await hub.count(2 * DAY)
    assert list((await hub.reported()).values()) == [(1, Decimal(40))]
    assert [line.sums.n for line in await hub.lines(("session",), ())] == [1]


async def test_a_site_that_counts_orders_from_another_status_counts_all_anew(hub: Counted) -> None:
    await hub.take(await hub.order("processing"))
    await hub.count(2 * HOUR)
    assert [worth for _, worth in (await hub.reported()).values()] == [0]
    await hub.change_site(order_counts_from="processing")
    await hub.count(2 * HOUR)
    assert [worth for _, worth in (await hub.reported()).values()] == [40]


async def test_a_site_that_changes_while_an_hour_is_closed_is_counted_as_it_is_now(hub: Counted) -> None:
    """The hour is counted as the site was; then the change, and what it marks."""
    await hub.take(await hub.order("processing"))
    await hub.count()
    async with hub.pool.connection() as tx:

        class Changing:
            """A connection over which the marks are asked for only after the site has changed."""

            def __getattr__(self, name: str) -> Any:
                return getattr(tx, name)

            async def execute(self, query: bytes, *row: Any, **how: Any) -> Any:
                if query == Queries("reports").due:
                    await hub.change_site(order_counts_from="processing")
                return await tx.execute(query, *row, **how)

        later = datetime.now(UTC) + 2 * HOUR
        await Keeper().round(Changing(), buckets.BUCKETS, later)  # type: ignore[arg-type]  # as far as it is used
    assert [worth for _, worth in (await hub.reported()).values()] == [40]


async def test_a_site_with_another_clock_has_other_days(hub: Counted) -> None:
    at = datetime.now(UTC).replace(hour=22, minute=40) - 2 * DAY
    await hub.send(event_id="e1", occurred_at=at)
    await hub.count()
    assert [line.day for line in await hub.lines(("conversion",), ("day",))] == [at.date()]
    await hub.change_site(timezone="Asia/Kolkata")
    await hub.count()
    assert [line.day for line in await hub.lines(("conversion",), ("day",))] == [at.date() + DAY]
    hours = [line.hour for line in await hub.lines(("conversion",), ("hour",))]
    assert hours == [at.replace(minute=30, second=0, microsecond=0)]


async def test_deliveries_follow_the_clock_of_the_first_site(hub: Counted) -> None:
    await hub.add_destination()
    await hub.send(name="page_view", event_id="e1")
    await hub.count(2 * HOUR)
    await hub.change_site(timezone="Asia/Kolkata")
    await hub.count(2 * HOUR)
    [line] = await hub.lines(("delivery",), ("hour",))
    assert line.hour is not None
    assert line.hour.minute == 30


async def test_sessions_are_counted_by_source_and_those_that_convert_once(hub: Counted) -> None:
    await hub.visit("v1", "s1", "google", HOUR, medium="cpc", campaign="spring")
    await hub.visit("v2", "s2", None, HOUR)
    await hub.visit("v3", "s3", "bot", HOUR, is_bot=True)
    for event_id, session in (("e1", "s1"), ("e2", "unknown")):
        await hub.send(event_id=event_id, visitor_id="v1", session_id=session)
    await hub.count(2 * HOUR)
    found = {(line.source, line.campaign): line.sums.n for line in await hub.lines(("session",), ("channel",))}
    assert found == {("google", "spring"): 1, (None, None): 1}
    [sale] = await hub.lines(("conversion",), ("channel",))
    assert (sale.source, sale.campaign, sale.sums.n, sale.sums.converted) == ("google", "spring", 2, 1)


async def test_a_conversion_without_a_session_is_credited_to_what_its_event_tells(hub: Counted) -> None:
    await hub.change_site(link_domains=["pay.example"])
    await hub.visit("v1", "s1", None, HOUR)
    told: list[tuple[dict[str, Any], tuple[str | None, str | None, str | None]]] = [
        ({"visitor_id": "v1", "url": "https://shop.example/?utm_source=bing"}, (None, None, None)),
        ({"url": "https://shop.example/?utm_source=meta&utm_medium=paid&utm_campaign=may"}, ("meta", "paid", "may")),
        ({"url": "https://shop.example/thanks?gclid=abc123"}, ("google", "cpc", None)),
        ({"visitor_id": "v2", "click_ids": {"ttclid": "E.C.P.abc123"}}, ("tiktok", "paid_social", None)),
        ({"click_ids": {"fbc": "fb.1.1763600000000.abc123"}}, ("facebook", "social", None)),
        ({"url": "https://shop.example/", "referrer": "https://www.google.com/"}, ("google", "organic", None)),
        ({"url": "https://shop.example/", "referrer": "https://www.paypal.com/"}, ("unknown", None, None)),
        ({"url": "https://shop.example/thanks", "referrer": "https://pay.example/"}, ("unknown", None, None)),
        ({"url": "https://shop.example/?utm_source=jane@example.com"}, ("[email]", None, None)),
        ({}, ("unknown", None, None)),
    ]
    for number, (fields, _) in enumerate(told):
        await hub.send(event_id=f"e{number}", **fields)
    await hub.count(2 * HOUR)
    found = Counter(
        {
            (line.source, line.medium, line.campaign): line.sums.n
            for line in await hub.lines(("conversion",), ("channel",))
        }
    )
    assert found == Counter(channel for _, channel in told)


async def test_deliveries_are_counted_until_they_are_settled(hub: Counted) -> None:
    await hub.add_destination()
    await hub.send(event_id="e1")
    await hub.count(2 * HOUR)
    assert [(line.status, line.sums.n) for line in await hub.lines(("delivery",), ("destination",))] == [("queued", 1)]
    execute(hub.dsn, "UPDATE delivery SET status = 'delivered'")
    await hub.count(4 * HOUR)
    assert [(line.status, line.sums.n) for line in await hub.lines(("delivery",), ())] == [("delivered", 1)]


async def test_collisions_are_counted(hub: Counted) -> None:
    for amount in ("10", "20"):
        await hub.send(event_id="e1", amount=Decimal(amount), currency="EUR")
    await hub.count(2 * HOUR)
    found = {(line.status, line.site_id): line.sums.n for line in await hub.lines(("event",), ("site",))}
    assert found == {("collision", None): 1, (None, hub.site.id): 1}


@pytest.mark.parametrize("age", [timedelta(days=700), timedelta(days=800)])
async def test_sums_are_kept_for_their_own_time(hub: Counted, age: timedelta) -> None:
    from tests.reports.counted import keeper

    await hub.send(event_id="e1", occurred_at=datetime.now(UTC) - age)
    await hub.count()
    execute(hub.dsn, f"UPDATE rollup SET received_hour = received_hour - interval '{age.days} days'")
    async with hub.pool.connection() as tx:
        await keeper.trim(tx, [*range(400)], datetime.now(UTC) - timedelta(days=760))
    is_gone = [await hub.is_empty(f"{table} WHERE kind = 'conversion'") for table in ("rollup", "hourly", "daily")]
    assert is_gone == [age.days > 760] * 3
