"""From what people ask for to what a job takes; the same for the API and the terminal. Pure."""

from collections.abc import Collection, Sequence
from uuid import UUID

from postback import queue
from postback.errors import Invalid
from postback.queue.jobs import Selection

SETTLED = ("failed", "skipped", "delivered")
UNASKED = ("failed", "skipped")


def statuses(asked: Sequence[str] | None, *, include_delivered: bool) -> list[str]:
    """Which settled deliveries a replay takes; `asked` None: all that it may. Raises Invalid."""
    if asked is None:
        return list(SETTLED if include_delivered else UNASKED)
    if not asked:
        raise Invalid("A replay of no status takes nothing: name one, or leave it out.", field="status")
    if "delivered" in asked and not include_delivered:
        raise Invalid(
            "Delivered ones may count twice; set include_delivered to send them again.", field="include_delivered"
        )
    return [status for status in SETTLED if status in asked]


def by_id(ids: Sequence[str], known: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Events by destination, of some deliveries' ids. `known`: installed destinations. Raises Invalid."""
    found: dict[UUID, list[UUID]] = {}
    for text in ids:
        pair = queue.read_delivery_id(text)
        if pair is None:
            raise Invalid(f"{text[:80]!r} is not a delivery's id; the list of deliveries shows them.", field="ids")
        event_id, destination_id = pair
        if destination_id not in known:
            raise Invalid(f"The destination of {text} is not installed; nothing can be sent there.", field="ids")
        found.setdefault(destination_id, []).append(event_id)
    return found


def ids_of(selection: Selection) -> list[str] | None:
    """The deliveries' ids of a replay by id."""
    if selection.event_ids is None:
        return None
    return [queue.delivery_id(event_id, id_) for id_, events in selection.event_ids.items() for event_id in events]
