"""What every registered target must do, whatever service it speaks to."""

import asyncio
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import pytest

from connector.model import BatchRefused, Health, Unpublishable, Verdict
from connector.targets import REGISTRY
from tests.contract.conftest import ADAPTERS, Adapter, World
from tests.contract.wire import ready


def each(items: Callable[[Adapter], Iterable[Any]]) -> pytest.MarkDecorator:
    """One case per target and item of its table; targets without such a table have no cases."""
    cases = [
        pytest.param(adapter, item, id=f"{kind}-{item}")
        for kind, adapter in sorted(ADAPTERS.items())
        for item in items(adapter)
    ]
    return pytest.mark.parametrize(("told", "item"), cases)


def batch(world: World, count: int = 3) -> Any:
    return ready(world.target, *(world.event(number) for number in range(count)))


def test_every_registered_target_has_an_adapter() -> None:
    assert {name.partition(" ")[0] for name in ADAPTERS} == set(REGISTRY)


async def test_a_batch_that_is_taken_is_delivered_entry_by_entry_in_order(world: World) -> None:
    full = min(world.target.limits.entries, 10)
    acks = await world.target.send(batch(world, full))
    assert [ack.verdict for ack in acks] == [Verdict.DELIVERED] * full
    assert world.arrived() == list(range(full))


async def test_a_destination_that_is_there_passes_preflight(world: World) -> None:
    assert (await world.target.preflight()).health is Health.OK


async def test_prepare_changes_nothing_and_says_the_same_twice(world: World) -> None:
    event = world.event(1, "text é")
    before = deepcopy(event)
    assert world.target.prepare(event) == world.target.prepare(event)
    assert event == before


@pytest.mark.parametrize("text", ["", "x" * 1000, "é", "😀", '"\\\n'])
async def test_the_size_of_an_entry_is_what_the_service_counts(world: World, text: str) -> None:
    entries = ready(world.target, world.event(1, text))
    await world.target.send(entries)
    assert world.counted() == [entries[0].size]


async def test_limits_are_lowered_by_config(adapter: Adapter) -> None:
    async with adapter.open({"batch": adapter.lowered}) as world:
        limits = world.target.limits
        assert (limits.entries, limits.bytes, limits.entry_bytes) == (3, 2048, 2048)
        assert world.target.prepare(world.event(1, "x" * 1000)).size < 2048
        with pytest.raises(Unpublishable) as refused:
            world.target.prepare(world.event(1, "x" * 2048))
        assert refused.value.code == "TooLarge"
        assert "x" * 20 not in str(refused.value)


async def test_an_entry_never_exceeds_what_a_call_carries(world: World) -> None:
    assert world.target.limits.entry_bytes <= world.target.limits.bytes


@each(lambda adapter: adapter.entry_codes.items())
async def test_one_entry_that_fails_gets_its_verdict_at_every_index_and_the_others_theirs(
    told: Adapter, item: tuple[str, Verdict]
) -> None:
    code, verdict = item
    async with told.open({}) as world:
        entries = batch(world, 10)
        for index in range(10):
            world.refuse(index, code)
            acks = await world.target.send(entries)
            expected = [Verdict.DELIVERED] * 10
            expected[index] = verdict
            assert [ack.verdict for ack in acks] == expected
            assert acks[index].code == code
            assert acks[index].tries == 0


@each(lambda adapter: adapter.entry_codes.items())
async def test_a_call_whose_entries_all_fail_acknowledges_none(told: Adapter, item: tuple[str, Verdict]) -> None:
    async with told.open({}) as world:
        world.refuse(None, item[0])
        acks = await world.target.send(batch(world))
        assert [ack.code for ack in acks] == [item[0]] * 3
        assert Verdict.DELIVERED not in {ack.verdict for ack in acks}
        assert world.arrived() == []


@each(lambda adapter: adapter.unknown_codes)
async def test_an_unknown_code_of_an_entry_is_retried_five_times(told: Adapter, item: str) -> None:
    async with told.open({}) as world:
        world.refuse(1, item)
        acks = await world.target.send(batch(world))
        assert [(ack.verdict, ack.tries) for ack in acks] == [
            (Verdict.DELIVERED, 0),
            (Verdict.RETRY, 5),
            (Verdict.DELIVERED, 0),
        ]


@each(lambda adapter: [*adapter.entry_codes, *adapter.unknown_codes])
@pytest.mark.parametrize("word", ["retry", "reject", "hold"])
async def test_codes_of_the_settings_go_before_the_table(told: Adapter, item: str, word: str) -> None:
    verdict = {"retry": Verdict.RETRY, "reject": Verdict.REJECTED, "hold": Verdict.HOLD}[word]
    async with told.open({"codes": {item: word}}) as world:
        for index in (0, None):
            world.refuse(index, item)
            acks = await world.target.send(batch(world))
            assert (acks[0].verdict, acks[0].tries) == (verdict, 0)


@each(lambda adapter: adapter.call_codes.items())
async def test_a_refused_call_means_the_same_for_every_entry(
    told: Adapter, item: tuple[tuple[str, int], Verdict]
) -> None:
    (code, status), verdict = item
    async with told.open({}) as world:
        world.refuse_call(code, status)
        entries = batch(world)
        if verdict is Verdict.REJECTED:
            with pytest.raises(BatchRefused) as refused:
                await world.target.send(entries)
            assert (refused.value.ack.verdict, refused.value.ack.code) == (Verdict.REJECTED, code)
        else:
            acks = await world.target.send(entries)
            assert [(ack.verdict, ack.code) for ack in acks] == [(verdict, code)] * 3
        assert world.arrived() == []
        acks = await world.target.send(entries)
        assert [ack.verdict for ack in acks] == [Verdict.DELIVERED] * 3


@each(lambda adapter: adapter.unreadable)
async def test_what_does_not_say_yes_entry_by_entry_is_no_acknowledgement(told: Adapter, item: str) -> None:
    async with told.open({}) as world:
        world.trouble(item)
        acks = await world.target.send(batch(world))
        assert [ack.verdict for ack in acks] == [Verdict.RETRY] * 3
        assert len({ack.code for ack in acks} - {""}) == 1
        assert world.arrived() == ([0, 1, 2] if item.startswith("accepted") else [])
        acks = await world.target.send(batch(world))
        assert [ack.verdict for ack in acks] == [Verdict.DELIVERED] * 3


@each(lambda adapter: adapter.silences)
async def test_a_call_past_its_deadline_is_not_delivered_whether_it_was_taken_or_not(told: Adapter, item: str) -> None:
    async with told.open({"request_timeout": "400ms"}) as world:
        entries = batch(world)
        world.trouble(item)
        acks = await world.target.send(entries)
        assert [(ack.verdict, ack.code) for ack in acks] == [(Verdict.RETRY, "Timeout")] * 3
        assert "400ms" in acks[0].detail or "0.4 s" in acks[0].detail


@each(lambda adapter: adapter.silences)
async def test_a_cancelled_call_ends_at_once_and_leaves_the_target_usable(told: Adapter, item: str) -> None:
    async with told.open({}) as world:
        await world.target.preflight()
        world.trouble(item)
        call = asyncio.ensure_future(world.target.send(batch(world)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.3)
        assert call.cancelled()
        world.mend()
        acks = await world.target.send(batch(world))
        assert [ack.verdict for ack in acks] == [Verdict.DELIVERED] * 3
