"""A span for each call of a batch, linked to the traces of its records, by OpenTelemetry.

It is there when the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT` and its like) and costs nothing
otherwise: nothing is wrapped, and the libraries of the extra `otel` are not imported.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from connector import __version__
from connector.model import Ack, Batch, BatchRefused, Verdict
from connector.publish import Send
from connector.targets import trace

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_FLUSH: Final = 3.0
"""Seconds that an exit waits for the collector."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for spans: it names a collector, and nothing turns it off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = {name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")}
    return "otlp" in exporters and any(environ.get(name) for name in _ENDPOINTS)


def unable(environ: Mapping[str, str], find: Callable[[str], object] = find_spec) -> str:
    """Why spans that are wanted cannot be sent, and what to do; empty where they can."""
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        return f"spans go out by http/protobuf, not by {protocol}: change {_PROTOCOLS[1]} and the endpoint's port"
    try:
        there = find("opentelemetry.sdk") and find("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        there = None
    return "" if there else "spans need the extra `otel`: pip install 'connector[otel]'"


class Tracing:
    """What sends spans, for the life of a daemon. Export runs in a thread of the library and never holds a call up."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        ours = {"service.version": __version__} | ({} if named else {"service.name": "connector"})
        self._provider = TracerProvider(resource=Resource.create(ours), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("connector", __version__)

    def around(self, name: str, kind: str, send: Send) -> Send:
        """Calls of a target that are spans. What they answer is the target's own, whatever becomes of the span."""
        return partial(_traced, self._tracer, name, kind, send)

    def close(self) -> None:
        """Send what is left, within seconds: a collector that is away must not keep the process."""
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(_FLUSH)


async def _traced(tracer: Any, name: str, kind: str, send: Send, batch: Batch) -> Sequence[Ack]:
    from opentelemetry.trace import SpanKind, Status, StatusCode, format_span_id, format_trace_id

    attributes = _attributes(name, kind, batch)
    span = tracer.start_span(f"send {name}", kind=SpanKind.PRODUCER, links=_links(batch), attributes=attributes)
    context = span.get_span_context()
    parent = f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
    failure = "cancelled"
    try:
        with trace.carried(parent):
            acks = await send(batch)
        failure = _told(span, acks)
    except BatchRefused as refused:
        failure = refused.ack.code or "BatchRefused"
        raise
    finally:
        if failure:
            span.set_attribute("error.type", failure)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
    return acks


def _attributes(name: str, kind: str, batch: Batch) -> dict[str, Any]:
    return {
        "messaging.system": kind,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": name,
        "messaging.batch.message_count": len(batch),
        "connector.routes": sorted({entry.event.route for entry in batch}),
    }


def _told(span: Any, acks: Sequence[Ack]) -> str:
    """Write down what became of the entries; the code of the first that was not delivered, or nothing."""
    for verdict, count in Counter(ack.verdict for ack in acks).items():
        span.set_attribute(f"connector.entries.{verdict.value}", count)
    failed = next((ack for ack in acks if ack.verdict is not Verdict.DELIVERED), None)
    return "" if failed is None else failed.code or failed.verdict.value


def _links(batch: Batch) -> list[Any]:
    """A link to the trace of each record that has one, with the record's place."""
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    links = []
    for entry in batch:
        record = entry.event.record
        if parent := trace.traceparent(record):
            _, trace_id, span_id, flags = parent.split("-")
            context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
            place: dict[str, Any] = {
                "messaging.system": "kafka",
                "messaging.destination.name": record.tp.topic,
                "messaging.destination.partition.id": str(record.tp.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.message.id": entry.event.id,
            }
            links.append(Link(context, place))
    return links
