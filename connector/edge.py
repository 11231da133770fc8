"""What passes between the consumer thread and the loop: the words the loop hears, in order, and how it all ends."""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from connector.model import Record, TopicPartition

Drained: TypeAlias = "concurrent.futures.Future[Mapping[TopicPartition, int]]"
"""Set by the loop to what may be committed of partitions that are about to go."""


class ConsumerFailed(Exception):
    """The edge has ended for good: nothing more was committed, and the group was not left in order.

    `code` is librdkafka's name of the error, or EDGE for a fault of ours; `reason` says it in words.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Partitions(Protocol):
    """What the loop's side hears: in the loop's thread, in the order in which things happened. It must not block.

    Whatever one of these raises ends the edge, and nothing more is committed.
    """

    def assigned(self, epoch: int, tps: Sequence[TopicPartition]) -> None:
        """These are ours from now on, paused until they are granted room; () when we are a member without any."""
        ...

    def taken(
        self,
        epochs: Mapping[TopicPartition, int],
        records: Sequence[Record],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Records in poll order, then how far the consumer has come, which may lie behind a gap.

        `positions` may come without records: transaction markers move a position too. `epochs` names the current epoch
        of every partition mentioned.
        """
        ...

    def drain(self, tps: Sequence[TopicPartition], deadline: float, done: Drained) -> None:
        """About to be taken from us: finish the holes, close the ledgers, then set `done` to what may be committed.

        `deadline` is in seconds of the consumer's clock. The consumer thread waits for `done`, and commits nothing when
        it comes later than a second after the deadline.
        """
        ...

    def lost(self, tps: Sequence[TopicPartition]) -> None:
        """No longer ours, and nobody asks what may be committed."""
        ...

    def restarted(self, epoch: int, tp: TopicPartition, offset: int) -> None:
        """The offsets begin again at or below the last one (topic recreated or truncated): begin a new ledger.

        Called before the `taken` that brings `offset`. From now on only `epoch` counts for this partition in commits
        and grants; how many records were taken since the assignment does not begin again.
        """
        ...

    def gone(self, tp: TopicPartition, records: int) -> None:
        """The offset to go on from is no longer there; `records` between it and the first one left were never read."""
        ...

    def committed(self, offsets: Mapping[TopicPartition, int], error: str) -> None:
        """Kafka confirmed these offsets (`error` empty), or refused them: librdkafka's name of the error.

        Refused ones are tried again by themselves while they are ours.
        """
        ...

    def lag(self, lags: Mapping[TopicPartition, int]) -> None:
        """Records between the committed offset and the end; only what is known."""
        ...

    def trouble(self, code: str, reason: str) -> None:
        """Something stands in the way (`CODE` or `CODE place`); said once, until `recovered(code)`."""
        ...

    def recovered(self, code: str) -> None:
        """It no longer does."""
        ...


class Handover:
    """The way from the thread to the loop.

    Invariant: what is posted is heard in the order of posting, and nothing is heard after a fault on either side. The
    first fault is the one that `finished` tells.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.finished: asyncio.Future[None] = loop.create_future()
        self.failure: ConsumerFailed | None = None
        self._loop = loop

    def post(self, step: Callable[..., None], *args: object) -> None:
        """Have the loop call this; from the thread."""
        self._loop.call_soon_threadsafe(self._hear, step, args)

    def fail(self, failure: ConsumerFailed) -> None:
        """Note what ends the edge; from either side."""
        self.failure = self.failure or failure

    def check(self) -> None:
        """Raise what has ended the edge, if anything has."""
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """The thread ends here."""
        with contextlib.suppress(RuntimeError):  # the loop has ended before us: nobody is left to tell
            self._loop.call_soon_threadsafe(self._finish)

    def _hear(self, step: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.failure is not None:
            return  # what follows a fault could commit past a hole
        try:
            step(*args)
        except BaseException as error:  # noqa: BLE001 - it ends the edge, by name, in `finished`
            self.fail(fault(error))
            self._finish()

    def _finish(self) -> None:
        if self.finished.done():
            return
        if self.failure is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(self.failure)


def fault(error: BaseException) -> ConsumerFailed:
    """A fault of ours, as the failure that it is."""
    failure = ConsumerFailed("EDGE", f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
