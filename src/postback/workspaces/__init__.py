"""Workspaces, their sites, the installation, and the version of a workspace's configuration.

Tables: installation, workspace, site, config_version. Beside this file: `accounts` (people), `sessions` (their
browsers), `event_types` (a workspace's own events), `plans`, and `audit` (who changed what).

Every change of what intake judges by (keys, sites, goals, destinations) calls `bump` in its own transaction. A flush
reads the version `FOR SHARE`, so the change waits for flushes that began under the old one, and none begins after it.
Changes that build on what they read go through `audit.changing`, which lets one of a workspace in at a time.
"""

import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from ipaddress import IPv6Address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import available_timezones

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from psycopg import errors
from psycopg.rows import args_row

from postback import money
from postback.db import Queries, Tx, arrays, server
from postback.db.buckets import BUCKETS
from postback.db.trip import Rows, Trip
from postback.errors import Conflict, Invalid, NotFound
from postback.queue import dirty

Name = Annotated[str, Meta(min_length=1, max_length=100)]
WindowDays = Annotated[int, Meta(ge=1, le=400)]
SiteKey = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Country = Annotated[str, Meta(pattern="^[A-Za-z]{2}$")]
Origins = Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=100)]
Domains = Annotated[list[Annotated[str, Meta(max_length=253)]], Meta(max_length=100)]
CountsFrom = Literal["completed", "processing"]
_queries = Queries("workspaces")


class Installation(Struct, frozen=True):
    """`seal_check` and `link_key` are sealed."""

    environment: str
    seal_check: bytes
    link_key: bytes


class Workspace(Struct, frozen=True):
    """`plan_id` None: no cap. `erased_at`: when somebody was last erased; an older event may be of an erased person."""

    id: UUID
    name: str
    organization_id: str
    plan_id: UUID | None = None
    erased_at: datetime | None = None


class WorkspaceOut(Struct, frozen=True):
    """`plan` null: no cap."""

    id: UUID
    name: str
    organization_id: str
    plan: UUID | None


class Site(Struct, frozen=True):
    """`site_key` is public: the tag's, Selektable's storeId, ROASproof's site_key.

    `window_days`: how far back touches count, where a goal says nothing else. `order_counts_from`: the first status of
    an order that is revenue. `allowed_origins` empty: any. `plan_id` caps this site alone.
    """

    id: UUID
    workspace_id: UUID
    name: str
    site_key: str
    country: str | None = None
    currency: str = "USD"
    timezone: str = "UTC"
    window_days: int = 7
    order_counts_from: str = "completed"
    allowed_origins: list[str] = []
    plan_id: UUID | None = None
    link_domains: list[str] = []
    payment_referrers: list[str] = []

    @property
    def own_referrers(self) -> list[str]:
        """Hosts that bring nobody: the site's own, and the payment pages that were added."""
        hosts = [urlsplit(origin).hostname or "" for origin in self.allowed_origins]
        return [*self.payment_referrers, *self.link_domains, *(host.removeprefix("www.") for host in hosts)]


class SiteIn(Struct, frozen=True, kw_only=True):
    """A site to make. `site_key` absent: one is made; give the one that a shop's code has already."""

    name: Name
    site_key: SiteKey | None = None
    country: Country | None = None
    currency: str = "USD"
    timezone: str = "UTC"
    window_days: WindowDays = 7
    order_counts_from: CountsFrom = "completed"
    allowed_origins: Origins = []
    link_domains: Domains = []
    payment_referrers: Domains = []
    plan: UUID | None = None


class SitePatch(Struct, frozen=True, kw_only=True):
    """What is absent stays."""

    name: Name | UnsetType = UNSET
    country: Country | UnsetType | None = UNSET
    currency: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    window_days: WindowDays | UnsetType = UNSET
    order_counts_from: CountsFrom | UnsetType = UNSET
    allowed_origins: Origins | UnsetType = UNSET
    link_domains: Domains | UnsetType = UNSET
    payment_referrers: Domains | UnsetType = UNSET
    plan: UUID | UnsetType | None = UNSET


class SiteOut(Struct, frozen=True):
    """`site_key` is public: the tag's, Selektable's storeId, ROASproof's site_key. `plan` null: no cap of its own.

    `allowed_origins` empty: any. `link_domains`: those that the tag carries its visitor to. `payment_referrers`:
    payment pages that take no credit, besides the kept list. `country`: of phone numbers that name none. `currency`: of
    amounts that name none.
    """

    id: UUID
    name: str
    site_key: str
    plan: UUID | None
    allowed_origins: list[str]
    link_domains: list[str]
    payment_referrers: list[str]
    timezone: str
    currency: str
    country: str | None
    window_days: int
    order_counts_from: CountsFrom


async def install(tx: Tx, installation: Installation, now: datetime) -> bool:
    """Write the installation's row; False where there is one already."""
    cursor = await tx.execute(
        _queries.insert_installation,
        {
            "environment": installation.environment,
            "seal_check": installation.seal_check,
            "link_key": installation.link_key,
            "now": now,
        },
    )
    return await cursor.fetchone() is not None


async def installation(tx: Tx) -> Installation | None:
    async with tx.cursor(row_factory=args_row(Installation), binary=True) as cursor:
        return await (await cursor.execute(_queries.read_installation)).fetchone()


async def add(tx: Tx, workspace: Workspace, now: datetime) -> None:
    row = {"id": workspace.id, "name": workspace.name, "organization_id": workspace.organization_id, "now": now}
    await tx.execute(_queries.insert_workspace, row)
    await tx.execute(_queries.insert_versions, {"workspace_id": workspace.id, "buckets": list(BUCKETS)})


async def add_site(tx: Tx, site: Site, now: datetime) -> None:
    """Write a new site. Raises Conflict where its key is taken, Invalid."""
    with _plan_known():
        cursor = await tx.execute(_queries.insert_site, {**structs.asdict(site), "now": now})
    if await cursor.fetchone() is None:
        raise Conflict("This site_key is taken; choose another, or leave it out.", field="site_key")
    await bump(tx, site.workspace_id)


def new_site(id: UUID, workspace_id: UUID, sent: SiteIn) -> Site:
    """A site as it was asked for, with a key. Raises Invalid."""
    key = sent.site_key or f"site_{secrets.token_hex(10)}"
    return _merged(Site(id, workspace_id, sent.name, key), structs.asdict(sent) | {"site_key": key})


async def change_site(tx: Tx, site: Site, patch: SitePatch) -> Site:
    """Write what a patch changes of a site, which was read in this transaction. Raises Invalid."""
    changed = _merged(site, structs.asdict(patch))
    with _plan_known():
        await tx.execute(_queries.update_site, structs.asdict(changed))
    await bump(tx, site.workspace_id)
    if (site.order_counts_from, site.timezone) != (changed.order_counts_from, changed.timezone):
        await dirty.mark_site(tx, site.workspace_id, site.id, await server.clock(tx))
    return changed


async def give_site_key(tx: Tx, site: Site, site_key: str) -> Site:
    """Another key for a site: from the commit on its old one names nothing. Raises Conflict where it is taken."""
    row = {"id": site.id, "workspace_id": site.workspace_id, "site_key": site_key}
    cursor = await tx.execute(_queries.give_site_key, row)
    if await cursor.fetchone() is None:
        raise Conflict("This site_key is taken; choose another, or leave it out.", field="site_key")
    await bump(tx, site.workspace_id)
    return structs.replace(site, site_key=site_key)


async def remove_site(tx: Tx, site: Site, now: datetime) -> None:
    """It takes no events from the commit on; what it took stays."""
    await tx.execute(_queries.remove_site, {"id": site.id, "workspace_id": site.workspace_id, "now": now})
    await bump(tx, site.workspace_id)


def _merged(site: Site, sent: Mapping[str, Any]) -> Site:
    """A site with what was sent, in our spelling. Raises Invalid."""
    named = {"plan_id" if name == "plan" else name: value for name, value in sent.items() if value is not UNSET}
    merged = structs.replace(site, **named)
    if merged.timezone != "UTC" and merged.timezone not in _timezones():
        raise Invalid("timezone must be one of the IANA database, such as Europe/Berlin.", field="timezone")
    return structs.replace(
        merged,
        country=merged.country.upper() if merged.country else None,
        currency=money.currency(merged.currency),
        allowed_origins=[_origin(text, place) for place, text in enumerate(merged.allowed_origins)],
        link_domains=_domains(merged.link_domains, "link_domains"),
        payment_referrers=_domains(merged.payment_referrers, "payment_referrers"),
    )


def workspace_out(workspace: Workspace) -> WorkspaceOut:
    return WorkspaceOut(workspace.id, workspace.name, workspace.organization_id, workspace.plan_id)


def site_out(site: Site) -> SiteOut:
    return SiteOut(
        id=site.id,
        name=site.name,
        site_key=site.site_key,
        plan=site.plan_id,
        allowed_origins=site.allowed_origins,
        link_domains=site.link_domains,
        payment_referrers=site.payment_referrers,
        timezone=site.timezone,
        currency=site.currency,
        country=site.country,
        window_days=site.window_days,
        order_counts_from=site.order_counts_from,  # type: ignore[arg-type]  # the database's own check
    )


@contextmanager
def _plan_known() -> Generator[None]:
    try:
        yield
    except errors.ForeignKeyViolation:
        raise Invalid("There is no such plan; name one by its id.", field="plan") from None


def _origin(text: str, place: int) -> str:
    """An origin as browsers send it."""
    with suppress(ValueError):
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
        beside = (parts.username, parts.path.strip("/"), parts.query, parts.fragment)
        if host and parts.scheme in ("http", "https") and not any(beside):
            named = f"[{IPv6Address(host)}]" if ":" in host else host
            is_usual = port in (None, 443 if parts.scheme == "https" else 80)
            if ":" in host or _HOST(host):
                return f"{parts.scheme}://{named}" if is_usual else f"{parts.scheme}://{named}:{port}"
    field = f"allowed_origins[{place}]"
    raise Invalid(
        f"{field} must be an origin: scheme, host and port, such as https://shop.example. A * stands for nothing: "
        "name each host by itself, one beyond ASCII as xn--.",
        field=field,
    )


def _domains(sent: Sequence[str], field: str) -> list[str]:
    """Domains in lower case, each once."""
    found = [text.strip().lower().rstrip(".") for text in sent]
    for place, domain in enumerate(found):
        if not _DOMAIN(domain):
            named = f"{field}[{place}]"
            raise Invalid(f"{named} must be a domain such as checkout.example: no scheme, port or path.", field=named)
    return list(dict.fromkeys(found))


_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*").fullmatch
# Browsers open names that DNS would not have, too.
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?").fullmatch


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


async def hold(tx: Tx, workspace_id: UUID) -> None:
    """Wait for one's turn to change this workspace's configuration: from here to the end of the transaction nobody
    else changes it, so that what is read now is what is written over."""
    await tx.execute(_queries.hold, {"workspace_id": workspace_id, "bucket": BUCKETS[0]})


async def bump(tx: Tx, workspace_id: UUID) -> None:
    """Say that this workspace's configuration changed. Returns when no flush under the old one can commit any more."""
    await tx.execute(_queries.bump, {"workspace_id": workspace_id, "buckets": list(BUCKETS)})


def versions_for_share(trip: Trip, bucket: int, workspace_ids: Sequence[bytes]) -> Rows:
    """Read versions and hold them to the end of the transaction. Rows: workspace id, version, the database's time."""
    return trip.add(_queries.versions_for_share, {"bucket": bucket, "workspace_ids": arrays.uuids(workspace_ids)})


def require_versions(trip: Trip, bucket: int, workspace_ids: Sequence[bytes], expected: Sequence[int]) -> Rows:
    """As above, and refuse the transaction (22012) where a version is not the expected one."""
    row = {"bucket": bucket, "workspace_ids": arrays.uuids(workspace_ids), "versions": arrays.bigints(expected)}
    return trip.add(_queries.require_versions, row)


async def versions(tx: Tx, workspace_ids: Sequence[UUID]) -> dict[UUID, int]:
    row = {"bucket": BUCKETS[0], "workspace_ids": list(workspace_ids)}
    return dict(await (await tx.execute(_queries.versions, row)).fetchall())


async def all_(tx: Tx) -> list[Workspace]:
    async with tx.cursor(row_factory=args_row(Workspace)) as cursor:
        return await (await cursor.execute(_queries.list_workspaces)).fetchall()


async def read(tx: Tx, ids: Sequence[UUID]) -> list[Workspace]:
    async with tx.cursor(row_factory=args_row(Workspace)) as cursor:
        return await (await cursor.execute(_queries.read_workspaces, {"ids": list(ids)})).fetchall()


async def set_plan(tx: Tx, workspace: Workspace, plan_id: UUID | None) -> Workspace:
    """Cap a workspace by a plan, None: by none. Raises Invalid where there is no such plan."""
    with _plan_known():
        await tx.execute(_queries.set_plan, {"id": workspace.id, "plan_id": plan_id})
    await bump(tx, workspace.id)
    return structs.replace(workspace, plan_id=plan_id)


async def rename(tx: Tx, workspace: Workspace, name: str) -> Workspace:
    await tx.execute(_queries.rename_workspace, {"id": workspace.id, "name": name})
    await bump(tx, workspace.id)
    return structs.replace(workspace, name=name)


async def mark_erased(tx: Tx, id: UUID, at: datetime) -> None:
    """Whoever calls this has bumped the version before."""
    await tx.execute(_queries.mark_erased, {"id": id, "at": at})


async def sites(tx: Tx, workspace_ids: Sequence[UUID], *, with_removed: bool = False) -> list[Site]:
    """Sites of some workspaces, each workspace's oldest first."""
    row = {"workspace_ids": list(workspace_ids), "with_removed": with_removed}
    async with tx.cursor(row_factory=args_row(Site)) as cursor:
        return await (await cursor.execute(_queries.read_sites, row)).fetchall()


async def sites_by_key(tx: Tx, site_keys: Sequence[str]) -> dict[str, UUID]:
    """The workspaces of some public site keys, of those known."""
    return dict(await (await tx.execute(_queries.sites_by_key, {"site_keys": list(site_keys)})).fetchall())


async def site(tx: Tx, workspace_id: UUID, id: UUID) -> Site:
    for one in await sites(tx, [workspace_id]):
        if one.id == id:
            return one
    raise NotFound("There is no such site.")
