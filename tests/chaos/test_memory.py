"""Memory is struck: records of 10 MB, a million behind a lane that is stuck, thousands of partitions, one hot key.

What a daemon may hold is its open records, bounded by `limits.max_open_bytes`, and a constant beside them, `BESIDE`:

- what it needs without any record: about 100 MiB of code and clients;
- what the Kafka client has fetched ahead: 16 MiB, and the reply to a fetch or two that is under way;
- what Python puts around the open records: some kilobytes each, 60 MiB at the default of 20,000.

Small records are lost in that constant. Of large ones each byte counts up to three times: as it was read, as it was
decoded, and once more while its dead letter is under way; and the limit is passed by what one take brings: at most what
the client had fetched ahead and one record.

Whatever waits in Kafka adds nothing, and what is held stays the same over time: that is what these runs show.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaError, Message, Producer

from connector.model import Record
from connector.sandbox.faults import html, slow
from tests.chaos.run import Run
from tests.kafka import broker
from tests.kafka.cluster import SECONDS, Cluster, Kafka, record
from tests.kafka.process import Daemon, seen
from tests.kafka.stage import Stage, orders, stage

MIB: Final = 2**20
BESIDE: Final = 224 * MIB
"""Bytes of memory that a daemon may hold beside its open records."""

AHEAD: Final = 16 * MIB
"""Bytes that the Kafka client fetches ahead."""

FLAT: Final = 16 * MIB
"""Bytes by which it may differ while nothing gets through; the allocator gives back late and takes in steps."""


class Memory:
    """Bytes that a daemon held, look by look."""

    def __init__(self) -> None:
        self.looks: list[int] = []

    @property
    def most(self) -> int:
        """The most that it ever held."""
        return max(self.looks)

    def within(self, limit: int) -> None:
        """Fail where it held more than the limit and the constant."""
        print(
            f"at most {self.most / MIB:.0f} MiB, {(self.most - limit) / MIB:.0f} beside the limit of {limit / MIB:.0f}"
        )
        assert self.most < limit + BESIDE


@asynccontextmanager
async def watched(daemon: Daemon) -> AsyncIterator[Memory]:
    """Look at the memory of a daemon all the while."""
    memory = Memory()

    async def look() -> None:
        while daemon.code is None:
            memory.looks.append(daemon.resident)
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield memory
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def stays(memory: Memory, seconds: float) -> None:
    """Fail where memory grows within so many seconds."""
    begin, until = len(memory.looks), time.monotonic() + seconds
    await seen(lambda: time.monotonic() > until, within=seconds + SECONDS, what="the time is over")
    looks = memory.looks[begin:]
    early, late = looks[: len(looks) // 2], looks[len(looks) // 2 :]
    print(f"within {seconds:g} s from {min(looks) / MIB:.0f} to {max(looks) / MIB:.0f} MiB")
    assert max(late) - max(early) < FLAT


def bulk(
    here: Stage, values: Iterable[bytes], *, key: bytes | None = None, size: int = MIB, note: bool = True
) -> list[Record]:
    """Write records of up to `size` bytes, or very many, as fast as the cluster takes them; give them if told to."""
    conf = {"acks": "all", "linger.ms": 100, "batch.size": MIB, "compression.type": "lz4"}
    conf |= {"message.max.bytes": 2 * size, "queue.buffering.max.messages": 0}
    producer = Producer(here.kafka.cluster.conf(**conf))
    written: list[Record] = []

    def landed(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        if note:
            written.append(record(message))

    for value in values:
        producer.produce(here.topic, value, key, on_delivery=landed)
        producer.poll(0)
    assert producer.flush(120) == 0
    return written


@pytest.mark.chaos
async def test_records_of_ten_megabytes_that_nothing_takes_are_held_within_the_limit_and_then_all_buried(
    run: Run,
) -> None:
    """T12, 10 MB

    EventBridge takes no record of that size, and the dead-letter topic does only when it is told to.
    """
    size, count, limit = 10 * MIB, 24, 32 * MIB
    topic = run.kafka.topic(max_message_bytes=size + MIB)
    async with run.stage(topic=topic) as here:
        daemon = await here.started({"limits": {"max_open_bytes": f"{limit // MIB}MiB"}})
        async with watched(daemon) as memory:
            written = await here.produce(1_000)
            await here.until_at_end()
            large = orders(count, 10_000, padding=size - 100)
            written += await here.wrote(partial(bulk, here, large, size=size))
            run.struck("record of 10 MB", count)
            await daemon.says("target holds: nothing is lost, nothing is sent until it works again")
            assert await daemon.metric("connector_lane_held") == 1
            await stays(memory, 6)
            await asyncio.to_thread(partial(run.kafka.alter, here.dead, max_message_bytes=size + MIB))
            await here.until_at_end()
            await run.judge(here, written, buried=count)
        memory.within(3 * (limit + AHEAD + size))


MANY: Final = 3_000
"""As many as one broker opens on two busy cores in the time that a run has: ten thousand took more than a minute."""
EACH: Final = 16 * 2**10
"""Bytes that an assigned partition may cost, whether it has records or not."""


@contextmanager
def crowded(folder: Path, partitions: int) -> Iterator[Kafka]:
    """A broker of its own with so many partitions, which would slow down every other run; it is gone at the end."""
    # a broker that looks at each partition twice a second, as the others do, has no time for anything else
    calm = {"log.retention.check.interval.ms": "300000"}
    folder.mkdir()
    with broker.running(folder, jvm=["-Xmx1g"], settings=calm) as started:
        kafka = Kafka(Cluster(started.bootstrap, started))
        for number in range(partitions // 500):
            kafka.topic(500, name=f"many-{number}")
        yield kafka
        kafka.end()


@pytest.mark.chaos
async def test_three_thousand_partitions_are_begun_and_committed_by_one_member_at_a_few_kilobytes_each(
    run: Run,
) -> None:
    """T12, partitions"""
    with crowded(run.folder / "crowded", MANY) as kafka:
        every = f"^{re.escape(kafka.prefix)}-many-.*"
        begin = time.monotonic()
        async with stage(kafka, run.folder) as here:
            await seen(lambda: is_there(kafka, here.topic), within=120, what="the broker has opened all of them")
            print(f"the broker has {MANY} partitions after {time.monotonic() - begin:.0f} s")
            route = {**here.config["routes"][0], "topics": [here.topic, every]}
            written = await here.produce(1_000)
            for number in range(0, MANY // 500, 4):
                written += await here.produce(100, topic=f"{kafka.prefix}-many-{number}")
            begin = time.monotonic()
            daemon = here.start({"routes": [route]})
            async with watched(daemon) as memory:
                await seen(lambda: not here.missing(written), within=120, what="everything is delivered")
                print(f"delivered after {time.monotonic() - begin:.0f} s")
                run.struck("partition assigned", await owned(daemon))
                assert run.faults["partition assigned"] == MANY + 1
                await here.until_at_end()
                await stays(memory, 5)
                status, reason = await daemon.get("livez")
                assert status == 200, reason
                assert await daemon.stop() == 0
            print(f"at most {memory.most / MIB:.0f} MiB")
            assert memory.most < BESIDE + MANY * EACH
            run.note(records=len(written), lost=0, duplicated=here.repeated(), buried=0)
            assert here.repeated() == 0


def is_there(kafka: Kafka, topic: str) -> bool:
    """Whether the broker knows of this topic, which it does when it has opened those that were made before."""
    found = kafka.cluster.admin.list_topics(topic, timeout=SECONDS).topics[topic]
    return found.error is None and all(part.leader >= 0 for part in found.partitions.values())


async def owned(daemon: Daemon) -> int:
    """How many partitions the daemon has."""
    status, body = await daemon.get("status")
    assert status == 200, body
    return len(json.loads(body)["partitions"])


MILLION: Final = 1_000_000


@pytest.mark.chaos
async def test_a_million_small_records_behind_a_lane_that_is_stuck_cost_no_more_than_what_may_be_open(
    run: Run,
) -> None:
    """T12, a million"""
    async with run.stage(partitions=4) as here:
        limit = 64 * MIB  # the defaults
        limits = {"max_open_records": 20_000, "max_open_per_partition": 5_000, "max_open_bytes": f"{limit // MIB}MiB"}
        daemon = await here.started({"limits": limits, "targets": {"bus": {"rate_limit": {"calls": "150/s"}}}})
        written = await here.produce(1_000)
        await here.until_at_end()
        here.bus.faults.add(html(503, times=None))
        async with watched(daemon) as memory:
            written += await here.produce(40_000)
            begin = time.monotonic()
            filler = (b'{"filler":%d}' % number for number in range(MILLION - 41_000))
            await asyncio.to_thread(bulk, here, filler, note=False)
            print(f"the rest of {MILLION} written in {time.monotonic() - begin:.0f} s")
            run.struck("record behind a stuck lane", MILLION - 1_000)
            await stays(memory, 8)
            assert 5_000 < await daemon.metric("connector_open_records") <= 20_000
            here.bus.faults.clear()
            await here.until_committed(5_000)
            await run.judge(here, written, whole=False)
        memory.within(limit)


@pytest.mark.chaos
async def test_one_hot_key_in_order_before_a_slow_service_is_held_within_the_limit(run: Run) -> None:
    """T12, a hot key"""
    async with run.stage() as here:
        limit = 8 * MIB
        target = {"order": "key", "batch": {"linger": "1ms"}}
        limits = {"max_open_records": 20_000, "max_open_per_partition": 5_000, "max_open_bytes": f"{limit // MIB}MiB"}
        changes = {"limits": limits, "targets": {"bus": target}}
        here.bus.faults.add(slow(0.02, times=None))
        daemon = await here.started(changes)
        async with watched(daemon) as memory:
            values = orders(10_000, padding=6_000)
            written = await here.wrote(partial(bulk, here, values, key=b"hot"))
            run.struck("record of one key", len(written))
            await here.until_committed(200)
            await stays(memory, 8)
            assert 500 < await daemon.metric("connector_open_records") < 2_000
            here.bus.faults.clear()
            await here.until_committed(600)
            await run.judge(here, written, least=600, whole=False)
        memory.within(3 * limit)
        arrived = [place.offset for place in here.taken()]
        assert arrived == list(range(len(arrived)))
