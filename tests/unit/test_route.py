"""One record through its routes: which run, what they make, and how a failure is told."""

from random import Random
from typing import Any

import pytest

from connector.mapping import Position
from connector.model import Event, Record, TopicPartition
from connector.route import Routed, Routes, compile_routes
from connector.settings import Settings
from connector.targets.contract import Kind, Leaf
from tests.flow.world import FakeSettings, FakeTarget

KIND = Kind(FakeSettings, {"text": Leaf("json")}, lambda name, settings: FakeTarget(Random(0)))


def routes(*plain: dict[str, Any], topics: dict[str, Any] | None = None, prefix: str = "") -> Routes:
    targets = {"a": FakeSettings(), "b": FakeSettings()}
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g", "id_prefix": prefix},
            "topics": topics or {},
            "targets": targets,
            "routes": [{"topics": ["t"], "targets": ["a"], "map": {"text": "${value}"}} | one for one in plain],
            "unrouted": "skip",
            "dead_letters": {"topic": "dead"},
        }
    )
    made, problems = compile_routes(settings, lambda path: Position("test.yaml", 1, 1), {"fake": KIND})
    assert made is not None, problems
    return made


def record(value: bytes | None = b'{"n": 1}', topic: str = "t", key: bytes | None = b"k", **rest: Any) -> Record:
    return Record(TopicPartition(topic, 3), 42, 1_700_000_000_000, key, value, **rest)


def ids(routed: Routed) -> list[str]:
    return [event.id for event in routed.events]


def test_all_matching_routes_run_in_file_order() -> None:
    of = routes({"name": "one"}, {"name": "two", "match": {"value": {"n": [2]}}}, {"name": "three"})
    routed = of.route(record())
    assert routed.matched == ["one", "three"]
    assert ids(routed) == ["t-3-42/one", "t-3-42/three"]


def test_final_ends_the_search() -> None:
    of = routes({"name": "one", "final": True}, {"name": "two"})
    assert of.route(record()).matched == ["one"]


@pytest.mark.parametrize("first", [True, False])
def test_a_fallback_runs_only_when_no_other_route_matched_wherever_it_stands(first: bool) -> None:
    plain: list[dict[str, Any]] = [{"name": "rest", "fallback": True}, {"name": "one", "match": {"value": {"n": [1]}}}]
    of = routes(*(plain if first else plain[::-1]))
    assert of.route(record()).matched == ["one"]
    assert of.route(record(b'{"n": 2}')).matched == ["rest"]


def test_a_fallback_does_not_run_for_a_record_whose_condition_failed() -> None:
    of = routes({"name": "one", "when": "value.missing > 1"}, {"name": "rest", "fallback": True})
    routed = of.route(record())
    assert routed.matched == []
    (failure,) = routed.failures
    assert (failure.event.route, failure.stage, failure.code) == ("one", "TRANSFORMATION", "MissingField")
    assert failure.policy == "dead_letter"


def test_one_event_is_made_for_each_target_with_the_same_id() -> None:
    events = routes({"name": "one", "targets": ["a", "b"]}).route(record()).events
    assert [(event.target, event.id) for event in events] == [("a", "t-3-42/one"), ("b", "t-3-42/one")]


def test_each_makes_one_event_an_element_with_its_index_in_the_id() -> None:
    of = routes({"name": "lines", "each": "${value.lines}", "map": {"text": "${item.sku}-${index}"}})
    routed = of.route(record(b'{"lines": [{"sku": "x"}, {"sku": "y"}]}'))
    assert ids(routed) == ["t-3-42/lines/0", "t-3-42/lines/1"]
    assert [event.fields for event in routed.events] == [{"text": "x-0"}, {"text": "y-1"}]


def test_each_over_nothing_matches_and_makes_nothing() -> None:
    routed = routes({"name": "lines", "each": "${value.lines}"}).route(record(b'{"lines": []}'))
    assert routed == Routed(matched=["lines"])


def test_one_element_that_cannot_be_mapped_fails_alone() -> None:
    of = routes({"name": "lines", "each": "${value.lines}", "map": {"text": "${item.sku}"}})
    routed = of.route(record(b'{"lines": [{"sku": "x"}, {}]}'))
    assert ids(routed) == ["t-3-42/lines/0"]
    assert [failure.event.id for failure in routed.failures] == ["t-3-42/lines/1"]


def test_a_record_that_cannot_be_decoded_makes_one_failure_and_not_one_a_route() -> None:
    of = routes({"name": "one", "on_error": "skip"}, {"name": "two", "on_error": "hold"}, {"name": "three"})
    (failure,) = of.route(record(b"{not json")).failures
    assert (failure.stage, failure.code, failure.policy) == ("VALUE_CONVERTER", "NotJSON", "hold")
    assert "not json" not in failure.reason


def test_a_key_that_is_no_text_is_told_as_such() -> None:
    (failure,) = routes({"name": "one"}).route(record(key=b"\xff")).failures
    assert (failure.stage, failure.code) == ("KEY_CONVERTER", "NotUTF8")
    assert "set the format to bytes" in failure.reason


def test_a_binary_key_is_base64_where_the_topic_says_so() -> None:
    of = routes({"name": "one", "map": {"text": "${key}"}}, topics={"t": {"key_format": "bytes"}})
    (event,) = of.route(record(key=b"\xff\x00")).events
    assert event.fields == {"text": "/wA="}


def test_a_tombstone_is_skipped_by_default_and_routed_where_the_topic_says_so() -> None:
    assert routes({"name": "one"}).route(record(None)) == Routed(tombstone=True)
    of = routes({"name": "one"}, topics={"t": {"tombstones": "route"}})
    (event,) = of.route(record(None)).events
    assert event.fields == {"text": None}


def test_a_topic_pattern_takes_the_whole_name_only() -> None:
    of = routes({"name": "one", "topics": [r"^shop\.returns\..*"]})
    assert [
        of.route(record(topic=topic)).matched for topic in ("shop.returns.v1", "shop.returns", "my.shop.returns.v1")
    ] == [
        ["one"],
        [],
        [],
    ]


def test_a_dot_in_a_topic_name_is_a_dot() -> None:
    assert routes({"name": "one", "topics": ["a.b"]}).route(record(topic="axb")).matched == []


def test_the_id_prefix_tells_a_mirrored_topic_apart() -> None:
    assert ids(routes({"name": "one"}, prefix="eu-").route(record())) == ["eu-t-3-42/one"]


def test_the_last_header_of_a_name_is_seen() -> None:
    of = routes({"name": "one", "map": {"text": "${headers.h}"}})
    (event,) = of.route(record(headers=(("h", b"1"), ("h", b"2")))).events
    assert event.fields == {"text": "2"}


def test_an_unrouted_record_has_a_failure_of_its_own() -> None:
    of = routes({"name": "one", "match": {"value": {"n": [9]}}})
    assert of.route(record()) == Routed()
    failure = of.unrouted(record(), "hold")
    assert (failure.code, failure.policy, failure.event) == (
        "Unrouted",
        "hold",
        Event(record(), "", "", {}, "t-3-42/"),
    )


def test_a_replayed_record_keeps_the_id_of_its_first_time_in_every_route_and_hides_the_header() -> None:
    of = routes({"name": "one", "map": {"text": "${headers}"}}, {"name": "two", "each": "${[1, 2]}"}, prefix="p.")
    headers = (("own", b"1"), ("__connector.errors.id", b"p.t-0-5/one/3"))
    routed = of.route(record(headers=headers))
    assert ids(routed) == ["p.t-0-5/one", "p.t-0-5/two/0", "p.t-0-5/two/1"]
    assert routed.events[0].fields == {"text": {"own": "1"}}


@pytest.mark.parametrize("value", [None, b"", b"no slash", b"/", b"\xff\xff/one", b"a b/one", b"x" * 500 + b"/one"])
def test_a_first_id_that_is_none_is_passed_over(value: bytes | None) -> None:
    of = routes({"name": "one"})
    assert ids(of.route(record(headers=(("__connector.errors.id", value),)))) == ["t-3-42/one"]


def test_a_record_whose_headers_no_route_wants_is_not_decoded() -> None:
    want = {"headers": {"kind": ["order"]}, "value": {"n": [1]}}
    of = routes({"name": "one", "match": want}, {"name": "two", "match": {"headers": {"kind": ["refund"]}}})
    unreadable = record(b"{", headers=(("kind", b"visit"),))
    assert of.route(unreadable) == Routed()
    assert [failure.code for failure in of.route(record(b"{", headers=(("kind", b"order"),))).failures] == ["NotJSON"]
    assert of.route(record(headers=(("kind", b"order"),))).matched == ["one"]


@pytest.mark.parametrize(
    "other", [{}, {"match": {"value": {"n": [1]}}}, {"match": {"$or": [{"headers": {"a": ["b"]}}, {"key": ["k"]}]}}]
)
def test_a_route_without_such_a_condition_has_every_record_of_its_topic_decoded(other: dict[str, Any]) -> None:
    of = routes({"name": "one", "match": {"headers": {"kind": ["order"]}}}, {"name": "two", **other})
    assert [failure.code for failure in of.route(record(b"{")).failures] == ["NotJSON"]
