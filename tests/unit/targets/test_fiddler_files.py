"""Fiddler with `publish: batch`: CSV, upload, jobs, files that a record names, and what is told of it."""

import csv
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from connector.model import BatchRefused, Entry, Health, Verdict
from connector.sandbox import faults
from connector.sandbox.fiddler import Fiddler as Sandbox
from connector.sandbox.fiddler import Model
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_api import Api
from connector.targets.fiddler_files import (
    Content,
    FilesV2,
    FilesV3,
    Publication,
    Taken,
    line,
    name_of,
    opened_below,
    table,
)
from connector.targets.fiddler_rows import Destination
from tests.contract.wire import ready
from tests.unit.targets.fiddler import FILES, V2, fiddler, of

D, R, X, H = Verdict.DELIVERED, Verdict.RETRY, Verdict.REJECTED, Verdict.HOLD
BOTH = [{}, V2]


def batch(target: Fiddler, count: int = 3, **fields: Any) -> tuple[Entry, ...]:
    return ready(target, *(of(offset, **fields) for offset in range(count)))


def verdicts(acks: Any) -> list[Verdict]:
    return [ack.verdict for ack in acks]


def content(sandbox: Sandbox) -> list[dict[str, str]]:
    [file] = sandbox.files.values()
    assert file.content is not None
    return list(csv.DictReader(io.StringIO(file.content.decode(), newline="")))


# rows


def test_a_table_has_every_column_once_in_order_of_appearance_and_nothing_for_what_is_missing() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": None}, {"b": "x,y", "c": [1, {"d": 2}]}, {"a": 'say "é"\n', "b": True}]
    assert table(rows).decode() == 'a,b,c\n1,,\n,"x,y","[1,{""d"":2}]"\n"say ""é""\n",True,\n'


def test_a_table_can_be_read_back_whatever_stands_in_it() -> None:
    texts = ["", "a", '"', ",", "\n", "\r", "\r\n", "\0x", "é", "😀", " x ", "=1+1", "'"]
    rows = [{"t": text, "n": number} for number, text in enumerate(texts)]
    found = list(csv.DictReader(io.StringIO(table(rows).decode(), newline="")))
    assert [row["t"] for row in found] == texts


def test_rows_of_a_group_stand_together_in_the_order_in_which_they_came() -> None:
    rows = [{"q": group, "n": number} for number, group in enumerate([31, 2, 31, None, 2, 31])]
    found = [line.split(",") for line in table(rows, "q").decode().splitlines()[1:]]
    assert [int(n) for _, n in found] == [0, 2, 5, 1, 4, 3]


def test_a_line_is_what_a_row_adds_to_a_table() -> None:
    assert line([1, None, "a,b", 1.5]) == '1,,"a,b",1.5\n'


async def test_a_file_is_named_after_its_partitions_and_offsets() -> None:
    target = fiddler(**FILES)
    entries = ready(target, of(7), of(9), of(8))
    assert name_of(entries) == "shop.orders.v1-3-7-9.csv"
    assert name_of(entries, "night/1") == "night-1_shop.orders.v1-3-7-9.csv"
    assert len(name_of(entries, "x" * 300)) <= 180


# publish


@pytest.mark.parametrize("more", BOTH)
async def test_rows_become_one_file_whose_job_is_waited_for(more: Any) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **FILES, **more) as target:
        acks = await target.send(batch(target))
        [job] = sandbox.jobs.values()
        assert [(ack.verdict, ack.detail) for ack in acks] == [(D, f"job {job.id} succeeded")] * 3
        assert job.states == ["SUCCESS"]
        assert [(taken.event_id, taken.row["n"]) for taken in sandbox.accepted] == [
            (f"shop.orders.v1-3-{n}/paid", str(n)) for n in range(3)
        ]
        assert {taken.timestamp for taken in sandbox.accepted} == (
            {"1700000000123"} if more else {"2023-11-14T22:13:20.123Z"}
        )


@pytest.mark.parametrize("more", BOTH)
async def test_the_answer_of_the_reference_is_logged_and_told(more: Any) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    async with Sandbox() as sandbox:
        with capture_logs() as logs:
            async with fiddler(sandbox.url, **FILES, **more) as target:
                assert target.told == {}
                await target.send(batch(target))
        [job], [file] = sandbox.jobs, sandbox.files.values()
        assert target.told == {
            "status": 202,
            "job_uuid": job,
            "files": [file.name],
            "message": "Successfully received the event data. Please allow time for the event ingestion to complete in "
            "the Fiddler platform.",
        }
        assert file.name.endswith("shop.orders.v1-3-0-2.csv")
    assert [line["reply"] for line in logs if line["event"] == "file taken"] == [target.told]


@pytest.mark.parametrize("more", BOTH)
async def test_fields_of_a_row_can_be_its_id_and_its_time(more: Any) -> None:
    rows = [{"id": "a", "at": 1_637_344_470, "n": 1}, {"id": 7, "n": 2}, {"id": "", "at": None, "n": 3}]
    settings = {**FILES, **more, "id_field": "id", "timestamp_field": "at", "timestamp_format": "EPOCH_SECONDS"}
    async with Sandbox() as sandbox, fiddler(sandbox.url, **settings) as target:
        acks = await target.send(ready(target, *(of(n, event=row) for n, row in enumerate(rows))))
        assert [(ack.verdict, ack.warning) for ack in acks] == [(D, "")] * 3
        assert [taken.event_id for taken in sandbox.accepted] == ["a", "7", "shop.orders.v1-3-2/paid"]
        times = [taken.timestamp for taken in sandbox.accepted]
        if more:
            assert times == ["1637344470", "1700000000.123", "1700000000.123"]
        else:
            assert times == ["2021-11-19T17:54:30.000Z", *["2023-11-14T22:13:20.123Z"] * 2]
            assert set(content(sandbox)[0]) == {"event_id", "timestamp", "n"}


async def test_the_call_of_v2_tells_fiddler_everything() -> None:
    settings = {**FILES, **V2, "id_field": "id", "timestamp_field": "at", "group_by": "q", "batch_id": "night"}
    said: list[Any] = []

    class Listening(Sandbox):
        def _file_v2(self, request: web.Request, body: bytes, number: int) -> Any:
            said.append(json.loads(body))
            return super()._file_v2(request, body, number)

    async with Listening() as sandbox, fiddler(sandbox.url, **settings) as target:
        await target.send(batch(target, 1, event={"id": "a", "at": 1, "q": 1}, timestamp_format="EPOCH_MILLISECONDS"))
        [file] = sandbox.files.values()
    assert said == [
        {
            "file_name": [file.name],
            "batch_id": "night",
            "events_schema": None,
            "id_field": "id",
            "is_update": None,
            "timestamp_field": "at",
            "timestamp_format": "epoch milliseconds",
            "group_by": "q",
            "file_type": None,
            "upload_type": "event",
        }
    ]


@pytest.mark.parametrize("more", BOTH)
async def test_an_update_by_file_changes_what_is_there(more: Any) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **FILES, **more) as target:
        await target.send(batch(target, 1, event_id="e1"))
        await target.send(batch(target, 1, event_id="e1", update_event=True, event={"churned": "yes"}))
        assert sandbox.accepted[1].method == "PATCH"
        [stored] = sandbox.stored[Model().id].values()
        assert (stored.values["churned"], stored.values["n"]) == ("yes", "0")


async def test_rows_are_grouped_and_those_that_do_not_fit_are_left_out() -> None:
    rows = [{"segment": "b", "age": 1}, {"segment": "a", "age": "x"}, {"segment": "a", "age": 3}, {"segment": "b"}]
    async with Sandbox() as sandbox:
        async with fiddler(sandbox.url, **FILES, group_by="segment", casting_type=True) as target:
            acks = await target.send(ready(target, *(of(n, event=row) for n, row in enumerate(rows))))
        assert verdicts(acks) == [D, X, D, D]
        assert [(row["segment"], row["age"]) for row in content(sandbox)] == [("b", "1"), ("b", ""), ("a", "3")]


async def test_with_accepted_the_job_is_not_waited_for() -> None:
    async with Sandbox(faults=[faults.fail_job()]) as sandbox:
        async with fiddler(sandbox.url, **FILES, ack_on="accepted") as target:
            acks = await target.send(batch(target))
        assert verdicts(acks) == [D, D, D]
        [job] = sandbox.jobs.values()
        assert job.states[0] == "PENDING"


# jobs that fail


@pytest.mark.parametrize("more", BOTH)
@pytest.mark.parametrize("status", ["FAILURE", "REVOKED"])
async def test_a_job_that_fails_is_tried_three_times_again(status: str, more: Any) -> None:
    async with Sandbox(faults=[faults.fail_job(status, times=3)]) as sandbox:
        async with fiddler(sandbox.url, **FILES, **more) as target:
            acks = await target.send(batch(target))
        assert verdicts(acks) == [D, D, D]
        assert len(sandbox.jobs) == 4
        assert len(sandbox.accepted) == 3


async def test_a_file_whose_job_fails_four_times_is_halved_and_a_single_row_rejected() -> None:
    script = [faults.fail_job(message="bad row", times=None)]
    async with Sandbox(faults=script) as sandbox, fiddler(sandbox.url, **FILES) as target:
        with pytest.raises(BatchRefused) as refused:
            await target.send(batch(target))
        assert (refused.value.ack.verdict, refused.value.ack.code) == (X, "JobFailed")
        assert "bad row" in refused.value.ack.detail
        assert len(sandbox.jobs) == 4
        [ack] = await target.send(batch(target, 1))
        assert (ack.verdict, ack.code) == (X, "JobFailed")
        async with fiddler(sandbox.url, **FILES, codes={"JobFailed": "hold"}) as other:
            assert verdicts(await other.send(batch(other, 2))) == [H, H]


async def test_a_job_that_does_not_end_in_time_has_its_file_sent_again() -> None:
    async with Sandbox(faults=[faults.fail_job("STARTED")]) as sandbox:
        async with fiddler(sandbox.url, **FILES, job_timeout="50ms") as hasty:
            acks = await hasty.send(batch(hasty))
        assert [(ack.verdict, ack.code) for ack in acks] == [(R, "JobTimeout")] * 3
        async with fiddler(sandbox.url, **FILES) as patient:
            assert verdicts(await patient.send(batch(patient))) == [D, D, D]


async def test_an_answer_about_a_job_that_is_none_does_not_end_the_wait() -> None:
    class Shaky(Sandbox):
        looks = 0

        async def _job(self, request: web.Request, body: bytes) -> Any:
            self.looks += 1
            if self.looks < 4:
                raise web.HTTPBadGateway
            return await super()._job(request, body)

    async with Shaky() as sandbox, fiddler(sandbox.url, **FILES) as target:
        assert verdicts(await target.send(batch(target))) == [D, D, D]
        assert len(sandbox.jobs) == 1


# upload in pieces


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250, 300])
async def test_a_file_is_uploaded_whole_or_in_pieces_and_arrives_as_it_was(size: int) -> None:
    text = ("n\n" + "1\n" * size)[:size].encode()
    to = Destination("shop", "churn")
    async with Sandbox() as sandbox, Api(sandbox.url, "t", timeout=5, connections=2) as api:
        publication = Publication(to, "x.csv", Content.of_bytes(text), model_id=Model().id)
        for files in (FilesV3(api, piece=100), FilesV2(api, "acme", whole=100, piece=100)):
            taken = await files.publish(publication)
            assert isinstance(taken, Taken)
        assert [file.content for file in sandbox.files.values()] == [text, text]
        assert [len(file.parts) for file in sandbox.files.values()] == [0 if size < 100 else -(-size // 100)] * 2


# files that a record names


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory with a file in it and one beside it, and ways out of it."""
    below = tmp_path / "shelf"
    (below / "deep").mkdir(parents=True)
    (below / "deep" / "a.csv").write_bytes(b"event_id,n\nx1,1\nx2,2\n")
    (tmp_path / "secret.csv").write_bytes(b"n\n1\n")
    (below / "link.csv").symlink_to(tmp_path / "secret.csv")
    (below / "inside.csv").symlink_to(below / "deep" / "a.csv")
    (below / "out").symlink_to(tmp_path)
    os.mkfifo(below / "pipe.csv")
    return below


@pytest.mark.parametrize("more", BOTH)
async def test_a_file_that_a_record_names_is_sent_as_it_is(shelf: Path, more: Any) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **FILES, **more, directory=str(shelf)) as target:
        acks = await target.send(batch(target, 1, events_path="deep/a.csv"))
        assert verdicts(acks) == [D]
        [file] = sandbox.files.values()
        assert file.content == b"event_id,n\nx1,1\nx2,2\n"
        assert file.name.endswith("a.csv")
        assert [taken.event_id for taken in sandbox.accepted] == ["x1", "x2"]


@pytest.mark.parametrize("path", ["link.csv", "inside.csv", "out/secret.csv", "pipe.csv", "deep", "no.csv", "no/a.csv"])
async def test_what_is_no_file_below_the_directory_is_looked_for_five_times(shelf: Path, path: str) -> None:
    async with Sandbox() as sandbox, fiddler(sandbox.url, **FILES, directory=str(shelf)) as target:
        [ack] = await target.send(batch(target, 1, events_path=path))
        assert (ack.verdict, ack.code, ack.tries) == (R, "FileMissing", 5)
        assert sandbox.files == {}


async def test_a_directory_that_is_not_there_is_no_fault_of_a_record(shelf: Path) -> None:
    gone = str(shelf / "gone")
    maps = {"events_path": "${value.path}"}
    async with Sandbox() as sandbox, fiddler(sandbox.url, maps, **FILES, directory=gone) as target:
        [ack] = await target.send(batch(target, 1, events_path="a.csv"))
        assert (ack.verdict, ack.code) == (H, "DirectoryMissing")
        found = await target.preflight()
        assert (found.health, gone in found.detail) == (Health.MISSING, True)
        (shelf / "gone").mkdir()
        assert (await target.preflight()).health is Health.OK


def test_opening_below_a_directory_leaves_no_descriptor_open(shelf: Path) -> None:
    def descriptors() -> Iterator[str]:
        yield from os.listdir("/proc/self/fd")

    before = len(list(descriptors()))
    for path in ("deep/a.csv", "link.csv", "out/secret.csv", "pipe.csv", "deep", "no/a.csv"):
        try:
            with opened_below(str(shelf), PurePosixPath(path)):
                pass
        except OSError:
            continue
    assert len(list(descriptors())) == before


async def test_a_file_that_is_too_large_is_rejected(shelf: Path) -> None:
    async with Sandbox() as sandbox:
        async with fiddler(sandbox.url, **FILES, directory=str(shelf), max_file_bytes="20B") as target:
            [ack] = await target.send(batch(target, 1, events_path="deep/a.csv"))
        assert (ack.verdict, ack.code) == (X, "TooLarge")


async def test_a_file_that_fiddler_refuses_is_rejected(shelf: Path) -> None:
    async with Sandbox(faults=[faults.error("BadRequest", "no", 400)]) as sandbox:
        async with fiddler(sandbox.url, **FILES, directory=str(shelf)) as target:
            [ack] = await target.send(batch(target, 1, events_path="deep/a.csv"))
        assert (ack.verdict, ack.code) == (X, "BadRequest")


async def test_the_columns_of_a_named_file_must_be_the_models(shelf: Path) -> None:
    maps = {"events_path": "${value.path}"}
    settings = {**FILES, "directory": str(shelf), "id_field": "id"}
    async with Sandbox() as sandbox, fiddler(sandbox.url, maps, **settings) as target:
        [ack] = await target.send(batch(target, 1, events_path="deep/a.csv"))
        assert (ack.verdict, ack.code) == (H, "FieldMismatch")
        found = await target.preflight()
        assert (found.health, found.code) == (Health.MISSING, "ModelMisused")
        assert "id_field is id, but shop/churn has event_id" in found.detail


async def test_a_group_by_that_is_not_the_models_is_found() -> None:
    async with Sandbox([Model(group_by="segment")]) as sandbox:
        async with fiddler(sandbox.url, **FILES, group_by="age") as target:
            assert (await target.preflight()).health is Health.MISSING
        async with fiddler(sandbox.url, **FILES, group_by="segment") as target:
            assert (await target.preflight()).health is Health.OK


class S3:
    """A bucket on loopback: path → content. It keeps who asked."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.asked: list[tuple[str, str, str]] = []
        self.cut = False

    async def _get(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        self.asked.append((request.path, headers["Authorization"], headers.get("X-Amz-Security-Token", "")))
        content = self.objects.get(request.path)
        if content is None:
            body = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
            return web.Response(status=404, body=body, content_type="application/xml")
        if self.cut:
            reply = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await reply.prepare(request)
            await reply.write(content[:1])
            assert request.transport is not None
            request.transport.abort()
            return reply
        return web.Response(body=content)

    async def __aenter__(self) -> str:
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", self._get)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_an_object_of_s3_is_fetched_with_the_keys_of_the_settings_and_sent_as_it_is() -> None:
    bucket = S3({"/data/day/a.csv": b"event_id,n\nx1,1\n"})
    keys = {"aws_access_key_id": "AKIDOURS", "aws_secret_access_key": "s", "aws_session_token": "session"}
    async with bucket as url, Sandbox() as sandbox:
        settings = {**FILES, "credentials": keys, "s3_endpoint_url": url, "s3_region": "eu-west-1"}
        async with fiddler(sandbox.url, **settings) as target:
            acks = await target.send(batch(target, 1, events_path="s3://data/day/a.csv"))
            assert verdicts(acks) == [D]
            [missing] = await target.send(batch(target, 1, events_path="s3://data/b.csv"))
            assert (missing.verdict, missing.code, missing.tries) == (R, "NoSuchKey", 5)
            bucket.cut = True
            assert verdicts(await target.send(batch(target, 1, events_path="s3://data/day/a.csv"))) == [R]
        [file] = sandbox.files.values()
        assert (file.name, file.content) == ("a.csv", b"event_id,n\nx1,1\n")
    path, authorization, token = bucket.asked[0]
    assert (path, token) == ("/data/day/a.csv", "session")
    assert "Credential=AKIDOURS/" in authorization


async def test_an_object_of_s3_that_is_too_large_is_rejected() -> None:
    async with S3({"/data/a.csv": b"n\n" + b"1\n" * 100}) as url, Sandbox() as sandbox:
        settings = {**FILES, "s3_endpoint_url": url, "s3_region": "eu-west-1", "max_file_bytes": "100B"}
        async with fiddler(sandbox.url, **settings) as target:
            [ack] = await target.send(batch(target, 1, events_path="s3://data/a.csv"))
        assert (ack.verdict, ack.code) == (X, "TooLarge")
