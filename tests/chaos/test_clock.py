"""The wall clock is struck: set an hour forth and back, again and again, it changes nothing but timestamps.

Whoever sets a clock (NTP after a bad boot, a person, a virtual machine that was moved) sets the one that tells the
date. What waits, retries, lingers and commits goes by another one. A world of tests/flow is played twice, with a steady
wall clock and with one that jumps: each call, at its time, each verdict and each commit must be the same.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from connector.model import Ack, Event, TopicPartition
from tests.flow.test_worlds import build, play
from tests.flow.virtual import run
from tests.flow.world import EPOCH, FakeTarget, World, config

HOUR = 3600.0


def steady() -> float:
    """A wall clock that nobody sets."""
    return EPOCH + asyncio.get_running_loop().time()


def jumping() -> float:
    """A wall clock that is set every 1.7 seconds: right, an hour ahead, an hour behind."""
    now = asyncio.get_running_loop().time()
    return EPOCH + now + (0.0, HOUR, -HOUR)[int(now / 1.7) % 3]


def watch(name: str, target: FakeTarget, told: list[Any]) -> None:
    """Note each entry that comes, when, and what became of it."""
    judge = target.judge

    def heard(event: Event) -> Ack:
        ack = judge(event)
        told.append((asyncio.get_running_loop().time(), name, event.id, ack))
        return ack

    target.judge = heard


def played(seed: int, wall: Callable[[], float]) -> tuple[World, list[Any]]:
    """A world from its first record to its last commit, and all that was seen of it from outside."""
    world, weather = build(seed)
    world.wall = wall
    told: list[Any] = []
    for name, target in [*world.targets.items(), ("dead", world.dead)]:
        watch(name, target, told)

    play(world, weather, seed)
    return world, told


@pytest.mark.parametrize("seed", range(5))
def test_a_wall_clock_that_jumps_an_hour_forth_and_back_changes_no_call_no_pause_and_no_commit(seed: int) -> None:
    print(f"seed {seed}")
    (here, calm), (there, stormy) = played(seed, steady), played(seed, jumping)
    assert len(calm) > 100
    assert stormy == calm
    assert there.broker.history == here.broker.history
    assert there.all_committed()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_record_of_a_delayed_route_goes_after_its_delay_though_the_clock_was_set_meanwhile(step: float) -> None:
    """In a backlog it waits from the assignment on; where the clock says that it is not written yet, from now on."""

    async def main() -> None:
        world = World(
            config(
                routes=[{"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"value": "${value}"}, "delay": "30s"}]
            )
        )
        ahead = 0.0
        world.wall = lambda: steady() + ahead
        told: list[Any] = []
        watch("t", world.targets["t"], told)
        async with asyncio.TaskGroup() as group:
            app, process = await world.start(group, TopicPartition("t1", 0))
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(5)
            ahead = step
            world.broker.produce(TopicPartition("t1", 0), b"1")
            await world.until(world.all_committed, within=2 * HOUR)
            app.stop()
            assert await process == 0
        ((at, *_),) = told
        assert 29 < at - began < 37  # the record came after 5

    run(main())
