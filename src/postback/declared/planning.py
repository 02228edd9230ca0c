"""What must be done so that what is there becomes what a file says. Pure: things in, steps out.

A thing is named by a file as people name it, not by its id. It is the same thing as one that is there where they share
a name; a thing may have several, the surer ones first. Where several share one they are the same in their order.
Law: once its steps are done, the same file asks for none.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from postback.errors import Invalid
from postback.secret import MASK, Secret

Action = Literal["create", "change", "remove"]


class Thing(Struct, frozen=True, kw_only=True):
    """A site, a goal ... `names`: None is no name. `fields`: in our spelling; a declared one that is left out stays as
    it is. `fixed`: fields that never change. `place`: where a file declares it. `subject`: the record, or what is sent
    to make it."""

    noun: str
    label: str
    names: tuple[Hashable, ...]
    fields: Mapping[str, Any]
    fixed: frozenset[str] = frozenset()
    place: str = ""
    subject: Any = None


class Step(Struct, frozen=True, kw_only=True):
    """`declared` None: it is removed. `current` None: it is made. `fields`: value before (None: none) and after."""

    action: Action
    declared: Thing | None
    current: Thing | None
    fields: Mapping[str, tuple[Any, Any]]

    @property
    def thing(self) -> Thing:
        found = self.declared or self.current
        assert found is not None, "a step is of something"
        return found


class Shown(Struct, frozen=True):
    """A step as it is printed: no secret is in it."""

    action: Action
    noun: str
    name: str
    fields: dict[str, list[Any]]


def pair(declared: Sequence[Thing], current: Sequence[Thing]) -> list[Thing | None]:
    """For each declared thing the one that is there already; None: there is none."""
    found: list[Thing | None] = [None] * len(declared)
    free = list(current)
    for rank in range(max((len(thing.names) for thing in declared), default=0)):
        for place, thing in enumerate(declared):
            if found[place] is not None or rank >= len(thing.names) or (name := thing.names[rank]) is None:
                continue
            found[place] = same = next((one for one in free if rank < len(one.names) and one.names[rank] == name), None)
            if same is not None:
                free.remove(same)
    return found


def plan(declared: Sequence[Thing], current: Sequence[Thing], *, prune: bool) -> list[Step]:
    """Steps for things of one noun, in the order of the file, removals last. Raises Invalid."""
    pairs = pair(declared, current)
    steps = [_step(thing, same) for thing, same in zip(declared, pairs, strict=True)]
    kept = {id(same) for same in pairs if same is not None}
    if prune:
        steps += [
            Step(action="remove", declared=None, current=thing, fields={n: (v, None) for n, v in thing.fields.items()})
            for thing in current
            if id(thing) not in kept
        ]
    return [step for step in steps if step is not None]


def _step(thing: Thing, current: Thing | None) -> Step | None:
    if current is None:
        fields = {name: (None, value) for name, value in thing.fields.items()}
        return Step(action="create", declared=thing, current=None, fields=fields)
    changed = {
        name: (current.fields.get(name), value)
        for name, value in thing.fields.items()
        if name not in current.fields or current.fields[name] != value
    }
    if not changed:
        return None
    if wrong := sorted(thing.fixed & changed.keys()):
        field = f"{thing.place}.{wrong[0]}"
        raise Invalid(
            f"{field}: {thing.noun} {thing.label} has {changed[wrong[0]][0]}, which cannot be changed; "
            "declare a new one under another name.",
            field=field,
        )
    return Step(action="change", declared=thing, current=current, fields=changed)


def shown(step: Step) -> Shown:
    """A step for people and programs, secrets masked; what is made or removed without the fields that hold nothing."""
    fields = {
        name: [masked(before), masked(after)]
        for name, (before, after) in step.fields.items()
        if step.action == "change" or not _is_nothing(before if after is None else after)
    }
    return Shown(step.action, step.thing.noun, step.thing.label, fields)


def masked(value: Any) -> Any:
    return MASK if isinstance(value, Secret) else value


def _is_nothing(value: Any) -> bool:
    return value is None or value in ([], {}, "")
