"""A reload in the middle of everything: a bad config changes nothing, a good one loses nothing and repeats nothing.

A world prints its seed; `CONNECTOR_WORLD=SEED` plays that one alone, `CONNECTOR_WORLDS=N` the first N.
"""

import asyncio
import os
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from connector.admin import Answer, Outcome
from connector.app import App
from connector.mapping.problem import Position, Problem
from connector.model import Ack, Prepared, TopicPartition, Verdict
from connector.operations.operate import Operations
from connector.route import Routes
from connector.settings import Loaded, Settings
from tests.flow.test_worlds import PARTITIONS, Weather, build, order_is_kept, settle_down, write
from tests.flow.virtual import run
from tests.flow.world import FakeSettings, FakeTarget, World, config, routes_of

TP = TopicPartition("t1", 0)
OTHER = TopicPartition("t2", 0)
OK = Ack(Verdict.DELIVERED)
PLAIN = {"value": "${value}"}
ONE, COUNT = os.environ.get("CONNECTOR_WORLD"), int(os.environ.get("CONNECTOR_WORLDS", "12"))
SEEDS = [int(ONE)] if ONE else list(range(COUNT))


def fill(world: World, count: int, tp: TopicPartition = TP, start: int = 0) -> None:
    for i in range(start, start + count):
        world.broker.produce(tp, b"%d" % i, b"key")


def route(name: str = "r", topic: str = "t1", *targets: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "topics": [topic], "targets": list(targets or ("t",)), "map": PLAIN, **more}


def fake(**more: Any) -> FakeSettings:
    return FakeSettings.model_validate({"type": "fake", "batch": {"linger": "1ms"}, **more})


async def reloaded(world: World, app: App, to: Settings | Loaded) -> Answer:
    world.next = to
    if isinstance(to, Settings):
        world.settings = to
    return await app.reload.ask()


def reloads(app: App, outcome: str) -> float | None:
    registry: CollectorRegistry = app.tally.metrics.registry
    return registry.get_sample_value("connector_config_reloads_total", {"outcome": outcome})


@pytest.mark.parametrize("order", ["none", "key", "partition"])
def test_a_changed_target_is_reloaded_in_mid_batch_without_loss_repetition_or_disorder(order: str) -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake(order=order)}))
        world.targets["t"].pause = lambda: 0.3
        count = 3000 if order == "none" else 60
        fill(world, count)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(1.0)
            old = app.lanes["t"]
            assert old.in_flight > 0
            changed = config(targets={"t": fake(order=order, max_in_flight=2)})
            assert (await reloaded(world, app, changed)).outcome is Outcome.DONE
            assert app.lanes["t"] is not old
            assert app.retired == [old]
            await world.until(world.all_committed)
            assert app.retired == []
            app.stop()
            assert await process == 0
        assert len(world.sent) == count
        assert max(world.sent.values()) == 1
        if order != "none":
            offsets = [event.record.offset for event in world.targets["t"].took]
            assert offsets == sorted(offsets)

    run(main())


def test_what_waits_is_prepared_anew_by_the_changed_target() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        old = world.targets["t"]
        old.judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 40)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(3)
            new = world.targets["t"] = FakeTarget(Random(1))
            new.prepare = lambda event: Prepared({"new": event.fields["value"]}, 10)  # type: ignore[method-assign]
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=3)}))
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert old.took == []
        assert sorted(body["new"] for body in new.bodies) == list(range(40))

    run(main())


def test_the_lanes_that_did_not_change_are_kept_and_never_stop() -> None:
    async def main() -> None:
        routes = [route("one"), route("two", "t2", "u")]
        world = World(config(targets={"t": fake(), "u": fake()}, routes=routes))
        fill(world, 200)
        fill(world, 200, OTHER)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP, OTHER)
            await asyncio.sleep(0.02)
            kept = app.lanes["u"]
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=1), "u": fake()}, routes=routes))
            assert app.lanes["u"] is kept
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_what_comes_back_of_the_last_calls_is_sent_by_the_successor() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 50)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(3)
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=3)}))
            await asyncio.sleep(3)
            world.targets["t"].judge = lambda event: OK
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_a_config_with_errors_is_refused_in_words_and_changes_nothing() -> None:
    async def main() -> None:
        world = World(config())
        fill(world, 100)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            before = (app.settings, app.lanes["t"], app.config_hash)
            problem = Problem("CFG010", Position("shop.yaml", 3, 9), "routes[0].mtach", "unknown key `mtach`")
            answer = await reloaded(world, app, Loaded(None, (problem,), lambda path: Position("shop.yaml", 1, 1)))
            assert answer == (Outcome.REFUSED, "shop.yaml:3:9: CFG010 routes[0].mtach: unknown key `mtach`")
            assert (app.settings, app.lanes["t"], app.config_hash) == before
            assert reloads(app, "refused") == 1
            status = app.status()
            assert status["reload"]["outcome"] == "refused"
            assert status["attention"][-1]["title"].startswith("The last reload was refused")
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"kafka": {"bootstrap_servers": "localhost:1", "group_id": "other"}}, "kafka.group_id"),
        ({"admin": {"listen": "127.0.0.1:1234"}}, "admin.listen"),
        ({"drain_timeout": "4s"}, "drain_timeout"),
        ({"log": {"format": "console"}}, "log.format"),
        ({"limits": {"max_open_records": 10}}, "limits"),
        ({"dead_letters": None}, "dead_letters"),
    ],
)
def test_what_needs_a_restart_is_named_and_nothing_of_the_config_is_applied(change: dict[str, Any], key: str) -> None:
    async def main() -> None:
        world = World(config())
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            answer = await reloaded(world, app, config(targets={"t": fake(max_in_flight=1)}, **change))
            assert answer.outcome is Outcome.REFUSED
            assert f": {key} changed" in answer.words
            assert "restart" in answer.words
            assert app.lanes["t"].pace.max_in_flight == 16
            app.stop()
            assert await process == 0

    run(main())


def test_a_target_that_cannot_be_opened_is_refused_and_the_old_one_goes_on() -> None:
    class Broken(type(World(config()).dead)):  # type: ignore[misc]  # a FakeTarget, whatever it is called
        async def __aenter__(self) -> Any:
            raise OSError("no such certificate")

    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        fill(world, 10)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            good, world.targets["t"] = world.targets["t"], Broken(Random(0))
            answer = await reloaded(world, app, config(targets={"t": fake(max_in_flight=1)}))
            assert answer == (Outcome.REFUSED, "the target t cannot be opened: OSError: no such certificate")
            world.targets["t"] = good
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def test_poison_that_a_partition_holds_at_is_made_anew_by_the_mended_route() -> None:
    async def main() -> None:
        broken = route(map={"value": "${value.missing}"}, on_error="hold")
        world = World(config(routes=[broken]))
        fill(world, 20)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(10)
            assert world.broker.committed == {TP: 0}
            assert app.status()["halts"] != []
            await reloaded(world, app, config(routes=[route(on_error="hold")]))
            assert app.status()["halts"] == []
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.sent) == 20

    run(main())


def test_a_route_stopped_for_its_dead_letters_is_mended_reloaded_and_resumed_and_the_rest_is_delivered() -> None:
    async def main() -> None:
        letters = {"topic": "dead", "max_consecutive": 5}
        world = World(config(routes=[route(map={"value": "${value.missing}"})], dead_letters=letters))
        fill(world, 50)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(10)
            assert len(world.dead.took) == 5
            await reloaded(world, app, config(dead_letters=letters))
            await asyncio.sleep(10)
            assert world.sent == {}  # it is still stopped
            assert Operations(app).resume("r").outcome is Outcome.DONE
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.dead.took) == 5
        assert len(world.sent) == 45
        assert max(world.sent.values()) == 1

    run(main())


def test_what_waits_in_a_held_lane_is_made_anew_by_the_mended_route_and_goes_at_once() -> None:
    async def main() -> None:
        world = World(config(routes=[route(map={"value": "wrong"})]))
        service = world.targets["t"]
        service.judge = lambda event: (
            OK if service.bodies[-1] == {"value": "right"} else Ack(Verdict.HOLD, "NotAuthorizedForSource", "no")
        )
        fill(world, 20)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(120)
            assert app.lanes["t"].held is not None
            await reloaded(world, app, config(routes=[route(map={"value": "right"})]))
            await world.until(world.all_committed, within=5)
            app.stop()
            assert await process == 0
        assert world.targets["t"].bodies[-20:] == [{"value": "right"}] * 20
        assert max(world.sent.values()) == 1

    run(main())


def test_a_route_that_is_renamed_and_led_elsewhere_takes_along_what_waited_for_the_old_target() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 30)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(5)
            await reloaded(world, app, config(targets={"u": fake()}, routes=[route("new", "t1", "u")]))
            assert list(app.lanes) == ["u", "dead_letters"]
            await world.until(world.all_committed)
            await world.until(lambda: app.retired == [])
            app.stop()
            assert await process == 0
        assert world.targets["t"].took == []
        assert len(world.targets["u"].took) == 30

    run(main())


def test_a_fallback_gets_what_a_route_no_longer_takes() -> None:
    async def main() -> None:
        rest = route("rest", "t1", "u", fallback=True)
        targets = {"t": fake(), "u": fake()}
        world = World(config(targets=targets, routes=[route(), rest]))
        world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 10)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(5)
            world.next = config(targets=targets, routes=[route(match={"value": [999]}), rest])
            world.settings = config(targets=targets, routes=[rest])
            await app.reload.ask()
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.targets["u"].took) == 10

    run(main())


def test_what_another_route_made_of_the_same_record_is_not_sent_again() -> None:
    async def main() -> None:
        targets = {"t": fake(), "u": fake()}
        world = World(config(targets=targets, routes=[route("one"), route("two", "t1", "u")]))
        world.targets["t"].judge = lambda event: Ack(Verdict.RETRY, "503", "later")
        fill(world, 20)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(5)
            assert len(world.targets["u"].took) == 20
            mended = route("one", map={"value": "mended"})
            await reloaded(world, app, config(targets=targets, routes=[mended, route("two", "t1", "u")]))
            world.targets["t"].judge = lambda event: OK
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert world.targets["t"].bodies[-20:] == [{"value": "mended"}] * 20
        assert max(world.sent.values()) == 1

    run(main())


def test_a_revoke_after_a_reload_still_knows_what_was_sent_before_it() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        late = {5}
        world.targets["t"].judge = lambda event: (
            Ack(Verdict.RETRY, "503", "later") if event.record.offset in late else OK
        )
        fill(world, 100)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(5)
            assert len(world.targets["t"].took) == 99
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=2)}))
            await world.until(lambda: app.retired == [])
            late.clear()
            await world.consumer.revoke([TP], within=5.0)
            assert world.broker.committed == {TP: 100}
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_a_topic_that_no_route_reads_any_more_is_not_committed_past() -> None:
    async def main() -> None:
        world = World(config(routes=[route("one"), route("two", "t2")]))
        fill(world, 10)
        fill(world, 2000, OTHER)
        world.targets["t"].pause = lambda: 1.0
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP, OTHER)
            await asyncio.sleep(0.5)
            world.next = config(routes=[route("one")])
            await app.reload.ask()
            assert world.consumer.topics == ("t1",)
            await asyncio.sleep(30)
            assert world.broker.committed.get(TP) == 10
            await world.consumer.revoke([OTHER], within=5.0)
            app.stop()
            assert await process == 0
        # the broker has judged every commit: none passed a record of t2 that nobody has
        assert world.broker.committed.get(OTHER, 0) < 2000

    run(main())


def test_a_topic_is_given_back_only_after_its_partitions_were_let_go_and_nothing_of_it_is_lost() -> None:
    async def main() -> None:
        both, less = config(routes=[route("one"), route("two", "t2")]), config(routes=[route("one")])
        world = World(both)
        fill(world, 10, OTHER)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP, OTHER)
            await world.until(lambda: world.broker.committed.get(OTHER) == 10)
            world.next = less
            await app.reload.ask()
            fill(world, 10, OTHER, start=10)  # taken, and dropped: nobody reads them here any more
            await asyncio.sleep(1)
            answer = await reloaded(world, app, both)
            why = "the reload before it is not over: the partitions of t2 have to be let go first"
            assert answer == (Outcome.REFUSED, why)
            fill(world, 10, OTHER, start=20)
            await asyncio.sleep(1)
            await world.consumer.revoke([OTHER], within=5.0)
            assert world.broker.committed[OTHER] == 10
            assert (await reloaded(world, app, both)).outcome is Outcome.DONE
            world.consumer.assign([OTHER])
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.sent) == 30
        assert max(world.sent.values()) == 1

    run(main())


def test_a_rebalance_and_a_stop_in_the_middle_of_a_reload_repeat_nothing_that_could_be_finished() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        world.targets["t"].pause = lambda: 1.0
        fill(world, 2000)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(1.5)
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=2)}))
            await world.consumer.revoke([TP], within=5.0)
            world.consumer.assign([TP])
            await asyncio.sleep(2.5)
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=16)}))
            app.stop()
            assert await process == 0
            app, process = await world.start(group, TP)
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert len(world.sent) == 2000
        assert max(world.sent.values()) == 1

    run(main())


def test_a_second_reload_waits_for_the_calls_of_the_first_and_says_so() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        world.targets["t"].pause = lambda: 5.0
        fill(world, 10)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            await asyncio.sleep(1)
            await reloaded(world, app, config(targets={"t": fake(max_in_flight=2)}))
            answer = await reloaded(world, app, config(targets={"t": fake(max_in_flight=3)}))
            assert answer == (Outcome.REFUSED, "the reload before it is not over: calls of t have to end first")
            await world.until(world.all_committed)
            assert (await app.reload.ask()).outcome is Outcome.DONE
            assert app.lanes["t"].pace.max_in_flight == 3
            app.stop()
            assert await process == 0

    run(main())


def test_a_reload_of_the_same_config_changes_nothing_and_paused_in_the_config_stops_and_starts() -> None:
    async def main() -> None:
        world = World(config())
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            assert (await reloaded(world, app, config())).words == "nothing has changed"
            assert reloads(app, "applied") == 1
            await reloaded(world, app, config(routes=[route(paused=True)]))
            fill(world, 10)
            await asyncio.sleep(10)
            assert world.sent == {}
            assert app.status()["routes"][0]["paused"]["why"] == "config"
            await reloaded(world, app, config())
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0
        assert max(world.sent.values()) == 1

    run(main())


def test_a_reload_of_something_else_does_not_pause_again_what_an_operator_has_resumed() -> None:
    async def main() -> None:
        world = World(config(routes=[route(paused=True)]))
        fill(world, 10)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            assert Operations(app).resume("r").outcome is Outcome.DONE
            await reloaded(world, app, config(routes=[route(paused=True)], commit_interval="200ms"))
            await world.until(world.all_committed)
            app.stop()
            assert await process == 0

    run(main())


def test_a_target_that_cannot_even_be_made_is_refused() -> None:
    async def main() -> None:
        world = World(config(targets={"t": fake()}))
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TP)
            good = world.targets.pop("t")
            changed = config(targets={"t": fake(max_in_flight=1)})

            async def read() -> tuple[Loaded, Routes | None]:
                return Loaded(changed, (), lambda path: Position("test.yaml", 1, 1), "next"), routes_of(changed)

            app.parts = replace(app.parts, read=read)
            answer = await app.reload.ask()
            assert answer == (Outcome.REFUSED, "its targets cannot be made: KeyError: 't'")
            world.targets["t"] = good
            app.stop()
            assert await process == 0

    run(main())


def variant(settings: Settings, random: Random) -> Settings:
    """Another config with the same promises: the same topics to the same targets."""
    targets = dict(settings.targets)
    for name, target in settings.targets.items():
        if random.random() < 0.5:
            targets[name] = target.model_copy(update={"max_in_flight": random.choice([1, 2, 4, 16])})
    routes = tuple(
        one.model_copy(update={"final": False, "map": {"value": random.choice(["${value}", "x${value}", "${key}"])}})
        if random.random() < 0.5
        else one
        for one in settings.routes
    )
    return settings.model_copy(update={"targets": targets, "routes": routes})


async def live(world: World, weather: Weather, random: Random, group: asyncio.TaskGroup) -> None:
    """Reloads among rebalances, refusals, holds and crashes."""
    app, process = await world.start(group, *PARTITIONS)
    consumer = world.consumer
    for _ in range(random.randint(10, 25)):
        weather.change()
        write(world, random, random.randint(0, 60))
        await asyncio.sleep(random.uniform(0.0, 1.5))
        world.next = variant(world.settings, random)
        answer = await app.reload.ask()
        assert answer.outcome is Outcome.DONE or "not over" in answer.words
        owned = sorted(consumer.owned)
        missing = [tp for tp in PARTITIONS if tp not in consumer.owned]
        step = random.random()
        if step < 0.2 and owned:
            await consumer.revoke(random.sample(owned, random.randint(1, len(owned))), within=random.choice([0.2, 5.0]))
        elif step < 0.3 and owned:
            consumer.lose(random.sample(owned, random.randint(1, len(owned))))
        elif step < 0.6 and missing:
            consumer.assign(missing)
        elif step < 0.7:
            app.pause(random.choice(["one", "two", "three"]), "operator")
        elif step < 0.8:
            app.resume(random.choice(["one", "two", "three"]))
    if random.random() < 0.5:
        await world.kill(process)
    else:
        app.stop()
        assert await process in (0, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_reload_loses_a_record_or_its_order_whatever_else_happens(seed: int) -> None:
    print(f"seed {seed}: replay with CONNECTOR_WORLD={seed}")
    world, weather = build(seed)
    random = Random(seed + 2)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            await live(world, weather, random, group)
            await settle_down(world, weather, group)

    run(main())
    for tp in PARTITIONS:
        assert world.broker.committed.get(tp, 0) == world.broker.end(tp)
        for record in world.broker.logs[tp]:
            assert world.settled(record), f"{record} is nowhere"
    order_is_kept(world)
