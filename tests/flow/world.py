"""A world around the app: a broker in memory, a consumer that speaks the edge's protocol, targets with a will.

The oracle looks from outside: it knows what was produced and what the targets and the dead-letter topic really took,
and judges each commit when the broker gets it.
"""

import asyncio
import concurrent.futures
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry

from connector.app import App, Parts
from connector.edge import fault
from connector.formats.schemas import Schemas
from connector.mapping.problem import Position
from connector.metrics import Metrics
from connector.model import (
    Ack,
    Batch,
    Event,
    Health,
    Limits,
    Preflight,
    Prepared,
    Record,
    TopicPartition,
    Unpublishable,
    Verdict,
)
from connector.room import Credit, Part
from connector.route import Routes, compile_routes
from connector.settings import Loaded, Settings
from connector.targets.contract import Kind, Leaf
from connector.targets.settings import TargetSettings


class FakeSettings(TargetSettings):
    """A target without a service."""

    type: str = "fake"


FAKE = Kind(FakeSettings, {"value": Leaf("json")}, lambda name, settings: FakeTarget(Random(0)))
OK = Ack(Verdict.DELIVERED)

EPOCH = 1_700_000_000.0
"""What the wall clock of a world says when the loop's says 0, in seconds."""


@dataclass
class FakeTarget:
    """Takes events and remembers them; `judge` decides each entry's ack, `pause` how long a call lasts."""

    random: Random
    judge: Callable[[Event], Ack] = lambda event: OK
    pause: Callable[[], float] = lambda: 0.01
    health: Preflight = field(default_factory=lambda: Preflight(Health.OK))
    limits: Limits = field(default_factory=lambda: Limits(10, 1000, 1000))
    took: list[Event] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)  # of every entry that came, taken or not
    calls: list[tuple[str, ...]] = field(default_factory=list)
    assigned: Callable[[Record], int | None] = lambda record: None  # the assignment that a record belongs to now
    late: int = 0  # acks that came when the partition had gone and come back meanwhile
    early: float = 0.0  # how often it takes an entry before it answers, so that a crash leaves a duplicate

    def prepare(self, event: Event) -> Prepared:
        if event.record.value == b'"unpublishable"' and "cause" not in event.fields:
            raise Unpublishable("the world says so", "value", "Unpublishable")
        return Prepared(event.fields, 10)

    async def send(self, batch: Batch) -> Sequence[Ack]:
        self.bodies += [entry.body for entry in batch]
        self.calls.append(tuple(str(entry.event.record) for entry in batch))
        acks = [self.judge(entry.event) for entry in batch]
        before = [self.assigned(entry.event.record) for entry in batch]
        taken = [entry.event for entry, ack in zip(batch, acks, strict=True) if ack.verdict is Verdict.DELIVERED]
        if self.random.random() < self.early:
            self.took += taken
            await asyncio.sleep(self.pause())
        else:
            await asyncio.sleep(self.pause())
            self.took += taken
        now = [self.assigned(entry.event.record) for entry in batch]
        self.late += sum(was != is_now is not None for was, is_now in zip(before, now, strict=True))
        return acks

    async def preflight(self) -> Preflight:
        return self.health

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Violation(AssertionError):
    """An offset was committed past a record that nobody has."""


class FakeBroker:
    """Logs by partition and what the group has committed; it judges every commit."""

    def __init__(self, settled: Callable[[Record], bool]) -> None:
        self.logs: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.committed: dict[TopicPartition, int] = {}
        self.commits = 0
        self.history: list[Mapping[TopicPartition, int]] = []
        self._settled = settled

    def produce(
        self, tp: TopicPartition, value: bytes | None, key: bytes | None = None, gap: int = 0, ahead: float = 0.0
    ) -> Record:
        """Write a record after a hole of `gap` offsets; `ahead`: seconds by which its producer's clock is wrong."""
        log = self.logs[tp]
        offset = (log[-1].offset + 1 if log else 0) + gap
        record = Record(tp, offset, int((EPOCH + ahead) * 1000) + offset, key, value)
        log.append(record)
        return record

    def end(self, tp: TopicPartition) -> int:
        log = self.logs[tp]
        return log[-1].offset + 1 if log else 0

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            for record in self.logs[tp]:
                if record.offset < offset and not self._settled(record):
                    raise Violation(f"{offset} committed on {tp}, but nobody has {record}")
            self.committed[tp] = offset
            self.commits += 1
        self.history.append(offsets)


class FakeConsumer:
    """The edge without Kafka: hands over what the room allows, a chunk a turn."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop, broker: FakeBroker, random: Random) -> None:
        self.finished: asyncio.Future[None] = loop.create_future()
        self.turned_at = 0.0
        self.callback_until: float | None = None
        self._app = app
        self._loop = loop
        self._broker = broker
        self._random = random
        self._epoch = 0
        self.owned: dict[TopicPartition, int] = {}
        self._at: dict[TopicPartition, int] = {}
        self._taken: Counter[TopicPartition] = Counter()
        self._room: dict[TopicPartition, int] = {}
        self._records = self._bytes = 0
        self._room_records = self._room_bytes = 0
        self._taken_of: Counter[str] = Counter()
        self._parts: Mapping[str, Part] = {}
        self._stopped = False
        self.topics: tuple[str, ...] = ()
        self._closed = False
        self.fail_commits: Callable[[], str] = lambda: ""

    def start(self) -> None:
        self._loop.call_soon(self._turn)

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self._epoch += 1
        for tp in tps:
            self.owned[tp] = self._epoch
            self._at[tp] = self._broker.committed.get(tp, 0)
            self._taken[tp] = 0
            self._room[tp] = 0
        self._tell(self._app.assigned, self._epoch, tps)

    async def revoke(self, tps: Sequence[TopicPartition], within: float) -> None:
        epochs = {tp: self.owned.pop(tp) for tp in tps}
        done: concurrent.futures.Future[Mapping[TopicPartition, int]] = concurrent.futures.Future()
        self._app.drain(tps, self._loop.time() + within, done)
        offsets = await asyncio.wait_for(asyncio.wrap_future(done), within + 1)
        assert set(offsets) <= set(epochs)
        self._broker.commit(offsets)

    def lose(self, tps: Sequence[TopicPartition]) -> None:
        for tp in tps:
            del self.owned[tp]
        self._app.lost(tps)

    def grant(self, credit: Credit) -> None:
        self._room_records, self._room_bytes, self._parts = credit.records, credit.bytes, credit.parts
        for tp, (total, epoch) in credit.per_partition.items():
            if self.owned.get(tp) == epoch:
                self._room[tp] = total

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        def answer() -> None:
            if self._closed:
                return
            mine = {tp: at for tp, (at, epoch) in offsets.items() if self.owned.get(tp) == epoch}
            error = self.fail_commits()
            if not error:
                self._broker.commit(mine)
            self._app.committed(mine, error)

        self._loop.call_later(self._random.uniform(0.0, 0.05), answer)

    def read(self, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)

    def stop_taking(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._closed = True
        self.finished.set_result(None)

    def _tell(self, step: Callable[..., None], *args: object) -> None:
        """As the edge does: what the loop's side raises ends it."""
        try:
            step(*args)
        except Exception as error:  # noqa: BLE001 - it ends the edge, by name, in `finished`
            self.finished.set_exception(fault(error))

    def vanish(self) -> None:
        self._closed = True
        self.owned.clear()

    def _turn(self) -> None:
        if self._closed or self.finished.done():
            return
        self.turned_at = self._loop.time()
        if not self._stopped:
            self._take()
        self._loop.call_later(0.005, self._turn)

    def _take(self) -> None:
        records = []
        for tp in self._random.sample(sorted(self.owned), len(self.owned)):
            run = [r for r in self._broker.logs[tp] if r.offset >= self._at[tp]][: self._random.randint(1, 50)]
            for record in run:
                if (
                    self._records >= self._room_records
                    or self._bytes >= self._room_bytes
                    or self._taken[tp] >= self._room[tp]
                    or not self._parts_have_room(tp.topic)
                ):
                    break
                self._records += 1
                self._taken_of[tp.topic] += 1
                self._bytes += record.size
                self._taken[tp] += 1
                self._at[tp] = record.offset + 1
                records.append(record)
        if records:
            epochs = {r.tp: self.owned[r.tp] for r in records}
            self._tell(self._app.taken, epochs, records, {tp: self._at[tp] for tp in epochs})

    def _parts_have_room(self, topic: str) -> bool:
        parts = (part for part in self._parts.values() if topic in part.topics)
        return all(sum(self._taken_of[of] for of in part.topics) < part.total for part in parts)


def config(**over: Any) -> Settings:
    """Settings of one route into one fake target, with what a test changes."""
    plain: dict[str, Any] = {
        "version": 1,
        "kafka": {"bootstrap_servers": "localhost:1", "group_id": "g"},
        "targets": {"t": FakeSettings()},
        "routes": [{"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"value": "${value}"}}],
        "unrouted": "skip",
        "dead_letters": {"topic": "dead"},
        "commit_interval": "100ms",
        "drain_timeout": "5s",
        "shutdown_timeout": "20s",
    }
    plain.update(over)
    return Settings.model_validate(plain)


def routes_of(settings: Settings, schemas: Schemas | None = None) -> Routes:
    routes, problems = compile_routes(settings, lambda path: Position("test.yaml", 1, 1), {"fake": FAKE})
    assert routes is not None, problems
    return routes if schemas is None else Routes(routes.routes, settings.topic, settings.kafka.id_prefix, schemas)


class World:
    """One process after another over the same broker and targets."""

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.schemas: Schemas | None = None
        self.targets = {name: FakeTarget(Random(seed + i)) for i, name in enumerate(settings.targets)}
        self.dead = FakeTarget(Random(seed))
        for target in (*self.targets.values(), self.dead):
            target.assigned = lambda record: self.consumer.owned.get(record.tp)
        self.broker = FakeBroker(self.settled)
        self.next: Loaded | Settings | None = None  # what a reload reads
        self.crashes = 0  # between an ack and its commit
        self.wall: Callable[[], float] | None = None  # the wall clock, else one that nobody sets
        self.skips: bytes | None = None  # the value that an explicit rule of the config lets go
        self.app: App
        self.consumer: FakeConsumer
        self._done_until: Counter[str] = Counter()
        self._seen: dict[str, set[Record]] = defaultdict(set)

    def settled(self, record: Record) -> bool:
        """Whether some target, or the dead-letter topic, really took the record (each target of the route, or dead)."""
        if self.skips is not None and record.value == self.skips:
            return True
        seen = self._seen["dead"]
        self._catch_up("dead", self.dead)
        if record in seen:
            return True
        for name, target in self.targets.items():
            self._catch_up(name, target)
        wanted = [name for route in self.settings.routes if record.tp.topic in route.topics for name in route.targets]
        return bool(wanted) and all(record in self._seen[name] for name in wanted)

    def _catch_up(self, name: str, target: FakeTarget) -> None:
        for event in target.took[self._done_until[name] :]:
            self._seen[name].add(event.record)
        self._done_until[name] = len(target.took)

    def build(self) -> App:
        """A new process."""
        loop = asyncio.get_running_loop()

        def consumer(settings: Settings, app: App, loop: asyncio.AbstractEventLoop) -> FakeConsumer:
            self.consumer = FakeConsumer(app, loop, self.broker, self.random)
            return self.consumer

        loaded = Loaded(self.settings, (), lambda path: Position("test.yaml", 1, 1), "hash")
        parts = Parts(
            consumer=consumer,
            target=lambda name, settings: self.targets[name],
            dead_letters=lambda settings: self.dead,
            clock=loop.time,
            wall=self.wall or (lambda: EPOCH + loop.time()),
            random=Random(self.random.random()),
            read=self._read,
        )
        self.app = App(loaded, routes_of(self.settings, self.schemas), Metrics(CollectorRegistry()), parts)
        return self.app

    async def _read(self) -> tuple[Loaded, Routes | None]:
        if isinstance(self.next, Loaded):
            return self.next, None
        settings = self.next or self.settings
        for i, name in enumerate(settings.targets):
            self.targets.setdefault(name, FakeTarget(Random(i)))
        return Loaded(settings, (), lambda path: Position("test.yaml", 1, 1), "next"), routes_of(settings)

    async def start(self, group: asyncio.TaskGroup, *tps: TopicPartition) -> "tuple[App, asyncio.Task[int]]":
        """A new process that runs, with these partitions assigned."""
        app = self.build()
        process = group.create_task(app.run())
        await self.until(lambda: app.consumer is not None)
        if tps:
            self.consumer.assign(tps)
        return app, process

    async def kill(self, process: "asyncio.Task[int]") -> None:
        """End a process as SIGKILL does: nothing is drained, nothing more is committed."""
        self.crashes += any(
            event.record.offset >= self.broker.committed.get(event.record.tp, 0)
            for target in (*self.targets.values(), self.dead)
            for event in target.took
        )
        self.consumer.vanish()
        process.cancel()
        await asyncio.wait({process})

    @property
    def buried(self) -> set[Record]:
        """What the dead-letter topic has."""
        return {event.record for event in self.dead.took}

    async def until(self, true: Callable[[], bool], within: float = 600.0) -> None:
        """Let virtual time pass until something holds."""
        async with asyncio.timeout(within):
            while not true():  # noqa: ASYNC110 - the world has no event for every condition, and its time is free
                await asyncio.sleep(0.01)

    def all_committed(self) -> bool:
        return all(self.broker.committed.get(tp, 0) == self.broker.end(tp) for tp in self.broker.logs)

    @property
    def sent(self) -> Counter[str]:
        """How often each event was taken, by id and target."""
        return Counter(f"{name}:{event.id}" for name, target in self.targets.items() for event in target.took)
