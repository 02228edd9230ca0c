"""The bundled PostgreSQL: our child, reached by a unix socket alone, for `serve`, the commands and the tests.

Under the data folder:

    postgres/          the server's own folder (mode 0700), with `postmaster.pid`; only the server writes in it
    postgresql.conf    its settings, made anew at each start; ALTER SYSTEM is kept and wins
    postgres.log       its log; statements, parameters and the details of errors never reach it: they hold personal data
    socket/            the socket (mode 0700), or a link to a private temporary folder where the path is over 100 bytes
    postback.lock      held while a program of ours owns the server: one at a time

Guarantees: fsync, full pages and synchronous commit are on. A kill -9 of everything costs nothing: an orphan of a dead
owner is shut down in order before ours starts. As root the server runs as an unprivileged user.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from postback.db import folders, tools
from postback.db.account import Account, account_for, open_parents
from postback.db.child import ended, ended_within, spawn
from postback.db.postmaster import answer, clear, dsn_of, processes, state
from postback.db.server_settings import PORT, config_text, for_embedded
from postback.errors import PostbackError

TOO_MANY = "53300"  # connections
STALLED_SECONDS = 600  # recovery logs its progress every 10 s, but its last checkpoint is silent


class AlreadyRunning(PostbackError):
    """Another program owns the server of this data folder."""


class NotStarted(PostbackError):
    """The server ended or stalled before it was ready; the message has its last words."""


class Embedded:
    """A running server that we own. `dsn` is stable over restarts; leaving the `async with` stops the server."""

    def __init__(
        self, data_dir: Path, bin_dir: Path, socket_dir: Path, account: Account | None, config: str, held: IO[str]
    ) -> None:
        self.data_dir = data_dir
        self.folder = data_dir / "postgres"
        self.socket_dir = socket_dir
        self.dsn = dsn_of(str(socket_dir))
        self.process: subprocess.Popen[bytes] | None = None
        self._bin_dir = bin_dir
        self._account = account
        self._config = config
        self._lock = held

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def restart(self) -> None:
        """Start the server again, after shutting down what is left of the last one; returns when it answers."""
        if self.alive():
            await self._halt(timeout=10)
        await clear(self.folder)
        output, begin = folders.write_start(self.data_dir, self._config, self._account)
        with output:
            argv = [str(self._bin_dir / "postgres"), "-D", str(self.folder)]
            argv += ["-c", f"config_file={self.data_dir / 'postgresql.conf'}"]
            # Fast shutdown as the last signal: an owner that is killed takes its server along, in order.
            self.process = spawn(
                argv,
                last_signal=signal.SIGINT,
                account=self._account,
                environment=tools.SERVER_ENVIRONMENT,
                folder=self.data_dir,
                output=output,
            )
        try:
            await self._until_ready(self.process, begin)
        except BaseException:
            await self._halt(timeout=2)
            raise

    async def _until_ready(self, process: subprocess.Popen[bytes], begin: int) -> None:
        path = self.data_dir / "postgres.log"
        pause, seen, since = 0.01, begin, time.monotonic()
        while True:
            if (code := process.poll()) is not None:
                raise NotStarted(f"PostgreSQL ended with {code} before it was ready:\n{_last_lines(path, begin)}")
            # Asked only when it says it is ready: each refused login is a line in its log.
            if state(self.folder) == (process.pid, str(self.socket_dir), "ready"):
                match await answer(str(self.socket_dir)):
                    case "":
                        return
                    case "3D000":  # no such database
                        login = [f"--host={self.socket_dir}", f"--port={PORT}", "--username=postgres"]
                        await tools.run(self._bin_dir / "createdb", *login, "postback")
                    case _:
                        pass
            if (size := path.stat().st_size) != seen:
                seen, since = size, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS:
                raise NotStarted(f"PostgreSQL makes no progress:\n{_last_lines(path, begin)}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def _halt(self, timeout: float) -> bool:
        process = self.process
        if process is None:
            return True
        process.send_signal(signal.SIGINT)
        in_order = await ended_within(process, timeout)
        if not in_order:
            process.send_signal(signal.SIGQUIT)  # at once: the next start recovers
            if not await ended_within(process, 2):
                process.kill()
            await ended(process)
        for pid in processes(self.folder):  # those of a server that was killed
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        return in_order

    async def stop(self, timeout: float = 30) -> bool:
        """Shut down fast: sessions are cut, all is written. False if it took longer and was ended at once, which loses
        nothing but makes the next start recover. Repeating is harmless."""
        if self._lock.closed:  # by now the folder may be another's
            return True
        try:
            return await self._halt(timeout)
        finally:
            folders.remove_socket(self.data_dir)
            self._lock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def start(data_dir: Path, *, major: int = 18, settings: Mapping[str, str] | None = None) -> Embedded:
    """Start the server of this data folder, made at need, and wait while it recovers; the caller stops it.

    A folder that exists keeps the major version it was made with. `settings` win over ours; where they set `fsync`
    off, as tests may, making the folder is not synced either. Raises AlreadyRunning, Unusable, NotStarted, ToolFailed.
    Not tied to the event loop: it may be stopped in another one.
    """
    data_dir = folders.make_data_dir(data_dir)
    held = lock(data_dir)
    try:
        folder = data_dir / "postgres"
        bin_dir = tools.binaries(folders.major(folder) or major)
        account = account_for(folder)
        if account:
            open_parents(data_dir, bin_dir, account)
        if not folders.exists(folder):
            await folders.initialize(data_dir, bin_dir, account, is_synced=(settings or {}).get("fsync") != "off")
        await clear(folder)
        socket_dir = folders.make_socket_dir(data_dir, account)
        config = config_text(for_embedded(bin_dir, socket_dir) | dict(settings or {}))
        server = Embedded(data_dir, bin_dir, socket_dir, account, config, held)
        await server.restart()
    except OSError as error:
        held.close()
        raise folders.useless(data_dir, error) from error
    except BaseException:
        held.close()
        raise
    return server


async def running(data_dir: Path) -> str | None:
    """The dsn of the live server of this data folder, None when there is none that answers."""
    _, socket_dir, status = state(data_dir / "postgres")
    if status == "ready" and await answer(socket_dir) in ("", TOO_MANY):
        return dsn_of(socket_dir)
    return None


@asynccontextmanager
async def joined(data_dir: Path) -> AsyncGenerator[str, None]:
    """The dsn of the server of this folder: of the one that runs, else of one that lives as long as the block.

    Where another program is just starting it, waits for that, at most a minute, and then raises AlreadyRunning.
    """
    deadline = time.monotonic() + 60
    server: Embedded | None = None
    while (dsn := await running(data_dir)) is None:
        try:
            server = await start(data_dir)
        except AlreadyRunning:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            dsn = server.dsn
            break
    try:
        yield dsn
    finally:
        if server:
            await server.stop()


def lock(data_dir: Path) -> IO[str]:
    """Own this data folder until the file that is returned is closed, or we end. Raises AlreadyRunning, Unusable."""
    try:
        file = (data_dir / "postback.lock").open("a")
    except OSError as error:
        raise folders.useless(data_dir, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunning(f"Postback already runs on {data_dir}; stop it, or give another --data-dir.") from None
    return file


def _last_lines(path: Path, begin: int) -> str:
    with path.open("rb") as file:
        file.seek(begin)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-10:])
