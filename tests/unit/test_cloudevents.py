"""CloudEvents on Kafka: structured and binary give the same value, and what is none is told."""

import base64
import json
from typing import Any, Final

import pytest

from connector.cloudevents import decode_cloudevent
from connector.model import Headers, Record, TopicPartition, Undecodable
from tests.flow.world import config, routes_of

# After the examples of the Kafka protocol binding and of the JSON event format, 1.0.2.
BINARY: Final[Headers] = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"com.example.someevent"),
    ("ce_source", b"/mycontext/subcontext"),
    ("ce_id", b"1234-1234-1234"),
    ("ce_time", b"2018-04-05T03:56:24Z"),
    ("ce_subject", b"123"),
    ("ce_comexampleextension1", "væd".encode()),
    ("content-type", b"application/json"),
)
EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext/subcontext",
    "id": "1234-1234-1234",
    "time": "2018-04-05T03:56:24Z",
    "subject": "123",
    "comexampleextension1": "væd",
    "datacontenttype": "application/json",
    "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True},
}
DATA: Final = json.dumps(EVENT["data"]).encode()
STRUCTURED: Final[Headers] = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def changed(headers: Headers, name: str, value: bytes | None) -> Headers:
    """Headers with another value of one; None takes it out."""
    rest = tuple(pair for pair in headers if pair[0] != name)
    return rest if value is None else (*rest, (name, value))


def test_binary_and_structured_give_the_event_in_its_json_format() -> None:
    assert decode_cloudevent(DATA, BINARY) == EVENT
    assert decode_cloudevent(json.dumps(EVENT).encode(), STRUCTURED) == EVENT
    upper = tuple((name.upper(), value) for name, value in BINARY)
    assert decode_cloudevent(DATA, upper) == EVENT


@pytest.mark.parametrize(
    ("media", "data", "key", "value"),
    [
        (b"application/vnd.acme+json; charset=utf-8", b"[1]", "data", [1]),
        (None, b"7", "data", 7),
        (b"text/plain", "væd".encode(), "data", "væd"),
        (b"application/xml", b"<a/>", "data", "<a/>"),
        (b"image/png", b"\x89PNG", "data_base64", base64.b64encode(b"\x89PNG").decode()),
        (b"application/avro", b"\x02", "data_base64", "Ag=="),
    ],
)
def test_data_is_read_by_its_content_type(media: bytes | None, data: bytes, key: str, value: Any) -> None:
    event = decode_cloudevent(data, changed(BINARY, "content-type", media))
    assert event[key] == value
    assert {"data", "data_base64"} & set(event) == {key}


@pytest.mark.parametrize(
    ("data", "headers", "code"),
    [
        (DATA, (), "NotCloudEvent"),
        (DATA, changed(BINARY, "ce_id", None), "NotCloudEvent"),
        (DATA, changed(BINARY, "ce_source", b""), "NotCloudEvent"),
        (DATA, changed(BINARY, "ce_subject", b"\xff"), "NotCloudEvent"),
        (b"secret", BINARY, "NotJSON"),
        (b"\xff", changed(BINARY, "content-type", b"text/plain"), "NotUTF8"),
        (b"secret", STRUCTURED, "NotJSON"),
        (b"[]", STRUCTURED, "NotCloudEvent"),
        (b'{"specversion": "1.0", "type": 5}', STRUCTURED, "NotCloudEvent"),
        (DATA, (("content-type", b"application/cloudevents+avro"),), "NotCloudEvent"),
        (b"[]", (("content-type", b"application/cloudevents-batch+json"),), "NotCloudEvent"),
    ],
)
def test_what_is_no_cloudevent_is_told_without_a_byte_of_it(data: bytes, headers: Headers, code: str) -> None:
    found = decode_cloudevent(data, headers)
    assert isinstance(found, Undecodable)
    assert found.code == code
    assert "secret" not in found.reason


def test_an_event_without_data_is_an_event_where_tombstones_are_routed() -> None:
    settings = config(topics={"t1": {"format": "cloudevents", "tombstones": "route"}})
    routes = routes_of(settings)
    record = Record(TopicPartition("t1", 0), 0, 0, None, None, BINARY)
    (event,) = routes.route(record).events
    assert event.fields == {"value": {name: value for name, value in EVENT.items() if name != "data"}}
    (event,) = routes.route(Record(TopicPartition("t1", 0), 0, 0, None, None, ())).events
    assert event.fields == {"value": None}
