"""The examples and tables of docs/map.md do what they say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from connector.cli import cli
from connector.mapping import EXPLAIN, Problem, compile_each, compile_map
from connector.mapping.library import FUNCTIONS
from tests.unit.mapping.cel import evaluate, locate, names, problems

PAGE = (Path(__file__).parents[3] / "docs" / "map.md").read_text(encoding="utf-8")
EXAMPLES: list[Any] = [YAML(typ="safe").load(text) for text in re.findall(r"```yaml map\n(.*?)```", PAGE, re.DOTALL)]
ROWS = re.findall(r"^\|[^`|]*(?:`[^`]*`[^`|]*)*\| `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
REFUSED = re.findall(r"^\| `([^`]+)` \| (CEL\d{3}|MAP\d{3}) \|$", PAGE, re.MULTILINE)
RECORD = json.loads(re.findall(r"record of the examples: `(.*?)`", PAGE)[0])


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_gives_what_it_says(example: Any) -> None:
    report: list[Problem] = []
    record = names(**example["record"])
    mapped = compile_map(example["map"], ("map",), locate, report, {}, each="each" in example)
    assert mapped is not None, report
    if "each" not in example:
        assert mapped(record) == example["gives"]
        return
    each = compile_each(example["each"], ("each",), locate, report, {})
    assert each is not None, report
    made = []
    for number, element in enumerate(each(record)):
        record.index, record.item = number, element
        made.append(mapped(record))
    assert made == example["gives"]


@pytest.mark.parametrize(("expression", "value"), ROWS)
def test_a_row_of_a_table_has_its_value(expression: str, value: str) -> None:
    found, expected = evaluate(expression.replace("\\|", "|"), RECORD), json.loads(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("leaf", "code"), REFUSED)
def test_a_leaf_that_the_page_calls_wrong_is_refused(leaf: str, code: str) -> None:
    assert [each.code for each in problems(leaf)] == [code]


def test_the_page_names_every_function_and_only_codes_that_exist() -> None:
    assert (len(EXAMPLES), len(ROWS), len(REFUSED)) == (3, 50, 9)
    assert set(re.findall(r"(?:CEL|MAP)\d{3}", PAGE)) <= set(EXPLAIN)
    assert [name for name in FUNCTIONS if f"`{name}`" not in PAGE] == []


def test_every_row_of_the_page_says_the_same_through_connector_try(tmp_path: Path) -> None:
    leaves = {f"row{number}": "${" + row.replace("\\|", "|") + "}" for number, (row, _) in enumerate(ROWS)}
    config = {
        "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g"},
        "targets": {"out": {"type": "stdout"}},
        "routes": [{"name": "page", "topics": ["t"], "targets": ["out"], "map": leaves}],
        "unrouted": "skip",
        "dead_letters": {"topic": "dead"},
    }
    file = tmp_path / "page.yaml"
    file.write_text(json.dumps(config))
    result = CliRunner().invoke(
        cli, ["try", str(file), "--json", "--value", json.dumps(RECORD)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    (event,) = json.loads(result.stdout)["routes"][0]["events"]
    assert json.loads(event["body"])["fields"] == {
        name: json.loads(expected) for name, (_, expected) in zip(leaves, ROWS, strict=True)
    }
