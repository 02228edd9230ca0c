"""What a lane remembers of its rows: which buckets have work, how far each was read, what is under way, and for whom.

Claims take no lock and write nothing, so that a row stays claimable until it is settled: it is passed by because it is
known here. Reading goes on where the last claim of a bucket ended; what came due behind that is found when the mark is
forgotten, a few seconds later.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from postback.queue.sending import Claimed, Ticket

LATE_SECONDS = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Claims:
    """`due`: buckets that have work, in the order of their turns."""

    def __init__(self) -> None:
        self.due: dict[int, None] = {}
        self._under_way: dict[int, dict[bytes, datetime]] = {}
        self._since: dict[int, datetime] = {}
        self._since_at = 0.0
        self._ended: set[bytes] = set()
        self._held: dict[bytes, bytes] = {}
        self._holders: dict[bytes, bytes] = {}

    def find(self, due: Collection[int]) -> None:
        """These buckets have something due."""
        self.due.update(dict.fromkeys(due))
        if (now := time.monotonic()) > self._since_at + LATE_SECONDS:
            self._since_at = now
            self._since.clear()

    def is_busy(self, bucket: int) -> bool:
        return bool(self._under_way.get(bucket))

    def begin(self) -> None:
        """A claim is about to be read. What ends meanwhile may still be open in what it reads."""
        self._ended = set()

    def wanted(self, turn: Sequence[int], count: int) -> list[tuple[int, datetime, int]]:
        """(bucket, no earlier than, how many rows) to get `count` new ones from some buckets."""
        each = -(-count // len(turn))
        return [(bucket, self._since.get(bucket, _EPOCH), each + self._overlap(bucket)) for bucket in turn]

    def take(
        self, bucket: int, rows: Sequence[Claimed], limit: int, epoch: int | None, destination_id: bytes
    ) -> list[tuple[Ticket, Claimed]]:
        """Those of a bucket's rows that were not under way; they are from now on. `epoch` None: the lease is lost."""
        self.due.pop(bucket, None)
        if len(rows) == limit:
            self.due[bucket] = None  # it has more; the next turn is for the others
            self._since[bucket] = rows[-1].due_at
        else:
            self._since.pop(bucket, None)
        if epoch is None:
            return []
        new: list[tuple[Ticket, Claimed]] = []
        under_way = self._under_way.setdefault(bucket, {})
        for row in rows:
            if row.event_id not in under_way and row.event_id not in self._ended:
                under_way[row.event_id] = row.due_at
                new.append((Ticket(bucket, epoch, row.event_id, destination_id, row.attempt), row))
        return new

    def hold(self, ticket: Ticket, key: bytes) -> bool:
        """Whether nothing else under way holds this key; it is this delivery's until that is no longer under way."""
        if self._holders.setdefault(key, ticket.event_id) != ticket.event_id:
            return False
        self._held[ticket.event_id] = key
        return True

    def forget(self, tickets: Iterable[Ticket]) -> None:
        """These are no longer under way."""
        for ticket in tickets:
            if (key := self._held.pop(ticket.event_id, None)) is not None:
                del self._holders[key]
            if (under_way := self._under_way.get(ticket.bucket)) is not None:
                under_way.pop(ticket.event_id, None)
                self._ended.add(ticket.event_id)

    def read_anew(self, bucket: int) -> None:
        """Read a bucket from its beginning next time."""
        self._since.pop(bucket, None)

    def _overlap(self, bucket: int) -> int:
        """How many rows of the next claim are under way already."""
        since = self._since.get(bucket, _EPOCH)
        return sum(due_at >= since for due_at in self._under_way.get(bucket, {}).values())
