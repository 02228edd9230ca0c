"""The queue's own promises: the fence, the ledger, what goes with its partition."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from postback.connectors import catalog
from postback.db import Pool, buckets, connect, partitions
from postback.delivery import housekeeping
from postback.delivery.housekeeping import Kept
from postback.delivery.leases import Leases
from postback.delivery.settler import Settler
from postback.installation import Made
from postback.queue import leases, ledger, sending
from postback.queue.sending import Claimed, Ended, Settled, Ticket, Window
from postback.secret import Secret
from tests.delivery.delivering import FOR_TESTS, Hub, open_hub

ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
EVERYWHERE = Window(UUID(int=0), UUID(int=2**128 - 1))
MONTH = Kept(*[timedelta(days=30)] * 4)
ME, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
async def hub(database: Secret, installed: Made, pool: Pool):
    catalog().update(FOR_TESTS)
    opened = await open_hub(database, pool)
    yield opened
    await opened.tx.close()
    for name in FOR_TESTS:
        del catalog()[name]


async def claimed(hub: Hub, destination_id: UUID, epochs: dict[int, int]) -> list[tuple[Ticket, Claimed]]:
    wanted = [(bucket, ALWAYS, 100) for bucket in buckets.BUCKETS]
    found = await sending.claim(hub.tx, destination_id, wanted, datetime.now(UTC), EVERYWHERE)
    return [
        (Ticket(bucket, epochs.get(bucket, 0), row.event_id, destination_id.bytes, row.attempt), row)
        for bucket, rows in found.items()
        for row in rows
    ]


async def test_a_worker_that_lost_its_lease_changes_nothing(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    await hub.put([to], 10, flushes=5)
    mine = await leases.take(hub.tx, ME, buckets.BUCKETS, 60)
    tickets = [ticket for ticket, _ in await claimed(hub, to.id, mine)]
    await hub.tx.execute("UPDATE lease SET expires_at = now() - interval '1 second'")
    theirs = await leases.take(hub.tx, OTHER, buckets.BUCKETS, 60)
    assert all(theirs[bucket] == mine[bucket] + 1 for bucket in mine)
    now = datetime.now(UTC)
    assert await sending.begin(hub.tx, ME, to.id, tickets, now) == 0
    rows = [Settled(ticket, "delivered", now, ended=Ended("delivered"), at=now) for ticket in tickets]
    assert (await sending.settle(hub.tx, ME, rows, now)).rowcount == 0
    assert await hub.statuses() == {"queued": 10}
    # The new owner's writes count, and once each.
    tickets = [ticket for ticket, _ in await claimed(hub, to.id, theirs)]
    assert await sending.begin(hub.tx, OTHER, to.id, tickets, now) == 10
    await sending.withdraw(hub.tx, ME, tickets)
    assert len(await hub.attempts()) == 10
    rows = [Settled(ticket, "delivered", now, ended=Ended("delivered"), at=now) for ticket in tickets]
    assert (await sending.settle(hub.tx, OTHER, rows, now)).rowcount == 10
    assert (await sending.settle(hub.tx, OTHER, rows, now)).rowcount == 0
    assert set(await hub.rows("status, attempt, tries")) == {("delivered", 1, 1)}


async def test_a_worker_that_lost_its_lease_and_has_it_again_changes_nothing_by_the_old_one(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    await hub.put([to], 4)
    old = await claimed(hub, to.id, await leases.take(hub.tx, ME, buckets.BUCKETS, -1))
    now = datetime.now(UTC)
    assert await sending.begin(hub.tx, ME, to.id, [ticket for ticket, _ in old[:2]], now) == 2
    await leases.take(hub.tx, ME, buckets.BUCKETS, 60)
    assert await sending.begin(hub.tx, ME, to.id, [ticket for ticket, _ in old[2:]], now) == 0
    rows = [Settled(ticket, "delivered", now, ended=Ended("delivered"), at=now) for ticket, _ in old[:2]]
    assert (await sending.settle(hub.tx, ME, rows, now)).rowcount == 0
    await sending.withdraw(hub.tx, ME, [ticket for ticket, _ in old])
    assert [outcome for (outcome,) in await hub.attempts("outcome")] == [None, None]
    assert await hub.statuses() == {"queued": 4}


async def test_an_attempt_that_was_withdrawn_leaves_no_trace(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    await hub.put([to], 3)
    mine = await leases.take(hub.tx, ME, buckets.BUCKETS, 60)
    tickets = [ticket for ticket, _ in await claimed(hub, to.id, mine)]
    await sending.begin(hub.tx, ME, to.id, tickets, datetime.now(UTC))
    assert all(row.unfinished_at for _, row in await claimed(hub, to.id, mine))
    await sending.withdraw(hub.tx, ME, tickets)
    assert await hub.attempts() == []
    assert all(row.unfinished_at is None and row.attempt == 0 for _, row in await claimed(hub, to.id, mine))


async def test_a_claim_takes_the_longest_due_first_and_only_what_is_due(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    for seconds in (-5, -50, 60, -20):
        await hub.put([to], 1, due_at=now + timedelta(seconds=seconds), prefix=f"{seconds}")
    await hub.tx.execute("UPDATE delivery SET bucket = 60")
    found = await sending.claim(hub.tx, to.id, [(60, ALWAYS, 2)], now, EVERYWHERE)
    assert [round((row.due_at - now).total_seconds()) for row in found[60]] == [-50, -20]
    found = await sending.claim(hub.tx, to.id, [(60, now - timedelta(seconds=20), 9)], now, EVERYWHERE)
    assert [round((row.due_at - now).total_seconds()) for row in found[60]] == [-20, -5]


async def test_claims_use_the_index_of_open_deliveries(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    await hub.put([to], 3000, flushes=3)
    await hub.tx.execute("VACUUM ANALYZE attempt")  # a plan that is made while there is none stays when there are many
    query = sending._queries.claim.decode()
    names = ["bucket", "oldest", "newest", "destination_id", "since", "until", "now", "limit"]
    for n, name in enumerate(names):
        query = query.replace(f"%({name})s", f"${n + 1}")
    await hub.tx.execute(
        f"PREPARE c (int, uuid, uuid, uuid, timestamptz, timestamptz, timestamptz, int) AS {query}".encode()
    )
    values = f"8, '{EVERYWHERE.oldest}', '{buckets.floor(datetime.now(UTC) + timedelta(hours=1))}', '{to.id}', '2000-01-01', now(), now(), 10"
    plan = await (await hub.tx.execute(f"EXPLAIN EXECUTE c ({values})".encode())).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "bucket_destination_id_due_at" in text
    assert "Seq Scan" not in text


@pytest.mark.parametrize("name", ["begin", "withdraw", "end_attempts", "settle"])
async def test_a_write_reads_its_rows_once_and_not_once_for_each_lease(hub: Hub, name: str) -> None:
    query: str = getattr(sending._queries, name).decode()
    names = dict.fromkeys(re.findall(r"%\((\w+)\)s", query))
    for n, parameter in enumerate(names):
        query = query.replace(f"%({parameter})s", f"${n + 1}")
    await hub.tx.execute(f"PREPARE p AS {query}".encode())
    plan = await (await hub.tx.execute(f"EXPLAIN EXECUTE p ({', '.join('NULL' for _ in names)})".encode())).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert ("SubPlan" in text, "Join Filter" in text) == (True, False), text


async def test_fair_shares_follow_the_workers_that_live(hub: Hub) -> None:
    await leases.attend(hub.tx, ME)
    await leases.attend(hub.tx, OTHER)
    assert set(await leases.workers(hub.tx, 8)) == {ME, OTHER}
    await leases.leave(hub.tx, OTHER)
    assert await leases.workers(hub.tx, 8) == [ME]
    assert await leases.workers(hub.tx, 0) == []


async def test_a_goal_is_remembered_only_of_what_was_settled(hub: Hub) -> None:
    """What was ended while it was on its way, as by an erasure, leaves no link to its visitor."""
    to = await hub.install("acme", url="http://x/", token="t0ken")
    ids = await hub.put([to], 2)
    held = Leases(ME, 60)
    held.epochs = await leases.take(hub.tx, held.worker, buckets.BUCKETS, 60)
    await hub.tx.execute("UPDATE delivery SET status = 'skipped', reason = 'erased' WHERE event_id = %s", (ids[0],))
    now, settler, done = datetime.now(UTC), Settler(hub.dsn, held), asyncio.Event()
    rows = [
        Settled(
            Ticket(buckets.of_id(id_), held.epochs[buckets.of_id(id_)], id_.bytes, to.id.bytes, 0), "delivered", now,
            ended=Ended("delivered"), at=now, reached=(bytes([n] * 16), b"visitor-visitor."),
        )
        for n, id_ in enumerate(ids)
    ]  # fmt: skip
    running = asyncio.create_task(settler.run())
    settler.put(rows, done.set)
    await done.wait()
    running.cancel()
    found = await (await hub.tx.execute("SELECT key, first_seen_at FROM link")).fetchall()
    assert found == [(UUID(bytes=bytes([1] * 16)), buckets.time_of(ids[1]))]


async def test_the_oldest_pending_delivery_is_found_by_destination(hub: Hub) -> None:
    first = await hub.install("acme", url="http://x/", token="t0ken")
    second = await hub.install("careful", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    for minutes in (5, 90, 30):
        await hub.put([first], 3, at=now - timedelta(minutes=minutes), flushes=2)
    found = await sending.oldest_pending(hub.tx, [first.id, second.id], EVERYWHERE.oldest)
    assert found.keys() == {first.id}
    assert abs((now - found[first.id]).total_seconds() - 5400) < 1


async def test_the_ledger_counts_by_destination_hour_and_reason(hub: Hub) -> None:
    first = await hub.install("acme", url="http://x/", token="t0ken")
    second = await hub.install("careful", url="http://x/", token="t0ken")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    ids = await hub.put([first, second], 6, at=hour + timedelta(minutes=59), flushes=3)
    await hub.put([first], 2, at=hour + timedelta(minutes=61))
    for n, (status, reason) in enumerate([("delivered", None), ("skipped", "a"), ("skipped", "b"), ("failed", "c")]):
        await hub.tx.execute(
            "UPDATE delivery SET status = %s, reason = %s WHERE event_id = %s AND destination_id = %s",
            (status, reason, ids[n], first.id),
        )
    both = [first.id, second.id]
    rows = await ledger.read(hub.tx, both, hour, hour + timedelta(hours=2), held={second.id})
    by_key = {(row.destination_id, row.hour): row for row in rows}
    one = by_key[first.id, hour]
    assert (one.accepted, one.delivered, one.skipped, one.failed, one.pending) == (6, 1, {"a": 1, "b": 1}, {"c": 1}, 2)
    assert by_key[second.id, hour].held == 6
    assert by_key[first.id, hour + timedelta(hours=1)].pending == 2
    assert all(row.difference == 0 for row in rows)
    assert len(await ledger.read(hub.tx, both, hour, hour + timedelta(hours=1))) == 2
    await hub.tx.execute("DELETE FROM delivery WHERE event_id = %s AND destination_id = %s", (ids[0], first.id))
    [row] = await ledger.read(hub.tx, [first.id], hour, hour + timedelta(hours=1))
    assert row.difference == 1


async def test_the_ledger_still_tells_of_months_that_were_dropped(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    old = partitions.month(now) - timedelta(days=70)
    await partitions.make_ahead(hub.tx, old, months=0)
    ids = await hub.put([to], 5, at=old + timedelta(hours=5), flushes=2)
    await hub.put([to], 1)
    await hub.tx.execute("UPDATE delivery SET status = 'delivered' WHERE event_id = %s", (ids[0],))
    for _ in range(2):
        await housekeeping.keep_partitions(hub.pool, now, MONTH)
    assert {row[0] for row in await hub.rows("event_id")}.isdisjoint(ids)
    names = [name for name, *_ in await partitions.older_than(hub.tx, now)]
    assert all(f"{old:%Y_%m}" not in name for name in names)
    [before] = await ledger.read(hub.tx, [to.id], old, old + timedelta(days=1))
    assert (before.accepted, before.delivered, before.failed) == (5, 1, {ledger.EXPIRED: 4})
    assert before.difference == 0
    await hub.balances(to)


async def test_what_a_platform_said_is_not_filed_in_the_ledger(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    old = partitions.month(now) - timedelta(days=70)
    await partitions.make_ahead(hub.tx, old, months=0)
    reasons = {
        "failed": ["answered 400: jane-1", "answered 400: jane-2", "gave up: Acme's code 7: jane-3"],
        "skipped": ["order not completed: it is pending"],
    }
    ids = iter(await hub.put([to], 4, at=old + timedelta(hours=5)))
    for status, texts in reasons.items():
        for text in texts:
            row = (status, text, next(ids))
            await hub.tx.execute("UPDATE delivery SET status = %s, reason = %s WHERE event_id = %s", row)
    await housekeeping.keep_partitions(hub.pool, now, MONTH)
    [filed] = await ledger.read(hub.tx, [to.id], old, old + timedelta(days=1))
    assert filed.failed == {"answered 400": 2, "gave up: Acme's code 7": 1}
    assert (filed.skipped, filed.difference) == ({"order not completed: it is pending": 1}, 0)


async def test_visitors_and_links_that_were_not_seen_for_the_retention_time_are_forgotten(hub: Hub) -> None:
    now = datetime.now(UTC)
    for days in (1, 400):
        at = now - timedelta(days=days)
        await hub.tx.execute(
            "INSERT INTO visitor SELECT 60, gen_random_uuid(), %s, '{}', NULL, %s, %s FROM generate_series(1, 1100)",
            (hub.workspace.id, now - timedelta(days=500), at),
        )
        await hub.tx.execute(
            "INSERT INTO link SELECT 60, gen_random_uuid(), gen_random_uuid(), %s FROM generate_series(1, 5)", (at,)
        )
    assert await housekeeping.trim(hub.pool, [60, 8], now, MONTH) == 1105
    for table, column, left in ("visitor", "last_seen_at", 1100), ("link", "seen_at", 5):
        query = f"SELECT count(*), min({column}) > now() - interval '2 days' FROM {table}"
        assert await (await hub.tx.execute(query.encode())).fetchall() == [(left, True)]


async def test_touches_that_came_with_an_old_time_are_forgotten_too(hub: Hub) -> None:
    now = datetime.now(UTC)
    for days in (1, 400):
        at = now - timedelta(days=days)
        await hub.tx.execute(
            "INSERT INTO touch (bucket, visitor_key, id, workspace_id, kind, at)"
            " SELECT 60, gen_random_uuid(), %s, %s, 'open', %s FROM generate_series(1, 1100)",
            (buckets.floor(at), hub.workspace.id, at),
        )
    assert await housekeeping.trim(hub.pool, [60, 8], now, MONTH) == 1100
    [(left,)] = await (
        await hub.tx.execute("SELECT count(*) FROM touch WHERE at > now() - interval '2 days'")
    ).fetchall()
    assert left == 1100


async def test_attempts_may_go_before_their_events(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    old = partitions.month(now) - timedelta(days=70)
    await partitions.make_ahead(hub.tx, old, months=0)
    ids = await hub.put([to], 2, at=old + timedelta(hours=5))
    for id_ in ids:
        row = (buckets.of_id(id_), id_, to.id, old)
        await hub.tx.execute(
            "INSERT INTO attempt (bucket, event_id, destination_id, n, at) VALUES (%s, %s, %s, 1, %s)", row
        )
    month, year = timedelta(days=30), timedelta(days=365)
    await housekeeping.keep_partitions(hub.pool, now, Kept(events=year, attempts=month, sealed=year, visitors=year))
    assert len(await hub.rows()) == 2
    assert await hub.attempts() == []


async def test_dedup_keys_of_old_events_are_forgotten(hub: Hub) -> None:
    now = datetime.now(UTC)
    for days in (1, 400):
        for n in range(5):
            id_ = UUID(bytes=buckets.make_ids(1, int((now - timedelta(days=days)).timestamp() * 1000), 0, n << 60)[0])
            await hub.tx.execute("INSERT INTO dedup VALUES (60, gen_random_uuid(), %s, NULL, 0)", (id_,))
    assert await housekeeping.trim_dedup(hub.pool, [60, 8], now - timedelta(days=30)) == 5
    [(left,)] = await (await hub.tx.execute("SELECT count(*) FROM dedup")).fetchall()
    assert left == 5


async def test_the_window_reaches_back_to_the_oldest_open_delivery(hub: Hub) -> None:
    to = await hub.install("acme", url="http://x/", token="t0ken")
    now = datetime.now(UTC)
    async with await connect(hub.dsn) as tx:
        window = await sending.window(tx, buckets.BUCKETS, now, now - timedelta(days=400))
        assert buckets.time_of(window.oldest) == partitions.month(now)
        old = now - timedelta(days=100)
        await hub.put([to], 1, at=old)
        window = await sending.window(tx, buckets.BUCKETS, now, now - timedelta(days=400))
        assert buckets.time_of(window.oldest) == partitions.month(old)
        assert buckets.time_of(window.newest) > now
