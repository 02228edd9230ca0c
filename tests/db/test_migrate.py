"""Migrations and partitions on a real server."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from postback.db import Tx, buckets, connect, migrate, partitions
from postback.secret import Secret

# Of each migration's text. A database that ran one never runs it again: what is to change comes in a new one.
TEXTS = {
    "0001_spine.sql": "05f7a9317b367fa2",
    "0002_contracts.sql": "204278ad95d93f89",
    "0003_identity.sql": "bda0273f63493f29",
    "0004_privacy.sql": "5824ecfaf6195331",
    "0005_dashboard.sql": "7e3c782bcc2b3f8a",
    "0006_reports.sql": "7b1bb9d49dd0d42d",
    "0007_lists.sql": "8b92d224d069b859",
    "0008_cuts.sql": "c4bf54bd855361d3",
    "0009_down.sql": "6779e75cfd336b37",
    "0010_later.sql": "7eba3138ef918b06",
    "0011_stamp.sql": "3c054ea2f84ebe9c",
}


def test_a_migration_stays_as_it_went_out() -> None:
    files = Path(migrate.__file__).parent.glob("migrations/versions/*.sql")
    assert {file.name: sha256(file.read_bytes()).hexdigest()[:16] for file in files} == TEXTS


async def test_migrations_run_once_and_say_what_they_ran(empty_database: Secret) -> None:
    assert not migrate.is_current(empty_database)
    ran = migrate.migrate(empty_database)
    assert ran[:2] == ["0001", "0002"]
    assert ran[-1] == migrate.newest()
    assert migrate.migrate(empty_database) == []
    assert migrate.is_current(empty_database)


async def test_the_bucket_table_holds_the_list_that_ids_are_made_by(tx: Tx) -> None:
    rows = await (await tx.execute("SELECT bucket FROM bucket")).fetchall()
    assert sorted(row[0] for row in rows) == sorted(buckets.BUCKETS)
    assert len(set(buckets.BUCKETS)) == 64


async def test_an_event_lands_in_the_partition_of_its_month(tx: Tx) -> None:
    now = datetime.now(UTC)
    [made] = buckets.make_ids(1, int(now.timestamp() * 1000), 7, 2**67)
    event_id = UUID(bytes=made)
    await tx.execute(
        "INSERT INTO event (bucket, id, workspace_id, name, event_id, body) VALUES (%s, %s, %s, 'x', 'e', '')",
        [buckets.of_id(event_id), event_id, UUID(int=0)],
    )
    [row] = await (await tx.execute("SELECT tableoid::regclass::text FROM event")).fetchall()
    assert row[0] == f"event_{now:%Y_%m}"


async def test_old_partitions_are_found_oldest_first_and_dropped_whole(tx: Tx) -> None:
    await partitions.make_ahead(tx, datetime(2025, 1, 15, tzinfo=UTC), months=1)
    old = await partitions.older_than(tx, datetime(2025, 2, 1, tzinfo=UTC))
    assert [name for name, _, _ in old] == [
        "attempt_2025_01",
        "conversion_2025_01",
        "delivery_2025_01",
        "event_2025_01",
        "touch_2025_01",
        "usage_2025_01",
    ]
    for name, _, _ in old:
        await partitions.drop(tx, name)
    assert await partitions.older_than(tx, datetime(2025, 2, 1, tzinfo=UTC)) == []


async def test_partitions_are_not_waited_for_behind_somebody_who_reads_for_long(tx: Tx, database: Secret) -> None:
    reader = await connect(database)
    later = datetime(2031, 1, 15, tzinfo=UTC)
    async with reader.transaction():
        await reader.execute("LOCK TABLE event IN ACCESS SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await partitions.make_ahead(tx, later, months=0)
    await reader.close()
    await partitions.make_ahead(tx, later, months=0)
    assert await partitions.make_ahead(tx, later, months=0) == []
