"""Workspaces, their sites and accounts, the installation, and the version of a workspace's configuration.

Tables: installation, workspace, site, account, membership, config_version.

Every change of what intake judges by (keys, sites, destinations) calls `bump` in its own transaction. A flush reads
the version `FOR SHARE`, so the change waits for flushes that began under the old one, and none begins after it.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from psycopg.rows import args_row

from postback.db import Queries, Tx, arrays
from postback.db.buckets import BUCKETS
from postback.db.trip import Rows, Trip

_queries = Queries("workspaces")


class Installation(Struct, frozen=True):
    """`seal_check` and `link_key` are sealed."""

    environment: str
    seal_check: bytes
    link_key: bytes


class Workspace(Struct, frozen=True):
    id: UUID
    name: str
    organization_id: str


class Site(Struct, frozen=True):
    """`site_key` is public: the tag's, Selektable's storeId, ROASproof's site_key."""

    id: UUID
    workspace_id: UUID
    name: str
    site_key: str
    country: str | None
    currency: str


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
    await tx.execute(
        _queries.insert_site,
        {
            "id": site.id,
            "workspace_id": site.workspace_id,
            "name": site.name,
            "site_key": site.site_key,
            "country": site.country,
            "currency": site.currency,
            "timezone": "UTC",
            "now": now,
        },
    )
    await bump(tx, site.workspace_id)


async def add_owner(
    tx: Tx, account_id: UUID, email: str, password_hash: str, workspace_id: UUID, now: datetime
) -> None:
    row = {"id": account_id, "email": email, "password_hash": password_hash, "now": now}
    await tx.execute(_queries.insert_account, row)
    await tx.execute(
        _queries.insert_membership, {"account_id": account_id, "workspace_id": workspace_id, "role": "owner"}
    )


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


async def sites(tx: Tx, workspace_ids: Sequence[UUID]) -> list[Site]:
    """Sites of some workspaces, each workspace's oldest first."""
    async with tx.cursor(row_factory=args_row(Site)) as cursor:
        return await (await cursor.execute(_queries.read_sites, {"workspace_ids": list(workspace_ids)})).fetchall()
