"""`/v1/admin/event-types`: a workspace's own events."""

from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody

from postback.db import buckets
from postback.errors import NotFound
from postback.web.admin.access import COUNTING, SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE, Tagged
from postback.web.admin.changes import IfMatch, changing, expect
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of
from postback.workspaces import event_types
from postback.workspaces.event_types import EventTypeIn, EventTypeOut, EventTypePatch, event_type_out

_QUIZ = {"name": "quiz_completed", "billable": True, "required": ["user_data.email", "properties.score"]}


@post("/event-types", summary="Make an event type", opt={SCOPES: COUNTING, EXAMPLE: _QUIZ})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[EventTypeIn]) -> Tagged[EventTypeOut]:
    """Standard events need none: 422. 409 where there is one of this name."""
    async with changing(hub, caller) as change:
        id_ = buckets.new_id(caller.now)
        shown = event_type_out(await event_types.create(change.tx, id_, caller.workspace_id, data, caller.now))
        await change.record("created", "event type", id_, after=shown)
    return Tagged(shown)


@get("/event-types", summary="List event types, oldest first")
async def list_all(caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[EventTypeOut]:
    return page_of(caller.snapshot.event_types.values(), event_type_out, lambda one: one.id.bytes, limit, cursor)


@get("/event-types/{event_type_id:uuid}", summary="One event type")
async def read(caller: Needs[Caller], event_type_id: FromPath[UUID]) -> Tagged[EventTypeOut]:
    for one in caller.snapshot.event_types.values():
        if one.id == event_type_id:
            return Tagged(event_type_out(one))
    raise NotFound("There is no such event type.")


@patch(
    "/event-types/{event_type_id:uuid}",
    summary="Change an event type",
    opt={SCOPES: COUNTING, EXAMPLE: {"billable": False}},
)
async def change(
    hub: Needs[Hub],
    caller: Needs[Caller],
    event_type_id: FromPath[UUID],
    data: JSONBody[EventTypePatch],
    if_match: IfMatch = None,
) -> Tagged[EventTypeOut]:
    """From the answer on; events that were taken stay as they are."""
    async with changing(hub, caller) as change:
        event_type = await event_types.read(change.tx, caller.workspace_id, event_type_id)
        before = event_type_out(event_type)
        shown = event_type_out(await event_types.change(change.tx, event_type, data))
        expect(if_match, before)
        await change.record("changed", "event type", event_type_id, before=before, after=shown)
    return Tagged(shown)


@delete("/event-types/{event_type_id:uuid}", summary="Remove an event type; its events stay", opt={SCOPES: COUNTING})
async def remove(
    hub: Needs[Hub], caller: Needs[Caller], event_type_id: FromPath[UUID], if_match: IfMatch = None
) -> None:
    async with changing(hub, caller) as change:
        event_type = await event_types.read(change.tx, caller.workspace_id, event_type_id)
        expect(if_match, before := event_type_out(event_type))
        await event_types.remove(change.tx, event_type)
        await change.record("removed", "event type", event_type_id, before=before)


HANDLERS = [create, list_all, read, change, remove]
