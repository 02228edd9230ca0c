"""Connections: psycopg 3, binary both ways, statements prepared at first use, autocommit outside a transaction.

`Tx` is what records take first: a connection inside (or outside) a transaction that the caller opened.
"""

import os
import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from postback.secret import Secret

Tx = AsyncConnection[Any]
Pool = AsyncConnectionPool[Tx]

SEND_BUFFER_BYTES = 400_000
# A server that is gone without a word is noticed within some 20 seconds.
_ALIVE: dict[str, Any] = {"tcp_user_timeout": 10_000, "keepalives_idle": 5, "keepalives_interval": 5}
# The database is away or full, not the caller's fault: connection lost, out of disk, memory or connections, shutting
# down, I/O error, read only; and what a whole transaction may be tried again for: deadlock, serialisation.
_AWAY = ("08", "57P", "53", "58", "25006")
_AGAIN = ("40", "55P03")


async def connect(dsn: Secret) -> Tx:
    conn = await AsyncConnection.connect(dsn.reveal(), autocommit=True, connect_timeout=5, **_ALIVE)
    await _configure(conn)
    return conn


def widen(conn: Tx) -> None:
    """Let more be sent ahead of the server's reading than a local socket holds by itself, as far as the system allows;
    one of TCP widens as it needs."""
    with suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as own:
        if own.family == socket.AF_UNIX:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


async def _configure(conn: Tx) -> None:
    conn.prepare_threshold = 0
    # A plan made for the parameters costs more than the statement; generic plans prune partitions when they run. One
    # that is made while a partition is empty lives on when it is full, so each goes by a key whatever a table holds.
    await conn.execute(
        "SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false)"
    )


async def open_pool(dsn: Secret, *, max_size: int = 4, is_patient: bool = True) -> Pool:
    """A pool that keeps one connection and opens more when asked; waits at most 5 s for one.

    `is_patient` False: who waits while the server lets nobody in is told so at once (OperationalError), and whoever
    asks next tries it anew.
    """

    async def check(conn: Tx) -> None:
        try:
            await AsyncConnectionPool.check_connection(conn)
        except Exception:
            if not is_patient:
                await pool.check()  # the others are gone too, most likely: each would be waited for in turn
            raise

    pool: Pool = AsyncConnectionPool(
        dsn.reveal(),
        min_size=1,
        max_size=max_size,
        timeout=5,
        kwargs={"autocommit": True, **_ALIVE},
        configure=_configure,
        check=check,
        open=False,
        reconnect_timeout=300 if is_patient else 0,
        reconnect_failed=None if is_patient else _turn_away,
    )
    await pool.open()
    return pool


async def _turn_away(pool: Pool) -> None:
    """Whoever waits would wait in vain, unless somebody still has a connection to give back."""
    while not pool._nconns and pool._waiting:  # of which the pool has no public word
        await pool._waiting.popleft().fail(psycopg.OperationalError("the database lets nobody in"))


def is_unavailable(error: Exception) -> bool:
    """Whether the database is away, full or asks for another try; nothing is wrong with what was written."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate.startswith(_AWAY + _AGAIN)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError | TimeoutError)


def is_refusal(error: Exception) -> bool:
    """Whether the database refused the rows themselves: splitting the batch finds the culprit.

    Judged by class, never by constraint name. XX000 is what Citus makes of a refused row.
    """
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return (bool(state) and str(state).startswith(("22", "23", "54", "XX"))) or isinstance(error, psycopg.DataError)
