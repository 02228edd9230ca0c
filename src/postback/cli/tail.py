"""`postback tail`: events as they are stored, and what becomes of their deliveries.

Asks the database twice a second: for ids of the last seconds, and for the deliveries of events that were shown and are
open, the newest thousand of them. Both are reads by primary key. No personal data is shown.
"""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from postback import destinations, installation, queue
from postback.cli import show
from postback.cli.options import HERE, Json, Place
from postback.cli.session import is_made, session
from postback.db import Queries, Tx, buckets, embedded, server
from postback.errors import PostbackError
from postback.settings import Settings

POLL_SECONDS = 0.5
LOOK_BACK = timedelta(seconds=5)  # a flush is seen when it commits, its ids are made when it begins
FOLLOWED_MAX = 1000
GREATEST = UUID(int=(1 << 128) - 1)
_queries = Queries("tail")


async def tail(place: Place = HERE, *, as_json: Json = False) -> None:
    """Show events and outcomes as they come, until Ctrl-C."""
    settings = place.settings()
    await _require_running(settings)
    async with session(settings) as s:
        sealer = (await installation.open_vault(s.tx, s.settings)).sealer
        names: dict[UUID, str] = {}
        shown = set(await _newest(s.tx, s.now))
        followed: dict[UUID, dict[UUID, str]] = {}  # by event: the last status shown, by destination
        sys.stderr.write("postback: waiting for events, in every workspace; Ctrl-C ends.\n")
        sys.stderr.flush()
        while True:
            found = await _newest(s.tx, await server.clock(s.tx))
            for id_, (name, event_id) in found.items():
                if id_ not in shown:
                    followed[id_] = {}
                    _show(as_json, buckets.time_of(id_), event=name, event_id=event_id)
            shown = set(found)
            for id_ in list(followed)[:-FOLLOWED_MAX]:
                del followed[id_]
            for row in await _moved(s.tx, followed):
                if row.destination_id not in names:
                    names = {d.id: d.name for d in await destinations.all_sendable(s.tx, sealer)}
                destination = names.get(row.destination_id, str(row.destination_id))
                at = row.settled_at or await server.clock(s.tx)
                _show(as_json, at, destination=destination, status=row.status, reason=row.reason, event=row.event_id)
            await asyncio.sleep(POLL_SECONDS)


async def _require_running(settings: Settings) -> None:
    """Where nothing runs nothing comes, and a database of our own would keep `serve` from starting."""
    folder = Path(settings.data_dir)
    if settings.database_url is None and is_made(settings) and await embedded.running(folder) is None:
        raise PostbackError(f"No `postback serve` runs on {folder}; start it, then look.")


async def _newest(tx: Tx, now: datetime) -> dict[UUID, tuple[str, str]]:
    span = {"min_id": buckets.floor(now - LOOK_BACK), "max_id": GREATEST, "limit": FOLLOWED_MAX}
    rows = await (await tx.execute(_queries.newest, span)).fetchall()
    return {id_: (name, event_id) for id_, name, event_id in rows}


async def _moved(tx: Tx, followed: dict[UUID, dict[UUID, str]]) -> list[queue.DeliveryStatus]:
    """Deliveries whose status is another than what was shown; events that are settled are followed no more."""
    if not followed:
        return []
    moved: list[queue.DeliveryStatus] = []
    for id_, deliveries in (await queue.deliveries_of(tx, list(followed))).items():
        for row in deliveries:
            if followed[id_].get(row.destination_id) != row.status:
                followed[id_][row.destination_id] = row.status
                moved.append(row)
        if not any(row.status in queue.OPEN for row in deliveries):
            del followed[id_]
    return moved


def _show(as_json: bool, at: datetime, **fields: object) -> None:
    if as_json:
        show.as_json({"at": at, **fields})
    else:
        told = "  ".join(str(value) for value in fields.values() if value is not None)
        show.say(f"{at:%H:%M:%S}  {told}")
