"""What every test shares: logs that stay out of the way, and no credentials or settings of the person who runs them."""

import logging
import os
from collections.abc import Generator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]  # xdist says nothing of its types
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # likewise

for name in [name for name in os.environ if name.startswith(("AWS_", "CONNECTOR_KAFKA", "CONNECTOR_TARGETS"))]:
    del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Log lines go nowhere unless a test configures them itself."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test printed or logged fit to travel between processes: some tests log lone surrogates on purpose."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


class _OneCluster(LoadFileScheduling):  # type: ignore[misc]  # its base has no types
    """A file at a time, as `--dist loadfile`; the files of tests/chaos are as one: three brokers start once."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "tests/chaos" if scope.startswith("tests/chaos/") else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Keep the runs on three brokers together."""
    return _OneCluster(config, log) if config.getoption("dist") == "loadfile" else None
