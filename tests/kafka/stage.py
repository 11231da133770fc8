"""What one test of the whole daemon plays on, and the oracle that says what became of every record.

The daemons are processes; the simulated EventBridge lives in the test's own loop. What is true is read from what was
produced, what the simulator took, what the group has committed and what the dead-letter topic holds: never from the
daemon itself, nor from the ids that it makes.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from connector.model import Record, TopicPartition
from connector.sandbox.eventbridge import EventBridge
from tests.kafka.cluster import Kafka
from tests.kafka.process import SECONDS, SHUTDOWN, Daemon, eventually, seen, spawn

BUS: Final = "orders"
PRIVATE: Final = "for-the-bus-alone"
"""Words of every payload, and of nothing else."""

_LOADING: Final = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._ALL_BROKERS_DOWN,
)
"""The coordinator is on its way, or the broker that was is gone: ask again."""

LOOK: Final = 0.15
"""Seconds between two looks at the commits."""


class Place(NamedTuple):
    """Where a record stands."""

    tp: TopicPartition
    offset: int


def orders(count: int, first: int = 0, padding: int = 0) -> list[bytes]:
    """Values of orders, no two alike; `padding` in bytes."""
    tail = "x" * padding
    trees = ({"order": n, "note": f"{PRIVATE} {n}{tail}"} for n in range(first, first + count))
    return [json.dumps(tree, separators=(",", ":")).encode() for tree in trees]


def number_of(detail: str) -> int:
    """The number that `orders` gave the order."""
    return int(json.loads(detail)["order"])


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The config with changes: maps merge, anything else is replaced."""
    result = dict(base)
    for name, change in changes.items():
        old = result.get(name)
        result[name] = merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return result


class Stage:
    """One test's topic, dead-letter topic, bus and daemons.

    Invariant, looked at all the while and once more at the end: the group has committed no record that neither the bus
    nor the dead-letter topic has, and it goes back on no partition.
    """

    def __init__(self, kafka: Kafka, bus: EventBridge, folder: Path, partitions: int, topic: str = "") -> None:
        self.kafka = kafka
        self.bus = bus
        self.topic = topic or kafka.topic(partitions)
        self.dead = kafka.topic()
        self._partitions = partitions
        # Not the admin client: it brings the whole process down while a fresh broker still makes its offsets topic.
        self._asker = kafka.consumer(socket_timeout_ms=10_000)
        self.daemons: list[Daemon] = []
        self.violations: list[str] = []
        self._folder = folder
        self._configs = 0
        self._over = asyncio.Event()
        self._producing = False
        self._written: dict[bytes, Place] = {}  # by hash of the payload
        self._taken: list[Place] = []  # beside the log of the bus
        self._safe: set[Place] = set()
        self._holes: dict[TopicPartition, list[range]] = defaultdict(list)
        self._highest: dict[TopicPartition, int] = {}

    # the daemons

    @property
    def config(self) -> dict[str, Any]:
        """What the daemons run with, before a test's changes."""
        return {
            "version": 1,
            "kafka": {
                "bootstrap_servers": self.kafka.cluster.entrance,
                "group_id": self.kafka.group,
                "properties": {"fetch.wait.max.ms": "100", "reconnect.backoff.max.ms": "500"},
            },
            "targets": {
                "bus": {
                    "type": "eventbridge",
                    "region": "eu-west-1",
                    "endpoint_url": self.bus.url,
                    "event_bus": BUS,
                    "batch": {"linger": "20ms"},
                    "retry": {"initial": "50ms", "max": "500ms"},
                }
            },
            "routes": [
                {
                    "name": "orders",
                    "topics": [self.topic],
                    "targets": ["bus"],
                    "map": {"Source": "com.acme.shop", "DetailType": "Order placed"},
                }
            ],
            "unrouted": "hold",
            "dead_letters": {"topic": self.dead},
            "limits": {"max_open_records": 1000, "max_open_per_partition": 500},
            "commit_interval": "300ms",
            "drain_timeout": "3s",
            "shutdown_timeout": f"{SHUTDOWN:g}s",
            "admin": {"listen": "127.0.0.1:0"},
            "log": {"level": "info", "format": "json"},
        }

    def write(self, changes: Mapping[str, Any] | None = None) -> Path:
        """Write the config with these changes. JSON is YAML 1.2."""
        self._configs += 1
        path = self._folder / f"config-{self._configs}.yaml"
        path.write_text(json.dumps(merged(self.config, changes or {}), indent=2))
        return path

    def start(self, changes: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Daemon:
        """Start a daemon with these changes of the config, and these variables beside the usual ones."""
        name = f"daemon-{len(self.daemons)}"
        config = self.write(merged({"kafka": {"client_id": name}}, changes or {}))
        daemon = Daemon(config, self._folder / f"{name}.log", environ)
        self.daemons.append(daemon)
        return daemon

    async def started(self, changes: Mapping[str, Any] | None = None) -> Daemon:
        """Start a daemon and wait until it is ready."""
        daemon = self.start(changes)
        await daemon.ready()
        return daemon

    async def check_online(self, changes: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """Run `connector check --online`: exit code, and all that it printed."""
        config = self.write(changes)
        out, errors = config.with_suffix(".out"), config.with_suffix(".err")
        process = spawn(["check", "--online", str(config)], errors, out)
        try:
            await seen(lambda: process.poll() is not None, what="the check has ended")
        finally:
            process.kill()
            code = process.wait(10)
        return code, out.read_text() + errors.read_text()

    # what was produced, and what became of it

    async def produce(self, values: int | Sequence[bytes], padding: int = 0, topic: str = "") -> list[Record]:
        """Write records, spread over the partitions by their keys; a number stands for that many orders.

        `topic` is one beside the stage's own, whose commits nobody watches.
        """
        first = len(self._written)
        chosen = orders(values, first, padding) if isinstance(values, int) else values
        key = lambda i: b"key-%d" % ((first + i) % 97)  # noqa: E731 - it goes with the numbers above
        return await self.wrote(partial(self.kafka.produce, topic or self.topic, chosen, key=key))

    async def wrote(self, step: Callable[[], list[Record]]) -> list[Record]:
        """Let the test write in its own way, in a thread, and expect on the bus what it gives."""
        self._producing = True  # the bus may have a record before we hear of its offset
        try:
            written = await asyncio.to_thread(step)
            self._written |= {
                sha256(record.value or b"").digest(): Place(record.tp, record.offset) for record in written
            }
        finally:
            self._producing = False
        return written

    def hole(self, tp: TopicPartition, first: int, end: int) -> None:
        """From `first` to before `end` stands nothing that must arrive: markers, what was aborted, or is deleted."""
        self._holes[tp].append(range(first, end))

    async def grow(self, partitions: int) -> None:
        """Give the topic more partitions, `partitions` in all."""
        await asyncio.to_thread(self.kafka.grow, self.topic, partitions)
        self._partitions = partitions

    def taken(self) -> list[Place]:
        """The record of each event that the bus took, in its order, told by the hash of the payload alone.

        Fails on a payload that nobody produced.
        """
        assert not self._producing, "what is being produced has no offsets yet"
        for event in self.bus.accepted[len(self._taken) :]:
            place = self._written.get(sha256(event.detail.encode()).digest())
            assert place is not None, f"event {event.index} of the bus has a payload that nobody produced"
            self._taken.append(place)
            self._safe.add(place)
        return self._taken

    def vanished(self) -> list[Place]:
        """The record of each event that the service acknowledged though its bus was gone: nobody else can know."""
        return [self._written[sha256(event.detail.encode()).digest()] for event in self.bus.vanished]

    def missing(self, records: Iterable[Record]) -> list[str]:
        """The records that the bus never took."""
        have = set(self.taken())
        return [str(record) for record in records if Place(record.tp, record.offset) not in have]

    def repeated(self, since: int = 0, until: int | None = None) -> int:
        """How many events in this part of the bus's log were of records that it had taken before."""
        taken = self.taken()
        part = taken[since:until]
        return len(part) - len(set(part) - set(taken[:since]))

    def busiest(self, seconds: float) -> int:
        """The most events that the bus took within so many seconds."""
        times = [event.at for event in self.bus.accepted]
        most, left = 0, 0
        for right, at in enumerate(times):
            while times[left] < at - seconds:
                left += 1
            most = max(most, right - left + 1)
        return most

    def numbers(self, since: int = 0) -> list[int]:
        """The orders that the bus took from there on, as numbered by `orders`, sorted."""
        return sorted(number_of(event.detail) for event in self.bus.accepted[since:])

    async def buried(self) -> list[Record]:
        """What the dead-letter topic holds."""
        return await asyncio.to_thread(self.kafka.read, self.dead)

    async def committed(self) -> dict[TopicPartition, int]:
        """What the group has committed. Asks again while the broker still loads its groups."""

        asked = [ClientPartition(self.topic, partition) for partition in range(self._partitions)]

        async def answered() -> list[ClientPartition]:
            try:
                return await asyncio.to_thread(self._asker.committed, asked, SECONDS)
            except KafkaException as error:
                if error.args[0].code() in _LOADING:
                    return []
                raise

        told = await eventually(answered, within=2 * SECONDS, what="the broker says what is committed")
        return {TopicPartition(place.topic, place.partition): place.offset for place in told if place.offset >= 0}

    async def until_committed(self, records: int, within: float = SECONDS) -> None:
        """Wait until the group has committed so many records, all partitions together."""

        async def enough() -> bool:
            return sum((await self.committed()).values()) >= records

        await eventually(enough, within=within, what=f"{records} records are committed")

    async def until_at_end(self, within: float = SECONDS) -> None:
        """Wait until the group has committed the end of every partition that has records."""
        ends = await asyncio.to_thread(self.kafka.ends, self.topic)
        wanted = {tp: end for tp, end in ends.items() if end}

        async def at_end() -> bool:
            return {tp: offset for tp, offset in (await self.committed()).items() if offset} == wanted

        await eventually(at_end, within=within, what=f"the group has committed {wanted}")

    async def at_risk(self, since: Mapping[TopicPartition, int] | None = None) -> int:
        """How many records the bus has that the group has not committed: so many come twice if nobody commits them.

        `since` is what was committed at an earlier time, where the group may have gone on meanwhile.
        """
        committed = await self.committed() if since is None else since
        return sum(place.offset >= committed.get(place.tp, 0) for place in set(self.taken()))

    async def members(self) -> int:
        """How many members the group has."""
        return await asyncio.to_thread(self.kafka.members)

    # the promise

    async def watch(self) -> None:
        """Look at the commits until the test is over."""
        while not self._over.is_set():
            await self.look()
            try:
                async with asyncio.timeout(LOOK):
                    await self._over.wait()
            except TimeoutError:
                continue

    def over(self) -> None:
        """The test is over."""
        self._over.set()

    async def look(self) -> None:
        """Hold what is committed against what was taken by then, which is read after it."""
        committed = await self.committed()
        if self._producing:
            return
        self.taken()
        self._safe.update(self.vanished())
        if any(self._unsafe(committed)):
            self._safe |= {_origin(letter) for letter in await self.buried()}
        self.violations += [f"{place.tp}@{place.offset} is committed and lost" for place in self._unsafe(committed)]
        for tp, offset in committed.items():
            before = self._highest.get(tp, 0)
            if offset < before:
                self.violations.append(f"{tp} went back from {before} to {offset}")
            self._highest[tp] = max(before, offset)

    def _unsafe(self, committed: Mapping[TopicPartition, int]) -> list[Place]:
        places = (Place(tp, at) for tp, end in committed.items() for at in range(self._highest.get(tp, 0), end))
        return [
            place
            for place in places
            if place not in self._safe and not any(place.offset in hole for hole in self._holes[place.tp])
        ]


def alone(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that a group of tasks brought, as the test raised it; the group where there are several."""
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


def _origin(letter: Record) -> Place:
    told = {name: (value or b"").decode() for name, value in letter.headers}
    tp = TopicPartition(told["__connect.errors.topic"], int(told["__connect.errors.partition"]))
    return Place(tp, int(told["__connect.errors.offset"]))


@asynccontextmanager
async def stage(
    kafka: Kafka, folder: Path, *, partitions: int = 1, topic: str = "", service: EventBridge | None = None
) -> AsyncIterator[Stage]:
    """A stage for the length of a test. At its end no daemon runs, the promise held, and no log says too much.

    `topic` is one that the test has made itself, of so many partitions; `service` is a simulated one with ways of its
    own, if the test has such.
    """
    async with service or EventBridge([BUS]) as bus:
        here = Stage(kafka, bus, folder, partitions, topic)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(here.watch(), name="watch the commits")
                yield here
                here.over()
        except BaseExceptionGroup as failures:
            error = alone(failures)
            with suppress(AssertionError, KafkaException):
                await here.look()  # what was broken by then is said beside what the test saw of it
            for violation in here.violations:
                error.add_note(f"seen meanwhile: {violation}")
            raise error from None
        finally:
            for daemon in here.daemons:
                daemon.end()
                print(f"--- {daemon.pid} ended with {daemon.code}\n{daemon.text[-4000:]}")
        await here.look()
        assert here.violations == []
        _check_logs(here.daemons)


def _check_logs(daemons: Iterable[Daemon]) -> None:
    for daemon in daemons:
        assert daemon.lines, "a daemon that says nothing cannot be understood"  # and each line is JSON
        assert daemon.text.endswith("\n") or daemon.code == -9, "the last line was cut"
        assert PRIVATE not in daemon.text, "a payload is in the log"
        assert "Traceback" not in daemon.text, "a traceback is in the log"
