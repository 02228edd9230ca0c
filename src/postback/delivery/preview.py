"""What would be sent: a dry run of one event, from judging to the request, and nothing goes out.

The request is masked as the log masks it. `show` joins no visitor: who may send events may not read what others sent of
a visitor.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from postback import secret
from postback.connectors import Request
from postback.delivery import prepare
from postback.delivery.record import Record
from postback.destinations import Destination
from postback.event import Event
from postback.pii import Vault
from postback.queue.sending import StoredEvent

_decode = msgspec.json.Decoder(Event).decode


class Previewed(Struct, frozen=True):
    """`status`: queued, skipped or failed. `request`: method, url, headers, body; None where nothing would be sent."""

    destination: Destination
    status: str
    reason: str | None
    request: dict[str, Any] | None


def show(event: StoredEvent, destinations: Sequence[Destination], keys: Vault, now: datetime) -> list[Previewed]:
    """One line a destination, in their order. `event` need not be stored."""
    known = prepare.Known(event, _decode(event.body))
    return [show_one(known, destination, keys, now) for destination in destinations]


def show_one(known: prepare.Known, destination: Destination, keys: Vault, now: datetime) -> Previewed:
    """What a destination would get of an event, with what is known of its visitor."""
    if destination.config is None:
        return Previewed(destination, "skipped", "the destination's configuration does not open", None)
    built = prepare.build(known, destination, keys, now)
    if not isinstance(built, tuple):
        status = "skipped" if isinstance(built, prepare.Skipped) else "failed"
        return Previewed(destination, status, built.reason, None)
    _, item = built
    request = destination.connector.pack([item], destination.config, now)
    return Previewed(destination, "queued", None, shown(request, destination))


def shown(request: Request, destination: Destination) -> dict[str, Any]:
    """A request as people may read it."""
    record = Record(secret.of(destination.config), destination.connector.private)
    method, url = record.text(f"{request.method}\n{request.url}").split("\n", 1)
    body = request.json if request.json is not None else msgspec.json.decode(request.content())
    return {
        "method": method,
        "url": url,
        "headers": {name: record.text(value) for name, value in request.headers.items()},
        "body": msgspec.json.decode(record.body(body)),
    }
