"""The targets of the benchmark, each with the map that makes an order into its event, and orders as Avro."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import fastavro

from tests.bench.stub import AVRO

MATCH: Final = {"value": {"status": ["PAID", "SHIPPED"]}}
KEYS: Final = {"region": "eu-west-1"}
FIDDLER: Final = {"type": "fiddler", "token": "test", "project_name": "shop", "model_name": "orders"}
ROW: Final = {"channel": "${value.channel}", "status": "${value.status}", "amount": "${double(value.total.amount)}"}


class Service(NamedTuple):
    """A target's settings without its address, its map, and limits where the usual ones are too narrow."""

    target: Mapping[str, Any]
    map: Mapping[str, Any]
    limits: Mapping[str, Any] = {}
    address: str = "endpoint_url"

    def changes(self, topic: str, endpoint: str) -> dict[str, Any]:
        """What it changes in the config of a run."""
        target = {**self.target, self.address: endpoint}
        route = {"name": "paid", "topics": [topic], "targets": ["bus"], "match": MATCH, "map": self.map}
        return {"targets": {"bus": target}, "routes": [route], **({"limits": self.limits} if self.limits else {})}


EVENTBRIDGE: Final = Service(
    {"type": "eventbridge", "event_bus": "orders", **KEYS},
    {"Source": "com.acme.${value.channel}", "DetailType": "Order ${value.status}", "Detail": "${value}"},
)
SERVICES: Final[Mapping[str, Service]] = {
    "IoT Events": Service(
        {
            "type": "iot_events",
            "input_name": "orders",
            "max_message_bytes": "128KiB",
            "max_batch_bytes": "128KiB",
            "rate_limit": {"calls": "100000/s"},
            "order": "none",
            **KEYS,
        },
        {"payload": "${value}"},
    ),
    "Pinpoint, 100 a call": Service(
        {"type": "pinpoint", "application_id": "bench", "rate_limit": {"calls": "100000/s"}, **KEYS},
        {
            "EndpointId": "${value.customer.id}",
            "EventType": "order.${value.status}",
            "Attributes": {"channel": "${value.channel}"},
            "Metrics": {"amount": "${double(value.total.amount)}"},
        },
    ),
    "Fiddler events, 1,000 a call": Service({**FIDDLER}, {"event": ROW}, address="url"),
    "Fiddler files": Service(
        {**FIDDLER, "publish": "batch", "job_poll": "100ms", "batch": {"max_entries": 2000, "linger": "1s"}},
        {"event": ROW},
        address="url",
    ),
}


def avro(order: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Makes the order of a number, as Avro under the registry's id 1."""
    schema = fastavro.parse_schema(AVRO)

    def made(number: int) -> bytes:
        value = json.loads(order(number))
        flat = {**value, "amount": float(value["total"]["amount"]), "note": json.dumps(value["items"])}
        out = io.BytesIO(b"\0\0\0\0\1")
        out.seek(5)
        fastavro.schemaless_writer(out, schema, flat)
        return out.getvalue()

    return made
