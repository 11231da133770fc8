"""The simulators that botocore's models drive: what a model forbids, signatures, and the script over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from connector.sandbox.iot_events import IotEvents
from connector.sandbox.modelled import flaws, model
from connector.sandbox.pinpoint import Pinpoint

SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AK/20260102/eu-west-1/ioteventsdata/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'a' * 64}",
    "X-Amz-Date": "20260102T030405Z",
}
MESSAGE = {"messageId": "m", "inputName": "orders", "payload": "e30="}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"messages": [MESSAGE]}, []),
        ({"messages": [{**MESSAGE, "timestamp": {"timeInMillis": 1}}]}, []),
        ({}, ["messages' failed to satisfy constraint: Member must not be null"]),
        ({"messages": []}, ["length greater than or equal to 1"]),
        ({"messages": {}}, ["Member must be a list"]),
        ({"messages": ["x"]}, ["messages.1.member' failed to satisfy constraint: Member must be an object"]),
        ({"messages": [{}]}, ["messageId", "inputName", "payload"]),
        ({"messages": [{**MESSAGE, "messageId": "a b"}]}, ["regular expression pattern: ^[a-zA-Z0-9_-]+$"]),
        ({"messages": [{**MESSAGE, "messageId": "a\n"}]}, ["regular expression"]),
        ({"messages": [{**MESSAGE, "messageId": "x" * 65}]}, ["less than or equal to 64"]),
        ({"messages": [{**MESSAGE, "messageId": ""}]}, ["greater than or equal to 1", "regular expression"]),
        ({"messages": [{**MESSAGE, "messageId": 7}]}, ["Member must be a string"]),
        ({"messages": [{**MESSAGE, "payload": "{}"}]}, ["Base64"]),
        ({"messages": [{**MESSAGE, "timestamp": {"timeInMillis": 0}}]}, ["value greater than or equal to 1"]),
        ({"messages": [{**MESSAGE, "timestamp": {"timeInMillis": 2**63}}]}, ["64 bits", "less than or equal"]),
        ({"messages": [{**MESSAGE, "timestamp": {"timeInMillis": "1"}}]}, ["Member must be an integer"]),
        ({"messages": [{**MESSAGE, "more": 1}]}, ["more' failed to satisfy constraint: Member must be one of"]),
    ],
    ids=str,
)
def test_a_value_is_held_against_its_model(value: Any, words: list[str]) -> None:
    found = [str(flaw) for flaw in flaws(model("iotevents-data").shape_for("BatchPutMessageRequest"), value)]
    assert len(found) == len(words)
    assert all(word in flaw for word, flaw in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"ChannelType": "FAX"}, "enum value set"),
        ({"Metrics": {"a": "NaN"}}, "Metrics.a' failed to satisfy constraint: Member must be a number"),
        ({"Metrics": []}, "Member must be an object"),
        ({"Location": {"Latitude": True}}, "Member must be a number"),
    ],
)
def test_enums_maps_and_numbers_are_held_against_the_model_too(value: Any, word: str) -> None:
    [flaw] = flaws(model("pinpoint").shape_for("PublicEndpoint"), value)
    assert word in str(flaw)


async def post(http: aiohttp.ClientSession, url: str, body: bytes, **headers: str) -> tuple[int, str]:
    async with http.post(f"{url}/inputs/messages", data=body, headers={**SIGNED, **headers}) as reply:
        assert reply.headers["x-amzn-RequestId"]
        return reply.status, reply.headers.get("x-amzn-ErrorType", "")


async def test_a_request_must_be_signed_for_its_service(http: aiohttp.ClientSession) -> None:
    async with IotEvents() as sandbox:
        for given, code in (
            ("", "MissingAuthenticationTokenException"),
            ("Bearer x", "IncompleteSignatureException"),
            (SIGNED["Authorization"].replace("ioteventsdata", "events"), "InvalidSignatureException"),
        ):
            assert await post(http, sandbox.url, b"{}", Authorization=given) == (403, code)


@pytest.mark.parametrize("body", [b"{", b"[]", b"7"])
async def test_a_body_that_is_no_object_is_refused(http: aiohttp.ClientSession, body: bytes) -> None:
    async with IotEvents() as sandbox:
        assert await post(http, sandbox.url, body) == (400, "SerializationException")


async def test_what_arrived_and_the_script_can_be_had_over_http(http: aiohttp.ClientSession) -> None:
    async with IotEvents(clock=lambda: 1000.0) as sandbox:
        script = f"{sandbox.url}/_sandbox/faults"
        async with http.post(script, json=[{"do": "throttle"}, {"do": "no_count"}]) as reply:
            assert reply.status == 204
        async with http.post(script, json={"do": "nonsense"}) as reply:
            assert reply.status == 400
        body = b'{"messages":[{"messageId":"m","inputName":"orders","payload":"/w=="}]}'
        assert await post(http, sandbox.url, body) == (429, "ThrottlingException")
        async with http.delete(script) as reply:
            assert reply.status == 204
        assert await post(http, sandbox.url, body) == (200, "")
        async with http.get(f"{sandbox.url}/_sandbox/events") as reply:
            found = await reply.json()
        assert found["accepted"] == [
            {
                "index": 0,
                "request": 1,
                "at": 1000.0,
                "input": "orders",
                "message_id": "m",
                "payload": {"base64": "/w=="},
                "time": None,
            }
        ]
        async with http.get(f"{sandbox.url}/_sandbox/events?since=1") as reply:
            assert (await reply.json())["accepted"] == []
        async with http.get(f"{sandbox.url}/_sandbox/stats") as reply:
            stats = await reply.json()
        assert (stats["calls"], stats["accepted"], stats["inputs"]) == (2, 1, ["orders"])
        assert stats["outcomes"] == {"throttle": 1, "BatchPutMessage": 1}


async def test_a_scripted_reply_has_its_shape_even_where_nothing_was_taken(http: aiohttp.ClientSession) -> None:
    body = b'{"BatchItem":{"e":{"Endpoint":{},"Events":{}}}}'
    signed = {**SIGNED, "Authorization": SIGNED["Authorization"].replace("ioteventsdata", "mobiletargeting")}
    async with Pinpoint() as sandbox:
        for do, found in (("no_count", {}), ("wrong_length", {}), ("bare", {"e": 400})):
            async with http.post(f"{sandbox.url}/_sandbox/faults", json={"do": do}):
                pass
            async with http.post(f"{sandbox.url}/v1/apps/shop/events", data=body, headers=signed) as reply:
                assert reply.status == 202
                assert (await reply.json())["Results"] == found
        assert sandbox.accepted == []
