"""Access tokens of destinations, had once for all processes. Table: oauth_token, in the destination's home bucket.

A row belongs to one credential: under another there is no token. Whoever claims the row may ask the platform for the
next token; a claim ends by itself, so that who died with one holds nobody up.
"""

from datetime import datetime
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets
from postback.pii.seal import Sealer, SealError
from postback.secret import Secret

_queries = Queries("destinations")


class Kept(Struct, frozen=True):
    """A token. `sealed` tells it from every other; from `renew_at` on the next one is asked for."""

    token: Secret
    sealed: bytes
    renew_at: datetime
    expires_at: datetime


class State(Struct, frozen=True):
    """`kept` None: there is none, or it does not open. `sealed`: what is there. `claimed_by` None and `claimed_until`
    ahead: the platform gave none, and is asked again then."""

    kept: Kept | None = None
    sealed: bytes | None = None
    claimed_by: UUID | None = None
    claimed_until: datetime | None = None


class _Row(Struct, frozen=True):
    sealed: bytes | None
    renew_at: datetime | None
    expires_at: datetime | None
    claimed_by: UUID | None
    claimed_until: datetime | None


def seal(sealer: Sealer, id: UUID, token: Secret, renew_at: datetime, expires_at: datetime) -> Kept:
    return Kept(token, sealer.seal(token.reveal().encode(), id.bytes), renew_at, expires_at)


async def read(tx: Tx, sealer: Sealer, id: UUID, credential: bytes, stand_in: str) -> State:
    """`stand_in`: the token's in the requests that it goes with."""
    async with tx.cursor(row_factory=args_row(_Row), binary=True) as cursor:
        await cursor.execute(_queries.token, _key(id, credential))
        row = await cursor.fetchone()
    if row is None:
        return State()
    kept = None
    if row.sealed is not None and row.renew_at is not None and row.expires_at is not None:
        try:
            token = Secret(sealer.unseal(row.sealed, id.bytes).decode(), stand_in)
            kept = Kept(token, row.sealed, row.renew_at, row.expires_at)
        except SealError:  # sealed by a key that is gone: it is had anew
            kept = None
    return State(kept, row.sealed, row.claimed_by, row.claimed_until)


async def claim(
    tx: Tx, id: UUID, credential: bytes, claimer: UUID, *, instead_of: bytes | None, now: datetime, until: datetime
) -> bool:
    """The right to have the token after `instead_of`; False where somebody has it, or had the token already."""
    row = _key(id, credential) | {"claimer": claimer, "instead_of": instead_of, "now": now, "until": until}
    cursor = await tx.execute(_queries.claim_token, row)
    return await cursor.fetchone() is not None


async def keep(tx: Tx, id: UUID, credential: bytes, claimer: UUID, kept: Kept) -> None:
    """Keep a new token for all, and give the claim back; where that was lost, nothing is kept."""
    row = {"sealed": kept.sealed, "renew_at": kept.renew_at, "expires_at": kept.expires_at}
    await tx.execute(_queries.keep_token, _key(id, credential) | {"claimer": claimer} | row)


async def postpone(tx: Tx, id: UUID, credential: bytes, claimer: UUID, until: datetime) -> None:
    """Give the claim back without a token; nobody asks for one before `until`."""
    await tx.execute(_queries.postpone_token, _key(id, credential) | {"claimer": claimer, "until": until})


def _key(id: UUID, credential: bytes) -> dict[str, object]:
    return {"bucket": buckets.of_id(id), "id": id, "credential": credential}
