"""Fixtures of the tests that need a real Kafka: one cluster a session, one corner of it a test."""

import os
from collections.abc import Iterator

import pytest

from tests.kafka import broker
from tests.kafka.cluster import Cluster, Kafka

FIRST_TEST_SECONDS = broker.RESOLVE_SECONDS + broker.FORMAT_SECONDS + broker.START_SECONDS + 60


def pytest_collection_finish(session: pytest.Session) -> None:
    """Give the test that starts the broker the time to resolve its jars, which counts as that test's own."""
    first = next((item for item in session.items if item.get_closest_marker("broker")), None)
    if first is not None:
        first.add_marker(pytest.mark.timeout(FIRST_TEST_SECONDS), append=False)


def need_broker() -> None:
    """Skip where no broker can be started here, and say why.

    With CI=true that is a failure, so that a run without these tests never passes for a whole one.
    """
    if reason := broker.missing():
        give_up = pytest.fail if os.environ.get("CI", "").lower() == "true" else pytest.skip
        give_up(reason)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of KAFKA_BOOTSTRAP_SERVERS, else a broker of our own."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        cluster = Cluster(given)
        if not cluster.reachable():
            pytest.fail(f"no Kafka answers at {given}: start it, or unset KAFKA_BOOTSTRAP_SERVERS")
        yield cluster
        return
    need_broker()
    with broker.running(tmp_path_factory.mktemp("kafka")) as started:
        yield Cluster(started.bootstrap, started)


@pytest.fixture
def kafka(cluster: Cluster) -> Iterator[Kafka]:
    """This test's own topics and groups."""
    corner = Kafka(cluster)
    yield corner
    corner.end()
