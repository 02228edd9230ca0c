"""Posts of a person's orders: whoever sends them, they bear the order's number, by which they are found."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from postback import conversions
from postback.db import Tx, buckets
from postback.privacy.people import Found, Person, Reader


async def find(
    tx: Tx, reader: Reader, mine: Sequence[Found], person: Person, erased_at: datetime
) -> dict[int, list[Found]]:
    """What else was posted of some events' orders, by bucket: it bears the order's number, whomever it names."""
    keys = sorted(set(order_keys(mine).values()))
    wanted = set(await conversions.posts_of(tx, keys)) - {one.row.id for one in mine}
    found: dict[int, list[Found]] = {}
    for bucket in sorted({buckets.of_id(id_) for id_ in wanted}):
        rows = await reader.some(tx, bucket, [id_ for id_ in wanted if buckets.of_id(id_) == bucket])
        if posts := list(reader.theirs(rows, person, erased_at, are_all=True)):
            found[bucket] = posts
    return found


def order_keys(mine: Sequence[Found]) -> dict[UUID, bytes]:
    """Keys of the orders that events are posts of, by event."""
    return {
        one.row.id: conversions.key_of(one.row.site_id.bytes, order.id)
        for one in mine
        if (order := one.event.order) is not None and order.id is not None and one.row.site_id is not None
    }


def spans(ids: Sequence[UUID], orders: dict[UUID, bytes]) -> dict[str, object]:
    """Where the conversions of some events lie: in the bucket of each, or in its order's, beside its id."""
    rows = [(buckets.of_id(id_), id_) for id_ in ids]
    rows += [(buckets.of_key(key), id_) for id_, key in orders.items() if buckets.of_key(key) != buckets.of_id(id_)]
    lows, highs = (list(ids) for ids in zip(*(conversions.near(id_) for _, id_ in rows), strict=True))
    own = [bucket for bucket, _ in rows]
    return {
        "buckets": own,
        "touched": sorted(set(own)),
        "event_ids": [id_ for _, id_ in rows],
        "lows": lows,
        "highs": highs,
        "min_id": min(lows),
        "max_id": max(highs),
    }
