"""What an hour of some buckets comes to, and how it is filed.

The hour is that of arrival, by the ids: whatever it holds is found by ranges of primary keys. A conversion is filed
under the hour in which it occurred, and credited to the visitor's last session before it, within the goal's window,
else to what its event tells; a session under its start; a delivery under the arrival of its event.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from postback import conversions, goals, pii, queue, workspaces
from postback.conversions import Conversion
from postback.db import Queries, Tx, arrays, buckets
from postback.event import Page
from postback.goals import Goal
from postback.reports import UNKNOWN, Cell, Sums, home
from postback.visitors import referrers, touches
from postback.visitors.touches import Visit
from postback.workspaces import Site

HOUR = timedelta(hours=1)
AT_ONCE = 1000
_QUARTER = 900
_queries = Queries("reports")
# What was counted, by bucket and kind.
Counted = dict[tuple[int, str], dict[Cell, Sums]]


class Channel(NamedTuple):
    """`source` None: direct."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None


class Told(Struct, frozen=True):
    """What an event tells of its source."""

    page: Page = Page()
    click_ids: dict[str, str] = {}


_UNKNOWN = Channel(UNKNOWN)
_told = msgspec.json.Decoder(Told).decode


class Scene(Struct, frozen=True):
    """The configuration that counting goes by: sites, removed ones too, and goals, by id; each workspace's first site;
    the workspace of each destination."""

    sites: dict[UUID, Site]
    goals: dict[int, Goal]
    first: dict[UUID, Site] = {}
    owners: dict[UUID, UUID] = {}


async def scene(tx: Tx) -> Scene:
    ids = [workspace.id for workspace in await workspaces.all_(tx)]
    sites = await workspaces.sites(tx, ids, with_removed=True)
    aims = await goals.read_all(tx, ids)
    owners = dict(await (await tx.execute(_queries.workspaces)).fetchall())
    first = {site.workspace_id: site for site in reversed(sites)}
    return Scene({site.id: site for site in sites}, {goal.id: goal for goal in aims}, first, owners)


async def count(tx: Tx, own: Sequence[int], hour: datetime, scene: Scene) -> Counted:
    """What stands in the tables now, of what some buckets received in an hour."""
    low, high = buckets.floor(hour), buckets.floor(hour + HOUR)
    found: Counted = {}
    sessions: set[tuple[str | int, ...]] = set()
    all_ = await conversions.received(tx, own, low, high)
    for start in range(0, len(all_), AT_ONCE):
        await _add_conversions(tx, found, all_[start : start + AT_ONCE], scene, sessions)
        await asyncio.sleep(0)
    span = {"buckets": list(own), "low": low, "high": high, "hour": hour}
    for bucket, workspace_id, site_id, source, medium, campaign, quarter, n in await _rows(tx, _queries.sessions, span):
        at = hour + timedelta(minutes=15 * quarter)
        cell = _cell(scene, workspace_id, site_id, at, "session")
        _add(found, bucket, cell._replace(source=source, medium=medium, campaign=campaign), Sums(n))
    for bucket, destination_id, status, n in await _rows(tx, _queries.deliveries, span):
        if (workspace_id := scene.owners.get(destination_id)) is not None:
            cell = _cell(scene, workspace_id, None, hour, "delivery")
            _add(found, bucket, cell._replace(destination_id=destination_id, status=status), Sums(n))
    for bucket, workspace_id, counted, n in await _rows(tx, _queries.events, span):
        if counted in scene.sites:
            _add(found, bucket, _cell(scene, workspace_id, counted, hour, "event"), Sums(n))
        elif counted.bytes == queue.COLLISIONS:
            _add(found, bucket, _cell(scene, workspace_id, None, hour, "event")._replace(status="collision"), Sums(n))
    return found


async def file(tx: Tx, own: Sequence[int], hour: datetime, found: Counted) -> None:
    """Put what was counted in place of what stood, where it differs, and mark the hours that it changes.

    Nothing of what is counted is ever taken back, but by retention and erasure: where there is less of a kind than was
    counted before, that stands.
    """
    stood: Counted = {}
    for bucket, *dims, n, converted, converted_any, revenue in await _rows(
        tx, _queries.counted, {"buckets": list(own), "received_hour": hour}
    ):
        cell = Cell(*dims)
        stood.setdefault((bucket, cell.kind), {})[cell] = Sums(n, converted, converted_any, revenue)
    none: dict[Cell, Sums] = {}
    changed = [
        key
        for key, cells in found.items()
        if cells != (before := stood.get(key, none)) and _total(cells) >= _total(before)
    ]
    if not changed:
        return
    places = {
        "buckets": arrays.ints(bucket for bucket, _ in changed),
        "touched": arrays.ints(sorted({bucket for bucket, _ in changed})),
        "received_hour": hour,
    }
    await tx.execute(_queries.forget, places | {"kinds": arrays.texts(kind for _, kind in changed)})
    rows = [
        (bucket, place, cell, sums)
        for bucket, kind in changed
        for place, (cell, sums) in enumerate(found[bucket, kind].items())
    ]
    own_, numbers, cells, sums = zip(*rows, strict=True)
    row = places | as_arrays(cells, sums) | {"buckets": arrays.ints(own_), "places": arrays.ints(numbers)}
    await tx.execute(
        _queries.insert,
        row
        | {
            "workspace_ids": arrays.uuids(cell.workspace_id.bytes for cell in cells),
            "hours": arrays.times(cell.hour for cell in cells),
        },
    )
    hours = {
        (cell.workspace_id, cell.hour)
        for key in changed
        for cell in {**stood.get(key, none), **found[key]}
        if stood.get(key, none).get(cell) != found[key].get(cell)
    }
    await _mark_totals(tx, sorted(hours), buckets.new_id(datetime.now(UTC)))


def as_arrays(cells: Sequence[Cell], sums: Sequence[Sums]) -> dict[str, object]:
    """What all three tables hold of rows."""
    return {
        "kinds": arrays.texts(cell.kind for cell in cells),
        "days": arrays.texts(cell.day.isoformat() for cell in cells),
        "site_ids": arrays.uuids(cell.site_id.bytes if cell.site_id else None for cell in cells),
        "goal_ids": arrays.bigints(cell.goal_id for cell in cells),
        "sources": arrays.texts(cell.source for cell in cells),
        "mediums": arrays.texts(cell.medium for cell in cells),
        "campaigns": arrays.texts(cell.campaign for cell in cells),
        "labels": arrays.texts(cell.label for cell in cells),
        "currencies": arrays.texts(cell.currency for cell in cells),
        "destination_ids": arrays.uuids(cell.destination_id.bytes if cell.destination_id else None for cell in cells),
        "statuses": arrays.texts(cell.status for cell in cells),
        "ns": arrays.bigints(one.n for one in sums),
        "converted": arrays.bigints(one.converted for one in sums),
        "converted_any": arrays.bigints(one.converted_any for one in sums),
        "revenues": arrays.texts(str(one.revenue) for one in sums),
    }


def open_in(found: Counted) -> set[int]:
    """The buckets in which deliveries are still open."""
    return {
        bucket
        for (bucket, kind), cells in found.items()
        if kind == "delivery" and any(cell.status in queue.OPEN for cell in cells)
    }


async def channel_of(tx: Tx, one: Conversion, scene: Scene) -> Channel:
    """What one conversion is credited to."""
    last = _last(one, await _visits(tx, [one], scene), scene)
    return last or (await _own_channels(tx, [one], scene)).get(one.event_id, _UNKNOWN)


async def _add_conversions(
    tx: Tx, found: Counted, some: Sequence[Conversion], scene: Scene, sessions: set[tuple[str | int, ...]]
) -> None:
    """`sessions`: those that had a conversion already, with its goal and without."""
    stored = await conversions.orders_of(tx, some)
    visits = await _visits(tx, some, scene)
    credited = {one.id: _last(one, visits, scene) for one in some}
    told = await _own_channels(tx, [one for one in some if credited[one.id] is None], scene)
    for one in some:
        site = scene.sites.get(one.site_id)
        if site is None:
            continue
        order = stored.get(one.order_key) if one.order_key is not None else None
        value, currency = conversions.worth_now(one, order, site.order_counts_from)
        sums = Sums(1) if value is None else Sums(1, revenue=value)
        if one.session_id is not None and any(
            visit.session_id == one.session_id and visit.site_id == one.site_id for visit in _visits_of(one, visits)
        ):
            sums.converted = _is_first(sessions, one.site_id.int, one.session_id, one.goal_id)
            sums.converted_any = _is_first(sessions, one.site_id.int, one.session_id)
        channel = credited[one.id] or told.get(one.event_id, _UNKNOWN)
        cell = _cell(scene, site.workspace_id, site.id, one.occurred_at, "conversion")._replace(
            goal_id=one.goal_id,
            source=channel.source,
            medium=channel.medium,
            campaign=channel.campaign,
            label=one.source,
            currency=currency if value is not None else None,
        )
        _add(found, buckets.of_id(one.id), cell, sums)


def _last(one: Conversion, visits: Mapping[bytes, Sequence[Visit]], scene: Scene) -> Channel | None:
    """The visitor's last session before a conversion; None where none is known."""
    if (site := scene.sites.get(one.site_id)) is None:
        return None
    since = one.occurred_at - _window(one, site, scene)
    mine = (visit for visit in _visits_of(one, visits) if since <= visit.at <= one.occurred_at)
    last = next(mine, None)
    return Channel(last.source, last.medium, last.campaign) if last else None


def _visits_of(one: Conversion, visits: Mapping[bytes, Sequence[Visit]]) -> Sequence[Visit]:
    return visits.get(one.visitor_key.bytes, ()) if one.visitor_key is not None else ()


async def _own_channels(tx: Tx, some: Sequence[Conversion], scene: Scene) -> dict[UUID, Channel]:
    """By event, the channel that it tells itself: the parameters of its page, its click ids, its referrer."""
    if not some:
        return {}
    owners = {one.event_id: one.site_id for one in some}
    ids = sorted(owners)
    own = [buckets.of_id(id_) for id_ in ids]
    low, high = buckets.span(ids)
    row = {"buckets": arrays.ints(own), "ids": arrays.uuids(id_.bytes for id_ in ids), "min_id": low, "max_id": high}
    found: dict[UUID, Channel] = {}
    for id_, body in await _rows(tx, _queries.told, row | {"touched": arrays.ints(sorted(set(own)))}):
        site = scene.sites.get(owners[id_])
        if (channel := _own_channel(_told(body), site.own_referrers if site else ())) is not None:
            found[id_] = channel
    return found


def _own_channel(told: Told, own_referrers: Sequence[str]) -> Channel | None:
    query = referrers.query_of(told.page.url)
    utm = {name: query[f"utm_{name}"] for name in referrers.UTM if f"utm_{name}" in query}
    clicks = {*query, *told.click_ids} | ({"fbclid"} if "fbc" in told.click_ids else set())
    referrer = None if referrers.takes_no_credit(told.page.referrer, own_referrers) else told.page.referrer
    found = referrers.source_of(utm, clicks, referrer, told.page.url)
    if found.source is None:
        return None
    texts = (found.source, found.medium, utm.get("campaign"))
    return Channel(*(text and pii.masked(text[: touches.MAX_TEXT]) for text in texts))


def _is_first(sessions: set[tuple[str | int, ...]], *key: str | int) -> int:
    is_new = key not in sessions
    sessions.add(key)
    return int(is_new)


async def _visits(tx: Tx, some: Sequence[Conversion], scene: Scene) -> Mapping[bytes, Sequence[Visit]]:
    """The sessions of some conversions' visitors, newest first, as far back as any window reaches."""
    named = [one for one in some if one.visitor_key is not None and one.site_id in scene.sites]
    if not named:
        return {}
    since = min(one.occurred_at - _window(one, scene.sites[one.site_id], scene) for one in named)
    until = max(one.occurred_at for one in named)
    return await touches.visits(tx, sorted({one.visitor_key.bytes for one in named if one.visitor_key}), since, until)


def _window(one: Conversion, site: Site, scene: Scene) -> timedelta:
    goal = scene.goals.get(one.goal_id)
    return timedelta(days=(goal.window_days if goal else None) or site.window_days)


def _cell(scene: Scene, workspace_id: UUID, site_id: UUID | None, at: datetime, kind: str) -> Cell:
    site = scene.sites.get(site_id) if site_id is not None else None
    site = site or scene.first.get(workspace_id)
    day, hour = local(ZoneInfo(site.timezone if site else "UTC"), int(at.timestamp()) // _QUARTER)
    return Cell(workspace_id, day, hour, kind, site_id)  # type: ignore[arg-type]  # one of the four


@lru_cache(4096)
def local(zone: ZoneInfo, quarter: int) -> tuple[date, datetime]:
    """The day, and the start of the hour, that a clock shows in a quarter of an hour since 1970."""
    shown = datetime.fromtimestamp(quarter * _QUARTER, zone)
    return shown.date(), datetime.fromtimestamp(quarter * _QUARTER - shown.minute * 60 - shown.second, UTC)


def _add(found: Counted, bucket: int, cell: Cell, sums: Sums) -> None:
    cells = found.setdefault((bucket, cell.kind), {})
    if (known := cells.get(cell)) is not None:
        known.add(sums)
    else:
        cells[cell] = sums


def _total(cells: Mapping[Cell, Sums]) -> int:
    return sum(sums.n for sums in cells.values())


async def _mark_totals(tx: Tx, hours: Sequence[tuple[UUID, datetime]], id_: UUID) -> None:
    own = [home(workspace_id) for workspace_id, _ in hours]
    row = {"buckets": arrays.ints(own), "touched": arrays.ints(sorted(set(own))), "id": id_}
    row["workspace_ids"] = arrays.uuids(workspace_id.bytes for workspace_id, _ in hours)
    await tx.execute(_queries.mark_totals, row | {"hours": arrays.times(hour for _, hour in hours)})


async def _rows(tx: Tx, query: bytes, row: Mapping[str, object]) -> list[Any]:
    return await (await tx.execute(query, row, binary=True)).fetchall()
