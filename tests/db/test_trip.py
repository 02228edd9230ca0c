"""A trip is over when its answers are there, or when the connection is lost, however it is lost."""

import asyncio
import os
import signal

import psycopg
import pytest

from postback.db import Tx, connect
from postback.db.trip import Trip, int8
from postback.secret import Secret


async def test_many_statements_are_answered_in_one_trip(tx: Tx) -> None:
    trip = Trip(tx, set())
    rows = [trip.add(b"SELECT %(n)s::int8", {"n": n}) for n in range(3)]
    await trip.run()
    assert [int8(row[0]) for one in rows for row in one.all] == [0, 1, 2]


async def test_a_server_that_ends_without_reading_what_was_sent_ends_the_trip(database: Secret, tx: Tx) -> None:
    # The socket then bears an error besides the server's last words, and the loop tells of it but once.
    conn = await connect(database)
    pid = conn.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await tx.execute("SELECT pg_terminate_backend(%s)", [pid])
        trip = Trip(conn, set())
        trip.add(b"SELECT 1")
        running = asyncio.create_task(trip.run())
        await asyncio.sleep(0)  # it is sent
    finally:
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(running, 10)
    await conn.close()
