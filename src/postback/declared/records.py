"""What is there, read; and steps, done: by the functions and into the log that the admin API's calls use."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from msgspec import Raw, Struct, structs

from postback import destinations, goals, installation, workspaces
from postback.db import Tx, buckets
from postback.declared.planning import Step
from postback.declared.things import DestinationWanted, GoalWanted, State, at
from postback.destinations import Destination
from postback.errors import Conflict
from postback.goals import GoalPatch, goal_out
from postback.pii.seal import Sealer
from postback.web.admin.shapes import DestinationOut, destination_out
from postback.workspaces import Site, SitePatch, event_types, plans, site_out, workspace_out
from postback.workspaces.audit import Change
from postback.workspaces.event_types import EventTypePatch, event_type_out
from postback.workspaces.plans import PlanPatch


class MadeSecret(Struct, frozen=True):
    """A secret that was made, to be shown this once."""

    destination: str
    field: str
    value: str


async def read(tx: Tx, sealer: Sealer, workspace_id: UUID) -> State:
    (workspace,) = await workspaces.read(tx, [workspace_id])
    known = await plans.read_all(tx)
    users = {plan.id: await plans.users(tx, plan) for plan in known}
    installed = await destinations.of_workspaces(tx, sealer, [workspace_id])
    lanes = await destinations.lanes(tx, sorted({one.bucket for one in installed}))
    return State(
        workspace=workspace,
        plans=known,
        plans_elsewhere=frozenset(id_ for id_, found in users.items() if set(found) - {workspace_id}),
        sites=await workspaces.sites(tx, [workspace_id]),
        event_types=await event_types.of_workspaces(tx, [workspace_id]),
        goals=await goals.read_all(tx, [workspace_id]),
        destinations=installed,
        paused=frozenset(id_ for id_, lane in lanes.items() if lane.state == "paused"),
    )


async def carry_out(change: Change, sealer: Sealer, state: State, steps: Sequence[Step]) -> list[MadeSecret]:
    """Do the steps, which were found from this state in this transaction. Raises Conflict, Invalid."""
    doing = _Doing(change, sealer, state)
    if any(step.thing.noun == "plan" for step in steps):
        await plans.hold(change.tx)
    by_noun = {
        "plan": doing.plan,
        "workspace": doing.workspace,
        "site": doing.site,
        "event type": doing.event_type,
        "goal": doing.goal,
        "destination": doing.destination,
    }
    for step in steps:
        with at(step.declared.place if step.declared else f"{step.thing.noun} {step.thing.label}"):
            await by_noun[step.thing.noun](step)
    return doing.made


class _Doing:
    """Steps under way. `plan_ids`: by name. `sites`: by id, and those of the file by their place."""

    def __init__(self, change: Change, sealer: Sealer, state: State) -> None:
        self.change = change
        self.tx = change.tx
        self.sealer = sealer
        self.plan_ids = {plan.name: plan.id for plan in state.plans}
        self.sites: dict[str, Site] = {str(site.id): site for site in state.sites}
        self.made: list[MadeSecret] = []
        self._count = 0

    def _new_id(self) -> UUID:
        """Ids rise in the order of the file, by which things are listed."""
        self._count += 1
        return buckets.new_id(self.change.now + timedelta(milliseconds=self._count))

    async def plan(self, step: Step) -> None:
        if step.declared is None:
            before = _subject(step)
            await plans.remove(self.tx, before)
            await self.change.record("removed", "plan", before.id, before=before)
        elif step.current is None:
            plan = await plans.create(self.tx, self._new_id(), step.declared.subject, self.change.now)
            self.plan_ids[plan.name] = plan.id
            await self.change.record("created", "plan", plan.id, after=plan)
        else:
            before = _subject(step)
            after = await plans.change(self.tx, before, PlanPatch(**_after(step)))
            await self.change.record("changed", "plan", before.id, before=before, after=after)

    async def workspace(self, step: Step) -> None:
        before = _subject(step)
        after = await workspaces.set_plan(self.tx, before, self._plan_id(_after(step)["plan"]))
        shown = {"before": workspace_out(before), "after": workspace_out(after)}
        await self.change.record("changed", "workspace", before.id, **shown)

    async def site(self, step: Step) -> None:
        if step.declared is None:
            before = _subject(step)
            for goal in await installation.remove_site(self.tx, before, self.change.now):
                await self.change.record("removed", "goal", goal.id, before=goal_out(goal))
            await self.change.record("removed", "site", before.id, before=site_out(before))
        elif step.current is None:
            wanted = structs.replace(
                step.declared.subject,
                id=self._new_id(),
                workspace_id=self.change.workspace_id,
                plan_id=self._plan_id(step.declared.fields["plan"]),
            )
            # Its goals are steps of their own.
            await workspaces.add_site(self.tx, wanted, self.change.now)
            self.sites[step.declared.place] = wanted
            await self.change.record("created", "site", wanted.id, after=site_out(wanted))
        else:
            before = after = _subject(step)
            fields = _after(step)
            if key := fields.pop("site_key", None):
                after = await workspaces.give_site_key(self.tx, after, key)
            if "plan" in fields:
                fields["plan"] = self._plan_id(fields["plan"])
            if fields:
                after = await workspaces.change_site(self.tx, after, SitePatch(**fields))
            self.sites[str(after.id)] = after
            await self.change.record("changed", "site", before.id, before=site_out(before), after=site_out(after))

    async def event_type(self, step: Step) -> None:
        if step.declared is None:
            before = _subject(step)
            await event_types.remove(self.tx, before)
            await self.change.record("removed", "event type", before.id, before=event_type_out(before))
        elif step.current is None:
            id_, sent = self._new_id(), step.declared.subject
            made = await event_types.create(self.tx, id_, self.change.workspace_id, sent, self.change.now)
            await self.change.record("created", "event type", made.id, after=event_type_out(made))
        else:
            before = _subject(step)
            after = await event_types.change(self.tx, before, EventTypePatch(**_after(step)))
            shown = {"before": event_type_out(before), "after": event_type_out(after)}
            await self.change.record("changed", "event type", before.id, **shown)

    async def goal(self, step: Step) -> None:
        if step.declared is None:
            before = _subject(step)
            await goals.remove(self.tx, before, self.change.now)
            await self.change.record("removed", "goal", before.id, before=goal_out(before))
            return
        wanted: GoalWanted = step.declared.subject
        site = self.sites[wanted.site]
        if step.current is None:
            made = await goals.create(self.tx, site, wanted.sent, self.change.now)
            await self.change.record("created", "goal", made.id, after=goal_out(made))
        else:
            before = _subject(step)
            after = await goals.change(self.tx, before, site, _goal_patch(step, wanted))
            await self.change.record("changed", "goal", before.id, before=goal_out(before), after=goal_out(after))

    async def destination(self, step: Step) -> None:
        if step.declared is None:
            before: Destination = _subject(step)
            shown = await self._shown(before)
            await destinations.remove(self.tx, before.workspace_id, before.id, self.change.now)
            await self.change.record("removed", "destination", before.id, before=shown)
            return
        wanted: DestinationWanted = step.declared.subject
        if step.current is None:
            made = await self._install(wanted)
            if wanted.blueprint is not None:
                made = await self._blueprint(made, wanted)
            if step.declared.fields.get("status") == "paused":
                await self._move(made, "paused")
            await self.change.record("created", "destination", made.id, after=await self._shown(made))
            return
        before = after = _subject(step)
        shown = await self._shown(before)
        if any(name.startswith("config.") for name in step.fields):
            after = await self._write(before, wanted)
        if "blueprint" in step.fields:
            after = await self._blueprint(after, wanted)
        if "status" in step.fields:
            await self._move(before, _after(step)["status"])
        await self.change.record(
            "changed", "destination", before.id, before=shown, after=await self._shown(after)
        )  # fmt: skip

    async def _install(self, wanted: DestinationWanted) -> Destination:
        self.made += [MadeSecret(wanted.name, field, value) for field, value in wanted.made.items()]
        return await destinations.install(
            self.tx,
            self.sealer,
            id=self._new_id(),
            workspace_id=self.change.workspace_id,
            connector=wanted.connector,
            variant=wanted.variant,
            name=wanted.name,
            config=wanted.config,
            now=self.change.now,
        )

    async def _write(self, before: Destination, wanted: DestinationWanted) -> Destination:
        """The declared config; secrets that we make, and have made before, stay."""
        there = {name: getattr(before.config, name, None) for name in wanted.made}
        kept = {name: value for name, value in there.items() if value is not None}
        self.made += [MadeSecret(before.name, name, wanted.made[name]) for name in wanted.made.keys() - kept.keys()]
        config = structs.replace(wanted.config, **kept)
        await destinations.change(
            self.tx, self.sealer, before, name=before.name, config=config, now=self.change.now
        )  # fmt: skip
        return structs.replace(before, config=config)

    async def _blueprint(self, destination: Destination, wanted: DestinationWanted) -> Destination:
        by, now = self.change.actor, self.change.now
        return await destinations.write_blueprint(self.tx, destination, wanted.blueprint, by=by, now=now)

    async def _move(self, destination: Destination, status: str) -> None:
        from_states = {"active"} if status == "paused" else {"paused"}
        if not await destinations.set_state(self.tx, destination.id, status, from_states, self.change.now):
            raise Conflict(
                f"{destination.name} is held and sends nothing: correct its config, or resume it.", field="status"
            )

    async def _shown(self, destination: Destination) -> DestinationOut:
        lanes = await destinations.lanes(self.tx, [destination.bucket])
        return destination_out(destination, lanes.get(destination.id))

    def _plan_id(self, name: str | None) -> UUID | None:
        return self.plan_ids[name] if name is not None else None


def _subject(step: Step) -> Any:
    """The record that is there."""
    assert step.current is not None, "what is changed or removed is there"
    return step.current.subject


def _after(step: Step) -> dict[str, Any]:
    return {name: after for name, (_, after) in step.fields.items()}


def _goal_patch(step: Step, wanted: GoalWanted) -> GoalPatch:
    """The amount goes as it was sent; null takes it away."""
    fields = _after(step)
    if "default_value" in fields:
        sent = wanted.sent.default_value
        fields["default_value"] = sent if bytes(sent) else Raw(b"null")
    return GoalPatch(**fields)
