"""What needs a person is said in words that suffice: what, why, since when, what waits, where, the risk, what to do."""

from typing import Any

import pytest

from connector.operations.attention import attention, spoken
from connector.operations.status import Status
from tests.unit.test_admin import status_of_a_daemon


def titles(status: Status) -> list[tuple[str, bool]]:
    return [(need["title"], need["grave"]) for need in attention(status)]


def test_everything_that_stands_still_is_named_the_grave_first() -> None:
    assert titles(status_of_a_daemon()) == [
        ("orders-bus is held: AccessDeniedException", True),
        ("shop.orders.v1[1] stands at offset 97000: MissingValue", True),
        ("audit gets nothing through: BrokenPipe", True),
        ("Route everything-else is paused", True),
        ("Kafka: _TRANSPORT", True),
        ("The last reload was refused: the config before it is in force", False),
        ("audit: no right to ask whether the destination is there: AccessDenied", False),
    ]


def test_a_held_target_tells_code_time_next_try_waiting_place_risk_and_remedy() -> None:
    held = attention(status_of_a_daemon())[0]
    assert held["lines"] == [
        "It says: not authorized to perform: events:PutEvents <b>on</b> resource orders",
        "Since 2026-11-21 07:11:10 UTC, for 2 min 10 s. Next try in 18 s.",
        "4,990 waiting. It stands at shop.orders.v1[0], offset 115400.",
        "At risk: nothing is lost, nothing is committed past it. "
        "What waits stays in Kafka as long as its topic keeps it.",
        "To do: give the role events:PutEvents on the bus; the lane goes on by itself.",
    ]
    assert [act["label"] for act in held["acts"]] == ["Pause paid-orders"]


def test_a_record_that_is_at_fault_itself_can_be_skipped() -> None:
    status: Any = status_of_a_daemon()
    status["targets"][1]["held"]["route"] = "paid-orders"
    held, halted = attention(status)[:2]
    record = {"topic": "shop.orders.v1", "partition": "0", "offset": "115400"}
    skip = {"label": "Skip offset 115400", "route": "paid-orders", "what": "skip", "record": record}
    assert held["acts"][0] == skip
    assert halted["acts"] == [
        {**skip, "label": "Skip offset 97000", "record": {**record, "partition": "1", "offset": "97000"}}
    ]


def test_a_record_that_no_route_takes_is_skipped_as_unrouted() -> None:
    status: Any = status_of_a_daemon()
    status["halts"][0]["route"] = ""
    halted = attention(status)[1]
    assert halted["lines"][0] == "No route takes it: map.Source: value.channel is missing"
    assert halted["acts"][0]["route"] == "unrouted"


def test_a_service_that_fails_for_a_moment_is_not_grave() -> None:
    status: Any = status_of_a_daemon()
    status["targets"][0]["failing"]["since"] = "2026-11-21T07:13:18Z"
    assert ("audit gets nothing through: BrokenPipe", False) in titles(status)


def test_a_route_that_an_operator_paused_is_told_and_no_alarm() -> None:
    status: Any = status_of_a_daemon()
    status["routes"][1]["paused"] |= {"why": "operator", "reason": "paused by an operator"}
    assert ("Route everything-else is paused", False) in titles(status)


def test_nothing_is_said_where_everything_flows() -> None:
    status: Any = status_of_a_daemon()
    status |= {"halts": [], "reload": None}
    status["kafka"]["trouble"] = []
    for target in status["targets"]:
        target |= {"held": None, "failing": None, "full": False, "preflight": None}
    for route in status["routes"]:
        route["paused"] = None
    assert attention(status) == []


def test_dead_letters_of_late_are_told_by_route_and_code_and_old_ones_no_more() -> None:
    status: Any = status_of_a_daemon()
    status["dead_letters"]["codes"] = [
        {"route": "paid-orders", "code": "NotJSON", "count": 7, "last": "2026-11-21T07:13:15Z"},
        {"route": "", "code": "Unrouted", "count": 1, "last": "2026-11-21T06:13:15Z"},
    ]
    found = next(need for need in attention(status) if need["title"].startswith("Dead letters"))
    assert found["title"] == "Dead letters in orders-connector.dead: 112 since the start"
    assert found["lines"][0] == "Route paid-orders: NotJSON × 7, the last 5.0 s ago."
    assert not found["grave"]
    assert "Unrouted" not in str(found)


def test_a_full_target_a_missing_destination_and_a_stuck_daemon_are_told() -> None:
    status: Any = status_of_a_daemon()
    status["targets"][0] |= {
        "failing": None,
        "preflight": {"health": "missing", "code": "NotFound", "detail": "", "at": ""},
    }
    status["live"] = {"ok": False, "reason": "the consumer thread has not turned for 61 s"}
    found = titles(status)
    assert found[0] == ("The daemon is stuck", True)
    assert ("audit: the destination is missing: NotFound", True) in found
    assert ("audit is full", False) in found


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_times_are_spoken_as_people_do(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
