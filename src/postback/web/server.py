"""One API process: what it holds while it serves, and uvicorn around it.

Waits for the database at the start, as long as it takes; SIGTERM stops accepting, answers what is under way, commits
what waits, and ends.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import AsyncGenerator, Generator

import structlog
import uvicorn
from msgspec.structs import replace

from postback import installation
from postback.db import connect, is_unavailable, open_pool
from postback.intake.directory import Directory
from postback.intake.judge import Judge
from postback.intake.writer import Writer
from postback.pii import Vault
from postback.secret import Secret
from postback.settings import Settings
from postback.web.admin.application import Admin
from postback.web.app import App
from postback.web.calls import Calls
from postback.web.collect import Collect
from postback.web.ingest import Ingest
from postback.web.live import Live
from postback.web.protocol import Protocol
from postback.web.wire import Limits

log = structlog.get_logger()
DRAIN_SECONDS = 20
OTHER_FILES = 100  # besides connections: the database, what is logged and read


def run(settings: Settings, dsn: Secret, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = replace(settings, connections_max=_room_for(settings.connections_max))
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_run(settings, dsn, listening))


def _room_for(connections: int) -> int:
    """How many of so many connections this process may open: each is a file, and 1,024 are usual unless asked for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    wanted = connections + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if (room := max(soft, allowed) - OTHER_FILES) < connections:
        log.warning("fewer connections than connections_max: raise the limit of open files", connections=room)
    return min(room, connections)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


class _Server(uvicorn.Server):
    """Uvicorn raises a signal once more when it has drained, which would end us before the writer has."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def end(self) -> None:
        self.should_exit = True


def configure(app: App, *, port: int | None = None) -> uvicorn.Config:
    """How uvicorn serves the application; `port` 0 for any, None where a socket is given."""
    return uvicorn.Config(
        app,
        port=port or 0,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


async def _run(settings: Settings, dsn: Secret, listening: socket.socket) -> None:
    async with application(settings, dsn) as app:
        config = configure(app)
        server = _Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.end)
        # What is loaded now stays; what a request makes is freed by counting. Walks over both cost 15 % of the CPU.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        log.info("api serving", pid=os.getpid())
        await server.serve(sockets=[listening])


@contextlib.asynccontextmanager
async def application(settings: Settings, dsn: Secret) -> AsyncGenerator[App]:
    """The application with its pool, directory and writer; what waits is committed when the block ends."""
    vault = await _open_vault(settings, dsn)
    pool = await open_pool(dsn, max_size=settings.database_connections_max, is_patient=False)
    directory = Directory(pool, vault.sealer)
    writer = Writer(dsn, directory, waiting_max=settings.waiting_events_max, flush_max=settings.flush_events_max)
    calls = Calls(pool)
    live = Live(pool, writer.now)
    try:
        await writer.start()
        calls.start()
        judge = Judge(vault.sealer, vault.link_key, lambda: os.urandom(16).hex())
        limits = Limits(settings.slow_body_seconds, settings.slow_body_bytes_per_second)
        ingest = Ingest(pool, directory, judge, writer, vault, settings.environment, limits)
        collect = Collect(ingest, directory, pool, vault.link_key, settings, limits, calls.refusals)
        app = App(ingest, collect, calls, live, settings.connections_max)
        app.admin = Admin(pool, directory, writer, vault, settings, app.requests, calls, live).application
        yield app
    finally:
        live.end()
        await writer.close()
        await calls.close()
        await pool.close()


async def _open_vault(settings: Settings, dsn: Secret) -> Vault:
    """Open the installation's keys, waiting for a database that is not there yet."""
    pause = 0.1
    while True:
        try:
            conn = await connect(dsn)
            try:
                return await installation.open_vault(conn, settings)
            finally:
                await conn.close()
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("waiting for the database", again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)
