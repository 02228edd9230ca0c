"""`postback doctor`: what is wrong with an installation, and what to do about it: `checks`, migrations, workers,
destinations.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

from postback import checks, destinations, installation
from postback.checks import Finding
from postback.cli import show
from postback.cli.failures import FAILED, explained
from postback.cli.options import HERE, Json, Place
from postback.cli.session import Session, database, session
from postback.db import buckets, migrate
from postback.errors import PostbackError
from postback.queue import leases, lists
from postback.secret import Secret
from postback.settings import Settings


async def doctor(place: Place = HERE, *, as_json: Json = False) -> int:
    """Check database, settings, clocks, disk, keys, workers and destinations; exit 1 where something is wrong."""
    settings = place.settings()
    findings = [checks.disk(settings)]
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
        async for finding in checks.of_database(s.tx, s.settings, is_thorough=True):
            yield finding
        if alive := len(await leases.workers(s.tx, s.settings.lease_seconds)):
            yield Finding("workers", "ok", f"{alive} alive")
        else:
            fix = "`postback serve` runs one, `postback worker` is one."
            yield Finding("workers", "advice", "none is alive: nothing is delivered", fix)
        try:
            vault = await installation.open_vault(s.tx, s.settings)
        except PostbackError:  # said above
            return
        found = await destinations.all_sendable(s.tx, vault.sealer)
        lanes = await destinations.lanes(s.tx, sorted({d.bucket for d in found}))
        for destination in found:
            if destination.removed_at is None:
                yield await _destination(s, destination, lanes.get(destination.id))


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
