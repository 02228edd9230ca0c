"""Goals that a platform counts once a visitor: which of them were reached before, by our own delivered rows.

A delivered event leaves a mark: a link (workspace, destination, visitor and goal) in the visitor's bucket, written with
its outcome. One more look-up a claim reads the marks. Of several events that reach one goal for the first time, this
worker sends one; the others wait for its end. Two workers that send two of them in one second both count the goal.
"""

from datetime import datetime

import structlog
from msgspec.structs import replace

from postback import pii
from postback.connectors import Skipped
from postback.db import Tx
from postback.delivery import prepare
from postback.delivery.claims import Claims
from postback.delivery.prepare import Known
from postback.destinations import Destination
from postback.pii import Vault
from postback.queue.sending import Claimed, Ticket
from postback.visitors import links

log = structlog.get_logger()
New = list[tuple[Ticket, Claimed]]


async def tell(
    tx: Tx,
    new: New,
    known: dict[bytes, Known | None],
    destination: Destination,
    keys: Vault,
    claims: Claims,
    now: datetime,
) -> New:
    """Put into `known` whether each event's goal was reached before; what can be built now. The rest is no longer under
    way, and is claimed again. One look-up, none where the connector counts nothing so."""
    if destination.connector.reaches is None:
        return new
    marks: dict[bytes, tuple[bytes, bytes]] = {}
    others: set[bytes] = set()
    for ticket, _ in new:
        one = known.get(ticket.event_id)
        if one is not None and (mark := _mark(one, destination, keys, now)) is not None:
            marks[ticket.event_id] = mark
            if not claims.hold(ticket, mark[0]):
                others.add(ticket.event_id)
    # Read after the holds: who holds a mark now knows of all who held it before.
    reached = await links.reached(tx, list(marks.values())) if marks else set()
    waiting = {ticket for ticket, _ in new if ticket.event_id in others and marks[ticket.event_id][0] not in reached}
    claims.forget(waiting)
    for event_id, mark in marks.items():
        if (one := known[event_id]) is not None:
            known[event_id] = replace(one, reaches=mark, reached_before=mark[0] in reached)
    return [(ticket, row) for ticket, row in new if ticket not in waiting]


def _mark(known: Known, destination: Destination, keys: Vault, now: datetime) -> tuple[bytes, bytes] | None:
    """The link's key and its visitor's; None where no goal is reached that is counted once."""
    reaches = destination.connector.reaches
    try:
        shaped = prepare.shape(prepare.join_one(known, destination.connector, None, now), destination)
        if reaches is None or isinstance(shaped, Skipped):
            return None
        reached = reaches(shaped, destination.config)
    except Exception:  # the same bug meets it again when it is built, and is told there
        log.exception("a goal cannot be told", connector=destination.connector.name, event_id=known.stored.id.hex())
        return None
    if reached is None:
        return None
    key = pii.link_key(keys.link_key, known.stored.workspace_id, "reached", f"{destination.id}\0{reached}")
    visitor_key = known.visitor.key.bytes if known.visitor is not None else known.stored.visitor_key
    return key, visitor_key or key
