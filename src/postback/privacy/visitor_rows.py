"""Visitors' rows of a person: they go, but for what came since the erasure, and for what was denied in the browser. One
that names somebody else too stays, without what was said of the person.

A denial stays under the row's key alone, so that nothing of others who use the browser goes out against it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from uuid import UUID

from postback import visitors
from postback.db import Queries, Tx, buckets
from postback.pii.person import Maker
from postback.privacy.people import Person, Reader
from postback.visitors import Visitor, touches
from postback.visitors.touches import Touch

FOREVER = datetime.max.replace(tzinfo=UTC)
TOUCHES = 1000
_queries = Queries("privacy")


def shared(
    reader: Reader, person: Person, rows: Mapping[bytes, Visitor], until: datetime = FOREVER
) -> dict[bytes, list[str]]:
    """Those of the person's rows that name somebody else too, by key, and which hashes of each may be the person's."""
    known, found = person.macs(), dict[bytes, list[str]]()
    for key, row in rows.items():
        names, is_nameless = reader.said(row.identifiers, known, until, is_theirs=True)
        if not is_nameless:
            found[key] = names
    return found


async def drop(
    tx: Tx, reader: Reader, person: Person, erased_at: datetime, removed: Counter[str], *,
    is_all: bool, narrowed: Sequence[bytes] = (),
) -> list[bytes]:  # fmt: skip
    """The person's links, at once, so that what is linked from now on is a new person's; rows of visitors; but for
    `is_all`, what was seen of them since `erased_at` is a new person's too, and stays. The keys of the rows that name
    somebody else too; `narrowed`: those that were known to."""
    own = places(sorted(person.macs())) | {"erased_at": erased_at}
    removed["links"] += (await tx.execute(_queries.drop_own_links, own)).rowcount
    if not person.visitors:
        return []
    until = FOREVER if is_all else erased_at
    others = shared(reader, person, await visitors.find(tx, person.visitors), until)
    for key, names in others.items():
        if names or key not in narrowed:
            count = await unname(tx, key, names, until)
            removed["visitors_narrowed"] += count if key not in narrowed else 0
    await remove(tx, [key for key in person.visitors if key not in others], erased_at, removed, is_all=is_all)
    return sorted(others)


async def unname(tx: Tx, key: bytes, names: Sequence[str], until: datetime) -> int:
    """Some identifiers of a row go, and what was readable until then. How many rows that were."""
    row = {"bucket": buckets.of_key(key), "key": UUID(bytes=key), "names": list(names), "erased_at": until}
    return (await tx.execute(_queries.unname_visitor, row)).rowcount


async def drop_sessions(
    tx: Tx, reader: Reader, person: Person, keys: Sequence[bytes], erased_at: datetime, removed: Counter[str]
) -> None:
    """Touches of the person's sessions, in rows that stay."""
    sessions = set(person.known.get("session", ()))
    for key in keys if sessions else ():
        async for page in touches.all_of(tx, key, erased_at, TOUCHES):
            ids = [UUID(bytes=one.id) for one in page if is_of(one, sessions, reader.maker)]
            own = {"bucket": buckets.of_key(key), "key": UUID(bytes=key), "ids": ids}
            if ids:
                span = {"min_id": ids[-1], "max_id": ids[0]}
                removed["touches"] += (await tx.execute(_queries.drop_some_touches, own | span)).rowcount


def is_of(touch: Touch, sessions: Set[bytes], maker: Maker) -> bool:
    """Whether a touch is of one of some sessions."""
    return touch.session_id is not None and maker.mac("session", touch.session_id) in sessions


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
