"""What a PostgreSQL server says about itself: its time, its version, its settings."""

from collections.abc import Sequence
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
