"""Deliberate mistakes in patterns, expressions and maps: what `connector check` says of each and of its twin."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from connector.cli import cli
from connector.loading.explain import ALL
from tests.unit.test_settings_mistakes import MISTAKES as OF_SETTINGS

MISTAKES: Final[list[dict[str, Any]]] = YAML(typ="safe", pure=True).load(
    Path(__file__).with_name("mapping_mistakes.yaml")
)

CONFIG: Final = """\
kafka: {bootstrap_servers: 'localhost:1', group_id: g}
vars: {stage: dev}
targets: {out: {type: eventbridge, region: eu-west-1}}
unrouted: skip
dead_letters: {topic: dead}
routes:
  - name: r
    topics: [t]
    targets: [out]
"""


def _checked(file: Path, lines: str) -> tuple[int, list[dict[str, Any]]]:
    """How `connector check` of the config with these lines in its route ends, and the problems it tells."""
    if "map:" not in lines:
        lines += "\nmap: {Source: s, DetailType: d}"
    file.write_text(CONFIG + "".join(f"    {line}\n" for line in lines.split("\n")))
    result = CliRunner().invoke(cli, ["check", str(file), "--format", "json"], catch_exceptions=False)
    problems: list[dict[str, Any]] = json.loads(result.stdout)["problems"]
    return result.exit_code, problems


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{each['code']}-{each['at'][1]}" for each in MISTAKES])
def test_a_mistake_is_told_at_its_place_and_its_twin_ends_with_0(tmp_path: Path, mistake: dict[str, Any]) -> None:
    code, problems = _checked(tmp_path / "orders.yaml", mistake["wrong"])
    assert code == 78
    assert [(each["code"], [each["line"], each["column"]]) for each in problems] == [(mistake["code"], mistake["at"])]
    assert mistake["word"] in f"{problems[0]['message']} {problems[0]['mend']}"
    assert _checked(tmp_path / "orders.yaml", mistake["right"]) == (0, [])


def test_the_tables_hold_mistakes_of_every_kind_and_each_is_explained() -> None:
    codes = {each["code"] for each in (*MISTAKES, *OF_SETTINGS)}
    assert len(MISTAKES) + len(OF_SETTINGS) >= 90
    assert {code[:3] for code in codes} == {"CFG", "PAT", "CEL", "MAP"}
    assert codes <= set(ALL)
