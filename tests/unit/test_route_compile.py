"""Routes compiled: what is wrong in a route's map is told once, however many kinds of target it feeds."""

from pathlib import Path

from connector.loading.load import load
from connector.route import compile_routes

CONFIG = """\
kafka: {bootstrap_servers: 'localhost:1', group_id: g}
targets: {bus: {type: eventbridge, region: eu-west-1}, log: {type: stdout}}
unrouted: skip
dead_letters: {topic: dead}
routes: [{name: r, topics: [t], targets: [bus, log], map: {Source: '${valeu.id}', Sorce: a, DetailType: '${1 +}'}}]
"""


def test_a_route_to_two_kinds_of_target_tells_each_mistake_of_its_map_once(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text(CONFIG)
    loaded = load([file], {})
    assert loaded.settings is not None
    routes, problems = compile_routes(loaded.settings, loaded.locate)
    assert routes is None
    assert sorted(problem.code for problem in problems) == ["CEL006", "CEL010", "MAP010"]
