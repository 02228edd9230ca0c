"""The options that commands share, and the way from them to the database.

Commands join the server of a `serve` that runs on the same data folder; where none runs, it lives as long as they do.
"""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from postback import workspaces
from postback.cli import environment
from postback.db import Tx, connect, embedded, server
from postback.errors import NotFound
from postback.installation import NotInstalled
from postback.secret import Secret
from postback.settings import Settings
from postback.workspaces import Workspace

Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Which installation; options win over POSTBACK_* variables, and these over the file."""

    data_dir: Annotated[Path | None, Parameter(help="Folder of the embedded database. [./postback-data]")] = None
    database_url: Annotated[str | None, Parameter(help="DSN of your own PostgreSQL, 16 or later.")] = None
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None

    def settings(self) -> Settings:
        """Raises SettingsError."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return environment.settings({n: str(v) if isinstance(v, Path) else v for n, v in given.items()})


@Parameter(name="*")
@dataclass(frozen=True)
class Founding(Place):
    """What the first start fixes."""

    environment: Annotated[
        Literal["live", "test"] | None, Parameter(help="Whose keys are accepted; fixed at the first start. [live]")
    ] = None


@Parameter(name="*")
@dataclass(frozen=True)
class Serving(Founding):
    """Where HTTP is answered."""

    host: Annotated[str | None, Parameter(help="Address to listen on; 0.0.0.0: every interface. [127.0.0.1]")] = None
    port: Annotated[int | None, Parameter(help="Port to listen on. [8080]")] = None
    api_processes: Annotated[int | None, Parameter(help="Processes that answer HTTP. [1]")] = None


class Session:
    """A connection to the installation's database. `now` is the database's time, by which keys are judged."""

    def __init__(self, tx: Tx, settings: Settings, now: datetime) -> None:
        self.tx = tx
        self.settings = settings
        self.now = now


@asynccontextmanager
async def database(settings: Settings, *, may_make: bool = False) -> AsyncIterator[Secret]:
    """The database of these settings. Raises NotInstalled where the data folder holds none, unless it may be made."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    folder = Path(settings.data_dir)
    if not may_make and not (folder / "postgres").exists():
        raise NotInstalled(f"There is no Postback in {folder}; run `postback init`, or give its --data-dir.")
    async with embedded.joined(folder) as dsn:
        yield Secret(dsn)


@asynccontextmanager
async def session(settings: Settings) -> AsyncIterator[Session]:
    async with database(settings) as dsn:
        tx = await connect(dsn)
        try:
            yield Session(tx, settings, await server.clock(tx))
        finally:
            await tx.close()


async def workspace(tx: Tx, named: str | None) -> Workspace:
    """The workspace of this id or name; the first one where none is named. Raises NotFound."""
    known = await workspaces.all_(tx)
    if not known:
        raise NotInstalled("This database has no installation yet; run `postback init`.")
    if named is None:
        return known[0]
    for one in known:
        if named in (str(one.id), one.name, one.organization_id):
            return one
    raise NotFound(f"There is no workspace {named}; there are {', '.join(one.name for one in known)}.")
