"""The sample routes as a user runs them: the daemon as a process, an embedded broker, simulated services."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson
from confluent_kafka import Producer

from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.fiddler import Column, Fiddler, Model
from connector.sandbox.iot_events import IotEvents
from connector.sandbox.pinpoint import Pinpoint

SAMPLES = Path(__file__).resolve().parents[2] / "config" / "samples.yaml"
ORDER = {
    "id": "o-17",
    "status": "PAID",
    "channel": "web",
    "amountCents": 1999,
    "test": False,
    "createdAt": 1767225600000,
    "customer": {"id": "c-1"},
    "total": {"amount": "19.99"},
    "items": [{"sku": "a", "qty": 1, "price": "19.99"}, {"sku": "b", "qty": 0, "price": "1"}],
}
CLICK = {"type": "purchase", "user": {"id": "u-1"}, "props": {"amount": 3}}
ALARM = {"kind": "pressure", "psi": 12, "alarm": True, "ts": 1767225600000}
SCORE = {
    "model": "credit_3",
    "latencyMs": 17,
    "requestId": "r-9",
    "scoredAt": 1767225600123,
    "features": {"age": 44, "income": 51000},
    "score": 0.7,
}
CREDIT = Model(
    project="lending",
    name="credit_3",
    columns=(
        Column("event_id", "str"),
        Column("timestamp", "timestamp"),
        Column("age", "int"),
        Column("income", "float"),
        Column("score", "float"),
    ),
    inputs=("age", "income"),
    outputs=("score",),
    targets=(),
    decisions=(),
    metadata=(),
)
RECORDS = [
    ("shop.orders.v1", None, ORDER, {"event-type": b"order.paid"}),
    ("app.events", None, CLICK, {}),
    ("plant.telemetry", b"m-7", ALARM, {}),
    ("ml.scores", None, SCORE, {"env": b"prod"}),
]


async def test_the_sample_routes_run_through_the_daemon() -> None:
    async with (
        Broker() as broker,
        EventBridge(buses=["orders"]) as bus,
        Pinpoint(applications=["810c7aab86d42fb2b56c8c966example"]) as pinpoint,
        IotEvents(inputs=["PressureInput"]) as iot_events,
        Fiddler(models=[CREDIT]) as fiddler,
        asyncio.timeout(60),
    ):
        await broker.topics(*(topic for topic, *_ in RECORDS))
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for topic, key, value, headers in RECORDS:
            producer.produce(topic, value=orjson.dumps(value), key=key, headers=dict(headers))
        assert producer.flush(10) == 0
        environment = {
            **os.environ,
            "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "CONNECTOR_ADMIN__LISTEN": "127.0.0.1:0",
            "AWS_ENDPOINT_URL_EVENTBRIDGE": bus.url,
            "PINPOINT_URL": pinpoint.url,
            "IOT_EVENTS_URL": iot_events.url,
            "FIDDLER_URL": fiddler.url,
            "AWS_ACCESS_KEY_ID": "loopback",
            "AWS_SECRET_ACCESS_KEY": "loopback",
        }
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "connector", "run", str(SAMPLES),
            env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            services = (bus, pinpoint, iot_events, fiddler)
            while not all(each.accepted for each in services):  # noqa: ASYNC110 - these lists alone tell
                await asyncio.sleep(0.02)
        finally:
            daemon.send_signal(signal.SIGTERM)
            code = await daemon.wait()
    assert code == 0
    (order,), (click,) = bus.accepted, pinpoint.accepted
    (alarm,), (score,) = iot_events.accepted, fiddler.accepted
    assert (order.bus, order.source, order.detail_type) == ("orders", "com.acme.web", "Order Paid")
    assert orjson.loads(order.detail)["customer"] == {"id": "c-1", "tier": "standard"}
    assert (click.endpoint_id, click.event and click.event["EventType"]) == ("u-1", "app.purchase")
    assert (alarm.input, orjson.loads(alarm.payload), alarm.time) == (
        "PressureInput",
        {"motorId": "m-7", "psi": 12.0},
        1767225600000,
    )
    assert (score.project, score.model, score.event_id) == ("lending", "credit_3", "r-9")
    assert (score.row["age"], score.row["income"], score.row["score"]) == (44, 51000.0, 0.7)
