"""`/v1/admin/usage`: what was taken in a month of what the plans allow."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency as Needs
from litestar.params import QueryParameter

from postback import quota
from postback.quota import Usage
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub

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


HANDLERS = [read]
