"""`/v1/admin/workspaces`, with a key of the scope `installation`, and `/v1/admin/sites`."""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency as Needs
from litestar.params import JSONBody
from msgspec import Meta, Struct

from postback import installation, keys
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import Site


class WorkspaceIn(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)]


class WorkspaceMade(Struct, frozen=True):
    """A workspace with its first site. `api_key` (ingest) and `admin_key` are shown this once."""

    id: UUID
    name: str
    organization_id: str
    site: UUID
    site_key: str
    api_key: str
    admin_key: str


class SiteOut(Struct, frozen=True):
    """`site_key` is public: the tag's, Selektable's storeId, ROASproof's site_key."""

    id: UUID
    name: str
    site_key: str
    currency: str
    country: str | None


@post("/workspaces", summary="Make a workspace with a site and its keys", opt={SCOPES: ("installation",)})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[WorkspaceIn]) -> WorkspaceMade:
    scopes = sorted(keys.SCOPES - {"installation"})
    async with hub.pool.connection() as tx, tx.transaction():
        workspace, site, (api_key, admin_key) = await installation.add_workspace(
            tx, data.name, hub.settings.environment, caller.now, admin_scopes=scopes
        )
    return WorkspaceMade(
        workspace.id, workspace.name, workspace.organization_id, site.id, site.site_key, api_key, admin_key
    )


@get("/sites", summary="List sites, oldest first")
async def list_sites(caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[SiteOut]:
    return page_of(caller.snapshot.sites.values(), _shown, lambda site: site.id.bytes, limit, cursor)


def _shown(site: Site) -> SiteOut:
    return SiteOut(site.id, site.name, site.site_key, site.currency, site.country)


HANDLERS = [create, list_sites]
