"""Combinations that cannot work, and warnings of what works otherwise than one may think."""

from pathlib import Path

import pytest

from connector.loading.load import load
from tests.unit.configs import loaded, told, with_lines


def _without_dead_letters(*lines: str) -> str:
    text = with_lines(*lines)
    return "\n".join(line for line in text.splitlines() if not line.startswith("dead_letters"))


def test_a_default_dead_letter_policy_without_a_topic_is_told_once(tmp_path: Path) -> None:
    found = loaded(tmp_path, _without_dead_letters())
    assert told(found) == [("CFG024", 5, 9, "routes")]
    assert "routes[0].on_error and 1 more" in found.problems[0].message


def test_a_written_dead_letter_policy_without_a_topic_is_told_where_it_stands(tmp_path: Path) -> None:
    text = _without_dead_letters(
        "unrouted: dead_letter",
        "routes: [{name: r, topics: [t], targets: [bus], on_error: dead_letter, on_reject: hold}]",
    )
    assert told(loaded(tmp_path, text)) == [("CFG024", 3, 11, "unrouted"), ("CFG024", 5, 59, "routes[0].on_error")]


def test_no_dead_letter_topic_is_needed_where_nothing_is_dead_lettered(tmp_path: Path) -> None:
    text = _without_dead_letters("defaults: {route: {on_error: hold, on_reject: skip}}")
    assert loaded(tmp_path, text).problems == ()


def test_a_dead_letter_section_with_a_mistake_makes_no_second_problem_of_the_policies(tmp_path: Path) -> None:
    assert told(loaded(tmp_path, with_lines("dead_letters: {max_consecutive: 5}"))) == [
        ("CFG011", 4, 15, "dead_letters.topic")
    ]


def test_a_route_may_not_consume_the_dead_letter_topic_by_its_name(tmp_path: Path) -> None:
    text = with_lines("routes: [{name: r, topics: [t, dead], targets: [bus]}]")
    assert told(loaded(tmp_path, text)) == [("CFG025", 6, 32, "routes[0].topics[1]")]


def test_targets_fed_by_the_same_partitions_are_a_warning_and_start_all_the_same(tmp_path: Path) -> None:
    text = with_lines(
        "targets: {bus: {type: fake, region: eu}, two: {type: fake, region: us}, far: {type: fake, region: us}}",
        "routes: [{name: r, topics: ['^t.*'], targets: [bus]}, {name: s, topics: [t1], targets: [two]}, "
        "{name: u, topics: [other], targets: [far]}]",
    )
    found = loaded(tmp_path, text)
    assert [(one.code, one.level) for one in found.problems] == [("CFG040", "warning")]
    assert "`bus` and `two`" in found.problems[0].message
    assert "`t1`" in found.problems[0].message
    assert found.settings is not None


def test_many_targets_of_one_topic_are_one_warning(tmp_path: Path) -> None:
    text = with_lines(
        "targets: {a: {type: fake, region: eu}, b: {type: fake, region: eu}, bus: {type: fake, region: eu}}",
        "routes: [{name: r, topics: [t], targets: [bus, b]}, {name: s, topics: [t], targets: [a, bus]}]",
    )
    found = loaded(tmp_path, text)
    assert [one.code for one in found.problems] == ["CFG040"]
    assert found.problems[0].message.startswith("`a`, `b` and `bus` are fed by the same partitions of `t`: ")
    assert "the others stop" in found.problems[0].message


@pytest.mark.parametrize(
    ("order", "linger", "rate"), [("key", "150ms", "5 a second"), ("partition", "0ms", "20 a second")]
)
def test_an_ordered_target_is_warned_of_with_its_rate(tmp_path: Path, order: str, linger: str, rate: str) -> None:
    text = with_lines(f"targets: {{bus: {{type: fake, region: eu, order: {order}, batch: {{linger: {linger}}}}}}}")
    found = loaded(tmp_path, text)
    assert told(found) == [("CFG041", 5, 48, "targets.bus.order")]
    assert rate in found.problems[0].message
    assert found.settings is not None


def test_a_retired_service_and_an_unused_target_are_warnings(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_lines("targets: {bus: {type: fake, region: eu}, log: {type: old}}"))
    assert told(found) == [("CFG043", 5, 47, "targets.log"), ("CFG042", 5, 54, "targets.log.type")]
    assert found.problems[1].message == "The service ends in 2027."
    assert found.settings is not None


def test_a_target_twice_in_one_route_is_refused(tmp_path: Path) -> None:
    text = with_lines("routes: [{name: r, topics: [t], targets: [bus, bus]}]")
    assert told(loaded(tmp_path, text)) == [("CFG021", 6, 48, "routes[0].targets[1]")]


def test_settings_of_a_pattern_stand_where_routes_have_other_patterns(tmp_path: Path) -> None:
    text = with_lines("topics: {'^shop.*': {format: bytes}}", "routes: [{name: r, topics: ['^s.+'], targets: [bus]}]")
    assert loaded(tmp_path, text).problems == ()


def test_a_lower_bound_of_uncommitted_records_needs_a_lower_bound_of_open_ones(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_lines("limits: {max_uncommitted_per_partition: 100}"))
    assert told(found) == [("CFG028", 7, 41, "limits.max_uncommitted_per_partition")]


def test_a_dead_letter_topic_of_one_route_needs_the_dead_letters_section_too(tmp_path: Path) -> None:
    text = _without_dead_letters(
        "routes: [{name: r, topics: [t], targets: [bus], on_error: hold, on_reject: hold, dead_letter_topic: d}]"
    )
    assert told(loaded(tmp_path, text)) == [("CFG024", 5, 101, "routes[0].dead_letter_topic")]


def test_no_route_may_consume_the_dead_letter_topic_of_another(tmp_path: Path) -> None:
    text = with_lines("routes: [{name: r, topics: [t, own], targets: [bus]}, " + _OWN + "]")
    assert told(loaded(tmp_path, text)) == [("CFG025", 6, 32, "routes[0].topics[1]")]


_OWN = "{name: s, topics: [t], targets: [bus], dead_letter_topic: own}"


def test_on_another_cluster_the_dead_letters_may_have_any_name(tmp_path: Path) -> None:
    letters = "dead_letters: {topic: t, kafka: {bootstrap_servers: %s}}"
    assert loaded(tmp_path, with_lines(letters % "elsewhere:9092")).problems == ()
    assert [code for code, *_ in told(loaded(tmp_path, with_lines(letters % "localhost:9092")))] == ["CFG025"]


def test_properties_of_the_dead_letter_cluster_are_held_to_the_same_rules(tmp_path: Path) -> None:
    line = "dead_letters: {topic: d, kafka: {bootstrap_servers: b:1, properties: {group.id: x, sasl.jaas.config: y}}}"
    found = loaded(tmp_path, with_lines(line))
    assert [(code, path) for code, _, _, path in told(found)] == [("CFG029", "dead_letters.kafka.properties.group.id")]
    shown = loaded(tmp_path, with_lines(line.replace("group.id: x, ", ""))).masked()
    assert shown["dead_letters"]["kafka"]["properties"] == {"sasl.jaas.config": "***"}


@pytest.mark.parametrize("format", ["avro", "protobuf", "json_schema", "json-schema"])
def test_a_format_whose_schema_stands_in_a_registry_needs_one(tmp_path: Path, format: str) -> None:
    topics = f"topics: {{t: {{key_format: {format}}}}}"
    found = loaded(tmp_path, with_lines(topics))
    assert told(found) == [("CFG035", 7, 26, "topics.t.key_format")]
    registry = "schema_registry: {type: confluent, url: http://localhost:8081}"
    assert loaded(tmp_path, with_lines(topics, registry)).problems == ()


def test_protobuf_cannot_come_through_glue(tmp_path: Path) -> None:
    topics = "topics: {t: {format: protobuf}}"
    assert told(loaded(tmp_path, with_lines(topics, "schema_registry: {type: glue}"))) == [
        ("CFG035", 7, 22, "topics.t.format")
    ]


def test_a_registry_with_a_mistake_makes_no_second_problem_of_the_formats(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_lines("topics: {t: {format: avro}}", "schema_registry: {type: confluent}"))
    assert [code for code, *_ in told(found)] == ["CFG011"]


def test_a_target_that_would_send_the_bytes_behind_a_registrys_header_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "avro.yaml"
    config.write_text(
        """\
kafka: {bootstrap_servers: "localhost:9092", group_id: g}
topics: {shop: {format: avro}}
schema_registry: {type: confluent, url: "http://localhost:8081"}
targets: {bus: {type: eventbridge, region: eu-west-1}, screen: {type: stdout}}
routes:
  - {name: bad, topics: ["^sh.*"], targets: [bus], map: {Source: a, DetailType: b}}
  - {name: good, topics: [shop], targets: [bus], map: {Source: a, DetailType: b, Detail: "${value}"}}
  - {name: other, topics: [plain], targets: [bus], map: {Source: a, DetailType: b}}
  - {name: any, topics: [shop], targets: [screen], map: {}}
unrouted: skip
dead_letters: {topic: dead}
"""
    )
    errors = load([config], {}).errors
    assert [(one.code, one.path, one.mend) for one in errors] == [
        ("CFG036", "routes[0]", "add Detail: ${value} to the map")
    ]
