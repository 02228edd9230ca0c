"""Which buckets this worker may send from. Kept alive by a loop of the worker's; read by lanes without asking anybody.

A fair share is 64 buckets over the workers that live; of what is left over the first of them, by id, have one each. Who
has more gives back those in which nothing is under way; who has less takes free ones. A lease counts from before its
renewal was asked for, so that we stop before anybody else can begin.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog

from postback.db import Tx
from postback.db.buckets import BUCKETS
from postback.queue import leases

log = structlog.get_logger()


class Leases:
    """`worker`: this worker's id; `seconds`: how long a lease lasts unrenewed."""

    def __init__(self, worker: UUID, seconds: float) -> None:
        self.worker = worker
        self.epochs: dict[int, int] = {}
        self.leaving: set[int] = set()
        self._seconds = seconds
        self._valid_until = 0.0
        self._clock_offset = 0.0

    @property
    def share(self) -> float:
        """This worker's part of all buckets."""
        return len(self.epochs) / len(BUCKETS)

    def now(self) -> datetime:
        """The database's time, as far as the last renewal told."""
        return datetime.fromtimestamp(time.time() + self._clock_offset, UTC)

    def holds(self, bucket: int, epoch: int) -> bool:
        """Whether the bucket is ours still, and has been without a break."""
        return self.epochs.get(bucket) == epoch and time.monotonic() < self._valid_until

    def claimable(self) -> list[int]:
        """Buckets to begin new work in."""
        if time.monotonic() >= self._valid_until:
            return []
        return [bucket for bucket in self.epochs if bucket not in self.leaving]

    async def renew(self, tx: Tx, is_busy: Callable[[int], bool]) -> bool:
        """One turn: renew, give back, take. Whether buckets came that were not ours before."""
        began = time.monotonic()
        self._clock_offset = (await leases.attend(tx, self.worker)).timestamp() - time.time()
        kept = await leases.renew(tx, self.worker, self._seconds)
        if lost := [bucket for bucket, epoch in self.epochs.items() if kept.get(bucket) != epoch]:
            log.warning("leases lost", buckets=len(lost))
        self.epochs = kept
        self._valid_until = began + self._seconds
        alive = sorted({*await leases.workers(tx, self._seconds), self.worker})
        fair, left = divmod(len(BUCKETS), len(alive))
        most = fair + (alive.index(self.worker) < left)
        self._leave(len(kept) - most)
        await self._give_back(tx, is_busy)
        return await self._take(tx, most - len(self.epochs)) if len(self.epochs) < most else False

    async def release(self, tx: Tx) -> None:
        """Give everything back: at the end, when nothing is under way."""
        await leases.release(tx, self.worker, list(BUCKETS))
        await leases.leave(tx, self.worker)
        self.epochs = {}

    def _leave(self, surplus: int) -> None:
        self.leaving &= self.epochs.keys()
        staying = [bucket for bucket in self.epochs if bucket not in self.leaving]
        for bucket in sorted(self.leaving)[max(0, surplus) :]:
            self.leaving.discard(bucket)
        if (more := surplus - len(self.leaving)) > 0:
            self.leaving.update(staying[:more])

    async def _give_back(self, tx: Tx, is_busy: Callable[[int], bool]) -> None:
        if idle := [bucket for bucket in self.leaving if not is_busy(bucket)]:
            for bucket in idle:
                del self.epochs[bucket]
            self.leaving.difference_update(idle)
            await leases.release(tx, self.worker, idle)

    async def _take(self, tx: Tx, wanted: int) -> bool:
        free = [lease.bucket for lease in await leases.read(tx) if lease.is_free and lease.bucket not in self.epochs]
        # In any order, so that two who take at once meet little.
        some = random.sample(free, min(wanted, len(free)))
        taken = await leases.take(tx, self.worker, some, self._seconds) if some else {}
        self.epochs |= taken
        return bool(taken)
