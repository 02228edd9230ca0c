"""What was claimed becomes batches, each the events of one request, or is settled at once where it cannot be sent."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from msgspec import Struct

from postback.connectors import Skipped
from postback.delivery import prepare, verdict
from postback.delivery.judge import Parcel
from postback.delivery.record import Record
from postback.destinations import Destination
from postback.pii import Vault
from postback.queue.sending import Claimed, Ended, Settled, Ticket

log = structlog.get_logger()
REPORT = "Report it, with the event."
_YIELD_EVERY = 50
_UNFINISHED = "the worker died before an answer came"


class Batch(Struct, eq=False):
    """What goes into one request. `claimed_at`: what it says held then; `at`: when its attempts were begun; `since`:
    monotonic, when it was made ready."""

    parcels: list[Parcel]
    destination: Destination
    claimed_at: datetime
    is_probe: bool = False
    at: datetime | None = None
    since: float = 0.0

    @property
    def tickets(self) -> list[Ticket]:
        return [parcel.ticket for parcel in self.parcels]


async def build(
    claimed: Sequence[tuple[Ticket, Claimed]],
    known: Mapping[bytes, prepare.Known | None],
    destination: Destination,
    record: Record,
    keys: Vault,
    *,
    claimed_at: datetime,
    now: datetime,
    max_items: int,
) -> tuple[list[Batch], list[Settled]]:
    """The requests, and what becomes of the deliveries that are in none. `known`: the events, joined, by id; None where
    one cannot be read."""
    parcels: list[Parcel] = []
    settled: list[Settled] = []
    for index, (ticket, row) in enumerate(claimed):
        if index % _YIELD_EVERY == _YIELD_EVERY - 1:
            await asyncio.sleep(0)
        try:
            built = _build_one(ticket, row, known, destination, record, keys, now)
        except Exception as error:  # one event that our own code cannot read must not stop the others
            log.exception("build failed", connector=destination.connector.name, event_id=ticket.event_id.hex())
            built = Settled(ticket, "failed", now, bug(error, destination), REPORT)
        if isinstance(built, Parcel):
            parcels.append(built)
        else:
            settled.append(built)
    groups = prepare.groups([parcel.item for parcel in parcels], destination.connector, max_items)
    return [Batch([parcels[index] for index in members], destination, claimed_at) for members in groups], settled


def bug(error: Exception, destination: Destination) -> str:
    """The reason where our own code failed."""
    return f"our bug: {type(error).__name__} in {destination.connector.name}"


def _build_one(
    ticket: Ticket,
    row: Claimed,
    known: Mapping[bytes, prepare.Known | None],
    destination: Destination,
    record: Record,
    keys: Vault,
    now: datetime,
) -> Parcel | Settled:
    """What to send, or what becomes of the delivery instead."""
    if ticket.event_id not in known:
        return Settled(ticket, "skipped", now, "erased: the event is gone")
    if (one := known[ticket.event_id]) is None:
        return Settled(ticket, "failed", now, "our bug: the stored event cannot be read", REPORT)
    limits = prepare.limits(one, destination.connector, row.tried_at or now)
    if row.unfinished_at is not None:
        # Somebody began it and did not live to settle it: due again at once, where a repeat is safe.
        is_safe = prepare.is_repeatable(one, destination, row.unfinished_at, now)
        end = verdict.unknown(_UNFINISHED, limits, repeat_is_safe=is_safe, tries=row.tries, now=now, random=0.0)
        ended = Ended("unknown", _UNFINISHED)
        return Settled(ticket, end.status, end.due_at, end.reason, end.fix, ended, row.unfinished_at)
    match prepare.build(one, destination, keys, now):
        case (event, item):
            return Parcel(ticket, event, item, limits, row.tries, one.reaches)
        case Skipped(reason, fix):
            return Settled(ticket, "skipped", now, record.text(reason), record.text(fix) or None)
        case built:
            end = verdict.standing(built, limits, tries=row.tries, now=now, random=0.0)
            return Settled(ticket, end.status, end.due_at, record.text(end.reason or ""), end.fix)
