"""How fast a lane may go: a token bucket, what 429 teaches it, and a breaker. Pure state; times are monotonic seconds.

Throttled: the rate falls to half of what was really sent, and comes back by a half each minute. Broken: ten requests in
a row that no platform answered, or with a 5xx, open the breaker; then one delivery is tried every 5 s until one is
answered.
"""

from collections import deque

BREAK_AFTER = 10
PROBE_SECONDS = 5.0
LEAST_RATE = 0.1
RECOVERY_SECONDS = 60.0
RECOVERY_FACTOR = 1.5
_BURST_SECONDS = 0.1
_MEASURED_SECONDS = 1.0
_LEAST_MEASURED_SECONDS = 0.05


class Pace:
    """This worker's share of a destination's rate, and what was really sent."""

    def __init__(self, rate: float, share: float) -> None:
        self.set(rate, share)
        self._next_at = 0.0
        self._sent: deque[float] = deque()
        self._throttled_at = float("-inf")

    def set(self, rate: float, share: float) -> None:
        """`rate`: the destination's, in requests a second; `share`: this worker's part of it."""
        self.rate = rate
        self._share = max(share, 1e-6)
        self._interval = 1.0 / max(rate * self._share, 1e-6)

    def wait(self, now: float) -> float:
        """Take the next turn: in how many seconds it comes. A lane that was idle may begin with a short burst."""
        at = max(self._next_at, now - _BURST_SECONDS)
        self._next_at = at + self._interval
        return max(0.0, at - now)

    def count(self, now: float) -> None:
        """A request goes out."""
        self._sent.append(now)
        while self._sent[0] < now - _MEASURED_SECONDS:
            self._sent.popleft()

    def really(self, now: float) -> float:
        """Requests a second that went out lately, since the lane last stood still."""
        while self._sent and self._sent[0] < now - _MEASURED_SECONDS:
            self._sent.popleft()
        return len(self._sent) / max(now - self._sent[0], _LEAST_MEASURED_SECONDS) if self._sent else 0.0

    def fell(self, now: float) -> None:
        """Another worker was told to slow down: what is under way tells no more."""
        self._throttled_at = now

    def throttled(self, began: float, now: float) -> float | None:
        """The rate to keep to after a 429; None where the request was under way when the rate fell already."""
        if began <= self._throttled_at:
            return None
        self._throttled_at = now
        really = max(self.really(now), 1.0) / self._share
        return max(LEAST_RATE, min(self.rate, really) / 2)


def recovered(rate: float, full: float) -> float | None:
    """The next step back to the connector's rate; None: it is reached."""
    return None if (faster := rate * RECOVERY_FACTOR) >= full else faster


class Breaker:
    """Open: nothing is sent but one delivery now and then."""

    def __init__(self) -> None:
        self._failures = 0
        self._probe_at = 0.0
        self.is_open = False

    def failed(self, now: float, wait_seconds: float = 0.0) -> bool:
        """One request got no answer, or a 5xx; `wait_seconds`: what the platform asked for. Whether it opened now."""
        self._failures += 1
        self._probe_at = max(self._probe_at, now + max(PROBE_SECONDS, wait_seconds))
        opens = self._failures >= BREAK_AFTER and not self.is_open
        self.is_open = self.is_open or opens
        return opens

    def answered(self) -> bool:
        """One request was answered. Whether it closed now."""
        closes, self._failures, self.is_open, self._probe_at = self.is_open, 0, False, 0.0
        return closes

    def may_probe(self, now: float) -> bool:
        """Whether it is time to try one; who asks tries, and the next may not before this one ended or 5 s went by."""
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE_SECONDS
        return True
