"""Filters: conditions on the canonical event, in CEL. Compiled once; judging one takes microseconds.

What a filter reads (`view`), times as timestamps, amounts as doubles in major units:

    name source_name dialect occurred_at is_test
    action_source goal_id value currency     null where the event has none
    order       {id, status}                 page        {url, referrer}
    items       [{product_id, name, quantity, price, total}]
    consent     {analytics, ad_user_data, ad_personalization}
    experiments {experience: variation}      properties  as sent
    identifiers names of the identifiers that the event has; never their values

A map holds what the event has: `has(order.id)` asks. Of long things a filter sees the beginning: 2,000 characters of
an address or a property, 256 of other texts, 1,000 items, 1,000 values and 20,000 characters of all properties. What
cannot be judged (a missing property, a text compared with a number) is false.
Source: https://cel.dev, the language definition, read 2026-11-20; `common-expression-language` 0.10.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from postback.blueprint import syntax
from postback.errors import Invalid
from postback.event import Consent, Event, Item, Order, Page
from postback.money import Money

if TYPE_CHECKING:
    from cel import Program

MAX_TEXT_CHARS = 2000
MAX_WORD_CHARS = 256
MAX_VALUES = 1000
MAX_CHARS = 20_000
MAX_ITEMS = 1000
_MAX_DEPTH = 32

_MISTAKE = re.compile(r"<input>:([0-9]+):([0-9]+): (?:Syntax error: )?(.*)")
_KINDS = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "a map", type(None): "null"}

# What every filter is tried on: an event that has everything.
_SAMPLE = Event(
    event_id="1",
    name="purchase",
    source_name="Order Completed",
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    dialect="native",
    action_source="website",
    goal_id=1,
    value=Money(Decimal("129.90"), "EUR"),
    order=Order(
        id="1",
        status="completed",
        items=(Item(product_id="1", name="Socks", quantity=2, price=Decimal("64.95"), total=Decimal("129.90")),),
    ),
    page=Page(url="https://shop.example/thanks", referrer="https://shop.example/cart"),
    consent=Consent(analytics=True, ad_user_data=True, ad_personalization=True),
)


class Filter:
    """A compiled condition. Calling it never raises."""

    __slots__ = ("_program", "reads", "text")

    def __init__(self, text: str, program: "Program") -> None:
        self.text = text
        self.reads = frozenset(program.variables()) & syntax.VARIABLES
        self._program = program

    def __call__(self, event: Event) -> bool:
        try:
            return self._program.execute(view(event, self.reads)) is True
        except Exception:
            return False

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"


@lru_cache(maxsize=4096)
def compile(text: str, field: str = "filter") -> Filter:
    """A filter's text, ready to judge. Raises Invalid naming `field`, saying where the mistake is."""
    patterns = syntax.check(text, field)
    program = _read(text, field)
    for pattern in patterns:
        _try_pattern(pattern, field)
    made = Filter(text, program)
    _try(made, program, field)
    return made


def view(event: Event, names: frozenset[str] = syntax.VARIABLES) -> dict[str, Any]:
    """What a filter may read of an event, as plain values; only these names."""
    return {name: _READ[name](event) for name in names}


def _read(text: str, field: str) -> "Program":
    import cel  # takes its time: who has no filter does not wait for it

    try:
        return cel.compile(text)
    except ValueError as error:
        found = _MISTAKE.search(str(error))
        if found is None:
            raise Invalid("The filter cannot be read as CEL.", field=field) from None
        line, character, why = int(found[1]), int(found[2]), found[3].partition(" expecting ")[0]
        at = sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + character - 1
        why = why.replace("mismatched input '<EOF>'", "it ends too early").replace("'<EOF>'", "its end")
        raise Invalid(f"In the filter, at {syntax.place(text, at)}: {why}.", field=field) from None


def _try_pattern(pattern: str, field: str) -> None:
    try:
        _read(f"''.matches({pattern})", field).execute()
    except Exception as error:
        why = str(error).partition("error: ")[2].partition("error: ")[2].partition(". Check")[0]
        raise Invalid(
            f"In the filter, the pattern {pattern} cannot be used: {why or 'it is too large'}.", field=field
        ) from None


def _try(made: Filter, program: "Program", field: str) -> None:
    """Refuse what could be true of no event: another kind than true or false, kinds that do not go together."""
    try:
        result = program.execute(view(_SAMPLE, made.reads))
    except TypeError as error:
        why = str(error).partition(". CEL")[0].partition(": the")[0].rstrip(".")
        message = f"The filter puts kinds together that do not go together ({why}); a double is written 2.0, an int 2."
        raise Invalid(message, field=field) from None
    except RuntimeError as error:
        if "Undefined" not in str(error):
            return  # it depends on the event
        name = str(error).partition("'")[2].partition("'")[0]
        raise Invalid(f"The filter calls {name} on what it does not take.", field=field) from None
    except Exception:
        return
    if not isinstance(result, bool):
        kind = _KINDS.get(type(result), "something else")
        raise Invalid(f"A filter says true or false; this one gives {kind}. Compare it with something.", field=field)


def _items(event: Event) -> list[dict[str, Any]]:
    return [_present(item) for item in event.order.items[:MAX_ITEMS]] if event.order else []


def _order(event: Event) -> dict[str, Any]:
    return {name: value for name, value in _present(event.order).items() if name != "items"}


def _identifiers(event: Event) -> list[str]:
    own = [name for name in ("visitor_id", "session_id") if getattr(event, name) is not None]
    return sorted({*event.user, *event.click_ids, *own})


def _present(part: Struct | None, most_chars: int = MAX_WORD_CHARS) -> dict[str, Any]:
    """A struct's fields that are there, in kinds that CEL knows."""
    if part is None:
        return {}
    held = ((name, getattr(part, name)) for name in part.__struct_fields__)
    return {name: _short(value, most_chars) for name, value in held if value is not None}


def _short(value: Any, most_chars: int) -> Any:
    if isinstance(value, str):
        return value[:most_chars]
    return float(value) if isinstance(value, Decimal) else value


class _Budget:
    """How much more of a tree a filter may see."""

    __slots__ = ("chars", "values")

    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.chars = MAX_CHARS

    def cut(self, value: Any, depth: int = 0) -> Any:
        """The value without what is past the budget or nests too deep."""
        if isinstance(value, dict):
            entries = cast("Mapping[str, Any]", value)
            kept: dict[str, Any] = {}
            for name, inner in entries.items():
                if not self._spend(depth):
                    break
                kept[self._text(name)] = self.cut(inner, depth + 1)
            return kept
        if isinstance(value, list):
            inners: list[Any] = []
            for inner in cast("list[Any]", value):
                if not self._spend(depth):
                    break
                inners.append(self.cut(inner, depth + 1))
            return inners
        return self._text(value) if isinstance(value, str) else _short(value, 0)

    def _spend(self, depth: int) -> bool:
        self.values -= 1
        return self.values >= 0 and self.chars > 0 and depth < _MAX_DEPTH

    def _text(self, text: str) -> str:
        short = text[: min(self.chars, MAX_TEXT_CHARS)]
        self.chars -= len(short)
        return short


_READ: dict[str, Callable[[Event], Any]] = {
    "name": lambda event: event.name[:MAX_WORD_CHARS],
    "source_name": lambda event: event.source_name[:MAX_WORD_CHARS],
    "dialect": lambda event: event.dialect,
    "action_source": lambda event: event.action_source,
    "goal_id": lambda event: event.goal_id,
    "value": lambda event: float(event.value.amount) if event.value else None,
    "currency": lambda event: event.value.currency if event.value else None,
    "occurred_at": lambda event: event.occurred_at,
    "is_test": lambda event: event.is_test,
    "order": _order,
    "items": _items,
    "page": lambda event: _present(event.page, MAX_TEXT_CHARS),
    "consent": lambda event: _present(event.consent),
    "experiments": lambda event: _Budget().cut(event.experiments),
    "properties": lambda event: _Budget().cut(event.properties),
    "identifiers": _identifiers,
}
