"""An update of an event that is not there yet is lost without a word: a delayed route lets the events go first."""

import asyncio

import pytest

from connector.model import Ack, Event, TopicPartition, Verdict
from tests.flow.virtual import run
from tests.flow.world import FakeSettings, World, config

EVENTS = TopicPartition("t1", 0)
LABELS = [TopicPartition("t2", partition) for partition in range(3)]
SHOWS_AFTER = 15.0
"""Seconds until an event that the service took is there for updates."""


@pytest.mark.parametrize("labels_alone", [0.0, 5.0])
def test_labels_that_are_read_first_wait_for_the_backlog_of_events(labels_alone: float) -> None:
    """Every record is older than the delay, and there are more labels than may be open."""

    async def main() -> None:
        plain = {"value": "${value}"}
        world = World(
            config(
                targets={"t": FakeSettings.model_validate({"type": "fake", "batch": {"linger": "1ms"}})},
                routes=[
                    {"name": "events", "topics": ["t1"], "targets": ["t"], "map": plain},
                    {"name": "labels", "topics": ["t2"], "targets": ["t"], "map": plain, "delay": "30s"},
                ],
                limits={"max_open_records": 60, "max_open_per_partition": 50, "max_uncommitted_per_partition": 50},
            )
        )
        taken: dict[bytes | None, float] = {}
        lost: list[str] = []
        loop = asyncio.get_running_loop()

        def judge(event: Event) -> Ack:
            if event.route == "events":
                taken[event.record.key] = loop.time()
            elif loop.time() - taken.get(event.record.key, loop.time()) < SHOWS_AFTER:
                lost.append(event.id)
            return Ack(Verdict.DELIVERED)

        world.targets["t"].judge = judge
        for number in range(240):
            key = b"%d" % number
            world.broker.produce(EVENTS, b"1", key)
            world.broker.produce(LABELS[number % 3], b"2", key)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, *LABELS)
            await asyncio.sleep(labels_alone)
            world.consumer.assign([EVENTS])
            await world.until(lambda: world.broker.committed.get(EVENTS) == 240, within=15)
            await world.until(world.all_committed, within=7200)
            app.stop()
            assert await process == 0
        assert lost == []
        assert len(world.targets["t"].took) == 480

    run(main())


def test_a_delayed_record_that_comes_in_time_waits_from_its_own_timestamp() -> None:
    async def main() -> None:
        route = {"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"value": "${value}"}, "delay": "10s"}
        world = World(config(routes=[route]))
        loop = asyncio.get_running_loop()
        sent: list[float] = []

        def judge(event: Event) -> Ack:
            sent.append(loop.time())
            return Ack(Verdict.DELIVERED)

        world.targets["t"].judge = judge
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, EVENTS)
            await asyncio.sleep(15)
            world.broker.produce(EVENTS, b"1")  # its timestamp is long ago, and so is the assignment
            await world.until(lambda: bool(sent), within=10)
            app.stop()
            assert await process == 0

    run(main())


def test_a_record_whose_producers_clock_is_a_year_ahead_waits_no_longer_than_the_delay() -> None:
    async def main() -> None:
        route = {"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"value": "${value}"}, "delay": "30s"}
        world = World(config(routes=[route]))
        world.broker.produce(EVENTS, b"1", ahead=365 * 86_400.0)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, EVENTS)
            await asyncio.sleep(25)
            assert world.targets["t"].took == []
            await world.until(world.all_committed, within=60)
            app.stop()
            assert await process == 0
        assert len(world.targets["t"].took) == 1

    run(main())
