"""What the client gives and raises."""

from dataclasses import dataclass, field
from typing import Any


class _Unfinished(Exception):
    """Of `send_many`: `done` are the results so far, `unsent` the other events, with their ids, to be sent again."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.done: list[Receipt | Refusal] = []
        self.unsent: list[dict[str, Any]] = []


class NotTaken(_Unfinished):
    """The event, or the question, was refused: trying again as it stands is of no use."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field


class NotReached(_Unfinished):
    """No answer that settles it came in time. The event may be stored: send it again with the same `event_id`."""

    def __init__(self, message: str, event_id: str | None) -> None:
        super().__init__(message)
        self.event_id = event_id


class QueueFull(Exception):
    """The queue on disk holds all that it may; the event was not taken. `flush`, or allow it more."""


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
    """`status` is `accepted`, `duplicate`, or `queued` on disk; `deliveries` are as predicted at intake, their `id` the
    destination's."""

    event_id: str
    status: str
    deliveries: list[Delivery] = field(default_factory=list[Delivery])


@dataclass(frozen=True)
class Refusal:
    """One event of many that was refused: what NotTaken is for one."""

    event_id: str
    code: str
    message: str
    field: str | None = None


@dataclass
class Flushed:
    """What became of a queue. `problem`: why some are `left`. `refused` ones are out of the queue; `damaged`: lines on
    disk that could not be read, kept beside it."""

    sent: int = 0
    refused: list[Refusal] = field(default_factory=list[Refusal])
    left: int = 0
    damaged: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class EventStatus:
    event_id: str
    event: str
    status: str
    deliveries: list[Delivery] = field(default_factory=list[Delivery])
