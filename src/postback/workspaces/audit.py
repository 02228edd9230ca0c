"""Every change of a workspace's configuration: who, when, what before, what after; in the transaction of the change.

Table: audit. What is written down is what the API shows of a thing, where secrets are masked.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import args_row

from postback import workspaces
from postback.db import Queries, Tx, buckets

Action = Literal["created", "changed", "removed", "rotated", "revoked", "paused", "resumed", "stopped", "tested"]
COMMAND_LINE = "command line"
_queries = Queries("audit")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Entry(Struct, frozen=True):
    """`before` and `after` as JSON text; None where there was, or is, nothing."""

    id: UUID
    actor: str
    action: str
    noun: str
    noun_id: str
    before: str | None
    after: str | None


class Change:
    """A change under way: `tx` is its transaction, in which what is read is current. `count`: entries so far, None:
    nothing was said of what changed."""

    def __init__(self, tx: Tx, workspace_id: UUID, actor: str, now: datetime) -> None:
        self.tx = tx
        self.workspace_id = workspace_id
        self.actor = actor
        self.now = now
        self.count: int | None = None
        self._first_id = buckets.new_id(now)

    async def record(
        self, action: Action, noun: str, noun_id: object, *, before: Any = None, after: Any = None
    ) -> None:
        """Write down what became of one thing, as the API shows it. Nothing, where nothing changed."""
        self.count = self.count or 0
        old, new = (_encode(shown).decode() if shown is not None else None for shown in (before, after))
        if old == new:
            return
        # Ids of one change rise, as those of `buckets.make_ids` do.
        id_ = UUID(int=self._first_id.int + (self.count << 6))
        self.count += 1
        row = {"id": id_, "workspace_id": self.workspace_id, "actor": self.actor, "action": action}
        await self.tx.execute(
            _queries.insert, row | {"noun": noun, "noun_id": str(noun_id), "before": old, "after": new}
        )


@asynccontextmanager
async def changing(tx: Tx, workspace_id: UUID, actor: str, now: datetime) -> AsyncGenerator[Change]:
    """One change of a workspace's configuration, in a transaction of its own; changes of one workspace follow each
    other. Whoever changes something records it, else the change is refused as our bug.

    `actor`: 'key <label> ...<last four>', 'account <email>', 'command line'.
    """
    async with tx.transaction():
        await workspaces.hold(tx, workspace_id)
        change = Change(tx, workspace_id, actor, now)
        yield change
        if change.count is None:
            raise AssertionError("a change of the configuration was not recorded")


async def read(
    tx: Tx, workspace_id: UUID, before_id: UUID, limit: int, *, noun: str | None = None, noun_id: str | None = None
) -> Sequence[Entry]:
    """Newest first, those older than `before_id`."""
    row = {"workspace_id": workspace_id, "before_id": before_id, "limit": limit, "noun": noun, "noun_id": noun_id}
    async with tx.cursor(row_factory=args_row(Entry)) as cursor:
        return await (await cursor.execute(_queries.read, row)).fetchall()
