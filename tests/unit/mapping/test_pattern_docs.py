"""The examples of docs/match.md do what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from connector.mapping import EXPLAIN
from tests.unit.mapping.match import compiled, problems, record

PAGE = (Path(__file__).parents[3] / "docs" / "match.md").read_text(encoding="utf-8")
EXAMPLES: list[Any] = [YAML(typ="safe").load(text) for text in re.findall(r"```yaml match\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_takes_and_leaves_the_records_it_names(example: Any) -> None:
    match = compiled(example["match"])
    assert [match.explain(record(**fields)) for fields in example["takes"]] == [None] * len(example["takes"])
    assert [match(record(**fields)) for fields in example["leaves"]] == [False] * len(example["leaves"])
    assert problems(example["match"]) == []


def test_the_page_has_examples_and_names_only_codes_that_exist() -> None:
    assert len(EXAMPLES) == 10
    assert set(re.findall(r"PAT\d{3}", PAGE)) <= set(EXPLAIN)
