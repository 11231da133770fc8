"""A single-node Apache Kafka (KRaft, broker and controller in one process) on loopback, for one test session.

Maven resolves the jars of pom.xml once into a cache outside the tree; Java 17 or newer runs them.
"""

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

POM = Path(__file__).with_name("pom.xml")
JAVA_AT_LEAST = 17

RESOLVE_SECONDS = 300.0
FORMAT_SECONDS = 60.0
START_SECONDS = 60.0
STOP_SECONDS = 15.0

# Short-lived, on two shared cores: start fast and stay small rather than run fast for long.
JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Groups form and notice a dead member fast.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "200",
    "group.consumer.min.session.timeout.ms": "1000",
    # A test stops the process for some seconds; its own controller must not fence it for that.
    "broker.session.timeout.ms": "60000",
    # Compaction and retention work while a test waits for them.
    "log.initial.task.delay.ms": "100",
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.retention.check.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class BrokerFailed(Exception):
    """The broker could not be made to run; the message says which step failed and what to do."""


def java() -> str | None:
    """Path of the Java that would run the broker: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and os.access(Path(home, "bin", "java"), os.X_OK):
        return str(Path(home, "bin", "java"))
    return shutil.which("java")


def java_version(words: str) -> int:
    """The major version in the answer of `java -version`; 0 where it has none. Java 8 calls itself 1.8."""
    found = re.search(r'version "(?:1\.)?(\d+)', words)
    return int(found[1]) if found else 0


def missing() -> str:
    """Why no broker can be started here, in one sentence; empty when nothing is missing."""
    cure = "install it, or name a cluster in KAFKA_BOOTSTRAP_SERVERS"
    command = java()
    if command is None:
        return f"a real Kafka needs Java {JAVA_AT_LEAST} or newer and there is no java on PATH: {cure}"
    said = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=60, check=False)
    version = java_version(said.stderr + said.stdout)
    if version < JAVA_AT_LEAST:
        return f"a real Kafka needs Java {JAVA_AT_LEAST} or newer and {command} is version {version}: {cure}"
    if shutil.which("mvn") is None:
        return f"a real Kafka's jars come through Maven and there is no mvn on PATH: {cure}"
    return ""


def cache() -> Path:
    """Folder that keeps the jars between sessions: CONNECTOR_TEST_CACHE, else connector-tests in the XDG cache."""
    chosen = os.environ.get("CONNECTOR_TEST_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "connector-tests"


def jars() -> Path:
    """The folder with the broker's jars, filled by Maven on the first call.

    The folder's name carries the Kafka version and a hash of pom.xml, so another pom never finds stale jars. It
    appears by one rename: a broken or parallel download is never taken for a whole one.

    Raises:
        BrokerFailed: Maven did not resolve the pom.
    """
    pom = POM.read_bytes()
    version = re.search(rb"<kafka\.version>(.+?)</kafka\.version>", pom)
    if version is None:
        raise BrokerFailed(f"{POM.name} names no kafka.version: it must, the cache is named after it")
    home = cache() / f"kafka-{version[1].decode()}-{hashlib.sha256(pom).hexdigest()[:8]}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".resolving-", dir=home.parent) as work:
        fresh = Path(work, "jars")
        command = ["mvn", "-q", "-B", "-C", "-f", str(POM)]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise BrokerFailed(f"Maven did not resolve {POM.name} within {RESOLVE_SECONDS:.0f} s") from None
        if said.returncode != 0 or not any(fresh.glob("kafka_*.jar")):
            raise BrokerFailed(
                f"Maven could not resolve {POM.name} (exit {said.returncode}); it needs its repository once, or name "
                f"a cluster in KAFKA_BOOTSTRAP_SERVERS:\n{(said.stdout + said.stderr)[-2000:]}"
            )
        try:
            fresh.rename(home)
        except OSError:
            if not home.is_dir():  # not another session that was faster
                raise
    return home


class Listener(NamedTuple):
    """One more way into a broker: the listener's name, its security protocol, the broker's properties for it."""

    name: str
    protocol: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker process that answers under `bootstrap`, and under `doors` by the names of its other listeners. Whoever
    started it ends it."""

    bootstrap: str
    process: subprocess.Popen[bytes]
    doors: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep the process from running: connections stay open and nothing answers, as with a hung host."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    home: Path, listeners: Sequence[Listener] = (), jvm: Sequence[str] = (), settings: Mapping[str, str] | None = None
) -> Iterator[Broker]:
    """Start a broker with its data under `home`, give it when it answers, end it by its own process id.

    `listeners` are those beside the plain one, `jvm` more options for Java, `settings` other ones for the broker.

    Raises:
        BrokerFailed: it did not come up.
    """
    classpath = str(jars() / "*")
    for attempt in range(3):
        data = home / f"data-{attempt}"
        log = home / f"broker-{attempt}.log"
        port, controller, *others = free_ports(2 + len(listeners))
        doors = {listener.name: f"127.0.0.1:{other}" for listener, other in zip(listeners, others, strict=True)}
        properties = home / f"server-{attempt}.properties"
        words = _properties(port, controller, data, listeners, doors)
        properties.write_text(words + "".join(f"{name}={value}\n" for name, value in (settings or {}).items()))
        with log.open("wb") as out:
            format_data(classpath, properties, out.fileno(), "--standalone")
            process = spawn([*java_command(classpath), *jvm, "kafka.Kafka", str(properties)], out.fileno())
        try:
            if answers(f"127.0.0.1:{port}", process):
                yield Broker(f"127.0.0.1:{port}", process, doors)
                return
        finally:
            end(process, STOP_SECONDS)
        words = log.read_text(errors="replace")
        if "BindException" not in words:  # anything but a port that another process took meanwhile
            break
    raise BrokerFailed(f"Kafka did not come up within {START_SECONDS:.0f} s; the end of its log:\n{words[-3000:]}")


def end(process: subprocess.Popen[bytes], seconds: float) -> int:
    """End a process that we started, by SIGTERM and, after `seconds`, SIGKILL. Gives its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(10)


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on just now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _properties(port: int, controller: int, data: Path, listeners: Sequence[Listener], doors: Mapping[str, str]) -> str:
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    protocols |= {listener.name: listener.protocol for listener in listeners}
    outside = ",".join(f"{name}://{where}" for name, where in {"PLAINTEXT": f"127.0.0.1:{port}", **doors}.items())
    places = {
        "listeners": f"{outside},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": outside,
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "log.dirs": str(data),
    }
    own = {
        f"listener.name.{listener.name.lower()}.{name}": value
        for listener in listeners
        for name, value in listener.properties.items()
    }
    return "".join(f"{name}={value}\n" for name, value in {**SETTINGS, **places, **own}.items())


def java_command(classpath: str) -> list[str]:
    """The command that runs a class of the broker's jars."""
    command = java()
    if command is None:
        raise BrokerFailed(missing())
    return [command, *JVM, "-cp", classpath]


def cluster_id() -> str:
    """A new one, as Kafka writes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def format_data(classpath: str, properties: Path, out: int, *options: str, cluster: str = "") -> None:
    """KRaft wants its data folder formatted with a cluster id before the first start."""
    command = [*java_command(classpath), "kafka.tools.StorageTool", "format", *options]
    command += [f"--cluster-id={cluster or cluster_id()}", f"--config={properties}"]
    try:
        code = subprocess.run(command, stdout=out, stderr=out, timeout=FORMAT_SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        raise BrokerFailed(f"formatting Kafka's data folder took more than {FORMAT_SECONDS:.0f} s") from None
    if code != 0:
        raise BrokerFailed(f"Kafka's data folder could not be formatted (exit {code})")


def spawn(command: list[str], out: int) -> subprocess.Popen[bytes]:
    """Start a process that also ends when this one is killed hard, where the system can promise that (Linux)."""
    leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return subprocess.Popen([*leash, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def answers(bootstrap: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the broker answers before the deadline; asking it is also the waiting."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if admin.list_topics(timeout=0.5).brokers:
                return True
        except KafkaException:
            continue
    return False
