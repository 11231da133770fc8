"""The recipes of docs/recipes.md make the events that they say."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from connector.loading.load import load
from connector.mapping.operators import timestamp_text
from connector.model import Record, TopicPartition
from connector.route import compile_routes

PAGE: Final = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES: Final[list[tuple[str, str]]] = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?```yaml recipe\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
)
TOPIC: Final = "shop.orders.v1"


def _record(fields: dict[str, Any]) -> Record:
    headers = tuple((name, text.encode()) for name, text in fields.get("headers", {}).items())
    key = fields.get("key")
    return Record(
        TopicPartition(TOPIC, fields.get("partition", 0)),
        fields.get("offset", 0),
        fields.get("timestamp", 0),
        None if key is None else key.encode(),
        json.dumps(fields["value"]).encode(),
        headers,
    )


def _plain(value: Any) -> Any:
    """Times as the page writes them."""
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("title", "text"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_makes_the_events_that_it_says(tmp_path: Path, title: str, text: str) -> None:
    recipe = YAML(typ="safe", pure=True).load(text)
    config = {
        "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g"},
        "topics": {TOPIC: {"key_format": "string", "format": recipe.get("format", "json")}},
        "vars": recipe.get("vars", {}),
        "targets": {"out": {"type": "stdout"}, "audit": {"type": "stdout"}},
        "unrouted": "skip",
        "dead_letters": {"topic": "dead"},
        "routes": [{"topics": [TOPIC], "targets": ["out"], **route} for route in recipe["routes"]],
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(config))
    loaded = load([file], {})
    assert loaded.settings is not None, loaded.problems
    routes, problems = compile_routes(loaded.settings, loaded.locate)
    assert routes is not None, problems
    routed = routes.route(_record(recipe["record"]))
    assert routed.failures == []
    found: dict[str, list[Any]] = {}
    for event in routed.events:
        name = event.route if event.target == "out" and f"{event.route} to out" not in recipe["gives"] else ""
        found.setdefault(name or f"{event.route} to {event.target}", []).append(_plain(event.fields))
    assert found == recipe["gives"]
    assert json.dumps(found, sort_keys=True) == json.dumps(recipe["gives"], sort_keys=True)


def test_the_page_has_a_recipe_for_every_title() -> None:
    assert [title for title, _ in RECIPES] == re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert len(RECIPES) >= 14
