"""The worker: leases buckets, and lets a lane for each destination deliver what is due in them.

    heartbeat      several times a lease: renew, give back what is over our share, take what is free
    scan           once a second, five times while there is work: changed configurations, lanes' rows, who has work;
                   every ten seconds what is open for removed destinations
    jobs           once a second, five times while one moves: a step or more of each replay and backfill
    privacy        the same for erasures, for half of the time at most; what older keys sealed is sealed anew
    reports        what arrived or changed is counted, at a twentieth of the time at most
    housekeeping   hourly: partitions, retention; daily: old dedup rows, visitors, links, jobs, reports

Any number of workers share the work. While the database is away they wait; what was sent meanwhile is settled when it
is back. At the end nothing new is begun, what is under way is answered and settled, and the leases are given back.
"""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
import uvloop
from psycopg.errors import LockNotAvailable, UndefinedTable

from postback import destinations, installation, workspaces
from postback.db import Pool, Tx, buckets, connect, is_unavailable, open_pool
from postback.db.buckets import BUCKETS
from postback.delivery import housekeeping, replay
from postback.delivery.gate import Tools
from postback.delivery.lane import Lane
from postback.delivery.leases import Leases
from postback.delivery.replay import Scene
from postback.delivery.sender import Sender
from postback.delivery.settler import Settler
from postback.delivery.token import Tokens
from postback.destinations import Destination
from postback.pii import Vault
from postback.privacy import erasing, erasures, upkeep
from postback.queue import jobs, sending
from postback.queue.sending import Window
from postback.reports import keeper
from postback.secret import Secret
from postback.settings import Settings

log = structlog.get_logger()
BEATS_A_LEASE = 8
POLL_SECONDS = 1.0
BUSY_POLL_SECONDS = 0.2  # while there is work
WINDOW_SECONDS = 10
REMOVED_FOR = timedelta(minutes=1)  # who still thinks it is installed learns of it sooner
REPORTS_SECONDS, REPORTS_REST = 2.0, 20  # at least; and times what the last round took
HOUSEKEEPING_SECONDS = 3600
LOCKED_SECONDS = 600  # until what was refused is tried again
FIRST_TRIM_SECONDS, TRIM_SECONDS = 300, 86_400
HOUSEKEEPING_POLL_SECONDS = 60
ON_THEIR_WAY = 4  # timeouts, after which what was claimed is settled: it waits for two at most
_AWAY_SECONDS = 0.5


def run(settings: Settings, dsn: Secret) -> None:
    """Deliver until SIGTERM or SIGINT."""
    uvloop.run(_until_signal(settings, dsn))


async def _until_signal(settings: Settings, dsn: Secret) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # What is loaded now stays; deliveries are freed by counting.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await work(settings, dsn, stop)


async def work(
    settings: Settings, dsn: Secret, stop: asyncio.Event, started: Callable[["Worker"], None] | None = None
) -> None:
    """Deliver until `stop` is set; returns when all is settled and given back. `started` is told of the worker."""
    keys = await _keys(settings, dsn, stop)
    if keys is None:
        return
    sender = Sender(
        timeout_seconds=settings.send_timeout_seconds,
        response_bytes_max=settings.response_bytes_max,
        allow_private=settings.dangerous_allow_private_destinations,
    )
    pool = await open_pool(dsn, max_size=settings.database_connections_max)
    try:
        worker = Worker(settings, dsn, pool, sender, keys)
        if started is not None:
            started(worker)
        await worker.run(stop)
    finally:
        await sender.close()
        await pool.close()


async def _keys(settings: Settings, dsn: Secret, stop: asyncio.Event) -> Vault | None:
    """Open the installation, waiting for a database that is away or not made yet; None where it is to stop."""
    while not stop.is_set():
        try:
            tx = await connect(dsn)
            try:
                vault = await installation.open_vault(tx, settings)
            finally:
                await tx.close()
        except Exception as error:
            if not (is_unavailable(error) or isinstance(error, installation.NotInstalled | UndefinedTable)):
                raise
            log.warning("waiting for the database", error=type(error).__name__)
            await _pause(stop, _AWAY_SECONDS)
        else:
            return vault
    return None


class Worker:
    def __init__(self, settings: Settings, dsn: Secret, pool: Pool, sender: Sender, keys: Vault) -> None:
        self._settings = settings
        self._dsn = dsn
        self._pool = pool
        self._keys = keys
        self.leases = Leases(_new_id(), settings.lease_seconds)
        self._settler = Settler(dsn, self.leases)
        self._window = Window(UUID(int=0), UUID(int=2**128 - 1))
        self._window_at = float("-inf")
        self._versions: dict[UUID, int] = {}
        self._removed: dict[UUID, datetime] = {}
        self._cleared: set[int] = set()  # buckets in which nothing can be open for those any more
        self._feeders: dict[UUID, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._partitions_at = float("-inf")
        self._trim_at = time.monotonic() + FIRST_TRIM_SECONDS
        self.lanes: dict[UUID, Lane] = {}
        self._wake = asyncio.Event()
        self._tools = Tools(
            pool,
            Tokens(pool, sender, keys.sealer, self.leases.worker, self.leases.now),
            self._settler,
            self.leases,
            keys,
            settings.claim_deliveries_max,
            lambda: self._window,
            timedelta(seconds=2 * settings.send_timeout_seconds),
        )

    @property
    def settled(self) -> int:
        """Deliveries settled since start."""
        return self._settler.settled

    async def run(self, stop: asyncio.Event) -> None:
        settling = asyncio.create_task(self._settler.run())
        loops = [
            asyncio.create_task(self._for_ever(step))
            for step in (
                self._heartbeat_loop,
                self._scan_loop,
                self._jobs_loop,
                self._privacy_loop,
                self._reseal_loop,
                self._reports_loop,
                self._housekeeping_loop,
            )
        ]
        log.info("worker started", worker=str(self.leases.worker))
        try:
            await stop.wait()
        finally:
            await self._end(loops, settling)

    def wake(self) -> None:
        """There may be work: look now."""
        self._wake.set()

    async def _end(self, loops: list[asyncio.Task[None]], settling: asyncio.Task[None]) -> None:
        heartbeat, *others = loops
        await _cancel(others)
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds):
                # A feeder may be writing that attempts begin: what it takes back must reach the settler.
                closing = [lane.close() for lane in self.lanes.values()]
                await asyncio.gather(*closing, *self._feeders.values(), *self._closing)
                await self._tools.tokens.close()
                await self._settler.drain()
                await _cancel([heartbeat])
                async with self._pool.connection() as tx:
                    await self.leases.release(tx)
        except Exception as error:
            log.warning("worker ended with work under way", error=type(error).__name__)
        await _cancel([heartbeat, settling, *self._feeders.values()])
        log.info("worker ended", settled=self.settled)

    async def _for_ever(self, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except Exception as error:
                if is_unavailable(error):
                    log.warning("the database is away", error=type(error).__name__)
                else:
                    log.exception("worker stumbled")
                await asyncio.sleep(_AWAY_SECONDS)

    # ---- heartbeat

    async def _heartbeat_loop(self) -> None:
        """On a connection of its own: a lease must not be lost because all others are busy."""
        seconds = self._settings.lease_seconds
        tx = await connect(self._dsn)
        try:
            while True:
                async with asyncio.timeout(seconds):
                    if await self.leases.renew(tx, self._is_busy):
                        self._wake.set()
                await asyncio.sleep(seconds / BEATS_A_LEASE)
        finally:
            with contextlib.suppress(Exception):
                await tx.close()

    def _is_busy(self, bucket: int) -> bool:
        return any(lane.is_busy(bucket) for lane in self.lanes.values())

    # ---- scan

    async def _scan_loop(self) -> None:
        while True:
            async with self._pool.connection() as tx:
                has_work = await self._scan(tx)
            await _pause(self._wake, BUSY_POLL_SECONDS if has_work else POLL_SECONDS)
            self._wake.clear()

    async def _scan(self, tx: Tx) -> bool:
        """Tell each lane what it may do and where it has work. Whether any has."""
        await self._read_destinations(tx)
        own, now = self.leases.claimable(), self.leases.now()
        if not own:
            return False
        if time.monotonic() - self._window_at > WINDOW_SECONDS:
            oldest = now - timedelta(days=self._settings.retention_days)
            self._window = await sending.window(tx, own, now, oldest)
            await self._end_removed(own, now)
            self._window_at = time.monotonic()
        states = await destinations.lanes(tx, BUCKETS)
        for id_, lane in self.lanes.items():
            lane.gate.see(states.get(id_))
        pairs = [(bucket, id_) for id_, lane in self.lanes.items() for bucket in lane.unknown(own)]
        due: dict[UUID, list[int]] = {}
        for bucket, id_, _ in await sending.due(tx, pairs, now, self._window):
            due.setdefault(id_, []).append(bucket)
        for id_, lane in self.lanes.items():
            lane.find(due.get(id_, ()))
        return any(lane.has_work for lane in self.lanes.values())

    async def _end_removed(self, own: list[int], now: datetime) -> None:
        """Until nothing is found, and no web process can queue more."""
        wanted = [bucket for bucket in own if bucket not in self._cleared]
        ended = await housekeeping.end_removed(self._pool, list(self._removed), wanted, now, self._window)
        newest = max(self._removed.values(), default=None)
        if not ended and (newest is None or now - newest > REMOVED_FOR):
            self._cleared.update(wanted)

    async def _read_destinations(self, tx: Tx) -> None:
        """Read configurations again where a workspace's version moved."""
        known = [workspace.id for workspace in await workspaces.all_(tx)]
        versions = await workspaces.versions(tx, known) if known else {}
        if versions == self._versions:
            return
        found = await destinations.all_sendable(tx, self._keys.sealer)
        self._versions = versions
        removed = {d.id: d.removed_at for d in found if d.removed_at is not None}
        if removed != self._removed:
            self._removed = removed
            self._cleared.clear()
        self._window_at = float("-inf")
        installed = {d.id: d for d in found if d.removed_at is None and d.config is not None}
        for id_ in [id_ for id_ in self.lanes if id_ not in installed]:
            closing = asyncio.create_task(self._close(self.lanes.pop(id_), self._feeders.pop(id_)))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for id_, destination in installed.items():
            self._install(id_, destination)

    def _install(self, id_: UUID, destination: Destination) -> None:
        if (lane := self.lanes.get(id_)) is None:
            lane = self.lanes[id_] = Lane(destination, self._tools)
            self._feeders[id_] = asyncio.create_task(lane.run())
        elif lane.destination != destination:
            lane.change(destination)

    async def _close(self, lane: Lane, feeder: asyncio.Task[None]) -> None:
        await asyncio.gather(lane.close(), feeder)

    # ---- jobs

    async def _jobs_loop(self) -> None:
        retention = timedelta(days=self._settings.retention_days)
        while True:
            moved, own = False, self.leases.claimable()
            if own and self.lanes:
                async with self._pool.connection() as tx:
                    if ids := await jobs.running(tx, own):
                        installed = {id_: lane.destination for id_, lane in self.lanes.items()}
                        lanes = await destinations.lanes(tx, BUCKETS)
                        moved = await replay.run(tx, ids, Scene(installed, lanes, self.leases.now(), retention))
            if moved:
                self._wake.set()
            await asyncio.sleep(BUSY_POLL_SECONDS if moved else POLL_SECONDS)

    # ---- privacy

    async def _privacy_loop(self) -> None:
        grace = timedelta(seconds=self._settings.send_timeout_seconds * ON_THEIR_WAY)
        tools = erasing.Tools(self._keys.sealer, self._keys.link_key, grace)
        while True:
            moved, began = False, time.monotonic()
            if own := self.leases.claimable():
                async with self._pool.connection() as tx:
                    if ids := await erasures.running(tx, own):
                        moved = await erasing.run(tx, ids, tools, self.leases.now())
            await asyncio.sleep(time.monotonic() - began if moved else POLL_SECONDS)

    async def _reseal_loop(self) -> None:
        while True:
            took = await upkeep.reseal(self._pool, self.leases.claimable(), self._keys.sealer, self.leases.now())
            await asyncio.sleep(took or HOUSEKEEPING_POLL_SECONDS)

    # ---- reports

    async def _reports_loop(self) -> None:
        reports = keeper.Keeper()
        while True:
            began = time.monotonic()
            async with self._pool.connection() as tx:
                await reports.round(tx, self.leases.claimable(), self.leases.now())
            await asyncio.sleep(max(REPORTS_SECONDS, REPORTS_REST * (time.monotonic() - began)))

    # ---- housekeeping

    async def _housekeeping_loop(self) -> None:
        kept = housekeeping.kept(self._settings)
        while True:
            while not self.leases.epochs:  # noqa: ASYNC110  # they come within a second, and this is rare
                await asyncio.sleep(POLL_SECONDS)
            now, then = self.leases.now(), time.monotonic()
            if then >= self._partitions_at and BUCKETS[0] in self.leases.epochs:
                self._partitions_at = then + LOCKED_SECONDS
                try:
                    await housekeeping.keep_partitions(self._pool, now, kept)
                    self._partitions_at = then + HOUSEKEEPING_SECONDS
                except LockNotAvailable:
                    log.warning("a partition is in use: tried again later", seconds=LOCKED_SECONDS)
            if then >= self._trim_at:
                self._trim_at = then + LOCKED_SECONDS
                await housekeeping.trim(self._pool, self.leases.claimable(), now, kept)
                await upkeep.drop_sealed(self._pool, self.leases.claimable(), now - kept.sealed)
                await housekeeping.trim_usage(self._pool, self.leases.claimable(), now)
                async with self._pool.connection() as tx:
                    oldest = now - timedelta(days=self._settings.report_retention_days)
                    await keeper.trim(tx, self.leases.claimable(), oldest)
                self._trim_at = then + TRIM_SECONDS
            await asyncio.sleep(HOUSEKEEPING_POLL_SECONDS)


def _new_id() -> UUID:
    return buckets.new_id(datetime.now(UTC))


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """Wait, at most until the event."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
