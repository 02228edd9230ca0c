"""The writer: one in each process. What waits is committed in one transaction of a fixed number of statements, as soon
as the last one ended; no timer. Each request waits for its own events.

    versions FOR SHARE, dedup keys, visitors, events, deliveries, usage, COMMIT

go out together, one round trip, in the hope that no version moved and no event is a repeat: the database refuses the
transaction where one did. Then, and for some flushes after it, the keys go first and what is new follows.

An answer that was lost on the way of the COMMIT is settled by the dedup rows: a flush is atomic, so one row that holds
its own event's id means that all of it is there. A flush that the database refuses is halved until the culprit stands
alone; one that meets a deadlock or a lost connection is tried again whole, with the same ids.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import structlog
from msgspec import Struct

from postback import conversions, queue, quota, visitors, workspaces
from postback.conversions import Held
from postback.db import Tx, buckets, connect, is_refusal, is_unavailable
from postback.db.trip import Rows, Trip, int8, moment
from postback.dialects import Accepted
from postback.errors import Invalid, PostbackError, Unavailable
from postback.intake import dedup, erased, limits, rows, sales
from postback.intake.dedup import Filed
from postback.intake.directory import Directory, Snapshot
from postback.intake.judge import Pending, judge_again
from postback.intake.sales import Sold
from postback.secret import Secret

log = structlog.get_logger()
TRIES = 4
MOST_DOUBT = 64
WAITING_BYTES = 100_000_000
FLUSH_BYTES = 4_000_000
UNKNOWN_COMMIT_SECONDS = 10
COLLISION = "collision"


class Submission(Struct, eq=False):
    """One request's events; `done` is called once all of them have a result, or with what was wrong."""

    events: Sequence[Pending]
    done: Callable[[Exception | None], None]
    size_bytes: int
    error: Exception | None = None


class Figures(Struct):
    """Counts since start, for /metrics."""

    accepted: int = 0
    duplicates: int = 0
    collisions: int = 0
    refused: int = 0
    failed_flushes: int = 0
    flushes: int = 0
    flush_seconds: float = 0.0


class _Moved(Exception):
    """A workspace's version is not the one that its events were judged under."""

    def __init__(self, workspace_ids: list[UUID]) -> None:
        self.workspace_ids = workspace_ids


class _Excess(Exception):
    """Some events cannot be taken; the flush is written without them."""

    def __init__(self, refused: Sequence[tuple[Pending, PostbackError]]) -> None:
        self.refused = refused


class Writer:
    def __init__(self, dsn: Secret, directory: Directory, *, waiting_max: int, flush_max: int) -> None:
        self._dsn = dsn
        self._directory = directory
        self._waiting_max = waiting_max
        self._flush_max = flush_max
        self._waiting: deque[Submission] = deque()
        self._wake = asyncio.Event()
        self._conn: Tx | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._committing = False
        self._waiting_bytes = 0
        self._careful_left = 0
        self._doubt = 1
        self._prepared: set[bytes] = set()
        self._clock_offset = 0.0
        self._turn = int.from_bytes(os.urandom(1))
        self.waiting_events = 0
        self.figures = Figures()
        self.exhausted = limits.Exhausted()
        self.id = UUID(bytes=buckets.make_ids(1, int(time.time() * 1000), self._turn & 63, _random())[0])

    def now(self) -> datetime:
        """The database's time, as far as the last flush told."""
        return datetime.fromtimestamp(time.time() + self._clock_offset, UTC)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    async def submit(self, events: Sequence[Pending]) -> None:
        """Commit events; each has its `result` then. Raises Unavailable: nothing of this request was acknowledged."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: Exception | None) -> None:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        self.enqueue(events, settle)
        await done

    def enqueue(self, events: Sequence[Pending], done: Callable[[Exception | None], None]) -> None:
        """The same without waiting: `done` is called later, with None or the error. Raises Unavailable at once."""
        size = sum([len(event.body) for event in events])
        is_full = self.waiting_events + len(events) > self._waiting_max or self._waiting_bytes + size > WAITING_BYTES
        if self._closing or is_full:
            raise Unavailable("Too many events are waiting to be written; try again in a second.")
        self.waiting_events += len(events)
        self._waiting_bytes += size
        self._waiting.append(Submission(events, done, size))
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch, size = self._take()
            if not self._waiting and not self._closing:
                self._wake.clear()
            if batch:
                await self._serve(batch)
                self.waiting_events -= size
            elif self._closing:
                return

    def _take(self) -> tuple[list[Submission], int]:
        """What the next flush writes: requests in order, up to the limits (one larger than that goes alone)."""
        batch: list[Submission] = []
        size = size_bytes = 0
        while (waiting := self._waiting) and (
            not batch
            or (size + len(waiting[0].events) <= self._flush_max and size_bytes + waiting[0].size_bytes <= FLUSH_BYTES)
        ):
            batch.append(waiting.popleft())
            size += len(batch[-1].events)
            size_bytes += batch[-1].size_bytes
        self._waiting_bytes -= size_bytes
        return batch, size

    async def _serve(self, batch: list[Submission]) -> None:
        began = time.perf_counter()
        error: Exception | None = None
        try:
            await self._flush([event for submission in batch for event in submission.events])
        except Exception as caught:  # whatever it is, the requests that wait must learn it
            error = caught
            self.figures.failed_flushes += 1
            if not isinstance(caught, PostbackError):
                log.exception("flush failed")
        self.figures.flushes += 1
        self.figures.flush_seconds += time.perf_counter() - began
        for submission in batch:
            submission.error = _error_of(submission.events, error)
        # The next flush goes out first: the database works while these are answered.
        asyncio.get_running_loop().call_soon(_settle, batch)

    async def _flush(self, events: Sequence[Pending]) -> None:
        """Give every event its result. Raises Unavailable."""
        index = self._turn = (self._turn + 1) & 63
        ids = buckets.make_ids(len(events), int((time.time() + self._clock_offset) * 1000), index, _random())
        for event, id_ in zip(events, ids, strict=True):
            event.id = id_
            if event.event.dialect == "velaro":
                event.conversion_id = conversions.id_of(id_, index, 0)
        await self._commit(events, buckets.BUCKETS[index])

    async def _commit(self, events: Sequence[Pending], bucket: int) -> None:
        tries, odd_errors, deadline = 0, 0, 0.0
        while True:
            self._committing = False
            try:
                conn = await self._connection()
                live = [event for event in events if event.result is None]
                if live:
                    await self._write(conn, live, bucket, is_retry=tries > 0)
                return None
            except _Excess as excess:
                await self._roll_back()
                for event, refusal in excess.refused:
                    event.result = refusal
            except _Moved as moved:
                await self._roll_back()
                await self._judge_again(events, moved.workspace_ids)
            except Exception as error:
                # From the first COMMIT of which no answer came: only the dedup rows tell what became of it.
                if not deadline and self._committing and _is_unknown(error, self._conn):
                    deadline = time.monotonic() + UNKNOWN_COMMIT_SECONDS
                await self._roll_back()
                tries += 1
                odd = isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("XX")
                odd_errors += odd
                if is_unavailable(error) or (odd and odd_errors == 1):
                    if (tries < TRIES and _is_again(error)) or time.monotonic() < deadline:
                        await asyncio.sleep(0 if _is_again(error) else 0.1)
                        continue
                    raise Unavailable(_away(error, is_unknown=deadline > 0)) from error
                if not is_refusal(error):
                    raise
                return await self._split(events, bucket, error)

    async def _split(self, events: Sequence[Pending], bucket: int, error: Exception) -> None:
        live = [event for event in events if event.result is None]
        if len(live) == 1:
            state = error.sqlstate if isinstance(error, psycopg.Error) else type(error).__name__
            log.error("event refused by the database", sqlstate=state)
            live[0].result = Invalid(f"The database cannot store this event ({state}).")
            self.figures.refused += 1
            return
        await self._commit(live[: len(live) // 2], bucket)
        await self._commit(live[len(live) // 2 :], bucket)

    async def _judge_again(self, events: Sequence[Pending], workspace_ids: list[UUID]) -> None:
        try:
            await self._directory.reload(workspace_ids)
        except Exception as error:
            if is_unavailable(error):
                raise Unavailable(_away(error, is_unknown=False)) from error
            raise
        now = self.now()
        for event in events:
            snapshot = self._directory.get(event.snapshot.workspace.id)
            if event.result is None and snapshot is not None and snapshot is not event.snapshot:
                judge_again(event, snapshot, now)

    async def _write(self, conn: Tx, events: Sequence[Pending], bucket: int, *, is_retry: bool) -> None:
        """One transaction. Sets results only when it has committed."""
        await erased.strip_late(conn, events)
        first = rows.fold(events)
        if not is_retry and self._careful_left == 0:
            if await self._write_hopefully(conn, events, first, bucket):
                self._doubt = max(1, self._doubt // 2)
                return
            self._careful_left, self._doubt = self._doubt, min(MOST_DOUBT, self._doubt * 2)
        else:
            self._careful_left = max(0, self._careful_left - 1)
        await self._write_carefully(conn, events, first, bucket)

    async def _write_hopefully(
        self, conn: Tx, events: Sequence[Pending], first: dict[bytes, Pending], bucket: int
    ) -> bool:
        """As nearly every flush: no version moved, no event is a repeat. Then one trip does all, the commit included;
        the database refuses it where the hope is wrong, and nothing has happened. False then."""
        keys = sorted(first)
        new = sorted(first.values(), key=_id_of)
        snapshots = {event.snapshot.id_bytes: event.snapshot for event in events}
        sold = self._sell(new, _held(new))
        trip = Trip(conn, self._prepared)
        trip.add(b"BEGIN")
        versions = workspaces.require_versions(
            trip, bucket, list(snapshots), [snapshot.version for snapshot in snapshots.values()]
        )
        dedup.insert_new(trip, [first[k] for k in keys])
        if sold.held:
            conversions.insert_new(trip, list(sold.held.values()), self.now())
        self._put(trip, bucket, new, sold)
        collided = rows.collisions(events, first, {})
        if collided:
            queue.note(trip, collided, COLLISION)
        counted = limits.wanted(events)
        totals = quota.require(trip, counted, self.now()) if counted else None
        trip.add(b"COMMIT")
        self._committing = True
        try:
            await trip.run()
        except psycopg.Error as error:
            if is_refusal(error):
                await self._roll_back()
                return False
            raise
        if len(versions.all) < len(snapshots):
            raise RuntimeError("a workspace has no version row in this bucket")
        self._set_clock(versions)
        if totals is not None:
            self.exhausted.settle(events, counted, quota.totals(totals), self.now())
        self.figures.collisions += len(collided)
        self._answer(events, first, set(keys), {}, {})
        return True

    async def _write_carefully(
        self, conn: Tx, events: Sequence[Pending], first: dict[bytes, Pending], bucket: int
    ) -> None:
        """The keys first, then what is new: two trips, and one or two questions about the repeats between them."""
        self._committing = False
        keys = sorted(first)
        snapshots = {event.snapshot.id_bytes: event.snapshot for event in events}
        trip = Trip(conn, self._prepared)
        trip.add(b"BEGIN")
        versions = workspaces.versions_for_share(trip, bucket, list(snapshots))
        won = dedup.insert(trip, [first[k] for k in keys])
        await trip.run()
        winners = {row[0] for row in won.all if row[0] is not None}
        found: dict[bytes, Filed] = {}
        stored: dict[UUID, list[queue.DeliveryStatus]] = {}
        if len(winners) < len(keys):
            found = await dedup.find(conn, [k for k in keys if k not in winners])
            own = {k for k, filed in found.items() if filed.event_id.bytes == first[k].id}
            if others := [filed.event_id for k, filed in found.items() if k not in own]:
                stored = await queue.deliveries_of(conn, others)
            if own:
                # An earlier try had committed: whoever holds its own id was new then, the rest were repeats then.
                await self._roll_back()
                self._answer(events, first, winners | own, found, stored)
                return
        self._check_versions(versions, snapshots)
        collided = rows.collisions(events, first, found)
        new = sorted((event for k, event in first.items() if k in winners), key=_id_of)
        for event in events:
            event.is_counted = False
        sold = await self._sell_held(conn, new)
        trip = Trip(conn, self._prepared)
        if sold.held:
            conversions.write(trip, list(sold.held.values()), self.now())
        if new:
            self._put(trip, bucket, new, sold)
        if collided:
            queue.note(trip, collided, COLLISION)
        if counted := limits.wanted(events):
            totals = quota.add(trip, counted, self.now())
            await trip.run()
            excess = self.exhausted.settle(events, counted, quota.totals(totals), self.now())
            if excess:
                raise _Excess([(events[place], refusal) for place, refusal in excess])
            trip = Trip(conn, self._prepared)
        trip.add(b"COMMIT")
        self._committing = True
        await trip.run()
        self._committing = False
        self.figures.collisions += len(collided)
        self._answer(events, first, winners, found, stored)

    def _sell(self, new: Sequence[Pending], held: dict[bytes, Held]) -> Sold:
        """What new events come to, in the order of their arrival; `held`: their orders. Raises _Excess."""
        sold = Sold(held, [], [])
        for event in new:
            event.settled, event.is_counted = event.fate, event.is_billable
            post = event.post
            if post is not None:
                try:
                    event.settled, is_first = sales.apply(post, event.id, event.event, event.fate, sold)
                except Invalid as refusal:
                    raise _Excess([(event, refusal)]) from None
                event.is_counted = event.is_billable and is_first
            if event.goals:
                sales.convert(
                    event.goals,
                    event.snapshot.sites,
                    event.id,
                    event.event,
                    post,
                    sold,
                    event.conversion_id,
                    event.snapshot.id_bytes,
                    event.visitor_key,
                    event.raw.source,
                )
        return sold

    async def _sell_held(self, conn: Tx, new: Sequence[Pending]) -> Sold:
        """The same, with orders as they stand, held to the end of the transaction."""
        held = _held(new)
        if held:
            trip = Trip(conn, self._prepared)
            known = conversions.lock(trip, list(held.values()), self.now())
            await trip.run()
            conversions.fill(held, known)
        return self._sell(new, held)

    def _put(self, trip: Trip, bucket: int, new: Sequence[Pending], sold: Sold) -> None:
        """What follows from events that are new, which are in the order of their ids."""
        now = self.now()
        if seen := [event.seen for event in new if event.seen]:
            visitors.record(trip, seen)
        places, fates = rows.fates(new, now)
        queue.put(trip, bucket, [rows.row(event, places[id(event.settled)]) for event in new], fates)
        if sold.conversions:
            conversions.insert(trip, sold.conversions)
        if sold.ended:
            conversions.end_sales(trip, sold.ended, now)
        queue.count(trip, self.id, rows.hour(new[0].id), rows.counts(new))

    def _set_clock(self, versions: Rows) -> None:
        if versions.all:
            self._clock_offset = moment(versions.all[0][2]).timestamp() - time.time()

    def _check_versions(self, versions: Rows, snapshots: dict[bytes, Snapshot]) -> None:
        current = {row[0]: int8(row[1]) for row in versions.all}
        self._set_clock(versions)
        if moved := [s.workspace.id for id_, s in snapshots.items() if current.get(id_) != s.version]:
            raise _Moved(moved)

    def _answer(
        self,
        events: Sequence[Pending],
        first: dict[bytes, Pending],
        winners: set[bytes],
        found: dict[bytes, Filed],
        stored: dict[UUID, list[queue.DeliveryStatus]],
    ) -> None:
        for event in events:
            leader = first[event.dedup_key]
            if event.dedup_key in winners:
                is_duplicate, id_, answers = event is not leader, UUID(bytes=leader.id), leader.settled.answers
                conversion_id = UUID(bytes=leader.conversion_id) if leader.conversion_id else None
            else:
                is_duplicate, (id_, _, conversion_id) = True, found[event.dedup_key]
                answers = rows.as_stored(stored.get(id_, ()), event.snapshot)
            sent = (event.whole or event).event
            event.result = Accepted(sent.event_id, id_, is_duplicate, answers, sent.notes, conversion_id)
            self.figures.accepted += not is_duplicate
            self.figures.duplicates += is_duplicate

    async def _connection(self) -> Tx:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._dsn)
            self._prepared = set()
        return self._conn

    async def _roll_back(self) -> None:
        if self._conn is None:
            return
        try:
            # Not by psycopg, which forgets every prepared statement on a rollback.
            async with asyncio.timeout(5):
                trip = Trip(self._conn, self._prepared)
                trip.add(b"ROLLBACK")
                await trip.run()
        except (psycopg.Error, OSError, TimeoutError):
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._conn.close()
            self._conn = None


def _error_of(events: Sequence[Pending], error: Exception | None) -> Exception | None:
    """What a request is told as a whole. What a split had committed stays so: only the rest is told to come again."""
    if error is None or all(event.result is not None for event in events):
        return None
    if not isinstance(error, PostbackError) or all(event.result is None for event in events):
        return error
    for event in events:
        if event.result is None:
            event.result = error
    return None


def _settle(batch: Sequence[Submission]) -> None:
    for submission in batch:
        try:
            submission.done(submission.error)
        except Exception:  # one answer that cannot be given harms no other
            log.exception("answering failed")


def _is_unknown(error: Exception, conn: Tx | None) -> bool:
    """Whether a COMMIT may have happened: no answer came, or a node of several did not give its own."""
    is_lost = conn is None or conn.closed or conn.broken
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    return is_unavailable(error) and (is_lost or state.startswith(("08", "58")))


def _is_again(error: Exception) -> bool:
    """A deadlock, or what Citus makes of one: nothing was committed, and the whole flush may be tried at once."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(("40", "XX"))


def _away(error: Exception, *, is_unknown: bool) -> str:
    if is_unknown:
        return "The database went away during the commit. Send the same events again, with the same event_id."
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state == "53100":
        return "The disk is full; nothing was written. Free some space, then try again."
    return "The database is away; nothing was written. Try again in a second."


def _held(events: Sequence[Pending]) -> dict[bytes, Held]:
    return sales.held_by((event.post, event.snapshot.id_bytes) for event in events if event.post is not None)


def _id_of(event: Pending) -> bytes:
    return event.id


def _random() -> int:
    return int.from_bytes(os.urandom(9))
