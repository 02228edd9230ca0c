"""Where a delivery stands after an outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from postback.connectors import Delivered, Failed, Refused, Retry
from postback.delivery import verdict
from postback.delivery.verdict import Limits

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = Limits(NOW + timedelta(days=1), NOW + timedelta(days=1))


@pytest.mark.parametrize(("tries", "most"), [(0, 2), (1, 4), (5, 64), (10, 2048), (11, 3600), (500, 3600)])
def test_retries_wait_at_random_up_to_twice_as_long_each_time_and_an_hour_at_most(tries: int, most: float) -> None:
    assert verdict.backoff_seconds(tries, 0.0) == 0
    assert verdict.backoff_seconds(tries, 0.5) == most / 2
    assert verdict.backoff_seconds(tries, 1.0) == most


def test_a_platform_that_asks_for_a_wait_gets_it() -> None:
    standing = verdict.standing(Retry("busy", after_seconds=600), DAY, tries=0, now=NOW, random=0.9)
    assert (standing.status, standing.due_at) == ("retrying", NOW + timedelta(seconds=600))
    standing = verdict.standing(Retry("busy", after_seconds=1), DAY, tries=5, now=NOW, random=0.5)
    assert standing.due_at == NOW + timedelta(seconds=32)


def test_no_retry_goes_past_the_age_that_the_platform_takes() -> None:
    limits = Limits(NOW + timedelta(seconds=10), NOW + timedelta(days=9))
    standing = verdict.standing(Retry("busy", after_seconds=11), limits, tries=0, now=NOW, random=0.0)
    assert (standing.status, standing.reason, standing.fix) == ("failed", "expired: busy", verdict.EXPIRED_FIX)
    assert verdict.standing(Retry("busy", after_seconds=10), limits, tries=0, now=NOW, random=0.0).status == "retrying"


def test_retries_end_where_the_platform_takes_any_age() -> None:
    limits = Limits(None, NOW)
    standing = verdict.standing(Retry("down"), limits, tries=9, now=NOW, random=0.5)
    assert (standing.status, standing.reason) == ("failed", "gave up: down")


def test_a_refused_credential_leaves_the_delivery_open_and_due() -> None:
    standing = verdict.standing(Refused("token expired", "Make a new one."), DAY, tries=3, now=NOW, random=0.9)
    assert (standing.status, standing.due_at, standing.fix) == ("retrying", NOW, "Make a new one.")


def test_what_is_delivered_or_failed_is_settled() -> None:
    assert verdict.standing(Delivered("note"), DAY, tries=0, now=NOW, random=0).status == "delivered"
    failed = verdict.standing(Failed("bad phone", "Mend it."), DAY, tries=0, now=NOW, random=0)
    assert (failed.status, failed.reason, failed.fix) == ("failed", "bad phone", "Mend it.")


def test_an_unknown_outcome_is_repeated_only_where_that_is_safe() -> None:
    safe = verdict.unknown("no answer", DAY, repeat_is_safe=True, tries=1, now=NOW, random=0.5)
    assert (safe.status, safe.due_at) == ("retrying", NOW + timedelta(seconds=2))
    unsafe = verdict.unknown("no answer", DAY, repeat_is_safe=False, tries=1, now=NOW, random=0.5)
    assert (unsafe.status, unsafe.reason, unsafe.fix) == ("failed", "outcome unknown: no answer", verdict.UNKNOWN_FIX)
