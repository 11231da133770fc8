"""The EventBridge simulator: wire, limits and words as AWS has them, and its script over HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from connector.sandbox import faults
from connector.sandbox.eventbridge import EventBridge
from tests.kafka.process import seen

SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AK/20260102/eu-west-1/events/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'a' * 64}",
    "X-Amz-Date": "20260102T030405Z",
    "Content-Type": "application/x-amz-json-1.1",
}
ENTRY = {"Source": "com.acme", "DetailType": "Order", "Detail": '{"a":1}'}


@pytest.fixture
async def sandbox() -> AsyncIterator[EventBridge]:
    async with EventBridge(seed=7, clock=lambda: 1000.0) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def call(
    http: aiohttp.ClientSession, sandbox: EventBridge, operation: str, tree: Any, **headers: str
) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {**SIGNED, "X-Amz-Target": f"AWSEvents.{operation}", **named}
    async with http.post(f"{sandbox.url}/", json=tree, headers=given) as reply:
        assert reply.headers["x-amzn-RequestId"]
        return reply.status, await reply.json(content_type="application/x-amz-json-1.1")


async def put(http: aiohttp.ClientSession, sandbox: EventBridge, *entries: Any) -> tuple[int, Any]:
    return await call(http, sandbox, "PutEvents", {"Entries": list(entries)})


async def test_an_accepted_entry_is_logged_as_it_came(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    entry = {**ENTRY, "Resources": ["r"], "Time": 1.5, "EventBusName": "default", "TraceHeader": "Root=1"}
    status, reply = await put(http, sandbox, entry, ENTRY)
    assert (status, reply["FailedEntryCount"]) == (200, 0)
    first, second = sandbox.accepted
    assert (first.bus, first.source, first.detail_type, first.detail) == ("default", "com.acme", "Order", '{"a":1}')
    assert (first.resources, first.time, first.trace_header) == (("r",), 1.5, "Root=1")
    assert (first.index, first.request, first.at, second.index) == (0, 0, 1000.0, 1)
    assert [result["EventId"] for result in reply["Entries"]] == [first.event_id, second.event_id]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"Source": ""}, "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."),
        ({"Detail": "NotJSON"}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": "[]"}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": "{{}"}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": '{"a":NaN}'}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": '{"a":9223372036854775808}'}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": '{"a":' * 1001 + "1" + "}" * 1001}, "MalformedDetail", "Detail is malformed."),
        ({"Detail": '{"a":' * 9999 + "1" + "}" * 9999}, "MalformedDetail", "Detail is malformed."),
        ({"Source": "aws.s3"}, "NotAuthorizedForSourceException", "Not authorized for the source."),
        ({"DetailType": "x" * 129}, "InvalidArgument", "Parameter DetailType is not valid."),
    ],
)
async def test_a_bad_entry_fails_alone(
    sandbox: EventBridge, http: aiohttp.ClientSession, change: dict[str, Any], code: str, message: str
) -> None:
    status, reply = await put(http, sandbox, ENTRY, {**ENTRY, **change})
    assert (status, reply["FailedEntryCount"]) == (200, 1)
    assert reply["Entries"][1]["ErrorCode"] == code
    assert reply["Entries"][1]["ErrorMessage"].startswith(message)
    assert len(sandbox.accepted) == 1


async def test_a_thousand_levels_pass(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    _, reply = await put(http, sandbox, {**ENTRY, "Detail": '{"a":' * 1000 + "1" + "}" * 1000})
    assert reply["FailedEntryCount"] == 0


@pytest.mark.parametrize(
    ("tree", "code", "words"),
    [
        ({}, "ValidationException", "Member must not be null"),
        ({"Entries": []}, "ValidationException", "greater than or equal to 1"),
        ({"Entries": [ENTRY] * 11}, "ValidationException", "Member must have length less than or equal to 10"),
        ({"Entries": [{**ENTRY, "EventBusName": "a b"}]}, "ValidationException", "eventBusName"),
        ({"Entries": [{**ENTRY, "TraceHeader": "x" * 501}]}, "ValidationException", "traceHeader"),
        ({"Entries": [{**ENTRY, "Resources": ["x" * 2049]}]}, "ValidationException", "2048"),
        ({"Entries": [{**ENTRY, "Time": "now"}]}, "SerializationException", ""),
        ({"Entries": [{**ENTRY, "Detail": {}}]}, "SerializationException", ""),
        ([], "SerializationException", ""),
    ],
    ids=str,
)
async def test_a_bad_call_fails_whole(
    sandbox: EventBridge, http: aiohttp.ClientSession, tree: Any, code: str, words: str
) -> None:
    status, reply = await call(http, sandbox, "PutEvents", tree)
    assert (status, reply["__type"]) == (400, code)
    assert words in reply["message"]
    assert sandbox.accepted == []


# aiohttp warns of bodies above 1 MiB, which lock the loop while they are copied: this one is meant to be so large.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_the_size_is_summed_to_the_byte(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    def filled(size: int) -> dict[str, Any]:
        detail = '{"a":"é' + "x" * (size - 13 - 9 - 1 - 14 - 3) + '"}'
        return {**ENTRY, "Detail": detail, "Time": 1, "Resources": ["é!"]}

    half = 524_288
    assert (await put(http, sandbox, filled(half), filled(half)))[0] == 200
    status, reply = await put(http, sandbox, filled(half), filled(half + 1))
    assert (status, reply["message"]) == (400, "Total size of the entries in the request is over the limit.")


async def test_the_small_class_of_regions_is_a_parameter(http: aiohttp.ClientSession) -> None:
    async with EventBridge(max_bytes=262_144) as sandbox:
        status, _ = await put(http, sandbox, {**ENTRY, "Detail": '{"a":"' + "x" * 262_144 + '"}'})
        assert status == 400


async def test_a_body_beyond_all_bounds_gets_413_and_no_body(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    headers = {**SIGNED, "X-Amz-Target": "AWSEvents.PutEvents"}
    async with http.post(f"{sandbox.url}/", data=io.BytesIO(b"x" * 9 * 2**20), headers=headers) as reply:
        assert (reply.status, await reply.read()) == (413, b"")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "MissingAuthenticationTokenException"),
        ("Bearer x", "IncompleteSignatureException"),
        (SIGNED["Authorization"].replace("/events/", "/sqs/"), "InvalidSignatureException"),
    ],
)
async def test_a_request_must_be_signed_for_events(
    sandbox: EventBridge, http: aiohttp.ClientSession, authorization: str, code: str
) -> None:
    status, reply = await call(http, sandbox, "PutEvents", {"Entries": [ENTRY]}, Authorization=authorization)
    assert (status, reply["__type"]) == (400, code)


async def test_buses_are_made_described_and_deleted(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    arn = "arn:aws:events:eu-west-1:000000000000:event-bus/orders"
    assert (await call(http, sandbox, "DescribeEventBus", {"Name": "orders"}))[1] == {
        "__type": "ResourceNotFoundException",
        "message": "Event bus orders does not exist.",
    }
    assert await call(http, sandbox, "CreateEventBus", {"Name": "orders"}) == (200, {"EventBusArn": arn})
    assert (await call(http, sandbox, "CreateEventBus", {"Name": "orders"}))[0] == 400
    assert await call(http, sandbox, "DescribeEventBus", {"Name": arn}) == (200, {"Name": "orders", "Arn": arn})
    assert await call(http, sandbox, "DeleteEventBus", {"Name": "orders"}) == (200, {})
    assert (await call(http, sandbox, "DescribeEventBus", {"Name": arn}))[0] == 400
    assert (await call(http, sandbox, "ListRules", {}))[1]["__type"] == "UnknownOperationException"


async def test_a_subprocess_is_scripted_and_read_over_http(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    script = [{"do": "throttle", "times": 2}, {"do": "refuse", "code": "InternalFailure", "entry": 1, "times": 3}]
    async with http.post(f"{sandbox.url}/_sandbox/faults", json=script) as answer:
        assert answer.status == 204
    assert [(await put(http, sandbox, ENTRY, ENTRY))[0] for _ in range(3)] == [400, 400, 200]
    await put(http, sandbox, ENTRY, {**ENTRY, "EventBusName": "gone"})
    async with http.get(f"{sandbox.url}/_sandbox/events?since=1") as answer:
        tree = await answer.json()
    assert [event["index"] for event in tree["accepted"]] == [1]
    assert [event["bus"] for event in tree["vanished"]] == ["gone"]
    async with http.get(f"{sandbox.url}/_sandbox/stats") as answer:
        stats = await answer.json()
    assert (stats["calls"], stats["accepted"], stats["vanished"]) == (4, 2, 1)
    assert stats["outcomes"] == {"throttle": 2, "PutEvents": 2, "entry InternalFailure": 1}


@pytest.mark.parametrize("script", [{"do": "dance"}, {"do": "throttle", "tmies": 1}, 7, [[]], {}])
async def test_a_script_that_cannot_be_read_is_refused(
    sandbox: EventBridge, http: aiohttp.ClientSession, script: Any
) -> None:
    async with http.post(f"{sandbox.url}/_sandbox/faults", json=script) as answer:
        assert answer.status == 400
        assert await answer.text()
    assert list(sandbox.faults) == []


async def test_faults_by_chance_repeat_with_their_seed(http: aiohttp.ClientSession) -> None:
    async def refused(seed: int) -> list[int]:
        chance = faults.refuse("InternalFailure", probability=0.5, times=None)
        async with EventBridge(seed=seed, faults=[chance]) as sandbox:
            replies = [await put(http, sandbox, ENTRY, ENTRY, ENTRY) for _ in range(5)]
        return [reply["FailedEntryCount"] for _, reply in replies]

    once = await refused(3)
    assert once == await refused(3)
    assert 0 < sum(once) < 15


async def test_faults_of_a_kind_are_cleared_over_http(sandbox: EventBridge, http: aiohttp.ClientSession) -> None:
    sandbox.faults.add(faults.access_denied(), faults.throttle())
    assert (await put(http, sandbox, ENTRY))[1]["__type"] == "AccessDeniedException"
    async with http.delete(f"{sandbox.url}/_sandbox/faults?do=access_denied") as answer:
        assert answer.status == 204
    assert (await put(http, sandbox, ENTRY))[1]["__type"] == "ThrottlingException"
    assert (await put(http, sandbox, ENTRY))[0] == 200


async def test_a_request_that_was_taken_and_not_answered_is_remembered_as_such(
    sandbox: EventBridge, http: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(faults.throttle(), faults.cut(accepted=True))
    assert (await put(http, sandbox, ENTRY))[0] == 400
    with pytest.raises(aiohttp.ClientError):
        await put(http, sandbox, ENTRY)
    sandbox.faults.add(faults.slow(60))
    gives_up = asyncio.create_task(put(http, sandbox, ENTRY))
    await seen(lambda: len(sandbox.accepted) == 2, what="the entry is taken")
    gives_up.cancel()
    await asyncio.wait([gives_up])
    assert (await put(http, sandbox, ENTRY))[0] == 200
    taken = {event.request for event in sandbox.accepted}
    assert len(taken) == 3
    assert sandbox.unanswered == dict.fromkeys(taken - {max(taken)}, 1)
