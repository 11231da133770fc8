"""Whose record it is that arrived at a simulated service, and what it says: read from what the service itself kept.

The services carry the redelivery id; IoT Events carries a hash of it, so the demo's own config puts the id into the
payload.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from connector.model import TopicPartition
from connector.sandbox import eventbridge, fiddler, iot_events, pinpoint
from connector.sandbox.prove import Place, Sent, payload_digest

_ID: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)-(?P<offset>\d+)/(?P<route>[^/]+)(/\d+)?")


def _sent(identity: object, digest: str, otherwise: str) -> Sent:
    found = _ID.fullmatch(identity) if isinstance(identity, str) else None
    if found is None:
        return Sent(Place(TopicPartition(f"{otherwise} without an id", 0), 0), "", digest)
    tp = TopicPartition(found["topic"], int(found["partition"]))
    return Sent(Place(tp, int(found["offset"])), found["route"], digest)


def _from_eventbridge(event: eventbridge.Accepted) -> Sent:
    identity = next(filter(_ID.fullmatch, reversed(event.resources)), None)
    return _sent(identity, payload_digest(orjson.loads(event.detail)), f"event {event.event_id}")


def _from_iot_events(message: iot_events.Accepted) -> Sent:
    payload = orjson.loads(message.payload)
    return _sent(payload.pop("id", None), payload_digest(payload.get("value")), f"message {message.message_id}")


def _from_pinpoint(taken: pinpoint.Accepted) -> Sent:
    event = taken.event or {}
    value = {"type": event.get("EventType"), **event.get("Attributes", {})}
    return _sent(taken.event_id, payload_digest(value), f"endpoint {taken.endpoint_id}")


def _from_fiddler(taken: fiddler.Accepted) -> Sent:
    told = taken.row.get("record")
    digest = payload_digest(orjson.loads(told)) if isinstance(told, str) else ""
    return _sent(taken.event_id, digest, f"event {taken.fiddler_id}")


READERS: Final[Mapping[str, Callable[[Any], Sent]]] = {
    "eventbridge": _from_eventbridge,
    "iot_events": _from_iot_events,
    "pinpoint": _from_pinpoint,
    "fiddler": _from_fiddler,
}
"""By the name of the service."""
