"""Limits, as a flush keeps them: a key's requests a minute, a workspace's and a site's billable events a month.

Counted in the flush's own transaction, last before the COMMIT. Where a total passes its limit the latest in excess are
refused and the flush is written without them, so that a refused request leaves nothing behind. What is used up is then
remembered, and refused without a flush until its window ends or its limit changes.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import Protocol

from msgspec import Struct

from postback.errors import TooMany
from postback.quota import Count, Limit

Header = tuple[bytes, bytes]


class Admission(Struct, eq=False):
    """One request in its key's minute; `count` once it is committed, or refused."""

    limit: Limit
    count: Count | None = None


class Counted(Protocol):
    """An event, as far as limits go. `is_counted`: it is new and billable."""

    admission: Admission | None
    caps: tuple[Limit, ...]
    is_counted: bool


def wanted(events: Iterable[Counted]) -> dict[Limit, int]:
    """What a flush adds to each counter."""
    found: dict[Limit, int] = {}
    requests: set[int] = set()
    for event in events:
        if (admission := event.admission) is not None and id(admission) not in requests:
            requests.add(id(admission))
            found[admission.limit] = found.get(admission.limit, 0) + 1
        if event.is_counted:
            for cap in event.caps:
                found[cap] = found.get(cap, 0) + 1
    return found


class Exhausted:
    """What is used up, by subject, with the limit that it was used up under."""

    def __init__(self) -> None:
        self._counts: dict[bytes, Count] = {}

    def refusal(self, limits: Iterable[Limit], now: datetime) -> TooMany | None:
        """Why nothing more is taken under these limits, as far as is remembered."""
        for limit in limits:
            count = self._counts.get(limit.subject)
            if count is None:
                continue
            if count.ends_at <= now or count.cap != limit.cap:
                del self._counts[limit.subject]
            else:
                return refused(limit, count, now)
        return None

    def settle(
        self, events: Sequence[Counted], added: dict[Limit, int], totals: dict[bytes, Count], now: datetime
    ) -> list[tuple[int, TooMany]]:
        """Places of the events in excess, and why; none: all fit, and each request learns its count.

        Remembered is only what was used up before: of this flush nothing is committed yet.
        """
        left = {limit: limit.cap - (totals[limit.subject].n - n) for limit, n in added.items()}
        for limit, room in left.items():
            if room <= 0:
                self._counts[limit.subject] = Count(limit.cap - room, totals[limit.subject].ends_at, limit.cap)
        if all(left[limit] >= n for limit, n in added.items()):
            for event in events:
                if (admission := event.admission) is not None:
                    admission.count = totals[admission.limit.subject]
            return []
        excess: list[tuple[int, TooMany]] = []
        taken: dict[int, bool] = {}
        for place, event in enumerate(events):
            admission = event.admission
            if admission is not None and id(admission) not in taken:
                left[admission.limit] -= 1
                taken[id(admission)] = left[admission.limit] >= 0
                admission.count = totals[admission.limit.subject]
            if admission is not None and not taken[id(admission)]:
                excess.append((place, refused(admission.limit, totals[admission.limit.subject], now)))
            elif event.is_counted and event.caps:
                full = next((cap for cap in event.caps if left[cap] <= 0), None)
                if full is not None:
                    excess.append((place, refused(full, totals[full.subject], now)))
                    continue
                for cap in event.caps:
                    left[cap] -= 1
        return excess


def refused(limit: Limit, count: Count, now: datetime) -> TooMany:
    seconds = max(1, ceil((count.ends_at - now).total_seconds()))
    if limit.is_monthly:
        message = f"The plan's {limit.cap:,} billable events of this month are used up; ask for a larger plan."
        return TooMany(message, retry_after_seconds=seconds)
    message = f"This key may send {limit.cap:,} requests a minute; try again in {seconds} seconds."
    return TooMany(message, retry_after_seconds=seconds, rate=limit.cap)


def headers(admission: Admission | None, now: datetime) -> tuple[Header, ...]:
    """What an answer says of its key's minute."""
    if admission is None or (count := admission.count) is None:
        return ()
    return _headers(count.cap, max(0, count.cap - count.n), max(0, ceil((count.ends_at - now).total_seconds())))


@lru_cache(16)  # the requests of one flush are told the same
def _headers(cap: int, left: int, seconds: int) -> tuple[Header, ...]:
    return (
        (b"ratelimit-limit", b"%d" % cap),
        (b"ratelimit-remaining", b"%d" % left),
        (b"ratelimit-reset", b"%d" % seconds),
    )
