"""Sends dead letters again: through the routes as they are now, or back to the topics that they came from.

What fails again stays where it is: no second dead letter is written, and the next replay tries it again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, Protocol

from connector.batch import Trigger
from connector.decode import Unready
from connector.formats.registry import fetched, fetched_now
from connector.formats.schemas import Schemas
from connector.letters.letter import CannotReplay, Letter, NoLetter, Selection, read
from connector.letters.replayed import Replayed
from connector.model import Ack, Batch, Entry, Event, Prepared, Record, TopicPartition, Unpublishable
from connector.publish import Lane, Pace
from connector.route import Routes
from connector.targets.contract import Target

OPEN: Final = 200
"""Letters under way at once: what a kill repeats at most, and what a commit's metadata must be able to take."""

_REMEMBER: Final = 1.0  # seconds between two commits
_FINISH: Final = 10.0  # seconds that a stop waits for what is under way
SOURCES: Final = "their topics"


@dataclass(frozen=True, slots=True)
class Sending:
    """One event of a letter, ready for its target."""

    target: str
    event: Event
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be sent of a letter now.

    Nothing is sent where `code` says why the letter must be left; `skipped` tells that a rule of the config lets it go.
    """

    sendings: tuple[Sending, ...] = ()
    code: str = ""
    reason: str = ""
    skipped: bool = False
    unready: Unready | None = None  # the schema that must be fetched first


class Way(Protocol):
    """Where letters go, and what is made of one."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """What is sent to, by name."""
        ...

    @property
    def schemas(self) -> Schemas | None:
        """Where plans find schemas."""
        ...

    def plan(self, letter: Letter) -> Plan:
        """Make of a letter what it owes; pure."""
        ...


class ThroughRoutes:
    """The routes as the config has them now.

    Invariant: a letter owes what was buried, and no more: the event of its route, of its target where one was chosen,
    and of its element where the route makes several. A record that could not be read, or that no route took, owes what
    all routes make of it. The other events of the record were delivered, or have letters of their own.
    """

    def __init__(self, routes: Routes, targets: Mapping[str, Target]) -> None:
        self.targets: Mapping[str, Target] = targets
        self.schemas = routes.schemas
        self._routes = routes

    def plan(self, letter: Letter) -> Plan:
        """Route the record as it was, and prepare what is owed."""
        if letter.route and letter.route not in self._routes.by_name:
            return Plan(code="NoRoute", reason=f"the config has no route {letter.route} any more")
        routed = self._routes.route(letter.origin)
        if routed.unready is not None:
            return Plan(unready=routed.unready)
        skipped = routed.tombstone
        for failure in routed.failures:
            if letter.whole or failure.event.route == letter.route:
                if failure.policy != "skip":
                    return Plan(code=failure.code, reason=failure.reason)
                skipped = True
        sendings: list[Sending] = []
        for event in routed.events:
            if not _owed(letter, event):
                continue
            try:
                prepared = self.targets[event.target].prepare(event)
            except Unpublishable as error:
                if self._routes.by_name[event.route].settings.on_error == "skip":
                    skipped = True
                    continue
                return Plan(code=error.code, reason=str(error))
            sendings.append(Sending(event.target, event, prepared))
        if not sendings and not skipped:
            who = f"route {letter.route}" if letter.route else "every route"
            return Plan(code="NotTaken", reason=f"{who} makes nothing of it that was owed")
        return Plan(tuple(sendings), skipped=skipped)


def _owed(letter: Letter, event: Event) -> bool:
    if letter.whole:
        return True
    if event.route != letter.route or letter.target not in ("", event.target):
        return False
    return event.id == letter.id or event.id.startswith(f"{letter.id}/")


class ToSource:
    """Back to the topic and partition that a record came from, where every route sees it again."""

    def __init__(self, routes: Routes, source: Target) -> None:
        self.targets: Mapping[str, Target] = {SOURCES: source}
        self.schemas = routes.schemas
        self._routes = routes

    def plan(self, letter: Letter) -> Plan:
        """The record as it was, under its first id."""
        topic = letter.origin.tp.topic
        if not self._routes.of(topic):
            return Plan(code="NoRoute", reason=f"no route reads {topic} any more")
        event = Event(letter.origin, letter.route, SOURCES, {}, letter.id)
        return Plan((Sending(SOURCES, event, self.targets[SOURCES].prepare(event)),))


class Member(Protocol):
    """What a replay needs of `connector.consume_letters.Letters`."""

    replayed: dict[TopicPartition, Replayed]
    ended: bool
    scattered: bool
    drain: Callable[[], Awaitable[None]]

    async def take(self, count: int) -> list[Record]:
        """Up to so many records; 0 only stays in the group."""
        ...

    async def remember(self) -> None:
        """Commit what was replayed; `scattered` then says whether a commit can carry hardly more."""
        ...


@dataclass(slots=True)
class Result:
    """What became of the letters: by outcome, and by code of those that were left."""

    replayed: int = 0
    skipped: int = 0
    left: Counter[tuple[str, str]] = field(default_factory=Counter)  # by route and code
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)  # the first of each
    before: int = 0  # replayed by an earlier run
    others: int = 0  # not selected
    unreadable: Counter[str] = field(default_factory=Counter)  # by reason
    unfinished: int = 0  # under way when the run ended: replayed or not, the next run sends them
    stopped: str = ""

    def leave(self, route: str, code: str, reason: str) -> None:
        """Count a letter that stays."""
        self.left[route, code] += 1
        self.reasons.setdefault((route, code), reason)

    @property
    def seen(self) -> int:
        """Letters of the selection that this run brought to an end."""
        return self.replayed + self.skipped + self.left.total()


@dataclass(slots=True)
class _Debt:
    """One letter's unsettled entries."""

    letter: Letter
    entries: int
    refused: Ack | None = None


class Replay:
    """One run over the dead letters.

    Invariant: a letter counts as replayed when everything that it owes was acknowledged, and never before; at most
    `OPEN` are under way. What is refused again, or cannot be made, is left and counted.
    """

    def __init__(
        self,
        way: Way,
        member: Member,
        connector: str,
        selection: Selection,
        *,
        paces: Mapping[str, Pace],
        skips: Callable[[str], bool],
        clock: Callable[[], float],
        random: Random,
        rate: float | None = None,
        again: bool = False,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """`rate` is letters a second; `again` also takes what was replayed before; `heard` is told of each end.

        `skips(route)` says whether the route's `on_reject` lets a refused event go.
        """
        self.result = Result()
        self._way = way
        self._member = member
        self._connector = connector
        self._selection = selection
        self._skips = skips
        self._clock = clock
        self._rate = rate
        self._again = again
        self._heard = heard
        self.looked: Callable[[], None] = lambda: None
        """Called in each turn, some times a second."""
        self._debts: dict[Entry, _Debt] = {}
        self._open = 0
        self._waiting: deque[Letter] = deque()
        self._tokens = 0.0
        self._tokens_at = clock()
        self._give_up_at: float | None = None
        self._paid = asyncio.Event()
        self.lanes: dict[str, Lane] = {
            name: Lane(
                name,
                target,
                paces[name],
                clock=clock,
                random=random,
                watch=_Unwatched(),
                reject=self._refuse,
            )
            for name, target in way.targets.items()
        }

    async def run(self) -> Result:
        """Send every letter of the selection that was there at the start, then return what became of them."""
        self._member.drain = self._drain
        async with AsyncExitStack() as stack:
            for target in self._way.targets.values():
                await stack.enter_async_context(target)
            async with asyncio.TaskGroup() as root:
                tasks = [root.create_task(lane.run(), name=f"lane {lane.name}") for lane in self.lanes.values()]
                try:
                    await self._go_through()
                except CannotReplay as error:  # what was acknowledged since the last commit is sent again next time
                    self.result.stopped = str(error)
                    self.result.unfinished = self._open
                finally:
                    for task in tasks:
                        task.cancel()
        return self.result

    def stop(self) -> None:
        """Begin no more letters; finish those under way, as far as their targets do not hold."""
        if self._give_up_at is None:
            self._give_up_at = self._clock() + _FINISH
        self._paid.set()

    async def _go_through(self) -> None:
        remembered = self._clock()
        while not self._over():
            await self._begin()
            room = OPEN - self._open - len(self._waiting)
            for record in await self._member.take(0 if self._give_up_at is not None else max(0, room)):
                self._look_at(record)
            self.looked()
            if self._clock() - remembered >= _REMEMBER:
                remembered = self._clock()
                await self._member.remember()
                if self._member.scattered:
                    self.result.stopped = (
                        "what was left lies between what was replayed, and Kafka's commits can carry no longer list: "
                        "replay or let go what was left first"
                    )
                    self.stop()
        self.result.unfinished = self._open
        await self._member.remember()

    def _over(self) -> bool:
        if self._give_up_at is not None:
            return not self._open or self._clock() >= self._give_up_at
        return not self._open and self._member.ended and not self._waiting

    def _look_at(self, record: Record) -> None:
        memory = self._member.replayed[record.tp]
        memory.saw(record.offset)
        letter = read(record, self._connector)
        if isinstance(letter, NoLetter):
            self.result.unreadable[letter.reason] += 1
        elif not self._selection.takes(letter):
            self.result.others += 1
        elif record.offset in memory and not self._again:
            self.result.before += 1
        else:
            self._waiting.append(letter)

    async def _begin(self) -> None:
        while self._waiting and self._give_up_at is None and self._may_go():
            letter = self._waiting.popleft()
            plan = self._way.plan(letter)
            if plan.unready is not None:
                reason = await fetched(self._way.schemas, partial(_needed, self._way, letter))
                plan = _unavailable(reason) if reason else self._way.plan(letter)
            if plan.code:
                self._leave(letter, plan.code, plan.reason)
            elif not plan.sendings:
                self.result.skipped += 1
                self._done(letter)
            else:
                self._offer(letter, plan.sendings)

    def _may_go(self) -> bool:
        if self._rate is None:
            return True
        now = self._clock()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._tokens_at) * self._rate)
        self._tokens_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _offer(self, letter: Letter, sendings: Sequence[Sending]) -> None:
        self._open += 1
        debt = _Debt(letter, len(sendings))
        for sending in sendings:
            prepared = sending.prepared

            def settle() -> None:
                self._pay(debt)

            entry = Entry(
                sending.event, prepared.body, prepared.size, prepared.group, prepared.unique, settle, prepared.alike
            )
            self._debts[entry] = debt
            self.lanes[sending.target].offer(entry)

    def _refuse(self, lane: Lane, entry: Entry, ack: Ack) -> bool:
        """The service refused it again: the letter stays, unless a rule of the config lets it go."""
        debt = self._debts[entry]
        if not self._skips(entry.event.route):
            debt.refused = ack
        lane.settle(entry)
        return True

    def _pay(self, debt: _Debt) -> None:
        debt.entries -= 1
        if debt.entries:
            return
        self._open -= 1
        if debt.refused is not None:
            self._leave(debt.letter, debt.refused.code, debt.refused.detail)
        else:
            self.result.replayed += 1
            self._done(debt.letter)
        self._paid.set()

    def _done(self, letter: Letter) -> None:
        self._member.replayed[letter.place.tp].add(letter.place.offset)
        self._heard()

    def _leave(self, letter: Letter, code: str, reason: str) -> None:
        self.result.leave(letter.route, code, reason)
        self._heard()

    async def _drain(self) -> None:
        """Finish what is under way: the partitions are about to be taken from us."""
        self.stop()
        while self._open:
            self._paid.clear()
            await self._paid.wait()

    @property
    def held(self) -> list[str]:
        """The lanes that stand still, and why, in words."""
        return [f"{lane.name} holds: {lane.held.ack.code}" for lane in self.lanes.values() if lane.held is not None]


class _Unwatched:
    """A replay counts letters, not calls."""

    def delivered(self, entry: Entry, ack: Ack) -> None: ...

    def retried(self, entry: Entry, ack: Ack) -> None: ...

    def called(self, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None: ...


def _needed(way: Way, letter: Letter) -> Unready | None:
    return way.plan(letter).unready


def _unavailable(reason: str) -> Plan:
    return Plan(code="SchemaUnavailable", reason=reason)


def look(
    records: Iterable[Record],
    memory: Callable[[TopicPartition], Replayed],
    way: Way,
    connector: str,
    selection: Selection,
    *,
    again: bool = False,
) -> Result:
    """A dry run over these records: the same plan for each, and nothing is sent."""
    result = Result()
    for record in records:
        letter = read(record, connector)
        if isinstance(letter, NoLetter):
            result.unreadable[letter.reason] += 1
        elif not selection.takes(letter):
            result.others += 1
        elif record.offset in memory(record.tp) and not again:
            result.before += 1
        else:
            reason = fetched_now(way.schemas, partial(_needed, way, letter))
            plan = _unavailable(reason) if reason else way.plan(letter)
            if plan.code:
                result.leave(letter.route, plan.code, plan.reason)
            elif not plan.sendings:
                result.skipped += 1
            else:
                result.replayed += 1
    return result
