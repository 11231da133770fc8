"""One measured run: a process carries a preloaded topic to the stub, and the operating system says what it cost.

Nothing is asked of the process itself. CPU is what the kernel charged it between two counts of the stub, so the start
is not in it; memory is the kernel's high-water mark.
"""

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.broker import end, free_ports

TICK: Final = os.sysconf("SC_CLK_TCK")
LEAD: Final = 20_000
"""Records that may be open. Measured is from the time when so many have arrived until so many are left, for before that
the daemon reads more than it sends, and after that it only sends. Of few records it is the middle third."""
PATIENCE: Final = 120.0
"""Seconds that a run may take."""
ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CONNECTOR_"))},
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}


@dataclass(slots=True)
class Cost:
    """What a run cost.

    `micros` is CPU microseconds a record, `rate` records a second of wall time, `cores` how much of them it got, and
    `stub` how much the stub took meanwhile. `start_s` is until the first acknowledgement, `whole_s` until the last.
    """

    micros: float
    rate: float
    rss_mb: float
    start_s: float
    idle: float = 0.0
    cores: float = 0.0
    stub: float = 0.0
    whole_s: float = 0.0


class Stuck(Exception):
    """A run that did not get through in time, with the end of what it said."""


class Stub:
    """The stub's process, and the count that it shares."""

    def __init__(self, folder: Path, *options: str) -> None:
        (self.port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        counter = folder / f"count-{self.port}"
        counter.write_bytes(bytes(8))
        self._file = counter.open("r+b")
        self._count = mmap.mmap(self._file.fileno(), 8)
        command = [sys.executable, "-m", "tests.bench.stub", str(self.port), str(counter), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Stuck("the stub does not answer")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket() as asker:
            return asker.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def taken(self) -> int:
        """Entries that it accepted."""
        return int(struct.unpack_from("<q", self._count, 0)[0])

    def close(self) -> list[float]:
        """End it; what it measured."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=20)
        self._count.close()
        self._file.close()
        found: list[float] = orjson.loads(out) if out else []
        return found


@contextmanager
def stub(*options: str) -> Iterator[Stub]:
    """A stub for one run."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        running = Stub(Path(folder), *options)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.close()


def cpu(pid: int) -> float:
    """CPU seconds that the kernel has charged the process, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid: int) -> float:
    """The most memory that the process ever had, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def carry(
    command: Sequence[str],
    target: Stub,
    records: int,
    log: Path,
    *,
    members: int = 1,
    idle: float = 0.0,
    patience: float = PATIENCE,
    lead: int = LEAD,
) -> Cost:
    """Run `members` processes of the command until the stub has all records; `idle` seconds of rest are measured."""
    began = time.monotonic()
    with log.open("wb") as out:
        run = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT)
            for _ in range(members)
        ]
    marks: list[tuple[int, float, float, float]] = []
    started = 0.0
    try:
        lead = min(lead, records // 3)
        for mark in (1, lead, records - lead):
            while target.taken < mark:
                if any(process.poll() is not None for process in run) or time.monotonic() - began > patience:
                    raise Stuck(f"{target.taken} of {records} records:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.001)
            started = started or time.monotonic() - began
            spent = sum(cpu(process.pid) for process in run)
            marks.append((target.taken, spent, cpu(target.process.pid), time.monotonic()))
        _, (first, before, theirs, at), (last, after, theirs_after, until) = marks
        cost = Cost((after - before) / (last - first) * 1e6, (last - first) / (until - at), 0.0, started)
        cost.cores, cost.stub = (after - before) / (until - at), (theirs_after - theirs) / (until - at)
        while target.taken < records and time.monotonic() - began < patience:
            time.sleep(0.001)
        cost.whole_s = time.monotonic() - began
        if idle:
            time.sleep(2.0)  # the last linger, the last commit
            before, at = cpu(run[0].pid), time.monotonic()
            time.sleep(idle)
            cost.idle = (cpu(run[0].pid) - before) / (time.monotonic() - at)
        cost.rss_mb = max(rss_mb(process.pid) for process in run)
    finally:
        for process in run:
            end(process, 10)
    return cost


def order(number: int, size: int, status: str = "PAID") -> bytes:
    """An order of about `size` bytes."""
    value: dict[str, Any] = {
        "at": time.time_ns() // 1000,
        "id": f"o-20261121-{number:09}",
        "channel": "web",
        "status": status,
        "total": {"amount": "129.50", "currency": "NOK"},
        "customer": {"id": f"c-{number % 4999}", "name": "Åse Nordmann", "country": "NO"},
        "items": [],
    }
    line = {"sku": "AB-100", "name": "Wool hat", "qty": 2, "price": 39.75, "tags": ["new", "gift"]}
    room = size - len(orjson.dumps(value))
    value["items"] = [line] * max(0, room // (len(orjson.dumps(line)) + 1))
    text = orjson.dumps(value)
    return orjson.dumps({**value, "note": "x" * max(0, size - len(text) - 10)}) if len(text) + 10 < size else text


def fill(
    bootstrap: str, topic: str, records: int, size: int, partitions: int, make: Callable[[int], bytes] | None = None
) -> None:
    """Make a topic and preload it with orders, or with what `make` makes of a number.

    A thousand of them are made, and written again and again.
    """
    values = [make(number) if make is not None else order(number, size) for number in range(min(records, 1000))]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000, "log_level": 0}
    )
    header: list[tuple[str, str | bytes | None]] = [("event-type", b"order.paid")]
    for number in range(records):
        key = f"c-{number % 4999}"
        producer.produce(topic, values[number % 1000], key, partition=number % partitions, headers=header)
        if number % 500 == 0:
            producer.poll(0.01 if len(producer) > 100_000 else 0)
    left = producer.flush(120)
    assert left == 0, f"{left} records were not taken by the broker"


def stream(bootstrap: str, topic: str, rate: int, seconds: float) -> int:
    """Write at a fixed rate for so long; how many records that were."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0})
    total, done, began = int(rate * seconds), 0, time.monotonic()
    while done < total:
        due = min(total, int((time.monotonic() - began) * rate))
        for number in range(done, due):
            producer.produce(topic, order(number, 600), f"c-{number % 4999}", headers=[("event-type", b"order.paid")])
        done = due
        producer.poll(0.001)
    producer.flush(30)
    return total
