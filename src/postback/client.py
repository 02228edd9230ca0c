"""The client: sends events to a Postback from a backend. The standard library alone; copy this file if you like.

    client = Client("https://postback.example.com", "pb_live_...")
    receipt = client.send({"event": "purchase", "value": 49.9, "currency": "EUR", "order_id": "1001"})
    client.status(receipt.event_id)

Guarantee: an event that `send` returned for is stored for good, once. `send` makes the `event_id` before its first
try, so that a try whose answer was lost is answered as a duplicate and counts once. It tries again on 429, 5xx and a
network that fails: after random(0, min(10 s, 0.1 s x 2^n)), at least `Retry-After`, for `patience_seconds` in all.
Wire: `POST /v1/events`, `GET /v1/events/{event_id}`. Safe to share between threads.
"""

import http.client
import json
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

LONGEST_PAUSE_SECONDS = 10.0
_TRY_AGAIN = frozenset({408, 425, 429})


class NotTaken(Exception):
    """The event, or the question, was refused: trying again as it stands is of no use."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field


class NotReached(Exception):
    """No answer that settles it came in time. The event may be stored: send it again with the same `event_id`."""

    def __init__(self, message: str, event_id: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.event_id = event_id


@dataclass(frozen=True)
class Delivery:
    """One event at one destination. `next_attempt_at`: ISO 8601, where there is to be one."""

    id: str
    connector: str
    name: str
    status: str
    reason: str | None = None
    next_attempt_at: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status in ("queued", "retrying", "held")


@dataclass(frozen=True)
class Receipt:
    """`status` is `accepted` or `duplicate`; `deliveries` are as predicted at intake, their `id` the destination's."""

    event_id: str
    status: str
    deliveries: list[Delivery] = field(default_factory=list[Delivery])


@dataclass(frozen=True)
class EventStatus:
    event_id: str
    event: str
    status: str
    deliveries: list[Delivery] = field(default_factory=list[Delivery])


class Client:
    """One Postback and one ingest key. `timeout_seconds` is for each try, `patience_seconds` for all of a call."""

    def __init__(self, base_url: str, key: str, *, timeout_seconds: float = 10, patience_seconds: float = 60) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url} is not an address; give one like https://postback.example.com.")
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds

    def send(self, event: Mapping[str, Any]) -> Receipt:
        """Store one event; its fields are those of `/v1/events`. Safe to repeat with the same `event_id`.

        Amounts may be Decimal, times aware datetimes. Raises NotTaken, NotReached.
        """
        event_id = str(event.get("event_id") or uuid.uuid4())
        body = json.dumps({**event, "event_id": event_id}, default=_plain, allow_nan=False).encode()
        answer = self._call("POST", "/v1/events", body, event_id)
        return Receipt(answer["event_id"], answer["status"], _deliveries(answer.get("destinations")))

    def status(self, event_id: str) -> EventStatus:
        """What became of an event, by your own id or the one we answered. Raises NotTaken (404), NotReached."""
        answer = self._call("GET", f"/v1/events/{quote(event_id, safe='')}", None, event_id)
        return EventStatus(answer["event_id"], answer["event"], answer["status"], _deliveries(answer.get("deliveries")))

    def _call(self, method: str, path: str, body: bytes | None, event_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience_seconds
        tries = 0
        while True:
            wait_seconds = 0.0
            try:
                status, wait_seconds, text = self._try(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{self._host} cannot be reached ({error or type(error).__name__})"
            else:
                if status < 500 and status not in _TRY_AGAIN:
                    return _read(status, text)
                problem = f"{self._host} answered {status}"
            longest = min(LONGEST_PAUSE_SECONDS, 0.1 * 2**tries)
            pause = max(wait_seconds, random.uniform(0, longest))
            tries += 1
            if time.monotonic() + pause > deadline:
                raise NotReached(f"{problem}; tried {tries} times, try again later.", event_id)
            time.sleep(pause)

    def _try(self, method: str, path: str, body: bytes | None) -> tuple[int, float, bytes]:
        connection = self._connection(self._host, self._port, timeout=self._timeout_seconds)
        try:
            headers = self._headers | ({"content-type": "application/json"} if body is not None else {})
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            return response.status, _seconds(response.headers.get("retry-after")), response.read()
        finally:
            connection.close()


def _read(status: int, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and 200 <= status < 300 and "event_id" in answer:
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        raise NotTaken(status, str(error.get("code", "")), str(error.get("message", "")), error.get("field"))
    raise NotTaken(status, "unexpected_answer", f"{status} is not an answer of Postback's; check the address.")


def _deliveries(shown: Any) -> list[Delivery]:
    return [
        Delivery(d["id"], d["connector"], d["name"], d["status"], d.get("reason"), d.get("next_attempt_at"))
        for d in shown or []
    ]


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:  # an HTTP date
        return 0.0


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        number = float(value)
        # A float is written in the shortest form that reads back the same, so up to 15 digits nothing is lost.
        if Decimal(repr(number)) != value:
            raise ValueError(f"{value} has more digits than JSON numbers keep here; give at most 15.")
        return number
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give an aware datetime.")
        return value.isoformat()
    if isinstance(value, date | uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
