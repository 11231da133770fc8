"""Where the daemon's own CPU goes: its event loop on records from memory, with the real target and the stub.

The consumer thread is left out, and nothing else. What is printed is CPU a record, or with `--profile` the share of
each step by cProfile, which makes calls of Python dearer than they are: compare what it says before and after a change.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from connector.app import App, Parts, real_parts
from connector.loading.load import compiled, load
from connector.metrics import Metrics
from connector.model import Record, TopicPartition
from connector.room import MOST, Credit
from connector.route import compile_routes
from tests.bench.carry import ENVIRONMENT, order, stub
from tests.bench.services import EVENTBRIDGE, SERVICES, Service

TOPIC: Final = "orders"
PARTITIONS: Final = 4
FULL: Final = 20_000
"""Records that may be open: with the first of them the loop takes more than it ends, with the last it only ends."""
HEADERS: Final = (("event-type", b"order.paid"),)


class Source:
    """Stands for the consumer: hands over records from memory as far as it is granted, and confirms every commit."""

    def __init__(self, app: App, values: Sequence[bytes], records: int) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._tps = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        self._values = cycle(values)
        self._left = records
        self._taken = 0
        self._allowed = 0
        self._room = dict.fromkeys(self._tps, 0)
        self._next = dict.fromkeys(self._tps, 0)
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self.turned_at = time.monotonic()
        self.callback_until: float | None = None

    def start(self) -> None:
        self._loop.call_soon(self._app.assigned, 1, self._tps)

    def grant(self, credit: Credit) -> None:
        self._allowed = credit.records
        self._room.update({tp: total for tp, (total, _) in credit.per_partition.items()})
        self._loop.call_soon(self._turn)

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        self._loop.call_soon(self._app.committed, {tp: at for tp, (at, _) in offsets.items()}, "")

    def read(self, topics: Sequence[str]) -> None:
        raise NotImplementedError

    def stop_taking(self) -> None:
        self._left = 0

    def close(self) -> None:
        self.finished.set_result(None)

    def _turn(self) -> None:
        open_room = min(self._room[tp] - self._next[tp] for tp in self._tps) * PARTITIONS
        count = min(MOST, self._left, self._allowed - self._taken, open_room) // PARTITIONS
        if count <= 0:
            return
        now = int(time.time() * 1000)
        records = [
            Record(tp, self._next[tp] + at, now, b"c-%d" % at, value, HEADERS)
            for tp in self._tps
            for at, value in enumerate(islice(self._values, count))
        ]
        for tp in self._tps:
            self._next[tp] += count
        self._taken += len(records)
        self._left -= len(records)
        try:
            self._app.taken(dict.fromkeys(self._tps, 1), records, self._next.copy())
        except BaseException as error:  # noqa: BLE001 - it ends the run
            self.finished.set_exception(error)


async def carried(config: Path, values: Sequence[bytes], records: int, profile: cProfile.Profile | None) -> float:
    """CPU microseconds a record, between two moments at which as many records are open as may be."""
    loaded = compiled(load([config], os.environ))
    assert loaded.settings is not None, loaded.problems
    routes, _ = compile_routes(loaded.settings, loaded.locate)
    assert routes is not None
    parts = real_parts()
    made: list[Source] = []

    def source(settings: Any, app: App, loop: asyncio.AbstractEventLoop) -> Source:
        made.append(Source(app, values, records))
        return made[0]

    app = App(loaded, routes, Metrics(CollectorRegistry()), Parts(source, parts.target, parts.dead_letters))
    running = asyncio.create_task(app.run())

    async def until(count: int) -> None:
        while sum(app.tally.by_route.values()) < count:
            assert not running.done()
            await asyncio.sleep(0.01)

    await until(FULL)
    if profile is not None:
        profile.enable()
    before, began = sum(app.tally.by_route.values()), time.process_time()
    await until(records - FULL)
    spent, done = time.process_time() - began, sum(app.tally.by_route.values()) - before
    if profile is not None:
        profile.disable()
    app.stop()
    await running
    return spent / done * 1e6


def config_of(service: Service, endpoint: str, folder: str) -> Path:
    """The daemon's config of the benchmark, without dead letters."""
    config = {
        "version": 1,
        "kafka": {"bootstrap_servers": "127.0.0.1:1", "group_id": "inside"},
        **service.changes(TOPIC, endpoint),
        "defaults": {"route": {"on_error": "hold", "on_reject": "hold"}},
        "unrouted": "skip",
    }
    file = Path(folder) / "inside.yaml"
    file.write_text(json.dumps(config))
    return file


PARTS: Final = {
    "connector/targets/eventbridge.py": "prepare, read the answers",
    "connector/targets/strict_json.py": "prepare, read the answers",
    "connector/targets/fiddler": "prepare, read the answers",
    "connector/targets/trace.py": "prepare, read the answers",
    "connector/targets/": "the call: sign, deadline, errors",
    "connector/route.py": "route: decode, match, map, the event",
    "connector/decode.py": "route: decode, match, map, the event",
    "connector/mapping/": "route: decode, match, map, the event",
    "inside.yaml": "route: decode, match, map, the event",
    "<ast>": "route: decode, match, map, the event",
    "connector/publish.py": "lane and batches",
    "connector/batch.py": "lane and batches",
    "connector/commit.py": "ledger and room",
    "connector/assignment.py": "ledger and room",
    "connector/tally.py": "counting",
    "connector/metrics.py": "counting",
    "prometheus_client": "counting",
    "connector/": "the app that joins them",
    "tests/bench/inside.py": "",
    "aiohttp": "the call: HTTP",
    "aiobotocore": "the call: HTTP",
    "yarl": "the call: HTTP",
    "multidict": "the call: HTTP",
    "botocore": "the call: sign, deadline, errors",
}
"""What a file belongs to, the first that its path holds; nothing where it is the benchmark's own."""
OTHERS: Final = "Python's own libraries"


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """The share of each part. What Python has built in belongs to who calls it."""
    spent: dict[str, float] = {}
    stats: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # not in the stubs
    for (file, _, _), (_, _, own, _, callers) in stats.items():
        whose = {file: own} if file != "~" else {}
        if file == "~":
            for (caller, _, _), (_, _, part, _) in callers.items():
                whose[caller] = whose.get(caller, 0.0) + part
        for name, seconds in whose.items():
            part = next((part for path, part in PARTS.items() if path in name), OTHERS)
            spent[part] = spent.get(part, 0.0) + seconds
    spent.pop("", None)
    return {part: seconds / sum(spent.values()) for part, seconds in spent.items()}


def main() -> None:
    """Measure, several times in turn."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--records", type=int, default=100_000)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--size", type=int, default=600)
    asked.add_argument("--profile", type=int, default=0, help="print so many lines of the profile")
    asked.add_argument("--shares", action="store_true", help="print the share of each part, as JSON")
    services = {"EventBridge": EVENTBRIDGE, **SERVICES}
    asked.add_argument("--service", choices=services, default="EventBridge")
    options = asked.parse_args()
    os.environ.update(ENVIRONMENT)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    values = [order(number, options.size) for number in range(1000)]
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    profile = cProfile.Profile() if options.profile or options.shares else None
    for _ in range(1 if profile else options.rounds):
        with stub() as target, tempfile.TemporaryDirectory() as folder:
            config = config_of(services[options.service], target.endpoint, folder)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                micros = runner.run(carried(config, values, options.records, profile))
            if not options.shares:
                print(f"{micros:.1f} µs a record", flush=True)
    if profile is not None and options.shares:
        print(json.dumps(shares(profile)))
    elif profile is not None:
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(options.profile)


if __name__ == "__main__":
    main()
