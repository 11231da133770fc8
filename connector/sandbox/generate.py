"""A shop that never closes: seeded order events, some that no route wants, some that are broken on purpose."""

import asyncio
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Final

import orjson
from confluent_kafka import KafkaError, Message, Producer

from connector.model import Headers, Record, TopicPartition
from connector.sandbox.broker import RETAINED_BYTES
from connector.sandbox.prove import DECODE, Fate, Place, Written, payload_digest, raw_digest

TOPIC: Final = "shop.orders.v1"

_DECK: Final[Mapping[str, int]] = {
    "order.created": 26,
    "order.paid": 24,
    "order.shipped": 16,
    "order.cancelled": 6,
    "page.viewed": 14,
    "stock.counted": 5,
    "tombstone": 3,
    "not JSON": 2,
    "missing field": 2,
    "wrong type": 2,
}
"""Of each hundred records so many are of a kind; the deck is shuffled, so that even a short run meets every kind."""

_TOO_LARGE_EVERY: Final = 5
_TOO_LARGE_BYTES: Final = 1_100_000
"""Above what one PutEvents call takes, below what the embedded broker keeps."""

_STATUS: Final = {
    "order.created": "CREATED",
    "order.paid": "PAID",
    "order.shipped": "SHIPPED",
    "order.cancelled": "CANCELLED",
}
_GOODS: Final = (
    ("TEA-0250", "Darjeeling, 250 g", 1290),
    ("CUP-0002", "Cup and saucer", 1850),
    ("POT-1200", "Teapot, 1.2 l", 4900),
    ("HNY-0500", "Forest honey, 500 g", 840),
    ("TIN-0100", "Tea tin, blue", 1225),
)
_COUNTRIES: Final = ("DE", "NO", "FR", "PT", "JP", "BR")
_CHANNELS: Final = ("web", "app", "store")

_PAUSE_S: Final = 0.005
_DEADLINE_S: Final = 30.0
_AHEAD_BYTES: Final = RETAINED_BYTES // 2
_AHEAD_RECORDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before it is written: what it holds, and what must become of it."""

    kind: str
    key: bytes
    value: bytes | None
    headers: Headers
    payload: str


_TO_EVENTBRIDGE: Final = {
    "order.created": {"new-orders"},
    "order.paid": {"paid-orders"},
    "order.shipped": {"paid-orders"},
}
_ELSEWHERE: Final = {
    "order.created": {"fraud-scores"},
    "order.shipped": {"order-history"},
    "order.cancelled": {"order-history"},
    "page.viewed": {"page-views"},
    "stock.counted": {"stock-levels"},
}
_BURIED_BY: Final = {
    "not JSON": DECODE,
    "missing field": "paid-orders",
    "wrong type": "paid-orders",
    "too large": "paid-orders",
}

MODES: Final[Mapping[str, str]] = {
    "new-orders": "eventbridge",
    "paid-orders": "eventbridge",
    "stock-levels": "iot_events",
    "page-views": "pinpoint",
    "fraud-scores": "fiddler, events",
    "order-history": "fiddler, files",
}
"""The service that each route of `config/everything.yaml` sends to, and how."""


def fate_in_quickstart(draft: Draft) -> Fate:
    """What `config/quickstart.yaml` must make of a draft, said once more and apart from the daemon."""
    buried = _BURIED_BY.get(draft.kind)
    return Fate(frozenset(_TO_EVENTBRIDGE.get(draft.kind, ())), frozenset() if buried is None else frozenset({buried}))


def fate_in_everything(draft: Draft) -> Fate:
    """What `config/everything.yaml` must make of a draft: the same, and what goes to the other services."""
    fate = fate_in_quickstart(draft)
    return Fate(fate.delivered | _ELSEWHERE.get(draft.kind, set()), fate.buried)


def fate_unknown(draft: Draft) -> Fate | None:
    """What a config that the generator does not know makes of a draft."""
    return None


def drafts(seed: int) -> Iterator[Draft]:
    """Records for ever, the same for the same seed."""
    rng = Random(seed)
    hands = 0
    while True:
        deck = [kind for kind, count in _DECK.items() for _ in range(count)]
        if hands % _TOO_LARGE_EVERY == 0:
            deck[deck.index("page.viewed")] = "too large"
        rng.shuffle(deck)
        for kind in deck:
            yield _draft(kind, rng)
        hands += 1


def _draft(kind: str, rng: Random) -> Draft:
    order = f"A-{rng.randrange(10_000):05}"
    event_type = kind if kind in _STATUS or kind in ("page.viewed", "stock.counted") else "order.paid"
    headers: Headers = (
        ("event-type", event_type.encode()),
        ("trace-id", f"{rng.getrandbits(64):016x}".encode()),
    )
    value = _value(kind, event_type, order, rng)
    if kind == "tombstone":
        return Draft(kind, order.encode(), None, headers, "")
    data = orjson.dumps(value)
    if kind == "not JSON":
        data = data[: len(data) // 2]
    return Draft(kind, order.encode(), data, headers, payload_digest(value))


def _value(kind: str, event_type: str, order: str, rng: Random) -> dict[str, Any]:
    event_id = f"{rng.getrandbits(64):016x}"
    if event_type == "page.viewed":
        visitor, page = f"V-{rng.randrange(500):03}", f"/goods/{rng.choice(_GOODS)[0]}"
        return {"event_id": event_id, "type": event_type, "visitor": visitor, "page": page}
    if event_type == "stock.counted":
        return {"event_id": event_id, "type": event_type, "sku": rng.choice(_GOODS)[0], "on_hand": rng.randrange(500)}
    bought = [(rng.randint(1, 4), *goods) for goods in rng.sample(_GOODS, rng.randint(1, 3))]
    value: dict[str, Any] = {
        "event_id": event_id,
        "type": event_type,
        "order_id": order,
        "status": _STATUS[event_type],
        "channel": rng.choice(_CHANNELS),
        "customer": {"id": f"C-{rng.randrange(2_000):04}", "country": rng.choice(_COUNTRIES)},
        "lines": [{"sku": sku, "name": name, "quantity": n, "price": cents / 100} for n, sku, name, cents in bought],
        "total": sum(n * cents for n, _, _, cents in bought) / 100,
        "currency": "EUR",
        "gift": rng.random() < 0.1,
        "note": None,
    }
    if kind == "missing field":
        del value["channel"]
    elif kind == "wrong type":
        value["channel"] = {"name": value["channel"]}
    elif kind == "too large":
        value["note"] = "x" * _TOO_LARGE_BYTES
    return value


class Writer:
    """Writes drafts to a topic and tells where each one landed.

    Invariant: a record is told with `wrote` only after the broker has acknowledged it, and what the group has not
    committed yet never outgrows what a partition of the embedded broker keeps.
    """

    def __init__(
        self,
        servers: str,
        partitions: Sequence[TopicPartition],
        fate: Callable[[Draft], Fate | None],
        wrote: Callable[[Written], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`partitions` are those of one topic; `fate` says what must become of a draft; `clock` gives epoch seconds."""
        self._partitions = partitions
        self._fate = fate
        self._wrote = wrote
        self._clock = clock
        self._open: dict[TopicPartition, deque[tuple[int, int]]] = {tp: deque() for tp in partitions}
        self._ahead: Counter[TopicPartition] = Counter()
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "client.id": "demo-generator",
                "enable.idempotence": True,
                "message.max.bytes": 4_000_000,
                "linger.ms": 5,
                "log_level": 2,
            }
        )

    async def write(self, source: Iterator[Draft], records: int | None, rate: float | None = None) -> None:
        """Write that many drafts, or for ever; at most `rate` a second."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for done, draft in enumerate(islice(source, records)):
            tp = self._partitions[zlib.crc32(draft.key) % len(self._partitions)]
            while self._full(tp) or (rate is not None and done > (loop.time() - began) * rate):
                await self._turn(_PAUSE_S)
            self._send(draft, tp)
            if done % 100 == 0:
                await self._turn(0)
        await self.flush()

    async def flush(self) -> None:
        """Wait for the broker's word on everything that was written.

        Raises:
            TimeoutError: it did not come within 30 s.
        """
        async with asyncio.timeout(_DEADLINE_S):
            while len(self._producer):
                await self._turn(_PAUSE_S)

    async def _turn(self, pause: float) -> None:
        """Take delivery reports. The client has no file descriptor to await, so it is asked again and again."""
        self._producer.poll(0)
        await asyncio.sleep(pause)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Learn how far the group is, and hence how much more fits."""
        for tp, offset in offsets.items():
            waiting = self._open.get(tp, deque())
            while waiting and waiting[0][0] < offset:
                self._ahead[tp] -= waiting.popleft()[1]

    async def close(self) -> None:
        """End the producer."""
        await asyncio.to_thread(self._producer.close)

    def _full(self, tp: TopicPartition) -> bool:
        return self._ahead[tp] > _AHEAD_BYTES or len(self._open[tp]) > _AHEAD_RECORDS

    def _send(self, draft: Draft, tp: TopicPartition) -> None:
        timestamp_ms = int(self._clock() * 1000)
        record = Record(tp, -1, timestamp_ms, draft.key, draft.value, draft.headers)
        fate, raw = self._fate(draft), raw_digest(record)
        # Counted before it is acknowledged: what is under way fills the partition too.
        self._ahead[tp] += record.size

        def landed(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is not None or offset is None:
                raise RuntimeError(f"the embedded broker did not take a record of {tp} ({draft.kind}): {error}")
            self._open[tp].append((offset, record.size))
            self._wrote(Written(Place(tp, offset), draft.kind, fate, draft.payload, raw))

        self._producer.produce(
            tp.topic,
            draft.value,
            key=draft.key,
            partition=tp.partition,
            timestamp=timestamp_ms,
            headers=list(draft.headers),
            on_delivery=landed,
        )
