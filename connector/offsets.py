"""Offsets on their way to Kafka: one commit in flight, and none forgotten before Kafka has confirmed it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeAlias

from connector.model import TopicPartition

Valid: TypeAlias = Callable[[TopicPartition, int], bool]
"""Whether a partition is ours, in this epoch."""

RETRY: Final = 0.1
"""Seconds between a commit that was refused and the next try."""


class Offsets:
    """What is to be committed.

    Invariant: an offset waits, flies, or was confirmed; a refused one waits again unless a newer one does. Those of an
    epoch that has ended are dropped wherever they are, so nothing is committed for a partition that is not ours.
    """

    def __init__(self) -> None:
        self._waiting: dict[TopicPartition, tuple[int, int]] = {}
        self._flying: dict[TopicPartition, tuple[int, int]] = {}
        self._not_before = 0.0
        self.since: float | None = None
        """Since when something could be committed and nothing was confirmed, in the caller's clock."""

    @property
    def busy(self) -> bool:
        """Whether anything waits or flies."""
        return bool(self._waiting or self._flying)

    def want(self, offsets: Mapping[TopicPartition, tuple[int, int]], valid: Valid, now: float) -> None:
        """Take offsets with their epochs; stale ones are dropped, a newer one replaces what waits."""
        for tp, (offset, epoch) in offsets.items():
            if valid(tp, epoch) and self._flying.get(tp) != (offset, epoch):
                self._waiting[tp] = (offset, epoch)
        if self.busy and self.since is None:
            self.since = now

    def depart(self, valid: Valid, now: float) -> dict[TopicPartition, int]:
        """Return what to commit now; empty while another commit flies, or a refused one has to wait."""
        if self._flying or now < self._not_before:
            return {}
        self._flying = {tp: wanted for tp, wanted in self._waiting.items() if valid(tp, wanted[1])}
        self._waiting.clear()
        self._rest(now)
        return {tp: offset for tp, (offset, _) in self._flying.items()}

    def land(
        self, refused: Collection[TopicPartition], valid: Valid, now: float
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """End the flight; return what is confirmed and what was refused and waits again, of what is still ours."""
        flown, self._flying = self._flying, {}
        ours = {tp: wanted for tp, wanted in flown.items() if valid(tp, wanted[1])}
        again = {tp: wanted for tp, wanted in ours.items() if tp in refused}
        if again:
            self._waiting = again | self._waiting
            self._not_before = now + RETRY
        done = {tp: offset for tp, (offset, _) in ours.items() if tp not in again}
        if done:
            self.since = now
        self._rest(now)
        return done, {tp: offset for tp, (offset, _) in again.items()}

    def forget(self, tps: Iterable[TopicPartition], now: float) -> None:
        """These partitions are no longer ours. What flies cannot be called back; how it lands is not told."""
        for tp in tps:
            self._waiting.pop(tp, None)
        self._rest(now)

    def _rest(self, now: float) -> None:
        if not self.busy:
            self.since = None
        elif self.since is None:
            self.since = now
