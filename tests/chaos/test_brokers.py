"""Brokers are struck: killed one after the other, and frozen so that they do not know that they are out."""

import asyncio

import pytest

from tests.chaos.run import IN_FLIGHT, Run, rate, session
from tests.kafka.stage import merged

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(400)
async def test_each_broker_that_dies_and_comes_back_in_turn_costs_nothing(run: Run) -> None:
    """T10 brokers"""
    async with run.stage(partitions=6) as here:
        members = [here.start(rate(30)) for _ in range(2)]
        for member in members:
            await member.ready()
        written = await here.produce(2_000)
        numbers = run.brokers.numbers
        run.rng.shuffle(numbers)
        for number in numbers:
            written += await here.produce(2_000)
            await here.until_committed(sum((await here.committed()).values()) + 300)
            run.brokers.kill(number)
            run.struck("broker killed")
            written += await run.goes_on(here)
            run.brokers.restart(number)
            await asyncio.to_thread(run.brokers.whole)
        await run.judge(here, written)


@pytest.mark.timeout(400)
async def test_a_coordinator_that_freezes_and_wakes_when_another_has_its_place_costs_no_record(run: Run) -> None:
    """T10 coordinator"""
    async with run.stage(partitions=6) as here:
        member = await here.started(merged(session(run, 6.0), rate(30)))
        written = await here.produce(6_000)
        await here.until_committed(500)
        asleep = await run.coordinator(here)
        committed = await here.committed()
        with run.brokers.frozen(asleep):
            run.struck("coordinator frozen")
            await member.says("lost")  # its session ends unheard
            await run.may_repeat(here, IN_FLIGHT, since=committed)
            await run.coordinator(here, other_than=asleep)
            written += await run.goes_on(here)
        assert (await member.get("livez"))[0] == 200
        await run.judge(here, written, repeats=1)
