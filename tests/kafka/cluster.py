"""A test's own corner of a Kafka cluster: topics and groups under names of its own, and what fills and reads them.

Waiting is polling with a deadline: whoever waits keeps its clients turning meanwhile.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewPartitions, NewTopic

from connector.model import Headers, Record, TopicPartition
from tests.kafka.broker import Broker

T = TypeVar("T")

SECONDS = 45.0
"""Deadline of one step that a healthy cluster does in milliseconds."""


_MOVING = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
"""The group's coordinator is on its way: ask again."""


_LEADERLESS = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
"""A partition has just changed its leader: ask again."""


class Cluster:
    """A cluster that answers, with the clients that all tests share.

    `broker` is the process that the tests started, None for a cluster that was given by name or outlives the topics of
    a test. `entrance` is where daemons ask for it, which may be behind proxies; `replication` is that of every topic.
    """

    def __init__(
        self,
        bootstrap: str,
        broker: Broker | None = None,
        *,
        entrance: str = "",
        replication: int = 1,
        session_ms: int = 6000,  # a broker's default minimum
        ours: bool = False,
    ) -> None:
        self.bootstrap = bootstrap
        self.broker = broker
        self.entrance = entrance or bootstrap
        self.replication = replication
        self.ours = ours or broker is not None
        """Whether it ends with the tests, so that groups may stay."""
        self._session_ms = session_ms
        self.admin = AdminClient(self.conf())
        # A broker that hangs is left alone soon, and asked again by the name of its successor.
        patience = {"request.timeout.ms": 10_000, "socket.timeout.ms": 12_000}
        durable = {"acks": "all", "linger.ms": 5, "enable.idempotence": True}
        self.producer = Producer(self.conf(**durable, **patience))

    def conf(self, **properties: Any) -> dict[str, Any]:
        """Client properties for this cluster, quiet on standard error."""
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, **properties}

    @property
    def session_ms(self) -> int:
        """The shortest group session that the cluster grants; a broker of ours grants a shorter one than is usual."""
        return 1000 if self.broker else self._session_ms

    def reachable(self) -> bool:
        """Whether a broker answers within the deadline."""
        try:
            return bool(self.admin.list_topics(timeout=SECONDS).brokers)
        except KafkaException:
            return False


class Kafka:
    """What one test made in the cluster. Its topics and groups go when it ends, where the cluster stays.

    Clients made by `consumer` are closed at the end, unless the test did it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.prefix = f"test-{uuid.uuid4().hex[:10]}"
        self.group = f"{self.prefix}-group"
        self._topics: list[str] = []
        self._groups: set[str] = set()
        self._consumers: list[Consumer] = []
        self._askers: dict[str, Consumer] = {}
        self._transactional: Producer | None = None

    # Topics

    def topic(self, partitions: int = 1, *, name: str = "", **config: str | float) -> str:
        """Make a topic and give its name; config keys are Kafka's with `_` for `.`."""
        topic = f"{self.prefix}-{name or f't{len(self._topics)}'}"
        self.create(topic, partitions, **config)
        self._topics.append(topic)
        return topic

    def create(self, topic: str, partitions: int = 1, **config: str | float) -> None:
        """Make a topic of exactly this name; used by itself to make a deleted one anew."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        new = NewTopic(topic, partitions, self.cluster.replication, config=settings)
        _done(self.cluster.admin.create_topics([new]).values())

    def delete(self, topic: str) -> None:
        """Delete a topic and wait until the cluster's metadata no longer has it."""
        _done(self.cluster.admin.delete_topics([topic], operation_timeout=SECONDS).values())
        until(lambda: topic not in self.cluster.admin.list_topics(timeout=SECONDS).topics, what=f"{topic} is gone")

    def alter(self, topic: str, **config: str | float) -> None:
        """Change settings of a topic; config keys are Kafka's with `_` for `.`."""
        op = AlterConfigOpType.SET
        entries = [ConfigEntry(k.replace("_", "."), str(v), incremental_operation=op) for k, v in config.items()]
        changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _done(self.cluster.admin.incremental_alter_configs([changed]).values())

    def grow(self, topic: str, partitions: int) -> None:
        """Give the topic more partitions, `partitions` in all, and let the producer know of them."""
        _done(self.cluster.admin.create_partitions([NewPartitions(topic, partitions)]).values())
        known = self.cluster.producer.list_topics
        until(lambda: len(known(topic, SECONDS).topics[topic].partitions) == partitions, what=f"{topic} has grown")

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Delete the records of a partition below an offset."""
        _done(self.cluster.admin.delete_records([ClientPartition(topic, partition, before)]).values())

    def topic_id(self, topic: str) -> str:
        """The id that the cluster gave the topic when it was made; one made anew under its name has another."""
        (future,) = self.cluster.admin.describe_topics(TopicCollection([topic])).values()
        return str(future.result(SECONDS).topic_id)

    def ends(self, topic: str) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition will get (the high watermark)."""
        return self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client has no types there

    def starts(self, topic: str) -> dict[TopicPartition, int]:
        """The first offset that each partition still has."""
        return self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the client has no types there

    def _offsets(self, topic: str, spec: OffsetSpec) -> dict[TopicPartition, int]:
        partitions = self.cluster.admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions
        asked = {ClientPartition(topic, partition): spec for partition in partitions}

        def answered() -> dict[TopicPartition, int] | None:
            found = self.cluster.admin.list_offsets(asked)
            try:
                told = {tp: future.result(SECONDS).offset for tp, future in found.items()}
            except KafkaException as error:
                if error.args[0].code() in _LEADERLESS:
                    return None
                raise
            return {TopicPartition(tp.topic, tp.partition): offset for tp, offset in told.items()}

        return until(answered, lambda: time.sleep(0.05), what=f"the leaders of {topic} say its offsets") or {}

    # Records in

    def produce(
        self,
        topic: str,
        values: int | Iterable[bytes | None],
        *,
        partition: int = -1,
        key: Callable[[int], bytes | None] = lambda i: None,
        headers: Headers = (),
        timestamp_ms: int = 0,
    ) -> list[Record]:
        """Write records and give them with the offsets they got, in the order written.

        A number stands for that many values `b"0"`, `b"1"`, …; `key` is asked with the record's number.
        """
        producer = self.cluster.producer
        return self._written(producer, topic, values, partition, key, headers, timestamp_ms)

    def transaction(
        self, topic: str, values: int | Iterable[bytes | None], *, commit: bool = True, partition: int = 0
    ) -> list[Record]:
        """Write records in one transaction, then commit or abort it; either leaves a marker that takes an offset."""
        if self._transactional is None:
            self._transactional = Producer(self.cluster.conf(**{"transactional.id": f"{self.prefix}-transaction"}))
            self._transactional.init_transactions(SECONDS)
        producer = self._transactional
        producer.begin_transaction()
        written = self._written(producer, topic, values, partition, lambda i: None, (), 0)
        if commit:
            producer.commit_transaction(SECONDS)
        else:
            producer.abort_transaction(SECONDS)
        return written

    def compacted(self, keys: int = 5, rounds: int = 20) -> tuple[str, list[Record]]:
        """A topic of one partition whose older records compaction has thinned out; gives what is left of it.

        Each key is written `rounds` times in a row and its last value stays, so there are holes all over. The very last
        record stands in a newer segment, which compaction leaves alone.
        """
        topic = self.topic(cleanup_policy="compact", segment_ms=10_000, min_cleanable_dirty_ratio=0.01)
        now = int(time.time() * 1000)
        # A segment ends when a record's timestamp is segment.ms past the segment's first: no need to wait for it.
        older = [b"%d" % i for i in range(keys * rounds)]
        self.produce(topic, older, key=lambda i: b"key-%d" % (i // rounds), timestamp_ms=now - 3_600_000)
        self.produce(topic, [b"newest"], key=lambda i: b"newest", timestamp_ms=now)
        left: list[Record] = []

        def thinned() -> bool:
            left[:] = self.read(topic)
            return len(left) == keys + 1

        until(thinned, within=60.0, what="compaction has run")
        return topic, left

    @staticmethod
    def _written(
        producer: Producer,
        topic: str,
        values: int | Iterable[bytes | None],
        partition: int,
        key: Callable[[int], bytes | None],
        headers: Headers,
        timestamp_ms: int,
    ) -> list[Record]:
        written: dict[int, Record] = {}
        refused: list[str] = []
        wanted = [b"%d" % i for i in range(values)] if isinstance(values, int) else list(values)

        def landed(number: int) -> Callable[[KafkaError | None, Message], None]:
            def deliver(error: KafkaError | None, message: Message) -> None:
                if error is None:
                    written[number] = record(message)
                else:
                    refused.append(str(error))

            return deliver

        for number, value in enumerate(wanted):
            producer.produce(
                topic,
                value,
                key(number),
                partition=partition,
                on_delivery=landed(number),
                timestamp=timestamp_ms,
                headers=list(headers),
            )
            producer.poll(0)
        assert producer.flush(SECONDS) == 0, "the cluster took longer than the deadline to take the records"
        assert not refused, refused[0]
        return [written[number] for number in range(len(wanted))]

    # Records out

    def consumer(self, *, group: str = "", **properties: Any) -> Consumer:
        """A raw consumer of this test's group, with the properties that the daemon owns set as the daemon sets them.

        Property names are librdkafka's with `_` for `.`, callbacks (`stats_cb`, `on_commit`) as they are; None drops
        one of the defaults.
        """
        group = group or self.group
        self._groups.add(group)
        conf: dict[str, Any] = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 500,
        }
        classic = properties.get("group_protocol") != "consumer"
        if classic:
            conf |= {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 6000}
            conf |= {"heartbeat.interval.ms": 200}
        for name, value in properties.items():
            conf[name if callable(value) else name.replace("_", ".")] = value
        consumer = Consumer(self.cluster.conf(**{name: value for name, value in conf.items() if value is not None}))
        self._consumers.append(consumer)
        return consumer

    def read(self, topic: str, *, isolation: str = "read_committed") -> list[Record]:
        """Every record of the topic that a reader without a group gets, from the first offset to the end."""
        ends = self.ends(topic)
        reader = self.consumer(group=f"{self.prefix}-reader", isolation_level=isolation)
        reader.assign([ClientPartition(tp.topic, tp.partition, 0) for tp in ends])
        found: list[Record] = []

        def at_end() -> bool:
            found.extend(record(message) for message in reader.consume(1000, 0.05) if message.error() is None)
            # a reader has no position in a partition that never had a record
            return all(position(reader, tp) >= end for tp, end in ends.items() if end)

        until(at_end, what=f"{topic} was read to its end")
        self.close(reader)
        return found

    def close(self, consumer: Consumer) -> None:
        """Leave the group and close the client; fail where it does not come back, which no signal could interrupt."""
        self.forget(consumer)
        closing = threading.Thread(target=consumer.close, daemon=True)
        closing.start()
        closing.join(SECONDS)
        assert not closing.is_alive(), f"closing the client took more than {SECONDS:g} s"

    def forget(self, consumer: Consumer) -> None:
        """Do not close this client at the end: it was broken on purpose, and a broken one may never come back."""
        self._consumers.remove(consumer)

    # Groups

    def committed(self, topic: str, group: str = "", partitions: int = 0) -> dict[TopicPartition, int]:
        """What the group has committed for the topic, by partition; one without a commit is left out.

        `partitions` is how many to ask for where the topic itself is gone. Asked as a consumer that never joins. An
        admin client may not: `ListConsumerGroupOffsets` of librdkafka 2.16 ends the process with a segmentation fault
        when the coordinator has just come up or moved.
        """
        group = group or self.group
        if group not in self._askers:
            self._askers[group] = self.consumer(group=group)
        asker = self._askers[group]
        numbers = range(partitions) if partitions else [tp.partition for tp in self.ends(topic)]
        asked = [ClientPartition(topic, number) for number in numbers]

        def answered() -> list[ClientPartition] | None:
            try:
                return asker.committed(asked, timeout=SECONDS)
            except KafkaException as error:
                if error.args[0].code() in _MOVING:
                    return None
                raise

        found = until(answered, lambda: asker.poll(0.05), what="the coordinator answers") or []
        return {TopicPartition(p.topic, p.partition): p.offset for p in found if p.error is None and p.offset >= 0}

    def members(self, group: str = "") -> int:
        """How many members the group has now."""
        (future,) = self.cluster.admin.describe_consumer_groups([group or self.group]).values()
        return len(future.result(SECONDS).members)

    def end(self) -> None:
        """Close what is open; on a cluster that stays, remove the topics and groups of this test."""
        for consumer in reversed(tuple(self._consumers)):
            self.close(consumer)
        if self.cluster.broker is not None:
            return
        if self._topics:
            _settled(self.cluster.admin.delete_topics(self._topics).values())
        if self._groups and not self.cluster.ours:
            _settled(self.cluster.admin.delete_consumer_groups(sorted(self._groups)).values())


def record(message: Message) -> Record:
    """The client's message as the daemon's own type."""
    error = message.error()
    assert error is None, error
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = tuple((name, value.encode() if isinstance(value, str) else value) for name, value in _pairs(message))
    return Record(
        tp=TopicPartition(topic, partition),
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers,
    )


def _pairs(message: Message) -> Sequence[tuple[str, str | bytes | None]]:
    headers = message.headers() or []
    return list(headers.items()) if isinstance(headers, Mapping) else headers


def position(consumer: Consumer, tp: TopicPartition) -> int:
    """Where the client will read on, past transaction markers too; negative while it has read nothing."""
    return consumer.position([ClientPartition(tp.topic, tp.partition)])[0].offset


def until(
    reached: Callable[[], T], *turns: Callable[[], object], within: float = SECONDS, what: str = "the condition holds"
) -> T:
    """Turn each client in turn until the condition is true, and give its value; fail when the deadline passes first."""
    deadline = time.monotonic() + within
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        for turn in turns:
            turn()
    return value


def turn_for(seconds: float, *turns: Callable[[], object]) -> None:
    """Keep the clients turning for a time in which something must not happen, or may."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for turn in turns:
            turn()


def _done(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.result(SECONDS)


def _settled(futures: Iterable[Future[Any]]) -> None:
    """Wait for the futures; what is gone already or cannot be removed is left to the cluster's owner."""
    wait(list(futures), SECONDS)
