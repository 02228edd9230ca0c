"""The directory: a snapshot of each workspace's configuration (keys, sites, goals, destinations ...), kept in memory,
and never trusted alone.

A snapshot carries the version it was read under. The writer reads the version again inside each flush, `FOR SHARE`,
and judges anew where it moved; whatever writes nothing calls `confirm`, which reads it once without a lock. So a
revocation needs no waiting time, on any number of processes. Questions that wait are asked together, in one query.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from postback import destinations, goals, keys, quota, workspaces
from postback.blueprint import filters
from postback.db import Pool, is_unavailable
from postback.destinations import Destination
from postback.dialects import DestinationResult
from postback.errors import Forbidden, Unauthenticated, Unavailable
from postback.event import Event
from postback.goals import Goal
from postback.keys import ApiKey
from postback.pii import Sealer, SiteFacts
from postback.quota import Limit
from postback.workspaces import Site, Workspace, event_types, plans
from postback.workspaces.event_types import EventType
from postback.workspaces.plans import Plan

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
LOOKUPS_PER_SECOND = 10
LONGEST_WAIT_SECONDS = 5
# Events younger than this are too old for no platform, so that their fate depends on their name alone.
ALWAYS_FRESH = timedelta(hours=24)
# What every plan counts; a workspace's own event types say it themselves.
BILLABLE = frozenset({"purchase", "lead", "signup", "subscribe"})
AHEAD = timedelta(minutes=-5)


class Fate(Struct, frozen=True):
    """What each destination will do with an event: rows to write and lines to answer, in the same order.

    A row: destination id, `queued` or `skipped`, seconds to wait before it is due, the reason of a skip.
    """

    rows: tuple[tuple[bytes, str, float, str | None], ...]
    answers: list[DestinationResult]


Fits = Callable[[Event], bool]
# Goals that an event's name suffices for, and those that a filter decides.
Matching = tuple[tuple[Goal, ...], tuple[tuple[Goal, Fits], ...]]


class Place(Struct, frozen=True):
    """A site as intake needs it: its goals by event name, those of any name, and what caps its billable events."""

    site: Site
    facts: SiteFacts
    by_name: dict[str, Matching]
    by_any: Matching
    caps: tuple[Limit, ...]

    def fulfilled(self, event: Event) -> tuple[Goal, ...]:
        """The goals that an event fulfils by its name and their filters."""
        usual, rare = self.by_name.get(event.name, self.by_any)
        return usual if not rare else usual + tuple(goal for goal, fits in rare if fits(event))


class Snapshot:
    """One workspace's configuration at one version.

    `goals` by number, disabled ones too; `event_types` by name; `plans` by id, all of the installation's; `places`: the
    sites by id, as intake needs them.
    """

    def __init__(
        self,
        workspace: Workspace,
        version: int,
        usable: Sequence[ApiKey],
        sites: Sequence[Site],
        installed: Sequence[Destination],
        goals: Sequence[Goal] = (),
        event_types: Sequence[EventType] = (),
        plans: Sequence[Plan] = (),
    ) -> None:
        self.workspace = workspace
        self.id_bytes = workspace.id.bytes
        self.version = version
        self.keys = {key.secret_sha256: key for key in usable}
        # The browser has no key: its site's public one opens /collect, as long as the site bears it.
        self.keys |= {key.secret_sha256: key for key in map(site_caller, sites)}
        self.sites = {site.id: site for site in sites}
        self.destinations = tuple(installed)
        self.goals = {goal.id: goal for goal in goals}
        self.event_types = {one.name: one for one in event_types}
        self.plans = {plan.id: plan for plan in plans}
        self.organization_ids = frozenset({workspace.organization_id, str(workspace.id)})
        self.places = {site.id: self._place(site) for site in sites}
        self.places_by_key = {site.site_key: self.places[site.id] for site in sites}
        self.first_place = self.places[sites[0].id] if sites else None
        self._usual: dict[str, Fate] = {}

    def _place(self, site: Site) -> Place:
        own = [goal for goal in self.goals.values() if goal.site_id == site.id and goal.active]
        anyhow = [goal for goal in own if not goal.events and goal.filter]
        names = {name for goal in own for name in goal.events}
        return Place(
            site=site,
            facts=SiteFacts(site_id=site.id, country=site.country, currency=site.currency),
            by_name={name: _matching([goal for goal in own if name in goal.events] + anyhow) for name in names},
            by_any=_matching(anyhow),
            caps=tuple(
                Limit(id_.bytes, plan.monthly_cap * (quota.OVERAGE_TIMES if plan.overage else 1), True)
                for id_, plan_id in ((self.workspace.id, self.workspace.plan_id), (site.id, site.plan_id))
                if plan_id is not None and (plan := self.plans.get(plan_id)) is not None
            ),
        )

    def is_billable(self, name: str) -> bool:
        return name in BILLABLE or ((own := self.event_types.get(name)) is not None and own.billable)

    def refuse(self, key: ApiKey, now: datetime) -> Unauthenticated | None:
        """Why a key no longer opens anything under this snapshot."""
        known = self.keys.get(key.secret_sha256)
        return known.refuse(now) if known else Unauthenticated("This API key was revoked; use another one.")

    def fate(self, event: Event, now: datetime) -> Fate:
        """What each destination will do with an event: queue it, or skip it for a reason known at once."""
        age, order = now - event.occurred_at, event.order
        if event.consent is None and (order is None or order.status is None) and AHEAD <= age < ALWAYS_FRESH:
            if (usual := self._usual.get(event.name)) is None:
                usual = self._judge(event, timedelta(0))
                if len(self._usual) < 10_000:
                    self._usual[event.name] = usual
            return usual
        return self._judge(event, age)

    def _judge(self, event: Event, age: timedelta) -> Fate:
        rows: list[tuple[bytes, str, float, str | None]] = []
        answers: list[DestinationResult] = []
        wait = max(0.0, -age.total_seconds()) if age < AHEAD else 0.0
        for destination in self.destinations:
            reason = destinations.skip_reason(destination, event, age)
            status = "skipped" if reason else "queued"
            rows.append((destination.id.bytes, status, wait, reason))
            answers.append(
                DestinationResult(str(destination.id), destination.connector.name, destination.name, status, reason)
            )
        return Fate(tuple(rows), answers)


def site_caller(site: Site) -> ApiKey:
    """Who posts with a public site key; no API key has this hash."""
    return ApiKey(
        id=site.id,
        workspace_id=site.workspace_id,
        site_id=site.id,
        label=site.name,
        prefix="",
        environment=None,
        secret_sha256=_site_hash(site.site_key),
        last_four="",
        scopes=["collect"],
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
    )


def _site_hash(site_key: str) -> bytes:
    return b"site " + site_key.encode()


def _matching(goals: Sequence[Goal]) -> Matching:
    plain = tuple(goal for goal in goals if not goal.filter)
    return plain, tuple((goal, filters.compile(goal.filter, "filter")) for goal in goals if goal.filter)


class Together(Generic[K, V]):
    """Asks for many keys in one call. Who asks while a call is under way waits for the next one, so that each answer
    was read after its question began."""

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, pause_seconds: float = 0) -> None:
        self._ask = ask
        self._pause = pause_seconds
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._last = 0.0

    async def __call__(self, key: K) -> V | None:
        """The answer for one key, None where there is none. Raises Unavailable."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                return await asyncio.shield(future)
        except TimeoutError:
            raise Unavailable("The database did not answer in time; try again.") from None

    async def _run(self) -> None:
        while self._waiting:
            if (pause := self._last + self._pause - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            waiting, self._waiting = self._waiting, {}
            self._last = time.monotonic()
            try:
                found = await self._ask(list(waiting))
            except Exception as error:  # whatever it is, those who wait must learn it
                for future in waiting.values():
                    future.set_exception(_as_unavailable(error))
                    future.exception()  # seen, even if nobody waits any more
                continue
            for key, future in waiting.items():
                if not future.done():
                    future.set_result(found.get(key))


def _as_unavailable(error: Exception) -> Exception:
    if is_unavailable(error):
        return Unavailable("The database is away; nothing was written. Try again.")
    return error


class Directory:
    """Snapshots of the workspaces that this process has met."""

    def __init__(self, pool: Pool, sealer: Sealer) -> None:
        self._pool = pool
        self._sealer = sealer
        self._snapshots: dict[UUID, Snapshot] = {}
        self._by_key: dict[bytes, Snapshot] = {}
        self._lookup = Together[bytes, Snapshot](self._find_keys, pause_seconds=1 / LOOKUPS_PER_SECOND)
        self._site_lookup = Together[str, Snapshot](self._find_sites, pause_seconds=1 / LOOKUPS_PER_SECOND)
        self._versions = Together[UUID, int](self._read_versions)

    def get(self, workspace_id: UUID) -> Snapshot | None:
        return self._snapshots.get(workspace_id)

    async def authenticate(self, secret_sha256: bytes, now: datetime) -> tuple[Snapshot, ApiKey]:
        """Whose key this is, as far as is known without a lock. A key not known here is looked up once.

        Raises Unauthenticated, Unavailable.
        """
        snapshot = self._by_key.get(secret_sha256)
        if snapshot is None and (snapshot := await self._lookup(secret_sha256)) is None:
            raise Unauthenticated("Invalid API key: it is unknown here, or was revoked.")
        key = snapshot.keys.get(secret_sha256)
        if key is None:
            raise Unauthenticated("This API key was revoked; use another one.")
        if refusal := key.refuse(now):
            raise refusal
        return snapshot, key

    def known(self, secret_sha256: bytes, now: datetime) -> tuple[Snapshot, ApiKey] | None:
        """The same without asking the database: None where that is needed, or where the key is refused."""
        snapshot = self._by_key.get(secret_sha256)
        key = snapshot.keys.get(secret_sha256) if snapshot is not None else None
        return (snapshot, key) if snapshot is not None and key is not None and key.refuse(now) is None else None

    def known_site(self, site_key: str) -> tuple[Snapshot, ApiKey] | None:
        """Whose public site key this is, as far as is known here."""
        snapshot = self._by_key.get(hashed := _site_hash(site_key))
        key = snapshot.keys.get(hashed) if snapshot is not None else None
        return (snapshot, key) if snapshot is not None and key is not None else None

    async def of_site(self, site_key: str) -> tuple[Snapshot, ApiKey]:
        """The same; one that is not known here is looked up once. Raises Forbidden, Unavailable."""
        if (known := self.known_site(site_key)) is None and await self._site_lookup(site_key) is not None:
            known = self.known_site(site_key)
        if known is None:
            raise Forbidden("There is no site of this site_key.", field="site_key")
        return known

    async def confirm(self, snapshot: Snapshot, key: ApiKey, now: datetime) -> Snapshot:
        """The snapshot that is in force now; for requests that write nothing. Raises Unauthenticated, Unavailable."""
        current = await self.current(snapshot.workspace.id)
        if refusal := current.refuse(key, now):
            raise refusal
        return current

    async def current(self, workspace_id: UUID) -> Snapshot:
        """The snapshot of a workspace that is in force now. Raises Unauthenticated, Unavailable."""
        version = await self._versions(workspace_id)
        current = self._snapshots.get(workspace_id)
        if current is None or version != current.version:
            await self.reload([workspace_id])
            current = self._snapshots.get(workspace_id)
        if current is None:
            raise Unauthenticated("This workspace is gone.")
        return current

    async def reload(self, workspace_ids: Sequence[UUID]) -> None:
        """Read snapshots anew: the version first, so that a change in between is noticed later."""
        async with self._pool.connection() as tx:
            versions = await workspaces.versions(tx, workspace_ids)
            usable = await keys.usable(tx, workspace_ids)
            sites = await workspaces.sites(tx, workspace_ids)
            installed = await destinations.of_workspaces(tx, self._sealer, workspace_ids)
            aims = await goals.read_all(tx, workspace_ids)
            own_events = await event_types.of_workspaces(tx, workspace_ids)
            known_plans = await plans.read_all(tx)
            found = await workspaces.read(tx, workspace_ids)
        for workspace in found:
            id_ = workspace.id
            if (old := self._snapshots.get(id_)) is not None:
                for secret in old.keys:
                    self._by_key.pop(secret, None)
            snapshot = Snapshot(
                workspace,
                versions.get(id_, 0),
                [key for key in usable if key.workspace_id == id_],
                [site for site in sites if site.workspace_id == id_],
                [destination for destination in installed if destination.workspace_id == id_],
                [goal for goal in aims if goal.workspace_id == id_],
                [one for one in own_events if one.workspace_id == id_],
                known_plans,
            )
            self._snapshots[id_] = snapshot
            self._by_key |= dict.fromkeys(snapshot.keys, snapshot)

    async def _find_keys(self, secrets: Sequence[bytes]) -> dict[bytes, Snapshot]:
        async with self._pool.connection() as tx:
            found = await keys.workspaces_of(tx, secrets)
        if found:
            await self.reload(found)
        snapshots = [self._snapshots[id_] for id_ in found if id_ in self._snapshots]
        return {secret: self._by_key.get(secret) or snapshots[0] for secret in secrets if secret in self._by_key}

    async def _find_sites(self, site_keys: Sequence[str]) -> dict[str, Snapshot]:
        async with self._pool.connection() as tx:
            found = await workspaces.sites_by_key(tx, site_keys)
        if found:
            await self.reload(sorted(set(found.values())))
        return {key: self._snapshots[id_] for key, id_ in found.items() if id_ in self._snapshots}

    async def _read_versions(self, workspace_ids: Sequence[UUID]) -> dict[UUID, int]:
        async with self._pool.connection() as tx:
            return await workspaces.versions(tx, workspace_ids)
