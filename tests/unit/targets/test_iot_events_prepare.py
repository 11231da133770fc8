"""IotEvents.prepare and its settings: the message on the wire, its size, and what is refused beforehand."""

import string
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.batch import Trigger, pack
from connector.model import Event, Prepared, Unpublishable
from connector.targets import REGISTRY
from connector.targets.aws import model_missing
from connector.targets.iot_events import KIND, LAST, MAP, IotEvents, IotEventsSettings
from tests.contract.wire import event, ready, record

AT = {"type": "iot_events", "endpoint_url": "http://127.0.0.1:9"}


def settings(**more: Any) -> IotEventsSettings:
    return IotEventsSettings.model_validate({**AT, "input_name": "orders", **more})


def target(**more: Any) -> IotEvents:
    return IotEvents("iot", settings(**more))


def prepare(made: Event, **more: Any) -> Prepared:
    return target(**more).prepare(made)


def refused(fields: dict[str, Any], **more: Any) -> tuple[str, str]:
    with pytest.raises(Unpublishable) as error:
        prepare(event(fields), **more)
    assert error.value.reason
    return error.value.path, error.value.code


def test_the_registry_makes_it_and_says_that_aws_ended_it() -> None:
    kind = REGISTRY["iot_events"]
    assert isinstance(kind.make("iot", settings()), IotEvents)
    assert "2026-05-20" in kind.retired


def test_every_field_goes_on_the_wire_as_the_api_has_it() -> None:
    fields = {
        "inputName": "returns",
        "messageId": "id_1-A",
        "payload": {"total": 12.5, "name": "Zoë"},
        "timestamp": {"timeInMillis": 1_700_000_000_123},
    }
    prepared = prepare(event(fields))
    assert prepared.body == {
        "messageId": "id_1-A",
        "inputName": "returns",
        "payload": '{"total":12.5,"name":"Zoë"}'.encode(),
        "timestamp": {"timeInMillis": 1_700_000_000_123},
    }
    assert (prepared.size, prepared.group, prepared.unique) == (28, "", "id_1-A")


def test_what_is_left_out_comes_from_the_record_and_the_settings() -> None:
    prepared = prepare(event({}, record(b'{"n": 1.10}', timestamp_ms=1_700_000_000_123)))
    assert prepared.body == {
        "messageId": "0xb0xEvpR9hAw-jlG5irhwUK-CpdKRsHpbfCFR7kGbc",
        "inputName": "orders",
        "payload": b'{"n": 1.10}',
        "timestamp": {"timeInMillis": 1_700_000_000_123},
    }


@given(st.text(max_size=300))
def test_the_default_id_fits_whatever_the_redelivery_id_holds(identity: str) -> None:
    made = Event(record(), "r", "t", {}, identity)
    found = prepare(made).body["messageId"]
    assert 1 <= len(found) <= 64
    assert set(found) <= set(string.ascii_letters + string.digits + "_-")


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 253_402_300_800_000])
def test_a_record_without_a_usable_timestamp_leaves_the_time_to_the_service(timestamp_ms: int) -> None:
    assert "timestamp" not in prepare(event({}, record(timestamp_ms=timestamp_ms))).body


def test_an_absent_time_is_the_time_of_the_record() -> None:
    made = event({"timestamp": {}}, record(timestamp_ms=5))
    assert prepare(made).body["timestamp"] == {"timeInMillis": 5}


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ({"a": 1}, b'{"a":1}'),
        ('{"a": 1.10}', b'{"a": 1.10}'),
        ('{"é":1}', '{"é":1}'.encode()),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
    ],
)
def test_an_object_or_text_becomes_json_and_bytes_stay_bytes(payload: Any, written: bytes) -> None:
    prepared = prepare(event({"payload": payload}))
    assert (prepared.body["payload"], prepared.size) == (written, len(written))


@pytest.mark.parametrize(
    ("fields", "where", "code"),
    [
        ({"inputname": "x"}, "inputname", "UnknownField"),
        ({"inputName": ""}, "inputName", "BadInputName"),
        ({"inputName": "-a"}, "inputName", "BadInputName"),
        ({"inputName": "a b"}, "inputName", "BadInputName"),
        ({"inputName": "a\n"}, "inputName", "BadInputName"),
        ({"inputName": "é"}, "inputName", "BadInputName"),
        ({"inputName": "x" * 129}, "inputName", "TooLong"),
        ({"inputName": 7}, "inputName", "WrongType"),
        ({"messageId": ""}, "messageId", "BadMessageId"),
        ({"messageId": "a/b"}, "messageId", "BadMessageId"),
        ({"messageId": "x" * 65}, "messageId", "TooLong"),
        ({"messageId": None}, "messageId", "WrongType"),
        ({"payload": None}, "payload", "NotAnObject"),
        ({"payload": [1]}, "payload", "NotAnObject"),
        ({"payload": "[1]"}, "payload", "NotAnObject"),
        ({"payload": "hello"}, "payload", "MalformedJson"),
        ({"payload": 7}, "payload", "NotAnObject"),
        ({"payload": {"a": {"b": float("nan")}}}, "payload.a.b", "NotFinite"),
        ({"payload": {"a": b"x"}}, "payload.a", "WrongType"),
        ({"payload": '{"a":1,"a":2}'}, "payload", "DuplicateKey"),
        ({"payload": {"a": "x" * 1024}}, "payload", "TooLarge"),
        ({"timestamp": 7}, "timestamp", "WrongType"),
        ({"timestamp": {"seconds": 7}}, "timestamp.seconds", "UnknownField"),
        ({"timestamp": {"timeInMillis": 0}}, "timestamp.timeInMillis", "OutOfRange"),
        ({"timestamp": {"timeInMillis": 2**63}}, "timestamp.timeInMillis", "OutOfRange"),
        ({"timestamp": {"timeInMillis": 1.5}}, "timestamp.timeInMillis", "WrongType"),
        ({"timestamp": {"timeInMillis": True}}, "timestamp.timeInMillis", "WrongType"),
    ],
)
def test_what_the_service_could_never_take_is_refused_by_field(fields: dict[str, Any], where: str, code: str) -> None:
    assert refused(fields) == (where, code)


def test_a_record_without_a_value_has_no_payload() -> None:
    with pytest.raises(Unpublishable) as error:
        prepare(event({}, record(None)))
    assert (error.value.path, error.value.code) == ("payload", "NotAnObject")


def test_an_event_whose_input_nobody_says_is_refused() -> None:
    assert refused({}, input_name=None) == ("inputName", "Missing")


def test_the_limits_are_the_services_and_may_be_raised_with_its_quota_or_lowered() -> None:
    limits = target().limits
    assert (limits.entries, limits.bytes, limits.entry_bytes) == (10, 1024, 1024)
    limits = target(max_message_bytes="8KiB", max_batch_bytes="10KiB").limits
    assert (limits.bytes, limits.entry_bytes) == (10_240, 8192)
    limits = target(max_message_bytes="8KiB", max_batch_bytes="10KiB", batch={"max_bytes": "2KiB"}).limits
    assert (limits.bytes, limits.entry_bytes) == (2048, 2048)
    assert target(max_message_bytes="512B").limits.entry_bytes == 512


def test_a_payload_of_the_last_byte_passes() -> None:
    assert prepare(event({"payload": {"a": "x" * 1016}})).size == 1024
    assert refused({"payload": {"a": "x" * 1017}}) == ("payload", "TooLarge")


def test_messages_of_one_id_never_share_a_call() -> None:
    made = target()
    entries = ready(made, *(event({"messageId": identity}) for identity in ("a", "b", "a", "c")))
    batches = [closed.batch for closed in pack(entries, made.limits, Trigger.FLUSH)]
    assert [[entry.unique for entry in batch] for batch in batches] == [["a", "b"], ["a", "c"]]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"endpoint_url": None}, "endpoint_url"),
        ({"batch": {"max_entries": 11}}, "10 messages"),
        ({"batch": {"max_bytes": "2KiB"}}, "max_batch_bytes"),
        ({"batch": {"max_bytes": 0}}, "max_bytes"),
        ({"input_name": "a b"}, "input_name"),
        ({"input_names": ["ok", "-"]}, "input_names"),
        ({"max_message_bytes": 0}, "max_message_bytes"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**more)
    assert word in str(error.value)


def test_an_endpoint_url_is_needed() -> None:
    with pytest.raises(ValidationError, match="endpoint_url"):
        IotEventsSettings.model_validate({"type": "iot_events"})


def test_a_botocore_without_the_service_is_refused_by_the_last_version_that_has_it() -> None:
    told = model_missing("iotevents-data", LAST, Loader(include_default_search_paths=False))
    assert "botocore 1.43.37" in told
    assert "AWS_DATA_PATH" in told
    assert model_missing("iotevents-data", LAST) == ""


def test_the_map_has_every_parameter_of_the_service_model() -> None:
    shapes = Loader().load_service_model("iotevents-data", "service-2")["shapes"]
    assert set(MAP) == set(shapes["Message"]["members"])
    fields = MAP["timestamp"].fields
    assert fields is not None
    assert set(fields) == set(shapes["TimestampValue"]["members"])


@pytest.mark.parametrize(
    ("tree", "more", "where"),
    [
        ({}, {}, []),
        ({"inputName": "orders"}, {}, []),
        ({"inputName": "returns"}, {"input_names": ["returns"]}, []),
        ({"inputName": "${value.input}"}, {"input_name": None}, []),
        ({"inputName": "in_${value.kind}"}, {}, []),
        ({"inputName": "returns"}, {"input_name": None}, []),
        ({}, {"input_name": None}, [()]),
    ],
)
def test_check_finds_an_input_that_nobody_says_or_looks_after(
    tree: dict[str, Any], more: dict[str, Any], where: list[Any]
) -> None:
    assert KIND.check is not None
    found = list(KIND.check(settings(**more), tree))
    assert [path for path, _, _ in found] == where
    assert all(message and mend for _, message, mend in found)


def test_a_person_sees_the_payload_as_text_or_as_it_travels() -> None:
    assert KIND.show(prepare(event({"payload": {"a": "é"}})).body)["payload"] == '{"a":"é"}'
    assert KIND.show(prepare(event({"payload": b"\xff"})).body)["payload"] == "/w=="
