"""`postback tail`: events as they are stored, and what becomes of their deliveries.

Asks the database twice a second: for ids of the last seconds, and for the deliveries of events that were shown and are
open, the newest thousand of them. Both are reads by primary key. No personal data is shown.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from postback import destinations, installation, queue
from postback.cli import show
from postback.cli.options import HERE, Json, Place
from postback.cli.session import session
from postback.db import Queries, Tx, buckets, server
from postback.queue import DeliveryStatus

POLL_SECONDS = 0.5
LOOK_BACK = timedelta(seconds=5)  # a flush is seen when it commits, its ids are made when it begins
FOLLOWED_MAX = 1000
_queries = Queries("tail")


async def tail(place: Place = HERE, *, as_json: Json = False) -> None:
    """Show events and outcomes as they come, until Ctrl-C."""
    async with session(place.settings()) as s:
        sealer = (await installation.open_vault(s.tx, s.settings)).sealer
        names = {d.id: d.name for d in await destinations.all_sendable(s.tx, sealer)}
        seen = await _newest(s.tx, s.now)
        followed: dict[UUID, dict[UUID, str]] = {}
        while True:
            now = await server.clock(s.tx)
            found = await _newest(s.tx, now)
            for id_, (name, event_id) in found.items():
                if id_ not in seen:
                    _show(as_json, buckets.time_of(id_), "event", event=name, event_id=event_id)
                    followed[id_] = {}
            seen = found
            if any(d.destination_id not in names for d in await _outcomes(s.tx, followed, names, as_json)):
                names = {d.id: d.name for d in await destinations.all_sendable(s.tx, sealer)}
            await asyncio.sleep(POLL_SECONDS)


async def _newest(tx: Tx, now: datetime) -> dict[UUID, tuple[str, str]]:
    span = {"min_id": buckets.floor(now - LOOK_BACK), "max_id": UUID(int=(1 << 128) - 1), "limit": 1000}
    return {id_: (name, event_id) for id_, name, event_id in await (await tx.execute(_queries.newest, span)).fetchall()}
