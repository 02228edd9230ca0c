"""Names: what other vocabularies call the standard events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback.event import ALIASES, STANDARD_NAMES, VOCABULARIES, docs_table, standard_name

EACH = [
    pytest.param(name, standard, id=f"{vocabulary}: {name}")
    for vocabulary, names in VOCABULARIES.items()
    for name, standard in names.items()
]


@pytest.mark.parametrize(("name", "standard"), EACH)
def test_a_name_of_a_vocabulary_means_its_standard_event_in_any_case(name: str, standard: str) -> None:
    assert {standard_name(form) for form in (name, name.upper(), name.lower(), f" {name} ")} == {standard}
    assert standard in STANDARD_NAMES
    assert f"`{name}`" in docs_table()


def test_no_two_vocabularies_contradict_each_other() -> None:
    for names in VOCABULARIES.values():
        for name, standard in names.items():
            assert ALIASES[name.lower()] == standard


def test_no_other_vocabulary_takes_a_standard_name_for_something_else() -> None:
    assert all(ALIASES.get(name, name) == name for name in STANDARD_NAMES)
    assert all(f"`{name}`" in docs_table() for name in STANDARD_NAMES)


@given(st.text())
def test_any_other_name_stays_as_it_was_sent(name: str) -> None:
    if name.strip().lower() not in ALIASES.keys() | STANDARD_NAMES:
        assert standard_name(name) == name
