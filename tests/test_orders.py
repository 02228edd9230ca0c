"""The fold of an order: where it stands and what it is worth, whatever the order of arrival."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback import orders
from postback.orders import RANK, STATUSES, TAKEN_BACK, Entry, State

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
AMOUNTS = st.decimals(0, 1000, places=2)
TIMES = st.integers(0, 20).map(lambda minutes: NOON + timedelta(minutes=minutes))
CURRENCIES = st.sampled_from(["EUR", "USD"])
POSTS = st.builds(
    Entry,
    event_id=st.just("e"),
    status=st.sampled_from(STATUSES),
    amount=st.none() | AMOUNTS,
    at=st.none() | TIMES,
    currency=CURRENCIES,
)
REFUNDS = st.builds(Entry, event_id=st.just("r"), amount=st.none() | AMOUNTS, at=st.none() | TIMES, currency=CURRENCIES)
ENTRIES = st.lists(POSTS | REFUNDS, max_size=8)
COUNTS_FROM = st.sampled_from(["completed", "processing"])


def post(status: str, amount: str | None = "40.00", minutes: int | None = None) -> Entry:
    at = NOON + timedelta(minutes=minutes) if minutes is not None else None
    return Entry("e", status, Decimal(amount) if amount is not None else None, at)


def refund(amount: str | None) -> Entry:
    return Entry("r", None, Decimal(amount) if amount is not None else None, NOON)


def state(*entries: Entry, counts_from: str = "completed") -> State:
    return orders.fold(entries, counts_from)


@given(entries=ENTRIES, counts_from=COUNTS_FROM, data=st.data())
def test_any_order_of_the_same_entries_folds_alike(entries: list[Entry], counts_from: str, data: st.DataObject) -> None:
    shuffled: Sequence[Entry] = data.draw(st.permutations(entries))
    assert orders.fold(shuffled, counts_from) == orders.fold(entries, counts_from)


def test_an_order_is_in_the_currency_of_what_it_was_sold_for_and_refunds_in_another_are_none_of_it() -> None:
    sold = Entry("e", "completed", Decimal(100), NOON, "USD")
    entries = [Entry("r", None, Decimal(10), NOON, "EUR"), Entry("e", "processing", Decimal(110), NOON, "EUR"), sold]
    assert state(*entries) == State("completed", True, Decimal(100), "USD")


@given(posts=st.lists(POSTS, min_size=1, max_size=6), counts_from=COUNTS_FROM, data=st.data())
def test_a_status_that_is_posted_again_changes_nothing(
    posts: list[Entry], counts_from: str, data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.sampled_from(posts), max_size=4))
    assert orders.fold(posts + repeats, counts_from) == orders.fold(posts, counts_from)


@given(entries=ENTRIES, counts_from=COUNTS_FROM)
def test_no_order_is_worth_less_than_nothing_or_more_than_it_was_sold_for(
    entries: list[Entry], counts_from: str
) -> None:
    folded = orders.fold(entries, counts_from)
    highest = max((entry.amount for entry in entries if entry.status and entry.amount is not None), default=Decimal(0))
    assert folded.worth is None or 0 <= folded.worth <= highest
    assert folded.counts or folded.worth == 0


@given(entries=ENTRIES, counts_from=COUNTS_FROM)
def test_an_order_that_was_taken_back_does_not_count(entries: list[Entry], counts_from: str) -> None:
    folded = orders.fold(entries, counts_from)
    assert folded.counts == (folded.status not in TAKEN_BACK and RANK[folded.status] >= RANK[counts_from])


@given(statuses=st.lists(st.sampled_from(STATUSES), min_size=1))
def test_without_times_an_order_is_in_the_highest_status_that_was_posted(statuses: list[str]) -> None:
    assert state(*map(post, statuses)).status == max(statuses, key=RANK.__getitem__)


def test_with_times_it_is_in_the_latest() -> None:
    cancelled, completed = post("cancelled", minutes=1), post("completed", minutes=2)
    assert state(completed, cancelled) == State("completed", True, Decimal(40))
    assert state(completed, cancelled, post("refunded", minutes=3)).status == "refunded"


def test_one_post_without_a_time_leaves_the_rank_to_decide() -> None:
    assert state(post("completed", minutes=9), post("cancelled")).status == "cancelled"


@pytest.mark.parametrize(
    ("status", "completed", "processing"),
    [
        ("pending", False, False), ("on-hold", False, False), ("processing", False, True), ("completed", True, True),
        ("cancelled", False, False), ("refunded", False, False),
    ],
)  # fmt: skip
def test_a_site_says_from_which_status_on_an_order_counts(status: str, completed: bool, processing: bool) -> None:
    for counts_from, expected in (("completed", completed), ("processing", processing)):
        folded = state(post(status), counts_from=counts_from)
        assert (folded.counts, folded.worth) == (expected, Decimal(40) if expected else 0)


def test_refunds_take_their_part_until_nothing_is_left() -> None:
    sold = post("completed")
    assert state(sold, refund("15.00")) == State("completed", True, Decimal("25.00"))
    assert state(sold, refund("15.00"), refund("15.00")) == State("completed", True, Decimal("10.00"))
    assert state(sold, refund("15.00"), refund("25.00")) == State("refunded", False, Decimal(0))
    assert state(sold, refund(None)) == State("refunded", False, Decimal(0))


def test_a_refund_before_its_order_waits_for_it() -> None:
    assert state(refund("15.00")) == State("pending", False, Decimal(0))
    assert state(refund("15.00"), post("completed")).worth == Decimal("25.00")


def test_what_a_cancellation_says_it_is_worth_is_not_what_was_sold() -> None:
    untimed = state(post("completed"), post("processing", "38.00"))
    assert untimed.worth == Decimal("40.00")
    again = state(post("completed", minutes=1), post("cancelled", "0", minutes=2), post("completed", None, minutes=3))
    assert again == State("completed", True, Decimal("40.00"))


def test_an_order_of_which_no_post_said_how_much_has_no_worth_which_is_not_0() -> None:
    assert state(post("completed", None)).worth is None
    assert state(post("completed", "0")).worth == 0
