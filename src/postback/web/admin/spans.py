"""What lists are narrowed by: spans of time, and deliveries' states as people see them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from postback import queue
from postback.db import buckets
from postback.destinations import Lane
from postback.dialects import moment
from postback.queue.lists import LAST_ID
from postback.web.admin.shapes import Status

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
From = Annotated[
    str | None,
    QueryParameter(name="from", description="From this time on (ISO 8601).", schema_extra={"format": "date-time"}),
]
To = Annotated[
    str | None,
    QueryParameter(name="to", description="Before this time (ISO 8601).", schema_extra={"format": "date-time"}),
]


def moments(
    since: str | None, until: str | None, now: datetime, default: timedelta | None
) -> tuple[datetime, datetime]:
    """The span named, within what can be; `since` absent: `default` before the end. Raises Invalid."""
    latest = now + timedelta(days=1)
    end = min(max(moment(until, "to"), EARLIEST), latest) if until is not None else latest
    if since is not None:
        return min(max(moment(since, "from"), EARLIEST), latest), end
    return (min(end, now) - default if default else EARLIEST), end


def ids_between(since: str | None, until: str | None, now: datetime) -> tuple[UUID, UUID]:
    """Least and greatest id of what was received in a span. Raises Invalid."""
    start, end = moments(since, until, now, None)
    return buckets.floor(start), UUID(int=buckets.floor(end).int - 1) if until is not None else LAST_ID


def stored_as(
    status: Status | None, destination_ids: list[UUID], lanes: dict[UUID, Lane]
) -> tuple[list[str] | None, list[UUID]]:
    """The stored states that read as `status`, and the destinations of which they do."""
    if status not in ("queued", "retrying", "held"):
        return [status] if status else None, destination_ids
    is_held = {id_ for id_ in destination_ids if (lane := lanes.get(id_)) and lane.state == "held"}
    if status == "held":
        return sorted(queue.OPEN), [id_ for id_ in destination_ids if id_ in is_held]
    return [status], [id_ for id_ in destination_ids if id_ not in is_held]
