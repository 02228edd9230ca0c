"""`postback send`: one event by the client SDK, its receipt, and what becomes of its deliveries."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from postback.cli import environment, show
from postback.cli.failures import FAILED, WrongUsage
from postback.cli.options import Json
from postback.client import Client, Delivery, EventStatus, NotReached, NotTaken
from postback.errors import PostbackError

FOLLOW_SECONDS = 30
POLL_SECONDS = 0.3


def send(
    event: Annotated[
        Path, Parameter(allow_leading_hyphen=True, help="File with one event, as for POST /v1/events; - reads stdin.")
    ],
    *,
    url: Annotated[
        str, Parameter(env_var=environment.URL, help="Where Postback answers. [http://127.0.0.1:8080]")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None, Parameter(env_var=environment.KEY, help="An ingest key; POSTBACK_KEY hides it from other users.")
    ] = None,
    follow_seconds: Annotated[float, Parameter(help="How long to wait for its deliveries. [30]")] = FOLLOW_SECONDS,
    as_json: Json = False,
) -> int:
    """Send an event and follow its deliveries; exit 1 where one failed."""
    if not key:
        raise WrongUsage("An ingest key is needed: set POSTBACK_KEY, or give --key; `postback keys create` makes one.")
    fields = _read(event)
    try:
        client = Client(url, key, patience_seconds=FOLLOW_SECONDS)
        receipt = client.send(fields)
        if not as_json:
            show.say(f"{receipt.status}  {receipt.event_id}")
        status = _follow(client, receipt.event_id, follow_seconds, say=not as_json)
    except NotTaken as refusal:
        where = f"{refusal.field}: " if refusal.field else ""
        raise PostbackError(f"Refused ({refusal.status}): {where}{refusal.message}") from None
    except NotReached as away:
        raise PostbackError(f"{away.message} Is `postback serve` running there? --url names another place.") from None
    except ValueError as wrong:
        raise WrongUsage(str(wrong)) from None
    if as_json:
        show.as_json({"receipt": asdict(receipt), "status": asdict(status)})
    elif any(delivery.is_open for delivery in status.deliveries):
        show.say(f"Not settled after {follow_seconds:g} s; it goes on without us. `postback tail` shows more.")
    return FAILED if any(delivery.status == "failed" for delivery in status.deliveries) else 0


def _read(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text("utf-8"))
    except ValueError as error:
        raise WrongUsage(f"{file} is not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise WrongUsage(f"{file} must hold one event, a JSON object.")
    return fields


def _follow(client: Client, event_id: str, seconds: float, *, say: bool) -> EventStatus:
    deadline = time.monotonic() + seconds
    seen: dict[str, str] = {}
    while True:
        status = client.status(event_id)
        for delivery in status.deliveries:
            line = _line(delivery)
            if say and seen.get(delivery.id) != line:
                show.say(line)
            seen[delivery.id] = line
        if not any(delivery.is_open for delivery in status.deliveries) or time.monotonic() > deadline:
            return status
        time.sleep(POLL_SECONDS)


def _line(delivery: Delivery) -> str:
    reason = f": {delivery.reason}" if delivery.reason else ""
    again = f", next try {delivery.next_attempt_at}" if delivery.status == "retrying" else ""
    return f"  {delivery.name} ({delivery.connector})  {delivery.status}{reason}{again}"
