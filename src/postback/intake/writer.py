"""The writer: one in each process. What waits is committed in one transaction (see `flush`), as soon as the last one
ended; no timer. Each request waits for its own events.

While a whole flush more waits, a second transaction goes its way beside the first, over a connection of its own, as
those of two processes do: so that neither the database nor this process waits for the other.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from msgspec import Struct

from postback import conversions
from postback.db import buckets
from postback.errors import PostbackError, Unavailable
from postback.intake.committer import Committer
from postback.intake.directory import Directory
from postback.intake.flush import Figures, Flush
from postback.intake.judge import Pending
from postback.intake.limits import Exhausted
from postback.secret import Secret

log = structlog.get_logger()
WAITING_BYTES = 100_000_000
FLUSH_BYTES = 4_000_000


class Submission(Struct, eq=False):
    """One request's events; `done` is called once all of them have a result, or with what was wrong."""

    events: Sequence[Pending]
    done: Callable[[Exception | None], None]
    size_bytes: int
    error: Exception | None = None


class Hand:
    """Who commits what waits, while it is at least `least` events."""

    def __init__(self, committer: Committer, least: int) -> None:
        self.committer = committer
        self.least = least
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Writer:
    def __init__(self, dsn: Secret, directory: Directory, *, waiting_max: int, flush_max: int) -> None:
        self._waiting_max = waiting_max
        self._flush_max = flush_max
        self._waiting: deque[Submission] = deque()
        self._closing = False
        self._waiting_bytes = 0
        self._queued_events = 0
        self._turn = int.from_bytes(os.urandom(1))
        self.waiting_events = 0  # those under way among them
        self.figures = Figures()
        self.exhausted = Exhausted()
        # Each counts in rows of its own: those of one would be locked until its COMMIT is through, and the other waits.
        ids = buckets.make_ids(2, int(time.time() * 1000), self._turn & 63, _random())
        self.flush, second = (Flush(UUID(bytes=id_), self.figures, self.exhausted) for id_ in ids)
        self._hands = (
            Hand(Committer(dsn, directory, self.flush), 1),
            Hand(Committer(dsn, directory, second), flush_max),
        )

    def now(self) -> datetime:
        """The database's time, as far as the last flush told."""
        return self.flush.now()

    async def start(self) -> None:
        for hand in self._hands:
            hand.task = asyncio.create_task(self._run(hand))

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._closing = True
        for hand in self._hands:
            hand.wake.set()
            if hand.task is not None:
                await hand.task
            await hand.committer.close()

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
        self._queued_events += len(events)
        self._waiting_bytes += size
        self._waiting.append(Submission(events, done, size))
        for hand in self._hands:
            if self._queued_events >= hand.least:
                hand.wake.set()

    async def _run(self, hand: Hand) -> None:
        while not self._closing or self._queued_events >= hand.least:
            await hand.wake.wait()
            while self._queued_events >= hand.least:
                batch, size = self._take()
                await self._serve(hand.committer, batch)
                self.waiting_events -= size
            hand.wake.clear()

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
        self._queued_events -= size
        return batch, size

    async def _serve(self, committer: Committer, batch: list[Submission]) -> None:
        began = time.perf_counter()
        error: Exception | None = None
        try:
            await self._flush(committer, [event for submission in batch for event in submission.events])
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

    async def _flush(self, committer: Committer, events: Sequence[Pending]) -> None:
        """Give every event its result. Raises Unavailable."""
        index = self._turn = (self._turn + 1) & 63
        ids = buckets.make_ids(len(events), int(self.flush.seconds() * 1000), index, _random())
        for event, id_ in zip(events, ids, strict=True):
            event.id = id_
            if event.event.dialect == "velaro":
                event.conversion_id = conversions.id_of(id_, index, 0)
        await committer.commit(events, buckets.BUCKETS[index])


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


def _random() -> int:
    return int.from_bytes(os.urandom(9))
