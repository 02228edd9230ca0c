"""Calls of keys as several processes count and file them."""

from datetime import UTC, datetime, timedelta

import pytest

from postback import installation, keys
from postback.db import Pool, Tx, buckets
from postback.keys import ApiKey, Usage
from postback.web.calls import Calls, masked
from postback.workspaces import origins
from postback.workspaces.origins import Refused

NOW = datetime.now(UTC)


@pytest.fixture
async def key(tx: Tx) -> ApiKey:
    async with tx.transaction():
        workspace, _, _ = await installation.add_workspace(tx, "w", "live", NOW, admin_scopes=["admin"])
    return (await keys.list_all(tx, workspace.id))[0]


async def used(tx: Tx, key: ApiKey, now: datetime = NOW) -> tuple[int, int]:
    found = (await keys.usage(tx, [key.id], now))[key.id]
    return found.calls, found.errors


async def test_processes_file_rows_of_their_own_that_add_up(pool: Pool, tx: Tx, key: ApiKey) -> None:
    one, other = Calls(pool), Calls(pool)
    for calls in (one, other, one):
        calls.count(key, 202, "203.0.113.7")
        calls.count(key, 422, "203.0.113.8")
        await calls.flush()
        await calls.flush()
    assert await used(tx, key) == (6, 3)
    assert (await keys.usage(tx, [key.id], NOW))[key.id].address == "203.0.113.0/24"


async def test_closing_files_what_is_left(pool: Pool, tx: Tx, key: ApiKey) -> None:
    calls = Calls(pool)
    calls.start()
    calls.count(key, 200, None)
    await calls.close()
    assert await used(tx, key) == (1, 0)


async def test_what_the_database_did_not_take_is_filed_later(pool: Pool, tx: Tx, key: ApiKey) -> None:
    calls = Calls(pool)
    calls.count(key, 200, None)
    await tx.execute("ALTER TABLE key_usage RENAME TO away")
    with pytest.raises(Exception, match="key_usage"):
        await calls.flush()
    await tx.execute("ALTER TABLE away RENAME TO key_usage")
    calls.count(key, 500, None)
    await calls.flush()
    assert await used(tx, key) == (2, 1)


async def test_a_day_is_counted_and_the_last_use_is_known_for_longer(tx: Tx, key: ApiKey) -> None:
    writer = buckets.new_id(NOW)
    for hours in (72, 50, 3, 0):
        at = NOW - timedelta(hours=hours)
        await keys.file_usage(tx, writer, at, [Usage(key.id, 10, 1, at, None)])
    assert await used(tx, key) == (20, 2)
    later = NOW + timedelta(days=60)
    for _ in range(2):
        await keys.trim_usage(tx, buckets.BUCKETS, later)
        assert (await keys.usage(tx, [key.id], later))[key.id] == Usage(key.id, 0, 0, NOW, None)
    (rows,) = await (await tx.execute("SELECT count(*) FROM key_usage")).fetchone()
    assert rows == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("", None),
        (None, None),
        ("shop.example", None),
    ],
)
def test_an_address_is_kept_as_its_network(address: str | None, network: str | None) -> None:
    assert masked(address) == network


async def test_origins_that_processes_refused_are_told_together_and_forgotten_in_a_week(
    pool: Pool, tx: Tx, key: ApiKey
) -> None:
    one, other = Calls(pool), Calls(pool)
    for at, calls in enumerate((one, other, one)):
        calls.refusals.note(key.id, "https://shop.example", NOW + timedelta(minutes=at))
        await calls.flush()
        assert not calls.refusals.due()
    told = [Refused("https://shop.example", NOW, NOW + timedelta(minutes=2))]
    assert await origins.of_site(tx, key.id, ["https://other.example"], NOW) == told
    later = NOW + timedelta(days=8)
    assert await origins.of_site(tx, key.id, ["https://other.example"], later) == []
    await origins.trim(tx, buckets.BUCKETS, later)
    assert await (await tx.execute("SELECT 1 FROM refused_origin")).fetchone() is None
