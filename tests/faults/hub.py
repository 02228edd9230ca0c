"""A real `postback serve` on a folder of its own, with the sandbox beside it, for tests that hurt it.

Everything is durable here (fsync on): what these tests prove is what users get.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
import psycopg

from postback import sandbox
from postback.db import embedded
from tests import forked

READY_SECONDS = 60
CONFIGS: dict[str, dict[str, str]] = {
    "meta": {"dataset_id": "123456789012345", "access_token": "EAAB-planted-platform-token"},
    "ga4": {"measurement_id": "G-ABC1234567", "api_secret": "planted-platform-secret"},
    "webhook": {},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**settings: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("POSTBACK_")}
    ours = {"POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": "1", "POSTBACK_SHARED_BUFFERS_MB": "64"}
    return kept | ours | settings


async def run(*arguments: str, data_dir: Path, **settings: str) -> tuple[int, str, str]:
    """Run one command to its end: exit code, stdout, stderr."""
    command = [*arguments, "--data-dir", str(data_dir)]
    done = await asyncio.to_thread(forked.run, command, environment(**settings))
    return done.returncode, done.stdout, done.stderr


def initialised(data_dir: Path) -> dict[str, str]:
    """What `postback init` makes of an empty folder, and what it printed; run once for all tests, then copied."""
    original = Path(os.environ.get("POSTBACK_TEST_FOLDER", data_dir.parent)) / "initialised"
    printed = original / "printed.json"
    with (original.parent / "initialised.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            shutil.rmtree(original, ignore_errors=True)  # of one that failed
            original.mkdir(mode=0o711)
            done = forked.run(["init", "--json", "--data-dir", str(original / "data")], environment())
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    subprocess.run(["cp", "-a", original / "data", data_dir], check=True)  # with their owners
    return json.loads(printed.read_text())


class Hub:
    """One installation under test. `keys` are what `init` printed; `destinations` are ids by connector."""

    def __init__(self, data_dir: Path, stand_ins: sandbox.Running, api_processes: int) -> None:
        self.data_dir = data_dir
        self.sandbox = stand_ins
        self.api_processes = api_processes
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys: dict[str, str] = {}
        self.destinations: dict[str, str] = {}
        self.log = data_dir.parent / "serve.log"
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **settings: str) -> Self:
        if not self.keys:
            self.keys = await asyncio.to_thread(initialised, self.data_dir)
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "postback", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir),
                "--api-processes", str(self.api_processes),
                stdout=log, stderr=log, env=environment(**settings),
            )  # fmt: skip
        await self.until_ready()
        async with asyncio.timeout(READY_SECONDS):  # that one API process answers says nothing of the others
            while self.log.read_bytes()[before:].count(b'"api serving"') < self.api_processes:
                await asyncio.sleep(0.1)
        return self

    async def until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(f"{self.url}/readyz") as answer:
                    if answer.status == 200:
                        return
            assert self._process is None or self._process.returncode is None, self.log.read_text()[-3000:]
            await asyncio.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log.read_text()[-3000:]}")

    async def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self._process.wait(), 40)
        self._process = None
        return code

    async def close(self) -> None:
        await self.stop()
        await self.http.close()

    async def install(self, connector: str, *, path: str = "", **config: str) -> str:
        """Install a destination that sends to the sandbox."""
        own = dict(CONFIGS[connector]) | config
        if connector == "webhook":
            own.setdefault("url", f"{self.sandbox.url}/webhook{path}")
        else:
            own.setdefault("endpoint", f"{self.sandbox.url}/{connector}")
        body = {"name": connector, "variant": "default", "config": own, "delivery_mode": "server_side"}
        made = await self.admin("POST", f"/v1/admin/integration-catalog/{connector}/install", body, expect=201)
        self.destinations[connector] = made["id"]
        return made["id"]

    async def admin(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {self.keys['admin_key']}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == expect, (method, path, answer.status, text)
            return json.loads(text) if text else None

    async def post(self, body: object, *, key: str | None = None, path: str = "/v1/events") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key or self.keys['api_key']}"}
        async with self.http.post(self.url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def fault(self, platform: str, mode: str, **more: object) -> None:
        body = {"platform": platform, "mode": mode} | more
        async with self.http.put(f"{self.sandbox.url}/_sandbox/faults", json=body) as answer:
            assert answer.status < 300, await answer.text()

    async def received(self, platform: str) -> list[Mapping[str, Any]]:
        async with self.http.get(f"{self.sandbox.url}/_sandbox/requests", params={"platform": platform}) as answer:
            return (await answer.json())["requests"]

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        dsn = await embedded.running(self.data_dir)
        assert dsn is not None
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            return await (await conn.execute(query.encode())).fetchall()

    async def until_settled(self, *, seconds: float = 60, destination: str | None = None) -> None:
        """Wait until no delivery (of one destination) is open, as long as they become fewer within `seconds`."""
        only = f"AND destination_id = '{destination}'" if destination else ""
        query = f"SELECT count(*) FROM delivery WHERE status IN ('queued', 'retrying') {only}"
        fewest, since = None, time.monotonic()
        while True:
            [(left,)] = await self.rows(query)
            if left == 0:
                return
            if fewest is None or left < fewest:
                fewest, since = left, time.monotonic()
            assert time.monotonic() < since + seconds, f"{left} deliveries are still open"
            await asyncio.sleep(0.2 if left < 10_000 else 2)

    async def ledger(self) -> tuple[int, str]:
        code, out, err = await run("ledger", data_dir=self.data_dir)
        return code, out + err

    def processes(self, role: str) -> list[int]:
        """Pids of the children of `serve` of one role: api, worker, postgres (the postmaster)."""
        if role == "postgres":
            first = (self.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]
            return [int(first)]
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                parent = re.search(r"^PPid:\s+(\d+)", (entry / "status").read_text(), re.MULTILINE)
                if role in words and parent and self._process and int(parent[1]) == self._process.pid:
                    found.append(int(entry.name))
        return found


@contextlib.asynccontextmanager
async def installation(*, api_processes: int = 1, folder: Path | None = None, **settings: str) -> AsyncIterator[Hub]:
    """A hub that serves, with an empty sandbox; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="postback-faults-", dir=folder or "/var/tmp") as made:
        Path(made).chmod(0o711)
        stand_ins = await sandbox.start()
        hub = Hub(Path(made) / "data", stand_ins, api_processes)
        try:
            yield await hub.start(**settings)
        finally:
            try:
                await hub.close()
            finally:
                await stand_ins.stop()


def purchase(event_id: str, **fields: object) -> dict[str, object]:
    """An event that every connector can deliver."""
    return {
        "event": "purchase",
        "event_id": event_id,
        "value": 59.9,
        "currency": "USD",
        "order_id": event_id,
        "url": "https://shop.example.com/thanks",
        "visitor_id": f"visitor-{event_id}",
        "user_data": {
            "email": f"{event_id}@person.example",
            "phone": "+14155550123",
            "client_ip_address": "198.51.100.7",
            "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        },
    } | fields
