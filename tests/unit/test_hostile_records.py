"""Whatever a record holds, it becomes events or a dead letter that keeps its bytes, and never an exception."""

import json
import re
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.dryrun.show import plain
from connector.dryrun.show import text as shown
from connector.dryrun.tryout import DryRun
from connector.letters.letter import Letter, read
from connector.letters.show import letter_text, line
from connector.loading.load import load
from connector.loading.render import text
from connector.model import FIRST_ID, Headers, Record, TopicPartition
from connector.targets.dead_letter import Cause, DeadLetters, bury
from tests.hostile import HEADERS, KEYS, VALUES

UNSAFE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")
FORMATS: Final = ("json", "string", "bytes", "cloudevents")
CONFIG: Final = """
version: 1
vars: {secret: for-the-config-alone}
kafka: {bootstrap_servers: b:1, group_id: g}
topics:
  json: {format: json, key_format: string}
  string: {format: string, key_format: json}
  bytes: {format: bytes, key_format: bytes}
  cloudevents: {format: cloudevents}
targets:
  bus: {type: eventbridge, region: eu-west-1}
  input: {type: iot_events, region: eu-west-1, endpoint_url: "http://127.0.0.1:1"}
  app: {type: pinpoint, region: eu-west-1, application_id: a, endpoint_url: "http://127.0.0.1:1"}
  model: {type: fiddler, url: "http://127.0.0.1:1", token: t, project_name: shop}
  out: {type: stdout}
defaults: {route: {topics: [json, string, bytes, cloudevents]}}
routes:
  - name: bus
    targets: [bus]
    map:
      Source: com.${string(value.?kind.orValue("x"))}
      DetailType: ${headers[?"event-type"].orValue("none")} ${key}
      Detail: {value: "${value}"}
  - name: each
    each: ${value.lines}
    targets: [bus]
    map: {Source: s, DetailType: "${item}", Detail: {item: "${item}"}, Resources: ["${string(item)}"]}
  - name: input
    when: has(value.id) || size(headers) >= 0
    targets: [input]
    map:
      inputName: ${value.kind}
      messageId: ${value.id}
      payload: ${value}
      timestamp: {timeInMillis: "${value.at}"}
  - name: app
    match: {value: {kind: [{prefix: ""}, {wildcard: "*a*"}, {anything-but: ["b"]}]}}
    targets: [app]
    map: {EndpointId: "${value.id}", EventType: "${value.kind}", Timestamp: "${value.at}", Attributes: "${value.a}"}
  - name: model
    match: {value: {id: [{exists: true}]}}
    targets: [model]
    map: {model_name: churn, event: "${value}", event_id: "${value.id}", event_timestamp: "${value.at}"}
  - name: out
    targets: [out]
    map: {value: "${value}", key: "${key}", headers: "${headers}"}
unrouted: dead_letter
dead_letters: {topic: dead}
"""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> DryRun:
    file = tmp_path_factory.mktemp("hostile") / "c.yaml"
    file.write_text(CONFIG)
    loaded = load([file], {})
    assert loaded.settings is not None, text(loaded)
    return DryRun.of_config(loaded)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(topic=st.sampled_from(FORMATS), key=KEYS, value=VALUES | st.none(), headers=HEADERS)
def test_every_record_becomes_events_or_a_dead_letter_that_keeps_it(
    tried: DryRun, topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    record = Record(TopicPartition(topic, 0), 7, 1_700_000_000_000, key, value, headers)
    trial = tried.of(record)
    for answer in trial.answers:
        for sending in answer.sendings:
            assert sending.size >= 0
            assert sending.event.id.isascii()
            assert "\n" not in sending.event.id
    assert not UNSAFE.search(shown(trial)), "what a person sees drives his terminal"
    json.dumps(plain(trial))
    letters = DeadLetters("dead", lambda heard: pytest.fail("nothing is sent here"), connector="g")
    for trouble in trial.troubles:
        assert trouble.policy in ("dead_letter", "wait")
        assert "for-the-config-alone" not in trouble.reason
        cause = Cause("TRANSFORMATION", trouble.code, f"{trouble.path} {trouble.reason}", trouble.event.target, 0)
        prepared = letters.prepare(bury(trouble.event, cause))
        told = dict(prepared.body[-16:])
        assert told["__connect.errors.offset"] == b"7"
        assert all(b"\n" not in text and b"\r" not in text for text in told.values() if text is not None)
        assert prepared.body[: len(headers)] == headers
        assert trouble.event.record is record


def test_a_dead_letter_that_anybody_wrote_forges_no_line_of_what_is_shown(tried: DryRun) -> None:
    enemy = b"x\r\n  value   forged\x9b2J\xe2\x80\xae\x00"
    told = {
        "__connect.errors.topic": b"json",
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"1",
        "__connect.errors.connector.name": b"g",
        "__connect.errors.stage": enemy,
        "__connect.errors.exception.message": enemy,
        "__connector.errors.route": enemy,
        "__connector.errors.target": enemy,
        "__connector.errors.code": enemy,
        FIRST_ID: enemy,
        "x\nvalue   forged": enemy,
    }
    letter = read(Record(TopicPartition("dead", 0), 3, 0, enemy, enemy, tuple(told.items())), "g")
    assert isinstance(letter, Letter)
    words = letter_text(letter, False, tried.of(letter.origin), 0)
    assert not UNSAFE.search(words)
    assert [each for each in words.split("\n") if each.strip().startswith("value   forged")] == []
    assert not UNSAFE.search(line(letter, False, 0))
    assert "\n" not in line(letter, False, 0)
