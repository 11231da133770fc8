"""Batches by count, bytes, uniqueness and linger."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from connector.batch import Batcher, Trigger, halve, pack
from connector.model import Alike, Entry, Event, Limits, Record, TopicPartition

LIMITS = Limits(entries=3, bytes=100, entry_bytes=100)


def entry(size: int = 1, group: str = "", unique: str | None = None, alike: Alike | None = None) -> Entry:
    record = Record(TopicPartition("orders", 0), 0, 0, None, None)
    return Entry(Event(record, "r", "t", {}, "id"), None, size, group, unique, lambda: None, alike)


def test_a_batch_closes_when_its_last_entry_arrives() -> None:
    batcher = Batcher(LIMITS, 1.0)
    first, second, third = entry(), entry(), entry()
    assert batcher.add(first, 0.0) == []
    assert batcher.add(second, 0.0) == []
    (closed,) = batcher.add(third, 0.0)
    assert closed.batch == (first, second, third)
    assert closed.trigger is Trigger.COUNT
    assert batcher.deadline is None


def test_it_is_empty_while_no_batch_is_open() -> None:
    batcher = Batcher(LIMITS, 1.0)
    seen = [batcher.is_empty]
    batcher.add(entry(), 0.0)
    seen.append(batcher.is_empty)
    batcher.flush()
    assert [*seen, batcher.is_empty] == [True, False, True]


def test_an_entry_that_does_not_fit_starts_the_next_batch() -> None:
    batcher = Batcher(LIMITS, 1.0)
    small, large = entry(60), entry(41)
    batcher.add(small, 0.0)
    (closed,) = batcher.add(large, 0.0)
    assert closed.batch == (small,)
    assert closed.trigger is Trigger.BYTES
    assert batcher.flush()[0].batch == (large,)


def test_a_batch_that_is_filled_to_the_byte_closes_at_once() -> None:
    batcher = Batcher(LIMITS, 1.0)
    batcher.add(entry(60), 0.0)
    (closed,) = batcher.add(entry(40), 0.0)
    assert len(closed.batch) == 2


def test_entries_of_one_unique_never_share_a_batch() -> None:
    batcher = Batcher(LIMITS, 1.0)
    first, same = entry(unique="a"), entry(unique="a")
    batcher.add(first, 0.0)
    (closed,) = batcher.add(same, 0.0)
    assert closed.batch == (first,)
    assert closed.trigger is Trigger.UNIQUE


def test_entries_of_different_uniques_share_a_batch() -> None:
    batcher = Batcher(LIMITS, 1.0)
    for name in "ab":
        assert batcher.add(entry(unique=name), 0.0) == []
    assert len(batcher) == 2


def test_entries_that_say_different_things_of_one_thing_never_share_a_batch() -> None:
    batcher = Batcher(LIMITS, 1.0)
    first, agrees, differs = (entry(alike=Alike("device", state)) for state in ("on", "on", "off"))
    assert batcher.add(first, 0.0) == []
    assert batcher.add(agrees, 0.0) == []
    (closed,) = batcher.add(differs, 0.0)
    assert (closed.batch, closed.trigger) == ((first, agrees), Trigger.UNIQUE)


def test_entries_that_speak_of_different_things_or_of_none_share_a_batch() -> None:
    batcher = Batcher(Limits(entries=9, bytes=100, entry_bytes=100), 1.0)
    for alike in (Alike("one", "on"), Alike("other", "off"), None, Alike("one", "on")):
        assert batcher.add(entry(alike=alike), 0.0) == []
    assert len(batcher) == 4


def test_groups_never_share_a_batch() -> None:
    batcher = Batcher(LIMITS, 1.0)
    batcher.add(entry(group="post"), 0.0)
    batcher.add(entry(group="patch"), 0.0)
    assert [len(closed.batch) for closed in batcher.flush()] == [1, 1]


def test_linger_counts_from_the_first_entry_of_a_batch() -> None:
    batcher = Batcher(LIMITS, 0.5)
    batcher.add(entry(), 10.0)
    batcher.add(entry(), 10.4)
    assert batcher.deadline == 10.5
    assert batcher.due(10.49) == []
    (closed,) = batcher.due(10.5)
    assert len(closed.batch) == 2
    assert closed.trigger is Trigger.LINGER


def test_the_group_that_has_waited_longest_sets_the_deadline() -> None:
    batcher = Batcher(LIMITS, 0.5)
    batcher.add(entry(group="post"), 10.0)
    batcher.add(entry(group="patch"), 10.25)
    assert batcher.deadline == 10.5
    (closed,) = batcher.due(10.5)
    assert closed.batch[0].group == "post"
    assert batcher.deadline == 10.75


ALIKE = st.none() | st.builds(Alike, st.sampled_from("xy"), st.sampled_from("12"))
PLAN = st.tuples(st.integers(1, 100), st.sampled_from("ab"), st.sampled_from([None, "u", "v"]), ALIKE)


@given(st.lists(PLAN, max_size=60))
def test_no_batch_breaks_a_limit_and_none_loses_or_reorders_an_entry(
    plan: list[tuple[int, str, str | None, Alike | None]],
) -> None:
    entries = [entry(*line) for line in plan]
    batches = [closed.batch for closed in pack(entries, LIMITS, Trigger.FLUSH)]
    for batch in batches:
        assert 1 <= len(batch) <= 3
        assert sum(e.size for e in batch) <= 100
        assert len({e.group for e in batch}) == 1
        uniques = [e.unique for e in batch if e.unique is not None]
        assert len(uniques) == len(set(uniques))
        said = {e.alike for e in batch if e.alike is not None}
        assert len({alike.thing for alike in said}) == len(said)
    for group in "ab":
        packed = [e for batch in batches for e in batch if e.group == group]
        assert packed == [e for e in entries if e.group == group]


@pytest.mark.parametrize("size", [2, 3, 10])
def test_halving_keeps_every_entry_once(size: int) -> None:
    batch = tuple(entry() for _ in range(size))
    first, second = halve(batch)
    assert first.batch + second.batch == batch
    assert first.batch
    assert second.batch
