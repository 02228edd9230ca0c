"""A file is read to the digit, and what is written is read as the same."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postback import money
from postback.declared import document
from postback.declared.document import Table
from postback.errors import Invalid

texts = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = (
    texts
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(texts, values, max_size=4), texts.filter(lambda text: text.isprintable()))
def test_what_is_written_is_read_as_the_same(table: dict[str, Any], comment: str) -> None:
    text = document.write("head", {"plan": None}, {"goals": [Table(table, comment)]})
    assert tomllib.loads(text, parse_float=Decimal) == {"workspace": {}, "goals": [table]}


@pytest.mark.parametrize(
    "content",
    [b'[[goals]]\nname = "A"\ndefault_value = 12.50\n', b'\n{"goals": [{"name": "A", "default_value": 12.50}]}'],
)
def test_toml_and_json_say_the_same_to_the_digit(content: bytes) -> None:
    (goal,) = document.read(content).goals
    assert str(money.amount(goal.default_value, "default_value")) == "12.50"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[[goals]]\nname = 'a'\n[[goals]]\nname = 'b'\nfilter = 7", "goals[1].filter must be text"),
        (b"[[goals]]\nevents = ['a']", "goals[0].name is required"),
        (b"[[goals]]\nname = 'a'\nfiltre = 'x'", "goals[0].filtre"),
        (b"[[goal]]\nname = 'a'", "goal"),
        (b"[[plans]]\nname = 'a'\nmonthly_cap = nan", "plans[0].monthly_cap must be a whole number"),
        (b"[[plans]]\nname = 'a'\nmonthly_cap = -1", "plans[0].monthly_cap must be >= 0"),
        (b'[[sites]]\nname = "a\\u0000"', "sites[0].name may not hold the character NUL"),
        (b"[[sites]]\nname = 'a'\nwindow_days = 0", "sites[0].window_days"),
        (b"[[destinations]]\nconnector = 'meta'\nstatus = 'held'", "destinations[0].status"),
        (b"[[sites]\nname = 1", "line 1"),
        (b"sites = " + b"[" * 100_000, "nested too deeply"),
        (b"{", "not valid JSON"),
        (b"a = '\xff'", "not UTF-8"),
        (b"#" * 4_000_001, "more than 4000000 bytes"),
    ],
)
def test_a_mistake_is_told_with_its_place(content: bytes, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        document.read(content)
    assert place in refused.value.message
