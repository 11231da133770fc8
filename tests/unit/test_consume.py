"""The consumer thread on a scripted client: what it promises whatever the client does."""

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from connector.consume import Client, Consumer, ConsumerFailed
from connector.consume_ids import TopicIds
from connector.edge import Drained
from connector.model import Record
from connector.room import Credit
from tests.unit.edge import DEADLINE, Edge, Loop, Script, config, message, plenty, tp, wrong

A, B = tp(0), tp(1)


class Clock:
    """Tells the time the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._looks = 0

    def __call__(self) -> float:
        self._looks += 1
        return self.now

    async def looked_at(self, times: int) -> None:
        """Wait until the thread has looked so often: without room it does not poll, and no step can tell of a turn."""
        until = self._looks + times
        async with asyncio.timeout(DEADLINE):
            while self._looks < until:  # noqa: ASYNC110 - the thread tells of its looks by this count alone
                await asyncio.sleep(0)


Make = Callable[..., Edge]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make edges, and end each, whether it failed or not."""
    made: list[Edge] = []

    def one(*topics: str, drain: str = "5s", clock: Callable[[], float] | None = None, **kafka: Any) -> Edge:
        loop, script = Loop(), Script()
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        consumer = Consumer(
            config(topics or ("t",), drain, **kafka),
            partitions=loop,
            loop=asyncio.get_running_loop(),
            client=script,
            ids=script.topic_ids,
            pause=script.pauses.append,
            **more,
        )
        script.ended = {consumer.finished}
        made.append(Edge(consumer, script, loop))
        return made[-1]

    yield one
    for edge in made:
        await edge.end()
        edge.consumer.finished.exception()


async def failure(edge: Edge) -> ConsumerFailed:
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait({edge.consumer.finished})
    error = edge.consumer.finished.exception()
    assert isinstance(error, ConsumerFailed)
    return error


def cluster(**topics: int) -> Any:
    """Metadata: topics with their numbers of partitions."""
    return SimpleNamespace(
        topics={
            name.replace("_", "."): SimpleNamespace(error=None, partitions=dict.fromkeys(range(count)))
            for name, count in topics.items()
        }
    )


def statistics(lags: dict[int, int] | None = None, up: bool = True, group: str = "wait-coord") -> str:
    return json.dumps(
        {
            "brokers": {"b": {"state": "UP" if up else "DOWN"}},
            "topics": {
                "t": {
                    "topic": "t",
                    "partitions": {
                        str(p): {"partition": p, "consumer_lag": lag} for p, lag in ({-1: -1} | (lags or {})).items()
                    },
                }
            },
            "cgrp": {"state": group, "join_state": "init"},
        }
    )


# taking


async def test_the_probe_is_told_a_turn_before_the_first_one(make: Make) -> None:
    edge = make(clock=Clock())
    assert edge.consumer.turned_at == 1000.0
    await edge.begin()


async def test_the_client_tells_its_statistics_every_five_seconds_and_its_log_where_debug_lines_go(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    edge = make()
    await edge.begin()
    assert edge.script.config["statistics.interval.ms"] == 5000
    with caplog.at_level(logging.DEBUG, "librdkafka"):
        edge.script.config["logger"].log(logging.ERROR, "%s is away", "broker 1")
    assert caplog.record_tuples == [("librdkafka", logging.DEBUG, "broker 1 is away")]


async def test_records_are_handed_over_in_poll_order_with_bytes_headers_and_time_untouched(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)
    headers = [("h", b"1"), ("h", None), ("g", b"")]
    await edge.script.bring(message(7), message(8, 1), message(9))
    await edge.loop.hears("taken")
    assert [(record.tp, record.offset) for record in edge.loop.records] == [(A, 7), (B, 8), (A, 9)]
    await edge.script.bring(message(10, key=b"\xff", headers=headers))
    await edge.loop.hears("taken", 2)
    assert edge.loop.records[-1] == Record(A, 10, 1000, b"\xff", b"v10", (("h", b"1"), ("h", None), ("g", b"")))


async def test_a_record_without_a_timestamp_has_minus_one(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    bare = message(0)
    timeless = type(bare)(topic="t", partition=0, offset=1, timestamp=(0, 0))
    await edge.script.bring(timeless)
    await edge.loop.hears("taken")
    assert edge.loop.records == [Record(A, 1, -1, None, None, ())]


async def test_records_of_partitions_that_are_not_ours_are_dropped(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    await edge.script.bring(message(1, 1), message(2, 0))
    await edge.loop.hears("taken")
    assert [record.offset for record in edge.loop.records] == [2]


async def test_a_record_popped_before_its_partition_was_assigned_anew_is_dropped(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)

    def reassigned() -> None:
        edge.script.on_lost(edge.script, [Place(*A)])
        edge.script.on_assign(edge.script, [Place(*A)])

    edge.script.during_consume = reassigned
    await edge.script.bring(message(4, 0), message(5, 0), message(6, 1))
    await edge.loop.hears("taken")
    assert [(record.tp, record.offset) for record in edge.loop.records] == [(B, 6)]


async def test_the_position_comes_with_the_records_even_past_a_gap(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.script.positions = {A: 12}
    await edge.script.bring(message(3), message(9))
    assert await edge.loop.hears("taken") == ({A: epoch}, [3, 9], {A: 12})


async def test_a_position_that_moves_without_records_is_told_too(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.script.positions = {A: 5}
    clock.now += 0.9
    await edge.script.turns()
    assert edge.loop.all("taken") == []  # it is looked at once a second
    clock.now += 0.1
    assert await edge.loop.hears("taken") == ({A: epoch}, [], {A: 5})
    edge.script.positions = {A: 6}
    clock.now += 0.9
    await edge.script.turns()
    assert len(edge.loop.all("taken")) == 1
    edge.script.positions = {A: 5}
    clock.now += 1.0
    await edge.script.turns()
    assert len(edge.loop.all("taken")) == 1


async def test_an_offset_at_or_below_the_last_one_begins_a_new_epoch_before_its_record_is_taken(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.script.positions = {A: 1}
    await edge.script.bring(message(8), message(9), message(0))
    await edge.loop.hears("taken", 2)
    words = [word for word in edge.loop.heard if word.what in ("taken", "restarted")]
    assert words == [
        ("taken", ({A: epoch}, [8, 9], {})),
        ("restarted", (epoch + 1, A, 0)),
        ("taken", ({A: epoch + 1}, [0], {A: 1})),
    ]
    edge.consumer.commit({A: (9, epoch)})
    edge.consumer.commit({A: (1, epoch + 1)})
    await edge.script.turns()
    assert edge.script.offsets() == [{A: 1}]


async def test_the_same_offset_twice_is_a_restart(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    await edge.script.bring(message(8), message(8))
    assert await edge.loop.hears("restarted") == (epoch + 1, A, 8)


async def test_the_record_at_a_position_that_was_told_is_the_next_one_and_no_restart(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.script.positions = {A: 10}
    clock.now += 1.0
    await edge.loop.hears("taken")
    edge.script.positions = {A: 11}
    await edge.script.bring(message(10))
    assert await edge.loop.hears("taken", 2) == ({A: epoch}, [10], {A: 11})
    assert edge.loop.all("restarted") == []


async def test_an_offset_below_a_position_that_was_told_without_records_is_a_restart_too(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.script.positions = {A: 10}
    clock.now += 1.0
    await edge.loop.hears("taken")
    edge.script.positions = {A: 4}
    await edge.script.bring(message(3))
    assert await edge.loop.hears("restarted") == (epoch + 1, A, 3)
    assert await edge.loop.hears("taken", 2) == ({A: epoch + 1}, [3], {A: 4})


async def test_a_record_whose_header_name_is_no_text_holds_its_partition(make: Make) -> None:
    class Odd:
        def __getattr__(self, name: str) -> Any:
            return getattr(message(6), name)

        def headers(self) -> Any:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    edge = make()
    await edge.begin(A)
    edge.script.positions = {A: 8}
    await edge.script.bring(message(5), Odd(), message(7))  # type: ignore[arg-type]  # the client makes no such message here
    code, reason = await edge.loop.hears("trouble")
    assert (code, reason) == ("HEADERS t[0]", "the name of a header of t[0]@6 is not UTF-8")
    await edge.loop.hears("taken")
    await edge.script.turns()
    assert [word[1:] for word in edge.loop.all("taken")] == [([5], {})]
    assert edge.loop.all("restarted") == []


# room


async def test_no_partition_is_read_before_it_is_granted_room(make: Make) -> None:
    edge = make()
    edge.consumer.start()
    await edge.script.subscribed.wait()
    await edge.script.assign(A)
    await edge.script.turns()
    assert [name for name, _ in edge.script.calls] == ["subscribe", "assign", "pause"]


async def test_the_credit_of_all_partitions_is_never_exceeded(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.consumer.grant(Credit(7, 1 << 30, {A: (1000, epoch)}))
    await edge.script.turns()
    edge.script.batch = [message(n) for n in range(1, 20)]
    await edge.script.inside(lambda: message(0))
    await edge.loop.hears("taken")
    assert edge.script.said("consume") == [6]
    assert len(edge.loop.records) == 7


@pytest.mark.parametrize(("records", "consumed"), [(1, []), (2, [1]), (3, [2])])
async def test_only_what_fits_is_taken_and_only_the_first_record_is_waited_for(
    make: Make, records: int, consumed: list[int]
) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.consumer.grant(Credit(records, 1 << 30, {A: (1000, epoch)}))
    await edge.script.turns()
    await edge.script.inside(lambda: message(0))
    await edge.loop.hears("taken")
    assert (edge.script.said("consume"), edge.script.consume_waits) == (consumed, 0.0)


async def test_the_credit_of_no_single_partition_is_ever_exceeded(make: Make) -> None:
    edge = make()
    await edge.begin(A, B, each=100)
    await edge.script.bring(*(message(n) for n in range(200)))
    await edge.loop.hears("taken")
    assert len(edge.loop.records) == 100
    assert edge.script.said("consume") == [99]


async def test_the_credit_of_bytes_bounds_what_is_taken_by_the_mean_size_of_records(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.consumer.grant(Credit(1000, 4096, {A: (1000, epoch)}))
    await edge.script.turns()
    await edge.script.bring(*(message(n) for n in range(20)))
    assert edge.script.said("consume") == [3]


async def test_a_partition_without_room_is_paused_alone_and_resumed_at_half(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A, B, each=80)
    await edge.script.bring(*(message(n) for n in range(70)))
    await edge.script.turns()
    assert edge.script.said("pause")[1:] == []  # ten of eighty are left: not below an eighth
    await edge.script.bring(message(70))
    await edge.script.turns()
    assert edge.script.said("pause")[1:] == [[Place(*A)]]
    edge.consumer.grant(plenty(epoch, A, each=110))
    await edge.script.turns()
    assert edge.script.said("resume")[1:] == []  # 39 of 80 are not half
    edge.consumer.grant(plenty(epoch, A, each=111))
    await edge.script.turns()
    assert edge.script.said("resume")[1:] == [[Place(*A)]]


async def test_an_assignment_is_paused_after_it_was_made_and_resumed_when_granted_whatever_flag_it_had(
    make: Make,
) -> None:
    edge = make()
    await edge.begin(A, each=2)
    await edge.script.bring(message(0), message(1))
    await edge.script.turns()
    await edge.script.revoke(A)
    edge.script.calls.clear()
    await edge.more(A)
    assert [(name, args) for name, args in edge.script.calls if name != "consume"] == [
        ("assign", [Place(*A)]),
        ("pause", [Place(*A)]),
        ("resume", [Place(*A)]),
    ]


async def test_a_grant_for_an_assignment_that_has_ended_is_dropped(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    await edge.script.revoke(A)
    await edge.script.assign(A)
    edge.script.calls.clear()
    edge.consumer.grant(plenty(epoch, A))
    await edge.script.turns()
    assert edge.script.said("resume") == []


async def test_without_global_room_the_thread_waits_two_seconds_before_it_pauses_everything(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.consumer.grant(Credit(10, 1 << 30, {A: (1000, epoch)}))
    await edge.script.turns()

    def ten() -> Any:
        edge.script.batch = [message(n) for n in range(1, 10)]
        return message(0)

    await edge.script.inside(ten)
    await edge.loop.hears("taken")
    await clock.looked_at(2)  # the turn that finds no room has passed
    assert edge.script.said("pause")[1:] == []
    clock.now += 2.0
    await edge.script.turns()  # polls again: everything is paused by now
    assert edge.script.said("pause")[1:] == [[Place(*A)]]
    edge.consumer.grant(Credit(20, 1 << 30, {}))
    await edge.script.turns()
    assert edge.script.said("resume")[1:] == []  # 10 of 9990 are less than an eighth, for two seconds
    clock.now += 2.0
    await edge.script.turns()
    assert edge.script.said("resume")[1:] == [[Place(*A)]]


# commits


async def test_commits_are_asynchronous_one_at_a_time_and_told_when_confirmed(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A, B)
    edge.consumer.commit({A: (5, epoch), B: (7, epoch)})
    await edge.script.turns()
    edge.consumer.commit({A: (6, epoch)})
    edge.consumer.commit({A: (8, epoch)})
    await edge.script.turns()
    assert edge.script.offsets() == [{A: 5, B: 7}]
    assert edge.loop.all("committed") == []
    await edge.script.answer()
    assert await edge.loop.hears("committed") == ({A: 5, B: 7}, "")
    await edge.script.turns()
    assert edge.script.offsets() == [{A: 5, B: 7}, {A: 8}]
    await edge.script.answer()


async def test_a_refused_commit_is_told_and_tried_again_unless_a_newer_one_waits(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A, B)
    edge.consumer.commit({A: (5, epoch), B: (7, epoch)})
    await edge.script.turns()
    edge.consumer.commit({A: (6, epoch)})
    await edge.script.answer(dict.fromkeys((A, B), KafkaError.REBALANCE_IN_PROGRESS))
    assert await edge.loop.hears("committed") == ({A: 5, B: 7}, "REBALANCE_IN_PROGRESS")
    await edge.script.turns()
    assert len(edge.script.commits) == 1
    clock.now += 0.1
    await edge.script.turns()
    assert edge.script.offsets()[1:] == [{B: 7, A: 6}]
    await edge.script.answer()
    assert await edge.loop.hears("committed", 2) == ({B: 7, A: 6}, "")


async def test_a_commit_refused_for_one_partition_is_confirmed_for_the_others(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A, B)
    edge.consumer.commit({A: (5, epoch), B: (7, epoch)})
    await edge.script.turns()
    await edge.script.answer({B: KafkaError.NOT_COORDINATOR})
    await edge.loop.hears("committed", 2)
    assert edge.loop.all("committed") == [({A: 5}, ""), ({B: 7}, "NOT_COORDINATOR")]
    await edge.script.turns(3)
    await edge.script.lose(A, B)


async def test_a_commit_that_the_client_will_not_even_send_is_tried_again(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.script.fail["commit"] = KafkaException(KafkaError(KafkaError._STATE))
    edge.consumer.commit({A: (5, epoch)})
    assert await edge.loop.hears("committed") == ({A: 5}, "_STATE")
    edge.script.fail.clear()
    clock.now += 0.1
    await edge.script.turns()
    assert edge.script.offsets() == [{A: 5}, {A: 5}]
    await edge.script.answer()


async def test_a_commit_of_an_epoch_that_has_ended_is_dropped(make: Make) -> None:
    edge = make()
    old = await edge.begin(A)
    await edge.script.revoke(A)
    new = await edge.more(A)
    edge.consumer.commit({A: (5, old)})
    await edge.script.turns()
    assert edge.script.commits == []
    edge.consumer.commit({A: (4, new)})
    await edge.script.turns()
    assert edge.script.offsets() == [{A: 4}]
    await edge.script.answer()


async def test_a_partition_that_is_not_ours_is_never_committed(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.consumer.commit({B: (5, epoch)})
    await edge.script.turns()

    def lost() -> None:
        edge.consumer.commit({A: (3, epoch)})
        edge.script.on_lost(edge.script, [Place(*A)])

    await edge.script.inside(lost)
    await edge.script.turns()
    assert edge.script.said("commit") == edge.script.said("commit now") == []


async def test_a_commit_carries_the_leader_epoch_of_the_record_before_it(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    await edge.script.bring(message(4, leader_epoch=2), message(5, leader_epoch=2), message(6, leader_epoch=3))
    for offset, leader in ((4, None), (5, 2), (6, 2), (7, 3)):
        edge.consumer.commit({A: (offset, epoch)})
        await edge.script.turns()
        assert (edge.script.commits[-1][0].offset, edge.script.commits[-1][0].leader_epoch) == (offset, leader)
        await edge.script.answer()


async def test_when_nothing_is_confirmed_for_a_minute_intake_stops_until_something_is(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.consumer.commit({A: (5, epoch)})
    await edge.script.turns()
    clock.now += 59.0
    await edge.script.turns()
    assert (edge.consumer.stalled, edge.script.said("pause")[1:]) == (False, [])
    clock.now += 1.0
    await edge.script.turns()
    assert (edge.consumer.stalled, edge.script.said("pause")[1:]) == (True, [[Place(*A)]])
    assert (await edge.loop.hears("trouble"))[0] == "COMMIT_STALLED"
    await edge.script.answer()
    await edge.script.turns()
    assert (edge.consumer.stalled, edge.script.said("resume")[1:]) == (False, [[Place(*A)]])
    assert await edge.loop.hears("recovered") == ("COMMIT_STALLED",)


async def test_nothing_to_commit_is_no_stall(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    await edge.begin(A)
    clock.now += 3600.0
    await edge.script.turns()
    assert not edge.consumer.stalled


# rebalances


async def test_a_revoke_drains_through_the_loop_and_commits_exactly_that_before_it_returns(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A, B)
    edge.consumer.commit({A: (3, epoch), B: (3, epoch)})
    await edge.script.turns()
    edge.loop.drained = lambda tps, done: done.set_result({A: 9})
    seen = []

    def revoke() -> None:
        edge.script.on_revoke(edge.script, [Place(*A)])
        seen.extend(edge.script.offsets("commit now"))

    await edge.script.inside(revoke)
    assert seen == [{A: 9}]
    assert edge.loop.all("drain")[0][0] == (A,)
    assert await edge.loop.hears("committed") == ({A: 9}, "")
    await edge.script.answer()  # the one that was under way counts for what is still ours
    assert await edge.loop.hears("committed", 2) == ({B: 3}, "")


async def test_a_revoke_commits_nothing_that_the_drain_did_not_name_nor_a_partition_that_stays(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)
    edge.loop.drained = lambda tps, done: done.set_result({B: 4})
    await edge.script.revoke(A)
    assert edge.script.said("commit now") == []


async def test_a_revoke_does_not_commit_again_what_is_confirmed(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.consumer.commit({A: (9, epoch)})
    await edge.script.turns()
    await edge.script.answer()
    edge.loop.drained = lambda tps, done: done.set_result({A: 9})
    await edge.script.revoke(A)
    assert edge.script.said("commit now") == []


@pytest.mark.parametrize("code", ["REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "STALE_MEMBER_EPOCH", "_TRANSPORT"])
async def test_a_commit_refused_inside_a_revoke_is_tried_again_there(make: Make, code: str) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.refuse = [KafkaException(KafkaError(getattr(KafkaError, code))), None]
    edge.loop.drained = lambda tps, done: done.set_result({A: 9})
    await edge.script.revoke(A)
    assert edge.script.offsets("commit now") == [{A: 9}, {A: 9}]
    assert edge.script.pauses == [0.1]
    assert await edge.loop.hears("committed") == ({A: 9}, "")


async def test_a_commit_inside_a_revoke_is_given_up_when_we_are_no_member(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.refuse = [KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))]
    edge.loop.drained = lambda tps, done: done.set_result({A: 9})
    await edge.script.revoke(A)
    assert len(edge.script.said("commit now")) == 1
    assert await edge.loop.hears("committed") == ({A: 9}, "UNKNOWN_MEMBER_ID")


async def test_a_commit_inside_a_revoke_is_given_up_at_the_deadline(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    await edge.begin(A)
    tries = [KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS)) for _ in range(100)]
    edge.script.refuse = list(tries)

    def drained(tps: Any, done: Drained) -> None:
        clock.now += 5.9  # of the five seconds to drain and the one of grace
        done.set_result({A: 9})

    edge.loop.drained = drained
    await edge.script.revoke(A)
    assert len(edge.script.said("commit now")) == 1
    assert await edge.loop.hears("committed") == ({A: 9}, "REBALANCE_IN_PROGRESS")


async def test_a_drain_that_is_not_answered_in_time_commits_nothing(make: Make) -> None:
    edge = make(drain="10ms")
    await edge.begin(A)
    kept: list[Drained] = []
    edge.loop.drained = lambda tps, done: kept.append(done)
    await edge.script.revoke(A)
    kept[0].set_result({A: 9})
    await edge.script.turns()
    assert edge.script.said("commit") == edge.script.said("commit now") == []


async def test_a_drain_that_is_answered_within_the_grace_is_committed(make: Make) -> None:
    edge = make(drain="10ms")
    await edge.begin(A)

    def drained(tps: Any, done: Drained) -> None:
        asyncio.get_running_loop().call_later(0.05, done.set_result, {A: 9})

    edge.loop.drained = drained
    await edge.script.revoke(A)
    assert edge.script.offsets("commit now") == [{A: 9}]


async def test_inside_a_revoke_the_probe_is_told_until_when_it_may_last(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    await edge.begin(A)
    until: list[float | None] = []

    def drained(tps: Any, done: Drained) -> None:
        until.append(edge.consumer.callback_until)
        done.set_result({})

    edge.loop.drained = drained
    await edge.script.revoke(A)
    assert (until, edge.loop.all("drain")[0][1]) == ([1006.0], 1005.0)
    assert edge.consumer.callback_until is None


async def test_lost_partitions_are_told_and_nothing_of_them_is_committed(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A, B)
    await edge.script.lose(A)
    assert await edge.loop.hears("lost") == ((A,),)
    edge.consumer.commit({A: (5, epoch)})
    await edge.script.turns()
    assert (edge.script.said("commit"), edge.script.said("commit now"), edge.loop.all("drain")) == ([], [], [])


async def test_after_the_poll_interval_was_exceeded_everything_is_lost_at_once(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)
    await edge.script.bring(message(1), wrong(KafkaError._MAX_POLL_EXCEEDED), message(2))
    assert await edge.loop.hears("lost") == ((A, B),)
    await edge.script.revoke(A, B)
    assert (edge.loop.all("taken"), edge.loop.all("drain"), edge.script.said("commit now")) == ([], [], [])


async def test_a_member_without_partitions_is_told_as_joined(make: Make) -> None:
    edge = make()
    edge.consumer.start()
    await edge.script.subscribed.wait()
    await edge.script.assign()
    assert await edge.loop.hears("assigned") == (1, ())


async def test_with_kip_848_the_statistics_tell_that_a_member_without_partitions_has_joined(make: Make) -> None:
    edge = make(group_protocol="consumer")
    edge.consumer.start()
    await edge.script.subscribed.wait()
    await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics()))
    assert edge.loop.all("assigned") == []
    for _ in range(2):
        await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics(group="up")))
    await edge.script.turns()
    assert edge.loop.all("assigned") == [(0, ())]


async def test_statistics_tell_nothing_new_of_a_member_that_was_assigned_partitions(make: Make) -> None:
    edge = make(group_protocol="consumer")
    epoch = await edge.begin(A)
    await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics(group="up")))
    await edge.script.turns()
    assert edge.loop.all("assigned") == [(epoch, (A,))]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wrong(KafkaError.GROUP_AUTHORIZATION_FAILED, "denied"), "GROUP_AUTHORIZATION_FAILED g"),
        (wrong(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied", topic="t"), "TOPIC_AUTHORIZATION_FAILED t"),
    ],
    ids=["group", "topic"],
)
async def test_an_assignment_ends_the_troubles_of_its_group_and_topics(make: Make, error: Any, code: str) -> None:
    edge = make()
    await edge.begin()
    await edge.script.bring(error)
    assert await edge.loop.hears("trouble") == (code, "denied")
    await edge.script.assign(A)
    assert await edge.loop.hears("recovered") == (code,)


# stopping


async def test_stop_taking_pauses_everything_and_what_is_assigned_later(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.consumer.stop_taking()
    await edge.script.turns()
    assert edge.script.said("pause")[1:] == [[Place(*A)]]
    await edge.more(B)
    assert edge.script.said("resume") == [[Place(*A)]]


async def test_it_polls_until_the_last_commit_is_confirmed_and_only_then_leaves(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    epoch = await edge.begin(A)
    edge.consumer.stop_taking()
    edge.consumer.commit({A: (5, epoch)})
    edge.consumer.close()
    await edge.script.turns(3)
    assert edge.script.said("close") == []
    await edge.script.answer({A: KafkaError.REBALANCE_IN_PROGRESS})
    clock.now += 0.1
    await edge.script.turns()
    assert (edge.script.offsets(), edge.script.said("close")) == ([{A: 5}, {A: 5}], [])
    await edge.script.answer()
    async with asyncio.timeout(DEADLINE):
        await edge.consumer.finished
    assert edge.script.calls[-2:] == [("unsubscribe", []), ("close", [])]
    assert await edge.loop.hears("committed", 2) == ({A: 5}, "")


async def test_the_revoke_inside_close_asks_nobody_and_commits_nothing(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    close = edge.script.close
    edge.script.close = lambda: (edge.script.on_revoke(edge.script, [Place(*A)]), close())[1]  # type: ignore[method-assign]  # the client does so
    edge.consumer.close()
    async with asyncio.timeout(DEADLINE):
        await edge.consumer.finished
    assert (edge.loop.all("drain"), edge.script.said("commit now")) == ([], [])


# faults


FAULTS: dict[str, Callable[[Edge], None]] = {
    "statistics": lambda edge: edge.script.config["stats_cb"]("{"),
    "error": lambda edge: edge.script.config["error_cb"](None),
    "commit": lambda edge: edge.script.config["on_commit"](None, None),
    "assign": lambda edge: edge.script.on_assign(edge.script, None),
    "revoke": lambda edge: edge.script.on_revoke(edge.script, None),
    "lost": lambda edge: edge.script.on_lost(edge.script, None),
}


@pytest.mark.parametrize("callback", FAULTS)
async def test_an_exception_in_any_callback_of_ours_is_fatal_and_nothing_more_is_committed(
    make: Make, callback: str
) -> None:
    edge = make()
    epoch = await edge.begin(A)

    def step() -> Any:
        edge.consumer.commit({A: (6, epoch)})
        FAULTS[callback](edge)  # it does not raise into the client, which would drop what it had popped
        return message(1)

    await edge.script.inside(step)
    error = await failure(edge)
    assert error.code == "EDGE"
    assert error.__cause__ is not None
    assert edge.loop.all("taken") == []
    assert edge.script.said("commit") == edge.script.said("commit now") == edge.script.said("close") == []


async def test_an_exception_in_what_the_loop_hears_is_fatal_and_nothing_more_is_committed(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.loop.fail_on = {"taken"}
    await edge.script.inside(lambda: message(1))  # no turn can be waited for: this may be the last one
    error = await failure(edge)
    assert str(error) == "EDGE: ValueError: the loop's side broke on taken"
    edge.consumer.commit({A: (2, epoch)})
    edge.consumer.close()
    assert (edge.script.said("commit"), edge.script.said("close")) == ([], [])


async def test_an_exception_out_of_a_poll_is_fatal_and_the_group_is_not_left(make: Make) -> None:
    edge = make()
    await edge.begin(A)

    def step() -> Any:
        raise KafkaException(KafkaError(KafkaError._FAIL, "broken"))

    await edge.script.inside(step)
    error = await failure(edge)
    assert str(error) == "_FAIL: broken"
    assert isinstance(error.__cause__, KafkaException)
    assert edge.script.said("close") == []


class Rotten:
    """A client of which every call fails."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


async def test_a_topic_whose_id_changes_while_it_is_read_is_begun_again_in_a_new_epoch(make: Make) -> None:
    now = [0.0]
    edge = make(clock=lambda: now[0])
    edge.script.ids["t"] = "here/first"
    epoch = await edge.begin(A, B)
    await edge.script.bring(message(20), message(21))
    edge.script.ids["t"] = "here/second"
    edge.script.ends = {A: (3, 40), B: (0, 0)}
    await edge.script.turns()
    assert edge.loop.all("restarted") == []  # it is not looked at in each turn
    now[0] += 60.0
    await edge.script.turns()
    assert {(tp, offset) for _, tp, offset in edge.loop.all("restarted")} == {(A, 0), (B, 0)}
    assert {(at.partition, at.offset) for places in edge.script.said("assign")[1:] for at in places} == {(0, 3), (1, 0)}
    edge.consumer.commit({A: (22, epoch)})
    await edge.script.turns()
    assert edge.script.commits == []
    now[0] += 60.0
    await edge.script.turns()
    assert len(edge.loop.all("restarted")) == 2


async def test_what_comes_of_a_topic_made_anew_before_its_beginning_is_known_is_not_handed_over(make: Make) -> None:
    now = [0.0]
    edge = make(clock=lambda: now[0])
    edge.script.ids["t"] = "here/first"
    await edge.begin(A)
    edge.script.ids["t"] = "here/second"
    edge.script.positions[A] = 31
    edge.script.fail["earliest"] = KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker"))
    now[0] += 60.0
    await edge.script.turns()
    await edge.script.bring(message(30))
    now[0] += 1.0
    await edge.script.turns()
    assert edge.loop.all("taken") == []


async def test_where_a_reset_is_an_error_a_topic_made_anew_holds_its_partitions(make: Make) -> None:
    now = [0.0]
    edge = make(clock=lambda: now[0], auto_offset_reset="error")
    edge.script.ids["t"] = "here/first"
    await edge.begin(A)
    edge.script.ids["t"] = "here/second"
    now[0] += 60.0
    code, reason = await edge.loop.hears("trouble")
    assert code == "TOPIC_MADE_ANEW t[0]"
    assert "auto_offset_reset" in reason
    await edge.script.bring(message(20))
    assert edge.loop.all("taken") == edge.loop.all("restarted") == []


async def test_an_offset_is_committed_with_the_id_of_its_topic_where_that_is_known(make: Make) -> None:
    edge = make("t", "u")
    edge.script.ids["t"] = "here/first"
    other = tp(0, "u")
    epoch = await edge.begin(A, other)
    edge.consumer.commit({A: (5, epoch), other: (6, epoch)})
    await edge.script.turns()
    assert {(at.topic, at.metadata) for at in edge.script.commits[0]} == {("t", "topic=here/first"), ("u", None)}
    edge.loop.drained = lambda tps, done: done.set_result({A: 7})
    await edge.script.answer()
    await edge.script.revoke(A)
    assert [(at.offset, at.metadata) for at in edge.script.said("commit now")[0]] == [(7, "topic=here/first")]


@pytest.mark.parametrize(
    ("mark", "again"),
    [
        ("topic=here/first", True),
        ("topic=here/second", False),
        ("topic=there/first", False),  # a mirror brought it along
        ("", False),
        ("written by another tool", False),
    ],
)
async def test_an_offset_that_was_committed_of_another_topic_of_the_name_is_not_where_it_begins(
    make: Make, mark: str, again: bool
) -> None:
    edge = make()
    edge.script.ids["t"] = "here/second"
    edge.script.stored[A], edge.script.marks[A] = 20, mark
    edge.script.ends[A] = (3, 40)
    await edge.begin(A)
    assert [at.offset for places in edge.script.said("assign") for at in places] == [-1001, *([3] if again else [])]


async def test_an_assignment_waits_to_hear_what_its_topics_are_only_where_an_offset_says_what_they_were(
    make: Make,
) -> None:
    clock = Clock()
    edge = make(clock=clock)
    edge.script.stored, edge.script.marks = {A: 20, B: -1001}, {A: "", B: "topic=here/first"}
    until: list[float | None] = []
    edge.script.during_committed = lambda: until.append(edge.consumer.callback_until)
    await edge.begin(A, B)
    assert edge.script.waited == []
    assert until == [1011.0]  # two questions of five seconds at most, and one more
    edge.script.marks = {A: "topic=here/first"}
    await edge.script.revoke(A)
    await edge.more(A)
    assert edge.script.waited == [5.0]


@pytest.mark.parametrize("offset", [0, 20])
async def test_where_a_reset_is_an_error_an_offset_of_another_topic_of_the_name_holds(make: Make, offset: int) -> None:
    edge = make(auto_offset_reset="error")
    edge.script.ids["t"] = "here/second"
    edge.script.stored[A], edge.script.marks[A] = offset, "topic=here/first"
    await edge.begin(A)
    assert (await edge.loop.hears("trouble"))[0] == "TOPIC_MADE_ANEW t[0]"
    assert len(edge.script.said("assign")) == 1


async def test_a_topic_that_comes_back_after_it_was_somebody_elses_has_not_changed(make: Make) -> None:
    now = [0.0]
    edge = make(clock=lambda: now[0])
    edge.script.ids["t"] = "here/first"
    await edge.begin(A)
    await edge.script.revoke(A)
    edge.script.ids["t"] = "here/second"
    await edge.more(A)
    now[0] += 60.0
    await edge.script.turns()
    assert edge.loop.all("restarted") == []


async def test_a_client_that_was_not_closed_is_never_destroyed() -> None:
    """Its destructor closes it, and after a fault that may never return: the process would hang instead of ending."""
    made: list[weakref.ref[Rotten]] = []

    def client(properties: dict[str, Any]) -> Client:
        one = Rotten()
        made.append(weakref.ref(one))
        return cast(Client, one)

    consumer = Consumer(
        config(),
        partitions=Loop(),
        loop=asyncio.get_running_loop(),
        client=client,
        ids=lambda _: TopicIds(lambda _: {}),
    )
    thread = weakref.ref(consumer)
    consumer.start()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait({consumer.finished})
    consumer.finished.exception()
    del consumer
    while thread() is not None:
        gc.collect()
    assert made[0]() is not None


@pytest.mark.parametrize("way", ["message", "error_cb"])
async def test_a_fatal_error_of_the_client_ends_the_edge_with_its_name(make: Make, way: str) -> None:
    edge = make()
    await edge.begin(A)
    error = KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", True)
    if way == "message":
        await edge.script.inside(lambda: wrong(KafkaError.FENCED_INSTANCE_ID, "fenced", True))
    else:
        await edge.script.inside(lambda: edge.script.config["error_cb"](error))
    assert str(await failure(edge)) == "FENCED_INSTANCE_ID: fenced"


async def test_a_client_that_cannot_be_made_says_which_property_is_wrong(make: Make) -> None:
    edge = make()
    edge.script.fail["make"] = KafkaException(KafkaError(KafkaError._INVALID_ARG, "No such configuration property"))
    edge.consumer.start()
    assert str(await failure(edge)) == "_INVALID_ARG: No such configuration property"


async def test_a_commit_that_is_refused_for_good_ends_the_edge(make: Make) -> None:
    edge = make()
    epoch = await edge.begin(A)
    edge.script.fail["commit"] = KafkaException(KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", True))
    edge.consumer.commit({A: (5, epoch)})
    assert str(await failure(edge)) == "FENCED_INSTANCE_ID: fenced"
    assert edge.loop.all("committed") == []


# partitions without a usable offset


async def test_a_partition_without_an_offset_begins_at_its_earliest_record(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (40, 90)
    edge.script.calls.clear()
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0))
    await edge.script.turns()
    assert [(n, a[0].offset) for n, a in edge.script.calls if n in ("unassign", "assign", "pause", "resume")] == [
        ("unassign", -1001),
        ("assign", 40),
        ("pause", -1001),
        ("resume", -1001),
    ]
    assert (edge.loop.all("gone"), edge.loop.all("trouble")) == ([], [])


async def test_an_offset_that_retention_took_is_said_and_counted_with_the_records_skipped(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (40, 90)
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0, offset=5))
    code, reason = await edge.loop.hears("trouble")
    assert code == "OFFSET_GONE t[0]"
    assert reason == "t[0] has no offset 5 any more: 35 records are gone; going on at 40"
    assert edge.loop.all("gone") == [(A, 35)]
    assert await edge.loop.hears("recovered") == ("OFFSET_GONE t[0]",)
    assert edge.script.said("assign")[-1][0].offset == 40


@pytest.mark.parametrize("offset", [500, 0])
async def test_an_offset_beyond_the_end_or_that_was_cut_off_begins_again_at_the_earliest_record(
    make: Make, offset: int
) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (0, 10)
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0, offset=offset))
    assert "recreated or truncated" in (await edge.loop.hears("trouble"))[1]
    assert edge.loop.all("gone") == [(A, 0)]


async def test_a_partition_whose_earliest_record_cannot_be_asked_for_is_said_once_and_asked_again(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (40, 90)
    edge.script.fail["earliest"] = KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker"))
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0))
    assert await edge.loop.hears("trouble") == ("RESET t[0]", "no broker")
    await edge.script.turns()
    assert len(edge.script.said("assign")) == 1
    edge.script.fail.clear()
    assert await edge.loop.hears("recovered") == ("RESET t[0]",)
    assert edge.script.said("assign")[-1][0].offset == 40
    assert len(edge.loop.all("trouble")) == 1


async def test_a_partition_that_goes_before_its_reset_is_not_assigned_by_us(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (40, 90)
    edge.script.fail["earliest"] = KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker"))
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0))
    await edge.script.lose(A)
    edge.script.fail.clear()
    await edge.script.turns()
    assert len(edge.script.said("assign")) == 1


async def test_however_many_partitions_begin_their_earliest_records_are_asked_for_at_once(make: Make) -> None:
    """Each question waits behind a fetch that is under way: one by one, a thousand partitions took minutes."""
    edge = make()
    many = [tp(partition) for partition in range(300)]
    await edge.begin(*many)
    edge.script.ends |= {at: (at.partition, 500) for at in many}
    edge.script.calls.clear()
    await edge.script.bring(*(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=p) for p in range(300)))
    await edge.script.turns()
    assert [len(places) for places in edge.script.said("earliest")] == [300]
    (assigned,) = edge.script.said("assign")
    assert [(at.partition, at.offset) for at in assigned] == [(p, p) for p in range(300)]


async def test_a_partition_without_a_leader_keeps_no_other_from_its_earliest_record(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)
    edge.script.ends[B] = (40, 90)
    edge.script.ends.pop(A, None)
    await edge.script.bring(*(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=p) for p in (0, 1)))
    assert await edge.loop.hears("trouble") == ("RESET t[0]", "no leader")
    assert [(at.partition, at.offset) for at in edge.script.said("assign")[-1]] == [(1, 40)]
    edge.script.ends[A] = (7, 90)
    assert await edge.loop.hears("recovered") == ("RESET t[0]",)
    assert [(at.partition, at.offset) for at in edge.script.said("assign")[-1]] == [(0, 7)]


async def test_a_beginning_that_is_no_offset_is_not_where_a_partition_is_begun(make: Make) -> None:
    """-1, which says of a time that no record is so late, stands for the end: assigned, all that waits were skipped."""
    edge = make()
    await edge.begin(A)
    edge.script.ends[A] = (OFFSET_END, 90)
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=0))
    code, reason = await edge.loop.hears("trouble")
    assert (code, "no offset" in reason) == ("RESET t[0]", True)
    assert [at.offset for places in edge.script.said("assign") for at in places if at.offset == OFFSET_END] == []
    edge.script.ends[A] = (7, 90)
    assert await edge.loop.hears("recovered") == ("RESET t[0]",)
    assert [(at.partition, at.offset) for at in edge.script.said("assign")[-1]] == [(0, 7)]


async def test_where_one_question_for_many_fails_fewer_are_asked_for_together_and_each_has_its_turn(make: Make) -> None:
    edge = make()
    eight = [tp(partition) for partition in range(8)]
    await edge.begin(*eight)
    edge.script.ends |= dict.fromkeys(eight, (0, 0))
    edge.script.fail["earliest"] = KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))
    await edge.script.bring(*(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=p) for p in range(8)))
    while len(edge.script.said("earliest")) < 12:
        await edge.script.turns()
    asked = [[at.partition for at in places] for places in edge.script.said("earliest")]
    assert list(map(len, asked[:5])) == [8, 4, 2, 1, 1]
    assert {partition for places in asked[1:] for partition in places} == set(range(8))
    edge.script.fail.clear()
    await edge.loop.hears("recovered", 8)
    assert list(map(len, edge.script.said("earliest")[-4:])) == [1, 2, 4, 1]  # and more again, once it is answered


async def test_an_error_of_a_partition_that_is_not_ours_stops_nothing(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    await edge.script.bring(wrong(KafkaError._BAD_MSG, "crc", topic="t", partition=1, offset=6), message(8))
    await edge.loop.hears("taken")
    assert (edge.loop.all("trouble"), [record.offset for record in edge.loop.records]) == ([], [8])


async def test_with_error_a_partition_without_an_offset_is_held_and_named(make: Make) -> None:
    edge = make(auto_offset_reset="error")
    await edge.begin(A, B)
    edge.script.positions = {A: 9, B: 4}
    await edge.script.bring(
        wrong(KafkaError._AUTO_OFFSET_RESET, "gone", topic="t", partition=0, offset=5), message(8, 0), message(3, 1)
    )
    code, reason = await edge.loop.hears("trouble")
    assert code == "_AUTO_OFFSET_RESET t[0]"
    assert reason.startswith("t[0] has no offset to go on from at offset 5: gone; ")
    await edge.loop.hears("taken")
    assert edge.loop.all("taken")[0][1:] == ([3], {B: 4})
    await edge.script.turns()
    assert edge.script.said("pause")[1:] == [[Place(*A)]]
    await edge.script.revoke(A)
    assert await edge.loop.hears("recovered") == ("_AUTO_OFFSET_RESET t[0]",)


async def test_with_error_a_partition_that_never_had_an_offset_is_held_and_no_offset_is_named(make: Make) -> None:
    edge = make(auto_offset_reset="error")
    await edge.begin(A)
    nowhere = SimpleNamespace(
        error=lambda: KafkaError(KafkaError._AUTO_OFFSET_RESET, "none"),
        topic=lambda: "t",
        partition=lambda: 0,
        offset=lambda: None,
    )
    await edge.script.bring(message(1), cast(Any, nowhere))
    assert (await edge.loop.hears("trouble"))[1].startswith("t[0] has no offset to go on from: none; ")


async def test_what_the_client_cannot_read_holds_the_partition_before_it(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    edge.script.positions = {A: 9}
    await edge.script.bring(message(5), wrong(KafkaError._BAD_MSG, "crc", topic="t", partition=0, offset=6), message(8))
    assert await edge.loop.hears("trouble") == ("_BAD_MSG t[0]", "t[0] cannot be read at offset 6: crc")
    await edge.loop.hears("taken")
    assert edge.loop.all("taken")[0][1:] == ([5], {})


async def test_latest_begins_at_the_end_on_the_first_start_of_the_group_and_commits_every_start(make: Make) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=2)
    edge.script.ends = {A: (0, 50), B: (0, 60)}
    await edge.begin(A)
    assert edge.script.said("assign") == [[Place(*A, 50)]]
    assert edge.script.offsets("commit now") == [{A: 50, B: 60}]


async def test_the_first_start_leaves_what_another_member_has_committed_meanwhile(make: Make) -> None:
    clock = Clock()
    edge = make(auto_offset_reset="latest", clock=clock)
    edge.script.cluster = cluster(t=2)
    edge.script.ends = {A: (0, 50), B: (0, 60)}
    until: list[float | None] = []

    def other_member() -> None:
        until.append(edge.consumer.callback_until)
        edge.script.stored = {B: 0}

    edge.script.during_committed = other_member
    await edge.begin(A)
    assert edge.script.offsets("commit now") == [{A: 50, B: 0}]
    assert until == [1020.0, 1020.0]  # four questions of five seconds at most


async def test_a_first_start_tries_again_to_commit_its_positions(make: Make) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=1)
    edge.script.ends = {A: (0, 50)}
    edge.script.refuse = [KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS)), None]
    await edge.begin(A)
    assert edge.script.offsets("commit now") == [{A: 50}, {A: 50}]


@pytest.mark.parametrize("stored", [0, 3])
async def test_latest_is_not_asked_again_of_a_group_that_has_an_offset_anywhere(make: Make, stored: int) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=2)
    edge.script.ends = {A: (0, 50), B: (0, 60)}
    edge.script.stored = {B: stored}
    await edge.begin(A)
    assert [(at.offset) for at in edge.script.said("assign")[0]] == [-1001]
    assert edge.script.said("commit now") == []


async def test_a_partition_that_appears_later_begins_at_its_earliest_record_although_latest_is_set(make: Make) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=1)
    edge.script.ends = {A: (0, 50), B: (0, 60)}
    await edge.begin(A)
    await edge.more(B)
    assert [(at.partition, at.offset) for places in edge.script.said("assign") for at in places] == [
        (0, 50),
        (1, -1001),
    ]
    await edge.script.bring(wrong(KafkaError._AUTO_OFFSET_RESET, topic="t", partition=1))
    await edge.script.turns()
    assert edge.script.said("assign")[-1][0].offset == 0


async def test_a_first_start_whose_positions_cannot_be_committed_does_not_begin(make: Make) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=1)
    edge.script.ends = {A: (0, 50)}
    edge.script.refuse = [KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))]
    edge.consumer.start()
    await edge.script.subscribed.wait()
    await edge.script.assign(A)
    assert (await failure(edge)).code == "FIRST_START"


# topics


async def test_patterns_are_resolved_here_by_full_match_and_names_are_subscribed(make: Make) -> None:
    edge = make(r"^shop\.\w+", "other")
    edge.script.cluster = cluster(shop_orders=1, shop_orders_old=1, xshop_orders=1)
    await edge.begin()
    assert edge.script.said("subscribe") == [["other", "shop.orders"]]


async def test_a_topic_that_appears_later_is_subscribed_at_the_next_look(make: Make) -> None:
    clock = Clock()
    edge = make(r"^shop\..*", clock=clock)
    edge.script.cluster = cluster(shop_a=1)
    await edge.begin()
    edge.script.cluster = cluster(shop_a=1, shop_b=1)
    clock.now += 59.0
    await edge.script.turns()
    assert len(edge.script.said("subscribe")) == 1
    clock.now += 1.0
    await edge.script.turns()
    assert edge.script.said("subscribe")[1:] == [["shop.a", "shop.b"]]
    clock.now += 60.0
    await edge.script.turns()
    assert len(edge.script.said("subscribe")) == 2


async def test_a_reload_reads_other_topics_at_once(make: Make) -> None:
    edge = make("shop.a")
    await edge.begin()
    edge.consumer.read(["shop.b", "shop.a"])
    await edge.script.turns(4)  # the thread may be on its way to a poll when it is told
    assert edge.script.said("subscribe") == [["shop.a"], ["shop.a", "shop.b"]]
    edge.consumer.read(["shop.b"])
    await edge.script.turns()
    assert edge.script.said("subscribe")[2:] == [["shop.b"]]


async def test_a_reload_that_leaves_nothing_to_read_unsubscribes_and_what_comes_later_is_no_first_start(
    make: Make,
) -> None:
    edge = make(auto_offset_reset="latest")
    edge.script.cluster = cluster(t=1, other=1)
    edge.script.ends = {A: (0, 50)}
    await edge.begin(A)
    edge.consumer.read(["^none"])
    assert await edge.loop.hears("trouble") == ("NO_TOPICS", "no topic of the cluster matches ^none")
    await edge.script.turns()
    assert edge.script.said("unsubscribe") == [[]]
    edge.consumer.read(["t", "other"])
    assert await edge.loop.hears("recovered") == ("NO_TOPICS",)
    await edge.script.turns()
    assert edge.script.said("subscribe")[1:] == [["other", "t"]]
    await edge.more(A)
    assert edge.script.said("assign")[-1][0].offset == -1001


async def test_what_one_reload_took_away_and_the_next_one_gives_back_is_subscribed_again(make: Make) -> None:
    edge = make()
    edge.script.cluster = cluster(t=1)
    await edge.begin(A)
    edge.consumer.read(["^none"])
    await edge.loop.hears("trouble")
    await edge.script.turns()
    edge.consumer.read(["t"])
    await edge.loop.hears("recovered")
    await edge.script.turns()
    assert edge.script.said("subscribe") == [["t"], ["t"]]


async def test_topics_that_are_gone_from_the_cluster_stay_subscribed(make: Make) -> None:
    clock = Clock()
    edge = make(r"^shop\..*", clock=clock)
    edge.script.cluster = cluster(shop_a=1)
    await edge.begin()
    edge.script.cluster = cluster()
    clock.now += 60.0
    assert await edge.loop.hears("trouble") == ("NO_TOPICS", r"no topic of the cluster matches ^shop\..*")
    await edge.script.turns()
    assert edge.script.said("unsubscribe") == []


async def test_after_stop_taking_no_new_topics_are_looked_for(make: Make) -> None:
    clock = Clock()
    edge = make(r"^shop\..*", clock=clock)
    edge.script.cluster = cluster(shop_a=1)
    await edge.begin()
    edge.consumer.stop_taking()
    await edge.script.turns()
    clock.now += 60.0
    await edge.script.turns()
    assert len(edge.script.said("list_topics")) == 1


async def test_patterns_that_no_topic_matches_are_said_once_until_one_does(make: Make) -> None:
    clock = Clock()
    edge = make(r"^shop\..*", clock=clock)
    edge.script.cluster = cluster(other=1)
    edge.consumer.start()
    assert await edge.loop.hears("trouble") == ("NO_TOPICS", r"no topic of the cluster matches ^shop\..*")
    edge.script.cluster = cluster(shop_a=1)
    clock.now += 60.0
    assert await edge.loop.hears("recovered") == ("NO_TOPICS",)
    await edge.script.turns(1)
    assert edge.script.said("subscribe") == [["shop.a"]]


async def test_names_alone_are_subscribed_without_asking_the_cluster(make: Make) -> None:
    edge = make("a", "b")
    await edge.begin()
    assert [name for name, _ in edge.script.calls][:1] == ["subscribe"]


async def test_a_cluster_that_cannot_be_asked_is_said_once_and_asked_again_with_growing_pauses(make: Make) -> None:
    clock = Clock()
    edge = make(r"^shop\..*", clock=clock)
    edge.script.cluster = KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker"))
    edge.consumer.start()
    assert await edge.loop.hears("trouble") == ("METADATA", "cannot list the cluster's topics: no broker")
    for asked, wait in ((1, 0.9), (2, 0.1), (2, 1.9), (3, 0.1)):
        clock.now += wait
        await edge.script.turns()
        assert len(edge.script.said("list_topics")) == asked
    edge.script.cluster = cluster(shop_a=1)
    clock.now += 4.0
    assert await edge.loop.hears("recovered") == ("METADATA",)
    assert len(edge.loop.all("trouble")) == 1


async def test_a_missing_topic_is_said_once_and_taken_back_when_it_appears(make: Make) -> None:
    clock = Clock()
    edge = make(clock=clock)
    await edge.begin()
    for _ in range(2):
        await edge.script.bring(wrong(KafkaError.UNKNOWN_TOPIC_OR_PART, "not there", topic="t", partition=-1))
    assert await edge.loop.hears("trouble") == ("UNKNOWN_TOPIC_OR_PART t", "not there")
    edge.script.cluster = cluster(t=1)
    clock.now += 60.0
    assert await edge.loop.hears("recovered") == ("UNKNOWN_TOPIC_OR_PART t",)
    assert len(edge.loop.all("trouble")) == 1


# what the client says of itself


async def test_unreachable_brokers_are_said_once_with_the_reason_and_taken_back_when_one_is_up(make: Make) -> None:
    edge = make()
    await edge.begin()

    def broken() -> None:
        edge.script.config["error_cb"](KafkaError(KafkaError._TRANSPORT, "Connection refused"))
        edge.script.config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))

    await edge.script.inside(broken)
    await edge.script.inside(broken)
    await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics(up=False)))
    await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics()))
    assert await edge.loop.hears("recovered") == ("_ALL_BROKERS_DOWN",)
    assert edge.loop.all("trouble") == [("_ALL_BROKERS_DOWN", "1/1 brokers are down (Connection refused)")]


async def test_one_connection_that_breaks_is_no_trouble(make: Make) -> None:
    edge = make()
    await edge.begin()
    await edge.script.inside(
        lambda: edge.script.config["error_cb"](KafkaError(KafkaError._TRANSPORT, "Disconnected while idle"))
    )
    await edge.script.turns()
    assert edge.loop.all("trouble") == []


async def test_a_topic_that_is_not_ours_to_read_is_taken_back_when_its_records_come(make: Make) -> None:
    edge = make()
    await edge.begin(A)
    await edge.script.bring(wrong(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied", topic="t", partition=0))
    assert await edge.loop.hears("trouble") == ("TOPIC_AUTHORIZATION_FAILED t", "denied")
    await edge.script.bring(message(1))
    assert await edge.loop.hears("recovered") == ("TOPIC_AUTHORIZATION_FAILED t",)


async def test_lag_comes_from_the_statistics_for_what_is_ours_and_known(make: Make) -> None:
    edge = make()
    await edge.begin(A, B)
    await edge.script.inside(lambda: edge.script.config["stats_cb"](statistics({0: 7, 1: -1, 2: 9})))
    assert await edge.loop.hears("lag") == ({A: 7},)
