"""Calls of each API key, and origins that were refused: counted in memory as they are answered, and filed every few
seconds, off the way of any request, in rows that are this process's own.

What is not filed yet when a process is killed is lost: these are figures for people, no quota.
"""

import asyncio
import ipaddress
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog
from msgspec import Struct

from postback import keys
from postback.db import Pool, is_unavailable
from postback.keys import ApiKey, Usage
from postback.web.wire import Scope
from postback.workspaces import origins

log = structlog.get_logger()
FILE_SECONDS = 5.0
KEY = "postback.key"
_MASKS = {4: 24, 6: 48}


class _Count(Struct):
    """Of one key. `calls`, `errors`: since the last filing; `filed` and `filed_errors`: before it, in `hour`."""

    key_id: UUID
    calls: int = 0
    errors: int = 0
    at: float = 0.0
    address: str | None = None
    hour: datetime | None = None
    filed: int = 0
    filed_errors: int = 0


class Calls:
    """Counts of one process. `start`, then `close`. `refusals`: of the tag."""

    def __init__(self, pool: Pool) -> None:
        self.refusals = origins.Refusals()
        self._pool = pool
        self._writer = uuid4()
        self._counts: dict[bytes, _Count] = {}
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._file_or_wait()

    def count(self, key: ApiKey, status: int, address: str | None) -> None:
        """One answer to a call with this key."""
        count = self._counts.get(key.secret_sha256)
        if count is None:
            count = self._counts[key.secret_sha256] = _Count(key.id)
        count.calls += 1
        if status >= 400:
            count.errors += 1
        count.at = time.time()
        count.address = address

    def count_answer(self, scope: Scope, status: int) -> None:
        """One answer to an ASGI request; none where it bore no key that we know."""
        if (key := scope.get(KEY)) is not None and status:
            self.count(key, status, scope["client"][0] if scope.get("client") else None)

    async def flush(self) -> None:
        """File what was counted. Raises what the database raises; nothing is forgotten then."""
        async with self._turn:
            hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            for secret, count in list(self._counts.items()):
                if not count.calls and count.hour is not None and count.hour < hour:
                    del self._counts[secret]
            due = [(count, count.calls, count.errors) for count in self._counts.values() if count.calls]
            refused = self.refusals.due()
            if not due and not refused:
                return
            # Some seconds before the hour may count as after it.
            rows = [_row(count, calls, errors, hour) for count, calls, errors in due]
            async with self._pool.connection() as tx:
                if rows:
                    await keys.file_usage(tx, self._writer, hour, rows)
                if refused:
                    await origins.file(tx, self._writer, refused)
            self.refusals.keep(refused)
            for (count, calls, errors), row in zip(due, rows, strict=True):
                count.calls -= calls
                count.errors -= errors
                count.hour, count.filed, count.filed_errors = hour, row.calls, row.errors

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FILE_SECONDS)
            await self._file_or_wait()

    async def _file_or_wait(self) -> None:
        try:
            await self.flush()
        except Exception as error:
            if not is_unavailable(error):
                log.exception("calls of keys were not filed")


def name_caller(scope: Scope, key: ApiKey) -> None:
    """Say whose request this is, once that is known."""
    scope[KEY] = key


def masked(address: str | None) -> str | None:
    """The network of an address: enough to know one's own server, too little to know a person."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((ip.packed, _MASKS[ip.version]), strict=False))


def _row(count: _Count, calls: int, errors: int, hour: datetime) -> Usage:
    """A key's whole hour so far."""
    before, errors_before = (count.filed, count.filed_errors) if count.hour == hour else (0, 0)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=count.at)
    return Usage(count.key_id, before + calls, errors_before + errors, at, masked(count.address))
