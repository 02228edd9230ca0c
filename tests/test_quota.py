"""Limits at the database: several at once hold together."""

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from postback import quota
from postback.db import Tx
from postback.db.trip import Trip
from postback.quota import Limit

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY, SITE = Limit(UUID(int=1).bytes, 10, False), Limit(UUID(int=2).bytes, 100, True)


@pytest.fixture
def prepared() -> set[bytes]:
    """Statements that the connection knows."""
    return set()


async def count(tx: Tx, prepared: set[bytes], counts: dict[Limit, int]) -> dict[bytes, quota.Count]:
    async with tx.transaction():
        trip = Trip(tx, prepared)
        rows = quota.require(trip, counts, NOW)
        await trip.run()
    return quota.totals(rows)


async def test_a_minute_and_a_month_are_counted_together_each_to_its_own_end(tx: Tx, prepared: set[bytes]) -> None:
    await count(tx, prepared, {SITE: 40, KEY: 4})
    assert await count(tx, prepared, {KEY: 6, SITE: 60}) == {
        KEY.subject: quota.Count(10, NOW + quota.WINDOW, 10),
        SITE.subject: quota.Count(100, datetime(2026, 12, 1, tzinfo=UTC), 100),
    }


async def test_one_limit_that_is_passed_leaves_the_others_uncounted(tx: Tx, prepared: set[bytes]) -> None:
    await count(tx, prepared, {KEY: 10, SITE: 10})
    with pytest.raises(psycopg.errors.DivisionByZero):
        await count(tx, prepared, {KEY: 1, SITE: 1})
    assert await (await tx.execute("SELECT subject, n FROM rate_window ORDER BY 1")).fetchall() == [
        (UUID(bytes=KEY.subject), 10),
        (UUID(bytes=SITE.subject), 10),
    ]


async def test_a_cap_that_moved_holds_from_the_next_count_on(tx: Tx, prepared: set[bytes]) -> None:
    await count(tx, prepared, {KEY: 10})
    raised = Limit(KEY.subject, 11, False)
    assert (await count(tx, prepared, {raised: 1}))[KEY.subject] == quota.Count(11, NOW + quota.WINDOW, 11)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await count(tx, prepared, {KEY: 0})
