"""Fiddler.prepare and the settings: what is refused, what becomes of times, ids and names."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from connector.model import Unpublishable
from connector.targets.fiddler import KIND
from connector.targets.fiddler_prepare import Named, show
from connector.targets.fiddler_rows import Destination, Row, is_uuid
from tests.contract.wire import event, record
from tests.unit.targets.fiddler import FILES, V2, fiddler, of, settings

MS = 1_637_344_470_000
AT = datetime(2021, 11, 19, 17, 54, 30, tzinfo=UTC)
UUID = "0a8c1b8e-54a5-4a0e-9d8a-3f1f6a1b2c3d"


def row(target: Any = None, **fields: Any) -> Row:
    body = (target or fiddler()).prepare(of(**fields)).body
    assert isinstance(body, Row)
    return body


def refusal(target: Any = None, **fields: Any) -> tuple[str, str]:
    with pytest.raises(Unpublishable) as refused:
        (target or fiddler()).prepare(of(**fields))
    return refused.value.path, refused.value.code


def test_an_event_is_the_records_value_when_nothing_is_mapped() -> None:
    body = fiddler().prepare(event({}, record(b'{"n": 1, "f": 1.10}', offset=7, timestamp_ms=MS))).body
    assert (body.to, body.values, body.time) == (Destination("shop", "churn"), {"n": 1, "f": 1.1}, AT)
    assert (body.id, body.given_id, body.given_time) == ("shop.orders.v1-3-7/paid", False, False)


@pytest.mark.parametrize("value", [None, b"[1]", b"1", b"{", b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}'])
def test_a_record_that_is_no_object_of_json_is_refused(value: bytes | None) -> None:
    with pytest.raises(Unpublishable) as refused:
        fiddler().prepare(event({}, record(value)))
    assert refused.value.path == "event"


def test_a_value_without_a_json_form_is_refused_with_its_place() -> None:
    assert refusal(event={"a": {"b": b"x"}}) == ("event.a.b", "WrongType")
    assert refusal(FILES and fiddler(**FILES), event={"a": float("nan")}) == ("event.a", "NotFinite")


def test_a_field_that_fiddler_does_not_have_is_refused() -> None:
    assert refusal(eventid="x") == ("eventid", "UnknownField")


@pytest.mark.parametrize(
    ("fields", "to"),
    [
        ({}, Destination("shop", "churn", None)),
        ({"project_name": "p2", "model_name": "m2"}, Destination("p2", "m2", None)),
        ({"project_id": "p2", "model_id": UUID}, Destination("p2", UUID, None)),
        ({"model_version": "v2"}, Destination("shop", "churn", "v2")),
    ],
)
def test_names_come_from_the_map_or_from_the_target_and_old_ones_still_do(fields: Any, to: Destination) -> None:
    assert row(**fields).to == to


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"project_name": "p", "project_id": "p"}, "project_name", "Twice"),
        ({"model_name": "m", "model_id": "m"}, "model_name", "Twice"),
        ({"model_name": ""}, "model_name", "Missing"),
        ({"model_id": "a/b"}, "model_id", "BadName"),
        ({"model_name": "a:b"}, "model_name", "BadName"),
        ({"model_name": "a\nb"}, "model_name", "BadName"),
        ({"model_name": 7}, "model_name", "WrongType"),
        ({"model_version": 7}, "model_version", "WrongType"),
    ],
)
def test_a_name_that_can_be_none_is_refused(fields: Any, path: str, code: str) -> None:
    assert refusal(**fields) == (path, code)


def test_without_a_model_anywhere_there_is_nothing_to_send_to() -> None:
    assert refusal(fiddler(model_name=None)) == ("model_name", "Missing")


def test_updates_and_new_events_never_share_a_call_nor_do_models() -> None:
    target = fiddler()
    groups = [
        target.prepare(of(event_id="e")).group,
        target.prepare(of(event_id="e", update_event=True)).group,
        target.prepare(of(model_name="other")).group,
        target.prepare(of(model_version="v2")).group,
    ]
    assert groups == ["POST shop/churn", "PATCH shop/churn", "POST shop/other", "POST shop/churn@v2"]
    assert fiddler(update_event=True).prepare(of(event_id="e")).group == "PATCH shop/churn"
    assert fiddler(update_event=True).prepare(of(update_event=False)).group == "POST shop/churn"


def test_files_are_apart_by_batch_id_and_format_too() -> None:
    target = fiddler(**FILES, batch_id="night")
    assert target.prepare(of()).group == "POST shop/churn INFER night"
    assert target.prepare(of(batch_id="day", timestamp_format="ISO_8601")).group == "POST shop/churn ISO_8601 day"


def test_an_update_needs_an_id() -> None:
    assert refusal(update_event=True) == ("event_id", "Missing")
    assert refusal(update_event=True, event_id=None) == ("event_id", "Missing")
    assert refusal(update_event=True, event_id="") == ("event_id", "Missing")
    files = fiddler(**FILES, id_field="id")
    assert refusal(files, update_event=True, event={"n": 1}) == ("event.id", "Missing")
    assert row(files, update_event=True, event={"id": 7}).id == "7"


def test_an_id_may_be_a_number_and_nothing_else_but_text() -> None:
    assert row(event_id=7).id == "7"
    assert refusal(event_id=True) == ("event_id", "WrongType")
    assert refusal(event_id=1.5) == ("event_id", "WrongType")


@pytest.mark.parametrize(
    ("value", "form", "time"),
    [
        (MS, "INFER", AT),
        (str(MS), "INFER", AT),
        (float(MS), "INFER", AT),
        ("2021-11-19 17:54:30", "INFER", "2021-11-19 17:54:30"),
        ("last Friday", "INFER", "last Friday"),
        (MS, "EPOCH_MILLISECONDS", AT),
        (str(MS), "EPOCH_MILLISECONDS", AT),
        (MS // 1000, "EPOCH_SECONDS", AT),
        (f"{MS // 1000}.5", "EPOCH_SECONDS", AT + timedelta(seconds=0.5)),
        (MS / 1000 + 0.25, "EPOCH_SECONDS", AT + timedelta(seconds=0.25)),
        ("2021-11-19 17:54:30.000000", "ISO_8601", AT),
        ("2021-11-19T18:54:30+01:00", "ISO_8601", AT),
        ("2021-11-19t17:54:30z", "ISO_8601", AT),
        ("2021-11-19", "ISO_8601", AT.replace(hour=0, minute=0, second=0)),
        (AT.astimezone(timezone(timedelta(hours=5))), "EPOCH_SECONDS", AT),
    ],
)
def test_a_timestamp_is_read_by_its_format(value: Any, form: str, time: Any) -> None:
    found = row(event_timestamp=value, timestamp_format=form)
    assert (found.time, found.given_time) == (time, True)


@pytest.mark.parametrize(
    ("value", "form", "code"),
    [
        (True, "INFER", "WrongType"),
        ([1], "INFER", "WrongType"),
        (1.5, "EPOCH_MILLISECONDS", "BadTime"),
        ("now", "EPOCH_MILLISECONDS", "BadTime"),
        ("1e3", "EPOCH_SECONDS", "BadTime"),
        (10**17, "EPOCH_SECONDS", "BadTime"),
        (10**14, "EPOCH_SECONDS", "BadTime"),
        (MS, "ISO_8601", "BadTime"),
        ("2021-02-30 00:00:00", "ISO_8601", "BadTime"),
        ("0001-01-01T00:00:00+14:00", "ISO_8601", "BadTime"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "INFER", "BadTime"),
        (datetime(2021, 1, 1), "INFER", "BadTime"),  # noqa: DTZ001  # a time without a zone is what is tried
    ],
)
def test_what_is_no_time_of_its_format_is_refused(value: Any, form: str, code: str) -> None:
    assert refusal(event_timestamp=value, timestamp_format=form) == ("event_timestamp", code)


def test_an_unknown_format_is_refused() -> None:
    assert refusal(timestamp_format="EPOCH") == ("timestamp_format", "NotAllowed")


def test_a_record_without_a_time_of_the_calendar_has_none() -> None:
    assert row(at=-1).time is None
    assert row(at=2**62).time is None


def test_the_size_of_an_event_of_v2_is_that_of_its_request() -> None:
    body = {
        "event": {"n": 0},
        "event_id": "e1",
        "id_field": None,
        "is_update": None,
        "event_timestamp": str(MS),
        "timestamp_format": "infer",
    }
    prepared = fiddler(**V2).prepare(of(event_id="e1", event_timestamp=MS))
    assert prepared.size == len(json.dumps(body, separators=(",", ":")))


def test_an_event_that_is_too_large_is_refused_without_its_text() -> None:
    with pytest.raises(Unpublishable) as refused:
        fiddler(batch={"max_bytes": "1KiB"}).prepare(of(event={"text": "secret" * 200}))
    assert refused.value.code == "TooLarge"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x.csv", "a/../../x.csv", "a/..", ".", "a\0b", "s3:/b/k", "s3://B/k", "s3://bucket/"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    target = fiddler(**FILES, directory="/data", data_source=None)
    if path.startswith("s3:/b"):  # a path below the directory, however odd
        assert isinstance(target.prepare(of(events_path=path)).body, Named)
    else:
        assert refusal(target, events_path=path)[1] == "BadPath"


def test_a_record_that_names_a_file_goes_alone() -> None:
    target = fiddler(**FILES, directory="/data")
    one, other = target.prepare(of(1, events_path="a.csv")), target.prepare(of(2, batch_source="s3://bucket/k/a.csv"))
    assert (one.body.source, other.body.source) == ("LOCAL_DISK", "AWS_S3")
    assert one.group != other.group


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"data_source": "AWS_S3"}, "a.csv"),
        ({"data_source": "LOCAL_DISK", "directory": "/d"}, "s3://bucket/a.csv"),
        ({"data_source": "DATAFRAME"}, "s3://bucket/a.csv"),
        ({}, "a.csv"),
    ],
)
def test_a_file_that_data_source_does_not_mean_is_refused(more: Any, path: str) -> None:
    assert refusal(fiddler(**FILES, **more), events_path=path) == ("events_path", "BadPath")


def test_a_record_is_a_row_or_a_file_and_a_file_has_one_name() -> None:
    target = fiddler(**FILES, directory="/d")
    assert refusal(target, events_path="a", event={}) == ("event", "Twice")
    assert refusal(target, events_path="a", batch_source="a") == ("events_path", "Twice")
    assert refusal(events_path="a") == ("events_path", "UnknownField")


def test_what_is_shown_holds_every_parameter_as_plain_json() -> None:
    body = fiddler(model_version="v1").prepare(of(event={"at": AT}, event_id="e", event_timestamp=AT)).body
    assert show(body) == {
        "project_name": "shop",
        "model_name": "churn",
        "model_version": "v1",
        "event": {"at": "2021-11-19T17:54:30Z"},
        "event_id": "e",
        "event_timestamp": str(MS),
        "timestamp_format": "INFER",
        "update_event": False,
    }
    named = fiddler(**FILES, directory="/d").prepare(of(events_path="a.csv", batch_id="b")).body
    assert show(named)["events_path"] == "a.csv"
    assert show(named)["batch_id"] == "b"


# settings


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"project_id": "shop"}, "project_name and project_id are one thing"),
        ({"model_id": "churn"}, "model_name and model_id are one thing"),
        ({"model_name": "Churn"}, "model_name"),
        ({"model_name": "1churn"}, "model_name"),
        ({"model_name": "c"}, "model_name"),
        ({"model_name": "c" * 31}, "model_name"),
        ({"model_name": "churn-1"}, "model_name"),
        ({"project_name": "Shop"}, "project_name"),
        ({"model_name": None, "model_id": "Churn!"}, "neither a UUID nor a name"),
        ({"url": "https://acme.fiddler.ai/v3"}, "url"),
        ({"url": "https://user:pw@acme.fiddler.ai"}, "url"),
        ({"api": "v2"}, "needs the organization"),
        ({"organization": "acme"}, "organization is for api: v2"),
        ({**V2, "casting_type": True}, "casting_type needs api: v3"),
        ({**V2, "unknown_columns": "reject"}, "unknown_columns needs api: v3"),
        ({**V2, "model_version": "v1"}, "model_version needs api: v3"),
        ({"batch": {"max_entries": 1001}}, "takes 1000 events a request"),
        ({**V2, "batch": {"max_entries": 2}}, "takes 1 event a request"),
        ({"batch": {"max_bytes": 0}}, "needs at least a byte"),
        ({"id_field": "id"}, "id_field is for publish: batch"),
        ({"ack_on": "accepted"}, "ack_on is for publish: batch"),
        ({**FILES, "data_source": "LOCAL_DISK"}, "needs `directory`"),
        ({**FILES, "max_file_bytes": "501MiB"}, "max_file_bytes"),
        ({**FILES, "data_source": "GCP_STORAGE"}, "data_source"),
        ({"timestamp_format": "infer"}, "timestamp_format"),
        ({"token": ""}, "is empty"),
        ({"token": "fid_x\n"}, "a line break"),
        ({"token": "Bearer fid_x"}, "a space"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**more)
    assert said in str(refused.value)


def test_a_project_may_have_hyphens_and_an_id_may_be_a_uuid() -> None:
    assert settings(project_name="fraud-detection-2024").project == "fraud-detection-2024"
    assert settings(model_name=None, model_id=UUID).model == UUID
    assert is_uuid(UUID)
    assert not is_uuid("{" + UUID + "}")


def test_events_and_files_have_defaults_of_their_own() -> None:
    events, files = settings(), settings(publish="batch")
    assert (events.batch.linger, events.request_timeout, events.max_in_flight) == (0.1, 30.0, 16)
    assert (files.batch.linger, files.request_timeout, files.max_in_flight) == (60.0, 120.0, 2)
    assert (files.batch.max_entries, files.batch.max_bytes) == (10_000, 50_000_000)
    some = settings(publish="batch", batch={"linger": "5s"}, max_in_flight=7)
    assert (some.batch.linger, some.batch.max_entries, some.max_in_flight) == (5.0, 10_000, 7)
    assert fiddler(**V2).limits.entries == 1
    assert fiddler().limits.entries == 1000
    assert events.deadline == 30.0
    assert files.deadline > 4 * files.job_timeout


def test_the_token_stands_in_no_text_of_the_settings() -> None:
    assert "hush" not in repr(settings(token="hush"))


def complaints(fields: dict[str, Any], **more: Any) -> list[str]:
    assert KIND.check is not None
    return [f"{'.'.join(map(str, path))}: {what}" for path, what, _ in KIND.check(settings(**more), fields)]


@pytest.mark.parametrize(
    ("fields", "more", "said"),
    [
        ({"update_event": True}, {}, ": says update_event: true, and no event_id"),
        ({}, {"update_event": True}, ": says update_event: true, and no event_id"),
        ({"project_name": "p1", "project_id": "p1"}, {}, "project_id: and project_name are one thing"),
        ({}, {"model_name": None}, ": says no model_name, and the target has none"),
        ({"model_name": "Churn"}, {}, "model_name: is `Churn`, which is no name of Fiddler's"),
        ({"model_id": "Churn"}, {}, "model_id: is `Churn`, which is no name of Fiddler's"),
        ({"timestamp_format": "EPOCH"}, {}, "timestamp_format: is `EPOCH`"),
        ({"events_path": "a.csv"}, {}, "events_path: is for publish: batch"),
        ({"events_path": "a", "event": "${value}"}, {**FILES, "directory": "/d"}, "event: stands beside events_path"),
        ({"events_path": "a.csv"}, FILES, "events_path: names a file, but the target has no directory"),
        ({"events_path": "${value.p}"}, {**FILES, "data_source": "DATAFRAME"}, "events_path: names a file, but data"),
        ({}, {**FILES, "data_source": "AWS_S3"}, ": names no file, but data_source is AWS_S3"),
    ],
)
def test_a_map_that_no_record_could_mend_is_complained_of(fields: Any, more: Any, said: str) -> None:
    assert any(each.startswith(said) for each in complaints(fields, **more)), complaints(fields, **more)


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, {}),
        ({"model_name": "${value.model}", "timestamp_format": "${value.f}"}, {"model_name": None}),
        ({"model_id": UUID}, {}),
        ({"update_event": True, "event_id": "${value.id}"}, {}),
        ({"update_event": True}, {**FILES, "id_field": "id"}),
        ({"events_path": "${value.path}"}, {**FILES, "directory": "/d"}),
        ({"events_path": "s3://bucket/a.csv"}, FILES),
    ],
)
def test_a_map_that_can_work_is_not_complained_of(fields: Any, more: Any) -> None:
    assert complaints(fields, **more) == []


def test_a_missing_version_and_old_names_are_warned_of() -> None:
    assert KIND.warn is not None
    assert [what for _, what, _ in KIND.warn(settings())] == [
        "has no model_version beside it: Fiddler takes the model's oldest"
    ]
    assert list(KIND.warn(settings(model_version="v1"))) == []
    assert list(KIND.warn(settings(**V2))) == []
    old = settings(project_name=None, project_id="shop", model_version="v1")
    assert [path for path, _, _ in KIND.warn(old)] == [("project_id",)]
