"""Fiddler.send of events, and preflight: replies in every shape, what is sent, what a refusal means."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from connector.model import Ack, BatchRefused, Entry, Health, Verdict
from connector.sandbox import faults
from connector.sandbox.fiddler import Column, Model
from connector.sandbox.fiddler import Fiddler as Sandbox
from connector.targets.fiddler import Fiddler
from tests.contract.wire import Raw, Wire, event, ready, record
from tests.unit.targets.fiddler import FILES, V2, fiddler, of, settings

D, R, X, H = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED, Verdict.HOLD
PLAIN = Model(columns=(Column("n", "int"),), inputs=("n",), outputs=(), id_column=None, time_column=None)


def batch(target: Fiddler, count: int = 2, **fields: Any) -> tuple[Entry, ...]:
    return ready(target, *(of(offset, **fields) for offset in range(count)))


def verdicts(acks: Any) -> list[Verdict]:
    return [ack.verdict for ack in acks]


async def answered(raw: Raw, **more: Any) -> list[Ack]:
    """What v2 makes of this reply to one event: it asks nothing beforehand."""
    async with Wire([raw]) as wire, fiddler(wire.url, **V2, **more) as target:
        return list(await target.send(batch(target, 1)))


def reply(data: Any, status: int = 202, **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(json.dumps({"data": data}).encode(), status, named)


def error(status: int, reason: str = "", **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = [{"reason": reason, "message": "no", "help": ""}]
    return Raw(json.dumps({"error": {"code": status, "message": "no", "errors": told}}).encode(), status, named)


# what is sent


async def test_id_and_time_go_into_the_models_own_columns() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url) as target:
        acks = await target.send(
            ready(target, of(1), of(2, event_id="e2", event_timestamp=0), of(3, event={"event_id": "own", "n": 3}))
        )
        assert verdicts(acks) == [D, D, D]
        assert [(taken.event_id, taken.timestamp, taken.row["n"]) for taken in sandbox.accepted] == [
            ("shop.orders.v1-3-1/paid", "2023-11-14T22:13:20.123Z", 1),
            ("e2", "1970-01-01T00:00:00.000Z", 2),
            ("own", "2023-11-14T22:13:20.123Z", 3),
        ]
        assert [ack.detail for ack in acks] == [f"event {taken.fiddler_id}" for taken in sandbox.accepted]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("%Y-%m-%d %H:%M:%S.%f", "2021-11-19 17:54:30.000000"),
        ("%d/%m/%Y", "19/11/2021"),
        (None, "2021-11-19T17:54:30.000Z"),
    ],
)
async def test_a_time_is_written_in_the_models_format(form: str | None, value: str) -> None:
    async with Sandbox([Model(time_format=form)]) as sandbox, fiddler(sandbox.url) as target:
        await target.send(batch(target, 1, event_timestamp=1_637_344_470_000))
        await target.send(batch(target, 1, event_timestamp="2021-11-19 17:54:30", timestamp_format="ISO_8601"))
        assert [taken.timestamp for taken in sandbox.accepted] == [value, value]


async def test_a_text_under_infer_is_left_to_the_service_unless_the_model_has_a_format() -> None:
    for form, value in ((None, "2021-11-19 17:54:30"), ("%d.%m.%y", "19.11.21")):
        async with Sandbox([Model(time_format=form)]) as sandbox, fiddler(sandbox.url) as target:
            await target.send(batch(target, 1, event_timestamp="2021-11-19 17:54:30"))
            assert [taken.timestamp for taken in sandbox.accepted] == [value]


async def test_a_model_without_columns_for_them_gets_neither_id_nor_time_and_the_log_says_so_once() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with Sandbox([PLAIN]) as sandbox:
        with capture_logs() as logs:
            async with fiddler(sandbox.url) as target:
                acks = await target.send(batch(target, 1))
                acks = [*acks, *await target.send(batch(target, 1, event_id="e"))]
        assert [(ack.verdict, ack.warning) for ack in acks] == [(D, ""), (D, "NoIdColumn")]
        assert [taken.row for taken in sandbox.accepted] == [{"n": 0}, {"n": 0}]
        assert [line["event"] for line in logs] == ["the model has no event_ts_col: timestamps are dropped"]


async def test_an_update_of_a_model_without_an_id_column_holds() -> None:
    async with Sandbox([PLAIN]) as sandbox, fiddler(sandbox.url) as target:
        acks = await target.send(batch(target, 1, event_id="e", update_event=True))
        assert [(ack.verdict, ack.code) for ack in acks] == [(H, "NoIdColumn")]
        assert sandbox.accepted == []


async def test_an_update_is_a_patch_with_neither_a_time_nor_an_id_that_nobody_said() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url) as target:
        await target.send(batch(target, 1, event_id="e1"))
        await target.send(batch(target, 1, event_id="e1", update_event=True, event={"churned": "yes"}))
        update = sandbox.accepted[1]
        assert (update.method, dict(update.row)) == ("PATCH", {"churned": "yes", "event_id": "e1"})
        [stored] = sandbox.stored[Model().id].values()
        assert (stored.values["churned"], stored.values["n"]) == ("yes", 0)


async def test_an_update_of_an_event_that_is_not_there_is_a_success_and_nothing() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url) as target:
        acks = await target.send(batch(target, 1, event_id="e1", update_event=True, event={"churned": "yes"}))
        assert verdicts(acks) == [D]
        assert (len(sandbox.accepted), len(sandbox.vanished)) == (0, 1)


async def test_values_are_cast_on_request_and_one_that_cannot_be_is_rejected_alone() -> None:
    rows: list[dict[str, Any]] = [
        {"age": "42", "balance": "1.5", "active": "TRUE", "country": "DE", "text": 7, "embedding": "[1, 2]"},
        {"age": 1.5},
        {"country": "XX"},
        {"age": None},
    ]
    async with Sandbox(strict=True) as sandbox, fiddler(sandbox.url, casting_type=True) as target:
        acks = await target.send(ready(target, *(of(n, event=row) for n, row in enumerate(rows))))
        assert [(ack.verdict, ack.code) for ack in acks] == [(D, ""), (X, "Uncastable"), (X, "Uncastable"), (D, "")]
        assert "1.5" not in acks[1].detail
        assert "XX" not in acks[2].detail
        row = dict(sandbox.accepted[0].row)
        assert {name: row[name] for name in rows[0]} == {
            "age": 42,
            "balance": 1.5,
            "active": True,
            "country": "DE",
            "text": "7",
            "embedding": [1.0, 2.0],
        }


@pytest.mark.parametrize("more", [{}, FILES])
async def test_a_row_that_does_not_fit_is_rejected_at_every_index_and_its_neighbours_are_delivered(more: Any) -> None:
    async with Sandbox(job_states=()) as sandbox, fiddler(sandbox.url, casting_type=True, **more) as target:
        for index in range(10):
            rows = [{"age": "none" if n == index else n} for n in range(10)]
            acks = await target.send(ready(target, *(of(n, event=row) for n, row in enumerate(rows))))
            assert verdicts(acks) == [X if n == index else D for n in range(10)]
        assert len(sandbox.accepted) == 90


async def test_casting_may_be_asked_for_by_event() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url) as target:
        await target.send(ready(target, of(event={"age": "1"}, casting_type=True), of(1, event={"age": "1"})))
        assert [taken.row["age"] for taken in sandbox.accepted] == [1, "1"]


async def test_a_column_that_the_model_does_not_have_is_a_warning_or_a_rejection() -> None:
    events = (of(1, event={"n": 1, "odd": 1}), of(2))
    async with Sandbox() as sandbox:
        async with fiddler(sandbox.url) as target:
            acks = await target.send(ready(target, *events))
            assert [(ack.verdict, ack.warning) for ack in acks] == [(D, "UnknownColumns"), (D, "")]
            assert sandbox.accepted[0].dropped == ("odd",)
        async with fiddler(sandbox.url, unknown_columns="reject") as target:
            acks = await target.send(ready(target, *events))
            assert [(ack.verdict, ack.code) for ack in acks] == [(X, "UnknownColumns"), (D, "")]


async def test_a_column_that_the_model_has_by_now_is_found_by_reading_it_anew() -> None:
    now = 0.0
    async with Sandbox([Model(columns=())]) as sandbox:
        target = Fiddler("f", settings(sandbox.url, unknown_columns="reject"), clock=lambda: now)
        async with target:
            assert verdicts(await target.send(batch(target, 1))) == [X]
            sandbox.models[Model().id] = Model()
            assert verdicts(await target.send(batch(target, 1))) == [X]
            now = 11.0
            assert verdicts(await target.send(batch(target, 1))) == [D]


async def test_a_model_is_read_once_and_again_when_what_is_known_grew_old() -> None:
    now = 0.0
    async with Sandbox() as sandbox:
        target = Fiddler("f", settings(sandbox.url, schema_refresh="60s"), clock=lambda: now)
        async with target:
            for calls in (4, 1, 1):  # project, model's id, model, events; then the events alone
                before = sandbox.calls
                await target.send(batch(target, 1))
                assert sandbox.calls - before == calls
            now = 61.0
            before = sandbox.calls
            await target.send(batch(target, 1))
            assert sandbox.calls - before == 4


async def test_the_oldest_version_is_taken_unless_one_is_said_and_a_uuid_needs_no_look_up() -> None:
    models = [Model(version="v1"), Model(version="v2")]
    async with Sandbox(models) as sandbox:
        cases: list[tuple[dict[str, Any], str, int]] = [
            ({}, "v1", 4),
            ({"model_version": "v2"}, "v2", 4),
            ({"model_name": None, "model_id": models[1].id}, "v2", 2),
        ]
        for more, version, calls in cases:
            async with fiddler(sandbox.url, **more) as target:
                before = sandbox.calls
                await target.send(batch(target, 1))
                assert sandbox.accepted[-1].version == version
                assert sandbox.calls - before == calls


async def test_v2_sends_one_event_as_the_old_clients_do() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **V2) as target:
        acks = await target.send(batch(target, 1, event_id="e1", event_timestamp=1_637_344_470_000))
        [taken] = sandbox.accepted
        assert acks == [Ack(D, "", f"event {taken.fiddler_id}")]
        assert (taken.event_id, taken.timestamp, taken.timestamp_format) == ("e1", "1637344470000", "infer")


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("EPOCH_SECONDS", 1_637_344_470, ("1637344470", "epoch seconds")),
        ("EPOCH_SECONDS", 1_637_344_470.25, ("1637344470.250", "epoch seconds")),
        ("EPOCH_MILLISECONDS", 1_637_344_470_000, ("1637344470000", "epoch milliseconds")),
        ("ISO_8601", "2021-11-19T17:54:30Z", ("2021-11-19 17:54:30.000000", "%Y-%m-%d %H:%M:%S.%f")),
        ("INFER", "yesterday", ("yesterday", "infer")),
    ],
)
async def test_v2_writes_a_time_in_the_format_that_it_names(form: str, value: Any, written: tuple[str, str]) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **V2) as target:
        await target.send(batch(target, 1, event_timestamp=value, timestamp_format=form))
        [taken] = sandbox.accepted
        assert (taken.timestamp, taken.timestamp_format) == written


# what the answers mean


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b"", 202),
        Raw(b"{}", 202),
        Raw(b"[]", 202),
        Raw(b"null", 202),
        Raw(b"<html>", 200),
        Raw(b'{"data":', 202),
        Raw(b'{"data":[]}', 202),
        reply({}),
        reply({"__fiddler_id": None}),
        reply({"__fiddler_id": ""}),
        reply({"__fiddler_id": 7}),
    ],
    ids=lambda raw: raw.body.decode(),
)
async def test_a_success_that_says_nothing_is_no_acknowledgement(raw: Raw) -> None:
    acks = await answered(raw)
    assert [(ack.verdict, ack.code, ack.tries) for ack in acks] == [(R, "ProtocolError", 0)]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, R) for status in (408, 429, 500, 502, 503, 504, 599)),
        *((status, H) for status in (301, 302, 307, 401, 402, 403, 404, 405, 409, 410, 415, 451, 501)),
    ],
)
async def test_a_refusal_has_its_verdict_whatever_its_body(status: int, verdict: Verdict) -> None:
    for raw in (Raw(b"", status), Raw(b"<html>", status), error(status)):
        acks = await answered(raw)
        assert [(ack.verdict, ack.code) for ack in acks] == [(verdict, str(status))]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_refused_for_an_event_is_halved(status: int) -> None:
    with pytest.raises(BatchRefused) as refused:
        await answered(error(status, "BadRequest"))
    assert (refused.value.ack.verdict, refused.value.ack.code) == (X, "BadRequest")


async def test_retry_after_is_honoured() -> None:
    acks = await answered(error(429, "TooManyRequests", Retry_After="7"))
    assert acks == [Ack(R, "TooManyRequests", "no", retry_after=7.0)]


@pytest.mark.parametrize(("code", "status"), [("Strange", 418), ("418", 418), ("BadRequest", 400), ("400", 400)])
@pytest.mark.parametrize(("word", "verdict"), [("retry", R), ("hold", H)])
async def test_codes_of_the_settings_are_words_or_statuses(code: str, status: int, word: str, verdict: Verdict) -> None:
    acks = await answered(error(status, "Strange" if status == 418 else "BadRequest"), codes={code: word})
    assert verdicts(acks) == [verdict]


async def test_a_redirect_is_not_followed_and_names_the_setting_to_mend() -> None:
    [ack] = await answered(Raw(b"", 302, {"Location": "https://login.example.com/"}))
    assert ack.verdict is H
    assert "correct `url`" in ack.detail


async def test_nobody_there_is_a_retry() -> None:
    async with fiddler("http://127.0.0.1:1", **V2) as target:
        acks = await target.send(batch(target, 1))
    assert verdicts(acks) == [R]


async def test_a_wrong_number_of_ids_acknowledges_nobody() -> None:
    for by in (-1, 1):
        async with Sandbox(faults=[faults.wrong_length(by)]) as sandbox, fiddler(sandbox.url) as target:
            acks = await target.send(batch(target, 3))
            assert [(ack.verdict, ack.code) for ack in acks] == [(R, "ProtocolError")] * 3
            assert f"{3 + by} ids for 3 events" in acks[0].detail


async def test_the_culprit_of_a_refused_request_stands_alone_beside_what_does_not_fit() -> None:
    poison = faults.refuse("BadRequest", when=lambda row: row.get("n") == 1, times=None)
    async with Sandbox(faults=[poison]) as sandbox, fiddler(sandbox.url, casting_type=True) as target:
        entries = ready(target, of(0, event={"age": "x"}), of(1))
        acks = await target.send(entries)  # one of two does not fit, so the other is known to be the culprit
        assert [(ack.verdict, ack.code) for ack in acks] == [(X, "Uncastable"), (X, "BadRequest")]
        with pytest.raises(BatchRefused):
            await target.send(batch(target, 3))
        assert verdicts(await target.send(batch(target, 3)[:1])) == [D]


async def test_a_409_is_a_success_for_what_was_sent_before_with_an_outcome_that_nobody_knows() -> None:
    for lost in (faults.cut(accepted=True), faults.html(503), faults.empty()):
        script = [lost, faults.error("Conflict", "seen", 409)]
        async with Sandbox(faults=script) as sandbox, fiddler(sandbox.url) as target:
            entries = batch(target, 2)
            await target.send(entries)
            acks = await target.send(entries)
            assert verdicts(acks) == [D, D]
            assert "409" in acks[0].detail


async def test_a_409_is_no_success_for_a_first_attempt_nor_beside_one_nor_after_a_refusal() -> None:
    conflict = faults.error("Conflict", "seen", 409)
    async with Sandbox(faults=[conflict]) as sandbox, fiddler(sandbox.url) as target:
        assert verdicts(await target.send(batch(target, 2))) == [H, H]
    async with Sandbox(faults=[faults.cut(), conflict]) as sandbox, fiddler(sandbox.url) as target:
        await target.send(batch(target, 1))
        assert verdicts(await target.send(batch(target, 2))) == [H, H]
    async with Sandbox(faults=[faults.throttle(), conflict]) as sandbox, fiddler(sandbox.url) as target:
        await target.send(batch(target, 1))
        assert verdicts(await target.send(batch(target, 1))) == [H]


async def test_a_service_that_knows_repeats_takes_an_event_once() -> None:
    async with (
        Sandbox(knows_repeats=True, faults=[faults.cut(accepted=True)]) as sandbox,
        fiddler(sandbox.url) as target,
    ):
        entries = batch(target, 2)
        assert verdicts(await target.send(entries)) == [R, R]
        assert verdicts(await target.send(entries)) == [D, D]
        assert len(sandbox.accepted) == 2


@pytest.mark.parametrize("more", [{}, V2])
async def test_a_model_that_is_not_there_holds_by_its_name_in_the_config_and_rejects_a_computed_one(more: Any) -> None:
    maps: list[Mapping[str, Any]] = [{"model_name": "named"}, {"model_name": "${value.m}"}]
    async with Sandbox([]) as sandbox, fiddler(sandbox.url, *maps, **more) as target:
        for name, verdict in (("named", H), ("computed", X)):
            acks = await target.send(batch(target, 1, model_name=name))
            assert verdicts(acks) == [verdict]


async def test_a_model_that_was_replaced_is_looked_up_anew() -> None:
    async with Sandbox([Model(version="v1")]) as sandbox, fiddler(sandbox.url) as target:
        assert verdicts(await target.send(batch(target, 1))) == [D]
        sandbox.models = {model.id: model for model in [Model(version="v2")]}
        assert verdicts(await target.send(batch(target, 1))) == [H]
        assert verdicts(await target.send(batch(target, 1))) == [D]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_look_up_that_is_refused_holds_and_rejects_no_event(status: int) -> None:
    async with Wire([error(status, "BadRequest")]) as wire, fiddler(wire.url) as target:
        assert verdicts(await target.send(batch(target, 2))) == [H, H]


async def test_look_ups_that_fail_are_no_fault_of_an_event() -> None:
    page = {"items": [{"id": "x"}]}
    replies = [
        Raw(b"", 503),
        Raw(b"", 401),
        reply({}),
        reply({"items": [7]}),
        reply({"items": []}),
        reply(page),
        reply(page),
        reply({"id": "x"}),
    ]
    async with Wire(replies) as wire, fiddler(wire.url) as target:
        found = [await target.send(batch(target, 1)) for _ in range(6)]
        assert [(ack.verdict, ack.code) for [ack] in found] == [
            (R, "503"),
            (H, "401"),
            (R, "ProtocolError"),
            (R, "ProtocolError"),
            (H, "ProjectNotFound"),
            (R, "ProtocolError"),
        ]
        assert wire.requests[0][0]["Authorization"] == "Bearer t"


async def test_a_request_whose_records_belong_to_one_trace_carries_it_on() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with Wire([reply({"__fiddler_id": "x"})]) as wire, fiddler(wire.url, **V2) as target:
        traced = event({"event": {}}, record(headers=(("traceparent", parent.encode()),)))
        await target.send(ready(target, traced))
        await target.send(ready(target, of()))
    assert [headers.get("traceparent") for headers, _ in wire.requests] == [parent, None]


# dry run


async def test_a_dry_run_sends_nothing_reports_each_event_and_counts_it_as_such() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    rows = [
        {"n": "x", "odd": 1, "age": 200, "country": "XX"},
        dict.fromkeys(("n", "age"), 1),
    ]
    async with Sandbox() as sandbox:
        with capture_logs() as logs:
            async with fiddler(sandbox.url, dry_run=True) as target:
                acks = await target.send(
                    ready(target, *(of(n, event=row, event_timestamp=1_637_344) for n, row in enumerate(rows)))
                )
                update = of(9, event={"age": 1}, update_event=True, event_id="e")
                acks = [*acks, *await target.send(ready(target, update))]
        assert [(ack.verdict, ack.code) for ack in acks] == [(D, "dry_run")] * 3
        assert sandbox.accepted == []
        assert sandbox.outcomes == {}
    assert logs[0]["log_level"] == "warning"
    assert "DRY RUN" in logs[0]["event"]
    first, second, third = (line for line in logs if line["event"].startswith("dry run"))
    said = [violation["desc"] for violation in first["violations"]]
    assert "event_timestamp lies before 1975: is it in seconds?" in said
    assert "n takes int, not str" in said
    assert "the model has no column odd: it is dropped" in said
    assert "age is out of the model's range" in said
    assert "country holds a value that is none of its categories" in said
    assert "probability is an input or output of the model, and is missing" in said
    assert not [desc for desc in said if "XX" in desc or "200" in desc]
    assert len(second["violations"]) < len(said)
    assert third["violations"] == [
        {"type": "fatal", "desc": "age is an input, output or decision, which an update cannot change"}
    ]


# preflight


async def test_a_missing_model_is_named_with_what_to_do() -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, {}, {"model_name": "other"}) as target:
        found = await target.preflight()
    assert (found.health, found.missing) == (Health.MISSING, ("shop/other",))
    assert "mend project_name and model_name" in found.detail


@pytest.mark.parametrize("more", [{}, V2])
async def test_a_token_that_is_refused_is_named_with_what_to_do(more: Any) -> None:
    async with Sandbox(token="another") as sandbox, fiddler(sandbox.url, **more) as target:
        found = await target.preflight()
        assert (found.health, found.code) == (Health.MISSING, "Unauthorized")
        assert "give `token` a valid key" in found.detail
    async with Sandbox(faults=[faults.access_denied()]) as sandbox, fiddler(sandbox.url, **more) as target:
        found = await target.preflight()
        assert (found.health, found.code) == (Health.MISSING, "Forbidden")
        assert "grant the token's user" in found.detail


async def test_v2_finds_its_model_and_misses_another() -> None:
    async with Sandbox() as sandbox:
        async with fiddler(sandbox.url, **V2) as target:
            assert (await target.preflight()).health is Health.OK
        async with fiddler(sandbox.url, **V2, model_name=None, model_id="other") as target:
            assert (await target.preflight()).missing == ("shop/other",)


@pytest.mark.parametrize("more", [{}, V2])
async def test_where_every_model_is_computed_only_the_server_is_asked(more: Any) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, {"model_name": "${value.m}"}, **more) as target:
        found = await target.preflight()
        assert (found.health, found.code) == (Health.UNKNOWN, "NoModelNames")
        assert sandbox.calls == 1


async def test_a_server_that_is_not_there_is_unknown() -> None:
    async with fiddler() as target:
        assert (await target.preflight()).health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("map_", "model", "said"),
    [
        (
            {"update_event": True, "event_id": "${value.id}", "event": {"age": 1, "churned": "yes", "decision": "a"}},
            Model(),
            "maps age, decision: Fiddler drops",
        ),
        ({"update_event": True, "event_id": "${value.id}"}, PLAIN, "has no event_id_col"),
    ],
)
async def test_a_route_that_does_what_the_model_cannot_take_is_found(map_: Any, model: Model, said: str) -> None:
    async with Sandbox([model]) as sandbox, fiddler(sandbox.url, map_) as target:
        found = await target.preflight()
    assert (found.health, found.code) == (Health.MISSING, "ModelMisused")
    assert said in found.detail


async def test_an_update_of_targets_and_metadata_is_fine() -> None:
    map_ = {"update_event": True, "event_id": "${value.id}", "event": {"churned": "yes", "segment": "a"}}
    async with Sandbox() as sandbox, fiddler(sandbox.url, map_) as target:
        assert (await target.preflight()).health is Health.OK
