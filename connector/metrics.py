"""Every metric, named once; `docs/metrics.md` says what each means to a person and when to be alarmed."""

import collections
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from connector.model import Ack, TopicPartition, Verdict

RequestOutcome: TypeAlias = Literal["delivered", "partial", "retried", "rejected", "held"]

# From a service in the same region (10 ms) to the default request_timeout (30 s), and beyond.
_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# The services' limits are edges (EventBridge and IoT Events 10, Pinpoint 100), so that full calls can be read off.
_BATCH_ENTRIES: Final = (1, 2, 5, 9, 10, 20, 50, 99, 100, 200, 500, 1000, 5000, 10000)
# From a linger (100 ms) over a service's outage (minutes) to a weekend that was held.
_END_TO_END_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400, 259200)

# The client library adds a gauge `…_created` to each counter and histogram. That is half as many series again for a
# time that nobody reads. The switch is the library's own and holds for the process.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves this function untyped


class Counts(Collector):
    """A counter of what happens to each record: `of` counts by label values, and costs an addition.

    The client library's own takes a lock and looks itself over at each step.
    """

    def __init__(self, name: str, words: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self.of: collections.Counter[tuple[str, ...]] = collections.Counter()
        self._name, self._words, self._labels = name, words, labels
        registry.register(self)

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The counter without its counts."""
        yield CounterMetricFamily(self._name, self._words, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counter, at the moment of a scrape."""
        for family in self.describe():
            for labels, count in list(self.of.items()):
                family.add_metric(labels, count)
            yield family


class Delays(Collector):
    """A histogram of something that each record has, as cheap as `Counts`."""

    def __init__(self, name: str, words: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._words = name, words
        self._bounds = (*buckets, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The histogram without its counts."""
        yield HistogramMetricFamily(self._name, self._words)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The histogram, at the moment of a scrape."""
        for family in self.describe():
            totals = map(float, accumulate(self._counts))
            family.add_metric((), list(zip(map(_spelled, self._bounds), totals, strict=True)), self._sum)
            yield family


class Metrics:
    """All metrics of one daemon, on the registry that was passed in.

    An attribute has the metric's name without `connector_` and `_total`. Times are seconds, sizes bytes.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records_consumed = Counter(
            "connector_records_consumed_total", "Records taken from Kafka", ["topic"], registry=registry
        )
        self.records_unrouted = Counter(
            "connector_records_unrouted_total", "Records that no route took", ["topic"], registry=registry
        )
        self.route_matched = Counts("connector_route_matched_total", "Records that a route took", ["route"], registry)
        self.events = Counts(
            "connector_events_total",
            "Events that came to their end: delivered, dead_lettered, skipped or dry_run",
            ["route", "target", "outcome"],
            registry,
        )
        self.dead_letters = Counter(
            "connector_dead_letters_total",
            "Dead letters that the dead-letter topic acknowledged, by the code that made them",
            ["route", "target", "code"],
            registry=registry,
        )
        self.warnings = Counter(
            "connector_warnings_total",
            "Delivered events with something amiss, by code",
            ["route", "target", "code"],
            registry=registry,
        )
        self.retries = Counter(
            "connector_retries_total",
            "Events that are sent again, by the code of the service",
            ["route", "target", "code"],
            registry=registry,
        )
        self.batches = Counter(
            "connector_batches_total", "Calls made, by what closed the batch", ["target", "trigger"], registry=registry
        )
        self.batch_entries = Histogram(
            "connector_batch_entries", "Entries of one call", ["target"], registry=registry, buckets=_BATCH_ENTRIES
        )
        self.request_seconds = Histogram(
            "connector_request_seconds",
            "Time of one call, by what became of its entries",
            ["target", "outcome"],
            registry=registry,
            buckets=_REQUEST_SECONDS,
        )
        self.in_flight = Gauge("connector_in_flight", "Calls under way", ["target"], registry=registry)
        self.lane_held = Gauge(
            "connector_lane_held", "1 while the lane stands still and probes, else 0", ["target"], registry=registry
        )
        self.preflight_ok = Gauge(
            "connector_preflight_ok",
            "1 when the destination was found at the last look, 0 when it is missing, -1 when it cannot be asked",
            ["target"],
            registry=registry,
        )
        self.paused = Gauge(
            "connector_paused", "1 while the route waits for an operator, else 0", ["route"], registry=registry
        )
        self.open_records = Gauge(
            "connector_open_records", "Records that are taken and not settled", ["target"], registry=registry
        )
        self.open_bytes = Gauge("connector_open_bytes", "Bytes of entries not settled", ["target"], registry=registry)
        self.consumer_lag = Gauge(
            "connector_consumer_lag",
            "Records between the committed offset and the end of the partition",
            ["topic", "partition"],
            registry=registry,
        )
        self.oldest_unsettled_age_seconds = Gauge(
            "connector_oldest_unsettled_age_seconds",
            "Time since the oldest open record was taken, 0 when none is open",
            registry=registry,
        )
        self.commits = Counter(
            "connector_commits_total", "Commits of offsets: confirmed or failed", ["outcome"], registry=registry
        )
        self.rebalances = Counter(
            "connector_rebalances_total",
            "Changes of the assignment, by kind",
            ["kind"],
            registry=registry,
        )
        self.config_reloads = Counter(
            "connector_config_reloads_total",
            "Reloads of the config, by how they ended",
            ["outcome"],
            registry=registry,
        )
        self.admin_changes = Counter(
            "connector_admin_changes_total",
            "What was asked of the admin server beyond looking, by how it ended",
            ["action", "outcome"],
            registry=registry,
        )
        self.offset_resets = Counter(
            "connector_offset_resets_total",
            "Partitions that had to begin elsewhere, because their offset was gone or their topic was made anew",
            ["topic"],
            registry=registry,
        )
        self.records_expired = Counter(
            "connector_records_expired_total",
            "Records that retention deleted before they were read",
            ["topic"],
            registry=registry,
        )
        self.end_to_end_seconds = Delays(
            "connector_end_to_end_seconds",
            "From a record's timestamp to the acknowledgement of its event",
            _END_TO_END_SECONDS,
            registry,
        )
        self.config_info = Gauge(
            "connector_config_info", "1 for the hash of the config in force", ["hash"], registry=registry
        )

    def running(self, config_hash: str) -> None:
        """Name the config in force; the one before it disappears."""
        self.config_info.clear()
        self.config_info.labels(hash=config_hash).set(1)

    def announce(self, route: str, targets: Iterable[str]) -> None:
        """Show a route and its targets from the start, at zero: a rate is blind to a series' first value."""
        self.route_matched.of[route,] += 0
        self.paused.labels(route=route)
        for target in targets:
            for outcome in ("delivered", "dead_lettered", "skipped"):
                self.events.of[route, target, outcome] += 0
            for gauge in (self.in_flight, self.lane_held, self.open_records, self.open_bytes):
                gauge.labels(target=target)

    def retire(self, target: str) -> None:
        """Drop the gauges of a target that is no longer in the config."""
        for gauge in (self.in_flight, self.lane_held, self.open_records, self.open_bytes, self.preflight_ok):
            gauge.remove(target)

    def changed(self, action: str, outcome: Literal["done", "refused", "unauthorized"]) -> None:
        """Count what was asked of the admin server."""
        self.admin_changes.labels(action=action, outcome=outcome).inc()

    def forget(self, tp: TopicPartition) -> None:
        """Drop the lag of a partition that is no longer ours: the member that has it now tells it."""
        self.consumer_lag.remove(tp.topic, str(tp.partition))


def _spelled(bound: float) -> str:
    """A bucket's bound as the client library writes it."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # the library leaves this function untyped


def outcome_of(acks: Sequence[Ack]) -> RequestOutcome:
    """Sum up one call: all delivered, some, or none and then the gravest reason why."""
    verdicts = {ack.verdict for ack in acks}
    if verdicts == {Verdict.DELIVERED}:
        return "delivered"
    if Verdict.DELIVERED in verdicts:
        return "partial"
    if Verdict.HOLD in verdicts:
        return "held"
    if verdicts == {Verdict.REJECTED}:
        return "rejected"
    return "retried"


def watch_process(registry: CollectorRegistry) -> None:
    """Add the metrics of the process itself: memory, CPU and open files (where /proc tells), Python, its collector."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
