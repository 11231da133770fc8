"""The topic is struck: compaction, transactions, retention, deletion and growth under a running daemon (T13).

What of this can be shown in one process is in tests/kafka/test_offsets.py. Here the daemons are processes, there is a
load, and some die in it.
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from itertools import count

import pytest
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import Record, TopicPartition
from connector.sandbox.faults import html
from tests.chaos.run import Run, session
from tests.kafka.process import Daemon, eventually, seen
from tests.kafka.stage import Stage, merged, orders

QUICK = {"kafka": {"properties": {"topic.metadata.refresh.interval.ms": "1000"}}}
"""Changes of the config: how soon a daemon looks at its topics again, which is a minute by default."""

PACED = {"targets": {"bus": {"rate_limit": {"calls": "60/s"}}}}
"""Changes of the config: a backlog takes some seconds, so that something can happen in the middle of it."""

each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def reads(run: Run, protocol: str) -> dict[str, object]:
    """Changes of the config for this group protocol."""
    if protocol == "consumer":
        return merged(QUICK, {"kafka": {"group_protocol": "consumer"}})
    return merged(QUICK, session(run))


def compacted(run: Run, keys: int, rounds: int) -> tuple[str, list[Record]]:
    """A topic whose older records compaction has thinned out to the last one of each key, and what is left."""
    kafka = run.kafka
    topic = kafka.topic(cleanup_policy="compact", segment_ms=10_000, min_cleanable_dirty_ratio=0.01)
    now = int(time.time() * 1000)
    kafka.produce(topic, orders(keys * rounds), key=lambda i: b"%d" % (i % keys), timestamp_ms=now - 3_600_000)
    kafka.produce(topic, orders(1, keys * rounds), key=lambda i: b"newest", timestamp_ms=now)  # a newer segment
    left: list[Record] = []
    deadline = time.monotonic() + 90

    while len(left) != keys + 1:
        assert time.monotonic() < deadline, f"compaction has left {len(left)} records"
        left = kafka.read(topic)
    return topic, left


@pytest.mark.chaos
async def test_a_compacted_topic_is_delivered_and_committed_to_its_end_over_a_crash(run: Run) -> None:
    """T13"""
    topic, left = await asyncio.to_thread(compacted, run, 1_200, 3)
    assert left[0].offset > 1_000, "compaction has left a hole at the beginning"
    async with run.stage(topic=topic) as here:
        there = {record.offset for record in left}
        for offset in set(range(left[-1].offset)) - there:
            here.hole(left[0].tp, offset, offset + 1)
        await here.wrote(lambda: left)
        run.struck("records compacted", left[-1].offset + 1 - len(left))
        changes = merged(session(run), PACED)
        first = here.start(changes)
        await seen(lambda: len(here.bus.accepted) > 300, what="some are delivered")
        await here.until_committed(left[100].offset)
        await run.kill(here, first)
        await here.started(changes)
        await run.judge(here, left)


def transaction(here: Stage, numbers: "count[int]", records: int, *, commit: bool) -> list[Record]:
    """Write a transaction; what it leaves besides records that must arrive is a hole."""
    first = next(numbers) * 1_000
    written = here.kafka.transaction(here.topic, orders(records, first), commit=commit)
    tp, end = written[0].tp, written[-1].offset + 2  # the marker
    here.hole(tp, end - 1 if commit else written[0].offset, end)
    return written if commit else []


async def test_of_transactions_what_was_committed_arrives_and_what_was_aborted_does_not(run: Run) -> None:
    """T13"""
    async with run.stage() as here:
        changes = merged(session(run), PACED)
        numbers = count()
        member = await here.started(changes)
        written: list[Record] = []
        for turn in range(20):
            commit = turn % 3 != 2
            written += await here.wrote(
                partial(transaction, here, numbers, run.rng.randint(50, 120) if commit else 40, commit=commit)
            )
            if not commit:
                run.struck("transaction aborted")
            if turn == 12:
                await here.until_committed(200)
                await run.kill(here, member)
                member = await here.started(changes)
        await run.judge(here, written, least=500)


def apart(records: list[Record], first: int, end: int) -> list[Record]:
    """Those before and after a range of offsets."""
    return [record for record in records if not first <= record.offset < end]


async def forget(here: Stage, keep: int) -> None:
    """Let retention take what is older than an offset of partition 0."""
    tp = TopicPartition(here.topic, 0)
    here.hole(tp, (await here.committed())[tp], keep)
    await asyncio.to_thread(here.kafka.truncate, here.topic, 0, keep)


async def told_of(here: Stage, daemon: Daemon, keep: int) -> int:
    """Wait until the daemon says that the records before this offset are gone, and give the first that was."""
    tp = TopicPartition(here.topic, 0)
    said = await daemon.says("kafka trouble", code=f"OFFSET_GONE {tp}")
    gone = int(await daemon.metric("connector_records_expired_total"))
    assert said["reason"] == f"{tp} has no offset {keep - gone} any more: {gone} records are gone; going on at {keep}"
    assert await daemon.metric("connector_offset_resets_total") == 1
    assert gone > 0
    return keep - gone


@pytest.mark.chaos
@each_protocol
async def test_what_retention_takes_from_a_daemon_whose_service_is_away_is_counted_and_nothing_else_is_lost(
    run: Run, protocol: str
) -> None:
    """T13"""
    async with run.stage() as here:
        limits = {"max_open_records": 200, "max_open_per_partition": 150, "max_uncommitted_per_partition": 400}
        daemon = await here.started(merged(reads(run, protocol), {"limits": limits}))
        written = await here.produce(1_000)
        await here.until_at_end()
        here.bus.faults.add(html(503, times=None))
        written += await here.produce(4_000)

        async def full() -> bool:
            return await daemon.metric("connector_open_records") >= 50

        await eventually(full, what="the daemon has taken what it may")
        await forget(here, 4_000)
        here.bus.faults.clear()
        first = await told_of(here, daemon, 4_000)
        run.struck("records deleted", 4_000 - first)
        await run.judge(here, apart(written, first, 4_000))
        assert not {place.offset for place in here.taken()} & set(range(first, 4_000))


@pytest.mark.chaos
@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_what_retention_takes_while_a_crashed_daemon_is_away_is_counted_when_it_is_back(
    run: Run, reset: str
) -> None:
    """T13

    `latest` is for the first start of a group: it leaves out nothing here.
    """
    async with run.stage() as here:
        changes = merged(session(run), merged(PACED, {"kafka": {"auto_offset_reset": reset}}))
        daemon = await here.started(changes)
        written = await here.produce(4_000)
        await here.until_committed(500)
        await run.kill(here, daemon)
        await forget(here, 3_000)
        daemon = await here.started(changes)
        first = await told_of(here, daemon, 3_000)
        run.struck("records deleted", 3_000 - first)
        await run.judge(here, apart(written, first, 3_000))


@pytest.mark.chaos
async def test_with_error_a_partition_whose_offset_retention_took_waits_for_a_person_and_the_others_go_on(
    run: Run,
) -> None:
    """T13"""
    async with run.stage(partitions=2) as here:
        changes = merged(session(run), merged(PACED, {"kafka": {"auto_offset_reset": "error"}}))
        empty = {TopicPartition(here.topic, partition): 0 for partition in range(2)}
        await asyncio.to_thread(commit, here, empty)
        daemon = await here.started(changes)
        written = await here.produce(4_000)
        here_is, other = TopicPartition(here.topic, 0), TopicPartition(here.topic, 1)

        async def both() -> bool:
            return min((await here.committed()).values()) > 100

        await eventually(both, what="something is committed on both partitions")
        await run.kill(here, daemon)
        left_at = (await here.committed())[here_is]
        keep = (await asyncio.to_thread(run.kafka.ends, here.topic))[here_is] - 300
        await forget(here, keep)
        run.struck("records deleted", keep - left_at)
        daemon = here.start(changes)
        said = await daemon.says("kafka trouble", code=f"_AUTO_OFFSET_RESET {here_is}")
        assert f"no offset to go on from at offset {left_at}" in said["reason"]
        status, reason = await daemon.get("readyz")
        assert (status, str(here_is) in reason) == (503, True)
        end = (await asyncio.to_thread(run.kafka.ends, here.topic))[other]

        async def other_done() -> bool:
            return (await here.committed())[other] == end

        await eventually(other_done, what="the other partition is delivered to its end")
        assert (await here.committed())[here_is] == left_at
        assert await daemon.stop() == 0
        await asyncio.to_thread(commit, here, {here_is: keep})
        await here.started(changes)
        expected = [record for record in written if record.tp == other or not left_at <= record.offset < keep]
        await run.judge(here, expected)


def commit(here: Stage, offsets: dict[TopicPartition, int]) -> None:
    """As a person does with kafka-consumer-groups.sh, while the group has no members."""
    places = [ClientPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
    here.kafka.consumer().commit(offsets=places, asynchronous=False)


def made_again(here: Stage, topic: str, life: int, records: int) -> list[Record]:
    """Delete a topic of two partitions, make it again and write to it; the records stand for themselves in the oracle.

    Their offsets are those of other records, which went with the old topic.
    """
    here.kafka.delete(topic)
    here.kafka.create(topic, 2)
    written = here.kafka.produce(topic, orders(records, 10_000 * life), key=lambda i: b"%d" % i)
    return [replace(one, tp=TopicPartition(f"{topic} made again {life}", one.tp.partition)) for one in written]


@pytest.mark.chaos
@each_protocol
async def test_a_topic_that_is_deleted_and_made_again_under_load_is_delivered_whole_and_harms_no_other(
    run: Run, protocol: str
) -> None:
    """T13

    Once while the daemon runs, once between its end and its return. What of the old topic was not read by then went
    with it.
    """
    async with run.stage(partitions=2) as here:
        victim = run.kafka.topic(2)
        route = {**here.config["routes"][0], "topics": [here.topic, victim]}
        changes = merged(reads(run, protocol), merged(PACED, {"routes": [route]}))
        daemon = await here.started(changes)
        written = await here.produce(1_000)
        await here.produce(2_000, topic=victim)

        async def far() -> bool:  # farther than the new topic will be long: so a daemon sees it at its next fetch
            committed = await asyncio.to_thread(run.kafka.committed, victim)
            return len(committed) == 2 and min(committed.values()) > 500

        await eventually(far, what="much of the old topic is committed")
        for life in (1, 2):
            if life == 2 and protocol == "classic":
                await run.kill(here, daemon)
            elif life == 2:  # a broker misses a dead member of KIP-848 only after 45 s
                assert await daemon.stop() == 0
            new = await here.wrote(partial(made_again, here, victim, life, 500))
            run.struck("topic made again")
            written += [*new, *await here.produce(500)]
            if life == 2:
                daemon = await here.started(changes)
            await seen(partial(arrived, here, new), within=120, what="the new topic is delivered")
            await here.until_at_end()

        async def at_end() -> bool:
            return await asyncio.to_thread(is_at_end, run, victim)

        await eventually(at_end, within=120, what="the new topic is committed to its end")
        await run.judge(here, written)


def arrived(here: Stage, records: list[Record]) -> bool:
    """Whether the bus has all of them."""
    return not here.missing(records)


def is_at_end(run: Run, topic: str) -> bool:
    """Whether the group has committed the topic to its end."""
    return run.kafka.ends(topic) == run.kafka.committed(topic)


@pytest.mark.chaos
@pytest.mark.parametrize(("protocol", "reset"), [("classic", "latest"), ("consumer", "earliest")])
async def test_partitions_that_are_added_under_load_are_read_from_their_first_record_by_every_member(
    run: Run, protocol: str, reset: str
) -> None:
    """T13

    Records are in the new partitions before any daemon has noticed them.
    """
    async with run.stage(partitions=2) as here:
        changes = merged(reads(run, protocol), merged(PACED, {"kafka": {"auto_offset_reset": reset}}))
        for _ in range(2):
            await here.started(changes)
        written = await here.produce(1_000)
        await here.until_committed(200)
        for partitions in (4, 7):
            await here.grow(partitions)
            run.struck("partitions added", partitions - 2)
            written += await here.produce(700)
        assert {record.tp.partition for record in written} == set(range(7))
        await run.judge(here, written)
