"""EventBridge.send and preflight: every reply a service, a proxy or an enemy can give, and the verdict it means."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from connector.model import Ack, BatchRefused, Entry, Health, Preflight, Verdict
from connector.sandbox import faults
from connector.sandbox.eventbridge import EventBridge as Sandbox
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from tests.contract.wire import Raw, Wire, event, ready, record, session

D, R, X, H = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED, Verdict.HOLD
OK = {"EventId": "e-1"}


def bridge(url: str, **settings: Any) -> EventBridge:
    tree = {"endpoint_url": url, "region": "eu-west-1", **settings}
    return EventBridge("bus", EventBridgeSettings.model_validate(tree), sessions=session)


def batch(target: EventBridge, count: int, **fields: Any) -> tuple[Entry, ...]:
    made = {"Source": "com.acme", "DetailType": "Order", **fields}
    return ready(target, *(event(made, record(offset=n)) for n in range(count)))


async def answered(*replies: Raw, count: int = 2, **settings: Any) -> list[Ack]:
    """What `send` says to these replies, of the last call."""
    async with Wire(replies) as wire, bridge(wire.url, **settings) as target:
        for _ in replies:
            acks = await target.send(batch(target, count))
        return list(acks)


def reply(results: Iterable[Any], failed: Any = 0) -> Raw:
    return Raw(json.dumps({"FailedEntryCount": failed, "Entries": list(results)}).encode())


def failed(code: Any, message: Any = "no") -> dict[str, Any]:
    return {"ErrorCode": code, "ErrorMessage": message}


async def test_a_delivered_entry_tells_its_event_id_and_request() -> None:
    acks = await answered(reply([OK, {"EventId": "e-2"}]))
    assert acks == [Ack(D, "", "EventId e-1 (request r-1)"), Ack(D, "", "EventId e-2 (request r-1)")]


async def test_a_failed_entry_tells_the_message_and_the_request() -> None:
    acks = await answered(reply([OK, failed("MalformedDetail", "Detail is malformed.")], 1))
    assert acks[1] == Ack(X, "MalformedDetail", "Detail is malformed. (request r-1)")


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b""),
        Raw(b"{}"),
        Raw(b"null"),
        Raw(b"[]"),
        Raw(b"7"),
        Raw(b'"text"'),
        Raw(b"<html>"),
        Raw(b'{"Entries":'),
        Raw(b"\xff\xfe"),
        Raw(b'{"Entries":[{"EventId":"a"},{"EventId":"b"}]}'),
        Raw(b'{"FailedEntryCount":0}'),
        Raw(b'{"FailedEntryCount":0,"Entries":null}'),
        Raw(b'{"FailedEntryCount":0,"Entries":{}}'),
        Raw(b'{"FailedEntryCount":0,"Entries":"ab"}'),
        Raw(b'{"FailedEntryCount":0,"Entries":7}'),
        Raw(b'{"FailedEntryCount":0,"Entries":[1,2]}'),
        Raw(b'{"FailedEntryCount":0,"Entries":["a","b"]}'),
        Raw(b'{"FailedEntryCount":0,"Entries":[[],[]]}'),
        Raw(b'{"FailedEntryCount":0,"Entries":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        reply([OK]),
        reply([OK, OK, OK]),
        reply([]),
        reply([OK, OK], 1),
        reply([OK, OK], -1),
        reply([OK, OK], "0"),
        reply([OK, OK], 0.0),
        reply([OK, OK], False),
        reply([OK, OK], None),
        reply([OK, failed("InternalFailure")], 0),
        reply([OK, failed("InternalFailure")], 2),
        reply([OK, {}], 0),
        reply([OK, None], 0),
        reply([OK, {"EventId": ""}], 0),
        reply([OK, {"EventId": 7}], 0),
    ],
    ids=lambda raw: raw.body[:60].decode(errors="replace"),
)
async def test_a_reply_that_does_not_add_up_acknowledges_nothing(raw: Raw) -> None:
    acks = await answered(raw)
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0)] * 2
    assert all(ack.detail for ack in acks)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        None,
        {"EventId": ""},
        {"EventId": None},
        {"ErrorCode": ""},
        {"ErrorCode": 7, "EventId": "e"},
        {"ErrorMessage": "no"},
        {"ErrorCode": "", "EventId": "e"},
    ],
    ids=str,
)
async def test_an_entry_that_is_neither_delivered_nor_failed_is_sent_again(odd: Any) -> None:
    acks = await answered(reply([OK, odd], 1))
    assert acks[1].verdict is R
    assert acks[1].code == "ProtocolError"


async def test_an_event_id_beside_an_error_code_is_no_delivery() -> None:
    acks = await answered(reply([{**OK, **failed("InternalFailure")}, OK], 1))
    assert [ack.verdict for ack in acks] == [R, D]


async def test_the_long_form_of_a_code_is_the_same_code() -> None:
    acks = await answered(reply([failed("InternalFailure: Internal Service Failure"), OK], 1))
    assert (acks[0].verdict, acks[0].code, acks[0].tries) == (R, "InternalFailure", 0)


@pytest.mark.parametrize("message", [None, 7, ["x"]])
async def test_a_failed_entry_without_a_readable_message_keeps_its_verdict(message: Any) -> None:
    acks = await answered(reply([failed("InvalidArgument", message), OK], 1))
    assert acks[0].verdict is X


SOURCE, KIND = "NotAuthorizedForSourceException", "NotAuthorizedForDetailTypeException"


@pytest.mark.parametrize(
    ("codes", "verdicts"),
    [
        ([SOURCE, SOURCE], [H, H]),
        ([SOURCE, KIND], [H, H]),
        ([SOURCE, "AccessDeniedException"], [H, H]),
        ([SOURCE, "MalformedDetail"], [X, X]),
        ([SOURCE, "InternalFailure"], [X, R]),
        ([SOURCE, ""], [X, D]),
        ([SOURCE], [H]),
    ],
)
async def test_when_nobody_is_authorised_it_is_our_fault(codes: list[str], verdicts: list[Verdict]) -> None:
    results = [failed(code) if code else OK for code in codes]
    acks = await answered(reply(results, sum(map(bool, codes))), count=len(codes))
    assert [ack.verdict for ack in acks] == verdicts


async def test_an_operator_who_says_reject_is_obeyed_even_when_nobody_is_authorised() -> None:
    acks = await answered(reply([failed(SOURCE), failed(SOURCE)], 2), codes={SOURCE: "reject"})
    assert [ack.verdict for ack in acks] == [X, X]


def error(code: str, message: str = "no", status: int = 400, **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(json.dumps({"__type": code, "message": message}).encode(), status, named)


async def test_throttling_tells_how_long_to_wait() -> None:
    acks = await answered(error("ThrottlingException", "Rate exceeded", 400, Retry_After="7"))
    assert acks == [Ack(R, "ThrottlingException", "Rate exceeded (request r-1)", retry_after=7.0)] * 2


async def test_a_validation_error_does_not_repeat_the_payload() -> None:
    said = "1 validation error detected: Value '[secret 'x' at 'y]' at 'entries' failed to satisfy constraint: Member"
    with pytest.raises(BatchRefused) as refused:
        await answered(error("ValidationException", said))
    assert "secret" not in refused.value.ack.detail
    assert "at 'entries' failed" in refused.value.ack.detail


@pytest.mark.parametrize(("word", "verdict"), [("retry", R), ("hold", H)])
async def test_codes_of_the_settings_bear_on_whole_calls_too(word: str, verdict: Verdict) -> None:
    acks = await answered(error("ValidationException"), codes={"ValidationException": word})
    assert [ack.verdict for ack in acks] == [verdict] * 2


async def test_a_whole_call_that_the_settings_reject_is_halved() -> None:
    with pytest.raises(BatchRefused) as refused:
        await answered(error("SomethingNewException"), codes={"SomethingNewException": "reject"})
    assert (refused.value.ack.verdict, refused.value.ack.code) == (X, "SomethingNewException")


async def test_an_error_that_only_a_header_names_is_known_by_its_status() -> None:
    assert [ack.verdict for ack in await answered(Raw(b"", 502))] == [R, R]
    assert [ack.verdict for ack in await answered(Raw(b"", 429))] == [R, R]
    assert [ack.verdict for ack in await answered(Raw(b"", 403))] == [H, H]
    assert [ack.verdict for ack in await answered(Raw(b"[]", 400))] == [R, R]
    with pytest.raises(BatchRefused):
        await answered(Raw(b"", 413))


async def test_a_missing_bus_holds_for_the_bus_of_the_settings_and_is_the_fault_of_a_computed_one() -> None:
    missing = error("ResourceNotFoundException", "Event bus x does not exist.")
    async with Wire([missing]) as wire, bridge(wire.url, event_buses=["other"]) as target:
        literal, computed = batch(target, 2), batch(target, 1, EventBusName="other")
        assert [ack.verdict for ack in await target.send(literal)] == [H, H]
        for mixed in (literal + computed, computed):
            with pytest.raises(BatchRefused) as refused:
                await target.send(mixed)
            assert refused.value.ack.verdict is X


async def test_a_service_that_nobody_listens_at_is_retried() -> None:
    async with Wire([Raw()]) as wire:
        url = wire.url
    async with bridge(url) as target:
        acks = await target.send(batch(target, 1))
    assert (acks[0].verdict, acks[0].code) == (R, "EndpointConnectionError")


async def test_time_goes_on_the_wire_as_a_number_with_milliseconds() -> None:
    async with Wire([reply([OK])]) as wire, bridge(wire.url) as target:
        made = event({"Source": "a", "DetailType": "b"}, record(timestamp_ms=1_700_000_000_987))
        await target.send(ready(target, made))
        headers, body = wire.requests[0]
    assert json.loads(body) == {"Entries": [ready(target, made)[0].body]}
    assert b'"Time": 1700000000.987' in body
    assert headers["X-Amz-Target"] == "AWSEvents.PutEvents"
    assert "/eu-west-1/events/aws4_request" in headers["Authorization"]


async def test_an_endpoint_id_is_sent_and_signed_for_every_region() -> None:
    async with Sandbox() as sandbox, bridge(sandbox.url, endpoint_id="abcde.veo") as target:
        acks = await target.send(batch(target, 1))
        assert [ack.verdict for ack in acks] == [D]
    async with Wire([reply([OK])]) as wire, bridge(wire.url, endpoint_id="abcde.veo") as target:
        await target.send(batch(target, 1))
        headers, body = wire.requests[0]
    assert json.loads(body)["EndpointId"] == "abcde.veo"
    assert headers["Authorization"].startswith("AWS4-ECDSA-P256-SHA256 ")
    assert headers["X-Amz-Region-Set"] == "*"


# aiohttp warns of bodies above 1 MiB, which lock the loop while they are copied: a full call is one.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_a_full_call_of_the_last_byte_passes_and_the_next_byte_is_refused_as_a_whole() -> None:
    async with Sandbox() as sandbox, bridge(sandbox.url, batch={"max_bytes": "1MiB"}, id_to="none") as target:

        def filled(total: int) -> tuple[Entry, ...]:
            sizes = [104_857] * 9 + [total - 9 * 104_857]
            rest = 8 + 5 + len('{"a":"é"}'.encode())
            return ready(
                target,
                *(
                    event({"Source": "com.acme", "DetailType": "Order", "Detail": {"a": "é" + "x" * (size - rest)}})
                    for size in sizes
                ),
            )

        last = filled(1_048_576)
        assert sum(entry.size for entry in last) == 1_048_576
        assert [ack.verdict for ack in await target.send(last)] == [D] * 10
        with pytest.raises(BatchRefused) as refused:
            await target.send(filled(1_048_577))
        assert refused.value.ack.detail.startswith("Total size of the entries in the request is over the limit.")


async def test_a_policy_that_is_withdrawn_holds_and_delivers_when_it_is_given_back() -> None:
    async with Sandbox() as sandbox, bridge(sandbox.url) as target:
        sandbox.faults.add(faults.access_denied())
        assert [ack.verdict for ack in await target.send(batch(target, 2))] == [H, H]
        assert (await target.preflight()).health is Health.UNKNOWN
        sandbox.faults.clear("access_denied")
        assert [ack.verdict for ack in await target.send(batch(target, 2))] == [D, D]


async def test_an_expired_token_holds_and_the_next_call_signs_anew() -> None:
    async with Sandbox(faults=[faults.expired_token()]) as sandbox, bridge(sandbox.url) as target:
        assert [ack.code for ack in await target.send(batch(target, 1))] == ["ExpiredTokenException"]
        assert [ack.verdict for ack in await target.send(batch(target, 1))] == [D]


async def test_events_to_a_bus_that_is_not_there_vanish_with_a_yes_and_preflight_sees_it() -> None:
    async with Sandbox(buses=["default"]) as sandbox, bridge(sandbox.url, event_bus="orders") as target:
        assert [ack.verdict for ack in await target.send(batch(target, 1))] == [D]
        assert (len(sandbox.accepted), len(sandbox.vanished)) == (0, 1)
        found = await target.preflight()
        assert (found.health, found.missing) == (Health.MISSING, ("orders",))
        assert "orders" in found.detail
        sandbox.buses.add("orders")
        assert await target.preflight() == Preflight(Health.OK)


async def preflight(*replies: Raw, **settings: Any) -> Preflight:
    async with Wire(replies) as wire, bridge(wire.url, **settings) as target:
        return await target.preflight()


NOT_FOUND = error("ResourceNotFoundException")


async def test_preflight_asks_for_every_bus_and_names_the_missing_ones() -> None:
    found = await preflight(Raw(b'{"Name":"a"}'), NOT_FOUND, event_bus="a", event_buses=["b", "a", "c"])
    assert (found.health, found.missing) == (Health.MISSING, ("b", "c"))


async def test_preflight_that_may_not_ask_does_not_know() -> None:
    found = await preflight(error("AccessDeniedException"))
    assert (found.health, found.code) == (Health.UNKNOWN, "AccessDeniedException")


async def test_a_bus_that_is_missing_counts_more_than_one_that_cannot_be_asked_about() -> None:
    found = await preflight(error("AccessDeniedException"), NOT_FOUND, event_bus="a", event_buses=["b"])
    assert (found.health, found.missing) == (Health.MISSING, ("b",))


@pytest.mark.parametrize("raw", [Raw(b""), Raw(b"{}"), Raw(b"[]"), Raw(b"", 500), error("ThrottlingException")])
async def test_preflight_that_gets_no_answer_does_not_know(raw: Raw) -> None:
    assert (await preflight(raw)).health is Health.UNKNOWN
