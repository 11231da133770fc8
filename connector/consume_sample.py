"""Takes the last records of topics for a dry run: joins no group, commits nothing, and ends in time.

Partitions are assigned by hand from offsets that are asked for first, so the group's name is only what the client
insists on: no group comes into being, and no member of the daemon's group is disturbed.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import confluent_kafka
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from connector.kafka_properties import client_config
from connector.model import Record, TopicPartition
from connector.settings import KafkaSettings
from connector.topics import Topics

ASK: Final = 5.0  # seconds that one question to the brokers may take
POLL: Final = 0.2


class CannotSample(Exception):
    """The brokers cannot be asked, or do not let us read; the reason says which, in librdkafka's words."""


class Quiet:
    """Takes librdkafka's own log lines; what matters in them is said once, by CannotSample."""

    def log(self, level: int, text: str, *args: object) -> None:
        logging.getLogger("librdkafka").debug(text, *args)


class Sample:
    """The last records of topics, up to `count` in all (None: every one), a fair share of each partition.

    Iterate it once.

    Invariant: it reads at most `count` records, none that came after it began, and ends within `seconds` (and the few
    that one question to the brokers takes). `notes` say afterwards why there are fewer.

    Raises, while it is iterated:
        CannotSample: no broker answers, or none lets us read.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Iterable[str],
        count: int | None,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.notes: list[str] = []
        self._topics = Topics(topics)
        self._count = count
        self._seconds = seconds
        self._clock = clock
        self._config: dict[str, Any] = {
            **client_config(kafka, self.notes.append),
            "group.id": f"{kafka.group_id}-try-{uuid.uuid4().hex}",
            "enable.partition.eof": True,  # how a partition says that it has no more
            "logger": Quiet(),
        }

    def __iter__(self) -> Iterator[Record]:
        end = self._clock() + self._seconds
        client = confluent_kafka.Consumer(self._config)
        try:
            yield from self._read(client, end)
        except KafkaException as error:
            raise CannotSample(f"{error.args[0].name()}: {error.args[0].str()}") from error
        finally:
            client.close()

    def _read(self, client: confluent_kafka.Consumer, end: float) -> Iterator[Record]:
        spans = self._spans(client, end)
        held = {tp: high - low for tp, (low, high) in spans.items()}
        left = held if self._count is None else shares(held, self._count)
        client.assign([Place(*tp, spans[tp][1] - share) for tp, share in left.items()])
        taken = 0
        while left and self._clock() < end:
            for message in client.consume(min(500, sum(left.values())), POLL):
                tp, error = place_of(message), message.error()
                if error is not None:
                    if error.code() in _AT_AN_END:
                        left.pop(tp, None)
                    elif error.fatal() or error.code() in _REFUSED:
                        raise CannotSample(f"{error.name()}: {error.str()}")
                    continue
                record = record_of(tp, message)
                if tp not in left or record.offset >= spans[tp][1]:
                    left.pop(tp, None)
                    continue
                left[tp] -= 1
                if not left[tp] or record.offset == spans[tp][1] - 1:
                    del left[tp]
                taken += 1
                yield record
        if left:
            self.notes.append(f"{self._seconds:g} s are over: {len(left)} partitions were not read to their end")
        elif self._count is not None and taken < self._count:
            self.notes.append("the topics hold no more records")

    def _left(self, end: float) -> float:
        """Seconds that one more question may take."""
        return min(ASK, max(POLL, end - self._clock()))

    def _spans(self, client: confluent_kafka.Consumer, end: float) -> dict[TopicPartition, tuple[int, int]]:
        """The first offset and the one after the last, of every partition that has records."""
        known = client.list_topics(timeout=self._left(end)).topics
        there = {name: topic for name, topic in known.items() if topic.error is None}
        spans: dict[TopicPartition, tuple[int, int]] = {}
        unasked = 0
        for name in self._topics.resolve(there):
            if name not in there:
                self.notes.append(f"no topic {name} that we may see: create it, or grant Describe")
                continue
            for partition in sorted(there[name].partitions):
                if self._clock() >= end:
                    unasked += 1
                    continue
                low, high = client.get_watermark_offsets(Place(name, partition), timeout=self._left(end))
                if high > low:
                    spans[TopicPartition(name, partition)] = low, high
        if unasked:
            self.notes.append(f"{self._seconds:g} s are over: {unasked} partitions were not asked")
        return spans


def shares(held: Mapping[TopicPartition, int], count: int) -> dict[TopicPartition, int]:
    """How many records to take of each partition: the same of each, as far as they hold so many; `count` in all."""
    taken: dict[TopicPartition, int] = {}
    left = count
    smallest_first = sorted(held.items(), key=lambda item: (item[1], item[0]))
    for place, (tp, records) in enumerate(smallest_first):
        taken[tp] = min(records, -(-left // (len(held) - place)))
        left -= taken[tp]
    return {tp: share for tp, share in taken.items() if share}


_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)
_AT_AN_END: Final = frozenset({KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET})
"""The second: retention took what we began at."""


def place_of(message: Message) -> TopicPartition:
    """Which partition a message is of."""
    return TopicPartition(message.topic() or "", message.partition() or 0)


def record_of(tp: TopicPartition, message: Message) -> Record:
    """The client's message as our own type."""
    headers: Any = message.headers() or ()  # a list of pairs, whatever the stubs allow
    kind, timestamp = message.timestamp()
    return Record(
        tp,
        message.offset() or 0,
        -1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        message.key(),
        message.value(),
        tuple((name, value) for name, value in headers),
    )
