"""The Lane on virtual time: what it sends, when, and how every entry comes to its end."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from connector.batch import Trigger
from connector.model import (
    Ack,
    Batch,
    BatchRefused,
    Entry,
    Event,
    Health,
    Limits,
    Preflight,
    Record,
    TopicPartition,
    Verdict,
)
from connector.publish import Lane, Pace
from tests.flow.virtual import run

TP = TopicPartition("orders", 0)
OTHER = TopicPartition("orders", 1)
OK = Ack(Verdict.DELIVERED)
RETRY = Ack(Verdict.RETRY, "Throttled")
REJECTED = Ack(Verdict.REJECTED, "Malformed", "bad")
HOLD = Ack(Verdict.HOLD, "AccessDenied", "no")


class Service:
    """A target whose calls wait for the test where it says so; it remembers when each call came."""

    def __init__(self, answer: Callable[[Batch, int], Sequence[Ack]], seconds: float = 0.01, entries: int = 10) -> None:
        self.limits = Limits(entries, 1000, 1000)
        self.health: Callable[[], Preflight] = lambda: Preflight(Health.OK)
        self.calls: list[tuple[float, tuple[int, ...]]] = []
        self.flying = self.most_flying = 0
        self._answer = answer
        self._seconds = seconds

    async def send(self, batch: Batch) -> Sequence[Ack]:
        self.calls.append((asyncio.get_running_loop().time(), offsets(batch)))
        number = len(self.calls)
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        try:
            await asyncio.sleep(self._seconds)
            return self._answer(batch, number)
        finally:
            self.flying -= 1

    async def preflight(self) -> Preflight:
        return self.health()

    @property
    def sent(self) -> list[tuple[int, ...]]:
        return [call for _, call in self.calls]


def offsets(batch: Batch) -> tuple[int, ...]:
    return tuple(entry.event.record.offset for entry in batch)


class Desk:
    """A lane under test, with everything that it told."""

    def __init__(self, service: Service, pace: Pace, rejects: bool = True) -> None:
        self.settled: list[int] = []
        self.refused: list[tuple[Entry, Ack]] = []
        self.again: list[int] = []
        self.triggers: list[Trigger] = []
        self.rejects = rejects
        self.lane = Lane(
            "t",
            service,
            pace,
            clock=asyncio.get_running_loop().time,
            random=Random(7),
            watch=self,
            reject=self._reject,
        )
        self.service = service

    def delivered(self, entry: Entry, ack: Ack) -> None:
        """Nothing to note: the settle tells."""

    def called(self, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None:
        self.triggers.append(trigger)

    def retried(self, entry: Entry, ack: Ack) -> None:
        self.again.append(entry.event.record.offset)

    def _reject(self, lane: Lane, entry: Entry, ack: Ack) -> bool:
        self.refused.append((entry, ack))
        return self.rejects

    def held(self) -> str:
        """The code that holds the lane."""
        return self.lane.held.ack.code if self.lane.held is not None else ""

    def offer(self, offset: int, key: bytes | None = None, tp: TopicPartition = TP, not_before: float = 0.0) -> Entry:
        record = Record(tp, offset, 0, key, b"")
        event = Event(record, "r", "t", {}, str(offset))
        entry = Entry(event, None, 1, "", None, lambda: self.settled.append(offset))
        self.lane.offer(entry, not_before)
        return entry


class Running:
    """A lane that runs, and ends with the scene."""

    def __init__(self, service: Service, pace: Pace | None = None, rejects: bool = True) -> None:
        self._service, self._pace, self._rejects = service, pace or Pace(linger=0.1), rejects

    async def __aenter__(self) -> Desk:
        made = Desk(self._service, self._pace, self._rejects)
        self._group = asyncio.TaskGroup()
        group = await self._group.__aenter__()
        self._task = group.create_task(made.lane.run())
        await asyncio.sleep(0.001)
        return made

    async def __aexit__(self, *error: Any) -> None:
        self._task.cancel()
        await self._group.__aexit__(*error)


def all_ok(batch: Batch, call: int) -> Sequence[Ack]:
    return [OK] * len(batch)


def answering(*answers: Sequence[Ack], then: Ack = OK) -> Callable[[Batch, int], Sequence[Ack]]:
    """The first calls get these answers, later ones `then`."""
    return lambda batch, call: answers[call - 1] if call <= len(answers) else [then] * len(batch)


def test_entries_wait_for_company_and_leave_together_after_the_linger() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok)) as desk:
            start = asyncio.get_running_loop().time()
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(0.2)
            ((at, sent),) = desk.service.calls
            assert sent == (1, 2)
            assert at - start == pytest.approx(0.1)
            assert desk.settled == [1, 2]
            assert desk.triggers == [Trigger.LINGER]

    run(scene())


def test_a_full_batch_does_not_wait() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok, entries=2), Pace(linger=60.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(0.02)
            assert desk.settled == [1, 2]

    run(scene())


def test_only_the_refused_entries_of_a_batch_are_sent_again() -> None:
    async def scene() -> None:
        acks = [RETRY if i in (1, 7) else OK for i in range(10)]
        async with Running(Service(answering(acks))) as desk:
            for offset in range(10):
                desk.offer(offset)
            await asyncio.sleep(0.011)
            assert desk.settled == [0, 2, 3, 4, 5, 6, 8, 9]
            await asyncio.sleep(2)
            assert sorted(desk.settled) == list(range(10))
            assert sorted(offset for call in desk.service.sent[1:] for offset in call) == [1, 7]
            assert desk.again == [1, 7]

    run(scene())


def test_the_pause_before_a_retry_grows_and_never_passes_its_bound() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=8.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace) as desk:
            desk.offer(1)
            await asyncio.sleep(300)
            times = [at for at, _ in desk.service.calls]
            pauses = [after - before for before, after in itertools.pairwise(times)]
            assert max(pauses) <= 8.2
            assert max(pauses[:2]) <= 2.2
            assert len(times) > 30
            assert desk.settled == []

    run(scene())


def test_retry_after_is_honoured() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=45.0)
        async with Running(Service(answering([slow]))) as desk:
            desk.offer(1)
            await asyncio.sleep(44)
            assert desk.settled == []
            await asyncio.sleep(2)
            assert desk.settled == [1]

    run(scene())


def test_an_unknown_code_is_tried_five_times_and_then_counts_as_refused() -> None:
    async def scene() -> None:
        unknown = Ack(Verdict.RETRY, "NeverSeen", tries=5)
        async with Running(Service(lambda batch, call: [unknown])) as desk:
            desk.offer(1)
            await asyncio.sleep(600)
            assert len(desk.service.calls) == 5
            ((entry, ack),) = desk.refused
            assert ack.code == "NeverSeen"
            assert desk.lane.attempts(entry) == 5
            assert desk.settled == []

    run(scene())


def test_retries_end_after_give_up_after_and_only_then() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=5.0, give_up_after=60.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace) as desk:
            desk.offer(1)
            await asyncio.sleep(59)
            assert desk.refused == []
            await asyncio.sleep(10)
            assert len(desk.refused) == 1

    run(scene())


def test_fewer_calls_are_in_flight_while_none_gets_through() -> None:
    async def scene() -> None:
        service = Service(lambda batch, call: [RETRY] * len(batch), entries=1)
        async with Running(service, Pace(linger=0.0, max_in_flight=16)) as desk:
            for offset in range(1000):
                desk.offer(offset)
            await asyncio.sleep(600)
            assert service.most_flying == 16
            assert len(service.calls) < 1000  # a dead service is not stormed

    run(scene())


def test_a_call_without_an_answer_is_not_a_delivery() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=100.0)
        async with Running(service, Pace(linger=0.0, request_timeout=5.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(5.01)
            assert desk.settled == []
            assert desk.again == [1]

    run(scene())


@pytest.mark.parametrize("length", [0, 1, 3])
def test_an_answer_of_another_length_is_not_an_ack(length: int) -> None:
    async def scene() -> None:
        async with Running(Service(answering([OK] * length))) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(0.1105)
            assert desk.settled == []
            await asyncio.sleep(2)
            assert sorted(desk.settled) == [1, 2]

    run(scene())


def test_a_batch_that_is_refused_whole_is_halved_until_the_culprit_stands_alone() -> None:
    def answer(batch: Batch, call: int) -> Sequence[Ack]:
        if 6 in offsets(batch):
            raise BatchRefused(Ack(Verdict.REJECTED, "Validation", "one of them"))
        return [OK] * len(batch)

    async def scene() -> None:
        async with Running(Service(answer)) as desk:
            for offset in range(10):
                desk.offer(offset)
            await asyncio.sleep(1)
            assert sorted(desk.settled) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
            ((entry, ack),) = desk.refused
            assert entry.event.record.offset == 6
            assert ack.code == "Validation"

    run(scene())


def test_a_hold_stops_the_lane_and_probes_with_one_batch_at_growing_pauses_until_it_works() -> None:
    async def scene() -> None:
        answers = [[HOLD] * 2] * 4
        service = Service(answering(*answers), entries=2)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0, hold_max=60.0, max_in_flight=1)) as desk:
            for offset in range(20):
                desk.offer(offset)
            await asyncio.sleep(0.5)
            assert desk.held() == "AccessDenied"
            assert len(service.calls) == 1
            await asyncio.sleep(7)
            assert [round(at - service.calls[0][0]) for at, _ in service.calls] == [0, 1, 3, 7]
            assert desk.settled == []
            await asyncio.sleep(9)
            assert desk.held() == ""
            assert sorted(desk.settled) == list(range(20))
            assert desk.refused == []

    run(scene())


def test_calls_that_fail_together_lengthen_the_pause_of_a_hold_once() -> None:
    async def scene() -> None:
        service = Service(lambda batch, call: [HOLD], entries=1)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0)) as desk:
            for offset in range(16):
                desk.offer(offset)
            await asyncio.sleep(0.5)
            assert len(service.calls) == 16
            assert desk.lane.held is not None
            assert desk.lane.held.pause == 1.0

    run(scene())


def test_a_refused_entry_whose_rule_is_hold_holds_the_lane() -> None:
    async def scene() -> None:
        async with Running(Service(lambda batch, call: [REJECTED]), rejects=False) as desk:
            desk.offer(1)
            await asyncio.sleep(0.2)
            assert desk.held() != ""
            assert desk.settled == []

    run(scene())


def test_a_probe_that_is_only_retried_does_not_end_the_hold() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD], [RETRY], [RETRY]))
        async with Running(service, Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(1.5)
            assert len(service.calls) == 2
            assert desk.lane.held is not None
            await asyncio.sleep(60)
            assert desk.settled == [1]

    run(scene())


def test_nothing_is_sent_before_the_first_preflight_has_answered() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        answered = asyncio.Event()

        class Slow(Service):
            async def preflight(self) -> Preflight:
                await answered.wait()
                return Preflight(Health.OK)

        service = Slow(all_ok)
        async with Running(service) as desk:
            desk.offer(1)
            await asyncio.sleep(5)
            assert service.calls == []
            answered.set()
            await asyncio.sleep(1)
            assert desk.settled == [1]

    run(scene())


def test_a_missing_destination_holds_the_lane_until_a_preflight_finds_it() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        health = [Preflight(Health.OK), Preflight(Health.MISSING, "NotFound", "no such bus")]
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        async with Running(service, Pace(linger=0.0, preflight_interval=10.0)) as desk:
            await asyncio.sleep(10)
            desk.offer(1)
            await asyncio.sleep(0.9)
            assert service.calls == []
            assert desk.held() == "NotFound"
            await asyncio.sleep(1)
            assert desk.settled == [1]

    run(scene())


def test_a_destination_that_cannot_be_seen_is_sent_to_all_the_same() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        service.health = lambda: Preflight(Health.UNKNOWN, "AccessDenied")
        async with Running(service) as desk:
            desk.offer(1)
            await asyncio.sleep(1)
            assert desk.settled == [1]

    run(scene())


def test_the_token_bucket_bounds_the_calls_of_a_second() -> None:
    async def scene() -> None:
        service = Service(all_ok, entries=1)
        async with Running(service, Pace(linger=0.0, calls_per_second=5.0)) as desk:
            for offset in range(100):
                desk.offer(offset)
            await asyncio.sleep(10)
            assert len(service.calls) == pytest.approx(55, abs=2)

    run(scene())


def test_order_key_keeps_one_unsettled_entry_a_key_while_other_keys_move_on() -> None:
    def answer(batch: Batch, call: int) -> Sequence[Ack]:
        return [RETRY if entry.event.record.key == b"a" and call < 4 else OK for entry in batch]

    async def scene() -> None:
        async with Running(Service(answer), Pace(linger=0.01, order="key")) as desk:
            for offset in range(6):
                desk.offer(offset, b"a" if offset % 2 else b"b")
            await asyncio.sleep(30)
            assert [o for o in desk.settled if o % 2] == [1, 3, 5]
            assert [o for o in desk.settled if not o % 2] == [0, 2, 4]
            assert desk.settled.index(4) < desk.settled.index(1)
            for call in desk.service.sent:
                assert len({o % 2 for o in call}) == len(call)

    run(scene())


def test_order_partition_sends_one_entry_of_a_partition_at_a_time() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0, order="partition")) as desk:
            for offset in range(4):
                desk.offer(offset)
                desk.offer(100 + offset, tp=OTHER)
            await asyncio.sleep(5)
            assert [o for o in desk.settled if o < 100] == [0, 1, 2, 3]
            assert all(len(call) <= 2 for call in desk.service.sent)

    run(scene())


def test_null_keys_are_unordered() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0, order="key")) as desk:
            for offset in range(10):
                desk.offer(offset)
            await asyncio.sleep(0.02)
            assert len(desk.service.calls) == 1

    run(scene())


def test_a_refused_entry_keeps_its_key_until_it_is_buried() -> None:
    async def scene() -> None:
        async with Running(Service(answering([REJECTED])), Pace(linger=0.0, order="key")) as desk:
            first = desk.offer(1, b"a")
            desk.offer(2, b"a")
            await asyncio.sleep(1)
            assert desk.service.sent == [(1,)]
            assert not desk.lane.can_finish(TP)
            desk.lane.settle(first)
            await asyncio.sleep(1)
            assert desk.settled == [1, 2]

    run(scene())


def test_a_delayed_entry_is_not_sent_before_its_time() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0)) as desk:
            now = asyncio.get_running_loop().time()
            desk.offer(1, not_before=now + 60)
            desk.offer(2)
            await asyncio.sleep(59)
            assert desk.settled == [2]
            await asyncio.sleep(2)
            assert desk.settled == [2, 1]

    run(scene())


def test_a_drain_lets_go_what_was_never_sent_above_the_mark_and_finishes_the_holes() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=1.0, entries=2)
        async with Running(service, Pace(linger=60.0, max_in_flight=1)) as desk:
            for offset in (1, 2, 3, 4, 5):
                desk.offer(offset)
            await asyncio.sleep(0.5)  # 1 and 2 are in flight
            assert desk.lane.high(TP) == 2
            let_go = desk.lane.drain({TP: 4})  # another lane has sent up to 4
            assert let_go == 1
            assert desk.lane.can_finish(TP)
            await asyncio.sleep(2)
            assert sorted(desk.settled) == [1, 2, 3, 4]
            assert not desk.lane.can_finish(TP)

    run(scene())


def test_a_drain_sends_waiting_retries_at_once() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=3600.0)
        async with Running(Service(answering([slow])), Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(1)
            desk.lane.drain({TP: 1})
            await asyncio.sleep(0.5)
            assert desk.settled == [1]

    run(scene())


def test_a_drain_of_a_held_lane_has_nothing_that_it_could_finish() -> None:
    async def scene() -> None:
        async with Running(Service(lambda batch, call: [HOLD]), Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            desk.lane.drain({TP: 1})
            assert not desk.lane.can_finish(TP)

    run(scene())


def test_an_ack_that_comes_after_its_partition_has_gone_settles_nothing() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok, seconds=1.0), Pace(linger=0.0)) as desk:
            desk.offer(1)
            desk.offer(9, tp=OTHER)
            await asyncio.sleep(0.5)
            desk.lane.drop([TP])
            await asyncio.sleep(1)
            assert desk.settled == [9]
            assert desk.lane.owes(TP) == 0
            assert desk.lane.open_entries == 0
            assert desk.lane.open_bytes == 0

    run(scene())


def test_a_retry_of_a_partition_that_has_gone_is_not_sent() -> None:
    async def scene() -> None:
        async with Running(Service(lambda batch, call: [RETRY]), Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.02)
            desk.lane.drop([TP])
            calls = len(desk.service.calls)
            await asyncio.sleep(60)
            assert len(desk.service.calls) == calls

    run(scene())


def test_the_first_key_after_a_reassignment_is_not_blocked_by_the_old_assignment() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok, seconds=1.0), Pace(linger=0.0, order="key")) as desk:
            desk.offer(1, b"a")
            desk.offer(2, b"a")
            await asyncio.sleep(0.1)
            desk.lane.drop([TP])
            desk.offer(1, b"a")
            await asyncio.sleep(3)
            assert desk.settled == [1]

    run(scene())
