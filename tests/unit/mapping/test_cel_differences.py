"""Where the language differs from CEL: the list of the differential tests is the table of docs/map.md, and holds."""

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connector.mapping import MappingFailed
from connector.mapping.library import FUNCTIONS
from tests.differential.differences import DIFFERENCES
from tests.differential.generate import FEATURES, Generator, record
from tests.unit.mapping.cel import leaf, names, problems
from tests.unit.mapping.test_cel_values import same

PAGE = (Path(__file__).parents[3] / "docs" / "map.md").read_text(encoding="utf-8")
RECORD = {"n": 7, "d": 2.5, "s": "Order,paid", "nil": None}
EXAMPLES = [example for each in DIFFERENCES for example in each.examples]


def outcome(expression: str, value: Any) -> Any:
    """The value of an expression; None where it is refused or fails."""
    if problems("${" + expression + "}"):
        return None
    try:
        return leaf("${" + expression + "}", names(value))
    except MappingFailed:
        return None


def test_the_list_of_the_differential_tests_is_the_table_of_the_page() -> None:
    table = PAGE.partition("## What differs from CEL")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\) \| ", row.strip("| "))[::2] for row in table.splitlines() if row.startswith("| ")][1:]
    assert [[each.here.replace("||", "\\|\\|"), each.why] for each in DIFFERENCES] == rows
    assert all(each.examples for each in DIFFERENCES)


@pytest.mark.parametrize(("expression", "expected"), EXAMPLES, ids=[expression for expression, _ in EXAMPLES])
def test_a_difference_holds(expression: str, expected: Any) -> None:
    assert same(outcome(expression, RECORD), expected)


def test_the_generator_knows_every_function_operator_and_macro_of_the_page() -> None:
    operators = {"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "!", "?:", "has"}
    macros = {"map", "map with a condition", "filter", "exists", "all", "exists_one"}
    selection = {"field", "index", ".?", "[?]", "orValue", "or", "[a, ?b]", "{?k: v}"}
    assert {*FUNCTIONS, *operators, *macros, *selection} <= set(FEATURES)


def test_the_same_seed_makes_the_same_expressions() -> None:
    made = [[Generator(Random(5)).of(feature).text for feature in FEATURES] for _ in range(2)]
    assert made[0] == made[1]


def test_most_generated_expressions_have_a_value() -> None:
    random = Random(6)
    generator, value = Generator(random), record(random)
    found = [outcome(generator.of(feature).text, value) for feature in FEATURES * 5]
    assert sum(each is not None for each in found) > len(found) * 0.75
