"""From a real Kafka to a simulated EventBridge: what is delivered, what is buried, what waits, and what is committed.

Each daemon runs under the commit-safety monitor of `tests.kafka.inside`.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Message, Producer

from connector.model import Headers, Record
from connector.sandbox import faults
from connector.sandbox.eventbridge import Accepted, EventBridge
from tests.kafka.cluster import SECONDS, Kafka, record
from tests.kafka.inside import EVENT, Inside, bus, config, inside, route

pytestmark = pytest.mark.broker

MIB = 2**20


def ids(events: Iterable[Accepted]) -> list[str]:
    """The redelivery ids, in order of arrival."""
    return [event.resources[-1] for event in events]


def id_of(record: Record, route: str, index: int | None = None) -> str:
    """The id that an event must have, spelled out."""
    own = f"{record.tp.topic}-{record.tp.partition}-{record.offset}/{route}"
    return own if index is None else f"{own}/{index}"


def lines(count: int) -> list[bytes]:
    """JSON values {"n": 0}, {"n": 1}, …"""
    return [b'{"n": %d}' % n for n in range(count)]


def holds(*numbers: int) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an entry of the simulator is one of these `lines`."""
    return lambda entry: json.loads(entry["Detail"])["value"]["n"] in numbers


def together(service: EventBridge) -> dict[str, Any]:
    """Targets of a config: one bus, with a linger that lets what is there go in one call."""
    return {"bus": bus(service, batch={"linger": "300ms"})}


def own_headers(letter: Record) -> Headers:
    """A dead letter's headers without those that explain it."""
    return tuple(pair for pair in letter.headers if not pair[0].startswith(("__connect.", "__connector.")))


def reasons(letter: Record) -> dict[str, str]:
    """Those that explain it."""
    return {name: (value or b"").decode() for name, value in letter.headers if name.startswith("__connect")}


async def letters(kafka: Kafka, topic: str) -> list[Record]:
    """All dead letters."""
    return await asyncio.to_thread(kafka.read, topic)


def write_large(kafka: Kafka, topic: str, values: Iterable[bytes | None], keys: Iterable[bytes | None]) -> list[Record]:
    """Write records of up to 8 MiB, one after the other."""
    producer = Producer(kafka.cluster.conf(**{"message.max.bytes": 8 * MIB, "acks": "all"}))
    written: list[Record] = []

    def landed(error: object, message: Message) -> None:
        assert error is None, error
        written.append(record(message))

    for value, key in zip(values, keys, strict=True):
        producer.produce(topic, value, key, partition=0, headers=[("h", b"\xff\x00")], on_delivery=landed)
        assert producer.flush(SECONDS) == 0
    return written


async def test_each_record_takes_every_route_that_wants_it_to_every_target_and_the_ends_are_committed(
    kafka: Kafka,
) -> None:
    orders = kafka.topic(2, name="orders")
    returns = [kafka.topic(name=f"returns-{name}") for name in ("a", "b")]
    kinds = ["vip", "lines", "other"]
    values = [json.dumps({"kind": kinds[n % 3], "lines": list(range(n % 4))}).encode() for n in range(60)]
    async with EventBridge(["orders", "audit"]) as service:
        text = config(
            kafka,
            service,
            targets={"bus": bus(service, event_bus="orders"), "audit": bus(service, event_bus="audit")},
            routes=[
                route("vip", orders, match={"value": {"kind": ["vip"]}}, targets=["bus", "audit"], final=True),
                route("vip-again", orders, match={"value": {"kind": ["vip"]}}),
                route("lines", orders, match={"value": {"kind": ["lines"]}}, each="${value.lines}"),
                route("rest", orders, fallback=True, targets=["audit"]),
                route("returns", f"^{kafka.prefix}-returns-.*", when="value.total > 10"),
            ],
        )
        async with inside(kafka, text, service) as daemon:
            written = await daemon.written(orders, values)
            back = [(await daemon.written(topic, [b'{"total": %d}' % n for n in range(20)])) for topic in returns]
            await daemon.caught_up(orders, *returns)
    expected: Counter[tuple[str, str]] = Counter()
    for n, one in enumerate(written):
        match n % 3:
            case 0:
                expected.update([("orders", id_of(one, "vip")), ("audit", id_of(one, "vip"))])
            case 1:
                expected.update(("orders", id_of(one, "lines", index)) for index in range(n % 4))
            case 2:
                expected.update([("audit", id_of(one, "rest"))])
    expected.update(("orders", id_of(one, "returns")) for topic in back for one in topic[11:])
    assert Counter((event.bus, event.resources[-1]) for event in service.accepted) == expected
    assert daemon.status["totals"]["unrouted"] == 22


# An entry of a batch (T3, T4)


@pytest.mark.parametrize("code", ["NotAuthorizedForSourceException", "MalformedDetail"])
async def test_a_record_refused_for_ever_is_buried_whole_while_its_neighbours_are_delivered(
    kafka: Kafka, code: str
) -> None:
    topic, dead = kafka.topic(), kafka.topic(name="dead")
    an_hour_ago = int(time.time() * 1000) - 3_600_123
    headers = (("trace", b"\x00\xff"), ("trace", b"again"), ("empty", b""), ("none", None))
    (first,) = kafka.produce(topic, [b'{"n": 0}'])
    kafka.produce(topic, [b'{ "n" : 1 }'], key=lambda n: b"key\n", headers=headers, timestamp_ms=an_hour_ago)
    (third,) = kafka.produce(topic, [b'{"n": 2}'])
    async with EventBridge(faults=[faults.refuse(code, when=holds(1), times=None, message="Not this one.")]) as service:
        text = config(kafka, service, [topic], targets=together(service), dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.caught_up(topic)
    assert ids(service.accepted) == [id_of(first, "all"), id_of(third, "all")]
    (letter,) = await letters(kafka, dead)
    assert (letter.key, letter.value, letter.timestamp_ms) == (b"key\n", b'{ "n" : 1 }', an_hour_ago)
    assert own_headers(letter) == headers
    why = reasons(letter)
    message = why.pop("__connect.errors.exception.message")
    assert message.startswith("Not this one. (request ")
    assert an_hour_ago < int(why.pop("__connector.errors.time")) <= time.time() * 1000
    assert why == {
        "__connect.errors.topic": topic,
        "__connect.errors.partition": "0",
        "__connect.errors.offset": "1",
        "__connect.errors.connector.name": kafka.group,
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": "TASK_PUT",
        "__connect.errors.class.name": "bus",
        "__connect.errors.exception.class.name": code,
        "__connect.errors.exception.stacktrace": "",
        "__connector.errors.route": "all",
        "__connector.errors.target": "bus",
        "__connector.errors.code": code,
        "__connector.errors.attempts": "1",
        "__connector.errors.id": f"{topic}-0-1/all",
    }


@pytest.mark.parametrize("code", ["NotAuthorizedForSourceException", "MalformedDetail"])
async def test_with_on_reject_hold_the_commit_stays_at_the_refused_record(kafka: Kafka, code: str) -> None:
    topic = kafka.topic()
    kafka.produce(topic, lines(3))
    async with EventBridge(faults=[faults.refuse(code, when=holds(1), times=None)]) as service:
        async with inside(kafka, config(kafka, service, [topic], targets=together(service)), service) as daemon:
            await daemon.until(lambda: daemon.targets["bus"]["held"])
            await committed_stays(daemon, topic, {0: 1})
            held = daemon.targets["bus"]["held"]
            assert (held["code"], held["topic"], held["partition"], held["offset"]) == (code, topic, 0, 1)
        assert await daemon.committed(topic) == {0: 1}
    assert ids(service.accepted) == [f"{topic}-0-0/all", f"{topic}-0-2/all"]


async def test_of_a_batch_only_the_refused_entries_are_sent_again_and_the_commit_waits_for_them(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, lines(10))
    async with (
        EventBridge(faults=[faults.refuse("InternalFailure", when=holds(1, 7), times=None)]) as service,
        inside(kafka, config(kafka, service, [topic], targets=together(service)), service) as daemon,
    ):
        await committed_stays(daemon, topic, {0: 1})
        assert [len({event.request for event in service.accepted}), len(service.accepted)] == [1, 8]
        service.faults.clear()
        await daemon.caught_up(topic)
        assert daemon.status["totals"]["dead_lettered"] == 0
    # the service accepts whatever reaches it twice, so once each says that no other entry was sent again
    assert Counter(ids(service.accepted)) == {f"{topic}-0-{n}/all": 1 for n in range(10)}
    assert set(ids(service.accepted)[8:]) == {f"{topic}-0-1/all", f"{topic}-0-7/all"}


# The dead-letter topic does not take them (T5)


async def test_without_the_dead_letter_topic_nothing_is_committed_past_poison_until_it_is_there(kafka: Kafka) -> None:
    topic, dead = kafka.topic(), f"{kafka.prefix}-dead"
    poison = {n for n in range(100) if n % 4 == 1}
    kafka.produce(topic, [b"{not json %d" % n if n in poison else b'{"n": %d}' % n for n in range(100)])
    async with EventBridge() as service:
        text = config(
            kafka,
            service,
            [topic],
            dead_letters={"topic": dead},
            limits={"max_open_per_partition": 20, "max_uncommitted_per_partition": 40},
        )
        async with inside(kafka, text, service) as daemon:
            await daemon.until(lambda: daemon.targets["dead_letters"]["held"])
            await committed_stays(daemon, topic, {0: 1})
            held = daemon.targets["dead_letters"]["held"]
            assert held["code"] in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC")
            assert dead in held["detail"]
            assert "create" in held["todo"]
            metric = daemon.app.tally.metrics.registry.get_sample_value
            assert metric("connector_lane_held", {"target": "dead_letters"}) == 1.0
            await daemon.until(lambda: len(daemon.records) > 20)
            assert len(daemon.records) <= 41  # back-pressure, not memory
            kafka.topic(name="dead")
            await daemon.caught_up(topic)
            assert daemon.targets["dead_letters"]["held"] is None
    assert Counter(ids(service.accepted)) == {f"{topic}-0-{n}/all": 1 for n in range(100) if n not in poison}
    buried = await letters(kafka, dead)
    assert Counter(letter.value for letter in buried) == {b"{not json %d" % n: 1 for n in poison}


async def test_a_dead_letter_too_large_for_its_topic_loses_our_headers_and_then_holds_until_it_fits(
    kafka: Kafka,
) -> None:
    topic = kafka.topic()
    dead = kafka.topic(name="dead", max_message_bytes=2000)
    values = [b"small", b"m" * 1700, b'{"n": 0}', b"l" * 3000, b'{"n": 1}']
    kafka.produce(topic, values, headers=(("own", b"kept"),))
    async with EventBridge() as service:
        text = config(kafka, service, [topic], dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.until(lambda: daemon.targets["dead_letters"]["held"])
            await committed_stays(daemon, topic, {0: 3})
            held = daemon.targets["dead_letters"]["held"]
            assert (held["code"], held["topic"], held["partition"], held["offset"]) == (
                "MSG_SIZE_TOO_LARGE",
                topic,
                0,
                3,
            )
            assert f"larger than {dead} takes" in held["detail"]
            kafka.alter(dead, max_message_bytes=10000)
            await daemon.caught_up(topic)
    small, middle, large = sorted(await letters(kafka, dead), key=lambda letter: len(letter.value or b""))
    assert [letter.value for letter in (small, middle, large)] == [b"small", b"m" * 1700, b"l" * 3000]
    assert all(own_headers(letter) == (("own", b"kept"),) for letter in (small, middle, large))
    assert reasons(middle) == {}
    assert reasons(small)["__connector.errors.code"] == "NotJSON"
    assert reasons(large)["__connect.errors.offset"] == "3"
    assert ids(service.accepted) == [f"{topic}-0-2/all", f"{topic}-0-4/all"]


async def test_a_dead_letter_that_is_too_old_for_its_topic_holds_until_the_topic_takes_it(kafka: Kafka) -> None:
    topic = kafka.topic()
    dead = kafka.topic(name="dead", message_timestamp_before_max_ms=60_000)
    an_hour_ago = int(time.time() * 1000) - 3_600_000
    kafka.produce(topic, [b'{"n": 0}', b"poison"], timestamp_ms=an_hour_ago)
    async with EventBridge() as service:
        text = config(kafka, service, [topic], dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.until(lambda: daemon.targets["dead_letters"]["held"])
            held = daemon.targets["dead_letters"]["held"]
            assert (held["code"], held["offset"]) == ("INVALID_TIMESTAMP", 1)
            assert await daemon.committed(topic) in ({}, {0: 0}, {0: 1})
            kafka.alter(dead, message_timestamp_before_max_ms=7200000)
            await daemon.caught_up(topic)
    (letter,) = await letters(kafka, dead)
    assert (letter.value, letter.timestamp_ms) == (b"poison", an_hour_ago)


async def test_many_small_dead_letters_fit_a_topic_that_takes_small_batches_only(kafka: Kafka) -> None:
    topic = kafka.topic()
    dead = kafka.topic(name="dead", max_message_bytes=2000)
    kafka.produce(topic, [b"poison %d" % n for n in range(50)])
    async with EventBridge() as service:
        text = config(kafka, service, [topic], dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.caught_up(topic)
    buried = await letters(kafka, dead)
    assert Counter(letter.value for letter in buried) == {b"poison %d" % n: 1 for n in range(50)}
    assert [reasons(letter).get("__connector.errors.code") for letter in buried] == ["NotJSON"] * 50


# Poison


class Poison(NamedTuple):
    """A record that no event can be made of, and what its dead letter says: stage and code."""

    value: bytes | None
    stage: str
    code: str
    key: bytes | None = b"key"


async def test_each_kind_of_poison_is_buried_byte_for_byte_and_the_partition_goes_on(kafka: Kafka) -> None:
    topic = kafka.topic(name="orders", max_message_bytes=6 * MIB)
    dead = kafka.topic(name="dead", max_message_bytes=6 * MIB)
    good = b'{"id": 1, "type": "Paid", "channel": "web"}'
    table = [
        Poison(b'{"id": 1, "type": ', "VALUE_CONVERTER", "NotJSON"),
        Poison(b"\xff\xfe\x00", "VALUE_CONVERTER", "NotJSON"),
        Poison(b"", "VALUE_CONVERTER", "NotJSON"),
        Poison(b'{"id": 1, "type": "Paid"}', "TRANSFORMATION", "MissingField"),
        Poison(b'{"id": 1, "type": 7, "channel": "web"}', "TRANSFORMATION", "WrongType"),
        Poison(b'{"id": 1, "type": "", "channel": "web"}', "TRANSFORMATION", "Missing"),
        Poison(good, "KEY_CONVERTER", "NotUTF8", key=b"\x80binary\x00"),
        Poison(b'{"id": 1, "type": "Paid", "channel": "%s"}' % (b"x" * 5 * MIB), "TRANSFORMATION", "TooLarge"),
        Poison(None, "TRANSFORMATION", "WrongType"),
    ]
    values = [value for poison in table for value in (poison.value, good)]
    keys = [key for poison in table for key in (poison.key, b"good")]
    written = await asyncio.to_thread(write_large, kafka, topic, values, keys)
    async with EventBridge() as service:
        text = config(
            kafka,
            service,
            topics={topic: {"tombstones": "route"}},
            routes=[
                route(
                    "orders",
                    topic,
                    map={"Source": "com.acme.${value.channel}", "DetailType": "${value.type}", "Detail": "${value}"},
                )
            ],
            dead_letters={"topic": dead},
        )
        async with inside(kafka, text, service) as daemon:
            await daemon.caught_up(topic)
    assert ids(service.accepted) == [f"{topic}-0-{offset}/orders" for offset in range(1, 2 * len(table), 2)]
    assert {event.detail for event in service.accepted} == {'{"id":1,"type":"Paid","channel":"web"}'}
    buried = {reasons(letter)["__connect.errors.offset"]: letter for letter in await letters(kafka, dead)}
    assert len(buried) == len(table)
    for number, poison in enumerate(table):
        letter, original = buried[str(2 * number)], written[2 * number]
        assert (letter.key, letter.value, letter.timestamp_ms, own_headers(letter)) == (
            poison.key,
            poison.value,
            original.timestamp_ms,
            (("h", b"\xff\x00"),),
        )
        why = reasons(letter)
        assert (
            why["__connect.errors.stage"],
            why["__connector.errors.code"],
            why["__connector.errors.route"],
            why["__connector.errors.target"],
        ) == (poison.stage, poison.code, "orders", "bus" if poison.stage == "TRANSFORMATION" else ""), number


async def test_poison_and_tombstones_that_the_config_lets_go_are_skipped_and_counted(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"{", None, b'{"n": 2}', b"[", None, b'{"m": 5}'])
    async with EventBridge() as service:
        skips = route("all", topic, map={**EVENT, "Detail": {"n": "${value.n}"}}, on_error="skip", on_reject="skip")
        async with inside(kafka, config(kafka, service, routes=[skips]), service) as daemon:
            await daemon.caught_up(topic)
            assert daemon.status["totals"]["skipped"] == 3
            assert daemon.status["totals"]["unrouted"] == 0
    assert ids(service.accepted) == [f"{topic}-0-2/all"]


async def test_a_tombstone_that_is_routed_is_an_event_like_any_other(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [None, b'{"n": 1}'], key=lambda n: b"order-%d" % n)
    async with EventBridge() as service:
        routes = [
            route("gone", topic, when="value == null", map={**EVENT, "Detail": {"gone": "${key}"}}, final=True),
            route("all", topic),
        ]
        text = config(kafka, service, routes=routes, topics={topic: {"tombstones": "route"}})
        async with inside(kafka, text, service) as daemon:
            await daemon.caught_up(topic)
    assert [(ids([event]), event.detail) for event in service.accepted] == [
        ([f"{topic}-0-0/gone"], '{"gone":"order-0"}'),
        ([f"{topic}-0-1/all"], '{"value":{"n":1}}'),
    ]


# Order, with retries (test 15)


@pytest.mark.parametrize("order", ["key", "partition"])
async def test_in_order_each_offset_waits_for_the_one_before_it_and_the_others_move_on(
    kafka: Kafka, order: str
) -> None:
    topic = kafka.topic(3)
    records = [
        one
        for partition in range(3)
        for one in kafka.produce(topic, lines(100), partition=partition, key=lambda n: b"%d" % (n % 5))
    ]
    by_id = {id_of(one, "all"): one for one in records}
    stuck = f"{topic}-1-7/all"  # its key is 2
    behind = [one for one in records if _waits_for(one, by_id[stuck], order)]
    assert len(behind) == {"key": 19, "partition": 93}[order]
    weather = faults.refuse("ThrottlingException", probability=0.2, times=None)
    storm = [
        faults.refuse("InternalFailure", when=lambda entry: bool(entry["Resources"] == [stuck]), times=None),
        faults.throttle(times=2),
        faults.html(503, times=2),
    ]
    async with EventBridge(faults=[weather, *storm], seed=7) as service:
        paced = {"max_in_flight": 64, "retry": {"initial": "10ms", "max": "50ms"}, "batch": {"linger": "5ms"}}
        targets = {"bus": bus(service, order=order, **paced)}
        async with inside(kafka, config(kafka, service, [topic], targets=targets), service) as daemon:
            await daemon.until(lambda: len(service.accepted) == 300 - len(behind))
            await asyncio.sleep(0.5)
            assert len(service.accepted) == 300 - len(behind)
            service.faults.clear()
            service.faults.add(weather)
            await daemon.caught_up(topic)
            assert daemon.status["totals"]["retried"] > 20
    arrived, written = (
        _by_order(found, order) for found in ([by_id[event] for event in ids(service.accepted)], records)
    )
    assert arrived == written


def _by_order(records: Iterable[Record], order: str) -> dict[tuple[int, bytes | None], list[int]]:
    """The offsets of what must keep its order among itself."""
    found = defaultdict(list)
    for one in records:
        found[one.tp.partition, one.key if order == "key" else None].append(one.offset)
    return found


def _waits_for(one: Record, other: Record, order: str) -> bool:
    """Whether both must keep their order, and `one` is not before the other."""
    return one.tp == other.tp and (order == "partition" or one.key == other.key) and one.offset >= other.offset


# A target that does not work


async def test_topics_that_only_feed_another_target_keep_their_rate_while_one_target_is_refused(kafka: Kafka) -> None:
    mine, other = kafka.topic(2, name="mine"), kafka.topic(4, name="other")
    fill(kafka, mine, 2, 6000)
    async with EventBridge() as service, EventBridge() as refused:
        text = two_targets(kafka, mine, bus(service, **PACED), other, bus(refused))
        async with inside(kafka, text, service, others=[refused]) as daemon:
            await daemon.written(other, 20)
            await daemon.until(lambda: len(service.accepted) > 600 and len(refused.accepted) == 20)
            await keeps_its_rate(daemon, service)
            refused.faults.add(faults.access_denied())
            await daemon.written(other, 20)
            await daemon.until(lambda: daemon.targets["refused"]["held"])
            await asyncio.to_thread(fill, kafka, other, 4, 1500)
            await daemon.until(lambda: daemon.targets["refused"]["open_records"] >= 1500, what="its room is taken")
            await asyncio.sleep(1.0)  # it takes what it can get before the rate is looked at
            await keeps_its_rate(daemon, service)
            assert daemon.targets["refused"]["held"]["code"] == "AccessDeniedException"
            assert daemon.targets["refused"]["open_records"] <= 2000  # half of the room, to the record
            assert daemon.status["totals"]["dead_lettered"] == 0
            refused.faults.clear()
            await daemon.until(lambda: len(refused.accepted) > 200)


async def test_topics_that_only_feed_another_target_keep_their_rate_while_one_target_is_down(kafka: Kafka) -> None:
    mine, other = kafka.topic(2, name="mine"), kafka.topic(4, name="other")
    fill(kafka, mine, 2, 6000)
    fill(kafka, other, 4, 1500)
    async with EventBridge() as service, EventBridge(faults=[faults.html(503, times=None)]) as down:
        text = two_targets(kafka, mine, bus(service, **PACED), other, bus(down))
        async with inside(kafka, text, service, others=[down]) as daemon:
            await daemon.until(lambda: daemon.targets["refused"]["open_records"] >= 1500, what="its room is taken")
            await asyncio.sleep(1.0)
            await keeps_its_rate(daemon, service)


PACED: Mapping[str, Any] = {"rate_limit": {"calls": "40/s"}}
"""A rate that two cores carry with ease, so that only a lack of room can lower it. It starts with a burst of 400."""


def two_targets(
    kafka: Kafka, mine: str, bus: Mapping[str, Any], other: str, refused: Mapping[str, Any]
) -> dict[str, Any]:
    """A config of two topics that feed a target each, and room for 4000 records in all."""
    return config(
        kafka,
        EventBridge(),
        targets={"bus": bus, "refused": refused},
        routes=[route("mine", mine), route("other", other, targets=["refused"])],
        limits={"max_open_records": 4000, "max_open_per_partition": 4000, "max_uncommitted_per_partition": 6000},
    )


def fill(kafka: Kafka, topic: str, partitions: int, count: int) -> None:
    """Write so many records into each partition."""
    for partition in range(partitions):
        kafka.produce(topic, count, partition=partition)


async def delivered_in(seconds: float, service: EventBridge) -> int:
    """Events that the service takes in so many seconds."""
    before, began = len(service.accepted), time.monotonic()
    await asyncio.sleep(seconds)
    return round((len(service.accepted) - before) * seconds / (time.monotonic() - began))


async def keeps_its_rate(daemon: Inside, service: EventBridge) -> None:
    """See the service take nine tenths of the `PACED` 800 in some two seconds.

    Who lacks room never does; who only shares a busy machine will, if not in these two seconds then in the next.
    """
    rates: list[int] = []

    async def fast() -> bool:
        rates.append(await delivered_in(2.0, service))
        return rates[-1] >= 720

    try:
        await daemon.until(fast, what="720 events in two seconds")
    except AssertionError as error:
        raise AssertionError(f"{error}; seen: {rates}") from None


async def test_an_expired_token_holds_the_lane_and_it_goes_on_by_itself(kafka: Kafka) -> None:
    topic, dead = kafka.topic(3), kafka.topic(name="dead")
    kafka.produce(topic, 300)
    async with EventBridge(faults=[faults.expired_token(times=None)]) as service:
        text = config(kafka, service, [topic], dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.until(lambda: daemon.targets["bus"]["held"])
            assert daemon.targets["bus"]["held"]["code"] == "ExpiredTokenException"
            await daemon.written(topic, 100)
            await daemon.until(lambda: service.outcomes["expired_token"] >= 2, what="the lane asks again")
            assert daemon.running
            service.faults.clear()
            await daemon.caught_up(topic)
            assert daemon.targets["bus"]["held"] is None
    assert len(service.accepted) == len(set(ids(service.accepted))) == 400
    assert await letters(kafka, dead) == []


async def test_a_deleted_bus_holds_the_lane_at_the_next_preflight_and_goes_on_when_it_is_there_again(
    kafka: Kafka,
) -> None:
    topic, dead = kafka.topic(), kafka.topic(name="dead")
    async with EventBridge(["orders"]) as service:
        target = bus(service, event_bus="orders", preflight_interval="500ms")
        text = config(kafka, service, [topic], targets={"bus": target}, dead_letters={"topic": dead})
        async with inside(kafka, text, service) as daemon:
            await daemon.written(topic, 50)
            await daemon.caught_up(topic)
            service.buses.discard("orders")
            await daemon.until(lambda: daemon.targets["bus"]["held"], what="the preflight has noticed")
            assert daemon.targets["bus"]["held"]["code"] == "ResourceNotFoundException"
            assert daemon.targets["bus"]["preflight"]["health"] == "missing"
            await daemon.written(topic, 50)
            await committed_stays(daemon, topic, {0: 50})
            service.buses.add("orders")
            await daemon.caught_up(topic)
    assert service.vanished == []
    assert ids(service.accepted) == [f"{topic}-0-{offset}/all" for offset in range(100)]
    assert await letters(kafka, dead) == []


# Time and room


async def test_a_delayed_route_delivers_no_earlier_than_its_delay_after_the_record(kafka: Kafka) -> None:
    topic = kafka.topic()
    async with EventBridge() as service:
        routes = [route("now", topic), route("later", topic, delay="8s")]
        async with inside(kafka, config(kafka, service, routes=routes), service) as daemon:
            await daemon.until(lambda: daemon.app.assignment.shares)
            written = await daemon.written(topic, 20)
            at = {id_of(one, name): one.timestamp_ms / 1000 for one in written for name in ("now", "later")}
            await daemon.until(lambda: len(service.accepted) == 20)
            await committed_stays(daemon, topic, {0: 0})
            await daemon.caught_up(topic)
    waits = {event.resources[-1]: event.at - at[event.resources[-1]] for event in service.accepted}
    assert len(service.accepted) == len(waits) == 40
    assert all(wait < 8.0 for name, wait in waits.items() if name.endswith("/now"))  # before any later one
    assert all(wait >= 8.0 for name, wait in waits.items() if name.endswith("/later"))


async def test_one_stuck_entry_lets_no_more_than_the_limit_be_taken_behind_it(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, lines(300))
    async with EventBridge(faults=[faults.refuse("InternalFailure", when=holds(10), times=None)]) as service:
        limits = {"max_open_per_partition": 50, "max_uncommitted_per_partition": 100}
        async with inside(kafka, config(kafka, service, [topic], limits=limits), service) as daemon:
            await daemon.until(
                lambda: daemon.status["partitions"] and daemon.status["partitions"][0]["uncommitted"] > 80
            )
            await committed_stays(daemon, topic, {0: 10})
            (partition,) = daemon.status["partitions"]
            assert partition["uncommitted"] <= 100
            assert len(daemon.records) <= 110
            service.faults.clear()
            await daemon.caught_up(topic)
    assert Counter(ids(service.accepted)) == {f"{topic}-0-{n}/all": 1 for n in range(300)}


async def committed_stays(daemon: Inside, topic: str, offsets: dict[int, int]) -> None:
    """Wait until the group has committed just this, and see that it has not moved five commit intervals later."""

    async def there() -> bool:
        return await daemon.committed(topic) == offsets

    await daemon.until(there, what=f"the group has committed {offsets}")
    await asyncio.sleep(1.0)
    assert await daemon.committed(topic) == offsets
