"""Which letters of a partition were replayed: an offset of the replay group, and in its metadata what lies above.

A filter replays some letters and leaves others, so one offset is not enough. The rest is a list of runs, left and
replayed in turn, in what Kafka lets a commit carry.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

METADATA_BYTES: Final = 4096
"""What a broker takes by default (`offset.metadata.max.bytes`)."""

_MARK: Final = "replayed1:"


class Replayed:
    """One partition's memory.

    Invariant: `base` passes no letter that was seen and not replayed; gaps in the offsets hold no letter. Encoding and
    reading it back gives the same memory.
    """

    __slots__ = ("_above", "_next", "base")

    def __init__(self, base: int, above: Iterable[range] = ()) -> None:
        self.base = base
        self._above: set[int] = {offset for run in above for offset in run}
        self._next = base
        self._settle()

    def __contains__(self, offset: int) -> bool:
        return offset < self.base or offset in self._above

    def saw(self, offset: int) -> None:
        """Note that the partition has a letter here, and none between it and the one seen before."""
        self._above.update(range(max(self._next, self.base), offset))
        self._next = max(self._next, offset + 1)
        self._settle()

    def expire(self, low: int) -> None:
        """Note that retention has taken what lies below this offset."""
        if low > self.base:
            self._above = {offset for offset in self._above if offset >= low}
            self.base = low
            self._settle()

    def add(self, offset: int) -> None:
        """Note that a letter was replayed."""
        if offset >= self.base:
            self._above.add(offset)
            self._settle()

    def _settle(self) -> None:
        while self.base in self._above:
            self._above.discard(self.base)
            self.base += 1

    def encode(self) -> str:
        """What lies above `base`, as text for a commit's metadata; empty where nothing does."""
        if not self._above:
            return ""
        runs, at = bytearray(), self.base
        for run in _runs(sorted(self._above)):
            _put(runs, run.start - at)
            _put(runs, len(run))
            at = run.stop
        return _MARK + base64.b85encode(zlib.compress(bytes(runs), 9)).decode("ascii")

    @classmethod
    def decode(cls, base: int, metadata: str | None) -> "Replayed":
        """Read back what was committed; metadata of somebody else's says nothing."""
        if not metadata or not metadata.startswith(_MARK):
            return cls(base)
        try:
            packed = base64.b85decode(metadata.removeprefix(_MARK))
            numbers = list(_numbers(zlib.decompress(packed)))
        except (ValueError, binascii.Error, zlib.error):
            return cls(base)
        above, at = [], base
        for left, done in zip(numbers[::2], numbers[1::2], strict=False):
            above.append(range(at + left, at + left + done))
            at += left + done
        return cls(base, above)


def _runs(offsets: list[int]) -> Iterator[range]:
    start = previous = offsets[0]
    for offset in offsets[1:]:
        if offset != previous + 1:
            yield range(start, previous + 1)
            start = offset
        previous = offset
    yield range(start, previous + 1)


def _put(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0
