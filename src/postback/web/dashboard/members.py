"""Members: who may look, and what each may do; invitations by a link that is shown once."""

from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback.errors import NotFound, Rejected
from postback.web.admin import members
from postback.web.admin.members import MemberIn, MemberPatch
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View

ROLES = [
    ("read_only", "Read only"),
    ("analyst", "Analyst"),
    ("admin", "Admin"),
    ("owner", "Owner"),
]
_EMAIL = Field("email", "Email", kind="email", required=True)
_ROLE = Field(
    "role", "Role", kind="select", options=ROLES,
    help="Read only looks at everything and changes nothing. An analyst also changes goals and event types; an admin "
    "sites, integrations, keys and members; an owner everything, owners and erasures too.",
)  # fmt: skip


@get("/members")
async def list_all(view: Needs[View]) -> Response[str]:
    return await _page(view)


@post("/members", status_code=200)
async def invite(view: Needs[View]) -> Response[str]:
    """Not a redirect: the link is shown by this answer alone."""
    try:
        made = await view.ask(members.create, data=view.body(MemberIn, [_EMAIL, _ROLE]))
    except Rejected as problem:
        return await _page(view, values=view.form, problem=problem)
    return await _page(view, made=made)


@get("/members/{id_:uuid}")
async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    shown = await view.ask(members.read, member_id=id_)
    return view.page("member.html", shown=shown, fields=[_ROLE], values={"role": shown.role}, problem=None)


@post("/members/{id_:uuid}")
async def change(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    shown = await view.ask(members.read, member_id=id_)
    try:
        if view.form.get("do") == "remove":
            await view.ask(members.remove, member_id=id_)
            return view.to("/app/members", "removed")
        await view.ask(members.change, member_id=id_, data=view.body(MemberPatch, [_ROLE]))
    except NotFound:
        raise
    except Rejected as problem:
        return view.page(
            "member.html", problem.status, shown=shown, fields=[_ROLE], values={"role": shown.role}, problem=problem
        )
    return view.to("/app/members", "changed")


async def _page(view: View, **more: Any) -> Response[str]:
    found = await view.ask(members.list_all, limit=500)
    problem = more.get("problem")
    return view.page(
        "members.html",
        problem.status if problem else 200,
        found=found,
        fields=[_EMAIL, _ROLE],
        may_invite=view.may(members.create),
        **{"made": None, "problem": None, "values": {"role": "read_only"}} | more,
    )


HANDLERS = [list_all, invite, read, change]
