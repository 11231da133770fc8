"""The dead-letter topic as a target: delivered only when Kafka has it, never rejected, original bytes kept."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.model import Ack, Entry, Event, Health, Record, TopicPartition, Verdict
from connector.targets.dead_letter import Cause, DeadLetters, Sources, bury, retention
from tests.flow.virtual import run

RECORD = Record(
    TopicPartition("orders", 3), 42, 1_700_000_000_123, b"\xff\x00key", b"\xfe not json", (("trace", b"1"), ("n", None))
)
CAUSE = Cause("VALUE_CONVERTER", "NotJSON", "the value is not JSON at byte 0", "bus", 0, 1_700_000_100_000)


@dataclass
class Sent:
    """One produced record."""

    topic: str
    value: bytes | None
    key: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes | None]]
    partition: int = -1


class Message:
    """What a delivery report carries."""

    def topic(self) -> str:
        return "dead"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


@dataclass
class FakeProducer:
    """Answers each produce by `judge` at the next poll; keeps silent where it gives None."""

    judge: Callable[[Sent], KafkaError | str | None] = lambda sent: None
    sent: list[Sent] = field(default_factory=list)
    _reports: list[tuple[Any, Any]] = field(default_factory=list)

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        one = Sent(topic, value, key, timestamp, headers or [], partition)
        self.sent.append(one)
        verdict = self.judge(one)
        if not isinstance(verdict, str):
            self._reports.append((on_delivery, verdict))
        elif verdict == "full":
            raise BufferError("queue full")

    def poll(self, timeout: float) -> int:
        reports, self._reports = self._reports, []
        for report, error in reports:
            report(error, Message())
        return len(reports)

    def list_topics(self, topic: str, timeout: float) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker"))


def letters(producer: FakeProducer, **rest: Any) -> DeadLetters:
    return DeadLetters("dead", lambda heard: producer, connector="shop", **rest)


def entry(of: DeadLetters, record: Record = RECORD) -> Entry:
    event = bury(Event(record, "paid", "bus", {}, "orders-3-42/paid"), CAUSE)
    prepared = of.prepare(event)
    return Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, lambda: None, prepared.alike)


def send(of: DeadLetters | Sources, *entries: Entry) -> list[Ack]:
    async def scene() -> list[Ack]:
        return list(await of.send(entries))

    return run(scene())


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"cleanup.policy": "compact,delete"}, True),
        ({"cleanup.policy": "compact"}, False),
        ({"retention.ms": "-1"}, False),
        ({"message.timestamp.type": "LogAppendTime"}, False),
    ],
)
def test_a_topic_that_deletes_by_the_age_of_the_record_is_warned_of(changes: dict[str, str], warned: bool) -> None:
    plain = {"cleanup.policy": "delete", "retention.ms": "604800000", "message.timestamp.type": "CreateTime"}

    class Setting:
        def __init__(self, value: str) -> None:
            self.value = value

    class Admin:
        def describe_configs(self, resources: list[Any]) -> dict[Any, Any]:
            answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
            answer.set_result({name: Setting(value) for name, value in (plain | changes).items()})
            return {resources[0]: answer}

    words = asyncio.run(retention("dead", {}, lambda config: Admin()))
    assert bool(words) is warned
    assert not warned or ("168 h" in words and "retention.ms=-1" in words)


def test_a_topic_whose_settings_nobody_may_read_is_not_warned_of() -> None:
    class Admin:
        def describe_configs(self, resources: list[Any]) -> dict[Any, Any]:
            answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
            answer.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
            return {resources[0]: answer}

    assert asyncio.run(retention("dead", {}, lambda config: Admin())) == ""


def test_the_original_bytes_headers_and_timestamp_are_kept_and_the_reason_stands_in_headers() -> None:
    producer = FakeProducer()
    of = letters(producer)
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.DELIVERED
    (sent,) = producer.sent
    assert (sent.topic, sent.key, sent.value, sent.timestamp) == (
        "dead",
        b"\xff\x00key",
        b"\xfe not json",
        1_700_000_000_123,
    )
    assert sent.headers[:2] == [("trace", b"1"), ("n", None)]
    assert dict(sent.headers[2:]) == {
        "__connect.errors.topic": b"orders",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.connector.name": b"shop",
        "__connect.errors.task.id": b"0",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.class.name": b"bus",
        "__connect.errors.exception.class.name": b"NotJSON",
        "__connect.errors.exception.message": b"the value is not JSON at byte 0",
        "__connect.errors.exception.stacktrace": b"",
        "__connector.errors.route": b"paid",
        "__connector.errors.target": b"bus",
        "__connector.errors.code": b"NotJSON",
        "__connector.errors.attempts": b"0",
        "__connector.errors.time": b"1700000100000",
        "__connector.errors.id": b"orders-3-42/paid",
    }


def test_a_record_that_was_buried_before_keeps_only_the_newest_reason() -> None:
    producer = FakeProducer()
    of = letters(producer)
    old = Record(RECORD.tp, 42, 0, None, b"", (("__connector.errors.code", b"Old"), ("own", b"1")))
    send(of, entry(of, old))
    names = [name for name, _ in producer.sent[0].headers]
    assert names.count("__connector.errors.code") == 1
    assert dict(producer.sent[0].headers)["__connector.errors.code"] == b"NotJSON"


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.INVALID_TIMESTAMP,
    ],
)
def test_a_topic_that_is_missing_or_not_ours_or_takes_no_such_record_holds(code: int) -> None:
    of = letters(FakeProducer(lambda sent: KafkaError(code)))
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.HOLD
    assert "orders[3]@42" in ack.detail


@pytest.mark.parametrize(
    "code", [KafkaError._MSG_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError._TRANSPORT, KafkaError.UNKNOWN]
)
def test_whatever_else_went_wrong_is_tried_again(code: int) -> None:
    of = letters(FakeProducer(lambda sent: KafkaError(code)))
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.RETRY


def test_silence_is_not_an_ack() -> None:
    of = letters(FakeProducer(lambda sent: "silent"), deadline=5.0)
    (ack,) = send(of, entry(of))
    assert (ack.verdict, ack.code) == (Verdict.RETRY, "Timeout")


def test_a_full_queue_is_tried_again() -> None:
    of = letters(FakeProducer(lambda sent: "full"))
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.RETRY


def test_each_entry_has_its_own_ack() -> None:
    fail = KafkaError(KafkaError._MSG_TIMED_OUT)
    of = letters(FakeProducer(lambda sent: fail if sent.value == b"b" else None))
    records = [Record(RECORD.tp, i, 0, None, value) for i, value in enumerate((b"a", b"b", b"c"))]
    acks = send(of, *(entry(of, record) for record in records))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED, Verdict.RETRY, Verdict.DELIVERED]


def too_large_with(limit: int) -> Callable[[Sent], KafkaError | None]:
    def judge(sent: Sent) -> KafkaError | None:
        size = len(sent.value or b"") + sum(len(name) + len(value or b"") for name, value in sent.headers)
        return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if size > limit else None

    return judge


def test_a_dead_letter_that_is_too_large_loses_our_headers_first_and_never_its_bytes() -> None:
    producer = FakeProducer(too_large_with(100))
    of = letters(producer)
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.DELIVERED
    assert producer.sent[-1].value == b"\xfe not json"
    assert producer.sent[-1].headers == [("trace", b"1"), ("n", None)]


def test_a_dead_letter_that_is_too_large_all_the_same_holds_and_names_the_record() -> None:
    of = letters(FakeProducer(too_large_with(5)))
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.HOLD
    assert "orders[3]@42" in ack.detail
    assert "max.message.bytes" in ack.detail


class Batching(FakeProducer):
    """Judges as a topic does: what waits together goes together, and its size is one size."""

    def poll(self, timeout: float) -> int:
        size = sum(len(one.value or b"") for one in self.sent[self._heard :])
        self._heard = len(self.sent)
        error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if size > 100 else None
        self._reports = [(report, error) for report, _ in self._reports]
        return super().poll(timeout)

    _heard: int = 0


def test_dead_letters_that_are_too_large_only_together_go_alone_and_keep_their_headers() -> None:
    producer = Batching()
    of = letters(producer)
    values = (b"a" * 60, b"b" * 70, b"c" * 200)
    acks = send(of, *(entry(of, Record(RECORD.tp, i, 0, None, value)) for i, value in enumerate(values)))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED, Verdict.DELIVERED, Verdict.HOLD]
    assert [(one.value, len(one.headers)) for one in producer.sent[3:]] == [
        (b"a" * 60, 16),
        (b"b" * 70, 16),
        (b"c" * 200, 16),
        (b"c" * 200, 0),
    ]


def test_oversize_reference_writes_where_the_record_lies_instead_of_its_bytes() -> None:
    large = Record(RECORD.tp, 42, 0, None, b"x" * 5000)
    producer = FakeProducer(too_large_with(2000))
    of = letters(producer, oversize="reference")
    (ack,) = send(of, entry(of, large))
    assert ack.verdict is Verdict.DELIVERED
    assert producer.sent[-1].value is None
    assert dict(producer.sent[-1].headers)["__connector.errors.reference"] == b"orders/3/42"


def test_a_fatal_error_of_the_producer_makes_a_new_one() -> None:
    broken = FakeProducer(lambda sent: KafkaError(KafkaError._FATAL, "fenced", True))
    good = FakeProducer()
    producers = [broken, good]
    of = DeadLetters("dead", lambda heard: producers.pop(0), connector="shop")
    (ack,) = send(of, entry(of))
    assert ack.verdict is Verdict.RETRY
    (again,) = send(of, entry(of))
    assert again.verdict is Verdict.DELIVERED
    assert len(good.sent) == 1


def test_a_cluster_that_cannot_be_asked_is_unknown() -> None:
    async def scene() -> Health:
        return (await letters(FakeProducer()).preflight()).health

    assert asyncio.run(scene()) is Health.UNKNOWN


def test_a_cluster_that_refuses_us_holds_with_its_own_words_until_it_takes_a_letter() -> None:
    verdicts = [KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"), None, KafkaError(KafkaError._MSG_TIMED_OUT)]
    producer = FakeProducer(lambda sent: verdicts.pop(0))

    def made(heard: Callable[[KafkaError], None]) -> FakeProducer:
        heard(KafkaError(KafkaError._TRANSPORT, "a broker of many is away"))
        heard(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
        heard(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        return producer

    of = DeadLetters("dead", made, connector="shop")
    (ack,) = send(of, entry(of))
    assert ack == Ack(Verdict.HOLD, "_AUTHENTICATION", "the cluster refuses us: wrong password")
    found = run(of.preflight())
    assert (found.health, found.code) == (Health.MISSING, "_AUTHENTICATION")
    assert send(of, entry(of))[0].verdict is Verdict.DELIVERED
    assert send(of, entry(of))[0].verdict is Verdict.RETRY
    assert run(of.preflight()).health is Health.UNKNOWN


def test_a_producer_that_cannot_be_made_holds_and_is_made_as_soon_as_it_can() -> None:
    wrong = [KafkaException(KafkaError(KafkaError._INVALID_ARG, "ssl.ca.location failed: no such file"))] * 2

    def made(heard: Callable[[KafkaError], None]) -> FakeProducer:
        if wrong:
            raise wrong.pop()
        return FakeProducer()

    of = DeadLetters("dead", made, connector="shop")
    (ack,) = send(of, entry(of))
    assert (ack.verdict, ack.code) == (Verdict.HOLD, "_INVALID_ARG")
    assert "ssl.ca.location" in ack.detail
    found = run(of.preflight())
    assert (found.health, found.code) == (Health.MISSING, "_INVALID_ARG")
    assert send(of, entry(of))[0].verdict is Verdict.DELIVERED


def test_a_route_may_have_a_dead_letter_topic_of_its_own() -> None:
    producer = FakeProducer()
    of = letters(producer, topics={"paid": "paid.dead"})
    event = bury(Event(RECORD, "rest", "bus", {}, "orders-3-42/rest"), CAUSE)
    prepared = of.prepare(event)
    other = Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, lambda: None)
    send(of, entry(of), other)
    assert [sent.topic for sent in producer.sent] == ["paid.dead", "dead"]


def test_a_record_goes_back_to_its_own_partition_with_its_first_id_alone() -> None:
    producer = FakeProducer()
    of = Sources(["orders"], lambda heard: producer)
    event = Event(RECORD, "paid", "their topics", {}, "orders-3-42/paid")
    prepared = of.prepare(event)
    send(of, Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, lambda: None))
    (sent,) = producer.sent
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("orders", 3, RECORD.key, RECORD.value)
    assert sent.headers == [*RECORD.headers, ("__connector.errors.id", b"orders-3-42/paid")]
