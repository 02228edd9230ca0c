"""Events as they are stored, by whichever process, told to those who look.

While somebody looks, one task of the process asks the database once a second for the ids of the last seconds, and for
what became of the events that are shown: reads by primary key, shared by all who look. At most SHOWN_MAX rows a second
are told to one; the others are counted. Who reads slowly gets the newest of what waits, and never more than that.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from msgspec import Struct

from postback.db import Pool, Queries, Tx, buckets, is_unavailable
from postback.errors import Unavailable
from postback.queue import EventRow, lists
from postback.web.admin.shapes import outcomes

log = structlog.get_logger()
LOOKERS_MAX = 50  # of a process
SHOWN_MAX = 20
FOLLOWED_MAX = 200  # events, of one who looks
LISTED_MAX = 5000  # events told in a second, of all; what is past them is not counted
EXAMINED = 300  # in each bucket
POLL_SECONDS, HEARTBEAT_SECONDS = 1.0, 15
CHECK_EVERY = 2  # polls
LOOK_BACK = timedelta(seconds=5)  # a flush is seen when it commits, its ids are made when it begins
LONGEST_BACK = timedelta(minutes=1)
_OPEN = frozenset({"queued", "retrying", "held"})
_queries = Queries("tail")


class Wanted(Struct, frozen=True, kw_only=True):
    """None: any. `status`: with a delivery that is, or comes to be, in this state."""

    workspace_id: UUID
    site: UUID | None = None
    key: UUID | None = None
    name: str | None = None
    status: str | None = None


class Arrived(NamedTuple):
    id: UUID
    workspace_id: UUID
    site_id: UUID | None
    key_id: UUID | None
    name: str


class Batch(Struct):
    """`rows`: new ones, newest first, each with its outcomes. `more`: how many others came. `changed`: outcomes of rows
    that were told before."""

    rows: list[tuple[EventRow, dict[str, int]]] = []
    more: int = 0
    changed: dict[UUID, dict[str, int]] = {}


class Looker:
    """One who looks. `may_look` is asked now and then."""

    def __init__(self, wanted: Wanted, may_look: Callable[[Tx], Awaitable[bool]], since: UUID) -> None:
        self.wanted = wanted
        self.may_look = may_look
        self.since = since
        self.ended: str | None = None
        self._seen: set[UUID] = set()
        self._due: list[UUID] = []  # to be told, newest first
        self._waiting: list[UUID] = []  # until one of their deliveries is in the state that is wanted
        self._followed: dict[UUID, dict[str, int]] = {}  # told and still open
        self._batch = Batch()
        self._ready = asyncio.Event()

    async def batches(self) -> AsyncGenerator[Batch | None]:
        """What is new, until it ends; None: nothing for a while."""
        while self.ended is None:
            try:
                await asyncio.wait_for(self._ready.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield None
                continue
            self._ready.clear()
            if self._batch.rows or self._batch.more or self._batch.changed:
                batch, self._batch = self._batch, Batch()
                yield batch

    def end(self, said: str) -> None:
        """`said` empty: to be asked again elsewhere."""
        self.ended = self.ended or said
        self._ready.set()

    def take(self, arrived: Sequence[Arrived], horizon: UUID) -> None:
        wanted = self.wanted
        new = [
            one.id
            for one in arrived
            if one.id >= self.since
            and one.id not in self._seen
            and one.workspace_id == wanted.workspace_id
            and wanted.site in (None, one.site_id)
            and wanted.key in (None, one.key_id)
            and wanted.name in (None, one.name)
        ]
        self.since = horizon
        self._seen = {one.id for one in arrived if one.id >= horizon}
        if wanted.status is None:
            self._due = new + self._due
        else:
            self._waiting = (new + self._waiting)[:FOLLOWED_MAX]

    def asks(self) -> list[UUID]:
        """Events of which it must be known what became of them."""
        return [*self._due[:SHOWN_MAX], *self._waiting, *self._followed]

    def choose(self, became: dict[UUID, dict[str, int]]) -> list[UUID]:
        """Which events are told now."""
        if (status := self.wanted.status) is not None:
            self._due = [id_ for id_ in self._waiting if status in became[id_]]
            self._waiting = [id_ for id_ in self._waiting if status not in became[id_] and _OPEN & became[id_].keys()]
        return self._due[:SHOWN_MAX]

    def tell(self, events: dict[UUID, EventRow], became: dict[UUID, dict[str, int]]) -> None:
        batch, told = self._batch, [id_ for id_ in self._due[:SHOWN_MAX] if id_ in events]
        batch.changed |= {id_: became[id_] for id_, before in self._followed.items() if became[id_] != before}
        rows = [(events[id_], became[id_]) for id_ in told] + batch.rows
        batch.more += len(self._due) - len(told) + len(rows[SHOWN_MAX:])
        batch.rows = rows[:SHOWN_MAX]
        followed = [*told, *self._followed][:FOLLOWED_MAX]
        self._followed = {id_: became[id_] for id_ in followed if _OPEN & became[id_].keys()}
        self._due = []
        if batch.rows or batch.more or batch.changed:
            self._ready.set()


class Live:
    """Needs no start: its task runs while somebody looks."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._lookers: list[Looker] = []
        self._task: asyncio.Task[None] | None = None
        self._is_ended = False

    @contextmanager
    def looking(
        self, wanted: Wanted, may_look: Callable[[Tx], Awaitable[bool]], since: datetime
    ) -> Generator[Looker, None, None]:
        """From `since` on, at most a minute ago. Raises Unavailable."""
        if self._is_ended:
            raise Unavailable("This process stops; look again.")
        if len(self._lookers) >= LOOKERS_MAX:
            raise Unavailable(f"{LOOKERS_MAX} people look at this process already; close a page that shows Live.")
        looker = Looker(wanted, may_look, buckets.floor(max(since, self._clock() - LONGEST_BACK)))
        self._lookers.append(looker)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield looker
        finally:
            self._lookers.remove(looker)

    def end(self) -> None:
        """For good; repeating is harmless."""
        self._is_ended = True
        for looker in self._lookers:
            looker.end("")

    async def _run(self) -> None:
        polls = 0
        while self._lookers and not self._is_ended:
            begun = time.monotonic()
            try:
                async with self._pool.connection() as tx:
                    await self._poll(tx, is_checking=polls % CHECK_EVERY == 0)
            except Exception as error:
                # The database is away, or it is our bug; who looks goes on looking.
                log.warning(
                    "live events could not be read", error=type(error).__name__, exc_info=not is_unavailable(error)
                )
            polls += 1
            await asyncio.sleep(max(0.1, POLL_SECONDS - (time.monotonic() - begun)))

    async def _poll(self, tx: Tx, *, is_checking: bool) -> None:
        lookers = [one for one in self._lookers if one.ended is None]
        for looker in lookers if is_checking else ():
            if not await looker.may_look(tx):
                looker.end("You are signed out, or look at another workspace by now.")
        if not (lookers := [one for one in lookers if one.ended is None]):
            return
        span = {"min_id": min(one.since for one in lookers), "max_id": lists.LAST_ID}
        whose = {"workspace_ids": list({one.wanted.workspace_id for one in lookers})}
        row = span | whose | {"examined": EXAMINED, "limit": LISTED_MAX}
        horizon = buckets.floor(self._clock() - LOOK_BACK)
        arrived = [Arrived(*one) for one in await (await tx.execute(_queries.arrived, row)).fetchall()]
        for looker in lookers:
            looker.take(arrived, horizon)
        became = await outcomes(tx, sorted({id_ for one in lookers for id_ in one.asks()}))
        told = sorted({id_ for one in lookers for id_ in one.choose(became)})
        events = await lists.event_rows(tx, told)
        for looker in lookers:
            looker.tell(events, became)
