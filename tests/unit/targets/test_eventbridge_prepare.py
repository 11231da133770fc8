"""EventBridge.prepare: the entry on the wire, its size, and what is refused before it can spoil a batch."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.model import Event, Prepared, Unpublishable
from connector.targets import REGISTRY
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from tests.contract.wire import event, record

MINIMAL = {"Source": "com.acme", "DetailType": "Order", "Detail": {"a": 1}}


def bridge(**settings: Any) -> EventBridge:
    return EventBridge("bus", EventBridgeSettings.model_validate({"id_to": "none", **settings}))


def prepare(made: Event, **settings: Any) -> Prepared:
    return bridge(**settings).prepare(made)


def refused(made: Event, **settings: Any) -> tuple[str, str]:
    with pytest.raises(Unpublishable) as error:
        prepare(made, **settings)
    assert error.value.reason
    return error.value.path, error.value.code


def test_the_registry_makes_it() -> None:
    kind = REGISTRY["eventbridge"]
    assert isinstance(kind.make("bus", EventBridgeSettings()), EventBridge)
    assert {name for name, leaf in kind.map.items() if leaf.required} == {"Source", "DetailType"}


def test_every_field_goes_on_the_wire_as_the_api_has_it() -> None:
    fields = {
        "Source": "com.acme",
        "DetailType": "Order PAID",
        "Detail": {"total": 12.5, "name": "Zoë"},
        "Resources": ["arn:aws:s3:::acme"],
        "Time": datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC),
        "EventBusName": "orders",
        "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    }
    prepared = prepare(event(fields), event_bus="orders")
    assert prepared.body == {
        "Source": "com.acme",
        "DetailType": "Order PAID",
        "Detail": '{"total":12.5,"name":"Zoë"}',
        "Resources": ["arn:aws:s3:::acme"],
        "Time": 1767323045.678,
        "EventBusName": "orders",
        "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    }
    assert prepared.size == 8 + 10 + 28 + 17 + 14  # ë is two bytes; bus name and trace header count nothing
    assert (prepared.group, prepared.unique) == ("", None)
    assert json.dumps(prepared.body)


def test_detail_and_time_default_to_the_record() -> None:
    made = event({"Source": "a", "DetailType": "b"}, record(b'{"n": 1.10}', timestamp_ms=1_700_000_000_123))
    assert prepare(made).body == {
        "Source": "a",
        "DetailType": "b",
        "Detail": '{"n": 1.10}',
        "Time": 1_700_000_000.123,
        "EventBusName": "default",
    }


@pytest.mark.parametrize("timestamp_ms", [-1, 253_402_300_800_000, 1_700_000_000_000_000])
def test_a_record_without_a_usable_timestamp_leaves_the_time_to_eventbridge(timestamp_ms: int) -> None:
    prepared = prepare(event({"Source": "a", "DetailType": "b"}, record(b"{}", timestamp_ms=timestamp_ms)))
    assert "Time" not in prepared.body
    assert prepared.size == 4


@given(st.integers(0, 253_402_300_799_999))
def test_record_timestamps_keep_their_milliseconds(timestamp_ms: int) -> None:
    prepared = prepare(event(MINIMAL, record(timestamp_ms=timestamp_ms)))
    assert round(prepared.body["Time"] * 1000) == timestamp_ms


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02t03:04:05.5z", 1767323045.5),
        ("2026-01-02T03:04:05.1239999999+02:00", 1767315845.123),
        (datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))), 1767323045.0),
        ("1969-12-31T23:59:59.5Z", -0.5),
    ],
)
def test_a_time_may_be_text_or_a_moment(time: Any, seconds: float) -> None:
    assert prepare(event({**MINIMAL, "Time": time})).body["Time"] == seconds


@pytest.mark.parametrize(
    ("time", "code"),
    [
        ("yesterday", "BadTime"),
        ("", "BadTime"),
        ("2026-01-02", "BadTime"),
        ("20260102T030405Z", "BadTime"),
        ("2026-01-02T03:04:05", "BadTime"),
        ("2026-13-02T03:04:05Z", "BadTime"),
        ("2026-01-02T03:04:05+99:00", "BadTime"),
        ("0001-01-01T00:00:00+23:59", "BadTime"),
        ("9999-12-31T23:59:59-23:59", "BadTime"),
        ("２０26-01-02T03:04:05Z", "BadTime"),
        (datetime(2026, 1, 2), "BadTime"),  # noqa: DTZ001  # a time without a zone is the point
        (1767323045, "WrongType"),
        (None, "WrongType"),
    ],
)
def test_a_time_that_is_none_is_refused(time: Any, code: str) -> None:
    assert refused(event({**MINIMAL, "Time": time})) == ("Time", code)


@pytest.mark.parametrize(
    ("field", "value", "path", "code"),
    [
        ("Source", "", "Source", "Missing"),
        ("Source", None, "Source", "WrongType"),
        ("Source", 7, "Source", "WrongType"),
        ("Source", "aws.s3", "Source", "ReservedSource"),
        ("Source", "\ud800", "Source", "NotUTF8"),
        ("DetailType", "", "DetailType", "Missing"),
        ("DetailType", "x" * 129, "DetailType", "TooLong"),
        ("DetailType", ["x"], "DetailType", "WrongType"),
        ("Detail", [], "Detail", "NotAnObject"),
        ("Detail", "[]", "Detail", "NotAnObject"),
        ("Detail", '"text"', "Detail", "NotAnObject"),
        ("Detail", None, "Detail", "NotAnObject"),
        ("Detail", 1, "Detail", "NotAnObject"),
        ("Detail", "NotJSON", "Detail", "MalformedJson"),
        ("Detail", "{{}", "Detail", "MalformedJson"),
        ("Detail", b"\xff", "Detail", "NotUTF8"),
        ("Detail", '{"a":1,"a":2}', "Detail", "DuplicateKey"),
        ("Detail", '{"a":NaN}', "Detail", "NotFinite"),
        ("Detail", {"a": [float("inf")]}, "Detail.a[0]", "NotFinite"),
        ("Detail", {"a": 2**63}, "Detail.a", "IntegerOutOfRange"),
        ("Detail", '{"a":9223372036854775808}', "Detail", "IntegerOutOfRange"),
        ("Detail", {"a": b"x"}, "Detail.a", "WrongType"),
        ("Detail", '{"a":' * 10_000 + "1" + "}" * 10_000, "Detail", "TooDeep"),
        ("Resources", "arn", "Resources", "WrongType"),
        ("Resources", None, "Resources", "WrongType"),
        ("Resources", ["a", None], "Resources[1]", "WrongType"),
        ("Resources", ["a", "x" * 2049], "Resources[1]", "TooLong"),
        ("TraceHeader", "", "TraceHeader", "BadTraceHeader"),
        ("TraceHeader", "abc", "TraceHeader", "BadTraceHeader"),
        ("TraceHeader", "Parent=53995c3f42cd8ad8;Sampled=1", "TraceHeader", "BadTraceHeader"),
        ("TraceHeader", "Root=1-5759e988-bd862e3f", "TraceHeader", "BadTraceHeader"),
        ("TraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793;;", "TraceHeader", "BadTraceHeader"),
        ("TraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793;A=" + "x" * 500, "TraceHeader", "TooLong"),
        ("TraceHeader", 1, "TraceHeader", "WrongType"),
        ("EventBusName", "", "EventBusName", "BadBusName"),
        ("EventBusName", "or ders", "EventBusName", "BadBusName"),
        ("EventBusName", "ördérs", "EventBusName", "BadBusName"),
        ("EventBusName", "orders\n", "EventBusName", "BadBusName"),
        ("EventBusName", "arn:aws:sqs:eu-west-1:000000000000:orders", "EventBusName", "BadBusName"),
        ("EventBusName", "x" * 1601, "EventBusName", "TooLong"),
        ("EventBusName", "other", "EventBusName", "UnlistedBus"),
        ("EventBusName", 1, "EventBusName", "WrongType"),
        ("Detial", {}, "Detial", "UnknownField"),
    ],
)
def test_what_the_service_can_never_take_is_refused_with_its_field(
    field: str, value: Any, path: str, code: str
) -> None:
    assert refused(event({**MINIMAL, field: value})) == (path, code)


@pytest.mark.parametrize("missing", ["Source", "DetailType"])
def test_source_and_detail_type_must_be_there(missing: str) -> None:
    fields = {name: value for name, value in MINIMAL.items() if name != missing}
    assert refused(event(fields)) == (missing, "Missing")


@pytest.mark.parametrize(
    ("value", "code"), [(None, "NotAnObject"), (b"", "MalformedJson"), (b"\x00\x01", "MalformedJson")]
)
def test_a_record_whose_value_is_no_object_is_refused(value: bytes | None, code: str) -> None:
    assert refused(event({"Source": "a", "DetailType": "b"}, record(value))) == ("Detail", code)


def test_a_hostile_value_of_ten_thousand_levels_is_refused_and_hurts_nothing() -> None:
    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"a": value}
    assert refused(event({**MINIMAL, "Detail": value})) == ("Detail", "TooDeep")
    while value:
        value = value["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Source", "aws-like"),
        ("Source", "AWS.s3"),
        ("DetailType", "é" * 128),
        ("Resources", []),
        ("Resources", ["x" * 2048]),
        ("Detail", "{}"),
        ("Detail", '{"a":' * 1000 + "1" + "}" * 1000),
        ("TraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793"),
        ("TraceHeader", "Self=1-5759e988-bd862e3fe1be46a994272794;Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?"),
        ("TraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793;A=" + "x" * (500 - 43)),
        ("EventBusName", "default"),
        ("EventBusName", "arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/my_bus.1-x"),
    ],
)
def test_the_edge_of_each_rule_passes(field: str, value: Any) -> None:
    arn = "arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/my_bus.1-x"
    assert prepare(event({**MINIMAL, field: value}), event_buses=[arn]).body["Source"]


def test_a_detail_given_as_text_keeps_every_byte() -> None:
    text = '{ "price": 1.10, "big": 0.12345678901234567890 }'
    assert prepare(event({**MINIMAL, "Detail": text})).body["Detail"] == text
    assert prepare(event({**MINIMAL, "Detail": text.encode()})).body["Detail"] == text


def test_an_entry_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    room = 1_047_552 - 8 - 5 - 14 - len('{"a":"é"}'.encode()) - 3
    fields = {"Source": "com.acme", "DetailType": "Order", "Resources": ["é!"], "Time": "2026-01-01T00:00:00Z"}
    assert prepare(event({**fields, "Detail": {"a": "é" + "x" * room}})).size == 1_047_552
    assert refused(event({**fields, "Detail": {"a": "é" + "x" * (room + 1)}})) == ("Detail", "TooLarge")


def test_the_limit_of_the_256_kb_regions_is_set_with_max_bytes() -> None:
    small = {"batch": {"max_bytes": "256KiB"}}
    assert bridge(**small).limits.bytes == 262_144
    assert prepare(event({**MINIMAL, "Detail": {"a": "x" * 262_000}}), **small).size == 262_021
    assert refused(event({**MINIMAL, "Detail": {"a": "x" * 263_000}}), **small) == ("Detail", "TooLarge")


def test_the_full_megabyte_is_there_for_those_who_ask() -> None:
    assert bridge(batch={"max_bytes": "1MiB"}).limits.bytes == 1_048_576


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"batch": {"max_entries": 11}}, "10 entries"),
        ({"batch": {"max_bytes": "1025KiB"}}, "1048576"),
        ({"batch": {"max_bytes": "0B"}}, "1 to 1048576"),
        ({"event_buses": ["ok", "not ok"]}, "event_buses.1"),
        ({"event_bus": "not ok"}, "event_bus"),
        ({"id_to": "detail"}, "id_to"),
        ({"id_to": "detail..x"}, "id_to"),
        ({"id_to": "Resources"}, "id_to"),
        ({"endpoint_id": "abcde"}, "endpoint_id"),
        ({"region": "Ireland"}, "region"),
        ({"endpoint_url": "localhost:4566"}, "endpoint_url"),
        ({"role_arn": "orders"}, "role_arn"),
        ({"external_id": "abc"}, "role_arn"),
        ({"bus": "orders"}, "bus"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError) as error:
        EventBridgeSettings.model_validate(settings)
    assert word in str(error.value)


def test_the_redelivery_id_goes_to_resources_by_default() -> None:
    target = EventBridge("bus", EventBridgeSettings())
    made = event({**MINIMAL, "Resources": ["arn:aws:s3:::acme"]}, record(offset=7))
    prepared = target.prepare(made)
    assert prepared.body["Resources"] == ["arn:aws:s3:::acme", "shop.orders.v1-3-7/paid"]
    assert prepared.size == 8 + 5 + 7 + 17 + 23


def test_the_redelivery_id_can_go_into_the_detail() -> None:
    put = {"id_to": "detail.meta.id"}
    fields = {**MINIMAL, "Detail": {"a": 1, "meta": {"x": 2}}}
    kept = deepcopy(fields)
    made = event(fields, record(offset=7))
    assert prepare(made, **put).body["Detail"] == '{"a":1,"meta":{"x":2,"id":"shop.orders.v1-3-7/paid"}}'
    assert fields == kept
    assert "Resources" not in prepare(made, **put).body
    as_text = event({**MINIMAL, "Detail": '{ "a": 1 }'}, record(offset=7))
    assert prepare(as_text, **put).body["Detail"] == '{"a":1,"meta":{"id":"shop.orders.v1-3-7/paid"}}'
    assert refused(event({**MINIMAL, "Detail": {"meta": "x"}}), **put) == ("Detail.meta", "WrongType")


@given(st.text(min_size=1, max_size=128), st.dictionaries(st.text(), st.text() | st.integers()), st.lists(st.text()))
def test_prepare_answers_or_refuses_and_counts_what_it_sends(
    text: str, detail: dict[str, Any], resources: list[str]
) -> None:
    fields = {"Source": text, "DetailType": text, "Detail": detail, "Resources": resources}
    try:
        prepared = prepare(event(fields))
    except Unpublishable:
        return
    body = prepared.body
    counted = [body["Source"], body["DetailType"], body["Detail"], *body.get("Resources", [])]
    assert prepared.size == sum(len(part.encode()) for part in counted)


def test_no_refusal_repeats_a_value() -> None:
    secret = "s3cr3t-payload"
    for fields in (
        {**MINIMAL, "Detail": {"a": secret, "b": float("nan")}},
        {**MINIMAL, "Detail": f'{{"a":"{secret}",}}'},
        {**MINIMAL, "Detail": secret},
        {**MINIMAL, "TraceHeader": secret},
        {**MINIMAL, "EventBusName": f"{secret} x"},
        {**MINIMAL, "EventBusName": secret},
        {**MINIMAL, "Time": secret},
        {**MINIMAL, "DetailType": secret * 20},
    ):
        with pytest.raises(Unpublishable) as error:
            prepare(event(fields))
        assert secret not in str(error.value)
