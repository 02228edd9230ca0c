"""Origins whose pages' tag was refused, because their site does not name them.

Table: refused_origin. Whoever knows a site's public key can have anything refused, so that little is kept: of a site
the last few, in memory; what changed is filed now and then, in rows of each process's own, at the same few places.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets

KEPT = 5  # of a site, by each process
SPAN = timedelta(days=7)
_ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]_-]{1,253}")
_queries = Queries("origins")


class Refused(Struct, frozen=True):
    """`since`: as far as is known; an origin that others took the place of begins anew."""

    origin: str
    since: datetime
    last_at: datetime


Place = tuple[UUID, int]


class Refusals:
    """What one process refused. `due` is filed, and then `keep`t."""

    def __init__(self) -> None:
        self._held: dict[UUID, dict[int, Refused]] = {}
        self._filed: dict[Place, Refused] = {}

    def note(self, site_id: UUID, origin: str, at: datetime) -> None:
        """Once more; what no browser sends is passed over."""
        if not _ORIGIN.fullmatch(origin):
            return
        held = self._held.setdefault(site_id, {})
        place = next((place for place, one in held.items() if one.origin == origin), None)
        if place is not None:
            since = held[place].since
        else:
            since = at
            place = len(held) if len(held) < KEPT else min(held, key=lambda place: held[place].last_at)
        held[place] = Refused(origin, since, at)

    def due(self) -> dict[Place, Refused]:
        return {
            (site_id, place): one
            for site_id, held in self._held.items()
            for place, one in held.items()
            if self._filed.get((site_id, place)) is not one
        }

    def keep(self, filed: Mapping[Place, Refused]) -> None:
        self._filed |= filed


async def file(tx: Tx, writer: UUID, refused: Mapping[Place, Refused]) -> None:
    """Write what a process refused; repeating is harmless."""
    columns = {
        "buckets": [buckets.of_id(site_id) for site_id, _ in refused],
        "site_ids": [site_id for site_id, _ in refused],
        "places": [place for _, place in refused],
        "origins": [one.origin for one in refused.values()],
        "since": [one.since for one in refused.values()],
        "last_at": [one.last_at for one in refused.values()],
    }
    await tx.execute(_queries.file, columns | {"writer": writer})


async def of_site(tx: Tx, site_id: UUID, allowed: Sequence[str], now: datetime) -> list[Refused]:
    """Of the last week, the latest first, but for those that are allowed by now."""
    row = {"bucket": buckets.of_id(site_id), "site_id": site_id, "oldest": now - SPAN, "limit": KEPT + len(allowed)}
    async with tx.cursor(row_factory=args_row(Refused)) as cursor:
        found = await (await cursor.execute(_queries.of_site, row)).fetchall()
    return [one for one in found if allowed and one.origin not in allowed][:KEPT]


async def trim(tx: Tx, own: Sequence[int], now: datetime) -> None:
    await tx.execute(_queries.trim, {"buckets": list(own), "oldest": now - SPAN})
