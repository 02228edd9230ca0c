"""One connection and the flushes that go over it, one after the other.

An answer that was lost on the way of the COMMIT is settled by the dedup rows: a flush is atomic, so one row that holds
its own event's id means that all of it is there. A flush that the database refuses is halved until the culprit stands
alone; one that meets a deadlock or a lost connection is tried again whole, with the same ids.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

import psycopg
import structlog

from postback.db import Tx, connect, is_refusal, is_unavailable
from postback.db.pool import widen
from postback.errors import Invalid, Unavailable
from postback.intake.directory import Directory
from postback.intake.flush import Excess, Flush, Moved
from postback.intake.judge import Pending, judge_again
from postback.secret import Secret

log = structlog.get_logger()
TRIES = 4
UNKNOWN_COMMIT_SECONDS = 10


class Committer:
    """`commit` is not for concurrent use. The connection is opened when it is first needed."""

    def __init__(self, dsn: Secret, directory: Directory, flush: Flush) -> None:
        self._dsn = dsn
        self._directory = directory
        self._flush = flush
        self._conn: Tx | None = None

    async def commit(self, events: Sequence[Pending], bucket: int) -> None:
        """Give every event its result, in one transaction where that can be. Raises Unavailable."""
        tries, odd_errors, deadline = 0, 0, 0.0
        while True:
            self._flush.is_committing = False
            try:
                conn = await self.connection()
                live = [event for event in events if event.result is None]
                if live:
                    await self._flush.write(conn, live, bucket, is_retry=tries > 0)
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
                if not deadline and self._flush.is_committing and _is_unknown(error, self._conn):
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
            self._flush.figures.refused += 1
            return
        await self.commit(live[: len(live) // 2], bucket)
        await self.commit(live[len(live) // 2 :], bucket)

    async def _judge_again(self, events: Sequence[Pending], workspace_ids: list[UUID]) -> None:
        try:
            await self._directory.reload(workspace_ids)
        except Exception as error:
            if is_unavailable(error):
                raise Unavailable(_away(error, is_unknown=False)) from error
            raise
        now = self._flush.now()
        for event in events:
            snapshot = self._directory.get(event.snapshot.workspace.id)
            if event.result is None and snapshot is not None and snapshot is not event.snapshot:
                judge_again(event, snapshot, now)

    async def connection(self) -> Tx:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._dsn)
            widen(self._conn)
            self._flush.forget()
        return self._conn

    async def _roll_back(self) -> None:
        if self._conn is None:
            return
        try:
            await self._flush.roll_back(self._conn)
        except Exception:  # whatever it is, such as half a trip that was never sent: another connection has it not
            await self.close()

    async def close(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._conn.close()
            self._conn = None


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
