"""The embedded broker: librdkafka's own mock cluster, which speaks Kafka on loopback inside this process."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Producer

from connector.model import TopicPartition

RETAINED_BYTES: Final = 5 * 1024 * 1024
"""Bytes as stored that a partition keeps; older batches are dropped without a word (librdkafka `rdkafka_mock.c`)."""

PARTITIONS: Final = 4
"""Partitions of a topic. The mock makes a topic when somebody asks for it, and takes no CreateTopics."""

_DEADLINE: Final = 10.0


class Broker:
    """A cluster that lives from `async with` to its end.

    Invariant: `bootstrap_servers` answers exactly as long as the block lasts, because the cluster belongs to a producer
    that this object keeps. It is no Apache Kafka: nothing is on disk, a partition keeps `RETAINED_BYTES`, and a group
    waits three seconds for its first members.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._owner: Producer | None = None
        self.bootstrap_servers = ""

    async def topics(self, *names: str) -> Sequence[TopicPartition]:
        """Make the topics that are not there yet, and return the partitions of all of them."""
        return await asyncio.to_thread(self._topics, names)

    async def __aenter__(self) -> Self:
        # `log_level` 2: when clients of a cluster that ends still hold connections, each says so on stderr.
        conf: dict[str, Any] = {"test.mock.num.brokers": self._brokers, "log_level": 2, "client.id": "embedded-broker"}
        self._owner = Producer(conf)
        cluster = await asyncio.to_thread(self._owner.list_topics, timeout=_DEADLINE)
        self.bootstrap_servers = ",".join(f"{one.host}:{one.port}" for one in cluster.brokers.values())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        owner, self._owner, self.bootstrap_servers = self._owner, None, ""
        if owner is not None:
            # The cluster ends with its last reference, and joining its threads can take a moment.
            await asyncio.to_thread(owner.close)

    def _topics(self, names: Sequence[str]) -> Sequence[TopicPartition]:
        if self._owner is None:
            raise RuntimeError("the embedded broker is not running: use it inside `async with`")
        found = []
        for name in names:
            partitions = self._owner.list_topics(name, timeout=_DEADLINE).topics[name].partitions
            found += [TopicPartition(name, partition) for partition in sorted(partitions)]
        return found
