"""`postback sites`: by their records in the database; what the admin API's `sites` does."""

from typing import Annotated

from cyclopts import Parameter

from postback import installation, workspaces
from postback.cli import fields, show
from postback.cli.fields import Set
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import named_site, session, workspace
from postback.db import buckets
from postback.goals import goal_out
from postback.workspaces import SiteIn, SiteOut, SitePatch, audit, site_out

Named = Annotated[str, Parameter(help="Its id, name or site key.")]


async def create(
    name: Annotated[str, Parameter(help="What it is called.")],
    place: Place = HERE,
    *,
    settings: Set = None,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Make a site, with goals for purchases and leads."""
    sent = fields.read(SiteIn, settings or [], name=name)
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            wanted = workspaces.new_site(buckets.new_id(s.now), owner.id, sent)
            site, goals = await installation.add_site(s.tx, wanted, s.now)
            await change.record("created", "site", site.id, after=site_out(site))
            for goal in goals:
                await change.record("created", "goal", goal.id, after=goal_out(goal))
    _show(site_out(site), as_json)


async def list_all(place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Sites, oldest first."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        found = [site_out(site) for site in await workspaces.sites(s.tx, [owner.id])]
    if as_json:
        show.as_json({"items": found})
        return
    columns = ["id", "name", "site_key", "currency", "country", "timezone", "window_days"]
    show.table(columns, [[getattr(site, name) for name in columns] for site in found], empty="No sites.")


async def change(
    site: Named, place: Place = HERE, *, settings: Set = None, in_workspace: InWorkspace = None, as_json: Json = False
) -> None:
    """Change what is set; the rest stays."""
    sent = fields.read(SitePatch, settings or [])
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            before = await named_site(s.tx, owner.id, site)
            after = await workspaces.change_site(s.tx, before, sent)
            await change.record("changed", "site", before.id, before=site_out(before), after=site_out(after))
    _show(site_out(after), as_json)


async def remove(site: Named, place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Remove a site and its goals; what it took stays."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            found = await named_site(s.tx, owner.id, site)
            for goal in await installation.remove_site(s.tx, found, s.now):
                await change.record("removed", "goal", goal.id, before=goal_out(goal))
            await change.record("removed", "site", found.id, before=site_out(found))
    if as_json:
        show.as_json({"id": found.id})
    else:
        show.say(f"Removed {found.name}.")


def _show(site: SiteOut, as_json: bool) -> None:
    if as_json:
        show.as_json(site)
    else:
        show.say(f"{site.name}: id {site.id}, site key {site.site_key}.")
