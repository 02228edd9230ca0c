"""A flush: what waits, written in one transaction of a fixed number of statements.

    versions FOR SHARE, dedup keys, orders, visitors, events, deliveries, conversions, usage, limits, COMMIT

go out together, one round trip (two where an email or a user id of a visitor is among it: what these prove follows,
before the limits), in the hope that no version moved, no event is a repeat and no order is known: the database refuses
the transaction where one is. Then, and for some flushes after it, the keys go first and what is new follows.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from msgspec import Struct

from postback import conversions, queue, quota, visitors, workspaces
from postback.conversions import Held
from postback.db import Tx, is_refusal
from postback.db.trip import Rows, Trip, int8, moment
from postback.dialects import Accepted
from postback.errors import Invalid, PostbackError
from postback.intake import dedup, erased, limits, rows, sales
from postback.intake.dedup import Filed
from postback.intake.directory import Snapshot
from postback.intake.judge import Pending
from postback.intake.sales import Sold
from postback.queue import dirty
from postback.visitors import links

MOST_DOUBT = 64
COLLISION = "collision"


class Figures(Struct):
    """Counts since start, for /metrics."""

    accepted: int = 0
    duplicates: int = 0
    collisions: int = 0
    refused: int = 0
    failed_flushes: int = 0
    flushes: int = 0
    flush_seconds: float = 0.0


class Moved(Exception):
    """A workspace's version is not the one that all of its events were judged under."""

    def __init__(self, workspace_ids: list[UUID]) -> None:
        self.workspace_ids = workspace_ids


class Excess(Exception):
    """Some events cannot be taken; the flush is written without them."""

    def __init__(self, refused: Sequence[tuple[Pending, PostbackError]]) -> None:
        self.refused = refused


class Flush:
    """Writes flushes one after the other on a connection that it is given. `writer`: whose rows of usage it adds to, of
    which it also keeps the figures and what is used up."""

    def __init__(self, writer: UUID, figures: Figures, exhausted: limits.Exhausted) -> None:
        self.figures = figures
        self.exhausted = exhausted
        self.is_committing = False
        self._writer = writer
        self._prepared: set[bytes] = set()
        self._careful_left = 0
        self._doubt = 1
        self._clock_offset = 0.0
        self._began = 0.0

    def seconds(self) -> float:
        """The database's time since 1970, as far as the last flush told."""
        return time.time() + self._clock_offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), UTC)

    def forget(self) -> None:
        """The connection is another: nothing is prepared on it."""
        self._prepared = set()

    async def roll_back(self, conn: Tx) -> None:
        """Not by psycopg, which forgets every prepared statement on a rollback."""
        async with asyncio.timeout(5):
            trip = Trip(conn, self._prepared)
            trip.add(b"ROLLBACK")
            await trip.run()

    async def write(self, conn: Tx, events: Sequence[Pending], bucket: int, *, is_retry: bool) -> None:
        """One transaction. Sets results only when it has committed; `is_committing` from its COMMIT on.

        Raises Moved, Excess, psycopg.Error: then the transaction is the caller's to roll back.
        """
        await erased.strip_late(conn, events)
        self._began = time.time()
        first = rows.fold(events)
        if not is_retry and self._careful_left == 0:
            if await self._write_hopefully(conn, events, first, bucket):
                self._doubt = max(1, self._doubt // 2)
                return
            self._careful_left, self._doubt = self._doubt, min(MOST_DOUBT, self._doubt * 2)
        else:
            self._careful_left = max(0, self._careful_left - 1)
        await self._write_carefully(conn, events, first, bucket)

    async def _write_hopefully(
        self, conn: Tx, events: Sequence[Pending], first: dict[bytes, Pending], bucket: int
    ) -> bool:
        """As nearly every flush: no version moved, no event is a repeat. Then one trip does all, the commit included;
        the database refuses it where the hope is wrong, and nothing has happened. False then."""
        keys = sorted(first)
        new = list(first.values())
        snapshots = _oldest(events)
        sold = self._sell(new, {})
        trip = Trip(conn, self._prepared)
        trip.add(b"BEGIN")
        versions = workspaces.require_versions(
            trip, bucket, list(snapshots), [snapshot.version for snapshot in snapshots.values()]
        )
        dedup.insert_new(trip, [first[k] for k in keys])
        if sold.held:
            conversions.insert_new(trip, sold.held.values(), self.now())
        told = self._see(trip, events)
        self._put(trip, bucket, new, sold)
        collided = rows.collisions(events, first, {})
        if collided:
            self._note(trip, collided, events[0].id)
        counted = limits.wanted(events)
        try:
            if told is not None:
                await trip.run()
                trip = self._copy_proofs(conn, told)
            totals = quota.require(trip, counted, self.now()) if counted else None
            trip.add(b"COMMIT")
            self.is_committing = True
            await trip.run()
        except psycopg.Error as error:
            if is_refusal(error):
                await self.roll_back(conn)
                return False
            raise
        if len(versions.all) < len(snapshots):
            raise RuntimeError("a workspace has no version row in this bucket")
        self._set_clock(versions)
        if totals is not None:
            self.exhausted.settle(events, counted, quota.totals(totals), self.now())
        self.figures.collisions += len(collided)
        self._answer(events, first, set(keys), {}, {})
        return True

    async def _write_carefully(
        self, conn: Tx, events: Sequence[Pending], first: dict[bytes, Pending], bucket: int
    ) -> None:
        """The keys first, then what is new, and what repeats show of their visitors: two trips (three where these may
        prove something), and one or two questions about the repeats between them; two more where people were erased."""
        self.is_committing = False
        keys = sorted(first)
        snapshots = _oldest(events)
        trip = Trip(conn, self._prepared)
        trip.add(b"BEGIN")
        versions = workspaces.versions_for_share(trip, bucket, list(snapshots))
        won = dedup.insert(trip, [first[k] for k in keys])
        await trip.run()
        winners = {row[0] for row in won.all if row[0] is not None}
        found: dict[bytes, Filed] = {}
        stored: dict[UUID, list[queue.DeliveryStatus]] = {}
        if len(winners) < len(keys):
            found = await dedup.find(conn, [k for k in keys if k not in winners])
            own = {k for k, filed in found.items() if filed.event_id.bytes == first[k].id}
            if others := [filed.event_id for k, filed in found.items() if k not in own]:
                stored = await queue.deliveries_of(conn, others)
            if own:
                # An earlier try had committed: whoever holds its own id was new then, the rest were repeats then.
                await self.roll_back(conn)
                self._answer(events, first, winners | own, found, stored)
                return
        self._check_versions(versions, snapshots)
        await erased.forget(conn, [(e, found[e.dedup_key].event_id) for e in events if e.dedup_key in found])
        collided = rows.collisions(events, first, found)
        new = [event for k, event in first.items() if k in winners]
        sold = await self._sell_held(conn, events, new)
        trip = Trip(conn, self._prepared)
        if sold.held:
            conversions.write(trip, sold.held.values(), self.now())
        told = self._see(trip, events)
        if new:
            self._put(trip, bucket, new, sold)
        if collided:
            self._note(trip, collided, events[0].id)
        if told is not None:
            await trip.run()
            trip = self._copy_proofs(conn, told)
        if counted := limits.wanted(events):
            totals = quota.add(trip, counted, self.now())
            await trip.run()
            excess = self.exhausted.settle(events, counted, quota.totals(totals), self.now())
            if excess:
                raise Excess([(events[place], refusal) for place, refusal in excess])
            trip = Trip(conn, self._prepared)
        trip.add(b"COMMIT")
        self.is_committing = True
        await trip.run()
        self.is_committing = False
        self.figures.collisions += len(collided)
        self._answer(events, first, winners, found, stored)

    def _sell(self, new: Sequence[Pending], held: dict[bytes, Held]) -> Sold:
        """What new events come to, in the order of their arrival; `held`: their orders. Raises Excess."""
        sold = Sold(held, [], [])
        for event in new:
            event.settled, event.is_counted = event.fate, event.is_billable
            post = event.post
            if post is not None:
                try:
                    event.settled, is_first = sales.apply(post, event.id, event.event, event.fate, sold)
                except Invalid as refusal:
                    raise Excess([(event, refusal)]) from None
                event.is_counted = event.is_billable and is_first
            if event.goals:
                sales.convert(event, sold)
        return sold

    async def _sell_held(self, conn: Tx, events: Sequence[Pending], new: Sequence[Pending]) -> Sold:
        """The same, with orders as they stand, held to the end of the transaction. Repeats count nothing."""
        for event in events:
            event.is_counted = False
        held = {event.post.key: sales.held(event.post) for event in new if event.post is not None}
        if held:
            trip = Trip(conn, self._prepared)
            known = conversions.lock(trip, held.values(), self.now())
            await trip.run()
            conversions.fill(held, known)
        changed = conversions.hours(held.values())
        sold = self._sell(new, held)
        sold.changed = changed
        return sold

    def _see(self, trip: Trip, events: Sequence[Pending]) -> Rows | None:
        """What events show of their visitors, repeats too. The rows it gives are for `_copy_proofs`."""
        seen = [event.seen for event in events if event.seen]
        return visitors.record(trip, seen, self.now()) if seen else None

    def _copy_proofs(self, conn: Tx, told: Rows) -> Trip:
        """The transaction's next trip: visitors that are now told to be one person each learn of it; mostly none."""
        trip = Trip(conn, self._prepared)
        if copies := links.shared(told, self.now()):
            links.record(trip, copies, self.now())
        return trip

    def _put(self, trip: Trip, bucket: int, new: Sequence[Pending], sold: Sold) -> None:
        """What follows from events that are new, which are in the order of their ids."""
        now = self.now()
        composed = rows.compose(new, now)
        queue.put(trip, bucket, composed.events, composed.fates)
        if sold.conversions:
            conversions.insert(trip, sold.conversions)
        if sold.ended:
            conversions.end_sales(trip, sold.ended, now)
        if sold.changed:
            dirty.mark_in(trip, sold.changed, UUID(bytes=new[0].id), now)
        queue.count(trip, self._writer, rows.hour(new[0].id), composed.counts)

    def _note(self, trip: Trip, collided: Sequence[tuple[bytes, UUID]], id_: bytes) -> None:
        queue.note(trip, [event_id for _, event_id in collided], COLLISION)
        counts = Counter((workspace_id, queue.COLLISIONS) for workspace_id, _ in collided)
        queue.count(trip, self._writer, rows.hour(id_), counts)

    def _set_clock(self, versions: Rows) -> None:
        """The database told its time after the flush began, and before its answer was read: that is as close as it is
        known, so that nothing of ours which was late moves the clock."""
        if versions.all:
            told = moment(versions.all[0][2]).timestamp()
            self._clock_offset = min(max(self._clock_offset, told - time.time()), told - self._began)

    def _check_versions(self, versions: Rows, snapshots: dict[bytes, Snapshot]) -> None:
        current = {row[0]: int8(row[1]) for row in versions.all}
        self._set_clock(versions)
        if moved := [s.workspace.id for id_, s in snapshots.items() if current.get(id_) != s.version]:
            raise Moved(moved)

    def _answer(
        self,
        events: Sequence[Pending],
        first: dict[bytes, Pending],
        winners: set[bytes],
        found: dict[bytes, Filed],
        stored: dict[UUID, list[queue.DeliveryStatus]],
    ) -> None:
        duplicates = 0
        for event in events:
            key = event.dedup_key
            leader, sent = first[key], event.event if event.whole is None else event.whole.event
            if key in winners:
                id_, conversion_id, answers = leader.id, leader.conversion_id, leader.settled.answers
                is_duplicate = event is not leader
            else:
                filed, is_duplicate = found[key], True
                id_, conversion_id = filed.event_id.bytes, filed.conversion_id.bytes if filed.conversion_id else None
                answers = rows.as_stored(stored.get(filed.event_id, ()), event.snapshot)
            duplicates += is_duplicate
            event.result = Accepted(sent.event_id, id_, is_duplicate, answers, sent.notes, conversion_id)
        self.figures.accepted += len(events) - duplicates
        self.figures.duplicates += duplicates


def _oldest(events: Sequence[Pending]) -> dict[bytes, Snapshot]:
    """By workspace: the oldest configuration that any of its events was judged under. If that is in force, all are."""
    newest_first = sorted({event.snapshot for event in events}, key=lambda snapshot: -snapshot.version)
    return {snapshot.id_bytes: snapshot for snapshot in newest_first}
