"""What `check` finds between the settings of an EventBridge target and the maps that feed it."""

from pathlib import Path

import pytest

from connector.loading.load import load

_CONFIG = """\
kafka: {{bootstrap_servers: localhost:1, group_id: g}}
targets: {{out: {{type: eventbridge, region: eu-west-1{target}}}}}
routes:
  - name: all
    topics: [t]
    targets: [out]
    map: {{Source: a, DetailType: D, EventBusName: {bus}}}
unrouted: skip
dead_letters: {{topic: dead}}
"""


def _told(folder: Path, bus: str, target: str = "") -> list[tuple[str, int, int, str]]:
    file = folder / "a.yaml"
    file.write_text(_CONFIG.format(bus=bus, target=target))
    found = load([file], {})
    return [(one.code, one.where.line, one.where.column, one.path) for one in found.problems]


_HERE = ("CFG031", 7, 51, "routes[0].map.EventBusName")


@pytest.mark.parametrize(
    ("bus", "target"),
    [
        ("'orders-${value.region}'", ""),
        ("'orders-${value.region}'", ", event_bus: orders"),
        ("orders", ""),
        ("orders", ", event_bus: other, event_buses: [more]"),
    ],
)
def test_a_bus_that_is_not_looked_after_is_refused_where_it_stands(tmp_path: Path, bus: str, target: str) -> None:
    assert _told(tmp_path, bus, target) == [_HERE]


@pytest.mark.parametrize(
    ("bus", "target"),
    [
        ("'orders-${value.region}'", ", event_buses: [orders-eu]"),
        ("orders", ", event_bus: orders"),
        ("orders", ", event_buses: [orders]"),
        ("default", ""),
    ],
)
def test_a_bus_that_is_looked_after_passes(tmp_path: Path, bus: str, target: str) -> None:
    assert _told(tmp_path, bus, target) == []


def test_a_map_is_held_against_every_target_that_it_feeds(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    text = _CONFIG.format(bus="orders", target=", event_bus: orders}, two: {type: eventbridge, region: eu-west-1")
    file.write_text(text.replace("targets: [out]", "targets: [out, two]"))
    found = load([file], {}).errors
    assert [(one.code, one.path) for one in found] == [("CFG031", "routes[0].map.EventBusName")]
    assert "(`two`)" in found[0].message
