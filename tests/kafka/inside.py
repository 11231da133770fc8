"""The real daemon inside the test's own loop: real consumer thread, real targets, real broker, a simulated service.

    async with EventBridge() as service:
        async with inside(kafka, config(kafka, service, [topic]), service) as daemon:
            await daemon.caught_up(topic)

Several daemons may share a loop, a service and a group. Each has its own commit-safety monitor (`tests.kafka.monitor`),
which hears what Kafka hands over before the daemon does, and each acknowledgement before the lane does. Leaving the
block stops the daemon in order, and fails on anything the monitor saw.
"""

import asyncio
import inspect
import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import confluent_kafka
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry

from connector.admin import Answer
from connector.app import App, Consumer, real_parts
from connector.consume import Client
from connector.consume import Consumer as KafkaConsumer
from connector.edge import Drained
from connector.loading.load import load
from connector.metrics import Metrics
from connector.model import (
    Ack,
    Batch,
    Event,
    Limits,
    Preflight,
    Prepared,
    Record,
    TopicPartition,
    Unpublishable,
    Verdict,
)
from connector.operations.status import Status
from connector.route import Routes, compile_routes
from connector.sandbox.eventbridge import EventBridge as Service
from connector.settings import Loaded, Settings
from connector.targets.contract import Target
from connector.targets.dead_letter import Cause
from connector.targets.eventbridge import EventBridge, EventBridgeSettings
from connector.targets.settings import TargetSettings
from tests.contract.wire import session
from tests.kafka.cluster import Kafka
from tests.kafka.monitor import Assigned, Committed, Monitor, Moved, Revoked, Settled, Taken

Debt: TypeAlias = tuple[str, str]
"""One thing that a record owes: the id of an event, and the target that should have it ("" where none was chosen)."""

WITHIN: Final = 45.0
"""Deadline in seconds of what a healthy daemon does in less than one, when nothing else wants the processors."""

_MOVING: Final = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
"""The group's coordinator is on its way; so it is in a fresh broker until its first group is there."""

EVENT: Final[Mapping[str, Any]] = {"Source": "com.acme.test", "DetailType": "Test", "Detail": {"value": "${value}"}}
"""A map that takes any record."""


async def until(condition: Callable[[], Any], *, within: float = WITHIN, what: str = "the condition holds") -> Any:
    """Let the loop run until the condition (or what it awaits) is true, and give its value; fail after `within`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert loop.time() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)


def bus(service: Service, **over: Any) -> dict[str, Any]:
    """A target of the config: the simulated service with short pauses."""
    return {
        "type": "eventbridge",
        "region": "eu-west-1",
        "endpoint_url": service.url,
        "batch": {"linger": "20ms"},
        "retry": {"initial": "50ms", "max": "500ms"},
        "request_timeout": "5s",
        **over,
    }


def route(name: str, *topics: str, **over: Any) -> dict[str, Any]:
    """A route of the config, to the target `bus`."""
    return {"name": name, "topics": list(topics), "targets": ["bus"], "map": dict(EVENT), **over}


def config(kafka: Kafka, service: Service, consumed: Sequence[str] = (), /, **over: Any) -> dict[str, Any]:
    """A whole config: one route of the topics `consumed` to one bus, unless `over` (top-level keys) says otherwise."""
    plain: dict[str, Any] = {
        "version": 1,
        "kafka": {
            "bootstrap_servers": kafka.cluster.bootstrap,
            "group_id": kafka.group,
            "properties": {
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 200,
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 500,
            },
        },
        "targets": {"bus": bus(service)},
        "routes": [route("all", *consumed)],
        "unrouted": "skip",
        "commit_interval": "200ms",
        "drain_timeout": "5s",
        "shutdown_timeout": "15s",
    }
    if "dead_letters" not in over:
        plain["defaults"] = {"route": {"on_error": "hold", "on_reject": "hold"}}
    plain.update(over)
    return plain


def _read(text: str | Mapping[str, Any], environ: Mapping[str, str]) -> Loaded:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "test.yaml")
        with open(path, "w") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))  # JSON is YAML
        return load([path], environ)


def loaded(text: str | Mapping[str, Any], environ: Mapping[str, str]) -> Loaded:
    """The config through the daemon's own loader; what stands wrong in it fails the test with the loader's words."""
    found = _read(text, environ)
    assert found.settings is not None, "\n".join(map(str, found.problems))
    return found


class Inside:
    """One daemon in this loop. `monitor` judges it; `service` is the simulator that it sends to."""

    def __init__(
        self,
        kafka: Kafka,
        text: str | Mapping[str, Any],
        service: Service,
        *,
        name: str = "daemon",
        others: Sequence[Service] = (),
        monitor: Monitor | None = None,
        gapless: bool = True,
        environ: Mapping[str, str] | None = None,
        refresh: float = 1.0,
    ) -> None:
        """`text` is YAML or its tree; `refresh`: seconds between two looks at the topics.

        `others` are further simulators that the config sends to. `monitor` may be shared by members of one group.
        `gapless` also demands consecutive offsets: right for topics without compaction, transactions and retention.
        """
        self.kafka = kafka
        self.service = service
        self.services = (service, *others)
        self.name = name
        self.monitor = Monitor() if monitor is None else monitor
        self.notes = _Notes(name, self.monitor, gapless)
        self.records: list[Record] = []
        """What Kafka handed over, in order."""
        self.claimed: Counter[str] = Counter()
        """How often each event id was acknowledged as delivered by a service."""
        given = loaded(text, environ or {})
        self._configs = {given.hash: (given, _routes(given))}
        self._next = given
        self._killed = threading.Event()
        self._gate = _Gate(self, self._killed)
        self._refresh = refresh
        parts = real_parts()
        self.app = App(
            given,
            _routes(given),
            Metrics(CollectorRegistry()),
            replace(
                parts,
                consumer=self._consumer,
                target=self._target,
                dead_letters=lambda settings: _Graves(parts.dead_letters(settings), self),
                read=self._read,
            ),
        )
        self._gate.app = self.app
        self._task: asyncio.Task[int] | None = None
        self._asker: confluent_kafka.Consumer | None = None  # closed by `kafka`

    def _consumer(self, settings: Settings, app: App, loop: asyncio.AbstractEventLoop) -> Consumer:
        consumer = _Asks(
            settings,
            partitions=self._gate,
            loop=loop,
            client=lambda properties: cast(Client, _Mortal(properties, self._killed)),
            statistics=0.5,
            refresh=self._refresh,
        )
        consumer.notes = self.notes
        return consumer

    def _target(self, name: str, settings: TargetSettings) -> Target:
        if isinstance(settings, EventBridgeSettings):
            return _Watched(EventBridge(name, settings, sessions=session), self)
        return _Watched(real_parts().target(name, settings), self)

    async def _read(self) -> tuple[Loaded, Routes | None]:
        return self._next, _compiled(self._next)

    # life

    def start(self) -> None:
        """Begin; `inside` does it."""
        self._task = asyncio.create_task(self.app.run(), name=self.name)

    @property
    def running(self) -> bool:
        """Whether the daemon has not ended yet."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> int:
        """Stop as SIGTERM does, and give the exit code."""
        assert self._task is not None
        self.app.stop()
        return await self._task

    async def reload(self, text: str | Mapping[str, Any]) -> Answer:
        """Write another config, good or bad, and reload as SIGHUP and POST /reload do; give the answer."""
        self._next = _read(text, {})
        if (routes := _compiled(self._next)) is not None:
            self._configs[self._next.hash] = self._next, routes
        return await self.app.reload.ask()

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is drained, nothing more is committed, and the group is not told.

        The client is dropped without leaving, so the group waits for the session to time out.
        """
        assert self._task is not None
        self._killed.set()
        self._gate.abandon()
        self._task.cancel()
        await asyncio.wait({self._task})
        if self.app.consumer is not None:
            await asyncio.wait({self.app.consumer.finished})
            self.app.consumer.finished.exception()

    # looks

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        settings = self._configs[self.app.config_hash][0].settings
        assert settings is not None
        return settings

    @property
    def routes(self) -> Routes:
        """The routes in force, compiled for the monitor alone."""
        return self._configs[self.app.config_hash][1]

    async def until(
        self, condition: Callable[[], Any], *, within: float = WITHIN, what: str = "the condition holds"
    ) -> Any:
        """As `until`, but a daemon that ends meanwhile, or breaks a promise, fails the test at once."""

        def still() -> Any:
            assert self.running, f"{self.name} ended: {self._task!r}"
            assert not self.monitor.violations, self.monitor.violations[0]
            return condition()

        return await until(still, within=within, what=what)

    async def caught_up(self, *topics: str, within: float = WITHIN) -> None:
        """Wait until the group has committed the end of every partition of these topics."""

        def behind() -> dict[TopicPartition, tuple[int, int]]:
            ends = {tp: end for topic in topics for tp, end in self.kafka.ends(topic).items()}
            have = {tp: at for topic in topics for tp, at in self._committed(topic).items()}
            return {tp: (have.get(tp, 0), end) for tp, end in ends.items() if have.get(tp, 0) != end}

        seen: dict[TopicPartition, tuple[int, int]] = {}

        async def even() -> bool:
            nonlocal seen
            seen = await asyncio.to_thread(behind)
            await asyncio.sleep(0.05)
            return not seen

        try:
            await self.until(even, within=within, what="the group has committed everything")
        except AssertionError as error:
            raise AssertionError(f"{error}; committed and end: {seen}; {self.targets}") from None

    async def committed(self, topic: str) -> dict[int, int]:
        """What the group has committed of a topic, by partition number, asked of the broker."""
        found = await asyncio.to_thread(self._committed, topic)
        return {tp.partition: offset for tp, offset in found.items()}

    def _committed(self, topic: str) -> dict[TopicPartition, int]:
        return self.kafka.committed(topic, self.settings.kafka.group_id)

    async def written(self, topic: str, values: int | Iterable[bytes | None], **how: Any) -> list[Record]:
        """Write records (as `Kafka.produce`) while the loop goes on."""
        return await asyncio.to_thread(lambda: self.kafka.produce(topic, values, **how))

    @property
    def status(self) -> Status:
        """What `/status` says."""
        return cast(Status, self.app.status())

    @property
    def targets(self) -> dict[str, Any]:
        """The targets of `/status` by name."""
        return {target["name"]: target for target in self.status["targets"]}

    def owes(self, record: Record) -> set[Debt]:
        """What a record owes by the config: each event of each target, and each failure that is not skipped.

        One of a topic that a reload let go owes what this daemon cannot pay: whoever reads the topic next begins there.
        """
        if not self.routes.of(record.tp.topic):
            return {(str(record), "")}
        routed = self.routes.route(record)
        failures = list(routed.failures)
        if not routed.matched and not failures and not routed.tombstone:
            failures.append(self.routes.unrouted(record, self.settings.unrouted))
        owed = {(event.id, event.target) for event in routed.events}
        return owed | {(failure.event.id, failure.event.target) for failure in failures if failure.policy != "skip"}

    def check(self) -> None:
        """Fail on a breach of commit safety, and on an acknowledgement for an event that the service does not have."""
        self.monitor.safe(at_least=0)
        took = (event for service in self.services for event in (*service.accepted, *service.vanished))
        have = {resource for event in took for resource in event.resources}
        claimed = {event for event in self.claimed if event not in have}
        buses = [t for t in self.settings.targets.values() if isinstance(t, EventBridgeSettings)]
        if len(buses) == len(self.settings.targets) and all(bus.id_to == "resources" for bus in buses):
            assert not claimed, f"{self.name}: counted as delivered, but the service never had {sorted(claimed)[:5]}"


@asynccontextmanager
async def inside(
    kafka: Kafka,
    text: str | Mapping[str, Any],
    service: Service,
    *,
    name: str = "daemon",
    others: Sequence[Service] = (),
    monitor: Monitor | None = None,
    gapless: bool = True,
    environ: Mapping[str, str] | None = None,
    refresh: float = 1.0,
) -> AsyncIterator[Inside]:
    """Run a daemon while the block runs; then stop it in order and judge it. See `Inside` for the arguments."""
    daemon = Inside(
        kafka,
        text,
        service,
        name=name,
        others=others,
        monitor=monitor,
        gapless=gapless,
        environ=environ,
        refresh=refresh,
    )
    daemon.start()
    try:
        yield daemon
        if daemon.running:
            code = await daemon.stop()
            assert code == 0, f"{name} stopped with exit code {code}"
    except BaseException as error:
        for violation in daemon.monitor.violations:
            error.add_note(f"the monitor saw: {violation}")
        raise
    finally:
        if daemon.running:
            await daemon.kill()
    daemon.check()


def _routes(given: Loaded) -> Routes:
    assert given.settings is not None
    routes, problems = compile_routes(given.settings, given.locate)
    assert routes is not None, "\n".join(map(str, problems))
    return routes


def _compiled(given: Loaded) -> Routes | None:
    return compile_routes(given.settings, given.locate)[0] if given.settings is not None else None


class _Notes:
    """Turns what passes the daemon's edges into what the monitor hears.

    A record's debts come from the config, not from the daemon's ledger, and each is paid once, whoever pays it: what an
    earlier assignment delivered late is delivered all the same.
    """

    def __init__(self, member: str, monitor: Monitor, gapless: bool) -> None:
        self._member = member
        self._monitor = monitor
        self._gapless = gapless
        self._epochs: dict[TopicPartition, int] = {}
        self._leaving: set[TopicPartition] = set()
        self._last: dict[TopicPartition, int] = {}
        self._owed: dict[TopicPartition, dict[int, set[Debt]]] = {}
        self._asked: dict[TopicPartition, set[int]] = {}
        self._confirmed: dict[TopicPartition, int] = {}

    def assigned(self, epoch: int, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            self._forget(tp)
            self._epochs[tp] = epoch
            self._monitor.hear(Assigned(self._member, epoch, (tp,)))

    def taken(self, epochs: Mapping[TopicPartition, int], record: Record, owes: set[Debt]) -> None:
        tp, offset = record.tp, record.offset
        if tp in self._leaving:
            self._forget(tp)  # so that the monitor blames it
        last = self._last.get(tp)
        if self._gapless and last is not None and offset > last + 1:
            self._blame(f"{record} was taken after {last}: what lies between them is missing")
        self._last[tp] = offset
        if owes:
            self._owed.setdefault(tp, {})[offset] = set(owes)
        self._monitor.hear(Taken(self._member, epochs.get(tp, -1), tp, offset, len(owes)))

    def moved(self, epochs: Mapping[TopicPartition, int], positions: Mapping[TopicPartition, int]) -> None:
        for tp, position in positions.items():
            last = self._last.get(tp)
            if self._gapless and last is not None and position > last + 1:
                self._blame(f"the position of {tp} is {position}, but the last record taken is {last}")
            self._monitor.hear(Moved(self._member, epochs.get(tp, -1), tp, position))

    def settled(self, record: Record, debt: Debt) -> None:
        tp, offset = record.tp, record.offset
        left = self._owed.get(tp, {}).get(offset, set())
        if debt in left:
            left.discard(debt)
            self._monitor.hear(Settled(self._member, self._epochs.get(tp, -1), tp, offset))

    def asked(self, offsets: Mapping[TopicPartition, tuple[int, int]], *, in_a_revoke: bool = False) -> None:
        for tp, (offset, epoch) in offsets.items():
            self._monitor.hear(Committed(self._member, epoch, tp, offset))
            self._asked.setdefault(tp, set()).add(offset)
        if not in_a_revoke:
            return
        for tp in offsets:
            if tp not in self._leaving:
                self._blame(f"{tp} was committed as revoked, and is not being revoked")

    def confirmed(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            if offset not in self._asked.get(tp, ()):
                self._blame(f"{tp}: {offset} was confirmed, and nobody asked for it in this epoch")
            if offset < self._confirmed.get(tp, -1):
                self._blame(f"{tp}: {offset} was confirmed after {self._confirmed[tp]}")
            self._confirmed[tp] = offset

    def draining(self, tps: Iterable[TopicPartition]) -> None:
        self._leaving.update(tps)

    def drained(self, tps: Iterable[TopicPartition], offsets: Mapping[TopicPartition, int]) -> None:
        self.asked({tp: (offset, self._epochs.get(tp, -1)) for tp, offset in offsets.items()}, in_a_revoke=True)
        for tp in tps:  # what was asked for may still be confirmed; what is asked for from now on is a late commit
            self._monitor.hear(Revoked(self._member, (tp,)))

    def lost(self, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            self._forget(tp)

    def restarted(self, epoch: int, tp: TopicPartition) -> None:
        self.assigned(epoch, [tp])

    def _forget(self, tp: TopicPartition) -> None:
        self._monitor.hear(Revoked(self._member, (tp,)))
        self._leaving.discard(tp)
        for book in (self._epochs, self._last, self._owed, self._asked, self._confirmed):
            book.pop(tp, None)

    def _blame(self, words: str) -> None:
        self._monitor.violations.append(f"{self._member}: {words}")


class _Gate:
    """Stands where the app stands for the consumer: notes for the monitor, then hands on. Silent once killed."""

    def __init__(self, daemon: Inside, killed: threading.Event) -> None:
        self._daemon = daemon
        self._notes = daemon.notes
        self._killed = killed
        self._drains: list[Drained] = []
        self.app: App

    def abandon(self) -> None:
        """Answer nothing that the thread still waits for."""
        for done in self._drains:
            done.cancel()

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        if not self._killed.is_set():
            self._notes.assigned(epoch, tps)
            self.app.assigned(epoch, tps)

    def taken(
        self, epochs: Mapping[TopicPartition, int], records: Sequence[Record], positions: Mapping[TopicPartition, int]
    ) -> None:
        if self._killed.is_set():
            return
        for record in records:
            self._daemon.records.append(record)
            self._notes.taken(epochs, record, self._daemon.owes(record))
        self._notes.moved(epochs, positions)
        self.app.taken(epochs, records, positions)

    def drain(self, tps: Sequence[TopicPartition], deadline: float, done: Drained) -> None:
        if self._killed.is_set():
            done.cancel()
            return
        self._notes.draining(tps)
        self._drains.append(done)
        done.add_done_callback(partial(self._drained, tps))
        self.app.drain(tps, deadline, done)

    def _drained(self, tps: Sequence[TopicPartition], done: Drained) -> None:
        if not done.cancelled():  # set by the app, so this is the loop's thread
            self._notes.drained(tps, done.result())

    def lost(self, tps: Sequence[TopicPartition]) -> None:
        if not self._killed.is_set():
            self._notes.lost(tps)
            self.app.lost(tps)

    def restarted(self, epoch: int, tp: TopicPartition, offset: int) -> None:
        if not self._killed.is_set():
            self._notes.restarted(epoch, tp)
            self.app.restarted(epoch, tp, offset)

    def gone(self, tp: TopicPartition, records: int) -> None:
        if not self._killed.is_set():
            self.app.gone(tp, records)

    def committed(self, offsets: Mapping[TopicPartition, int], error: str) -> None:
        if self._killed.is_set():
            return
        if not error and self._daemon.settings.kafka.auto_offset_reset != "latest":
            self._notes.confirmed(offsets)  # with latest the edge itself commits where a group starts
        self.app.committed(offsets, error)

    def lag(self, lags: Mapping[TopicPartition, int]) -> None:
        if not self._killed.is_set():
            self.app.lag(lags)

    def trouble(self, code: str, reason: str) -> None:
        if not self._killed.is_set():
            self.app.trouble(code, reason)

    def recovered(self, code: str) -> None:
        if not self._killed.is_set():
            self.app.recovered(code)


class _Asks(KafkaConsumer):
    """The real consumer; each commit that the app asks for is judged at once."""

    notes: _Notes

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Note, and commit."""
        self.notes.asked(offsets)
        super().commit(offsets)


class Killed(Exception):
    """The client is dead by order of the test."""


class _Mortal:
    """The real client until it is killed; then every call fails, and the client is dropped without leaving its group.

    A confluent_kafka.Consumer that is let go of without `close` ends its threads and heartbeats and tells nobody.
    """

    def __init__(self, properties: dict[str, Any], killed: threading.Event) -> None:
        self._client: Any = confluent_kafka.Consumer({**properties, "log_level": 0})
        self._killed = killed

    def __getattr__(self, name: str) -> Any:
        if self._killed.is_set():
            self._client = None
            raise Killed
        return getattr(self._client, name)


class _Watched:
    """A target whose acknowledgements are noted before the lane hears of them."""

    def __init__(self, inner: Target, daemon: Inside) -> None:
        self._inner = inner
        self._daemon = daemon

    @property
    def limits(self) -> Limits:
        return self._inner.limits

    def prepare(self, event: Event) -> Prepared:
        try:
            return self._inner.prepare(event)
        except Unpublishable:
            if self._daemon.routes.by_name[event.route].settings.on_error == "skip":
                self._settled(event)
            raise

    async def send(self, batch: Batch) -> Sequence[Ack]:
        acks = await self._inner.send(batch)
        for entry, ack in zip(batch, acks, strict=False):
            self._note(entry.event, ack)
        return acks

    def _note(self, event: Event, ack: Ack) -> None:
        if ack.verdict is Verdict.DELIVERED:
            self._daemon.claimed[event.id] += 1
            self._settled(event)
        elif ack.verdict is Verdict.REJECTED and self._daemon.routes.by_name[event.route].settings.on_reject == "skip":
            self._settled(event)

    def _settled(self, event: Event) -> None:
        self._daemon.notes.settled(event.record, (event.id, event.target))

    async def preflight(self) -> Preflight:
        return await self._inner.preflight()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)


class _Graves(_Watched):
    """The dead-letter topic: what it acknowledges pays the debt of the event that was buried."""

    def prepare(self, event: Event) -> Prepared:
        return self._inner.prepare(event)

    def _note(self, event: Event, ack: Ack) -> None:
        if ack.verdict is Verdict.DELIVERED:
            cause: Cause = event.fields["cause"]
            self._daemon.notes.settled(event.record, (event.id, cause.target))
