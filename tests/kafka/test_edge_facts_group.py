"""What a consumer group allows: who may commit what and when, what ends a membership (docs/kafka-facts.md)."""

import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import TopicPartition
from tests.kafka.cluster import Kafka, turn_for, until
from tests.kafka.member import Member, plain

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def impatient(kafka: Kafka, protocol: str) -> dict[str, Any]:
    """A member that the group gives up after the shortest time that the cluster grants."""
    properties: dict[str, Any] = {"group_protocol": protocol, "max_poll_interval_ms": kafka.cluster.session_ms + 500}
    if protocol == "classic":
        properties["session_timeout_ms"] = kafka.cluster.session_ms
    return properties


def commit_error(member: Member, offsets: dict[TopicPartition, int]) -> str:
    """Commit, and give the name of the error or an empty text."""
    try:
        member.commit(offsets)
    except KafkaException as error:
        return str(error.args[0].name())
    return ""


# 3: what a commit does not ask


@each_protocol
def test_a_commit_asks_neither_who_owns_the_partition_nor_whether_it_goes_back(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 50, partition=0)
    kafka.produce(topic, 50, partition=1)
    one, other = (Member(kafka, [topic], group_protocol=protocol) for _ in range(2))
    until(lambda: len(one.owned) == len(other.owned) == 1, one.turn, other.turn)
    (foreign,) = other.owned

    assert until(lambda: not commit_error(one, {foreign: 30}), one.turn, other.turn)
    assert kafka.committed(topic)[foreign] == 30
    assert until(lambda: not commit_error(one, {foreign: 5}), one.turn, other.turn)
    assert kafka.committed(topic)[foreign] == 5


# 5: strategies do not mix


def test_a_member_with_another_kind_of_assignment_strategy_is_refused(kafka: Kafka) -> None:
    topic = kafka.topic()
    cooperative = Member(kafka, [topic])
    until(lambda: cooperative.owned, cooperative.turn)
    eager = Member(kafka, [topic], partition_assignment_strategy="range")
    until(lambda: eager.errors, cooperative.turn, eager.turn)
    assert {error.name() for error in eager.errors} == {"INCONSISTENT_GROUP_PROTOCOL"}
    assert eager.owned == set()


# 6: what comes again


@each_protocol
def test_everything_after_the_commit_comes_again_however_much_was_done_behind_it(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic()
    tp = TopicPartition(topic, 0)
    kafka.produce(topic, 3000)
    stuck = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(stuck.records) == 3000, stuck.turn)
    stuck.commit({tp: 1})
    stuck.close()

    following = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(following.records) == 2999, following.turn)
    assert following.offsets(tp) == list(range(1, 3000))


# 10: commits


@each_protocol
def test_a_synchronous_commit_waits_for_a_hung_broker_far_beyond_the_socket_timeout(
    kafka: Kafka, protocol: str
) -> None:
    broker = kafka.cluster.broker
    if broker is None:
        pytest.skip("hangs the broker's process: only for the broker that the tests start themselves")
    topic = kafka.topic()
    kafka.produce(topic, 20)
    member = Member(kafka, [topic], group_protocol=protocol, socket_timeout_ms=500)
    until(lambda: len(member.records) == 20, member.turn)
    answered: Future[str] = Future()

    def commit() -> None:
        answered.set_result(commit_error(member, {TopicPartition(topic, 0): 20}))

    thread = threading.Thread(target=commit)
    with broker.frozen():
        thread.start()
        with pytest.raises(TimeoutError):
            answered.result(2.5)
    assert answered.result(20) == ""
    thread.join(5)


@each_protocol
def test_an_asynchronous_commit_inside_on_revoke_is_answered_only_by_a_later_poll(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 20, partition=0)
    kafka.produce(topic, 20, partition=1)
    unanswered: list[bool] = []

    def commit_later(member: Member, partitions: list[ClientPartition]) -> None:
        member.commit_later(dict.fromkeys(plain(partitions), 20))
        unanswered.append(not member.confirmed)

    member = Member(kafka, [topic], on_revoke=commit_later, group_protocol=protocol)
    until(lambda: len(member.records) == 40, member.turn)
    other = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: member.confirmed and other.owned, member.turn, other.turn)
    assert unanswered == [True]
    (moved,) = other.owned
    assert member.confirmed == [("", {moved: 20})]


@each_protocol
def test_a_synchronous_commit_inside_on_revoke_is_where_the_next_owner_begins(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 50, partition=0)
    kafka.produce(topic, 50, partition=1)
    errors: list[str] = []

    def commit_now(member: Member, partitions: list[ClientPartition]) -> None:
        errors.append(commit_error(member, dict.fromkeys(plain(partitions), 30)))

    member = Member(kafka, [topic], on_revoke=commit_now, group_protocol=protocol)
    until(lambda: len(member.records) == 100, member.turn)
    other = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(other.records) >= 20, member.turn, other.turn)
    turn_for(0.3, member.turn, other.turn)
    (moved,) = other.owned
    assert errors == [""]
    assert other.offsets(moved) == list(range(30, 50))


@pytest.mark.parametrize(
    ("protocol", "refusals"),
    [("classic", {"REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION"}), ("consumer", {"STALE_MEMBER_EPOCH"})],
)
def test_asynchronous_commits_are_refused_during_a_rebalance_and_taken_when_sent_again(
    kafka: Kafka, protocol: str, refusals: set[str]
) -> None:
    topic = kafka.topic(4)
    member = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(member.owned) == 4, member.turn)
    sent = 0
    answers: Counter[str] = Counter()

    def one_in_flight() -> None:
        nonlocal sent
        member.turn(0.002)
        if len(member.confirmed) == sent and member.owned:
            member.commit_later(dict.fromkeys(member.owned, 0))
            sent += 1

    def others_come_and_go() -> bool:
        other = Member(kafka, [topic], group_protocol=protocol)
        until(lambda: other.owned, one_in_flight, lambda: other.turn(0))
        other.close()
        until(lambda: len(member.owned) == 4, one_in_flight)
        answers.update(name for name, _ in member.confirmed[sum(answers.values()) :])
        return bool(refusals & answers.keys())

    until(others_come_and_go, within=30)
    assert answers.keys() <= refusals | {""}
    confirmed = len(member.confirmed)
    until(lambda: "" in [name for name, _ in member.confirmed[confirmed:]], one_in_flight)


# 11: stopping


@each_protocol
def test_a_member_that_does_not_poll_keeps_a_newcomer_without_partitions(kafka: Kafka, protocol: str) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 20)
    idle = Member(kafka, [topic], group_protocol=protocol)
    until(lambda: len(idle.records) == 20, idle.turn)
    newcomer = Member(kafka, [topic], group_protocol=protocol)
    turn_for(2.0, newcomer.turn)
    assert newcomer.owned == set()

    until(lambda: newcomer.owned, idle.turn, newcomer.turn)


@each_protocol
def test_a_commit_inside_close_is_taken_while_the_session_lasts(kafka: Kafka, protocol: str) -> None:
    assert _commit_inside_close(kafka, {"group_protocol": protocol}, wait=0.5) == ""


def test_a_classic_commit_inside_close_is_refused_once_draining_took_longer_than_the_session(kafka: Kafka) -> None:
    """close() ends the heartbeats before it calls on_revoke: the daemon drains while it still polls, then closes."""
    session = kafka.cluster.session_ms
    properties = {"session_timeout_ms": session}
    assert _commit_inside_close(kafka, properties, wait=session / 1000 + 1) == "UNKNOWN_MEMBER_ID"


def _commit_inside_close(kafka: Kafka, properties: dict[str, Any], *, wait: float) -> str:
    topic = kafka.topic()
    kafka.produce(topic, 20)
    errors: list[str] = []

    def drain_then_commit(member: Member, partitions: list[ClientPartition]) -> None:
        drained: Future[None] = Future()
        with pytest.raises(TimeoutError):
            drained.result(wait)
        errors.append(commit_error(member, dict.fromkeys(plain(partitions), 20)))

    member = Member(kafka, [topic], on_revoke=drain_then_commit, **properties)
    until(lambda: len(member.records) == 20, member.turn)
    member.close()
    (error,) = errors
    return error


# 10 and 11: a member that was away too long


def test_a_classic_member_away_too_long_is_told_so_by_a_message_error_and_loses_its_partition(kafka: Kafka) -> None:
    member, tp, newcomer = _away(kafka, "classic")
    until(lambda: tp in newcomer.owned, newcomer.turn)
    assert commit_error(member, {tp: 20}) == "UNKNOWN_MEMBER_ID"
    until(lambda: member.errors and member.times_told("lost"), member.turn)
    assert [(error.name(), error.fatal()) for error in member.errors] == [("_MAX_POLL_EXCEEDED", False)]


def test_a_kip_848_member_away_too_long_keeps_its_partition_until_it_polls_again(kafka: Kafka) -> None:
    """Its heartbeats go on in the background: nobody but a liveness probe notices a thread that no longer turns."""
    member, tp, newcomer = _away(kafka, "consumer")
    turn_for(2 * kafka.cluster.session_ms / 1000, newcomer.turn)
    assert newcomer.owned == set()
    assert commit_error(member, {tp: 20}) == ""
    until(lambda: member.times_told("lost") and (member.owned or newcomer.owned), member.turn, newcomer.turn)
    assert [(error.name(), error.fatal()) for error in member.errors] == [("_MAX_POLL_EXCEEDED", False)]


def _away(kafka: Kafka, protocol: str) -> tuple[Member, TopicPartition, Member]:
    topic = kafka.topic()
    kafka.produce(topic, 20)
    member = Member(kafka, [topic], **impatient(kafka, protocol))
    until(lambda: len(member.records) == 20, member.turn)
    return member, TopicPartition(topic, 0), Member(kafka, [topic], group_protocol=protocol)


@pytest.mark.parametrize(("protocol", "error"), [("classic", "UNKNOWN_MEMBER_ID"), ("consumer", "")])
def test_without_on_lost_the_client_calls_on_revoke_for_partitions_it_lost(
    kafka: Kafka, protocol: str, error: str
) -> None:
    """With KIP-848 the coordinator takes that commit, for the member is still in the group: on_lost must not commit."""
    topic = kafka.topic()
    tp = TopicPartition(topic, 0)
    kafka.produce(topic, 20)
    errors: list[str] = []

    def commit(member: Member, _: list[ClientPartition]) -> None:
        errors.append(commit_error(member, {tp: 20}))

    member = Member(kafka, [topic], on_revoke=commit, hear_lost=False, **impatient(kafka, protocol))
    until(lambda: len(member.records) == 20, member.turn)
    witness = kafka.consumer(group=f"{kafka.group}-witness")  # its polls pass the time in which the member makes none
    turn_for((kafka.cluster.session_ms + 1500) / 1000, lambda: witness.poll(0.05))
    until(lambda: errors, member.turn)
    assert errors[0] == error
    assert [each.name() for each in member.errors] == ["_MAX_POLL_EXCEEDED"]
