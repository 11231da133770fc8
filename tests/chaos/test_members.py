"""Members of the group are struck: frozen, fenced, and made many and few."""

import json
import signal

import pytest

from tests.chaos.run import OPEN, Run, quick, rate, session
from tests.kafka.process import Daemon, eventually, seen
from tests.kafka.stage import merged

pytestmark = pytest.mark.chaos


async def test_a_member_that_was_frozen_until_its_group_gave_it_up_commits_nothing_and_joins_again(run: Run) -> None:
    """T8"""
    async with run.stage(partitions=4) as here:
        changes = merged(session(run), rate(40))
        changes = merged(changes, {"kafka": {"properties": {"max.poll.interval.ms": "6000"}}})
        frozen, other = here.start(changes), here.start(changes)
        await frozen.ready()
        await other.ready()
        written = await here.produce(6_000)
        await frozen.says("assigned")
        await other.says("assigned")
        await here.until_committed(600)
        frozen.send(signal.SIGSTOP)
        run.struck("SIGSTOP")
        await run.may_repeat(here, OPEN)  # what it has open may go out once more before it hears that it was given up

        async def members(count: int) -> bool:
            return await here.members() == count

        await eventually(lambda: members(1), what="the group has given the frozen member up")
        mark = len(here.bus.accepted)
        await seen(lambda: len(here.bus.accepted) > mark + 300, what="the other member goes on")
        frozen.send(signal.SIGCONT)
        await frozen.says("lost")
        await eventually(lambda: members(2), what="it is a member again")
        await frozen.ready()
        written += await here.produce(500)
        await run.judge(here, written)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_one_member_that_becomes_eight_and_one_again_loses_and_repeats_nothing(run: Run, protocol: str) -> None:
    """T18"""
    async with run.stage(partitions=100) as here:
        changes = merged(quick(protocol), merged(rate(10), {"drain_timeout": "10s"}))
        first = await here.started(changes)
        written = await here.produce(1_000)
        await here.until_committed(200)
        others = [here.start(changes) for _ in range(7)]
        for member in others:
            written += await here.produce(300)
            await member.ready()

        async def eight_work() -> bool:
            return all([await partitions(member) > 0 for member in (first, *others)])

        await eventually(eight_work, within=120, what="each of eight members has partitions")
        run.struck("members added", len(others))
        busy = 0
        run.rng.shuffle(others)
        for member in others:
            written += await here.produce(300)
            busy += len(here.bus.accepted) < len(written)
            member.send(signal.SIGTERM)
        for member in others:
            assert await member.exits() == 0
            run.struck("SIGTERM")
        assert busy > 0, "only a stop with work under way proves anything"
        await run.judge(here, written)


async def partitions(member: Daemon) -> int:
    """How many partitions the member says that it has."""
    status, told = await member.get("status")
    return len(json.loads(told)["partitions"]) if status == 200 else 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_of_two_members_with_one_identity_one_ends_with_1_and_is_never_ready_again(
    run: Run, protocol: str
) -> None:
    """T20"""
    async with run.stage(partitions=2) as here:
        identity = {"kafka": {"properties": {"group.instance.id": "the-only-one"}}}
        changes = merged(quick(protocol), identity)
        first = await here.started(changes)
        written = await here.produce(1_000)
        await here.until_at_end()
        second = here.start(changes)
        # with the classic protocol the older one is fenced, with KIP-848 the newer one
        loser = first if protocol == "classic" else second
        assert await loser.exits(within=60) == 1
        run.struck("fenced")
        assert loser.said("stopped: nothing more is committed, what was not acknowledged is sent again after a restart")
        (winner,) = {first, second} - {loser}
        await winner.ready()
        written += await here.produce(1_000)
        await run.judge(here, written)
