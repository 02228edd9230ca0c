"""One program that keeps others alive: the processes of `serve`, and PostgreSQL under them.

Guarantees: what dies is started again, PostgreSQL before the rest, after 0.1 s and then twice as long each time up to
5 s, anew once it has lived 10 s. SIGTERM, SIGINT and SIGHUP end everything in order within 30 s: children get SIGTERM
and 25 s, PostgreSQL goes last. When we are killed, all go with us (see `postback.db.child`).

It sleeps between signals and deaths: no polling. It imports no driver and no web framework of its own.
"""

import asyncio
import inspect
import logging
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from postback.db.child import ended, spawn
from postback.db.embedded import Embedded
from postback.errors import PostbackError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
SETTLED_SECONDS = 10.0  # who lived so long starts again with the first pause
DRAIN_SECONDS = 25.0
DATABASE_STOP_SECONDS = 4.0  # at least; with the drain less than the 30 that are promised
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WRONG_USAGE = 2  # an exit code that no restart heals


class Child(NamedTuple):
    """A program to keep alive. `environment`, None: ours. `inherited`: files that it gets under the same numbers."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] | None = None
    inherited: Sequence[int] = ()


async def supervise(
    children: Sequence[Child],
    database: Embedded | None,
    *,
    on_ready: Callable[[], Awaitable[None] | None] | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> int:
    """Run all until a signal asks us to stop; `database` has been started, and is stopped here.

    Calls `on_ready` once, when every child has been started; what it returns is awaited until we stop. Returns 0 after
    an orderly end, 1 if a child had to be killed, or 2 if one refused its arguments or settings (it ended with 2 as it
    started): the rest is then ended. Belongs in the main thread: it takes the signals.
    """
    return await _Supervisor(children, database, drain_seconds).run(on_ready)


class _Pause:
    """How long to wait before the next start, by how long the last one lived."""

    def __init__(self) -> None:
        self.seconds = FIRST_PAUSE_SECONDS

    def after(self, lived_seconds: float) -> float:
        if lived_seconds >= SETTLED_SECONDS:
            self.seconds = FIRST_PAUSE_SECONDS
        now, self.seconds = self.seconds, min(self.seconds * 2, LONGEST_PAUSE_SECONDS)
        return now


class _Supervisor:
    def __init__(self, children: Sequence[Child], database: Embedded | None, drain_seconds: float) -> None:
        self.children = children
        self.database = database
        self.drain_seconds = drain_seconds
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = asyncio.Event()
        self.database_up = asyncio.Event()
        self.database_up.set()
        self.code = 0

    async def run(self, on_ready: Callable[[], Awaitable[None] | None] | None) -> int:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.ask_to_stop, number)
        keeper = asyncio.create_task(self.keep_database())
        keepers = [asyncio.create_task(self.keep(child)) for child in self.children]
        try:
            await asyncio.sleep(0)  # each keeper starts its child before it first waits
            if on_ready and inspect.isawaitable(waiting := on_ready()):
                await self.unless_stopping(waiting)
            await self.stopping.wait()
        finally:
            self.stopping.set()
            await self.drain(keeper, keepers)
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        for task in (keeper, *keepers):
            if not task.cancelled() and (error := task.exception()):
                raise error
        return self.code

    def ask_to_stop(self, number: signal.Signals) -> None:
        log.info("supervisor.stopping", extra={"signal": number.name})
        self.stopping.set()

    async def keep(self, child: Child) -> None:
        pause = _Pause()
        while not self.stopping.is_set():
            begin = time.monotonic()
            code = await self.run_once(child)
            if self.stopping.is_set():
                return
            lived = time.monotonic() - begin
            if code == WRONG_USAGE and lived < SETTLED_SECONDS:
                log.error("supervisor.child_refused", extra={"child": child.name, "code": code})
                self.code = WRONG_USAGE
                self.stopping.set()
                return
            seconds = pause.after(lived)
            fields = {"child": child.name, "code": code, "lived_seconds": round(lived, 1), "again_in_seconds": seconds}
            log.warning("supervisor.child_died", extra=fields)
            await self.wait_to_stop(seconds)
            await self.unless_stopping(self.database_up.wait())

    async def run_once(self, child: Child) -> int:
        try:
            process = spawn(child.argv, environment=child.environment, inherited=child.inherited)
        except OSError:  # no memory or no process to be had now
            log.exception("supervisor.child_not_started", extra={"child": child.name})
            return 1
        self.living[child.name] = process
        log.info("supervisor.child_started", extra={"child": child.name, "pid": process.pid})
        try:
            return await ended(process)
        finally:
            if process.returncode is not None:
                del self.living[child.name]

    async def keep_database(self) -> None:
        if self.database is None or self.database.process is None:
            return
        pause = _Pause()
        begin = time.monotonic()
        while True:
            code = await ended(self.database.process)
            self.database_up.clear()
            seconds = pause.after(time.monotonic() - begin)
            log.error("supervisor.database_died", extra={"code": code, "again_in_seconds": seconds})
            await asyncio.sleep(seconds)
            begin = time.monotonic()
            try:
                await self.database.restart()
            except (PostbackError, OSError):  # a full disk, say: it may be mended while we try
                log.exception("supervisor.database_not_started")
                continue
            self.database_up.set()
            log.info("supervisor.database_started", extra={"pid": self.database.process.pid})

    async def wait_to_stop(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def unless_stopping(self, awaitable: Awaitable[object]) -> None:
        """Wait for it, but no longer than until we are asked to stop; what it raises rises."""
        awaited = asyncio.ensure_future(awaitable)
        stop = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([awaited, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not awaited.done():
            awaited.cancel()
        else:
            awaited.result()

    async def drain(self, keeper: asyncio.Task[None], keepers: Sequence[asyncio.Task[None]]) -> None:
        deadline = time.monotonic() + self.drain_seconds + DATABASE_STOP_SECONDS
        for process in list(self.living.values()):
            process.terminate()
        if keepers:
            await asyncio.wait(keepers, timeout=self.drain_seconds)
        for name, process in list(self.living.items()):
            log.error("supervisor.child_killed", extra={"child": name, "after_seconds": self.drain_seconds})
            process.kill()
            self.code = self.code or 1
        if keepers:
            await asyncio.wait(keepers)
        keeper.cancel()
        await asyncio.wait([keeper])
        if self.database:
            in_order = await self.database.stop(max(deadline - time.monotonic(), 1.0))
            log.info("supervisor.database_stopped", extra={"in_order": in_order})
        log.info("supervisor.stopped", extra={"code": self.code})
