"""The file of what is there. What has its default is left out; secrets are references, their values are not in it."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import NODEFAULT, Struct, structs

from postback.declared import (
    DestinationDeclared,
    EventTypeDeclared,
    GoalDeclared,
    PlanDeclared,
    SiteDeclared,
    document,
    things,
)
from postback.declared.document import Table
from postback.declared.planning import Thing
from postback.declared.things import State
from postback.destinations import Destination
from postback.errors import Conflict
from postback.secret import Secret
from postback.workspaces import Site

SECRET_PREFIX = "POSTBACK_SECRET_"  # noqa: S105  (of names)
_HEAD = """The configuration of a workspace, as `postback export` wrote it.
`postback apply FILE` makes it so, here or elsewhere. Secrets are not in it: set the variables that `env:` names.
Keys, accounts, numbers of goals and what was received are not part of it."""


def text(state: State) -> str:
    """Raises Conflict where a config does not open."""
    plan_names = {plan.id: plan.name for plan in state.plans}
    names = {site.id: _named(site, state.sites) for site in state.sites}
    with_goals = {goal.site_id for goal in state.goals}
    variables = _Variables()
    return document.write(
        _HEAD,
        things.workspace_thing(state.workspace, plan_names).fields,
        {
            "plans": [_table(PlanDeclared, things.plan_thing(one), name=one.name) for one in state.plans],
            "sites": [
                _table(SiteDeclared, things.site_thing(one, plan_names), usual_goals=one.id in with_goals)
                for one in state.sites
            ],
            "event_types": [
                _table(EventTypeDeclared, things.event_type_thing(one), name=one.name) for one in state.event_types
            ],
            "goals": [
                _table(
                    GoalDeclared,
                    things.goal_thing(one, state.sites),
                    comment=f"number {one.id}",
                    name=one.name,
                    site=names[one.site_id],
                )
                for one in state.goals
            ],
            "destinations": [_destination(one, state.paused, variables) for one in state.destinations],
        },
    )


def _named(site: Site, sites: list[Site]) -> str:
    """Its name, or where others have it too its key."""
    others = [name for one in sites if one.id != site.id for name in (one.name, one.site_key)]
    return site.site_key if site.name in others else site.name


def _table(kind: type[Struct], thing: Thing, *, comment: str = "", **more: Any) -> Table:
    return Table(_short(kind, {**more, **thing.fields}), comment)


def _short(kind: type[Struct], values: Mapping[str, Any]) -> dict[str, Any]:
    """In the order of the fields, without those that have their default."""
    return {
        field.name: values[field.name]
        for field in structs.fields(kind)
        if field.name in values and values[field.name] != _default(field)
    }


def _default(field: structs.FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


def _destination(one: Destination, paused: frozenset[UUID], variables: "_Variables") -> Table:
    if one.config is None:
        raise Conflict(
            f"The config of the destination {one.name} does not open with the seal key: remove it, or give it a whole "
            "config, and export again."
        )
    values = {name.removeprefix("config."): value for name, value in things.config_fields(one.config).items()}
    plain = {
        name: variables.reference(one, name) if isinstance(value, Secret) else value
        for name, value in _short(type(one.config), values).items()
    }
    status = {"status": "paused"} if one.id in paused else {}
    named = {"connector": one.connector.name, "name": one.name, "variant": one.variant, "config": plain}
    return Table(_short(DestinationDeclared, named | status))


class _Variables:
    """Names of the variables that secrets are to be put into, each another one."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def reference(self, destination: Destination, field: str) -> str:
        words = re.sub(r"[^A-Z0-9]+", "_", f"{destination.connector.name} {destination.name} {field}".upper())
        name, count = SECRET_PREFIX + words, 1
        while name in self._given:
            count += 1
            name = f"{SECRET_PREFIX}{words}_{count}"
        self._given.add(name)
        return f"env:{name}"
