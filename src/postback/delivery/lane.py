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
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import structlog

from postback import secret
from postback.connectors import always
from postback.db import is_unavailable
from postback.delivery import batches, judge, prepare, reach
from postback.delivery.batches import Batch
from postback.delivery.claims import Claims
from postback.delivery.gate import Gate, Tools
from postback.delivery.record import Record
from postback.destinations import Destination
from postback.queue import sending
from postback.queue.sending import Claimed, Ended, Settled, Ticket

log = structlog.get_logger()
LONG_WINDOW = timedelta(hours=1)
WAVE_MAX = 1000
_STALE_SECONDS = 1.0
_AWAY_SECONDS = 0.5
_LEAST_WAIT_SECONDS = 0.001
_FEW_BUCKETS = 4


class Lane:
    """`sent`: requests since start."""

    def __init__(self, destination: Destination, tools: Tools) -> None:
        self.gate = Gate(destination, tools)
        self.sent = 0
        self._tools = tools
        self._set(destination)
        self._claims = Claims()
        self._prepared: deque[Batch] = deque()
        self._ready: deque[Batch] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._wave = 0
        self._wake = asyncio.Event()
        self._is_closing = False

    def _set(self, destination: Destination) -> None:
        self.destination = self.gate.destination = destination
        connector = destination.connector
        self._secrets = secret.of(destination.config)
        self._record = Record(self._secrets, connector.private)
        self._is_careful = connector.repeat_is_safe is not always and connector.dedup_window < LONG_WINDOW

    def change(self, destination: Destination) -> None:
        """Its configuration changed: what was built under the old one is built again."""
        self._set(destination)
        self._drop_waiting()

    @property
    def has_work(self) -> bool:
        return self.gate.is_open and bool(self._claims.due or self._prepared or self._senders)

    def is_busy(self, bucket: int) -> bool:
        return self._claims.is_busy(bucket)

    def unknown(self, own: Collection[int]) -> list[int]:
        """The buckets to look into for something due: none where nothing may be sent, or where there is more anyway."""
        if self.gate.breaker.is_open or not self.gate.is_open:
            return []
        return [bucket for bucket in own if bucket not in self._claims.due]

    def find(self, due: Collection[int]) -> None:
        """Buckets in which something is due."""
        self._claims.find(due)
        if self._claims.due or self._prepared or self._ready or self.gate.breaker.is_open:
            self._wake.set()

    async def run(self) -> None:
        """Claim and begin as long as there is something to do; ends by itself after `close`."""
        while not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            try:
                while not self._is_closing and await self._fill():
                    pass
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("lane stumbled", destination_id=str(self.destination.id))
                await asyncio.sleep(_AWAY_SECONDS)

    async def close(self) -> None:
        """Begin nothing more, and return when what is under way has been answered; settling is the settler's.

        A begin that is under way is taken back by `run`: wait for that too, before the settler is drained.
        """
        self._is_closing = True
        self._wake.set()
        self._drop_waiting()
        while self._senders:
            await asyncio.wait(set(self._senders))
        await self.gate.close()

    # Claim, prepare, begin.

    async def _fill(self) -> bool:
        """One step: whether it makes sense to go on at once."""
        breaker = self.gate.breaker
        if not self.gate.is_open:
            self._drop_waiting()
            return False
        if breaker.is_open:
            self._drop_waiting(but_probes=True)
            if breaker.may_probe(time.monotonic()):
                await self._claim_probe()
                await self._begin()
            return False
        if not self._prepared and (len(self._ready) > self._wave // 2 or not await self._claim()):
            return False
        return await self._begin()

    async def _claim(self) -> bool:
        """Claim a wave and prepare it. Whether anything was found, or may be."""
        claimable = set(self._tools.leases.claimable())
        own = [bucket for bucket in self._claims.due if bucket in claimable]
        if not own:
            return False
        self._size_wave()
        requests = min(self._wave, int(self.gate.per_second * 2) + 1)
        count = max(1, min(self._tools.claim_max, requests * self.destination.connector.max_items))
        await self._read(own, count, self._tools.leases.now())
        return bool(self._prepared or self._claims.due)

    def _size_wave(self) -> None:
        """As many requests as go out in half a second or so: twice as many when the last wave was gone too soon."""
        least, now = self.gate.concurrency * 2, time.monotonic()
        if not self._ready:
            self._wave *= 2
        elif self._ready[0].since < now - _STALE_SECONDS:
            self._wave //= 2
        else:
            self._wave = max(self._wave, int(self.gate.pace.really(now) / 2))
        self._wave = min(max(self._wave, least), WAVE_MAX)

    async def _claim_probe(self) -> None:
        """Claim one delivery: what is due, else the retry that waits the shortest; never an event before its time."""
        tools, now = self._tools, self._tools.leases.now()
        pairs = [(bucket, self.destination.id) for bucket in tools.leases.claimable()]
        async with tools.pool.connection() as tx:
            found = await sending.due(tx, pairs, now, tools.window())
            found = found or await sending.waiting(tx, pairs, tools.window())
        for bucket, _, due_at in sorted(found, key=lambda row: row[2])[:_FEW_BUCKETS]:
            self._claims.read_anew(bucket)
            await self._read([bucket], 1, now, until=max(now, due_at), max_items=1)
            self._claims.read_anew(bucket)
            if self._prepared:
                self._prepared[0].is_probe = True
                return

    async def _read(
        self,
        own: Sequence[int],
        count: int,
        now: datetime,
        *,
        until: datetime | None = None,
        max_items: int | None = None,
    ) -> None:
        """Claim up to `count` or so, from few buckets if they have enough, then join, build and group them; `until`:
        retries that are due by then too."""
        tools, destination = self._tools, self.destination
        self._claims.begin()
        new: list[tuple[Ticket, Claimed]] = []
        try:
            async with tools.pool.connection() as tx:
                some, step = 0, _FEW_BUCKETS
                while some < len(own) and len(new) < count:
                    turn = own[some : some + step]
                    wanted = self._claims.wanted(turn, count - len(new))
                    found = await sending.claim(tx, destination.id, wanted, now, tools.window(), until)
                    for bucket, _, limit in wanted:
                        epoch = tools.leases.epochs.get(bucket)
                        new += self._claims.take(bucket, found[bucket], limit, epoch, destination.id.bytes)
                    some, step = some + step, step * 2
                if not new:
                    return
                stored = await sending.events(tx, [row.event_id for _, row in new])
                known = await prepare.join(tx, list(stored.values()), tools.keys)
                new = await reach.tell(tx, new, known, destination, tools.keys, self._claims, now)
            most = max_items or destination.connector.max_items
            built, settled = await batches.build(
                new, known, destination, self._record, tools.keys,
                claimed_at=now, now=tools.leases.now(), max_items=most,
            )  # fmt: skip
        except BaseException:
            self._claims.forget(ticket for ticket, _ in new)
            raise
        if settled:
            tools.settler.put(settled, lambda: self._settled([row.ticket for row in settled]))
        self._prepared.extend(built)

    async def _begin(self) -> bool:
        """Write that attempts begin, and let the senders have them. Whether to go on at once."""
        while self._prepared and not self._is_fresh(self._prepared[0]):
            self._claims.forget(self._prepared.popleft().tickets)
        room = len(self._prepared)
        if self._is_careful:
            room = max(0, self.gate.concurrency - len(self._senders) - len(self._ready))
        wave = [self._prepared.popleft() for _ in range(min(room, len(self._prepared)))]
        if not wave:
            return False
        tools = self._tools
        tickets = [ticket for batch in wave for ticket in batch.tickets]
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
        if self._is_closing:
            self._withdraw(tickets)
            return False
        since = time.monotonic()
        for batch in wave:
            batch.at, batch.since = now, since
        self._ready.extend(wave)
        self._start_senders()
        return True

    # Send.

    def _start_senders(self) -> None:
        for _ in range(min(self.gate.concurrency - len(self._senders), len(self._ready))):
            task = asyncio.create_task(self._send_ready())
            self._senders.add(task)
            task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        if not task.cancelled():
            self._start_senders()  # where concurrency fell, all who ended at once thought themselves one too many
        self._wake.set()

    async def _send_ready(self) -> None:
        while self._ready and len(self._senders) <= self.gate.concurrency:
            batch = self._ready.popleft()
            if self._is_fresh(batch) and (wait := self.gate.pace.wait(time.monotonic())) > _LEAST_WAIT_SECONDS:
                await asyncio.sleep(wait)
            if not self._may_send(batch):
                self._withdraw(batch.tickets)
                continue
            try:
                await self._send(batch)
            except Exception:  # it is claimed again, as one of which nobody knows whether it arrived
                log.exception("sending stumbled", destination_id=str(self.destination.id))
                self._claims.forget(batch.tickets)
            if len(self._ready) <= self._wave // 2:
                self._wake.set()

    def _may_send(self, batch: Batch) -> bool:
        gate, holds = self.gate, self._tools.leases.holds
        if self._is_closing or not gate.is_open or (gate.breaker.is_open and not batch.is_probe):
            return False
        return self._is_fresh(batch) and all(holds(ticket.bucket, ticket.epoch) for ticket in batch.tickets)

    def _is_fresh(self, batch: Batch) -> bool:
        """What was built longer ago is claimed anew: an erasure or a withdrawn consent reaches it."""
        return self._tools.leases.now() - batch.claimed_at < self._tools.fresh

    async def _send(self, batch: Batch) -> None:
        destination, parcels, leases = batch.destination, batch.parcels, self._tools.leases
        connector = destination.connector
        now, began = leases.now(), time.monotonic()
        try:
            request = connector.pack([parcel.item for parcel in parcels], destination.config, now)
            content = request.content()
        except Exception as error:  # nothing was sent, and the next event may be fine
            log.exception("pack failed", connector=connector.name)
            ended, reason = Ended("failed", "it was not sent"), batches.bug(error, destination)
            rows = [Settled(ticket, "failed", now, reason, batches.REPORT, ended, now) for ticket in batch.tickets]
            self._tools.settler.put(rows, lambda: self._settled(batch.tickets))
            return
        self.gate.pace.count(began)
        secrets = self._secrets if destination is self.destination else secret.of(destination.config)
        answer = await self._tools.tokens.send(destination, request, secrets, content)
        self.sent += 1
        judged = judge.judge(
            parcels,
            request,
            answer,
            connector,
            self._record,
            leaving=connector.leaving(destination.config),
            content=content,
            at=batch.at or now,
            latency_ms=int((time.monotonic() - began) * 1000),
            now=leases.now(),
        )
        self.gate.heed(judged, destination, began)
        if judged.is_split:
            self._tools.settler.put(judged.settled, lambda: self._halve(batch))
        else:
            self._tools.settler.put(judged.settled, lambda: self._settled(batch.tickets))

    # Afterwards.

    def _settled(self, tickets: Sequence[Ticket]) -> None:
        """What the settler could not write stays under way: it would be sent for ever."""
        stuck = self._tools.settler.stuck
        self._claims.forget(ticket for ticket in tickets if ticket not in stuck)

    def _halve(self, batch: Batch) -> None:
        """The platform refused a batch and did not say which event was wrong: each half is a new attempt."""
        parcels = [parcel for parcel in batch.parcels if parcel.ticket not in self._tools.settler.stuck]
        for parcel in parcels:
            was = parcel.ticket
            parcel.tries += 1
            parcel.ticket = Ticket(was.bucket, was.epoch, was.event_id, was.destination_id, was.attempt + 1)
        middle = len(parcels) // 2
        for half in filter(None, (parcels[middle:], parcels[:middle])):
            self._prepared.appendleft(Batch(half, batch.destination, batch.claimed_at))
        if self._is_closing or batch.destination is not self.destination:
            self._drop_waiting()
        self._wake.set()

    def _withdraw(self, tickets: list[Ticket]) -> None:
        self._tools.settler.withdraw(tickets, lambda: self._claims.forget(tickets))

    def _drop_waiting(self, *, but_probes: bool = False) -> None:
        """Forget what is prepared, and take back what was begun: it is claimed again when its time comes."""
        for batch in self._prepared:
            self._claims.forget(batch.tickets)
        self._prepared.clear()
        staying = [batch for batch in self._ready if but_probes and batch.is_probe]
        if going := [ticket for batch in self._ready if batch not in staying for ticket in batch.tickets]:
            self._withdraw(going)
        self._ready = deque(staying)
