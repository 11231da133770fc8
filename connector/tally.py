"""What has happened, told twice from one place: in the metrics for machines, in plain numbers for `/status`."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, TypeVar

import structlog

from connector.batch import Trigger
from connector.log import level
from connector.metrics import Metrics, outcome_of
from connector.model import Ack, Batch, Entry, Event, Verdict

_ERRORS_KEPT: Final = 10
_CODES_KEPT: Final = 64
_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
OTHER: Final = "Other"
"""The label of codes that are no names, and of new ones once there are many: a service may invent a code a call."""


class Tally:
    """Counts since the start. It only counts: nothing of the daemon is decided by it."""

    def __init__(self, metrics: Metrics, wall: Callable[[], float]) -> None:
        self.metrics: Final = metrics
        self._wall = wall
        self._log = structlog.get_logger("connector.publish")
        # What is counted for each call is found once: to find it costs more than to count.
        self._batches = cache(metrics.batches.labels)
        self._batch_entries = cache(metrics.batch_entries.labels)
        self._request_seconds = cache(metrics.request_seconds.labels)
        self._matched = metrics.route_matched.of
        self._ended = metrics.events.of
        self._retried: Counter[tuple[str, str]] = Counter()  # (route, target)
        self.consumed = 0
        self.unrouted = 0
        self.dead_letters = 0
        self.calls = 0
        self.call_seconds = 0.0
        self._codes: set[str] = set()
        # (route, code) → count, last time
        self.letters: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self.errors: dict[str, OrderedDict[str, tuple[int, float]]] = {}  # target → code → count, last time

    def matched(self, route: str) -> int:
        """Records that a route took."""
        return self._matched[route,]

    @property
    def by_route(self) -> Counter[tuple[str, str]]:
        """What became of events, by route and outcome; `retried` counts tries."""
        return self._by(0)

    @property
    def by_target(self) -> Counter[tuple[str, str]]:
        """The same by target."""
        return self._by(1)

    def _by(self, name: int) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for labels, count in self._ended.items():
            found[labels[name], labels[2]] += count
        for names, count in self._retried.items():
            found[names[name], "retried"] += count
        return found

    def took(self, topic: str, records: int) -> None:
        """Records were taken from Kafka."""
        self.consumed += records
        self.metrics.records_consumed.labels(topic=topic).inc(records)

    def unroutable(self, topic: str) -> None:
        """No route took a record."""
        self.unrouted += 1
        self.metrics.records_unrouted.labels(topic=topic).inc()

    def took_route(self, route: str) -> None:
        """A route took a record."""
        self._matched[route,] += 1

    def ended(self, event: Event, outcome: str) -> None:
        """An event came to its end: delivered, dead_lettered, skipped or dry_run."""
        self._ended[event.route, event.target, outcome] += 1

    def buried(self, event: Event, code: str) -> None:
        """The dead-letter topic has acknowledged an event."""
        self.dead_letters += 1
        _count(self.letters, (event.route, code), self._wall())
        self.metrics.dead_letters.labels(route=event.route, target=event.target, code=self._label(code)).inc()
        self.ended(event, "dead_lettered")

    def delivered(self, event: Event, ack: Ack) -> None:
        """A service has acknowledged an event, or it was a dry run; `ack` tells whether something is amiss with it."""
        self.ended(event, ack.code or "delivered")
        if ack.warning:
            self.metrics.warnings.labels(route=event.route, target=event.target, code=ack.warning).inc()
        if event.record.timestamp_ms >= 0:
            self.metrics.end_to_end_seconds.observe(max(0.0, self._wall() - event.record.timestamp_ms / 1000))

    def retried(self, entry: Entry, ack: Ack) -> None:
        """An entry will be sent again."""
        event = entry.event
        self._retried[event.route, event.target] += 1
        self.metrics.retries.labels(route=event.route, target=event.target, code=self._label(ack.code)).inc()

    def called(self, target: str, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None:
        """A call has ended: one line a batch at debug, never a payload."""
        self.calls += 1
        self.call_seconds += seconds
        self._batches(target, trigger.value).inc()
        self._batch_entries(target).observe(len(batch))
        self._request_seconds(target, outcome_of(acks)).observe(seconds)
        for ack in acks:
            if ack.verdict is not Verdict.DELIVERED:
                self._note(target, ack.code)
        if level() != "debug":
            return  # what follows is reckoned for the line alone
        self._log.debug(
            "batch sent",
            target=target,
            trigger=trigger.value,
            entries=len(batch),
            bytes=sum(entry.size for entry in batch),
            seconds=round(seconds, 4),
            first=str(batch[0].event.record),
            verdicts=dict(Counter(ack.verdict.value for ack in acks)),
            codes=dict(Counter(ack.code for ack in acks if ack.code)),
            acks=[ack.detail for ack in acks],
        )

    def _label(self, code: str) -> str:
        """A code as a label: each value is a series that never goes away, so there are `_CODES_KEPT` at most."""
        if code not in self._codes:
            if len(self._codes) >= _CODES_KEPT or not _CODE.fullmatch(code):
                return OTHER
            self._codes.add(code)
        return code

    def gone(self, topic: str, records: int) -> None:
        """The offset of a partition was no longer there, and so many records before the first one left are lost."""
        self.metrics.offset_resets.labels(topic=topic).inc()
        self.metrics.records_expired.labels(topic=topic).inc(records)

    def _note(self, target: str, code: str) -> None:
        _count(self.errors.setdefault(target, OrderedDict()), code, self._wall())


Key = TypeVar("Key")


def _count(seen: OrderedDict[Key, tuple[int, float]], key: Key, now: float) -> None:
    """Count, the latest last, and forget what was not seen for the longest time."""
    count, _ = seen.pop(key, (0, 0.0))
    seen[key] = (count + 1, now)
    if len(seen) > _ERRORS_KEPT:
        seen.popitem(last=False)
