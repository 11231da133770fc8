"""What has happened, counted: no service can make more series than anybody reads."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from connector.metrics import Metrics
from connector.model import Ack, Entry, Event, Record, TopicPartition, Verdict
from connector.tally import OTHER, Tally

EVENT = Event(Record(TopicPartition("orders", 0), 7, 0, None, b"{}"), "paid", "bus", {}, "id")
ENTRY = Entry(EVENT, b"", 0, "", None, lambda: None)


@pytest.fixture
def tally() -> Tally:
    return Tally(Metrics(CollectorRegistry()), lambda: 0.0)


def codes(tally: Tally, name: str) -> dict[str, float]:
    """Code → count of a metric with the labels route, target and code."""
    found: Any = getattr(tally.metrics, name).collect()
    return {s.labels["code"]: s.value for s in found[0].samples if s.name.endswith("_total")}


def test_the_codes_of_a_service_that_invents_one_a_call_are_counted_together_after_the_sixty_fourth(
    tally: Tally,
) -> None:
    for number in range(100):
        tally.retried(ENTRY, Ack(Verdict.RETRY, f"Invented{number}"))
        tally.buried(EVENT, f"Invented{number}")
    tally.retried(ENTRY, Ack(Verdict.RETRY, "Invented3"))
    for name in ("retries", "dead_letters"):
        found = codes(tally, name)
        assert len(found) == 65
        assert found[OTHER] == 36.0
    assert codes(tally, "retries")["Invented3"] == 2.0


@pytest.mark.parametrize("code", ["", "an error page in words", "x" * 65, "null\n"])
def test_what_is_no_name_is_no_label(tally: Tally, code: str) -> None:
    tally.retried(ENTRY, Ack(Verdict.RETRY, code))
    assert codes(tally, "retries") == {OTHER: 1.0}


def test_records_that_retention_took_are_counted_beside_the_partitions_that_began_elsewhere(tally: Tally) -> None:
    tally.gone("orders", 35)
    tally.gone("orders", 0)
    value = tally.metrics.registry.get_sample_value
    assert value("connector_offset_resets_total", {"topic": "orders"}) == 2.0
    assert value("connector_records_expired_total", {"topic": "orders"}) == 35.0
