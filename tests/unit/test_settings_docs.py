"""The shipped configs load, and docs/config.md says what the models say."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from connector.explain import EXPLAIN, explain
from connector.load import compiled, load
from connector.schema import keys, schema, tables
from connector.targets import REGISTRY
from tests.unit.configs import KINDS

_ROOT: Final = Path(__file__).parents[2]
_CONFIGS: Final = sorted(one for one in (_ROOT / "config").glob("*.yaml") if not one.stem.endswith("_test"))
_SOURCES: Final = ("load", "checks", "complaints", "resolve", "yaml_source")


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
    assert target["properties"]["type"] == {"enum": ["fake", "old"]}
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


def test_every_code_that_is_ever_said_is_explained() -> None:
    said: set[str] = set()
    for name in _SOURCES:
        said |= set(re.findall(r"\bCFG\d{3}\b", (_ROOT / "connector" / f"{name}.py").read_text()))
    assert said == set(EXPLAIN)
    assert explain("cfg024") == EXPLAIN["CFG024"]
    assert explain("CFG999") is None
