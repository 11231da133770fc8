"""What ships beside the code is as good as the code: configs, their schema, and the configs in the docs."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from connector.load import compiled, load
from connector.resolve import resolved
from connector.schema import schema
from connector.targets import REGISTRY
from connector.yaml_source import read

_ROOT: Final = Path(__file__).parents[2]
_SCHEMA: Final = _ROOT / "docs" / "connector.schema.json"
_CONFIGS: Final = sorted((_ROOT / "config").glob("*.yaml"))
_PAGES: Final = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_FENCE: Final = re.compile(r"^(?P<indent> *)```yaml\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_BLOCKS: Final = [
    (page, found["text"]) for page in _PAGES for found in _FENCE.finditer(page.read_text(encoding="utf-8"))
]


def _errors(tree: Any) -> list[str]:
    validator = Draft202012Validator(schema(REGISTRY))
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(tree)]


def _plain(file: Path) -> Any:
    tree, problems, _ = read([file])
    return resolved(tree, {}, problems).plain()


def test_the_schema_that_editors_read_is_the_one_of_the_models() -> None:
    assert json.loads(_SCHEMA.read_text()) == schema(REGISTRY), "write it anew: connector schema > docs/…schema.json"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema(REGISTRY))


@pytest.mark.parametrize("config", _CONFIGS, ids=lambda config: config.name)
def test_a_shipped_config_satisfies_the_schema_and_names_it_in_its_first_line(config: Path) -> None:
    assert _errors(_plain(config)) == []
    first = config.read_text().split("\n", 1)[0]
    mark, _, name = first.partition("$schema=")
    assert mark == "# yaml-language-server: "
    assert (config.parent / name).resolve() == _SCHEMA


@pytest.mark.parametrize(
    "change",
    [
        {"unrouted": "never"},
        {"limts": {}},
        {"routes": [{"name": "r", "topcis": ["t"]}]},
        {"targets": {"bus": {"type": "eventbridge", "batch": {"linger": 5}}}},
        {"targets": {"bus": {"type": "eventbrigde"}}},
        {"tests": [{"name": "t", "record": {"topik": "t"}}]},
        {"tests": [{"name": "t", "expect": {"r": [{"contain": {}}]}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_schema_refuses_what_check_refuses(change: dict[str, Any]) -> None:
    assert _errors(change) != []


@pytest.mark.parametrize(("page", "text"), _BLOCKS, ids=[page.name for page, _ in _BLOCKS])
def test_a_whole_config_in_the_docs_passes_check(page: Path, text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert [str(problem) for problem in compiled(load([file], {})).errors] == [], page


def test_the_readme_shows_a_whole_config() -> None:
    assert "README.md" in {page.name for page, _ in _BLOCKS}
