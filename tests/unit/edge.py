"""What the tests of the Kafka edge share: a client that does what the test says, and a loop side that listens."""

import asyncio
import concurrent.futures
import os
import queue
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeVar, cast

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from connector.consume import Consumer
from connector.consume_ids import Answer, TopicIds
from connector.edge import Drained
from connector.model import Record, TopicPartition
from connector.room import Credit
from connector.settings import KafkaSettings, Settings

DEADLINE: Final = float(os.environ.get("EDGE_DEADLINE", "20"))
"""Seconds after which a test that waits gives up; fewer only where each mutant of the edge runs these tests."""

T = TypeVar("T")

NO_LEADER: Final = KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "no leader")


def config(topics: Sequence[str] = ("t",), drain: str = "5s", **kafka: Any) -> Settings:
    """Settings of one route over these topics."""
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "group_id": "g", **kafka},
            "targets": {},
            "routes": [{"name": "r", "topics": list(topics), "targets": ["t"]}],
            "unrouted": "skip",
            "drain_timeout": drain,
        }
    )


def tp(partition: int = 0, topic: str = "t") -> TopicPartition:
    return TopicPartition(topic, partition)


def message(offset: int, partition: int = 0, topic: str = "t", **more: Any) -> Message:
    """A record as the client gives it."""
    return Message(topic=topic, partition=partition, offset=offset, value=b"v%d" % offset, timestamp=(1, 1000), **more)


def wrong(code: int, reason: str = "", fatal: bool = False, **more: Any) -> Message:
    """An error as the client gives it among the records."""
    return Message(error=KafkaError(code, reason, fatal), **more)


class Heard(NamedTuple):
    """One word to the loop's side."""

    what: str
    args: tuple[Any, ...]


class Loop:
    """The loop's side: grants what it is told to, answers drains, keeps everything it hears in order."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.records: list[Record] = []
        self.drained: Callable[[Sequence[TopicPartition], Drained], None] = lambda tps, done: done.set_result({})
        self.fail_on: set[str] = set()
        self._news = asyncio.Event()

    def all(self, what: str) -> list[tuple[Any, ...]]:
        """What was heard of one kind."""
        return [word.args for word in self.heard if word.what == what]

    async def until(self, done: Callable[[], Any]) -> None:
        """Wait until what was heard makes this true."""
        async with asyncio.timeout(DEADLINE):
            while not done():
                self._news.clear()
                await self._news.wait()

    async def hears(self, what: str, times: int = 1) -> tuple[Any, ...]:
        """Wait for a word and return its arguments."""
        await self.until(lambda: len(self.all(what)) >= times)
        return self.all(what)[times - 1]

    def _hear(self, what: str, *args: Any) -> None:
        self.heard.append(Heard(what, args))
        self._news.set()
        if what in self.fail_on:
            raise ValueError(f"the loop's side broke on {what}")

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        self._hear("assigned", epoch, tuple(tps))

    def taken(
        self, epochs: Mapping[TopicPartition, int], records: Sequence[Record], positions: Mapping[TopicPartition, int]
    ) -> None:
        self.records.extend(records)
        self._hear("taken", dict(epochs), [record.offset for record in records], dict(positions))

    def drain(self, tps: Sequence[TopicPartition], deadline: float, done: Drained) -> None:
        self._hear("drain", tuple(tps), deadline)
        self.drained(tps, done)

    def lost(self, tps: Sequence[TopicPartition]) -> None:
        self._hear("lost", tuple(tps))

    def restarted(self, epoch: int, tp: TopicPartition, offset: int) -> None:
        self._hear("restarted", epoch, tp, offset)

    def gone(self, tp: TopicPartition, records: int) -> None:
        self._hear("gone", tp, records)

    def committed(self, offsets: Mapping[TopicPartition, int], error: str) -> None:
        self._hear("committed", dict(offsets), error)

    def lag(self, lags: Mapping[TopicPartition, int]) -> None:
        self._hear("lag", dict(lags))

    def trouble(self, code: str, reason: str) -> None:
        self._hear("trouble", code, reason)

    def recovered(self, code: str) -> None:
        self._hear("recovered", code)


class Script:
    """A client that does what the test says, inside poll(), in the consumer thread; every call is kept in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.subscribed: asyncio.Event = asyncio.Event()
        self.on_assign: Callable[..., None]
        self.on_revoke: Callable[..., None]
        self.on_lost: Callable[..., None]
        self.positions: dict[TopicPartition, int] = {}
        self.stored: dict[TopicPartition, int] = {}
        self.marks: dict[TopicPartition, str] = {}  # what stands beside these offsets
        self.ids: dict[str, str] = {}  # what the topics are, for whoever asks
        self.waited: list[float] = []  # seconds of each wait for what they are
        self.ends: dict[TopicPartition, tuple[int, int]] = {}
        self.cluster: Any = None
        self.batch: list[Message] = []
        self.during_consume: Callable[[], None] = lambda: None
        self.during_committed: Callable[[], None] = lambda: None  # after the answer was made
        self.consume_waits = 0.0  # seconds, the longest
        self.pauses: list[float] = []  # seconds of each pause inside a revoke
        self.refuse: list[Exception | None] = []  # what synchronous commits answer, one after the other
        self.fail: dict[str, Exception] = {}
        self.ended: set[asyncio.Future[Any]] = set()  # done when the thread is gone: then nothing more comes of it
        self._loop = asyncio.get_running_loop()
        self._steps: queue.SimpleQueue[tuple[Callable[[], Any], concurrent.futures.Future[Any]]] = queue.SimpleQueue()

    def __call__(self, config: dict[str, Any]) -> "Script":
        self.config = config
        if "make" in self.fail:
            raise self.fail["make"]
        return self

    # the test's side

    async def inside(self, step: Callable[[], T]) -> T:
        """Run something inside the next poll(), and wait until that poll has returned to the consumer thread's turn."""
        return await self.alive(asyncio.wrap_future(self.put(step)))

    async def alive(self, awaited: Awaitable[T]) -> T:
        """Wait for something that the thread does, as long as there is a thread."""
        task: asyncio.Future[Any] = asyncio.ensure_future(awaited)
        try:
            async with asyncio.timeout(DEADLINE):
                await asyncio.wait({task, *self.ended}, return_when=asyncio.FIRST_COMPLETED)
            assert task.done(), "the consumer thread has ended"
            return cast(T, task.result())
        finally:
            task.cancel()

    def put(self, step: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Run something inside the next poll(); the future has what it returned, None where it raised."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._steps.put((step, done))
        return done

    async def turns(self, times: int = 2) -> None:
        """Wait until the thread has served every command so far, and had its turn after that."""
        for _ in range(times):
            await self.inside(lambda: None)

    async def bring(self, *messages: Message) -> None:
        """Let poll() and the consume() after it bring these."""

        def step() -> Message:
            self.batch = list(messages[1:])
            return messages[0]

        await self.inside(step)
        await self.turns(1)

    async def assign(self, *tps: TopicPartition) -> None:
        await self.inside(lambda: self.on_assign(self, [Place(*one) for one in tps]))

    async def revoke(self, *tps: TopicPartition) -> None:
        await self.inside(lambda: self.on_revoke(self, [Place(*one) for one in tps]))

    async def lose(self, *tps: TopicPartition) -> None:
        await self.inside(lambda: self.on_lost(self, [Place(*one) for one in tps]))

    async def answer(self, errors: Mapping[TopicPartition, int] | None = None) -> None:
        """Answer the last asynchronous commit, with an error for some of its partitions."""
        places = self.commits[-1]

        class Answer:
            def __init__(self, place: Place) -> None:
                self.topic, self.partition, self.offset = place.topic, place.partition, place.offset
                code = (errors or {}).get(TopicPartition(place.topic, place.partition))
                self.error = None if code is None else KafkaError(code)

        await self.inside(lambda: self.config["on_commit"](None, [Answer(place) for place in places]))

    def said(self, what: str) -> list[Any]:
        """The arguments of every call of that kind."""
        return [args for name, args in self.calls if name == what]

    @property
    def commits(self) -> list[list[Place]]:
        """What was asked to be committed asynchronously."""
        return [list(offsets) for offsets in self.said("commit")]

    def offsets(self, what: str = "commit") -> list[dict[TopicPartition, int]]:
        """The same as plain offsets; `commit now` are the synchronous ones."""
        return [{TopicPartition(at.topic, at.partition): at.offset for at in places} for places in self.said(what)]

    # the client's side

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.calls.append(("subscribe", topics))
        self.on_assign, self.on_revoke, self.on_lost = on_assign, on_revoke, on_lost
        self._loop.call_soon_threadsafe(self.subscribed.set)

    def poll(self, timeout: float) -> Message | None:
        try:
            step, done = self._steps.get(timeout=timeout)
        except queue.Empty:
            return None
        found = None
        try:
            found = step()
        finally:
            done.set_result(found)
        return found if isinstance(found, Message) else None

    def topic_ids(self, kafka: KafkaSettings) -> TopicIds:
        """Answers at once, with `ids`."""

        def ask(topics: Collection[str]) -> dict[str, Answer]:
            answers: dict[str, Answer] = {}
            for topic in topics:
                answers[topic] = concurrent.futures.Future()
                answers[topic].set_result(self.ids.get(topic, ""))
            return answers

        waited = self.waited

        class Ids(TopicIds):
            def settle(self, wait: float = 0.0) -> None:
                if wait:
                    waited.append(wait)
                super().settle(wait)

        return Ids(ask)

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        self.calls.append(("consume", num_messages))
        self.consume_waits = max(self.consume_waits, timeout)
        during, self.during_consume = self.during_consume, lambda: None
        during()
        found, self.batch = self.batch[:num_messages], self.batch[num_messages:]
        return found

    def incremental_assign(self, partitions: list[Place]) -> None:
        self._call("assign", partitions)

    def incremental_unassign(self, partitions: list[Place]) -> None:
        self._call("unassign", partitions)

    def pause(self, partitions: list[Place]) -> None:
        self._call("pause", partitions)

    def resume(self, partitions: list[Place]) -> None:
        self._call("resume", partitions)

    def position(self, partitions: list[Place]) -> list[Place]:
        return [
            Place(at.topic, at.partition, self.positions.get(TopicPartition(at.topic, at.partition), -1001))
            for at in partitions
        ]

    def committed(self, partitions: list[Place], timeout: float) -> list[Place]:
        answer = [
            Place(*tp, self.stored.get(tp, -1001), self.marks.get(tp, ""))
            for tp in (TopicPartition(at.topic, at.partition) for at in partitions)
        ]
        self.during_committed()
        return answer

    def offsets_for_times(self, partitions: list[Place], timeout: float) -> list[Any]:
        self._call("earliest", partitions)
        if "earliest" in self.fail:
            raise self.fail["earliest"]
        assert all(at.offset == OFFSET_BEGINNING for at in partitions)
        return [
            Place(at.topic, at.partition, self.ends[place][0])
            if (place := TopicPartition(at.topic, at.partition)) in self.ends
            else SimpleNamespace(topic=at.topic, partition=at.partition, offset=at.offset, error=NO_LEADER)
            for at in partitions
        ]

    def get_watermark_offsets(self, partition: Place, timeout: float) -> tuple[int, int]:
        return self.ends[TopicPartition(partition.topic, partition.partition)]

    def list_topics(self, *, timeout: float) -> Any:
        self.calls.append(("list_topics", None))
        if isinstance(self.cluster, Exception):
            raise self.cluster
        return self.cluster

    def commit(self, *, offsets: list[Place], asynchronous: bool) -> Any:
        self._call("commit" if asynchronous else "commit now", offsets)
        if not asynchronous:
            answer = self.refuse.pop(0) if self.refuse else None
            if answer is not None:
                raise answer
        return None if asynchronous else offsets

    def unsubscribe(self) -> None:
        self._call("unsubscribe", [])

    def close(self) -> None:
        self._call("close", [])

    def _call(self, name: str, places: list[Place]) -> None:
        self.calls.append((name, places))
        if name in self.fail:
            raise self.fail[name]


def plenty(epoch: int, *tps: TopicPartition, each: int = 1000, records: int = 10_000) -> Credit:
    """Room for a test that does not care."""
    return Credit(records, 1 << 30, dict.fromkeys(tps, (each, epoch)))


class Edge(NamedTuple):
    """A consumer on a scripted client, and its loop side."""

    consumer: Consumer
    script: Script
    loop: Loop

    async def begin(self, *tps: TopicPartition, each: int = 1000) -> int:
        """Start, assign and grant; return the epoch."""
        self.consumer.start()
        await self.script.alive(self.script.subscribed.wait())
        return await self.more(*tps, each=each)

    async def more(self, *tps: TopicPartition, each: int = 1000) -> int:
        """Assign and grant; return the epoch."""
        times = len(self.loop.all("assigned"))
        await self.script.assign(*tps)
        epoch, _ = await self.loop.hears("assigned", times + 1)
        self.consumer.grant(plenty(epoch, *tps, each=each))
        await self.script.turns()
        return int(epoch)

    async def end(self) -> None:
        """End the thread, whatever it waits for."""

        def broken() -> None:
            raise KafkaException(KafkaError(KafkaError._DESTROY, "the test has ended"))

        if self.script.config and not self.consumer.finished.done():
            self.consumer.grant(Credit(1 << 40, 1 << 40, {}))  # without room it might not poll for two seconds
            self.script.put(broken)
            async with asyncio.timeout(DEADLINE):
                await asyncio.wait({self.consumer.finished})
