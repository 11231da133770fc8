"""The daemon as a real process when something around it is missing or broken: it says so, and does as it promises."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from connector.sandbox.faults import html, refuse
from tests.kafka.broker import free_ports
from tests.kafka.cluster import Kafka
from tests.kafka.process import eventually, seen
from tests.kafka.stage import PRIVATE, number_of, orders, stage

pytestmark = pytest.mark.broker

OUTAGE = 15.0
"""Seconds that the service is away."""

GROWTH = 48 * 2**20
"""Bytes that the daemon may grow by while the service is away: its open records and the client's queue of 16 MiB."""


async def test_a_service_that_is_away_under_load_stops_the_intake_and_nothing_else(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=4) as here:
        daemon = await here.started({"targets": {"bus": {"rate_limit": {"calls": "200/s"}}}})
        written = await here.produce(2_000, padding=2_000)
        await here.until_committed(1_000)
        rebalances, memory = await daemon.metric("connector_rebalances_total"), daemon.resident
        here.bus.faults.add(html(503, times=None))
        until, most = time.monotonic() + OUTAGE, 0

        async def over() -> bool:
            nonlocal most
            status, reason = await daemon.get("livez")
            assert status == 200, reason
            most = max(most, daemon.resident)
            return time.monotonic() > until

        for _ in range(8):
            written += await here.produce(1_000, padding=6_000)  # 48 MB in all, far more than may be open
        taken = len(here.bus.accepted)
        await eventually(over, within=2 * OUTAGE, what="the outage is over")
        assert len(here.bus.accepted) == taken
        assert await daemon.metric("connector_rebalances_total") == rebalances
        assert await daemon.metric("connector_open_records") <= 1_000
        print(f"grew by {(most - memory) / 2**20:.1f} MiB")
        assert most - memory < GROWTH
        here.bus.faults.clear()
        await here.until_committed(taken + 2_000)
        assert await daemon.stop() == 0
        quick = here.start()
        await here.until_at_end(within=60)
        assert await quick.stop() == 0
        assert here.missing(written) == []
        assert here.repeated() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_without_a_broker_it_says_so_once_is_not_ready_and_can_be_stopped(
    kafka: Kafka, tmp_path: Path, number: signal.Signals
) -> None:
    async with stage(kafka, tmp_path) as here:
        nobody = f"127.0.0.1:{free_ports(1)[0]}"
        daemon = here.start({"kafka": {"bootstrap_servers": nobody}})
        trouble = await daemon.says("kafka trouble", code="_ALL_BROKERS_DOWN")
        assert nobody in trouble["reason"]
        assert "Connection refused" in trouble["reason"]
        status, reason = await daemon.get("readyz")
        assert status == 503
        assert (await daemon.get("livez"))[0] == 200
        print(reason)
        until = time.monotonic() + 2
        await seen(lambda: time.monotonic() > until, what="it had the time to repeat itself")
        assert len(daemon.said("kafka trouble", code="_ALL_BROKERS_DOWN")) == 1
        daemon.send(number)
        assert await daemon.exits() == 0
        assert daemon.said("stopped", left_uncommitted=0)


async def test_a_missing_topic_is_said_once_and_taken_up_when_it_is_made(kafka: Kafka, tmp_path: Path) -> None:
    async with stage(kafka, tmp_path) as here:
        missing = f"{kafka.prefix}-later"
        route = {**here.config["routes"][0], "topics": [here.topic, missing]}
        properties = {"topic.metadata.refresh.interval.ms": "1000"}
        daemon = here.start({"routes": [route], "kafka": {"properties": properties}})
        trouble = await daemon.says("kafka trouble", code=f"UNKNOWN_TOPIC_OR_PART {missing}")
        assert "Unknown topic or partition" in trouble["reason"]
        written = await here.produce(100)
        await here.until_at_end()
        assert here.missing(written) == []
        status, reason = await daemon.get("readyz")
        assert (status, missing in reason) == (503, True)
        assert len(daemon.said("kafka trouble", code=f"UNKNOWN_TOPIC_OR_PART {missing}")) == 1
        await asyncio.to_thread(kafka.create, missing)
        written += await here.produce(10, topic=missing)
        await seen(lambda: len(here.bus.accepted) == 110, what="the new topic's records are delivered")
        assert here.missing(written) == []
        await daemon.ready()
        assert await daemon.stop() == 0


async def test_check_online_says_what_is_not_there_and_exits_with_1(kafka: Kafka, tmp_path: Path) -> None:
    async with stage(kafka, tmp_path) as here:
        missing = f"{kafka.prefix}-nowhere"
        route = {**here.config["routes"][0], "topics": [missing]}
        forgetful = kafka.topic(name="forgetful", retention_ms=3_600_000)
        good, no_topic, no_bus, no_dead_letters, soon_gone = await asyncio.gather(
            here.check_online(),
            here.check_online({"routes": [route]}),
            here.check_online({"targets": {"bus": {"event_bus": "no-such-bus"}}}),
            here.check_online({"dead_letters": {"topic": missing}}),
            here.check_online({"dead_letters": {"topic": forgetful}}),
        )
        assert good[0] == 0, good[1]
        assert soon_gone[0] == 0, soon_gone[1]
        assert f"warning: the dead-letter topic {forgetful} keeps a letter for 1 h" in soon_gone[1]
        for code, said in (no_topic, no_dead_letters):
            assert code == 1, said
            assert missing in said
        assert no_bus[0] == 1
        assert "no-such-bus" in no_bus[1]
        assert "Traceback" not in "".join(said for _, said in (good, no_topic, no_bus, no_dead_letters))


async def test_a_member_whose_identity_another_one_takes_ends_with_1_and_is_ready_no_more(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path, partitions=2) as here:
        properties = {"group.instance.id": "the-only-one", "heartbeat.interval.ms": "300", "session.timeout.ms": "6000"}
        changes = {"kafka": {"properties": properties}}
        first = await here.started(changes)
        written = await here.produce(200)
        await here.until_at_end()
        second = here.start(changes)
        await second.says("assigned")
        assert await first.exits() == 1
        (said,) = first.said(
            "stopped: nothing more is committed, what was not acknowledged is sent again after a restart"
        )
        assert "fenced" in said["reason"].lower()
        await second.ready()
        written += await here.produce(200)
        await here.until_at_end()
        assert await second.stop() == 0
        assert here.missing(written) == []


async def test_at_the_most_talkative_no_payload_is_in_the_log(kafka: Kafka, tmp_path: Path) -> None:
    """Bad JSON, a missing field, a refused event: each a dead letter with its own bytes, and no word of them logged."""
    async with stage(kafka, tmp_path) as here:
        here.bus.faults.add(
            refuse("InvalidArgument", when=lambda entry: number_of(entry["Detail"]) == 3, times=None, message="No.")
        )
        route = {**here.config["routes"][0]}
        route["map"] = {"Source": "com.acme.shop", "DetailType": "Order ${value.order}", "Detail": "${value}"}
        daemon = await here.started({"log": {"level": "debug"}, "routes": [route]})
        poison = [b"{" + PRIVATE.encode(), json.dumps({"note": PRIVATE}).encode()]
        values = [*orders(3), *poison, *orders(1, first=3)]
        await here.produce(values)
        await here.until_at_end()
        assert await daemon.stop() == 0
        assert sorted(letter.value or b"" for letter in await here.buried()) == sorted([*poison, *orders(1, first=3)])
        assert here.numbers() == [0, 1, 2]
        assert daemon.said("batch sent")
