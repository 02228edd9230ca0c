"""API keys: `<prefix>_<live|test>_<secret>` (prefix `sel`: no environment part), 192 random bits, stored as SHA-256.

Tables: api_key, key_usage. A change bumps the workspace's version in the same transaction, which makes revocation
exact: once `revoke` has committed, no event of the key commits any more. Usage is counted by each API process in rows
of its own, one a key and hour; readers add up.
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
from postback.db import Queries, Tx, buckets
from postback.errors import Invalid, NotFound, Unauthenticated

Scope = Literal["ingest", "read", "admin", "erase", "installation"]
SCOPES: frozenset[str] = frozenset({"ingest", "read", "admin", "erase", "installation"})
WITHOUT_ENVIRONMENT = "sel"
MAX_RATE = 1_000_000
USAGE_SPAN = timedelta(hours=24)
_queries = Queries("keys")


class ApiKey(Struct, frozen=True):
    """`site_id` None: any site of the workspace. `revoked_at` may lie ahead, after a rotation with grace.

    `rate_limit_per_minute` 0: no limit; None: the dialect's.
    """

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
    rate_limit_per_minute: int | None = None

    def refuse(self, now: datetime) -> Unauthenticated | None:
        """Why this key no longer opens anything, None while it does."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return Unauthenticated("This API key was revoked; use another one.")
        if self.expires_at is not None and self.expires_at <= now:
            return Unauthenticated("This API key has expired; use another one.")
        return None


class KeyOut(Struct, frozen=True):
    """A key as it is shown. `environment` null: its prefix has none. `revoked_at` may lie ahead, after a rotation with
    grace. `rate_limit_per_minute` 0: no limit; null: the dialect's."""

    id: UUID
    label: str
    scopes: list[str]
    site: UUID | None
    prefix: str
    environment: str | None
    last_four: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rate_limit_per_minute: int | None


class Usage(Struct, frozen=True):
    """Calls of a key and those of them that were refused: of an hour, as a process counted them, or of the last 24
    hours. `address`: of the last call, masked."""

    key_id: UUID
    calls: int
    errors: int
    last_used_at: datetime
    address: str | None


def key_out(key: ApiKey) -> KeyOut:
    own = {name: getattr(key, name) for name in KeyOut.__struct_fields__ if name != "site"}
    return KeyOut(**own, site=key.site_id)


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
    rate_limit_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and give it with its text, which is nowhere else. Raises Invalid."""
    if unknown := sorted(set(scopes) - SCOPES) or ["none"] * (not scopes):
        raise Invalid(f"There is no scope {unknown[0]}; there are {', '.join(sorted(SCOPES))}.", field="scopes")
    if not (1 <= len(prefix) <= 16 and prefix.isascii() and prefix.isalnum() and prefix.islower()):
        raise Invalid("A prefix is 1 to 16 lower-case letters and digits.", field="prefix")
    if not 1 <= len(label) <= 100 or "\x00" in label:
        raise Invalid("A label has 1 to 100 characters.", field="label")
    if rate_limit_per_minute is not None and not 0 <= rate_limit_per_minute <= MAX_RATE:
        raise Invalid(f"A rate limit is 0 (none) to {MAX_RATE:,} requests a minute.", field="rate_limit_per_minute")
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
        rate_limit_per_minute=rate_limit_per_minute,
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


async def read(tx: Tx, workspace_id: UUID, key_id: UUID) -> ApiKey:
    """Revoked ones too. Raises NotFound."""
    async with tx.cursor(row_factory=args_row(ApiKey)) as cursor:
        found = await (await cursor.execute(_queries.read, {"workspace_id": workspace_id, "id": key_id})).fetchone()
    if found is None:
        raise NotFound("There is no such key.")
    return found


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
    old = await read(tx, workspace_id, key_id)
    if old.refuse(now):
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
        rate_limit_per_minute=old.rate_limit_per_minute,
    )
    await revoke(tx, workspace_id, key_id, grace)
    return made


async def file_usage(tx: Tx, writer: UUID, hour: datetime, tallies: Sequence[Usage]) -> None:
    """Write what a process counted in an hour so far; repeating is harmless."""
    columns = {
        "buckets": [buckets.of_id(tally.key_id) for tally in tallies],
        "key_ids": [tally.key_id for tally in tallies],
        "calls": [tally.calls for tally in tallies],
        "errors": [tally.errors for tally in tallies],
        "last_used_at": [tally.last_used_at for tally in tallies],
        "addresses": [tally.address for tally in tallies],
    }
    await tx.execute(_queries.file_usage, {"writer": writer, "hour": hour, **columns})


async def usage(tx: Tx, key_ids: Sequence[UUID], now: datetime) -> dict[UUID, Usage]:
    """Of the keys that were ever used."""
    row = {"key_ids": list(key_ids), "since": now - USAGE_SPAN, "buckets": sorted(set(map(buckets.of_id, key_ids)))}
    async with tx.cursor(row_factory=args_row(Usage)) as cursor:
        return {found.key_id: found for found in await (await cursor.execute(_queries.usage, row)).fetchall()}


async def trim_usage(tx: Tx, own: Sequence[int], now: datetime) -> None:
    """Forget hours that no count needs, in some buckets; when a key was last used stays."""
    await tx.execute(_queries.trim_usage, {"buckets": list(own), "oldest": now - 2 * USAGE_SPAN})
