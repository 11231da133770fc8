"""Records that wait for a schema: nothing is lost, nothing committed past them, and their order is kept."""

import asyncio
import io
import json
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import fastavro
import pytest

from connector.formats.schemas import Schemas, Unavailable, Unknown, Written
from connector.model import Ack, TopicPartition, Verdict
from tests.flow.virtual import run
from tests.flow.world import World, config

T1 = TopicPartition("t1", 0)
T2 = TopicPartition("t1", 1)
ORDER = {"type": "record", "name": "Order", "fields": [{"name": "n", "type": "long"}]}


class FakeRegistry:
    """Knows the schemas 1 to 9, when it is up; an answer takes a while."""

    def __init__(self) -> None:
        self.up = True
        self.asked: list[int] = []

    async def fetch(self, schema: Any) -> Written | Unknown | Unavailable:
        self.asked.append(schema)
        await asyncio.sleep(0.3)
        if not self.up:
            return Unavailable("it is down")
        return Written("AVRO", json.dumps(ORDER), {}) if 1 <= schema <= 9 else Unknown()


def written(number: int, schema: int = 1) -> bytes:
    """An order in Confluent's wire format: a zigzag varint is all that its body is."""
    body, left = bytearray(), number << 1
    while left > 127:
        body.append(left & 127 | 128)
        left >>= 7
    body.append(left)
    return bytes([0, 0, 0, 0, schema, *body])


def test_our_way_of_writing_is_avros() -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(dict(ORDER)), {"n": 300})
    assert stream.getvalue() == written(300)[5:]


def world(**over: Any) -> tuple[World, FakeRegistry]:
    """A world whose topic is in Avro."""
    registry = FakeRegistry()
    here = World(config(topics={"t1": {"format": "avro"}}, **over))
    here.schemas = Schemas(registry, "confluent", lambda: 0.0)
    return here, registry


def play(scene: Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            await scene(group)

    run(main())


def numbers(here: World) -> list[int]:
    """The orders that the target took, read from the records: an event that was sent has spent its fields."""
    found = []
    for event in here.targets["t"].took:
        number = 0
        for byte in reversed((event.record.value or b"")[5:]):
            number = number << 7 | byte & 127
        found.append(number >> 1)
    return sorted(found)


def test_records_wait_for_their_schema_which_is_fetched_once() -> None:
    async def scene(group: asyncio.TaskGroup) -> None:
        here, registry = world()
        for n in range(200):
            here.broker.produce(T1, written(n, 1 + n % 3))
            here.broker.produce(T2, written(1000 + n))
        app, process = await here.start(group, T1, T2)
        await here.until(here.all_committed)
        assert numbers(here) == [*range(200), *range(1000, 1200)]
        assert sorted(registry.asked) == [1, 2, 3]
        app.stop()
        assert await process == 0

    play(scene)


def test_an_outage_of_the_registry_stops_the_partition_and_loses_nothing() -> None:
    async def scene(group: asyncio.TaskGroup) -> None:
        here, registry = world()
        for n in range(5):
            here.broker.produce(T1, written(n))
        here.broker.produce(T1, written(5, 2))
        app, process = await here.start(group, T1)
        await here.until(here.all_committed)
        registry.up = False
        for n in range(6, 50):
            here.broker.produce(T1, written(n, 3 if n == 10 else 1))
        await here.until(lambda: "SchemaRegistry" in app.troubles)
        await asyncio.sleep(300.0)
        assert here.broker.committed[T1] == 10  # what stands before the record is delivered and committed
        assert numbers(here) == [*range(10)]
        assert app.ready()[0]
        assert len(registry.asked) < 30, "the registry is asked again and again, but slower and slower"
        registry.up = True
        await here.until(here.all_committed)
        assert numbers(here) == [*range(50)]
        assert "SchemaRegistry" not in app.troubles
        app.stop()
        assert await process == 0

    play(scene)


def test_an_unknown_schema_is_a_dead_letter_and_the_rest_goes_on() -> None:
    async def scene(group: asyncio.TaskGroup) -> None:
        here, _ = world()
        records = [here.broker.produce(T1, written(n, 77 if n == 3 else 1)) for n in range(6)]
        app, process = await here.start(group, T1)
        await here.until(here.all_committed)
        assert here.buried == {records[3]}
        counted = [sample for one in app.tally.metrics.dead_letters.collect() for sample in one.samples]
        assert [(sample.labels["code"], sample.value) for sample in counted] == [("UnknownSchema", 1.0)]
        assert numbers(here) == [0, 1, 2, 4, 5]
        app.stop()
        assert await process == 0

    play(scene)


def test_a_partition_that_goes_while_its_records_wait_is_read_again_by_its_next_owner() -> None:
    async def scene(group: asyncio.TaskGroup) -> None:
        here, registry = world()
        registry.up = False
        for n in range(20):
            here.broker.produce(T1, written(n))
        app, process = await here.start(group, T1)
        await here.until(lambda: "SchemaRegistry" in app.troubles)
        await here.consumer.revoke([T1], 5.0)
        assert here.broker.committed.get(T1, 0) == 0
        registry.up = True
        await asyncio.sleep(60.0)
        assert numbers(here) == []
        here.consumer.assign([T1])
        await here.until(here.all_committed)
        assert numbers(here) == [*range(20)]
        app.stop()
        assert await process == 0

    play(scene)


@pytest.mark.parametrize("fault", [False, True])
def test_a_daemon_ends_while_the_registry_is_away_and_repeats_nothing_of_what_waits(fault: bool) -> None:
    async def scene(group: asyncio.TaskGroup) -> None:
        here, registry = world()
        registry.up = False
        for n in range(20):
            here.broker.produce(T1, written(n))
        app, process = await here.start(group, T1)
        await here.until(lambda: "SchemaRegistry" in app.troubles)
        if fault:
            here.consumer.finished.set_exception(RuntimeError("fenced"))
        else:
            app.stop()
        async with asyncio.timeout(60.0):
            assert await process == (1 if fault else 0)
        assert here.broker.committed.get(T1, 0) == 0
        assert numbers(here) == []

    play(scene)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_committed_past_a_record_that_waits_whatever_happens(seed: int) -> None:
    """The broker of the world judges each commit: see FakeBroker."""
    print(f"seed {seed}")

    async def scene(group: asyncio.TaskGroup) -> None:
        here, registry = world()
        random = Random(seed)
        here.targets["t"].judge = lambda event: (
            Ack(Verdict.RETRY, "Busy") if random.random() < 0.2 else Ack(Verdict.DELIVERED)
        )
        for n in range(300):
            tp, gap = random.choice([T1, T2]), random.choice([0, 0, 3])
            here.broker.produce(tp, written(n, random.randint(1, 11)), gap=gap)
        app, process = await here.start(group, T1, T2)
        for _ in range(12):
            registry.up = random.random() < 0.5
            await asyncio.sleep(random.uniform(0.1, 10.0))
            if random.random() < 0.3:
                await here.consumer.revoke([T2], 5.0)
                here.consumer.assign([T2])
        registry.up = True
        await here.until(here.all_committed)
        app.stop()
        assert await process == 0

    play(scene)
