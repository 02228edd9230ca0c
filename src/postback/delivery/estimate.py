"""What a replay or a backfill would take, counted by the walk that it will make, and nothing written."""

import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from postback.connectors import always
from postback.db import Tx
from postback.delivery import prepare, replay
from postback.delivery.prepare import Known
from postback.delivery.replay import EXAMINED, Scene, Walk
from postback.destinations import Destination
from postback.event import Event
from postback.queue import history, sending
from postback.queue.history import Span
from postback.queue.jobs import Job

COUNTING_SECONDS = 10.0
_decode = msgspec.json.Decoder(Event).decode


class Estimate(Struct):
    """`may_count_twice`: the platform took these already, or may have, and will not know them as repeats any more.
    `is_complete`: all was looked at in the time there was; else both are lower bounds."""

    total: int = 0
    may_count_twice: int = 0
    is_complete: bool = True


async def estimate(tx: Tx, job: Job, scene: Scene, *, seconds: float = COUNTING_SECONDS) -> Estimate:
    """What a job would take if it began now."""
    found, deadline = Estimate(), time.monotonic() + seconds
    for id_, place in job.position.items():
        walk = Walk(tx, job, scene.installed[id_], place, scene)
        while walk.place is not None:
            if time.monotonic() > deadline:
                found.is_complete = False
                return found
            walk.left = EXAMINED
            await (_count_replay(walk, found) if job.kind == "replay" else _count_backfill(walk, found))
    return found


async def _count_replay(walk: Walk, found: Estimate) -> None:
    for span in walk.spans():
        rows = await history.replayable(walk.tx, span, walk.job.selection, walk.left)
        if took := await replay.standing(walk.tx, [id_ for id_, matches in rows if matches]):
            found.total += len(took)
            found.may_count_twice += await _repeats(walk.tx, span, took, walk.destination, walk.scene.now)
        walk.saw(rows[-1][0] if rows else None, is_all=len(rows) < walk.left, rows=len(rows))


async def _count_backfill(walk: Walk, found: Estimate) -> None:
    for span in walk.spans():
        rows = await history.lacking(walk.tx, span, walk.job.workspace_id, walk.job.selection, walk.left)
        found.total += sum(
            one is not None and replay.fate(one, walk.destination, walk.scene.now) is not None for _, one in rows
        )
        walk.saw(rows[-1][0] if rows else None, is_all=len(rows) < walk.left, rows=len(rows))


async def _repeats(tx: Tx, span: Span, event_ids: Sequence[UUID], destination: Destination, now: datetime) -> int:
    """How many of some deliveries would count twice if they were sent again."""
    connector = destination.connector
    if connector.repeat_is_safe is always:
        return 0
    taken = await history.taken(tx, span, event_ids)
    late = {id_.bytes: at for id_, at in taken.items() if now - at >= connector.dedup_window}
    stored = await sending.events(tx, list(late)) if late else {}
    known = {id_: Known(row, _decode(row.body)) for id_, row in stored.items()}
    return sum(not prepare.is_repeatable(one, destination, late[id_], now) for id_, one in known.items())
