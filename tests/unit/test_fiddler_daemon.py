"""The daemon around the target fiddler: what is committed when, what is counted, what is told. Kafka is in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

from prometheus_client import CollectorRegistry

from connector.app import App, Parts
from connector.mapping.problem import Position
from connector.metrics import Metrics
from connector.model import TopicPartition
from connector.route import compile_routes
from connector.sandbox import faults
from connector.sandbox.fiddler import Fiddler as Sandbox
from connector.settings import Loaded
from connector.targets import REGISTRY
from tests.flow.world import FakeBroker, FakeConsumer, FakeTarget, config
from tests.unit.targets.fiddler import FILES, settings

TP: Final = TopicPartition("t1", 0)
COUNT: Final = 20


def where(path: object) -> Position:
    return Position("test.yaml", 1, 1)


@asynccontextmanager
async def daemon(sandbox: Sandbox, **more: Any) -> AsyncIterator[tuple[App, FakeBroker]]:
    """A daemon with twenty records before it, and Fiddler behind it."""
    loop = asyncio.get_running_loop()
    target = settings(sandbox.url, batch={"max_entries": COUNT, "linger": "50ms"}, **more)
    routes = [{"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"event": "${value}"}}]
    settled = config(targets={"t": target}, routes=routes)
    broker = FakeBroker(lambda record: True)  # what was really stored, each test asks the sandbox
    for number in range(COUNT):
        broker.produce(TP, b'{"n": %d, "odd": 1}' % number)
    compiled, problems = compile_routes(settled, where, REGISTRY)
    assert compiled is not None, problems
    consumers: list[FakeConsumer] = []

    def consumer(_: Any, app: App, loop: asyncio.AbstractEventLoop) -> FakeConsumer:
        consumers.append(FakeConsumer(app, loop, broker, Random(1)))
        return consumers[0]

    parts = Parts(
        consumer=consumer,
        target=lambda name, told: REGISTRY[told.type].make(name, told),
        dead_letters=lambda _: FakeTarget(Random(0)),
        clock=loop.time,
        random=Random(1),
    )
    app = App(Loaded(settled, (), where, "hash"), compiled, Metrics(CollectorRegistry()), parts)
    async with asyncio.TaskGroup() as group:
        process = group.create_task(app.run())
        await until(lambda: bool(consumers))
        consumers[0].assign([TP])
        yield app, broker
        app.stop()
        assert await process == 0


async def until(true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is waited for is another's doing, which tells by no event
            await asyncio.sleep(0.01)


def sample(app: App, name: str, **labels: str) -> float | None:
    return app.tally.metrics.registry.get_sample_value(name, {"route": "r", "target": "t", **labels})


async def test_no_offset_is_committed_before_the_job_of_its_file_has_succeeded() -> None:
    async with Sandbox(faults=[faults.fail_job("STARTED")]) as sandbox, daemon(sandbox, **FILES) as (app, broker):
        await until(lambda: any(job.states == ["STARTED"] for job in sandbox.jobs.values()))
        assert app.lanes["t"].pace.request_timeout > 4 * 1800  # no deadline of a request cuts a job off
        looks = sandbox.calls
        await until(lambda: sandbox.calls > looks + 20)
        assert broker.committed.get(TP, 0) == 0
        assert app.assignment.totals.records == COUNT
        [job] = sandbox.jobs.values()
        job.states[:] = ["SUCCESS"]
        await until(lambda: broker.committed.get(TP) == COUNT)
        [told] = [target["told"] for target in app.status()["targets"] if target["name"] == "t"]
        assert (told["status"], told["job_uuid"]) == (202, job.id)


async def test_a_bad_row_of_a_file_is_found_by_halves_and_buried_alone() -> None:
    poison = faults.refuse("BadRow", when=lambda row: row.get("n") == "7", times=None)
    async with Sandbox(faults=[poison], job_states=()) as sandbox, daemon(sandbox, **FILES) as (app, broker):
        await until(lambda: broker.committed.get(TP) == COUNT)
        assert sorted(int(taken.row["n"]) for taken in sandbox.accepted) == [n for n in range(COUNT) if n != 7]
        assert sample(app, "connector_dead_letters_total", code="JobFailed") == 1.0
        assert app.status()["totals"]["delivered"] == COUNT - 1


async def test_a_dry_run_commits_what_it_reported_and_counts_it_as_such() -> None:
    async with Sandbox() as sandbox, daemon(sandbox, dry_run=True) as (app, broker):
        await until(lambda: broker.committed.get(TP) == COUNT)
        assert sandbox.accepted == []
        assert sample(app, "connector_events_total", outcome="dry_run") == COUNT
        assert sample(app, "connector_events_total", outcome="delivered") == 0.0
        assert (app.status()["totals"]["dry_run"], app.status()["totals"]["delivered"]) == (COUNT, 0)


async def test_columns_that_the_service_drops_are_counted_as_warnings() -> None:
    async with Sandbox() as sandbox, daemon(sandbox) as (app, broker):
        await until(lambda: broker.committed.get(TP) == COUNT)
        assert {taken.dropped for taken in sandbox.accepted} == {("odd",)}
        assert sample(app, "connector_warnings_total", code="UnknownColumns") == COUNT
        assert sample(app, "connector_events_total", outcome="delivered") == COUNT
