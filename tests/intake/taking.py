"""One process's worth of intake on a real database, with one workspace, its site and its keys."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from postback import conversions, destinations, goals, installation, keys, workspaces
from postback.conversions import Conversion, Order
from postback.db import Pool, Tx, buckets
from postback.dialects import Accepted, Result
from postback.event import RawEvent
from postback.goals import Goal, GoalIn
from postback.intake.directory import Directory
from postback.intake.judge import Judge, Pending
from postback.intake.limits import Admission
from postback.intake.writer import Writer
from postback.keys import ApiKey
from postback.pii import Sealer, Vault
from postback.queue import ledger
from postback.quota import Limit
from postback.secret import Secret
from postback.workspaces import Site, SitePatch, Workspace, plans
from postback.workspaces.plans import Plan, PlanIn

NOW = datetime.now(UTC)


class Hub:
    """`submit` and `send` go by the first writer; `writers` are as many processes."""

    workspace: Workspace
    site: Site
    key_text: str

    def __init__(self, pool: Pool, dsn: Secret) -> None:
        sealer = Sealer([os.urandom(32)], os.urandom)
        self.dsn, self.vault, self.pool = dsn, Vault(sealer, os.urandom(32)), pool
        self.directory = Directory(pool, sealer)
        self.writer = self.another_writer()
        self.judge = Judge(sealer, self.vault.link_key, lambda: os.urandom(16).hex())

    def another_writer(self) -> Writer:
        return Writer(self.dsn, self.directory, waiting_max=1000, flush_max=200)

    async def install(self) -> None:
        async with self.pool.connection() as tx, tx.transaction():
            self.workspace, self.site, (self.key_text, _) = await installation.add_workspace(
                tx, "w", "live", NOW, admin_scopes=["admin"]
            )

    async def add_destination(self, connector: str = "webhook", **config: Any) -> UUID:
        known = destinations.connector_named(connector)
        config = config or {"url": "https://hook.example/x"}
        async with self.pool.connection() as tx, tx.transaction():
            made = await destinations.install(
                tx, self.vault.sealer, id=buckets.new_id(NOW), workspace_id=self.workspace.id, connector=known,
                variant="default", name=None, config=destinations.read_config(known, config), now=NOW,
            )  # fmt: skip
        return made.id

    async def add_goal(self, name: str, site: Site | None = None, **fields: Any) -> Goal:
        async with self.pool.connection() as tx, tx.transaction():
            return await goals.create(tx, site or self.site, GoalIn(name=name, **fields), NOW)

    async def change_site(self, **fields: Any) -> None:
        async with self.pool.connection() as tx, tx.transaction():
            site = await workspaces.site(tx, self.workspace.id, self.site.id)
            self.site = await workspaces.change_site(tx, site, SitePatch(**fields))

    async def cap(self, monthly_cap: int, *, overage: bool = False) -> Plan:
        """Give the workspace a new plan."""
        async with self.pool.connection() as tx, tx.transaction():
            plan = PlanIn(name=f"plan {os.urandom(4).hex()}", monthly_cap=monthly_cap, overage=overage)
            made = await plans.create(tx, buckets.new_id(NOW), plan, NOW)
            await workspaces.set_plan(tx, self.workspace, made.id)
        return made

    async def who(self) -> ApiKey:
        return (await self.directory.authenticate(keys.fingerprint(self.key_text), datetime.now(UTC)))[1]

    async def pending(self, **fields: object) -> Pending:
        """Judged under the configuration in force."""
        now = datetime.now(UTC)
        snapshot, key = await self.directory.authenticate(keys.fingerprint(self.key_text), now)
        snapshot = await self.directory.confirm(snapshot, key, now)
        key = snapshot.keys[key.secret_sha256]
        raw = RawEvent(**({"name": "purchase", "dialect": "native"} | fields))
        if raw.event_id and raw.dedup is None:
            raw.dedup = raw.event_id
        return self.judge(raw, key, snapshot, self.writer.now())

    async def order(self, status: str, order_id: str = "A-1", amount: str = "40", **fields: object) -> Pending:
        """A Selektable post."""
        sent = {"dialect": "selektable", "dedup_space": "selektable", "dedup": f"{order_id}\0{status}"}
        money = {"amount": Decimal(amount), "currency": "EUR", "order_id": order_id, "order_status": status}
        key = {"event_id": order_id, "site_key": self.site.site_key}
        return await self.pending(**sent | money | key | fields)

    async def submit(self, pending: Sequence[Pending]) -> list[Result | None]:
        """Write events in one flush, or as many as it takes."""
        await self.writer.submit(pending)
        return [event.result for event in pending]

    async def send(self, **fields: object) -> Accepted:
        return await self.take(await self.pending(**fields))

    async def take(self, pending: Pending) -> Accepted:
        [result] = await self.submit([pending])
        assert isinstance(result, Accepted), result
        return result

    async def conversions(self) -> list[Conversion]:
        """Oldest first."""
        async with self.pool.connection() as tx:
            since, until = buckets.floor(NOW - timedelta(days=1)), buckets.floor(NOW + timedelta(days=1))
            wanted = conversions.Filter(workspace_id=self.workspace.id)
            found, _ = await conversions.list_all(tx, wanted, min_id=since, max_id=until, limit=1000)
            return found[::-1]

    async def read_order(self, order_id: str = "A-1") -> Order:
        async with self.pool.connection() as tx:
            order = next(iter(await conversions.find_orders(tx, [self.site.id], order_id)), None)
        assert order is not None
        return order

    async def fates(self) -> list[tuple[str, str | None]]:
        """Status and reason of every delivery, in the order of the events."""
        async with self.pool.connection() as tx:
            found = await (await tx.execute("SELECT status, reason FROM delivery ORDER BY event_id")).fetchall()
        return [(status, reason) for status, reason in found]

    async def is_balanced(self, *destination_ids: UUID) -> bool:
        async with self.pool.connection() as tx:
            hours = await ledger.read(tx, destination_ids, NOW - timedelta(hours=1), NOW + timedelta(hours=1))
        return bool(hours) and all(hour.difference == 0 for hour in hours)


async def scalar(tx: Tx, query: str) -> object:
    row = await (await tx.execute(query)).fetchone()
    assert row is not None
    return row[0]


def limited(pending: Sequence[Pending], cap: int, *, is_one_request: bool = False) -> Sequence[Pending]:
    """The same, each a request (or all one) under its key's limit a minute."""
    limit = Limit(pending[0].key.id.bytes, cap, False)
    request = Admission(limit)
    for event in pending:
        event.admission = request if is_one_request else Admission(limit)
    return pending


def execute(dsn: Secret, query: str) -> None:
    with psycopg.connect(dsn.reveal()) as conn:
        conn.execute(query.encode())
