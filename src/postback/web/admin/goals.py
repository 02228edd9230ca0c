"""`/v1/admin/goals`: what counts as a conversion."""

from typing import Annotated
from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody, QueryParameter

from postback import goals, workspaces
from postback.errors import Invalid, NotFound
from postback.goals import GoalIn, GoalOut, GoalPatch, goal_out
from postback.web.admin.access import COUNTING, SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of

_TRIAL = {"name": "Trials", "events": ["start_trial"], "default_value": 12.5, "currency": "EUR", "window_days": 30}


@post("/goals", summary="Make a goal", opt={SCOPES: COUNTING, EXAMPLE: _TRIAL})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[GoalIn]) -> Tagged[GoalOut]:
    async with changing(hub, caller) as change:
        sites = {site.id: site for site in await workspaces.sites(change.tx, [caller.workspace_id])}
        site = sites.get(data.site) if data.site else next(iter(sites.values()), None)
        if site is None:
            raise Invalid("There is no such site; name one by its id.", field="site")
        shown = goal_out(await goals.create(change.tx, site, data, caller.now))
        await change.record("created", "goal", shown.id, after=shown)
    return Tagged(shown)


@get("/goals", summary="List goals, in the order of their numbers")
async def list_all(
    caller: Needs[Caller],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    site: Annotated[UUID | None, QueryParameter(description="Only this site's.")] = None,
) -> Page[GoalOut]:
    found = [goal for goal in caller.snapshot.goals.values() if site in (None, goal.site_id)]
    return page_of(found, goal_out, lambda goal: goal.id.to_bytes(16), limit, cursor)


@get("/goals/{goal_id:int}", summary="One goal")
async def read(caller: Needs[Caller], goal_id: FromPath[int]) -> Tagged[GoalOut]:
    if (goal := caller.snapshot.goals.get(goal_id)) is None:
        raise NotFound("There is no such goal.")
    return Tagged(goal_out(goal))


@patch(
    "/goals/{goal_id:int}",
    summary="Change a goal, or switch it off",
    opt={SCOPES: COUNTING, EXAMPLE: {"active": False}},
)
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    goal_id: FromPath[int],
    data: JSONBody[GoalPatch],
    if_match: IfMatch = None,
) -> Tagged[GoalOut]:
    """Conversions that were counted stay as they are."""
    async with changing(hub, caller) as change:
        goal = await goals.read(change.tx, caller.workspace_id, goal_id)
        before = goal_out(goal)
        site = await workspaces.site(change.tx, caller.workspace_id, goal.site_id)
        shown = goal_out(await goals.change(change.tx, goal, site, data))
        expect(if_match, before)
        await change.record("changed", "goal", goal_id, before=before, after=shown)
    return Tagged(shown)


@delete("/goals/{goal_id:int}", summary="Remove a goal; its conversions stay", opt={SCOPES: COUNTING})
async def remove(hub: Needs[Hub], caller: Needs[Caller], goal_id: FromPath[int], if_match: IfMatch = None) -> None:
    async with changing(hub, caller) as change:
        goal = await goals.read(change.tx, caller.workspace_id, goal_id)
        expect(if_match, before := goal_out(goal))
        await goals.remove(change.tx, goal, caller.now)
        await change.record("removed", "goal", goal_id, before=before)


HANDLERS = [create, list_all, read, change, remove]
