"""What the demo simulates for a config: the services of its targets, with everything that it names."""

import json
from pathlib import Path

from connector.loading.load import load
from connector.sandbox.demo import services_of

_AT = {"endpoint_url": "http://127.0.0.1:1", "region": "eu-west-1"}


def test_what_targets_and_maps_name_is_there_and_nothing_else_is_simulated(tmp_path: Path) -> None:
    config = {
        "version": 1,
        "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g"},
        "targets": {
            "machines": {"type": "iot_events", **_AT, "input_name": "orders", "input_names": ["returns"]},
            "clicks": {"type": "pinpoint", **_AT},
            "out": {"type": "stdout"},
        },
        "routes": [
            {"name": "a", "topics": ["t"], "targets": ["machines"], "map": {"inputName": "stock"}},
            {"name": "b", "topics": ["t"], "targets": ["machines"], "map": {"inputName": "${value.kind}"}},
            {
                "name": "c",
                "topics": ["t"],
                "targets": ["clicks", "out"],
                "map": {"ApplicationId": "shop", "EndpointId": "e", "EventType": "x"},
            },
        ],
        "unrouted": "skip",
        "dead_letters": {"topic": "dead"},
    }
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config))
    loaded = load([file], {})
    assert loaded.settings is not None, loaded.problems
    services = services_of(loaded.settings, 0)
    assert {name: service.state for name, service in services.items()} == {
        "iot_events": {"inputs": ["orders", "returns", "stock"]},
        "pinpoint": {"applications": ["shop"]},
    }
