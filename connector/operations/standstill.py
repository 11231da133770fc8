"""What stands still until a person says otherwise: stopped routes, and records that a `hold` policy stands at."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from connector.model import Event, Settle, TopicPartition
from connector.targets.dead_letter import Cause

Why: TypeAlias = Literal["operator", "config", "dead_letters"]
REASONS: dict[Why, str] = {
    "operator": "paused by an operator",
    "config": "paused by the config",
    "dead_letters": "too many dead letters in a row",
}


class Waiting(NamedTuple):
    """An event of a stopped route that has no target to go to: it would become a dead letter."""

    event: Event
    cause: Cause
    settle: Settle
    epoch: int


@dataclass(slots=True)
class Stop:
    """Why a route is stopped, since when (epoch seconds), and what waits for it outside of the lanes.

    `code` is what made the last dead letter, empty where a person stopped the route.
    """

    why: Why
    since: float
    code: str = ""
    waiting: deque[Waiting] = field(default_factory=deque)

    @property
    def reason(self) -> str:
        """In words."""
        return f"{REASONS[self.why]}: {self.code}" if self.code else REASONS[self.why]


@dataclass(frozen=True, slots=True)
class Halt:
    """A record that could not be made into an event, where the config says `hold`: its partition stops before it."""

    event: Event
    stage: str
    code: str
    reason: str
    since: float
    settle: Settle
    epoch: int


class Standstill:
    """Stopped routes and halts.

    Invariant: what waits here is owed in its ledger, so nothing is committed past it; what belongs to an assignment
    that has ended is forgotten with it, because the next owner reads it again.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.routes: dict[str, Stop] = {}
        self.halts: dict[TopicPartition, list[Halt]] = {}
        self._wall = wall

    def stop(self, route: str, why: Why, code: str = "") -> bool:
        """Stop a route; False where it was stopped before."""
        if route in self.routes:
            return False
        self.routes[route] = Stop(why, self._wall(), code)
        return True

    def start(self, route: str) -> Stop | None:
        """Let a route go on; what waits in the answer is the caller's now."""
        return self.routes.pop(route, None)

    def halt(self, event: Event, stage: str, code: str, reason: str, settle: Settle, epoch: int) -> None:
        """Stand at a record."""
        halts = self.halts.setdefault(event.record.tp, [])
        halts.append(Halt(event, stage, code, reason, self._wall(), settle, epoch))

    def lift(self, tp: TopicPartition, offset: int, route: str) -> list[Halt]:
        """Stand no longer at what a route made of a record."""
        halts = self.halts.get(tp, [])
        lifted = [halt for halt in halts if (halt.event.record.offset, halt.event.route) == (offset, route)]
        left = [halt for halt in halts if halt not in lifted]
        if left:
            self.halts[tp] = left
        else:
            self.halts.pop(tp, None)
        return lifted

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are no longer ours."""
        gone = set(tps)
        for stop in self.routes.values():
            stop.waiting = deque(one for one in stop.waiting if one.event.record.tp not in gone)
        for tp in gone:
            self.halts.pop(tp, None)
