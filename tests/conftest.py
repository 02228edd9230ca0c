"""PostgreSQL is real: one server for the whole run, a fresh database per test, copied from a template."""

import asyncio
import gc
import io
import itertools
import os
import shutil
import signal
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import argon2
import hypothesis
import msgspec
import psycopg
import pytest
import uvicorn
import uvloop

from postback import installation
from postback.db import Pool, Tx, connect, embedded, migrate, open_pool, partitions
from postback.reports import keeper
from postback.secret import Secret
from postback.settings import Settings
from postback.web.app import App
from postback.web.server import DRAIN_SECONDS, application, configure
from postback.workspaces import accounts

# Tests may lose their data: what proves durability (tests/faults) starts its own server with everything on.
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
UNSAFE |= {"wal_level": "minimal", "max_wal_senders": "0"}
# A small cache: making and dropping a database walks all of it. None lives long enough for a vacuum.
FAST = UNSAFE | {"max_connections": "200", "shared_buffers": "24MB", "autovacuum": "off", "io_method": "sync"}
FAST |= {"file_copy_method": "clone"}
keeper.PART_SECONDS = 60  # a round counts all, however busy the machine is
MIGRATED, INSTALLED = "template_postback", "template_installed"
accounts.hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # what processes of ours do not
SEAL_KEY = Secret(urlsafe_b64encode(bytes(range(32))).decode())
_numbers = itertools.count()
_server: embedded.Embedded | None = None
_folder: tempfile.TemporaryDirectory[str] | None = None


# Examples may take as long as they do: the machine may be busy.
hypothesis.settings.register_profile(
    "postback", deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("postback")


def pytest_configure(config: pytest.Config) -> None:
    global _server, _folder
    # A shell without job control has what it puts into the background ignore this, and all that is started by that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    _folder = tempfile.TemporaryDirectory(prefix="postback-tests-", dir=_roomy())
    Path(_folder.name).chmod(0o711)
    _server = asyncio.run(embedded.start(Path(_folder.name) / "data", settings=FAST))
    os.environ["POSTBACK_TEST_FOLDER"] = _folder.name  # what all workers share is put here
    os.environ["POSTBACK_TEST_SERVER"] = _server.dsn
    asyncio.run(_make_templates(_server.dsn))


def _roomy() -> str:
    """Memory where there is enough of it: a database is made for each test."""
    with suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 4_000_000_000:
            return "/dev/shm"
    return "/var/tmp"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long are begun first, the longest of all first, so that none is left over at the end."""
    items.sort(key=_seconds, reverse=True)


def pytest_collection_finish() -> None:
    """Tests and libraries stay to the end: the garbage collector need not walk them again and again."""
    gc.collect()
    gc.freeze()


def _seconds(item: pytest.Item) -> int:
    mark = item.get_closest_marker("long")
    return mark.args[0] if mark else 0


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """The loop of the processes that users run."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        asyncio.run(_server.stop())
    if _folder is not None:
        _folder.cleanup()


async def _make_templates(dsn: str) -> None:
    """A migrated database, and one in which `init` has run besides: what it made is told to all workers."""
    for name, template in ((MIGRATED, "template1"), (INSTALLED, MIGRATED)):
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # pyright: ignore
        await asyncio.to_thread(migrate.migrate, _named(dsn, name))
        conn = await connect(_named(dsn, name))
        if name == MIGRATED:
            await partitions.make_ahead(conn, datetime.now(UTC), months=1)
        else:
            async with conn.transaction():
                made = await installation.init(conn, Settings(seal_keys=SEAL_KEY), datetime.now(UTC))
            os.environ["POSTBACK_TEST_INSTALLED"] = msgspec.json.encode(made).decode()
        await conn.close()


def _named(dsn: str, name: str) -> Secret:
    return Secret(dsn.replace("/postback?", f"/{name}?"))


@pytest.fixture
def empty_database() -> Iterator[Secret]:
    """A database with nothing in it, not even our tables."""
    with _copied("template0") as dsn:
        yield dsn


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Secret]:
    """A fresh, migrated database; where `installed` is asked for too, one in which `init` has run."""
    with _copied(INSTALLED if "installed" in request.fixturenames else MIGRATED) as dsn:
        yield dsn


@pytest.fixture
def installed() -> installation.Made:
    """What `init` made in the `database`; its seal key is SEAL_KEY."""
    return msgspec.json.decode(os.environ["POSTBACK_TEST_INSTALLED"], type=installation.Made)


@contextmanager
def _copied(template: str) -> Iterator[Secret]:
    dsn = os.environ["POSTBACK_TEST_SERVER"]
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")  # pyright: ignore
    yield _named(dsn, name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")  # pyright: ignore


@pytest.fixture
async def tx(database: Secret) -> AsyncIterator[Tx]:
    conn = await connect(database)
    yield conn
    await conn.close()


class Served:
    """The application on a real socket, in this process, with one workspace. `keys` are what `init` made."""

    def __init__(
        self, url: str, keys: installation.Made, http: aiohttp.ClientSession, dsn: Secret, settings: Settings
    ) -> None:
        self.url = url
        self.keys = keys
        self.http = http
        self.dsn = dsn
        self.settings = settings

    async def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Status and JSON of one request, by default with the admin key (its scopes are all)."""
        headers = {"Authorization": f"Bearer {self.keys.admin_key if key is None else key}"} | more.pop("headers", {})
        sent: dict[str, Any] = (
            {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        )
        async with self.http.request(method, self.url + path, headers=headers, **sent, **more) as answer:
            with suppress(ValueError):
                return answer.status, await answer.json(content_type=None)
            return answer.status, await answer.text()


@pytest.fixture
async def served(
    database: Secret, installed: installation.Made, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Served]:
    """An indirect parameter is settings of its own."""
    given = {"dangerous_allow_private_destinations": True, "slow_body_seconds": 3} | getattr(request, "param", {})
    settings = Settings(data_dir=str(tmp_path), seal_keys=SEAL_KEY, **given)
    async with application(settings, database) as app, listening(app) as url, aiohttp.ClientSession() as http:
        yield Served(url, installed, http, database, settings)


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[str]:
    """Where the application answers. Uvicorn's `serve` looks ten times a second whether it is to end, this at once."""
    config = configure(app, port=0)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.servers[0].close()
    open_ = server.server_state
    for connection in list(open_.connections):
        connection.shutdown()
    async with asyncio.timeout(DRAIN_SECONDS):
        while open_.connections or open_.tasks:
            await asyncio.sleep(0.001)


@pytest.fixture
async def pool(database: Secret) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    yield pool
    await pool.close()
