"""`/healthz`: the process lives. `/readyz`: it can take events. Both are open and hold nothing worth hiding.

Ready means: the database answers within a second, its schema is at least ours, and the writer moves on.
"""

import asyncio
import time

from litestar import get
from litestar.di import NamedDependency as Needs
from msgspec import Struct

from postback.db import Queries, is_unavailable, migrate
from postback.errors import Unavailable
from postback.intake.writer import Writer
from postback.web.admin.hub import Hub

_queries = Queries("health")
ANSWER_SECONDS = 1.0
STUCK_SECONDS = 10.0


class Health(Struct, frozen=True):
    status: str


class Pulse:
    """Whether a writer moves: two looks, ten seconds apart or more, that see events waiting and no flush in between."""

    def __init__(self) -> None:
        self._flushes = -1
        self._since: float | None = None

    def is_stuck(self, writer: Writer, now: float) -> bool:
        if not writer.waiting_events or writer.figures.flushes != self._flushes:
            self._flushes = writer.figures.flushes
            self._since = now if writer.waiting_events else None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= STUCK_SECONDS


@get("/healthz", summary="Whether this process lives")
async def healthz() -> Health:
    return Health("ok")


@get("/readyz", summary="Whether this process can take events")
async def readyz(hub: Needs[Hub], pulse: Needs[Pulse]) -> Health:
    """503 with a sentence where it cannot."""
    await _check_database(hub)
    if pulse.is_stuck(hub.writer, time.monotonic()):
        raise Unavailable("Events wait to be written, and none was for ten seconds.")
    return Health("ok")


async def _check_database(hub: Hub) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS), hub.pool.connection(timeout=ANSWER_SECONDS) as tx:
            row = await (await tx.execute(_queries.revision)).fetchone()
    except Exception as error:
        if is_unavailable(error):
            raise Unavailable("The database does not answer within a second.") from error
        raise
    if row is None or row[0] < migrate.newest():
        raise Unavailable("The database's schema is older than this program: run `postback db migrate`.")


HANDLERS = [healthz, readyz]
