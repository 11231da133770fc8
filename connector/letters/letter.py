"""A dead letter read back: the record that it was, why it was buried, and whom it concerns."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from connector.model import FIRST_ID, Record, TopicPartition

_CONNECT: Final = "__connect.errors."
_OURS: Final = "__connector.errors."
_REFERENCE: Final = "__connector.errors.reference"


class CannotReplay(Exception):
    """The dead letters cannot be read, or somebody else replays them; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of a dead-letter topic that can be sent again.

    `place` is the record as it stands in the dead-letter topic, `origin` as it was: its own place, bytes and headers,
    and its first id. `route` is empty for a record that no route took, `target` where none was chosen yet. `at_ms` is
    when it was buried, in epoch milliseconds.
    """

    place: Record
    origin: Record
    route: str
    target: str
    code: str
    stage: str
    message: str
    id: str
    attempts: int
    at_ms: int

    @property
    def whole(self) -> bool:
        """Whether the record as a whole was buried: it could not be read, or no route took it."""
        return not self.route or self.stage in ("VALUE_CONVERTER", "KEY_CONVERTER")


@dataclass(frozen=True, slots=True)
class NoLetter:
    """A record of a dead-letter topic that cannot be sent again, and why."""

    place: Record
    reason: str


def read(record: Record, connector: str) -> Letter | NoLetter:
    """Read a record of a dead-letter topic; `connector` is the group whose letters are meant."""
    told = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    try:
        tp = TopicPartition(told[f"{_CONNECT}topic"], int(told[f"{_CONNECT}partition"]))
        offset = int(told[f"{_CONNECT}offset"])
    except (KeyError, ValueError):
        return NoLetter(record, "it has no error headers: it is no dead letter, or was too large to carry them")
    writer = told.get(f"{_CONNECT}connector.name", "")
    if writer != connector:
        return NoLetter(record, f"another connector wrote it: {writer or 'one without a name'}")
    if _REFERENCE in told:
        return NoLetter(record, f"it is only a reference: its bytes are at {told[_REFERENCE]}")
    if FIRST_ID not in told or f"{_OURS}route" not in told:
        return NoLetter(record, "it does not say which route and id it had")
    own = tuple(pair for pair in record.headers if not pair[0].startswith((_CONNECT, _OURS)))
    identity = told[FIRST_ID]
    origin = replace(record, tp=tp, offset=offset, headers=(*own, (FIRST_ID, identity.encode())))
    return Letter(
        record,
        origin,
        told[f"{_OURS}route"],
        told.get(f"{_OURS}target", ""),
        told.get(f"{_OURS}code", ""),
        told.get(f"{_CONNECT}stage", ""),
        told.get(f"{_CONNECT}exception.message", ""),
        identity,
        _number(told, f"{_OURS}attempts", 0),
        _number(told, f"{_OURS}time", 0) or max(record.timestamp_ms, 0),
    )


def _number(told: Mapping[str, str], name: str, otherwise: int) -> int:
    text = told.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else otherwise


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is empty bounds nothing. Times are epoch milliseconds of the burial."""

    routes: frozenset[str] = field(default_factory=frozenset)
    targets: frozenset[str] = field(default_factory=frozenset)
    codes: frozenset[str] = field(default_factory=frozenset)
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        return (
            (not self.routes or letter.route in self.routes)
            and (not self.targets or letter.target in self.targets)
            and (not self.codes or letter.code in self.codes)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
        )
