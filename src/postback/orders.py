"""An order's state and worth: a fold over all that was posted of it, whatever the order of arrival.

Every post of an order is an entry. An entry with a status says where the order stood, one without is a refund. Posts of
the Selektable contract bear no time of the change, and overtake each other; so as long as one of an order's posts has
none, the order is in the highest status that was posted; where all have one, in that of the latest.

    pending < on-hold < processing < completed < cancelled < refunded

An order is worth its amount less its refunds from the status on that its site counts from, and nothing once it is
cancelled or refunded. Amounts in major units of the order's currency.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import Struct

STATUSES = ("pending", "on-hold", "processing", "completed", "cancelled", "refunded")
RANK = {status: rank for rank, status in enumerate(STATUSES)}
# What no site, or not every site, counts as revenue.
UNCOUNTED = frozenset({"pending", "on-hold", "processing"})
TAKEN_BACK = frozenset({"cancelled", "refunded"})
MAX_ENTRIES = 1000
# Its posts bear no time of the change, and are an order's whatever their event.
_WITHOUT_TIMES = "selektable"
# Its order id is a label alone.
_LABELLING = "velaro"
_NAMES = frozenset({"purchase", "refund"})
_NO_TIME = datetime.min.replace(tzinfo=UTC)
_NOTHING = Decimal(0)
# By the status that a site counts from: those that are revenue.
COUNTED = {
    start: frozenset(status for status in STATUSES if RANK[status] >= RANK[start] and status not in TAKEN_BACK)
    for start in STATUSES
}


def has_times(dialect: str) -> bool:
    return dialect != _WITHOUT_TIMES


def is_post(name: str, dialect: str) -> bool:
    """Whether an event of this name that bears an order id says something of the order."""
    return dialect != _LABELLING and (name in _NAMES or not has_times(dialect))


class Entry(Struct, frozen=True, omit_defaults=True):
    """One post. `status` None: a refund, of `amount`, or of all where that is None. `at`: when the order changed, None
    where the sender does not say. `event_id`: ours, of the event it came with."""

    event_id: str
    status: str | None = None
    amount: Decimal | None = None
    at: datetime | None = None
    currency: str | None = None


class Ledger(Struct, omit_defaults=True):
    """All that was posted of an order, in order of arrival, and what it led to. `counted_by`: our id (hex)
    of the event that first made it count: the one that is delivered. `goal_ids`: goals that have their conversion."""

    entries: list[Entry]
    counted_by: str | None = None
    goal_ids: list[int] = []


class State(Struct, frozen=True):
    """`worth` 0 where the order does not count; None: it counts, and no post said how much it is. `currency`: of the
    amount that it was sold for; refunds in another one are no refunds of it."""

    status: str
    counts: bool
    worth: Decimal | None
    currency: str | None = None


def fold(entries: Sequence[Entry], counts_from: str) -> State:
    """Where an order stands. `counts_from`: the lowest status that counts. The same for any order of the entries."""
    posts = [entry for entry in entries if entry.status is not None]
    if not posts:
        return State("pending", False, _NOTHING)
    is_timed = all(entry.at is not None for entry in posts)

    def place(entry: Entry) -> tuple[datetime, int, Decimal, str]:
        at = entry.at if is_timed and entry.at is not None else _NO_TIME
        amount = entry.amount if entry.amount is not None else Decimal(-1)
        return at, RANK[entry.status or ""], amount, entry.currency or ""

    status = max(posts, key=place).status or ""
    priced = [entry for entry in posts if entry.amount is not None]
    # What it was sold for: a later cancellation may say 0, or what is given back.
    sold = [entry for entry in priced if entry.status not in TAKEN_BACK] or priced
    amount, currency = ((last := max(sold, key=place)).amount, last.currency) if sold else (None, None)
    refunds = [
        entry.amount
        for entry in entries
        if entry.status is None and (entry.currency is None or currency in (None, entry.currency))
    ]
    if status not in TAKEN_BACK and _is_all_given_back(amount, refunds):
        status = "refunded"
    if status not in COUNTED[counts_from]:
        return State(status, False, _NOTHING, currency)
    given_back = sum((refund for refund in refunds if refund is not None), _NOTHING)
    return State(status, True, amount - given_back if amount is not None else None, currency)


def _is_all_given_back(amount: Decimal | None, refunds: Sequence[Decimal | None]) -> bool:
    if any(refund is None for refund in refunds):
        return True
    given_back = sum((refund for refund in refunds if refund is not None), _NOTHING)
    return amount is not None and given_back > 0 and amount <= given_back
