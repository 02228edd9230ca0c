"""The bundled PostgreSQL with the settings that `serve` gives it, and databases on it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from bench.process import FOLDER, progress
from postback.db import embedded, migrate, partitions, pool
from postback.db.embedded import Embedded
from postback.secret import Secret

FILLERS = 2
# What intake and delivery fill. The rest (keys, destinations, leases, versions) is never emptied.
GROWING = (
    "dedup", "event", "delivery", "attempt", "usage", "visitor", "link", "touch", "conversion", "orders",
    "order_ledger", "credit", "rollup", "hourly", "daily", "dirty_hour", "dirty_total", "rollup_clock", "key_usage",
    "refused_origin", "rate_window",
)  # fmt: skip


@asynccontextmanager
async def server() -> AsyncGenerator[Embedded]:
    """A server in our own folder, stopped at the end."""
    async with await embedded.start(FOLDER / "server") as started:
        yield started


def dsn(server: Embedded, name: str) -> str:
    return server.dsn.replace("/postback?", f"/{name}?")


async def make(server: Embedded, name: str, template: str | None = None) -> None:
    """Make a database: empty, or a copy of another that nobody is connected to."""
    copied = sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template)) if template else sql.SQL("")
    async with await connect(server, "postgres") as connection:
        await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copied)


async def drop(server: Embedded, name: str) -> None:
    """Drop a database, cutting its sessions."""
    async with await connect(server, "postgres") as connection:
        await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


async def make_tables(server: Embedded, name: str) -> None:
    """Postback's tables and this month's and the last one's partitions, as its own start makes them."""
    await asyncio.to_thread(migrate.migrate, Secret(dsn(server, name)))
    await make_partitions(server, name)


async def make_partitions(server: Embedded, name: str) -> None:
    connection = await pool.connect(Secret(dsn(server, name)))
    try:
        await partitions.make_ahead(connection, datetime.now(UTC) - timedelta(days=31), months=2)
    finally:
        await connection.close()


async def empty(server: Embedded, name: str) -> None:
    """Remove every event and all that came of it."""
    async with await connect(server, name) as connection:
        cursor = await connection.execute(
            "SELECT n FROM unnest(%s::text[]) n WHERE to_regclass(n) IS NOT NULL", [list(GROWING)]
        )
        names = [row[0] for row in await cursor.fetchall()]
        await connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, names))))


async def number(server: Embedded, name: str, question: str) -> float:
    """The one number that a question comes to, 0 where it is null."""
    async with await connect(server, name) as connection:
        row = await (await connection.execute(question.encode())).fetchone()
        return float(row[0] or 0) if row else 0.0


async def execute(server: Embedded, name: str, *statements: str) -> None:
    """Run statements one by one, each its own transaction."""
    async with await connect(server, name) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def fill(
    server: Embedded, name: str, numbers: tuple[int, int], chunk: int, statements: Callable[[int, int], Sequence[str]]
) -> None:
    """Run statements for all numbers past the first one, in chunks of (first, last), on as many connections as help."""
    low, high = numbers
    waiting = iter([(begin + 1, min(begin + chunk, high)) for begin in range(low, high, chunk)])

    async def work() -> None:
        for first, last in waiting:
            await execute(server, name, *statements(first, last))
            if last % (10 * chunk) == 0:
                progress(f"{name}: {last:,} of {high:,} are stored")

    async with asyncio.TaskGroup() as group:
        for _ in range(FILLERS):
            group.create_task(work())


@asynccontextmanager
async def without_keys(server: Embedded, name: str, *tables: str) -> AsyncGenerator[None]:
    """Primary keys (bucket, key) are built anew at the end: row by row, random keys take longer than all else."""
    await execute(server, name, *(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey" for table in tables))
    yield
    added = [f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (bucket, key)" for table in tables]
    await execute(server, name, "SET maintenance_work_mem = '1GB'", *added)


async def version(server: Embedded) -> str:
    async with await connect(server, "postgres") as connection:
        row = await (await connection.execute("SHOW server_version")).fetchone()
        return row[0] if row else ""


async def connect(server: Embedded, name: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(dsn(server, name), autocommit=True)
