"""Declared configuration: a file says what there is to be; what must be done for it; and the file of what is there.

`document` reads and writes the file, `things` checks what it says and makes it comparable, `planning` finds the steps,
`records` reads what is there and does the steps by the same functions, and with the same log, as the admin API.
What a file does not name stays. What it names is as it says: a field that is left out has its default, except those
whose sentences here say otherwise. Secrets are references: `env:NAME`, `file:PATH`.
"""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from postback.blueprint import Blueprint
from postback.goals import Amount, DirectRule, Events, Filter
from postback.workspaces import Country, CountsFrom, Domains, Name, Origins, SiteKey, WindowDays
from postback.workspaces.event_types import Required
from postback.workspaces.plans import Cap


class WorkspaceDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`plan`: by name; left out: no cap."""

    plan: Name | None = None


class PlanDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    monthly_cap: Cap
    overage: bool = False


class SiteDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`site_key` left out: stays, or is made. `plan`: by name. `usual_goals`: whether a site that is made, and for
    which the file has no goal, begins with the usual ones."""

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
    plan: Name | None = None
    usual_goals: bool = True


class EventTypeDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    billable: bool = False
    required: Required = []


class GoalDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`site`: by name or site key; left out: the workspace's first."""

    name: Name
    site: Name | None = None
    events: Events = []
    filter: Filter | None = None
    default_value: Amount = Raw()
    currency: str | None = None
    active: bool = True
    window_days: WindowDays | None = None
    direct_rule: DirectRule = "product"


class DestinationDeclared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` and `blueprint` left out: the connector's own. `status` left out: stays. So does a secret of `config` that
    Postback makes by itself where there is none."""

    connector: Name
    name: Name | None = None
    variant: Name = "default"
    status: Literal["active", "paused"] | UnsetType = UNSET
    config: dict[str, Any] = {}
    blueprint: Blueprint | None = None


class Declaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file. `workspace` left out: its plan stays."""

    workspace: WorkspaceDeclared | UnsetType = UNSET
    plans: list[PlanDeclared] = []
    sites: list[SiteDeclared] = []
    event_types: list[EventTypeDeclared] = []
    goals: list[GoalDeclared] = []
    destinations: list[DestinationDeclared] = []
