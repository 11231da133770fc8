"""What differs between two configs decides what a reload does."""

from typing import Any

import pytest

from connector.operations.change import Change
from tests.flow.world import FakeSettings, config

PLAIN = {"value": "${value}"}
ROUTES = [
    {"name": "one", "topics": ["t1"], "targets": ["t"], "map": PLAIN},
    {"name": "two", "topics": ["t2"], "targets": ["t"], "map": PLAIN},
]


def change(**new: Any) -> Change:
    return Change.of(config(routes=ROUTES), config(**{"routes": ROUTES, **new}))


def test_equal_configs_differ_in_nothing() -> None:
    assert change() == Change((), frozenset(), False, frozenset())


def test_a_changed_route_a_new_one_and_one_that_is_taken_away_are_named() -> None:
    routes = [{**ROUTES[0], "when": "true"}, {**ROUTES[1], "name": "three"}]
    assert change(routes=routes).routes == {"one", "two", "three"}


@pytest.mark.parametrize("around", [{"vars": {"x": 1}}, {"topics": {"t1": {"format": "string"}}}, {"unrouted": "hold"}])
def test_what_stands_around_all_routes_changes_all_of_them(around: dict[str, Any]) -> None:
    assert change(**around).routes == {"one", "two"}


def test_a_changed_target_and_a_new_one_begin_anew() -> None:
    targets = {"t": FakeSettings(max_in_flight=1), "u": FakeSettings()}
    assert change(targets=targets).targets == {"t", "u"}


def test_another_dead_letter_topic_begins_its_lane_anew_and_another_limit_does_not() -> None:
    assert change(dead_letters={"topic": "other"}).dead_letters
    assert not change(dead_letters={"topic": "dead", "max_consecutive": 7}).dead_letters


def test_what_takes_effect_by_itself_needs_nothing() -> None:
    assert change(commit_interval="2s", shutdown_timeout="21s", log={"level": "debug"}) == change()


def test_what_is_read_once_at_the_start_needs_a_restart() -> None:
    kafka = {"bootstrap_servers": "localhost:2", "group_id": "g", "properties": {"fetch.min.bytes": 2}}
    assert change(kafka=kafka).restart == ("kafka.bootstrap_servers", "kafka.properties")
