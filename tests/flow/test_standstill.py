"""What an operator stops and lets go: nothing is lost, nothing committed past, and what is skipped is skipped alone."""

import asyncio
from typing import Any

import pytest

from connector.admin import Outcome
from connector.model import Ack, Event, TopicPartition, Verdict
from connector.operations.operate import Operations
from tests.flow.virtual import run
from tests.flow.world import FakeSettings, World, config

TP = TopicPartition("t1", 0)
OTHER = TopicPartition("t1", 1)
OK = Ack(Verdict.DELIVERED)
PLAIN = {"value": "${value}"}


def fill(world: World, count: int, tp: TopicPartition = TP, start: int = 0) -> None:
    for i in range(start, start + count):
        world.broker.produce(tp, b"%d" % i, b"key")


def route(name: str = "r", topic: str = "t1", target: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "topics": [topic], "targets": [target], "map": PLAIN, **more}


@pytest.mark.parametrize("order", ["none", "key", "partition"])
def test_a_paused_route_sends_nothing_more_and_after_the_pause_everything_once(order: str) -> None:
    async def main() -> None:
        fake = FakeSettings.model_validate({"type": "fake", "order": order, "batch": {"linger": "1ms"}})
        world = World(config(targets={"t": fake}))
        world.targets["t"].pause = lambda: 0.2
        count = 3000 if order == "none" else 30
        fill(world, count)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(0.7)
            assert app.pause("r", "operator")
            await asyncio.sleep(1.0)  # what was under way ends
            took, committed = len(world.targets["t"].took), world.broker.committed.get(TP, 0)
            await asyncio.sleep(60)
            assert len(world.targets["t"].took) == took
            assert world.broker.committed.get(TP, 0) == committed < count
            assert app.status()["routes"][0]["paused"]["reason"] == "paused by an operator"
            assert app.resume("r")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.sent) == count
        assert max(world.sent.values()) == 1
        if order != "none":
            offsets = [event.record.offset for event in world.targets["t"].took]
            assert offsets == sorted(offsets)

    run(main())


def test_an_entry_that_is_retried_while_its_route_is_paused_waits_too() -> None:
    async def main() -> None:
        world = World(config())
        world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 5)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(5)
            app.pause("r", "operator")
            await asyncio.sleep(60)
            calls = len(world.targets["t"].calls)
            await asyncio.sleep(60)
            assert len(world.targets["t"].calls) == calls
            assert app.status()["routes"][0]["paused"]["waiting"] == 5
            world.targets["t"].judge = lambda event: OK
            app.resume("r")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def test_a_paused_route_leaves_the_other_routes_of_its_target_and_half_of_the_room_alone() -> None:
    async def main() -> None:
        fake = FakeSettings.model_validate({"type": "fake", "batch": {"linger": "1ms"}})
        world = World(
            config(
                targets={"t": fake, "else": fake},
                routes=[route("one"), route("two", "t2"), route("three", "t3", "else")],
                limits={"max_open_records": 200, "max_open_per_partition": 150, "max_uncommitted_per_partition": 150},
            )
        )
        two, three = TopicPartition("t2", 0), TopicPartition("t3", 0)
        for tp in (TP, OTHER, two, three):
            fill(world, 2000, tp)
        async with asyncio.TaskGroup() as group:
            app = world.build()
            process = group.create_task(app.run())
            await world.until(lambda: app.consumer is not None)
            app.pause("one", "operator")
            world.consumer.assign([TP, OTHER, two, three])
            await world.until(lambda: all(world.broker.committed.get(tp) == 2000 for tp in (two, three)))
            assert world.broker.committed.get(TP, 0) == world.broker.committed.get(OTHER, 0) == 0
            assert 0 < app.assignment.totals.records <= 100 + 50
            app.resume("one")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def test_a_paused_route_stays_paused_over_a_rebalance_which_does_not_wait_for_it() -> None:
    async def main() -> None:
        world = World(config())
        fill(world, 100)
        fill(world, 100, OTHER)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            app.pause("r", "operator")
            await asyncio.sleep(5)
            before = asyncio.get_running_loop().time()
            await world.consumer.revoke([TP], within=5.0)
            assert asyncio.get_running_loop().time() - before < 1.0
            world.consumer.assign([TP, OTHER])
            await asyncio.sleep(60)
            assert world.targets["t"].took == []
            app.resume("r")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_a_stop_does_not_wait_for_a_paused_route_and_the_next_process_sends_what_waited() -> None:
    async def main() -> None:
        world = World(config())
        fill(world, 50)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group)
            app.pause("r", "operator")
            world.consumer.assign([TP])
            await asyncio.sleep(5)
            before = asyncio.get_running_loop().time()
            app.stop()
            assert await process == 0
            assert asyncio.get_running_loop().time() - before < 2.0
            assert world.broker.committed.get(TP, 0) == 0
            app, process = await world.start(group, TP)
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_a_route_that_the_config_pauses_waits_from_the_start_until_it_is_resumed() -> None:
    async def main() -> None:
        world = World(config(routes=[route(paused=True)]))
        fill(world, 10)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(60)
            assert world.targets["t"].took == []
            assert app.status()["routes"][0]["paused"]["why"] == "config"
            app.resume("r")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def test_poison_of_a_paused_route_waits_as_well_and_is_buried_once_it_is_resumed() -> None:
    async def main() -> None:
        world = World(config())
        world.broker.produce(TP, b"{poison")
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group)
            app.pause("r", "operator")
            world.consumer.assign([TP])
            await asyncio.sleep(60)
            assert world.dead.took == []
            assert app.status()["routes"][0]["paused"]["waiting"] == 1
            app.resume("r")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.dead.took) == 1

    run(main())


def test_a_record_that_a_partition_holds_at_is_named_and_skipped_alone() -> None:
    async def main() -> None:
        world = World(config(routes=[route(on_error="hold")]))
        world.skips = b"{poison"
        for value in (b"1", b"{poison", b"3", b"{poison", b"5"):
            world.broker.produce(TP, value)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            operations = Operations(app)
            await asyncio.sleep(10)
            halt = app.status()["halts"][0]
            assert (halt["route"], halt["topic"], halt["partition"], halt["offset"]) == ("r", "t1", 0, 1)
            refused = operations.skip("r", "t1", 0, 2)
            assert refused.outcome is Outcome.REFUSED
            assert "It stands at: t1[0]@1" in refused.words
            assert operations.skip("r", "t1", 0, 1).outcome is Outcome.DONE
            await asyncio.sleep(10)
            assert world.broker.committed == {TP: 3}
            assert operations.skip("r", "t1", 0, 1).outcome is Outcome.REFUSED  # once is enough
            assert operations.skip("r", "t1", 0, 3).outcome is Outcome.DONE
            fill(world, 100)
            await world.until(world.all_committed)
            assert app.status()["routes"][0]["skipped"] == 2
            app.stop()
            assert await process == 0

    run(main())


def test_a_record_that_no_route_takes_is_skipped_under_the_name_unrouted() -> None:
    async def main() -> None:
        world = World(config(routes=[route(match={"value": ["yes"]})], unrouted="hold"))
        world.skips = b'"no"'
        world.broker.produce(TP, b'"no"')
        world.broker.produce(TP, b'"yes"')
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(10)
            assert Operations(app).skip("r", "t1", 0, 0).outcome is Outcome.REFUSED
            assert Operations(app).skip("unrouted", "t1", 0, 0).outcome is Outcome.DONE
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def refuses_two(event: Event) -> Ack:
    return Ack(Verdict.REJECTED, "Malformed", "bad") if event.record.offset == 2 else OK


@pytest.mark.parametrize("order", ["none", "partition"])
def test_a_record_that_a_lane_holds_at_is_skipped_and_the_lane_goes_on_at_once(order: str) -> None:
    async def main() -> None:
        fake = FakeSettings.model_validate({"type": "fake", "order": order})
        world = World(config(targets={"t": fake}, routes=[route(on_reject="hold")]))
        world.skips = b"2"
        world.targets["t"].judge = refuses_two
        fill(world, 6)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(300)
            assert world.broker.committed == {TP: 2}
            held = app.status()["targets"][0]["held"]
            assert (held["code"], held["topic"], held["partition"], held["offset"]) == ("Malformed", "t1", 0, 2)
            assert Operations(app).skip("r", "t1", 0, 5).outcome is Outcome.REFUSED
            assert Operations(app).skip("r", "t1", 0, 2).outcome is Outcome.DONE
            await world.until(world.all_committed, within=5)
            app.stop()
            assert await process == 0
        assert [event.record.offset for event in world.targets["t"].took] == [0, 1, 3, 4, 5]

    run(main())


def test_a_dead_letter_that_its_topic_does_not_take_can_be_skipped_and_counts_as_skipped() -> None:
    async def main() -> None:
        world = World(config())
        world.skips = b"{poison"
        world.dead.judge = lambda event: Ack(Verdict.HOLD, "MSG_SIZE_TOO_LARGE", "too large")
        world.broker.produce(TP, b"{poison")
        world.broker.produce(TP, b"1")
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(60)
            assert Operations(app).skip("r", "t1", 0, 0).outcome is Outcome.DONE
            await world.until(world.all_committed)
            counts = app.status()["routes"][0]
            assert (counts["skipped"], counts["dead_lettered"]) == (1, 0)
            app.stop()
            assert await process == 0

    run(main())


def test_a_service_that_is_down_shows_code_place_and_next_try() -> None:
    async def main() -> None:
        world = World(config())
        fill(world, 20)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await world.until(world.all_committed)
            assert app.status()["targets"][0]["failing"] is None
            world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "ServiceUnavailable", "503")
            fill(world, 20, start=20)
            await asyncio.sleep(5)
            failing = app.status()["targets"][0]["failing"]
            assert failing["code"] == "ServiceUnavailable"
            assert (failing["topic"], failing["partition"], failing["entries"]) == ("t1", 0, 20)
            assert 20 <= failing["offset"] < 40
            assert 0 <= failing["next_probe_s"] <= 30
            world.targets["t"].judge = lambda event: OK
            await world.until(world.all_committed)
            assert app.status()["targets"][0]["failing"] is None
            app.stop()
            assert await process == 0

    run(main())


def test_who_names_a_route_that_is_not_there_hears_the_names() -> None:
    async def main() -> None:
        world = World(config())
        operations = Operations(world.build())
        for answer in (operations.pause("q"), operations.resume("q"), operations.skip("q", "t1", 0, 0)):
            assert answer == (Outcome.UNKNOWN, "there is no route 'q': the routes are r")
        assert operations.set_level("loud") == (
            Outcome.INVALID,
            "there is no level 'loud': one of debug, info, warning, error",
        )
        assert operations.resume("r").words == "route r was not paused"
        assert "a restart" in operations.pause("r").words.lower()
        assert operations.pause("r").words == "route r stood still already: paused by an operator"
        assert operations.resume("r").words == "route r goes on; it was paused by an operator"

    run(main())
