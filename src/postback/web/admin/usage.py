"""`/v1/admin/usage`: what was taken in a month of what the plans allow."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import QueryParameter
from msgspec import Struct

from postback import quota
from postback.quota import Month, Usage
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub

MONTHS = 12
Period = Annotated[
    str | None,
    QueryParameter(
        description="A UTC month, such as 2026-11; absent: this one.",
        schema_extra={"pattern": "^2[0-9]{3}-(0[1-9]|1[0-2])$"},
    ),
]


@get("/usage", summary="Billable events of a month, against the plans")
async def read(hub: Needs[Hub], caller: Needs[Caller], period: Period = None) -> Usage:
    """`cap` is that of the plan that the workspace, or the site, has today."""
    month = quota.month_of(period) if period is not None else quota.month_start(caller.now)
    async with hub.pool.connection() as tx:
        return await quota.usage(tx, caller.snapshot.workspace, month)


class History(Struct, frozen=True):
    """Newest month first."""

    items: list[Month]


@get("/usage/history", summary="Billable events of each of the last twelve months")
async def read_history(hub: Needs[Hub], caller: Needs[Caller]) -> History:
    async with hub.pool.connection() as tx:
        return History(await quota.history(tx, caller.snapshot.workspace, caller.now, MONTHS))


HANDLERS = [read, read_history]
