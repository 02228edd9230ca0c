"""`/v1/admin/reports/attention`: what goes wrong and waits for somebody, each with the one step that mends it."""

from collections import Counter
from collections.abc import Container, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import get
from litestar.di import NamedDependency as Needs
from msgspec import Struct

from postback import destinations, quota, workspaces
from postback.db import Tx
from postback.reports import Kind, reading
from postback.reports.reading import Line, Wanted
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub

DAY = timedelta(days=1)
BUSY_DAYS = 7
NEARLY = 0.8


class Item(Struct, frozen=True):
    """`title`: what is wrong; `detail`: what is known of it, and what it means. `step`: what mends it, and `link`: the
    dashboard's page where."""

    kind: Literal["no_destination", "held", "down", "paused", "failed", "silent", "collision", "plan"]
    title: str
    detail: str
    step: str
    link: str


class Attention(Struct, frozen=True):
    items: list[Item]


@get("/reports/attention", summary="What goes wrong and waits for somebody, the gravest first")
async def read(hub: Needs[Hub], caller: Needs[Caller]) -> Attention:
    """`failed` and `collision`: in the last 24 hours. `silent`: a site that sent events or had visitors on each of the
    seven days before, and nothing in the last 24 hours. `plan`: four fifths of a month's events are used, or more."""
    async with hub.pool.connection() as tx:
        kinds: list[Kind] = ["delivery", "event", "session"]
        wanted = await _wanted(tx, caller)
        lines = await reading.sums(tx, wanted, kinds, ("destination", "site"), *_lately(caller))
        items = [
            *await _destinations(tx, caller, lines),
            *await _sites(tx, caller, wanted, {line.site_id for line in lines}),
            *await _plans(tx, caller),
        ]
    grave = ("held", "down", "silent", "failed", "plan", "collision", "no_destination", "paused")
    return Attention(sorted(items, key=lambda item: grave.index(item.kind)))


async def _destinations(tx: Tx, caller: Caller, lines: Sequence[Line]) -> list[Item]:
    """`lines`: of the last 24 hours."""
    installed = {one.id: one for one in caller.snapshot.destinations}
    lanes = await destinations.lanes(tx, sorted({one.bucket for one in installed.values()}))
    found: list[Item] = []
    if not installed:
        step, link = "Install the first integration", "/app/integrations/library"
        found.append(Item("no_destination", "Events go nowhere yet", "No integration is installed.", step, link))
    for id_, one in installed.items():
        lane, link = lanes.get(id_), f"/app/integrations/{id_}"
        if lane is not None and lane.state == "held":
            detail = f"{_sentence(lane.reason or 'Its credential was refused')} {lane.fix or ''}".strip()
            found.append(Item("held", f"{one.name} is held", detail, "Mend its credential", f"{link}/settings"))
        elif lane is not None and lane.state == "paused":
            detail = "Its deliveries queue up, and nothing is sent."
            found.append(Item("paused", f"{one.name} is paused", detail, "Resume it", link))
        elif lane is not None and lane.down_since is not None:
            detail = f"{_sentence(lane.down_reason or 'It does not answer')} What waits goes out once it answers again."
            found.append(Item("down", f"{one.name} cannot be reached", detail, "See since when, and what waits", link))
    failed: Counter[UUID] = Counter()
    collided = 0
    for line in lines:
        if line.status == "failed" and (id_ := line.destination_id) is not None and id_ in installed:
            failed[id_] += line.sums.n
        collided += line.sums.n if line.status == "collision" else 0
    for id_, n in failed.items():
        title = f"{n:,} {'delivery' if n == 1 else 'deliveries'} to {installed[id_].name} failed"
        link = f"/app/deliveries?destination={id_}&status=failed"
        found.append(Item("failed", title, "In the last 24 hours.", "See why, and replay them", link))
    if collided:
        title = f"{collided:,} {'event' if collided == 1 else 'events'} came again with other content"
        detail = "In the last 24 hours: the same id with another value, currency or order. The first one counts."
        found.append(Item("collision", title, detail, "Look at the ids that collide", "/app/events?note=collision"))
    return found


async def _sites(tx: Tx, caller: Caller, wanted: Wanted, active: Container[UUID | None]) -> list[Item]:
    """Those that were sending, and are silent."""
    since = _lately(caller)[0]
    silent = [site for site in wanted.sites if site.id not in active]
    if not silent:
        return []
    last = {site.id: since.astimezone(ZoneInfo(site.timezone)).date() for site in silent}
    # Those with other clocks have other days: of each its own whole ones count.
    ends = [(site, ZoneInfo(site.timezone)) for site in silent]
    begin = min(reading.midnight(last[site.id] - BUSY_DAYS * DAY, zone) for site, zone in ends)
    end = max(reading.midnight(last[site.id], zone) for site, zone in ends)
    mine = Wanted(workspace_id=caller.workspace_id, sites=silent, first=wanted.first)
    busy = {
        (line.site_id, line.day)
        for line in await reading.sums(tx, mine, ("event", "session"), ("day", "site"), begin, end)
    }
    found: list[Item] = []
    for site in silent:
        if all((site.id, last[site.id] - n * DAY) in busy for n in range(1, BUSY_DAYS + 1)):
            detail = "It sent something on each of the seven days before, and nothing in the last 24 hours."
            step = "Check its tag and its backend's key"
            found.append(Item("silent", f"{site.name} has gone silent", detail, step, f"/app/sites/{site.id}"))
    return found


async def _plans(tx: Tx, caller: Caller) -> list[Item]:
    workspace, known = caller.snapshot.workspace, caller.snapshot.plans
    sites = caller.snapshot.sites.values()
    planned = [("This month's plan", workspace), *((f"The plan of {site.name}", site) for site in sites)]
    counted = await quota.counters(tx, [one.id for _, one in planned], caller.now)
    found: list[Item] = []
    for name, one in planned:
        plan, count = known.get(one.plan_id) if one.plan_id else None, counted.get(one.id)
        if plan is not None and count is not None and count.n >= NEARLY * plan.monthly_cap:
            title = f"{name} is {'used up' if count.n >= plan.monthly_cap else 'nearly used up'}"
            detail = f"{count.n:,} of {plan.monthly_cap:,} events; it begins anew on {count.ends_at:%-d %B}."
            found.append(Item("plan", title, detail, "See the usage by site", "/app/usage"))
    return found


async def _wanted(tx: Tx, caller: Caller) -> Wanted:
    """What belongs to no site goes by the clock of the first that there ever was."""
    ever = await workspaces.sites(tx, [caller.workspace_id], with_removed=True)
    sites = list(caller.snapshot.sites.values())
    return Wanted(workspace_id=caller.workspace_id, sites=sites, first=next(iter(ever), None))


def _lately(caller: Caller) -> tuple[datetime, datetime]:
    """The last 24 hours, to the hour."""
    since = caller.now.replace(minute=0, second=0, microsecond=0) - DAY
    return since, since + DAY + timedelta(hours=1)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


HANDLERS = [read]
