"""A blueprint made ready: checked, its filters compiled, its names resolved; then applied to one event at a time.

`to` may be a name of the platform (`Purchase`) or one of ours (`purchase`, `Order Completed`). An event that is sent
under another name than its own is to the connector as if it had been posted under that one: its name and its name as
sent are then `to`. One that keeps its name keeps both.
"""

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, TypeVar

from msgspec import Raw, Struct
from msgspec.structs import replace

from postback import money
from postback.blueprint import (
    ANY,
    Blueprint,
    Fixed,
    NoValue,
    OfProperty,
    Rule,
    Sent,
    Times,
    Unmapped,
    ValueRule,
    filters,
    places,
)
from postback.blueprint.filters import Filter
from postback.errors import Invalid
from postback.event import Event, standard_name
from postback.money import Money

E = TypeVar("E", bound=Event)
MAX_FACTOR = 1000
MAX_DIGITS = 60
DENIED = "consent: denied by the visitor"
_WIDE = Context(prec=2 * MAX_DIGITS)


class Platform(Struct, frozen=True):
    """What a blueprint is checked against. `names`: of ours, those it has a counterpart for (None: any);
    `platform_names`: its own names by ours."""

    title: str
    names: frozenset[str] | None = None
    platform_names: Mapping[str, str] = {}


class _Ready(Struct, frozen=True):
    """A rule, ready. `event`: its standard name; `name`: ours under which the event goes, None: its own; `value`: its
    value rule, amounts read."""

    rule: Rule
    event: str
    name: str | None
    filter: Filter | None
    consent: frozenset[str]
    value: "_Value | None"


class _Value(Struct, frozen=True):
    """`amount`: fixed, or the factor. `currency`: of a fixed amount; of a property, where the event has none."""

    rule: ValueRule
    amount: Decimal = Decimal(0)
    currency: str | None = None

    def of(self, event: Event) -> Money | None:
        match self.rule:
            case Fixed():
                return _money(self.amount, self.currency)
            case Times():
                sent = event.value
                return _money(_WIDE.multiply(sent.amount, self.amount), sent.currency) if sent else None
            case OfProperty(name):
                currency = event.value.currency if event.value else self.currency
                return _money(_number(places.read(event, f"properties.{name}")), currency)
            case NoValue() | Sent():
                return None


class Compiled:
    """A blueprint, ready for one platform. Two of the same rules are equal."""

    def __init__(self, blueprint: Blueprint, platform: Platform, field: str = "blueprint") -> None:
        """Raises Invalid, naming the field below `field`."""
        self.blueprint = blueprint
        self._platform = platform
        self._rules = [
            _ready(rule, platform, f"{field}.rules[{number}]") for number, rule in enumerate(blueprint.rules)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compiled) and (self.blueprint, self._platform) == (other.blueprint, other._platform)

    def __hash__(self) -> int:
        return hash((self._platform.title, len(self._rules)))

    def takes(self, name: str) -> bool:
        """Whether any rule may take an event of this name; filters are not asked."""
        return any(self._bears(rule, name) for rule in self._rules)

    def names(self, name: str) -> bool:
        """Whether any rule names this event, and not only any."""
        return any(rule.event == name for rule in self._rules)

    def apply(self, event: E) -> E | Unmapped:
        """The event as this platform is to see it, or why it is not to."""
        borne = [rule for rule in self._rules if self._bears(rule, event.name)]
        for ready in borne:
            if ready.filter is None or ready.filter(event):
                if event.consent is not None and event.consent.denies(ready.consent):
                    return Unmapped(DENIED)
                return _shaped(event, ready)
        return Unmapped(
            f"not mapped: no filter of the blueprint holds for this {event.name}"
            if borne
            else f"not mapped: the blueprint has no rule for {event.name}"
        )

    def _bears(self, ready: _Ready, name: str) -> bool:
        names = self._platform.names
        return ready.event in (name, ANY) and (names is None or (ready.name or name) in names)


def _ready(rule: Rule, platform: Platform, field: str) -> _Ready:
    for place, source in rule.fields.items():
        places.check_filled(place, f"{field}.fields")
        places.check_read(source, f"{field}.fields.{place}")
    for place, value in rule.constants.items():
        places.check_filled(place, f"{field}.constants")
        places.check_constant(place, value, f"{field}.constants.{place}")
    for number, place in enumerate(rule.without):
        places.check_emptied(place, f"{field}.without[{number}]")
    event = standard_name(rule.event)
    return _Ready(
        rule,
        event,
        _our_name(rule.to, event, platform, f"{field}.to") if rule.to is not None else None,
        filters.compile(rule.filter, f"{field}.filter") if rule.filter is not None else None,
        frozenset(rule.consent),
        _value(rule.value, f"{field}.value"),
    )


def _our_name(to: str, event: str, platform: Platform, field: str) -> str:
    """Ours for what `to` says: where several of ours have the platform's name, the event's own comes first."""
    known = [ours for ours, theirs in platform.platform_names.items() if theirs == to]
    name = event if event in known else known[0] if known else standard_name(to)
    if platform.names is not None and name not in platform.names:
        there = sorted({platform.platform_names.get(one, one) for one in platform.names})
        raise Invalid(f"{platform.title} has no event {to}; it has {', '.join(there)}.", field=field)
    return name


def _value(rule: ValueRule, field: str) -> _Value | None:
    match rule:
        case Sent():
            return None
        case NoValue():
            return _Value(rule)
        case Fixed(amount, currency):
            return _Value(rule, _amount(amount, f"{field}.amount"), money.currency(currency, field=f"{field}.currency"))
        case Times(factor):
            if (times := _amount(factor, f"{field}.factor")) > MAX_FACTOR:
                raise Invalid(f"A value is multiplied by at most {MAX_FACTOR}.", field=f"{field}.factor")
            return _Value(rule, times)
        case OfProperty(_, currency):
            return _Value(rule, currency=money.currency(currency, field=f"{field}.currency") if currency else None)


def _amount(token: Raw, field: str) -> Decimal:
    if (found := money.amount(token, field)) is None:
        raise Invalid(f"{field} must be a number.", field=field)
    return found


def _shaped(event: E, ready: _Ready) -> E:
    rule = ready.rule
    changes: dict[str, Any] = {}
    if ready.name is not None and ready.name != event.name:
        changes = {"name": ready.name, "source_name": rule.to}
    if ready.value is not None:
        changes["value"] = ready.value.of(event)
    # What is read is what was sent, whatever was filled or emptied.
    read = {place: places.read(event, source) for place, source in rule.fields.items()}
    filled = {place: value for place, value in read.items() if value is not None} | rule.constants
    if filled or rule.without:
        event = places.fill(event, filled, rule.without)
    return replace(event, **changes) if changes else event


def _number(value: Any) -> Decimal | None:
    """A property as an amount: a number, or the text of one."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return money.amount(str(value).encode(), "value")
    except Invalid:
        return None


def _money(amount: Decimal | None, currency: str | None) -> Money | None:
    if amount is None or currency is None or amount.adjusted() > MAX_DIGITS:
        return None
    return Money(money.rounded(amount, currency)[0], currency)
