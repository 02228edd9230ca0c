"""`/v1/admin/workspaces`, with a key of the scope `installation`."""

from typing import Annotated
from uuid import UUID

from litestar import get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from postback import installation, keys, workspaces
from postback.db import Tx
from postback.errors import NotFound
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import Workspace, WorkspaceOut, workspace_out

_INSTALLATION = ("installation",)


class WorkspaceIn(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)]


class WorkspacePatch(Struct, frozen=True):
    """`plan` null: no cap."""

    plan: UUID | UnsetType | None = UNSET


class WorkspaceMade(Struct, frozen=True):
    """A workspace with its first site. `api_key` (ingest) and `admin_key` are shown this once."""

    id: UUID
    name: str
    organization_id: str
    site: UUID
    site_key: str
    api_key: str
    admin_key: str


@post(
    "/workspaces",
    summary="Make a workspace with a site and its keys",
    opt={SCOPES: _INSTALLATION, EXAMPLE: {"name": "Acme"}},
)
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[WorkspaceIn]) -> WorkspaceMade:
    scopes = sorted(keys.SCOPES - {"installation"})
    async with changing(hub, caller) as change:
        workspace, site, (api_key, admin_key) = await installation.add_workspace(
            change.tx, data.name, hub.settings.environment, caller.now, admin_scopes=scopes
        )
        await change.record("created", "workspace", workspace.id, after=workspace_out(workspace))
    return WorkspaceMade(
        workspace.id, workspace.name, workspace.organization_id, site.id, site.site_key, api_key, admin_key
    )


@get("/workspaces", summary="List workspaces, oldest first", opt={SCOPES: _INSTALLATION})
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[WorkspaceOut]:
    async with hub.pool.connection() as tx:
        found = await workspaces.all_(tx)
    return page_of(found, workspace_out, lambda workspace: workspace.id.bytes, limit, cursor)


@get("/workspaces/{workspace_id:uuid}", summary="One workspace", opt={SCOPES: _INSTALLATION})
async def read(hub: Needs[Hub], caller: Needs[Caller], workspace_id: FromPath[UUID]) -> Tagged[WorkspaceOut]:
    async with hub.pool.connection() as tx:
        return Tagged(workspace_out(await _read(tx, workspace_id)))


@patch(
    "/workspaces/{workspace_id:uuid}",
    summary="Give a workspace a plan, or take it away",
    opt={SCOPES: _INSTALLATION, EXAMPLE: {"plan": None}},
)
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    workspace_id: FromPath[UUID],
    data: JSONBody[WorkspacePatch],
    if_match: IfMatch = None,
) -> Tagged[WorkspaceOut]:
    async with changing(hub, caller, workspace_id) as change:
        workspace = await _read(change.tx, workspace_id)
        before = workspace_out(workspace)
        plan_id = workspace.plan_id if data.plan is UNSET else data.plan
        shown = workspace_out(await workspaces.set_plan(change.tx, workspace, plan_id))
        expect(if_match, before)
        await change.record("changed", "workspace", workspace_id, before=before, after=shown)
    return Tagged(shown)


async def _read(tx: Tx, workspace_id: UUID) -> Workspace:
    for workspace in await workspaces.read(tx, [workspace_id]):
        return workspace
    raise NotFound("There is no such workspace.")


HANDLERS = [create, list_all, read, change]
