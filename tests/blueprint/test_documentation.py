"""The page on blueprints is true: its examples hold, and all that a filter may use stands there."""

import re
from pathlib import Path

import msgspec
import pytest

from postback.blueprint import Blueprint, ValueRule, filters, syntax
from postback.blueprint.mapping import Compiled, Platform

PAGE = (Path(__file__).parents[2] / "docs" / "blueprints.md").read_text()
RULES, FILTERS = PAGE.split("## Filters")
CODE = [code.replace(r"\|", "|") for code in re.findall(r"`([^`]+)`", FILTERS)]
EXAMPLES = [code for code in CODE if re.search(r"[=<>]=|\(| in ", code)]


def test_all_that_a_filter_may_use_is_documented() -> None:
    words = set(re.findall(r"[a-zA-Z_]+", FILTERS))
    assert words >= syntax.VARIABLES | syntax.FUNCTIONS | syntax.METHODS | syntax.LOOPS


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_a_filter_can_be_written(example: str) -> None:
    assert len(EXAMPLES) > 10
    assert filters.compile(example)


def test_the_example_of_a_blueprint_can_be_written() -> None:
    [text] = re.findall(r"```json\n(.*?)```", RULES, re.DOTALL)
    meta = Platform("Meta", None, {"purchase": "Purchase", "lead": "Lead"})
    assert Compiled(msgspec.json.decode(text, type=Blueprint), meta).takes("Trial Booked")


def test_every_value_rule_is_documented_as_it_is_written() -> None:
    kinds = [msgspec.json.decode(text, type=ValueRule) for text in re.findall(r"`(\{\"kind\".*?\})`", RULES)]
    assert {type(kind) for kind in kinds} == set(ValueRule.__args__)
