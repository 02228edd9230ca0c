"""A snapshot holds what intake judges by, as it stands in the database."""

import os
from datetime import UTC, datetime

import pytest

from postback import goals, installation, workspaces
from postback.db import Pool, Tx, buckets
from postback.goals import GoalIn, GoalPatch
from postback.intake.directory import Directory, Snapshot
from postback.pii import Sealer
from postback.workspaces import SiteIn, SitePatch, Workspace, event_types, plans
from postback.workspaces.event_types import EventTypeIn
from postback.workspaces.plans import PlanIn, PlanPatch

NOW = datetime.now(UTC)


@pytest.fixture
async def workspace(tx: Tx) -> Workspace:
    async with tx.transaction():
        made, _, _ = await installation.add_workspace(tx, "w", "live", NOW, admin_scopes=["admin"])
    return made


async def loaded(pool: Pool, workspace: Workspace) -> Snapshot:
    directory = Directory(pool, Sealer([os.urandom(32)], os.urandom))
    await directory.reload([workspace.id])
    snapshot = directory.get(workspace.id)
    assert snapshot is not None
    return snapshot


async def test_it_holds_goals_by_number_disabled_ones_too_and_no_removed_ones(
    pool: Pool, tx: Tx, workspace: Workspace
) -> None:
    (site,) = await workspaces.sites(tx, [workspace.id])
    kept = await goals.create(tx, site, GoalIn(name="kept"), NOW)
    kept = await goals.change(tx, kept, site, GoalPatch(active=False))
    gone = await goals.create(tx, site, GoalIn(name="gone"), NOW)
    await goals.remove(tx, gone, NOW)
    found = (await loaded(pool, workspace)).goals
    assert found[kept.id] == kept
    assert [goal.name for goal in found.values()] == ["Purchases", "Leads", "kept"]


async def test_it_holds_event_types_by_name_and_plans_by_id(pool: Pool, tx: Tx, workspace: Workspace) -> None:
    quiz = await event_types.create(tx, buckets.new_id(NOW), workspace.id, EventTypeIn(name="quiz"), NOW)
    plan = await plans.create(tx, buckets.new_id(NOW), PlanIn(name="small", monthly_cap=10), NOW)
    await workspaces.set_plan(tx, workspace, plan.id)
    snapshot = await loaded(pool, workspace)
    assert snapshot.event_types == {"quiz": quiz}
    assert snapshot.plans[snapshot.workspace.plan_id] == plan


async def test_it_holds_what_a_site_says_of_orders_and_touches(pool: Pool, tx: Tx, workspace: Workspace) -> None:
    site, _ = await installation.add_site(
        tx, workspaces.new_site(buckets.new_id(NOW), workspace.id, SiteIn(name="shop")), NOW
    )
    site = await workspaces.change_site(tx, site, SitePatch(window_days=30, order_counts_from="processing"))
    assert (await loaded(pool, workspace)).sites[site.id] == site


async def test_every_change_moves_the_version(tx: Tx, workspace: Workspace) -> None:
    (site,) = await workspaces.sites(tx, [workspace.id])
    plan = await plans.create(tx, buckets.new_id(NOW), PlanIn(name="small", monthly_cap=10), NOW)

    async def version() -> int:
        return (await workspaces.versions(tx, [workspace.id]))[workspace.id]

    async def moved(before: int) -> int:
        after = await version()
        assert after > before
        return after

    at = await version()
    goal = await goals.create(tx, site, GoalIn(name="g"), NOW)
    at = await moved(at)
    await goals.change(tx, goal, site, GoalPatch(active=False))
    at = await moved(at)
    await goals.remove(tx, goal, NOW)
    at = await moved(at)
    await workspaces.change_site(tx, site, SitePatch(plan=plan.id))
    at = await moved(at)
    await plans.change(tx, plan, PlanPatch(monthly_cap=20))
    at = await moved(at)
    await workspaces.remove_site(tx, site, NOW)
    await moved(at)
