"""`postback db`: tables brought up to date, a backup, a restore."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from postback import installation
from postback.cli import show
from postback.cli.failures import WrongUsage
from postback.cli.init import bring_up_to_date
from postback.cli.options import HERE, Json, Place
from postback.cli.session import database, is_made
from postback.db import Tx, connect, embedded, server, tools
from postback.errors import PostbackError
from postback.settings import Settings

NO_SEAL_KEY = (
    "The seal key is not in it, and without it readable personal data and destinations' credentials cannot be read: "
    "keep {} apart from it."
)


async def migrate(place: Place = HERE, *, as_json: Json = False) -> None:
    """Bring the tables up to date; safe to repeat."""
    settings = place.settings()
    async with database(settings, may_make=True) as dsn:
        done = await bring_up_to_date(dsn)
    if as_json:
        show.as_json({"migrations": done})
    else:
        show.say(f"Run: {', '.join(done)}." if done else "All migrations were run already.")


async def backup(
    file: Annotated[Path, Parameter(help="Where to write it; it is replaced when complete.")],
    place: Place = HERE,
    *,
    as_json: Json = False,
) -> None:
    """Write the whole database to a file (pg_dump's custom format), while it runs; all but the seal key."""
    settings = place.settings()
    async with database(settings) as dsn:
        await tools.dump(dsn.reveal(), file)
    key = _key_of(settings.database_url is None and settings.seal_keys is None, settings.data_dir)
    note = NO_SEAL_KEY.format(key)
    if as_json:
        show.as_json({"file": str(file), "bytes": file.stat().st_size, "seal_key_in_it": False, "note": note})
    else:
        show.say(f"Wrote {file} ({file.stat().st_size} bytes). {note}")


async def restore(
    file: Annotated[Path, Parameter(help="A file that `postback db backup` wrote.")],
    place: Place = HERE,
    *,
    yes: Annotated[bool, Parameter(help="Replace what the database holds now.")] = False,
    as_json: Json = False,
) -> None:
    """Replace everything in the database by a backup; `serve` must not run meanwhile."""
    settings = place.settings()
    folder = Path(settings.data_dir)
    if not file.is_file():
        raise WrongUsage(f"There is no file {file}; give one that `postback db backup` wrote.")
    if not yes and (settings.database_url is not None or is_made(settings)):
        raise WrongUsage("This replaces everything that the database holds; say --yes if that is meant.")
    if settings.database_url is None and await embedded.running(folder) is not None:
        raise WrongUsage(f"Postback runs on {folder}; stop it, then restore.")
    async with database(settings, may_make=True) as dsn:
        tx = await connect(dsn)
        try:
            # pg_restore's own --clean cannot drop the constraints of partitions.
            async with server.replacing_all(tx):
                await tools.restore(dsn.reveal(), file)
            await bring_up_to_date(dsn)
            opens, note = await _try_seal_key(tx, settings)
        finally:
            await tx.close()
    if as_json:
        show.as_json({"file": str(file), "seal_key_opens": opens, "note": note})
    else:
        show.say(f"Restored {file}. {note}")


async def _try_seal_key(tx: Tx, settings: Settings) -> tuple[bool, str]:
    """Whether ours opens the database, and what to tell."""
    try:
        await installation.open_vault(tx, settings)
    except PostbackError as error:
        return False, error.message
    return True, "Its seal key is here."


def _key_of(is_file: bool, data_dir: str) -> str:
    return str(Path(data_dir) / "seal.key") if is_file else "POSTBACK_SEAL_KEYS"
