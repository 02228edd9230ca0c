"""What is counted when: the worker's rounds over the buckets that it leases.

    open hours   the present one, and the one before until it is closed: whenever something arrived since
    closing      an hour once more ten minutes after its end, when whatever was on its way has arrived, and again a day
                 later, for touches and sessions that came late
    marks        hours in which an old order changed, deliveries were queued again, a site counts otherwise; hours whose
                 deliveries are not all settled, at longer and longer intervals
    totals       the hours, days and weeks that any of these changed, over all buckets

A round ends after a while, whatever is left; the next goes on. What is due stands in the tables.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from itertools import groupby
from typing import Any
from uuid import UUID

from msgspec import Struct

from postback import reports
from postback.db import Queries, Tx, arrays, buckets
from postback.queue import dirty
from postback.reports import Cell, Sums, counting
from postback.reports.counting import HOUR, Scene

SETTLE = timedelta(minutes=10)
LATE = timedelta(days=1)
# A writer may commit an older id after a newer one: what is new is counted once more when it is this old.
FRESH = timedelta(seconds=10)
OPEN_AGAIN = timedelta(seconds=30)
# A worker delivers meanwhile, on the same loop.
PART_SECONDS = 0.1
CHUNK_SECONDS = 0.05
BUCKETS_AT_ONCE = 16
MARKS, TOTALS = 500, 2000
NOON = clock(12)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Marks of the keeper itself: one of each kind an hour.
_LATE_ID, _OPEN_ID = UUID(int=1), UUID(int=2)
_NOBODY = UUID(int=0)
_CUTS = {"cuts": ["total", "label", "channel"]}
_WEEKS = {"cuts": ["week_total", "week_label", "week_channel"]}
_queries = Queries("reports")


class Seen(Struct):
    """An open hour of a bucket as it was counted. `again_at` None: not before something arrives."""

    newest: tuple[object, ...]
    again_at: datetime | None


class Keeper:
    """`round` is the only thing to call; one at a time."""

    def __init__(self) -> None:
        self._seen: dict[dirty.Hour, Seen] = {}
        self._at_once = 1
        self._scene: Scene | None = None

    async def round(self, tx: Tx, own: Sequence[int], now: datetime) -> None:
        """Count what is due in some buckets. Each step is a transaction of its own."""
        if not own:
            return
        self._scene = None
        closed = _hour(now - SETTLE)
        await self._close(tx, own, closed, now)
        await self._count_marked(tx, own, closed, now)
        await self._count_open(tx, own, [closed + n * HOUR for n in range((_hour(now) - closed) // HOUR + 1)], now)
        await self._sum(tx, own)

    async def _close(self, tx: Tx, own: Sequence[int], until: datetime, now: datetime) -> None:
        clocks = dict(await _rows(tx, _queries.clocks, {"buckets": list(own)}))
        behind: defaultdict[datetime, list[int]] = defaultdict(list)
        for bucket in own:
            if (since := clocks.get(bucket, _EPOCH)) < until:
                behind[since].append(bucket)
        deadline = time.monotonic() + PART_SECONDS
        while behind and time.monotonic() < deadline:
            since = min(behind)
            some = behind.pop(since)
            span = {"low": buckets.floor(since), "high": buckets.floor(until), "since": since, "until": until}
            following = await _rows(tx, _queries.oldest, span | {"buckets": some})
            if done := [bucket for bucket, hour in following if hour is None]:
                await tx.execute(_queries.set_clocks, {"buckets": done, "closed_until": until})
            by_hour: defaultdict[datetime, list[int]] = defaultdict(list)
            for bucket, hour in following:
                if hour is not None:
                    by_hour[hour].append(bucket)
            for hour, mine in by_hour.items():
                for chunk in self._chunks(mine):
                    await self._count(tx, chunk, hour, now, closes=True)
                if hour + HOUR < until:
                    behind[hour + HOUR] += mine

    async def _count_marked(self, tx: Tx, own: Sequence[int], closed: datetime, now: datetime) -> None:
        marks: defaultdict[datetime, defaultdict[int, list[UUID]]] = defaultdict(lambda: defaultdict(list))
        for bucket, hour, id_ in await _rows(tx, _queries.due, {"buckets": list(own), "now": now, "limit": MARKS}):
            marks[hour][bucket].append(id_)
        self._scene = None  # what a mark was set for may be newer than what the round has read
        deadline = time.monotonic() + PART_SECONDS
        for hour, mine in marks.items():
            for chunk in self._chunks(list(mine)):
                if time.monotonic() > deadline:
                    return
                read = [(bucket, id_) for bucket in chunk for id_ in mine[bucket]]
                await self._count(tx, chunk, hour, now, read=read, is_closed=hour < closed)

    async def _count_open(self, tx: Tx, own: Sequence[int], hours: Sequence[datetime], now: datetime) -> None:
        self._seen = {key: seen for key, seen in self._seen.items() if key[1] in hours}
        deadline = time.monotonic() + PART_SECONDS
        for hour in hours:
            span = {"low": buckets.floor(hour), "high": buckets.floor(hour + HOUR), "hour": hour, "buckets": list(own)}
            newest = {bucket: tuple(found) for bucket, *found in await _rows(tx, _queries.newest, span) if any(found)}
            due = [bucket for bucket, found in newest.items() if self._is_due((bucket, hour), found, now)]
            for chunk in self._chunks(due):
                if time.monotonic() > deadline:
                    return
                unsettled = await self._count(tx, chunk, hour, now)
                for bucket in chunk:
                    *ids, _ = newest[bucket]
                    fresh = max((buckets.time_of(UUID(str(id_))) for id_ in ids if id_), default=_EPOCH) + FRESH
                    later = now + OPEN_AGAIN if bucket in unsettled else None
                    self._seen[bucket, hour] = Seen(newest[bucket], fresh if fresh > now else later)

    def _is_due(self, hour: dirty.Hour, newest: tuple[object, ...], now: datetime) -> bool:
        seen = self._seen.get(hour)
        return seen is None or seen.newest != newest or (seen.again_at is not None and seen.again_at <= now)

    async def _count(
        self,
        tx: Tx,
        own: Sequence[int],
        hour: datetime,
        now: datetime,
        *,
        read: Sequence[tuple[int, UUID]] = (),
        closes: bool = False,
        is_closed: bool = False,
    ) -> set[int]:
        """Count an hour of some buckets; where deliveries are open. `read`: the marks that are done with."""
        self._scene = self._scene or await counting.scene(tx)
        began = time.monotonic()
        async with tx.transaction():
            if read:
                await tx.execute(_queries.unmark, _marks(read, hour))
            found = await counting.count(tx, own, hour, self._scene)
            await counting.file(tx, own, hour, found)
            unsettled = counting.open_in(found)
            if (closes or is_closed) and unsettled:
                later = now + max(SETTLE, (now - hour) / 2)
                await dirty.mark(tx, [(bucket, hour, later) for bucket in sorted(unsettled)], _OPEN_ID)
            if closes:
                await dirty.mark(tx, [(bucket, hour, hour + HOUR + LATE) for bucket in own], _LATE_ID)
                await tx.execute(_queries.set_clocks, {"buckets": list(own), "closed_until": hour + HOUR})
        took = max(time.monotonic() - began, 0.001)
        self._at_once = max(1, min(BUCKETS_AT_ONCE, int(len(own) * CHUNK_SECONDS / took)))
        return unsettled

    def _chunks(self, own: Sequence[int]) -> Iterable[Sequence[int]]:
        """As many buckets at a time as take a moment."""
        start = 0
        while start < len(own):
            chunk = own[start : start + self._at_once]
            start += len(chunk)
            yield chunk

    async def _sum(self, tx: Tx, own: Sequence[int]) -> None:
        """Sum hours over the buckets, and the days and weeks that they are in."""
        marks: defaultdict[tuple[int, UUID, datetime], list[UUID]] = defaultdict(list)
        wanted = {"buckets": list(own), "limit": TOTALS}
        for bucket, workspace_id, hour, id_ in await _rows(tx, _queries.dirty_totals, wanted):
            marks[bucket, workspace_id, hour].append(id_)
        deadline = time.monotonic() + PART_SECONDS
        by_workspace = sorted(marks, key=lambda key: key[:2])  # of each, its newest hours stay first
        for (bucket, workspace_id), keys in groupby(by_workspace, key=lambda key: key[:2]):
            if time.monotonic() > deadline:
                return
            row: dict[str, object] = {"bucket": bucket, "workspace_id": workspace_id}
            async with tx.transaction():
                days: set[date] = set()
                for key in keys:
                    if days and time.monotonic() > deadline:
                        break  # the rest stays marked
                    mine = row | {"hour": key[2]}
                    days |= {day for (day,) in await _rows(tx, _queries.forget_hour, mine | _CUTS)}
                    found = await _rows(tx, _queries.sum_hour, mine | {"buckets": list(buckets.BUCKETS)})
                    days |= {day for _, day, *_ in found}
                    await _insert(tx, _queries.insert_hour, mine, found)
                    await tx.execute(_queries.unmark_total, mine | {"ids": marks[key]})
                for day in sorted(days):
                    mine = row | {"day": day}
                    noon = datetime.combine(day, NOON, UTC)
                    span = {"since": noon - 2 * LATE, "until": noon + 2 * LATE}
                    await tx.execute(_queries.forget_day, mine | _CUTS)
                    found = await _rows(tx, _queries.sum_day, mine | span | _CUTS)
                    await _insert(tx, _queries.insert_day, mine, found)
                for day in sorted({reports.monday(day) for day in days}):
                    mine = row | {"day": day}
                    await tx.execute(_queries.forget_day, mine | _WEEKS)
                    await _insert(tx, _queries.insert_day, mine, await _rows(tx, _queries.sum_week, mine | _CUTS))


async def _insert(tx: Tx, query: bytes, row: dict[str, object], found: Sequence[Any]) -> None:
    """What `sum_hour` and `sum_day` give."""
    if found:
        cells = [Cell(_NOBODY, day, _EPOCH, *dims[:10]) for _, day, *dims in found]
        sums = [Sums(*one[12:]) for one in found]
        row |= {"cuts": arrays.texts(one[0] for one in found), "places": arrays.ints(range(len(cells)))}
        await tx.execute(query, row | counting.as_arrays(cells, sums))


async def trim(tx: Tx, own: Sequence[int], oldest: datetime) -> None:
    """Forget hours and days before a time, in some buckets; sums by whole weeks, lest one say more than its days."""
    week = reports.monday(oldest.date())
    await tx.execute(_queries.trim, {"buckets": list(own), "oldest": oldest})
    await tx.execute(
        _queries.trim_totals, {"buckets": list(own), "oldest": datetime.combine(week, clock(), UTC) - LATE}
    )
    await tx.execute(_queries.trim_days, {"buckets": list(own), "oldest": week})


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _marks(read: Sequence[tuple[int, UUID]], hour: datetime) -> dict[str, object]:
    return {
        "buckets": arrays.ints(bucket for bucket, _ in read),
        "touched": arrays.ints(sorted({bucket for bucket, _ in read})),
        "hours": arrays.times(hour for _ in read),
        "ids": arrays.uuids(id_.bytes for _, id_ in read),
    }


async def _rows(tx: Tx, query: bytes, row: Mapping[str, object]) -> list[Any]:
    return await (await tx.execute(query, row, binary=True)).fetchall()
