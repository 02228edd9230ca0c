"""`postback doctor`: what is wrong with an installation, and what to do about it.

Looks at the database (reach, version, settings, migrations), the clocks, the disk, the seal key, the destinations.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from msgspec import Struct

from postback import destinations, installation
from postback.cli import show
from postback.cli.failures import FAILED, explained
from postback.cli.options import HERE, Json, Place
from postback.cli.session import Session, database, session
from postback.db import Tx, buckets, migrate, server
from postback.db.server_settings import RECOMMENDED
from postback.errors import PostbackError
from postback.pii import Sealer
from postback.privacy import upkeep
from postback.queue import lists
from postback.secret import Secret
from postback.settings import Settings

OLDEST_VERSION = 16
CLOCK_TOLERANCE = timedelta(seconds=2)
LEAST_FREE_BYTES = 1 << 30
DURABILITY = frozenset({"fsync", "full_page_writes", "synchronous_commit"})


class Finding(Struct, frozen=True):
    """`advice` does not make the exit code 1; `wrong` does."""

    about: str
    verdict: Literal["ok", "advice", "wrong"]
    said: str
    fix: str = ""


async def doctor(place: Place = HERE, *, as_json: Json = False) -> int:
    """Check database, settings, clocks, disk, keys and destinations; exit 1 where something is wrong."""
    settings = place.settings()
    findings = [_disk(settings)]
    try:
        async with database(settings) as dsn:
            findings += [finding async for finding in _of_database(settings, dsn)]
    except Exception as error:  # whatever it is, it is a finding
        said, _ = explained(error)
        findings.append(Finding("database", "wrong", said))
    is_well = all(finding.verdict != "wrong" for finding in findings)
    if as_json:
        show.as_json({"ok": is_well, "items": findings})
    else:
        for finding in findings:
            show.say(f"{finding.verdict:<7} {finding.about}: {finding.said}")
            if finding.fix:
                show.say(f"        {finding.fix}")
    return 0 if is_well else FAILED


async def _of_database(settings: Settings, dsn: Secret) -> AsyncGenerator[Finding, None]:
    if not await asyncio.to_thread(migrate.is_current, dsn):
        yield Finding("migrations", "wrong", "some were not run", "Run `postback db migrate`.")
        return
    yield Finding("migrations", "ok", "all were run")
    async with session(settings) as s:
        here = datetime.now(UTC)
        facts = await server.read(s.tx)
        yield _version(facts)
        yield _clock(facts.now - here)
        for finding in await _server_settings(s.tx):
            yield finding
        try:
            vault = await installation.open_vault(s.tx, s.settings)
        except PostbackError as error:
            yield Finding("seal key", "wrong", error.message)
            return
        yield Finding("seal key", "ok", "it opens this database")
        async for finding in _older_keys(s.tx, vault.sealer):
            yield finding
        found = await destinations.all_sendable(s.tx, vault.sealer)
        lanes = await destinations.lanes(s.tx, sorted({d.bucket for d in found}))
        for destination in found:
            if destination.removed_at is None:
                yield await _destination(s, destination, lanes.get(destination.id))


async def _older_keys(tx: Tx, sealer: Sealer) -> AsyncGenerator[Finding, None]:
    """Whether what they sealed was sealed anew; reads all that is sealed once it should be."""
    left = await upkeep.left(tx, sealer)
    for key_id in sealer.older:
        about = f"seal key {key_id.hex()}"
        if left:
            said = f"older; a worker seals anew what it sealed, {left} of {upkeep.PARTS} parts are left"
            yield Finding(about, "advice", said, "Keep it until this says that nothing needs it.")
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
        if (value := held.get(name)) != wanted:
            verdict = "wrong" if name in DURABILITY else "advice"
            found.append(Finding("settings", verdict, f"{name} is {value}", f"ALTER SYSTEM SET {name} = '{wanted}';"))
    return found or [Finding("settings", "ok", "as recommended")]


def _disk(settings: Settings) -> Finding:
    folder = Path(settings.data_dir).resolve()
    if settings.database_url is not None:
        return Finding("disk", "ok", "the database's own is not seen from here")
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / (1 << 30):.1f} GB free at {folder}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", "wrong", said, "Make room, or move the data folder: nothing is accepted on a full disk.")
    return Finding("disk", "ok", said)


async def _destination(s: Session, destination: destinations.Destination, lane: destinations.Lane | None) -> Finding:
    about = f"destination {destination.name}"
    if lane is not None and lane.state == "held":
        fix = f"{lane.fix or 'Correct its config.'} Then `postback destinations resume {destination.id}`."
        return Finding(about, "wrong", f"held: {lane.reason}", fix)
    if lane is not None and lane.state == "paused":
        return Finding(about, "advice", "paused", f"`postback destinations resume {destination.id}` sends what waits.")
    waiting = await lists.backlog(s.tx, destination.id, s.now - timedelta(days=s.settings.retention_days))
    if not waiting.retrying:
        return Finding(about, "ok", "sends")
    since = waiting.since or s.now
    delivered = lists.DeliveryFilter(destination_ids=[destination.id], statuses=["delivered"])
    last = (lists.LAST_ID, lists.LAST_ID)
    sends, _ = await lists.deliveries(s.tx, delivered, min_id=buckets.floor(since), before=last, limit=1)
    said = f"{waiting.retrying} deliveries, the first since {since:%Y-%m-%d %H:%M} UTC: {waiting.reason}"
    fix = "What waits is sent by itself once the platform answers; its delivery log has the answers so far."
    if sends:
        return Finding(about, "advice", f"sends, and retries {said}", fix)
    return Finding(about, "wrong", f"delivers nothing and retries {said}", fix)
