"""PostgreSQL is real: one server for the whole run, a fresh database per test, copied from a migrated template."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from postback.db import Pool, Tx, connect, embedded, migrate, open_pool, partitions
from postback.secret import Secret

# Tests may lose their data: what proves durability (tests/faults) starts its own server with everything on.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
_numbers = itertools.count()
_server: embedded.Embedded | None = None
_folder: tempfile.TemporaryDirectory[str] | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _server, _folder
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    _folder = tempfile.TemporaryDirectory(prefix="postback-tests-", dir="/var/tmp")
    Path(_folder.name).chmod(0o711)
    _server = asyncio.run(embedded.start(Path(_folder.name) / "data", settings=FAST))
    os.environ["POSTBACK_TEST_SERVER"] = _server.dsn
    asyncio.run(_make_template(_server.dsn))


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        asyncio.run(_server.stop())
    if _folder is not None:
        _folder.cleanup()


async def _make_template(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE template_postback")
    template = _named(dsn, "template_postback")
    await asyncio.to_thread(migrate.migrate, template)
    conn = await connect(template)
    await partitions.make_ahead(conn, datetime.now(UTC), months=1)
    await conn.close()


def _named(dsn: str, name: str) -> Secret:
    return Secret(dsn.replace("/postback?", f"/{name}?"))


@pytest.fixture
def empty_database() -> Iterator[Secret]:
    """A database with nothing in it, not even our tables."""
    yield from _database("template0")


@pytest.fixture
def database() -> Iterator[Secret]:
    """A fresh, migrated database."""
    yield from _database("template_postback")


def _database(template: str) -> Iterator[Secret]:
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


@pytest.fixture
async def pool(database: Secret) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    yield pool
    await pool.close()
