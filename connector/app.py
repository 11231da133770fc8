"""The only place where the steps are joined: build, start, take, drain, stop."""

import asyncio
import gc
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from random import Random
from typing import Any, Final, Literal, Protocol

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from connector import __version__, tracing
from connector.admin import CannotListen
from connector.admin import serve as admin_server
from connector.assignment import Assignment, Bounds, Share
from connector.batch import Trigger
from connector.commit import Split
from connector.consume import Consumer as KafkaConsumer
from connector.consume import ask_kafka
from connector.decode import Unready
from connector.edge import Drained
from connector.kafka_properties import producer_config
from connector.log import configure as configure_log
from connector.metrics import Metrics, watch_process
from connector.model import (
    Ack,
    Batch,
    Entry,
    Event,
    Health,
    Prepared,
    Record,
    Settle,
    TopicPartition,
    Unpublishable,
)
from connector.operations.history import EVERY as SAMPLE_EVERY
from connector.operations.history import History
from connector.operations.operate import Operations
from connector.operations.reload import Reload
from connector.operations.report import oldest_age, status_of, totals_of, watch
from connector.operations.standstill import Standstill, Waiting, Why
from connector.operations.status import Reload as Reloaded
from connector.operations.status import summary
from connector.publish import Lane, Pace, Send
from connector.room import Credit
from connector.route import Failure, Routed, Routes, compile_routes, feed
from connector.settings import Loaded, Settings
from connector.tally import Tally
from connector.targets import REGISTRY
from connector.targets.contract import Target
from connector.targets.dead_letter import TARGET as DEAD_LETTERS
from connector.targets.dead_letter import Cause, DeadLetters, bury, kafka_producer, retention
from connector.targets.settings import TargetSettings

_GRANT_EVERY: Final = 0.002  # seconds between two grants of room: settles come by the thousand
_GRANT_EACH: Final = 2e-5  # and a little more for each partition, so that looking at all of them costs little
_LOOK_EVERY: Final = 0.02  # seconds between two looks at a drain
_ASK_AGAIN: Final = 1.0  # seconds until a registry is asked again, at first and at most
_ASK_AT_MOST: Final = 30.0
REGISTRY_TROUBLE: Final = "SchemaRegistry"
_YOUNG: Final = (50_000, 20, 100)
"""Objects until the garbage collector looks at the young ones, and rounds until it looks at older ones. Twenty thousand
open records are some hundred thousand objects, and none of them is in a cycle: at Python's own (700, 10, 10) a fifth of
all CPU went into looking at them again and again."""
_STUCK: Final = 60.0  # seconds without a turn of the consumer thread until /livez says so
_SUMMARY_EVERY: Final = 30.0


class Consumer(Protocol):
    """What the app needs of the Kafka edge (connector.consume.Consumer)."""

    finished: "asyncio.Future[None]"
    turned_at: float
    callback_until: float | None

    def start(self) -> None:
        """Start the thread."""
        ...

    def grant(self, credit: Credit) -> None:
        """Let the thread take records up to these totals."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Commit offset and epoch by partition; the answer comes by `committed`."""
        ...

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on, names and patterns."""
        ...

    def stop_taking(self) -> None:
        """Pause everything, keep polling."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


@dataclass(frozen=True)
class Parts:
    """What the app is made of; tests and the demo's sabotages put their own here.

    `read` reads the config once more, for a reload; None where there are no files to read.
    """

    consumer: Callable[[Settings, "App", asyncio.AbstractEventLoop], Consumer]
    target: Callable[[str, TargetSettings], Target]
    dead_letters: Callable[[Settings], Target]
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    random: Random = field(default_factory=Random)
    around: Callable[[str, str, Send], Send] = lambda name, kind, send: send
    """What is put around the calls of a target: its name, its type, its `send`."""
    read: Callable[[], Awaitable[tuple[Loaded, Routes | None]]] | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record that is open and waits for a schema, or behind one that does."""

    record: Record
    epoch: int
    settle: Settle


def _split(settle: Settle, owed: int) -> Sequence[Settle]:
    return Split(settle, owed).parts


class _Watch:
    """Tells the tally and the routes' streaks what a lane reports."""

    def __init__(self, app: "App", name: str) -> None:
        self._app = app
        self._name = name

    def delivered(self, entry: Entry, ack: Ack) -> None:
        self._app.delivered(self._name, entry, ack)

    def retried(self, entry: Entry, ack: Ack) -> None:
        self._app.tally.retried(entry, ack)

    def called(self, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None:
        self._app.tally.called(self._name, batch, trigger, acks, seconds)


@dataclass(frozen=True, slots=True)
class _Burial:
    """Pays for an event once Kafka has its dead letter."""

    settle: Settle
    event: Event
    code: str
    tally: Tally

    def __call__(self) -> None:
        self.settle()
        self.tally.buried(self.event, self.code)


class App:
    """The daemon.

    Invariant: what Kafka hands over is opened in the ledger in the callback that receives it, before anything can be
    awaited, and an offset is committed only from a ledger. Any exception on that way ends the process with nothing more
    committed.
    """

    def __init__(self, loaded: Loaded, routes: Routes, metrics: Metrics, parts: Parts) -> None:
        if loaded.settings is None:
            raise ValueError("a config with errors cannot run")
        settings = self.settings = loaded.settings
        self.loaded = loaded
        self.routes = routes
        self.parts = parts
        self.config_hash = loaded.hash
        self.tally = Tally(metrics, parts.wall)
        self.started_at = parts.wall()
        self.state: Literal["starting", "running", "stopping"] = "starting"
        self.troubles: dict[str, tuple[str, float]] = {}
        self.lags: dict[TopicPartition, int] = {}
        self.standstill = Standstill(parts.wall)
        self.joined = False
        limits = settings.limits
        self.assignment = Assignment(
            Bounds(
                limits.max_open_records,
                limits.max_open_bytes,
                limits.max_open_per_partition,
                limits.max_uncommitted_per_partition,
            ),
            self._settled,
        )
        self._log = structlog.get_logger("connector.app")
        self._metrics = metrics
        self._streaks: Counter[tuple[str, str]] = Counter()  # dead letters in a row, by route and stage
        self.targets = {name: parts.target(name, target) for name, target in settings.targets.items()}
        feed(self.targets, settings)
        if settings.dead_letters is not None:
            self.targets[DEAD_LETTERS] = parts.dead_letters(settings)
        self.lanes = {name: self.lane(name, target) for name, target in self.targets.items()}
        self.retired: list[Lane] = []  # whose calls are to end before their successors begin
        self.opened: dict[Lane, AsyncExitStack] = {}
        self._sending: dict[Lane, asyncio.Task[None]] = {}
        self._root: asyncio.TaskGroup | None = None
        self.reload = Reload(self)
        self.history = History()
        self.last_reload: Reloaded | None = None
        self._lines: dict[TopicPartition, deque[_Waiting]] = {}  # by partition, while its first record needs a schema
        self._asked: set[Unready] = set()
        self._asking: asyncio.Queue[Unready] = asyncio.Queue()
        self._end = asyncio.Event()
        self._paid = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._drains: asyncio.Queue[tuple[Mapping[TopicPartition, Share], float, Drained]] = asyncio.Queue()
        self._grant_timer: asyncio.TimerHandle | None = None
        self._grant_every = _GRANT_EVERY
        # lanes that must leave room to others, and the topics that feed them
        self._parts: dict[str, frozenset[str]] = {}
        self._waiting: frozenset[str] = frozenset()  # topics that feed a stopped route, if others do not
        self._late: frozenset[str] = frozenset()  # topics that feed a route with a delay
        self._assigned_at: dict[TopicPartition, float] = {}  # in the clock's seconds
        self.consumer: Consumer | None = None

    def lane(self, name: str, target: Target) -> Lane:
        """A lane for a target of the config in force."""
        settings = self.settings.targets.get(name)
        pace = Pace.of(settings) if settings is not None else Pace(linger=0.02, max_in_flight=4, request_timeout=120.0)
        send = self.parts.around(name, settings.type, target.send) if settings is not None else None
        return Lane(
            name,
            target,
            pace,
            clock=self.parts.clock,
            random=self.parts.random,
            watch=_Watch(self, name),
            reject=self._reject,
            send=send,
        )

    def start_lane(self, lane: Lane) -> None:
        """Let a lane whose target is open send."""
        if self._root is not None:
            self._sending[lane] = self._root.create_task(lane.run(), name=f"lane {lane.name}")

    async def close_lane(self, lane: Lane) -> None:
        """End a lane, and close its target."""
        sending = self._sending.pop(lane, None)
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})
        await self.opened.pop(lane).aclose()

    # life

    async def run(self) -> int:
        """Run until asked to stop or until Kafka says for good that we cannot; return the exit code."""
        loop = asyncio.get_running_loop()
        for route in self.routes.routes:
            self._metrics.announce(route.name, route.settings.targets)
            if route.settings.paused:
                self.pause(route.name, "config")
                self._log.warning("route is paused, as the config says", route=route.name)
        self._metrics.running(self.config_hash)
        watch(self)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close_targets)
            for name, lane in self.lanes.items():
                self.opened[lane] = AsyncExitStack()
                await self.opened[lane].enter_async_context(self.targets[name])
            consumer = self.consumer = self.parts.consumer(self.settings, self, loop)
            async with asyncio.TaskGroup() as root:
                self._root = root
                for lane in self.lanes.values():
                    self.start_lane(lane)
                tasks = [root.create_task(self._commit_always(), name="committer")]
                tasks.append(root.create_task(self._drain_always(), name="drains"))
                tasks.append(root.create_task(self._ask_always(), name="schemas"))
                tasks.append(root.create_task(self._sum_up_always(), name="summary"))
                tasks.append(root.create_task(self._sample_always(), name="history"))
                tasks.append(root.create_task(self.reload.run(root), name="reloads"))
                consumer.finished.add_done_callback(lambda _: self._end.set())
                consumer.start()
                self.state = "running"
                await self._end.wait()
                self.state = "stopping"  # also after a fault: whoever asks until the process is gone hears "not ready"
                code = 1 if self._failed(consumer) else await self._stop_in_time(consumer)
                for task in (*tasks, *self._sending.values(), *self.reload.successions):
                    task.cancel()
        return code

    async def _close_targets(self) -> None:
        while self.opened:
            _, stack = self.opened.popitem()
            await stack.aclose()

    async def _stop_in_time(self, consumer: Consumer) -> int:
        try:
            async with asyncio.timeout(self.settings.shutdown_timeout):
                return await self._stop(consumer)
        except TimeoutError:
            self._log.error(
                "stopped at the shutdown timeout: what was not acknowledged is not committed and will be sent again",
                shutdown_timeout_s=self.settings.shutdown_timeout,
                open_records=self.assignment.totals.records,
            )
            return 1

    def _failed(self, consumer: Consumer) -> bool:
        """Whether Kafka or a fault of ours ended the run; says so. Nothing more is committed."""
        error = consumer.finished.exception() if consumer.finished.done() else None
        if error is None:
            return False
        self._log.error(
            "stopped: nothing more is committed, what was not acknowledged is sent again after a restart",
            reason=str(error),
            exc_info=error.__cause__,
        )
        return True

    def stop(self) -> None:
        """Ask for an orderly end: take nothing more, finish what is on its way, commit, leave."""
        self._end.set()

    async def _stop(self, consumer: Consumer) -> int:
        self._log.info("stopping", open_records=self.assignment.totals.records)
        consumer.stop_taking()
        await self._finish(self.assignment.shares.copy(), self.parts.clock() + self.settings.drain_timeout)
        while (owed := self.assignment.committable()) and not self._failed(consumer):
            self._confirmed.clear()
            consumer.commit(owed)
            try:
                async with asyncio.timeout(1.0):
                    await self._confirmed.wait()
            except TimeoutError:
                self._log.warning("the last commit is not confirmed yet", partitions=len(owed))
        left = self.assignment.totals.records
        self.assignment.close(list(self.assignment.shares))
        consumer.close()
        await asyncio.wait({consumer.finished})
        if self._failed(consumer):
            return 1
        self._log.info("stopped", left_uncommitted=left)
        return 0

    # the Kafka edge calls these in the loop, in the order in which things happened; what one of them raises ends the
    # edge and with it the process, because what follows could commit past a hole

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        """These partitions are ours (none: we are a member without any)."""
        self.joined = True
        if again := [tp for tp in tps if tp in self.assignment.shares]:
            self._let_go(again, "lost")  # the thread has given up a drain that is not over: nothing of it counts
        self.assignment.assign(epoch, tps)
        self._assigned_at |= dict.fromkeys(tps, self.parts.clock())
        self.divide()
        self._metrics.rebalances.labels(kind="assigned").inc()
        self._log.info("assigned", partitions=[str(tp) for tp in tps])
        self._grant()

    def taken(
        self,
        epochs: Mapping[TopicPartition, int],
        records: Sequence[Record],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Records, in poll order. They are opened here and now."""
        if self.state == "stopping":
            return  # not opened and not passed by: the next owner reads them
        now = self.parts.clock()
        shares = self.assignment.shares
        for tp, some in groupby(records, attrgetter("tp")):
            run = list(some)
            share = self.assignment.took(tp, run, epochs.get(tp))
            self.tally.took(tp.topic, len(run))
            if share is not None and self.routes.of(tp.topic):  # else a reload let go the topic: it goes soon
                for record in run:
                    self._take(share, record, now)
        for tp, position in positions.items():
            share = shares.get(tp)
            if share is not None and share.ledger.epoch == epochs.get(tp) and self.routes.of(tp.topic):
                share.ledger.advance(position)
        self._settled()

    def drain(
        self,
        tps: Sequence[TopicPartition],
        deadline: float,
        done: Drained,
    ) -> None:
        """These partitions are about to be taken from us; `done` gets what may be committed of them."""
        shares = self.assignment.shares
        self._drains.put_nowait(({tp: shares[tp] for tp in tps if tp in shares}, deadline, done))

    def lost(self, tps: Sequence[TopicPartition]) -> None:
        """These partitions are no longer ours, and nothing of them may be committed."""
        self._let_go(tps, "lost")

    def _let_go(self, tps: Iterable[TopicPartition], kind: str) -> None:
        tps = list(tps)
        for lane in (*self.lanes.values(), *self.retired):
            lane.drop(tps)
        self.assignment.close(tps)
        self.divide()
        gone = set(tps)
        for tp in gone:
            self._lines.pop(tp, None)
        self.standstill.forget(gone)
        for tp in tps:
            self._assigned_at.pop(tp, None)
            if self.lags.pop(tp, None) is not None:
                self._metrics.forget(tp)
        self._metrics.rebalances.labels(kind=kind).inc()
        self._log.info(kind, partitions=[str(tp) for tp in tps])
        self._grant()

    def restarted(self, epoch: int, tp: TopicPartition, offset: int) -> None:
        """The partition's offsets start again at or below the last one seen."""
        self.assignment.restart(epoch, tp)
        self.standstill.forget([tp])
        self.assignment.unhalt(tp)
        self.tally.gone(tp.topic, 0)
        self._log.error(
            "offsets of a partition start again: the topic was recreated or truncated", partition=str(tp), offset=offset
        )

    def gone(self, tp: TopicPartition, records: int) -> None:
        """The offset to go on from is no longer there, and `records` were deleted before they were read."""
        self.tally.gone(tp.topic, records)

    def committed(self, offsets: Mapping[TopicPartition, int], error: str) -> None:
        """The answer to a commit; `error` is empty when Kafka took it."""
        self._metrics.commits.labels(outcome="failed" if error else "confirmed").inc()
        if error:
            self._log.warning("a commit was not taken; it is tried again", error=error, partitions=len(offsets))
            return
        self.assignment.confirm(offsets)
        self._confirmed.set()

    def lag(self, lags: Mapping[TopicPartition, int]) -> None:
        """Records between the committed offset and the end, by partition."""
        for tp, records in lags.items():
            if tp in self.assignment.shares:
                self.lags[tp] = records
                self._metrics.consumer_lag.labels(topic=tp.topic, partition=str(tp.partition)).set(records)

    def trouble(self, code: str, reason: str) -> None:
        """Something of Kafka's stands in the way."""
        self.troubles[code] = (reason, self.parts.wall())
        self._log.error("kafka trouble", code=code, reason=reason)

    def recovered(self, code: str) -> None:
        """It no longer does."""
        if self.troubles.pop(code, None) is not None:
            self._log.warning("kafka works again", code=code)

    # from record to entries

    def _take(self, share: Share, record: Record, now: float) -> None:
        """Route a record and open it with as many entries as it owes, all before anything else can happen."""
        line = self._lines.get(record.tp)
        if line is None:
            routed = self.routes.route(record)
            if routed.unready is None:
                self._give(share, record, routed, lambda owed: share.ledger.open(record, owed, now))
                return
            line = self._lines[record.tp] = deque()
            self._ask(routed.unready)
        (settle,) = share.ledger.open(record, 1, now)
        line.append(_Waiting(record, share.ledger.epoch, settle))

    def take_again(self, share: Share, record: Record, kept: AbstractSet[str]) -> bool:
        """Route a record anew that still owes something, but for the routes that keep what they made of it.

        False where it owes nothing here any more: then nothing was done.
        """
        if share.ledger.owe(record.offset, 0) is None:
            return False
        routed = self.routes.route(record)
        if routed.unready is None:
            self._give(share, record, routed, lambda owed: share.ledger.owe(record.offset, owed) or (), kept)
            return True
        settle, *_ = share.ledger.owe(record.offset, 1) or ()
        self._lines.setdefault(record.tp, deque()).append(_Waiting(record, share.ledger.epoch, settle))
        self._ask(routed.unready)
        return True

    def _ask(self, unready: Unready) -> None:
        """Have a schema fetched; the records of its partition wait in line until it is here."""
        if unready not in self._asked:
            self._asked.add(unready)
            self._asking.put_nowait(unready)

    async def _ask_always(self) -> None:
        async with asyncio.TaskGroup() as group:  # of its own: what asks a registry that is away ends with it at a stop
            while True:
                group.create_task(self._fetch(await self._asking.get()), name="schema")

    async def _fetch(self, unready: Unready) -> None:
        """Ask the registry for a schema until it answers. Its outage is nobody's fault: the records wait."""
        pause = _ASK_AGAIN
        while (schemas := self.routes.schemas) is not None and (reason := await schemas.fetch(unready.schema)):
            if REGISTRY_TROUBLE not in self.troubles:
                self.trouble(REGISTRY_TROUBLE, f"{reason}; the records that need it wait")
            await asyncio.sleep(self.parts.random.uniform(pause / 2, pause))
            pause = min(pause * 2, _ASK_AT_MOST)
        self._asked.discard(unready)
        self.recovered(REGISTRY_TROUBLE)
        for tp in list(self._lines):
            self._go_on(tp)

    def _go_on(self, tp: TopicPartition) -> None:
        """Give out the records of a line, in order, as far as their schemas are here."""
        line, share = self._lines[tp], self.assignment.shares.get(tp)
        while line and share is not None:
            waiting = line[0]
            routed = self.routes.route(waiting.record)
            if routed.unready is not None:
                self._ask(routed.unready)
                return
            line.popleft()
            if share.ledger.epoch == waiting.epoch:
                self._give(share, waiting.record, routed, partial(_split, waiting.settle))
        del self._lines[tp]

    def _give(
        self,
        share: Share,
        record: Record,
        routed: Routed,
        opened: Callable[[int], Sequence[Settle]],
        kept: AbstractSet[str] = frozenset(),
    ) -> None:
        """Give the events of a record to their lanes; `opened` makes as many settles as there are debts.

        `kept` are routes that keep what they made of it before.
        """
        failures = [failure for failure in routed.failures if failure.event.route not in kept]
        for route in routed.matched:
            if route not in kept:
                self.tally.took_route(route)
        ready: list[tuple[Lane, Event, Prepared]] = []
        for event in routed.events:
            if event.route in kept:
                continue
            try:
                ready.append((self.lanes[event.target], event, self.targets[event.target].prepare(event)))
            except Unpublishable as error:
                policy = self.routes.by_name[event.route].settings.on_error
                failures.append(Failure(event, "TRANSFORMATION", error.code, str(error), policy))
        self._end_streaks(record, ready, failures)
        if not routed.matched and not routed.failures and not routed.tombstone:
            self.tally.unroutable(record.tp.topic)
            failures.append(self.routes.unrouted(record, self.settings.unrouted))
        owed = [failure for failure in failures if failure.policy != "skip"]
        settles = iter(opened(len(ready) + len(owed)))
        for failure in failures:
            if failure.policy == "skip":
                if failure.event.route:
                    self.tally.ended(failure.event, "skipped")
            else:
                self._fail(share, failure, next(settles))
        for lane, event, prepared in ready:
            entry = Entry(
                event.spent(),
                prepared.body,
                prepared.size,
                prepared.group,
                prepared.unique,
                next(settles),
                prepared.alike,
            )
            self._offer(lane, entry)

    def offer_again(self, entry: Entry) -> None:
        """Offer an entry that was taken back out of a lane, to the lane that its target has now."""
        self._offer(self.lanes[entry.event.target], entry)

    def prepare_again(self, entry: Entry) -> None:
        """Offer an entry anew to a target that has changed. An event that waits has spent its fields: route again."""
        event, share = entry.event, self.assignment.shares.get(entry.event.record.tp)
        if share is None:
            return
        found: tuple[Event, ...] = (event,)
        if not event.fields:
            routed = self.routes.route(event.record)
            found = tuple(one for one in routed.events if (one.id, one.target) == (event.id, event.target))
        if not found:  # its schema has to be fetched again
            if self.take_again(share, event.record, frozenset()):
                entry.settle()
            return
        try:
            prepared = self.targets[event.target].prepare(found[0])
        except Unpublishable as error:
            policy = self.routes.by_name[event.route].settings.on_error
            if policy == "skip":
                self.tally.ended(event, "skipped")
                entry.settle()
            else:
                self._fail(share, Failure(event, "TRANSFORMATION", error.code, str(error), policy), entry.settle)
            return
        self.offer_again(
            Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, entry.settle, prepared.alike)
        )

    def debt(self, entry: Entry) -> Settle:
        """What pays for an entry's record without saying that it has arrived, be it an event or a dead letter."""
        return entry.settle.settle if isinstance(entry.settle, _Burial) else entry.settle

    def _end_streaks(
        self, record: Record, ready: Sequence[tuple[Lane, Event, Prepared]], failures: Sequence[Failure]
    ) -> None:
        """A good record ends the streaks of its routes. In a row means in the partition's order: acks come later."""
        if not self._streaks:
            return
        if all(failure.stage == "TRANSFORMATION" for failure in failures):  # it could be decoded
            for route in self.routes.of(record.tp.topic):
                self._streaks.pop((route.name, "VALUE_CONVERTER"), None)
                self._streaks.pop((route.name, "KEY_CONVERTER"), None)
        failed = {failure.event.route for failure in failures}
        for _, event, _ in ready:
            if event.route not in failed:
                self._streaks.pop((event.route, "TRANSFORMATION"), None)

    def _offer(self, lane: Lane, entry: Entry) -> None:
        delay = self.routes.delays.get(entry.event.route)
        if delay is None:
            lane.offer(entry)
            return
        record, now = entry.event.record, self.parts.clock()
        age = self.parts.wall() - record.timestamp_ms / 1000
        ours = now - self._assigned_at.get(record.tp, now)  # in a backlog too, what must go before it has time to do so
        wait = delay - max(0.0, min(age, ours))  # a clock that is wrong, here or at the producer, adds nothing
        lane.offer(entry, now + wait if wait > 0 else 0.0)

    def _fail(self, share: Share, failure: Failure, settle: Settle) -> None:
        """An event that could not be made: to the dead letters, or the partition stops before it."""
        event = failure.event
        if failure.policy == "hold":
            why = f"{event.record}: {failure.code} {failure.reason}"
            self.assignment.halt(event.record.tp, why)
            self.standstill.halt(event, failure.stage, failure.code, failure.reason, settle, share.ledger.epoch)
            self._log.error(
                "partition holds at a record, as the config says; mend the config and reload it, or skip the record",
                route=event.route,
                code=failure.code,
                reason=failure.reason,
                record=str(event.record),
            )
            return
        cause = Cause(failure.stage, failure.code, failure.reason, event.target, 0, self._wall_ms())
        self._bury(share, event, cause, settle)

    def _reject(self, lane: Lane, entry: Entry, ack: Ack) -> bool:
        """A service refused an entry: follow the route's `on_reject`; False holds the lane."""
        event = entry.event
        route = self.routes.by_name.get(event.route)
        share = self.assignment.shares.get(event.record.tp)
        # a reload may have taken the route away: what it made is still owed, and the dead letters keep it
        policy = route.settings.on_reject if route is not None else "dead_letter"
        if lane.name == DEAD_LETTERS or share is None or policy == "hold" or DEAD_LETTERS not in self.lanes:
            return False
        if policy == "skip":
            self.tally.ended(event, "skipped")
            lane.settle(entry)
            return True
        cause = Cause("TASK_PUT", ack.code, ack.detail, lane.name, lane.attempts(entry), self._wall_ms())
        self._bury(share, event, cause, partial(lane.settle, entry))
        return True

    def _wall_ms(self) -> int:
        return int(self.parts.wall() * 1000)

    def _bury(self, share: Share, event: Event, cause: Cause, settle: Settle) -> None:
        """Hand an event to the dead-letter lane; its debt is paid when Kafka has the dead letter."""
        policy = self.settings.dead_letters
        lane = self.lanes[DEAD_LETTERS]
        stop = self.standstill.routes.get(event.route)
        if stop is not None:
            stop.waiting.append(Waiting(event, cause, settle, share.ledger.epoch))
            return
        letter = bury(event, cause)
        prepared = self.targets[DEAD_LETTERS].prepare(letter)
        paid = _Burial(settle, event, cause.code, self.tally)
        lane.offer(Entry(letter, prepared.body, prepared.size, prepared.group, prepared.unique, paid, prepared.alike))
        streak = (event.route, cause.stage)
        self._streaks[streak] += 1
        if policy is not None and event.route and self._streaks[streak] >= policy.max_consecutive:
            self._log.error(
                "route waits for an operator: too many dead letters in a row, its config or its records are wrong",
                route=event.route,
                code=cause.code,
                in_a_row=self._streaks[streak],
            )
            self.pause(event.route, "dead_letters", cause.code)

    def delivered(self, target: str, entry: Entry, ack: Ack) -> None:
        """A service has an entry: its route's streak of dead letters is broken."""
        if target != DEAD_LETTERS:
            self._streaks.pop((entry.event.route, "TASK_PUT"), None)
            self.tally.delivered(entry.event, ack)

    # what an operator may do; connector.operations.operate says who may, and answers in words

    def pause(self, route: str, why: Why, code: str = "") -> bool:
        """Stop a route: its records wait, and nothing is committed past them; False where it was stopped before."""
        if not self.standstill.stop(route, why, code):
            return False
        for lane in self.lanes.values():
            if lane.name != DEAD_LETTERS:  # a dead letter that is on its way ends there
                lane.stop_route(route)
        self._metrics.paused.labels(route=route).set(1)
        self.divide()
        return True

    def resume(self, route: str) -> bool:
        """Let a stopped route go on; False where it was not stopped."""
        stop = self.standstill.start(route)
        if stop is None:
            return False
        for stage in ("VALUE_CONVERTER", "KEY_CONVERTER", "TRANSFORMATION", "TASK_PUT"):
            self._streaks.pop((route, stage), None)
        self._metrics.paused.labels(route=route).set(0)
        for lane in self.lanes.values():
            lane.start_route(route)
        for event, cause, settle, epoch in stop.waiting:
            share = self.assignment.shares.get(event.record.tp)
            if share is not None and share.ledger.epoch == epoch:
                self._bury(share, event, cause, settle)
        self.divide()
        return True

    def skip(self, route: str, tp: TopicPartition, offset: int) -> int:
        """Let go what a route made of a record at which it stands; return how many events that were."""
        lifted = self.standstill.lift(tp, offset, route)
        for halt in lifted:
            halt.settle()
            self.tally.ended(halt.event, "skipped")
        if lifted and tp not in self.standstill.halts:
            self.assignment.unhalt(tp)
        let_go = len(lifted)
        for lane in self.lanes.values():
            for entry in [entry for entry in lane.stands_at(tp, offset) if entry.event.route == route]:
                lane.settle(entry, self.debt(entry))
                self.tally.ended(entry.settle.event if isinstance(entry.settle, _Burial) else entry.event, "skipped")
                lane.probe()
                let_go += 1
        return let_go

    # room, commits, drains

    def _settled(self) -> None:
        """Something was paid or taken: look at the room soon."""
        self._paid.set()
        if self._grant_timer is None:
            self._grant_timer = asyncio.get_running_loop().call_later(self._grant_every, self._grant)

    def _grant(self) -> None:
        if self._grant_timer is not None:
            self._grant_timer.cancel()
            self._grant_timer = None
        if self.consumer is None:
            return
        self.consumer.grant(self.assignment.credit(self.stopped_partitions(), self._left()))

    def divide(self) -> None:
        """Note which lanes must leave room to others, anew with each assignment.

        A lane that some partitions do not feed may fill half of the room, however it fares: one that is slow, or only
        retries, would take all of it otherwise, and stop the topics of every other target. So would a backlog that
        waits for a route's delay, and stop those that must go before it.
        """
        owned = Counter(tp.topic for tp in self.assignment.shares)
        stopped = [route for name in self.standstill.routes if (route := self.routes.by_name.get(name)) is not None]
        waiting = frozenset(topic for topic in owned if any(route.takes(topic) for route in stopped))
        self._waiting = waiting if len(waiting) < len(owned) else frozenset()
        self._grant_every = _GRANT_EVERY + _GRANT_EACH * sum(owned.values())
        self._late = frozenset(t for t in owned if any(route.settings.delay for route in self.routes.of(t)))
        fed = {name: frozenset(t for t in owned if self.routes.feeds(t, name)) for name in self.lanes}
        self._parts = {name: topics for name, topics in fed.items() if topics and len(topics) < len(owned)}

    def _left(self) -> dict[str, tuple[frozenset[str], int]]:
        """How much more the topics of each lane may bring, and together those of the lanes that do not work.

        What is set aside in a lane counts for the stopped routes, which have a half of their own: a lane shall not
        starve its other routes for them.
        """
        half = self.assignment.half
        left = {
            name: (topics, half - self.lanes[name].open_entries + self.lanes[name].set_aside)
            for name, topics in self._parts.items()
        }
        stuck = [name for name in self._parts if self.lanes[name].stuck]
        topics = frozenset(topic for name in stuck for topic in self._parts[name])
        if len(stuck) > 1 and any(tp.topic not in topics for tp in self.assignment.shares):
            left[""] = (topics, half - sum(self.lanes[name].open_entries for name in stuck))
        for name, topics in (("stopped routes", self._waiting), ("delayed routes", self._late)):
            if topics:
                shares = self.assignment.shares.items()
                opened = sum(share.ledger.open_records for tp, share in shares if tp.topic in topics)
                left[name] = (topics, half - opened)
        return left

    def stopped_partitions(self) -> set[TopicPartition]:
        """The partitions that a held lane stops."""
        return {tp for lane in self.lanes.values() if lane.held is not None for tp in lane.partitions}

    async def _commit_always(self) -> None:
        while True:
            await asyncio.sleep(self.settings.commit_interval)
            if self.state != "running" or self.consumer is None:
                continue
            offsets = self.assignment.committable()
            if offsets:
                self.consumer.commit(offsets)
            self._grant()  # a held lane may have come or gone

    async def _drain_always(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._drain(*await self._drains.get()), name="drain")

    async def _drain(
        self,
        shares: Mapping[TopicPartition, Share],
        deadline: float,
        done: Drained,
    ) -> None:
        await self._finish(shares, deadline)
        # from here to the end no await: ledgers close and committables are read in one step
        tps = self._still(shares)
        committable = self.assignment.committable()
        offsets = {tp: committable[tp][0] for tp in tps if tp in committable}
        self._let_go(tps, "revoked")
        if not done.cancelled():
            done.set_result(offsets)

    def _still(self, shares: Mapping[TopicPartition, Share]) -> list[TopicPartition]:
        """Which of these assignments are still in force; a partition that came back is of another one."""
        return [tp for tp, share in shares.items() if self.assignment.shares.get(tp) is share]

    async def _finish(self, shares: Mapping[TopicPartition, Share], deadline: float) -> None:
        """Finish the holes and the calls in flight of these partitions; let go what was never sent above them."""
        lanes = [*self.lanes.values(), *self.retired]
        tps = self._still(shares)
        high = {tp: max(lane.high(tp) for lane in lanes) for tp in tps}
        let_go = sum(lane.drain(high) for lane in lanes)
        while any(lane.can_finish(tp) for lane in lanes for tp in self._still(shares)):
            left = deadline - self.parts.clock()
            if left <= 0:
                break
            self._paid.clear()
            try:
                async with asyncio.timeout(min(left, _LOOK_EVERY)):
                    await self._paid.wait()
            except TimeoutError:
                continue  # a lane may hold by now: look again
        for lane in lanes:
            lane.hurried(self._still(shares))
        self._log.info("drained", partitions=len(tps), let_go=let_go, left=self.assignment.totals.records)

    # what it says of itself

    async def _sum_up_always(self) -> None:
        before = totals_of(self)
        while True:
            await asyncio.sleep(_SUMMARY_EVERY)
            after = totals_of(self)
            self._log.info("summary", **summary(before, after, _SUMMARY_EVERY))
            before = after

    async def _sample_always(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            delivered = sum(count for (_, outcome), count in self.tally.by_route.items() if outcome == "delivered")
            self.history.sample(delivered, self.tally.calls, self.tally.call_seconds, oldest_age(self))

    def live(self) -> tuple[bool, str]:
        """Whether the consumer thread turns, or is inside a bounded callback."""
        consumer = self.consumer
        if consumer is None or self.state == "starting":
            return True, "starting"
        now = self.parts.clock()
        if consumer.callback_until is not None and now <= consumer.callback_until:
            return True, "in a rebalance"
        still = now - consumer.turned_at
        if still > _STUCK:
            return False, f"the consumer thread has not turned for {still:.0f} s"
        return True, "turning"

    def ready(self) -> tuple[bool, str]:
        """Whether the member has joined its group and takes records."""
        if self.state != "running":
            return False, self.state
        if not self.joined:
            return False, "not in the consumer group yet"
        for code, (reason, _) in self.troubles.items():
            if code == REGISTRY_TROUBLE and self.settings.admin.ready_when_held:
                continue  # records wait as they do behind a held lane
            return False, f"{code}: {reason}"
        held = [lane.name for lane in self.lanes.values() if lane.held is not None]
        if held and not self.settings.admin.ready_when_held:
            return False, f"held: {', '.join(held)}"
        return True, "in the consumer group"

    def status(self) -> Mapping[str, Any]:
        """What `/status` answers (connector.operations.status.Status)."""
        return status_of(self)


def real_parts() -> Parts:
    """The parts of the real daemon: Kafka, and the services of the registry."""

    def dead_letters(settings: Settings) -> Target:
        if settings.dead_letters is None:
            raise ValueError("no dead_letters in the config")
        return DeadLetters(
            settings.dead_letters.topic,
            lambda heard: kafka_producer(producer_config(settings.dead_letter_cluster), heard),
            connector=settings.kafka.group_id,
            topics={route.name: settings.dead_letter_topic(route.name) for route in settings.routes},
            oversize=settings.dead_letters.oversize,
        )

    return Parts(
        consumer=lambda settings, app, loop: KafkaConsumer(settings, partitions=app, loop=loop),
        target=lambda name, settings: REGISTRY[settings.type].make(name, settings),
        dead_letters=dead_letters,
    )


async def serve(loaded: Loaded, routes: Routes, parts: Parts) -> int:
    """Run the daemon with its admin server until SIGTERM or SIGINT; return the exit code."""
    log = structlog.get_logger("connector.app")
    registry = CollectorRegistry()
    watch_process(registry)
    metrics = Metrics(registry)
    app = App(loaded, routes, metrics, parts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload.ask)
    admin = app.settings.admin
    try:
        async with admin_server(app, Operations(app), admin.host, admin.port, metrics=metrics) as bound:
            log.info("started", version=__version__, config_hash=loaded.hash, admin=bound.url)
            return await app.run()
    except CannotListen as error:
        log.error("cannot start", reason=str(error))
        return 1
    except BaseExceptionGroup as group:
        log.error(
            "stopped by a fault: nothing more is committed, what was not acknowledged is sent again after a restart",
            exc_info=group,
        )
        return 1


def run(loaded: Loaded, again: Callable[[], Loaded]) -> int:
    """`connector run`: the daemon on a config that has no errors; return the exit code.

    `again` loads the config anew, for a reload.
    """
    if loaded.settings is None:
        raise ValueError("a config with errors cannot run")
    routes, problems = compile_routes(loaded.settings, loaded.locate)
    if routes is None:
        raise ValueError("\n".join(str(problem) for problem in problems))
    lines = configure_log(loaded.settings.log.level, loaded.settings.log.format)
    log = structlog.get_logger("connector.app")
    for problem in (*loaded.problems, *problems):
        log.warning("config", code=problem.code, where=str(problem.where), message=problem.message)
    parts, spans = replace(real_parts(), read=partial(asyncio.to_thread, _read, again)), None
    if tracing.wanted(os.environ):
        if reason := tracing.unable(os.environ):
            log.warning("no spans are sent", reason=reason)
        else:
            spans = tracing.Tracing(os.environ)
            parts = replace(parts, around=spans.around)
    gc.collect()
    gc.freeze()  # modules, settings and compiled routes live as long as the process
    gc.set_threshold(*_YOUNG)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(loaded, routes, parts))
    finally:
        if spans is not None:
            spans.close()
        lines.close()


def _read(again: Callable[[], Loaded]) -> tuple[Loaded, Routes | None]:
    loaded = again()
    return loaded, compile_routes(loaded.settings, loaded.locate)[0] if loaded.settings is not None else None


def check_online(loaded: Loaded) -> tuple[list[str], list[str]]:
    """`connector check --online`: what of the config is not there, and what is there and will not do, in words.

    Nothing is consumed or sent.
    """
    return asyncio.run(_ask_all(loaded))


async def _ask_all(loaded: Loaded) -> tuple[list[str], list[str]]:
    """Ask Kafka and every target whether what the config names is there; return failures and warnings."""
    settings = loaded.settings
    if settings is None:
        raise ValueError("a config with errors cannot be asked about")
    complaints = await ask_kafka(settings)
    parts = real_parts()
    targets = {name: parts.target(name, target) for name, target in settings.targets.items()}
    feed(targets, settings)
    if settings.dead_letters is not None:
        targets[DEAD_LETTERS] = parts.dead_letters(settings)
    for name, target in targets.items():
        async with target:
            found = await target.preflight()
        if found.health is not Health.OK:
            complaints.append(f"target {name}: {found.health.value}: {found.code} {found.detail}".rstrip())
    warnings = []
    if not complaints:
        cluster = producer_config(settings.dead_letter_cluster)
        warnings = [await retention(topic, cluster) for topic in settings.dead_letter_topics]
    return complaints, [warning for warning in warnings if warning]
