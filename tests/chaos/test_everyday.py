"""One run of each kind, short enough for `make test`: they share a file, so that three brokers start once."""

import pytest

from tests.chaos.run import Run, order_of_restart, quick, rate, session


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.chaos)])
async def test_a_rolling_restart_of_three_members_loses_and_repeats_nothing(run: Run, protocol: str) -> None:
    """T9 SIGTERM"""
    async with run.stage(partitions=6) as here:
        changes = quick(protocol) | rate(15)
        members = [here.start(changes) for _ in range(3)]
        for member in members:
            await member.ready()
        written, busy = [], 0
        for index in order_of_restart(run.rng, members=3, rounds=3):
            written += await here.produce(400)
            leaving = members[index]
            members[index] = here.start(changes)
            busy += len(here.bus.accepted) < len(written)
            assert await leaving.stop() == 0
            run.struck("SIGTERM")
            await members[index].ready()
        assert busy >= 3, "only restarts with work under way prove anything"
        await run.judge(here, written)


async def test_members_that_are_killed_one_after_the_other_repeat_only_what_was_not_committed(run: Run) -> None:
    """T9 SIGKILL"""
    async with run.stage(partitions=6) as here:
        changes = session(run) | rate(25)
        members = [here.start(changes) for _ in range(3)]
        for member in members:
            await member.ready()
        written = []
        for index in order_of_restart(run.rng, members=3, rounds=1):
            written += await here.produce(1_500)
            await here.until_committed(sum((await here.committed()).values()) + 200)
            await run.kill(here, members[index])
            members[index] = here.start(changes)
            await members[index].ready()
        await run.judge(here, written, repeats=1)


async def test_a_coordinator_that_dies_under_load_costs_nothing(run: Run) -> None:
    """T10 coordinator"""
    async with run.stage(partitions=6) as here:
        member = await here.started(rate(60))
        written = await here.produce(6_000)
        await here.until_committed(500)
        died = await run.coordinator(here)
        run.brokers.kill(died)
        run.struck("coordinator killed")
        written += await run.goes_on(here)
        await run.coordinator(here, other_than=died)
        assert (await member.get("livez"))[0] == 200
        await run.judge(here, written)


async def test_connections_to_the_brokers_that_are_reset_all_the_while_cost_nothing(run: Run) -> None:
    """T10 resets"""
    async with run.stage(partitions=6) as here:
        await here.started(rate(60))
        written = await here.produce(6_000)
        for _ in range(8):
            goal = sum((await here.committed()).values()) + run.rng.randrange(200, 500)
            await here.until_committed(goal)
            run.struck("connections reset", run.network.reset())
        await run.judge(here, written)
