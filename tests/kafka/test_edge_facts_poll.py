"""What the client does while it is polled: callbacks, pauses, the shape of what it hands over (docs/kafka-facts.md)."""

import json
import time
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import TopicPartition
from tests.kafka.cluster import SECONDS, Kafka, position, turn_for, until
from tests.kafka.member import Member, client_partitions, plain

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])


# 1: an exception out of a callback


@each_protocol
def test_a_statistics_callback_that_raises_takes_the_records_of_that_call_with_it(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 100)
    armed = False

    def statistics(_: str) -> None:
        if armed:
            raise ValueError("on purpose")

    consumer = kafka.consumer(group_protocol=protocol, stats_cb=statistics, statistics_interval_ms=200)
    consumer.subscribe([topic])
    until(lambda: consumer.consume(1, 0.1), what="the first record came")
    armed = True
    with pytest.raises(ValueError, match="on purpose"):
        consumer.consume(500, 1.0)
    armed = False
    assert position(consumer, TopicPartition(topic, 0)) == 100
    assert consumer.consume(500, 0.5) == []


@each_protocol
def test_an_on_revoke_that_raises_loses_records_of_partitions_that_stay(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(4)
    for partition in range(4):
        kafka.produce(topic, 50, partition=partition)
    raised = 0

    def refuse(_: Member, __: list[ClientPartition]) -> None:
        nonlocal raised
        raised += 1
        if raised == 1:
            raise ValueError("on purpose")

    first = Member(kafka, [topic], on_revoke=refuse, group_protocol=protocol)
    until(lambda: len(first.records) == 200, first.turn)
    Member(kafka, [topic], group_protocol=protocol)

    def records_and_the_revoke_in_one_call() -> None:
        for partition in range(4):
            kafka.produce(topic, 50, partition=partition)
        first.turn(1.0, most=10_000)

    with pytest.raises(ValueError, match="on purpose"):
        until(lambda: raised, records_and_the_revoke_in_one_call)
    ends = kafka.ends(topic)
    turn_for(0.5, first.turn)

    assert len(first.owned) == 2
    for tp in first.owned:
        assert position(first.consumer, tp) == ends[tp]
        assert first.offsets(tp) == list(range(ends[tp] - 50))


# 2: a callback that waits


def test_a_hung_on_revoke_of_the_classic_protocol_keeps_its_partition_and_may_still_commit(kafka: Kafka) -> None:
    """Neither the session nor max.poll.interval.ms takes the partition away: only our own deadline ends the wait."""
    hung, commits = _revoke_that_waits_for_its_own_thread(
        kafka, session_timeout_ms=kafka.cluster.session_ms, max_poll_interval_ms=kafka.cluster.session_ms
    )

    assert commits == [""]
    assert hung.times_told("lost") == 0


def test_a_hung_on_revoke_of_kip_848_is_put_out_of_the_group_and_may_not_commit(kafka: Kafka) -> None:
    """The coordinator waits for max.poll.interval.ms only, then gives the partition to the other member."""
    hung, commits = _revoke_that_waits_for_its_own_thread(
        kafka, group_protocol="consumer", max_poll_interval_ms=kafka.cluster.session_ms
    )

    assert commits == ["UNKNOWN_MEMBER_ID"]
    assert hung.times_told("lost") == 1


def _revoke_that_waits_for_its_own_thread(kafka: Kafka, **properties: Any) -> tuple[Member, list[str]]:
    topic = kafka.topic(2)
    kafka.produce(topic, 50, partition=0)
    kafka.produce(topic, 50, partition=1)
    commits: list[str] = []

    def wait_then_commit(member: Member, partitions: list[ClientPartition]) -> None:
        if commits:
            return
        never: Future[None] = Future()  # only a later turn of this very thread could answer it
        with pytest.raises(TimeoutError):
            never.result(2.5 * kafka.cluster.session_ms / 1000)
        try:
            member.commit(dict.fromkeys(plain(partitions), 50))
            commits.append("")
        except KafkaException as error:
            commits.append(error.args[0].name())

    hung = Member(kafka, [topic], on_revoke=wait_then_commit, **properties)
    until(lambda: len(hung.records) == 100, hung.turn)
    other = Member(kafka, [topic], **properties)
    until(lambda: commits, lambda: hung.turn(1.0))
    until(lambda: other.owned, hung.turn, other.turn)
    return hung, commits


# 12: pausing around an assignment


@each_protocol
def test_a_pause_before_incremental_assign_does_nothing(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 20)

    def pause_first(member: Member, partitions: list[ClientPartition]) -> None:
        member.consumer.pause(partitions)
        member.consumer.incremental_assign(partitions)

    member = Member(kafka, [topic], on_assign=pause_first, group_protocol=protocol)
    until(lambda: len(member.records) == 20, member.turn)


@each_protocol
def test_a_pause_after_incremental_assign_holds_until_resumed_and_nothing_is_lost(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 20)

    def pause_then(member: Member, partitions: list[ClientPartition]) -> None:
        member.consumer.incremental_assign(partitions)
        member.consumer.pause(partitions)

    member = Member(kafka, [topic], on_assign=pause_then, group_protocol=protocol)
    until(lambda: member.owned, member.turn)
    turn_for(0.5, member.turn)
    assert member.records == []

    member.consumer.resume([ClientPartition(topic, 0)])
    until(lambda: member.offsets(TopicPartition(topic, 0)) == list(range(20)), member.turn)


@each_protocol
def test_a_pause_outlives_losing_the_partition_and_getting_it_back(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    member = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(member.owned) == 2, member.turn)
    member.consumer.pause(client_partitions(dict.fromkeys(member.owned, 0)))
    other = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: other.owned and len(member.owned) == 1, member.turn, other.turn)
    (moved,) = other.owned
    other.close()
    until(lambda: moved in member.owned, member.turn)
    kafka.produce(topic, 20, partition=moved.partition)
    turn_for(0.5, member.turn)
    assert member.records == []

    member.consumer.resume([ClientPartition(*moved)])
    until(lambda: member.offsets(moved) == list(range(20)), member.turn)


# 13: one partition stops alone


def test_a_partition_paused_alone_leaves_the_others_flowing_and_goes_on_where_it_stopped(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    stopped, flowing = TopicPartition(topic, 0), TopicPartition(topic, 1)
    member = Member(kafka, [topic])
    until(lambda: len(member.owned) == 2, member.turn)
    for partition in (0, 1):
        kafka.produce(topic, 200, partition=partition)
    until(lambda: len(member.offsets(stopped)) >= 20, lambda: member.turn(0.1, most=20))
    member.consumer.pause([ClientPartition(*stopped)])
    taken = len(member.offsets(stopped))
    until(lambda: member.offsets(flowing) == list(range(200)), member.turn)
    turn_for(0.3, member.turn)
    assert member.offsets(stopped) == list(range(taken))

    member.consumer.resume([ClientPartition(*stopped)])
    until(lambda: member.offsets(stopped) == list(range(200)), member.turn)


# 14: how wide a backlog arrives


def test_a_backlog_arrives_partition_by_partition_and_smaller_fetches_mix_more_of_them(kafka: Kafka) -> None:
    topic = kafka.topic(16)
    small_batches = Producer(kafka.cluster.conf(**{"batch.size": 16_384, "linger.ms": 20}))
    for number in range(16 * 2500):
        small_batches.produce(topic, b"x" * 1000, partition=number % 16)
        small_batches.poll(0)
    assert small_batches.flush(SECONDS) == 0

    whole, quarter = _width(kafka, topic, 1_048_576), _width(kafka, topic, 262_144)

    assert whole <= 8, f"{whole} of 16 partitions in the first 5,000 records"
    assert quarter > whole


def _width(kafka: Kafka, topic: str, partition_bytes: int) -> int:
    """Of how many partitions the first 5,000 records of a backlog are."""
    consumer = kafka.consumer(
        group=f"{kafka.group}-{partition_bytes}",
        max_partition_fetch_bytes=partition_bytes,
        queued_max_messages_kbytes=16_384,
    )
    consumer.subscribe([topic])
    partitions: list[int | None] = []
    until(
        lambda: len(partitions) >= 5000,
        lambda: partitions.extend(message.partition() for message in consumer.consume(500, 0.05)),
    )
    kafka.close(consumer)
    return len(set(partitions[:5000]))


# 15: waiting to fill


def test_consume_waits_out_its_time_to_fill_where_poll_returns_with_the_first_record(kafka: Kafka) -> None:
    topic = kafka.topic()
    member = Member(kafka, [topic])
    until(lambda: member.owned, member.turn)
    kafka.produce(topic, 1)
    until(lambda: member.records, member.turn)

    kafka.produce(topic, 1)
    began = time.monotonic()
    assert len(member.consumer.consume(500, 1.0)) == 1
    assert time.monotonic() - began >= 0.95

    def pair() -> float:
        kafka.produce(topic, 2)
        began = time.monotonic()
        assert member.consumer.poll(10.0) is not None
        until(lambda: member.consumer.consume(499, 0), what="the rest is there without a wait")
        return time.monotonic() - began

    assert min(pair() for _ in range(3)) < 0.95


# 16: a member without partitions


def test_the_classic_protocol_tells_a_member_without_partitions_that_it_has_none(kafka: Kafka) -> None:
    topic = kafka.topic()
    busy = Member(kafka, [topic])
    until(lambda: busy.owned, busy.turn)
    idle = Member(kafka, [topic])
    until(lambda: idle.told, busy.turn, idle.turn)
    assert idle.told == [("assigned", ())]


def test_kip_848_tells_a_member_without_partitions_nothing_but_its_statistics_say_up(kafka: Kafka) -> None:
    topic = kafka.topic()
    states: list[str] = []
    busy = Member(kafka, [topic], group_protocol="consumer")
    until(lambda: busy.owned, busy.turn)
    idle = Member(
        kafka,
        [topic],
        group_protocol="consumer",
        statistics_interval_ms=100,
        stats_cb=lambda text: states.append(json.loads(text)["cgrp"]["state"]),
    )
    until(lambda: kafka.members() == 2 and "up" in states, busy.turn, idle.turn)
    turn_for(0.5, busy.turn, idle.turn)
    assert idle.told == []
