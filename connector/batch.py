"""Entries become batches by count, bytes and linger; the caller tells the time."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from connector.model import Batch, Entry, Limits


class Trigger(Enum):
    """Why a batch was closed."""

    COUNT = "count"
    BYTES = "bytes"
    UNIQUE = "unique"
    LINGER = "linger"
    FLUSH = "flush"
    HALVED = "halved"
    PROBE = "probe"


class Closed(NamedTuple):
    """A batch that takes no more entries."""

    batch: Batch
    trigger: Trigger


class _Pile:
    """Entries of one group that wait for company."""

    __slots__ = ("alike", "bytes", "entries", "since", "uniques")

    def __init__(self, since: float) -> None:
        self.entries: list[Entry] = []
        self.bytes = 0
        self.uniques: set[str] = set()
        self.alike: dict[str, str] = {}
        self.since = since

    def clashes(self, entry: Entry) -> bool:
        """Whether the entry cannot be in one call with those that are here."""
        if entry.unique is not None and entry.unique in self.uniques:
            return True
        return entry.alike is not None and self.alike.get(entry.alike.thing, entry.alike.state) != entry.alike.state

    def add(self, entry: Entry) -> None:
        """Take it."""
        self.entries.append(entry)
        self.bytes += entry.size
        if entry.unique is not None:
            self.uniques.add(entry.unique)
        if entry.alike is not None:
            self.alike[entry.alike.thing] = entry.alike.state


class Batcher:
    """Open batches, one a group.

    Invariant: no batch is over a limit, mixes groups, holds two entries of one `unique` or two that are not `alike`;
    entries of a group leave in the order in which they came.
    """

    def __init__(self, limits: Limits, linger: float) -> None:
        self._limits = limits
        self._linger = linger
        self._piles: dict[str, _Pile] = {}

    def add(self, entry: Entry, now: float) -> list[Closed]:
        """Take an entry; return the batches that it closed (its own among them where it filled that one)."""
        closed: list[Closed] = []
        limits = self._limits
        pile = self._piles.get(entry.group)
        if pile is not None:
            if pile.bytes + entry.size > limits.bytes:
                closed.append(self._close(entry.group, Trigger.BYTES))
                pile = None
            elif pile.clashes(entry):
                closed.append(self._close(entry.group, Trigger.UNIQUE))
                pile = None
        if pile is None:
            pile = self._piles[entry.group] = _Pile(now)
        pile.add(entry)
        if len(pile.entries) >= limits.entries:
            closed.append(self._close(entry.group, Trigger.COUNT))
        elif pile.bytes >= limits.bytes:
            closed.append(self._close(entry.group, Trigger.BYTES))
        return closed

    def due(self, now: float) -> list[Closed]:
        """Close the batches whose first entry has waited for `linger`."""
        late = [group for group, pile in self._piles.items() if pile.since + self._linger <= now]
        return [self._close(group, Trigger.LINGER) for group in late]

    def flush(self) -> list[Closed]:
        """Close every open batch."""
        return [self._close(group, Trigger.FLUSH) for group in list(self._piles)]

    @property
    def is_empty(self) -> bool:
        """Whether no batch is open."""
        return not self._piles

    @property
    def deadline(self) -> float | None:
        """When `due` has something to close, or None."""
        if not self._piles:
            return None
        return min(pile.since for pile in self._piles.values()) + self._linger

    def __len__(self) -> int:
        return sum(len(pile.entries) for pile in self._piles.values())

    def _close(self, group: str, trigger: Trigger) -> Closed:
        return Closed(tuple(self._piles.pop(group).entries), trigger)


def pack(entries: Sequence[Entry], limits: Limits, trigger: Trigger) -> list[Closed]:
    """Pack entries that are at hand into batches, in their order."""
    batcher = Batcher(limits, 0.0)
    batches = [closed.batch for entry in entries for closed in batcher.add(entry, 0.0)]
    batches += [closed.batch for closed in batcher.flush()]
    return [Closed(batch, trigger) for batch in batches]


def halve(batch: Batch) -> tuple[Closed, Closed]:
    """Split a refused batch of at least two, to find the entry that spoils it."""
    middle = len(batch) // 2
    return Closed(batch[:middle], Trigger.HALVED), Closed(batch[middle:], Trigger.HALVED)
