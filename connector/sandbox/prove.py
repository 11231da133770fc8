"""What a run proved: what the generator wrote, held against what the other side has. Facts in, verdicts out."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from connector.model import Record, TopicPartition

DECODE: Final = ""
"""Stands for the route of a dead letter that was made before any route was asked."""

_NAMED: Final = 5


class Place(NamedTuple):
    """Where a record lies."""

    tp: TopicPartition
    offset: int

    def __str__(self) -> str:
        return f"{self.tp}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Fate:
    """What must become of a record: the routes that deliver it, and those whose dead letter it becomes.

    Neither of them: no route takes it.
    """

    delivered: frozenset[str] = frozenset()
    buried: frozenset[str] = frozenset()

    @property
    def routes(self) -> frozenset[str]:
        """Every route that owes something for this record."""
        return self.delivered | self.buried


@dataclass(frozen=True, slots=True)
class Written:
    """A record as the generator wrote it. `fate` None: the routes are not the generator's own, so nobody can say.

    `payload` is the digest of its value as JSON, `raw` that of its bytes.
    """

    place: Place
    kind: str
    fate: Fate | None
    payload: str
    raw: str

    def __str__(self) -> str:
        return f"{self.place} ({self.kind})"


class Sent(NamedTuple):
    """One event in the log of the service, or one dead letter in its topic: whose it is, and its digest."""

    place: Place
    route: str
    digest: str


class Verdict(NamedTuple):
    """One claim, what was found, and every record that speaks against it. It holds when none does."""

    claim: str
    found: str
    against: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no record speaks against it."""
        return not self.against

    def __str__(self) -> str:
        lines = [f"{'ok  ' if self.holds else 'FAIL'}  {self.claim}: {self.found}"]
        lines += [f"        {name}" for name in self.against[:_NAMED]]
        if len(self.against) > _NAMED:
            lines.append(f"        and {len(self.against) - _NAMED} more")
        return "\n".join(lines)


def payload_digest(value: Any) -> str:
    """Digest of a JSON value, whatever the order of its keys and the white space it came with."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def raw_digest(record: Record) -> str:
    """Digest of a record byte for byte: key, value, headers in order, timestamp."""
    digest = hashlib.sha256()
    parts: list[bytes | None] = [record.key, record.value, str(record.timestamp_ms).encode()]
    for name, value in record.headers:
        parts += [name.encode(), value]
    for part in parts:
        # The length goes first, so that no two different records run together into the same bytes.
        digest.update(b"null;" if part is None else b"%d;" % len(part) + part)
    return digest.hexdigest()


class Books:
    """Both sides of a run, entered as they become known.

    Invariant: nothing here was told by the daemon. `wrote` comes from the generator, `delivered` from the service's own
    log, `buried` and `committed` from the broker. A record that is right in every point when it is committed is only
    counted from then on, so the books of a long run stay thin; what comes for it later speaks against the run.
    """

    def __init__(self, modes: Mapping[str, str] | None = None) -> None:
        """`modes` says of routes where and how they send; each mode then gets a claim of its own."""
        self._modes = modes or {}
        self._owed_by: Counter[str] = Counter()
        self._settled_by: Counter[str] = Counter()
        self._written: dict[Place, Written] = {}
        self._delivered: defaultdict[Place, list[Sent]] = defaultdict(list)
        self._buried: defaultdict[Place, list[Sent]] = defaultdict(list)
        self._checked: dict[TopicPartition, int] = {}
        self._overtaken: list[str] = []
        self._looks = 0
        self._kinds: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        self._compared = 0

    def wrote(self, written: Written) -> None:
        """Enter a record that the broker has acknowledged to the generator."""
        self._written[written.place] = written
        self._kinds[written.kind] += 1
        if written.fate is not None:
            self._owed_by.update(written.fate.routes)

    def delivered(self, sent: Sent) -> None:
        """Enter an event that the service has logged as accepted."""
        self._delivered[sent.place].append(sent)

    def buried(self, sent: Sent) -> None:
        """Enter a dead letter that was read back from its topic."""
        self._buried[sent.place].append(sent)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Enter what the group had committed *before* the latest entries of `delivered` and `buried`.

        In that order a commit that is right can never look wrong: whatever it covers must be in the books by now.
        """
        self._looks += 1
        for tp, committed in offsets.items():
            at = self._checked.get(tp, 0)
            while at < committed and (written := self._written.get(Place(tp, at))) is not None:
                self._overtaken += [f"{owed} when {committed} was committed" for owed in self._owed(written)]
                if not any(self._complaints(written)):
                    self._count_only(written)
                at += 1
            self._checked[tp] = at

    @property
    def written(self) -> int:
        """How many records the generator wrote."""
        return self._kinds.total()

    def verdicts(
        self, *, ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]
    ) -> tuple[Verdict, ...]:
        """Judge the run once it is over. `ends` are the partitions' end offsets, `committed` the group's offsets."""
        complaints = [self._complaints(written) for written in self._written.values()]
        owed, misplaced, differing, repeated = ([name for one in complaints for name in one[n]] for n in range(4))
        outcomes = self._right + Counter(self._outcome(written) for written in self._written.values())
        parts = [f"{outcomes[word]} {word}" for word in ("delivered", "dead-lettered", "not routed", "missing")]
        compared = self._compared + sum(map(len, (*self._delivered.values(), *self._buried.values())))
        strangers, late = self._strangers()
        nothing = [] if self.written else ["a run without records proves nothing"]
        return (
            Verdict(
                "every record is accounted for",
                f"{self.written} written = {' + '.join(parts)}",
                (*nothing, *owed),
            ),
            *self._by_mode(),
            Verdict("each went where it belongs", f"{len(self._kinds)} kinds of records", (*misplaced, *strangers)),
            Verdict("contents are equal", f"{compared} digests compared", tuple(differing)),
            Verdict("no duplicates", f"{len(repeated) + len(late)} came more than once", (*repeated, *late)),
            self._never_ahead(committed),
            self._to_the_end(ends, committed),
        )

    def _by_mode(self) -> Iterator[Verdict]:
        """What was due by each mode, held against what came: dead letters count, for they are kept."""
        settled = self._settled_by + Counter(
            route for written in self._written.values() for route in self._came(written)
        )
        for mode in dict.fromkeys(self._modes.values()):
            routes = [route for route, its_mode in self._modes.items() if its_mode == mode]
            due, came = (sum(counts[route] for route in routes) for counts in (self._owed_by, settled))
            against = () if due == came and due else (f"{due} were due, {came} came",)
            yield Verdict(f"every record is accounted for in {mode}", f"{came} of {due}", against)

    def _came(self, written: Written) -> frozenset[str]:
        """The routes that owe something for a record and have brought it."""
        if written.fate is None:
            return frozenset()
        return written.fate.routes & {sent.route for _, side in self._sides(written.place) for sent in side}

    def _sides(self, place: Place) -> tuple[tuple[str, list[Sent]], ...]:
        return ("delivered", self._delivered.get(place, [])), ("dead-lettered", self._buried.get(place, []))

    def _owed(self, written: Written) -> list[str]:
        """What this record still owes: an event for each of its routes, delivered or dead-lettered."""
        if written.fate is None:
            return []
        return [
            f"{written}: neither delivered nor dead-lettered{_by(route)}"
            for route in sorted(written.fate.routes - self._came(written))
        ]

    def _complaints(self, written: Written) -> tuple[list[str], list[str], list[str], list[str]]:
        """All that is wrong with a record: owed, misplaced, differing, repeated."""
        misplaced, differing, repeated = [], [], []
        fate = written.fate
        for word, side in self._sides(written.place):
            belongs = None if fate is None else fate.delivered if word == "delivered" else fate.buried
            wanted = written.payload if word == "delivered" else written.raw
            for route, times in Counter(sent.route for sent in side).items():
                if belongs is not None and route not in belongs:
                    misplaced.append(f"{written}: {word}{_by(route)}, where it does not belong")
                if times > 1:
                    repeated.append(f"{written}: {word} {times} times{_by(route)}")
            differing += [
                f"{written}: {word}{_by(sent.route)} with another content" for sent in side if sent.digest != wanted
            ]
        return self._owed(written), misplaced, differing, repeated

    def _outcome(self, written: Written) -> str:
        if self._owed(written):
            return "missing"
        if written.place in self._buried:
            return "dead-lettered"
        return "delivered" if written.place in self._delivered else "not routed"

    def _count_only(self, written: Written) -> None:
        self._right[self._outcome(written)] += 1
        self._settled_by.update(self._came(written))
        del self._written[written.place]
        for side in (self._delivered, self._buried):
            self._compared += len(side.pop(written.place, ()))

    def _strangers(self) -> tuple[list[str], list[str]]:
        """What belongs to no record in the books: the generator never wrote it, or it was settled long before."""
        strangers, late = [], []
        for word, side in (("delivered", self._delivered), ("dead-lettered", self._buried)):
            for place in sorted(side.keys() - self._written.keys()):
                for sent in side[place]:
                    if place.offset < self._checked.get(place.tp, 0):
                        late.append(f"{place}: {word} again{_by(sent.route)}, after it was settled and committed")
                    else:
                        strangers.append(f"{place}: {word}{_by(sent.route)}, but the generator never wrote it")
        return strangers, late

    def _never_ahead(self, committed: Mapping[TopicPartition, int]) -> Verdict:
        unknown = [
            f"{Place(tp, self._checked.get(tp, 0))}: committed past, but the generator never wrote it"
            for tp, offset in sorted(committed.items())
            if offset > self._checked.get(tp, 0)
        ]
        return Verdict(
            "no commit ran ahead of a record",
            f"the group's offsets were read {self._looks} times while it ran",
            (*self._overtaken, *unknown),
        )

    def _to_the_end(self, ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]) -> Verdict:
        against = [
            f"{Place(tp, committed.get(tp, 0))}: not committed, the end of the partition is {end}"
            for tp, end in sorted(ends.items())
            if committed.get(tp, 0) != end
        ]
        return Verdict("committed = end", f"{len(ends)} partitions", tuple(against))


def _by(route: str) -> str:
    return f" by route {route}" if route else ""
