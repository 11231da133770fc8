"""One topic of mixed records to every service at once, in every mode, on the real broker and through faults.

The config is the one that ships; the proof is the demo's, which asks the services and the broker, never the daemon.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from connector.loading.load import load
from connector.loading.yaml_source import read
from connector.model import TopicPartition
from connector.sandbox import faults
from connector.sandbox.demo import Show, services_of, shipped
from connector.sandbox.faults import Fault
from connector.sandbox.generate import MODES, Writer, drafts, fate_in_everything
from connector.sandbox.prove import Books, Verdict
from connector.sandbox.sandbox import Sandbox
from connector.sandbox.simulator import Simulator
from connector.sandbox.witness import Witness
from tests.kafka.cluster import Kafka
from tests.kafka.process import SECONDS, SHUTDOWN, Daemon, eventually
from tests.kafka.stage import merged

pytestmark = pytest.mark.broker

RECORDS: Final = 300
SEED: Final = 7
SCRIPTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "eventbridge": (
        *(faults.throttle(2), faults.html(503), faults.expired_token(), faults.cut(accepted=True), faults.empty()),
        *(faults.wrong_length(), faults.refuse("InternalFailure", entry=1, times=5)),
    ),
    "iot_events": (
        *(faults.throttle(), faults.html(500), faults.cut(), faults.cut(accepted=True), faults.no_count()),
        faults.refuse("ThrottlingException", entry=0, times=3),
    ),
    "fiddler": (
        *(faults.throttle(), faults.html(502), faults.cut(accepted=True), faults.wrong_length(), faults.empty()),
        *(faults.expired_token(), faults.fail_job(times=2)),
    ),
    "pinpoint": (
        *(faults.throttle(), faults.html(503), faults.cut(accepted=True), faults.broken_json()),
        faults.refuse("500", entry=2, times=3),
    ),
}
"""What each service does wrong first: before it took something, after it, and to single entries."""


def config(kafka: Kafka, topic: str, dead: str, url: str) -> dict[str, Any]:
    """The config that ships, at this broker and these services, and impatient."""
    tree: dict[str, Any] = read([shipped("everything.yaml")])[0].plain()
    quick = {"retry": {"initial": "50ms", "max": "500ms"}}
    tree["targets"] = {name: at(merged(target, quick), url) for name, target in tree["targets"].items()}
    changes = {
        "kafka": {"bootstrap_servers": kafka.cluster.bootstrap, "group_id": kafka.group},
        "defaults": {"route": {"topics": [topic]}},
        "dead_letters": {"topic": dead},
        "commit_interval": "200ms",
        "shutdown_timeout": f"{SHUTDOWN:g}s",
        "admin": {"listen": "127.0.0.1:0"},
        "log": {"level": "info", "format": "json"},
    }
    return merged(tree, changes)


def at(target: Mapping[str, Any], url: str) -> dict[str, Any]:
    """A target at this address."""
    if target["type"] == "fiddler":
        return {**target, "url": url, "token": "test"}
    return {**target, "endpoint_url": url, "region": "eu-west-1"}


def services_at_hand(seed: int) -> dict[str, Simulator]:
    """The simulated services of that config, by name."""
    settings = load([shipped("everything.yaml")], {}).settings
    assert settings is not None
    return services_of(settings, seed)


async def accounted(
    kafka: Kafka,
    folder: Path,
    services: Mapping[str, Simulator],
    seed: int,
    *,
    records: int = RECORDS,
    changes: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    within: float = SECONDS,
) -> Sequence[Verdict]:
    """Carry mixed records to these services, and give what became of them.

    `changes` makes another config of the one that ships. Fails where the daemon does not end as it should.
    """
    topic, dead = kafka.topic(3), kafka.topic()
    partitions = [TopicPartition(topic, number) for number in range(3)]
    books = Books(MODES)
    writer = Writer(kafka.cluster.bootstrap, partitions, fate_in_everything, books.wrote)
    witness = Witness(kafka.cluster.bootstrap, kafka.group, partitions, [TopicPartition(dead, 0)])
    show = Show(services, writer, witness, books)
    async with Sandbox(services) as sandbox:
        file = folder / "config.yaml"
        file.write_text(json.dumps(changes(config(kafka, topic, dead, sandbox.url))))
        daemon = Daemon(file, folder / "daemon.log")
        try:
            await daemon.ready()
            # The broker takes no message of a megabyte; what is too large for a call is another test's.
            await writer.write((draft for draft in drafts(seed) if draft.kind != "too large"), records)

            async def settled() -> bool:
                look = await show.look()
                return books.written == sum(look.ends.values()) == sum(look.committed.values())

            await eventually(settled, within=within, what="every record is committed")
            assert await daemon.stop() == 0
            look = await show.look()
        finally:
            daemon.end()
            print(daemon.text[-4000:])
            await writer.close()
            await witness.close()
    verdicts = books.verdicts(ends=look.ends, committed=look.committed)
    print("\n".join(map(str, verdicts)))
    return verdicts


def broken(verdicts: Iterable[Verdict]) -> list[str]:
    """The claims that do not hold. What was taken and not answered comes again: at least once, not exactly once."""
    return [verdict.claim for verdict in verdicts if not verdict.holds and verdict.claim != "no duplicates"]


async def test_every_record_is_accounted_for_in_every_service_whatever_goes_wrong_there(
    kafka: Kafka, tmp_path: Path
) -> None:
    services = services_at_hand(SEED)
    for name, script in SCRIPTS.items():
        services[name].faults.add(*script)
    assert broken(await accounted(kafka, tmp_path, services, SEED)) == []
    assert {name: service.faults.left for name, service in services.items()} == {name: [] for name in services}
