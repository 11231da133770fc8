"""`make bench`: what the whole daemon costs, beside a plain script, another tool and the limit, all in the same run.

Each round runs every candidate once, one after the other, on the same preloaded topic of a real Kafka on loopback; a
ratio is made within its round, so a busy machine moves all of it alike. The median of the rounds is printed with its
spread, and written to a JSON file and a plot. Nothing here asserts a time of any machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from tests.bench.carry import ENVIRONMENT, LEAD, Cost, Stub, carry, fill, order, stream, stub
from tests.bench.plot import draw
from tests.bench.services import EVENTBRIDGE, MATCH, SERVICES, avro
from tests.kafka.broker import missing, running

OUT: Final = Path("build/bench")
PARTS: Final = "main,targets,curves,members,latency,profile,backlog"
BACKLOG: Final = 1_000_000
MQ_BRIDGE: Final = "mq-bridge==1.2.0"
MQ_BRIDGE_RUN: Final = "import sys, mq_bridge; mq_bridge.Route.from_file(sys.argv[1]).run()"

Rows = dict[str, list[Cost]]


class Bench:
    """A broker, a folder, and the candidates that run against them."""

    def __init__(self, bootstrap: str, folder: Path, log: Callable[[str], None]) -> None:
        self.bootstrap = bootstrap
        self._folder = folder
        self.log = log
        self._topics: dict[tuple[int, int, int, str], str] = {}
        self.prefix = f"bench-{uuid.uuid4().hex[:8]}"
        fill(bootstrap, f"{self.prefix}-dead", 0, 600, 1)

    def topic(self, records: int, size: int = 600, partitions: int = 4, form: str = "json") -> str:
        """A topic that holds these records, filled on the first call."""
        kind = (records, size, partitions, form)
        if kind not in self._topics:
            self._topics[kind] = name = f"{self.prefix}-{size}b-{partitions}p-{records}-{form}"
            make = avro(lambda number: order(number, size)) if form == "avro" else None
            fill(self.bootstrap, name, records, size, partitions, make)
        return self._topics[kind]

    def config(self, topic: str, endpoint: str, **changes: Any) -> list[str]:
        """The daemon's command, with a config and a group of its own. `changes` merge into the config's top level."""
        name = uuid.uuid4().hex[:8]
        service, target = changes.pop("service", EVENTBRIDGE), changes.pop("target", {})
        config = {
            "version": 1,
            "kafka": {"bootstrap_servers": self.bootstrap, "group_id": f"ours-{name}"},
            **service.changes(topic, endpoint),
            "unrouted": "skip",
            "dead_letters": {"topic": f"{self.prefix}-dead"},
            "admin": {"listen": "127.0.0.1:0"},
            "log": {"level": "warning"},
            **changes,
        }
        config["targets"]["bus"] |= target
        if changes.get("topics"):  # what needs a schema
            config["schema_registry"] = {"type": "confluent", "url": endpoint}
        file = self._folder / f"{name}.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        return [sys.executable, "-m", "connector", "run", str(file)]

    def ours(self, topic: str, records: int, *, stub_options: tuple[str, ...] = (), **keys: Any) -> Cost:
        """The daemon carries a topic."""
        how = {name: keys.pop(name) for name in ("members", "idle", "patience", "lead") if name in keys}
        with stub(*stub_options) as target:
            command = self.config(topic, target.endpoint, **keys)
            return carry(command, target, records, self._folder / "ours.log", **how)

    def script(self, topic: str, records: int) -> Cost:
        """The plain script carries it."""
        with stub() as target:
            group = f"script-{uuid.uuid4().hex[:8]}"
            command = [sys.executable, "-m", "tests.bench.script", self.bootstrap, topic, group, target.endpoint]
            return carry(command, target, records, self._folder / "script.log")

    def mq_bridge(self, topic: str, records: int) -> Cost | None:
        """mq-bridge carries it, ten documents a signed call; None where it cannot be installed."""
        if self._rival is None:
            return None
        with stub() as target:
            command = [str(self._rival), "-c", MQ_BRIDGE_RUN, str(self._bridge(topic, target))]
            return carry(command, target, records, self._folder / "mq-bridge.log")

    def _bridge(self, topic: str, target: Stub) -> Path:
        keys = {"region": "eu-west-1", "service": "events", "access_key": "test", "secret_key": "test"}
        entry = '{"Source":"com.acme.web","DetailType":"Order PAID","EventBusName":"orders","Detail":{document}}'
        bulk = {
            "url": target.endpoint,
            "headers": {"X-Amz-Target": "AWSEvents.PutEvents"},
            "auth": {"aws_sigv4": keys},
            "upsert": {
                "path": "/",
                "format": "json_array",
                "content_type": "application/x-amz-json-1.1",
                "envelope": '{"Entries":{documents}}',
                "document": entry,
                "max_documents": 10,
                "result": {"items": {"path": "/Entries", "error": "/ErrorCode"}},
            },
        }
        kafka = {"url": self.bootstrap, "topic": topic, "group_id": f"mqb-{uuid.uuid4().hex[:8]}"}
        route = {"input": {"kafka": kafka}, "output": {"http_bulk": bulk}, "batch_size": 500, "concurrency": 16}
        file = self._folder / f"bridge-{uuid.uuid4().hex[:8]}.json"
        file.write_text(json.dumps(route))
        return file

    @cached_property
    def _rival(self) -> Path | None:
        """mq-bridge in an environment of its own: it must not meet our packages."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "connector-bench" / MQ_BRIDGE
        python = home / "bin" / "python"
        if not python.exists():
            made = [[sys.executable, "-m", "venv", str(home)], [str(python), "-m", "pip", "install", "-q", MQ_BRIDGE]]
            if any(subprocess.run(step, capture_output=True, timeout=300, check=False).returncode for step in made):
                self.log(f"{MQ_BRIDGE} cannot be installed here: left out")
                return None
        return python

    def floor(self, *given: object) -> float:
        """CPU microseconds a record of something alone (tests.bench.floor)."""
        command = [sys.executable, "-m", "tests.bench.floor", *map(str, given)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=ENVIRONMENT)
        return float(said.stdout) * 1e6

    def group(self) -> str:
        """A name for a group that is used once."""
        return f"floor-{uuid.uuid4().hex[:8]}"


@contextmanager
def bench(log: Callable[[str], None]) -> Iterator[Bench]:
    """A broker for one run, or the cluster that KAFKA_BOOTSTRAP_SERVERS names."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield Bench(given, Path(folder), log)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, running(Path(folder)) as broker:
        yield Bench(broker.bootstrap, Path(folder), log)


class Found:
    """What was measured: µs of CPU a record, by candidate, one number a round; and the rest by its name."""

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        """`before` is what an earlier run found, of which this one measures some parts anew."""
        self.rest: dict[str, Any] = dict(before or {})
        self.micros: dict[str, list[float]] = self.rest.pop("micros", {})

    def add(self, name: str, micros: float) -> float:
        """Note a round's number."""
        self.micros.setdefault(name, []).append(micros)
        return micros

    def ratio(self, name: str, to: str) -> list[float]:
        """A ratio in each round that has both."""
        return [a / b for a, b in zip(self.micros.get(name, ()), self.micros.get(to, ()), strict=False)]


def spread(values: list[float]) -> str:
    """Median, and the range."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})" if values else "–"


def main_part(world: Bench, found: Found, rounds: int, records: int) -> None:
    """EventBridge, 600 B, one member, beside everything else."""
    found.micros.clear()
    found.rest.pop("runs", None)
    topic = world.topic(records)
    for turn in range(rounds):
        last = turn == rounds - 1
        with stub() as target:
            signed = world.floor("signed", target.endpoint, 600, 3000)
            boto = world.floor("boto", target.endpoint, 600, 1000)
        found.add("bare signed calls", signed / 10)
        found.add("bare aioboto3 calls", boto / 10)
        found.add("consume alone", world.floor("consume", world.bootstrap, topic, world.group(), records))
        found.add("consume + orjson.loads", world.floor("decode", world.bootstrap, topic, world.group(), records))
        ours = world.ours(topic, records, idle=10.0 if last else 0.0)
        found.add("connector", ours.micros)
        found.add("connector, transport: sdk", world.ours(topic, records, target={"transport": "sdk"}).micros)
        script = world.script(topic, records)
        found.add("plain script", script.micros)
        rival = world.mq_bridge(topic, records)
        if rival is not None:
            found.add("mq-bridge", rival.micros)
        for name, cost in (("connector", ours), ("plain script", script), ("mq-bridge", rival)):
            if cost is not None:
                found.rest.setdefault("runs", {}).setdefault(name, []).append(
                    {"rate": cost.rate, "rss_mb": cost.rss_mb, "start_s": cost.start_s}
                )
        if last:
            found.rest["idle"] = ours.idle
        world.log(f"round {turn + 1}: " + ", ".join(f"{name} {each[-1]:.1f} µs" for name, each in found.micros.items()))


def targets(world: Bench, found: Found, rounds: int, records: int) -> None:
    """Each target beside EventBridge, and Avro beside JSON."""
    topic, flat = world.topic(records), world.topic(records, form="avro")
    fields = {**EVENTBRIDGE.map, "Detail": {"id": "${value.id}", "amount": "${value.amount}", "note": "${value.note}"}}
    runs: dict[str, Callable[[], Cost]] = {"EventBridge": lambda: world.ours(topic, records)}
    for name, service in SERVICES.items():
        runs[name] = partial(world.ours, topic, records, service=service)
    flatly = EVENTBRIDGE._replace(map=fields)
    runs["EventBridge, Avro"] = lambda: world.ours(flat, records, service=flatly, topics={flat: {"format": "avro"}})
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        floor = world.floor("decode", world.bootstrap, topic, world.group(), records)
        for name, run in runs.items():
            cost = run()
            row = {"micros": cost.micros, "rate": cost.rate, "rss_mb": cost.rss_mb, "to_floor": floor / cost.micros}
            rows.setdefault(name, []).append(row)
        world.log("targets: " + ", ".join(f"{name} {each[-1]['micros']:.1f} µs" for name, each in rows.items()))
    found.rest["targets"] = rows


def curve(world: Bench, found: Found, name: str, points: Mapping[str, Callable[[], Cost]], rounds: int) -> None:
    """Several points in turn, as ratios to the first of them in the same round."""
    rows: dict[str, list[float]] = {point: [] for point in points}
    for _ in range(rounds):
        for point, run in points.items():
            rows[point].append(run().micros)
        world.log(f"{name}: " + ", ".join(f"{point} {each[-1]:.1f} µs" for point, each in rows.items()))
    first = next(iter(rows.values()))
    found.rest.setdefault("curves", {})[name] = {
        point: {"micros": median(each), "ratios": [a / b for a, b in zip(each, first, strict=True)]}
        for point, each in rows.items()
    }


def curves(world: Bench, found: Found, rounds: int, records: int) -> None:
    """What the cost of a record depends on."""
    topic = world.topic(records)

    def routes(count: int) -> list[Any]:
        others = [
            {
                "name": f"other-{n}",
                "match": {"value": {"status": [f"S{n}"]}},
                "topics": [topic],
                "targets": ["bus"],
                "map": EVENTBRIDGE.map,
            }
            for n in range(count - 1)
        ]
        paid = {"name": "paid", "topics": [topic], "targets": ["bus"], "match": MATCH, "map": EVENTBRIDGE.map}
        return [*others, paid]

    def run(**keys: Any) -> Callable[[], Cost]:
        return lambda: world.ours(topic, records, **keys)

    def sized(size: int) -> Callable[[], Cost]:
        count = min(records, 3 * (64 * 2**20 // size))  # as many as may be open by their bytes, three times
        return lambda: world.ours(world.topic(count, size), count)

    def split(partitions: int) -> Callable[[], Cost]:
        return lambda: world.ours(world.topic(records, 600, partitions), records)

    def opened(limit: int) -> Callable[[], Cost]:
        limits = {"max_open_records": limit, "max_open_per_partition": limit, "max_open_bytes": "512MiB"}
        limits["max_uncommitted_per_partition"] = limit * 2
        many = max(records, 3 * limit)
        keys: dict[str, Any] = {"limits": limits, "lead": limit, "stub_options": ("--delay", "0.008")}
        return lambda: world.ours(world.topic(many), many, **keys)

    curve(world, found, "routes, one matches", {str(n): run(routes=routes(n)) for n in (1, 10, 100)}, rounds)
    curve(world, found, "bytes of a record", {str(n): sized(n) for n in (200, 600, 4096, 65536)}, rounds)
    curve(world, found, "partitions", {str(n): split(n) for n in (1, 10, 100, 1000)}, rounds)
    curve(world, found, "open records", {str(n): opened(n) for n in (1000, 10_000, 100_000)}, rounds)
    orders = {"none": run(), "key": run(target={"order": "key"}), "1 % refused": run(stub_options=("--refuse", "10"))}
    curve(world, found, "order and refusals", orders, rounds)


def members(world: Bench, found: Found, rounds: int, records: int) -> None:
    """Records a second of one member, two and four, and what of the cores they and the stub had."""
    topic = world.topic(records)
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        one = 0.0
        for count in (1, 2, 4):
            cost = world.ours(topic, records, members=count, lead=2 * LEAD)
            one = one or cost.rate
            row = {"ratio": cost.rate / one, "rate": cost.rate, "cores": cost.cores, "stub": cost.stub}
            rows.setdefault(str(count), []).append(row)
        world.log("members: " + ", ".join(f"{name} {each[-1]['rate']:,.0f}/s" for name, each in rows.items()))
    found.rest["members"] = rows


def profile(found: Found) -> None:
    """Where the CPU of the loop goes, by part."""
    command = [sys.executable, "-m", "tests.bench.inside", "--shares"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found.rest["profile"] = json.loads(said.stdout)


def backlog(world: Bench, found: Found, records: int) -> None:
    """How long it takes to drain a backlog, with the start and the last linger, and what memory that takes."""
    topic = world.topic(records)
    cost = world.ours(topic, records, patience=600.0)
    found.rest["backlog"] = {"records": records, "seconds": cost.whole_s, "rss_mb": cost.rss_mb, "micros": cost.micros}
    world.log(f"backlog: {records:,} records in {cost.whole_s:.0f} s, {cost.rss_mb:.0f} MB")


def latency(world: Bench, found: Found) -> None:
    """Seconds from produce to ack at fixed rates, linger 100 ms."""
    for rate in (100, 1000, 10_000):
        topic = f"{world.prefix}-stream-{rate}"
        fill(world.bootstrap, topic, 200, 600, 4)
        with stub("--latency") as target:
            with (OUT / "latency.log").open("wb") as out:
                command = world.config(topic, target.endpoint)
                process = subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRONMENT)
            try:
                _until(lambda target=target: target.taken >= 200)  # type: ignore[misc]  # bound now
                sent = stream(world.bootstrap, topic, rate, 8.0)
                _until(lambda target=target, sent=sent: target.taken >= 200 + sent)  # type: ignore[misc]  # likewise
                found_ms = [
                    seconds * 1000 for seconds in target.close()[200 + rate :]
                ]  # the first second is not counted
            finally:
                process.terminate()
                process.wait(20)
        cuts = quantiles(found_ms, n=100)
        found.rest.setdefault("latency_ms", {})[str(rate)] = {"p50": cuts[49], "p99": cuts[98]}
        world.log(f"latency at {rate}/s: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit("a run did not get through within 60 s")
        time.sleep(0.01)


def table(found: Found) -> Iterator[tuple[str, str, str, bool | None]]:
    """What, the goal, what was found, and whether it is met."""

    def one(name: str, to: str, goal: str, good: Callable[[float], bool], *, inverse: bool = False) -> Any:
        ratios = found.ratio(to, name) if inverse else found.ratio(name, to)
        return goal, spread(ratios), good(median(ratios)) if ratios else None

    yield (
        "the script's call to a bare aioboto3 call",
        "",
        spread(found.ratio("plain script", "bare aioboto3 calls")),
        None,
    )
    yield "cheaper than the plain script", *one("connector", "plain script", "≥ 4", lambda r: r >= 4, inverse=True)
    yield "to mq-bridge", *one("connector", "mq-bridge", "≤ 1.5", lambda r: r <= 1.5)
    yield "to bare signed calls", *one("connector", "bare signed calls", "≤ 2", lambda r: r <= 2)
    if "idle" in found.rest:
        yield "idle, of a core", "≤ 1 %", f"{found.rest['idle']:.2%}", found.rest["idle"] <= 0.01
    for rate, cuts in found.rest.get("latency_ms", {}).items():
        good = cuts["p99"] <= 150 if rate == "1000" else None
        goal = "p99 ≤ 150 ms" if rate == "1000" else ""
        yield f"latency at {rate}/s, linger 100 ms", goal, f"p50 {cuts['p50']:.0f}, p99 {cuts['p99']:.0f} ms", good
    for name, rows in found.rest.get("targets", {}).items():
        share = [row["to_floor"] for row in rows]
        goal = "≥ 25 %" if name.startswith("Fiddler events") else ""
        said = f"{median(share):.0%} at {median(row['micros'] for row in rows):.1f} µs"
        yield f"consume + orjson.loads to {name}", goal, said, median(share) >= 0.25 if goal else None
    for name, rows in found.rest.get("members", {}).items():
        ratios = [row["ratio"] for row in rows]
        goal = "≥ 1.7" if name == "2" else ""
        cores = f"cores {median(row['cores'] for row in rows):.2f}, stub {median(row['stub'] for row in rows):.2f}"
        yield f"members: {name}, records/s", goal, f"{spread(ratios)}; {cores}", median(ratios) >= 1.7 if goal else None
    runs = found.rest.get("runs", {}).get("connector", [])
    if runs:
        most = max(run["rss_mb"] for run in runs)
        yield "peak memory, default limits", "< 150 MB", f"{most:.0f} MB", most < 150
        yield "start-up to first ack", "", f"{median(run['start_s'] for run in runs):.1f} s", None
    if drained := found.rest.get("backlog"):
        rate = drained["records"] / drained["seconds"]
        said = f"{drained['seconds']:.0f} s, {rate:,.0f}/s, {drained['rss_mb']:.0f} MB"
        yield f"a backlog of {drained['records']:,} drained", "", said, None
    bounds = {"routes, one matches": (0.0, 1.5), "partitions": (0.8, 1.2), "open records": (0.8, 1.2)}
    for name, points in found.rest.get("curves", {}).items():
        low, high = bounds.get(name, (0.0, 0.0))
        for point, row in points.items():
            ratio = median(row["ratios"])
            goal = (f"≤ {high}" if not low else f"{low}–{high}") if high else ""
            yield f"{name}: {point}", goal, spread(row["ratios"]), (low <= ratio <= high) if high else None


def show(found: Found) -> list[str]:
    """Print the table, write the file and the plot; what misses its goal."""
    print(f"\n{'µs of CPU a record':34}{'median':>9}{'least':>9}{'most':>9}")
    for name, each in sorted(found.micros.items(), key=lambda row: median(row[1])):
        print(f"{name:34}{median(each):9.1f}{min(each):9.1f}{max(each):9.1f}")
    if shares := found.rest.get("profile"):
        print(f"\n{'of the loop, by cProfile':34}{'share':>9}")
        for name, share in sorted(shares.items(), key=lambda row: -row[1]):
            print(f"{name:34}{share:9.0%}")
    print(f"\n{'what':44}{'goal':>14}  {'found, median (range)':26}")
    missed = []
    for what, goal, said, good in table(found):
        print(f"{what:44}{goal:>14}  {said:26}{'' if good is None else 'met' if good else 'MISSED'}")
        if good is False:
            missed.append(what)
    keep(found)
    (OUT / "bench.svg").write_text(draw({name: median(each) for name, each in found.micros.items()}, found.rest))
    return missed


def keep(found: Found) -> None:
    """Write what was found so far."""
    (OUT / "bench.json").write_text(json.dumps({"micros": found.micros, **found.rest}, indent=1))


def main() -> int:
    """Measure and print; the short form ends with 1 where a ratio has collapsed."""
    asked = argparse.ArgumentParser(prog="make bench ARGS=…")
    asked.add_argument("--rounds", type=int, default=2)
    asked.add_argument("--records", type=int, default=60_000)
    asked.add_argument("--backlog", type=int, default=BACKLOG, help="records of the backlog that is drained")
    asked.add_argument("--parts", default=PARTS, help="measure these; the others stay as they were")
    asked.add_argument("--short", action="store_true", help="one round, few records, generous bounds: for CI")
    options = asked.parse_args()
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS") and (why := missing()):
        print(why, file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    earlier = OUT / "bench.json"
    found = Found(json.loads(earlier.read_text()) if earlier.exists() and options.parts != PARTS else None)
    parts = options.parts.split(",")
    with bench(lambda line: print(line, file=sys.stderr, flush=True)) as world:
        if options.short:
            topic = world.topic(10_000)
            found.add("connector", world.ours(topic, 10_000).micros)
            found.add("plain script", world.script(topic, 10_000).micros)
        else:
            rounds, fewer, records = options.rounds, max(1, options.rounds - 1), options.records
            measure: dict[str, Callable[[], None]] = {
                "main": lambda: main_part(world, found, rounds, records),
                "targets": lambda: targets(world, found, fewer, records),
                "curves": lambda: curves(world, found, fewer, records),
                "members": lambda: members(world, found, fewer, records * 2),
                "latency": lambda: latency(world, found),
                "profile": lambda: profile(found),
                "backlog": lambda: backlog(world, found, options.backlog),
            }
            for part in parts:
                began = time.monotonic()
                measure[part]()
                found.rest.setdefault("seconds", {})[part] = round(time.monotonic() - began)
                keep(found)
    show(found)
    return collapsed(found) if options.short else 0


def collapsed(found: Found) -> int:
    """Whether the daemon has become many times dearer than it is: a mistake, not a busy machine."""
    cheaper = median(found.ratio("plain script", "connector"))
    print(f"\nthe plain script costs {cheaper:.2f} times as much")
    return int(cheaper < COLLAPSED)


COLLAPSED: Final = 0.3
"""The plain script costs more than this many times the daemon's CPU, or something is wrong with the daemon."""


if __name__ == "__main__":
    sys.exit(main())
