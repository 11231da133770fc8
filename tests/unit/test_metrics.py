"""The metrics keep their names: dashboards and alerts of other people hang on them."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from connector.metrics import Counts, Delays, Metrics, outcome_of, watch_process
from connector.model import Ack, TopicPartition, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
PROMISED = {
    "connector_records_consumed_total": ("topic",),
    "connector_records_unrouted_total": ("topic",),
    "connector_route_matched_total": ("route",),
    "connector_events_total": ("route", "target", "outcome"),
    "connector_dead_letters_total": ("route", "target", "code"),
    "connector_warnings_total": ("route", "target", "code"),
    "connector_retries_total": ("route", "target", "code"),
    "connector_batches_total": ("target", "trigger"),
    "connector_batch_entries": ("target",),
    "connector_request_seconds": ("target", "outcome"),
    "connector_in_flight": ("target",),
    "connector_lane_held": ("target",),
    "connector_preflight_ok": ("target",),
    "connector_paused": ("route",),
    "connector_open_records": ("target",),
    "connector_open_bytes": ("target",),
    "connector_consumer_lag": ("topic", "partition"),
    "connector_oldest_unsettled_age_seconds": (),
    "connector_commits_total": ("outcome",),
    "connector_rebalances_total": ("kind",),
    "connector_admin_changes_total": ("action", "outcome"),
    "connector_config_reloads_total": ("outcome",),
    "connector_offset_resets_total": ("topic",),
    "connector_records_expired_total": ("topic",),
    "connector_end_to_end_seconds": (),
    "connector_config_info": ("hash",),
}


def families(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    """Name, as Prometheus shows it, → labels, of every metric the object has."""
    found = {}
    for name, metric in vars(metrics).items():
        if isinstance(metric, MetricWrapperBase | Counts | Delays):
            (family,) = metric.describe()
            shown = family.name + ("_total" if family.type == "counter" else "")
            found[shown] = tuple(getattr(metric, "_labelnames", getattr(family, "_labelnames", ())))
            assert shown.removeprefix("connector_").removesuffix("_total") == name
    return found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def exposed(metrics: Metrics) -> list[str]:
    return [line for line in generate_latest(metrics.registry).decode().splitlines() if not line.startswith("#")]


def test_every_promised_name_is_there_with_its_labels_and_no_other(metrics: Metrics) -> None:
    assert families(metrics) == PROMISED


def test_the_page_on_metrics_lists_the_same_names_and_labels(metrics: Metrics) -> None:
    rows = re.findall(r"^\| `(connector_\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels, _, _ in rows} == families(metrics)
    assert [name for name, _, meaning, alarm in rows if not meaning.strip() or not alarm.strip()] == []


def test_every_metric_has_a_help_text(metrics: Metrics) -> None:
    assert [family.name for family in metrics.registry.collect() if not family.documentation] == []


def test_two_daemons_in_one_process_do_not_share_a_metric(metrics: Metrics) -> None:
    other = Metrics(CollectorRegistry())
    other.records_consumed.labels(topic="a").inc()
    assert metrics.registry.get_sample_value("connector_records_consumed_total", {"topic": "a"}) is None


def test_counters_do_not_bring_a_created_series_each(metrics: Metrics) -> None:
    metrics.records_consumed.labels(topic="a").inc()
    assert [line for line in exposed(metrics) if "_created" in line] == []


def test_a_delay_is_counted_as_the_client_library_counts_it(metrics: Metrics) -> None:
    theirs = Histogram("theirs", "", buckets=(0.05, 1), registry=metrics.registry)
    ours = Delays("ours", "", (0.05, 1), metrics.registry)
    for seconds in (0.0, 0.05, 0.051, 1.0, 7.5):
        theirs.observe(seconds)
        ours.observe(seconds)
    lines = exposed(metrics)
    assert [line.replace("ours", "theirs") for line in lines if line.startswith("ours")] == [
        line for line in lines if line.startswith("theirs")
    ]


def test_an_announced_route_is_shown_at_zero(metrics: Metrics) -> None:
    metrics.announce("paid", ["bus", "audit"])
    lines = exposed(metrics)
    assert 'connector_events_total{outcome="delivered",route="paid",target="audit"} 0.0' in lines
    assert 'connector_route_matched_total{route="paid"} 0.0' in lines
    assert 'connector_lane_held{target="bus"} 0.0' in lines
    assert 'connector_paused{route="paid"} 0.0' in lines


def test_a_preflight_that_was_never_made_shows_neither_found_nor_missing(metrics: Metrics) -> None:
    metrics.announce("paid", ["bus"])
    assert [line for line in exposed(metrics) if line.startswith("connector_preflight_ok")] == []


def test_announcing_again_changes_no_count(metrics: Metrics) -> None:
    metrics.announce("paid", ["bus"])
    metrics.events.of["paid", "bus", "delivered"] += 3
    metrics.announce("paid", ["bus"])
    assert 'connector_events_total{outcome="delivered",route="paid",target="bus"} 3.0' in exposed(metrics)


def test_only_the_config_in_force_is_shown(metrics: Metrics) -> None:
    metrics.running("aaa")
    metrics.running("bbb")
    assert [line for line in exposed(metrics) if "config_info" in line] == ['connector_config_info{hash="bbb"} 1.0']


def test_the_lag_of_a_partition_that_left_is_no_longer_shown(metrics: Metrics) -> None:
    metrics.consumer_lag.labels(topic="a", partition=0).set(5)
    metrics.consumer_lag.labels(topic="a", partition=1).set(7)
    metrics.forget(TopicPartition("a", 0))
    metrics.forget(TopicPartition("never-seen", 3))
    lags = [line for line in exposed(metrics) if line.startswith("connector_consumer_lag")]
    assert lags == ['connector_consumer_lag{partition="1",topic="a"} 7.0']


def test_a_full_call_of_ten_can_be_told_from_one_of_nine(metrics: Metrics) -> None:
    for entries in (9, 10, 10):
        metrics.batch_entries.labels(target="bus").observe(entries)
    value = metrics.registry.get_sample_value
    assert value("connector_batch_entries_bucket", {"target": "bus", "le": "9.0"}) == 1
    assert value("connector_batch_entries_bucket", {"target": "bus", "le": "10.0"}) == 3


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ([Verdict.DELIVERED, Verdict.DELIVERED], "delivered"),
        ([Verdict.DELIVERED, Verdict.RETRY], "partial"),
        ([Verdict.DELIVERED, Verdict.HOLD], "partial"),
        ([Verdict.RETRY, Verdict.HOLD, Verdict.REJECTED], "held"),
        ([Verdict.RETRY, Verdict.REJECTED], "retried"),
        ([Verdict.REJECTED, Verdict.REJECTED], "rejected"),
        ([], "retried"),
    ],
)
def test_a_call_is_summed_up_by_what_became_of_its_entries(verdicts: list[Verdict], outcome: str) -> None:
    assert outcome_of([Ack(verdict) for verdict in verdicts]) == outcome


def test_the_process_tells_of_itself_on_the_same_registry() -> None:
    registry = CollectorRegistry()
    watch_process(registry)
    names = {family.name for family in registry.collect()}
    assert "python_info" in names
    assert "python_gc_collections" in names
