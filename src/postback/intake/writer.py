"""The writer: one in each process. What waits is committed in one transaction (see `flush`), as soon as the last one
ended; no timer. Each request waits for its own events.

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
from datetime import datetime
from uuid import UUID

import psycopg
import structlog
from msgspec import Struct

from postback import conversions
from postback.db import Tx, buckets, connect, is_refusal, is_unavailable
from postback.errors import Invalid, PostbackError, Unavailable
from postback.intake.directory import Directory
from postback.intake.flush import Excess, Flush, Moved
from postback.intake.judge import Pending, judge_again
from postback.secret import Secret

log = structlog.get_logger()
TRIES = 4
WAITING_BYTES = 100_000_000
FLUSH_BYTES = 4_000_000
UNKNOWN_COMMIT_SECONDS = 10


class Submission(Struct, eq=False):
    """One request's events; `done` is called once all of them have a result, or with what was wrong."""

    events: Sequence[Pending]
    done: Callable[[Exception | None], None]
    size_bytes: int
    error: Exception | None = None


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
        self._waiting_bytes = 0
        self._turn = int.from_bytes(os.urandom(1))
        self.waiting_events = 0
        self.id = UUID(bytes=buckets.make_ids(1, int(time.time() * 1000), self._turn & 63, _random())[0])
        self.flush = Flush(self.id)
        self.figures = self.flush.figures
        self.exhausted = self.flush.exhausted

    def now(self) -> datetime:
        """The database's time, as far as the last flush told."""
        return self.flush.now()

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
        ids = buckets.make_ids(len(events), int(self.flush.seconds() * 1000), index, _random())
        for event, id_ in zip(events, ids, strict=True):
            event.id = id_
            if event.event.dialect == "velaro":
                event.conversion_id = conversions.id_of(id_, index, 0)
        await self._commit(events, buckets.BUCKETS[index])

    async def _commit(self, events: Sequence[Pending], bucket: int) -> None:
        tries, odd_errors, deadline = 0, 0, 0.0
        while True:
            self.flush.is_committing = False
            try:
                conn = await self._connection()
                live = [event for event in events if event.result is None]
                if live:
                    await self.flush.write(conn, live, bucket, is_retry=tries > 0)
                return None
            except Excess as excess:
                await self._roll_back()
                for event, refusal in excess.refused:
                    event.result = refusal
            except Moved as moved:
                await self._roll_back()
                await self._judge_again(events, moved.workspace_ids)
            except Exception as error:
                # From the first COMMIT of which no answer came: only the dedup rows tell what became of it.
                if not deadline and self.flush.is_committing and _is_unknown(error, self._conn):
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

    async def _connection(self) -> Tx:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._dsn)
            self.flush.forget()
        return self._conn

    async def _roll_back(self) -> None:
        if self._conn is None:
            return
        try:
            await self.flush.roll_back(self._conn)
        except Exception:  # whatever it is, such as half a trip that was never sent: another connection has it not
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


def _random() -> int:
    return int.from_bytes(os.urandom(9))
