"""Replays and backfills: settled deliveries are queued again, and a destination is given deliveries of past events.

A job walks the events of each of its destinations, bucket by bucket, in small steps. A step is one transaction: the
job's row is locked, deliveries are written, and how far the walk came. So whatever stops it, it goes on where it was,
and no delivery is taken twice; sending is the lanes' business, as ever.

Live traffic goes first: a job adds to a destination only while fewer of its deliveries are due than it sends in
AHEAD_SECONDS, and never to one that is paused or held. What came in since the job began is not its business.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from postback import conversions, destinations
from postback.conversions import ORDER_CANCELLED
from postback.db import Tx, buckets, is_unavailable
from postback.db.buckets import BUCKETS
from postback.destinations import Destination
from postback.event import Event
from postback.orders import UNCOUNTED
from postback.pii.person import ERASED
from postback.queue import dirty, history, jobs, lists
from postback.queue.history import Given, Lacking, Span
from postback.queue.jobs import Job, Place

log = structlog.get_logger()
AHEAD_SECONDS = 2.0
AHEAD_LEAST, AHEAD_MOST = 20, 5000
EXAMINED = 2000
STEPS_A_TURN = 50
REMOVED = "the destination was removed"
_CLOCKS_APART = timedelta(hours=1)
_decode = msgspec.json.Decoder(Event).decode


class Scene(Struct, frozen=True):
    """What a step is judged by: installed destinations, the states of their lanes, the time, and how long events are
    kept: what is older may be dropped at any moment, and is left alone."""

    installed: Mapping[UUID, Destination]
    lanes: Mapping[UUID, destinations.Lane]
    now: datetime
    retention: timedelta

    def may_send(self, id: UUID) -> bool:
        return id in self.installed and (id not in self.lanes or self.lanes[id].state == "active")

    @property
    def oldest(self) -> UUID:
        return buckets.floor(self.now - self.retention)


def ahead(destination: Destination, lane: destinations.Lane | None) -> int:
    """How many deliveries of a destination may be due while a job adds to them."""
    rate = destination.connector.rate.per_second
    if lane is not None and lane.rate is not None:
        rate = min(rate, lane.rate)
    return int(min(max(rate * destination.connector.max_items * AHEAD_SECONDS, AHEAD_LEAST), AHEAD_MOST))


async def run(tx: Tx, ids: Sequence[UUID], scene: Scene) -> bool:
    """Go on with some jobs, as far as there is room. Whether any moved, so that it makes sense to look again soon."""
    moved = False
    for id_ in ids:
        try:
            for _ in range(STEPS_A_TURN):
                if not await step(tx, id_, scene):
                    break
                moved = True
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("a job stumbled", job=str(id_))
            await jobs.fail(tx, id_, f"our bug: {type(error).__name__}; report it, then resume", scene.now)
    return moved


async def step(tx: Tx, id: UUID, scene: Scene) -> bool:
    """One transaction's worth of a job. False: it does not run any more, or waits for room."""
    async with tx.transaction():
        job = await jobs.hold(tx, id)
        if job is None:
            return False
        position, reason = dict(job.position), None
        for id_ in await _removed(tx, job, scene):
            del position[id_]
            reason = REMOVED
        found = await _with_room(tx, job, position, scene)
        if found is None:
            if position and not reason:
                return False
            await jobs.advance(tx, id, done=0, skipped=0, position=position, now=scene.now, reason=reason)
            return bool(position)
        destination, room = found
        walk = Walk(tx, job, destination, position[destination.id], scene)
        done, skipped = await (_replay(walk, room) if job.kind == "replay" else _backfill(walk, room))
        if walk.place is None:
            del position[destination.id]
        else:
            position[destination.id] = walk.place
        await jobs.advance(tx, id, done=done, skipped=skipped, position=position, now=scene.now, reason=reason)
        return bool(position)


async def _removed(tx: Tx, job: Job, scene: Scene) -> list[UUID]:
    """Those of a job's destinations that are gone; one that is not known here yet may only be new."""
    if scene.installed.keys() >= job.position.keys():
        return []
    labels = await destinations.labels(tx, job.workspace_id)
    return [id_ for id_ in job.position if id_ not in labels or labels[id_].removed_at is not None]


async def _with_room(tx: Tx, job: Job, position: Mapping[UUID, Place], scene: Scene) -> tuple[Destination, int] | None:
    """A destination that a job may add to, and how many deliveries; room is used when half of it is free."""
    for id_ in position:
        if scene.may_send(id_):
            destination = scene.installed[id_]
            most = ahead(destination, scene.lanes.get(id_))
            room = most - await history.crowd(tx, id_, scene.now, scene.oldest, most)
            if room * 2 >= most:
                return destination, room
    return None


class Walk:
    """The way through one destination's part of a job. `place`: where it goes on; None: it came to the end."""

    def __init__(self, tx: Tx, job: Job, destination: Destination, place: Place, scene: Scene) -> None:
        self.tx = tx
        self.job = job
        self.destination = destination
        self.scene = scene
        self.place: Place | None = place
        self.left = EXAMINED
        wanted, began = job.selection, job.created_at
        low = scene.oldest if wanted.since is None else max(scene.oldest, buckets.floor(wanted.since))
        until = began + _CLOCKS_APART if wanted.until is None else min(wanted.until, began + _CLOCKS_APART)
        self._low, self._high = low, UUID(int=max(0, buckets.floor(until).int - 1))
        ids = wanted.event_ids
        self._ids = sorted(ids.get(destination.id, ())) if ids is not None else None

    def spans(self) -> Iterator[Span]:
        """What is to be read next, as long as the step has not examined its share; `saw` is told between."""
        while self.place is not None and self.left > 0:
            span = self._span(self.place)
            if span.low <= span.high:
                yield span
            else:
                self._next_bucket()

    def saw(self, last: UUID | None, *, is_all: bool, rows: int) -> None:
        """The rows up to `last` are done with; `is_all`: the bucket has no more."""
        self.left -= rows
        if is_all:
            self._next_bucket()
        elif self.place is not None and last is not None:
            self.place = Place(self.place.bucket, last)

    def _span(self, place: Place) -> Span:
        low, high, mine = self._low, self._high, None
        if self._ids is not None:
            mine = [id_ for id_ in self._ids if buckets.of_id(id_) == BUCKETS[place.bucket]]
            low, high = (max(low, mine[0]), min(high, mine[-1])) if mine else (low, UUID(int=0))
        if place.after is not None:
            low = max(low, UUID(int=place.after.int + 1))
        return Span(BUCKETS[place.bucket], self.destination.id, low, high, self.job.created_at, mine)

    def _next_bucket(self) -> None:
        following = self.place.bucket + 1 if self.place is not None else len(BUCKETS)
        self.place = Place(following) if following < len(BUCKETS) else None


async def _replay(walk: Walk, room: int) -> tuple[int, int]:
    """Reopen up to `room` deliveries; how many were queued, and 0."""
    wanted, done = walk.job.selection, 0
    for span in walk.spans():
        found = await history.replayable(walk.tx, span, wanted, walk.left)
        took = [id_ for id_, matches in found if matches][: room - done]
        is_full = len(took) == room - done
        last = took[-1] if is_full else found[-1][0] if found else None
        is_all = len(found) < walk.left and (not found or last == found[-1][0])
        took = await standing(walk.tx, took)
        if took:
            done += await history.reopen(walk.tx, span, took, wanted.statuses, walk.scene.now)
        walk.saw(last, is_all=is_all, rows=len(found))
        if is_full:
            break
    return done, 0


async def standing(tx: Tx, ids: Sequence[UUID]) -> list[UUID]:
    """Of some events, those that may be sent: all but bots', and the sales of orders that were taken back since."""
    events = {id_: _decode(row.body) for id_, row in (await lists.event_rows(tx, ids)).items()}
    gone = await _taken_back(tx, events) | {id_ for id_, event in events.items() if event.is_bot}
    return [id_ for id_ in ids if id_ not in gone]


async def _taken_back(tx: Tx, events: Mapping[UUID, Event]) -> set[UUID]:
    keys = {
        conversions.key_of(event.site_id.bytes, event.order.id)
        for event in events.values()
        if event.site_id is not None and event.order is not None and event.order.id is not None
    }
    return await conversions.taken_back(tx, keys) & events.keys() if keys else set()


async def _backfill(walk: Walk, room: int) -> tuple[int, int]:
    """Give up to `room` events a delivery; how many were queued, and how many skipped at once."""
    job, done, skipped = walk.job, 0, 0
    for span in walk.spans():
        found = await history.lacking(walk.tx, span, job.workspace_id, job.selection, walk.left)
        rows: list[Given] = []
        last, is_full = None, False
        for id_, one in found:
            last = id_
            if one is not None and (given := fate(one, walk.destination, walk.scene.now)) is not None:
                rows.append(given)
                is_full = done + len(rows) >= room
            if is_full:
                break
        if rows:
            bodies = {id_: one.body for id_, one in found if one is not None}
            gone = await _taken_back(walk.tx, {row.event_id: _decode(bodies[row.event_id]) for row in rows})
            rows = [_cancelled(row) if row.event_id in gone else row for row in rows]
            made = await history.give(walk.tx, span, job.workspace_id, job.id, rows)
            await dirty.mark_deliveries(walk.tx, [row.event_id for row in rows], walk.scene.now)
            done, skipped = done + made["queued"], skipped + made["skipped"]
        is_all = len(found) < walk.left and (not found or last == found[-1][0])
        walk.saw(last, is_all=is_all, rows=len(found))
        if is_full:
            break
    return done, skipped


def _cancelled(row: Given) -> Given:
    return replace(row, status="skipped", reason=row.reason or ORDER_CANCELLED)


def _waits(event: Event) -> str | None:
    """Why an order's event is not delivered, where no other destination's delivery says it."""
    status = event.order.status if event.order is not None and event.name == "purchase" else None
    return f"order not completed: it is {status}" if status in UNCOUNTED else None


def fate(one: Lacking, destination: Destination, now: datetime) -> Given | None:
    """What a past event's delivery is to be; None: it is past the platform's age limit, a bot's, or erased, and none is
    made."""
    event = _decode(one.body)
    if event.is_bot or ERASED in event.notes:
        return None
    age = now - event.occurred_at
    limit = destination.connector.max_age(event)
    if limit is not None and age > limit:
        return None
    reason = one.order_reason or _waits(event) or destinations.skip_reason(destination, event, age)
    due_at = max(now, event.occurred_at) if age < timedelta(minutes=-5) else now
    return Given(one.id, "skipped" if reason else "queued", due_at if not reason else now, reason)
