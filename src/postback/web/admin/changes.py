"""Changing the configuration: in turn, written down, and never over what the caller has not seen.

A handler that changes something opens `changing`, reads what is there, compares it with `If-Match`, writes, and records
what was before and after. Without `If-Match` a change builds on what is there, so that no other one is lost.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from litestar.params import HeaderParameter
from msgspec import Struct

from postback.errors import Stale
from postback.web.admin.access import Caller
from postback.web.admin.bodies import etag
from postback.web.admin.hub import Hub
from postback.workspaces import audit
from postback.workspaces.audit import Change

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        max_length=1000,
        description="The ETag of what was read: the change is made only if nothing else changed it since.",
    ),
]


@asynccontextmanager
async def changing(hub: Hub, caller: Caller, workspace_id: UUID | None = None) -> AsyncGenerator[Change]:
    """A change of the caller's workspace, or of another one, in a transaction of its own."""
    changed = workspace_id or caller.workspace_id
    async with hub.pool.connection() as tx, audit.changing(tx, changed, caller.actor, caller.now) as change:
        yield change


def expect(if_match: str | None, shown: Struct) -> None:
    """Raises Stale where the caller read another state than this one.

    Comes after all that may refuse a change by itself: the transaction is then given up (RFC 9110, 13.2.1).
    """
    if if_match is None or if_match.strip() == "*":
        return
    # A proxy that packs answers makes tags weak; here they name the same state.
    tags = [tag.strip().removeprefix("W/") for tag in if_match.split(",")]
    if etag(shown) not in tags:
        raise Stale("This was changed since you read it: read it again, and repeat your change if it still holds.")
