"""A workspace's own events: what ROASproof's path takes besides its eight, which of them are billed, and what such an
event must bear, by whatever door it comes.

Table: event_type. The name is as senders write it; standard events and their aliases are none of these.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from psycopg.rows import args_row

from postback import workspaces
from postback.db import Queries, Tx
from postback.errors import Conflict, Invalid, NotFound
from postback.event import CLICK_IDS, STANDARD_NAMES, Consent, RawEvent, RawUser, standard_name

Required = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=50)]
# Native fields under another name in a RawEvent, and those with fields of their own; None: of any name.
_RENAMED = {"value": "amount", "user_data": "user"}
_PLAIN = frozenset(
    "event_id occurred_at value currency order_id order_status items url referrer action_source site_key goal_id "
    "visitor_id session_id user_id user_data click_ids consent experiments properties".split()
)
_NESTED: dict[str, frozenset[str] | None] = {
    "user_data": frozenset(RawUser.__struct_fields__),
    "consent": frozenset(Consent.__struct_fields__),
    "click_ids": CLICK_IDS,
    "experiments": None,
    "properties": None,
}
_queries = Queries("event_types")


class EventType(Struct, frozen=True):
    """`required`: names of native fields, nested ones with dots."""

    id: UUID
    workspace_id: UUID
    name: str
    billable: bool
    required: list[str]

    def demand(self, raw: RawEvent) -> None:
        """Raises Invalid naming the first field that an event of this type lacks."""
        for path in self.required:
            if _lacks(raw, path):
                raise Invalid(f"{path} is required of {self.name}.", field=path)


class EventTypeOut(Struct, frozen=True):
    """`billable`: counts against the plan. `required`: fields without which such an event is refused."""

    id: UUID
    name: str
    billable: bool
    required: list[str]


def event_type_out(event_type: EventType) -> EventTypeOut:
    return EventTypeOut(event_type.id, event_type.name, event_type.billable, event_type.required)


class EventTypeIn(Struct, frozen=True, kw_only=True):
    """`required`: fields of an event that it must bear, nested ones with dots, such as `user_data.email`."""

    name: workspaces.Name
    billable: bool = False
    required: Required = []


class EventTypePatch(Struct, frozen=True, kw_only=True):
    """What is absent stays. An event type of another name is another one."""

    billable: bool | UnsetType = UNSET
    required: Required | UnsetType = UNSET


def draft(id: UUID, workspace_id: UUID, sent: EventTypeIn) -> EventType:
    """An event type as it was asked for, checked. Raises Invalid."""
    if (means := standard_name(sent.name)) in STANDARD_NAMES:
        raise Invalid(
            f"{sent.name} is the standard event {means}, which needs no type; take another name.", field="name"
        )
    return EventType(id, workspace_id, sent.name, sent.billable, _checked(sent.required))


async def create(tx: Tx, id: UUID, workspace_id: UUID, sent: EventTypeIn, now: datetime) -> EventType:
    """Raises Invalid, Conflict."""
    made = draft(id, workspace_id, sent)
    cursor = await tx.execute(_queries.insert, {**structs.asdict(made), "now": now})
    if await cursor.fetchone() is None:
        raise Conflict(f"There is an event type {sent.name} already; change that one.", field="name")
    await workspaces.bump(tx, workspace_id)
    return made


async def of_workspaces(tx: Tx, workspace_ids: Sequence[UUID]) -> list[EventType]:
    """Oldest first."""
    async with tx.cursor(row_factory=args_row(EventType)) as cursor:
        return await (await cursor.execute(_queries.of_workspaces, {"workspace_ids": list(workspace_ids)})).fetchall()


async def read(tx: Tx, workspace_id: UUID, id: UUID) -> EventType:
    for one in await of_workspaces(tx, [workspace_id]):
        if one.id == id:
            return one
    raise NotFound("There is no such event type.")


async def change(tx: Tx, event_type: EventType, patch: EventTypePatch) -> EventType:
    """Write what a patch changes of an event type, which was read in this transaction. Raises Invalid."""
    changed = structs.replace(
        event_type, **{name: value for name, value in structs.asdict(patch).items() if value is not UNSET}
    )
    changed = structs.replace(changed, required=_checked(changed.required))
    await tx.execute(_queries.update, structs.asdict(changed))
    await workspaces.bump(tx, event_type.workspace_id)
    return changed


async def remove(tx: Tx, event_type: EventType) -> None:
    await tx.execute(_queries.remove, {"workspace_id": event_type.workspace_id, "id": event_type.id})
    await workspaces.bump(tx, event_type.workspace_id)


def _checked(required: Sequence[str]) -> list[str]:
    """Names of fields, each once. Raises Invalid."""
    for place, path in enumerate(required):
        first, dot, rest = path.partition(".")
        inner = _NESTED.get(first, frozenset())
        is_known = first in _PLAIN if not dot else bool(rest) and (inner is None or rest in inner)
        if not is_known:
            field = f"required[{place}]"
            raise Invalid(f"{field} must be a field of an event, such as order_id or user_data.email.", field=field)
    return list(dict.fromkeys(required))


def _lacks(raw: RawEvent, path: str) -> bool:
    """Whether an event has nothing at a path: no field, null, empty text, an empty list."""
    first, *rest = path.split(".")
    if first == "user_id":
        first, rest = "user_data", ["user_id"]
    value: Any = getattr(raw, _RENAMED.get(first, first))
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value is None or value in ("", (), [], {})
