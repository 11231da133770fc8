"""Each shape that a reply can have, for every target that gets one: who is acknowledged, and who is not.

The replies are written by hand, so that they can be as wrong as no simulator would make them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import pytest
from aiohttp import web

from connector.model import Verdict
from connector.sandbox.fiddler import Fiddler as FiddlerSandbox
from connector.targets import REGISTRY
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_settings import FiddlerSettings
from tests.contract.test_wire_aws import made
from tests.contract.wire import Raw, Wire, event, ready, record, session

YES, AGAIN, NO = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED
WITHOUT_REPLIES: Final = {"stdout"}
NAMES: Final = (
    *("none failed", "the first failed", "the middle failed", "the last failed", "all failed"),
    *("reordered", "missing", "duplicated", "extra"),
)

EVENTS: Final[Mapping[str, list[dict[str, Any]]]] = {
    "eventbridge": [{"Source": "s", "DetailType": "d"}] * 3,
    "iot_events": [{"messageId": name} for name in "abc"],
    "pinpoint": [{"EndpointId": "e", "EventId": name, "EventType": "x"} for name in "abc"],
}


def results(*codes: str) -> dict[str, Any]:
    """A reply of EventBridge: an answer by position; an empty code is an event that was taken."""
    entries = [{"ErrorCode": code} if code else {"EventId": f"id-{index}"} for index, code in enumerate(codes)]
    return {"FailedEntryCount": sum(map(bool, codes)), "Entries": entries}


def failures(*named: tuple[str, str]) -> dict[str, Any]:
    """A reply of IoT Events: failures only, by message."""
    return {"BatchPutMessageErrorEntries": [{"messageId": name, "errorCode": code} for name, code in named]}


def statuses(*named: tuple[str, int], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A reply of Pinpoint: a status by endpoint and event."""
    events = {name: {"StatusCode": status} for name, status in named}
    return {"Results": {"e": {"EventsItemResponse": events}, **(more or {})}}


SLOW, BAD = "ThrottlingException", "InvalidRequestException"
MALFORMED = "MalformedDetail"
SHAPES: Final[Mapping[str, Mapping[str, tuple[Any, list[Verdict]]]]] = {
    "eventbridge": {
        "none failed": (results("", "", ""), [YES, YES, YES]),
        "the first failed": (results(SLOW, "", ""), [AGAIN, YES, YES]),
        "the middle failed": (results("", MALFORMED, ""), [YES, NO, YES]),
        "the last failed": (results("", "", SLOW), [YES, YES, AGAIN]),
        "all failed": (results(SLOW, MALFORMED, SLOW), [AGAIN, NO, AGAIN]),
        "reordered": (results(MALFORMED, SLOW, ""), [NO, AGAIN, YES]),  # the place is all that there is
        "missing": (results("", SLOW), [AGAIN] * 3),
        "duplicated": (results("", SLOW, SLOW, ""), [AGAIN] * 3),
        "extra": (results("", "", "", ""), [AGAIN] * 3),
    },
    "iot_events": {
        "none failed": (failures(), [YES, YES, YES]),
        "the first failed": (failures(("a", SLOW)), [AGAIN, YES, YES]),
        "the middle failed": (failures(("b", BAD)), [YES, NO, YES]),
        "the last failed": (failures(("c", SLOW)), [YES, YES, AGAIN]),
        "all failed": (failures(("a", SLOW), ("b", BAD), ("c", SLOW)), [AGAIN, NO, AGAIN]),
        "reordered": (failures(("c", SLOW), ("a", BAD)), [NO, YES, AGAIN]),
        "missing": ({"BatchPutMessageErrorEntries": [{"errorCode": SLOW}]}, [AGAIN] * 3),
        "duplicated": (failures(("b", BAD), ("b", BAD)), [YES, NO, YES]),
        "extra": (failures(("nobody", SLOW)), [AGAIN] * 3),
    },
    "pinpoint": {
        "none failed": (statuses(("a", 202), ("b", 202), ("c", 202)), [YES, YES, YES]),
        "the first failed": (statuses(("a", 500), ("b", 202), ("c", 202)), [AGAIN, YES, YES]),
        "the middle failed": (statuses(("a", 202), ("b", 400), ("c", 202)), [YES, NO, YES]),
        "the last failed": (statuses(("a", 202), ("b", 202), ("c", 429)), [YES, YES, AGAIN]),
        "all failed": (statuses(("a", 500), ("b", 400), ("c", 429)), [AGAIN, NO, AGAIN]),
        "reordered": (statuses(("c", 429), ("b", 202), ("a", 400)), [NO, YES, AGAIN]),
        "missing": (statuses(("a", 202), ("c", 202)), [YES, AGAIN, YES]),
        "duplicated": (
            b'{"Results":{"e":{"EventsItemResponse":{"a":{"StatusCode":400},"a":{"StatusCode":202}}}}}',
            [AGAIN] * 3,
        ),
        "extra": (
            statuses(("a", 202), ("b", 202), ("c", 202), ("d", 500), more={"nobody": 400}),
            [YES, YES, YES],
        ),
    },
}


def test_every_registered_target_has_every_shape() -> None:
    assert set(REGISTRY) == set(SHAPES) | set(OF_WHOLE_CALLS) | WITHOUT_REPLIES
    assert {tuple(shapes) for shapes in SHAPES.values()} == {NAMES}
    assert {tuple(shapes) for shapes in OF_WHOLE_CALLS.values()} == {NAMES_OF_WHOLE_CALLS}


CASES = [(kind, name) for kind, shapes in SHAPES.items() for name in shapes]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}-{name}" for kind, name in CASES])
async def test_a_reply_acknowledges_whom_it_names_and_nobody_else(kind: str, name: str) -> None:
    reply, verdicts = SHAPES[kind][name]
    body = reply if isinstance(reply, bytes) else orjson.dumps(reply)
    async with Wire([Raw(body)]) as wire, made(kind, wire.url) as target:
        events = (event(fields, record(timestamp_ms=1_700_000_000_000)) for fields in EVENTS[kind])
        acks = await target.send(ready(target, *events))
    assert [ack.verdict for ack in acks] == verdicts


NAMES_OF_WHOLE_CALLS: Final = ("none failed", "all failed", "reordered", "missing", "duplicated", "extra")
OF_WHOLE_CALLS: Final[Mapping[str, Mapping[str, tuple[Any, list[Verdict]]]]] = {
    "fiddler": {
        "none failed": ({"event_ids": ["1", "2", "3"]}, [YES] * 3),
        "all failed": ({}, [AGAIN] * 3),
        "reordered": ({"event_ids": ["3", "1", "2"]}, [YES] * 3),  # they are Fiddler's own: only their number tells
        "missing": ({"event_ids": ["1", "3"]}, [AGAIN] * 3),
        "duplicated": ({"event_ids": ["1", "2", "2", "3"]}, [AGAIN] * 3),
        "extra": ({"event_ids": ["1", "2", "3", "4"]}, [AGAIN] * 3),
    },
}
"""A service that answers for the call as a whole, and can say nothing of one entry."""


class Written(FiddlerSandbox):
    """A Fiddler that knows its models, and answers events with what was written for it."""

    reply = b""

    def routes(self) -> Iterable[web.RouteDef]:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=202, body=self.reply, content_type="application/json")

        mine = ("POST", "/v3/events")
        return [web.post(mine[1], answer), *(one for one in super().routes() if (one.method, one.path) != mine)]


@pytest.mark.parametrize("name", NAMES_OF_WHOLE_CALLS)
async def test_a_reply_for_the_whole_call_counts_only_if_it_fits_the_call(name: str) -> None:
    data, verdicts = OF_WHOLE_CALLS["fiddler"][name]
    read = {"token": "t", "project_name": "shop", "model_name": "churn"}
    async with Written() as service:
        service.reply = orjson.dumps({"data": {"source_type": "EVENTS", **data}, "kind": "NORMAL"})
        settings = FiddlerSettings.model_validate({"url": service.url, **read})
        async with Fiddler("fiddler", settings, sessions=session) as target:
            events = (event({"event": {"n": n}}, record(offset=n)) for n in range(3))
            acks = await target.send(ready(target, *events))
    assert [ack.verdict for ack in acks] == verdicts
