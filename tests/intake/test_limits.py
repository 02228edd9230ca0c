"""Limits as flushes keep them: a key's requests a minute, a plan's billable events a month. A real database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from postback import quota
from postback.db import Tx
from postback.dialects import Accepted, Result
from postback.errors import TooMany
from postback.intake import limits
from postback.intake.judge import Pending
from postback.intake.limits import Admission, Exhausted
from postback.quota import Count, Limit
from tests.intake.taking import Hub, limited, scalar

EVERYTHING = "event dedup visitor conversion orders delivery".split()


def told(results: Sequence[Result | None]) -> list[str]:
    return ["taken" if isinstance(result, Accepted) else type(result).__name__ for result in results]


async def some(hub: Hub, count: int, **fields: object) -> list[Pending]:
    """Billable events."""
    return [await hub.pending(name="lead", **fields) for _ in range(count)]


async def used(hub: Hub) -> int:
    now = datetime.now(UTC)
    async with hub.pool.connection() as tx:
        until = quota.month_end(now)
        return (await quota.used(tx, hub.workspace.id, [hub.site.id], quota.month_start(now), until)).get(
            hub.site.id, 0
        )


async def rows(tx: Tx) -> list[object]:
    return [await scalar(tx, f"SELECT count(*)::int FROM {table}") for table in EVERYTHING]


async def test_a_key_sends_as_many_requests_as_its_limit_says_and_the_latest_in_excess_are_refused(
    hub: Hub, tx: Tx
) -> None:
    assert told(await hub.submit(limited(await some(hub, 8), 5))) == ["taken"] * 5 + ["TooMany"] * 3
    assert told(await hub.submit(limited(await some(hub, 2), 5))) == ["TooMany"] * 2
    assert await scalar(tx, "SELECT count(*) FROM event") == 5
    assert await scalar(tx, "SELECT n FROM rate_window") == 5


async def test_a_plan_takes_as_many_billable_events_as_it_says(hub: Hub, tx: Tx) -> None:
    await hub.cap(5)
    assert told(await hub.submit(await some(hub, 8))) == ["taken"] * 5 + ["TooMany"] * 3
    assert told(await hub.submit(await some(hub, 1))) == ["TooMany"]
    assert await scalar(tx, "SELECT n FROM rate_window") == 5
    assert await used(hub) == 5


async def test_a_plan_with_overage_takes_three_times_as_many(hub: Hub) -> None:
    await hub.cap(2, overage=True)
    assert told(await hub.submit(await some(hub, 8))) == ["taken"] * 6 + ["TooMany"] * 2


async def test_a_refused_event_leaves_nothing_not_even_its_dedup_key(hub: Hub, tx: Tx) -> None:
    await hub.add_destination()
    await hub.cap(1)
    sale = {"amount": Decimal(40), "currency": "EUR"}
    await hub.send(event_id="e1", order_id="A-1", visitor_id="v1", **sale)
    before = await rows(tx)
    refused = await hub.pending(event_id="e2", order_id="A-2", visitor_id="v2", **sale)
    assert told(await hub.submit([refused])) == ["TooMany"]
    assert await rows(tx) == before
    await hub.cap(2)
    assert not (await hub.send(event_id="e2", order_id="A-2", visitor_id="v2", **sale)).duplicate


async def test_of_a_batch_only_the_events_in_excess_are_refused(hub: Hub) -> None:
    await hub.cap(2)
    names = ["lead", "page_view", "lead", "lead", "page_view"]
    batch = limited([await hub.pending(name=name) for name in names], 10, is_one_request=True)
    assert told(await hub.submit(batch)) == ["taken", "taken", "taken", "TooMany", "taken"]


async def test_a_batch_is_one_request_and_refused_as_a_whole(hub: Hub, tx: Tx) -> None:
    batches = [limited(await some(hub, 3), 1, is_one_request=True) for _ in range(2)]
    assert told(await hub.submit([*batches[0], *batches[1]])) == ["taken"] * 3 + ["TooMany"] * 3
    assert await scalar(tx, "SELECT n FROM rate_window") == 1


async def test_a_refused_request_does_not_use_up_a_plan(hub: Hub) -> None:
    await hub.cap(4)
    events = [*limited(await some(hub, 4), 2), *await some(hub, 2)]
    assert told(await hub.submit(events)) == ["taken"] * 2 + ["TooMany"] * 2 + ["taken"] * 2
    assert await used(hub) == 4


async def test_repeats_and_test_events_are_free(hub: Hub) -> None:
    await hub.cap(2)
    sent = [await hub.pending(name="lead", event_id=id_) for id_ in ("a", "a", "b", "a")]
    tests = [await hub.pending(name="lead", is_test=True) for _ in range(3)]
    assert told(await hub.submit([*sent, *tests])) == ["taken"] * 7
    assert told(await hub.submit([await hub.pending(name="lead", event_id="a")])) == ["taken"]
    assert await used(hub) == 2


async def test_what_is_not_billable_is_free(hub: Hub) -> None:
    await hub.cap(0)
    for name in ("page_view", "add_to_cart", "refund", "quiz"):
        await hub.send(name=name)
    assert told(await hub.submit(await some(hub, 1))) == ["TooMany"]


async def test_an_event_counts_once_however_many_destinations(hub: Hub) -> None:
    for _ in range(3):
        await hub.add_destination()
    await hub.cap(10)
    await hub.submit(await some(hub, 2))
    assert await used(hub) == 2


async def test_an_order_counts_once_whatever_is_posted_of_it(hub: Hub) -> None:
    await hub.cap(1)
    await hub.send(name="refund", order_id="A-1", amount=Decimal(1), currency="EUR")
    for status in ("pending", "processing", "completed", "refunded"):
        await hub.take(await hub.order(status))
    assert await used(hub) == 1
    assert told(await hub.submit([await hub.order("completed", "A-2")])) == ["TooMany"]
    assert told(await hub.submit([await hub.order("cancelled")])) == ["taken"]


async def test_a_sites_own_plan_caps_that_site_alone(hub: Hub, tx: Tx) -> None:
    small, _ = await hub.cap(1), await hub.cap(10)
    await hub.change_site(plan=small.id)
    assert told(await hub.submit(await some(hub, 3))) == ["taken", "TooMany", "TooMany"]
    # What the site's plan refused is not remembered of the workspace's.
    assert await scalar(tx, f"SELECT n FROM rate_window WHERE subject = '{hub.workspace.id}'") == 1
    workspace = Limit(hub.workspace.id.bytes, 10, True)
    assert hub.writer.exhausted.refusal([workspace], hub.writer.now()) is None


async def test_what_is_used_up_is_remembered_and_forgotten_when_the_limit_is_raised(hub: Hub) -> None:
    await hub.cap(1)
    await hub.submit(await some(hub, 2))
    await hub.submit(await some(hub, 1))
    [event] = await some(hub, 1)
    refusal = hub.writer.exhausted.refusal(event.caps, hub.writer.now())
    assert refusal is not None
    assert "1 billable events of this month" in refusal.message
    await hub.cap(2)
    [event] = await some(hub, 1)
    assert hub.writer.exhausted.refusal(event.caps, hub.writer.now()) is None
    assert told(await hub.submit([event])) == ["taken"]


async def test_a_window_begins_with_its_first_request_and_the_next_one_anew(hub: Hub, tx: Tx) -> None:
    await hub.submit(limited(await some(hub, 3), 2))
    window = await scalar(tx, "SELECT extract(epoch FROM ends_at - now())::int FROM rate_window")
    assert isinstance(window, int)
    assert 50 <= window <= 60
    await tx.execute("UPDATE rate_window SET ends_at = now()")
    await tx.commit()
    assert told(await hub.submit(limited(await some(hub, 3), 2))) == ["taken", "taken", "TooMany"]


async def test_two_writers_share_a_limit(hub: Hub, tx: Tx) -> None:
    other = hub.another_writer()
    await other.start()
    await hub.cap(7)
    for writer in (hub.writer, other, hub.writer, other):
        await writer.submit(await some(hub, 3))
    await other.close()
    assert await scalar(tx, "SELECT count(*) FROM event") == 7
    assert await used(hub) == 7


async def test_a_limit_that_was_lowered_lets_nothing_more_through(hub: Hub) -> None:
    await hub.cap(5)
    await hub.submit(await some(hub, 4))
    await hub.cap(3)
    assert told(await hub.submit(await some(hub, 1))) == ["TooMany"]


async def test_a_month_ends_where_the_next_begins_in_utc() -> None:
    for month, end in (((2026, 12, 31, 23, 59), (2027, 1, 1)), ((2028, 2, 1), (2028, 3, 1))):
        assert quota.month_end(datetime(*month, tzinfo=UTC)) == datetime(*end, tzinfo=UTC)


@pytest.mark.parametrize(("n", "remaining"), [(1, b"9"), (10, b"0"), (12, b"0")])
async def test_an_answer_says_what_is_left_of_its_keys_minute(hub: Hub, n: int, remaining: bytes) -> None:
    now = datetime.now(UTC)
    admission = Admission(Limit(bytes(16), 10, False), Count(n, now + quota.WINDOW, 10))
    assert limits.headers(admission, now) == (
        (b"ratelimit-limit", b"10"),
        (b"ratelimit-remaining", remaining),
        (b"ratelimit-reset", b"60"),
    )
    assert limits.headers(None, now) == ()


def test_what_is_not_known_to_be_used_up_is_refused_by_nobody() -> None:
    now, limit = datetime.now(UTC), Limit(bytes(16), 1, False)
    exhausted = Exhausted()
    assert exhausted.refusal([limit], now) is None
    requests = [Request(Admission(limit)) for _ in range(2)]
    # Nothing of this flush is committed yet: it may still fail as a whole.
    [(place, refusal)] = exhausted.settle(requests, {limit: 2}, {limit.subject: Count(2, now + quota.WINDOW, 1)}, now)
    assert (place, type(refusal)) == (1, TooMany)
    assert exhausted.refusal([limit], now) is None
    exhausted.settle(requests[:1], {limit: 1}, {limit.subject: Count(2, now + quota.WINDOW, 1)}, now)
    assert exhausted.refusal([limit], now) is not None
    assert exhausted.refusal([limit], now + quota.WINDOW) is None


class Request:
    """A request of one event that no plan counts."""

    caps: tuple[Limit, ...] = ()
    is_counted = False

    def __init__(self, admission: Admission) -> None:
        self.admission: Admission | None = admission
