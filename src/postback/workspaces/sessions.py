"""Sessions: browsers that are signed in, and how fast passwords may be tried.

Tables: session, sign_in. The cookie's token is stored as its hash. A session ends two weeks after it was last used, and
with the password that opened it. The first attempts are free; then each failure in a row doubles the wait: of an
account up to a minute, so that nobody can lock another one out for long, of an address up to a quarter of an hour.
"""

import hashlib
import math
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, buckets
from postback.errors import TooMany
from postback.workspaces.accounts import Account

KEPT_FOR = timedelta(days=14)
SEEN_EVERY = timedelta(hours=1)
_ACCOUNT = {"free": 5, "longest": timedelta(minutes=1)}
_ADDRESS = {"free": 20, "longest": timedelta(minutes=15)}
_queries = Queries("sessions")


class Session(Struct, frozen=True):
    """`site_id` None: all sites. `role` None: no longer a member of the workspace that it looks at."""

    account_id: UUID
    email: str
    workspace_id: UUID
    site_id: UUID | None
    role: str | None
    seen_at: datetime


async def begin(tx: Tx, account: Account, workspace_id: UUID, now: datetime) -> str:
    """A new session; gives its token. It is none where the account's password is not the one of `account` any more,
    however close together both were."""
    token = secrets.token_urlsafe(32)
    row = _named(token) | {"account_id": account.id, "workspace_id": workspace_id, "now": now}
    stamp = hashlib.sha256(account.password_hash.encode()).digest()
    await tx.execute(_queries.insert, row | {"expires_at": now + KEPT_FOR, "stamp": stamp})
    return token


async def read(tx: Tx, token: str, now: datetime) -> Session | None:
    """The session of a token, which is kept on; None where there is none any more."""
    row = _named(token) | {"now": now}
    async with tx.cursor(row_factory=args_row(Session)) as cursor:
        found = await (await cursor.execute(_queries.read, row)).fetchone()
    if found is not None and now - found.seen_at > SEEN_EVERY:
        await tx.execute(_queries.keep, row | {"expires_at": now + KEPT_FOR})
    return found


async def look_at(tx: Tx, token: str, workspace_id: UUID, site_id: UUID | None) -> None:
    await tx.execute(_queries.look_at, _named(token) | {"workspace_id": workspace_id, "site_id": site_id})


async def end(tx: Tx, token: str) -> None:
    await tx.execute(_queries.remove, _named(token))


async def end_all(tx: Tx, account_id: UUID) -> None:
    """Sign an account out everywhere."""
    await tx.execute(_queries.remove_of_account, {"account_id": account_id, "buckets": list(buckets.BUCKETS)})


async def attempt(tx: Tx, email: str, address: str, now: datetime) -> None:
    """Count one attempt before it is made, so that many at once are as slow as one after the other. Raises TooMany."""
    for subject, pace in ((_of_address(address), _ADDRESS), (_of_email(email), _ACCOUNT)):
        row = _of_subject(subject) | {"now": now}
        if await (await tx.execute(_queries.try_sign_in, row | pace)).fetchone() is None:
            [until] = await (await tx.execute(_queries.blocked_until, row)).fetchone() or [now]
            wait = max(1, math.ceil((until - now).total_seconds()))
            raise TooMany(f"Too many attempts; try again in {wait} s.", retry_after_seconds=wait)


async def forgive(tx: Tx, email: str, address: str, now: datetime) -> None:
    """After the right password: of the account all, of the address this attempt alone."""
    await forgive_account(tx, email)
    await tx.execute(_queries.forgive_one, _of_subject(_of_address(address)) | {"now": now})


async def forgive_account(tx: Tx, email: str) -> None:
    await tx.execute(_queries.forgive, _of_subject(_of_email(email)))


async def trim(tx: Tx, own: Sequence[int], now: datetime) -> None:
    """Forget, in some buckets, sessions that ended and attempts of long ago."""
    await tx.execute(_queries.trim, {"buckets": list(own), "now": now})
    await tx.execute(_queries.trim_attempts, {"buckets": list(own), "now": now})


def _of_email(email: str) -> bytes:
    return hashlib.sha256(b"email " + email.strip().lower().encode()).digest()


def _of_address(address: str) -> bytes:
    return hashlib.sha256(b"address " + address.encode()).digest()


def _of_subject(subject: bytes) -> dict[str, object]:
    return {"bucket": buckets.of_key(subject), "subject": subject}


def _named(token: str) -> dict[str, object]:
    hashed = hashlib.sha256(token.encode()).digest()
    return {"bucket": buckets.of_key(hashed), "token_sha256": hashed}
