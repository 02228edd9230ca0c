"""The supervisor over real processes and a real PostgreSQL: who dies comes back, and all end in order."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from postback.cli.supervisor import Child, _Pause, supervise
from postback.db import embedded
from postback.db.postmaster import processes, state

SMALL = {"shared_buffers": "16MB", "fsync": "off"}

# argv: folder, "database" or "alone", and then name and code of each child. Children find the dsn in DSN.
SUPERVISOR = """
import asyncio, logging, os, pathlib, sys
from postback.cli.supervisor import Child, supervise
from postback.db import embedded

async def main():
    folder, form, *rest = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    database, environment = None, dict(os.environ)
    if form == "database":
        database = await embedded.start(pathlib.Path(folder) / "data", settings={"shared_buffers": "16MB", "fsync": "off"})
        environment["DSN"] = database.dsn
    environment["FOLDER"] = folder
    children = [
        Child(name, [sys.executable, "-c", code], environment) for name, code in zip(rest[::2], rest[1::2], strict=True)
    ]
    return await supervise(children, database, on_ready=lambda: print("ready", flush=True), drain_seconds=1)

sys.exit(asyncio.run(main()))
"""
ROLL_CALL = "import os, time; print(os.getpid(), file=open(os.environ['FOLDER'] + '/pids', 'a'), flush=True); "
SLEEPER = ROLL_CALL + "time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
DRAINER = """
import os, signal, sys, psycopg
def drain(*_):
    with psycopg.connect(os.environ["DSN"]) as connection:
        connection.execute("INSERT INTO kept VALUES ('drained')")
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
print(os.getpid(), file=open(os.environ["FOLDER"] + "/pids", "a"), flush=True)
while True:
    signal.pause()
"""


class Running:
    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process

    @property
    def server_folder(self) -> Path:
        return self.folder / "data" / "postgres"

    @property
    def dsn(self) -> str:
        return f"host={self.folder}/data/socket user=postgres dbname=postback"

    def postgres_pid(self) -> int:
        return state(self.server_folder)[0]

    def pids(self) -> list[int]:
        """Every child that was ever started, in order."""
        path = self.folder / "pids"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()


@asynccontextmanager
async def supervisor(form: str, **children: str) -> AsyncGenerator[Running, None]:
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        named = [part for child in children.items() for part in child]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SUPERVISOR, folder, form, *named, stdout=asyncio.subprocess.PIPE
        )
        running = Running(Path(folder), process)
        try:
            assert process.stdout
            async with asyncio.timeout(30):
                assert await process.stdout.readline() == b"ready\n"
            yield running
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await until(lambda: not processes(running.server_folder))


async def until(fact: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def test_pauses_double_up_to_five_seconds_and_begin_anew_after_ten_seconds_of_life() -> None:
    pause = _Pause()
    assert [pause.after(0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert pause.after(10) == 0.1
    assert pause.after(9) == 0.2


async def test_a_child_that_dies_is_started_again_and_its_sibling_stays() -> None:
    async with supervisor("alone", one=SLEEPER, two=SLEEPER) as running:
        await until(lambda: len(running.pids()) == 2)
        dies, stays = running.pids()
        os.kill(dies, signal.SIGKILL)
        await until(lambda: len(running.pids()) == 3)
        again = running.pids()[-1]
        os.kill(again, signal.SIGKILL)  # twice, so that it is not once only
        await until(lambda: len(running.pids()) == 4)
        assert is_alive(stays)
        assert await running.end() == 0
        assert not any(is_alive(pid) for pid in running.pids())


async def test_a_killed_postgres_is_started_again_with_its_data_and_the_children_stay() -> None:
    async with supervisor("database", one=SLEEPER) as running:
        with psycopg.connect(running.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'a' AS value")
        await until(running.pids)
        first = running.postgres_pid()
        os.kill(first, signal.SIGKILL)
        await until(lambda: running.postgres_pid() != first and answers(running))
        with psycopg.connect(running.dsn) as connection:
            assert connection.execute("SELECT value FROM kept").fetchall() == [("a",)]
        assert is_alive(running.pids()[0])
        assert len(running.pids()) == 1
        assert await running.end() == 0


def answers(running: Running) -> bool:
    try:
        psycopg.connect(running.dsn).close()
        return True
    except psycopg.OperationalError:
        return False


async def test_sigterm_lets_children_finish_with_the_database_and_then_stops_it_in_order() -> None:
    async with supervisor("database", one=DRAINER) as running:
        with psycopg.connect(running.dsn) as connection:
            connection.execute("CREATE TABLE kept (value text)")
        await until(running.pids)
        assert await running.end() == 0
        assert not processes(running.server_folder)
        assert "database system is shut down" in (running.folder / "data" / "postgres.log").read_text()
        async with await embedded.start(running.folder / "data", settings=SMALL) as server:
            with psycopg.connect(server.dsn) as connection:
                assert connection.execute("SELECT value FROM kept").fetchall() == [("drained",)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_child_that_does_not_drain_is_killed_and_that_is_told(number: signal.Signals) -> None:
    async with supervisor("alone", one=DEAF, two=SLEEPER) as running:
        await until(lambda: len(running.pids()) == 2)
        assert await running.end(number) == 1
        assert not any(is_alive(pid) for pid in running.pids())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
async def test_a_killed_supervisor_takes_all_along_and_the_next_one_finds_the_data() -> None:
    async with supervisor("database", one=DEAF, two=SLEEPER) as running:
        with psycopg.connect(running.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'a' AS value")
        await until(lambda: len(running.pids()) == 2)
        await running.end(signal.SIGKILL)
        await until(lambda: not any(is_alive(pid) for pid in running.pids()))
        async with await embedded.start(running.folder / "data", settings=SMALL) as server:
            with psycopg.connect(server.dsn) as connection:
                assert connection.execute("SELECT value FROM kept").fetchall() == [("a",)]


async def test_a_child_that_refuses_its_arguments_ends_all_with_its_code() -> None:
    async with supervisor("alone", one=SLEEPER, two="import time; time.sleep(0.3); raise SystemExit(2)") as running:
        async with asyncio.timeout(15):
            assert await running.process.wait() == 2
        assert not any(is_alive(pid) for pid in running.pids())


async def test_a_failure_of_on_ready_ends_the_children_and_rises(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    async def on_ready() -> None:
        await until(lambda: marker.exists() and marker.read_text())
        raise LookupError("no port")

    with pytest.raises(LookupError, match="no port"):
        await supervise([Child("one", [sys.executable, "-c", code])], None, on_ready=on_ready)
    assert not is_alive(int(marker.read_text()))
