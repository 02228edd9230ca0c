"""The ledger: accepted = delivered + skipped + failed + held + pending, by destination and hour.

Accepted is what the writers counted (`usage`), the rest is read from the deliveries, both written by the same commit.
What was dropped with its partition was counted into `ledger_hour` before, by what is ours of a reason (`queue.OURS`).
Read in one REPEATABLE READ transaction it balances at any moment; otherwise hours still being written may be off by
what came in between.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from postback.db import Queries, Tx, arrays, buckets, partitions
from postback.queue import OURS

_queries = Queries("queue")
_HOUR = timedelta(hours=1)
EXPIRED = "expired: the retention time is over"
EXPIRED_FIX = "Nothing can be done: its data is gone. Keep data longer, or fix destinations sooner."


class Hour(Struct):
    """One destination's hour. `skipped` and `failed` count by reason."""

    destination_id: UUID
    hour: datetime
    skipped: dict[str, int]
    failed: dict[str, int]
    accepted: int = 0
    delivered: int = 0
    held: int = 0
    pending: int = 0

    @property
    def difference(self) -> int:
        """Accepted without a trace; 0 where the ledger balances."""
        known = self.delivered + self.held + self.pending + sum(self.skipped.values()) + sum(self.failed.values())
        return self.accepted - known


async def read(
    tx: Tx, destination_ids: Sequence[UUID], since: datetime, until: datetime, held: Collection[UUID] = ()
) -> list[Hour]:
    """Hours that begin in [since, until), oldest first. `held`: destinations whose lane is held now."""
    since, until = _hour(since), _hour(until + _HOUR - timedelta(microseconds=1))
    found: dict[tuple[UUID, datetime], Hour] = {}
    ids = arrays.uuids(id_.bytes for id_ in destination_ids)
    span = {"since": since, "until": until, "low": buckets.floor(since), "high": buckets.floor(until)}
    for bucket in buckets.BUCKETS:
        row = span | {"bucket": bucket, "destination_ids": ids}
        for id_, hour, n in await (await tx.execute(_queries.ledger_accepted, row, binary=True)).fetchall():
            _of(found, id_, hour).accepted += n
        for id_, hour, *counted in await (await tx.execute(_queries.ledger_deliveries, row, binary=True)).fetchall():
            _add(_of(found, id_, datetime.fromtimestamp(hour * 3600, UTC)), *counted, is_held=id_ in held)
        for id_, hour, *counted in await (await tx.execute(_queries.ledger_filed, row, binary=True)).fetchall():
            _add(_of(found, id_, hour), *counted, is_held=False)
    return sorted(found.values(), key=lambda h: (h.hour, h.destination_id))


async def file_month(tx: Tx, start: datetime, now: datetime) -> None:
    """End what is open in a month whose retention is over, and count its deliveries before they are dropped.

    Repeating is harmless, and so is being stopped between buckets.
    """
    end = partitions.next_month(start)
    row = {"since": start, "until": end, "low": buckets.floor(start), "high": buckets.floor(end), "now": now}
    for bucket in buckets.BUCKETS:
        mine = row | {"bucket": bucket, "reason": EXPIRED, "fix": EXPIRED_FIX, "ours": OURS}
        for statement in (_queries.expire, _queries.file_deliveries, _queries.file_accepted):
            await tx.execute(statement, mine)


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _of(found: dict[tuple[UUID, datetime], Hour], id_: UUID, hour: datetime) -> Hour:
    if (row := found.get((id_, hour))) is None:
        row = found[id_, hour] = Hour(id_, hour, {}, {})
    return row


def _add(hour: Hour, status: str, reason: str, n: int, *, is_held: bool) -> None:
    match status:
        case "accepted":
            hour.accepted += n
        case "delivered":
            hour.delivered += n
        case "skipped":
            hour.skipped[reason] = hour.skipped.get(reason, 0) + n
        case "failed":
            hour.failed[reason] = hour.failed.get(reason, 0) + n
        case _ if is_held:
            hour.held += n
        case _:
            hour.pending += n
