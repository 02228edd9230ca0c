"""What visitors' rows lent to deliveries, as the log of what was sent bears it: of a person to events that are not
theirs, and of others to events of the person.

Nothing stored leads there: a hash in a request is known by its MAC.
"""

import re
from collections.abc import Sequence, Set
from uuid import UUID

from postback.db import Queries, Tx, buckets
from postback.pii.person import Maker
from postback.privacy.people import Person, Reader, Stored

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_queries = Queries("privacy")


async def find(tx: Tx, reader: Reader, bucket: int, rows: Sequence[Stored], person: Person) -> list[UUID]:
    """Events of one bucket whose log bears an email, a phone or an id of the person that they do not bear."""
    bodies = {row.id: row.body for row in rows if row.body is not None}
    if not bodies:
        return []
    known, named = person.macs(), dict[str, bool]()
    lent: list[UUID] = []
    ids = list(bodies)
    low, high = buckets.span(ids)
    row = {"bucket": bucket, "ids": ids, "min_id": low, "max_id": high}
    for id_, text in await (await tx.execute(_queries.log_texts, row, binary=True)).fetchall():
        for digest in _digests(text):
            if digest not in named:
                named[digest] = not known.isdisjoint(reader.maker.of_digest(digest))
            if named[digest] and digest.encode() not in bodies[id_]:
                lent.append(id_)
    return sorted(set(lent))


def is_of_others(said: str, body: bytes, own: Set[str], known: Set[bytes], maker: Maker) -> bool:
    """Whether what was sent of an event of the person, and answered, bears a hash that is neither the event's nor the
    person's: not among `own`, nor of what is `known`."""
    return any(
        digest not in own and digest.encode() not in body and known.isdisjoint(maker.of_digest(digest))
        for digest in _digests(said)
    )


def _digests(text: str) -> set[str]:
    return {found.lower() for found in _HASH.findall(text)}
