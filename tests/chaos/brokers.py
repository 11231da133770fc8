"""Three brokers of Apache Kafka on loopback that can be killed, frozen and restarted one by one, and a second way in.

Each broker has two listeners: one for the brokers themselves and the oracle, and one that is advertised as the port of
a proxy before it, for the daemons. So the network between the daemons and the brokers can be struck, and the oracle
sees what is true meanwhile.
"""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka import broker
from tests.kafka.broker import SETTINGS, START_SECONDS, STOP_SECONDS, BrokerFailed

COUNT: Final = 3
SECONDS: Final = 90.0
"""Deadline of the cluster to be whole again; replicas catch up in seconds where the machine has time."""

THREE: Final = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A dead broker is missed soon, and one that is only slow on a busy machine is not.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "500",
    # Leaders go home soon after a restart, so that the next run finds the cluster as this one did.
    "leader.imbalance.check.interval.seconds": "1",
    "leader.imbalance.per.broker.percentage": "0",
}

OFFSETS: Final = "__consumer_offsets"

_EPHEMERAL: Final = 32768
"""From here on systems choose the ports of clients."""


@dataclass(slots=True)
class _Node:
    """One broker: its places, which stay, and its process, which does not."""

    number: int
    port: int
    proxied: int
    controller: int
    front: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def properties(self) -> Path:
        return self.folder / f"server-{self.number}.properties"


class Brokers:
    """The three. Whoever started them ends them.

    Invariant: a broker that is restarted is the same one: ports, data, id.
    """

    def __init__(self, folder: Path) -> None:
        self._classpath = str(broker.jars() / "*")
        ports = steady_ports(4 * COUNT)
        places = zip(*[iter(ports)] * 4, strict=True)
        self._nodes = [_Node(n, a, b, c, d, folder) for n, (a, b, c, d) in enumerate(places, 1)]
        self._cluster = broker.cluster_id()
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)
        self.entrance = ",".join(f"127.0.0.1:{node.front}" for node in self._nodes)
        self._admin: AdminClient | None = None

    @property
    def numbers(self) -> list[int]:
        """The ids of the brokers."""
        return [node.number for node in self._nodes]

    @property
    def fronts(self) -> dict[int, tuple[int, int]]:
        """By id: the port that is advertised to daemons, and the one behind it."""
        return {node.number: (node.front, node.proxied) for node in self._nodes}

    # what is done to them

    def start(self) -> None:
        """Format and start all, and wait until each is in sync with the others."""
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller}" for node in self._nodes)
        for node in self._nodes:
            node.properties.write_text(_properties(node, voters))
        with ThreadPoolExecutor(COUNT) as pool:
            list(pool.map(self._format, self._nodes))
        for node in self._nodes:
            self._spawn(node)
        self.whole()

    def kill(self, number: int) -> None:
        """End a broker as a crash of its machine would; data that it had not written is still in the page cache."""
        process = self._process(number)
        process.kill()
        process.wait(10)

    @contextmanager
    def frozen(self, number: int) -> Iterator[None]:
        """Keep a broker from running: its connections stay open and nothing answers."""
        process = self._process(number)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def restart(self, number: int) -> None:
        """Start a broker that was killed."""
        node = self._nodes[number - 1]
        if self._process(number).poll() is not None:
            self._spawn(node)

    def heal(self) -> None:
        """Let every broker run, and wait until the cluster is whole."""
        for node in self._nodes:
            self.restart(node.number)
            self._process(node.number).send_signal(signal.SIGCONT)
        self.whole()

    def end(self) -> None:
        """End all of them, by their own process ids."""
        running = [node.process for node in self._nodes if node.process is not None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in running:
            broker.end(process, STOP_SECONDS)

    # what is seen of them

    def coordinator(self, group: str) -> int:
        """The broker that coordinates the group now, 0 where nobody says: it leads the group's part of the offsets.

        Told by metadata alone: what an admin client asks of a coordinator that hangs may abort our whole process
        (`rd_kafka_enq_once_del_source_return: Assertion` of librdkafka 2.16).
        """
        try:
            parts = self._asked().list_topics(OFFSETS, 5).topics[OFFSETS].partitions
        except KafkaException:
            return 0
        return int(parts[java_hash(group) % len(parts)].leader) if parts else 0

    def whole(self) -> None:
        """Wait until every broker is there, every replica in sync and every leader at home.

        Raises:
            BrokerFailed: it did not come to this.
        """
        self._wait(self._is_whole, SECONDS + START_SECONDS)

    def _is_whole(self) -> bool:
        try:
            found = self._asked().list_topics(timeout=5)
        except KafkaException:
            return False
        partitions = [part for topic in found.topics.values() for part in topic.partitions.values()]
        return sorted(found.brokers) == self.numbers and all(
            part.leader == part.replicas[0] and len(part.isrs) == len(part.replicas) for part in partitions
        )

    def _wait(self, reached: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not reached():
            dead = [node for node in self._nodes if self._process(node.number).poll() is not None]
            if dead or time.monotonic() > deadline:
                words = "".join(f"\n{node.number}: {self._log(node)[-2000:]}" for node in dead or self._nodes)
                raise BrokerFailed(f"the cluster is not whole; the end of the logs:{words}")
            time.sleep(0.1)

    def _asked(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(
                {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 300}
            )
        return self._admin

    def _process(self, number: int) -> subprocess.Popen[bytes]:
        process = self._nodes[number - 1].process
        assert process is not None, f"broker {number} was never started"
        return process

    def _spawn(self, node: _Node) -> None:
        node.starts += 1
        with (node.folder / f"broker-{node.number}-{node.starts}.log").open("wb") as out:
            command = [*broker.java_command(self._classpath), "kafka.Kafka", str(node.properties)]
            node.process = broker.spawn(command, out.fileno())

    def _format(self, node: _Node) -> None:
        with (node.folder / f"format-{node.number}.log").open("wb") as out:
            broker.format_data(self._classpath, node.properties, out.fileno(), cluster=self._cluster)

    def _log(self, node: _Node) -> str:
        return (node.folder / f"broker-{node.number}-{node.starts}.log").read_text(errors="replace")


def java_hash(text: str) -> int:
    """What Kafka makes of a group's name: `Math.abs` of Java's `String.hashCode`, and 0 for the smallest number."""
    code = 0
    for unit in text.encode("ascii"):
        code = (31 * code + unit) & 0xFFFFFFFF
    return min(code, 2**32 - code) % 2**31


def _properties(node: _Node, voters: str) -> str:
    places = {
        "node.id": str(node.number),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},PROXIED://127.0.0.1:{node.proxied},"
        f"CONTROLLER://127.0.0.1:{node.controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port},PROXIED://127.0.0.1:{node.front}",
        "controller.quorum.voters": voters,
        "log.dirs": str(node.folder / f"data-{node.number}"),
    }
    return "".join(f"{name}={value}\n" for name, value in {**SETTINGS, **THREE, **places}.items())


def steady_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on and no system gives to a client.

    While a broker is away, a client could be given its port, and one that calls a port of loopback over and over may
    even be connected to itself: then the broker could not come back.
    """
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(10_000, _EPHEMERAL), 2_000)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise BrokerFailed("no ports are free on loopback")
