"""The law of the planner: once its steps are done, the same file asks for none."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.declared.planning import Step, Thing, plan, shown
from postback.errors import Invalid
from postback.secret import MASK, Secret

values = st.none() | st.integers(0, 2) | st.builds(Secret, st.sampled_from("xy"))


def thing(fields: Mapping[str, Any], **more: Any) -> Thing:
    """A site, say: known by its key, which may be left out, else by its name; both can change."""
    return Thing(noun="site", label="Shop", names=(fields.get("key"), fields.get("name")), fields=fields, **more)


def all_of(fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Thing]]:
    """Some things, whose names meet and repeat, and whose keys do not."""
    by_key = st.lists(fields, max_size=5, unique_by=lambda one: one.get("key", object()))
    return by_key.map(lambda found: [thing(one) for one in found])


names = {"name": st.sampled_from("abc")}
declarations = all_of(
    st.fixed_dictionaries(names, optional={"key": st.sampled_from("KLMN"), "one": values, "two": values})
)
wholes = all_of(st.fixed_dictionaries({**names, "key": st.sampled_from("KLMNO"), "one": values, "two": values}))


def carried_out(steps: Sequence[Step], current: Sequence[Thing]) -> list[Thing]:
    """What is there afterwards; a thing that is made gets a key where it has none."""
    after = list(current)
    for number, step in enumerate(steps):
        now = {name: new for name, (_, new) in step.fields.items()}
        if step.current is None:
            after.append(thing({"key": f"made {number}", **now}))
            continue
        place = next(i for i, one in enumerate(after) if one is step.current)
        if step.declared is None:
            del after[place]
        else:
            after[place] = thing({**after[place].fields, **now})
    return after


@given(declarations, wholes, st.booleans())
def test_once_the_steps_are_done_there_are_none(declared: list[Thing], current: list[Thing], prune: bool) -> None:
    after = carried_out(plan(declared, current, prune=prune), current)
    assert plan(declared, after, prune=prune) == []
    assert len(after) == len(declared) or not prune


@given(declarations, wholes)
def test_nothing_is_removed_unasked(declared: list[Thing], current: list[Thing]) -> None:
    assert all(step.action != "remove" for step in plan(declared, current, prune=False))


@given(wholes)
def test_what_is_there_asks_for_nothing(current: list[Thing]) -> None:
    assert plan(current, current, prune=True) == []


def test_a_site_is_known_by_its_key_before_its_name() -> None:
    current = [thing({"key": "K", "name": "old"}), thing({"key": "L", "name": "new"})]
    (step,) = plan([thing({"key": "K", "name": "new"})], current, prune=False)
    assert (step.action, step.current) == ("change", current[0])


def test_a_secret_is_compared_and_never_shown() -> None:
    there = [thing({"key": "K", "token": Secret("old-token")})]
    assert plan([thing({"key": "K", "token": Secret("old-token")})], there, prune=False) == []
    for declared in (
        [thing({"key": "K", "token": Secret("new-token")})],
        [thing({"key": "M", "token": Secret("new-token")})],
    ):
        (step,) = plan(declared, there, prune=False)
        assert shown(step).fields["token"][1] == MASK
        assert "-token" not in repr(step)


def test_what_is_fixed_is_refused_by_its_place() -> None:
    there = [thing({"key": "K", "variant": "default"})]
    other = thing({"key": "K", "variant": "uploads"}, fixed=frozenset({"variant"}), place="destinations[3]")
    with pytest.raises(Invalid, match=r"destinations\[3\]\.variant: ") as refused:
        plan([other], there, prune=False)
    assert refused.value.field == "destinations[3].variant"
