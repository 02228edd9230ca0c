"""People: accounts with a password, the workspaces that they are members of, and invitations by link.

Tables: account, membership, invitation. Emails are in lower case. A link's token is stored as its hash; it holds a week
and once. A workspace keeps at least one owner. What a role may do says `RIGHTS`.
"""

import asyncio
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Literal
from uuid import UUID

import argon2
from msgspec import Meta, Struct, structs
from psycopg.rows import args_row

from postback.db import Queries, Tx
from postback.errors import Conflict, Invalid, NotFound

Role = Literal["owner", "admin", "analyst", "read_only"]
# Scopes of a person, as keys have them. `goals`: goals and event types, which say what is counted.
RIGHTS: dict[str, frozenset[str]] = {
    "owner": frozenset({"admin", "read", "erase"}),
    "admin": frozenset({"admin", "read"}),
    "analyst": frozenset({"goals", "read"}),
    "read_only": frozenset({"read"}),
}
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
PASSWORD_CHARS = (10, 200)
INVITED_FOR = timedelta(days=7)
_queries = Queries("accounts")
hasher = argon2.PasswordHasher()
_hashers = ThreadPoolExecutor(2)  # each takes 64 MB, and lets others run


class Account(Struct, frozen=True):
    id: UUID
    email: str
    password_hash: str


class Member(Struct, frozen=True):
    """`expires_at`: of an invitation that is still open; None: a member."""

    id: UUID
    email: str
    role: Role
    since: datetime
    expires_at: datetime | None


class Invitation(Struct, frozen=True):
    id: UUID
    workspace_id: UUID
    workspace: str
    email: str
    role: Role


class Seat(Struct, frozen=True):
    """A workspace that an account is a member of."""

    workspace_id: UUID
    workspace: str
    role: Role


class Listed(Struct, frozen=True):
    """An account in one of its workspaces; `workspace` None: in none any more."""

    email: str
    workspace: str | None
    role: Role | None


def hash_password(password: str) -> str:
    """Takes some 50 ms of CPU. Raises Invalid for one that is too short."""
    least, most = PASSWORD_CHARS
    if not least <= len(password) <= most:
        raise Invalid(f"A password has at least {least} and at most {most} characters.", field="password")
    return hasher.hash(password)


async def has_password(account: Account | None, password: str) -> bool:
    """Whether this is the account's; None, of an unknown email, takes as long."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_hashers, _fits, account.password_hash if account else _nobody(), password)


def _fits(password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, password)
    except argon2.exceptions.VerificationError:
        return False


@cache
def _nobody() -> str:
    return hash_password(secrets.token_hex())


async def by_email(tx: Tx, email: str) -> Account | None:
    async with tx.cursor(row_factory=args_row(Account)) as cursor:
        return await (await cursor.execute(_queries.by_email, {"email": email.strip().lower()})).fetchone()


async def by_id(tx: Tx, id: UUID) -> Account | None:
    async with tx.cursor(row_factory=args_row(Account)) as cursor:
        return await (await cursor.execute(_queries.by_id, {"id": id})).fetchone()


async def list_all(tx: Tx) -> list[Listed]:
    """Every account of the installation, once for each workspace that it is a member of."""
    async with tx.cursor(row_factory=args_row(Listed)) as cursor:
        return await (await cursor.execute(_queries.list_all)).fetchall()


async def create(tx: Tx, id: UUID, email: str, password: str, now: datetime) -> Account:
    """Raises Invalid, Conflict."""
    account = Account(id, email.strip().lower(), await _hashed(password))
    row = {"id": id, "email": account.email, "password_hash": account.password_hash, "now": now}
    if await (await tx.execute(_queries.insert, row)).fetchone() is None:
        raise Conflict("There is an account of this email already.", field="email")
    return account


async def set_password(tx: Tx, account: Account, password: str, *, is_reset: bool = False) -> Account:
    """Raises Invalid; Conflict where the old one is not the one that was read any more, which a reset does not ask."""
    before = None if is_reset else account.password_hash
    row = {"id": account.id, "before": before, "password_hash": await _hashed(password)}
    if await (await tx.execute(_queries.set_password, row)).fetchone() is None:
        raise Conflict("The password of this account was changed just now; look whether it was you, and try again.")
    return structs.replace(account, password_hash=row["password_hash"])


async def _hashed(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_hashers, hash_password, password)


async def seats(tx: Tx, account_id: UUID) -> list[Seat]:
    """The workspaces of an account, oldest first."""
    async with tx.cursor(row_factory=args_row(Seat)) as cursor:
        return await (await cursor.execute(_queries.workspaces_of, {"account_id": account_id})).fetchall()


async def add_member(tx: Tx, id: UUID, account_id: UUID, workspace_id: UUID, role: Role, now: datetime) -> None:
    """Raises Conflict where the account is one already."""
    row = {"id": id, "account_id": account_id, "workspace_id": workspace_id, "role": role, "now": now}
    if await (await tx.execute(_queries.insert_member, row)).fetchone() is None:
        raise Conflict("This account is a member of the workspace already.")


async def members(tx: Tx, workspace_id: UUID) -> list[Member]:
    """Members and open invitations, oldest first."""
    async with tx.cursor(row_factory=args_row(Member)) as cursor:
        return await (await cursor.execute(_queries.members, {"workspace_id": workspace_id})).fetchall()


async def invite(tx: Tx, id: UUID, workspace_id: UUID, email: str, role: Role, now: datetime) -> tuple[Member, str]:
    """An invitation and its link's token; an earlier one of this email ends. Raises Conflict."""
    email, token = email.strip().lower(), secrets.token_urlsafe(24)
    if any(one.email == email and one.expires_at is None for one in await members(tx, workspace_id)):
        raise Conflict("There is a member of this email already.", field="email")
    row = {"id": id, "workspace_id": workspace_id, "email": email, "role": role, "now": now}
    await tx.execute(_queries.invite, row | {"token_sha256": _hash(token), "expires_at": now + INVITED_FOR})
    return Member(id, email, role, now, now + INVITED_FOR), token


async def invitation(tx: Tx, token: str, now: datetime) -> Invitation:
    """One that still holds. Raises NotFound."""
    async with tx.cursor(row_factory=args_row(Invitation)) as cursor:
        found = await (await cursor.execute(_queries.invitation, {"token_sha256": _hash(token), "now": now})).fetchone()
    if found is None:
        raise NotFound("This invitation was used, withdrawn, or is too old; ask for another one.")
    return found


async def accept(tx: Tx, token: str, account_id: UUID, now: datetime) -> Invitation:
    """Make the account a member as the invitation says, which ends. Raises NotFound, Conflict."""
    found = await invitation(tx, token, now)
    row = {"token_sha256": _hash(token), "now": now}
    if await (await tx.execute(_queries.take_invitation, row)).fetchone() is None:
        raise NotFound("This invitation was just used.")
    await add_member(tx, found.id, account_id, found.workspace_id, found.role, now)
    return found


async def set_role(tx: Tx, workspace_id: UUID, member: Member, role: Role) -> Member:
    """Raises Conflict for the last owner."""
    if member.role != role:
        await _keep_an_owner(tx, workspace_id, member)
    statement = _queries.set_role if member.expires_at is None else _queries.set_invited_role
    await tx.execute(statement, {"workspace_id": workspace_id, "id": member.id, "role": role})
    return Member(member.id, member.email, role, member.since, member.expires_at)


async def remove(tx: Tx, workspace_id: UUID, member: Member) -> None:
    """Of a member, or an invitation. Raises Conflict for the last owner."""
    await _keep_an_owner(tx, workspace_id, member)
    statement = _queries.remove_member if member.expires_at is None else _queries.remove_invitation
    await tx.execute(statement, {"workspace_id": workspace_id, "id": member.id})


async def member(tx: Tx, workspace_id: UUID, id: UUID) -> Member:
    """A member, or an invitation. Raises NotFound."""
    for one in await members(tx, workspace_id):
        if one.id == id:
            return one
    raise NotFound("There is no such member.")


async def _keep_an_owner(tx: Tx, workspace_id: UUID, member: Member) -> None:
    owners = [one for one in await members(tx, workspace_id) if one.role == "owner" and one.expires_at is None]
    if [one.id for one in owners] == [member.id]:
        raise Conflict("This is the workspace's only owner; make another member owner first.")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
