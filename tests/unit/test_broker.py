"""The embedded broker is enough of a Kafka for the demo: topics, records, committed offsets."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from connector.model import TopicPartition
from connector.sandbox.broker import Broker


async def test_a_topic_is_there_as_soon_as_it_is_asked_for() -> None:
    async with Broker() as broker:
        assert await broker.topics("orders") == [
            TopicPartition("orders", 0),
            TopicPartition("orders", 1),
            TopicPartition("orders", 2),
            TopicPartition("orders", 3),
        ]


async def test_records_come_back_as_they_were_written_and_a_group_keeps_its_offset() -> None:
    async with Broker() as broker:
        await broker.topics("orders")
        written = await asyncio.to_thread(_write_and_commit, broker.bootstrap_servers)
        assert written == ([b"a", b"b", b"c"], 2, (0, 3))


async def test_two_brokers_are_two_addresses() -> None:
    async with Broker(2) as broker:
        assert len(set(broker.bootstrap_servers.split(","))) == 2


async def test_nobody_answers_once_the_block_is_left() -> None:
    async with Broker() as broker:
        address = broker.bootstrap_servers
    client = Producer({"bootstrap.servers": address, "log_level": 0})
    with pytest.raises(KafkaException, match=r"Broker transport failure|Timed out"):
        await asyncio.to_thread(client.list_topics, timeout=1.0)


async def test_asking_outside_the_block_says_how_it_is_meant() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Broker().topics("orders")


def _write_and_commit(servers: str) -> tuple[list[bytes | None], int, tuple[int, int]]:
    producer = Producer({"bootstrap.servers": servers, "log_level": 2})
    for value in (b"a", b"b", b"c"):
        producer.produce("orders", value, key=b"k", partition=1)
    assert producer.flush(10) == 0
    conf: dict[str, Any] = {"bootstrap.servers": servers, "group.id": "g", "enable.auto.commit": False, "log_level": 2}
    reader = Consumer(conf)
    reader.assign([KafkaPartition("orders", 1, 0)])
    records = reader.consume(3, 10)
    reader.commit(offsets=[KafkaPartition("orders", 1, 2)], asynchronous=False)
    committed = reader.committed([KafkaPartition("orders", 1)], timeout=10)[0].offset
    low, high = reader.get_watermark_offsets(KafkaPartition("orders", 1), timeout=10)
    reader.close()
    producer.close()
    return [record.value() for record in records], committed, (low, high)
