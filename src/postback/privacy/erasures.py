"""Erasures: what was asked for, how far each came, what was removed, the receipt.

Table: erasure. A step of the walk locks its row, and writes what it did and how far it came in one transaction, so that
whatever stops it, it goes on where it was. Nothing of an erasure names the person: only MACs do.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets
from postback.privacy.people import Kind, Person

_queries = Queries("privacy")
Status = Literal["running", "done"]
Stage = Literal["events", "visitors", "links", "wait", "log"]


class State(Struct):
    """Where the walk is. A round looks at all events up to the id `until`, for the person as far as known; what it
    finds beside them (`found`) makes the next round's. `erased_at`: when it was asked for. `bucket` is an index into
    BUCKETS, `after` the last row seen. `stripped`: events whose deliveries are to end with the next step. `cancelled`:
    events that were waiting to be sent. `nameless`: keys of visitors that bore no name but what leads to the person,
    and went. `shared`: keys of visitors that the person was seen in, that name somebody else too, and stay. `lent_at`:
    when it was last seen that a row may have lent what is the person's to another's event."""

    person: Person
    erased_at: datetime
    until: UUID
    found: Person
    stage: Stage = "events"
    round: int = 1
    bucket: int = 0
    after: UUID = UUID(int=0)
    stripped: list[UUID] = []
    cancelled: list[UUID] = []
    cancelled_at: datetime | None = None
    is_shared: bool = False
    nameless: list[bytes] = []
    shared: list[bytes] = []
    lent_at: datetime | None = None

    def pass_by(self, ids: Sequence[UUID], limit: int) -> None:
        """Go on behind a page of a bucket's next rows."""
        if len(ids) < limit:
            self.bucket, self.after = self.bucket + 1, UUID(int=0)
        else:
            self.after = ids[-1]

    def share(self, keys: list[bytes], at: datetime) -> None:
        """These stay, and may have lent what they lost."""
        self.shared, self.lent_at = keys, at if keys else self.lent_at

    @property
    def is_walked(self) -> bool:
        """Whether the round is at its end, and what it found is to be looked at."""
        return self.stage == "events" and self.bucket == len(buckets.BUCKETS)

    @property
    def percent(self) -> int:
        """Of this round."""
        return self.bucket * 100 // len(buckets.BUCKETS) if self.stage == "events" else 100


class Erasure(Struct, frozen=True):
    """`removed`: rows, by what they were. `receipt` and `signature` None, `state` set: it runs."""

    id: UUID
    workspace_id: UUID
    kind: Kind
    subject: bytes
    status: Status
    state: State | None
    removed: dict[str, int]
    receipt: str | None
    signature: bytes | None
    created_by: str
    changed_at: datetime


async def add(
    tx: Tx, *, id: UUID, workspace_id: UUID, kind: Kind, state: State, removed: dict[str, int], created_by: str
) -> Erasure:
    subject, now = state.person.seeds[0], state.erased_at
    made = Erasure(id, workspace_id, kind, subject, "running", state, removed, None, None, created_by, now)
    row = {"workspace_id": workspace_id, "kind": kind, "subject": subject, "created_by": created_by}
    await tx.execute(_queries.insert, row | _progress(made) | {"now": now})
    return made


async def read(tx: Tx, workspace_id: UUID, id: UUID) -> Erasure | None:
    found = await look(tx, id)
    return found if found is not None and found.workspace_id == workspace_id else None


async def list_all(
    tx: Tx, workspace_id: UUID, *, before: UUID, limit: int, running_of: bytes | None = None
) -> list[Erasure]:
    """Newest first, those older than `before`; `running_of`: only one of this subject that runs."""
    row = {"buckets": list(buckets.BUCKETS), "workspace_id": workspace_id, "before": before, "limit": limit}
    async with tx.cursor(row_factory=args_row(_erasure), binary=True) as cursor:
        return await (await cursor.execute(_queries.list_all, row | {"subject": running_of})).fetchall()


async def running(tx: Tx, own: Sequence[int]) -> list[UUID]:
    """Erasures to go on with in some buckets, the oldest first."""
    cursor = await tx.execute(_queries.running, {"buckets": list(own)}, binary=True)
    return [id_ for (id_,) in await cursor.fetchall()]


async def look(tx: Tx, id: UUID) -> Erasure | None:
    """An erasure of any workspace, as it is just now."""
    return await _one(tx, _queries.read, id)


async def hold(tx: Tx, id: UUID) -> Erasure | None:
    """An erasure, locked to the end of the transaction; None where it does not run any more."""
    return await _one(tx, _queries.hold, id)


async def write(tx: Tx, erasure: Erasure, now: datetime) -> None:
    """Write how far an erasure that is held came."""
    row = {"status": erasure.status, "receipt": erasure.receipt, "signature": erasure.signature, "now": now}
    await tx.execute(_queries.advance, _progress(erasure) | row)


def _progress(erasure: Erasure) -> dict[str, object]:
    return {
        "bucket": buckets.of_id(erasure.id),
        "id": erasure.id,
        "state": msgspec.json.encode(erasure.state) if erasure.state is not None else None,
        "removed": msgspec.json.encode(erasure.removed).decode(),
    }


async def _one(tx: Tx, query: bytes, id: UUID) -> Erasure | None:
    async with tx.cursor(row_factory=args_row(_erasure), binary=True) as cursor:
        return await (await cursor.execute(query, {"bucket": buckets.of_id(id), "id": id})).fetchone()


def _erasure(
    id: UUID,
    workspace_id: UUID,
    kind: Kind,
    subject: bytes,
    status: Status,
    state: bytes | None,
    removed: str,
    receipt: str | None,
    signature: bytes | None,
    created_by: str,
    changed_at: datetime,
) -> Erasure:
    return Erasure(
        id,
        workspace_id,
        kind,
        subject,
        status,
        msgspec.json.decode(state, type=State) if state is not None else None,
        msgspec.json.decode(removed, type=dict[str, int]),
        receipt,
        signature,
        created_by,
        changed_at,
    )
