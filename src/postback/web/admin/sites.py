"""`/v1/admin/sites`: where events come from; each with its goals, and maybe keys and a plan of its own."""

from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody

from postback import installation, workspaces
from postback.db import buckets
from postback.errors import NotFound
from postback.goals import goal_out
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import SiteIn, SiteOut, SitePatch, origins, site_out
from postback.workspaces.origins import Refused

_SHOP = {"name": "Shop", "currency": "EUR", "country": "DE", "timezone": "Europe/Berlin", "window_days": 30}


@post("/sites", summary="Make a site, with goals for purchases and leads", opt={EXAMPLE: _SHOP})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[SiteIn]) -> Tagged[SiteOut]:
    """409 where the `site_key` is another site's."""
    async with changing(hub, caller) as change:
        wanted = workspaces.new_site(buckets.new_id(caller.now), caller.workspace_id, data)
        site, made = await installation.add_site(change.tx, wanted, caller.now)
        await change.record("created", "site", site.id, after=(shown := site_out(site)))
        for goal in made:
            await change.record("created", "goal", goal.id, after=goal_out(goal))
    return Tagged(shown)


@get("/sites", summary="List sites, oldest first")
async def list_all(caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[SiteOut]:
    return page_of(caller.snapshot.sites.values(), site_out, lambda site: site.id.bytes, limit, cursor)


@get("/sites/{site_id:uuid}", summary="One site")
async def read(caller: Needs[Caller], site_id: FromPath[UUID]) -> Tagged[SiteOut]:
    if (site := caller.snapshot.sites.get(site_id)) is None:
        raise NotFound("There is no such site.")
    return Tagged(site_out(site))


@get("/sites/{site_id:uuid}/refused-origins", summary="Pages whose tag was refused, as the site does not name them")
async def read_refused(hub: Needs[Hub], caller: Needs[Caller], site_id: FromPath[UUID]) -> Page[Refused]:
    """The last five of a week, but for those that are allowed by now. `since`: the first time, as far as is known. What
    other processes refused shows a few seconds later."""
    if (site := caller.snapshot.sites.get(site_id)) is None:
        raise NotFound("There is no such site.")
    await hub.calls.flush()
    async with hub.pool.connection() as tx:
        return Page(await origins.of_site(tx, site_id, site.allowed_origins, caller.now))


@patch("/sites/{site_id:uuid}", summary="Change a site", opt={EXAMPLE: {"order_counts_from": "processing"}})
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    site_id: FromPath[UUID],
    data: JSONBody[SitePatch],
    if_match: IfMatch = None,
) -> Tagged[SiteOut]:
    async with changing(hub, caller) as change:
        site = await workspaces.site(change.tx, caller.workspace_id, site_id)
        before = site_out(site)
        shown = site_out(await workspaces.change_site(change.tx, site, data))
        expect(if_match, before)
        await change.record("changed", "site", site_id, before=before, after=shown)
    return Tagged(shown)


@delete("/sites/{site_id:uuid}", summary="Remove a site and its goals; what it took stays")
async def remove(hub: Needs[Hub], caller: Needs[Caller], site_id: FromPath[UUID], if_match: IfMatch = None) -> None:
    """409 for the workspace's only site, and while a key is bound to it."""
    async with changing(hub, caller) as change:
        site = await workspaces.site(change.tx, caller.workspace_id, site_id)
        expect(if_match, before := site_out(site))
        for goal in await installation.remove_site(change.tx, site, caller.now):
            await change.record("removed", "goal", goal.id, before=goal_out(goal))
        await change.record("removed", "site", site_id, before=before)


HANDLERS = [create, list_all, read, read_refused, change, remove]
