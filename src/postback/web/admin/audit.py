"""`/v1/admin/audit`: who changed what, newest first."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import QueryParameter
from msgspec import Meta, Raw, Struct

from postback.db import buckets
from postback.queue.lists import LAST_ID
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, first_of, read_ids
from postback.workspaces import audit
from postback.workspaces.audit import Entry

Shown = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]


class AuditOut(Struct, frozen=True):
    """`before` and `after`: the thing as the API shows it, secrets masked; null: there was, or is, none.

    `actor`: `key <label> ...<last four>`, `account <email>`, `command line`.
    """

    id: UUID
    at: datetime
    actor: str
    action: str
    noun: str
    noun_id: str
    before: Shown
    after: Shown


@get("/audit", summary="List changes of the configuration, newest first")
async def list_all(
    hub: Needs[Hub],
    caller: Needs[Caller],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    noun: Annotated[str | None, QueryParameter(description="Only of this kind: site, goal, key ...")] = None,
    noun_id: Annotated[str | None, QueryParameter(description="Only of the thing of this id.")] = None,
) -> Page[AuditOut]:
    before = read_ids(cursor, 1)
    async with hub.pool.connection() as tx:
        found = await audit.read(
            tx, caller.workspace_id, before[0] if before else LAST_ID, limit + 1, noun=noun, noun_id=noun_id
        )
    return first_of(found, [_shown(entry) for entry in found[:limit]], lambda entry: entry.id.bytes, limit)


def _shown(entry: Entry) -> AuditOut:
    def part(text: str | None) -> Any:
        return Raw((text or "null").encode())

    return AuditOut(
        id=entry.id,
        at=buckets.time_of(entry.id),
        actor=entry.actor,
        action=entry.action,
        noun=entry.noun,
        noun_id=entry.noun_id,
        before=part(entry.before),
        after=part(entry.after),
    )


HANDLERS = [list_all]
