"""What a file declares, and what is there, as things that can be compared: checked, in our spelling, named by people.

A goal's site is compared by the site itself, so that a site may be renamed: by the id of one that is there, else by its
place in the file. A plan is compared by its name.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, structs

from postback import destinations, goals, workspaces
from postback.blueprint import Blueprint
from postback.blueprint.mapping import Compiled
from postback.connectors import Connector
from postback.declared import (
    Declaration,
    DestinationDeclared,
    EventTypeDeclared,
    GoalDeclared,
    PlanDeclared,
    SiteDeclared,
)
from postback.declared.planning import Step, Thing, pair, plan
from postback.destinations import Destination
from postback.destinations.forms import made_secrets
from postback.errors import Conflict, Invalid, Rejected
from postback.goals import USUAL, Goal, GoalIn
from postback.secret import Secret
from postback.settings import Settings
from postback.web.admin.addresses import refuse_private
from postback.workspaces import Site, SiteIn, Workspace, event_types
from postback.workspaces.event_types import EventType, EventTypeIn
from postback.workspaces.plans import Plan, PlanIn

_plain = msgspec.json.Decoder(float_hook=Decimal).decode
_NO_ID = UUID(int=0)
# Of a site that is to be made: it comes after all that are there.
_LAST = UUID(int=(1 << 128) - 1)
_SITE_LISTS = ("allowed_origins", "link_domains", "payment_referrers")
_SITE_FIELDS = ("name", "site_key", "currency", "country", "timezone", "window_days", "order_counts_from")
_GOAL_FIELDS = ("events", "filter", "default_value", "currency", "active", "window_days", "direct_rule")


class State(Struct, frozen=True, kw_only=True):
    """What is there of one workspace, and the installation's plans. `plans_elsewhere`: those that cap another
    workspace. `paused`: destinations that are."""

    workspace: Workspace
    plans: list[Plan]
    plans_elsewhere: frozenset[UUID]
    sites: list[Site]
    event_types: list[EventType]
    goals: list[Goal]
    destinations: list[Destination]
    paused: frozenset[UUID]


class Setup(Struct, frozen=True):
    """`reveal`: what a reference (`env:NAME`, `file:PATH`) stands for; raises Invalid."""

    settings: Settings
    reveal: Callable[[str], str]


class GoalWanted(Struct, frozen=True):
    """`site`: id of one that is there, else the place of one that is to be made."""

    site: str
    sent: GoalIn


class DestinationWanted(Struct, frozen=True):
    """`config` is whole; `made`: its secrets that were made, for where there are none yet."""

    connector: Connector
    variant: str
    name: str
    config: Struct
    made: dict[str, str]
    blueprint: Blueprint | None


@contextmanager
def at(place: str) -> Generator[None]:
    """Name the place in the file where a mistake is found."""
    try:
        yield
    except Rejected as wrong:
        field = f"{place}.{wrong.field}" if place and wrong.field else place or wrong.field
        kind = Conflict if isinstance(wrong, Conflict) else Invalid
        raise kind(f"{field}: {wrong.message}" if field else wrong.message, field=field) from None


def steps(declared: Declaration, state: State, setup: Setup, *, prune: bool) -> list[Step]:
    """All that must be done, in an order in which it can be. Raises Invalid, naming the place."""
    plan_names = {one.id: one.name for one in state.plans}
    known = {one.name for one in declared.plans} | set(plan_names.values())
    declared_sites = [_site(one, place, known) for place, one in enumerate(declared.sites)]
    current_sites = [site_thing(one, plan_names) for one in state.sites]
    pairs = pair(declared_sites, current_sites)
    address = _Addresses(declared_sites, pairs, [] if prune else current_sites)
    ours = [
        plan_thing(one)
        for one in state.plans
        if one.id not in state.plans_elsewhere or one.name in {sent.name for sent in declared.plans}
    ]
    by_noun = [
        plan([_plan(one, place) for place, one in enumerate(declared.plans)], ours, prune=prune),
        plan(_workspace(declared, state, known), [workspace_thing(state.workspace, plan_names)], prune=False),
        plan(declared_sites, current_sites, prune=prune),
        plan(
            [_event_type(one, place) for place, one in enumerate(declared.event_types)],
            [event_type_thing(one) for one in state.event_types],
            prune=prune,
        ),
        plan(
            _goals(declared, declared_sites, pairs, address),
            [goal_thing(one, state.sites) for one in state.goals],
            prune=prune,
        ),
        plan(
            [_destination(one, place, setup) for place, one in enumerate(declared.destinations)],
            [destination_thing(one, is_paused=one.id in state.paused) for one in state.destinations],
            prune=prune,
        ),
    ]
    done = [step for found in by_noun for step in found if step.action != "remove"]
    removed = [step for found in reversed(by_noun) for step in found if step.action == "remove"]
    return done + removed


def plan_thing(one: Plan) -> Thing:
    fields = {"monthly_cap": one.monthly_cap, "overage": one.overage}
    return Thing(noun="plan", label=one.name, names=(one.name,), fields=fields, subject=one)


def workspace_thing(one: Workspace, plan_names: Mapping[UUID, str]) -> Thing:
    fields = {"plan": plan_names[one.plan_id] if one.plan_id else None}
    return Thing(noun="workspace", label=one.name, names=("workspace",), fields=fields, subject=one)


def site_thing(one: Site, plan_names: Mapping[UUID, str]) -> Thing:
    fields = {name: getattr(one, name) for name in (*_SITE_FIELDS, *_SITE_LISTS)}
    fields["plan"] = plan_names[one.plan_id] if one.plan_id else None
    return Thing(noun="site", label=one.name, names=(one.site_key, one.name), fields=fields, subject=one)


def event_type_thing(one: EventType) -> Thing:
    fields = {"billable": one.billable, "required": one.required}
    return Thing(noun="event type", label=one.name, names=(one.name,), fields=fields, subject=one)


def goal_thing(one: Goal, sites: Sequence[Site]) -> Thing:
    label = next((f"{site.name} / {one.name}" for site in sites if site.id == one.site_id), one.name)
    fields = {name: getattr(one, name) for name in _GOAL_FIELDS}
    return Thing(noun="goal", label=label, names=((str(one.site_id), one.name),), fields=fields, subject=one)


def destination_thing(one: Destination, *, is_paused: bool) -> Thing:
    """One whose config does not open has no fields of it."""
    fields: dict[str, Any] = {"variant": one.variant, "status": "paused" if is_paused else "active"}
    if one.config is not None:
        fields |= config_fields(one.config)
    fields["blueprint"] = _blueprint_field(one.connector, one.blueprint)
    kind = one.connector.name
    return Thing(noun="destination", label=f"{kind} {one.name}", names=((kind, one.name),), fields=fields, subject=one)


def config_fields(config: Struct) -> dict[str, Any]:
    """Its values by `config.<name>`, secrets as Secret."""
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    return {
        f"config.{name}": value if isinstance(value, Secret) else msgspec.to_builtins(value)
        for name, value in values.items()
    }


def _blueprint_field(connector: Connector, ready: Compiled | None) -> Any:
    """A blueprint as plain values; None: the connector's own."""
    if ready is None or ready == destinations.compiled(connector, None):
        return None
    return _plain(msgspec.json.encode(ready.blueprint))


class _Addresses:
    """Which site a goal means by a name or a key, or by none."""

    def __init__(self, declared: Sequence[Thing], pairs: Sequence[Thing | None], current: Sequence[Thing]) -> None:
        paired = {id(same) for same in pairs}
        known = [
            *((same or thing, thing) for thing, same in zip(declared, pairs, strict=True)),
            *((thing, thing) for thing in current if id(thing) not in paired),
        ]
        self._sites = sorted(known, key=lambda pair: pair[0].subject.id)

    def site(self, named: str | None) -> tuple[str, Site]:
        """Its address, and the site as it will be. Raises Invalid."""
        for there, thing in self._sites:
            if named is None or named in thing.names or named == there.names[0]:
                return there.place or str(there.subject.id), thing.subject
        wanted = f"There is no site {named}" if named else "There is no site"
        raise Invalid(f"{wanted}; the file may name one under sites.", field="site")


def _plan(sent: PlanDeclared, place: int) -> Thing:
    wanted = PlanIn(**structs.asdict(sent))
    fields = {"monthly_cap": wanted.monthly_cap, "overage": wanted.overage}
    return Thing(
        noun="plan", label=wanted.name, names=(wanted.name,), fields=fields, place=f"plans[{place}]", subject=wanted
    )


def _workspace(declared: Declaration, state: State, plans: set[str]) -> list[Thing]:
    if declared.workspace is UNSET:
        return []
    fields = {"plan": _known_plan(declared.workspace.plan, "workspace", plans)}
    return [
        Thing(
            noun="workspace", label=state.workspace.name, names=("workspace",), fields=fields, place="workspace"
        )
    ]  # fmt: skip


def _site(sent: SiteDeclared, place: int, plans: set[str]) -> Thing:
    where = f"sites[{place}]"
    with at(where):
        given = {n: v for n, v in structs.asdict(sent).items() if n not in ("plan", "usual_goals")}
        wanted = SiteIn(**given)
        site = workspaces.new_site(_LAST, _NO_ID, wanted)
    fields = {name: getattr(site, name) for name in (*_SITE_FIELDS, *_SITE_LISTS)}
    fields["plan"] = _known_plan(sent.plan, where, plans)
    if sent.site_key is None:
        del fields["site_key"]
    return Thing(
        noun="site", label=sent.name, names=(sent.site_key, sent.name), fields=fields, place=where, subject=site
    )


def _known_plan(name: str | None, place: str, plans: set[str]) -> str | None:
    if name is not None and name not in plans:
        raise Invalid(
            f"{place}.plan: There is no plan {name}; the file may name one under plans.", field=f"{place}.plan"
        )
    return name


def _event_type(sent: EventTypeDeclared, place: int) -> Thing:
    where = f"event_types[{place}]"
    with at(where):
        wanted = EventTypeIn(**structs.asdict(sent))
        checked = event_types.draft(_NO_ID, _NO_ID, wanted)
    fields = {"billable": checked.billable, "required": checked.required}
    return Thing(noun="event type", label=sent.name, names=(sent.name,), fields=fields, place=where, subject=wanted)


def _goals(
    declared: Declaration, sites: Sequence[Thing], pairs: Sequence[Thing | None], address: _Addresses
) -> list[Thing]:
    """The goals of the file, and the usual ones of sites that are to be made and for which it has none."""
    found = [_goal(one, f"goals[{place}]", address) for place, one in enumerate(declared.goals)]
    with_goals = {thing.subject.site for thing in found}
    for sent, site, same in zip(declared.sites, sites, pairs, strict=True):
        if same is None and sent.usual_goals and site.place not in with_goals:
            usual = (GoalDeclared(name=name, events=events) for name, events in USUAL.items())
            found += [_goal_of(one, site.place, site.place, site.subject) for one in usual]
    return found


def _goal(sent: GoalDeclared, where: str, address: _Addresses) -> Thing:
    with at(where):
        at_site, site = address.site(sent.site)
    return _goal_of(sent, where, at_site, site)


def _goal_of(sent: GoalDeclared, where: str, at_site: str, site: Site) -> Thing:
    with at(where):
        wanted = GoalIn(**{name: value for name, value in structs.asdict(sent).items() if name != "site"})
        drafted = goals.draft(site, wanted)
    fields = {name: getattr(drafted, name) for name in _GOAL_FIELDS}
    return Thing(
        noun="goal",
        label=f"{site.name} / {sent.name}",
        names=((at_site, sent.name),),
        fields=fields,
        place=where,
        subject=GoalWanted(at_site, wanted),
    )


def _destination(sent: DestinationDeclared, place: int, setup: Setup) -> Thing:
    where = f"destinations[{place}]"
    with at(f"{where}.connector"):
        destinations.connector_named(sent.connector)
    with at(where):
        kind = destinations.connector_named(sent.connector, sent.variant)
    config = dict(sent.config)
    for name in sorted(destinations.secret_fields(kind) & config.keys()):
        with at(f"{where}.config.{name}"):
            config[name] = _revealed(config[name], setup)
    with at(where):
        made = made_secrets(kind, config)
        whole = destinations.read_config(kind, config | made)
        refuse_private(whole, setup.settings)
        ready = destinations.compiled(kind, sent.blueprint)
    fields: dict[str, Any] = {"variant": sent.variant}
    if sent.status is not UNSET:
        fields["status"] = sent.status
    fields |= {name: value for name, value in config_fields(whole).items() if name.removeprefix("config.") not in made}
    fields["blueprint"] = _blueprint_field(kind, ready)
    name = sent.name or kind.title
    return Thing(
        noun="destination",
        label=f"{kind.name} {name}",
        names=((kind.name, name),),
        fields=fields,
        fixed=frozenset({"variant"}),
        place=where,
        subject=DestinationWanted(kind, sent.variant, name, whole, made, sent.blueprint),
    )


def _revealed(value: Any, setup: Setup) -> str:
    if not isinstance(value, str) or not value.startswith(("env:", "file:")):
        raise Invalid("A secret stands elsewhere: name where, as env:NAME or file:PATH.")
    return setup.reveal(value)
