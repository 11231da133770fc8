"""Deliberate mistakes: what `check` says of each, that the mended twin has no error, and that none hides another."""

from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from connector.loading.explain import EXPLAIN
from tests.unit.configs import loaded, told, with_lines

_TABLE: Final = Path(__file__).with_name("settings_mistakes.yaml")
MISTAKES: Final[list[dict[str, Any]]] = YAML(typ="safe", pure=True).load(_TABLE)


def _name(mistake: dict[str, Any]) -> str:
    return f"{mistake['code']}-{mistake['at'][2]}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_a_mistake_is_told_with_its_code_place_and_mend(tmp_path: Path, mistake: dict[str, Any]) -> None:
    found = loaded(tmp_path, with_lines(mistake["wrong"]))
    assert told(found) == [(mistake["code"], *mistake["at"])]
    assert mistake["mend"] in found.problems[0].mend
    assert found.settings is None


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_the_mended_twin_has_no_error(tmp_path: Path, mistake: dict[str, Any]) -> None:
    found = loaded(tmp_path, with_lines(mistake["right"]))
    assert found.errors == ()
    assert found.settings is not None


def test_every_mistake_has_an_explanation() -> None:
    assert {mistake["code"] for mistake in MISTAKES} <= set(EXPLAIN)


def test_all_mistakes_of_a_config_are_told_at_once_and_in_their_order(tmp_path: Path) -> None:
    text = """\
vars: {stage: dev}
kafka:
  bootstrap_server: a:1
  group_id: !sub "${stge}-x"
  properties: {group.id: x}
targets:
  bus: {type: fake, regin: eu, batch: {linger: 5}}
  log: {type: stdut}
routes:
  - {name: a, topics: ['^('], targets: [bsu]}
  - {name: a, topics: t, targets: [bus]}
  - {name: b, topics: [t], targets: [bus],
     when: !value.x && true}
unrouted: sometimes
"""
    assert told(loaded(tmp_path, text)) == [
        ("CFG010", 3, 3, "kafka.bootstrap_server"),
        ("CFG009", 4, 13, "kafka.group_id"),
        ("CFG010", 7, 21, "targets.bus.regin"),
        ("CFG013", 7, 48, "targets.bus.batch.linger"),
        ("CFG015", 8, 15, "targets.log.type"),
        ("CFG024", 10, 3, "routes"),
        ("CFG022", 10, 24, "routes[0].topics[0]"),
        ("CFG021", 10, 41, "routes[0].targets[0]"),
        ("CFG012", 11, 23, "routes[1].topics"),
        ("CFG005", 13, 12, "routes[2].when"),
        ("CFG014", 14, 11, "unrouted"),
    ]


def test_a_value_that_no_key_takes_is_not_repeated_when_it_came_from_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    text = with_lines("unrouted: !file secret", "log: {level: !env LEVEL}", "targets: {bus: {type: !file secret}}")
    found = loaded(tmp_path, text, LEVEL="hunter2")
    assert [one.code for one in found.problems] == ["CFG014", "CFG015", "CFG014"]
    assert "hunter2" not in str(found)
