"""From options to the installation's database.

Commands join the server of a `serve` that runs on the same data folder; where none runs, it lives as long as they do.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec

from postback import workspaces
from postback.db import Tx, connect, embedded, server
from postback.errors import NotFound
from postback.installation import NotInstalled
from postback.secret import Secret
from postback.settings import Settings
from postback.workspaces import Site, Workspace


class Session:
    """A connection to the installation's database. `now` is the database's time, by which keys are judged."""

    def __init__(self, tx: Tx, settings: Settings, now: datetime) -> None:
        self.tx = tx
        self.settings = settings
        self.now = now


def is_made(settings: Settings) -> bool:
    """Whether the data folder holds a database."""
    return (Path(settings.data_dir) / "postgres").exists()


@asynccontextmanager
async def database(settings: Settings, *, may_make: bool = False) -> AsyncGenerator[Secret]:
    """The database of these settings. Raises NotInstalled where the data folder holds none, unless it may be made."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    folder = Path(settings.data_dir)
    if not may_make and not is_made(settings):
        raise NotInstalled(f"There is no Postback in {folder}; run `postback init`, or give its --data-dir.")
    async with embedded.joined(folder) as dsn:
        yield Secret(dsn)


@asynccontextmanager
async def session(settings: Settings) -> AsyncGenerator[Session]:
    """A connection, and the settings with the environment of the installation. Raises NotInstalled."""
    async with database(settings) as dsn:
        tx = await connect(dsn)
        try:
            installed = await workspaces.installation(tx)
            if installed is None:
                raise _none()
            fitting = msgspec.structs.replace(settings, environment=installed.environment)
            yield Session(tx, fitting, await server.clock(tx))
        finally:
            await tx.close()


async def workspace(tx: Tx, named: str | None) -> Workspace:
    """The workspace of this id or name; the first one where none is named. Raises NotFound."""
    known = await workspaces.all_(tx)
    if not known:
        raise _none()
    if named is None:
        return known[0]
    for one in known:
        if named in (str(one.id), one.name, one.organization_id):
            return one
    raise NotFound(f"There is no workspace {named}; there are {', '.join(one.name for one in known)}.")


async def named_site(tx: Tx, workspace_id: UUID, named: str) -> Site:
    """The site of this id, name or site key. Raises NotFound."""
    known = await workspaces.sites(tx, [workspace_id])
    for site in known:
        if named in (str(site.id), site.name, site.site_key):
            return site
    raise NotFound(f"There is no site {named}; there are {', '.join(site.name for site in known)}.")


async def first_site(tx: Tx, workspace_id: UUID) -> Site:
    first, *_ = await workspaces.sites(tx, [workspace_id])
    return first


def _none() -> NotInstalled:
    return NotInstalled("This database has no installation yet; run `postback init`.")
