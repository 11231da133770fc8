"""Room: how many records the consumer thread may take now, and which partitions must stand still meanwhile."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from connector.model import TopicPartition

MOST: Final = 500
"""Records of one turn at most: the loop decodes them in one step and should not be kept from its lanes for long."""

DRY_AFTER: Final = 2.0
"""Seconds without global room after which every partition is paused; before that nothing prefetched is thrown away.
Little room must last as long before they are resumed, an eighth of the widest does it at once."""


class Part(NamedTuple):
    """How far records of some topics may be taken together: `total` counts from the start, `most` may be open."""

    topics: frozenset[str]
    most: int
    total: int


class Credit(NamedTuple):
    """How far the thread may take records: absolute totals, so that a late or repeated grant does no harm.

    `records` and `bytes` count from the start of the consumer, and so do the totals of `parts`, by name; a part that is
    not named any more bounds nothing. `per_partition` names the partitions whose total has changed, as (total, epoch):
    the total counts from the assignment of the partition (a restart does not reset it), and a grant for an epoch that
    has ended is dropped. A partition without a grant gets nothing.
    """

    records: int
    bytes: int
    per_partition: Mapping[TopicPartition, tuple[int, int]]
    parts: Mapping[str, Part] = {}


class Owned:
    """One assigned partition, as the consumer thread sees it.

    `assigned` is the epoch of the assignment, `epoch` that of its latest restart. `last` is the highest offset handed
    over, `told` the position handed over, `confirmed` the offset that Kafka confirmed, -1 before the first of each.
    `held` says why nothing more may be taken from it in this assignment.
    """

    __slots__ = (
        "_terms",
        "allowed",
        "assigned",
        "confirmed",
        "epoch",
        "held",
        "last",
        "paused",
        "taken",
        "told",
        "widest",
    )

    def __init__(self, epoch: int) -> None:
        self.assigned = self.epoch = epoch
        self.taken = self.allowed = self.widest = 0
        self.last = self.told = self.confirmed = -1
        self.paused = True
        self.held = ""
        self._terms: list[tuple[int, int]] = []

    @property
    def room(self) -> int:
        """Records that may still be taken."""
        return self.allowed - self.taken

    def saw(self, offset: int, leader_epoch: int | None) -> None:
        """Note a record that is handed over, with the epoch of the leader that wrote it."""
        self.last = offset
        if leader_epoch is not None and (not self._terms or self._terms[-1][1] != leader_epoch):
            self._terms.append((offset, leader_epoch))

    def restart(self, epoch: int) -> None:
        """The offsets begin again: what was seen says nothing of what comes."""
        self.epoch = epoch
        self.last = self.told = self.confirmed = -1
        self._terms.clear()

    def leader_epoch(self, offset: int) -> int | None:
        """The epoch of the last record before a committed offset, which KIP-320 wants beside it."""
        at = bisect_left(self._terms, (offset, -1))
        return self._terms[at - 1][1] if at else None

    def confirm(self, offset: int) -> None:
        """Kafka has taken this offset: leader epochs before it are asked for no more."""
        self.confirmed = offset
        del self._terms[: max(0, bisect_left(self._terms, (offset, -1)) - 1)]


class _Part:
    """What is left of a part; while it is `shut` every partition of its topics stands still."""

    __slots__ = ("left", "most", "shut", "topics")

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self.left = self.most = 0
        self.shut = False

    def turns(self) -> bool:
        """Shut below an eighth, open from a half on, as a partition does; whether that changed now."""
        few = self.left <= 0 or self.left * (2 if self.shut else 8) < self.most
        changed, self.shut = few != self.shut, few
        return changed


class Room:
    """The partitions that are ours, and what may be taken of them.

    Invariant: `fit` never answers more than the global room, nor more than the room of any partition that is not
    paused, nor than what is left of any part that such a partition belongs to; so no order in which records arrive, and
    no grant that comes late, can exceed one. A partition is paused alone below an eighth of the widest room it ever had
    and resumed from a half on, because each pause throws its prefetched records away. Bytes are known only after
    taking, so they may be exceeded by one turn's records.
    """

    def __init__(self) -> None:
        self.owned: Final[dict[TopicPartition, Owned]] = {}
        self._running: dict[TopicPartition, Owned] = {}
        self._touched: set[TopicPartition] = set()
        self._parts: dict[str, _Part] = {}
        self._parts_of: dict[str, list[_Part]] = {}
        self._taken_of: Counter[str] = Counter()  # by topic
        self._records = self._taken = self._widest = 0
        self._bytes = self._taken_bytes = self._widest_bytes = 0
        self._size = 1024.0  # of a record, on average
        self._is_dry = False
        self._turned_at: float | None = None  # since when the global room contradicts `_is_dry`
        self._shut = False

    def assign(self, tp: TopicPartition, epoch: int) -> None:
        """Begin an assignment: paused, until it is granted room."""
        self.owned[tp] = Owned(epoch)
        self._running.pop(tp, None)
        self._touched.add(tp)

    def remove(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Owned]:
        """End the assignment of those that are ours, and return them."""
        gone = {tp: self.owned.pop(tp) for tp in tps if tp in self.owned}
        for tp in gone:
            self._running.pop(tp, None)
            self._touched.discard(tp)
        return gone

    def grant(self, credit: Credit) -> None:
        """Note new totals."""
        self._records, self._bytes = credit.records, credit.bytes
        self._widest = max(self._widest, self._records - self._taken)
        self._widest_bytes = max(self._widest_bytes, self._bytes - self._taken_bytes)
        for tp, (total, epoch) in credit.per_partition.items():
            mine = self.owned.get(tp)
            if mine is not None and mine.epoch == epoch:
                mine.allowed = total
                mine.widest = max(mine.widest, mine.room)
                self._touched.add(tp)
        self._divide(credit.parts)

    def _divide(self, parts: Mapping[str, Part]) -> None:
        if {name: part.topics for name, part in parts.items()} != {n: mine.topics for n, mine in self._parts.items()}:
            known = {(name, mine.topics): mine for name, mine in self._parts.items()}
            self._parts = {name: known.get((name, at.topics)) or _Part(at.topics) for name, at in parts.items()}
            self._parts_of.clear()
            for mine in self._parts.values():
                for topic in mine.topics:
                    self._parts_of.setdefault(topic, []).append(mine)
            self._touched.update(self.owned)
        for name, (topics, most, total) in parts.items():
            self._parts[name].most = most
            self._parts[name].left = total - sum(self._taken_of[topic] for topic in topics)

    def took(self, tp: TopicPartition, size: int) -> None:
        """Count a record that is handed over; `size` in bytes."""
        self.owned[tp].taken += 1
        self._taken += 1
        self._taken_bytes += size
        self._taken_of[tp.topic] += 1
        for part in self._parts_of.get(tp.topic, ()):
            part.left -= 1
        self._size += (size - self._size) / 64
        self._touched.add(tp)

    def pause(self, tp: TopicPartition) -> None:
        """Note that the partition was paused; it is resumed when it has room."""
        self.owned[tp].paused = True
        self._running.pop(tp, None)
        self._touched.add(tp)

    def hold(self, tp: TopicPartition, why: str) -> None:
        """Take nothing more of a partition in this assignment."""
        self.owned[tp].held = why
        self._touched.add(tp)

    def fit(self) -> int:
        """Records that the next take may bring, 0: wait. While every partition stands still it is 1: none can come."""
        if not self._running:
            return 1
        spare = self._bytes - self._taken_bytes
        weight = max(1, int(spare / max(1.0, self._size))) if spare > 0 else 0
        narrowest = min(mine.room for mine in self._running.values())
        parts = min((part.left for part in self._parts.values() if not part.shut), default=MOST)
        return max(0, min(MOST, self._records - self._taken, weight, narrowest, parts))

    def turn(self, now: float, shut: bool) -> tuple[Collection[TopicPartition], Collection[TopicPartition]]:
        """Decide which partitions must be paused and which resumed; `shut` stops all of them. `now` in seconds."""
        if (shut := shut or self._dry(now)) != self._shut:
            self._shut = shut
            self._touched.update(self.owned)
        for part in self._parts.values():
            if part.turns():
                self._touched.update(tp for tp in self.owned if tp.topic in part.topics)
        stop, go = [], []
        for tp in self._touched:
            mine = self.owned[tp]
            still = shut or mine.held or any(part.shut for part in self._parts_of.get(tp.topic, ()))
            if mine.paused:
                if not still and mine.room > 0 and mine.room * 2 >= mine.widest:
                    go.append(tp)
            elif still or mine.room <= 0 or mine.room * 8 < mine.widest:
                stop.append(tp)
        self._touched.clear()
        for tp in stop:
            self.owned[tp].paused = True
            del self._running[tp]
        for tp in go:
            self.owned[tp].paused = False
            self._running[tp] = self.owned[tp]
        return stop, go

    def _dry(self, now: float) -> bool:
        records, size = self._records - self._taken, self._bytes - self._taken_bytes
        if (empty := records <= 0 or size <= 0) == self._is_dry:
            self._turned_at = None
            return empty
        if self._turned_at is None:
            self._turned_at = now
        plenty = records * 8 >= self._widest and size * 8 >= self._widest_bytes
        if (self._is_dry and plenty) or now - self._turned_at >= DRY_AFTER:
            self._is_dry, self._turned_at = empty, None
        return self._is_dry
