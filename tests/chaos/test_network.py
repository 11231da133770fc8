"""The network between the daemons and the brokers is struck, for longer than the group waits for a member."""

import time

import pytest

from tests.chaos.run import Run, rate, session
from tests.kafka.process import seen
from tests.kafka.stage import merged

pytestmark = pytest.mark.chaos

OUTAGE = 30.0
"""Seconds without a network, as T10 wants it."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["cut", "half_open"])
async def test_a_network_that_is_gone_for_thirty_seconds_costs_no_record(run: Run, how: str) -> None:
    """T10 network"""
    async with run.stage(partitions=6) as here:
        members = [here.start(merged(session(run, 10.0), rate(30))) for _ in range(2)]
        for member in members:
            await member.ready()
        written = await here.produce(4_000)
        await here.until_committed(600)
        await (run.network.cut() if how == "cut" else run.network.half_open())
        until = time.monotonic() + OUTAGE
        run.struck(f"network {how.replace('_', '-')} {OUTAGE:g} s")
        written += await here.produce(1_000)
        await seen(lambda: time.monotonic() > until, what="the outage is over")
        for member in members:
            assert (await member.get("livez"))[0] == 200
        # what the members had open went out meanwhile, and nobody could commit it
        assert await run.may_repeat(here) > 0
        await run.network.heal()
        written += await run.goes_on(here)
        await run.judge(here, written, repeats=1)


@pytest.mark.timeout(400)
async def test_a_network_that_is_slow_for_a_while_costs_nothing(run: Run) -> None:
    """T10 delay"""
    async with run.stage(partitions=6) as here:
        await here.started(rate(60))
        written = await here.produce(5_000)
        await here.until_committed(500)
        await run.network.delay(run.rng.uniform(0.3, 0.8))
        run.struck("network slow")
        written += await run.goes_on(here, 1_000)
        await run.judge(here, written)
