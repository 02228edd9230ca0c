"""The bundled PostgreSQL, for real: its life, its privacy, and what survives which death."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from postback.db import embedded, tools
from postback.db.account import Unusable, account_for
from postback.db.child import ended, spawn
from postback.db.postmaster import processes

SMALL = {"shared_buffers": "16MB", "fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be asked to drop to another user")

OWNER = """
import asyncio, pathlib, sys
from postback.db import embedded
async def main():
    server = await embedded.start(pathlib.Path(sys.argv[1]), settings={"shared_buffers": "16MB", "fsync": "off"})
    print(server.dsn, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short, open folder: pytest's own is closed to other users."""
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder).resolve()


def write(dsn: str, value: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def read(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value")]


async def until(fact: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("major", [16, 18])
async def test_it_serves_a_database_on_a_private_socket_and_keeps_it(place: Path, major: int) -> None:
    async with await embedded.start(place / "data", major=major, settings=SMALL) as server:
        assert server.alive()
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert (place / "data" / "postgres").stat().st_mode & 0o777 == 0o700
        with psycopg.connect(server.dsn) as connection:
            assert connection.info.server_version // 10000 == major
            settings = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert settings["listen_addresses"] == ""
        assert settings["data_checksums"] == "on"
        assert settings["server_encoding"] == "UTF8"
        write(server.dsn, "a")
    assert not server.alive()
    async with await embedded.start(place / "data", settings=SMALL) as server:  # keeps its major version
        assert read(server.dsn) == ["a"]


async def test_durability_is_on_unless_a_caller_says_otherwise(place: Path) -> None:
    async with await embedded.start(place / "data") as server:
        with psycopg.connect(server.dsn) as connection:
            settings = dict(connection.execute("SELECT name, current_setting(name) FROM pg_settings").fetchall())
    assert {name: settings[name] for name in ("fsync", "full_page_writes", "synchronous_commit")} == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    }
    assert (settings["max_wal_size"], settings["checkpoint_timeout"]) == ("4GB", "15min")
    assert (settings["min_wal_size"], settings["wal_init_zero"]) == ("1GB", "off")


async def test_a_second_start_on_the_same_folder_is_refused_in_one_sentence(place: Path) -> None:
    async with await embedded.start(place / "data", settings=SMALL) as server:
        with pytest.raises(embedded.AlreadyRunning, match=r"^Postback already runs on .*--data-dir\.$"):
            await embedded.start(place / "data", settings=SMALL)
        assert server.alive()


async def test_commands_find_the_running_server_and_start_their_own_else(place: Path) -> None:
    assert await embedded.running(place / "data") is None
    async with await embedded.start(place / "data", settings=SMALL) as server:
        assert await embedded.running(place / "data") == server.dsn
        async with embedded.joined(place / "data") as dsn:
            assert dsn == server.dsn
        assert server.alive()
    assert await embedded.running(place / "data") is None
    async with embedded.joined(place / "data") as dsn:
        assert await embedded.running(place / "data") == dsn
    assert await embedded.running(place / "data") is None


async def test_a_server_that_lets_nobody_in_runs_all_the_same(place: Path) -> None:
    few = SMALL | {"max_connections": "2", "superuser_reserved_connections": "0", "max_wal_senders": "0"}
    async with await embedded.start(place / "data", settings=few) as server:
        with psycopg.connect(server.dsn), psycopg.connect(server.dsn):
            assert await embedded.running(place / "data") == server.dsn


async def test_a_command_waits_for_a_server_that_is_just_starting(place: Path) -> None:
    starting = asyncio.create_task(embedded.start(place / "data", settings=SMALL))
    await asyncio.sleep(0.05)
    async with embedded.joined(place / "data") as dsn, await starting as server:
        assert dsn == server.dsn


async def test_a_killed_server_starts_again_with_its_data_though_a_session_still_computes(place: Path) -> None:
    async with await embedded.start(place / "data", settings=SMALL) as server:
        write(server.dsn, "before")
        connection = await psycopg.AsyncConnection.connect(server.dsn)
        busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        await asyncio.sleep(0.1)
        assert server.process
        first = server.process.pid
        server.process.kill()
        await ended(server.process)
        assert not server.alive()
        await server.restart()
        assert server.process.pid != first
        assert read(server.dsn) == ["before"]
        with pytest.raises(psycopg.OperationalError):
            await busy
        await connection.close()
    assert processes(server.folder) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
async def test_a_killed_owner_takes_its_server_along_in_order(place: Path) -> None:
    argv = [sys.executable, "-c", OWNER, str(place / "data")]
    owner = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert owner.stdout
    write((await owner.stdout.readline()).decode().strip(), "a")
    owner.kill()
    await owner.wait()
    await until(lambda: not processes(place / "data" / "postgres"))
    assert "database system is shut down" in (place / "data" / "postgres.log").read_text()
    async with await embedded.start(place / "data", settings=SMALL) as server:
        assert read(server.dsn) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found by /proc")
async def test_an_orphan_of_a_dead_owner_is_shut_down_and_replaced(place: Path) -> None:
    async with await embedded.start(place / "data", settings=SMALL) as server:
        account = account_for(server.folder)
    (place / "data" / "socket").mkdir(mode=0o700)
    if account:
        os.chown(place / "data" / "socket", account.uid, account.gid)
    by_hand = [str(tools.binaries() / "pg_ctl"), "start", "-w", "-s", "-D", str(server.folder), "-l", "/dev/null"]
    by_hand += ["-o", f"-c config_file={place}/data/postgresql.conf"]
    assert await ended(spawn(by_hand, account=account, folder=Path("/"))) == 0
    assert await embedded.running(place / "data") == server.dsn
    write(server.dsn, "by hand")
    orphans = set(processes(server.folder))
    async with await embedded.start(place / "data", settings=SMALL) as server:
        assert not orphans & set(processes(server.folder))
        assert read(server.dsn) == ["by hand"]


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells whose pid it is")
async def test_a_stale_pid_file_that_names_a_stranger_does_not_stop_a_start(place: Path) -> None:
    async with await embedded.start(place / "data", settings=SMALL) as server:
        account = account_for(server.folder)
        assert server.process
        first = server.process.pid
        for pid in processes(server.folder):
            with suppress(ProcessLookupError):  # it ended with the one before it
                os.kill(pid, signal.SIGKILL)
        await ended(server.process)
    stranger = spawn(["sleep", "60"], account=account)
    pid_file = server.folder / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(first), str(stranger.pid), 1))
    async with await embedded.start(place / "data", settings=SMALL) as server:
        assert server.alive()
    assert stranger.poll() is None
    stranger.kill()
    await ended(stranger)


async def test_too_long_a_path_puts_the_socket_in_a_private_temporary_folder(place: Path) -> None:
    data_dir = place / ("long" * 20) / "data"
    async with await embedded.start(data_dir, settings=SMALL) as server:
        private = server.socket_dir
        assert not private.is_relative_to(data_dir)
        assert private.stat().st_mode & 0o777 == 0o700
        assert await embedded.running(data_dir) == server.dsn
        write(server.dsn, "a")
    assert not private.exists()


async def test_a_folder_half_made_is_made_anew(place: Path) -> None:
    half = place / "data" / "postgres.new" / "base"
    half.mkdir(parents=True)
    (half / "torn").write_text("x")
    async with await embedded.start(place / "data", settings=SMALL) as server:
        write(server.dsn, "a")
    assert not half.exists()


async def test_a_server_that_cannot_start_shows_its_last_words_and_frees_the_folder(place: Path) -> None:
    with pytest.raises(embedded.NotStarted, match="no_such_setting"):
        await embedded.start(place / "data", settings={"no_such_setting": "1"})
    async with await embedded.start(place / "data", settings=SMALL) as server:
        assert server.alive()


async def test_personal_data_in_failing_statements_never_reaches_the_log(place: Path) -> None:
    planted = "ada@example.com"
    async with await embedded.start(place / "data", settings=SMALL) as server:
        write(server.dsn, planted)
        with pytest.raises(psycopg.errors.UniqueViolation, match=planted):
            write(server.dsn, planted)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            for statement in (f"SELECT '{planted}'::uuid", f"SELECT '{planted}'::json", f"SELEKT '{planted}'"):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement.encode())
            with pytest.raises(psycopg.Error):
                connection.execute("SELECT %s::uuid", [planted])
            with pytest.raises(psycopg.OperationalError):  # a session that crashes while it runs such a statement
                connection.execute(f"SELECT pg_terminate_backend(pg_backend_pid()), '{planted}'".encode())
    written = (place / "data" / "postgres.log").read_text()
    assert "ready to accept connections" in written
    assert planted not in written


async def test_what_was_dumped_is_restored_over_what_came_later(place: Path) -> None:
    file = place / "backup"
    async with await embedded.start(place / "data", settings=SMALL) as server:
        write(server.dsn, "a")
        await tools.dump(server.dsn, file)
        assert file.stat().st_mode & 0o777 == 0o600
        write(server.dsn, "b")
        await tools.restore(server.dsn, file)
        assert read(server.dsn) == ["a"]
        file.write_bytes(b"not a dump")
        with pytest.raises(tools.ToolFailed, match="pg_restore"):
            await tools.restore(server.dsn, file)
        assert read(server.dsn) == ["a"]


@as_root
async def test_as_root_it_runs_as_another_user_and_says_which_folders_it_opened(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    async with await embedded.start(closed / "data", settings=SMALL) as server:
        assert server.process
        owner = os.stat(f"/proc/{server.process.pid}").st_uid
        assert owner != 0
        assert server.folder.stat().st_uid == owner
    assert closed.stat().st_mode & 0o777 == 0o701
    assert f"o+x on {closed}," in capfd.readouterr().err


@as_root
async def test_as_somebody_a_folder_of_another_user_is_refused_with_what_to_do(place: Path) -> None:
    (place / "data").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(Unusable, match=r"\(Permission denied\); give another --data-dir\.$"):
            await embedded.start(place / "data")
        with pytest.raises(Unusable):
            await embedded.start(place / "new")
    finally:
        os.seteuid(0)


@as_root
async def test_a_server_of_another_user_cannot_be_joined_and_says_why(place: Path) -> None:
    async with await embedded.start(place / "data", settings=SMALL):
        os.seteuid(65534)
        try:
            with pytest.raises(Unusable, match="run as that user"):
                await embedded.running(place / "data")
        finally:
            os.seteuid(0)


async def test_a_file_in_the_place_of_the_data_folder_is_refused(place: Path) -> None:
    (place / "data").write_text("")
    with pytest.raises(Unusable, match=r"give another --data-dir\.$"):
        await embedded.start(place / "data")


async def test_a_folder_that_holds_something_else_is_refused_and_left_alone(place: Path) -> None:
    (place / "data" / "postgres").mkdir(parents=True)
    (place / "data" / "postgres" / "diary").write_text("mine")
    with pytest.raises(Unusable, match=r"give another --data-dir\.$"):
        await embedded.start(place / "data")
    assert (place / "data" / "postgres" / "diary").read_text() == "mine"


async def test_a_second_stop_leaves_the_next_owner_alone(place: Path) -> None:
    first = await embedded.start(place / "data", settings=SMALL)
    await first.stop()
    async with await embedded.start(place / "data", settings=SMALL) as second:
        await first.stop()
        write(second.dsn, "a")
