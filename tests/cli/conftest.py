"""Commands as real processes, and a `serve` that a module's tests share. All ports are free ones, all folders scratch."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from postback import installation
from postback.db.postmaster import processes
from postback.secret import Secret
from tests import forked

PROGRAM = [sys.executable, "-m", "postback"]
SEAL_KEY = urlsafe_b64encode(bytes(range(32))).decode()
Run = Callable[..., "Ran"]


def surroundings(**given: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POSTBACK_")}
    path = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # what is told to run is then `postback ...`
    )
    return clean | {"POSTBACK_SHARED_BUFFERS_MB": "16", "PATH": path} | given


class Ran:
    """What a command did."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        assert "Traceback" not in self.err, self.err

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON value and nothing else."""
        return json.loads(self.out)


def run(*arguments: str, stdin: str | None = None, **environment: str) -> Ran:
    return Ran(forked.run(arguments, surroundings(**environment), stdin))


@pytest.fixture
def postback() -> Run:
    """Run a command to its end, `--json` or whatever; keyword arguments are its POSTBACK_* variables."""
    return run


@pytest.fixture
def on_database(database: Secret, installed: installation.Made) -> Run:
    """`postback` on a database in which `init` has run."""
    environment = {"POSTBACK_DATABASE_URL": database.reveal(), "POSTBACK_SEAL_KEYS": SEAL_KEY}

    def on(*arguments: str, stdin: str | None = None, **more: str) -> Ran:
        return run(*arguments, stdin=stdin, **environment | more)

    return on


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the server's user can pass through, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as made:
        yield made


class Foreground:
    """A program that runs until it is asked to stop. `lines` are those of its stdout so far, `logs` of its stderr."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=surroundings(**environment),
        )
        self.lines: list[str] = []
        self.logs: list[str] = []
        self._readers = [
            threading.Thread(target=_keep, args=[stream, lines], daemon=True)
            for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.logs))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, pattern: str, seconds: float = 40) -> re.Match[str]:
        """The first match in its stdout."""
        return until(
            lambda: re.search(pattern, "".join(self.lines), re.MULTILINE),
            seconds,
            because=lambda: "".join(self.lines + self.logs),
            alive=lambda: self.process.poll() is None,
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join(5)
        return code

    def children(self) -> dict[int, str]:
        """Pid and command line of the programs that it started."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
        return {int(pid): argv for pid, argv in rows}


def _keep(stream: IO[str], lines: list[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line)


def until(
    fact: Callable[[], Any],
    seconds: float = 15,
    *,
    because: Callable[[], str] = str,
    alive: Callable[[], bool] = lambda: True,
) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, f"it did not come true in time: {because()}"
        if not alive():
            assert fact(), f"it ended before: {because()}"
        time.sleep(0.03)
    return found


class Serve(Foreground):
    """A `serve` on a data folder, ready to answer at `url`."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        super().__init__("serve", "--data-dir", str(data_dir), "--port", "0", *arguments, **environment)
        self.data_dir = data_dir
        self.url = self.wait_for(r"answers at (http\S+\d)")[1]

    @property
    def api_key(self) -> str:
        return self.wait_for(r"ingest key +(\S+)")[1]

    def child(self, role: str) -> int | None:
        found = [pid for pid, argv in self.children().items() if f" postback {role}" in argv]
        return found[0] if found else None

    def get(self, path: str) -> tuple[int, Any]:
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return answer.status, json.loads(answer.read())

    def is_gone(self) -> bool:
        return self.process.poll() is not None and not processes(self.data_dir / "postgres")


@contextmanager
def serving(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Serve]:
    running = Serve(data_dir, *arguments, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """One `serve` for the module; tests leave it running."""
    with scratch() as made, serving(made / "data") as running:
        yield running


@pytest.fixture
def start_serve() -> Callable[..., Any]:
    """`with start_serve(data_dir, *arguments) as running`: a `serve` of a test's own."""
    return serving


@pytest.fixture
def start() -> Iterator[Callable[..., Foreground]]:
    """Start any program in the foreground; it is ended with the test."""
    started: list[Foreground] = []

    def begin(*arguments: str, **environment: str) -> Foreground:
        started.append(Foreground(*arguments, **environment))
        return started[-1]

    yield begin
    for program in started:
        if program.process.poll() is None:
            program.end()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return until
