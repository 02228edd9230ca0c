"""A lane: the way of one destination's deliveries through this worker, with a pace and a breaker of its own.

    claim      due rows of our buckets, without a lock: the lease makes us the only sender
    prepare    join visitors, build, group into requests; what cannot be sent is settled at once
    begin      one statement writes that a wave of attempts begins, fenced by the leases' epochs
    send       up to `concurrency` requests under way, no transaction open
    settle     outcomes go to the settler, which writes those of all lanes together

What is under way is kept in memory, so that the next claim passes it by. Where a repeat is not always safe, a wave is
no larger than what is sent at once: a crash then leaves few attempts of which nobody knows whether they arrived.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from msgspec import Struct

from postback import destinations, secret
from postback.connectors import Failed, Item, Retry, Skipped, always
from postback.db import Pool, is_unavailable
from postback.delivery import judge, pace, prepare, verdict
from postback.delivery.judge import Parcel
from postback.delivery.leases import Leases
from postback.delivery.pace import Breaker, Pace
from postback.delivery.prepare import Keys
from postback.delivery.record import Record
from postback.delivery.sender import Sender, Unsendable
from postback.delivery.settler import Settler
from postback.destinations import Destination
from postback.queue import sending
from postback.queue.sending import Claimed, Ended, Settled, Ticket, Window

log = structlog.get_logger()
LONG_WINDOW = timedelta(hours=1)
WAVE_MAX = 1000
_STALE_SECONDS = 1.0
_LATE_SECONDS = 5.0  # a claim goes on where the last one ended; what came due behind it waits for so long
_AWAY_SECONDS = 0.5
_LEAST_WAIT_SECONDS = 0.001
_YIELD_EVERY = 50
_FEW_BUCKETS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR = timedelta(days=3650)
_UNFINISHED = "the worker died before an answer came"


class Tools(Struct, frozen=True):
    """What the lanes of a worker share. `claim_max`: most deliveries claimed at once; `window`: where open ones lie."""

    pool: Pool
    sender: Sender
    settler: Settler
    leases: Leases
    keys: Keys
    claim_max: int
    window: Callable[[], Window]


class Batch(Struct, eq=False):
    """What goes into one request. `at`: when its attempts were begun; `since`: monotonic, when it was made ready."""

    parcels: list[Parcel]
    destination: Destination
    is_probe: bool = False
    at: datetime | None = None
    since: float = 0.0


class Lane:
    def __init__(self, destination: Destination, tools: Tools) -> None:
        self.tools = tools
        self.state: destinations.Lane | None = None
        self.in_flight: dict[int, dict[bytes, datetime]] = {}
        self.breaker = Breaker()
        self.pace = Pace(destination.connector.rate.per_second, 1.0)
        self.sent = 0
        self._set(destination)
        self._due: dict[int, None] = {}  # buckets, in the order of their turns
        self._since: dict[int, datetime] = {}
        self._since_at = 0.0
        self._prepared: deque[Batch] = deque()
        self._ready: deque[Batch] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._holding = False
        self._not_before: datetime | None = None
        self._ended_since: set[bytes] = set()
        self._wave = 0
        self._wake = asyncio.Event()
        self._closing = False

    def _set(self, destination: Destination) -> None:
        self.destination = destination
        connector = destination.connector
        self._secrets = secret.of(destination.config)
        self._record = Record(self._secrets, connector.private)
        self._is_careful = connector.repeat_is_safe is not always and connector.dedup_window < LONG_WINDOW

    def change(self, destination: Destination) -> None:
        """Its configuration changed: what was built under the old one is built again."""
        self._set(destination)
        self._drop_waiting()

    def unknown(self, own: Collection[int]) -> list[int]:
        """The buckets to look into for something due: none where nothing may be sent, or where there is more anyway."""
        if self.breaker.is_open or not self._is_open_for_work():
            return []
        return [bucket for bucket in own if bucket not in self._due]

    @property
    def has_work(self) -> bool:
        return bool(self._due or self._prepared or self._senders)

    def see(self, state: destinations.Lane | None) -> None:
        """The lane's row, read each second or so."""
        self.state = state
        now = self.tools.leases.now()
        told = [at for at in (self._not_before, state and state.not_before) if at and at > now]
        self._not_before = max(told, default=None)
        rate = self.destination.connector.rate.per_second
        taught = state.rate if state is not None else None
        self.pace.set(min(rate, taught) if taught is not None else rate, self.tools.leases.share)
        if taught is not None and state is not None and self._is_to_recover(state):
            self._spawn(self._teach(pace.recovered(taught, rate), None))

    def find(self, due: Collection[int]) -> None:
        """Buckets in which something is due."""
        self._due.update(dict.fromkeys(due))
        if time.monotonic() > self._since_at + _LATE_SECONDS:
            self._since_at = time.monotonic()
            self._since.clear()
        if self._due or self._prepared or self._ready or self.breaker.is_open:
            self._wake.set()

    def is_busy(self, bucket: int) -> bool:
        return bool(self.in_flight.get(bucket))

    async def run(self) -> None:
        """Claim and begin as long as there is something to do; to be cancelled by `close`."""
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            try:
                while not self._closing and await self._fill():
                    pass
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("lane stumbled", destination_id=str(self.destination.id))
                await asyncio.sleep(_AWAY_SECONDS)

    async def close(self) -> None:
        """Begin nothing more, and return when what is under way has been answered; settling is the settler's."""
        self._closing = True
        self._wake.set()
        self._drop_waiting()
        while self._senders or self._others:
            await asyncio.wait({*self._senders, *self._others})

    # ---- claim, prepare, begin

    async def _fill(self) -> bool:
        """One step: whether it makes sense to go on at once."""
        if not self._is_open_for_work():
            self._drop_waiting()
            return False
        if self.breaker.is_open:
            self._drop_waiting()
            print('probe?', time.monotonic(), self.breaker._probe_at)
            if self.breaker.may_probe(time.monotonic()):
                await self._claim_probe()
                return await self._begin()
            return False
        if not self._prepared:
            if len(self._ready) > self._wave // 2 or not await self._claim():
                return False
        return await self._begin()

    def _is_open_for_work(self) -> bool:
        state = self.state
        if state is None or state.state != "active" or self._holding or self._closing:
            return False
        return self._not_before is None or self.tools.leases.now() >= self._not_before

    def _concurrency(self) -> int:
        """Requests at once: this worker's share, and no more than the rate can use."""
        share = self.tools.leases.share
        most = round(self.destination.connector.rate.concurrency * share)
        return max(1, min(most, int(self.pace.rate * share * 2) + 1))

    async def _claim(self) -> bool:
        """Claim a wave and prepare it. Whether anything was found, or may be."""
        claimable = set(self.tools.leases.claimable())
        own = [bucket for bucket in self._due if bucket in claimable]
        if not own:
            return False
        self._size_wave()
        per_second = self.pace.rate * self.tools.leases.share
        requests = min(self._wave, int(per_second * 2) + 1)
        count = max(1, min(self.tools.claim_max, requests * self.destination.connector.max_items))
        await self._read(own, count, self.tools.leases.now())
        return bool(self._prepared or self._due)

    def _size_wave(self) -> None:
        """As many requests as go out in half a second or so: twice as many when the last wave was gone too soon."""
        least, now = self._concurrency() * 2, time.monotonic()
        if not self._ready:
            self._wave *= 2
        elif self._ready[0].since < now - _STALE_SECONDS:
            self._wave //= 2
        else:
            self._wave = max(self._wave, int(self.pace.really(now) / 2))
        self._wave = min(max(self._wave, least), WAVE_MAX)

    def _overlap(self, bucket: int) -> int:
        """How many rows of the next claim are under way already."""
        since = self._since.get(bucket, _EPOCH)
        return sum(due_at >= since for due_at in self.in_flight.get(bucket, {}).values())

    async def _claim_probe(self) -> None:
        """Claim one delivery: what is due, else what waits the shortest."""
        tools, now = self.tools, self.tools.leases.now()
        own = tools.leases.claimable()
        async with tools.pool.connection() as tx:
            due = await sending.due(
                tx, [(bucket, self.destination.id) for bucket in own], now + _FAR, tools.window()
            )
        for bucket, _, due_at in sorted(due, key=lambda row: row[2])[:8]:
            await self._read([bucket], 1, max(now, due_at), max_items=1)
            if self._prepared:
                self._prepared[0].is_probe = True
                return

    async def _read(self, own: Sequence[int], count: int, now: datetime, max_items: int | None = None) -> None:
        """Claim up to `count` or so, from few buckets if they have enough, then join, build and group them."""
        tools, destination = self.tools, self.destination
        # What ends while a claim is read may still be open in what it read.
        self._ended_since = set()
        new: list[tuple[Ticket, Claimed]] = []
        try:
            async with tools.pool.connection() as tx:
                some, step = 0, _FEW_BUCKETS
                while some < len(own) and len(new) < count:
                    each = -(-(count - len(new)) // len(own[some : some + step]))
                    wanted = [
                        (bucket, self._since.get(bucket, _EPOCH), each + self._overlap(bucket))
                        for bucket in own[some : some + step]
                    ]
                    found = await sending.claim(tx, destination.id, wanted, now, tools.window())
                    for bucket, _, limit in wanted:
                        new += self._claimed(bucket, found[bucket], limit)
                    some, step = some + step, step * 2
                if not new:
                    return
                stored = await sending.events(tx, [row.event_id for _, row in new])
                known = await prepare.join(tx, list(stored.values()), tools.keys)
        except BaseException:
            self._forget(ticket for ticket, _ in new)
            raise
        await self._build(new, known, destination, max_items or destination.connector.max_items)

    def _claimed(self, bucket: int, rows: Sequence[Claimed], limit: int) -> list[tuple[Ticket, Claimed]]:
        """Those of the rows that are not under way; they are from now on."""
        self._due.pop(bucket, None)
        if len(rows) == limit:
            self._due[bucket] = None  # it has more; the next turn is for the others
            self._since[bucket] = rows[-1].due_at
        else:
            self._since.pop(bucket, None)
        if (epoch := self.tools.leases.epochs.get(bucket)) is None:
            return []
        new: list[tuple[Ticket, Claimed]] = []
        under_way = self.in_flight.setdefault(bucket, {})
        for row in rows:
            if row.event_id not in under_way and row.event_id not in self._ended_since:
                under_way[row.event_id] = row.due_at
                new.append((Ticket(bucket, epoch, row.event_id, self.destination.id.bytes, row.attempt), row))
        return new

    async def _build(
        self,
        new: Sequence[tuple[Ticket, Claimed]],
        known: dict[bytes, prepare.Known],
        destination: Destination,
        max_items: int,
    ) -> None:
        parcels: list[Parcel] = []
        settled: list[Settled] = []
        connector, now = destination.connector, self.tools.leases.now()
        for index, (ticket, row) in enumerate(new):
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
            one = known.get(ticket.event_id)
            if one is None:
                settled.append(Settled(ticket, "skipped", now, "erased: the event is gone"))
                continue
            limits = prepare.limits(one, connector, row.tried_at or now)
            if row.unfinished_at is not None:
                settled.append(_unfinished(ticket, row.unfinished_at, one, destination, limits, row.tries, now))
                continue
            event, built = prepare.build(one, destination, self.tools.keys, now)
            match built:
                case Item() if event is not None:
                    parcels.append(Parcel(ticket, event, built, limits, row.tries))
                case Skipped(reason):
                    settled.append(Settled(ticket, "skipped", now, self._record.text(reason)))
                case Failed() | Retry():
                    standing = verdict.standing(built, limits, tries=row.tries, now=now, random=0.0)
                    reason = self._record.text(standing.reason or "")
                    settled.append(Settled(ticket, standing.status, standing.due_at, reason, standing.fix))
        if settled:
            self.tools.settler.put(settled, lambda: self._forget(row.ticket for row in settled))
        for members in prepare.groups([parcel.item for parcel in parcels], connector, max_items):
            self._prepared.append(Batch([parcels[index] for index in members], destination))

    async def _begin(self) -> bool:
        """Write that attempts begin, and let the senders have them. Whether to go on at once."""
        room = len(self._prepared)
        if self._is_careful:
            room = max(0, self._concurrency() - len(self._senders) - len(self._ready))
        wave = [self._prepared.popleft() for _ in range(min(room, len(self._prepared)))]
        if not wave:
            return False
        tools = self.tools
        tickets = [parcel.ticket for batch in wave for parcel in batch.parcels]
        now = tools.leases.now()
        try:
            async with tools.pool.connection() as tx:
                begun = await sending.begin(tx, tools.leases.worker, self.destination.id, tickets, now)
        except BaseException:
            self._withdraw(tickets)
            raise
        if begun < len(tickets):
            log.warning("a lease was lost before sending", destination_id=str(self.destination.id))
            self._withdraw(tickets)
            return False
        since = time.monotonic()
        for batch in wave:
            batch.at, batch.since = now, since
        self._ready.extend(wave)
        self._start_senders()
        return True

    # ---- send

    def _start_senders(self) -> None:
        for _ in range(min(self._concurrency() - len(self._senders), len(self._ready))):
            task = asyncio.create_task(self._send_ready())
            self._senders.add(task)
            task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a sender stumbled", exc_info=error, destination_id=str(self.destination.id))
        self._wake.set()

    async def _send_ready(self) -> None:
        while self._ready and len(self._senders) <= self._concurrency():
            batch = self._ready.popleft()
            if (wait := self.pace.wait(time.monotonic())) > _LEAST_WAIT_SECONDS:
                await asyncio.sleep(wait)
            if not self._may_send(batch):
                self._withdraw([parcel.ticket for parcel in batch.parcels])
                continue
            await self._send(batch)
            if len(self._ready) <= self._wave // 2:
                self._wake.set()

    def _may_send(self, batch: Batch) -> bool:
        if not self._is_open_for_work() or (self.breaker.is_open and not batch.is_probe):
            return False
        holds = self.tools.leases.holds
        for parcel in batch.parcels:
            if not holds(parcel.ticket.bucket, parcel.ticket.epoch):
                return False
        return True

    async def _send(self, batch: Batch) -> None:
        tools, destination, parcels = self.tools, batch.destination, batch.parcels
        connector = destination.connector
        now, began = tools.leases.now(), time.monotonic()
        try:
            request = connector.pack([parcel.item for parcel in parcels], destination.config, now)
            content = request.content()
        except Exception as error:  # our own bug: nothing was sent, and the next event may be fine
            log.exception("pack failed", connector=connector.name)
            self._settle(batch, [_broken(parcel, f"our bug: {type(error).__name__} in {connector.name}", now) for parcel in parcels])
            return
        self.pace.count(began)
        answer = await tools.sender.send(request, self._secrets_of(destination), content)
        self.sent += 1
        ended = time.monotonic()
        judged = judge.judge(
            parcels,
            request,
            answer,
            connector,
            self._record,
            content=content,
            at=batch.at or now,
            latency_ms=int((ended - began) * 1000),
            now=tools.leases.now(),
        )
        if judged.is_failure:
            if self.breaker.failed(ended, judged.wait_seconds):
                log.warning("breaker opened", destination_id=str(destination.id), reason=judged.settled[0].reason)
                self._wake.set()
        elif judged.is_failure is not None and self.breaker.answered():
            log.info("breaker closed", destination_id=str(destination.id))
            self._spawn(self._hasten())
        if judged.refused is not None:
            self._holding = True
            self._spawn(self._hold(destination, judged.refused.reason, judged.refused.fix))
        if judged.throttled is not None:
            self._throttle(judged.throttled, began, ended)
        self._settle(batch, judged.settled, is_split=judged.is_split)

    def _secrets_of(self, destination: Destination) -> Sequence[secret.Secret]:
        return self._secrets if destination is self.destination else secret.of(destination.config)

    # ---- afterwards

    def _settle(self, batch: Batch, rows: list[Settled], *, is_split: bool = False) -> None:
        if is_split:
            self.tools.settler.put(rows, lambda: self._halve(batch))
        else:
            self.tools.settler.put(rows, lambda: self._forget(row.ticket for row in rows))

    def _halve(self, batch: Batch) -> None:
        """The platform refused a batch and did not say which event was wrong: each half is a new attempt."""
        for parcel in batch.parcels:
            ticket = parcel.ticket
            parcel.tries += 1
            parcel.ticket = Ticket(
                ticket.bucket, ticket.epoch, ticket.event_id, ticket.destination_id, ticket.attempt + 1
            )
        middle = len(batch.parcels) // 2
        for half in (batch.parcels[middle:], batch.parcels[:middle]):
            self._prepared.appendleft(Batch(half, batch.destination))
        if self._closing or batch.destination is not self.destination:
            self._drop_waiting()
        self._wake.set()

    def _forget(self, tickets: Any) -> None:
        """These are no longer under way."""
        for ticket in tickets:
            if (held := self.in_flight.get(ticket.bucket)) is not None:
                held.pop(ticket.event_id, None)
                self._ended_since.add(ticket.event_id)

    def _withdraw(self, tickets: list[Ticket]) -> None:
        self.tools.settler.withdraw(tickets, lambda: self._forget(tickets))

    def _drop_waiting(self) -> None:
        """Forget what is prepared, and take back what was begun: it is claimed again when its time comes."""
        for batch in self._prepared:
            self._forget(parcel.ticket for parcel in batch.parcels)
        self._prepared.clear()
        if self._ready:
            self._withdraw([parcel.ticket for batch in self._ready for parcel in batch.parcels])
            self._ready.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._insist(work))
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _insist(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("lane stumbled", destination_id=str(self.destination.id))

    async def _hold(self, used: Destination, reason: str, fix: str) -> None:
        """Hold the destination, unless its configuration has changed since the request was built."""
        tools = self.tools
        try:
            async with tools.pool.connection() as tx, tx.transaction():
                current = await destinations.read(tx, tools.keys.sealer, used.workspace_id, used.id)
                reason, fix = self._record.text(reason), self._record.text(fix)
                if current.config == used.config and await destinations.set_state(
                    tx, used.id, "held", {"active"}, tools.leases.now(), reason, fix
                ):
                    log.warning("destination held", destination_id=str(used.id), reason=reason, fix=fix)
        finally:
            self._holding = False
            self.state = None  # nothing is sent before the lane's row is read again

    def _throttle(self, outcome: Retry, began: float, now: float) -> None:
        rate = self.pace.throttled(began, now)
        until = None
        if outcome.after_seconds:
            until = self.tools.leases.now() + timedelta(seconds=outcome.after_seconds)
            self._not_before = max(self._not_before or until, until)
        if rate is not None:
            self.pace.set(rate, self.tools.leases.share)
            log.warning("throttled", destination_id=str(self.destination.id), requests_per_second=rate)
            self._spawn(self._teach(rate, until))

    async def _teach(self, rate: float | None, not_before: datetime | None) -> None:
        async with self.tools.pool.connection() as tx:
            await destinations.teach(
                tx, self.destination.id, rate=rate, not_before=not_before, now=self.tools.leases.now()
            )

    def _is_to_recover(self, state: destinations.Lane) -> bool:
        """Whoever has the destination's home bucket raises its rate again."""
        is_ours = self.destination.bucket in self.tools.leases.epochs
        return is_ours and self.tools.leases.now() - state.changed_at > timedelta(seconds=pace.RECOVERY_SECONDS)

    async def _hasten(self) -> None:
        tools = self.tools
        async with tools.pool.connection() as tx:
            await sending.hasten(tx, self.destination.id, list(tools.leases.epochs), tools.leases.now(), tools.window())


def _unfinished(
    ticket: Ticket,
    at: datetime,
    known: prepare.Known,
    destination: Destination,
    limits: verdict.Limits,
    tries: int,
    now: datetime,
) -> Settled:
    """An attempt that somebody began and did not live to settle: due again at once, where a repeat is safe."""
    is_safe = judge.is_repeatable(destination.connector, known.event, at, now)
    standing = verdict.unknown(_UNFINISHED, limits, repeat_is_safe=is_safe, tries=tries, now=now, random=0.0)
    ended = Ended("unknown", _UNFINISHED)
    return Settled(ticket, standing.status, standing.due_at, standing.reason, standing.fix, ended, at)


def _broken(parcel: Parcel, reason: str, now: datetime) -> Settled:
    return Settled(parcel.ticket, "failed", now, reason, "Report it, with the event.", Ended("failed", reason), now)
