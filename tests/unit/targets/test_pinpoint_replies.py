"""Pinpoint.send and preflight: replies by endpoint and event id, in every documented shape and some more."""

import json
import logging
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from connector.model import Ack, BatchRefused, Entry, Health, Preflight, Verdict
from connector.sandbox import faults
from connector.sandbox.modelled import Call
from connector.sandbox.pinpoint import Pinpoint as Sandbox
from connector.targets.pinpoint import Pinpoint, PinpointSettings
from tests.contract.wire import Raw, Wire, event, ready, record, session

D, R, X, H = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED, Verdict.HOLD
TIME = "2026-01-02T03:04:05Z"
YES = {"StatusCode": 202, "Message": "Accepted"}
UPDATE = {"Endpoint": {"OptOut": "ALL"}}


def pinpoint(url: str, **settings: Any) -> Pinpoint:
    tree = {"endpoint_url": url, "region": "eu-west-1", "application_id": "shop", **settings}
    return Pinpoint("pinpoint", PinpointSettings.model_validate(tree), sessions=session)


def batch(target: Pinpoint, *fields: dict[str, Any]) -> tuple[Entry, ...]:
    """Events v-0, v-1, … of the endpoint `e`, or what the fields say."""
    made = (
        {"EndpointId": "e", "EventId": f"v-{n}", "EventType": "x", "Timestamp": "2026-01-02T03:04:05Z", **each}
        for n, each in enumerate(fields)
    )
    return ready(target, *(event(each, record(offset=n)) for n, each in enumerate(made)))


async def answered(raw: Raw, *fields: dict[str, Any], **settings: Any) -> list[Ack]:
    async with Wire([raw]) as wire, pinpoint(wire.url, **settings) as target:
        return list(await target.send(batch(target, *(fields or ({}, {})))))


def reply(results: Any) -> Raw:
    return Raw(json.dumps({"Results": results}).encode(), 202)


def of(events: Any, endpoint: Any = YES) -> dict[str, Any]:
    return {"EndpointItemResponse": endpoint, "EventsItemResponse": events}


def status(code: Any, message: Any = "no") -> dict[str, Any]:
    return {"StatusCode": code, "Message": message}


async def test_an_event_is_delivered_by_202_and_tells_message_and_request() -> None:
    acks = await answered(reply({"e": of({"v-1": YES, "v-0": YES})}))
    assert acks == [Ack(D, "", "Accepted (request r-1)")] * 2


@pytest.mark.parametrize(
    ("code", "verdict", "tries"),
    [
        (400, X, 0),
        (401, X, 0),
        (403, X, 0),
        (404, X, 0),
        (405, H, 0),
        (409, X, 0),
        (429, R, 0),
        (500, R, 0),
        (503, R, 0),
        (599, R, 0),
        (200, R, 5),
        (302, R, 5),
        (600, R, 5),
        (0, R, 5),
        (-1, R, 5),
    ],
)
async def test_a_status_of_an_event_has_its_verdict(code: int, verdict: Verdict, tries: int) -> None:
    acks = await answered(reply({"e": of({"v-0": YES, "v-1": status(code)})}))
    assert acks == [
        Ack(D, "", "Accepted (request r-1)"),
        Ack(verdict, str(code), "no (request r-1)", tries=tries),
    ]


@pytest.mark.parametrize(("bare", "verdict"), [(202, D), (400, X), (429, R), (500, R), (405, H)])
async def test_a_bare_status_stands_for_every_entry_of_its_endpoint(bare: int, verdict: Verdict) -> None:
    acks = await answered(reply({"e": bare, "f": of({"v-2": YES})}), {}, {}, {"EndpointId": "f"})
    assert [ack.verdict for ack in acks] == [verdict, verdict, D]


@pytest.mark.parametrize(
    "result",
    [
        {},
        None,
        [],
        "202",
        202.0,
        True,
        {"EndpointItemResponse": YES},
        of(None),
        of([]),
        of({}),
        of({"v-2": YES}),
        of({"V-0": YES, "V-1": YES}),
        of({"v-0": None, "v-1": 202}),
        of({"v-0": {}, "v-1": {"Message": "Accepted"}}),
        of({"v-0": status("202"), "v-1": status(202.0)}),
        of({"v-0": status(True), "v-1": status(None)}),
    ],
    ids=str,
)
async def test_an_event_without_a_status_of_its_own_is_sent_again(result: Any) -> None:
    acks = await answered(reply({"e": result}))
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0)] * 2


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b"", 202),
        Raw(b"{}", 202),
        Raw(b"[]", 202),
        Raw(b"null", 202),
        Raw(b"<html>", 202),
        Raw(b'{"Results":', 202),
        Raw(b'{"Results":null}', 202),
        Raw(b'{"Results":[]}', 202),
        Raw(b'{"Results":202}', 202),
        Raw(b'{"EventsResponse":{"Results":{"e":202}}}', 202),
        Raw(b'{"Results":{"e":400,"e":202}}', 202),
        reply({}),
        reply({"nobody": 202}),
    ],
    ids=lambda raw: raw.body.decode(),
)
async def test_a_reply_that_does_not_speak_of_an_entry_does_not_acknowledge_it(raw: Raw) -> None:
    acks = await answered(raw)
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0)] * 2
    assert all(ack.detail for ack in acks)


async def test_answers_to_what_was_never_sent_change_nothing() -> None:
    acks = await answered(reply({"nobody": 400, "e": of({"v-0": YES, "v-1": YES, "v-9": status(400)})}))
    assert [ack.verdict for ack in acks] == [D, D]


async def test_the_service_may_spell_an_endpoint_id_in_another_case() -> None:
    acks = await answered(reply({"user-É": of({"v-0": YES})}), {"EndpointId": "User-é"})
    assert [ack.verdict for ack in acks] == [D]


async def test_every_index_of_a_batch_may_fail_alone() -> None:
    async with Sandbox() as sandbox, pinpoint(sandbox.url) as target:
        entries = batch(target, *({"EndpointId": f"e-{n % 3}"} for n in range(9)))
        for index in range(9):
            sandbox.faults.add(faults.refuse("400", entry=index))
            acks = await target.send(entries)
            assert [ack.verdict for ack in acks].count(X) == 1
            assert len([ack for ack in acks if ack.verdict is D]) == 8


FAILED = status(400, "bad address")


async def test_a_failed_update_of_an_endpoint_is_a_warning_beside_its_delivered_events() -> None:
    acks = await answered(reply({"e": of({"v-0": YES, "v-1": YES}, FAILED)}), UPDATE, UPDATE)
    assert [ack.verdict for ack in acks] == [D, D]


@pytest.mark.parametrize(("code", "verdict"), [(400, X), (404, X), (429, R), (500, R), (405, H)])
async def test_a_failed_update_of_an_endpoint_rejects_its_events_on_request(code: int, verdict: Verdict) -> None:
    raw = reply({"e": of({"v-0": YES, "v-1": status(500)}, status(code, "bad address"))})
    acks = await answered(raw, UPDATE, UPDATE, endpoint_errors="reject")
    assert acks[0] == Ack(verdict, str(code), "bad address (request r-1)")
    assert acks[1] == Ack(R, "500", "no (request r-1)")


@pytest.mark.parametrize("endpoint", [None, YES])
async def test_an_update_that_nothing_is_said_of_does_not_hurt_its_events(endpoint: Any) -> None:
    acks = await answered(reply({"e": of({"v-0": YES}, endpoint)}), UPDATE, endpoint_errors="reject")
    assert [ack.verdict for ack in acks] == [D]


async def test_an_event_that_updates_nothing_does_not_care_for_its_endpoint() -> None:
    acks = await answered(reply({"e": of({"v-0": YES}, FAILED)}), {}, endpoint_errors="reject")
    assert [ack.verdict for ack in acks] == [D]


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (of({}, YES), D),
        ({"EndpointItemResponse": YES}, D),
        (202, D),
        (of({}, FAILED), X),
        (of({}, status(503)), R),
        (of({}, status(429)), R),
        (400, X),
        ({}, R),
        (of({}, None), R),
    ],
    ids=str,
)
@pytest.mark.parametrize("policy", ["warn", "reject"])
async def test_an_update_without_an_event_lives_by_the_answer_to_its_endpoint(
    result: Any, verdict: Verdict, policy: str
) -> None:
    async with Wire([reply({"e": result})]) as wire, pinpoint(wire.url, endpoint_errors=policy) as target:
        acks = await target.send(ready(target, event({"EndpointId": "e", **UPDATE})))
    assert [ack.verdict for ack in acks] == [verdict]
    assert json.loads(wire.requests[0][1]) == {
        "BatchItem": {"e": {"Endpoint": {"OptOut": "ALL"}, "Events": {}}},
    }


async def test_a_call_goes_to_its_application_and_groups_events_by_endpoint() -> None:
    async with Wire([reply({})]) as wire, pinpoint(wire.url) as target:
        await target.send(batch(target, {"ApplicationId": "a b"}, {"EndpointId": "f"}, {}))
    assert wire.lines == [("POST", "/v1/apps/a%20b/events")]
    item = json.loads(wire.requests[0][1])["BatchItem"]
    assert {name: list(each["Events"]) for name, each in item.items()} == {"e": ["v-0", "v-2"], "f": ["v-1"]}
    assert "/eu-west-1/mobiletargeting/aws4_request" in wire.requests[0][0]["Authorization"]


def error(code: str, status: int = 400, **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(b'{"Message":"no","RequestID":"r-1"}', status, {"x-amzn-ErrorType": code, **named})


async def test_throttling_is_retried_and_may_tell_how_long_to_wait() -> None:
    acks = await answered(error("TooManyRequestsException", 429, Retry_After="7"))
    assert acks == [Ack(R, "TooManyRequestsException", "no (request r-1)", retry_after=7.0)] * 2


@pytest.mark.parametrize(
    "raw", [error("BadRequestException"), error("PayloadTooLargeException", 413), error("ValidationException")]
)
async def test_a_call_refused_for_an_event_it_does_not_name_is_halved(raw: Raw) -> None:
    with pytest.raises(BatchRefused) as refused:
        await answered(raw)
    assert refused.value.ack.verdict is X


async def test_a_missing_application_holds_for_one_of_the_settings_and_rejects_a_computed_one() -> None:
    async with Sandbox(applications=[]) as sandbox, pinpoint(sandbox.url, application_ids=["listed"]) as target:
        for name, verdict in (("shop", H), ("listed", H), ("computed", X)):
            acks = await target.send(batch(target, {"ApplicationId": name}, {"ApplicationId": name}))
            assert [(ack.verdict, ack.code) for ack in acks] == [(verdict, "NotFoundException")] * 2


async def test_an_application_that_a_route_names_in_so_many_words_is_held_for_and_looked_after() -> None:
    async with Sandbox(applications=[]) as sandbox, pinpoint(sandbox.url, application_id=None) as target:
        target.fed_by([{"ApplicationId": "named"}, {"ApplicationId": "app-${value.kind}"}, {}])
        for name, verdict in (("named", H), ("computed", X)):
            [ack] = await target.send(batch(target, {"ApplicationId": name}))
            assert ack.verdict is verdict
        assert (await target.preflight()).missing == ("named",)


@pytest.mark.parametrize(("word", "verdict"), [("retry", R), ("hold", H)])
async def test_codes_of_the_settings_bear_on_whole_calls_too(word: str, verdict: Verdict) -> None:
    acks = await answered(error("BadRequestException"), codes={"BadRequestException": word})
    assert [ack.verdict for ack in acks] == [verdict] * 2


async def test_a_bare_reply_of_the_simulator_is_read() -> None:
    async with Sandbox(faults=[faults.bare(202), faults.bare(400)]) as sandbox, pinpoint(sandbox.url) as target:
        entries = batch(target, {}, {})
        assert [ack.verdict for ack in await target.send(entries)] == [D, D]
        assert [ack.verdict for ack in await target.send(entries)] == [X, X]
        assert len(sandbox.accepted) == 2


async def test_a_missing_result_spoils_its_own_event_only() -> None:
    script = [faults.wrong_length(-1), faults.wrong_length(2)]
    async with Sandbox(faults=script) as sandbox, pinpoint(sandbox.url) as target:
        entries = batch(target, {}, {}, {})
        assert [ack.verdict for ack in await target.send(entries)] == [D, D, R]
        assert [ack.verdict for ack in await target.send(entries)] == [D, D, D]


async def test_the_endpoint_of_one_entry_may_fail() -> None:
    script = [faults.refuse_endpoint(400, entry=1)]
    async with Sandbox(faults=script) as sandbox, pinpoint(sandbox.url, endpoint_errors="reject") as target:
        entries = batch(target, {"EndpointId": "a", **UPDATE}, {"EndpointId": "b", **UPDATE})
        assert [ack.verdict for ack in await target.send(entries)] == [D, X]


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ({"Endpoint": {}}, 400),
        ({"Events": {}}, 400),
        ({"Endpoint": {"ChannelType": "FAX"}, "Events": {}}, [400]),
        ({"Endpoint": {"OptOut": "SOME"}, "Events": {}}, [400]),
        ({"Endpoint": {"Attributes": {"a": ["x" * 101]}}, "Events": {}}, [400]),
        ({"Endpoint": {"Address": "x" * 15_000}, "Events": {}}, [400]),
        ({"Endpoint": {}, "Events": {"v": {"EventType": "x", "Timestamp": "now"}}}, [202, 400]),
        ({"Endpoint": {}, "Events": {"v": {"EventType": "x"}}}, [202, 400]),
        (
            {"Endpoint": {}, "Events": {"v": {"EventType": "x", "Timestamp": TIME, "A": 1}}},
            [202, 400],
        ),
    ],
    ids=str,
)
async def test_the_simulator_fails_what_is_wrong_in_an_item_where_it_is_wrong(item: Any, found: Any) -> None:
    sandbox = Sandbox()
    parameters = {"ApplicationId": "shop", "EventsRequest": {"BatchItem": {"e": item}}}
    result = sandbox.perform(Call("PutEvents", parameters, 0, 100), ())["Results"]["e"]
    if isinstance(result, dict):
        answers = [result["EndpointItemResponse"], *result["EventsItemResponse"].values()]
        assert [answer["StatusCode"] for answer in answers] == found
    else:
        assert result == found
    assert sandbox.accepted == []


async def test_the_simulator_drops_an_event_with_a_long_value_and_says_yes_as_the_service_does() -> None:
    sandbox = Sandbox()
    made = {"EventType": "x", "Timestamp": "2026-01-02T03:04:05Z", "Attributes": {"a": "x" * 201}}
    item = {"Endpoint": {}, "Events": {"v": made}}
    parameters = {"ApplicationId": "shop", "EventsRequest": {"BatchItem": {"e": item}}}
    result = sandbox.perform(Call("PutEvents", parameters, 0, 100), ())["Results"]["e"]
    assert result["EventsItemResponse"]["v"]["StatusCode"] == 202
    assert (len(sandbox.accepted), len(sandbox.vanished)) == (0, 1)


async def test_preflight_asks_for_every_application_of_the_settings_and_names_the_missing_ones() -> None:
    async with Sandbox() as sandbox, pinpoint(sandbox.url, application_ids=["more"]) as target:
        found = await target.preflight()
        assert (found.health, found.missing) == (Health.MISSING, ("more",))
        sandbox.applications.add("more")
        assert await target.preflight() == Preflight(Health.OK)


async def test_preflight_that_may_not_ask_says_what_to_grant() -> None:
    async with Sandbox(faults=[faults.access_denied()]) as sandbox, pinpoint(sandbox.url) as target:
        found = await target.preflight()
        assert (found.health, found.code) == (Health.UNKNOWN, "ForbiddenException")
        assert "mobiletargeting:GetApp" in found.detail


async def test_preflight_with_computed_applications_only_has_nothing_to_ask_for() -> None:
    async with Wire([Raw()]) as wire, pinpoint(wire.url, application_id=None) as target:
        assert (await target.preflight()).health is Health.UNKNOWN
        assert wire.requests == []


@pytest.mark.parametrize("raw", [Raw(b""), Raw(b'{"Id":"other"}'), Raw(b"", 500), Raw(b"<html>", 404)])
async def test_preflight_that_gets_no_answer_does_not_know(raw: Raw) -> None:
    async with Wire([raw]) as wire, pinpoint(wire.url) as target:
        assert (await target.preflight()).health is Health.UNKNOWN


async def test_the_warning_of_a_failed_update_names_the_record_and_no_value() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with capture_logs() as logs:
        await answered(reply({"e": of({"v-0": YES}, FAILED)}), UPDATE)
    assert [(line["log_level"], line["code"], line["topic"], line["partition"], line["offset"]) for line in logs] == [
        ("warning", "400", "shop.orders.v1", 3, 0)
    ]
    assert "OptOut" not in str(logs)
