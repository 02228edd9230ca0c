"""Buckets and ids. A bucket is the unit that a worker leases, the head of every big table's key, and on Citus the
distribution column. An id is a UUIDv7 whose last 6 bits are the index of its row's bucket, so that an id alone finds
its row. Months of ids are one partition.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

# Numbered so that they fall evenly on 2 to 64 shards; see docs/decisions.
BUCKETS = (
    60, 8, 82, 1, 31, 88, 79, 24, 10, 92, 48, 109, 5, 112, 50, 166, 4, 7, 17, 172, 16, 96, 170, 85, 36, 89, 19, 0, 37,
    45, 101, 3, 113, 52, 62, 99, 136, 168, 46, 28, 6, 66, 70, 21, 83, 39, 43, 13, 2, 351, 27, 95, 58, 149, 41, 179, 9,
    80, 59, 22, 12, 11, 44, 18,
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIXED = (7 << 76) | (2 << 62)
_RANDOM_LOW = (1 << 56) - 1


def of_key(key: bytes) -> int:
    """The bucket of a row that goes by its key: any 16 bytes that begin with a hash."""
    return BUCKETS[key[0] & 63]


def of_id(id_: UUID) -> int:
    """The bucket that an id names."""
    return BUCKETS[id_.int & 63]


def make_ids(count: int, ms: int, bucket_index: int, random: int) -> list[bytes]:
    """`count` rising UUIDv7s of one millisecond and one bucket, 16 bytes each; `random`: at least 68 random bits."""
    high = (ms << 80) | _FIXED | ((random >> 56 & 0xFFF) << 64) | bucket_index
    # The counter starts in the lower half of its 56 bits, so that a flush never runs over.
    low = random & (_RANDOM_LOW >> 1)
    return [(high | ((low + n) << 6)).to_bytes(16) for n in range(count)]


def new_id(now: datetime) -> UUID:
    """One id of a random bucket, for rows made one at a time."""
    random = int.from_bytes(os.urandom(9))
    return UUID(bytes=make_ids(1, int(now.timestamp() * 1000), random & 63, random)[0])


def time_of(id_: UUID) -> datetime:
    return _EPOCH + timedelta(milliseconds=id_.int >> 80)


def floor(at: datetime) -> UUID:
    """The least id of a moment: ids below it are older."""
    return UUID(int=max(0, int((at - _EPOCH).total_seconds() * 1000)) << 80)


def span(ids: Sequence[UUID]) -> tuple[UUID, UUID]:
    """Least and greatest of some ids, by which statements prune partitions."""
    return min(ids), max(ids)
