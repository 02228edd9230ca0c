"""How often somebody may call: one number for each, in this process's memory, no more of them than `most`.

The generic cell rate algorithm: each call moves the moment from which the next is on time, by a minute's share; who is
a whole minute ahead of time waits. It is a token bucket that holds a minute's calls, without the bucket.
"""

from collections.abc import Hashable

_MINUTE = 60.0
MOST = 50_000


class Paces:
    """`per_minute` 0: no limit."""

    def __init__(self, per_minute: int, most: int = MOST) -> None:
        self._step = _MINUTE / per_minute if per_minute else 0.0
        self._most = most
        self._next: dict[Hashable, float] = {}

    def ahead(self, caller: Hashable, now: float) -> float:
        """How long to wait where a call at `now` were one too many, else 0; counts nothing."""
        return max(0.0, max(now, self._next.get(caller, 0.0)) + self._step - now - _MINUTE) if self._step else 0.0

    def wait(self, caller: Hashable, now: float) -> float:
        """Count a call at `now` (seconds of any steady clock); 0, or how long to wait where it is one too many."""
        if not self._step:
            return 0.0
        due = max(now, self._next.get(caller, 0.0)) + self._step
        if due > now + _MINUTE:
            return due - now - _MINUTE
        if caller not in self._next and len(self._next) >= self._most:
            self._forget(now)
        self._next[caller] = due
        return 0.0

    def _forget(self, now: float) -> None:
        """Those who are on time; where these are few, those who have been known for the longest too."""
        self._next = {caller: due for caller, due in self._next.items() if due > now}
        for caller in list(self._next)[: max(0, len(self._next) - self._most // 2)]:
            del self._next[caller]

    def __len__(self) -> int:
        return len(self._next)
