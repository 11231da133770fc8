"""IotEvents.send and preflight: a reply that lists failures only, and everything that may be wrong with it."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from connector.model import Ack, BatchRefused, Entry, Health, Preflight, Verdict
from connector.sandbox import faults
from connector.sandbox.iot_events import IotEvents as Sandbox
from connector.targets.iot_events import IotEvents, IotEventsSettings
from tests.contract.wire import Raw, Wire, event, ready, record, session

D, R, X, H = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED, Verdict.HOLD


def iot(url: str, **settings: Any) -> IotEvents:
    tree = {"endpoint_url": url, "region": "eu-west-1", "input_name": "orders", **settings}
    return IotEvents("iot", IotEventsSettings.model_validate(tree), sessions=session)


def batch(target: IotEvents, count: int, **fields: Any) -> tuple[Entry, ...]:
    return ready(target, *(event({"messageId": f"m-{n}", **fields}, record(offset=n)) for n in range(count)))


async def answered(raw: Raw, count: int = 2, **settings: Any) -> list[Ack]:
    async with Wire([raw]) as wire, iot(wire.url, **settings) as target:
        return list(await target.send(batch(target, count)))


def reply(failures: Iterable[Any]) -> Raw:
    return Raw(json.dumps({"BatchPutMessageErrorEntries": list(failures)}).encode())


def failed(number: int | str, code: Any = "InternalFailureException", message: Any = "no") -> dict[str, Any]:
    identity = f"m-{number}" if isinstance(number, int) else number
    return {"messageId": identity, "errorCode": code, "errorMessage": message}


async def test_a_message_that_is_not_listed_is_delivered() -> None:
    assert await answered(reply([])) == [Ack(D, "", "request r-1")] * 2


async def test_a_failure_is_found_by_its_id_and_tells_its_message_and_request() -> None:
    acks = await answered(reply([failed(1, "InvalidRequestException", "bad payload")]))
    assert acks == [Ack(D, "", "request r-1"), Ack(X, "InvalidRequestException", "bad payload (request r-1)")]


async def test_failures_may_come_in_any_order_and_twice() -> None:
    throttled = failed(0, "ThrottlingException")
    acks = await answered(reply([failed(2, "InvalidRequestException"), throttled, throttled]), count=3)
    assert [ack.verdict for ack in acks] == [R, D, X]


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b""),
        Raw(b"{}"),
        Raw(b"null"),
        Raw(b"[]"),
        Raw(b"<html>"),
        Raw(b'{"BatchPutMessageErrorEntries":'),
        Raw(b"\xff"),
        Raw(b'{"BatchPutMessageErrorEntries":null}'),
        Raw(b'{"BatchPutMessageErrorEntries":{}}'),
        Raw(b'{"BatchPutMessageErrorEntries":""}'),
        Raw(b'{"BatchPutMessageErrorEntries":0}'),
        Raw(b'{"batchPutMessageErrorEntries":[]}'),
        Raw(b'{"BatchPutMessageErrorEntries":[{"messageId":"m-0"}],"BatchPutMessageErrorEntries":[]}'),
        reply([failed("m-9")]),
        reply([failed(0), failed("nobody")]),
        reply([{"errorCode": "InternalFailureException"}]),
        reply([{"messageId": 0, "errorCode": "InternalFailureException"}]),
        reply(["m-0"]),
        reply([None]),
        reply([failed(0, "InternalFailureException"), failed(0, "InvalidRequestException")]),
    ],
    ids=lambda raw: raw.body[:60].decode(errors="replace"),
)
async def test_a_reply_that_does_not_add_up_acknowledges_nothing(raw: Raw) -> None:
    acks = await answered(raw)
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0)] * 2
    assert all(ack.detail for ack in acks)


@pytest.mark.parametrize("code", [None, "", 7])
async def test_a_failure_without_a_code_is_sent_again(code: Any) -> None:
    acks = await answered(reply([failed(0, code)]))
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0), (D, "", 0)]


@pytest.mark.parametrize("message", [None, 7, ["x"], ""])
async def test_a_failure_without_a_readable_message_keeps_its_verdict(message: Any) -> None:
    acks = await answered(reply([failed(0, "InvalidRequestException", message)]))
    assert acks[0] == Ack(X, "InvalidRequestException", "request r-1")


async def test_a_missing_input_holds_for_one_of_the_settings_and_rejects_a_computed_one() -> None:
    async with Sandbox(inputs=[]) as sandbox, iot(sandbox.url, input_names=["returns"]) as target:
        literal, computed = batch(target, 1), batch(target, 1, inputName="elsewhere")
        listed = batch(target, 1, inputName="returns")
        for entries, verdict in ((literal, H), (listed, H), (computed, X)):
            acks = await target.send(entries)
            assert [(ack.verdict, ack.code) for ack in acks] == [(verdict, "ResourceNotFoundException")]


async def test_an_input_that_a_route_names_in_so_many_words_is_held_for_and_looked_after() -> None:
    async with Sandbox(inputs=[]) as sandbox, iot(sandbox.url, input_name=None) as target:
        target.fed_by([{"inputName": "returns"}, {"inputName": "${value.kind}"}, {}])
        for name, verdict in (("returns", H), ("computed", X)):
            [ack] = await target.send(batch(target, 1, inputName=name))
            assert ack.verdict is verdict
        assert (await target.preflight()).missing == ("returns",)


async def test_a_literal_input_that_is_missing_holds_beside_messages_of_others_that_are_taken() -> None:
    async with Sandbox(inputs=["returns"]) as sandbox, iot(sandbox.url) as target:
        fields: list[dict[str, Any]] = [{"messageId": "a"}, {"messageId": "b", "inputName": "returns"}]
        acks = await target.send(ready(target, *map(event, fields)))
        assert [ack.verdict for ack in acks] == [H, D]


def error(code: str, status: int = 400, **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(b'{"message":"no"}', status, {"x-amzn-ErrorType": code, **named})


async def test_throttling_tells_how_long_to_wait() -> None:
    acks = await answered(error("ThrottlingException", 429, Retry_After="7"))
    assert acks == [Ack(R, "ThrottlingException", "no (request r-1)", retry_after=7.0)] * 2


@pytest.mark.parametrize("raw", [error("InvalidRequestException"), error("ValidationException"), Raw(b"", 413)])
async def test_a_call_refused_for_a_message_it_does_not_name_is_halved(raw: Raw) -> None:
    with pytest.raises(BatchRefused) as refused:
        await answered(raw)
    assert refused.value.ack.verdict is X


@pytest.mark.parametrize(("word", "verdict"), [("retry", R), ("hold", H)])
async def test_codes_of_the_settings_bear_on_whole_calls_too(word: str, verdict: Verdict) -> None:
    acks = await answered(error("InvalidRequestException"), codes={"InvalidRequestException": word})
    assert [ack.verdict for ack in acks] == [verdict] * 2


async def test_a_message_that_was_taken_without_an_answer_is_not_taken_twice_within_five_minutes() -> None:
    now = 1000.0
    async with (
        Sandbox(faults=[faults.cut(accepted=True)], clock=lambda: now) as sandbox,
        iot(sandbox.url) as target,
    ):
        entries = batch(target, 2)
        assert [ack.verdict for ack in await target.send(entries)] == [R, R]
        assert [ack.verdict for ack in await target.send(entries)] == [D, D]
        assert (len(sandbox.accepted), len(sandbox.vanished)) == (2, 2)
        now += 300.0
        assert [ack.verdict for ack in await target.send(entries)] == [D, D]
        assert len(sandbox.accepted) == 4


async def test_eleven_messages_or_one_id_twice_are_refused_whole() -> None:
    async with Sandbox() as sandbox, iot(sandbox.url) as target:
        for entries in (batch(target, 11), batch(target, 1) * 2):
            with pytest.raises(BatchRefused) as refused:
                await target.send(entries)
            assert refused.value.ack.code == "InvalidRequestException"
        assert sandbox.accepted == []


async def test_a_message_or_a_batch_beyond_the_quota_of_the_service_is_found_out() -> None:
    async with (
        Sandbox(max_message_bytes=20, max_batch_bytes=30) as sandbox,
        iot(sandbox.url) as target,
    ):
        fields: list[dict[str, Any]] = [{"payload": {"a": "x" * 13}}, {"payload": {"a": 1}}]
        acks = await target.send(ready(target, *(event(each, record(offset=n)) for n, each in enumerate(fields))))
        assert [ack.verdict for ack in acks] == [X, D]
        with pytest.raises(BatchRefused):
            await target.send(batch(target, 5))


async def test_preflight_asks_for_every_input_of_the_settings_and_names_the_missing_ones() -> None:
    async with Sandbox(inputs=["orders"]) as sandbox, iot(sandbox.url, input_names=["returns", "orders"]) as target:
        found = await target.preflight()
        assert (found.health, found.missing) == (Health.MISSING, ("returns",))
        assert "create it" in found.detail
        sandbox.inputs.add("returns")
        assert await target.preflight() == Preflight(Health.OK)


async def test_preflight_that_may_not_ask_says_what_to_grant() -> None:
    async with Sandbox(faults=[faults.access_denied()]) as sandbox, iot(sandbox.url) as target:
        found = await target.preflight()
        assert (found.health, found.code) == (Health.UNKNOWN, "AccessDeniedException")
        assert "iotevents:DescribeInput" in found.detail


async def test_preflight_with_computed_inputs_only_has_nothing_to_ask_for() -> None:
    async with Wire([Raw()]) as wire, iot(wire.url, input_name=None) as target:
        assert (await target.preflight()).health is Health.UNKNOWN
        assert wire.requests == []


@pytest.mark.parametrize(
    "raw", [Raw(b""), Raw(b"{}"), Raw(b"", 500), Raw(b"<html>", 404), error("ThrottlingException", 429)]
)
async def test_preflight_that_gets_no_answer_does_not_know(raw: Raw) -> None:
    async with Wire([raw]) as wire, iot(wire.url) as target:
        assert (await target.preflight()).health is Health.UNKNOWN
