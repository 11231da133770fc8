"""Names that records give to files of Fiddler: none leaves its directory, its header or its form, nor stops it."""

import json
from pathlib import Path
from typing import Final

import pytest

from connector.model import BatchRefused, Unpublishable, Verdict
from connector.sandbox.fiddler import Fiddler as Sandbox
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_settings import FiddlerSettings
from tests.contract.wire import event, ready, record, session
from tests.hostile import WORDS

PATHS: Final = (
    "../outside.csv",
    "/etc/hostname",
    "s3://bucket/\ud800",
    "s3://bucket/\r\nX: y",
    "a/../../outside.csv",
    "in\x00.csv",
    "a" * 300 + ".csv",
)


@pytest.mark.parametrize("api", ["v3", "v2"])
@pytest.mark.parametrize("key", ["events_path", "batch_id"])
async def test_a_file_by_a_hostile_name_is_read_below_its_directory_or_not_at_all(
    api: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside.csv").write_text("n\n1\n")
    names = [*WORDS, *PATHS]
    for word in names:
        if "/" not in word and "\x00" not in word and 0 < len(word.encode("utf-8", "replace")) < 200:
            (tmp_path / "in" / word.encode("utf-8", "replace").decode()).write_text("n,text\n1,x\n")
    async with Sandbox(job_states=()) as sandbox:
        tree = {
            "url": sandbox.url,
            "token": "t",
            "publish": "batch",
            "project_name": "shop",
            "model_name": "churn",
            "job_poll": "1ms",
            "directory": str(tmp_path / "in"),
            "s3_region": "eu-west-1",
            "s3_endpoint_url": "http://127.0.0.1:1",
            **({"api": "v2", "organization": "acme"} if api == "v2" else {}),
        }
        done = 0
        async with Fiddler("fiddler", FiddlerSettings.model_validate(tree), sessions=session) as target:
            for number, word in enumerate(names):
                fields = {"events_path": word} if key == "events_path" else {"event": {"n": 1}, "batch_id": word}
                try:
                    batch = ready(target, event(fields, record(offset=number)))
                except Unpublishable:
                    continue
                try:
                    (ack,) = await target.send(batch)
                except BatchRefused:
                    continue
                done += ack.verdict is Verdict.DELIVERED
        assert done > 3
        assert "outside" not in json.dumps([taken.row for taken in sandbox.accepted], default=str)
