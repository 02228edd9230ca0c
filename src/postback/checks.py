"""Whether an installation is well, and what to do where it is not: the database (version, settings), the clocks, the
disk, the seal keys. `postback doctor` and the admin API say it.
"""

import shutil
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from msgspec import Struct

from postback import installation
from postback.db import Tx, server
from postback.db.server_settings import RECOMMENDED
from postback.errors import PostbackError
from postback.pii import Sealer
from postback.privacy import upkeep
from postback.settings import Settings

OLDEST_VERSION = 16
CLOCK_TOLERANCE = timedelta(seconds=2)
LEAST_FREE_BYTES = 1 << 30
DURABILITY = frozenset({"fsync", "full_page_writes", "synchronous_commit"})
ROOM = frozenset({"max_wal_size", "min_wal_size"})
_UNITS = {"MB": 0, "GB": 10, "TB": 20}


class Finding(Struct, frozen=True):
    """`wrong`: it must be mended; `advice`: it could be better. `fix` empty: there is nothing to do."""

    about: str
    verdict: Literal["ok", "advice", "wrong"]
    said: str
    fix: str = ""


async def of_database(tx: Tx, settings: Settings, *, is_thorough: bool) -> AsyncGenerator[Finding, None]:
    """`is_thorough`: reads all that is sealed, if that tells whether an older key is needed."""
    here = datetime.now(UTC)
    facts = await server.read(tx)
    yield _version(facts)
    yield _clock(facts.now - here)
    for finding in await _server_settings(tx):
        yield finding
    try:
        vault = await installation.open_vault(tx, settings)
    except PostbackError as error:
        yield Finding("seal key", "wrong", error.message)
        return
    yield Finding("seal key", "ok", "it opens this database")
    async for finding in _older_keys(tx, vault.sealer, is_thorough):
        yield finding


async def _older_keys(tx: Tx, sealer: Sealer, is_thorough: bool) -> AsyncGenerator[Finding, None]:
    """Whether what they sealed was sealed anew; reads all that is sealed once it should be."""
    left = await upkeep.left(tx, sealer)
    for key_id in sealer.older:
        about = f"seal key {key_id.hex()}"
        if left:
            said = f"older; a worker seals anew what it sealed, {left} of {upkeep.PARTS} parts are left"
            yield Finding(about, "advice", said, "Keep it until this says that nothing needs it.")
        elif not is_thorough:
            yield Finding(about, "advice", "older", "`postback doctor` says whether something needs it still.")
        elif await upkeep.is_needed(tx, key_id):
            said = "older, and something is sealed by it still"
            yield Finding(about, "advice", said, "Restart every process with the newest key in front; then wait a day.")
        else:
            yield Finding(about, "ok", "nothing needs it any more: take it out of POSTBACK_SEAL_KEYS")


def _version(facts: server.Server) -> Finding:
    shown = f"PostgreSQL {facts.version // 10000}.{facts.version % 10000}"
    if facts.version // 10000 < OLDEST_VERSION:
        return Finding("database", "wrong", shown, f"Use PostgreSQL {OLDEST_VERSION} or later.")
    if facts.is_read_only:
        return Finding("database", "wrong", f"{shown}, read only", "Give the --database-url of the primary.")
    return Finding("database", "ok", shown)


def _clock(ahead: timedelta) -> Finding:
    seconds = ahead.total_seconds()
    if abs(ahead) > CLOCK_TOLERANCE:
        said = f"the database's is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} ours"
        return Finding("clocks", "wrong", said, "Run a time service (chrony, systemd-timesyncd) on both machines.")
    return Finding("clocks", "ok", f"{abs(seconds):.1f} s apart")


async def _server_settings(tx: Tx) -> list[Finding]:
    held = await server.settings(tx, list(RECOMMENDED))
    found: list[Finding] = []
    for name, wanted in RECOMMENDED.items():
        if (value := held.get(name)) != wanted and not _is_more(name, value, wanted):
            verdict = "wrong" if name in DURABILITY else "advice"
            found.append(Finding("settings", verdict, f"{name} is {value}", f"ALTER SYSTEM SET {name} = '{wanted}';"))
    return found or [Finding("settings", "ok", "as recommended")]


def _is_more(name: str, value: str | None, wanted: str) -> bool:
    """Of what is to be had at least. Sizes as `SHOW` writes them: 1GB, 1536MB."""
    if name not in ROOM or value is None:
        return False
    ours, theirs = (int(size[:-2]) << _UNITS[size[-2:]] for size in (wanted, value))
    return theirs >= ours


def disk(settings: Settings) -> Finding:
    folder = Path(settings.data_dir).resolve()
    if settings.database_url is not None and not folder.exists():
        return Finding("disk", "ok", "the database's own is not seen from here")
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / (1 << 30):.1f} GB free at {folder}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", "wrong", said, "Make room, or move the data folder: nothing is accepted on a full disk.")
    return Finding("disk", "ok", said)
