"""Which records the daemon takes and which offsets it leaves behind, on topics that are not as one would wish them."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from connector.consume import Consumer
from connector.edge import Drained
from connector.model import Record, TopicPartition
from connector.room import Credit
from connector.settings import Settings
from tests.kafka.cluster import SECONDS, Kafka
from tests.kafka.inside import until

pytestmark = pytest.mark.broker


# T16: intake under a loop that stops and goes


@dataclass
class Run:
    """What one assignment of one partition handed over."""

    tp: TopicPartition
    epoch: int
    offsets: list[int] = field(default_factory=list)


class Book:
    """The loop's side of a bare edge: it opens nothing, notes every offset, grants room and answers drains at random.

    `runs` is shared by the members of a group, so it has their assignments in the order in which they began.
    """

    def __init__(self, kafka: Kafka, topic: str, runs: list[Run], random: Random) -> None:
        self.runs = runs
        self.consumer = Consumer(
            _bare(kafka, topic), partitions=self, loop=asyncio.get_running_loop(), statistics=1.0, pause=_block
        )
        self._random = random
        self.now: dict[TopicPartition, Run] = {}
        self._taken = self._bytes = self._granted = 0
        self._credit = Credit(0, 0, {})

    def go(self) -> None:
        """Start, and do something at random every few milliseconds from now on until the thread has ended."""
        self.consumer.start()
        self._something()

    async def leave(self) -> None:
        """Leave the group; raises what ended the thread otherwise."""
        self.consumer.stop_taking()
        self.consumer.close()
        await asyncio.wait_for(self.consumer.finished, SECONDS)

    def _something(self) -> None:
        if self.consumer.finished.done():
            return
        random = self._random
        if random.random() < 0.1:
            _block(random.uniform(0.0, 0.1))  # a loop that is kept busy: the thread goes on meanwhile
        if random.random() < 0.8:
            per = {tp: (len(run.offsets) + random.randint(0, 300), run.epoch) for tp, run in self.now.items()}
            self._credit = Credit(self._taken + random.randint(0, 400), self._bytes + random.randint(0, 5000), per)
        self._granted = max(self._granted, self._credit.records)
        self.consumer.grant(self._credit)  # sometimes an old one again
        if random.random() < 0.3:
            chosen = [run for run in self.now.values() if run.offsets and random.random() < 0.5]
            self.consumer.commit({run.tp: (random.choice(run.offsets) + 1, run.epoch) for run in chosen})
        asyncio.get_running_loop().call_later(random.uniform(0.0, 0.01), self._something)

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        for tp in tps:
            self.now[tp] = Run(tp, epoch)
            self.runs.append(self.now[tp])

    def taken(
        self, epochs: Mapping[TopicPartition, int], records: Sequence[Record], positions: Mapping[TopicPartition, int]
    ) -> None:
        for record in records:
            run = self.now[record.tp]
            assert epochs[record.tp] == run.epoch
            run.offsets.append(record.offset)
            self._taken += 1
            self._bytes += record.size
        assert self._taken <= self._granted
        for tp, position in positions.items():
            assert position > max(self.now[tp].offsets, default=-1)

    def drain(self, tps: Sequence[TopicPartition], deadline: float, done: Drained) -> None:
        runs = [self.now.pop(tp) for tp in tps]
        offsets = {run.tp: self._random.choice(run.offsets) + 1 for run in runs if run.offsets}
        answers: list[Callable[[], object]] = [
            lambda: done.set_result(offsets),
            lambda: done.set_result({}),
            done.cancel,
        ]
        asyncio.get_running_loop().call_later(self._random.uniform(0.0, 0.3), self._random.choice(answers))

    def lost(self, tps: Sequence[TopicPartition]) -> None:
        for tp in tps:
            del self.now[tp]

    def restarted(self, epoch: int, tp: TopicPartition, offset: int) -> None:
        raise AssertionError(f"{tp} was never made anew, but is said to start again at {offset}")

    def committed(self, offsets: Mapping[TopicPartition, int], error: str) -> None: ...
    def lag(self, lags: Mapping[TopicPartition, int]) -> None: ...
    def trouble(self, code: str, reason: str) -> None: ...
    def recovered(self, code: str) -> None: ...


def _block(seconds: float) -> None:
    """Keep this thread from doing anything else."""
    threading.Event().wait(seconds)


def _bare(kafka: Kafka, topic: str) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": kafka.cluster.bootstrap,
                "group_id": kafka.group,
                "properties": {"heartbeat.interval.ms": "200", "fetch.wait.max.ms": "100"},
            },
            "targets": {},
            "routes": [{"name": "r", "topics": [topic], "targets": ["t"]}],
            "unrouted": "skip",
            "drain_timeout": "1s",
        }
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_the_loop_does_it_is_handed_each_readable_offset_in_order_and_without_a_gap(
    kafka: Kafka, seed: int
) -> None:
    print("seed", seed)
    random = Random(seed)
    topic = kafka.topic(3)
    for partition in range(3):
        for _ in range(4):
            kafka.produce(topic, 300, partition=partition)
            kafka.transaction(topic, random.randint(1, 50), partition=partition, commit=False)
    readable: dict[TopicPartition, list[int]] = defaultdict(list)
    for record in kafka.read(topic):
        readable[record.tp].append(record.offset)
    runs: list[Run] = []

    def handed(tp: TopicPartition) -> set[int]:
        return {offset for run in runs if run.tp == tp for offset in run.offsets}

    steady = Book(kafka, topic, runs, random)
    steady.go()
    for least in (500, 1500):
        await until(lambda least=least: sum(len(handed(tp)) for tp in readable) >= least)
        passing = Book(kafka, topic, runs, random)
        passing.go()
        await until(lambda book=passing: any(run.offsets for run in book.now.values()))
        await passing.leave()
    await until(lambda: all(handed(tp) == set(offsets) for tp, offsets in readable.items()))
    await steady.leave()

    assert len(runs) >= 5
    far = dict.fromkeys(readable, 0)  # how many of a partition's offsets were handed over, without a gap
    for run in (run for run in runs if run.offsets):
        every = readable[run.tp]
        first = every.index(run.offsets[0])
        assert first <= far[run.tp], f"{run.tp} went on at {run.offsets[0]}"
        assert run.offsets == every[first : first + len(run.offsets)]
        far[run.tp] = max(far[run.tp], first + len(run.offsets))
