"""Goals: what counts as a conversion. Numbered, because people type the number.

Table: goal. An event fulfils a goal by its name and the filter, or by naming the goal. Names are those after aliases,
so that a goal of `purchase` takes an `Order Completed` too. Amounts in major units of `currency`, else of the site's.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs
from psycopg.rows import args_row

from postback import money, workspaces
from postback.blueprint import filters, syntax
from postback.db import Queries, Tx
from postback.errors import Invalid, NotFound
from postback.event import standard_name
from postback.workspaces import Name, Site, WindowDays

DirectRule = Literal["product", "session", "any"]
Events = Annotated[list[Name], Meta(max_length=100)]
Filter = Annotated[str, Meta(min_length=1, max_length=syntax.MAX_CHARS)]
Amount = Annotated[Raw, Meta(extra_json_schema={"type": ["number", "null"], "minimum": 0})]
# What a new site counts.
USUAL = {"Purchases": ["purchase"], "Leads": ["lead", "signup"]}
_queries = Queries("goals")


class Goal(Struct, frozen=True):
    """`filter` is CEL. `default_value`: of a conversion that bears no amount; None is not 0. `currency` and
    `window_days` None: the site's."""

    id: int
    workspace_id: UUID
    site_id: UUID
    name: str
    events: list[str]
    filter: str | None = None
    default_value: Decimal | None = None
    currency: str | None = None
    active: bool = True
    window_days: int | None = None
    direct_rule: str = "product"


class GoalIn(Struct, frozen=True, kw_only=True):
    """A goal to make. `site` absent: the workspace's first. `events` empty: only events that name the goal fulfil it,
    or those that the filter lets through."""

    name: Name
    site: UUID | None = None
    events: Events = []
    filter: Filter | None = None
    default_value: Amount = Raw()
    currency: str | None = None
    active: bool = True
    window_days: WindowDays | None = None
    direct_rule: DirectRule = "product"


class GoalPatch(Struct, frozen=True, kw_only=True):
    """What is absent stays; null takes away."""

    name: Name | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    filter: Filter | UnsetType | None = UNSET
    default_value: Amount = Raw()
    currency: str | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    window_days: WindowDays | UnsetType | None = UNSET
    direct_rule: DirectRule | UnsetType = UNSET


class GoalOut(Struct, frozen=True):
    """`id` is the number that Velaro's `goalId` and native `goal_id` name. `default_value` null: a conversion without
    an amount has no value, which is not 0. `currency`, `window_days` null: the site's."""

    id: int
    site: UUID
    name: str
    events: list[str]
    filter: str | None
    default_value: Decimal | None
    currency: str | None
    active: bool
    window_days: int | None
    direct_rule: DirectRule


async def create(tx: Tx, site: Site, sent: GoalIn, now: datetime) -> Goal:
    """A goal of a site, with its number. Raises Invalid."""
    goal = draft(site, sent)
    cursor = await tx.execute(_queries.insert, {**structs.asdict(goal), "now": now})
    (id_,) = await cursor.fetchone() or (0,)
    await workspaces.bump(tx, site.workspace_id)
    return structs.replace(goal, id=id_)


def draft(site: Site, sent: GoalIn) -> Goal:
    """A goal as it was asked for, checked and in our spelling; it has no number yet. Raises Invalid."""
    return _merged(Goal(0, site.workspace_id, site.id, sent.name, []), sent, site)


async def create_usual(tx: Tx, site: Site, now: datetime) -> list[Goal]:
    """The goals that every new site has."""
    return [await create(tx, site, GoalIn(name=name, events=events), now) for name, events in USUAL.items()]


async def read_all(tx: Tx, workspace_ids: Sequence[UUID]) -> list[Goal]:
    """Goals of some workspaces, disabled ones too, in the order of their numbers."""
    async with tx.cursor(row_factory=args_row(Goal)) as cursor:
        return await (await cursor.execute(_queries.read_all, {"workspace_ids": list(workspace_ids)})).fetchall()


async def read(tx: Tx, workspace_id: UUID, id: int) -> Goal:
    for goal in await read_all(tx, [workspace_id]):
        if goal.id == id:
            return goal
    raise NotFound("There is no such goal.")


async def change(tx: Tx, goal: Goal, site: Site, patch: GoalPatch) -> Goal:
    """Write what a patch changes of a site's goal, which was read in this transaction. Raises Invalid."""
    changed = _merged(goal, patch, site)
    await tx.execute(_queries.update, structs.asdict(changed))
    await workspaces.bump(tx, goal.workspace_id)
    return changed


async def remove(tx: Tx, goal: Goal, now: datetime) -> None:
    """No event fulfils it from the commit on; its conversions stay, and its number is not given again."""
    await tx.execute(_queries.remove, {"workspace_id": goal.workspace_id, "id": goal.id, "now": now})
    await workspaces.bump(tx, goal.workspace_id)


def goal_out(goal: Goal) -> GoalOut:
    return GoalOut(
        id=goal.id,
        site=goal.site_id,
        name=goal.name,
        events=goal.events,
        filter=goal.filter,
        default_value=goal.default_value,
        currency=goal.currency,
        active=goal.active,
        window_days=goal.window_days,
        direct_rule=goal.direct_rule,  # type: ignore[arg-type]  # the database's own check
    )


def check_filter(text: str) -> None:
    """Whether a filter can be one. Raises Invalid, saying where the mistake is."""
    filters.compile(text, "filter")


def _merged(goal: Goal, sent: GoalIn | GoalPatch, site: Site) -> Goal:
    """A goal with what was sent, checked and in our spelling. Raises Invalid."""
    fields: dict[str, Any] = {
        name: value
        for name, value in structs.asdict(sent).items()
        if value is not UNSET and name not in ("site", "default_value")
    }
    if sent.default_value:
        fields["default_value"] = money.amount(sent.default_value, "default_value")
    merged = structs.replace(goal, **fields)
    if merged.filter is not None:
        check_filter(merged.filter)
    currency = money.currency(merged.currency) if merged.currency is not None else None
    if merged.default_value is not None:
        _, is_rounded = money.rounded(merged.default_value, currency or site.currency)
        if is_rounded:
            raise Invalid(
                f"default_value has more decimals than {currency or site.currency} has.", field="default_value"
            )
    return structs.replace(merged, currency=currency, events=list(dict.fromkeys(map(standard_name, merged.events))))
