"""The harness itself: a daemon runs, stops and dies inside a test, and its monitor is not blind."""

import asyncio

import pytest

from connector.model import TopicPartition
from connector.sandbox.eventbridge import EventBridge
from tests.kafka.cluster import Kafka
from tests.kafka.inside import Inside, config, inside, until

pytestmark = pytest.mark.broker


async def test_a_daemon_in_the_loop_delivers_commits_and_stops_in_order(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    async with EventBridge() as service, inside(kafka, config(kafka, service, [topic]), service) as daemon:
        written = await daemon.written(topic, 200)
        await daemon.caught_up(topic)
        assert len(service.accepted) == 200
        assert sorted(record.value or b"" for record in daemon.records) == sorted(r.value or b"" for r in written)
        assert await daemon.stop() == 0
    daemon.monitor.safe()
    assert await asyncio.to_thread(kafka.members) == 0


async def test_a_killed_daemon_commits_nothing_more_and_its_group_waits_for_the_session(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        text = config(kafka, service, [topic], commit_interval="1h")
        text["kafka"]["properties"]["session.timeout.ms"] = kafka.cluster.session_ms
        async with inside(kafka, text, service, name="first") as daemon:
            await daemon.written(topic, 100)
            await daemon.until(lambda: len(service.accepted) == 100)
            await daemon.kill()
            assert await daemon.committed(topic) == {}
        assert await asyncio.to_thread(kafka.members) == 1
        async with inside(kafka, config(kafka, service, [topic]), service, name="second") as daemon:
            await daemon.caught_up(topic)
        assert len(service.accepted) == 200


async def test_two_daemons_in_one_loop_share_a_group_and_its_partitions(kafka: Kafka) -> None:
    topic = kafka.topic(4)
    async with EventBridge() as service:
        text = config(kafka, service, [topic])
        async with inside(kafka, text, service, name="one") as one, inside(kafka, text, service, name="two") as two:
            await until(lambda: len(one.app.assignment.shares) == len(two.app.assignment.shares) == 2)
            await one.written(topic, 400)
            await one.caught_up(topic)
            assert len(service.accepted) == len(one.records) + len(two.records) == 400


async def test_the_monitor_in_the_harness_sees_a_commit_past_an_unsettled_record(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        daemon = Inside(kafka, config(kafka, service, [topic]), service)
        tp = TopicPartition(topic, 0)
        (record,) = await daemon.written(topic, 1)
        daemon.notes.assigned(1, [tp])
        daemon.notes.taken({tp: 1}, record, daemon.owes(record))
        daemon.notes.asked({tp: (1, 1)})
        with pytest.raises(AssertionError, match="past 0 which is not settled"):
            daemon.check()
