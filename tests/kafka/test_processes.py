"""The daemon as real processes on a real Kafka, killed, stopped and restarted: nothing is lost, little comes twice."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from connector.model import TopicPartition
from connector.sandbox.faults import refuse, slow
from tests.kafka.cluster import Kafka
from tests.kafka.process import Daemon, eventually, seen
from tests.kafka.stage import merged, number_of, stage

pytestmark = pytest.mark.broker


def session(kafka: Kafka, seconds: float = 2.0) -> dict[str, Any]:
    """Changes of the config: how soon a dead member is missed, or as soon as the cluster can."""
    timeout = max(int(seconds * 1000), kafka.cluster.session_ms)
    return {"kafka": {"properties": {"session.timeout.ms": str(timeout), "heartbeat.interval.ms": "300"}}}


async def test_three_kills_within_twenty_thousand_records_lose_none_and_repeat_no_more_than_was_open(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=4) as here:
        changes = session(kafka) | {"targets": {"bus": {"rate_limit": {"calls": "250/s"}}}}
        written = await here.produce(20_000)
        kills: list[int] = []
        for goal in (3_000, 8_000, 13_000):
            daemon = here.start(changes)
            await here.until_committed(goal)
            await daemon.kill()
            kills.append(len(here.bus.accepted))
        assert kills[-1] < 20_000, "the last kill came after the last record"
        last = here.start(changes)
        await here.until_at_end(within=60)
        assert await last.stop() == 0
        assert here.missing(written) == []
        parts = zip(kills, [*kills[1:], None], strict=True)
        repeats = [here.repeated(since, until) for since, until in parts]
        bound = 1000 + here.busiest(0.3)
        print(f"repeated after each kill: {repeats}, at most {bound} allowed")
        assert max(repeats) <= bound
        assert here.repeated() == sum(repeats)


async def test_a_clean_stop_in_the_middle_of_load_exits_with_0_and_repeats_nothing_three_times(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=4) as here:
        changes = {"targets": {"bus": {"rate_limit": {"calls": "100/s"}}}}  # each start begins with a burst of as many
        written = await here.produce(6_000)
        for goal in (500, 2_000, 3_500):
            daemon = here.start(changes)
            await here.until_committed(goal)
            assert await daemon.stop() == 0
            assert sum((await here.committed()).values()) == len(here.bus.accepted), "a stop commits all it delivered"
        assert len(here.bus.accepted) < 6_000, "the last stop came after the last record"
        last = here.start(changes)
        await here.until_at_end()
        assert await last.stop() == 0
        assert here.missing(written) == []
        assert here.repeated() == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_rolling_restart_of_three_members_loses_and_repeats_nothing(
    kafka: Kafka, tmp_path: Path, protocol: str
) -> None:
    async with stage(kafka, tmp_path, partitions=6) as here:
        quick = {"heartbeat.interval.ms": "200"} if protocol == "classic" else {}  # with KIP-848 the broker says
        changes = {
            "kafka": {"group_protocol": protocol, "properties": quick},
            "targets": {"bus": {"max_in_flight": 2}},
        }
        here.bus.faults.add(slow(0.2, times=None))
        members = [here.start(changes) for _ in range(3)]
        for member in members:
            await member.ready()
        written = []
        busy = 0  # restarts with work under way: only these prove anything
        for _ in range(9):
            written += await here.produce(250)
            leaving = members.pop(0)
            members.append(here.start(changes))  # it needs a second before it can join
            busy += len(here.bus.accepted) < len(written)
            assert await leaving.stop() == 0
            await members[-1].ready()
        await here.until_at_end()
        for member in members:
            assert await member.stop() == 0
        assert busy >= 3
        assert here.missing(written) == []
        assert here.repeated() == 0


async def test_a_member_that_owns_nothing_is_gone_from_its_group_when_it_has_stopped(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Otherwise no rebalance ends before its session does, which takes 45 s by default."""
    async with stage(kafka, tmp_path) as here:
        changes = {"kafka": {"properties": {"heartbeat.interval.ms": "300"}}}
        one, other = await here.started(changes), await here.started(changes)

        async def nothing(member: Daemon) -> bool:
            return not json.loads((await member.get("status"))[1])["partitions"]

        async def idle() -> list[Daemon]:
            return [member for member in (one, other) if await nothing(member)]

        (leaving,) = await eventually(idle, what="one of two members has no part of one partition")
        assert await here.members() == 2
        assert await leaving.stop() == 0
        assert await here.members() == 1


async def test_after_a_kill_exactly_the_records_from_the_first_open_one_on_come_again(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Entries 1, 2 and 4 are acknowledged, 3 and 5 held open: 3, 4 and 5 come again."""
    async with stage(kafka, tmp_path) as here:
        await here.produce(6)  # order 0 is there for the numbers' sake
        here.bus.faults.add(
            refuse("ThrottlingException", when=lambda entry: number_of(entry["Detail"]) in (3, 5), times=None)
        )
        first = here.start(session(kafka))
        await here.until_committed(3)
        await seen(lambda: here.numbers() == [0, 1, 2, 4], what="1, 2 and 4 are taken")
        await first.kill()
        assert await here.committed() == {TopicPartition(here.topic, 0): 3}
        here.bus.faults.clear()
        second = here.start(session(kafka))
        await here.until_at_end()
        assert await second.stop() == 0
        assert here.numbers(since=4) == [3, 4, 5]


async def test_a_member_that_was_stopped_until_its_group_gave_it_up_rejoins_and_nothing_is_lost(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=4) as here:
        changes = session(kafka, 3.0)
        changes["kafka"]["properties"]["max.poll.interval.ms"] = "6000"
        changes |= {"drain_timeout": "2s", "targets": {"bus": {"rate_limit": {"calls": "40/s"}}}}
        frozen, other = here.start(changes), here.start(changes)
        await frozen.ready()
        await other.ready()
        written = await here.produce(3_000)
        await here.until_committed(300)
        frozen.send(signal.SIGSTOP)

        async def given_up() -> bool:
            return await here.members() == 1

        await eventually(given_up, what="the group has given the stopped member up")
        mark = len(here.bus.accepted)
        await seen(lambda: len(here.bus.accepted) > mark + 300, what="the other member goes on")
        frozen.send(signal.SIGCONT)
        await frozen.says("lost")

        async def both() -> bool:
            return await here.members() == 2

        await eventually(both, what="it is a member again")
        await frozen.ready()
        written += await here.produce(500)
        await here.until_at_end(within=60)
        for member in (frozen, other):
            assert await member.stop() == 0
        assert here.missing(written) == []


async def test_a_member_that_lost_its_partitions_while_it_was_stopped_commits_nothing_of_them(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=2) as here:
        changes = session(kafka, 3.0)
        slowly = {"commit_interval": "1h", "targets": {"bus": {"rate_limit": {"calls": "20/s"}}}}
        written = await here.produce(1_000)
        frozen = here.start(merged(changes, slowly))
        await seen(lambda: len(here.bus.accepted) >= 300, what="it has much to commit")
        frozen.send(signal.SIGSTOP)

        async def given_up() -> bool:
            return await here.members() == 0

        await eventually(given_up, what="the group has given the stopped member up")
        other = here.start(changes)
        await here.until_at_end()
        assert await other.stop() == 0
        frozen.send(signal.SIGCONT)
        await seen(lambda: frozen.said("lost") or frozen.said("revoked"), what="it has heard that it lost them")
        await seen(lambda: len(frozen.said("assigned")) > 1, what="it is a member again")
        written += await here.produce(100)
        await seen(lambda: here.missing(written) == [], what="what is new is delivered")
        assert await frozen.stop() == 0
        refused = [line["error"] for line in frozen.said("a commit was not taken; it is tried again")]
        assert refused == [], "it committed what it had lost"
