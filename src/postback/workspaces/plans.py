"""Plans: how many billable events a workspace, or a site, may take in a UTC month.

Table: plan, of the whole installation. A change bumps every workspace that the plan caps.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from psycopg import errors
from psycopg.rows import args_row

from postback import workspaces
from postback.db import Queries, Tx
from postback.errors import Conflict, NotFound

Cap = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
_queries = Queries("plans")


class Plan(Struct, frozen=True):
    """`overage`: what is past the cap is taken and metered, up to three times the cap; else it is refused."""

    id: UUID
    name: str
    monthly_cap: int
    overage: bool


class PlanIn(Struct, frozen=True, kw_only=True):
    """`monthly_cap`: billable events a UTC month. `overage`: take and meter what is past it, up to three times."""

    name: workspaces.Name
    monthly_cap: Cap
    overage: bool = False


class PlanPatch(Struct, frozen=True, kw_only=True):
    """What is absent stays."""

    name: workspaces.Name | UnsetType = UNSET
    monthly_cap: Cap | UnsetType = UNSET
    overage: bool | UnsetType = UNSET


async def create(tx: Tx, id: UUID, sent: PlanIn, now: datetime) -> Plan:
    """Raises Conflict."""
    plan = Plan(id, sent.name, sent.monthly_cap, sent.overage)
    cursor = await tx.execute(_queries.insert, {**structs.asdict(plan), "now": now})
    if await cursor.fetchone() is None:
        raise _taken(plan)
    return plan


async def read_all(tx: Tx) -> list[Plan]:
    """Oldest first."""
    async with tx.cursor(row_factory=args_row(Plan)) as cursor:
        return await (await cursor.execute(_queries.read_all)).fetchall()


async def read(tx: Tx, id: UUID) -> Plan:
    for plan in await read_all(tx):
        if plan.id == id:
            return plan
    raise NotFound("There is no such plan.")


async def hold(tx: Tx) -> None:
    """Wait for one's turn to change plans: the turn of the installation's first workspace."""
    first, *_ = await workspaces.all_(tx)
    await workspaces.hold(tx, first.id)


async def change(tx: Tx, plan: Plan, patch: PlanPatch) -> Plan:
    """Write what a patch changes of a plan, which was read in this transaction, under `hold`. Raises Conflict."""
    changed = structs.replace(
        plan, **{name: value for name, value in structs.asdict(patch).items() if value is not UNSET}
    )
    cursor = await tx.execute(_queries.update, structs.asdict(changed))
    if await cursor.fetchone() is None:
        raise _taken(changed)
    for workspace_id in await users(tx, plan):
        await workspaces.bump(tx, workspace_id)
    return changed


async def users(tx: Tx, plan: Plan) -> list[UUID]:
    """Workspaces that it caps, or a site of theirs."""
    return [id_ for (id_,) in await (await tx.execute(_queries.users, {"id": plan.id})).fetchall()]


async def remove(tx: Tx, plan: Plan) -> None:
    """Raises Conflict while it caps something."""
    try:
        await tx.execute(_queries.remove, {"id": plan.id})
    except errors.ForeignKeyViolation:
        raise Conflict("This plan caps a workspace or a site; give those another plan first.") from None


def _taken(plan: Plan) -> Conflict:
    return Conflict(f"There is a plan {plan.name} already; take another name.", field="name")
