"""Each shape that a reply can have, for every target that gets one: who is acknowledged, and who is not.

The replies are written by hand, so that they can be as wrong as no simulator would make them.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import pytest

from connector.model import Verdict
from connector.targets import REGISTRY
from tests.contract.test_wire_aws import made
from tests.contract.wire import Raw, Wire, event, ready, record

YES, AGAIN, NO = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED
WITHOUT_REPLIES: Final = {"stdout", "fiddler"}
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
    assert set(SHAPES) == set(EVENTS)
    assert set(REGISTRY) <= set(SHAPES) | WITHOUT_REPLIES
    assert {tuple(shapes) for shapes in SHAPES.values()} == {NAMES}


CASES = [(kind, name) for kind, shapes in SHAPES.items() for name in shapes]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}-{name}" for kind, name in CASES])
async def test_a_reply_acknowledges_whom_it_names_and_nobody_else(kind: str, name: str) -> None:
    reply, verdicts = SHAPES[kind][name]
    body = reply if isinstance(reply, bytes) else orjson.dumps(reply)
    async with Wire([Raw(body)]) as wire, made(kind, wire.url) as target:
        events = (event(fields, record(timestamp_ms=1_700_000_000_000)) for fields in EVENTS[kind])
        acks = await target.send(ready(target, *events))
    assert [ack.verdict for ack in acks] == verdicts
