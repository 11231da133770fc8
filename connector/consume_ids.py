"""Which topic a name stands for: one that is deleted and made anew has another id, and nothing else tells.

A client may read a new topic on from its position in the old one, and Kafka takes an offset of the old topic for the
new one, both without a word (`docs/kafka-facts.md`, 8). So the ids are looked at while a topic is read, and an offset
is committed with the id of the topic that it counts in.
"""

import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from connector.kafka_properties import shared_config
from connector.settings import KafkaSettings

Answer: TypeAlias = "concurrent.futures.Future[str]"
"""Of a question for a topic: `CLUSTER/ID`, empty where nobody can tell, or the topic is not there."""
Ask: TypeAlias = Callable[[Collection[str]], Mapping[str, Answer]]

ASK: Final = 5.0
"""Seconds that a question to the brokers may take."""

_MARK: Final = "topic="
_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""What brokers before 2.8 answer."""


class TopicIds:
    """What each topic is that we read.

    Invariant: only two ids of one cluster that differ tell of a change. Where nobody answers, nothing has changed; and
    what another cluster's mirror brought along says nothing.
    """

    def __init__(self, ask: Ask) -> None:
        """`ask` puts a question and returns at once."""
        self._ask = ask
        self._known: dict[str, str] = {}
        self._asked: dict[str, Answer] = {}
        self._changed: set[str] = set()

    def ask(self, topics: Iterable[str]) -> None:
        """Ask what these topics are now; the answers come with `changes`."""
        if wanted := sorted(set(topics)):
            self._asked.update(self._ask(wanted))

    def forget(self, topics: Iterable[str]) -> None:
        """These are not read any more: what they are next time is no change."""
        for topic in topics:
            self._known.pop(topic, None)
            self._asked.pop(topic, None)
            self._changed.discard(topic)

    def settle(self, wait: float = 0.0) -> None:
        """Take the answers that are there after so many seconds at most."""
        if wait:
            concurrent.futures.wait(self._asked.values(), wait)
        for topic, answer in [(topic, answer) for topic, answer in self._asked.items() if answer.done()]:
            del self._asked[topic]
            if told := answer.result():
                if self._known.get(topic, told) != told:
                    self._changed.add(topic)
                self._known[topic] = told

    def changes(self) -> set[str]:
        """The topics that have become others, each told once."""
        self.settle()
        changed, self._changed = self._changed, set()
        return changed

    def mark(self, topic: str) -> str:
        """What to commit beside an offset of this topic: Kafka keeps it, and gives it back with the offset."""
        known = self._known.get(topic)
        return f"{_MARK}{known}" if known else ""

    def strange(self, topic: str, mark: str | None) -> bool:
        """Whether an offset with this mark counts in another topic that had the same name in this cluster."""
        known = self._known.get(topic, "")
        told = (mark or "").removeprefix(_MARK)
        return is_mark(mark) and told != known and told.partition("/")[0] == known.partition("/")[0]


def is_mark(text: str | None) -> bool:
    """Whether what stands beside a committed offset is of ours; other tools put anything there."""
    return text is not None and text.startswith(_MARK)


def topic_ids(kafka: KafkaSettings) -> TopicIds:
    """Ask the cluster, through a client of its own: the consumer's knows the ids and does not tell them."""
    properties: dict[str, Any] = {**shared_config(kafka), "logger": logging.getLogger("librdkafka")}
    admin = AdminClient(properties)

    def ask(topics: Collection[str]) -> Mapping[str, Answer]:
        admin.poll(0)  # it serves the tokens of `kafka.auth`
        cluster = admin.describe_cluster(request_timeout=ASK)
        found = admin.describe_topics(TopicCollection(list(topics)), request_timeout=ASK)
        return {topic: _both(cluster, answer) for topic, answer in found.items()}

    return TopicIds(ask)


def _both(cluster: "concurrent.futures.Future[Any]", topic: "concurrent.futures.Future[Any]") -> Answer:
    both: Answer = concurrent.futures.Future()

    def look(_: object) -> None:
        if cluster.done() and topic.done():
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # both came at once, and were seen twice
                both.set_result(_id(cluster, topic))

    cluster.add_done_callback(look)
    topic.add_done_callback(look)
    return both


def _id(cluster: "concurrent.futures.Future[Any]", topic: "concurrent.futures.Future[Any]") -> str:
    if cluster.exception() is not None or topic.exception() is not None:
        return ""
    told, place = str(topic.result().topic_id), cluster.result().cluster_id
    return f"{place}/{told}" if place and told and told != _NO_ID else ""
