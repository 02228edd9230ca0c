"""Jobs as tests make them, and take their steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from postback import destinations
from postback.db import buckets
from postback.db.buckets import BUCKETS
from postback.delivery import estimate as estimates
from postback.delivery import replay
from postback.delivery.replay import Scene
from postback.destinations import Destination
from postback.queue import jobs
from postback.queue.jobs import Job, Kind, Selection
from tests.delivery.delivering import Hub

RETENTION = timedelta(days=400)
FAILED_FIRST = "UPDATE delivery SET status = 'failed', reason = 'no email', attempt = 3, tries = 3, settled_at = now()"


async def scene(hub: Hub, *to: Destination) -> Scene:
    lanes = await destinations.lanes(hub.tx, BUCKETS)
    return Scene({d.id: d for d in to}, lanes, datetime.now(UTC), RETENTION)


async def make(hub: Hub, kind: Kind, *to: Destination, total: int | None = None, **wanted: Any) -> Job:
    now = datetime.now(UTC)
    usual = {"statuses": ["failed", "skipped"]} if kind == "replay" else {}
    selection = Selection(destination_ids=[d.id for d in to], **(usual | wanted))
    job = jobs.draft(
        id=buckets.new_id(now),
        workspace_id=hub.workspace.id,
        kind=kind,
        selection=selection,
        created_by="test",
        now=now,
    )
    job = msgspec.structs.replace(job, total=total)
    await jobs.add(hub.tx, job)
    return job


async def finish(hub: Hub, job: Job, *to: Destination) -> Job:
    """Take every step, as if all that is queued were sent at once."""
    while await replay.step(hub.tx, job.id, await scene(hub, *to)):
        await hub.tx.execute("UPDATE delivery SET due_at = now() + interval '1 day' WHERE status = 'queued'")
    return await read(hub, job)


async def read(hub: Hub, job: Job) -> Job:
    found = await jobs.read(hub.tx, hub.workspace.id, job.kind, job.id)
    assert found is not None
    return found


async def estimated(hub: Hub, job: Job, *to: Destination) -> tuple[int, int]:
    found = await estimates.estimate(hub.tx, job, await scene(hub, *to))
    assert found.is_complete
    return found.total, found.may_count_twice


async def is_done(hub: Hub, *some: Job) -> bool:
    return all([(await read(hub, job)).status == "done" for job in some])
