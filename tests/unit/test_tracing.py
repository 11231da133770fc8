"""Traces: from a record's headers into what is sent, and a span a call to a collector that speaks OTLP."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from connector.model import Ack, Batch, BatchRefused, Entry, Event, Headers, Record, TopicPartition, Verdict
from connector.publish import Send
from connector.sandbox.broker import Broker
from connector.targets import trace
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from connector.tracing import Tracing, unable, wanted
from tests.flow.world import FakeTarget
from tests.kafka.process import Daemon, seen

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER: Final = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"


def record(*headers: tuple[str, bytes | None], at: int = 0) -> Record:
    return Record(TopicPartition("orders", 3), at, 0, None, b"{}", headers)


def entry(parent: str = "", at: int = 0) -> Entry:
    headers: Headers = (("traceparent", parent.encode()),) if parent else ()
    event = Event(record(*headers, at=at), "paid", "bus", {}, f"orders-3-{at}/paid")
    return Entry(event, None, 1, "", None, lambda: None)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ((("traceparent", PARENT.encode()),), PARENT),
        ((("Traceparent", f" {PARENT} ".encode()),), PARENT),
        ((("traceparent", OTHER.encode()), ("traceparent", PARENT.encode())), PARENT),
        ((("traceparent", f"01{PARENT[2:]}-more".encode()),), PARENT),  # a later version: its first four parts count
        ((("traceparent", f"{PARENT}-more".encode()),), ""),
        ((("traceparent", PARENT.upper().encode()),), ""),
        ((("traceparent", f"ff{PARENT[2:]}".encode()),), ""),
        ((("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),), ""),
        ((("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),), ""),
        ((("traceparent", None),), ""),
        ((("traceparent", b"\xff"),), ""),
        ((), ""),
    ],
)
def test_a_traceparent_is_read_as_the_standard_has_it(headers: Headers, found: str) -> None:
    assert trace.traceparent(record(*headers)) == found


def test_x_rays_form_of_it() -> None:
    assert trace.xray(PARENT) == "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
    assert trace.xray(OTHER).endswith(";Sampled=0")


def eventbridge(fields: dict[str, Any], headers: Headers, **settings: Any) -> dict[str, Any]:
    """The entry that EventBridge gets."""
    target = EventBridge("bus", EventBridgeSettings.model_validate({"type": "eventbridge", **settings}))
    mapped = {"Source": "com.acme", "DetailType": "T", **fields}
    body: dict[str, Any] = target.prepare(Event(record(*headers), "paid", "bus", mapped, "id")).body
    return body


def test_eventbridge_gets_the_records_trace_unless_the_map_or_the_settings_say_otherwise() -> None:
    headers: Headers = (("traceparent", PARENT.encode()),)
    assert eventbridge({}, headers)["TraceHeader"] == trace.xray(PARENT)
    assert eventbridge({"TraceHeader": trace.xray(OTHER)}, headers)["TraceHeader"] == trace.xray(OTHER)
    assert "TraceHeader" not in eventbridge({}, headers, trace_header="none")
    assert "TraceHeader" not in eventbridge({}, ())
    assert "TraceHeader" not in eventbridge({}, (("traceparent", b"none"),))


def test_a_request_carries_the_trace_that_all_of_its_records_share() -> None:
    assert trace.shared((entry(PARENT), entry(PARENT))) == PARENT
    assert trace.shared((entry(PARENT), entry(OTHER))) == ""
    assert trace.shared((entry(PARENT), entry())) == ""
    assert trace.outgoing() == {}
    with trace.carried(PARENT):
        assert trace.outgoing() == {"traceparent": PARENT}
        with trace.carried(OTHER):
            assert trace.outgoing() == {"traceparent": PARENT}
    assert trace.outgoing() == {}


class Collector(ThreadingHTTPServer):
    """An OTLP receiver: keeps what was exported to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exports)
        self.requests: list[tuple[str, dict[str, str], ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for _, _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class Exports(BaseHTTPRequestHandler):
    """One export."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(body)
        self.server.requests.append((self.path, dict(self.headers), request))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """The library reads the environment by itself, so it is given there."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield server
        server.shutdown()
        thread.join()


class Asks(FakeTarget):
    """Notes the trace that its requests would carry."""

    carried: str = ""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        self.carried = trace.outgoing().get("traceparent", "")
        return await super().send(batch)


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as values."""
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


def test_a_call_is_a_span_with_a_link_to_each_record_that_has_a_trace(collector: Collector) -> None:
    target = Asks(Random(0))
    target.judge = lambda event: (
        Ack(Verdict.RETRY, "ThrottlingException") if event.record.offset == 2 else Ack(Verdict.DELIVERED)
    )
    tracing = Tracing(os.environ)
    send = tracing.around("bus", "eventbridge", target.send)
    acks = asyncio.run(_sent(send, (entry(PARENT, 0), entry(OTHER, 1), entry("", 2))))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED, Verdict.DELIVERED, Verdict.RETRY]
    tracing.close()

    (request,) = collector.requests
    assert request[0] == "/v1/traces"
    assert request[1]["x-team"] == "shop"
    resource = plain(request[2].resource_spans[0].resource.attributes)
    assert (resource["service.name"], resource["deployment.environment"]) == ("connector", "test")
    (span,) = collector.spans
    assert span.name == "send bus"
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert target.carried.startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-0")
    assert [f"00-{link.trace_id.hex()}-{link.span_id.hex()}" for link in span.links] == [PARENT[:-3], OTHER[:-3]]
    assert plain(span.links[1].attributes) == {
        "messaging.system": "kafka",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 1,
        "messaging.message.id": "orders-3-1/paid",
    }
    assert plain(span.attributes) == {
        "messaging.system": "eventbridge",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "bus",
        "messaging.batch.message_count": 3,
        "connector.routes": ["paid"],
        "connector.entries.delivered": 2,
        "connector.entries.retry": 1,
        "error.type": "ThrottlingException",
    }
    assert span.status.code == 2  # ERROR


async def _sent(send: Send, batch: Batch) -> Sequence[Ack]:
    return await send(batch)


class Refuses(FakeTarget):
    """Refuses every call whole."""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        raise BatchRefused(Ack(Verdict.REJECTED, "ValidationException", "which of them it does not say"))


def test_a_call_refused_whole_is_a_span_too_and_is_passed_on_as_it_is(collector: Collector) -> None:
    tracing = Tracing(os.environ)
    send = tracing.around("bus", "eventbridge", Refuses(Random(0)).send)
    with pytest.raises(BatchRefused):
        asyncio.run(_sent(send, (entry(PARENT),)))
    tracing.close()
    (span,) = collector.spans
    assert plain(span.attributes)["error.type"] == "ValidationException"


def test_a_collector_that_is_away_costs_no_call_and_no_more_than_seconds_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    tracing = Tracing(os.environ)
    send = tracing.around("bus", "eventbridge", FakeTarget(Random(0)).send)
    (ack,) = asyncio.run(_sent(send, (entry(PARENT),)))
    assert ack.verdict is Verdict.DELIVERED
    began = time.monotonic()
    tracing.close()
    assert time.monotonic() - began < 20.0  # three, and what a loaded machine adds


ENDPOINT: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console,otlp"}, True),
    ],
)
def test_spans_are_sent_where_the_environment_names_a_collector(environ: dict[str, str], found: bool) -> None:
    assert wanted(environ) is found


def test_what_keeps_spans_from_being_sent_is_told_with_what_to_do() -> None:
    assert unable(ENDPOINT) == ""
    assert "pip install 'connector[otel]'" in unable(ENDPOINT, lambda name: None)
    assert "not by grpc" in unable({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_without_a_collector_nothing_of_opentelemetry_is_even_imported() -> None:
    program = "import sys, connector.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


async def test_the_daemon_sends_its_spans_to_the_collector_that_the_environment_names(
    collector: Collector, tmp_path: Path
) -> None:
    async with Broker() as broker:
        await broker.topics("orders")
        config = tmp_path / "orders.yaml"
        config.write_text(
            f"""\
kafka: {{bootstrap_servers: "{broker.bootstrap_servers}", group_id: g}}
targets: {{screen: {{type: stdout}}}}
routes: [{{name: paid, topics: [orders], targets: [screen], map: {{n: "${{value.n}}"}}}}]
unrouted: skip
dead_letters: {{topic: dead}}
admin: {{listen: "127.0.0.1:0"}}
"""
        )
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        producer.produce("orders", b'{"n": 1}', headers=[("traceparent", PARENT.encode())])
        await asyncio.to_thread(producer.flush, 20)
        daemon = Daemon(config, tmp_path / "log")
        try:
            await daemon.says("assigned")
            await seen(lambda: collector.spans, what="a span came")
        finally:
            daemon.end()
        span = next(span for span in collector.spans if span.name == "send screen")
        assert [link.trace_id.hex() for link in span.links] == [PARENT.split("-")[1]]
