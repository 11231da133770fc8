"""`connector try`: what is said of one record, of many, and that nothing leaves the process."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.model import ServiceModel
from botocore.serialize import create_serializer
from botocore.session import get_session
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Place
from typer.testing import CliRunner

from connector.cli import cli
from connector.consume_sample import shares
from connector.model import TopicPartition
from connector.sandbox.broker import Broker

_ROOT: Final = Path(__file__).parents[2]
_SAMPLES: Final = _ROOT / "config" / "samples.yaml"

_CONFIG: Final = """\
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: g}
targets:
  bus: {type: eventbridge, region: eu-west-1}
  screen: {type: stdout}
routes:
  - name: paid
    topics: [shop]
    match: {value: {status: [PAID]}}
    when: value.total > 10 && value.country != "XX"
    targets: [bus, screen]
    final: true
    map: {Source: "com.${value.channel}", DetailType: "${value.type}", Detail: "${value}"}
  - name: lines
    topics: [shop]
    match: {value: {kind: [lines]}}
    each: ${value.lines}
    targets: [screen]
    map: {sku: "${item.sku}"}
  - name: rest
    topics: [shop]
    fallback: true
    targets: [screen]
unrouted: hold
dead_letters: {topic: dead}
"""


def _connector(*arguments: str | Path, stdin: bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(one) for one in arguments], input=stdin, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "shop.yaml"
    file.write_text(_CONFIG)
    return file


def _tried(config: Path, value: Any, *flags: str) -> tuple[int, dict[str, Any]]:
    code, out, err = _connector(
        "try", config, "--json", *flags, "--timestamp", "1767225600123", "-", stdin=_json(value)
    )
    assert err == ""
    return code, json.loads(out)


def _json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _outcomes(tried: dict[str, Any]) -> list[tuple[str, str]]:
    return [(route["route"], route["outcome"]) for route in tried["routes"]]


PAID: Final = {"status": "PAID", "total": 12, "country": "NO", "channel": "web", "type": "Order"}


def test_the_body_is_what_goes_on_the_wire(config: Path) -> None:
    code, tried = _tried(config, PAID)
    assert (code, tried["handled"]) == (0, True)
    assert _outcomes(tried) == [("paid", "matched"), ("lines", "not asked"), ("rest", "not asked")]
    assert tried["routes"][1]["why"] == "`paid` took the record and is final"
    bus, screen = tried["routes"][0]["events"]
    assert bus == {
        "target": "bus",
        "type": "eventbridge",
        "id": "shop-0-0/paid",
        "size": 113,
        "limits": {"entries": 10, "bytes": 1047552, "entry_bytes": 1047552},
        "group": "",
        "unique": None,
        "body": {
            "Source": "com.web",
            "DetailType": "Order",
            "Detail": '{"status":"PAID","total":12,"country":"NO","channel":"web","type":"Order"}',
            "EventBusName": "default",
            "Resources": ["shop-0-0/paid"],
            "Time": 1767225600.123,
        },
    }
    assert json.loads(screen["body"])["fields"]["Source"] == "com.web"
    assert screen["size"] == len(screen["body"]) + 1


def test_botocore_writes_the_same_body(config: Path) -> None:
    """The client of the daemon asks for milliseconds; so does this one."""
    _, tried = _tried(config, PAID)
    shown = tried["routes"][0]["events"][0]["body"]
    described = get_session().get_component("data_loader").load_service_model("events", "service-2")
    operation = ServiceModel(described, "events").operation_model("PutEvents")
    writer = create_serializer("json", timestamp_precision="millisecond")
    request = writer.serialize_to_request({"Entries": [shown]}, operation)
    assert json.loads(request["body"]) == {"Entries": [shown]}


@pytest.mark.parametrize(
    ("change", "why", "place"),
    [
        ({"status": "NEW"}, 'value.status is text, but must be "PAID"', "8:29"),
        ({"total": 3}, "`value.total > 10` is false", "9:11"),
        ({"country": "XX"}, '`value.country != "XX"` is false', "9:31"),
    ],
)
def test_a_route_that_does_not_match_says_which_condition_failed(
    config: Path, change: dict[str, Any], why: str, place: str
) -> None:
    code, tried = _tried(config, PAID | change)
    assert code == 0
    assert _outcomes(tried) == [("paid", "no match"), ("lines", "no match"), ("rest", "matched")]
    assert tried["routes"][0]["why"] == why
    assert tried["routes"][0]["at"] == f"{config}:{place}"


def test_each_makes_an_event_per_element_and_tells_the_one_that_fails(config: Path) -> None:
    code, tried = _tried(config, {"kind": "lines", "lines": [{"sku": "A"}, {}, {"sku": "B"}]})
    lines = tried["routes"][1]
    assert code == 1
    assert [json.loads(event["body"])["fields"] for event in lines["events"]] == [{"sku": "A"}, {"sku": "B"}]
    (problem,) = lines["problems"]
    assert (problem["id"], problem["code"], problem["policy"]) == ("shop-0-0/lines/1", "MissingField", "dead_letter")
    assert problem["reason"].startswith(f"{config}:18:")


def test_each_without_elements_is_said_and_is_no_problem(config: Path) -> None:
    code, out, _ = _connector("try", config, "--value", '{"kind": "lines", "lines": []}')
    assert code == 0
    assert "lines: matched: `each` gives no element" in out


def test_a_condition_that_fails_is_a_problem_of_its_route(config: Path) -> None:
    code, tried = _tried(config, {"status": "PAID"})
    assert code == 1
    assert _outcomes(tried) == [("paid", "failed"), ("lines", "not asked"), ("rest", "not asked")]
    assert tried["routes"][0]["problems"][0]["reason"] == f"{config}:9:17: `value` has no field `total`"


def test_what_the_target_refuses_is_told_with_its_field(config: Path) -> None:
    code, tried = _tried(config, PAID | {"type": "x" * 129})
    assert code == 1
    (problem,) = tried["routes"][0]["problems"]
    assert (problem["target"], problem["code"], problem["path"]) == ("bus", "TooLong", "DetailType")
    assert [event["target"] for event in tried["routes"][0]["events"]] == ["screen"]


def test_bytes_that_are_no_json_are_one_problem_of_the_record(config: Path) -> None:
    code, tried = _tried(config, b"\xff{")
    assert code == 1
    assert tried["routes"] == []
    assert tried["problem"]["code"] == "NotJSON"


def test_a_record_that_no_route_takes_follows_unrouted(config: Path) -> None:
    config.write_text(_CONFIG.replace("fallback: true", 'match: {key: ["never"]}'))
    code, tried = _tried(config, {})
    assert (code, tried["problem"]["code"], tried["problem"]["policy"]) == (1, "Unrouted", "hold")
    config.write_text(config.read_text().replace("unrouted: hold", "unrouted: skip"))
    code, tried = _tried(config, {})
    assert (code, tried["problem"], tried["note"][:28]) == (0, None, "no route takes this record; ")


def test_a_tombstone_is_skipped_as_the_topic_says(config: Path) -> None:
    code, tried = _tried(config, {"value": None, "key": "k"}, "--whole")
    assert (code, tried["routes"]) == (0, [])
    assert "tombstone" in tried["note"]


def test_a_whole_record_and_flags_make_the_record_together(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text(
        json.dumps(
            {"topic": "plant.telemetry", "key": "m-1", "offset": 9, "value": {"kind": "pressure", "psi": 81, "ts": 5}}
        )
    )
    code, out, _ = _connector("try", _SAMPLES, "--json", "--whole", "--key", "m-2", record)
    (event,) = json.loads(out)["routes"][0]["events"]
    assert (code, event["id"]) == (0, "plant.telemetry-0-9/pressure-to-iot-events")
    assert json.loads(event["body"]["payload"]) == {"motorId": "m-2", "psi": 81.0}


def test_headers_are_given_by_flags(tmp_path: Path) -> None:
    value = '{"model": "credit_1", "latencyMs": 5000, "priority": "low"}'
    flags = ("--topic", "ml.scores", "--header", "env=prod", "--header", "a=b=c")
    code, out, _ = _connector("try", _SAMPLES, *flags, "--value", value)
    assert code == 0
    assert "2 headers" in out
    assert 'no match: `value.latencyMs < 2000 || value.priority == "high"` is false' in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a record"),
        (["--topic", "ml.scores"], "give a record"),
        (["--value", "{}"], "say --topic"),
        (["--value", "{}", "--topic", "ml.score"], "did you mean ml.scores?"),
        (["--value", "{}", "--topic", "ml.scores", "--header", "x"], "NAME=TEXT"),
        (["--value", "{}", "--topic", "ml.scores", "-"], "once"),
        (["--topic", "ml.scores", "none.json"], "none.json cannot be read: No such file"),
        (["--whole", "-"], "--whole: the record is not JSON"),
        (["--live", "5", "--value", "{}"], "leave out the record"),
        (["--live", "0"], "--live"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_missing(arguments: list[str], said: str) -> None:
    code, _, err = _connector("try", _SAMPLES, *arguments, stdin=b"{")
    assert code == 2
    assert said in " ".join(err.split())


def test_a_whole_record_may_stand_on_the_command_line() -> None:
    whole = {"topic": "plant.telemetry", "key": "m-1", "value": {"kind": "pressure", "psi": 81, "ts": 5}}
    code, out, _ = _connector("try", _SAMPLES, "--json", "--whole", "--value", json.dumps(whole))
    (event,) = json.loads(out)["routes"][0]["events"]
    assert (code, json.loads(event["body"]["payload"])["motorId"]) == (0, "m-1")


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        ("[1]", "the record is an object with the keys topic,"),
        ('{"topik": "t"}', "unknown key topik; there are topic,"),
        ('{"value": 1, "file": "x"}', "has both value and file: write one of them"),
        ('{"partition": -1}', "partition: Input should be greater than or equal to 0"),
    ],
)
def test_a_whole_record_that_cannot_be_is_wrong_usage(whole: str, told: str) -> None:
    code, out, err = _connector("try", _SAMPLES, "--whole", "--value", whole)
    assert (code, out) == (2, "")
    assert err.startswith("--whole: ")
    assert told in err


def test_a_config_with_errors_ends_with_78(config: Path) -> None:
    config.write_text(_CONFIG.replace("value.total", "vaule.total"))
    code, out, err = _connector("try", config, "--value", "{}")
    assert (code, out) == (78, "")
    assert "shop.yaml:9:11: CEL010" in err


def test_no_kafka_client_is_imported_without_live() -> None:
    script = (
        "import sys\nfrom connector.cli import cli\n"
        "try:\n    cli(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    print(end.code, 'confluent_kafka' in sys.modules, 'connector.app' in sys.modules)\n"
    )
    for command in (
        ["try", str(_SAMPLES), "--topic", "ml.scores", "--value", "{}"],
        ["test", str(_SAMPLES)],
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=60, check=False, cwd=_ROOT
        )
        assert done.stdout.splitlines()[-1] == "0 False False", done.stderr


@pytest.mark.parametrize(
    ("held", "count", "expected"),
    [
        ([10, 10, 10], 6, [2, 2, 2]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([1, 2, 3], 100, [1, 2, 3]),
        ([5, 5, 5], 4, [2, 1, 1]),
        ([0, 5], 3, [0, 3]),
        ([], 3, []),
    ],
)
def test_every_partition_gives_its_share_of_a_sample(held: list[int], count: int, expected: list[int]) -> None:
    tps = [TopicPartition("t", number) for number in range(len(held))]
    taken = shares(dict(zip(tps, held, strict=True)), count)
    assert [taken.get(tp, 0) for tp in tps] == expected


async def test_live_tries_the_last_records_of_the_topics_and_commits_nothing(config: Path) -> None:
    async with Broker() as broker:
        await broker.topics("shop")
        await asyncio.to_thread(_produce, broker.bootstrap_servers)
        _point(config, broker.bootstrap_servers)
        code, out, err = await asyncio.to_thread(_connector, "try", config, "--live", "8", "--json", "--seconds", "20")
        committed = await asyncio.to_thread(_committed, broker.bootstrap_servers)
        text = (await asyncio.to_thread(_connector, "try", config, "--live", "3"))[1]
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert (found["taken"], found["troubled"], found["undecodable"], found["notes"]) == (8, 2, 1, [])
    assert found["routes"] == {
        "paid": {"matched": 3, "failed": 1, "events": 6},
        "lines": {"matched": 0, "failed": 0, "events": 0},
        "rest": {"matched": 3, "failed": 0, "events": 3},
    }
    assert len(found["samples"]) == 5
    assert committed == [-1001, -1001, -1001, -1001]
    assert "3 records tried, " in text
    assert text.endswith("nothing was sent, nothing was committed\n")


async def test_live_says_when_the_topics_hold_fewer_or_none(config: Path) -> None:
    async with Broker() as broker:
        await broker.topics("shop")
        _point(config, broker.bootstrap_servers)
        code, out, _ = await asyncio.to_thread(_connector, "try", config, "--live", "8", "--seconds", "20")
    assert code == 1
    assert "the topics hold no more records" in out


def test_live_of_a_cluster_that_is_not_there_ends_in_time_with_1(config: Path) -> None:
    code, out, err = _connector("try", config, "--live", "5", "--seconds", "0.5")
    assert (code, out) == (1, "")
    assert err.startswith("127.0.0.1:1 cannot be sampled: _TRANSPORT")


def _point(config: Path, servers: str) -> None:
    config.write_text(_CONFIG.replace("127.0.0.1:1", servers))


def _produce(servers: str) -> None:
    """On each of four partitions a record that is too old for the sample, then two of eight kinds of outcome."""
    producer = Producer({"bootstrap.servers": servers, "log_level": 2})
    fresh = [PAID, PAID, PAID, {}, {"status": "NEW"}, {"status": "PAID"}, {"status": "PAID", "total": 1.5}]
    values = [b"old"] * 4 + [_json(one) for one in fresh] + [b"{"]
    for number, value in enumerate(values):
        producer.produce("shop", value, key=b"k", partition=number % 4)
    assert producer.flush(10) == 0


def _committed(servers: str) -> list[int]:
    reader = Consumer({"bootstrap.servers": servers, "group.id": "g", "log_level": 2})
    try:
        return [one.offset for one in reader.committed([Place("shop", number) for number in range(4)], timeout=10)]
    finally:
        reader.close()


def test_a_record_whose_registry_does_not_answer_waits_and_says_so(tmp_path: Path) -> None:
    config = tmp_path / "avro.yaml"
    config.write_text(
        _CONFIG + 'topics: {shop: {format: avro}}\nschema_registry: {type: confluent, url: "http://127.0.0.1:1"}\n'
    )
    code, out, _ = _connector("try", config, "-", stdin=b"\x00\x00\x00\x00\x07\x02")
    assert code == 1
    assert "SchemaUnavailable: http://127.0.0.1:1: " in out
    assert "the daemon would wait at this record, and ask the registry again" in out
