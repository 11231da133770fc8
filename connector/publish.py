"""The Lane: one per target. It keeps calls in flight, order, backoff and hold, and brings every entry to its end."""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, TypeAlias

import structlog

from connector.batch import Batcher, Closed, Trigger, halve, pack
from connector.model import (
    Ack,
    Batch,
    BatchRefused,
    Entry,
    Health,
    Limits,
    Preflight,
    Record,
    Settle,
    TopicPartition,
    Verdict,
)
from connector.targets.settings import TargetSettings

_HURRY: Final = 0.1  # longest backoff in seconds while a drain waits for the holes
_TOKEN: Final = 1.0 - 1e-6  # a whole token, give or take what floating point loses on the way
_TICK: Final = 1e-6  # shortest sleep in seconds: a timer may fire a rounding error before its time
_SHIFT: Final = 10  # the streak beyond which the number of calls in flight cannot shrink any more
_STUCK: Final = 3  # the streak from which on a lane does not count as working


class Sender(Protocol):
    """What a lane needs of a target."""

    @property
    def limits(self) -> Limits:
        """Limits of one call."""
        ...

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one call; one Ack an entry, in order."""
        ...

    async def preflight(self) -> Preflight:
        """Ask whether the destination is there."""
        ...


Send: TypeAlias = Callable[[Batch], Awaitable[Sequence[Ack]]]
"""What makes a call: a target's `send`, or something around it."""


class Watch(Protocol):
    """What a lane reports: every method is called synchronously and must not raise."""

    def delivered(self, entry: Entry, ack: Ack) -> None:
        """The service has the entry."""
        ...

    def retried(self, entry: Entry, ack: Ack) -> None:
        """The entry will be sent again."""
        ...

    def called(self, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None:
        """A call has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How a lane sends: settings of its target in plain numbers (seconds, calls a second)."""

    linger: float = 0.1
    max_in_flight: int = 16
    calls_per_second: float | None = None
    retry_initial: float = 0.2
    retry_max: float = 30.0
    give_up_after: float | None = None
    request_timeout: float = 30.0
    preflight_interval: float = 60.0
    order: str = "none"
    hold_initial: float = 1.0
    hold_max: float = 60.0

    @classmethod
    def of(cls, settings: TargetSettings) -> "Pace":
        """A target's settings as plain numbers."""
        return cls(
            linger=settings.batch.linger,
            max_in_flight=settings.max_in_flight,
            calls_per_second=settings.rate_limit.calls if settings.rate_limit else None,
            retry_initial=settings.retry.initial,
            retry_max=settings.retry.max,
            give_up_after=settings.retry.give_up_after,
            request_timeout=settings.deadline,
            preflight_interval=settings.preflight_interval,
            order=settings.order,
        )


@dataclass(slots=True)
class Held:
    """Why a lane stands still, since when (the clock's seconds), and when it probes next."""

    ack: Ack
    entry: Entry | None
    since: float
    pause: float
    probe_at: float
    by_preflight: bool = False


@dataclass(slots=True)
class Failing:
    """Calls of a lane that bring nothing: what the last one said, and since when (the clock's seconds)."""

    ack: Ack
    since: float


@dataclass(slots=True)
class _Tries:
    count: int = 0
    first_at: float = 0.0


@dataclass(order=True, slots=True)
class _Later:
    due: float
    turn: int
    entry: Entry = field(compare=False)
    sent: bool = field(compare=False, default=True)


class Lane:
    """Entries on their way to one target.

    Invariant: every entry offered is, until it is settled or dropped, in exactly one place: behind its key, in an open
    batch, ready, in a call, waiting for its next try, set aside (its route is stopped), or buried (the dead-letter
    topic has it). Dropped entries are forgotten where they stand: what is no longer in `_live` is passed over, and its
    late ack counts for nothing.
    Nothing is sent before the first preflight has answered.
    """

    def __init__(
        self,
        name: str,
        target: Sender,
        pace: Pace,
        *,
        clock: Callable[[], float],
        random: Random,
        watch: Watch,
        reject: Callable[["Lane", Entry, Ack], bool],
        send: Send | None = None,
    ) -> None:
        """`reject` takes a refused entry over (dead letter, skip) and answers True, or False: then the lane holds.

        `send` makes the calls, the target's own by default.
        """
        self.name = name
        self.target = target
        self._deliver = send or target.send
        self.pace = pace
        self.held: Held | None = None
        self.failing: Failing | None = None
        self.preflight: Preflight | None = None
        self.preflight_at = 0.0
        self.in_flight = 0
        self.open_entries = 0
        self.open_bytes = 0
        self._clock = clock
        self._random = random
        self._watch = watch
        self._reject = reject
        self._log = structlog.get_logger("connector.publish").bind(target=name)
        self._live: dict[TopicPartition, set[Entry]] = {}
        self._gates: dict[TopicPartition, dict[bytes | None, deque[tuple[Entry, float]]]] = {}
        self._batcher = Batcher(target.limits, pace.linger)
        self._ready: deque[Closed] = deque()
        self._later: list[_Later] = []
        self._turns = itertools.count()
        self._front: list[Entry] = []  # what a hold sent back: the next probe starts with these
        self._buried: set[Entry] = set()
        self._flying: set[Entry] = set()
        self._ending = False
        self._stopped: set[str] = set()  # routes of which nothing is sent
        self._aside: dict[Entry, None] = {}  # their entries, as they came to be sent
        self._tries: dict[Entry, _Tries] = {}
        self._high: dict[TopicPartition, int] = {}
        self._streak = 0
        self._not_before = 0.0
        self._tokens = pace.calls_per_second or 0.0
        self._tokens_at = clock()
        self._hurry = False
        self._wake = asyncio.Event()

    # what comes in

    def offer(self, entry: Entry, not_before: float = 0.0) -> None:
        """Take an entry; it is not sent before `not_before` (the clock's seconds)."""
        tp = entry.event.record.tp
        self._live.setdefault(tp, set()).add(entry)
        self.open_entries += 1
        self.open_bytes += entry.size
        if self.pace.order != "none" and not self._opens_gate(tp, entry, not_before):
            return
        self._admit(entry, not_before)

    def _opens_gate(self, tp: TopicPartition, entry: Entry, not_before: float) -> bool:
        """At most one unsettled entry a key (or partition): later ones wait behind it. Null keys are unordered."""
        key = self._order_key(entry)
        if key is None:
            return True
        gates = self._gates.setdefault(tp, {})
        waiting = gates.get(key)
        if waiting is None:
            gates[key] = deque()
            return True
        waiting.append((entry, not_before))
        return False

    def _order_key(self, entry: Entry) -> bytes | None:
        if self.pace.order == "partition":
            return b""
        return entry.event.record.key if self.pace.order == "key" else None

    def _admit(self, entry: Entry, not_before: float) -> None:
        now = self._clock()
        if not_before > now:
            self._wait_until(not_before, entry, sent=False)
            return
        idle = self._batcher.is_empty
        closed = self._batcher.add(entry, now)
        self._ready.extend(closed)
        if closed or idle:
            self._wake.set()

    def _wait_until(self, due: float, entry: Entry, *, sent: bool) -> None:
        heapq.heappush(self._later, _Later(due, next(self._turns), entry, sent))
        if self._later[0].entry is entry:
            self._wake.set()

    # the loop

    async def run(self) -> None:
        """Send until cancelled. Each call is a child of this task, so none outlives it."""
        async with asyncio.TaskGroup() as calls:
            calls.create_task(self._watch_destination(), name=f"preflight {self.name}")
            while True:
                self._wake.clear()
                while (closed := self._next()) is not None:
                    calls.create_task(self._call(closed), name=f"call {self.name}")
                await self._sleep(self._next_at())

    async def _sleep(self, until: float | None) -> None:
        timeout = None if until is None else max(_TICK, until - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _next(self) -> Closed | None:
        """Decide what to send now: a batch, counted as in flight, or None."""
        now = self._clock()
        if self.preflight is None or self._ending:
            return None
        self._bring_due(now)
        if self.held is not None:
            closed = self._next_probe(now)
        elif self.in_flight >= self._allowed() or now < self._not_before or not self._has_token(now):
            return None
        else:
            closed = self._next_ready(now)
        if closed is None:
            return None
        self.in_flight += 1
        self._flying.update(closed.batch)
        if self.pace.calls_per_second is not None:
            self._tokens -= 1.0
        for entry in closed.batch:
            record = entry.event.record
            if record.offset > self._high.get(record.tp, -1):
                self._high[record.tp] = record.offset
        return closed

    def _bring_due(self, now: float) -> None:
        while self._later and self._later[0].due <= now:
            entry = heapq.heappop(self._later).entry
            if self._goes(entry):
                self._ready.extend(self._batcher.add(entry, now))

    def _next_ready(self, now: float) -> Closed | None:
        if not self._ready:
            self._ready.extend(self._batcher.flush() if self._hurry else self._batcher.due(now))
        while self._ready:
            closed = self._alive(self._ready.popleft())
            if closed.batch:
                return closed
        return None

    def _next_probe(self, now: float) -> Closed | None:
        """One batch at a time while held, what was refused first; the others of the lane fill it up."""
        held = self.held
        if held is None or self.in_flight or now < held.probe_at or held.by_preflight:
            return None
        self._ready.extend(self._batcher.flush())
        entries = [e for e in self._front if self._goes(e)]
        self._front = []
        company = list(self._ready)
        self._ready.clear()
        entries.extend(e for closed in company for e in closed.batch if self._goes(e))
        if not entries:
            self._release()  # nothing is left to ask with: the next entry finds out
            return None
        probe, *rest = pack(entries, self.target.limits, Trigger.FLUSH)
        self._ready.extend(rest)
        return Closed(probe.batch, Trigger.PROBE)

    def _alive(self, closed: Closed) -> Closed:
        return Closed(tuple(entry for entry in closed.batch if self._goes(entry)), closed.trigger)

    def _goes(self, entry: Entry) -> bool:
        """Whether an entry that has come to be sent is sent; one of a stopped route is set aside instead."""
        if not self._owes(entry):
            return False
        if entry.event.route in self._stopped:
            self._aside[entry] = None
            return False
        return True

    def _allowed(self) -> int:
        """Calls at once: all while calls get through, fewer with each one that brings nothing, at least one."""
        return max(1, self.pace.max_in_flight >> min(self._streak, _SHIFT))

    def _has_token(self, now: float) -> bool:
        rate = self.pace.calls_per_second
        if rate is None:
            return True
        self._tokens = min(max(1.0, rate), self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        return self._tokens >= _TOKEN

    def _next_at(self) -> float | None:
        """When there may be something to send that is not there now; a call's end wakes the lane by itself."""
        if self.preflight is None or self._ending:
            return None
        if self.held is not None:
            return None if self.in_flight or self.held.by_preflight else self.held.probe_at
        times = [self._later[0].due] if self._later else []
        if self.in_flight < self._allowed() and (self._ready or self._batcher.deadline is not None):
            due = self._clock() if self._ready or self._hurry else self._batcher.deadline
            token = 0.0
            if self.pace.calls_per_second is not None and self._tokens < _TOKEN:
                token = self._tokens_at + (1.0 - self._tokens) / self.pace.calls_per_second
            times.append(max(due or 0.0, self._not_before, token))
        return min(times, default=None)

    # a call and its verdicts

    async def _call(self, closed: Closed) -> None:
        started = self._clock()
        try:
            acks = await self._send(closed.batch)
        finally:
            self.in_flight -= 1
            self._flying.difference_update(closed.batch)
            self._wake.set()
        if acks is None:
            self._ready.extendleft(reversed(halve(closed.batch)))
            return
        self._watch.called(closed.batch, closed.trigger, acks, self._clock() - started)
        self._judge(closed, acks)

    async def _send(self, batch: Batch) -> Sequence[Ack] | None:
        """One ack an entry; None for a batch that was refused whole and can be halved."""
        try:
            async with asyncio.timeout(self.pace.request_timeout):
                acks = await self._deliver(batch)
        except TimeoutError:
            ack = Ack(Verdict.RETRY, "Timeout", f"no answer within {self.pace.request_timeout:g} s")
            return [ack] * len(batch)
        except BatchRefused as refused:
            return None if len(batch) > 1 else [refused.ack]
        if len(acks) != len(batch):
            ack = Ack(Verdict.RETRY, "ProtocolError", f"{len(acks)} answers to {len(batch)} entries")
            return [ack] * len(batch)
        return acks

    def _judge(self, closed: Closed, acks: Sequence[Ack]) -> None:
        now = self._clock()
        verdicts = [self._judge_entry(entry, ack, now) for entry, ack in zip(closed.batch, acks, strict=True)]
        moved = [v for v in verdicts if v in (Verdict.DELIVERED, Verdict.REJECTED)]
        if moved:
            self._streak = 0
            self.failing = None
        elif Verdict.RETRY in verdicts:
            self._streak += 1
            self._not_before = now + self._pause(self._streak, max(ack.retry_after for ack in acks))
            said = next(ack for ack in acks if ack.verdict is Verdict.RETRY)
            self.failing = Failing(said, self.failing.since if self.failing is not None else now)
        if Verdict.HOLD in verdicts:
            at = verdicts.index(Verdict.HOLD)
            self._hold(acks[at], closed.batch[at], now)
            if closed.trigger is Trigger.PROBE:
                self._postpone(now, fresh=bool(moved))
        elif self.held is not None and closed.trigger is Trigger.PROBE:
            if moved:
                self._release()
            else:
                self._postpone(now)

    def _judge_entry(self, entry: Entry, ack: Ack, now: float) -> Verdict:
        verdict = ack.verdict
        if not self._owes(entry):
            return verdict  # its partition has gone: the next owner sends it again
        if verdict is Verdict.RETRY:
            tries = self._tries.setdefault(entry, _Tries(0, now))
            late = self.pace.give_up_after is not None and now - tries.first_at >= self.pace.give_up_after
            if late or (ack.tries and tries.count + 1 >= ack.tries):
                verdict = Verdict.REJECTED
            else:
                tries.count += 1
                self._watch.retried(entry, ack)
                self._wait_until(now + self._pause(tries.count, ack.retry_after), entry, sent=True)
                return verdict
        if verdict is Verdict.DELIVERED:
            self._watch.delivered(entry, ack)
            self.settle(entry)
        elif verdict is Verdict.REJECTED and self._reject(self, entry, ack):
            if self._owes(entry):
                self._buried.add(entry)
        else:
            verdict = Verdict.HOLD
            self._front.append(entry)
        return verdict

    def attempts(self, entry: Entry) -> int:
        """How many calls have carried this entry, the one being judged included."""
        tries = self._tries.get(entry)
        return tries.count + 1 if tries is not None else 1

    def settle(self, entry: Entry, pay: Settle | None = None) -> None:
        """Bring an entry to its end: it owes nothing more, and the next one of its key may go.

        `pay` is called in place of its own settle.
        """
        tp = entry.event.record.tp
        live = self._live.get(tp)
        if live is None or entry not in live:
            return
        self._forget(tp, live, entry)
        (pay or entry.settle)()
        self._open_next(tp, entry)

    def _open_next(self, tp: TopicPartition, entry: Entry) -> None:
        key = self._order_key(entry)
        gates = self._gates.get(tp)
        if key is None or gates is None:
            return
        waiting = gates.get(key) or deque()
        while waiting:
            following, not_before = waiting.popleft()
            if self._owes(following):
                self._admit(following, not_before)
                return
        gates.pop(key, None)

    def _forget(self, tp: TopicPartition, live: set[Entry], entry: Entry) -> None:
        live.discard(entry)
        if not live:
            del self._live[tp]
        self._tries.pop(entry, None)
        self._buried.discard(entry)
        self._aside.pop(entry, None)
        self.open_entries -= 1
        self.open_bytes -= entry.size

    def _owes(self, entry: Entry) -> bool:
        live = self._live.get(entry.event.record.tp)
        return live is not None and entry in live

    def _pause(self, count: int, retry_after: float) -> float:
        """Seconds to the next try: what the service asks for, or longer.

        Full jitter: anywhere from nothing to the doubled bound, so that many members do not return at once.
        """
        bound: float = min(self.pace.retry_max, self.pace.retry_initial * 2.0 ** min(count - 1, 30))
        pause = max(retry_after, self._random.uniform(0.0, bound))
        return min(pause, _HURRY) if self._hurry else pause

    # hold

    def _hold(self, ack: Ack, entry: Entry | None, now: float, *, by_preflight: bool = False) -> None:
        held = self.held
        if held is None:
            pause = self.pace.hold_initial
            self.held = Held(ack, entry, now, pause, now + pause, by_preflight)
            record = entry.event.record if entry is not None else None
            self._log.error(
                "target holds: nothing is lost, nothing is sent until it works again",
                code=ack.code,
                detail=ack.detail,
                topic=record.tp.topic if record else None,
                partition=record.tp.partition if record else None,
                offset=record.offset if record else None,
                next_probe_s=pause,
            )
            return
        held.ack, held.by_preflight = ack, by_preflight or held.by_preflight
        held.entry = entry or held.entry

    def _postpone(self, now: float, *, fresh: bool = False) -> None:
        held = self.held
        if held is not None:
            held.pause = self.pace.hold_initial if fresh else min(self.pace.hold_max, held.pause * 2)
            held.probe_at = now + held.pause

    def _release(self) -> None:
        if self.held is None:
            return
        self._log.warning(
            "target works again", code=self.held.ack.code, held_s=round(self._clock() - self.held.since, 1)
        )
        self.held = None
        self._ready.extendleft(reversed(pack(self._front, self.target.limits, Trigger.FLUSH)))
        self._front = []

    async def _watch_destination(self) -> None:
        """Preflight at start and every `preflight_interval`: the service may answer success for what is not there."""
        while True:
            self._judge_preflight(await self._ask())
            await asyncio.sleep(min(self.pace.preflight_interval, self.held.pause if self.held else float("inf")))

    async def _ask(self) -> Preflight:
        try:
            async with asyncio.timeout(self.pace.request_timeout):
                return await self.target.preflight()
        except TimeoutError:
            return Preflight(Health.UNKNOWN, "Timeout", f"no answer within {self.pace.request_timeout:g} s")

    def _judge_preflight(self, found: Preflight) -> None:
        before, self.preflight = self.preflight, found
        self.preflight_at = self._clock()
        self._wake.set()
        if found.health is Health.MISSING:
            ack = Ack(Verdict.HOLD, found.code or "Missing", found.detail)
            now = self._clock()
            again = self.held is not None and self.held.by_preflight
            self._hold(ack, None, now, by_preflight=True)
            if again:
                self._postpone(now)
        elif self.held is not None and self.held.by_preflight:
            if found.health is Health.OK:
                self._release()
        elif found.health is Health.UNKNOWN and (before is None or before.health is not Health.UNKNOWN):
            self._log.warning(
                "cannot see whether the destination exists; sending all the same",
                code=found.code,
                detail=found.detail,
            )

    # what an operator may do

    def stop_route(self, route: str) -> None:
        """Send nothing more of a route. Calls under way end; what else it has here waits, and keeps its place."""
        self._stopped.add(route)

    def start_route(self, route: str) -> None:
        """Let a stopped route go on."""
        self._stopped.discard(route)
        again = [entry for entry in self._aside if entry.event.route == route]
        for entry in again:
            del self._aside[entry]
        again.sort(key=_place)
        self._ready.extend(pack(again, self.target.limits, Trigger.FLUSH))
        self._wake.set()

    def stands_at(self, tp: TopicPartition, offset: int) -> list[Entry]:
        """The entries of a record at which this lane holds; none where it does not hold, or at another record."""
        if self.held is None:
            return []
        front = dict.fromkeys(self._front)
        if self.held.entry is not None:
            front[self.held.entry] = None
        return [e for e in front if (e.event.record.tp, e.event.record.offset) == (tp, offset) and self._owes(e)]

    def probe(self) -> None:
        """Probe now: what held the lane may be gone."""
        if self.held is not None:
            self.held.probe_at = self._clock()
            self._wake.set()

    # what a reload does

    def end(self) -> None:
        """Send nothing more: calls under way end, and what comes back of them stays until it is recalled."""
        self._ending = True

    @property
    def drained(self) -> bool:
        """Whether a successor may begin: no call is under way, and none of what it still has here holds up an order."""
        return not self.in_flight and (self.pace.order == "none" or not self._buried)

    def has(self, route: str) -> bool:
        """Whether anything of a route is here."""
        return any(entry.event.route == route for live in self._live.values() for entry in live)

    def recall(self) -> list[Entry]:
        """Take back what is neither on the wire nor buried; what stays keeps its key or partition."""
        stays = self._flying | self._buried
        back = [entry for live in self._live.values() for entry in live if entry not in stays]
        for entry in back:
            tp = entry.event.record.tp
            self._forget(tp, self._live[tp], entry)
        self._batcher = Batcher(self.target.limits, self.pace.linger)
        self._ready.clear()
        self._later.clear()
        self._front.clear()
        self._gates.clear()
        for entry in stays:
            if self._owes(entry) and (key := self._order_key(entry)) is not None:
                self._gates.setdefault(entry.event.record.tp, {})[key] = deque()
        return back

    def follow(self, old: "Lane") -> None:
        """Begin where another lane ends: with what it has sent, and with the routes that are stopped."""
        self._high = dict(old._high)
        self._stopped = set(old._stopped)

    # drain

    def high(self, tp: TopicPartition) -> int:
        """The highest offset of this partition that was ever sent in this assignment, -1 for none."""
        return self._high.get(tp, -1)

    def drain(self, high: Mapping[TopicPartition, int]) -> int:
        """Forget what was never sent above `high`, hurry the rest; return how many entries were let go.

        The next owner reads what is let go here, so it is no duplicate; what stands at or below the mark must be
        finished, or the next owner repeats what lies above it. A delayed entry cannot be hurried and is let go too.
        """
        self._hurry = True
        let_go = 0
        waiting = {later.entry for later in self._later if not later.sent}
        for tp, mark in high.items():
            for entry in list(self._live.get(tp, ())):
                if entry.event.record.offset > mark or entry in waiting:
                    self._forget(tp, self._live[tp], entry)
                    let_go += 1
        now = self._clock()
        self._later = [
            _Later(min(later.due, now + _HURRY), later.turn, later.entry, later.sent)
            for later in self._later
            if self._owes(later.entry)
        ]
        heapq.heapify(self._later)
        self._not_before = min(self._not_before, now + _HURRY)
        self._wake.set()
        return let_go

    def hurried(self, tps: Iterable[TopicPartition]) -> None:
        """The drain is over: forget these partitions and go on at the usual pace."""
        self.drop(tps)
        self._hurry = False

    def drop(self, tps: Iterable[TopicPartition]) -> None:
        """Forget these partitions: nothing of them is sent any more, and no late ack counts."""
        for tp in tps:
            for entry in list(self._live.get(tp, ())):
                self._forget(tp, self._live[tp], entry)
            self._gates.pop(tp, None)
            self._high.pop(tp, None)
        self._front = [entry for entry in self._front if self._owes(entry)]

    def owes(self, tp: TopicPartition) -> int:
        """Entries of this partition that are not settled yet."""
        return len(self._live.get(tp, ()))

    def can_finish(self, tp: TopicPartition) -> bool:
        """Whether this lane itself can still bring something of this partition to its end.

        It cannot while it holds; what is buried depends on the dead-letter lane, what is set aside on an operator, what
        is behind a key on that key.
        """
        if self.held is not None:
            return False
        behind = {entry for waiting in self._gates.get(tp, {}).values() for entry, _ in waiting}
        waits = (self._buried, self._aside, behind)
        return any(not any(entry in place for place in waits) for entry in self._live.get(tp, ()))

    @property
    def partitions(self) -> Iterable[TopicPartition]:
        """The partitions that feed this lane with something unsettled."""
        return self._live.keys()

    @property
    def stuck(self) -> bool:
        """Whether the lane holds, or several calls in a row brought nothing."""
        return self.held is not None or self._streak >= _STUCK

    @property
    def waiting(self) -> int:
        """Entries that are not on the wire: in open batches, ready, or waiting for their next try."""
        ready = sum(len(closed.batch) for closed in self._ready)
        return len(self._batcher) + ready + len(self._later) + len(self._front) + len(self._aside)

    def waiting_of(self, route: str) -> int:
        """Entries of a stopped route, as far as they have come to be sent."""
        return sum(entry.event.route == route for entry in self._aside)

    @property
    def set_aside(self) -> int:
        """Entries of stopped routes, as far as they have come to be sent."""
        return len(self._aside)

    @property
    def next_try_at(self) -> float:
        """When a lane whose calls bring nothing may make the next one, in the clock's seconds."""
        return max(self._not_before, self._later[0].due) if self._later else self._not_before

    def lowest(self) -> Record | None:
        """The record that the oldest open entry is of: what a commit waits for."""
        records = (entry.event.record for entries in self._live.values() for entry in entries)
        return min(records, key=lambda record: (record.timestamp_ms, record.tp, record.offset), default=None)


def _place(entry: Entry) -> tuple[TopicPartition, int]:
    return entry.event.record.tp, entry.event.record.offset
