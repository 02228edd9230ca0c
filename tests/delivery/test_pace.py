"""How fast a lane goes, and when it stops."""

import pytest

from postback.delivery import pace
from postback.delivery.pace import Breaker, Pace


def test_turns_come_at_the_lanes_share_of_the_rate() -> None:
    lane = Pace(100, 0.5)
    waits = [lane.wait(10.0) for _ in range(50)]
    assert waits[-1] == pytest.approx(0.88, abs=0.03)  # 50 a second, after a burst of a tenth of a second
    assert waits == sorted(waits)


def test_a_429_halves_what_was_really_sent_and_those_under_way_do_not_halve_it_again() -> None:
    lane = Pace(1000, 0.5)
    for n in range(40):
        lane.count(10 + n / 40)
    assert lane.throttled(10.9, 11.0) == 40.0  # 40 a second by half of the buckets is 80 in all, halved
    assert lane.throttled(10.95, 11.1) is None
    assert lane.throttled(11.2, 11.3) is not None


def test_what_was_under_way_when_another_worker_was_told_tells_no_more() -> None:
    lane = Pace(1000, 0.5)
    lane.count(10.0)
    lane.fell(11.0)
    assert lane.throttled(10.9, 11.5) is None
    assert lane.throttled(11.2, 11.5) is not None


def test_a_rate_never_falls_to_nothing_and_comes_back_step_by_step() -> None:
    lane = Pace(0.1, 1.0)
    assert lane.throttled(1.0, 2.0) == pace.LEAST_RATE
    rate: float | None = 1.0
    steps = 0
    while rate is not None:
        rate, steps = pace.recovered(rate, 50), steps + 1
    assert steps == 10


def test_the_breaker_opens_after_ten_failures_in_a_row_and_closes_with_one_answer() -> None:
    breaker = Breaker()
    for _ in range(9):
        assert not breaker.failed(1.0)
    assert not breaker.answered()
    for _ in range(9):
        assert not breaker.failed(1.0)
    assert breaker.failed(1.0)
    assert breaker.is_open
    assert not breaker.failed(2.0)  # open already
    assert breaker.answered()
    assert not breaker.is_open


def test_an_open_breaker_tries_one_delivery_every_five_seconds_or_when_the_platform_said() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(100.0)
    assert not breaker.may_probe(104.9)
    assert breaker.may_probe(105.0)
    assert not breaker.may_probe(105.1)
    breaker.failed(106.0, wait_seconds=60)
    assert not breaker.may_probe(165.9)
    assert breaker.may_probe(166.0)
