"""The daemon as a member of a group: partitions come and go with work under way, and faults end it (T6, T7, T17)."""

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from connector.app import App, real_parts
from connector.consume import Consumer, ConsumerFailed, Partitions
from connector.metrics import Metrics
from connector.model import Event, Prepared, TopicPartition
from connector.route import compile_routes
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.faults import slow
from connector.targets.eventbridge import EventBridge as Target
from connector.targets.eventbridge import EventBridgeSettings
from tests.contract.wire import session
from tests.kafka.cluster import Kafka
from tests.kafka.inside import Inside, bus, config, inside, loaded, until
from tests.kafka.late import Late
from tests.kafka.member import Member

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])

SLACK = 8.0
"""Seconds by which two busy cores may delay what a rebalance needs anyway: join, heartbeats, a second assignment."""


def text(kafka: Kafka, service: EventBridge, topic: str, *, protocol: str = "classic", **over: Any) -> dict[str, Any]:
    """A config with patience: no call times out while a test keeps it waiting."""
    targets = {"bus": bus(service, request_timeout="60s", max_in_flight=over.pop("max_in_flight", 16))}
    plain = config(kafka, service, [topic], targets=targets, **over)
    if protocol == "consumer":
        properties = plain["kafka"]["properties"]
        kept = {name: properties[name] for name in properties if name not in _CLASSIC_ONLY}
        plain["kafka"] |= {"group_protocol": "consumer", "properties": kept}
    return plain


_CLASSIC_ONLY = ("session.timeout.ms", "heartbeat.interval.ms")


def owned(daemon: Inside) -> set[TopicPartition]:
    """What the daemon owns now."""
    return set(daemon.app.assignment.shares)


async def owns(daemon: Inside, count: int) -> set[TopicPartition]:
    """Wait until the daemon owns so many partitions, and give them."""
    await daemon.until(lambda: len(owned(daemon)) == count, what=f"{daemon.name} owns {count}")
    return owned(daemon)


def arrived(*services: EventBridge) -> Counter[str]:
    """How often each event arrived, by its id (`topic-partition-offset/route`)."""
    return Counter(event.resources[0] for service in services for event in service.accepted)


def ids(topic: str, partition: int, offsets: range) -> set[str]:
    """The ids of the events of these records."""
    return {f"{topic}-{partition}-{offset}/all" for offset in offsets}


# T6: acks that come late


async def test_an_ack_after_its_partition_was_revoked_commits_nothing(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    async with Late() as late, Late() as other:
        acks, theirs = late.shut(), other.shut()
        async with inside(kafka, text(kafka, late, topic, drain_timeout="500ms"), late, name="one") as one:
            for partition in range(2):
                await one.written(topic, 20, partition=partition)
            await one.until(lambda: len(late.accepted) == 40)
            async with inside(kafka, text(kafka, other, topic, drain_timeout="500ms"), other, name="two") as two:
                (gone,) = await owns(two, 1)
                (kept,) = owned(one)
                await two.until(lambda: len(other.accepted) == 20)

                late.reopen()
                acks.set()
                await _committed(one, kept, 20)
                await one.written(topic, 1, partition=kept.partition)
                await _committed(one, kept, 21)
                assert one.claimed.keys() == ids(topic, 0, range(20)) | ids(topic, 1, range(20)) | ids(
                    topic, kept.partition, range(21)
                )
                assert await one.committed(topic) == {kept.partition: 21, gone.partition: 0}

                theirs.set()
                await _committed(two, gone, 20)


async def test_an_ack_after_its_partition_went_and_came_back_commits_nothing_of_the_new_assignment(
    kafka: Kafka,
) -> None:
    topic = kafka.topic(2)
    async with Late() as late, Late() as other:
        old = late.shut()
        other.shut()
        async with inside(kafka, text(kafka, late, topic, drain_timeout="500ms"), late, name="one") as one:
            for partition in range(2):
                await one.written(topic, 20, partition=partition)
            await one.until(lambda: len(late.accepted) == 40)
            async with inside(kafka, text(kafka, other, topic, drain_timeout="500ms"), other, name="two") as two:
                (gone,) = await owns(two, 1)
                (kept,) = owned(one)
                await two.until(lambda: len(other.accepted) == 20)
                new = late.shut()
                assert await two.stop() == 0
            await one.until(lambda: len(late.accepted) == 60)
            assert gone in owned(one)

            late.reopen()
            old.set()
            await _committed(one, kept, 20)
            await one.written(topic, 1, partition=kept.partition)
            await _committed(one, kept, 21)
            assert sum(one.claimed.values()) == 41
            committed = await one.committed(topic)
            assert committed == {kept.partition: 21, gone.partition: 0}, "an old ack paid a debt of the new assignment"

            new.set()
            await _committed(one, gone, 20)


async def _committed(daemon: Inside, tp: TopicPartition, offset: int) -> None:
    async def there() -> bool:
        return (await daemon.committed(tp.topic)).get(tp.partition) == offset

    await daemon.until(there, what=f"{offset} of {tp} is committed")


# T7: a revoke with calls in flight


async def test_a_revoke_waits_for_the_calls_in_flight_and_nothing_is_sent_twice(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    async with EventBridge(faults=[slow(2.0, times=None)]) as service:
        plain = text(kafka, service, topic, max_in_flight=4)
        _spread(kafka, topic, 20)
        async with inside(kafka, plain, service, name="one") as one:
            await _in_flight(one, 4)
            await asyncio.to_thread(_spread, kafka, topic, 180)
            async with inside(kafka, plain, service, name="two") as two:
                (moved,) = await owns(two, 1)
                await two.until(lambda: two.records)
                service.faults.clear()
                await two.caught_up(topic)
                assert moved not in owned(one)
                first = min(record.offset for record in two.records if record.tp == moved)
                assert (await one.committed(topic))[moved.partition] > first > 0
    assert arrived(service) == dict.fromkeys(ids(topic, 0, range(200)) | ids(topic, 1, range(200)), 1)


async def test_a_revoke_ends_with_the_drain_time_and_only_what_was_in_flight_is_sent_twice(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    async with Late() as late, EventBridge() as other:
        acks = late.shut()
        plain = text(kafka, late, topic, max_in_flight=4, drain_timeout="500ms")
        _spread(kafka, topic, 20)
        async with inside(kafka, plain, late, name="one") as one:
            in_flight = await _in_flight(one, 4)
            await asyncio.to_thread(_spread, kafka, topic, 180)
            began = asyncio.get_running_loop().time()
            plain = text(kafka, other, topic, drain_timeout="500ms")
            async with inside(kafka, plain, other, name="two") as two:
                (moved,) = await owns(two, 1)
                assert asyncio.get_running_loop().time() - began < 0.5 + 1.0 + SLACK
                assert one.app.lanes["bus"].in_flight == 4  # it did not wait for them
                assert arrived(late).keys() == in_flight
                late.reopen()
                acks.set()
                await two.caught_up(topic)
    everything = arrived(late, other)
    assert everything.keys() == ids(topic, 0, range(200)) | ids(topic, 1, range(200))
    twice = {event for event, times in everything.items() if times > 1}
    assert set(everything.values()) == {1, 2}
    assert twice == in_flight & ids(topic, moved.partition, range(200))


def _spread(kafka: Kafka, topic: str, records: int) -> None:
    """Write so many records to either partition."""
    for partition in range(2):
        kafka.produce(topic, records, partition=partition)


async def _in_flight(daemon: Inside, calls: int) -> set[str]:
    """Wait until so many calls hang in the service, with records of both partitions; give the ids they carry."""
    lane = daemon.app.lanes["bus"]
    await daemon.until(lambda: lane.in_flight == calls)
    await daemon.until(lambda: len(daemon.service.accepted) > 10 * (calls - 1))
    carried = set(arrived(daemon.service))
    assert {event.rsplit("-", 2)[-2] for event in carried} == {"0", "1"}
    return carried


# T17, a pause that outlives its reason


async def test_a_partition_paused_for_want_of_room_goes_on_after_it_went_and_came_back(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    limits = {"max_open_per_partition": 20}
    async with Late() as late, Late() as other:
        acks = late.shut()
        other.shut()
        plain = text(kafka, late, topic, drain_timeout="500ms", limits=limits)
        async with inside(kafka, plain, late, name="one") as one:
            for partition in range(2):
                await one.written(topic, 100, partition=partition)
            await one.until(lambda: len(list(one.app.assignment.full())) == 2, what="both are full")
            plain = text(kafka, other, topic, drain_timeout="500ms", limits=limits)
            async with inside(kafka, plain, other, name="two") as two:
                (moved,) = await owns(two, 1)
                await two.until(lambda: list(two.app.assignment.full()) == [moved])
                assert await two.stop() == 0
            await owns(one, 2)
            await one.until(lambda: len(list(one.app.assignment.full())) == 2, what="both are full again")

            late.reopen()
            acks.set()
            before = len(late.accepted)
            await one.caught_up(topic)
            assert one.app.ready() == (True, "in the consumer group")
    times = [event.at for event in late.accepted[before:]]
    assert max(after - at for at, after in pairwise(times)) < 5.0 + SLACK
    assert arrived(late).keys() == ids(topic, 0, range(100)) | ids(topic, 1, range(100))


# both protocols


@each_protocol
async def test_members_come_and_go_while_records_flow_and_nothing_is_lost_or_sent_twice(
    kafka: Kafka, protocol: str
) -> None:
    topic = kafka.topic(4)
    async with EventBridge(faults=[slow(0.05, times=None)]) as service:
        plain = text(kafka, service, topic, protocol=protocol)
        async with inside(kafka, plain, service, name="one") as one, asyncio.TaskGroup() as group:
            await owns(one, 4)
            enough = asyncio.Event()
            writer = group.create_task(_write(one, topic, enough))
            for name in ("two", "three"):
                async with inside(kafka, plain, service, name=name) as other:
                    await owns(other, 2)
                    await other.until(partial(_delivered, other, 100))
                    assert len(owned(one)) == 2
                await owns(one, 4)
            await one.until(lambda: len(service.accepted) > 1000, what="more than a thousand have come meanwhile")
            enough.set()
            written = await writer
            await one.caught_up(topic)
    assert arrived(service) == dict.fromkeys(written, 1)


def _delivered(daemon: Inside, events: int) -> bool:
    return len(daemon.claimed) >= events


async def _write(daemon: Inside, topic: str, enough: asyncio.Event) -> set[str]:
    """Keep records coming until it is enough; give the ids of their events."""
    written: set[str] = set()
    while not enough.is_set():
        for record in await daemon.written(topic, 40):
            written |= ids(topic, record.tp.partition, range(record.offset, record.offset + 1))
        await asyncio.sleep(0.04)  # about 800 records a second: the cluster takes many times that
    return written


async def test_a_kip_848_member_that_gets_no_partition_becomes_ready_by_the_statistics(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        plain = text(kafka, service, topic, protocol="consumer")
        async with inside(kafka, plain, service, name="one") as one:
            await owns(one, 1)
            async with inside(kafka, plain, service, name="two") as two:
                assert two.app.ready()[0] is False
                await two.until(lambda: two.app.ready()[0])
                assert [len(owned(daemon)) for daemon in (one, two)] in ([1, 0], [0, 1])
                await one.written(topic, 20)
                await one.caught_up(topic)
    assert arrived(service) == dict.fromkeys(ids(topic, 0, range(20)), 1)


# faults


async def test_a_fenced_member_ends_with_1_and_commits_nothing_more(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with Late() as late:
        plain = text(kafka, late, topic)
        plain["kafka"]["properties"]["group.instance.id"] = "the-same"
        async with inside(kafka, plain, late) as daemon:
            await daemon.written(topic, 20)
            await daemon.caught_up(topic)
            acks = late.shut()
            await daemon.written(topic, 10)
            await daemon.until(lambda: len(late.accepted) == 30)

            usurper = Member(kafka, [topic], group_instance_id="the-same")

            async def ended() -> bool:
                await asyncio.to_thread(usurper.turn)
                return not daemon.running

            await until(ended, within=10.0 + SLACK, what="the fenced daemon has ended")
            assert daemon.app.consumer is not None
            failure = daemon.app.consumer.finished.exception()
            assert isinstance(failure, ConsumerFailed)
            assert failure.code == "_FATAL"
            assert "fenced" in failure.reason
            acks.set()
            assert await daemon.stop() == 1
            assert daemon.app.ready()[0] is False
            assert await daemon.committed(topic) == {0: 20}


class Broken:
    """Stands where the app stands for the consumer, and raises at one of the words it hears, the nth time."""

    def __init__(self, app: App, word: str, nth: int) -> None:
        """`word` is a method of Partitions; `heard` has what it was told when it broke."""
        self.heard: tuple[Any, ...] = ()
        self._app = app
        self._word = word
        self._left = nth

    def __getattr__(self, name: str) -> Any:
        if name == self._word:
            self._left -= 1
            if self._left == 0:
                return self._raise
        return getattr(self._app, name)

    def _raise(self, *heard: object) -> None:
        self.heard = heard
        raise LookupError("the test broke it")


class Brittle(Target):
    """A target with a fault in its code, which one value brings out."""

    def prepare(self, event: Event) -> Prepared:
        """Prepare, or fall over."""
        if event.record.value == b'"the value"':
            raise LookupError("the test broke it")
        return super().prepare(event)


def _app(kafka: Kafka, service: EventBridge, topic: str, word: str, nth: int) -> tuple[App, list[Broken]]:
    """A daemon that breaks; it commits only when it stops in order, unless it is to break on a commit."""
    given = loaded(text(kafka, service, topic, commit_interval="200ms" if word == "committed" else "1h"), {})
    assert given.settings is not None
    routes, _ = compile_routes(given.settings, given.locate)
    assert routes is not None

    broken: list[Broken] = []

    def consumer(settings: Any, app: App, loop: asyncio.AbstractEventLoop) -> Consumer:
        broken.append(Broken(app, word, nth))
        return Consumer(settings, partitions=cast(Partitions, broken[0]), loop=loop)

    def target(name: str, settings: Any) -> Target:
        assert isinstance(settings, EventBridgeSettings)
        return Brittle(name, settings, sessions=session)

    parts = replace(real_parts(), consumer=consumer, target=target)
    return App(given, routes, Metrics(CollectorRegistry()), parts), broken


@pytest.mark.parametrize(
    ("word", "nth"), [("assigned", 1), ("taken", 2), ("committed", 1), ("drain", 1), ("the value", 0)]
)
async def test_an_exception_in_what_hears_the_consumer_ends_the_daemon_with_1_and_nothing_more_is_committed(
    kafka: Kafka, word: str, nth: int
) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, 10, partition=0)
    async with EventBridge() as service:
        app, broken = _app(kafka, service, topic, word, nth)
        running = asyncio.create_task(app.run())
        await until(lambda: running.done() or app.tally.by_route["all", "delivered"] == 10)
        if word == "drain":
            newcomer = Member(kafka, [topic])
            await until(lambda: asyncio.to_thread(newcomer.turn) if not running.done() else True)
        elif word in ("taken", "the value"):
            await asyncio.to_thread(kafka.produce, topic, [b'"the value"'], partition=0)
        assert await asyncio.wait_for(running, 20.0) == 1
    assert app.consumer is not None
    failure = app.consumer.finished.exception()
    assert isinstance(failure, ConsumerFailed)
    assert (failure.code, failure.reason) == ("EDGE", "LookupError: the test broke it")
    assert kafka.committed(topic) == (broken[0].heard[0] if word == "committed" else {})
