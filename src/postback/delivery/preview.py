"""What would be sent: a dry run of one event, from judging to the request, and nothing goes out.

The visitor is joined as it is now. The request is masked as the log masks it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from postback import secret
from postback.connectors import Request
from postback.db import Tx
from postback.delivery import prepare
from postback.delivery.prepare import Keys
from postback.delivery.record import Record
from postback.destinations import Destination
from postback.queue.sending import StoredEvent


class Previewed(Struct, frozen=True):
    """`status`: queued, skipped or failed. `request`: method, url, headers, body; None where nothing would be sent."""

    destination: Destination
    status: str
    reason: str | None
    request: dict[str, Any] | None


async def show(
    tx: Tx, event: StoredEvent, destinations: Sequence[Destination], keys: Keys, now: datetime
) -> list[Previewed]:
    """One line a destination, in their order. `event` need not be stored."""
    known = (await prepare.join(tx, [event], keys))[event.id]
    if known is None:
        raise ValueError("the event's body is not what intake writes")
    return [_one(known, destination, keys, now) for destination in destinations]


def _one(known: prepare.Known, destination: Destination, keys: Keys, now: datetime) -> Previewed:
    built = prepare.build(known, destination, keys, now)
    if not isinstance(built, tuple):
        status = "skipped" if isinstance(built, prepare.Skipped) else "failed"
        return Previewed(destination, status, built.reason, None)
    _, item = built
    connector = destination.connector
    request = connector.pack([item], destination.config, now)
    record = Record(secret.of(destination.config), connector.private)
    return Previewed(destination, "queued", None, _shown(request, record))


def _shown(request: Request, record: Record) -> dict[str, Any]:
    method, url = record.text(f"{request.method}\n{request.url}").split("\n", 1)
    body = request.json if request.json is not None else msgspec.json.decode(request.content())
    return {
        "method": method,
        "url": url,
        "headers": {name: record.text(value) for name, value in request.headers.items()},
        "body": msgspec.json.decode(record.body(body)),
    }
