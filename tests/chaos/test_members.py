"""Members of the group are struck: stopped, killed and frozen while others work."""

from tests.chaos.run import Run


async def test_a_rolling_restart_of_three_members_loses_and_repeats_nothing(run: Run) -> None:
    """T9"""
    async with run.stage(partitions=6) as here:
        changes = {
            "kafka": {"properties": {"heartbeat.interval.ms": "200"}},
            "targets": {"bus": {"rate_limit": {"calls": "15/s"}}},
        }
        members = [here.start(changes) for _ in range(3)]
        for member in members:
            await member.ready()
        written, busy = [], 0
        for _ in range(3):
            order = list(range(3))
            run.rng.shuffle(order)
            for index in order:
                written += await here.produce(400)
                leaving = members[index]
                members[index] = here.start(changes)
                busy += len(here.bus.accepted) < len(written)
                assert await leaving.stop() == 0
                run.struck("SIGTERM")
                await members[index].ready()
        assert busy >= 3, "only restarts with work under way prove anything"
        await run.judge(here, written)
