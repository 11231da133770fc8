"""Stdout: one line per event, acknowledged when it is flushed."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.model import Ack, Unpublishable, Verdict
from connector.targets.stdout import Stdout, StdoutSettings
from tests.contract.wire import event, ready, record


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_each_event_is_one_line_of_json() -> None:
    stream = io.BytesIO()
    async with Stdout("out", StdoutSettings(), stream=stream) as target:
        fields = {"a": b"text", "b": b"\xff", "t": datetime(2026, 1, 2, tzinfo=UTC), "n": "two\nlines"}
        acks = await target.send(ready(target, event(fields, record(offset=5)), event({"x": 1}, record(offset=6))))
    assert acks == [Ack(Verdict.DELIVERED)] * 2
    first, second = lines(stream)
    assert first == {
        "id": "shop.orders.v1-3-5/paid",
        "route": "paid",
        "topic": "shop.orders.v1",
        "partition": 3,
        "offset": 5,
        "timestamp": -1,
        "key": "k",
        "fields": {"a": "text", "b": "/w==", "t": "2026-01-02T00:00:00+00:00", "n": "two\nlines"},
    }
    assert second["fields"] == {"x": 1}


@pytest.mark.parametrize(
    ("value", "shown"), [(b'{"a":1}', {"a": 1}), (b"plain", "plain"), (b"\xff", "/w=="), (None, None)]
)
async def test_without_a_map_the_record_s_value_is_shown(value: bytes | None, shown: Any) -> None:
    stream = io.BytesIO()
    async with Stdout("out", StdoutSettings(), stream=stream) as target:
        await target.send(ready(target, event({}, record(value))))
    assert lines(stream)[0]["value"] == shown


async def test_a_closed_stream_delivers_nothing() -> None:
    stream = io.BytesIO()
    async with Stdout("out", StdoutSettings(), stream=stream) as target:
        entries = ready(target, event({"x": 1}))
        stream.close()
        acks = await target.send(entries)
    assert [(ack.verdict, ack.code) for ack in acks] == [(Verdict.RETRY, "ValueError")]


def test_what_has_no_json_form_is_refused() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    target = Stdout("out", StdoutSettings(), stream=io.BytesIO())
    for fields in ({"a": deep}, {"a": object()}, {"a": "\ud800"}):
        with pytest.raises(Unpublishable) as refused:
            target.prepare(event(fields))
        assert refused.value.code == "NotJSON"
    while isinstance(deep, list):
        deep = deep.pop()
