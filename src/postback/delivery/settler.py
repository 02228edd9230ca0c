"""The settler: one for all lanes of a worker. What ended while the last transaction ran is written by the next one.

It goes on trying while the database is away: what was sent is not forgotten. Rows that the database refuses are halved
until the culprit stands alone, and that one is settled without its log. Where even that is refused, it is `stuck`: it
stays under way, so that it is not sent again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from postback import queue
from postback.db import Tx, buckets, connect, is_unavailable
from postback.delivery.leases import Leases
from postback.queue import sending
from postback.queue.sending import Ended, Settled, Ticket
from postback.secret import Secret
from postback.visitors import links

log = structlog.get_logger()
ROWS_MAX = 2000
# Nobody waits for a settlement, and a fuller transaction costs less for each.
FEW, LINGER_SECONDS = 300, 0.02
_AWAY_SECONDS = 0.5
_NO_LOG = "the log of this attempt could not be stored"


class _Work(Struct, frozen=True):
    settled: Sequence[Settled]
    withdrawn: Sequence[Ticket]
    done: Callable[[], None]


class Settler:
    def __init__(self, dsn: Secret, leases: Leases) -> None:
        self._dsn = dsn
        self._conn: Tx | None = None
        self._leases = leases
        self._waiting: deque[_Work] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.settled = 0
        self.stuck: set[Ticket] = set()

    def put(self, settled: Sequence[Settled], done: Callable[[], None]) -> None:
        """Write these soon; `done` is called when they are committed."""
        self._add(_Work(settled, (), done))

    def withdraw(self, tickets: Sequence[Ticket], done: Callable[[], None]) -> None:
        """Take back attempts that were begun and not sent."""
        self._add(_Work((), tickets, done))

    async def drain(self) -> None:
        """Return when nothing waits."""
        await self._idle.wait()

    async def run(self) -> None:
        """For ever; to be cancelled after `drain`."""
        try:
            await self._run()
        finally:
            if self._conn is not None:
                await self._conn.close()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if len(self._waiting) < FEW:
                await asyncio.sleep(LINGER_SECONDS)
            work: list[_Work] = []
            rows = 0
            while self._waiting and rows < ROWS_MAX:
                work.append(self._waiting.popleft())
                rows += len(work[-1].settled) + len(work[-1].withdrawn)
            if not work:
                self._wake.clear()
                self._idle.set()
                continue
            await self._write([row for w in work for row in w.settled], [t for w in work for t in w.withdrawn])
            for one in work:
                one.done()

    def _add(self, work: _Work) -> None:
        self._waiting.append(work)
        self._idle.clear()
        self._wake.set()

    async def _write(self, rows: Sequence[Settled], withdrawn: Sequence[Ticket]) -> None:
        # In key order, so that two transactions that meet lock in one order.
        rows = sorted(rows, key=lambda row: (row.ticket.bucket, row.ticket.event_id))
        while True:
            try:
                took = await self._commit(rows, withdrawn)
            except Exception as error:
                if is_unavailable(error):
                    log.warning("settling waits for the database", deliveries=len(rows), error=type(error).__name__)
                    await asyncio.sleep(_AWAY_SECONDS)
                    continue
                log.exception("settling refused", deliveries=len(rows))
                return await self._split(rows, withdrawn)
            self.settled += took
            if took < len(rows):
                log.warning("outcomes dropped: the lease was lost, or the delivery was ended", count=len(rows) - took)
            return None

    async def _commit(self, rows: Sequence[Settled], withdrawn: Sequence[Ticket]) -> int:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._dsn)
        tx, took = self._conn, None
        # One round trip: the answers come with the end of the block.
        async with tx.pipeline(), tx.transaction():
            if withdrawn:
                await sending.withdraw(tx, self._leases.worker, withdrawn)
            if rows:
                took = await sending.settle(tx, self._leases.worker, rows, self._leases.now())
            if reached := [row for row in rows if row.reached is not None]:
                await _remember(tx, reached, self._leases.now())
        return took.rowcount if took is not None else 0

    async def _split(self, rows: Sequence[Settled], withdrawn: Sequence[Ticket]) -> None:
        if not rows:
            log.error("attempts cannot be taken back", attempts=len(withdrawn))
            return
        if withdrawn:
            await self._write((), withdrawn)
            await self._write(rows, ())
            return
        if len(rows) > 1:
            await self._write(rows[: len(rows) // 2], ())
            await self._write(rows[len(rows) // 2 :], ())
            return
        row = rows[0]
        if row.ended is None or row.ended.reason == _NO_LOG:
            log.error("a delivery cannot be settled", event_id=row.ticket.event_id.hex())
            self.stuck.add(row.ticket)
            return
        bare = Ended(row.ended.outcome, _NO_LOG)
        reason = None if row.reason is None else _NO_LOG
        await self._write([msgspec.structs.replace(row, ended=bare, reason=reason, fix=None)], ())


async def _remember(tx: Tx, rows: Sequence[Settled], now: datetime) -> None:
    """What was reached, but for what was not settled: its lease was lost, or it was ended. As old as its event, so that
    an erasure which is under way takes it too."""
    ids = [UUID(bytes=row.ticket.event_id) for row in rows]
    stands = {
        (one.event_id.bytes, one.destination_id.bytes, one.attempt)
        for found in (await queue.deliveries_of(tx, ids)).values()
        for one in found
        if one.status == "delivered"
    }
    marks = [
        (*row.reached, buckets.time_of(id_))
        for row, id_ in zip(rows, ids, strict=True)
        if row.reached is not None
        and (row.ticket.event_id, row.ticket.destination_id, row.ticket.attempt + 1) in stands
    ]
    if marks:
        await links.remember(tx, marks, now)
