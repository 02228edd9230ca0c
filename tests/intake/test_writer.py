"""The writer on a real database: one flush, many requests."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from msgspec import structs

from postback import keys, workspaces
from postback.db import Tx, buckets
from postback.db.trip import Trip
from postback.dialects import Accepted
from postback.errors import Invalid, Unauthenticated, Unavailable
from postback.event import RawUser
from postback.intake import dedup, rows
from postback.intake.flush import Figures, Flush
from postback.intake.limits import Exhausted
from tests.intake.taking import NOW, Hub, scalar


async def test_an_event_is_in_the_bucket_that_its_id_names(hub: Hub, tx: Tx) -> None:
    accepted = await hub.send(event_id="e1")
    row = await (await tx.execute("SELECT bucket, id, event_id FROM event")).fetchone()
    id_ = UUID(bytes=accepted.id)
    assert row == (buckets.of_id(id_), id_, "e1")
    assert not accepted.duplicate


async def test_a_repeat_is_a_duplicate_that_names_the_first(hub: Hub, tx: Tx) -> None:
    first = await hub.send(event_id="e1")
    again = await hub.send(event_id="e1")
    assert (again.duplicate, again.id, again.event_id) == (True, first.id, "e1")
    assert await scalar(tx, "SELECT count(*) FROM event") == 1


async def test_the_same_id_under_another_name_is_another_event(hub: Hub) -> None:
    await hub.send(event_id="e1")
    assert not (await hub.send(event_id="e1", name="lead")).duplicate


async def test_repeats_inside_one_flush_count_once(hub: Hub, tx: Tx) -> None:
    pending = [await hub.pending(event_id="e1") for _ in range(50)]
    await hub.writer.submit(pending)
    results = [event.result for event in pending if isinstance(event.result, Accepted)]
    assert [result.duplicate for result in results] == [False] + [True] * 49
    assert len({result.id for result in results}) == 1
    assert await scalar(tx, "SELECT count(*) FROM event") == 1


@pytest.mark.parametrize(
    "changed", [{"amount": Decimal(5)}, {"currency": "EUR"}, {"order_id": "o2"}, {"order_status": "refunded"}]
)
async def test_a_repeat_that_says_something_else_is_noted_on_the_first(
    hub: Hub, tx: Tx, changed: dict[str, object]
) -> None:
    fields = {"event_id": "e1", "amount": Decimal("9.90"), "currency": "USD", "order_id": "o1"}
    await hub.send(**fields)
    await hub.send(**fields)
    assert await scalar(tx, "SELECT notes FROM event") is None
    assert (await hub.send(**fields | changed)).duplicate
    await hub.send(**fields | changed)
    assert await scalar(tx, "SELECT notes FROM event") == ["collision"]


async def test_two_writers_and_one_id_make_one_event(hub: Hub, tx: Tx) -> None:
    other = hub.another_writer()
    await other.start()
    pending = [await hub.pending(event_id="same") for _ in range(40)]
    await asyncio.gather(*((hub.writer if n % 2 else other).submit([p]) for n, p in enumerate(pending)))
    results = [event.result for event in pending if isinstance(event.result, Accepted)]
    assert sorted(result.duplicate for result in results) == [False] + [True] * 39
    assert len({result.id for result in results}) == 1
    assert await scalar(tx, "SELECT count(*) FROM event") == 1
    await other.close()


async def test_no_event_of_a_key_commits_once_its_revocation_has(hub: Hub, tx: Tx) -> None:
    judged_before = await hub.pending(event_id="late")
    async with tx.transaction():
        await keys.revoke(tx, judged_before.key.workspace_id, judged_before.key.id)
    await hub.writer.submit([judged_before])
    assert isinstance(judged_before.result, Unauthenticated)
    assert await scalar(tx, "SELECT count(*) FROM event") == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_an_event_judged_before_a_change_is_judged_again_beside_one_judged_after(
    hub: Hub, tx: Tx, order: tuple[int, ...]
) -> None:
    judged = [await hub.pending(event_id=f"before {n}") for n in range(2)]
    await hub.cap(1)
    judged.append(await hub.pending(event_id="after"))
    results = await hub.submit([judged[place] for place in order])
    assert sum(isinstance(result, Accepted) for result in results) == 1, results
    assert await scalar(tx, "SELECT count(*) FROM event") == 1


async def test_a_revocation_waits_for_the_flush_under_way(hub: Hub, tx: Tx) -> None:
    pending = await hub.pending()
    await tx.execute("BEGIN")
    trip = Trip(tx, set())
    workspaces.versions_for_share(trip, buckets.BUCKETS[3], [pending.key.workspace_id.bytes])
    await trip.run()

    async def revoke() -> None:
        async with hub.pool.connection() as other, other.transaction():
            await keys.revoke(other, pending.key.workspace_id, pending.key.id)

    revocation = asyncio.create_task(revoke())
    done, _ = await asyncio.wait([revocation], timeout=0.3)
    assert not done
    await tx.execute("COMMIT")
    await revocation


async def test_an_event_that_the_database_refuses_harms_no_neighbour(hub: Hub, tx: Tx) -> None:
    pending = [await hub.pending(event_id=f"e{n}") for n in range(9)]
    pending[4].event = structs.replace(pending[4].event, event_id="no text for\0PostgreSQL")
    await hub.writer.submit(pending)
    results = [event.result for event in pending]
    assert isinstance(results.pop(4), Invalid)
    assert all(isinstance(result, Accepted) and not result.duplicate for result in results)
    assert await scalar(tx, "SELECT count(*) FROM event") == 8


async def test_a_whole_flush_that_waits_is_not_held_up_by_the_one_under_way(hub: Hub, tx: Tx) -> None:
    stuck = await hub.pending(event_id="stuck")
    others = [await hub.pending(event_id=f"e{n}") for n in range(200)]
    few, whole = others[:100], others[100:]
    await tx.execute("BEGIN")
    trip = Trip(tx, set())
    stuck.id = buckets.make_ids(1, int(NOW.timestamp() * 1000), 5, 2**60)[0]
    dedup.insert_new(trip, [stuck])
    await trip.run()
    waiting = [asyncio.create_task(hub.writer.submit([stuck]))]
    await asyncio.wait(waiting, timeout=0.1)
    waiting.append(asyncio.create_task(hub.writer.submit(few)))
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    await asyncio.wait_for(hub.writer.submit(whole), 5)
    assert all(isinstance(event.result, Accepted) for event in others)
    assert stuck.result is None
    await tx.execute("ROLLBACK")
    await asyncio.gather(*waiting)
    assert isinstance(stuck.result, Accepted)
    assert await scalar(tx, "SELECT count(*) FROM event") == 201


async def test_what_waits_is_committed_before_the_end(hub: Hub, tx: Tx) -> None:
    writer = hub.another_writer()
    await writer.start()
    waiting = [asyncio.create_task(writer.submit([await hub.pending(event_id=f"e{n}")])) for n in range(450)]
    await asyncio.sleep(0)
    await writer.close()
    await asyncio.gather(*waiting)
    assert await scalar(tx, "SELECT count(*) FROM event") == 450


async def test_the_waiting_room_is_bounded(hub: Hub) -> None:
    pending = [await hub.pending() for _ in range(1001)]
    with pytest.raises(Unavailable):
        await hub.writer.submit(pending)
    assert hub.writer.waiting_events == 0


async def test_counts_say_what_was_accepted(hub: Hub, tx: Tx) -> None:
    for n in range(3):
        await hub.send(event_id=f"e{n % 2}")
    assert (
        await scalar(tx, "SELECT sum(n)::int FROM usage WHERE destination_id = '00000000-0000-0000-0000-000000000000'")
        == 2
    )


async def test_the_experiments_of_an_event_are_kept_with_its_visitor(hub: Hub, tx: Tx) -> None:
    await hub.send(event_id="e1", visitor_id="v1", experiments={"100218245": "100299457"})
    await hub.send(event_id="e2", visitor_id="v1")
    kept = await scalar(tx, "SELECT identifiers -> 'experiment.100218245' ->> 0 FROM visitor")
    assert kept == "100299457"


async def test_a_visitor_keeps_the_newest_50_experiments(hub: Hub, tx: Tx) -> None:
    async def send(n: int) -> None:
        at, those = NOW - timedelta(minutes=9 - n), {f"{n}-{m}": "v" for m in range(30)}
        await hub.send(event_id=f"e{n}", visitor_id="v1", occurred_at=at, experiments=those, click_ids={"gclid": "g"})

    await send(0)
    await send(1)
    await asyncio.gather(*map(send, (3, 2, 4)))
    kept = await scalar(tx, "SELECT identifiers FROM visitor")
    names = sorted(name for name in kept if name != "gclid")
    assert kept["gclid"][0] == "g"
    assert len(names) == 50
    assert [sum(name.startswith(f"experiment.{n}-") for name in names) for n in range(5)] == [0, 0, 0, 20, 30]


async def test_no_plaintext_of_a_person_reaches_the_tables(hub: Hub, tx: Tx) -> None:
    user = RawUser(
        email="plain@person.example", phone="+15550102030", first_name="Plainname", client_ip_address="198.51.100.7"
    )
    await hub.send(event_id="e1", visitor_id="v1", session_id="s1", user=user)
    for table in ("event", "visitor", "link", "dedup"):
        text = str(
            await (
                await tx.execute(f"SELECT t::text, encode(convert_to(t::text, 'UTF8'), 'escape') FROM {table} t")
            ).fetchall()
        )
        body = b"".join(row[0] for row in await (await tx.execute("SELECT body FROM event")).fetchall())
        for planted in ("plain@person", "5550102030", "plainname", "198.51.100.7"):
            assert planted not in text.lower()
            assert planted.encode() not in body.lower()


async def test_the_clock_of_ids_is_the_databases(hub: Hub) -> None:
    accepted = await hub.send()
    assert abs(buckets.time_of(UUID(bytes=accepted.id)) - datetime.now(UTC)) < timedelta(seconds=5)


async def test_an_answer_that_is_read_late_does_not_set_the_clock_back(hub: Hub) -> None:
    await hub.send()
    hub.writer.flush.is_committing = False
    sending = asyncio.create_task(hub.send())
    while not hub.writer.flush.is_committing:
        await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 (the loop is busy)
    await sending
    assert abs(hub.writer.now() - datetime.now(UTC)) < timedelta(seconds=0.1)


async def test_a_lost_connection_fails_the_request_and_the_next_flush_recovers(hub: Hub, tx: Tx) -> None:
    await hub.send(event_id="e1")
    await tx.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%COMMIT%'"
    )
    pending = await hub.pending(event_id="e2")
    try:
        await hub.writer.submit([pending])
    except Unavailable:
        await hub.writer.submit([await hub.pending(event_id="e2")])
    assert await scalar(tx, "SELECT count(*) FROM event") == 2


async def test_a_flush_that_cannot_be_composed_fails_alone(hub: Hub, tx: Tx, monkeypatch: pytest.MonkeyPatch) -> None:
    await hub.send(event_id="e1")
    with monkeypatch.context() as broken:
        broken.setattr(rows, "compose", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await hub.send(event_id="e2")
    await hub.send(event_id="e2")
    assert await scalar(tx, "SELECT count(*) FROM event") == 2


async def test_a_commit_whose_answer_was_lost_is_not_written_again(hub: Hub, tx: Tx) -> None:
    await hub.send(event_id="e1")
    pending = await hub.pending(event_id="e2")
    pending.id = buckets.make_ids(1, int(NOW.timestamp() * 1000), 5, 2**60)[0]
    flush = Flush(buckets.new_id(NOW), Figures(), Exhausted())
    async with hub.pool.connection() as conn:
        await flush.write(conn, [pending], buckets.BUCKETS[5], is_retry=False)
        first, pending.result = pending.result, None
        await flush.write(conn, [pending], buckets.BUCKETS[5], is_retry=True)
    assert pending.result == first
    assert isinstance(first, Accepted)
    assert not first.duplicate
    assert first.id == pending.id
    assert await scalar(tx, "SELECT count(*) FROM event") == 2


async def test_flushes_side_by_side_share_no_row_that_they_count_in(hub: Hub, tx: Tx) -> None:
    """Else one would wait for the other's COMMIT, or meet it in a deadlock where both saw the same visitor."""
    pending = [await hub.pending(event_id=f"e{number}") for number in range(400)]
    await asyncio.gather(hub.writer.submit(pending[:200]), hub.writer.submit(pending[200:]))
    assert (
        await scalar(tx, "SELECT sum(n) FROM usage WHERE destination_id = '00000000-0000-0000-0000-000000000000'")
        == 400
    )
    assert await scalar(tx, "SELECT count(DISTINCT writer) FROM usage") == 2


async def test_an_unknown_key_is_refused_and_asked_for_once_each_time(hub: Hub) -> None:
    with pytest.raises(Unauthenticated):
        await hub.directory.authenticate(keys.fingerprint("pb_live_nobody"), NOW)


async def test_a_key_made_later_is_found_without_a_restart(hub: Hub, tx: Tx) -> None:
    pending = await hub.pending()
    async with tx.transaction():
        _, text = await keys.create(
            tx, key_id=buckets.new_id(NOW), workspace_id=pending.key.workspace_id, label="new", scopes=["ingest"],
            environment="live", now=NOW,
        )  # fmt: skip
    _, key = await hub.directory.authenticate(keys.fingerprint(text), NOW)
    assert key.label == "new"


async def test_a_negative_value_is_refused_by_name(hub: Hub) -> None:
    with pytest.raises(Invalid) as refused:
        await hub.pending(amount=Decimal(-1), currency="USD")
    assert refused.value.field == "value"
