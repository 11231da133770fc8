"""The partitions this member owns: a Ledger each, the room each has left, and what of each may be committed."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from connector.commit import Ledger, Totals
from connector.model import Record, TopicPartition
from connector.room import Credit, Part


class Bounds(NamedTuple):
    """`limits` of the config."""

    max_open_records: int
    max_open_bytes: int
    max_open_per_partition: int
    max_uncommitted_per_partition: int


class Share:
    """One assigned partition. `taken` counts its records since the assignment, `committed` is what Kafka confirmed."""

    __slots__ = ("committed", "granted", "halted", "ledger", "taken")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.taken = 0
        self.granted = 0
        self.committed: int | None = None
        self.halted = ""  # why a `hold` policy stopped this partition


class Assignment:
    """Every partition that is ours now.

    Invariant: what belongs to an epoch that has ended changes nothing: its ledger is closed, and its offsets are in no
    commit. Credit never lets a partition exceed its open or its uncommitted limit, nor all of them the global ones.
    What is counted here is counted alike by the consumer thread: every record that it handed over, whoever owns it now.
    """

    def __init__(self, bounds: Bounds, settled: Callable[[], None]) -> None:
        self.totals: Final = Totals()
        self.shares: Final[dict[TopicPartition, Share]] = {}
        self._bounds = bounds
        self._settled = settled
        self._dirty: set[TopicPartition] = set()
        self._blocked: frozenset[TopicPartition] = frozenset()
        self.taken = 0
        self.taken_bytes = 0
        self._taken_of: Counter[str] = Counter()  # by topic

    def assign(self, epoch: int, tps: Iterable[TopicPartition]) -> None:
        """Begin a new epoch of these partitions."""
        for tp in tps:
            self.close([tp])
            self.shares[tp] = Share(self._ledger(tp, epoch))
            self._dirty.add(tp)

    def restart(self, epoch: int, tp: TopicPartition) -> None:
        """Begin a new ledger: the partition's offsets start again (topic recreated or truncated)."""
        share = self.shares.get(tp)
        if share is not None:
            share.ledger.close()
            share.ledger = self._ledger(tp, epoch)
            share.committed = None
            share.granted = -1  # so that it is granted anew, to the new epoch
            self._dirty.add(tp)

    def close(self, tps: Iterable[TopicPartition]) -> None:
        """End the assignment of these partitions: later acks for them land nowhere."""
        for tp in tps:
            share = self.shares.pop(tp, None)
            if share is not None:
                share.ledger.close()

    def took(self, tp: TopicPartition, records: Sequence[Record], epoch: int | None) -> Share | None:
        """Count records of a partition that the consumer handed over; return its share, None where its epoch ended."""
        self.taken += len(records)
        self.taken_bytes += sum(record.size for record in records)
        self._taken_of[tp.topic] += len(records)
        share = self.shares.get(tp)
        if share is None or share.ledger.epoch != epoch:
            return None
        share.taken += len(records)
        self._dirty.add(tp)
        return share

    def halt(self, tp: TopicPartition, why: str) -> None:
        """Take nothing more of this partition: a `hold` policy of the config stands at one of its records."""
        share = self.shares.get(tp)
        if share is not None and not share.halted:
            share.halted = why
            self._dirty.add(tp)

    def unhalt(self, tp: TopicPartition) -> None:
        """Take more of this partition again."""
        share = self.shares.get(tp)
        if share is not None and share.halted:
            share.halted = ""
            share.granted = -1  # so that it is granted anew
            self._dirty.add(tp)
            self._settled()

    def _ledger(self, tp: TopicPartition, epoch: int) -> Ledger:
        return Ledger(tp, epoch, self.totals, self._touch)

    def _touch(self, tp: TopicPartition) -> None:
        self._dirty.add(tp)
        self._settled()

    def blocked(self, stopped: Collection[TopicPartition]) -> frozenset[TopicPartition]:
        """Of the partitions that stand still, those that get no more room: together they may fill half of it."""
        opened = sum(share.ledger.open_records for tp in stopped if (share := self.shares.get(tp)) is not None)
        return frozenset(stopped) if opened * 2 >= self._bounds.max_open_records else frozenset()

    def credit(
        self, stopped: Collection[TopicPartition] = (), left: Mapping[str, tuple[frozenset[str], int]] | None = None
    ) -> Credit:
        """What the consumer may take; `per_partition` names only the partitions whose room has changed.

        `left` says by name of what topics how much more may be taken together, of the half that they may fill.
        """
        blocked = self.blocked(stopped)
        self._dirty |= blocked ^ self._blocked
        self._blocked = blocked
        changed = {}
        for tp in self._dirty:
            owned = self.shares.get(tp)
            if owned is not None:
                total = owned.taken + self._left(tp, owned)
                if owned.granted != total:
                    owned.granted = total
                    changed[tp] = (total, owned.ledger.epoch)
        self._dirty.clear()
        bounds = self._bounds
        return Credit(
            self.taken + max(0, bounds.max_open_records - self.totals.records),
            self.taken_bytes + max(0, bounds.max_open_bytes - self.totals.bytes),
            changed,
            {
                name: Part(topics, self.half, sum(self._taken_of[topic] for topic in topics) + more)
                for name, (topics, more) in (left or {}).items()
            },
        )

    @property
    def half(self) -> int:
        """Records that those may have open together who must leave room to others."""
        return max(1, self._bounds.max_open_records // 2)

    def _left(self, tp: TopicPartition, share: Share) -> int:
        if share.halted or tp in self._blocked:
            return 0
        bounds, ledger = self._bounds, share.ledger
        return max(
            0,
            min(
                bounds.max_open_per_partition - ledger.open_records,
                bounds.max_uncommitted_per_partition - ledger.uncommitted,
            ),
        )

    def committable(self) -> dict[TopicPartition, tuple[int, int]]:
        """What may be committed and is not: offset and epoch by partition."""
        return {
            tp: (offset, share.ledger.epoch)
            for tp, share in self.shares.items()
            if (offset := share.ledger.committable) is not None and offset != share.committed
        }

    def confirm(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Kafka has taken these offsets."""
        for tp, offset in offsets.items():
            share = self.shares.get(tp)
            if share is not None:
                share.committed = offset

    def full(self) -> Iterator[TopicPartition]:
        """The partitions that have no room now."""
        return (tp for tp, share in self.shares.items() if share.granted <= share.taken)

    def oldest_at(self) -> float | None:
        """When the oldest open record was taken, in the caller's clock."""
        times = [at for share in self.shares.values() if (at := share.ledger.oldest_at) is not None]
        return min(times, default=None)
