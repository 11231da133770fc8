"""`connector try --live` on real topics: what it reads, and that nobody notices."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector.cli import cli
from tests.kafka.cluster import SECONDS, Kafka

pytestmark = pytest.mark.broker


def test_live_tries_the_last_records_and_leaves_no_group_and_no_commit_behind(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, [b"too old"] * 3, partition=0)
    kafka.produce(topic, [b'{"total": 5}', b'{"total": 15}', b"{"], partition=0)
    kafka.transaction(topic, [b'{"total": 99}'] * 4, commit=False, partition=1)  # read by nobody
    kafka.transaction(topic, [b'{"total": 25}'], partition=1)
    file = tmp_path / "live.yaml"
    file.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap_servers": kafka.cluster.bootstrap, "group_id": kafka.group},
                "targets": {"bus": {"type": "eventbridge", "region": "eu-west-1"}},
                "routes": [
                    {
                        "name": "large",
                        "topics": [topic],
                        "when": "value.total > 10",
                        "targets": ["bus"],
                        "map": {"Source": "shop", "DetailType": "Large", "Detail": "${value}"},
                    }
                ],
                "unrouted": "skip",
                "dead_letters": {"topic": f"{topic}.dead"},
            }
        )
    )
    flags = ["--live", "6", "--seconds", str(SECONDS), "--json"]
    result = CliRunner().invoke(cli, ["try", str(file), *flags], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["taken"], found["undecodable"], found["unrouted"]) == (1, 4, 1, 1)
    assert found["routes"] == {"large": {"matched": 2, "failed": 0, "events": 2}}
    bodies = [
        event["body"]["Detail"] for trial in found["samples"] for each in trial["routes"] for event in each["events"]
    ]
    assert sorted(bodies) == ['{"total":15}', '{"total":25}']
    assert kafka.committed(topic) == {}
    groups = kafka.cluster.admin.list_consumer_groups().result(SECONDS).valid
    assert [each.group_id for each in groups if each.group_id.startswith(f"{kafka.group}-try-")] == []
