"""The gate of a lane: whether it may send, and how fast.

Shut by the lane's row (paused, held), by a platform's Retry-After, and while a refused credential is being written
down; nearly shut by an open breaker. What a platform teaches is stored in the lane's row, for every worker, and since
when it cannot be reached, for people.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import structlog
from msgspec import Struct

from postback import destinations
from postback.connectors import Refused, Retry
from postback.db import Pool
from postback.delivery import pace
from postback.delivery.judge import Judged
from postback.delivery.leases import Leases
from postback.delivery.pace import Breaker, Pace
from postback.delivery.settler import Settler
from postback.delivery.token import Tokens
from postback.destinations import Destination
from postback.pii import Vault
from postback.queue import sending
from postback.queue.sending import Window

log = structlog.get_logger()
_SAY_SECONDS, _STALE = 3.0, timedelta(seconds=15)
_CONCURRENT_SECONDS = 2.0  # of the rate: more under way at once would only wait


class Tools(Struct, frozen=True):
    """What the lanes of a worker share. `claim_max`: most deliveries claimed at once; `window`: where open ones lie;
    `fresh`: how long what was built may wait to be sent."""

    pool: Pool
    tokens: Tokens
    settler: Settler
    leases: Leases
    keys: Vault
    claim_max: int
    window: Callable[[], Window]
    fresh: timedelta


class Gate:
    """`concurrency`: requests at once: this worker's share, and no more than the rate can use."""

    def __init__(self, destination: Destination, tools: Tools) -> None:
        self.destination = destination
        self.breaker = Breaker()
        self.pace = Pace(destination.connector.rate.per_second, 1.0)
        self.concurrency = 1
        self._tools = tools
        self._state: destinations.Lane | None = None
        self._seen: destinations.Lane | None = None
        self._not_before: datetime | None = None
        self._is_holding = False
        self._is_down = False  # what the lane's row says, or will
        self._is_ours = False  # whether we said it: a worker that cannot reach a platform says so beside one that can
        self._say_again = 0.0
        self._is_answered = False  # the last that was sent
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether anything may be sent now; the breaker is asked apart."""
        if self._state is None or self._state.state != "active" or self._is_holding:
            return False
        return self._not_before is None or self._tools.leases.now() >= self._not_before

    @property
    def _is_stale(self) -> bool:
        """Whether whoever said that the platform is down has not said so for a while: it is gone, perhaps."""
        said = self._seen.down_at if self._seen is not None else None
        return said is None or self._tools.leases.now() - said > _STALE

    @property
    def per_second(self) -> float:
        """This worker's share of the rate."""
        return self.pace.rate * self._tools.leases.share

    def see(self, state: destinations.Lane | None) -> None:
        """The lane's row, read each second or so."""
        if self._was_reset(state):
            self._not_before = None
        if state is not None:
            self._seen = state
            self._is_down = state.down_since is not None
            if self._is_down and self._is_answered and self._is_stale:
                self._come_back()
        self._state = state
        now = self._tools.leases.now()
        told = [at for at in (self._not_before, state and state.not_before) if at and at > now]
        self._not_before = max(told, default=None)
        full = self.destination.connector.rate.per_second
        taught = state.rate if state is not None else None
        if taught is not None and taught < self.pace.rate:
            self.pace.fell(time.monotonic())
        self._keep_to(min(full, taught) if taught is not None else full)
        if taught is not None and state is not None and self._is_to_recover(state, now):
            self._spawn(self._teach(pace.recovered(taught, full), None))

    def heed(self, judged: Judged, used: Destination, began: float) -> None:
        """What an answer means for what may be sent next; `used`: what the request was built with."""
        now = time.monotonic()
        if judged.is_failure:
            reason, self._is_answered = judged.settled[0].reason, False
            if self.breaker.failed(now, judged.wait_seconds):
                log.warning("breaker opened", destination_id=str(used.id), reason=reason)
            if self.breaker.is_open and now >= self._say_again:
                self._is_down, self._is_ours, self._say_again = True, True, now + _SAY_SECONDS
                self._spawn(self._say_down(reason))
        elif judged.is_failure is not None:
            self._is_answered = True
            if self._is_ours:
                self._come_back()
            if self.breaker.answered():
                log.info("breaker closed", destination_id=str(used.id))
                self._spawn(self._hasten())
        if judged.refused is not None and not self._is_holding:
            self._is_holding = True
            self._spawn(self._hold(used, judged.refused))
        if judged.throttled is not None:
            self._throttle(judged.throttled, began, now)

    async def close(self) -> None:
        """Return when what was learned is written."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _was_reset(self, state: destinations.Lane | None) -> bool:
        """Whether somebody resumed the destination or changed it, which forgets what the platform asked for; a rate
        that was taught moves the row too."""
        if state is None or (seen := self._seen) is None or state.changed_at == seen.changed_at:
            return False
        return state.not_before is None and (state.rate is None or state.rate == seen.rate)

    def _keep_to(self, rate: float) -> None:
        share = self._tools.leases.share
        self.pace.set(rate, share)
        most = round(self.destination.connector.rate.concurrency * share)
        self.concurrency = max(1, min(most, int(rate * share * _CONCURRENT_SECONDS) + 1))

    def _is_to_recover(self, state: destinations.Lane, now: datetime) -> bool:
        """Whoever has the destination's home bucket raises its rate again."""
        is_ours = self.destination.bucket in self._tools.leases.epochs
        return is_ours and now - state.changed_at > timedelta(seconds=pace.RECOVERY_SECONDS)

    def _throttle(self, outcome: Retry, began: float, now: float) -> None:
        until: datetime | None = None
        if outcome.after_seconds:
            until = self._tools.leases.now() + timedelta(seconds=outcome.after_seconds)
            self._not_before = max(self._not_before or until, until)
        if (rate := self.pace.throttled(began, now)) is not None:
            self._keep_to(rate)
            log.warning("throttled", destination_id=str(self.destination.id), requests_per_second=round(rate, 1))
            self._spawn(self._teach(rate, until))

    async def _hold(self, used: Destination, refused: Refused) -> None:
        """Hold the destination, unless its configuration has changed since the request was built."""
        tools, reason, fix = self._tools, refused.reason, refused.fix
        try:
            async with tools.pool.connection() as tx, tx.transaction():
                current = await destinations.read(tx, tools.keys.sealer, used.workspace_id, used.id)
                if current.config == used.config and await destinations.set_state(
                    tx, used.id, "held", {"active"}, tools.leases.now(), reason, fix
                ):
                    log.warning("destination held", destination_id=str(used.id), reason=reason, fix=fix)
        finally:
            self._is_holding = False
            self._state = None  # nothing is sent before the lane's row is read again

    async def _teach(self, rate: float | None, not_before: datetime | None) -> None:
        now = self._tools.leases.now()
        async with self._tools.pool.connection() as tx:
            await destinations.teach(tx, self.destination.id, rate=rate, not_before=not_before, now=now)

    def _come_back(self) -> None:
        self._is_down, self._is_ours, self._say_again = False, False, 0.0
        self._spawn(self._say_back())

    async def _say_down(self, reason: str | None) -> None:
        async with self._tools.pool.connection() as tx:
            await destinations.went_down(tx, self.destination.id, reason, self._tools.leases.now())

    async def _say_back(self) -> None:
        async with self._tools.pool.connection() as tx:
            await destinations.came_back(tx, self.destination.id)

    async def _hasten(self) -> None:
        tools = self._tools
        async with tools.pool.connection() as tx:
            await sending.hasten(tx, self.destination.id, list(tools.leases.epochs), tools.leases.now(), tools.window())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # it is learned again from the next answer
            log.exception("what a platform said was not written", destination_id=str(self.destination.id))
