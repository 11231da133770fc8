"""The commit-safety monitor: reads what the members of a group did, in order, and says where a promise was broken.

The rules are those that Kafka's own system tests hold a consumer to: commit only what is assigned, never past what was
read, never backwards, and, for us, never past an entry that is not settled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from connector.model import TopicPartition


@dataclass(frozen=True, slots=True)
class Assigned:
    """A member got partitions; `epoch` tells this assignment from every other of the member."""

    member: str
    epoch: int
    tps: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """A record was handed over and owes so many entries."""

    member: str
    epoch: int
    tp: TopicPartition
    offset: int
    owes: int = 1


@dataclass(frozen=True, slots=True)
class Moved:
    """The consumer's position was told: every record before it was handed over."""

    member: str
    epoch: int
    tp: TopicPartition
    position: int


@dataclass(frozen=True, slots=True)
class Settled:
    """One entry of a record was paid."""

    member: str
    epoch: int
    tp: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A member sent a commit for a partition."""

    member: str
    epoch: int
    tp: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions were taken from a member, or lost; it comes after the commit that is made inside a revoke."""

    member: str
    tps: tuple[TopicPartition, ...]


Happening: TypeAlias = Assigned | Taken | Moved | Settled | Committed | Revoked


@dataclass(slots=True)
class _Assignment:
    """What the monitor knows of one partition in one epoch."""

    epoch: int
    last: int = -1
    position: int = -1
    committed: int = -1
    owed: dict[int, int] = field(default_factory=dict)


class Monitor:
    """Hears what happened and keeps every violation, so that a test shows all of them at once.

    Invariant: it judges each commit by what had happened before it, and knows nothing of how the daemon decides.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.commits = 0
        self._held: dict[tuple[str, TopicPartition], _Assignment] = {}
        self._ended: set[tuple[str, TopicPartition, int]] = set()
        self._heard = 0

    def hear(self, *happenings: Happening) -> None:
        """Take what happened, in order."""
        for happening in happenings:
            self._heard += 1
            match happening:
                case Assigned():
                    self._assigned(happening)
                case Taken():
                    self._taken(happening)
                case Moved():
                    self._moved(happening)
                case Settled():
                    self._settled(happening)
                case Committed():
                    self._committed(happening)
                case Revoked(member, tps):
                    self._end(member, tps)

    def safe(self, *, at_least: int = 1) -> None:
        """Fail with every violation; and where fewer commits were heard than the test meant to see."""
        assert not self.violations, "\n".join(self.violations)
        assert self.commits >= at_least, f"only {self.commits} commits were heard, {at_least} were expected"

    def _assigned(self, it: Assigned) -> None:
        for tp in it.tps:
            if (it.member, tp, it.epoch) in self._ended:
                self._blame(it, f"epoch {it.epoch} of {tp} has ended and begins again")
            self._end(it.member, (tp,))
            self._held[it.member, tp] = _Assignment(it.epoch)

    def _end(self, member: str, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            ended = self._held.pop((member, tp), None)
            if ended is not None:
                self._ended.add((member, tp, ended.epoch))

    def _taken(self, it: Taken) -> None:
        held = self._current(it.member, it.tp, it.epoch)
        if held is None:
            self._blame(it, f"{it.tp}@{it.offset} was taken while {it.tp} was not assigned in epoch {it.epoch}")
            return
        if it.offset <= held.last:
            self._blame(it, f"{it.tp}@{it.offset} was taken after {held.last}: offsets go up within an epoch")
        if it.offset < held.position:
            self._blame(it, f"{it.tp}@{it.offset} was taken after the position {held.position} was told")
        held.last = max(held.last, it.offset)
        if it.owes:
            held.owed[it.offset] = it.owes

    def _moved(self, it: Moved) -> None:
        held = self._current(it.member, it.tp, it.epoch)
        if held is None:
            self._blame(it, f"a position of {it.tp} was told while it was not assigned in epoch {it.epoch}")
            return
        held.position = max(held.position, it.position)

    def _settled(self, it: Settled) -> None:
        held = self._current(it.member, it.tp, it.epoch)
        if held is None:
            return  # a late ack: it must change nothing, and what follows shows whether it did
        left = held.owed.get(it.offset, 0)
        if left == 0:
            self._blame(it, f"{it.tp}@{it.offset} owes nothing and was settled: it may have paid another's debt")
        elif left == 1:
            del held.owed[it.offset]
        else:
            held.owed[it.offset] = left - 1

    def _committed(self, it: Committed) -> None:
        self.commits += 1
        held = self._current(it.member, it.tp, it.epoch)
        if held is None:
            self._blame(it, f"{it.tp} was committed to {it.offset} while not assigned in epoch {it.epoch}")
            return
        position = max(held.position, held.last + 1)
        if it.offset > position:
            self._blame(it, f"{it.tp} was committed to {it.offset}, past the position {position}")
        past = min((offset for offset in held.owed if offset < it.offset), default=None)
        if past is not None:
            self._blame(it, f"{it.tp} was committed to {it.offset}, past {past} which is not settled")
        if it.offset < held.committed:
            self._blame(it, f"{it.tp} was committed to {it.offset} after {held.committed}: it goes back")
        held.committed = max(held.committed, it.offset)

    def _current(self, member: str, tp: TopicPartition, epoch: int) -> _Assignment | None:
        held = self._held.get((member, tp))
        return held if held is not None and held.epoch == epoch else None

    def _blame(self, it: Happening, words: str) -> None:
        self.violations.append(f"{it.member}, happening {self._heard}: {words}")
