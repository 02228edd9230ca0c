"""`postback init`: tables, partitions, and on the first run the installation with its workspace, owner and keys.

`serve` runs it too, as a child of its own, so that what migrates and hashes passwords does not stay in its memory.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from postback import installation, workspaces
from postback.cli import show
from postback.cli.options import Founding, Json, database
from postback.db import Tx, connect, migrate, partitions
from postback.installation import Made, WrongSetup
from postback.secret import Secret
from postback.settings import Settings


class Already(Struct, frozen=True):
    """An installation that was made before: what may be shown of it again."""

    already: bool
    workspace: str
    organization_id: str
    site: str
    site_key: str


async def init(place: Founding = Founding(), *, as_json: Json = False) -> None:
    """Create the tables and, once, workspace, site, owner and keys; safe to repeat."""
    settings = place.settings()
    async with database(settings, may_make=True) as dsn:
        result = await prepare(settings, dsn)
    if as_json:
        show.as_json(result)
    elif isinstance(result, Made):
        say_made(result)
    else:
        show.say("Postback is set up already; its keys and password were shown at the first start.")
        show.say(f"Site key: {result.site_key}. Make another key by `postback keys create`.")


async def prepare(settings: Settings, dsn: Secret) -> Made | Already:
    """Bring a database up to date, and make the installation where there is none. Raises WrongSetup."""
    await asyncio.to_thread(migrate.migrate, dsn)
    tx = await connect(dsn)
    try:
        now = datetime.now(UTC)
        await partitions.make_ahead(tx, now)
        async with tx.transaction():
            made = await installation.init(tx, settings, now)
        return made or await _already(tx, settings)
    finally:
        await tx.close()


async def _already(tx: Tx, settings: Settings) -> Already:
    check_seal_key(settings)
    await installation.open_vault(tx, settings)
    first = (await workspaces.all_(tx))[0]
    site = (await workspaces.sites(tx, [first.id]))[0]
    return Already(True, str(first.id), first.organization_id, str(site.id), site.site_key)


def check_seal_key(settings: Settings) -> None:
    """Raise WrongSetup where an installation's seal key is missing, before another one is made in its place."""
    file = Path(settings.data_dir) / "seal.key"
    if settings.seal_keys is None and settings.database_url is None and not file.exists():
        raise WrongSetup(
            f"The seal key {file} is missing: put back the one this database was made with, or set POSTBACK_SEAL_KEYS."
        )


def say_made(made: Made) -> None:
    show.say("Postback is set up. These are shown this once:")
    show.say()
    for name, value in (
        ("owner", f"{made.owner_email}  {made.owner_password}"),
        ("ingest key", made.api_key),
        ("admin key", made.admin_key),
        ("site key", made.site_key),
        ("workspace", made.workspace),
    ):
        show.say(f"  {name:<11} {value}")
    show.say()
