"""What every run has: three brokers for all of them, a seed, and a row in the table at the end."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.brokers import Brokers
from tests.chaos.run import Run
from tests.chaos.table import REPORT, table
from tests.kafka.cluster import Cluster, Kafka
from tests.kafka.conftest import FIRST_TEST_SECONDS, kafka, need_broker

__all__ = ["kafka"]  # a fixture, found by its name here

_HERE: Final = Path(__file__).parent
_SEED: Final = "CONNECTOR_CHAOS_SEED"

_collected: list[dict[str, Any]] = []
"""The rows so far, in the process that prints the summary."""

_failed: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line, as `make chaos` does."""
    parser.addoption("--chaos-seed", type=int, default=None, help=f"seed of the runs (else {_SEED}, else by chance)")
    parser.addoption("--minutes", type=float, default=None, help="how long the weather lasts; without it there is none")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed once; workers inherit it."""
    _seed(config)


def pytest_report_header(config: pytest.Config) -> str:
    return f"chaos seed: {_seed(config)}"


def _seed(config: pytest.Config) -> int:
    given = config.getoption("chaos_seed", default=None)
    if given is None and _SEED not in os.environ:
        given = random.SystemRandom().randrange(1_000_000)
    if given is not None:
        os.environ[_SEED] = str(given)
    return int(os.environ[_SEED])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long runs to those who name this folder, and mark all as in need of a broker."""
    mine = [item for item in items if item.path.is_relative_to(_HERE)]
    for item in mine:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)
    minutes = config.getoption("minutes", default=None)
    for item in [item for item in mine if "minutes" in getattr(item, "fixturenames", ())]:
        if minutes is None:
            items.remove(item)
            config.hook.pytest_deselected(items=[item])
        else:
            item.add_marker(pytest.mark.timeout(60 * minutes + 1_500))
    named = (Path(str(one).partition("::")[0]).resolve() for one in config.args)
    if any(one.is_relative_to(_HERE) for one in named):
        return
    left_out = [item for item in mine if item.get_closest_marker("chaos")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Give the run that starts the brokers the time to resolve their jars, which counts as that run's own."""
    mine = (item for item in session.items if item.path.is_relative_to(_HERE))
    first = next((item for item in mine if item.get_closest_marker("broker")), None)
    if first is not None:
        own = first.get_closest_marker("timeout")
        first.add_marker(pytest.mark.timeout(FIRST_TEST_SECONDS + (own.args[0] if own else 0)), append=False)


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers | None]:
    """The three brokers, None where a cluster is given by name."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield None
        return
    need_broker()
    three = Brokers(tmp_path_factory.mktemp("brokers"))
    try:
        three.start()
        yield three
    finally:
        three.end()


@pytest.fixture(scope="session")
def cluster(brokers: Brokers | None) -> Cluster:
    """The cluster of the three, whose topics have a replica on each, or the one that is given."""
    if brokers is not None:
        return Cluster(brokers.bootstrap, entrance=brokers.entrance, replication=3, session_ms=1000, ours=True)
    cluster = Cluster(os.environ["KAFKA_BOOTSTRAP_SERVERS"], replication=-1)  # as many as the cluster thinks right
    if not cluster.reachable():
        pytest.fail(f"no Kafka answers at {cluster.bootstrap}: start it, or unset KAFKA_BOOTSTRAP_SERVERS")
    return cluster


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    """How long the weather lasts."""
    return float(request.config.getoption("minutes"))


@pytest.fixture
def run(request: pytest.FixtureRequest, kafka: Kafka, brokers: Brokers | None, tmp_path: Path) -> Iterator[Run]:
    """This run, on a cluster that is whole."""
    if brokers is not None:
        brokers.heal()
    doc = (request.function.__doc__ or "").strip().partition("\n")[0]
    assert doc.startswith("T"), "the first line of a run's docstring is its number of the table, such as T9"
    chosen = Run(doc.rstrip("."), request.node.nodeid, _seed(request.config), kafka, tmp_path, brokers)
    print(f"chaos seed {chosen.base_seed}; again: {chosen.command}")
    yield chosen
    request.node.user_properties.append(("chaos", chosen.row))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the rows, from workers too; one whose run failed says so."""
    if report.failed:
        _failed.add(report.nodeid)
    if report.when == "teardown":
        rows = [row for name, row in report.user_properties if name == "chaos" and isinstance(row, dict)]
        _collected.extend({**row, "held": report.nodeid not in _failed} for row in rows if row)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and keep it for the page; runs of the same seed, made one by one, add up."""
    if not _collected:
        return
    before = json.loads(REPORT.read_text()) if REPORT.exists() else []
    again = {row["test"] for row in _collected}
    kept = [row for row in before if row["seed"] == _collected[0]["seed"] and row["test"] not in again]
    rows = sorted([*kept, *_collected], key=lambda row: (row["run"], row["test"]))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2) + "\n")
    terminalreporter.section("what was struck, and what came of it")
    terminalreporter.write_line(table(rows))
