"""One round trip for many statements: what the hot path sends to the database.

Speaks libpq's pipeline mode by way of psycopg's `pgconn`, with one wait for the whole trip instead of one for each
statement, and parameters that are encoded already. Values come back in PostgreSQL's binary form: `int8` and `moment`
read them.

Not for concurrent use; the connection belongs to whoever makes the trip.
"""

import asyncio
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from uuid import UUID

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from postback.db.arrays import Array, microseconds
from postback.db.pool import Tx

_BINARY = 1
_INT4 = struct.Struct("!i")
_INT8 = struct.Struct("!q")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_PARAMETER = re.compile(rb"%\((\w+)\)s")
_ROWS = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

Row = tuple[bytes | None, ...]


class Rows:
    """A statement's rows, there once the trip is over; values in binary."""

    def __init__(self) -> None:
        self.all: list[Row] = []


class Trip:
    """Collects statements, then sends all: `run` returns when every answer is there, or raises the first error.

    A statement after one that failed is not run. A transaction that a trip begins stays open after it.
    """

    def __init__(self, conn: Tx, prepared: set[bytes]) -> None:
        self._pgconn: PGconn = conn.pgconn
        self._prepared = prepared
        self._sent: list[Rows] = []
        self._preparing: dict[int, bytes] = {}
        self._pgconn.enter_pipeline_mode()

    def add(self, query: bytes, params: Mapping[str, object] | None = None) -> Rows:
        """Queue one statement. Its text is prepared once on a connection: `prepared` remembers which are."""
        name, sql, names = _numbered(query)
        values: list[bytes] = []
        oids: list[int] = []
        for key in names:
            oid, value = _encoded((params or {})[key])
            oids.append(oid)
            values.append(value)
        pgconn = self._pgconn
        if name not in self._prepared:
            pgconn.send_prepare(name, sql, oids)
            self._prepared.add(name)
            self._preparing[len(self._sent)] = name
            self._sent.append(Rows())
        pgconn.send_query_prepared(name, values, [_BINARY] * len(values), _BINARY)
        self._sent.append(Rows())
        return self._sent[-1]

    async def run(self) -> None:
        """Raises psycopg.Error as the database gave it; OperationalError where the connection was lost."""
        pgconn = self._pgconn
        pgconn.pipeline_sync()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[PGresult]] = loop.create_future()
        answers = _Answers(pgconn, done)
        descriptor = pgconn.socket

        def read() -> None:
            answers.read()
            if not done.done():  # libuv no longer watches what bore an error; libpq only learns of it as it reads on
                loop.remove_reader(descriptor)
                loop.add_reader(descriptor, read)

        loop.add_reader(descriptor, read)
        try:
            while pgconn.flush():
                writable: asyncio.Future[None] = loop.create_future()
                loop.add_writer(descriptor, _wake, writable)
                # The server may stop reading until we read: answers are taken in meanwhile.
                await asyncio.wait([writable, done], return_when=asyncio.FIRST_COMPLETED)
                loop.remove_writer(descriptor)
                if done.done():
                    break
            answers.read()
            results = await done
        finally:
            loop.remove_reader(descriptor)
            if not done.done():
                done.cancel()
        pgconn.exit_pipeline_mode()
        self._file(results)

    def _file(self, results: list[PGresult]) -> None:
        failed: PGresult | None = None
        for place, (rows, result) in enumerate(zip(self._sent, results, strict=True)):
            if result.status not in _ROWS:
                failed = failed or result
                self._prepared.discard(self._preparing.get(place, b""))
            else:
                columns = range(result.nfields)
                rows.all = [tuple(result.get_value(n, c) for c in columns) for n in range(result.ntuples)]
        if failed is not None:
            raise psycopg.errors.error_from_result(failed)


class _Answers:
    """Takes in what comes until the trip's sync."""

    def __init__(self, pgconn: PGconn, done: "asyncio.Future[list[PGresult]]") -> None:
        self._pgconn = pgconn
        self._done = done
        self._results: list[PGresult] = []

    def read(self) -> None:
        if self._done.done():
            return
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    continue
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._done.set_result(self._results)
                    return
                self._results.append(result)
        except psycopg.Error as error:
            self._done.set_exception(error)


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


@cache
def _numbered(query: bytes) -> tuple[bytes, bytes, tuple[str, ...]]:
    """A query's name for the server, its text with $1, $2 ..., and which parameter each is."""
    names = list(dict.fromkeys(_PARAMETER.findall(query)))
    sql = _PARAMETER.sub(lambda found: b"$%d" % (names.index(found[1]) + 1), query).replace(b"%%", b"%")
    return b"trip_" + sha256(query).hexdigest()[:16].encode(), sql, tuple(name.decode() for name in names)


def _encoded(value: object) -> tuple[int, bytes]:
    """Type and binary form of one parameter."""
    if isinstance(value, Array):
        return value.array_oid, value.data
    if isinstance(value, UUID):
        return 2950, value.bytes
    if isinstance(value, int):
        return 23, _INT4.pack(value)
    if isinstance(value, datetime):
        return 1184, _INT8.pack(microseconds(value))
    if isinstance(value, str):
        return 25, value.encode()
    raise TypeError(f"no binary form for {type(value).__name__}")


def int8(value: bytes | None) -> int:
    return _INT8.unpack(value)[0] if value is not None else 0


def moment(value: bytes | None) -> datetime:
    return _EPOCH + timedelta(microseconds=int8(value))
