"""What reports say of lines that were summed: counts and revenue beside those of the time before, rates, deliveries."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from uuid import UUID

from msgspec import Struct

from postback import destinations
from postback.db import Tx, buckets
from postback.reports import Kind, reading
from postback.reports.reading import Line


class Compared(Struct, frozen=True):
    now: int
    before: int


class Revenue(Struct, frozen=True):
    """In major units of the currency, net of refunds. `conversions`: those of the period in this currency."""

    currency: str
    conversions: int
    now: Decimal
    before: Decimal


class Rate(Struct, frozen=True):
    """Between 0 and 1; null: there is nothing to divide by."""

    now: float | None
    before: float | None


class Deliveries(Struct, frozen=True):
    """Of events that were received in the period, whichever site's. `success`: delivered / (delivered + failed)."""

    delivered: Compared
    skipped: Compared
    failed: Compared
    held: Compared
    pending: Compared
    success: Rate


def n_of(lines: Iterable[Line], kind: Kind) -> int:
    return sum(line.sums.n for line in lines if line.kind == kind)


def rate_of(lines: Sequence[Line], goal: int | None) -> float | None:
    """A session that converts in two hours, or by two orders, may have been counted twice: hence the limit."""
    converted = sum(line.sums.converted_any if goal is None else line.sums.converted for line in lines)
    return _share(converted, n_of(lines, "session"))


def _share(part: int, whole: int) -> float | None:
    return min(1.0, round(part / whole, 6)) if whole else None


def revenue_of(now: Sequence[Line], before: Sequence[Line]) -> list[Revenue]:
    mine, theirs = reading.revenue(now), reading.revenue(before)
    return [Revenue(name, mine[name].n, mine[name].revenue, theirs[name].revenue) for name in sorted({*mine, *theirs})]


async def held_among(tx: Tx, lines: Sequence[Line]) -> set[UUID]:
    """Which destinations are held."""
    homes = sorted({buckets.of_id(line.destination_id) for line in lines if line.destination_id is not None})
    return {id_ for id_, lane in (await destinations.lanes(tx, homes)).items() if lane.state == "held"}


def deliveries_of(now: Sequence[Line], before: Sequence[Line], held: set[UUID]) -> Deliveries:
    tallies: list[dict[str, int]] = []
    for lines in (now, before):
        tally: dict[str, int] = dict.fromkeys(("delivered", "skipped", "failed", "held", "pending"), 0)
        for line in lines:
            if line.kind == "delivery" and line.status is not None:
                is_open = "held" if line.destination_id in held else "pending"
                tally[line.status if line.status in tally else is_open] += line.sums.n
        tallies.append(tally)
    counts = {name: Compared(tallies[0][name], tallies[1][name]) for name in tallies[0]}
    success = [_share(tally["delivered"], tally["delivered"] + tally["failed"]) for tally in tallies]
    return Deliveries(**counts, success=Rate(*success))
