"""One API process: what it holds while it serves, and uvicorn around it.

Waits for the database at the start, as long as it takes; SIGTERM stops accepting, answers what is under way, commits
what waits, and ends.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postback import installation
from postback.db import connect, is_unavailable, open_pool
from postback.installation import Vault
from postback.intake.directory import Directory
from postback.intake.judge import Judge
from postback.intake.writer import Writer
from postback.secret import Secret
from postback.settings import Settings
from postback.web.admin import Admin
from postback.web.app import App
from postback.web.ingest import Ingest
from postback.web.wire import Limits

log = structlog.get_logger()
DRAIN_SECONDS = 20
HEAD_SECONDS = 30
HEAD_BYTES = 65_536


def run(settings: Settings, dsn: Secret, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_run(settings, dsn, listening))


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


class _Protocol(HttpToolsProtocol):
    """Adds what uvicorn leaves out: bounds on the size of a head and on the time that it takes to come."""

    _head_open = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)
            if self._head_bytes > HEAD_BYTES:
                self._give_up()

    def on_message_begin(self) -> None:
        self._head_open, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self._head_open and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()


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
        http=_Protocol,
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
    pool = await open_pool(dsn, max_size=settings.database_connections_max)
    directory = Directory(pool, vault.sealer)
    writer = Writer(dsn, directory, waiting_max=settings.waiting_events_max, flush_max=settings.flush_events_max)
    try:
        await writer.start()
        judge = Judge(vault.sealer, vault.link_key, lambda: os.urandom(16).hex())
        limits = Limits(settings.slow_body_seconds, settings.slow_body_bytes_per_second)
        ingest = Ingest(pool, directory, judge, writer, vault, settings.environment, limits)
        app = App(ingest)
        app.admin = Admin(pool, directory, writer, vault, settings, app.requests).application
        yield app
    finally:
        await writer.close()
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
