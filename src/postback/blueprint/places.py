"""Places of an event that a blueprint reads and fills: `properties.plan`, `order.id`, `page.url`. No identifier is one.

read    name source_name dialect action_source value currency order.id order.status page.url page.referrer
        experiments.<id> properties.<name>, and deeper: properties.cart.id
filled  action_source order.id page.url page.referrer properties.<name>
emptied those, and items, experiments, properties
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from postback.errors import Invalid
from postback.event import ACTION_SOURCES, Event, Order, Page, RawUser
from postback.pii import doors

E = TypeVar("E", bound=Event)
MAX_TEXT_CHARS = 2000
_FILLED = ("action_source", "order.id", "page.url", "page.referrer")
_EMPTIED = ("items", "experiments", "properties")
_READ = ("name", "source_name", "dialect", "value", "currency", "order.status", *_FILLED)
_TREES = ("properties", "experiments")
_PERSONAL = frozenset(RawUser.__struct_fields__)
# Text, or what becomes one: an order's number is often sent as one.
_TEXTS = (str, int, Decimal)


def check_read(place: str, field: str) -> None:
    """Raises Invalid where there is nothing to read at a place."""
    tree, _, rest = place.partition(".")
    if place not in _READ and not (tree in _TREES and rest):
        _refuse(place, [*_READ, "experiments.<id>", "properties.<name>"], field)


def check_filled(place: str, field: str) -> None:
    """Raises Invalid where a place is not for a blueprint to fill."""
    tree, _, name = place.partition(".")
    if tree == "properties" and name in _PERSONAL:
        raise Invalid(f"{place} would be personal data; a platform gets that by its identifiers alone.", field=field)
    if place not in _FILLED and not (tree == "properties" and name):
        _refuse(place, [*_FILLED, "properties.<name>"], field)


def check_emptied(place: str, field: str) -> None:
    """Raises Invalid where a place cannot be emptied."""
    tree, _, name = place.partition(".")
    if place not in _FILLED + _EMPTIED and not (tree == "properties" and name):
        _refuse(place, [*_FILLED, *_EMPTIED, "properties.<name>"], field)


def check_constant(place: str, value: str | int | float | bool, field: str) -> None:
    """Raises Invalid where a value does not fit its place, or is personal data."""
    if isinstance(value, str) and doors.masked(value) != value:
        raise Invalid("A constant may not hold an email address.", field=field)
    if _fitting(place, value) is None:
        wanted = f"one of {', '.join(sorted(ACTION_SOURCES))}" if place == "action_source" else "a text"
        raise Invalid(f"{place} takes {wanted}, of at most {MAX_TEXT_CHARS} characters.", field=field)


def read(event: Event, place: str) -> Any:
    """What stands at a place; None where nothing does."""
    match place:
        case "value":
            return event.value.amount if event.value else None
        case "currency":
            return event.value.currency if event.value else None
        case "order.id" | "order.status":
            return getattr(event.order, place.removeprefix("order."), None)
        case "page.url" | "page.referrer":
            return getattr(event.page, place.removeprefix("page."), None)
        case _ if "." in place:
            tree, _, path = place.partition(".")
            return _inside(getattr(event, tree), path)
        case _:
            return getattr(event, place)


def fill(event: E, values: Mapping[str, Any], without: tuple[str, ...] = ()) -> E:
    """The event with these values at their places, and nothing at some. A value that does not fit changes nothing."""
    changes: dict[str, Any] = {}
    properties: dict[str, Any] | None = None
    for place, value in [*((place, None) for place in without), *values.items()]:
        fitting = None if value is None else _fitting(place, value)
        if value is not None and fitting is None:
            continue
        tree, _, name = place.partition(".")
        if tree == "properties":
            if properties is None:
                properties = changes["properties"] = dict(event.properties)
            if not name:
                properties.clear()
            elif fitting is None:
                properties.pop(name, None)
            else:
                properties[name] = fitting
        elif tree == "order":
            changes["order"] = replace(changes.get("order", event.order) or Order(), id=fitting)
        elif tree == "items":
            changes["order"] = replace(changes.get("order", event.order) or Order(), items=())
        elif tree == "page":
            changes["page"] = replace(changes.get("page", event.page) or Page(), **{name: fitting})
        else:
            changes[tree] = {} if tree == "experiments" else fitting
    return replace(event, **changes) if changes else event


def _fitting(place: str, value: Any) -> Any:
    """A value as its place takes it; None where it does not."""
    if place.startswith("properties."):
        return value
    if not isinstance(value, _TEXTS) or isinstance(value, bool):
        return None
    text = str(value)
    if not text or len(text) > MAX_TEXT_CHARS or (place == "action_source" and text not in ACTION_SOURCES):
        return None
    return text


def _inside(tree: Any, path: str) -> Any:
    """By the whole path as one name, else name by name."""
    if not isinstance(tree, dict):
        return None
    held = cast("dict[str, Any]", tree)
    if path in held or "." not in path:
        return held.get(path)
    name, _, rest = path.partition(".")
    return _inside(held.get(name), rest)


def _refuse(place: str, known: list[str], field: str) -> None:
    raise Invalid(f"There is no place {place} here; there are {', '.join(known)}.", field=field)
