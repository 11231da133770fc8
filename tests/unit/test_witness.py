"""The witness sees what the broker holds: a group's offsets, the ends, and each dead letter once, as it was."""

import asyncio
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from connector.model import Event, Headers, Record, TopicPartition
from connector.sandbox.broker import Broker
from connector.sandbox.prove import DECODE, Place, Sent, raw_digest
from connector.sandbox.witness import Witness
from connector.targets.dead_letter import Cause, headers_of

TP = TopicPartition("orders", 2)
RECORD = Record(TP, 17, 1_700_000_000_123, b"key", b"value", (("event-type", b"order.paid"), ("empty", None)))
MAPPED = Cause("TRANSFORMATION", "WrongType", "channel is an object", "orders-bus", 0)
DECODED = Cause("VALUE_CONVERTER", "NotJSON", "the value is not JSON", "", 0)


def letter(record: Record, route: str, cause: Cause) -> tuple[Record, Headers]:
    return record, headers_of(Event(record, route, "orders-bus", {}, f"{record}/{route}"), cause, "demo")


def _write(servers: str, letters: Sequence[tuple[Record, Headers]]) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 2})
    for record, headers in letters:
        producer.produce(
            "dead", record.value, key=record.key, timestamp=record.timestamp_ms, headers=list(headers), partition=1
        )
    assert producer.flush(10) == 0
    producer.close()


def _commit(servers: str, offset: int) -> None:
    conf: dict[str, Any] = {"bootstrap.servers": servers, "group.id": "g", "enable.auto.commit": False, "log_level": 2}
    consumer = Consumer(conf)
    consumer.commit(offsets=[KafkaPartition(TP.topic, TP.partition, offset)], asynchronous=False)
    consumer.close()


async def test_what_the_group_has_committed_and_where_the_partitions_end_is_read_from_the_broker() -> None:
    async with Broker() as broker:
        orders, dead = await broker.topics("orders"), await broker.topics("dead")
        witness = Witness(broker.bootstrap_servers, "g", orders, dead)
        first = await witness.look()
        await asyncio.to_thread(_commit, broker.bootstrap_servers, 5)
        second = await witness.look()
        await witness.close()
    assert (first.committed, first.ends) == ({}, dict.fromkeys(orders, 0))
    assert second.committed == {TP: 5}


async def test_a_dead_letter_is_told_once_with_its_place_its_route_and_the_digest_of_the_record() -> None:
    async with Broker() as broker:
        orders, dead = await broker.topics("orders"), await broker.topics("dead")
        witness = Witness(broker.bootstrap_servers, "g", orders, dead)
        letters = [letter(RECORD, "paid-orders", MAPPED), letter(RECORD, "paid-orders", DECODED)]
        await asyncio.to_thread(_write, broker.bootstrap_servers, letters)
        first, second = await witness.look(), await witness.look()
        await witness.close()
    assert first.buried == [
        Sent(Place(TP, 17), "paid-orders", raw_digest(RECORD)),
        Sent(Place(TP, 17), DECODE, raw_digest(RECORD)),
    ]
    assert second.buried == []


async def test_a_dead_letter_without_key_or_value_keeps_that() -> None:
    bare = Record(TP, 3, 1_700_000_000_123, None, None)
    async with Broker() as broker:
        orders, dead = await broker.topics("orders"), await broker.topics("dead")
        witness = Witness(broker.bootstrap_servers, "g", orders, dead)
        await asyncio.to_thread(_write, broker.bootstrap_servers, [letter(bare, "paid-orders", MAPPED)])
        look = await witness.look()
        await witness.close()
    assert look.buried == [Sent(Place(TP, 3), "paid-orders", raw_digest(bare))]
