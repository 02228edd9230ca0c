"""`postback goals`: by their records in the database; what the admin API's `goals` does."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from postback import goals, workspaces
from postback.cli import fields, show
from postback.cli.fields import Set
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import first_site, named_site, session, workspace
from postback.goals import GoalIn, GoalOut, GoalPatch, goal_out
from postback.workspaces import audit

Number = Annotated[int, Parameter(help="Its number, as `goals list` shows it.")]


async def create(
    name: Annotated[str, Parameter(help="What it is called.")],
    place: Place = HERE,
    *,
    event: Annotated[list[str] | None, Parameter(help="A name that fulfils it; may be repeated.")] = None,
    site: Annotated[str | None, Parameter(help="Id, name or site key of its site. [the first one]")] = None,
    settings: Set = None,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Make a goal."""
    named = [f"events={msgspec.json.encode(event).decode()}"] if event else []
    sent = fields.read(GoalIn, [*named, *(settings or [])], name=name)
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            wanted = site or (str(sent.site) if sent.site else None)
            of = await (named_site(s.tx, owner.id, wanted) if wanted else first_site(s.tx, owner.id))
            made = goal_out(await goals.create(s.tx, of, sent, s.now))
            await change.record("created", "goal", made.id, after=made)
    _show(made, as_json)


async def list_all(place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Goals, in the order of their numbers."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        found = [goal_out(goal) for goal in await goals.read_all(s.tx, [owner.id])]
        sites = {site.id: site.name for site in await workspaces.sites(s.tx, [owner.id])}
    if as_json:
        show.as_json({"items": found})
        return
    rows = [
        (goal.id, goal.name, sites.get(goal.site, goal.site), ", ".join(goal.events), goal.filter, goal.default_value,
         "active" if goal.active else "disabled")
        for goal in found
    ]  # fmt: skip
    show.table(["id", "name", "site", "events", "filter", "default value", "state"], rows, empty="No goals.")


async def change(
    goal: Number, place: Place = HERE, *, settings: Set = None, in_workspace: InWorkspace = None, as_json: Json = False
) -> None:
    """Change what is set; the rest stays. `--set active=false` switches a goal off."""
    sent = fields.read(GoalPatch, settings or [])
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            before = await goals.read(s.tx, owner.id, goal)
            site = await workspaces.site(s.tx, owner.id, before.site_id)
            after = goal_out(await goals.change(s.tx, before, site, sent))
            await change.record("changed", "goal", goal, before=goal_out(before), after=after)
    _show(after, as_json)


async def remove(goal: Number, place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Remove a goal; its conversions stay."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            found = await goals.read(s.tx, owner.id, goal)
            await goals.remove(s.tx, found, s.now)
            await change.record("removed", "goal", goal, before=goal_out(found))
    if as_json:
        show.as_json({"id": goal})
    else:
        show.say(f"Removed {found.name}.")


def _show(goal: GoalOut, as_json: bool) -> None:
    if as_json:
        show.as_json(goal)
    else:
        events = ", ".join(goal.events) or "no event by itself"
        show.say(f"Goal {goal.id}, {goal.name}: {events}{'' if goal.active else '; disabled'}.")
