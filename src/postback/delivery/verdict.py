"""What an outcome means for one delivery: where it stands now, and when it is due again. Pure.

A retry waits random(0, min(1 h, 2 s x 2^n)), n the tries before this one, and at least as long as the platform asked.
It never goes past the event's age limit; where a platform states none, it ends after the connector's `give_up_after`.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from postback.connectors import Delivered, Failed, Outcome, Refused, Retry

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 3600.0
UNKNOWN_FIX = "It may have arrived, and sending it again may count it twice. Look there, then replay it by hand."
EXPIRED_FIX = "The platform was out of reach for too long; the event is too old for it now."
GAVE_UP_FIX = "See to it that the destination answers, then replay what failed."


class Limits(Struct, frozen=True):
    """`expires_at`: the platform takes the event until then (None: at any age). `gives_up_at`: the end of retries where
    it takes any age."""

    expires_at: datetime | None
    gives_up_at: datetime


class Standing(Struct, frozen=True):
    """A delivery's new state: `status` as in the table, and since or for when it is due."""

    status: str
    due_at: datetime
    reason: str | None = None
    fix: str | None = None


def backoff_seconds(tries: int, random: float) -> float:
    """`random` in [0, 1); `tries` before this one."""
    return random * min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(tries, 20))


def standing(outcome: Outcome, limits: Limits, *, tries: int, now: datetime, random: float) -> Standing:
    match outcome:
        case Delivered():
            return Standing("delivered", now)
        case Failed(reason, fix):
            return Standing("failed", now, reason, fix or None)
        case Refused(reason, fix):
            return Standing("retrying", now, reason, fix)
        case Retry(reason, after_seconds):
            wait = max(backoff_seconds(tries, random), after_seconds or 0.0)
            return _waiting(reason, now + timedelta(seconds=wait), limits, now)


def unknown(reason: str, limits: Limits, *, repeat_is_safe: bool, tries: int, now: datetime, random: float) -> Standing:
    """After a request that may have been taken: sent again only where that cannot count twice."""
    if repeat_is_safe:
        return standing(Retry(reason), limits, tries=tries, now=now, random=random)
    return Standing("failed", now, f"outcome unknown: {reason}", UNKNOWN_FIX)


def _waiting(reason: str, due_at: datetime, limits: Limits, now: datetime) -> Standing:
    if limits.expires_at is not None:
        if due_at > limits.expires_at:
            return Standing("failed", now, f"expired: {reason}", EXPIRED_FIX)
    elif due_at > limits.gives_up_at:
        return Standing("failed", now, f"gave up: {reason}", GAVE_UP_FIX)
    return Standing("retrying", due_at, reason)
