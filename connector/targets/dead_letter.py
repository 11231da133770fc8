"""The dead-letter topic takes what can never be delivered: its original bytes, and the reason in its headers.

The headers are Kafka Connect's (`__connect.errors.*`, DeadLetterQueueReporter of Apache Kafka), so that the tools which
people have can read them, and ours (`__connector.errors.*`) beside them.
"""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without saying so
    AdminClient,
    ConfigResource,
    ResourceType,
)

from connector.model import (
    FIRST_ID,
    Ack,
    Batch,
    Entry,
    Event,
    Headers,
    Health,
    Limits,
    Preflight,
    Prepared,
    Record,
    Verdict,
)

TARGET: Final = "dead_letters"
_LIMITS: Final = Limits(entries=100, bytes=16 * 2**20, entry_bytes=2**31)
_TURN_S: Final = 0.01
_ASK_S: Final = 10.0
REFERENCE: Final = "__connector.errors.reference"

_HOLD: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,  # message.timestamp.before.max.ms or after.max.ms of the topic
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
"""Nobody's fault but ours or the cluster's: the lane holds. Whatever else went wrong is tried again."""

_REFUSED: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED})
"""Words of the client itself that say why nothing it was given ever arrives: a record's own report is a timeout."""

_SOON_S: Final = 3.0
"""Seconds after which a cluster that refuses us has said so; one that is slow gets the rest of its time."""

Heard: TypeAlias = Callable[[KafkaError], None]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a record is buried. `stage` is one of Kafka Connect's, `message` holds no payload.

    `at_ms` is when it was given up, in epoch milliseconds: the letter's own timestamp is the record's.
    """

    stage: Literal["VALUE_CONVERTER", "KEY_CONVERTER", "TRANSFORMATION", "TASK_PUT"]
    code: str
    message: str
    target: str
    attempts: int
    at_ms: int = 0


class Producer(Protocol):
    """What this target needs of a Kafka producer."""

    def produce(
        self,
        topic: str,
        *,
        value: bytes | None = ...,
        key: bytes | None = ...,
        partition: int = ...,
        on_delivery: Callable[[KafkaError | None, Message], None] | None = ...,
        timestamp: int = ...,
        headers: Any = ...,
    ) -> None:
        """Queue a record."""
        ...

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""
        ...

    def list_topics(self, topic: str, timeout: float) -> Any:
        """Ask for a topic's metadata."""
        ...


def kafka_producer(config: Mapping[str, Any], heard: Heard) -> Producer:
    """A real producer; what it says of itself goes to `heard`, and its log lines to the logger `librdkafka`."""
    return confluent_kafka.Producer({**config, "error_cb": heard, "logger": logging.getLogger("librdkafka")})


def headers_of(event: Event, cause: Cause, connector: str) -> Headers:
    """The record's own headers, then ours; a record that was buried before keeps only the newest reason."""
    record = event.record
    texts = {
        "__connect.errors.topic": record.tp.topic,
        "__connect.errors.partition": str(record.tp.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.connector.name": connector,
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": cause.stage,
        "__connect.errors.class.name": cause.target or event.route,
        "__connect.errors.exception.class.name": cause.code,
        "__connect.errors.exception.message": cause.message,
        "__connect.errors.exception.stacktrace": "",
        "__connector.errors.route": event.route,
        "__connector.errors.target": cause.target,
        "__connector.errors.code": cause.code,
        "__connector.errors.attempts": str(cause.attempts),
        "__connector.errors.time": str(cause.at_ms),
        FIRST_ID: event.id,
    }
    own = tuple((name, value) for name, value in record.headers if name not in texts)
    return own + tuple((name, text.encode()) for name, text in texts.items())


@dataclass(frozen=True, slots=True)
class Letter:
    """What is written for one record: where, and in which form. `partition` is -1 where the key decides."""

    record: Record
    topic: str
    headers: Headers
    partition: int = -1
    with_value: bool = True


class Writer:
    """Writes records to Kafka, and says of each what became of it.

    Invariant: DELIVERED means that all in-sync replicas have it. There is no REJECTED here: what a topic does not take
    is held, because beyond it there is nothing but loss.
    """

    def __init__(self, make_producer: Callable[[Heard], Producer], deadline: float = 35.0) -> None:
        """`make_producer(heard)` gives one with acks=all and idempotence, anew after a fatal error.

        `deadline` in seconds bounds the wait for delivery reports; it lies above the producer's message.timeout.ms, so
        that a report which comes at all is heard.
        """
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._deadline = deadline
        self._refused: KafkaError | None = None

    def _open(self) -> Producer:
        self._producer = self._producer or self._make_producer(self._heard)
        return self._producer

    def _heard(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refused = error

    async def write(self, letters: Sequence[Letter]) -> list[Ack]:
        """Produce all, then wait for each delivery report."""
        try:
            producer = self._open()
        except KafkaException as error:
            return [Ack(Verdict.HOLD, str(error.args[0].name()), _unmade(error))] * len(letters)
        acks: list[Ack | None] = [None] * len(letters)
        for i, letter in enumerate(letters):
            record = letter.record
            try:
                producer.produce(
                    letter.topic,
                    value=record.value if letter.with_value else None,
                    key=record.key,
                    partition=letter.partition,
                    headers=list(letter.headers),
                    timestamp=max(record.timestamp_ms, 0),
                    on_delivery=_Report(acks, i, letter.topic, record),
                )
            except BufferError:
                acks[i] = Ack(Verdict.RETRY, "_QUEUE_FULL", "the producer's queue is full")
            except KafkaException as error:
                acks[i] = _ack_of(error.args[0], letter.topic, record)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        while any(ack is None for ack in acks) and loop.time() < until:
            producer.poll(0)
            if any(ack is None for ack in acks):
                await asyncio.sleep(
                    _TURN_S
                )  # the client has no file descriptor to await: delivery reports are polled for
        if any(ack is not None and ack.code == "_FATAL" for ack in acks):
            self._producer = None
        if any(ack is not None and ack.verdict is Verdict.DELIVERED for ack in acks):
            self._refused = None
        elif self._refused is not None:
            reason = Ack(Verdict.HOLD, str(self._refused.name()), f"the cluster refuses us: {self._refused.str()}")
            return [reason if ack is None or ack.verdict is Verdict.RETRY else ack for ack in acks]
        unheard = Ack(Verdict.RETRY, "Timeout", f"no delivery report within {self._deadline:g} s")
        return [ack or unheard for ack in acks]

    async def missing(self, topics: Sequence[str], mend: str) -> Preflight:
        """Ask whether these topics are there; the client caches nothing for a topic that is asked for by name."""
        try:
            producer = self._open()
        except KafkaException as error:
            return Preflight(Health.MISSING, str(error.args[0].name()), _unmade(error))
        gone: list[str] = []
        code = ""
        for name in topics:
            try:
                found = await self._asked(producer, name)
            except KafkaException as error:
                if self._refused is not None:
                    reason = f"the cluster refuses us: {self._refused.str()}"
                    return Preflight(Health.MISSING, str(self._refused.name()), reason)
                return Preflight(Health.UNKNOWN, error.args[0].name(), f"cannot ask for {name}: {error.args[0].str()}")
            self._refused = None
            topic = found.topics.get(name)
            if topic is None or (topic.error is not None and topic.error.code() in _HOLD):
                code = topic.error.name() if topic is not None and topic.error is not None else "UNKNOWN_TOPIC_OR_PART"
                gone.append(name)
        if gone:
            return Preflight(Health.MISSING, code, f"{', '.join(gone)} is missing or not ours: {mend}", tuple(gone))
        return Preflight(Health.OK)

    async def _asked(self, producer: Producer, name: str) -> Any:
        """A topic's metadata, as soon as the cluster gives it or has refused us."""
        try:
            return await _aside(partial(producer.list_topics, name, min(_SOON_S, self._deadline / 2)))
        except KafkaException:
            producer.poll(0)  # brings what the client said meanwhile
            if self._refused is not None:
                raise
        try:
            return await _aside(partial(producer.list_topics, name, max(self._deadline / 2 - _SOON_S, 0.1)))
        finally:
            producer.poll(0)

    def close(self) -> None:
        """Let the producer go."""
        self._producer = None


class DeadLetters:
    """The dead-letter topics as a target: each route's own, or the one of all.

    Invariant: an entry is DELIVERED only when Kafka has acknowledged it from all in-sync replicas, and it is never
    REJECTED.
    """

    def __init__(
        self,
        topic: str,
        make_producer: Callable[[Heard], Producer],
        *,
        connector: str,
        topics: Mapping[str, str] = MappingProxyType({}),
        oversize: Literal["hold", "reference"] = "hold",
        deadline: float = 35.0,
    ) -> None:
        """`topics` by route where it is not `topic`; `make_producer` and `deadline` are those of `Writer`."""
        self.topic = topic
        self._topics = topics
        self._writer = Writer(make_producer, deadline)
        self._connector = connector
        self._oversize = oversize

    @property
    def limits(self) -> Limits:
        """Ours, not Kafka's: one round of delivery reports."""
        return _LIMITS

    def prepare(self, event: Event) -> Prepared:
        """The record as it was, with the reason in the headers; size in bytes."""
        cause: Cause = event.fields["cause"]
        headers = headers_of(event, cause, self._connector)
        return Prepared(headers, _size(event.record, headers))

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Produce all, then wait for each delivery report."""
        acks = await self._writer.write([self._letter(entry, entry.body) for entry in batch])
        return [
            await self._alone(entry) if ack.code == "MSG_SIZE_TOO_LARGE" else ack
            for entry, ack in zip(batch, acks, strict=True)
        ]

    def _letter(self, entry: Entry, headers: Headers, with_value: bool = True) -> Letter:
        event = entry.event
        return Letter(event.record, self._topics.get(event.route, self.topic), headers, with_value=with_value)

    async def _alone(self, entry: Entry) -> Ack:
        """Produce one that was too large, smaller each time, and by itself.

        The client packs records into batches, and the topic's limit is for the batch: beside others a record is refused
        that fits alone.
        """
        own = entry.event.record.headers
        # our headers go first: the payload is what cannot be had again once retention has passed
        forms = [self._letter(entry, entry.body), self._letter(entry, own)]
        if self._oversize == "reference":
            forms.append(self._letter(entry, _reference(entry), with_value=False))
        for form in forms:
            (ack,) = await self._writer.write([form])
            if ack.code != "MSG_SIZE_TOO_LARGE":
                return ack
        return _too_large(forms[0], "set dead_letters.oversize: reference")

    async def preflight(self) -> Preflight:
        """Ask whether the topics are there."""
        topics = tuple(dict.fromkeys((self.topic, *self._topics.values())))
        return await self._writer.missing(topics, "create the dead-letter topic, or grant Describe and Write")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


class Sources:
    """The topics that records came from, as a target: a replayed record goes back to its partition as it was.

    It carries the first id in a header, so that every event made of it keeps the id of its first time.
    """

    def __init__(
        self, topics: Sequence[str], make_producer: Callable[[Heard], Producer], *, deadline: float = 35.0
    ) -> None:
        """`topics` are those that may be written to."""
        self._topics = tuple(topics)
        self._writer = Writer(make_producer, deadline)

    @property
    def limits(self) -> Limits:
        """Ours, not Kafka's: one round of delivery reports."""
        return _LIMITS

    def prepare(self, event: Event) -> Prepared:
        """The record with its first id; size in bytes."""
        record = event.record
        headers = (*(pair for pair in record.headers if pair[0] != FIRST_ID), (FIRST_ID, event.id.encode()))
        return Prepared(headers, _size(record, headers))

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Produce all to the partitions that they came from."""
        letters = [_back(entry) for entry in batch]
        acks = await self._writer.write(letters)
        return [
            await self._alone(one) if ack.code == "MSG_SIZE_TOO_LARGE" else ack
            for one, ack in zip(letters, acks, strict=True)
        ]

    async def _alone(self, letter: Letter) -> Ack:
        (ack,) = await self._writer.write([letter])
        return _too_large(letter, "replay it through the routes") if ack.code == "MSG_SIZE_TOO_LARGE" else ack

    async def preflight(self) -> Preflight:
        """Ask whether the topics are there."""
        return await self._writer.missing(self._topics, "create the topic, or grant Describe and Write")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def _back(entry: Entry) -> Letter:
    tp = entry.event.record.tp
    return Letter(entry.event.record, tp.topic, entry.body, tp.partition)


def _size(record: Record, headers: Headers) -> int:
    return len(record.key or b"") + len(record.value or b"") + sum(len(n) + len(v or b"") for n, v in headers)


def _too_large(letter: Letter, mend: str) -> Ack:
    return Ack(
        Verdict.HOLD,
        "MSG_SIZE_TOO_LARGE",
        f"{letter.record} with {letter.record.size} bytes is larger than {letter.topic} takes: "
        f"raise the topic's max.message.bytes, or {mend}",
    )


async def retention(
    topic: str, config: Mapping[str, Any], client: Callable[[dict[str, Any]], Any] = AdminClient
) -> str:
    """What the topic's own settings will do to dead letters, in words; empty where they stay, or nobody may ask.

    A dead letter keeps its record's timestamp, and retention counts from that: a letter of an old record may be deleted
    within minutes of its burial.
    """

    def ask() -> Mapping[str, Any]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        admin = client({**config, "logger": logging.getLogger("librdkafka")})  # let go of, it would not answer
        (answer,) = admin.describe_configs([resource]).values()
        found: Mapping[str, Any] = answer.result(_ASK_S)
        return found

    try:
        settings = await _aside(ask)
    except (KafkaException, TimeoutError):
        return ""
    value = {name: settings[name].value for name in ("cleanup.policy", "retention.ms", "message.timestamp.type")}
    kept = float(value["retention.ms"])
    if "delete" not in value["cleanup.policy"] or kept < 0 or value["message.timestamp.type"] == "LogAppendTime":
        return ""
    return (
        f"the dead-letter topic {topic} keeps a letter for {kept / 3_600_000:g} h from its record's own timestamp, not "
        "from its burial: one of an older record is deleted at once. Set retention.ms=-1 on the topic"
    )


async def _aside(ask: Callable[[], Any]) -> Any:
    """Wait for a blocking question in a thread of its own: an exit waits for the loop's executor, but not for this."""
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            answer.set_exception(error)

    answer.set_running_or_notify_cancel()
    threading.Thread(target=run, name="dead letters", daemon=True).start()
    return await asyncio.wrap_future(answer)


class _Report:
    """One record's delivery report, written where the sender waits for it."""

    __slots__ = ("_acks", "_at", "_record", "_topic")

    def __init__(self, acks: list[Ack | None], at: int, topic: str, record: Record) -> None:
        self._acks = acks
        self._at = at
        self._topic = topic
        self._record = record

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._acks[self._at] = (
            Ack(Verdict.DELIVERED, "", f"{message.topic()}[{message.partition()}]@{message.offset()}")
            if error is None
            else _ack_of(error, self._topic, self._record)
        )


def _unmade(error: KafkaException) -> str:
    """What to say where no producer can be made: a file that is not there, a property that the client does not take."""
    return f"no producer can be made: {error.args[0].str()}"


def _ack_of(error: KafkaError, topic: str, record: Record) -> Ack:
    name = str(error.name())
    if error.fatal():
        return Ack(Verdict.RETRY, "_FATAL", f"{topic}: {name} {error.str()}; the producer starts anew")
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return Ack(Verdict.RETRY, "MSG_SIZE_TOO_LARGE", f"{topic} does not take {record.size} bytes")
    verdict = Verdict.HOLD if error.code() in _HOLD else Verdict.RETRY
    return Ack(verdict, name, f"{topic} did not take {record}: {error.str()}")


def _reference(entry: Entry) -> Headers:
    record = entry.event.record
    return (*entry.body, (REFERENCE, f"{record.tp.topic}/{record.tp.partition}/{record.offset}".encode()))


def bury(event: Event, cause: Cause) -> Event:
    """The event that carries a record to the dead-letter topic: its id stays, so that a replay can be told."""
    fields: Mapping[str, Any] = {"cause": cause}
    return Event(event.record, event.route, TARGET, fields, event.id)
