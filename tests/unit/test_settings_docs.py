"""The shipped configs load, and docs/config.md says what the models say."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from connector.loading.explain import ALL, explain
from connector.loading.load import compiled, load
from connector.loading.schema import keys, schema, tables
from connector.targets import REGISTRY
from tests.unit.configs import KINDS

_ROOT: Final = Path(__file__).parents[2]
_CONFIGS: Final = sorted(one for one in (_ROOT / "config").glob("*.yaml") if not one.stem.endswith("_test"))


@pytest.mark.parametrize("config", _CONFIGS, ids=lambda config: config.name)
def test_a_shipped_config_has_no_error(config: Path) -> None:
    found = compiled(load([config], {}))
    assert found.errors == ()
    assert found.settings is not None


def test_the_quickstart_takes_its_broker_from_the_environment() -> None:
    found = load([_ROOT / "config" / "quickstart.yaml"], {"CONNECTOR_KAFKA__BOOTSTRAP_SERVERS": "10.0.0.1:19092"})
    assert found.problems == ()
    assert found.settings is not None
    assert found.settings.kafka.bootstrap_servers == "10.0.0.1:19092"
    assert [route.name for route in found.settings.routes] == ["new-orders", "paid-orders"]


def test_the_full_config_shows_every_key() -> None:
    text = (_ROOT / "config" / "full.yaml").read_text()
    for key in keys(schema(REGISTRY), REGISTRY):
        assert f"{key.path.rpartition('.')[2]}:" in text, key.path


def test_the_docs_describe_every_key_as_the_models_do() -> None:
    text = (_ROOT / "docs" / "config.md").read_text()
    assert text.endswith(tables(REGISTRY)), "docs/config.md is behind: see its comment on how its table is made"


def _properties(node: Any) -> set[str]:
    if isinstance(node, dict):
        here = set(node.get("properties", {}))
        return here.union(*(_properties(below) for below in node.values()))
    return set().union(*(_properties(below) for below in node)) if isinstance(node, list) else set()


def test_the_schema_knows_the_keys_of_every_kind_of_target() -> None:
    made = schema(KINDS)
    assert json.loads(json.dumps(made)) == made
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"region", "linger", "max_consecutive", "bootstrap_servers", "route"} <= _properties(made)
    target = made["properties"]["targets"]["additionalProperties"]
    assert target["properties"]["type"]["enum"] == ["fake", "old"]
    assert [one["then"]["$ref"] for one in target["allOf"]] == ["#/$defs/FakeSettings", "#/$defs/OldSettings"]


def test_the_schema_speaks_of_quantities_as_they_are_written() -> None:
    made = schema(KINDS)
    assert made["properties"]["commit_interval"]["default"] == "1s"
    assert made["$defs"]["LimitSettings"]["properties"]["max_open_bytes"]["default"] == "64MiB"
    assert made["$defs"]["RetrySettings"]["properties"]["initial"]["default"] == "200ms"
    assert made["$defs"]["RetrySettings"]["properties"]["give_up_after"]["default"] == "never"


def test_the_schema_lets_a_file_leave_out_what_another_says() -> None:
    assert "required" not in schema(KINDS)
    assert schema(KINDS, whole=True)["required"] == ["kafka", "targets", "routes", "unrouted"]


_NUMBERED: Final = re.compile(r"(?:CFG|PAT|CEL|MAP)\d{3}")
_SAYS: Final = {"Fault": 0, "Flaw": 0, "Undecodable": 0, "Unpublishable": 2, "Failure": 2}
"""Which argument is the code, in calls that say something of a record or of an event."""


def _said(file: Path) -> Iterator[str]:
    """Every code that a module can say."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NUMBERED.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SAYS:
            for code in node.args[_SAYS[node.func.id] :][:1]:
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield code.value
        elif isinstance(node, ast.FunctionDef) and node.name == "_code":  # a failure of Python's own as a code
            values = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
            yield from (each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str))


def test_every_code_that_is_ever_said_is_explained() -> None:
    files = [
        one
        for one in (_ROOT / "connector").rglob("*.py")
        if one.name != "explain.py" and "sandbox" not in one.relative_to(_ROOT).parts
    ]
    said = {code for file in files for code in _said(file)}
    assert said - set(ALL) == set(), "say in connector/explain.py what they mean"
    numbered = {code for code in ALL if _NUMBERED.fullmatch(code)}
    assert numbered - said == set(), "nobody says these any more"
    assert {"MissingField", "TooDeep", "NotJSON", "Unrouted", "UnlistedBus", "PAT005"} <= said


def test_an_explanation_is_a_line_that_says_it_and_a_few_that_help() -> None:
    for code, text in ALL.items():
        head, _, rest = text.partition("\n")
        assert head.endswith((".", ". (A warning.)")), code
        assert len(head) <= 99, code
        assert all(0 < len(line) <= 120 for line in rest.splitlines()), code


def test_a_code_is_found_whatever_its_case() -> None:
    assert explain("cfg024") == ALL["CFG024"]
    assert explain("missingfield") == ALL["MissingField"]
    assert explain("CFG999") is None
    assert len({code.upper() for code in ALL}) == len(ALL)
