"""The consumer thread on a broker: librdkafka's mock cluster, which speaks Kafka on loopback.

Most use the KIP-848 protocol, because a classic group there waits three seconds for its first members.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer as Client
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Place

from connector.consume import Consumer
from connector.model import Record, TopicPartition
from connector.room import Credit
from connector.sandbox.broker import Broker
from tests.unit.edge import DEADLINE, Loop, config


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as running:
        yield running


class Member(Loop):
    """A loop side that settles what it gets at once and commits it, with a window of fifty records a partition."""

    WINDOW = 50

    def __init__(self, broker: Broker, *topics: str, drain: str = "5s", refresh: float = 60.0, **kafka: Any) -> None:
        super().__init__()
        kafka = {"bootstrap_servers": broker.bootstrap_servers, "group_protocol": "consumer", **kafka}
        self.consumer = Consumer(
            config(topics or ("t",), drain, **kafka),
            partitions=self,
            loop=asyncio.get_running_loop(),
            statistics=0.2,
            refresh=refresh,
        )
        self.settles = True
        self._taken: dict[TopicPartition, int] = {}
        self._all = 0
        self.at: dict[TopicPartition, int] = {}
        self.drained = lambda tps, done: done.set_result({tp: self.at[tp] for tp in tps if tp in self.at})

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        super().assigned(epoch, tps)
        self._taken.update(dict.fromkeys(tps, 0))
        self._grant(dict.fromkeys(tps, epoch))

    def taken(
        self, epochs: Mapping[TopicPartition, int], records: Sequence[Record], positions: Mapping[TopicPartition, int]
    ) -> None:
        super().taken(epochs, records, positions)
        for record in records:
            self._taken[record.tp] += 1
            self._all += 1
        self.at.update(positions)
        if self.settles:
            self._grant(epochs)
            self.consumer.commit({tp: (at, epochs[tp]) for tp, at in positions.items()})

    def _grant(self, epochs: Mapping[TopicPartition, int]) -> None:
        self.consumer.grant(
            Credit(
                self._all + 1000,
                1 << 30,
                {tp: (self._taken[tp] + self.WINDOW, epoch) for tp, epoch in epochs.items()},
            )
        )

    async def leave(self) -> None:
        self.consumer.stop_taking()
        self.consumer.close()
        async with asyncio.timeout(DEADLINE):
            await self.consumer.finished

    @property
    def offsets(self) -> dict[TopicPartition, list[int]]:
        found: dict[TopicPartition, list[int]] = {}
        for record in self.records:
            found.setdefault(record.tp, []).append(record.offset)
        return found


async def produce(broker: Broker, count: int, topic: str = "t", partition: int | None = None) -> None:
    def write() -> None:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2})
        for n in range(count):
            producer.produce(topic, value=b"%d" % n, partition=n % 4 if partition is None else partition)
        assert producer.flush(DEADLINE) == 0
        producer.close()

    await asyncio.to_thread(write)


async def stored(broker: Broker, group: str = "g", topic: str = "t") -> dict[int, int]:
    def ask() -> dict[int, int]:
        client = Client({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 2})
        found = client.committed([Place(topic, partition) for partition in range(4)], timeout=DEADLINE)
        client.close()
        return {place.partition: place.offset for place in found}

    return await asyncio.to_thread(ask)


async def store(broker: Broker, offset: int, partition: int = 0, group: str = "g") -> None:
    def commit() -> None:
        client = Client({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 2})
        client.commit(offsets=[Place("t", partition, offset)], asynchronous=False)
        client.close()

    await asyncio.to_thread(commit)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_every_record_comes_once_in_order_and_the_group_ends_at_the_end(broker: Broker, protocol: str) -> None:
    await broker.topics("t")
    await produce(broker, 1200)
    member = Member(broker, group_protocol=protocol)
    member.consumer.start()
    await member.until(lambda: len(member.records) >= 1200)
    await member.leave()
    assert member.offsets == {TopicPartition("t", p): list(range(300)) for p in range(4)}
    assert await stored(broker) == {0: 300, 1: 300, 2: 300, 3: 300}


async def test_a_partition_whose_records_are_not_settled_stops_at_its_window_and_goes_on(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 400, partition=0)
    await produce(broker, 40, partition=1)
    member = Member(broker)
    member.settles = False
    member.consumer.start()
    await member.until(lambda: len(member.records) == 90)
    await produce(broker, 10, partition=1)
    await member.until(lambda: len(member.records) >= 100)
    assert {tp.partition: len(offsets) for tp, offsets in member.offsets.items()} == {0: 50, 1: 50}
    member.settles = True
    epoch = member.all("assigned")[0][0]
    member._grant({TopicPartition("t", 0): epoch})
    await member.until(lambda: len(member.records) == 450)
    await member.leave()
    assert member.offsets[TopicPartition("t", 0)] == list(range(400))


async def test_what_moves_to_another_member_is_neither_repeated_nor_left_out(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 800)
    first, second = Member(broker), Member(broker)
    first.consumer.start()
    await first.until(lambda: len(first.records) >= 100)
    second.consumer.start()
    await first.hears("drain")
    await second.until(lambda: any(tps for _, tps in second.all("assigned")))
    await produce(broker, 800)
    await first.until(lambda: len(first.records) + len(second.records) >= 1600 or second.records)
    await second.until(lambda: len(first.records) + len(second.records) >= 1600)
    await first.leave()
    await second.leave()
    seen = sorted((record.tp.partition, record.offset) for record in first.records + second.records)
    assert seen == [(p, n) for p in range(4) for n in range(400)]
    assert await stored(broker) == dict.fromkeys(range(4), 400)


async def test_a_member_that_comes_back_goes_on_behind_what_was_committed(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 100)
    for expected in (100, 40):
        member = Member(broker)
        member.consumer.start()
        await member.until(lambda: len(member.records) >= expected)  # noqa: B023 - awaited in the same turn of the loop
        await member.leave()
        assert len(member.records) == expected
        await produce(broker, 40)


async def test_an_offset_that_is_gone_begins_again_at_the_earliest_record_and_is_counted(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 20, partition=0)
    await store(broker, 9999)
    member = Member(broker)
    member.consumer.start()
    await member.until(lambda: len(member.records) >= 20)
    await member.leave()
    assert member.offsets == {TopicPartition("t", 0): list(range(20))}
    assert (len(member.all("gone")), member.all("trouble")[0][0]) == (1, "OFFSET_GONE t[0]")


async def test_with_error_a_group_without_offsets_reads_nothing_and_says_so(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 20)
    member = Member(broker, auto_offset_reset="error")
    member.consumer.start()
    await member.hears("trouble", 4)
    await member.leave()
    assert {code for code, _ in member.all("trouble")} == {f"_AUTO_OFFSET_RESET t[{p}]" for p in range(4)}
    assert member.records == []


async def test_latest_skips_what_was_there_at_the_first_start_and_nothing_afterwards(broker: Broker) -> None:
    await broker.topics("t")
    await produce(broker, 40)
    first = Member(broker, auto_offset_reset="latest")
    first.consumer.start()
    await first.hears("assigned")
    await first.leave()
    assert await stored(broker) == dict.fromkeys(range(4), 10)
    await produce(broker, 40)  # while nobody is there
    second = Member(broker, auto_offset_reset="latest")
    second.consumer.start()
    await second.until(lambda: len(second.records) >= 40)
    await second.leave()
    assert first.records == []
    assert second.offsets == {TopicPartition("t", p): list(range(10, 20)) for p in range(4)}


async def test_a_topic_that_a_pattern_takes_later_is_read_from_its_beginning_even_with_latest(broker: Broker) -> None:
    await broker.topics("shop.a")
    member = Member(broker, r"^shop\.\w", auto_offset_reset="latest", refresh=0.1)
    member.consumer.start()
    await member.hears("assigned")
    await broker.topics("shop.b", "shop.cc")
    await produce(broker, 40, "shop.b")
    await produce(broker, 40, "shop.cc")
    await member.until(lambda: len(member.records) >= 40)
    await member.leave()
    assert {record.tp.topic for record in member.records} == {"shop.b"}
    assert len(member.records) == 40


async def test_brokers_that_cannot_be_reached_are_said_once(broker: Broker) -> None:
    member = Member(broker, bootstrap_servers="127.0.0.1:1")
    member.consumer.start()
    code, reason = await member.hears("trouble")
    assert code == "_ALL_BROKERS_DOWN"
    assert "Connection refused" in reason
    member.consumer.close()
    async with asyncio.timeout(DEADLINE):
        await member.consumer.finished
    assert len(member.all("trouble")) == 1


async def test_a_property_that_the_client_does_not_know_ends_the_edge_by_name(broker: Broker) -> None:
    member = Member(broker, properties={"no.such": "x"})
    member.consumer.start()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait({member.consumer.finished})
    assert str(member.consumer.finished.exception()) == '_INVALID_ARG: No such configuration property: "no.such"'
