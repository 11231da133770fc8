"""A bare member of a consumer group: the client as it comes, with a note of all it was told."""

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import Record, TopicPartition
from tests.kafka.cluster import Kafka, record

Hook = Callable[["Member", list[ClientPartition]], None]


class Member:
    """Polls, keeps every record and error it is given, follows the cooperative protocol unless a hook does otherwise.

    A hook replaces what the callback would do; what was told is noted either way. Without `on_lost` the client calls
    `on_revoke` for lost partitions too, so the callback is left out only where a test wants just that.
    """

    def __init__(
        self,
        kafka: Kafka,
        topics: Sequence[str],
        *,
        on_assign: Hook | None = None,
        on_revoke: Hook | None = None,
        on_lost: Hook | None = None,
        hear_lost: bool = True,
        **properties: Any,
    ) -> None:
        self.kafka = kafka
        self.told: list[tuple[str, tuple[TopicPartition, ...]]] = []
        self.owned: set[TopicPartition] = set()
        self.records: list[Record] = []
        self.errors: list[KafkaError] = []
        self.confirmed: list[tuple[str, dict[TopicPartition, int]]] = []
        self.hooks = {"assigned": on_assign, "revoked": on_revoke, "lost": on_lost}
        self.consumer: Consumer = kafka.consumer(on_commit=self._committed, **properties)
        callbacks = {"on_assign": self._assigned, "on_revoke": self._revoked}
        if hear_lost:
            callbacks["on_lost"] = self._lost
        self.consumer.subscribe(list(topics), **callbacks)

    def turn(self, seconds: float = 0.05, most: int = 500) -> None:
        """Poll once: callbacks run, records and message errors are kept."""
        for message in self.consumer.consume(most, seconds):
            error = message.error()
            if error is None:
                self.records.append(record(message))
            else:
                self.errors.append(error)

    def times_told(self, what: str) -> int:
        """How many callbacks of that kind there were: assigned, revoked or lost."""
        return sum(1 for kind, _ in self.told if kind == what)

    def offsets(self, tp: TopicPartition) -> list[int]:
        """The offsets received of a partition, in the order received."""
        return [each.offset for each in self.records if each.tp == tp]

    def commit(self, offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Commit and wait for the answer.

        Raises:
            KafkaException: the group refused it, or refused one of the partitions.
        """
        answered = self.consumer.commit(offsets=client_partitions(offsets), asynchronous=False)
        return {TopicPartition(p.topic, p.partition): p.offset for p in answered}

    def commit_later(self, offsets: dict[TopicPartition, int]) -> None:
        """Send a commit; the answer comes to `confirmed` while polling, as (error name or "", offsets)."""
        self.consumer.commit(offsets=client_partitions(offsets), asynchronous=True)

    def close(self) -> None:
        """Leave the group."""
        self.kafka.close(self.consumer)

    def _assigned(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        self._note("assigned", partitions)
        self.owned |= set(plain(partitions))
        if hook := self.hooks["assigned"]:
            hook(self, partitions)
        else:
            consumer.incremental_assign(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        self._note("revoked", partitions)
        self.owned -= set(plain(partitions))
        if hook := self.hooks["revoked"]:
            hook(self, partitions)

    def _lost(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        self._note("lost", partitions)
        self.owned -= set(plain(partitions))
        if hook := self.hooks["lost"]:
            hook(self, partitions)

    def _note(self, what: str, partitions: list[ClientPartition]) -> None:
        self.told.append((what, tuple(plain(partitions))))

    def _committed(self, error: KafkaError | None, partitions: list[ClientPartition]) -> None:
        name = error.name() if error else ""
        for each in partitions:
            if each.error is not None:
                name = name or each.error.name()
        self.confirmed.append((name, {TopicPartition(p.topic, p.partition): p.offset for p in partitions}))


def plain(partitions: Sequence[ClientPartition]) -> list[TopicPartition]:
    """The client's partitions as the daemon's own type."""
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def client_partitions(offsets: dict[TopicPartition, int]) -> list[ClientPartition]:
    """Offsets by partition as the client takes them."""
    return [ClientPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
