"""The Ledger: what is still owed on a partition, and hence what may be committed."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from connector.model import Record, Settle, TopicPartition


class Totals:
    """What all open ledgers owe together, kept by the ledgers themselves.

    `repeats` counts settles that were called again, which changes nothing but tells of a mistake.
    """

    __slots__ = ("bytes", "records", "repeats")

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0
        self.repeats = 0


class _Debt:
    """A record's unpaid entries."""

    __slots__ = ("entries", "size")

    def __init__(self, entries: int, size: int) -> None:
        self.entries = entries
        self.size = size


class _Seen(NamedTuple):
    offset: int
    at: float


class _Payment:
    """One entry's settle: bound to the ledger object that opened it, effective once."""

    __slots__ = ("_ledger", "_offset", "_paid")

    def __init__(self, ledger: "Ledger", offset: int) -> None:
        self._ledger = ledger
        self._offset = offset
        self._paid = False

    def __call__(self) -> None:
        repeated, self._paid = self._paid, True
        self._ledger._pay(self._offset, repeated)


class _Part:
    """One of the payments that one debt was split into."""

    __slots__ = ("_paid", "_whole")

    def __init__(self, whole: "Split") -> None:
        self._whole = whole
        self._paid = False

    def __call__(self) -> None:
        if not self._paid:
            self._paid = True
            self._whole.pay()


class Split:
    """A debt that was owed before it was known of how many entries it consists.

    Invariant: it is paid when each of its parts was, and each counts once; a debt of no parts is paid at once.
    """

    __slots__ = ("_left", "_settle", "parts")

    def __init__(self, settle: Settle, parts: int) -> None:
        self._settle = settle
        self._left = parts
        self.parts: tuple[Settle, ...] = tuple(_Part(self) for _ in range(parts))
        if not parts:
            settle()

    def pay(self) -> None:
        """One part was paid."""
        self._left -= 1
        if not self._left:
            self._settle()


class Ledger:
    """One assignment of one partition: the offsets really polled, and the entries that each still owes.

    Invariant: `committable` never passes an offset that still owes an entry, and never goes back. A gap in the offsets
    (compaction, transaction markers, retention) owes nothing. A closed ledger ignores every later payment, so an ack
    that comes after a revoke lands where nobody reads.
    """

    __slots__ = ("_closed", "_last", "_owed", "_position", "_seen", "_settled", "_totals", "epoch", "open_bytes", "tp")

    def __init__(
        self,
        tp: TopicPartition,
        epoch: int,
        totals: Totals | None = None,
        settled: Callable[[TopicPartition], None] = lambda tp: None,
    ) -> None:
        self.tp = tp
        self.epoch = epoch
        self.open_bytes = 0
        self._owed: dict[int, _Debt] = {}
        self._seen: deque[_Seen] = deque()  # from the lowest owed to the last polled, settled or not
        self._last = -1
        self._position: int | None = None
        self._closed = False
        self._totals = totals or Totals()
        self._settled = settled

    def open(self, record: Record, entries: int, now: float) -> tuple[Settle, ...]:
        """Owe `entries` for this record and hand out as many settles; none at all owes nothing.

        Raises:
            ValueError: the offset is not above the last one; a restarted partition needs a new ledger.
        """
        offset = record.offset
        if offset <= self._last:
            raise ValueError(f"{record} is not above {self._last}, the last offset of this assignment")
        self._last = offset
        if self._closed:
            return tuple(_Payment(self, offset) for _ in range(entries))
        if entries:
            debt = _Debt(entries, record.size)
            self._owed[offset] = debt
            self.open_bytes += debt.size
            self._totals.records += 1
            self._totals.bytes += debt.size
        if entries or self._seen:
            self._seen.append(_Seen(offset, now))
        return tuple([_Payment(self, offset) for _ in range(entries)])

    def owe(self, offset: int, entries: int) -> tuple[Settle, ...] | None:
        """Owe more for a record that still owes something: it is made anew, into more events or fewer.

        None where the record owes nothing here: it is settled, or of another assignment. Whoever replaces debts opens
        the new ones first, so that the record is never taken for settled in between.
        """
        debt = self._owed.get(offset)
        if self._closed or debt is None:
            return None
        debt.entries += entries
        return tuple(_Payment(self, offset) for _ in range(entries))

    def advance(self, position: int) -> None:
        """Note the consumer's position, once every record before it has been opened."""
        if self._position is None or position > self._position:
            self._position = position

    def close(self) -> None:
        """End this assignment: what is still owed stays uncommitted, and later payments change nothing."""
        if not self._closed:
            self._closed = True
            self._totals.records -= len(self._owed)
            self._totals.bytes -= self.open_bytes
            self.open_bytes = 0
            self._owed.clear()

    @property
    def closed(self) -> bool:
        """Whether the assignment has ended."""
        return self._closed

    @property
    def committable(self) -> int | None:
        """The offset that may be committed: lowest owed, else the position; None when nothing was polled yet."""
        if self._seen:
            return self._seen[0].offset
        if self._position is None:
            return self._last + 1 if self._last >= 0 else None
        return max(self._position, self._last + 1)

    @property
    def open_records(self) -> int:
        """Records that still owe an entry."""
        return len(self._owed)

    @property
    def uncommitted(self) -> int:
        """Records from the lowest owed to the last polled, settled or not: what a crash would repeat."""
        return len(self._seen)

    @property
    def last(self) -> int:
        """The highest offset polled, -1 before the first."""
        return self._last

    @property
    def position(self) -> int | None:
        """The consumer's position, as far as it was told."""
        return self._position

    @property
    def oldest_at(self) -> float | None:
        """When the lowest owed record was opened, in the caller's clock."""
        return self._seen[0].at if self._seen else None

    def _pay(self, offset: int, repeated: bool) -> None:
        if repeated:
            self._totals.repeats += 1
            return
        if self._closed:
            return
        debt = self._owed[offset]
        debt.entries -= 1
        if debt.entries:
            return
        del self._owed[offset]
        self.open_bytes -= debt.size
        self._totals.records -= 1
        self._totals.bytes -= debt.size
        while self._seen and self._seen[0].offset not in self._owed:
            self._seen.popleft()
        self._settled(self.tp)
