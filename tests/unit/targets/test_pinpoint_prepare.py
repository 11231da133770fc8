"""Pinpoint.prepare and its settings: event and endpoint on the wire, sizes, seats in a call, and what is refused."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.batch import Trigger, pack
from connector.model import Event, Prepared, Unpublishable
from connector.targets import REGISTRY
from connector.targets.contract import Leaf
from connector.targets.pinpoint import CHANNELS, ENDPOINT, EVENT, KIND, MAP, Pinpoint, PinpointSettings, iso
from tests.contract.wire import event, ready, record

AT = {"type": "pinpoint", "endpoint_url": "http://127.0.0.1:9"}
MINIMAL = {"EndpointId": "e", "EventType": "x", "Timestamp": "2026-01-02T03:04:05Z"}
TIME = "2026-01-02T03:04:05.000Z"


def settings(**more: Any) -> PinpointSettings:
    return PinpointSettings.model_validate({**AT, "application_id": "shop", **more})


def target(**more: Any) -> Pinpoint:
    return Pinpoint("pinpoint", settings(**more))


def prepare(fields: dict[str, Any], **more: Any) -> Prepared:
    return target(**more).prepare(event(fields))


def refused(fields: dict[str, Any], **more: Any) -> tuple[str, str]:
    with pytest.raises(Unpublishable) as error:
        prepare(fields, **more)
    assert error.value.reason
    return error.value.path, error.value.code


def test_the_registry_makes_it_and_says_that_aws_ended_it() -> None:
    kind = REGISTRY["pinpoint"]
    assert isinstance(kind.make("pinpoint", settings()), Pinpoint)
    assert "2026-10-30" in kind.retired
    assert {name for name, leaf in kind.map.items() if leaf.required} == {"EndpointId"}


def _names(shapes: Any, name: str, found: set[str], prefix: str = "") -> set[str]:
    shape = shapes[name]
    for member, below in shape.get("members", {}).items():
        found.add(prefix + member)
        if shapes[below["shape"]]["type"] == "structure":
            _names(shapes, below["shape"], found, f"{prefix}{member}.")
    return found


def _leaves(fields: Any, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, leaf in fields.items():
        assert isinstance(leaf, Leaf)
        found |= {prefix + name} | _leaves(leaf.fields or {}, f"{prefix}{name}.")
    return found


def test_map_and_checks_have_every_parameter_of_the_service_model() -> None:
    shapes = Loader().load_service_model("pinpoint", "service-2")["shapes"]
    wanted = {"ApplicationId", "EndpointId", "EventId", "Endpoint"} | _names(shapes, "Event", set())
    assert _leaves(MAP) == wanted | _names(shapes, "PublicEndpoint", set(), "Endpoint.")
    assert set(EVENT) == set(shapes["Event"]["members"])
    assert set(ENDPOINT) == set(shapes["PublicEndpoint"]["members"])
    assert list(CHANNELS) == shapes["ChannelType"]["enum"]


def test_what_is_left_out_comes_from_the_record_and_the_settings() -> None:
    made = event({"EndpointId": "e", "EventType": "x"}, record(offset=7, timestamp_ms=1_700_000_000_123))
    prepared = target().prepare(made)
    assert prepared.body == {
        "EndpointId": "e",
        "Endpoint": {},
        "EventId": "shop.orders.v1-3-7/paid",
        "Event": {"EventType": "x", "Timestamp": "2023-11-14T22:13:20.123Z"},
    }
    assert prepared.group == "shop"
    items = {"e": {"Endpoint": {}, "Events": {"shop.orders.v1-3-7/paid": prepared.body["Event"]}}}
    assert prepared.size == len(json.dumps(items))


def test_a_mapped_application_is_the_group() -> None:
    assert prepare({**MINIMAL, "ApplicationId": "other"}).group == "other"


def test_a_record_without_a_time_must_map_one() -> None:
    assert refused({"EndpointId": "e", "EventType": "x"}) == ("Timestamp", "Missing")


@pytest.mark.parametrize(
    ("time", "written"),
    [
        ("2026-01-02T03:04:05Z", TIME),
        ("2026-01-02t05:04:05.9999+02:00", "2026-01-02T03:04:05.999Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))), TIME),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(time: Any, written: str) -> None:
    session = {"Id": "s", "StartTimestamp": time, "StopTimestamp": time}
    body = prepare({**MINIMAL, "Timestamp": time, "Session": session, "Endpoint": {"EffectiveDate": time}}).body
    assert body["Event"]["Timestamp"] == written
    assert body["Event"]["Session"] == {"Id": "s", "StartTimestamp": written, "StopTimestamp": written}
    assert body["Endpoint"] == {"EffectiveDate": written}


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_of_the_calendar_can_be_written(milliseconds: int) -> None:
    written = datetime.fromisoformat(iso(milliseconds))
    since = written - datetime(1970, 1, 1, tzinfo=UTC)
    assert since // timedelta(milliseconds=1) == milliseconds


def test_degrees_go_out_to_one_decimal() -> None:
    body = prepare({**MINIMAL, "Endpoint": {"Location": {"Latitude": 47.3769, "Longitude": -8}}}).body
    assert body["Endpoint"]["Location"] == {"Latitude": 47.4, "Longitude": -8.0}


def test_an_endpoint_may_be_updated_without_an_event() -> None:
    body = prepare({"EndpointId": "e", "Endpoint": {"OptOut": "ALL"}}).body
    assert body == {"EndpointId": "e", "Endpoint": {"OptOut": "ALL"}}


NUMBERS = {str(n): 1.0 for n in range(41)}
TEXTS = {str(n): "x" for n in range(41)}


@pytest.mark.parametrize(
    ("fields", "where", "code"),
    [
        ({"eventType": "x"}, "eventType", "UnknownField"),
        ({"EndpointId": ""}, "EndpointId", "Missing"),
        ({"EndpointId": 7}, "EndpointId", "WrongType"),
        ({"EndpointId": "a$b"}, "EndpointId", "BadEndpointId"),
        ({"EndpointId": "{a}"}, "EndpointId", "BadEndpointId"),
        ({"ApplicationId": ""}, "ApplicationId", "Missing"),
        ({"EventId": ""}, "EventId", "Missing"),
        ({"EventType": ""}, "EventType", "Missing"),
        ({"EventType": None}, "EventType", "WrongType"),
        ({"AppTitle": 7}, "AppTitle", "WrongType"),
        ({"AppTitle": "\ud800"}, "AppTitle", "NotUTF8"),
        ({"Timestamp": "yesterday"}, "Timestamp", "BadTime"),
        ({"Timestamp": "2026-01-02T03:04:05"}, "Timestamp", "BadTime"),
        ({"Timestamp": 7}, "Timestamp", "WrongType"),
        ({"Attributes": []}, "Attributes", "WrongType"),
        ({"Attributes": {"a": 1}}, "Attributes (value 1)", "WrongType"),
        ({"Attributes": {"a": "x" * 201}}, "Attributes (value 1)", "TooLong"),
        ({"Attributes": {"x" * 51: "a"}}, "Attributes (key 1)", "TooLong"),
        ({"Attributes": TEXTS}, "Attributes", "TooMany"),
        ({"Attributes": {"a": "b"}, "Metrics": {str(n): 1 for n in range(40)}}, "Attributes", "TooMany"),
        ({"Metrics": {"a": "1"}}, "Metrics (value 1)", "WrongType"),
        ({"Metrics": {"a": True}}, "Metrics (value 1)", "WrongType"),
        ({"Metrics": {"a": float("nan")}}, "Metrics (value 1)", "NotFinite"),
        ({"Metrics": {"b": 1, "a": float("inf")}}, "Metrics (value 2)", "NotFinite"),
        ({"Metrics": {"a": 10**400}}, "Metrics (value 1)", "NotFinite"),
        ({"Session": {"Id": "s"}}, "Session.StartTimestamp", "Missing"),
        ({"Session": {"StartTimestamp": TIME}}, "Session.Id", "Missing"),
        ({"Session": {"Id": "s", "StartTimestamp": "x"}}, "Session.StartTimestamp", "BadTime"),
        ({"Session": {"Id": "s", "StartTimestamp": TIME, "Duration": 1.5}}, "Session.Duration", "WrongType"),
        ({"Session": {"Id": "s", "StartTimestamp": TIME, "Duration": 2**31}}, "Session.Duration", "OutOfRange"),
        ({"Session": {"Id": "s", "StartTimestamp": TIME, "End": 1}}, "Session.End", "UnknownField"),
        ({"Endpoint": None}, "Endpoint", "WrongType"),
        ({"Endpoint": {"address": "a"}}, "Endpoint.address", "UnknownField"),
        ({"Endpoint": {"ChannelType": "FAX"}}, "Endpoint.ChannelType", "NotAllowed"),
        ({"Endpoint": {"EndpointStatus": "active"}}, "Endpoint.EndpointStatus", "NotAllowed"),
        ({"Endpoint": {"OptOut": "SOME"}}, "Endpoint.OptOut", "NotAllowed"),
        ({"Endpoint": {"EffectiveDate": "2026"}}, "Endpoint.EffectiveDate", "BadTime"),
        ({"Endpoint": {"Demographic": {"Colour": "x"}}}, "Endpoint.Demographic.Colour", "UnknownField"),
        ({"Endpoint": {"Demographic": {"Make": 1}}}, "Endpoint.Demographic.Make", "WrongType"),
        ({"Endpoint": {"Location": {"Latitude": 91}}}, "Endpoint.Location.Latitude", "OutOfRange"),
        ({"Endpoint": {"Location": {"Longitude": -180.1}}}, "Endpoint.Location.Longitude", "OutOfRange"),
        ({"Endpoint": {"Location": {"Country": "CHE"}}}, "Endpoint.Location.Country", "NotAllowed"),
        ({"Endpoint": {"Attributes": {"a": "red"}}}, "Endpoint.Attributes (value 1)", "WrongType"),
        ({"Endpoint": {"Attributes": {"a": ["x" * 101]}}}, "Endpoint.Attributes (value 1)[0]", "TooLong"),
        ({"Endpoint": {"Attributes": {"a": ["x"] * 51}}}, "Endpoint.Attributes (value 1)", "TooMany"),
        ({"Endpoint": {"Attributes": {"x" * 51: []}}}, "Endpoint.Attributes (key 1)", "TooLong"),
        ({"Endpoint": {"Metrics": {"x" * 51: 1}}}, "Endpoint.Metrics (key 1)", "TooLong"),
        (
            {"Endpoint": {"User": {"UserAttributes": {"a": ["x" * 101]}}}},
            "Endpoint.User.UserAttributes (value 1)[0]",
            "TooLong",
        ),
        ({"Endpoint": {"User": {"UserAttributes": {"x" * 51: []}}}}, "Endpoint.User.UserAttributes (key 1)", "TooLong"),
        ({"Endpoint": {"Attributes": {str(n): [] for n in range(251)}}}, "Endpoint", "TooMany"),
        (
            {"Endpoint": {"Metrics": {str(n): 1 for n in range(125)}, "Attributes": {str(n): [] for n in range(126)}}},
            "Endpoint",
            "TooMany",
        ),
        ({"Endpoint": {"Address": "x" * 15_000}}, "Endpoint", "TooLarge"),
        ({"AppTitle": "x" * 1_000_000}, "", "TooLarge"),
    ],
)
def test_what_the_service_could_never_take_or_would_drop_is_refused(
    fields: dict[str, Any], where: str, code: str
) -> None:
    assert refused({**MINIMAL, **fields}) == (where, code)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"EventType": "x", "Timestamp": TIME}, "EndpointId"),
        ({"EndpointId": "e"}, "EventType"),
        ({"EndpointId": "e", "Endpoint": {}}, "EventType"),
        ({"EndpointId": "e", "Attributes": {"a": "b"}, "Endpoint": {"OptOut": "ALL"}}, "EventType"),
        ({"EndpointId": "e", "EventId": "v", "Endpoint": {"OptOut": "ALL"}}, "EventType"),
    ],
)
def test_what_is_missing_is_named(fields: dict[str, Any], where: str) -> None:
    assert refused(fields) == (where, "Missing")


def test_an_event_without_an_application_is_refused() -> None:
    assert refused(MINIMAL, application_id=None) == ("ApplicationId", "Missing")


def test_the_last_key_and_the_last_character_pass() -> None:
    attributes = {"k" * 50: "v" * 200} | {str(n): "" for n in range(38)}
    assert prepare({**MINIMAL, "Attributes": attributes, "Metrics": {"m": 1}}).body["Event"]["Attributes"] == attributes


def test_a_refusal_repeats_no_value_and_no_key_of_the_user() -> None:
    with pytest.raises(Unpublishable) as error:
        prepare({**MINIMAL, "Attributes": {"secret-key": ["secret-value"]}})
    assert "secret" not in str(error.value)


def calls(*fields: dict[str, Any], **more: Any) -> list[list[int]]:
    """How these events fall into calls: the number of each in the order given."""
    made = target(**more)
    entries = ready(made, *(event({**MINIMAL, **each}, record(offset=n)) for n, each in enumerate(fields)))
    closed = pack(entries, made.limits, Trigger.FLUSH)
    return [[entry.event.record.offset for entry in each.batch] for each in closed]


A, B = {"Endpoint": {"Metrics": {"a": 1, "b": 2}}}, {"Endpoint": {"Metrics": {"b": 2, "a": 1}}}
C = {"Endpoint": {"OptOut": "ALL"}}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([{}, {}, {}], [[0, 1, 2]]),
        ([A, B, A], [[0, 1, 2]]),  # one body, however its keys are ordered
        ([A, C], [[0], [1]]),
        ([{}, A, {}], [[0], [1], [2]]),
        ([A, {**C, "EndpointId": "other"}], [[0, 1]]),
        ([{"EndpointId": "User"}, {"EndpointId": "user"}, {"EndpointId": "USER"}], [[0], [1], [2]]),
        ([{"EndpointId": "a"}, {"EndpointId": "b"}, {"EndpointId": "a"}], [[0, 1, 2]]),
        ([{"EventId": "v"}, {"EventId": "v"}], [[0], [1]]),
        ([{"EventId": "v"}, {"EventId": "v", "EndpointId": "other"}], [[0, 1]]),
        ([{"ApplicationId": "p"}, {"ApplicationId": "q"}, {"ApplicationId": "p"}], [[0, 2], [1]]),
        ([{**A, "EventId": "1"}, {**A, "EventId": "2"}, {**A, "EventId": "1"}], [[0, 1], [2]]),
    ],
)
def test_events_of_an_endpoint_share_a_call_unless_one_of_them_would_be_lost(
    fields: list[dict[str, Any]], found: list[list[int]]
) -> None:
    assert calls(*fields) == found


def test_updates_of_one_body_share_a_call_and_of_two_do_not() -> None:
    made = target()
    bodies: list[dict[str, Any]] = [C, C, {"Endpoint": {"OptOut": "NONE"}}]
    entries = ready(made, *(event({"EndpointId": "e", **each}) for each in bodies))
    assert [len(each.batch) for each in pack(entries, made.limits, Trigger.FLUSH)] == [2, 1]


_ENDPOINTS = st.sampled_from(["a", "A", "b"])
_BODIES = st.sampled_from([{}, {"OptOut": "ALL"}, {"OptOut": "NONE"}])
_EVENTS = st.sampled_from(["1", "2", "3"])


@given(st.lists(st.tuples(_ENDPOINTS, _BODIES, _EVENTS), max_size=30))
def test_no_call_ever_loses_an_event_or_a_body(rows: list[tuple[str, dict[str, str], str]]) -> None:
    made = target()
    entries = ready(
        made, *(event({**MINIMAL, "EndpointId": one, "Endpoint": body, "EventId": it}) for one, body, it in rows)
    )
    batches = [closed.batch for closed in pack(entries, made.limits, Trigger.FLUSH)]
    assert sum(map(len, batches)) == len(rows)
    for batch in batches:
        held: dict[str, tuple[str, Any]] = {}
        seen = set()
        for entry in batch:
            body = entry.body
            mine = (body["EndpointId"], body["Endpoint"])
            assert held.setdefault(body["EndpointId"].lower(), mine) == mine
            assert (body["EndpointId"], body["EventId"]) not in seen
            seen.add((body["EndpointId"], body["EventId"]))


def test_a_full_call_stays_below_four_megabytes_and_a_hundred_events() -> None:
    fields = [{"EndpointId": f"é{n}", "AppTitle": "x" * 100_000} for n in range(101)]
    assert [len(each) for each in calls(*fields)] == [39, 39, 23]
    assert [len(each) for each in calls(*[{} for _ in range(101)])] == [100, 1]
    limits = target().limits
    assert (limits.entries, limits.bytes, limits.entry_bytes) == (100, 3_999_985, 3_999_985)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"endpoint_url": None}, "endpoint_url"),
        ({"batch": {"max_entries": 101}}, "100 events"),
        ({"batch": {"max_bytes": "4MB"}}, "max_bytes"),
        ({"batch": {"max_bytes": 0}}, "max_bytes"),
        ({"application_id": "a/b"}, "application_id"),
        ({"endpoint_errors": "ignore"}, "endpoint_errors"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**more)
    assert word in str(error.value)


@pytest.mark.parametrize(
    ("tree", "more", "where"),
    [
        ({"EventType": "x"}, {}, []),
        ({"Endpoint": {"OptOut": "ALL"}}, {}, []),
        ({"EventType": "x", "ApplicationId": "shop"}, {}, []),
        ({"EventType": "x", "ApplicationId": "other"}, {"application_ids": ["other"]}, []),
        ({"EventType": "x", "ApplicationId": "${value.app}"}, {"application_id": None}, []),
        ({"EventType": "x"}, {"application_id": None}, [()]),
        ({"EventType": "x", "ApplicationId": "other"}, {"application_id": None}, []),
        ({"Endpoint": {}, "Metrics": {}}, {}, [("Metrics",)]),
        ({}, {}, [()]),
    ],
)
def test_check_finds_what_no_record_could_mend(tree: dict[str, Any], more: dict[str, Any], where: list[Any]) -> None:
    assert KIND.check is not None
    found = list(KIND.check(settings(**more), {"EndpointId": "e", **tree}))
    assert [path for path, _, _ in found] == where
    assert all(message and mend for _, message, mend in found)


def test_an_entry_is_shown_as_it_is_sent() -> None:
    made = Event(record(), "r", "t", MINIMAL, "id")
    body = target().prepare(made).body
    assert json.loads(json.dumps(KIND.show(body))) == body
