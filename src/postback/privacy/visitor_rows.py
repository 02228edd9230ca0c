"""Visitors' rows of a person: they go, but for what came since the erasure, and for what was denied in the browser.

A denial stays under the row's key alone, so that nothing of others who use the browser goes out against it.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from postback.db import Queries, Tx, buckets
from postback.privacy.people import Person

FOREVER = datetime.max.replace(tzinfo=UTC)
_queries = Queries("privacy")


async def drop(tx: Tx, person: Person, erased_at: datetime, removed: Counter[str], *, is_all: bool) -> None:
    """The person's links, at once, so that what is linked from now on is a new person's; rows of visitors; but for
    `is_all`, what was seen of them since `erased_at` is a new person's too, and stays."""
    own = places(sorted(person.macs())) | {"erased_at": erased_at}
    removed["links"] += (await tx.execute(_queries.drop_own_links, own)).rowcount
    if person.visitors:
        await remove(tx, person.visitors, erased_at, removed, is_all=is_all)


async def remove(
    tx: Tx, keys: Sequence[bytes], erased_at: datetime, removed: Counter[str], *, is_all: bool = False
) -> None:
    """Rows and their touches. A row of which nothing but what was denied is left counts as gone."""
    own, until = places(keys), FOREVER if is_all else erased_at
    removed["visitors"] += (await tx.execute(_queries.drop_visitors, own | {"until": until})).rowcount
    since = {"until": until, "until_ms": _ms(until), "erased_at": erased_at, "erased_ms": _ms(erased_at)}
    cursor = await tx.execute(_queries.narrow_visitors, own | since, binary=True)
    are_gone = [is_gone for (is_gone,) in await cursor.fetchall()]
    removed["visitors"] += are_gone.count(True)
    removed["visitors_narrowed"] += are_gone.count(False)
    span = {"min_id": UUID(int=0), "max_id": buckets.floor(erased_at)}
    removed["touches"] += (await tx.execute(_queries.drop_touches, own | span)).rowcount


def places(keys: Sequence[bytes]) -> dict[str, object]:
    """Where rows of some keys lie."""
    own = [buckets.of_key(key) for key in keys]
    return {"buckets": own, "keys": [UUID(bytes=key) for key in keys], "touched": sorted(set(own))}


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
