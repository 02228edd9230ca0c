"""`/v1/admin/members`: the people of a workspace, and those who are invited, by a link that holds a week."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import Struct, structs

from postback.db import buckets
from postback.errors import Forbidden
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import accounts
from postback.workspaces.accounts import Email, Member, Role

JOIN = "/app/join/"
NOUN = "member"


class MemberIn(Struct, frozen=True, kw_only=True):
    """Whom to invite, and as what."""

    email: Email
    role: Role


class MemberPatch(Struct, frozen=True):
    role: Role


class MemberOut(Struct, frozen=True):
    """`expires_at`: until when an invitation holds; null: a member, for whom it was taken."""

    id: UUID
    email: str
    role: Role
    status: Literal["member", "invited"]
    since: datetime
    expires_at: datetime | None


class Invited(MemberOut, frozen=True, kw_only=True):
    """With the link's path on this server, this once. Whoever opens it chooses a password, or signs in."""

    link: str


@post(
    "/members",
    summary="Invite somebody by a link; an earlier invitation of the same email ends",
    opt={EXAMPLE: {"email": "ada@example.com", "role": "analyst"}},
)
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[MemberIn]) -> Invited:
    """409 where there is a member of this email."""
    _may_give(caller, data.role)
    async with changing(hub, caller) as change:
        member, token = await accounts.invite(
            change.tx, buckets.new_id(caller.now), caller.workspace_id, data.email, data.role, caller.now
        )
        await change.record("created", NOUN, member.id, after=(shown := _shown(member)))
    return Invited(**structs.asdict(shown), link=JOIN + token)


@get("/members", summary="List members and open invitations, oldest first")
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[MemberOut]:
    async with hub.pool.connection() as tx:
        found = await accounts.members(tx, caller.workspace_id)
    return page_of(found, _shown, lambda member: member.id.bytes, limit, cursor)


@get("/members/{member_id:uuid}", summary="One member, or invitation")
async def read(hub: Needs[Hub], caller: Needs[Caller], member_id: FromPath[UUID]) -> Tagged[MemberOut]:
    async with hub.pool.connection() as tx:
        return Tagged(_shown(await accounts.member(tx, caller.workspace_id, member_id)))


@patch("/members/{member_id:uuid}", summary="Give a member another role", opt={EXAMPLE: {"role": "owner"}})
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    member_id: FromPath[UUID],
    data: JSONBody[MemberPatch],
    if_match: IfMatch = None,
) -> Tagged[MemberOut]:
    """From their next request on. 409 for the last owner."""
    async with changing(hub, caller) as change:
        member = await accounts.member(change.tx, caller.workspace_id, member_id)
        _may_give(caller, member.role)
        _may_give(caller, data.role)
        shown = _shown(await accounts.set_role(change.tx, caller.workspace_id, member, data.role))
        expect(if_match, before := _shown(member))
        await change.record("changed", NOUN, member_id, before=before, after=shown)
    return Tagged(shown)


@delete("/members/{member_id:uuid}", summary="Remove a member, or withdraw an invitation")
async def remove(hub: Needs[Hub], caller: Needs[Caller], member_id: FromPath[UUID], if_match: IfMatch = None) -> None:
    """From their next request on. 409 for the last owner."""
    async with changing(hub, caller) as change:
        member = await accounts.member(change.tx, caller.workspace_id, member_id)
        _may_give(caller, member.role)
        await accounts.remove(change.tx, caller.workspace_id, member)
        expect(if_match, before := _shown(member))
        await change.record("removed", NOUN, member_id, before=before)


def _may_give(caller: Caller, role: Role) -> None:
    """Raises Forbidden: owners are made and unmade by who has all that they have."""
    if role == "owner" and not accounts.RIGHTS["owner"] <= caller.scopes:
        raise Forbidden("Only an owner, or a key with the scope erase, makes or changes an owner.", field="role")


def _shown(member: Member) -> MemberOut:
    status = "member" if member.expires_at is None else "invited"
    return MemberOut(member.id, member.email, member.role, status, member.since, member.expires_at)


HANDLERS = [create, list_all, read, change, remove]
