"""The law of the planner: once its steps are done, the same file asks for none."""

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from postback.declared.planning import Step, Thing, plan, shown
from postback.errors import Invalid
from postback.secret import MASK, Secret

values = (
    st.none()
    | st.integers(0, 2)
    | st.lists(st.sampled_from("ab"), max_size=2)
    | st.builds(Secret, st.sampled_from("xy"))
)


def thing(keys: Sequence[str | None], fields: dict[str, object], **more: object) -> Thing:
    return Thing(noun="site", label="Shop", names=tuple(keys), fields=fields, **more)  # type: ignore[arg-type]


# A key, which may be left out, and a name; few of each, so that they meet and repeat.
names = st.tuples(st.none() | st.sampled_from("KL"), st.sampled_from("abc"))
things = st.builds(thing, names, st.dictionaries(st.sampled_from(["one", "two"]), values))
whole = st.builds(
    thing,
    st.tuples(st.sampled_from("KLMN"), st.sampled_from("abc")),
    st.fixed_dictionaries({"one": values, "two": values}),
)


def carried_out(steps: Sequence[Step], current: Sequence[Thing]) -> list[Thing]:
    """What is there afterwards; a thing that is made gets a key where it has none."""
    made = (f"made {number}" for number in count())
    after = list(current)
    for step in steps:
        if step.current is None:
            assert step.declared is not None
            key, name = step.declared.names
            after.append(structs.replace(step.declared, names=(key or next(made), name)))
            continue
        place = next(i for i, one in enumerate(after) if one is step.current)
        if step.declared is None:
            del after[place]
        else:
            now = {name: new for name, (_, new) in step.fields.items()}
            after[place] = structs.replace(after[place], fields={**after[place].fields, **now})
    return after


@given(st.lists(things, max_size=5), st.lists(whole, max_size=5), st.booleans())
def test_once_the_steps_are_done_there_are_none(declared: list[Thing], current: list[Thing], prune: bool) -> None:
    after = carried_out(plan(declared, current, prune=prune), current)
    assert plan(declared, after, prune=prune) == []
    assert len(after) == len(declared) or not prune


@given(st.lists(things, max_size=5), st.lists(whole, max_size=5))
def test_nothing_is_removed_unasked(declared: list[Thing], current: list[Thing]) -> None:
    assert all(step.action != "remove" for step in plan(declared, current, prune=False))


@given(st.lists(whole, max_size=6))
def test_what_is_there_asks_for_nothing(current: list[Thing]) -> None:
    assert plan(current, current, prune=True) == []


def test_a_site_is_known_by_its_key_before_its_name() -> None:
    current = [thing(["K", "old"], {"name": "old"}), thing(["L", "new"], {"name": "new"})]
    (step,) = plan([thing(["K", "new"], {"name": "new"})], current, prune=False)
    assert (step.action, step.current) == ("change", current[0])


def test_a_secret_is_compared_and_never_shown() -> None:
    there = [thing(["K", "a"], {"token": Secret("old-token")})]
    assert plan([thing(["K", "a"], {"token": Secret("old-token")})], there, prune=False) == []
    for declared in (
        [thing(["K", "a"], {"token": Secret("new-token")})],
        [thing(["M", "b"], {"token": Secret("new-token")})],
    ):
        (step,) = plan(declared, there, prune=False)
        assert shown(step).fields["token"][1] == MASK
        assert "-token" not in repr(step)


def test_what_is_fixed_is_refused_by_its_place() -> None:
    there = [thing(["K", "a"], {"variant": "default"})]
    other = thing(["K", "a"], {"variant": "uploads"}, fixed=frozenset({"variant"}), place="destinations[3]")
    with pytest.raises(Invalid, match=r"destinations\[3\]\.variant: ") as refused:
        plan([other], there, prune=False)
    assert refused.value.field == "destinations[3].variant"
