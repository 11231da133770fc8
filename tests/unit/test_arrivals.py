"""Whose record arrived at a simulated service, read from what the service kept: by its id, and by nothing else."""

from typing import Any

import pytest

from connector.model import TopicPartition
from connector.sandbox import eventbridge, fiddler, iot_events, pinpoint
from connector.sandbox.arrivals import READERS
from connector.sandbox.prove import Place, Sent, payload_digest

PLACE = Place(TopicPartition("shop-a.orders", 3), 17)
ID = "shop-a.orders-3-17/paid"
VALUE = {"type": "page.viewed", "page": "/tea"}


def kept(kind: str, identity: str | None) -> Any:
    match kind:
        case "eventbridge":
            resources = ("arn:aws:s3:::a", *([identity] if identity else []))
            return eventbridge.Accepted(
                0, 0, 0.0, "orders", "s", "d", '{"page":"/tea","type":"page.viewed"}', resources, None, None, "e"
            )
        case "iot_events":
            head = f'"id":"{identity}",'.encode() if identity else b""
            payload = b"{" + head + b'"value":{"type":"page.viewed","page":"/tea"}}'
            return iot_events.Accepted(0, 0, 0.0, "stock", "m", payload, None)
        case "fiddler":
            row = {"record": '{"page":"/tea","type":"page.viewed"}', "total": "1.5"}
            names = ("v3", "POST", "shop", "fraud", "v1")
            return fiddler.Accepted(
                *(0, 0, 0.0, *names, identity, None, None, row, (), ()),
                fiddler_id="f",
                file=None,
                retry=None,
                bytes=0,
            )
        case _:
            event = {"EventType": "page.viewed", "Attributes": {"page": "/tea"}, "Timestamp": "t"}
            return pinpoint.Accepted(0, 0, 0.0, 0, "shop", "v", {}, identity or "own-id", event)


@pytest.mark.parametrize("kind", sorted(READERS))
def test_an_arrival_is_known_by_its_id_and_digested_by_what_it_says(kind: str) -> None:
    assert READERS[kind](kept(kind, ID)) == Sent(PLACE, "paid", payload_digest(VALUE))


@pytest.mark.parametrize("kind", sorted(READERS))
def test_an_arrival_without_an_id_is_nobodys(kind: str) -> None:
    found = READERS[kind](kept(kind, None))
    assert found.route == ""
    assert found.place.tp.topic.endswith("without an id")
