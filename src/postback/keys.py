"""API keys: `<prefix>_<live|test>_<secret>` (prefix `sel`: no environment part), 192 random bits, stored as SHA-256.

Table: api_key. A change bumps the workspace's version in the same transaction, which makes revocation exact: once
`revoke` has committed, no event of the key commits any more.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback import workspaces
from postback.db import Queries, Tx
from postback.errors import Invalid, NotFound, Unauthenticated

Scope = Literal["ingest", "read", "admin", "erase", "installation"]
SCOPES: frozenset[str] = frozenset({"ingest", "read", "admin", "erase", "installation"})
WITHOUT_ENVIRONMENT = "sel"
_queries = Queries("keys")


class ApiKey(Struct, frozen=True):
    """`site_id` None: any site of the workspace. `revoked_at` may lie ahead, after a rotation with grace."""

    id: UUID
    workspace_id: UUID
    site_id: UUID | None
    label: str
    prefix: str
    environment: str | None
    secret_sha256: bytes
    last_four: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def refuse(self, now: datetime) -> Unauthenticated | None:
        """Why this key no longer opens anything, None while it does."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return Unauthenticated("This API key was revoked; use another one.")
        if self.expires_at is not None and self.expires_at <= now:
            return Unauthenticated("This API key has expired; use another one.")
        return None


def fingerprint(key: str) -> bytes:
    """What a key is stored and found by. The secret is random, so a plain SHA-256 is right."""
    return hashlib.sha256(key.encode()).digest()


def diagnose(key: str, environment: str) -> Unauthenticated | None:
    """What is wrong with a key's text, None where it may be a key of this deployment."""
    if key != key.strip():
        return Unauthenticated("The API key has white space around it; copy it again without.")
    parts = key.split("_", 2)
    if len(parts) == 3 and parts[1] in ("live", "test") and parts[1] != environment:
        return Unauthenticated(f"This is a {parts[1]} key on a {environment} deployment; use a {environment} key.")
    return None


async def create(
    tx: Tx,
    *,
    key_id: UUID,
    workspace_id: UUID,
    label: str,
    scopes: Sequence[str],
    environment: str,
    now: datetime,
    prefix: str = "pb",
    site_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and give it with its text, which is nowhere else. Raises Invalid."""
    if unknown := sorted(set(scopes) - SCOPES) or ["none"] * (not scopes):
        raise Invalid(f"There is no scope {unknown[0]}; there are {', '.join(sorted(SCOPES))}.", field="scopes")
    if not (1 <= len(prefix) <= 16 and prefix.isascii() and prefix.isalnum() and prefix.islower()):
        raise Invalid("A prefix is 1 to 16 lower-case letters and digits.", field="prefix")
    if not 1 <= len(label) <= 100 or "\x00" in label:
        raise Invalid("A label has 1 to 100 characters.", field="label")
    named = None if prefix == WITHOUT_ENVIRONMENT else environment
    text = "_".join(part for part in (prefix, named, secrets.token_urlsafe(24).replace("_", "-")) if part)
    key = ApiKey(
        id=key_id,
        workspace_id=workspace_id,
        site_id=site_id,
        label=label,
        prefix=prefix,
        environment=named,
        secret_sha256=fingerprint(text),
        last_four=text[-4:],
        scopes=list(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    await tx.execute(
        _queries.insert,
        {name: getattr(key, name) for name in key.__struct_fields__ if name != "revoked_at"},
    )
    await workspaces.bump(tx, workspace_id)
    return key, text


async def list_all(tx: Tx, workspace_id: UUID) -> list[ApiKey]:
    """Newest first, revoked ones too."""
    async with tx.cursor(row_factory=args_row(ApiKey)) as cursor:
        return await (await cursor.execute(_queries.list_all, {"workspace_id": workspace_id})).fetchall()


async def usable(tx: Tx, workspace_ids: Sequence[UUID]) -> list[ApiKey]:
    async with tx.cursor(row_factory=args_row(ApiKey)) as cursor:
        return await (await cursor.execute(_queries.usable, {"workspace_ids": list(workspace_ids)})).fetchall()


async def workspaces_of(tx: Tx, fingerprints: Sequence[bytes]) -> list[UUID]:
    cursor = await tx.execute(_queries.workspaces_of, {"secrets": list(fingerprints)})
    return [row[0] for row in await cursor.fetchall()]


async def revoke(tx: Tx, workspace_id: UUID, key_id: UUID, grace: timedelta = timedelta(0)) -> None:
    """Revoke at commit, or after `grace`; repeating is harmless. Raises NotFound."""
    cursor = await tx.execute(_queries.revoke, {"workspace_id": workspace_id, "id": key_id, "grace": grace})
    if await cursor.fetchone() is None:
        raise NotFound("There is no such key.")
    await workspaces.bump(tx, workspace_id)


async def rotate(
    tx: Tx, workspace_id: UUID, key_id: UUID, *, new_id: UUID, now: datetime, grace: timedelta, environment: str
) -> tuple[ApiKey, str]:
    """Replace a key by one with its label and scopes; the old one ends after `grace`. Raises NotFound."""
    async with tx.cursor(row_factory=args_row(ApiKey)) as cursor:
        old = await (await cursor.execute(_queries.read, {"workspace_id": workspace_id, "id": key_id})).fetchone()
    if old is None or old.refuse(now):
        raise NotFound("There is no such key in use.")
    made = await create(
        tx,
        key_id=new_id,
        workspace_id=workspace_id,
        label=old.label,
        scopes=old.scopes,
        environment=environment,
        now=now,
        prefix=old.prefix,
        site_id=old.site_id,
        expires_at=old.expires_at,
    )
    await revoke(tx, workspace_id, key_id, grace)
    return made
