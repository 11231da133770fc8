"""The wire as others read it: moto's protocol parsers and serializers, and aioboto3's own clients."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from moto.core import parse, routing, serialize
from moto.core.request import Request
from moto.core.utils import get_service_model

from connector.model import Event
from connector.sandbox import faults
from connector.sandbox.eventbridge import EventBridge as EventBridgeSandbox
from connector.sandbox.faults import Fault
from connector.sandbox.iot_events import IotEvents as IotSandbox
from connector.sandbox.modelled import Modelled
from connector.sandbox.pinpoint import Pinpoint as PinpointSandbox
from connector.targets import REGISTRY
from connector.targets.contract import Target
from connector.targets.eventbridge import EventBridge
from connector.targets.iot_events import IotEvents
from connector.targets.pinpoint import Pinpoint
from tests.contract.wire import Raw, Wire, event, ready, record, session

SETTINGS: dict[str, dict[str, Any]] = {
    "eventbridge": {"event_bus": "orders", "id_to": "none"},
    "iot_events": {"input_name": "orders"},
    "pinpoint": {"application_id": "shop-1"},
}

TARGETS: dict[str, Any] = {"eventbridge": EventBridge, "iot_events": IotEvents, "pinpoint": Pinpoint}

ENDPOINT = {
    "Address": "a@example.com",
    "Attributes": {"colour": ["red", "é"]},
    "ChannelType": "EMAIL",
    "Demographic": {
        "AppVersion": "1",
        "Locale": "en_US",
        "Make": "apple",
        "Model": "iPhone",
        "ModelVersion": "12",
        "Platform": "ios",
        "PlatformVersion": "17",
        "Timezone": "America/Los_Angeles",
    },
    "EffectiveDate": "2026-01-02T03:04:05.000Z",
    "EndpointStatus": "ACTIVE",
    "Location": {
        "City": "Zürich",
        "Country": "CH",
        "Latitude": 47.4,
        "Longitude": 8.5,
        "PostalCode": "8000",
        "Region": "ZH",
    },
    "Metrics": {"age": 4.5},
    "OptOut": "NONE",
    "RequestId": "r",
    "User": {"UserAttributes": {"Interests": ["Science"]}, "UserId": "u"},
}
EVENT = {
    "AppPackageName": "com.acme",
    "AppTitle": "Shop",
    "AppVersionCode": "7",
    "Attributes": {"channel": "web"},
    "ClientSdkVersion": "1.2",
    "EventType": "order.paid",
    "Metrics": {"total": 12.5, "lines": 2.0},
    "SdkName": "connector",
    "Session": {
        "Duration": 123,
        "Id": "s",
        "StartTimestamp": "2026-01-02T03:04:05.000Z",
        "StopTimestamp": "2026-01-02T03:04:05.123Z",
    },
    "Timestamp": "2026-01-02T03:04:05.678Z",
}


def mapped() -> dict[str, list[Event]]:
    """For each target, events that use every parameter of its call."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    return {
        "eventbridge": [
            event(
                {
                    "Source": "com.acme",
                    "DetailType": "Order",
                    "Detail": {"name": "Zoë"},
                    "Resources": ["arn:aws:s3:::acme"],
                    "Time": moment,
                    "EventBusName": "orders",
                    "TraceHeader": trace,
                }
            ),
            event({"Source": "com.acme", "DetailType": "Order"}, record(offset=1)),
        ],
        "iot_events": [
            event(
                {
                    "inputName": "returns",
                    "messageId": "m-1",
                    "payload": {"name": "Zoë"},
                    "timestamp": {"timeInMillis": 1_700_000_000_123},
                }
            ),
            event({"messageId": "m-2", "payload": b"\x00\xff"}),
            event({"messageId": "m-3"}, record(b'{"n": 1.10}', timestamp_ms=1_700_000_000_999)),
        ],
        "pinpoint": [
            event({"EndpointId": "e-1", "EventId": "v-1", "Endpoint": ENDPOINT, **EVENT}),
            event({"EndpointId": "e-1", "EventId": "v-2", "Endpoint": ENDPOINT, "EventType": "x", "Timestamp": moment}),
            event({"EndpointId": "é 2/3", "EventId": "v-1", "EventType": "x", "Timestamp": moment}),
            event({"EndpointId": "e-4", "Endpoint": {"OptOut": "ALL"}}),
        ],
    }


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "eventbridge": (
        "events",
        "put_events",
        {
            "Entries": [
                {
                    "Source": "com.acme",
                    "DetailType": "Order",
                    "Detail": '{"name":"Zoë"}',
                    "Resources": ["arn:aws:s3:::acme"],
                    "Time": 1767323045.678,
                    "EventBusName": "orders",
                    "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
                },
                {"Source": "com.acme", "DetailType": "Order", "Detail": '{"total":1}', "EventBusName": "orders"},
            ]
        },
    ),
    "iot_events": (
        "iotevents-data",
        "batch_put_message",
        {
            "messages": [
                {
                    "messageId": "m-1",
                    "inputName": "returns",
                    "payload": '{"name":"Zoë"}'.encode(),
                    "timestamp": {"timeInMillis": 1_700_000_000_123},
                },
                {"messageId": "m-2", "inputName": "orders", "payload": b"\x00\xff"},
                {
                    "messageId": "m-3",
                    "inputName": "orders",
                    "payload": b'{"n": 1.10}',
                    "timestamp": {"timeInMillis": 1_700_000_000_999},
                },
            ]
        },
    ),
    "pinpoint": (
        "pinpoint",
        "put_events",
        {
            "ApplicationId": "shop-1",
            "EventsRequest": {
                "BatchItem": {
                    "e-1": {
                        "Endpoint": ENDPOINT,
                        "Events": {
                            "v-1": EVENT,
                            "v-2": {"EventType": "x", "Timestamp": "2026-01-02T03:04:05.678Z"},
                        },
                    },
                    "é 2/3": {
                        "Endpoint": {},
                        "Events": {"v-1": {"EventType": "x", "Timestamp": "2026-01-02T03:04:05.678Z"}},
                    },
                    "e-4": {"Endpoint": {"OptOut": "ALL"}, "Events": {}},
                }
            },
        },
    ),
}


def own(service: str, url: str, **more: Any) -> Any:
    """aioboto3's own client, as anyone would make it."""
    fresh: Any = aioboto3.Session("test", "test", region_name="eu-west-1")  # typed per service name: any may come
    return fresh.client(service, endpoint_url=url, config=AioConfig(retries={"total_max_attempts": 1}, **more))


def made(kind: str, url: str) -> Target:
    tree = {"type": kind, "endpoint_url": url, "region": "eu-west-1", **SETTINGS[kind]}
    target: Target = TARGETS[kind](kind, REGISTRY[kind].settings.model_validate(tree), sessions=session)
    return target


def read(service: str, line: tuple[str, str], headers: Any, body: bytes) -> tuple[str, Any]:
    """Operation and parameters of a request, as moto reads them."""
    request = Request.from_primitives(line[0], f"http://localhost{line[1]}", headers, body)
    model = get_service_model(service)
    protocol = model.metadata["protocol"]
    router = routing.JSONRouter(model) if protocol == "json" else routing.RestRouter(model)
    operation, params = router.match(request)
    parser = parse.PROTOCOL_PARSERS[protocol](operation)
    return operation.name, parser.parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.data,
            "url_path": request.path,
            "url_params": params,
        }
    )


@pytest.mark.parametrize("kind", sorted(CALLS))
async def test_a_request_of_ours_is_what_aioboto3_sends_for_the_same_input_and_moto_reads_it(kind: str) -> None:
    service, operation, parameters = CALLS[kind]
    async with Wire([Raw(b"{}")]) as wire:
        async with made(kind, wire.url) as target:
            await target.send(ready(target, *mapped()[kind]))
        async with own(service, wire.url) as client:
            await getattr(client, operation)(**parameters)
    (ours, our_body), (theirs, their_body) = wire.requests
    assert wire.lines[0] == wire.lines[1]
    if kind != "eventbridge":  # botocore cuts a Time to whole seconds, our client keeps the milliseconds
        assert our_body == their_body
    for header in ("Content-Type", "X-Amz-Target"):
        assert ours.get(header) == theirs.get(header)
    assert scope(ours) == scope(theirs)
    name, found = read(service, wire.lines[0], ours, our_body)
    assert name == "".join(part.title() for part in operation.split("_"))
    if kind == "eventbridge":
        found["Entries"][0]["Time"] = found["Entries"][0]["Time"].timestamp()
    assert found == parameters


def scope(headers: Any) -> list[str]:
    """Day, region and service of a signature."""
    credential: str = headers["Authorization"].partition("/aws4_request")[0]
    return credential.split("/")[1:]


@asynccontextmanager
async def sandboxed(kind: str, *script: Fault) -> AsyncIterator[tuple[Any, Any]]:
    """A simulator and aioboto3's own client of it."""
    rooms: dict[str, Any] = {
        "eventbridge": EventBridgeSandbox(["orders"], faults=script),
        "iot_events": IotSandbox(["orders", "returns"], faults=script),
        "pinpoint": PinpointSandbox(["shop-1"], faults=script),
    }
    async with rooms[kind] as sandbox, own(CALLS[kind][0], sandbox.url) as client:
        yield sandbox, client


async def test_the_simulated_eventbridge_is_one_for_aioboto3() -> None:
    async with sandboxed("eventbridge") as (sandbox, client):
        reply = await client.put_events(**CALLS["eventbridge"][2])
        assert reply["FailedEntryCount"] == 0
        assert [each["EventId"] for each in reply["Entries"]] == [taken.event_id for taken in sandbox.accepted]
        assert reply["ResponseMetadata"]["RequestId"]


async def test_the_simulated_buses_come_and_go_for_aioboto3() -> None:
    async with EventBridgeSandbox([]) as sandbox, own("events", sandbox.url) as client:
        created = await client.create_event_bus(Name="orders", Description="of the shop")
        assert created["EventBusArn"].endswith(":event-bus/orders")
        assert (await client.describe_event_bus(Name=created["EventBusArn"]))["Name"] == "orders"
        with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
            await client.create_event_bus(Name="orders")
        await client.delete_event_bus(Name="orders")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            await client.describe_event_bus(Name="orders")


async def test_the_simulated_iot_events_is_one_for_aioboto3() -> None:
    async with sandboxed("iot_events") as (sandbox, client):
        reply = await client.batch_put_message(**CALLS["iot_events"][2])
        assert reply["BatchPutMessageErrorEntries"] == []
        assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert [(taken.message_id, taken.input, taken.payload, taken.time) for taken in sandbox.accepted] == [
            ("m-1", "returns", '{"name":"Zoë"}'.encode(), 1_700_000_000_123),
            ("m-2", "orders", b"\x00\xff", None),
            ("m-3", "orders", b'{"n": 1.10}', 1_700_000_000_999),
        ]
        unknown = {"messageId": "m-9", "inputName": "nowhere", "payload": b"{}"}
        reply = await client.batch_put_message(messages=[unknown])
        assert reply["BatchPutMessageErrorEntries"] == [
            {
                "messageId": "m-9",
                "errorCode": "ResourceNotFoundException",
                "errorMessage": "Input nowhere does not exist.",
            }
        ]


async def test_the_simulated_inputs_come_and_go_for_aioboto3() -> None:
    async with IotSandbox([]) as sandbox, own("iotevents", sandbox.url) as client:
        definition = {"attributes": [{"jsonPath": "total"}]}
        created = await client.create_input(inputName="orders", inputDefinition=definition)
        assert created["inputConfiguration"]["status"] == "ACTIVE"
        described = await client.describe_input(inputName="orders")
        assert described["input"]["inputConfiguration"]["inputName"] == "orders"
        with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
            await client.create_input(inputName="orders", inputDefinition=definition)
        await client.delete_input(inputName="orders")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            await client.describe_input(inputName="orders")


async def test_the_simulated_pinpoint_is_one_for_aioboto3() -> None:
    async with sandboxed("pinpoint") as (sandbox, client):
        reply = await client.put_events(**CALLS["pinpoint"][2])
        assert reply["ResponseMetadata"]["HTTPStatusCode"] == 202
        yes = {"StatusCode": 202, "Message": "Accepted"}
        assert reply["EventsResponse"]["Results"] == {
            "e-1": {"EndpointItemResponse": yes, "EventsItemResponse": {"v-1": yes, "v-2": yes}},
            "é 2/3": {"EndpointItemResponse": yes, "EventsItemResponse": {"v-1": yes}},
            "e-4": {"EndpointItemResponse": yes, "EventsItemResponse": {}},
        }
        assert [(taken.endpoint_id, taken.event_id) for taken in sandbox.accepted] == [
            ("e-1", "v-1"),
            ("e-1", "v-2"),
            ("é 2/3", "v-1"),
            ("e-4", None),
        ]
        assert (sandbox.accepted[0].endpoint, sandbox.accepted[0].event) == (ENDPOINT, EVENT)


async def test_the_simulated_projects_come_and_go_for_aioboto3() -> None:
    async with PinpointSandbox([]) as sandbox, own("pinpoint", sandbox.url) as client:
        created = await client.create_app(CreateApplicationRequest={"Name": "shop"})
        assert created["ApplicationResponse"]["Id"] == "shop"
        found = await client.get_app(ApplicationId="shop")
        assert found["ApplicationResponse"]["Name"] == "shop"
        await client.delete_app(ApplicationId="shop")
        with pytest.raises(client.exceptions.NotFoundException):
            await client.get_app(ApplicationId="shop")


MODELLED = [
    (kind, shape.name, shape.metadata.get("error", {}).get("httpStatusCode", 500))
    for kind in CALLS
    for shape in get_service_model(CALLS[kind][0])
    .operation_model("BatchPutMessage" if kind == "iot_events" else "PutEvents")
    .error_shapes
]


@pytest.mark.parametrize(("kind", "code", "status"), MODELLED)
async def test_every_error_of_the_model_reaches_aioboto3_as_its_own_exception(
    kind: str, code: str, status: int
) -> None:
    _, operation, parameters = CALLS[kind]
    async with sandboxed(kind, faults.error(code, "no", status)) as (sandbox, client):
        with pytest.raises(ClientError) as caught:
            await getattr(client, operation)(**parameters)
        assert isinstance(caught.value, getattr(client.exceptions, code))
        assert caught.value.response["Error"] == {"Code": code, "Message": "no"}
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert sandbox.accepted == []


@pytest.mark.parametrize("kind", sorted(CALLS))
@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (faults.throttle(), {"ThrottlingException", "TooManyRequestsException"}),
        (faults.expired_token(), {"ExpiredTokenException"}),
        (faults.access_denied(), {"AccessDeniedException", "ForbiddenException"}),
        (faults.too_large(), {"413"}),
        (faults.html(503), {"503"}),
    ],
    ids=lambda value: value.do if isinstance(value, Fault) else "",
)
async def test_every_scripted_refusal_reaches_aioboto3_with_its_code(kind: str, script: Fault, codes: set[str]) -> None:
    _, operation, parameters = CALLS[kind]
    async with sandboxed(kind, script) as (_, client):
        with pytest.raises(ClientError) as caught:
            await getattr(client, operation)(**parameters)
        assert caught.value.response["Error"]["Code"] in codes


@pytest.mark.parametrize("kind", sorted(CALLS))
async def test_a_reply_of_a_simulator_is_what_moto_would_write_for_the_same_result(kind: str) -> None:
    service, operation, parameters = CALLS[kind]
    refused = faults.refuse("400" if kind == "pinpoint" else "ThrottlingException", entry=1)
    seen: list[tuple[int, Any, bytes]] = []

    def keep(response_dict: dict[str, Any], **_: Any) -> None:
        seen.append((response_dict["status_code"], response_dict["headers"], response_dict["body"]))

    async with sandboxed(kind, refused) as (_, client):
        client.meta.events.register("before-parse", keep)
        result = await getattr(client, operation)(**parameters)
    result.pop("ResponseMetadata")
    model = get_service_model(service)
    name = client.meta.method_to_api_mapping[operation]
    writer: Any = serialize.get_serializer_class(service, model.metadata["protocol"])
    written = writer(model.operation_model(name)).serialize(result)
    status, headers, body = seen[0]
    assert status == written["status_code"]
    assert json.loads(body) == json.loads(written["body"])
    assert headers["content-type"].partition(";")[0] == written["headers"]["Content-Type"]


@pytest.mark.parametrize("kind", ["iot_events", "pinpoint"])
async def test_a_simulator_refuses_what_the_model_forbids_and_botocore_lets_pass(kind: str) -> None:
    bad: dict[str, list[dict[str, Any]]] = {
        "iot_events": [
            {"messages": [{"messageId": text, "inputName": name, "payload": b"{}"}]}
            for text, name in (
                ("a b", "orders"),
                ("x" * 65, "orders"),
                ("a", "-orders"),
                ("a", "x" * 129),
            )
        ],
        "pinpoint": [
            {"ApplicationId": "shop-1", "EventsRequest": {"BatchItem": dict.fromkeys(names, item)}}
            for names, item in (
                (("a", "A"), {"Endpoint": {}, "Events": {}}),
                (("a",), {"Endpoint": {}, "Events": {str(n): EVENT for n in range(101)}}),
            )
        ],
    }
    async with sandboxed(kind) as (sandbox, client):
        for parameters in bad[kind]:
            with pytest.raises(ClientError) as caught:
                await getattr(client, CALLS[kind][1])(**parameters)
            assert caught.value.response["Error"]["Code"] in ("InvalidRequestException", "BadRequestException")
        assert isinstance(sandbox, Modelled)
        assert sandbox.accepted == []
