"""Which records the daemon takes, and where it begins and ends, on topics that are not plain logs (T13, T16)."""

import asyncio
import json
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import confluent_kafka
import pytest
import structlog
from confluent_kafka import Message
from confluent_kafka import TopicPartition as ClientPartition
from structlog.testing import LogCapture

from connector.consume import Consumer
from connector.edge import Drained
from connector.model import Record, TopicPartition
from connector.room import Credit
from connector.sandbox.eventbridge import EventBridge
from connector.settings import Settings
from tests.kafka.cluster import SECONDS, Kafka
from tests.kafka.inside import config, inside, route, until
from tests.kafka.late import Late

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def text(kafka: Kafka, service: EventBridge, topics: Sequence[str], **group: Any) -> dict[str, Any]:
    """A config whose client looks at its topics often; `group` goes below `kafka`."""
    plain = config(kafka, service, topics)
    properties = plain["kafka"]["properties"] | {"topic.metadata.refresh.interval.ms": 300}
    if group.get("group_protocol") == "consumer":
        properties = {name: value for name, value in properties.items() if name not in _CLASSIC_ONLY}
    plain["kafka"] |= {"properties": properties, **group}
    return plain


_CLASSIC_ONLY = ("session.timeout.ms", "heartbeat.interval.ms")


def values(service: EventBridge) -> list[Any]:
    """What the service has, in the order of arrival."""
    return [json.loads(event.detail)["value"] for event in service.accepted]


def texts(words: str, count: int) -> list[bytes]:
    """So many different values."""
    return [json.dumps(f"{words} {i}").encode() for i in range(count)]


def reads(words: str, count: int) -> list[str]:
    """The same as the service gets them."""
    return [f"{words} {i}" for i in range(count)]


@pytest.fixture
def said() -> LogCapture:
    """The log lines of this test."""
    capture = LogCapture()
    structlog.configure(processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    return capture


# T13: holes in the log


async def test_a_compacted_topic_is_delivered_and_committed_to_its_end(kafka: Kafka) -> None:
    topic, left = await asyncio.to_thread(kafka.compacted)
    assert [record.offset for record in left] == [19, 39, 59, 79, 99, 100]
    async with EventBridge() as service:
        plain = text(kafka, service, [topic])
        plain["topics"] = {topic: {"format": "string"}}
        async with inside(kafka, plain, service, gapless=False) as daemon:
            await daemon.caught_up(topic)
        assert [record.offset for record in daemon.records] == [19, 39, 59, 79, 99, 100]
        assert sorted(values(service)) == ["19", "39", "59", "79", "99", "newest"]


@each_protocol
async def test_the_commit_passes_aborted_records_and_the_markers_at_the_end_of_transactions(
    kafka: Kafka, protocol: str
) -> None:
    topic = kafka.topic()
    kafka.transaction(topic, 3)
    kafka.transaction(topic, 5, commit=False)
    async with EventBridge() as service:
        plain = text(kafka, service, [topic], group_protocol=protocol)
        async with inside(kafka, plain, service, gapless=False) as daemon:
            await daemon.caught_up(topic)
            assert await daemon.committed(topic) == {0: 10}
            await asyncio.to_thread(kafka.transaction, topic, 4)
            await daemon.caught_up(topic)
            await asyncio.to_thread(partial(kafka.transaction, topic, 2, commit=False))
            await daemon.caught_up(topic)
            assert await daemon.committed(topic) == {0: 18}
    assert values(service) == [0, 1, 2, 0, 1, 2, 3]


# T13: what the group has committed is no longer there


def _truncated(kafka: Kafka) -> str:
    """A topic of 20 records of which the group has committed 5, and of which retention took 12."""
    topic = kafka.topic()
    kafka.produce(topic, 20)
    stranger = kafka.consumer()
    stranger.commit(offsets=[ClientPartition(topic, 0, 5)], asynchronous=False)
    kafka.truncate(topic, 0, 12)
    return topic


async def test_retention_past_the_committed_offset_is_said_and_counted_and_the_rest_is_delivered(
    kafka: Kafka, said: LogCapture
) -> None:
    topic = await asyncio.to_thread(_truncated, kafka)
    async with EventBridge() as service, inside(kafka, text(kafka, service, [topic]), service) as daemon:
        await daemon.caught_up(topic)
        metric = daemon.app.tally.metrics.registry.get_sample_value
        assert metric("connector_offset_resets_total", {"topic": topic}) == 1.0
        assert metric("connector_records_expired_total", {"topic": topic}) == 7.0
        assert daemon.app.ready()[0]
    assert values(service) == list(range(12, 20))
    (line,) = [line for line in said.entries if line.get("code", "").startswith("OFFSET_GONE") and "reason" in line]
    assert line["reason"] == f"{topic}[0] has no offset 5 any more: 7 records are gone; going on at 12"


async def test_with_error_a_partition_whose_offset_is_gone_holds_and_the_daemon_is_not_ready(
    kafka: Kafka,
) -> None:
    topic = await asyncio.to_thread(_truncated, kafka)
    kafka.grow(topic, 2)
    stranger = kafka.consumer()
    stranger.commit(offsets=[ClientPartition(topic, 1, 0)], asynchronous=False)
    async with EventBridge() as service:
        plain = text(kafka, service, [topic], auto_offset_reset="error")
        async with inside(kafka, plain, service) as daemon:
            await daemon.until(lambda: daemon.app.troubles)
            assert daemon.app.ready()[0] is False
            assert "no offset to go on from at offset 5" in daemon.app.ready()[1]
            await daemon.written(topic, texts("other", 10), partition=1)
            await daemon.until(lambda: len(service.accepted) == 10)

            async def all_of_the_other() -> bool:
                return await daemon.committed(topic) == {0: 5, 1: 10}

            await daemon.until(all_of_the_other)
            assert daemon.app.ready()[0] is False
    assert values(service) == reads("other", 10)


# T13: a topic made anew


@each_protocol
@pytest.mark.parametrize("records", [5, 40])
async def test_a_topic_made_anew_while_the_daemon_runs_is_delivered_whole(
    kafka: Kafka, protocol: str, records: int
) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        plain = text(kafka, service, [topic], group_protocol=protocol)
        async with inside(kafka, plain, service, gapless=False) as daemon:
            await daemon.written(topic, texts("old", 20))
            await daemon.caught_up(topic)
            await asyncio.to_thread(kafka.delete, topic)
            await daemon.until(lambda: not daemon.app.assignment.shares, what="the daemon has noticed")
            await asyncio.to_thread(kafka.create, topic)
            await daemon.written(topic, texts("new", records))
            await daemon.until(lambda: values(service)[20:] == reads("new", records), what="the new topic is delivered")
            await daemon.caught_up(topic)
            await daemon.written(topic, texts("newer", 30))
            await daemon.caught_up(topic)
    assert values(service) == [*reads("old", 20), *reads("new", records), *reads("newer", 30)]


@each_protocol
@pytest.mark.parametrize("records", [5, 40])
async def test_a_topic_made_anew_while_its_partition_was_paused_is_delivered_whole(
    kafka: Kafka, protocol: str, records: int
) -> None:
    """Nobody fetched while the topic was away, so nothing but its new id tells."""
    topic = kafka.topic()
    async with Late() as service:
        plain = text(kafka, service, [topic], group_protocol=protocol)
        plain["limits"] = {"max_open_per_partition": 20}
        plain["kafka"]["properties"]["topic.metadata.refresh.interval.ms"] = 60_000
        answers = service.shut()
        async with inside(kafka, plain, service, gapless=False) as daemon:
            await daemon.written(topic, texts("old", 20))
            await daemon.until(lambda: len(service.accepted) == 20)
            await asyncio.to_thread(kafka.delete, topic)
            await asyncio.to_thread(kafka.create, topic)
            await daemon.written(topic, texts("new", records))
            service.reopen()
            answers.set()
            new = set(reads("new", records))
            await daemon.until(lambda: new <= set(values(service)), what="the new topic is delivered")
            await daemon.caught_up(topic)


async def test_a_topic_made_anew_while_no_daemon_ran_is_delivered_whole(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        plain = text(kafka, service, [topic])
        async with inside(kafka, plain, service) as daemon:
            await daemon.written(topic, texts("old", 20))
            await daemon.caught_up(topic)
        await asyncio.to_thread(kafka.delete, topic)
        await asyncio.to_thread(kafka.create, topic)
        async with inside(kafka, plain, service) as daemon:
            await daemon.written(topic, texts("new", 40))
            await daemon.caught_up(topic)
    assert values(service) == [*reads("old", 20), *reads("new", 40)]


@each_protocol
async def test_an_offset_that_was_committed_of_the_old_topic_is_not_where_the_new_one_is_begun(
    kafka: Kafka, protocol: str
) -> None:
    """As a member leaves it that dies, or loses its partitions, before it has noticed."""
    topic = kafka.topic()
    old = ClientPartition(topic, 0)
    stranger = kafka.consumer()
    async with EventBridge() as service:
        plain = text(kafka, service, [topic], group_protocol=protocol)
        async with inside(kafka, plain, service) as daemon:

            async def marked() -> bool:
                nonlocal old
                await daemon.written(topic, texts("old", 1))
                await daemon.caught_up(topic)
                (old,) = await asyncio.to_thread(partial(stranger.committed, [old], timeout=SECONDS))
                return (old.metadata or "").startswith("topic=")

            await daemon.until(marked, what="an offset is committed with the id of its topic")
        before = len(service.accepted)
        assert 0 < old.offset == before < 40
        await asyncio.to_thread(kafka.delete, topic)
        await asyncio.to_thread(kafka.create, topic)
        kafka.produce(topic, texts("new", 40))
        await asyncio.to_thread(partial(stranger.commit, offsets=[old], asynchronous=False))
        async with inside(kafka, plain, service) as daemon:
            await daemon.until(lambda: len(service.accepted) == before + 40)
            await daemon.caught_up(topic)
    assert values(service)[before:] == reads("new", 40)


# T13: more partitions; where a group begins


@each_protocol
async def test_latest_is_the_groups_first_start_only_and_nothing_that_comes_later_is_left_out(
    kafka: Kafka, protocol: str
) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, texts("before", 10), partition=0)
    async with EventBridge() as service:
        plain = text(kafka, service, [topic], group_protocol=protocol, auto_offset_reset="latest")
        async with inside(kafka, plain, service) as daemon:
            await daemon.caught_up(topic)  # the positions are committed before anything was read
            assert await daemon.committed(topic) == {0: 10, 1: 0}
            await daemon.written(topic, texts("first", 5), partition=0)
            await daemon.caught_up(topic)
        kafka.produce(topic, texts("away", 5), partition=1)
        async with inside(kafka, plain, service) as daemon:
            await daemon.caught_up(topic)
            await asyncio.to_thread(kafka.grow, topic, 3)
            await daemon.written(topic, texts("added", 5), partition=2)
            await daemon.until(lambda: len(service.accepted) >= 15, what="the new partition is found")
            await daemon.caught_up(topic)
    assert values(service) == [*reads("first", 5), *reads("away", 5), *reads("added", 5)]


async def test_partitions_added_while_records_flow_are_read_from_their_first_record(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service, inside(kafka, text(kafka, service, [topic]), service) as daemon:
        await daemon.written(topic, texts("one", 50), partition=0)
        await daemon.until(lambda: service.accepted)
        await asyncio.to_thread(kafka.grow, topic, 4)
        for partition in range(4):
            await daemon.written(topic, texts(f"more {partition}", 20), partition=partition)
        await daemon.caught_up(topic)
    everything = [*reads("one", 50), *(value for p in range(4) for value in reads(f"more {p}", 20))]
    assert sorted(values(service)) == sorted(everything)


# topic patterns


@each_protocol
async def test_a_topic_made_later_is_taken_when_a_pattern_matches_all_of_its_name_and_not_when_it_starts_alike(
    kafka: Kafka, protocol: str
) -> None:
    pattern = f"^{re.escape(kafka.prefix)}-returns\\d"
    async with EventBridge() as service:
        plain = text(kafka, service, [], group_protocol=protocol, auto_offset_reset="latest")
        plain["routes"] = [route("all", pattern)]
        async with inside(kafka, plain, service, refresh=0.3) as daemon:
            await daemon.until(lambda: "NO_TOPICS" in daemon.app.troubles)
            assert daemon.app.ready()[0] is False
            for name in ("returns1", "returns12", "returnsx", "returns2"):
                topic = await asyncio.to_thread(partial(kafka.topic, name=name))
                await daemon.written(topic, texts(name, 5))
                if name == "returns1":
                    await daemon.until(lambda: daemon.app.ready()[0])
                    await daemon.written(topic, texts("then", 5))
            await daemon.until(lambda: "returns2 4" in values(service))
            await daemon.caught_up(f"{kafka.prefix}-returns1", f"{kafka.prefix}-returns2")
            assert {tp.topic.removeprefix(kafka.prefix) for tp in daemon.app.assignment.shares} == {
                "-returns1",
                "-returns2",
            }
    assert [value for value in values(service) if not value.startswith("returns1 ")] == [
        *reads("then", 5),
        *reads("returns2", 5),
    ]


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

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        runs: list[Run],
        random: Random,
        client: Callable[[dict[str, Any]], Any] = confluent_kafka.Consumer,
    ) -> None:
        self.runs = runs
        self.consumer = Consumer(
            _bare(kafka, topic),
            partitions=self,
            loop=asyncio.get_running_loop(),
            client=client,
            statistics=1.0,
            pause=_block,
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

    def has_some(self) -> bool:
        """Whether it has been handed a record of what it owns now."""
        return any(run.offsets for run in self.now.values())

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

    def gone(self, tp: TopicPartition, records: int) -> None:
        raise AssertionError(f"{tp} never lost a record, but {records} are said to be gone")

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


@pytest.mark.parametrize("seed", [1])
async def test_whatever_the_loop_does_it_is_handed_each_readable_offset_in_order_and_without_a_gap(
    kafka: Kafka, seed: int
) -> None:
    print("seed", seed)
    random = Random(seed)
    topic = kafka.topic(3)
    for partition in range(3):
        for _ in range(4):
            kafka.produce(topic, 200, partition=partition)
            kafka.transaction(topic, random.randint(1, 50), partition=partition, commit=False)
    readable: dict[TopicPartition, list[int]] = defaultdict(list)
    for record in kafka.read(topic):
        readable[record.tp].append(record.offset)
    all_of_them = sum(map(len, readable.values()))  # which a quick machine has read by the second time
    runs: list[Run] = []

    def handed(tp: TopicPartition) -> set[int]:
        return {offset for run in runs if run.tp == tp for offset in run.offsets}

    def more(than: int) -> bool:
        return sum(len(handed(tp)) for tp in readable) >= min(than, all_of_them)

    steady = Book(kafka, topic, runs, random)
    steady.go()
    for _ in range(2):
        before = sum(len(handed(tp)) for tp in readable)
        await until(partial(more, before + 300))
        passing = Book(kafka, topic, runs, random)
        passing.go()
        await until(passing.has_some)
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


class Shaken:
    """The real client; its partitions go and come back within the first `consume` that brings more than a few."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self.late: list[Message] = []  # what that call brought
        self._client: Any = confluent_kafka.Consumer(properties)
        self._again: Callable[[], None]
        self._assigned = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def subscribe(self, topics: list[str], *, on_assign: Callable[..., None], **callbacks: Any) -> None:
        def assigned(*args: Any) -> None:
            self._assigned += 1
            on_assign(*args)

        self._again = partial(self._client.subscribe, topics, on_assign=assigned, **callbacks)
        self._again()

    def consume(self, number: int, timeout: float) -> list[Message]:
        found: list[Message] = self._client.consume(number, timeout)
        if len(found) >= 5 and not self.late:
            self.late, before = found, self._assigned
            self._client.unsubscribe()
            self._again()
            while self._assigned == before:
                if (message := self._client.poll(0.1)) is not None:
                    found.append(message)
        return found


async def test_records_of_a_call_in_which_their_partition_went_and_came_back_are_left_to_the_new_assignment(
    kafka: Kafka,
) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 1000)
    runs: list[Run] = []
    shaken: list[Shaken] = []

    def client(properties: dict[str, Any]) -> Shaken:
        shaken.append(Shaken(properties))
        return shaken[0]

    book = Book(kafka, topic, runs, Random(1), client)
    book.go()
    await until(lambda: book.consumer.finished.done() or (len(runs) > 1 and runs[-1].offsets[-1:] == [999]))
    await book.leave()
    before, after = (run.offsets for run in runs)
    late = [message.offset() for message in shaken[0].late]
    assert before
    assert before == list(range(before[-1] + 1))
    assert set(late).isdisjoint(before)
    assert after == list(range(after[0], 1000))
    assert after[0] <= before[-1] + 1
