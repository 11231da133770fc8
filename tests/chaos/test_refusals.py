"""Records, calls and dead letters that are refused: what is the entry's fault is buried, what is ours waits."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from connector.model import Record, TopicPartition
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.faults import refuse
from tests.chaos.run import Run
from tests.chaos.weather import Choosy
from tests.kafka.process import Daemon, eventually, seen
from tests.kafka.stage import BUS, PRIVATE, Stage, number_of

RECORDS: Final = 1_500
POISON: Final = (1, 700, 701, 1_400)
"""The orders that are refused: near the beginning, two in a row, and near the end."""

HOLDS: Final = "target holds: nothing is lost, nothing is sent until it works again"


def is_poison(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is one of them; the records of `judge` are none."""
    return number_of(entry["Detail"]) in POISON


def first_of(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """The lowest offset of each partition that has any."""
    lowest: dict[TopicPartition, int] = {}
    for record in records:
        lowest[record.tp] = min(record.offset, lowest.get(record.tp, record.offset))
    return lowest


async def passed(here: Stage, bounds: Mapping[TopicPartition, int]) -> list[str]:
    """The partitions that are committed past these offsets."""
    return [f"{tp}: {offset}" for tp, offset in (await here.committed()).items() if offset > bounds.get(tp, offset)]


async def test_of_each_call_only_the_two_refused_entries_are_sent_again(run: Run) -> None:
    """T4"""
    async with run.stage(partitions=4) as here:
        here.bus.faults.add(*(refuse("InternalFailure", entry=at, times=120) for at in (1, 7)))
        written = await here.produce(RECORDS)
        daemon = await here.started()
        await here.until_at_end()
        refused = here.bus.outcomes["entry InternalFailure"]
        run.struck("an entry refused for now", refused)
        assert refused > 100, "most calls have entries at these places"
        assert await daemon.metric("connector_batch_entries_sum") == len(written) + refused
        await run.judge(here, written)


@pytest.mark.chaos
@pytest.mark.parametrize("code", ["MalformedDetail", "ValidationException"])
async def test_a_record_refused_for_ever_is_buried_with_its_reason_and_all_others_are_delivered(
    run: Run, code: str
) -> None:
    """T3"""
    service = Choosy(is_poison, code, 400) if code == "ValidationException" else EventBridge([BUS])
    if code == "MalformedDetail":
        service.faults.add(refuse(code, when=is_poison, times=None))
    async with run.stage(partitions=3, service=service) as here:
        await here.started()
        written = await here.produce(RECORDS)
        await here.until_at_end()
        assert here.numbers() == [number for number in range(RECORDS) if number not in POISON]
        letters = {letter.value: letter for letter in await here.buried()}
        for record in (written[number] for number in POISON):
            letter = letters[record.value]
            why = {name: (value or b"").decode() for name, value in letter.headers}
            place = [why[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset")]
            assert place == [record.tp.topic, str(record.tp.partition), str(record.offset)]
            assert [why[f"__connector.errors.{name}"] for name in ("code", "target", "route")] == [
                code,
                "bus",
                "orders",
            ]
            assert letter.key == record.key
        run.struck("an entry refused for ever", len(POISON))
        await run.judge(here, written, buried=len(POISON))


@pytest.mark.chaos
@pytest.mark.parametrize(("code", "status"), [("SomethingNew", 400), ("UnrecognizedClientException", 401)])
async def test_a_call_refused_for_our_sake_holds_the_lane_and_nothing_is_committed_past_its_record(
    run: Run, code: str, status: int
) -> None:
    """T3"""
    service = Choosy(is_poison, code, status)
    async with run.stage(partitions=3, service=service) as here:
        written = await here.produce(RECORDS)
        bounds = first_of([written[number] for number in POISON])
        daemon = await here.started()
        assert (await daemon.says(HOLDS))["code"] == code
        await seen(lambda: service.refused >= 2, what="it was probed")
        assert await daemon.metric("connector_lane_held") == 1
        assert (await daemon.get("livez"))[0] == 200
        assert await passed(here, bounds) == []
        assert len(here.bus.accepted) < RECORDS
        run.struck(f"a call refused with {status}", service.refused)
        service.content = True
        await run.judge(here, written)


@asynccontextmanager
async def failing(run: Run, here: Stage, how: str) -> AsyncIterator[None]:
    """The dead-letter topic takes no letter, or none of this size, until the block ends."""
    kafka = here.kafka
    run.struck(f"dead-letter topic: {how}")
    match how:
        case "deleted":
            await asyncio.to_thread(kafka.delete, here.dead)
            yield
            await asyncio.to_thread(kafka.create, here.dead)
        case "too few replicas":  # for this topic alone: the others are content with two
            coordinator = await asyncio.to_thread(run.brokers.coordinator, kafka.group)
            victim = run.rng.choice([number for number in run.brokers.numbers if number != coordinator])
            await asyncio.to_thread(kafka.alter, here.dead, min_insync_replicas=3)
            run.brokers.kill(victim)
            yield
            run.brokers.restart(victim)
        case "too large for it":
            await asyncio.to_thread(kafka.alter, here.dead, max_message_bytes=1200)
            yield
            await asyncio.to_thread(kafka.alter, here.dead, max_message_bytes=1000000)


async def told(daemon: Daemon, how: str) -> bool:
    """Whether it says that no letter goes through: by its reason where that is final, else by how long all waits."""
    lanes = json.loads((await daemon.get("status"))[1])["targets"]
    held = next(lane["held"] for lane in lanes if lane["name"] == "dead_letters")
    match how:
        case "deleted":
            return held is not None and held["code"] in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC")
        case "too few replicas":
            return await daemon.metric("connector_oldest_unsettled_age_seconds") > 10
        case _:
            return held is not None and held["code"] == "MSG_SIZE_TOO_LARGE"


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["deleted", "too few replicas", "too large for it"])
async def test_while_the_dead_letter_topic_fails_no_commit_passes_poison_and_then_none_is_lost(
    run: Run, how: str
) -> None:
    """T5"""
    poison = [b"{%s %d %s" % (PRIVATE.encode(), number, b"x" * 2_000) for number in range(40)]
    most = 200
    async with run.stage(partitions=2) as here:
        limits = {"max_open_per_partition": most // 2, "max_uncommitted_per_partition": most}
        daemon = await here.started({"limits": limits})
        written = await here.produce(1_000)
        await here.until_at_end()
        async with failing(run, here, how):
            bad = await here.produce(poison)
            written += [*bad, *await here.produce(2_000)]
            await eventually(lambda: told(daemon, how), what="it says so")
            await seen(lambda: len(here.bus.accepted) > 1_000 + most, what="others are delivered past the poison")
            assert await here.committed() == first_of(bad)
            assert len(here.bus.accepted) <= 1_000 + 2 * most, "back-pressure stops the intake"
            assert (await daemon.get("livez"))[0] == 200
        await run.judge(here, written, buried=len(poison))
        assert {letter.value for letter in await here.buried()} == set(poison)
