"""`/v1/admin/plans`: caps of the installation, made and changed with the scope `installation`, read by any admin."""

from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody

from postback.db import buckets
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import plans
from postback.workspaces.plans import Plan, PlanIn, PlanPatch

_STARTER = {"name": "Starter", "monthly_cap": 10_000, "overage": True}
_INSTALLATION = ("installation",)


@post("/plans", summary="Make a plan", opt={SCOPES: _INSTALLATION, EXAMPLE: _STARTER})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[PlanIn]) -> Tagged[Plan]:
    """It caps nothing until a workspace or a site has it. 409 where there is one of this name."""
    async with changing(hub, caller) as change:
        plan = await plans.create(change.tx, buckets.new_id(caller.now), data, caller.now)
        await change.record("created", "plan", plan.id, after=plan)
    return Tagged(plan)


@get("/plans", summary="List plans, oldest first")
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Plan]:
    async with hub.pool.connection() as tx:
        found = await plans.read_all(tx)
    return page_of(found, lambda plan: plan, lambda plan: plan.id.bytes, limit, cursor)


@get("/plans/{plan_id:uuid}", summary="One plan")
async def read(hub: Needs[Hub], caller: Needs[Caller], plan_id: FromPath[UUID]) -> Tagged[Plan]:
    async with hub.pool.connection() as tx:
        return Tagged(await plans.read(tx, plan_id))


@patch("/plans/{plan_id:uuid}", summary="Change a plan", opt={SCOPES: _INSTALLATION, EXAMPLE: {"monthly_cap": 20_000}})
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    plan_id: FromPath[UUID],
    data: JSONBody[PlanPatch],
    if_match: IfMatch = None,
) -> Tagged[Plan]:
    """At once for all that it caps; what was used in this month stays used."""
    async with changing(hub, caller) as change:
        await plans.hold(change.tx)
        plan = await plans.read(change.tx, plan_id)
        changed = await plans.change(change.tx, plan, data)
        expect(if_match, plan)
        await change.record("changed", "plan", plan_id, before=plan, after=changed)
    return Tagged(changed)


@delete("/plans/{plan_id:uuid}", summary="Remove a plan that caps nothing", opt={SCOPES: _INSTALLATION})
async def remove(hub: Needs[Hub], caller: Needs[Caller], plan_id: FromPath[UUID], if_match: IfMatch = None) -> None:
    """409 while a workspace or a site has it."""
    async with changing(hub, caller) as change:
        await plans.hold(change.tx)
        plan = await plans.read(change.tx, plan_id)
        expect(if_match, plan)
        await plans.remove(change.tx, plan)
        await change.record("removed", "plan", plan_id, before=plan)


HANDLERS = [create, list_all, read, change, remove]
