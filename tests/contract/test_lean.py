"""The lean way sends what the SDK sends, and reads what the SDK reads: the same batches by both, compared."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aioboto3
import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from connector.model import Ack, BatchRefused, Verdict
from connector.sandbox.eventbridge import EventBridge as Sandbox
from connector.targets import REGISTRY, lean
from connector.targets.aws import AwsSettings, Reply, Service, Sessions
from connector.targets.contract import Target
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from connector.targets.pinpoint import PinpointSettings
from tests.contract.conftest import AWS
from tests.contract.test_wire_aws import CALLS, SETTINGS, TARGETS, mapped
from tests.contract.wire import Raw, Wire, event, ready, record, session

YES = b'{"FailedEntryCount":0,"Entries":[{"EventId":"e-1"}]}'


def made(kind: str, url: str, way: str, sessions: Sessions = session) -> Target:
    tree = {"type": kind, "endpoint_url": url, "region": "eu-west-1", "transport": way, **SETTINGS[kind]}
    target: Target = TARGETS[kind](kind, REGISTRY[kind].settings.model_validate(tree), sessions=sessions)
    return target


def bus(url: str, sessions: Sessions = session, **settings: Any) -> EventBridge:
    tree = {"endpoint_url": url, "region": "eu-west-1", **settings}
    return EventBridge("bus", EventBridgeSettings.model_validate(tree), sessions=sessions)


def by_lean(headers: Mapping[str, str]) -> bool:
    """Whether a request came the lean way: without the SDK's word on its retries."""
    return not any(name.lower() in lean.TELEMETRY for name in headers)


def verified(line: tuple[str, str], headers: Mapping[str, str], body: bytes, url: str) -> bool:
    """Whether the signature of a request is what botocore's signer makes of what arrived."""
    given = headers["Authorization"]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    small = {name.lower(): value for name, value in headers.items()}
    request = AWSRequest(line[0], url + line[1], headers={name: small[name] for name in names}, data=body)
    request.context["timestamp"] = small["x-amz-date"]
    _, region, service = given.partition("/aws4_request")[0].split("/")[1:]
    signer = SigV4Auth(Credentials("test", "test"), service, region)
    asked = signer.string_to_sign(request, signer.canonical_request(request))
    return given.endswith(f"Signature={signer.signature(asked, request)}")


@pytest.mark.parametrize("kind", AWS)
async def test_a_request_is_the_same_by_both_ways_but_for_the_spelling_of_its_json(kind: str) -> None:
    async with Wire([Raw(b"{}", 202 if kind == "pinpoint" else 200)]) as wire, made(kind, wire.url, "lean") as target:
        batch = ready(target, *mapped()[kind])
        await target.send(batch)
        await target.send(batch)
    (first, sdk_body), (second, lean_body) = wire.requests
    assert not by_lean(first)
    assert by_lean(second)
    assert wire.lines[0] == wire.lines[1]
    changes = lean.TELEMETRY | {"authorization", "content-length", "x-amz-date"}
    fixed = [{k: v for k, v in each.items() if k.lower() not in changes} for each in (first, second)]
    assert fixed[0] == fixed[1]
    assert json.loads(sdk_body) == json.loads(lean_body)
    if kind != "eventbridge":  # those two count the bytes of the body
        assert sdk_body == lean_body
    assert second["Content-Length"] == str(len(lean_body))
    assert first["Authorization"].split(", ")[:2] == second["Authorization"].split(", ")[:2]  # scope, signed headers
    for headers, body in wire.requests:
        assert verified(wire.lines[0], headers, body, wire.url)


REPLIES: Sequence[tuple[str, Raw]] = [
    ("all is well", Raw(YES)),
    ("with spaces", Raw(b'{ "FailedEntryCount": 0, "Entries": [ {"EventId": "e-1"} ] }')),
    ("a field of the future", Raw(b'{"FailedEntryCount":0,"Entries":[{"EventId":"e-1","New":1}],"More":{}}')),
    ("a key twice", Raw(b'{"FailedEntryCount":0,"FailedEntryCount":0,"Entries":[{"EventId":"e-1"}]}')),
    ("nulls", Raw(b'{"FailedEntryCount":0,"Entries":[{"EventId":"e-1","ErrorCode":null}]}')),
    ("throttled", Raw(b'{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"slow"}]}')),
    ("malformed", Raw(b'{"FailedEntryCount":1,"Entries":[{"ErrorCode":"MalformedDetail","ErrorMessage":"bad"}]}')),
    ("a count of text", Raw(b'{"FailedEntryCount":"0","Entries":[{"EventId":"e-1"}]}')),
    ("a map of entries", Raw(b'{"FailedEntryCount":0,"Entries":{}}')),
    ("a list", Raw(b"[]")),
    ("a number too long", Raw(b'{"FailedEntryCount":18446744073709551615,"Entries":[{"EventId":"e-1"}]}')),
    ("not a number", Raw(b'{"FailedEntryCount":NaN,"Entries":[{"EventId":"e-1"}]}')),
    ("nothing", Raw(b"")),
    ("half", Raw(YES[:-4])),
    ("no UTF-8", Raw(b'{"FailedEntryCount":0,"Entries":[{"EventId":"\xff"}]}')),
    ("a page", Raw(b"<html>hello</html>")),
    ("deep", Raw(b'{"FailedEntryCount":0,"Entries":' + b"[" * 1100 + b"]" * 1100 + b"}")),
    ("moved", Raw(b"", 302)),
    ("an error by header", Raw(b"{}", 400, {"x-amzn-ErrorType": "ThrottlingException:http://x/"})),
    ("an error by body", Raw(b'{"__type":"com.amazon#ValidationException","message":"m"}', 400)),
    ("an error and a pause", Raw(b'{"__type":"ThrottlingException","Message":"m"}', 400, {"Retry-After": "7"})),
    ("a date for a pause", Raw(b"{}", 503, {"Retry-After": "Wed, 25 Nov 2026 00:01:00 GMT"})),
    ("denied", Raw(b'{"__type":"AccessDeniedException","Message":"no"}', 400)),
    ("no bus", Raw(b'{"__type":"ResourceNotFoundException","message":"no"}', 400)),
    ("too large", Raw(b"", 413)),
    ("an error page", Raw(b"<html>bad gateway</html>", 502)),
    ("an error that is no JSON", Raw(b"oops", 500)),
    ("an error of a list", Raw(b"[1]", 500)),
]


async def told(target: Target, batch: Any) -> Sequence[Ack] | Ack:
    try:
        return await target.send(batch)
    except BatchRefused as refused:
        return refused.ack


@pytest.mark.parametrize("raw", [raw for _, raw in REPLIES], ids=[name for name, _ in REPLIES])
async def test_every_reply_reads_the_same_by_both_ways(raw: Raw) -> None:
    async with Wire([Raw(YES), raw]) as wire, bus(wire.url) as target, bus(wire.url, transport="sdk") as sdk:
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        await target.send(batch)
        lean_says, sdk_says = await told(target, batch), await told(sdk, batch)
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, True, False]
    assert lean_says == sdk_says


@pytest.mark.parametrize("kind", ["iot_events", "pinpoint"])
async def test_every_reply_of_the_other_services_reads_the_same_too(kind: str) -> None:
    bodies = [b"{}", b"", b'{"Results":{}}', b'{"BatchPutMessageErrorEntries":[]}', b'{"message":"m"}', b"<html>"]
    raws = [Raw(body, status) for body in bodies for status in (200, 202, 400, 403, 404, 413, 429, 500, 503)]
    wire = Wire([Raw(b"{}"), *(raw for raw in raws for _ in range(2))])
    async with wire, made(kind, wire.url, "lean") as target, made(kind, wire.url, "sdk") as sdk:
        batch = ready(target, *mapped()[kind])
        await target.send(batch)
        for raw in raws:
            assert await told(target, batch) == await told(sdk, batch), raw
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, *[True, False] * len(raws)]


BREAKS = {"cut": b"", "half": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "noise": b"?\r\n"}


@asynccontextmanager
async def broken(how: str) -> AsyncIterator[str]:
    """A server that breaks in its own way after its first reply; `gone` does not even listen any more."""
    calls = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            calls += 1
            if calls > 1:
                writer.write(
                    {"cut": b"", "half": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "noise": b"?\r\n"}[how]
                )
                await writer.drain()
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(YES) + YES)
            await writer.drain()
            break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("how", sorted(BREAKS))
async def test_every_broken_connection_reads_the_same_by_both_ways(how: str) -> None:
    async with broken(how) as url, bus(url) as target, bus(url, transport="sdk") as sdk:
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        assert [ack.verdict for ack in await target.send(batch)] == [Verdict.DELIVERED]
        lean_says, sdk_says = await target.send(batch), await sdk.send(batch)
    assert [(ack.verdict, ack.code) for ack in lean_says] == [(ack.verdict, ack.code) for ack in sdk_says]
    assert lean_says[0].verdict is Verdict.RETRY


async def test_a_server_that_is_gone_reads_the_same_by_both_ways() -> None:
    async with Wire([Raw(YES, headers={"Connection": "close"})]) as wire:
        target = await bus(wire.url).__aenter__()
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        await target.send(batch)
    async with bus(wire.url, transport="sdk") as sdk:
        lean_says, sdk_says = await target.send(batch), await sdk.send(batch)
    await target.__aexit__(None, None, None)
    assert lean_says == sdk_says
    assert lean_says[0].code == "EndpointConnectionError"


async def test_each_call_is_signed_with_the_credentials_of_its_moment() -> None:
    tokens = iter(range(1, 100))

    def soon() -> datetime:
        """Within the quarter of an hour in which botocore renews already, so each signature asks anew."""
        return datetime.now(UTC) + timedelta(minutes=12)

    async def renewed() -> dict[str, str]:
        token = f"t-{next(tokens)}"
        return {"access_key": "test", "secret_key": "test", "token": token, "expiry_time": soon().isoformat()}

    def sessions(settings: AwsSettings) -> aioboto3.Session:
        fresh = aioboto3.Session(region_name="eu-west-1")
        core: Any = fresh._session
        core._credentials = AioRefreshableCredentials("test", "test", "t-0", soon(), renewed, "test")
        return fresh

    async with Wire([Raw(YES)]) as wire, bus(wire.url, sessions) as target:
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        for _ in range(3):
            await target.send(batch)
    seen = [headers["X-Amz-Security-Token"] for headers, _ in wire.requests]
    assert len(set(seen)) == 3, seen
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, True, True]


async def test_no_credentials_hold_the_lane_as_ever() -> None:
    def nobody(settings: AwsSettings) -> aioboto3.Session:
        made = aioboto3.Session(region_name="eu-west-1")
        core: Any = made._session
        core.get_component("credential_provider").providers.clear()
        return made

    async with Wire([Raw(YES)]) as wire, bus(wire.url, nobody) as target:
        (ack,) = await target.send(ready(target, event({"Source": "com.acme", "DetailType": "Order"})))
    assert (ack.verdict, ack.code) == (Verdict.HOLD, "NoCredentialsError")
    assert wire.requests == []


async def test_a_global_endpoint_stays_with_the_sdk() -> None:
    async with Wire([Raw(YES)]) as wire, bus(wire.url, endpoint_id="abcde.veo") as target:
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        for _ in range(2):
            await target.send(batch)
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, False]
    assert all(headers["Authorization"].startswith("AWS4-ECDSA-P256-SHA256") for headers, _ in wire.requests)


async def test_a_header_that_the_sdk_was_told_to_send_keeps_the_call_with_the_sdk() -> None:
    def sessions(settings: AwsSettings) -> aioboto3.Session:
        made = aioboto3.Session("test", "test", region_name="eu-west-1")
        made.events.register("before-sign", lambda request, **_: request.headers.add_header("X-Own", "1"))
        return made

    async with Wire([Raw(YES)]) as wire, bus(wire.url, sessions) as target:
        batch = ready(target, event({"Source": "com.acme", "DetailType": "Order"}))
        for _ in range(2):
            await target.send(batch)
    assert [headers["X-Own"] for headers, _ in wire.requests] == ["1", "1"]


async def test_only_the_call_itself_teaches_its_request() -> None:
    """A question in between, or a call that came to nothing before it was sent, must not pass for the pattern."""
    async with Wire([Raw(b'{"Name":"orders"}'), Raw(YES)]) as wire:
        settings = EventBridgeSettings.model_validate({"endpoint_url": wire.url, "region": "eu-west-1"})
        async with Service("events", settings, sessions=session, as_written=True) as service:
            await service.call("put_events", Entries=[{"Time": "not a time at all"}])  # refused before it is sent
            assert wire.requests == []
            await service.call("describe_event_bus", Name="orders")
            for _ in range(2):
                assert isinstance(await service.call("put_events", Entries=[{"Source": "com.acme"}]), Reply)
    targets = [headers["X-Amz-Target"].partition(".")[2] for headers, _ in wire.requests]
    assert targets == ["DescribeEventBus", "PutEvents", "PutEvents"]
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, False, True]


async def test_an_application_of_pinpoint_has_a_request_of_its_own() -> None:
    parameters = CALLS["pinpoint"][2]
    async with Wire([Raw(b"{}", 202)]) as wire:
        tree = {"endpoint_url": wire.url, "region": "eu-west-1", "application_id": "one"}
        settings = PinpointSettings.model_validate(tree)
        async with Service("pinpoint", settings, sessions=session, as_written=True) as service:
            for name in ("one", "two", "one", "two"):
                await service.call("put_events", **{**parameters, "ApplicationId": name})
    assert [path for _, path in wire.lines] == [f"/v1/apps/{name}/events" for name in ("one", "two") * 2]
    assert [by_lean(headers) for headers, _ in wire.requests] == [False, False, True, True]


async def test_only_so_many_requests_are_kept_however_many_applications_there_are() -> None:
    parameters = CALLS["pinpoint"][2]
    async with Wire([Raw(b"{}", 202)]) as wire:
        settings = PinpointSettings.model_validate({"endpoint_url": wire.url, "region": "eu-west-1"})
        async with Service("pinpoint", settings, sessions=session, as_written=True) as service:
            for number in (*range(lean.KINDS + 1), 0, lean.KINDS):
                await service.call("put_events", **{**parameters, "ApplicationId": f"app-{number}"})
    assert [by_lean(headers) for headers, _ in wire.requests[-3:]] == [False, True, False]


async def test_what_arrived_by_both_ways_is_the_same_in_the_simulator() -> None:
    async with Sandbox() as sandbox, bus(sandbox.url) as target, bus(sandbox.url, transport="sdk") as sdk:
        fields = {"Source": "com.acme", "DetailType": "Order é", "Detail": {"n": 1.5, "text": "é😀"}}
        batch = ready(target, event(fields, record(timestamp_ms=1_700_000_000_123)))
        await target.send(batch)
        sandbox.accepted.clear()
        await target.send(batch)
        await sdk.send(batch)
    one, two = sandbox.accepted
    assert (one.bus, one.detail, one.resources, one.time) == (two.bus, two.detail, two.resources, two.time)
