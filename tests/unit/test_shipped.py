"""What ships beside the code is as good as the code: configs, their schema, and the configs in the docs."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types
from ruamel.yaml import YAML

from connector.loading.load import compiled, load
from connector.loading.resolve import resolved
from connector.loading.schema import schema
from connector.loading.yaml_source import read
from connector.targets import REGISTRY

_ROOT: Final = Path(__file__).parents[2]
_SCHEMA: Final = _ROOT / "docs" / "connector.schema.json"
_CONFIGS: Final = sorted((_ROOT / "config").glob("*.yaml"))
_PAGES: Final = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_FENCE: Final = re.compile(r"^( *)```yaml(?P<word>.*)\n(?P<text>(?:.*\n)*?)\1```$", re.MULTILINE)
_FENCED: Final = [(page, found) for page in _PAGES for found in _FENCE.finditer(page.read_text(encoding="utf-8"))]
_BLOCKS: Final = [(page, found["text"]) for page, found in _FENCED if not found["word"]]
_FRAGMENTS: Final[dict[Path, list[str]]] = {}
for _page, _found in _FENCED:
    if _found["word"] == " fragment":
        _FRAGMENTS.setdefault(_page, []).append(textwrap.dedent(_found["text"]))
_RUN_BY_OTHERS: Final = {" map", " match", " recipe", " sandbox"}
"""Words after ```yaml whose blocks the tests of their own pages run."""


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


def _keys(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that the schema describes, with its path in the schema."""
    for name, key in node.get("properties", {}).items():
        yield f"{path}.{name}", key
        yield from _keys(key, f"{path}.{name}")
    below = node.get("additionalProperties")
    if isinstance(below, dict):
        yield from _keys(below, f"{path}.<name>")


def _described() -> Iterator[tuple[str, dict[str, Any]]]:
    made = schema(REGISTRY)
    yield from _keys(made)
    for name, node in made["$defs"].items():
        yield from _keys(node, name)


def test_every_key_of_the_schema_says_what_it_means() -> None:
    defs = schema(REGISTRY)["$defs"]
    for path, key in _described():
        told = key if "description" in key else defs.get(key.get("$ref", "").rpartition("/")[2], {})
        assert told.get("description"), path


def test_every_example_of_the_schema_is_one() -> None:
    defs = schema(REGISTRY)["$defs"]
    examples = [(path, {**key, "$defs": defs}, one) for path, key in _described() for one in key.get("examples", ())]
    assert [(path, one) for path, key, one in examples if not Draft202012Validator(key).is_valid(one)] == []
    shown = {path.rpartition(".")[2] for path, _, _ in examples}
    assert {"bootstrap_servers", "group_id", "topics", "match", "when", "each", "map", "linger", "calls"} <= shown


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


@pytest.mark.parametrize("page", _FRAGMENTS, ids=lambda page: page.name)
def test_the_fragments_of_a_page_make_a_config_together(page: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "kafka": {"bootstrap_servers": "localhost:9092", "group_id": "docs"},
        "unrouted": "skip",
        "dead_letters": {"topic": "docs.dead"},
    }
    maps: list[Any] = []
    for text in _FRAGMENTS[page]:
        fragment = YAML(typ="safe", pure=True).load(text)
        maps += [fragment.pop("map")] if "map" in fragment else []
        assert _errors(fragment) == [], text
        config |= fragment
    config.setdefault("targets", {"orders-bus": {"type": "eventbridge", "region": "eu-west-1"}})
    config.pop("tests", None)  # they name routes of the reader's
    config.setdefault("routes", [{"name": f"map-{number}", "map": made} for number, made in enumerate(maps)])
    config["routes"] = [{"topics": ["t"], "targets": list(config["targets"]), **route} for route in config["routes"]]
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config))
    wanting = {"routes"} if not config["routes"] else set()
    assert [str(problem) for problem in compiled(load([file], {})).errors if problem.path not in wanting] == []


def test_every_block_of_the_docs_is_run_by_a_test() -> None:
    assert {found["word"] for _, found in _FENCED} <= {"", " fragment", *_RUN_BY_OTHERS}


def test_the_readme_shows_a_whole_config() -> None:
    assert "README.md" in {page.name for page, _ in _BLOCKS}
