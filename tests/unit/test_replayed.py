"""What a replay remembers survives being written, and never says more than was replayed."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from connector.letters.replayed import METADATA_BYTES, Replayed


def test_an_unbroken_run_is_one_offset() -> None:
    memory = Replayed(5)
    for offset in (5, 6, 7):
        memory.saw(offset)
        memory.add(offset)
    assert (memory.base, memory.encode()) == (8, "")


def test_what_is_left_keeps_the_base_and_what_follows_stands_in_the_metadata() -> None:
    memory = Replayed(0)
    for offset in range(6):
        memory.saw(offset)
    for offset in (0, 2, 3, 5):
        memory.add(offset)
    again = Replayed.decode(memory.base, memory.encode())
    assert memory.base == 1
    assert [offset for offset in range(7) if offset not in again] == [1, 4, 6]


def test_a_gap_in_the_offsets_holds_no_letter() -> None:
    memory = Replayed(0)
    for offset in (0, 5):
        memory.saw(offset)
        memory.add(offset)
    assert memory.base == 6


def test_the_letter_that_was_left_over_moves_the_base_past_all_that_followed_it() -> None:
    memory = Replayed.decode(1, Replayed(1, [range(2, 9)]).encode())
    memory.saw(1)
    memory.add(1)
    assert (memory.base, memory.encode()) == (9, "")


def test_metadata_of_somebody_else_says_nothing() -> None:
    for metadata in (None, "", "another tool", "replayed1:", "replayed1:\x00", "replayed1:abcde"):
        assert Replayed.decode(3, metadata).base == 3
        assert 3 not in Replayed.decode(3, metadata)


@given(st.integers(0, 2**40), st.sets(st.integers(0, 3000), max_size=300))
def test_what_is_written_is_read_back(base: int, done: set[int]) -> None:
    memory = Replayed(base)
    for offset in sorted(done):
        memory.add(base + offset)
    again = Replayed.decode(memory.base, memory.encode())
    assert {offset for offset in range(3001) if base + offset in again} == done


def test_ten_thousand_letters_of_two_routes_in_turn_fit_a_commit() -> None:
    random, memory = Random(7), Replayed(0)
    for offset in range(10_000):
        memory.saw(offset)
        if random.random() < 0.5:
            memory.add(offset)
    assert len(memory.encode()) < METADATA_BYTES
