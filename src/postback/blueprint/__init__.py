"""Blueprints: which of the hub's events becomes which event of a platform, when, and with what. Data, one each.

    {"rules": [{"event": "purchase", "to": "Purchase", "filter": "value >= 10.0", "consent": ["ad_user_data"],
                "value": {"kind": "times", "factor": 0.35}, "fields": {"order.id": "properties.invoice"},
                "constants": {"properties.channel": "web"}, "without": ["page.referrer"], "note": "Margin only."},
               {"event": "*"}]}

The first rule that bears the event's name and whose filter is true holds; what no rule takes is skipped as not mapped.

    filters     conditions on an event, in CEL; goals use them too
    syntax      what a filter's text may hold
    places      places of an event that are read and filled
    mapping     a blueprint made ready, and applied
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

ANY = "*"
MAX_RULES = 100

Purpose = Literal["analytics", "ad_user_data", "ad_personalization"]
# The token as sent: read by `money.amount`, so that no float is in between.
Number = Annotated[Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Place = Annotated[str, Meta(min_length=1, max_length=200)]


class Sent(Struct, frozen=True, tag_field="kind", tag="sent", forbid_unknown_fields=True):
    """The value as sent."""


class NoValue(Struct, frozen=True, tag_field="kind", tag="none", forbid_unknown_fields=True):
    """No value."""


class Fixed(Struct, frozen=True, tag_field="kind", tag="fixed", forbid_unknown_fields=True):
    """Always this amount."""

    amount: Number
    currency: Annotated[str, Meta(min_length=3, max_length=3)]


class Times(Struct, frozen=True, tag_field="kind", tag="times", forbid_unknown_fields=True):
    """The value as sent, multiplied, and rounded to the currency's decimals."""

    factor: Number


class OfProperty(Struct, frozen=True, tag_field="kind", tag="property", omit_defaults=True, forbid_unknown_fields=True):
    """The number in a property, none where there is none. In the event's currency, else in `currency`."""

    name: Name
    currency: Annotated[str, Meta(min_length=3, max_length=3)] | None = None


ValueRule = Sent | NoValue | Fixed | Times | OfProperty


class Rule(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What becomes of one event.

    `event`: its name, or `*` for any. `to`: the platform's name for it, or one of ours; absent: the connector's own
    choice. `filter`: CEL; absent: always. `consent`: purposes needed besides those that the platform needs.
    `fields`: place to fill, by the place to read; `constants`: place to fill, by what it is filled with; `without`:
    places to empty. `note` is for people.
    """

    event: Name
    to: Name | None = None
    filter: Annotated[str, Meta(min_length=1)] | None = None
    consent: tuple[Purpose, ...] = ()
    value: ValueRule = Sent()
    fields: Annotated[dict[Place, Place], Meta(max_length=50)] = {}
    constants: Annotated[dict[Place, str | int | float | bool], Meta(max_length=50)] = {}
    without: Annotated[tuple[Place, ...], Meta(max_length=50)] = ()
    note: Annotated[str, Meta(max_length=500)] | None = None


class Blueprint(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules, the first that fits holds."""

    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=MAX_RULES)]


class Unmapped(Struct, frozen=True):
    """Why an event does not go to the platform."""

    reason: str


def default(platform_names: Mapping[str, str], names: frozenset[str] | None) -> Blueprint:
    """What a connector does of itself: its names for ours, and, where it takes any (`names` None), all else."""
    mapped = [Rule(event=ours, to=theirs) for ours, theirs in platform_names.items() if names is None or ours in names]
    others = [ANY] if names is None else sorted(names - platform_names.keys())
    return Blueprint((*mapped, *(Rule(event=name) for name in others)))
