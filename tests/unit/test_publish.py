"""The Lane on virtual time: what it sends, when, and how every entry comes to its end."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
import structlog

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
from tests.flow.world import FakeSettings

TP = TopicPartition("orders", 0)
OTHER = TopicPartition("orders", 1)
OK = Ack(Verdict.DELIVERED)
RETRY = Ack(Verdict.RETRY, "Throttled")
REJECTED = Ack(Verdict.REJECTED, "Malformed", "bad")
HOLD = Ack(Verdict.HOLD, "AccessDenied", "no")


class Service:
    """A target whose calls take the time that the test says; it remembers when each call and each preflight came."""

    def __init__(self, answer: Callable[[Batch, int], Sequence[Ack]], seconds: float = 0.01, entries: int = 10) -> None:
        self.limits = Limits(entries, 1000, 1000)
        self.health: Callable[[], Preflight] = lambda: Preflight(Health.OK)
        self.asking = 0.0  # seconds that a preflight takes
        self.asked: list[float] = []
        self.slow: dict[int, float] = {}  # seconds that a call takes if it begins with this offset
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
            await asyncio.sleep(self.slow.get(offsets(batch)[0], self._seconds))
            return self._answer(batch, number)
        finally:
            self.flying -= 1

    async def preflight(self) -> Preflight:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.asking)
        return self.health()

    @property
    def sent(self) -> list[tuple[int, ...]]:
        return [call for _, call in self.calls]

    @property
    def times(self) -> list[float]:
        """When each call came, in seconds after the first one."""
        return [round(at - self.calls[0][0], 3) for at, _ in self.calls]


def offsets(batch: Batch) -> tuple[int, ...]:
    return tuple(entry.event.record.offset for entry in batch)


class Highest(Random):
    """Draws the upper end of every range, so that a pause is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Lowest(Random):
    """Draws the lower end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Desk:
    """A lane under test, with everything that it told."""

    def __init__(self, service: Service, pace: Pace, rejects: bool = True, random: Random | None = None) -> None:
        self.settled: list[int] = []
        self.told: list[int] = []
        self.seconds: list[float] = []
        self.looks = 0  # how often the lane looked at the clock: it must not do so while it can only wait
        self.refused: list[tuple[Entry, Ack]] = []
        self.again: list[int] = []
        self.triggers: list[Trigger] = []
        self.rejects = rejects
        self.lane = Lane(
            "t",
            service,
            pace,
            clock=self._look,
            random=random or Random(7),
            watch=self,
            reject=self._reject,
        )
        self.service = service

    def _look(self) -> float:
        self.looks += 1
        return asyncio.get_running_loop().time()

    def delivered(self, entry: Entry, ack: Ack) -> None:
        self.told.append(entry.event.record.offset)

    def called(self, batch: Batch, trigger: Trigger, acks: Sequence[Ack], seconds: float) -> None:
        self.triggers.append(trigger)
        self.seconds.append(round(seconds, 3))

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

    def __init__(
        self, service: Service, pace: Pace | None = None, rejects: bool = True, random: Random | None = None
    ) -> None:
        self._service, self._pace, self._rejects = service, pace or Pace(linger=0.1), rejects
        self._random = random

    async def __aenter__(self) -> Desk:
        made = Desk(self._service, self._pace, self._rejects, self._random)
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
            assert desk.settled == desk.told == [1, 2]
            assert (desk.triggers, desk.seconds) == ([Trigger.LINGER], [0.01])
            assert list(desk.lane.partitions) == []

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


def test_the_pause_doubles_from_the_first_to_the_longest() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=8.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace, random=Highest()) as desk:
            desk.offer(1)
            await asyncio.sleep(30)
            assert desk.service.times == [0.0, 1.01, 3.02, 7.03, 15.04, 23.05]

    run(scene())


def test_the_pause_is_drawn_from_nothing_on_so_that_many_members_do_not_return_at_once() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=8.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace, random=Lowest()) as desk:
            desk.offer(1)
            await asyncio.sleep(0.035)
            assert desk.service.times == [0.0, 0.01, 0.02, 0.03]

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


def test_the_lane_waits_as_long_as_the_longest_pause_that_the_service_asked_for() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=5.0)
        async with Running(Service(answering([slow, RETRY])), Pace(linger=0.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(6)
            assert desk.service.times == [0.0, 5.01]
            assert sorted(desk.settled) == [1, 2]

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


def test_one_failed_call_halves_how_many_are_made_at_once_until_one_gets_through() -> None:
    async def scene() -> None:
        service = Service(answering([RETRY]), seconds=10.0, entries=1)
        async with Running(service, Pace(linger=0.0, max_in_flight=4, retry_max=0.1)) as desk:
            desk.offer(0)
            await asyncio.sleep(10.5)
            for offset in range(1, 9):
                desk.offer(offset)
            await asyncio.sleep(1)
            assert service.flying == 2
            await asyncio.sleep(10)
            assert service.flying == 4

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
            assert desk.triggers.count(Trigger.PROBE) == 4  # what works is no longer asked

    run(scene())


def test_the_pause_of_a_hold_grows_to_its_bound_and_begins_anew_when_something_got_through() -> None:
    async def scene() -> None:
        answers = [[HOLD] * 2] * 4 + [[OK, HOLD]]
        service = Service(answering(*answers, then=HOLD), entries=2)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0, hold_max=3.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(13.5)
            assert [round(at) for at in service.times] == [0, 1, 3, 6, 9, 10, 12]
            assert service.sent == [(1, 2)] * 5 + [(2,)] * 2
            assert desk.settled == [1]

    run(scene())


def test_a_probe_takes_along_what_has_come_meanwhile() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD]))
        async with Running(service, Pace(linger=0.5, hold_initial=1.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(1.4)
            desk.offer(2)
            await asyncio.sleep(0.3)
            assert service.sent == [(1,), (1, 2)]

    run(scene())


def test_after_a_hold_everything_is_sent_once() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD] * 2), entries=2)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(0.5)
            assert desk.lane.waiting == 2
            for offset in range(3, 9):
                desk.offer(offset)
            assert desk.lane.waiting == 8
            await asyncio.sleep(2)
            assert service.sent == [(1, 2), (1, 2), (3, 4), (5, 6), (7, 8)]
            assert desk.lane.waiting == 0

    run(scene())


def test_what_is_sent_right_after_a_probe_is_no_probe_and_lengthens_no_pause() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD], [OK], then=HOLD), entries=1)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            for offset in range(2, 8):
                desk.offer(offset)
            await asyncio.sleep(1)
            assert desk.triggers == [Trigger.COUNT, Trigger.PROBE] + [Trigger.FLUSH] * 6
            assert desk.lane.held is not None
            assert desk.lane.held.pause == 1.0

    run(scene())


def test_a_hold_ends_when_nothing_is_left_to_ask_with() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD]))
        async with Running(service, Pace(linger=0.0, hold_initial=1.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            desk.lane.drop([TP])
            assert desk.lane.waiting == 0
            assert desk.held() == "AccessDenied"
            await asyncio.sleep(0.6)
            assert desk.held() == ""
            desk.offer(2, tp=OTHER)
            await asyncio.sleep(0.1)
            assert desk.settled == [2]

    run(scene())


def test_a_call_that_was_under_way_when_the_lane_was_held_does_not_end_the_hold() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD]), entries=1)
        service.slow = {2: 0.5}
        async with Running(service, Pace(linger=0.0, hold_initial=2.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(1)
            assert desk.settled == [2]
            assert desk.held() == "AccessDenied"

    run(scene())


def test_a_held_lane_sleeps_while_its_probe_or_its_preflight_is_under_way() -> None:
    async def scene() -> None:
        service = Service(lambda batch, call: [HOLD])
        health = [Preflight(Health.OK), Preflight(Health.MISSING, "NotFound")]
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0, preflight_interval=100.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(20)
            assert len(service.calls) == 5
            assert desk.looks < 100
        service = Service(all_ok)
        service.health = lambda: Preflight(Health.MISSING, "NotFound")
        async with Running(service, Pace(linger=0.0, hold_initial=1.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            service.asking = 0.1
            await asyncio.sleep(1)
            assert len(service.asked) == 2
            assert desk.looks < 100

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

        service = Slow(all_ok, entries=1)
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


def test_a_missing_destination_is_looked_for_at_growing_pauses_and_nothing_is_sent_meanwhile() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        health = [Preflight(Health.MISSING)] * 4 + [Preflight(Health.UNKNOWN)]
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0, hold_max=3.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(11)
            assert [round(at - service.asked[0]) for at in service.asked] == [0, 1, 3, 6, 9]
            assert desk.held() == "Missing"
            assert service.calls == []
            await asyncio.sleep(1.5)
            assert desk.held() == ""
            assert desk.settled == [1]

    run(scene())


def test_a_destination_that_goes_missing_during_a_hold_is_not_probed_until_it_is_there() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD], [HOLD], [HOLD]))
        health = [Preflight(Health.OK), Preflight(Health.MISSING, "NotFound")]
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        async with Running(service, Pace(linger=0.0, hold_initial=1.0, preflight_interval=5.0)) as desk:
            entry = desk.offer(1)
            await asyncio.sleep(8.5)
            assert [round(at) for at in service.times] == [0, 1, 3]
            assert desk.held() == "NotFound"
            assert desk.lane.held is not None
            assert desk.lane.held.entry is entry
            await asyncio.sleep(1)
            assert desk.settled == [1]
            assert desk.held() == ""
            assert service.sent == [(1,)] * 4
            assert desk.lane.waiting == 0

    run(scene())


def test_a_call_that_is_refused_while_the_destination_is_missing_does_not_bring_probes_back() -> None:
    async def scene() -> None:
        service = Service(answering([HOLD]), seconds=6.0)
        health = [Preflight(Health.OK), Preflight(Health.MISSING, "NotFound"), Preflight(Health.MISSING, "NotFound")]
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        async with Running(service, Pace(linger=0.0, hold_initial=4.0, preflight_interval=5.0)) as desk:
            entry = desk.offer(1)
            await asyncio.sleep(8.5)
            assert desk.held() == "AccessDenied"
            assert desk.lane.held is not None
            assert desk.lane.held.entry is entry
            assert desk.lane.held.by_preflight
            await asyncio.sleep(5)
            assert service.sent == [(1,)]

    run(scene())


def test_a_destination_that_is_there_does_not_end_the_hold_of_a_refused_call() -> None:
    async def scene() -> None:
        async with Running(
            Service(lambda batch, call: [HOLD]), Pace(linger=0.0, hold_initial=2.0, preflight_interval=0.5)
        ) as desk:
            desk.offer(1)
            await asyncio.sleep(1.4)
            assert len(desk.service.asked) == 3
            assert desk.held() == "AccessDenied"
            assert len(desk.service.calls) == 1

    run(scene())


def test_a_preflight_without_an_answer_keeps_nothing_back_for_longer_than_a_call_may_take() -> None:
    async def scene() -> None:
        service = Service(all_ok, entries=1)
        service.asking = 100.0
        async with Running(service, Pace(linger=0.0, request_timeout=5.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(4.9)
            assert service.calls == []
            await asyncio.sleep(0.2)
            assert desk.settled == [1]

    run(scene())


def test_a_destination_that_cannot_be_seen_is_said_once_until_it_could_be_seen() -> None:
    structlog.configure(wrapper_class=structlog.BoundLogger)

    async def scene() -> None:
        unknown = Preflight(Health.UNKNOWN, "AccessDenied")
        health = [Preflight(Health.OK), unknown, unknown, Preflight(Health.OK), unknown]
        service = Service(all_ok)
        service.health = lambda: health.pop(0) if health else Preflight(Health.OK)
        with structlog.testing.capture_logs() as lines:
            async with Running(service, Pace(preflight_interval=10.0)):
                told = []
                for _ in range(5):
                    told.append(len(lines))
                    await asyncio.sleep(10)
                assert told == [0, 1, 1, 1, 2]

    run(scene())


def test_a_destination_that_cannot_be_seen_is_sent_to_sent_to_all_the_same() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        service.health = lambda: Preflight(Health.UNKNOWN, "AccessDenied")
        async with Running(service) as desk:
            desk.offer(1)
            await asyncio.sleep(1)
            assert desk.settled == [1]

    run(scene())


def test_a_lane_tells_when_it_last_asked_for_its_destination() -> None:
    async def scene() -> None:
        service = Service(all_ok)
        service.asking = 5.0
        async with Running(service, Pace(preflight_interval=60.0)) as desk:
            assert (desk.lane.preflight, desk.lane.preflight_at) == (None, 0.0)
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(6)
            assert desk.lane.preflight_at - began == pytest.approx(5, abs=0.01)

    run(scene())


def test_calls_that_bring_nothing_are_told_with_the_last_answer_and_since_when_until_one_gets_through() -> None:
    async def scene() -> None:
        later = Ack(Verdict.RETRY, "Unavailable")
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=1.0)
        async with Running(Service(answering([RETRY], [later])), pace, random=Highest()) as desk:
            told = [desk.lane.failing]
            began = asyncio.get_running_loop().time()
            desk.offer(1)
            for _ in range(2):
                await asyncio.sleep(1)
                told.append(desk.lane.failing)
            assert [failing and failing.ack for failing in told] == [None, RETRY, later]
            assert [round(failing.since - began, 3) for failing in told if failing is not None] == [0.01, 0.01]
            await asyncio.sleep(1)
            assert desk.settled == [1]
            assert desk.lane.failing is None

    run(scene())


def test_a_targets_settings_are_the_pace_of_its_lane() -> None:
    plain = {"type": "fake", "batch": {"linger": "3s"}, "preflight_interval": "7s", "max_in_flight": 2}
    assert Pace.of(FakeSettings.model_validate(plain)).calls_per_second is None
    pace = Pace.of(FakeSettings.model_validate({**plain, "rate_limit": {"calls": "5/s"}}))
    assert (pace.linger, pace.preflight_interval, pace.max_in_flight, pace.calls_per_second) == (3.0, 7.0, 2, 5.0)


def test_the_token_bucket_bounds_the_calls_of_a_second() -> None:
    async def scene() -> None:
        service = Service(all_ok, entries=1)
        async with Running(service, Pace(linger=0.0, calls_per_second=5.0)) as desk:
            for offset in range(100):
                desk.offer(offset)
            await asyncio.sleep(10)
            assert len(service.calls) == pytest.approx(55, abs=2)

    run(scene())


def test_calls_are_as_far_apart_as_the_token_bucket_says() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=0.3, entries=1)
        async with Running(service, Pace(linger=0.0, calls_per_second=1.0)) as desk:
            for offset in range(4):
                desk.offer(offset)
            await asyncio.sleep(5)
            assert service.times == [0.0, 1.0, 2.0, 3.0]

    run(scene())


def test_a_bucket_of_less_than_one_call_a_second_saves_up_one_call_and_not_two() -> None:
    async def scene() -> None:
        service = Service(all_ok, entries=1)
        async with Running(service, Pace(linger=0.0, calls_per_second=0.5)) as desk:
            await asyncio.sleep(100)
            for offset in range(3):
                desk.offer(offset)
            await asyncio.sleep(5)
            assert service.times == [0.0, 2.0, 4.0]

    run(scene())


def test_a_full_batch_that_waits_for_a_token_does_not_wait_for_the_linger_of_the_next_one() -> None:
    async def scene() -> None:
        service = Service(all_ok, entries=2)
        async with Running(service, Pace(linger=30.0, calls_per_second=1.0)) as desk:
            for offset in range(1, 6):
                desk.offer(offset)
            await asyncio.sleep(1.5)
            assert service.sent == [(1, 2), (3, 4)]

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
            assert desk.service.sent == [tuple(range(10))]

    run(scene())


def test_a_key_is_free_again_when_nothing_waits_behind_it() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0, order="key")) as desk:
            for offset in (1, 2):
                desk.offer(offset, b"a")
                await asyncio.sleep(1)
            assert desk.settled == [1, 2]

    run(scene())


def test_a_key_is_free_again_when_all_that_waited_behind_it_was_let_go() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok, seconds=1.0), Pace(linger=0.0, order="key")) as desk:
            for offset in (1, 2, 3):
                desk.offer(offset, b"a")
            await asyncio.sleep(0.5)
            assert desk.lane.drain({TP: 1}) == 2
            await asyncio.sleep(1)
            desk.offer(4, b"a")
            await asyncio.sleep(2)
            assert desk.settled == [1, 4]

    run(scene())


def test_an_entry_is_settled_once_however_often_its_end_is_told() -> None:
    async def scene() -> None:
        async with Running(Service(answering([REJECTED])), Pace(linger=0.0)) as desk:
            entry = desk.offer(1)
            keep = desk.offer(2)
            await asyncio.sleep(0.001)
            desk.lane.settle(entry)
            desk.lane.settle(entry)
            desk.lane.settle(keep)
            desk.lane.settle(keep)
            assert desk.settled == [1, 2]
            assert desk.lane.open_bytes == 0

    run(scene())


def test_an_entry_that_has_ended_leaves_no_trace() -> None:
    async def scene() -> None:
        async with Running(Service(answering([RETRY], [REJECTED])), Pace(linger=0.0)) as desk:
            entry = desk.offer(1)
            await asyncio.sleep(1)
            assert len(desk.refused) == 1
            assert desk.lane.attempts(entry) == 2
            desk.lane.settle(entry)
            assert desk.lane.attempts(entry) == 1
            desk.lane.offer(entry)
            assert desk.lane.can_finish(TP)

    run(scene())


def test_an_entry_that_is_refused_at_once_was_carried_by_one_call() -> None:
    async def scene() -> None:
        async with Running(Service(answering([REJECTED])), Pace(linger=0.0)) as desk:
            entry = desk.offer(1)
            await asyncio.sleep(1)
            assert desk.lane.attempts(entry) == 1

    run(scene())


def test_a_refused_entry_keeps_its_key_until_it_is_buried() -> None:
    async def scene() -> None:
        async with Running(Service(answering([REJECTED])), Pace(linger=0.0, order="key")) as desk:
            first = desk.offer(1, b"a")
            desk.offer(2, b"a")
            await asyncio.sleep(1)
            assert desk.service.sent == [(1,)]
            assert not desk.lane.can_finish(TP)
            assert not desk.lane.can_finish(OTHER)
            desk.offer(3, b"b")
            assert desk.lane.can_finish(TP)
            await asyncio.sleep(1)
            desk.lane.settle(first)
            await asyncio.sleep(1)
            assert desk.settled == [3, 1, 2]

    run(scene())


def test_a_delayed_entry_that_comes_alone_is_sent_at_its_time_before_one_of_a_later_time() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0)) as desk:
            now = asyncio.get_running_loop().time()
            desk.offer(1, not_before=now + 10)
            await asyncio.sleep(1)
            desk.offer(2, not_before=now + 5)
            await asyncio.sleep(3.9)
            assert desk.settled == []
            await asyncio.sleep(0.2)
            assert desk.settled == [2]
            await asyncio.sleep(5)
            assert desk.settled == [2, 1]

    run(scene())


def test_an_entry_with_a_long_delay_does_not_lengthen_the_linger_of_another() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok)) as desk:
            desk.offer(1, not_before=asyncio.get_running_loop().time() + 3600)
            await asyncio.sleep(0.01)
            desk.offer(2)
            await asyncio.sleep(0.2)
            assert desk.settled == [2]

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


def test_a_drain_lets_go_a_delayed_entry_whatever_the_mark_and_counts_all_that_it_let_go() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=60.0)) as desk:
            now = asyncio.get_running_loop().time()
            desk.offer(1, not_before=now + 60)
            desk.offer(2)
            desk.offer(3)
            desk.offer(4)
            assert desk.lane.high(TP) == -1
            assert desk.lane.drain({TP: 2, OTHER: 9}) == 3
            assert desk.lane.owes(TP) == 1
            await asyncio.sleep(0.5)
            assert desk.service.sent == [(2,)]
            assert desk.settled == [2]

    run(scene())


def test_after_a_drain_the_lane_goes_on_at_its_usual_pace_without_the_partitions_that_went() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=10.0)) as desk:
            desk.offer(1)
            desk.offer(7, tp=OTHER)
            desk.lane.drain({OTHER: 7})
            await asyncio.sleep(0.5)
            assert sorted(desk.settled) == [1, 7]
            assert desk.lane.high(OTHER) == 7
            desk.offer(8, tp=OTHER)
            desk.lane.hurried([OTHER])
            assert (desk.lane.high(OTHER), desk.lane.high(TP)) == (-1, 1)
            desk.offer(2)
            await asyncio.sleep(9)
            assert sorted(desk.settled) == [1, 7]
            await asyncio.sleep(2)
            assert sorted(desk.settled) == [1, 2, 7]

    run(scene())


def test_in_a_drain_no_pause_is_longer_than_a_tenth_of_a_second() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace, random=Highest()) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            desk.lane.drain({TP: 1})
            await asyncio.sleep(0.4)
            assert desk.service.times == [0.0, 0.6, 0.71, 0.82]

    run(scene())


def test_in_a_drain_a_service_that_asks_for_an_hour_is_asked_again_after_a_tenth_of_a_second() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=3600.0)
        async with Running(Service(answering([slow], [slow])), Pace(linger=0.0)) as desk:
            desk.lane.drain({TP: 1})
            desk.offer(1)
            await asyncio.sleep(0.5)
            assert desk.service.times == [0.0, 0.11, 0.22]
            assert desk.settled == [1]

    run(scene())


def test_a_drain_leaves_the_service_a_tenth_of_a_second_when_it_asked_for_a_pause() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=3600.0)
        service = Service(answering([slow]))
        async with Running(service, Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            desk.offer(2, tp=OTHER)
            desk.lane.drain({OTHER: 2})
            desk.lane.drop([TP])
            await asyncio.sleep(1)
            assert service.times == [0.0, 0.6]
        service = Service(answering([OK, slow]))
        async with Running(service, Pace(linger=0.0)) as desk:
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(0.5)
            desk.lane.drain({TP: 2})
            await asyncio.sleep(1)
            assert service.times == [0.0, 0.6]

    run(scene())


def test_what_is_not_on_the_wire_waits_wherever_it_stands() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=10.0, entries=2)
        async with Running(service, Pace(linger=60.0, max_in_flight=1)) as desk:
            for offset in range(1, 7):
                desk.offer(offset)
            desk.offer(7)
            desk.offer(8, not_before=asyncio.get_running_loop().time() + 60)
            desk.offer(9, not_before=asyncio.get_running_loop().time() + 60)
            await asyncio.sleep(0.5)
            assert (desk.lane.waiting, desk.lane.open_entries, desk.lane.open_bytes) == (7, 9, 9)

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


def test_what_has_gone_is_taken_out_of_a_batch_that_waits() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=1.0, entries=2)
        async with Running(service, Pace(linger=0.0, max_in_flight=1)) as desk:
            desk.offer(1)
            desk.offer(2)
            desk.offer(3)
            desk.offer(9, tp=OTHER)
            await asyncio.sleep(0.5)
            desk.lane.drop([TP])
            await asyncio.sleep(2)
            assert service.sent == [(1, 2), (9,)]

    run(scene())


@pytest.mark.parametrize("ack", [RETRY, REJECTED], ids=["retried", "refused"])
def test_a_verdict_on_what_has_gone_is_told_to_nobody(ack: Ack) -> None:
    async def scene() -> None:
        async with Running(Service(lambda batch, call: [ack], seconds=1.0), Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            desk.lane.drop([TP])
            await asyncio.sleep(60)
            assert (desk.refused, desk.again, desk.settled) == ([], [], [])
            assert desk.lane.waiting == 0
            assert len(desk.service.calls) == 1

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


# What an operator and a reload do


def test_a_stopped_route_sends_nothing_and_goes_on_in_the_order_of_its_offsets() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0)) as desk:
            desk.lane.stop_route("r")
            for offset in (3, 1, 2):
                desk.offer(offset)
            await asyncio.sleep(10)
            assert desk.service.sent == []
            assert (desk.lane.waiting_of("r"), desk.lane.waiting_of("other"), desk.lane.set_aside) == (3, 0, 3)
            desk.lane.start_route("other")
            await asyncio.sleep(10)
            assert desk.service.sent == []
            desk.lane.start_route("r")
            assert (desk.lane.waiting, desk.lane.set_aside) == (3, 0)
            await asyncio.sleep(0.02)
            assert desk.service.sent == [(1, 2, 3)]
            assert desk.lane.set_aside == 0
            desk.offer(4)
            await asyncio.sleep(0.02)
            assert desk.settled == [1, 2, 3, 4]

    run(scene())


def test_what_a_stopped_route_kept_back_is_gone_with_its_partition() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0)) as desk:
            desk.lane.stop_route("r")
            desk.offer(1)
            desk.offer(2, tp=OTHER)
            await asyncio.sleep(1)
            assert desk.lane.set_aside == desk.lane.waiting == 2
            desk.lane.drop([TP])
            assert desk.lane.set_aside == desk.lane.waiting == 1
            assert desk.lane.has("r")
            assert not desk.lane.has("other")

    run(scene())


def test_a_lane_that_holds_names_the_entries_of_the_record_at_which_it_stands() -> None:
    async def scene() -> None:
        async with Running(Service(answering([HOLD, OK], then=HOLD))) as desk:
            first, _ = desk.offer(1), desk.offer(2)
            assert (desk.lane.stands_at(TP, 1), desk.lane.stuck) == ([], False)
            await asyncio.sleep(0.2)
            assert (desk.held(), desk.lane.stuck) == ("AccessDenied", True)
            assert desk.lane.stands_at(TP, 1) == [first]
            assert desk.lane.stands_at(TP, 2) == desk.lane.stands_at(OTHER, 1) == []
            await asyncio.sleep(0.915)  # a probe is under way: the entry is on the wire and still where the lane stands
            assert desk.lane.in_flight == 1
            assert desk.lane.stands_at(TP, 1) == [first]

    run(scene())


def test_a_probe_that_is_asked_for_comes_at_once() -> None:
    async def scene() -> None:
        async with Running(Service(answering([HOLD]))) as desk:
            desk.lane.probe()  # nothing holds: nothing happens
            desk.offer(1)
            await asyncio.sleep(0.2)
            assert desk.service.sent == [(1,)]
            desk.lane.probe()
            await asyncio.sleep(0.02)
            assert desk.service.sent == [(1,), (1,)]
            assert desk.settled == [1]

    run(scene())


def test_a_lane_counts_as_stuck_from_the_third_call_on_that_brings_nothing() -> None:
    async def scene() -> None:
        pace = Pace(linger=0.0, retry_initial=1.0, retry_max=1.0)
        async with Running(Service(lambda batch, call: [RETRY]), pace, random=Highest()) as desk:
            assert desk.lane.next_try_at == 0.0
            began = asyncio.get_running_loop().time()
            desk.offer(1)
            await asyncio.sleep(1.5)
            assert (len(desk.service.calls), desk.lane.stuck) == (2, False)
            assert desk.lane.next_try_at - began == pytest.approx(2.02, abs=0.005)
            await asyncio.sleep(1)
            assert (len(desk.service.calls), desk.lane.stuck) == (3, True)

    run(scene())


@pytest.mark.parametrize(("order", "drained"), [("none", True), ("key", False)])
def test_a_lane_is_drained_without_a_call_under_way_and_without_a_dead_letter_that_keeps_an_order(
    order: str, drained: bool
) -> None:
    async def scene() -> None:
        async with Running(Service(answering([REJECTED])), Pace(linger=0.0, order=order)) as desk:
            seen = [desk.lane.drained]
            buried = desk.offer(1, key=b"a")
            await asyncio.sleep(0.005)
            seen.append(desk.lane.drained)
            await asyncio.sleep(0.02)
            seen.append(desk.lane.drained)
            assert [entry for entry, _ in desk.refused] == [buried]
            desk.lane.settle(buried)
            assert [*seen, desk.lane.drained] == [True, False, drained, True]

    run(scene())


def test_a_recall_takes_back_what_is_not_on_the_wire_and_what_stays_keeps_its_key() -> None:
    async def scene() -> None:
        service = Service(answering([OK], [REJECTED], [RETRY]), seconds=0.01)
        service.slow = {1: 1.0}
        async with Running(service, Pace(linger=0.0, order="key", retry_initial=9.0)) as desk:
            desk.offer(1, key=b"wire")
            await asyncio.sleep(0.02)
            buried = desk.offer(2, key=b"buried")
            await asyncio.sleep(0.02)
            desk.offer(3, key=b"again")
            await asyncio.sleep(0.02)
            desk.offer(4, key=b"wire")
            desk.offer(5, key=b"late", not_before=asyncio.get_running_loop().time() + 60)
            desk.lane.end()
            back = desk.lane.recall()
            assert sorted(entry.event.record.offset for entry in back) == [3, 4, 5]
            assert (desk.lane.waiting, desk.lane.open_entries) == (0, 2)
            behind = [desk.offer(6, key=b"wire"), desk.offer(7, key=b"buried")]
            assert desk.lane.waiting == 0  # both are behind their keys
            await asyncio.sleep(100)
            assert service.sent == [(1,), (2,), (3,)]  # an ended lane sends nothing more
            assert desk.settled == [1]
            desk.lane.settle(buried)
            assert desk.settled == [1, 2]
            assert sorted(entry.event.record.offset for entry in desk.lane.recall()) == [6, 7]
            assert not any(desk.lane.has(entry.event.route) for entry in behind)

    run(scene())


def test_a_recall_takes_back_what_stands_in_an_open_batch_and_what_is_ready_and_leaves_nothing_of_it() -> None:
    async def scene() -> None:
        service = Service(all_ok, seconds=10.0, entries=2)
        async with Running(service, Pace(linger=60.0, max_in_flight=1)) as desk:
            for offset in range(1, 6):
                desk.offer(offset)
            await asyncio.sleep(1)
            assert (service.sent, desk.lane.waiting) == ([(1, 2)], 3)  # a full batch is ready, the next one is open
            assert sorted(entry.event.record.offset for entry in desk.lane.recall()) == [3, 4, 5]
            assert (desk.lane.waiting, desk.lane.open_entries) == (0, 2)

    run(scene())


def test_a_recall_takes_back_what_a_hold_sent_back() -> None:
    async def scene() -> None:
        async with Running(Service(lambda batch, call: [HOLD] * len(batch)), Pace(linger=0.0)) as desk:
            desk.offer(1)
            await asyncio.sleep(0.5)
            assert (desk.held(), desk.lane.waiting) == ("AccessDenied", 1)
            assert [entry.event.record.offset for entry in desk.lane.recall()] == [1]
            assert (desk.lane.waiting, desk.lane.open_entries) == (0, 0)

    run(scene())


def test_a_key_of_which_all_was_recalled_is_free() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=60.0, order="key")) as desk:
            desk.offer(1, key=b"a")
            assert len(desk.lane.recall()) == 1
            desk.offer(2, key=b"a")
            assert desk.lane.waiting == 1  # in the open batch, not behind its key

    run(scene())


def test_a_lane_that_follows_another_knows_what_was_sent_and_keeps_stopped_routes_stopped() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=0.0)) as old, Running(Service(all_ok), Pace(linger=0.0)) as new:
            old.offer(5)
            await asyncio.sleep(1)
            old.lane.stop_route("r")
            new.lane.follow(old.lane)
            assert (new.lane.high(TP), new.lane.high(OTHER)) == (5, -1)
            new.offer(6)
            await asyncio.sleep(1)
            assert (new.service.sent, new.lane.waiting_of("r")) == ([], 1)

    run(scene())


def test_the_next_try_is_when_the_first_entry_that_was_asked_to_wait_is_due() -> None:
    async def scene() -> None:
        slow = Ack(Verdict.RETRY, "Throttled", retry_after=45.0)
        async with Running(Service(answering([OK, slow])), Pace(linger=0.0)) as desk:
            began = asyncio.get_running_loop().time()
            desk.offer(1)
            desk.offer(2)
            await asyncio.sleep(1)
            assert desk.lane.next_try_at - began == pytest.approx(45.01)

    run(scene())


def test_the_lowest_is_the_oldest_record_that_is_not_settled() -> None:
    async def scene() -> None:
        async with Running(Service(all_ok), Pace(linger=60.0)) as desk:
            assert desk.lane.lowest() is None
            second, first = desk.offer(2), desk.offer(1)
            assert desk.lane.lowest() == first.event.record
            desk.lane.settle(first)
            assert desk.lane.lowest() == second.event.record

    run(scene())
