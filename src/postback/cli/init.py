"""`postback init`: tables, partitions, and on the first run the installation with its workspace, owner and keys.

`serve` runs it too, as a child of its own, so that what migrates and hashes passwords does not stay in its memory.
"""

import asyncio
from typing import Any

import msgspec

from postback import destinations, installation, workspaces
from postback.cli import show
from postback.cli.installed import Held, Installed
from postback.cli.options import FOUNDING, Founding, Json
from postback.cli.session import database
from postback.db import Tx, buckets, connect, migrate, partitions, server
from postback.installation import Made
from postback.secret import Secret
from postback.settings import Settings


async def init(place: Founding = FOUNDING, *, as_json: Json = False) -> None:
    """Create the tables and, once, workspace, site, owner and keys; safe to repeat."""
    settings = place.settings()
    async with database(settings, may_make=True) as dsn:
        result = await prepare(settings, dsn)
    if as_json:
        show.as_json(result)
    else:
        msgspec.convert(result, Installed, from_attributes=True).say()


async def prepare(settings: Settings, dsn: Secret) -> Made | dict[str, Any]:
    """Bring a database up to date, and make the installation where there is none; else what may be shown of it again.

    Raises WrongSetup.
    """
    await bring_up_to_date(dsn)
    tx = await connect(dsn)
    try:
        now = await server.clock(tx)
        async with tx.transaction():
            made = await installation.init(tx, settings, now)
        return made or await _already(tx, settings)
    finally:
        await tx.close()


async def bring_up_to_date(dsn: Secret) -> list[str]:
    """Run what migrations are missing, and make partitions ahead; gives the migrations that were run."""
    done = await asyncio.to_thread(migrate.migrate, dsn)
    tx = await connect(dsn)
    try:
        await partitions.make_ahead(tx, await server.clock(tx))
    finally:
        await tx.close()
    return done


async def _already(tx: Tx, settings: Settings) -> dict[str, Any]:
    await installation.open_vault(tx, settings)
    first = (await workspaces.all_(tx))[0]
    site = (await workspaces.sites(tx, [first.id]))[0]
    return {
        "already": True,
        "workspace": str(first.id),
        "organization_id": first.organization_id,
        "site": str(site.id),
        "site_key": site.site_key,
        "held": await _held(tx),
    }


async def _held(tx: Tx) -> list[Held]:
    """What sends nothing, in every workspace."""
    found = await destinations.installed(tx)
    lanes = await destinations.lanes(tx, sorted({buckets.of_id(one.id) for one in found}))
    held = [(one, lane) for one in found if (lane := lanes.get(one.id)) and lane.state == "held"]
    return [Held(str(one.id), one.name, lane.reason or "", lane.fix or "Correct its config.") for one, lane in held]
