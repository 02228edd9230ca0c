"""`/v1/admin/workspace`, `settings` and `checks`: the workspace that calls, and the installation that it is part of.

What the environment sets is shown with its variable, and is changed there; secrets are not shown.
"""

from typing import Annotated

from litestar import get, patch
from litestar.di import NamedDependency as Needs
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from postback import __version__, checks, settings, workspaces
from postback.checks import Finding
from postback.db import Tx
from postback.errors import Forbidden
from postback.settings import Described
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.workspaces import WorkspaceOut, accounts, workspace_out

_OPERATOR = {SCOPES: ("admin", "installation")}


class OwnPatch(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET


class InstallationOut(Struct, frozen=True):
    """`environment`: of keys; fixed at the first start. `seal_keys`: how many open what is sealed; the first seals."""

    version: str
    environment: str
    seal_keys: int
    settings: list[Described]


class Checked(Struct, frozen=True):
    """`well`: nothing is wrong."""

    well: bool
    items: list[Finding]


@get("/workspace", summary="The workspace that calls")
async def read(caller: Needs[Caller]) -> Tagged[WorkspaceOut]:
    return Tagged(workspace_out(caller.snapshot.workspace))


@patch("/workspace", summary="Name the workspace that calls", opt={EXAMPLE: {"name": "Acme"}})
async def change(
    hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[OwnPatch], if_match: IfMatch = None
) -> Tagged[WorkspaceOut]:
    async with changing(hub, caller) as change:
        [workspace] = await workspaces.read(change.tx, [caller.workspace_id])
        before = shown = workspace_out(workspace)
        if data.name is not UNSET:
            shown = workspace_out(await workspaces.rename(change.tx, workspace, data.name))
        expect(if_match, before)
        await change.record("changed", "workspace", workspace.id, before=before, after=shown)
    return Tagged(shown)


@get("/settings", summary="How this installation is set", opt=_OPERATOR)
async def read_settings(hub: Needs[Hub], caller: Needs[Caller]) -> InstallationOut:
    """For keys with the scope `installation`, and owners of the installation's first workspace."""
    async with hub.pool.connection() as tx:
        await _require_operator(tx, caller)
    sealer = hub.vault.sealer
    return InstallationOut(
        __version__, hub.settings.environment, 1 + len(list(sealer.older)), settings.described(hub.settings)
    )


@get("/checks", summary="Whether this installation is well", opt=_OPERATOR)
async def read_checks(hub: Needs[Hub], caller: Needs[Caller]) -> Checked:
    """What `postback doctor` says of the database, the clocks, the disk and the seal keys, from this process. For whom
    `settings` is."""
    async with hub.pool.connection() as tx:
        await _require_operator(tx, caller)
        found = [checks.disk(hub.settings)]
        found += [finding async for finding in checks.of_database(tx, hub.settings, is_thorough=False)]
    return Checked(all(finding.verdict != "wrong" for finding in found), found)


async def _require_operator(tx: Tx, caller: Caller) -> None:
    """Raises Forbidden: whoever runs a workspace of several need not be who runs the installation."""
    if "installation" in caller.scopes:
        return
    first, *_ = await workspaces.all_(tx)
    if first.id != caller.workspace_id or not accounts.RIGHTS["owner"] <= caller.scopes:
        raise Forbidden(
            "How the installation is set is for owners of its first workspace, keys with all their scopes "
            "(admin, read, erase), and keys with the scope installation."
        )


HANDLERS = [read, change, read_settings, read_checks]
