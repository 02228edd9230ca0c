"""`postback usage`: the billable events of a month, against the plans; what the admin API's `usage` does."""

from typing import Annotated

from cyclopts import Parameter

from postback import quota
from postback.cli import show
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import session, workspace
from postback.quota import SiteUsage, Usage


async def usage(
    place: Place = HERE,
    *,
    period: Annotated[str | None, Parameter(help="A UTC month, such as 2026-11. [this one]")] = None,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Billable events of a month, in all and by site."""
    month = quota.month_of(period) if period is not None else None
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        found = await quota.usage(s.tx, owner, month or quota.month_start(s.now))
    if as_json:
        show.as_json(found)
        return
    rows = [("all sites", *_against(found)), *((site.name, *_against(site)) for site in found.by_site)]
    show.say(f"Billable events of {owner.name} in {found.period} (UTC).")
    show.table(["site", "used", "cap", "overage"], rows, empty="")


def _against(counted: Usage | SiteUsage) -> tuple[int, int | str, int]:
    return counted.used, "none" if counted.cap is None else counted.cap, counted.overage
