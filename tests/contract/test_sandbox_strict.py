"""The simulators hold every constraint of the service models: required, min, max, pattern and enum.

The cases are not written but derived: a call that is whole is broken in one place for each constraint that botocore's
model has on it.
"""

import base64
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.iot_events import IotEvents
from connector.sandbox.modelled import Modelled, model
from connector.sandbox.pinpoint import Pinpoint
from tests.contract.test_wire_aws import ENDPOINT, EVENT

SIGNED: Final = (
    "AWS4-HMAC-SHA256 Credential=AK/20260102/eu-west-1/{service}/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'a' * 64}"
)


class Call(NamedTuple):
    """A call that is whole: where it goes, and its input by the names of the model."""

    simulator: type[Modelled]
    made_of: Mapping[str, Any]
    service: str
    operation: str
    path: str
    input: dict[str, Any]
    payload: str | None = None


CALLS: Final[Mapping[str, Call]] = {
    "eventbridge": Call(
        EventBridge,
        {"buses": ["orders"]},
        "events",
        "PutEvents",
        "/",
        {
            "EndpointId": "abcde.veo",
            "Entries": [
                {
                    "Source": "com.acme",
                    "DetailType": "Order",
                    "Detail": "{}",
                    "Resources": ["r"],
                    "Time": 1.5,
                    "EventBusName": "orders",
                    "TraceHeader": "Root=1",
                }
            ],
        },
    ),
    "iot_events": Call(
        IotEvents,
        {"inputs": ["orders"]},
        "iotevents-data",
        "BatchPutMessage",
        "/inputs/messages",
        {
            "messages": [
                {
                    "messageId": "m",
                    "inputName": "orders",
                    "payload": base64.b64encode(b"{}").decode(),
                    "timestamp": {"timeInMillis": 1},
                }
            ]
        },
    ),
    "pinpoint": Call(
        Pinpoint,
        {"applications": ["shop"]},
        "pinpoint",
        "PutEvents",
        "/v1/apps/shop/events",
        {"EventsRequest": {"BatchItem": {"e": {"Endpoint": ENDPOINT, "Events": {"v": EVENT}}}}},
        "EventsRequest",
    ),
}


def breaches(shape: Shape, value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """A value broken once for each constraint on it or below it, with the place and the constraint."""
    yield from _of_its_own(shape, value, where)
    match shape:
        case StructureShape():
            for name in shape.required_members:
                if name in value:
                    yield f"{where}.{name} required", {key: one for key, one in value.items() if key != name}
            below: list[tuple[Any, Shape]] = [(name, shape.members[name]) for name in value]
        case MapShape():
            below = [(name, shape.value) for name in value]
        case ListShape():
            below = [(index, shape.member) for index in range(len(value))]
        case _:
            below = []
    for key, member in below:
        for told, broken in breaches(member, value[key], f"{where}.{key}"):
            copy = deepcopy(value)
            copy[key] = broken
            yield told, copy


def _of_its_own(shape: Shape, value: Any, where: str) -> Iterator[tuple[str, Any]]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    number = isinstance(value, int | float)
    if least:
        yield f"{where} min", least - 1 if number else value[: least - 1]
    if most is not None and most < 2**62:
        yield f"{where} max", most + 1 if number else value * (most + 1)
    if "pattern" in shape.metadata:
        yield f"{where} pattern", "a b"
    if isinstance(shape, StringShape) and shape.enum:
        yield f"{where} enum", "NONE_OF_THEM"


async def post(call: Call, url: str, parameters: Mapping[str, Any]) -> int:
    body = parameters if call.payload is None else parameters.get(call.payload, {})
    of = model(call.service)
    headers = {
        "Authorization": SIGNED.format(service=of.signing_name),
        "X-Amz-Date": "20260102T030405Z",
        "X-Amz-Target": f"{of.metadata.get('targetPrefix')}.{call.operation}",
    }
    async with aiohttp.ClientSession() as http, http.post(f"{url}{call.path}", json=body, headers=headers) as reply:
        return reply.status


def cases() -> Iterator[Any]:
    for kind, call in CALLS.items():
        shape = model(call.service).operation_model(call.operation).input_shape
        assert shape is not None
        for told, broken in breaches(shape, call.input):
            yield pytest.param(call, broken, id=f"{kind}{told}")


def test_the_models_have_constraints_of_every_kind() -> None:
    told = [str(case.id) for case in cases()]
    for word in ("required", "min", "max", "pattern", "enum"):
        assert any(one.endswith(word) for one in told)
    assert len(told) == len(set(told))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_that_is_whole_is_taken(call: Call) -> None:
    async with call.simulator(**call.made_of) as sandbox:
        assert await post(call, sandbox.url, call.input) < 300
        assert len(sandbox.accepted) == 1


@pytest.mark.parametrize(("call", "broken"), list(cases()))
async def test_what_the_model_forbids_is_not_taken(call: Call, broken: Any) -> None:
    async with call.simulator(**call.made_of) as sandbox:
        await post(call, sandbox.url, broken)
        assert sandbox.calls == 1
        # Pinpoint answers an endpoint and its events apart: the event is taken, what is wrong with the endpoint is not.
        assert [row for row in (*sandbox.accepted, *sandbox.vanished) if getattr(row, "endpoint", None) != {}] == []
