"""No parameter of Fiddler's two calls forgotten: each is put where `tests/seeds.yaml` says, and seen to arrive."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
import pytest

from connector.loading.load import compiled, load
from connector.model import Ack, Record, TopicPartition
from connector.route import compile_routes
from connector.sandbox.rooms import Rooms
from connector.sandbox.sandbox import Sandbox
from connector.targets import REGISTRY
from connector.targets.fiddler import Fiddler
from tests.contract.test_seeds import leaves, seeds
from tests.contract.wire import Raw, Wire, entry, event, ready, record, session

PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "fiddler_event": (
        *("project_id", "model_id", "event", "event_id", "update_event", "event_timestamp", "timestamp_format"),
        *("casting_type", "dry_run"),
    ),
    "fiddler_batch": (
        *("project_name", "model_name", "events_path", "batch_id", "id_field", "update_event", "timestamp_field"),
        *("timestamp_format", "data_source", "casting_type", "credentials", "group_by", "project_id", "model_id"),
    ),
}
"""The parameters of publish_event and of publish_events_batch, from the reference of Fiddler's client."""

REPLIES: Final = {"fiddler_event": ("result",), "fiddler_batch": ("status", "job_uuid", "files", "message")}
OURS: Final = {"model_version", "batch_source"}
"""Keys of `map` that are no parameters: a version, which API v3 brought, and the example's name for events_path."""

ROWS: Final = b"event_id,n\nx-1,41\nx-2,42\n"


class Case(NamedTuple):
    """One parameter in one of the places where it can stand."""

    call: str
    parameter: str
    place: str

    @property
    def line(self) -> Mapping[str, Any]:
        """What seeds.yaml says of it."""
        line: Mapping[str, Any] = seeds()[self.call]["request"][self.parameter]
        return line


def cases() -> Iterator[Any]:
    for call in PARAMETERS:
        for parameter, line in seeds()[call]["request"].items():
            for place in line["in"]:
                yield pytest.param(Case(call, parameter, place), id=f"{call}-{parameter}-{place}")


def test_every_parameter_and_what_comes_back_is_listed() -> None:
    assert [len(parameters) for parameters in PARAMETERS.values()] == [9, 14]
    for call, parameters in PARAMETERS.items():
        assert sorted(seeds()[call]["request"]) == sorted(parameters)
        assert tuple(seeds()[call]["reply"]) == REPLIES[call]


def test_every_key_of_a_map_is_a_parameter() -> None:
    listed = {name for parameters in PARAMETERS.values() for name in parameters}
    assert set(leaves(REGISTRY["fiddler"].map)) <= listed | OURS


def test_a_parameter_that_a_map_can_hold_is_tried_there() -> None:
    for call, parameters in PARAMETERS.items():
        told = seeds()[call]["request"]
        mapped = {name for name in parameters if "map" in told[name]["in"]}
        assert mapped == set(parameters) & set(REGISTRY["fiddler"].map)


class Stage(NamedTuple):
    """A sandbox, and a bucket that holds one file."""

    url: str
    bucket: Wire
    folder: Path


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    (tmp_path / "rows.csv").write_bytes(ROWS)
    async with Sandbox(Rooms().made(0)) as sandbox, Wire([Raw(ROWS)]) as bucket:
        yield Stage(sandbox.url, bucket, tmp_path)


def configured(case: Case, stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the target, and what its `map` is to hold."""
    seed, line = seeds()[case.call], case.line
    beside, instead = line.get("beside", {}), line.get("instead", {})
    settings = {**seed["settings"], **beside.get("settings", {})}
    mapped = {**seed["map"], **beside.get("map", {})}
    (mapped if case.place == "map" else settings)[case.parameter] = line["sent"]
    for name in instead.get("settings", ()):
        del settings[name]
    for name in instead.get("map", ()):
        del mapped[name]
    words = {"folder": str(stage.folder), "s3": stage.bucket.url}
    filled = {key: value.format(**words) if isinstance(value, str) else value for key, value in settings.items()}
    return {"type": "fiddler", "url": stage.url, "token": "any", **filled}, mapped


@asynccontextmanager
async def sent(case: Case, stage: Stage) -> AsyncIterator[tuple[Fiddler, list[Ack]]]:
    """The target, and its acks of the events that a route of a config made of records."""
    settings, mapped = configured(case, stage)
    group = "seeds-dry-run" if settings.get("dry_run") else "seeds"
    config = {
        "version": 1,
        "kafka": {"bootstrap_servers": "localhost:1", "group_id": group},
        "targets": {"t": settings},
        "routes": [
            {"name": "r", "topics": ["t"], "targets": ["t"], "map": {key: f"${{value.{key}}}" for key in mapped}}
        ],
        "unrouted": "skip",
        "dead_letters": {"topic": "dead"},
        "limits": {"max_open_records": 60000, "max_open_per_partition": 25000, "max_uncommitted_per_partition": 50000},
    }
    file = stage.folder / "config.yaml"
    file.write_text(json.dumps(config))
    loaded = compiled(load([file], {}))
    assert [str(problem) for problem in loaded.errors] == []
    assert loaded.settings is not None
    routes, _ = compile_routes(loaded.settings, loaded.locate)
    assert routes is not None
    several = mapped["event"] if isinstance(mapped.get("event"), list) else [mapped.get("event")]
    values = [{**mapped, "event": one} if "event" in mapped else mapped for one in several]
    written = (
        Record(TopicPartition("t", 0), at, 1_700_000_000_000, None, orjson.dumps(value))
        for at, value in enumerate(values)
    )
    made_of_them = [event for one in written for event in routes.route(one).events]
    assert len(made_of_them) == len(values)
    async with Fiddler("t", loaded.settings.targets["t"], sessions=session) as target:  # type: ignore[arg-type]  # by its type
        yield target, list(await target.send(tuple(entry(one, target.prepare(one)) for one in made_of_them)))


async def rows(stage: Stage, took: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(f"{stage.url}/_sandbox/fiddler/events") as reply:
        found: list[dict[str, Any]] = (await reply.json())[took]
        return found


def differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Where a row does not hold what it should; it may hold more."""
    odd = []
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            odd += [f"{key}.{place}" for place in differs(found[key], value)]
        elif found.get(key) != value:
            odd.append(f"{key}: {found.get(key)!r}, not {value!r}")
    return odd


@pytest.mark.parametrize("case", list(cases()))
async def test_a_parameter_is_seen_at_the_service_wherever_it_is_put(case: Case, stage: Stage) -> None:
    async with sent(case, stage) as (_, acks):
        pass
    wanted = case.line.get("verdict", "delivered")
    assert {ack.verdict.value for ack in acks} == {wanted}
    found = await rows(stage, case.line.get("took", "accepted"))
    assert len(found) == len(case.line["rows"])
    for row, expected in zip(found, case.line["rows"], strict=True):
        assert differs(row, expected) == []
    if "asked" in case.line:
        assert case.line["asked"] in stage.bucket.requests[0][0]["Authorization"]


@pytest.mark.parametrize("settings", [{}, {"api": "v2", "organization": "acme"}], ids=["v3", "v2"])
async def test_the_reply_to_a_file_is_shown_with_every_key_that_the_reference_has(
    settings: dict[str, Any], stage: Stage
) -> None:
    read = {"url": stage.url, "token": "t", "project_name": "shop", "model_name": "churn", "publish": "batch"}
    tree = REGISTRY["fiddler"].settings.model_validate({**read, "job_poll": "1ms", **settings})
    make: Any = REGISTRY["fiddler"].make
    async with make("t", tree, sessions=session) as target:
        await target.send(ready(target, event({"event": {"n": 7}}, record(timestamp_ms=1_700_000_000_000))))
        told = target.told
    assert tuple(told) == REPLIES["fiddler_batch"]
    assert told["status"] == 202
    assert told["message"].startswith("Successfully received the event data.")
    assert told["files"][0].endswith("shop.orders.v1-3-0-0.csv")
    assert told["job_uuid"]
