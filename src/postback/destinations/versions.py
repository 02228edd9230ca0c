"""Blueprints as they were written: each is kept, the highest number is live. `write_blueprint` adds one."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from postback.blueprint import Blueprint
from postback.db import Queries, Tx

_decode = msgspec.json.Decoder(Blueprint).decode
_queries = Queries("destinations")


class Version(Struct, frozen=True):
    """A blueprint that was written. `body` None: the connector's default. `created_by`: who wrote it."""

    version: int
    body: Blueprint | None
    created_at: datetime
    created_by: str


async def below(tx: Tx, destination_id: UUID, number: int, *, limit: int) -> list[Version]:
    """Those below a number, newest first."""
    row = {"id": destination_id, "below": number, "limit": limit}
    cursor = await tx.execute(_queries.blueprints, row, binary=True)
    return [
        Version(version, _decode(body) if body is not None else None, created_at, created_by)
        for version, body, created_at, created_by in await cursor.fetchall()
    ]
