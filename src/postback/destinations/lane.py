"""The changing state of a destination: whether it sends, how fast, and whether its platform can be reached.

Table: lane, in the destination's home bucket. States: active -> paused -> active by hand; active -> held by a refused
credential, held -> active by hand or by a changed config.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets

_queries = Queries("destinations")


class Lane(Struct, frozen=True):
    """`rate` in requests a second, None: the connector's own. `not_before`: a platform asked to wait until then.
    `down_since`: since when it does not answer, or with a 5xx, `down_at`: as was last seen; None: it answers."""

    destination_id: UUID
    state: str
    reason: str | None
    fix: str | None
    rate: float | None
    not_before: datetime | None
    changed_at: datetime
    down_since: datetime | None = None
    down_at: datetime | None = None
    down_reason: str | None = None


async def lanes(tx: Tx, home_buckets: Sequence[int]) -> dict[UUID, Lane]:
    async with tx.cursor(row_factory=args_row(Lane), binary=True) as cursor:
        await cursor.execute(_queries.lanes, {"buckets": list(home_buckets)})
        return {lane.destination_id: lane for lane in await cursor.fetchall()}


async def set_state(
    tx: Tx,
    id: UUID,
    state: str,
    from_states: set[str],
    now: datetime,
    reason: str | None = None,
    fix: str | None = None,
) -> bool:
    """Move a lane, where it is in one of `from_states`; whether it moved."""
    row = {"bucket": buckets.of_id(id), "id": id, "state": state, "from_states": list(from_states), "now": now}
    cursor = await tx.execute(_queries.set_state, row | {"reason": reason, "fix": fix})
    return await cursor.fetchone() is not None


async def teach(tx: Tx, id: UUID, *, rate: float | None, not_before: datetime | None, now: datetime) -> None:
    row = {"bucket": buckets.of_id(id), "id": id, "rate": rate, "not_before": not_before, "now": now}
    await tx.execute(_queries.teach, row)


async def went_down(tx: Tx, id: UUID, reason: str | None, now: datetime) -> None:
    """Its platform cannot be reached; since when it could not stays."""
    row = {"bucket": buckets.of_id(id), "id": id, "now": now, "reason": reason}
    await tx.execute(_queries.went_down, row)


async def came_back(tx: Tx, id: UUID) -> None:
    await tx.execute(_queries.came_back, {"bucket": buckets.of_id(id), "id": id})
