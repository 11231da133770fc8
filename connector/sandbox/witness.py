"""Reads back from the broker, with a consumer of its own, what the daemon claims to have done there."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as KafkaPartition

from connector.model import Headers, Record, TopicPartition
from connector.sandbox.prove import DECODE, Place, Sent, raw_digest

_DEADLINE: Final = 10.0
_OURS: Final = ("__connect.errors.", "__connector.errors.")
_CONVERTERS: Final = (b"KEY_CONVERTER", b"VALUE_CONVERTER")


class Look(NamedTuple):
    """What the broker showed: the group's offsets, the ends of the partitions, and the dead letters that are new.

    `committed` was read before `buried`, so whatever a right commit covers is in this look or an earlier one. A
    partition without a commit is not in `committed`.
    """

    committed: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    buried: Sequence[Sent]


class Witness:
    """A reader that is no member of the group whose offsets it asks for. It commits nothing."""

    def __init__(
        self, servers: str, group: str, records: Sequence[TopicPartition], dead: Sequence[TopicPartition]
    ) -> None:
        """`records` are the partitions that the group consumes, `dead` those of the dead-letter topic."""
        conf: dict[str, Any] = {
            "bootstrap.servers": servers,
            "group.id": group,
            "client.id": "demo-witness",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 4_000_000,
            "log_level": 2,
        }
        # Two clients: a fetch that waits for dead letters would keep every question behind it waiting.
        self._asking = Consumer(conf)
        self._reading = Consumer(conf)
        self._records = [KafkaPartition(tp.topic, tp.partition) for tp in records]
        self._next = dict.fromkeys(dead, 0)
        self._reading.assign([KafkaPartition(tp.topic, tp.partition, 0) for tp in dead])

    async def look(self) -> Look:
        """Look at the broker once.

        Raises:
            KafkaException: the broker did not answer within 10 s.
        """
        return await asyncio.to_thread(self._look)

    async def close(self) -> None:
        """End both consumers."""
        await asyncio.to_thread(self._asking.close)
        await asyncio.to_thread(self._reading.close)

    def _look(self) -> Look:
        committed = {
            TopicPartition(found.topic, found.partition): found.offset
            for found in self._asking.committed(self._records, timeout=_DEADLINE)
            if found.offset >= 0
        }
        ends = {TopicPartition(tp.topic, tp.partition): self._end(tp) for tp in self._records}
        return Look(committed, ends, self._read_to_end())

    def _end(self, tp: KafkaPartition) -> int:
        _low, high = self._asking.get_watermark_offsets(tp, timeout=_DEADLINE)
        return high

    def _read_to_end(self) -> list[Sent]:
        ends = {tp: self._end(KafkaPartition(tp.topic, tp.partition)) for tp in self._next}
        letters = []
        while any(self._next[tp] < end for tp, end in ends.items()):
            messages = self._reading.consume(500, _DEADLINE / 100)
            for message in messages:
                if message.error() is None:
                    letters.append(_letter(message))
                    tp = TopicPartition(str(message.topic()), int(message.partition() or 0))
                    self._next[tp] = int(message.offset() or 0) + 1
        return letters


def _letter(message: Message) -> Sent:
    """Whose dead letter this is, and the digest of the record it carries, without the headers that explain it."""
    every: Headers = tuple(_pairs(message.headers()))
    why = {name: value or b"" for name, value in every if name.startswith(_OURS)}
    own = tuple((name, value) for name, value in every if not name.startswith(_OURS))
    tp = TopicPartition(why["__connect.errors.topic"].decode(), int(why["__connect.errors.partition"]))
    offset = int(why["__connect.errors.offset"])
    route = DECODE if why["__connect.errors.stage"] in _CONVERTERS else why["__connector.errors.route"].decode()
    timestamp_ms = message.timestamp()[1]
    return Sent(
        Place(tp, offset),
        route,
        raw_digest(Record(tp, offset, timestamp_ms, _bytes(message.key()), _bytes(message.value()), own)),
    )


def _pairs(headers: Any) -> list[tuple[str, bytes | None]]:
    return [(str(name), _bytes(value)) for name, value in headers or ()]


def _bytes(text: Any) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
