"""No parameter forgotten: every path of the calls' requests and replies is carried by a key, or read.

`tests/seeds.yaml` says by which. The paths themselves are botocore's, from the service models.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from connector.loading.load import compiled, load
from connector.loading.yaml_source import read
from connector.model import Ack, Record, TopicPartition
from connector.route import compile_routes
from connector.sandbox.modelled import model
from connector.sandbox.rooms import Rooms
from connector.sandbox.sandbox import Sandbox
from connector.targets import REGISTRY
from connector.targets.contract import Leaf
from tests.contract.test_wire_aws import made
from tests.contract.wire import Raw, Wire, entry, event, ready, record, session

SEEDS: Final = Path(__file__).parents[1] / "seeds.yaml"
AWS: Final = ("eventbridge", "iot_events", "pinpoint")


@cache
def seeds() -> Mapping[str, Any]:
    tree, problems, _ = read([SEEDS])
    assert problems == []
    told: Mapping[str, Any] = tree.plain()
    return told


def paths(shape: Shape, where: str = "") -> Iterator[tuple[str, bool]]:
    """Every path below a shape, and whether it is a scalar."""
    match shape:
        case StructureShape():
            below = {f"{where}.{name}".lstrip("."): member for name, member in shape.members.items()}
        case MapShape():
            below = {f"{where}.{{}}": shape.value}
        case ListShape():
            below = {f"{where}.[]": shape.member}
        case _:
            below = {}
    for path, member in below.items():
        yield path, not isinstance(member, StructureShape | MapShape | ListShape)
        yield from paths(member, path)


def operation(kind: str) -> Any:
    seed = seeds()[kind]
    return model(seed["service"]).operation_model(seed["operation"])


@pytest.mark.parametrize("kind", AWS)
def test_every_path_of_a_request_is_carried_by_a_key_of_the_config(kind: str) -> None:
    of_model = dict(paths(operation(kind).input_shape))
    told = seeds()[kind]["request"]
    assert set(of_model) - set(told) == set(), "missing in seeds.yaml"
    assert set(told) - set(of_model) == set(), "in no service model"
    carried = {path for path, line in told.items() if {"map", "target"} & set(line)}
    whole = tuple(f"{path}." for path in carried if isinstance(told[path]["sent"], list | dict))
    scalars = [path for path, scalar in of_model.items() if scalar]
    assert [path for path in scalars if path not in carried and not path.startswith(whole)] == []


@pytest.mark.parametrize("kind", AWS)
def test_every_path_of_a_reply_is_read(kind: str) -> None:
    of_model = dict(paths(operation(kind).output_shape))
    told = seeds()[kind]["reply"]
    assert set(of_model) == set(told)
    assert all(isinstance(reading, str) and reading for reading in told.values())


def leaves(fields: Mapping[str, Leaf], where: str = "") -> Iterator[str]:
    for name, leaf in fields.items():
        if leaf.fields is None:
            yield f"{where}{name}"
        else:
            yield from leaves(leaf.fields, f"{where}{name}.")


@pytest.mark.parametrize("kind", AWS)
def test_every_key_of_a_map_stands_for_a_path(kind: str) -> None:
    told = {line["map"] for line in seeds()[kind]["request"].values() if "map" in line}
    assert told == set(leaves(REGISTRY[kind].map))


def planted(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} → {"a": {"b": 1}}"""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *way, last = path.split(".")
        here = tree
        for name in way:
            here = here.setdefault(name, {})
        here[last] = value
    return tree


def at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


async def arrived(kind: str, folder: Path) -> Any:
    """The row of an event that was made by a route of a config from one record, with every key mapped."""
    seed = seeds()[kind]
    sent = {line["map"]: line["sent"] for line in seed["request"].values() if "map" in line}
    own = {line["target"]: line["sent"] for line in seed["request"].values() if "target" in line}
    rooms = Rooms.model_validate(
        {"iot_events": {"inputs": ["orders", "returns"]}, "pinpoint": {"applications": ["returns"]}}
    )
    async with Sandbox(rooms.made(0)) as sandbox:
        config = {
            "version": 1,
            "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g"},
            "targets": {
                "t": {"type": kind, "endpoint_url": sandbox.url, "region": "eu-west-1", **seed["settings"], **own}
            },
            "routes": [
                {
                    "name": "r",
                    "topics": ["t"],
                    "targets": ["t"],
                    "map": planted({key: f"${{value.{key}}}" for key in sent}),
                }
            ],
            "unrouted": "skip",
            "dead_letters": {"topic": "dead"},
        }
        file = folder / "config.yaml"
        file.write_text(json.dumps(config))
        loaded = compiled(load([file], {}))
        assert [str(problem) for problem in loaded.errors] == []
        assert loaded.settings is not None
        routes, _ = compile_routes(loaded.settings, loaded.locate)
        assert routes is not None
        one = Record(TopicPartition("t", 0), 0, 1_700_000_000_000, b"k", orjson.dumps(planted(sent)))
        [made_of_it] = routes.route(one).events
        make: Any = REGISTRY[kind].make
        async with make("t", loaded.settings.targets["t"], sessions=session) as target:
            acks = await target.send((entry(made_of_it, target.prepare(made_of_it)),))
        assert [ack.verdict.value for ack in acks] == ["delivered"]
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{sandbox.url}/_sandbox/{kind}/events") as reply,
        ):
            [row] = (await reply.json())["accepted"]
        return row


@pytest.mark.parametrize("kind", AWS)
async def test_every_path_of_a_request_arrives_as_it_was_mapped(kind: str, tmp_path: Path) -> None:
    row = await arrived(kind, tmp_path)
    for path, line in seeds()[kind]["request"].items():
        if "sent" in line:
            assert at(row, line["row"]) == line.get("arrives", line["sent"]), path


def without(tree: Any, path: Sequence[str]) -> None:
    """Take what stands at a path out of a tree: everywhere; of an item or a key the first only."""
    name, *rest = path
    if name == "[]":
        keys: list[Any] = list(range(len(tree)))
    else:
        keys = list(tree) if name == "{}" else [name]
    if not rest:
        if name not in ("[]", "{}"):
            tree.pop(name, None)
        elif keys:
            del tree[keys[0]]
        return
    for key in keys:
        if name in ("[]", "{}") or key in tree:
            without(tree[key], rest)


ENTRIES: Final[Mapping[str, list[dict[str, Any]]]] = {
    "eventbridge": [{"Source": "s", "DetailType": "d"}] * 2,
    "iot_events": [{"messageId": "m-1"}, {"messageId": "m-2"}],
    "pinpoint": [
        {"EndpointId": "e-1", "EventId": "v-1", "EventType": "x"},
        {"EndpointId": "e-1", "EventId": "v-2", "EventType": "x"},
        {"EndpointId": "e-4", "Endpoint": {"OptOut": "ALL"}},
    ],
}


async def acks_of(kind: str, reply: Any) -> list[Ack]:
    async with Wire([Raw(orjson.dumps(reply))]) as wire, made(kind, wire.url) as target:
        made_of_it = (event(fields, record(timestamp_ms=1_700_000_000_000)) for fields in ENTRIES[kind])
        return list(await target.send(ready(target, *made_of_it)))


@pytest.mark.parametrize("kind", AWS)
async def test_a_reply_without_any_one_of_its_paths_is_read_otherwise(kind: str) -> None:
    whole = seeds()[kind]["example"]
    acks = await acks_of(kind, whole)
    assert len(acks) == len(ENTRIES[kind])
    payload = operation(kind).output_shape.serialization.get("payload")
    for path in seeds()[kind]["reply"]:
        on_the_wire = [name for name in path.split(".") if name != payload]
        reply = deepcopy(whole)
        if on_the_wire:
            without(reply, on_the_wire)
        else:
            reply = {}
        assert reply != whole, path
        assert await acks_of(kind, reply) != acks, path
