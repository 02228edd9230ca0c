"""What a PostgreSQL server says about itself: its time, its version, its settings; and all it holds, replaced."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from msgspec import Struct

from postback.db.pool import Tx
from postback.db.queries import Queries

_queries = Queries("server")


class Server(Struct, frozen=True):
    """`version` as PostgreSQL counts: 180004 is 18.4."""

    version: int
    now: datetime
    is_read_only: bool


async def clock(tx: Tx) -> datetime:
    """The database's time, which all processes go by."""
    return (await read(tx)).now


async def read(tx: Tx) -> Server:
    row = await (await tx.execute(_queries.read)).fetchone()
    assert row is not None
    return Server(*row)


async def settings(tx: Tx, names: Sequence[str]) -> dict[str, str]:
    """Settings in force, as `SHOW` writes them."""
    return dict(await (await tx.execute(_queries.settings, {"names": list(names)})).fetchall())


@asynccontextmanager
async def replacing_all(tx: Tx) -> AsyncGenerator[None, None]:
    """Empty the database for the block to fill. What was in it comes back where the block fails, and is gone after it.

    Repeating after a crash in the block begins with what was there before the first try.
    """
    async with tx.transaction():
        if await (await tx.execute(_queries.aside)).fetchone():
            await tx.execute("DROP SCHEMA public CASCADE")
        else:
            await tx.execute("ALTER SCHEMA public RENAME TO postback_before_restore")
        await tx.execute("CREATE SCHEMA public")
    try:
        yield
    except BaseException:
        async with tx.transaction():
            await tx.execute("DROP SCHEMA public CASCADE")
            await tx.execute("ALTER SCHEMA postback_before_restore RENAME TO public")
        raise
    await tx.execute("DROP SCHEMA postback_before_restore CASCADE")
