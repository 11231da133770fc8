"""Where reading begins and what an offset means: resets, topic patterns, topics made anew (docs/kafka-facts.md)."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import TopicPartition
from tests.kafka.cluster import Kafka, position, turn_for, until
from tests.kafka.member import Member

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])


# 4: auto.offset.reset


@each_protocol
def test_latest_loses_what_was_written_while_a_member_without_a_commit_was_down(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    first = Member(kafka, [topic], auto_offset_reset="latest", group_protocol=protocol)
    until(lambda: first.owned, first.turn)
    turn_for(0.3, first.turn)
    first.close()
    kafka.produce(topic, 10)
    again = Member(kafka, [topic], auto_offset_reset="latest", group_protocol=protocol)
    until(lambda: again.owned, again.turn)
    turn_for(0.5, again.turn)
    kafka.produce(topic, [b"after"])
    until(lambda: again.records, again.turn)
    assert [record.value for record in again.records] == [b"after"]


@each_protocol
def test_latest_loses_what_a_new_partition_got_before_the_client_knew_of_it(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    member = Member(
        kafka,
        [topic],
        auto_offset_reset="latest",
        group_protocol=protocol,
        topic_metadata_refresh_interval_ms=3000,
    )
    until(lambda: member.owned, member.turn)

    def first_read_of(number: int) -> int:
        added = TopicPartition(topic, number)
        kafka.grow(topic, number + 1)
        kafka.produce(topic, 10, partition=number)
        until(lambda: added in member.owned, member.turn)
        until(lambda: member.offsets(added), member.turn, lambda: kafka.produce(topic, 1, partition=number))
        return member.offsets(added)[0]

    # the client may look just when the partition is there and its records are not
    assert any(first_read_of(number) >= 10 for number in range(1, 5))


@each_protocol
def test_error_says_it_once_a_partition_and_then_the_partition_is_silent(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 10, partition=0)
    member = Member(kafka, [topic], auto_offset_reset="error", group_protocol=protocol)
    until(lambda: len(member.errors) == 2, member.turn)
    kafka.produce(topic, 10, partition=1)
    turn_for(1.0, member.turn)
    assert [error.name() for error in member.errors] == ["_AUTO_OFFSET_RESET", "_AUTO_OFFSET_RESET"]
    assert member.records == []


def test_position_is_unknown_until_the_first_record_so_the_start_must_be_asked_of_the_broker(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 7)
    member = Member(kafka, [topic], auto_offset_reset="latest")
    until(lambda: member.owned, member.turn)
    turn_for(0.5, member.turn)
    assert position(member.consumer, TopicPartition(topic, 0)) == -1001
    assert member.consumer.get_watermark_offsets(ClientPartition(topic, 0), timeout=10) == (0, 7)


# 5: properties that void the promises


def test_auto_commit_commits_what_was_only_polled(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 20)
    member = Member(kafka, [topic], enable_auto_commit=True, enable_auto_offset_store=True)
    until(lambda: len(member.records) == 20, member.turn)
    member.close()
    assert kafka.committed(topic) == {TopicPartition(topic, 0): 20}


def test_read_uncommitted_hands_over_records_that_were_taken_back(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.transaction(topic, [b"kept"])
    kafka.transaction(topic, [b"aborted"], commit=False)
    assert [record.value for record in kafka.read(topic)] == [b"kept"]
    assert [record.value for record in kafka.read(topic, isolation="read_uncommitted")] == [b"kept", b"aborted"]


def test_partition_eof_brings_message_errors_among_the_records(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 1)
    member = Member(kafka, [topic], enable_partition_eof=True)
    until(lambda: member.errors, member.turn)
    assert [error.name() for error in member.errors] == ["_PARTITION_EOF"]


# 7: topic patterns


@pytest.mark.parametrize(
    ("protocol", "pattern", "taken"),
    [
        ("classic", r"-returns\d", []),
        ("classic", r"-returns[0-9]", ["-returns1"]),
        ("classic", r"-returns", ["-returns1", "-returnsx"]),
        ("consumer", r"-returns\d", ["-returns1"]),
        ("consumer", r"-returns", []),
        ("consumer", r"-returns.*", ["-returns1", "-returnsx"]),
    ],
)
def test_topic_patterns_mean_something_else_in_each_protocol(
    kafka: Kafka, protocol: str, pattern: str, taken: list[str]
) -> None:
    for name in ("returns1", "returnsx"):
        kafka.topic(name=name)
    other = kafka.topic(name="other")
    member = Member(kafka, [f"^{kafka.prefix}{pattern}", other], group_protocol=protocol)
    until(lambda: TopicPartition(other, 0) in member.owned, member.turn)
    turn_for(0.5, member.turn)
    assert sorted(tp.topic for tp in member.owned) == sorted([*(kafka.prefix + name for name in taken), other])


@each_protocol
def test_a_pattern_with_a_group_that_does_not_capture_is_refused_by_the_client(kafka: Kafka, protocol: str) -> None:
    with pytest.raises(KafkaException) as refused:
        Member(kafka, [f"^{kafka.prefix}-(?:returns|orders)"], group_protocol=protocol)
    assert refused.value.args[0].name() == "_INVALID_ARG"


# 8: restarts and tails


def test_a_classic_member_reads_a_recreated_topic_on_from_its_old_position_and_skips_what_came_before(
    kafka: Kafka,
) -> None:
    """The loss is silent: no error, no callback, no offset that goes back. Only the topic's id tells."""
    topic, member, old_id = _recreated(kafka, "classic", records=40)
    until(lambda: len(member.records) == 40, member.turn)
    turn_for(0.5, member.turn)
    assert member.offsets(TopicPartition(topic, 0)) == [*range(20), *range(20, 40)]
    assert [record.value for record in member.records[20:]] == [b"new %d" % i for i in range(20, 40)]
    assert member.errors == []
    assert [what for what, _ in member.told] == ["assigned"]
    assert kafka.topic_id(topic) != old_id


def test_a_classic_member_reads_a_shorter_recreated_topic_from_its_start_but_position_stays_where_it_was(
    kafka: Kafka,
) -> None:
    """So position() is not committable then: 20 would skip what the new topic gets up to offset 20."""
    topic, member, _ = _recreated(kafka, "classic", records=5)
    tp = TopicPartition(topic, 0)
    until(lambda: len(member.records) == 25, member.turn)
    assert member.offsets(tp) == [*range(20), *range(5)]
    assert [what for what, _ in member.told] == ["assigned"]
    assert position(member.consumer, tp) == 20

    kafka.produce(topic, 30)
    until(lambda: len(member.records) == 55, member.turn)
    assert position(member.consumer, tp) == 35


@pytest.mark.parametrize("records", [5, 40])
def test_a_kip_848_member_is_assigned_a_recreated_topic_anew_and_reads_it_whole(kafka: Kafka, records: int) -> None:
    topic, member, _ = _recreated(kafka, "consumer", records=records)
    tp = TopicPartition(topic, 0)
    until(lambda: len(member.records) == 20 + records, member.turn)
    assert member.offsets(tp) == [*range(20), *range(records)]
    assert [what for what, tps in member.told if tps] == ["assigned", "revoked", "assigned"]
    assert position(member.consumer, tp) == records


def _recreated(kafka: Kafka, protocol: str, *, records: int) -> tuple[str, Member, str]:
    """A member that read 20 records of a topic, which was then deleted and made anew while its partition was paused."""
    topic = kafka.topic()
    kafka.produce(topic, 20)
    member = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(member.records) == 20, member.turn)
    old_id = kafka.topic_id(topic)
    member.consumer.pause([ClientPartition(topic, 0)])  # no fetch meets the gap, as when a lane is held
    kafka.delete(topic)
    kafka.create(topic)
    kafka.produce(topic, [b"new %d" % i for i in range(records)])
    member.consumer.resume([ClientPartition(topic, 0)])
    return topic, member, old_id


def test_the_group_forgets_its_commits_of_a_deleted_topic(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 20)
    member = Member(kafka, [topic])
    until(lambda: len(member.records) == 20, member.turn)
    member.commit({TopicPartition(topic, 0): 20})
    kafka.delete(topic)
    kafka.create(topic)
    until(lambda: kafka.committed(topic, partitions=1) == {}, member.turn)


@pytest.mark.parametrize(
    ("reset", "offsets", "errors"),
    [("earliest", list(range(12, 20)), []), ("latest", [], []), ("error", [], ["_AUTO_OFFSET_RESET"])],
)
def test_a_commit_below_the_first_offset_left_follows_the_reset_policy(
    kafka: Kafka, reset: str, offsets: list[int], errors: list[str]
) -> None:
    """Silently but for `error`: what was skipped can be told only from the offsets."""
    topic = kafka.topic()
    tp = TopicPartition(topic, 0)
    kafka.produce(topic, 20)
    before = Member(kafka, [topic])
    until(lambda: before.records, before.turn)
    before.commit({tp: 5})
    before.close()
    kafka.truncate(topic, 0, 12)
    assert kafka.starts(topic) == {tp: 12}

    member = Member(kafka, [topic], auto_offset_reset=reset)
    until(lambda: member.owned, member.turn)
    until(lambda: len(member.records) == len(offsets) and len(member.errors) == len(errors), member.turn)
    turn_for(0.5, member.turn)
    assert member.offsets(tp) == offsets
    assert [error.name() for error in member.errors] == errors


@each_protocol
def test_the_end_of_a_transaction_takes_an_offset_that_position_counts(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    tp = TopicPartition(topic, 0)
    kafka.transaction(topic, 3)
    kafka.transaction(topic, 2, commit=False)
    member = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: position(member.consumer, tp) == 7, member.turn)
    assert member.offsets(tp) == [0, 1, 2]
    assert kafka.ends(topic) == {tp: 7}
    member.commit({tp: 7})
    assert kafka.committed(topic) == {tp: 7}


def test_compaction_leaves_holes_between_the_offsets_handed_over(kafka: Kafka) -> None:
    topic, left = kafka.compacted(keys=5, rounds=20)
    tp = TopicPartition(topic, 0)
    member = Member(kafka, [topic])
    until(lambda: len(member.records) == len(left), member.turn)
    assert member.offsets(tp) == [19, 39, 59, 79, 99, 100]


def test_a_commit_keeps_the_leader_epoch_that_the_record_carried(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, 1)
    consumer = kafka.consumer()
    consumer.assign([ClientPartition(topic, 0, 0)])
    (message,) = until(lambda: consumer.consume(1, 0.1))
    epoch = message.leader_epoch()
    assert epoch == 0
    consumer.commit(offsets=[ClientPartition(topic, 0, 1, leader_epoch=epoch)], asynchronous=False)
    (committed,) = consumer.committed([ClientPartition(topic, 0)], timeout=10)
    assert (committed.offset, committed.leader_epoch) == (1, 0)
