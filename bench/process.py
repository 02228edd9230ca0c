"""Programs that we start: each writes into a log of its own, ends with us however we end, and is stopped in order."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from postback.db.child import ended, ended_within, spawn

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".bench"
# As Postback sets it.
UVICORN = ("--no-access-log", "--log-level", "warning", "--no-server-header", "--no-date-header")
PROMISED_SECONDS = 30  # within which Postback ends after SIGTERM
_numbers = count(1)


class BenchError(Exception):
    """What keeps the benchmark from going on; the message says what to look at."""


class Program:
    """A running program of ours."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """Raises BenchError when it has ended."""
        if (code := self.process.poll()) is not None:
            raise BenchError(f"{self.name} ended with {code}:\n{self.said()}")

    async def until_listening(self, port: int, path: str | None = None, *, seconds: float = 60) -> None:
        """Wait until the port takes connections and, where a path is given, it answers 200 there."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await _answers(port, path):
            self.check()
            if loop.time() > deadline:
                raise BenchError(f"{self.name} was not ready after {seconds:.0f} s:\n{self.said()}")
            await asyncio.sleep(0.05)

    async def stop(self, seconds: float = 30) -> None:
        """SIGTERM, then SIGKILL to its whole group; repeating is harmless."""
        if self.process.poll() is None:
            self.process.terminate()
            is_ended = await ended_within(self.process, seconds)
            if not is_ended and seconds >= PROMISED_SECONDS:
                progress(f"{self.name} did not end within {seconds:.0f} s of SIGTERM")
        self.kill()
        await ended(self.process)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


async def _answers(port: int, path: str | None) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        if path is None:
            return True
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


def start(name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
    """Start a program; the caller stops it. Its output goes to a file of ours."""
    log = FOLDER / "logs" / f"{next(_numbers):03d}-{name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = spawn(argv, environment=environment or surroundings(), folder=ROOT, output=output)
    return Program(name, process, log)


@asynccontextmanager
async def running(
    name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, *, stop_seconds: float = 30
) -> AsyncGenerator[Program]:
    program = start(name, argv, environment)
    try:
        yield program
    finally:
        await program.stop(stop_seconds)


async def output_of(
    name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, *, seconds: float
) -> str:
    """Run a program to its end and give what it said. Raises BenchError."""
    async with running(name, argv, environment, stop_seconds=2) as program:
        if not await ended_within(program.process, seconds):
            raise BenchError(f"{name} took longer than {seconds:.0f} s:\n{program.said()}")
        if program.process.returncode:
            raise BenchError(f"{name} failed with {program.process.returncode}:\n{program.said()}")
        return program.log.read_text()


def surroundings(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without settings of Postback's, and with the way to this checkout."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("POSTBACK_")}
    return ours | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"} | dict(extra or {})


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a module of ours."""
    return [sys.executable, "-m", name, *arguments]


def uvicorn(application: str, port: int) -> list[str]:
    """The command line of an ASGI application in one process, with all that makes uvicorn fast."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return module("uvicorn", application, *options, *UVICORN)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
