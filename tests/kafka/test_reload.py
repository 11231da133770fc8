"""A reload on a real Kafka: topics come and go with calls in flight, and a bad config changes nothing.

The monitor of `tests.kafka.inside` judges every commit by the config that was in force when its records were taken.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pytest

from connector.admin import Outcome
from connector.model import Record, TopicPartition
from connector.sandbox.eventbridge import Accepted, EventBridge
from tests.kafka.cluster import Kafka
from tests.kafka.inside import EVENT, Inside, bus, config, inside, route
from tests.kafka.late import Late

pytestmark = pytest.mark.broker
each_protocol = pytest.mark.parametrize("protocol", ["classic", "consumer"])

NEW: Final = {**EVENT, "DetailType": "New"}
"""A map that tells its events from those of `EVENT`."""


def text(kafka: Kafka, protocol: str, buses: Mapping[str, EventBridge], routes: Iterable[Any]) -> dict[str, Any]:
    """A config whose calls never time out while a test keeps them waiting, two at once to a target."""
    targets = {name: bus(service, request_timeout="60s", max_in_flight=2) for name, service in buses.items()}
    first = next(iter(buses.values()))
    plain = config(kafka, first, targets=targets, routes=list(routes), drain_timeout="60s", shutdown_timeout="90s")
    if protocol == "consumer":
        properties = {name: value for name, value in plain["kafka"]["properties"].items() if name not in _CLASSIC_ONLY}
        plain["kafka"] |= {"group_protocol": "consumer", "properties": properties}
    return plain


_CLASSIC_ONLY = ("session.timeout.ms", "heartbeat.interval.ms")


def ids(records: Iterable[Record], name: str) -> dict[str, int]:
    """The id of each record's event by this route, once."""
    return {f"{record.tp.topic}-{record.tp.partition}-{record.offset}/{name}": 1 for record in records}


def arrived(events: Iterable[Accepted]) -> Counter[str]:
    """How often each event arrived, by its id."""
    return Counter(event.resources[0] for event in events)


def kinds(events: Iterable[Accepted], records: Iterable[Record], name: str) -> set[str]:
    """By which maps the events of these records were made."""
    wanted = ids(records, name)
    return {event.detail_type for event in events if event.resources[0] in wanted}


def calls(service: EventBridge) -> int:
    """How many calls have come."""
    return len({event.request for event in service.accepted})


def topics(daemon: Inside) -> set[str]:
    """The topics of which the daemon owns partitions."""
    return {tp.topic for tp in daemon.app.assignment.shares}


def reloads(daemon: Inside, outcome: str) -> float | None:
    """What the metric counts."""
    metric = daemon.app.tally.metrics.registry.get_sample_value
    return metric("connector_config_reloads_total", {"outcome": outcome})


@each_protocol
async def test_topics_come_and_go_with_calls_in_flight_and_each_record_arrives_once(
    kafka: Kafka, protocol: str
) -> None:
    kept, goes, stays, comes = (kafka.topic(name=name) for name in ("kept", "goes", "stays", "comes"))
    async with Late() as one, Late() as two:
        buses = {"bus": one, "second": two}
        before = [route("all", kept), route("rest", goes, stays, targets=["second"])]
        after = [route("all", kept, comes, map=NEW), route("rest", stays, targets=["second"])]
        early = kafka.produce(comes, 50)
        answers, others = one.shut(), two.shut()
        plain = text(kafka, protocol, buses, before)
        async with inside(kafka, plain, one, others=[two]) as daemon:
            app = daemon.app
            records = {kept: await daemon.written(kept, 60)}
            for topic in (goes, stays):
                records[topic] = await daemon.written(topic, 60)
            await daemon.until(lambda: len(daemon.records) == 180, what="all is taken")
            await daemon.until(lambda: [lane.in_flight for lane in app.lanes.values()] == [2, 2])
            await daemon.until(lambda: calls(one) == calls(two) == 2, what="two calls each")
            lanes, shares = dict(app.lanes), dict(app.assignment.shares)
            on_the_wire = arrived(one.accepted)

            answer = await daemon.reload(text(kafka, protocol, buses, after))
            assert answer.outcome is Outcome.DONE, answer.words
            records[goes] += await daemon.written(goes, 10)  # for whoever reads it next
            others.set()
            two.reopen()
            await daemon.until(lambda: topics(daemon) == {kept, stays, comes}, what="topics have come and gone")
            # the first lane has not been waited for: its calls hang as before, and its partition was never away
            assert app.lanes == lanes
            assert lanes["bus"].in_flight == 2
            assert arrived(one.accepted) == on_the_wire
            for topic in (kept, stays):
                assert app.assignment.shares[TopicPartition(topic, 0)] is shares[TopicPartition(topic, 0)]
            await daemon.until(lambda: len(_of(daemon, comes)) == 50, what="the new topic is read")
            assert [record.offset for record in _of(daemon, comes)] == list(range(50))

            answers.set()
            one.reopen()
            records[kept] += await daemon.written(kept, 40)
            records[comes] = early + await daemon.written(comes, 10)
            await daemon.caught_up(kept, stays, comes)
            assert reloads(daemon, "applied") == 1
            assert arrived(one.accepted) == ids(records[kept] + records[comes], "all")
            sent = [record for record in records[kept] if set(ids([record], "all")) & on_the_wire.keys()]
            assert kinds(one.accepted, sent, "all") == {"Test"}
            assert kinds(one.accepted, records[kept][len(sent) :] + records[comes], "all") == {"New"}
            # what is committed of the topic that went is what of it was delivered: nothing is lost, nothing repeated
            end = (await daemon.committed(goes)).get(0, 0)
            assert arrived(two.accepted) == ids(records[goes][:end] + records[stays], "rest")

            answer = await daemon.reload(text(kafka, protocol, buses, [route("all", kept, comes, map=NEW), before[1]]))
            assert answer.outcome is Outcome.DONE, answer.words
            await daemon.caught_up(kept, goes, stays, comes)
            assert arrived(two.accepted) == ids(records[goes] + records[stays], "rest")
    daemon.monitor.safe()


def _of(daemon: Inside, topic: str) -> list[Record]:
    """What Kafka has handed over of a topic."""
    return [record for record in daemon.records if record.tp.topic == topic]


@each_protocol
async def test_a_topic_is_given_back_only_once_it_was_let_go_and_loses_nothing(kafka: Kafka, protocol: str) -> None:
    kept, back = kafka.topic(name="kept"), kafka.topic(name="back")
    async with Late() as service:
        both = text(kafka, protocol, {"bus": service}, [route("all", kept, back)])
        less = text(kafka, protocol, {"bus": service}, [route("all", kept)])
        answers = service.shut()
        async with inside(kafka, both, service) as daemon:
            records = await daemon.written(back, 60)
            await daemon.until(lambda: daemon.app.lanes["bus"].in_flight == 2)
            await daemon.until(lambda: calls(service) == 2, what="two calls")
            on_the_wire = len(service.accepted)

            assert (await daemon.reload(less)).outcome is Outcome.DONE
            records += await daemon.written(back, 10)
            answer = await daemon.reload(both)
            assert (answer.outcome, "let go first" in answer.words) == (Outcome.REFUSED, True)
            answers.set()
            service.reopen()
            await daemon.until(lambda: topics(daemon) == {kept}, what="it is let go")
            assert await daemon.committed(back) == {0: on_the_wire}
            assert (await daemon.reload(both)).outcome is Outcome.DONE
            records += await daemon.written(back, 10)
            await daemon.caught_up(back)
        assert arrived(service.accepted) == ids(records, "all")
    daemon.monitor.safe()


@each_protocol
async def test_a_reload_to_a_pattern_that_no_topic_matches_lets_all_go_and_the_mended_one_goes_on(
    kafka: Kafka, protocol: str
) -> None:
    topic = kafka.topic(name="orders")
    async with EventBridge() as service:
        right = text(kafka, protocol, {"bus": service}, [route("all", f"^{kafka.prefix}-orders")])
        wrong = text(kafka, protocol, {"bus": service}, [route("all", f"^{kafka.prefix}-odrers")])
        async with inside(kafka, right, service) as daemon:
            records = await daemon.written(topic, 20)
            await daemon.caught_up(topic)

            assert (await daemon.reload(wrong)).outcome is Outcome.DONE
            await daemon.until(lambda: "NO_TOPICS" in daemon.app.troubles and not topics(daemon), what="all is let go")
            records += await daemon.written(topic, 20)
            assert (await daemon.reload(right)).outcome is Outcome.DONE
            await daemon.caught_up(topic)
            assert "NO_TOPICS" not in daemon.app.troubles
        assert arrived(service.accepted) == ids(records, "all")
    daemon.monitor.safe()


BAD: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "a route to nowhere": lambda plain: plain["routes"][0].update(targets=["nowhere"]),
    "a map that does not parse": lambda plain: plain["routes"][0].update(map={"Detail": "${value"}),
    "another group": lambda plain: plain["kafka"].update(group_id="another"),
}
"""What makes a config one that cannot be applied."""


async def test_a_bad_config_keeps_the_one_before_it_running(kafka: Kafka) -> None:
    topic, other = kafka.topic(), kafka.topic()
    async with Late() as service:
        plain = text(kafka, "classic", {"bus": service}, [route("all", topic)])
        answers = service.shut()
        async with inside(kafka, plain, service) as daemon:
            records = await daemon.written(topic, 60)
            await daemon.until(lambda: daemon.app.lanes["bus"].in_flight == 2)
            share, told = daemon.app.assignment.shares[TopicPartition(topic, 0)], daemon.app.config_hash
            for what, spoil in BAD.items():
                bad = text(kafka, "classic", {"bus": service}, [route("all", topic, other, map=NEW)])
                spoil(bad)
                answer = await daemon.reload(bad)
                assert answer.outcome is Outcome.REFUSED, what
            answer = await daemon.reload("version: 1\nroutes: [")
            assert answer.outcome is Outcome.REFUSED
            assert "test.yaml:2:" in answer.words
            assert (reloads(daemon, "refused"), reloads(daemon, "applied")) == (4, None)

            answers.set()
            service.reopen()
            records += await daemon.written(topic, 20)
            await daemon.caught_up(topic)
            assert daemon.app.assignment.shares == {TopicPartition(topic, 0): share}
            assert daemon.app.config_hash == told
            assert kinds(service.accepted, records, "all") == {"Test"}
        assert arrived(service.accepted) == ids(records, "all")
    daemon.monitor.safe()
