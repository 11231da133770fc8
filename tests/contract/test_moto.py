"""EventBridge as others wrote it: moto's server, events read back through a rule into a queue.

moto is no truth where it differs from AWS: it takes an array as Detail, knows no size limit, and refuses a missing bus.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aioboto3
import pytest
from moto.server import ThreadedMotoServer

from connector.model import BatchRefused, Health, Verdict
from connector.targets.aws import Refusal, Reply, Service
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from tests.contract.wire import event, ready, record, session


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """One moto server for the module; every test makes its own bus."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def settings(url: str, **more: Any) -> EventBridgeSettings:
    return EventBridgeSettings.model_validate({"endpoint_url": url, "region": "eu-west-1", **more})


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus whose every event lands in a queue."""

    name: str
    url: str
    sqs: Any
    queue: str

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Take so many events off the queue; fewer when no more come."""
        taken: list[dict[str, Any]] = []
        while len(taken) < count:
            reply = await self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            if not (messages := reply.get("Messages", [])):
                break
            for message in messages:
                taken.append(json.loads(message["Body"]))
                await self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return taken


@pytest.fixture
async def bus(moto: str, request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    name = request.node.name[:40].replace("[", "-").replace("]", "")
    client: Any = aioboto3.Session("test", "test", region_name="eu-west-1").client
    async with client("sqs", endpoint_url=moto) as sqs, Service("events", settings(moto), sessions=session) as events:
        queue = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        asked = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        for operation, parameters in (
            ("create_event_bus", {"Name": name}),
            ("put_rule", {"Name": "all", "EventBusName": name, "EventPattern": '{"account": ["123456789012"]}'}),
            (
                "put_targets",
                {
                    "Rule": "all",
                    "EventBusName": name,
                    "Targets": [{"Id": "queue", "Arn": asked["Attributes"]["QueueArn"]}],
                },
            ),
        ):
            assert isinstance(await events.call(operation, **parameters), Reply)
        yield Bus(name, moto, sqs, queue)


async def test_events_come_out_of_a_rule_as_they_were_mapped(bus: Bus) -> None:
    fields = {
        "Source": "com.acme.web",
        "DetailType": "Order PAID",
        "Detail": {"total": 12.5, "name": "Zoë", "lines": [1, 2]},
        "Resources": ["arn:aws:s3:::acme-orders"],
    }
    async with EventBridge("bus", settings(bus.url, event_bus=bus.name), sessions=session) as target:
        acks = await target.send(ready(target, event(fields, record(offset=42, timestamp_ms=1_700_000_000_000))))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED]
    [event_out] = await bus.events(1)
    assert event_out["source"] == "com.acme.web"
    assert event_out["detail-type"] == "Order PAID"
    assert event_out["detail"] == {"total": 12.5, "name": "Zoë", "lines": [1, 2]}
    assert event_out["resources"] == ["arn:aws:s3:::acme-orders", "shop.orders.v1-3-42/paid"]
    assert event_out["time"] == "2023-11-14T22:13:20Z"


async def test_a_full_batch_arrives_once_each(bus: Bus) -> None:
    events = [event({"Source": "a", "DetailType": "b"}, record(b'{"n":%d}' % n, offset=n)) for n in range(10)]
    async with EventBridge("bus", settings(bus.url, event_bus=bus.name), sessions=session) as target:
        acks = await target.send(ready(target, *events))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED] * 10
    assert sorted(out["detail"]["n"] for out in await bus.events(10)) == list(range(10))


async def test_eleven_entries_are_refused_whole_and_none_arrives(bus: Bus) -> None:
    events = [event({"Source": "a", "DetailType": "b"}, record(offset=n)) for n in range(11)]
    async with EventBridge("bus", settings(bus.url, event_bus=bus.name), sessions=session) as target:
        with pytest.raises(BatchRefused) as refused:
            await target.send(ready(target, *events))
    assert refused.value.ack.code == "ValidationException"
    assert "com.acme" not in refused.value.ack.detail
    assert await bus.events(1) == []


async def test_a_bus_that_is_there_passes_preflight_and_one_that_is_not_is_named(bus: Bus) -> None:
    async with EventBridge("bus", settings(bus.url, event_bus=bus.name), sessions=session) as target:
        assert (await target.preflight()).health is Health.OK
    wanted = settings(bus.url, event_bus=bus.name, event_buses=("nowhere", "nobody"))
    async with EventBridge("bus", wanted, sessions=session) as target:
        found = await target.preflight()
    assert (found.health, found.missing) == (Health.MISSING, ("nowhere", "nobody"))


async def test_a_missing_bus_of_the_settings_holds(moto: str) -> None:
    async with EventBridge("bus", settings(moto, event_bus="nowhere"), sessions=session) as target:
        acks = await target.send(ready(target, event({"Source": "a", "DetailType": "b"})))
    assert [(ack.verdict, ack.code) for ack in acks] == [(Verdict.HOLD, "ResourceNotFoundException")]


async def test_a_missing_bus_that_was_computed_is_the_fault_of_its_entry(moto: str) -> None:
    computed = event({"Source": "a", "DetailType": "b", "EventBusName": "nowhere"})
    async with EventBridge("bus", settings(moto, event_buses=("nowhere",)), sessions=session) as target:
        with pytest.raises(BatchRefused) as refused:
            await target.send(ready(target, computed))
    assert (refused.value.ack.verdict, refused.value.ack.code) == (Verdict.REJECTED, "ResourceNotFoundException")


async def test_an_operation_that_is_not_there_is_a_refusal_with_a_status(moto: str) -> None:
    async with Service("events", settings(moto), sessions=session) as service:
        outcome = await service.call("describe_event_bus", Name="nowhere")
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.status) == ("ResourceNotFoundException", 400)
