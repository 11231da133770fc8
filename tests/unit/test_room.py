"""Room for the consumer thread: no grant is exceeded, and a partition that stands still does so for a reason."""

from random import Random

import pytest

from connector.model import TopicPartition
from connector.room import Credit, Owned, Part, Room

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
OTHER = TopicPartition("other", 0)
T, BOTH = frozenset({"t"}), frozenset({"t", "other"})
PLENTY = 1 << 30


def granted(records: int = 10_000, size: int = PLENTY, **each: int) -> Room:
    """A room whose partitions a, b have been granted so much, and run."""
    room = Room()
    totals = {{"a": A, "b": B}[name]: (total, 1) for name, total in each.items()}
    for tp in totals:
        room.assign(tp, 1)
    room.grant(Credit(records, size, totals))
    stop, go = room.turn(0.0, shut=False)
    assert (list(stop), set(go)) == ([], set(totals))
    return room


def take(room: Room, tp: TopicPartition, times: int, size: int = 1) -> None:
    for _ in range(times):
        room.took(tp, size)


# one partition


def test_a_new_partition_is_paused_and_has_no_room_and_no_history() -> None:
    mine = Owned(3)
    assert (mine.assigned, mine.epoch, mine.room, mine.paused, mine.held) == (3, 3, 0, True, "")
    assert (mine.last, mine.told, mine.confirmed) == (-1, -1, -1)


def test_the_leader_epoch_of_an_offset_is_that_of_the_record_before_it() -> None:
    mine = Owned(1)
    for offset, leader in ((4, 2), (5, 2), (6, 3), (7, None)):
        mine.saw(offset, leader)
    assert [mine.leader_epoch(offset) for offset in (3, 4, 5, 6, 7, 90)] == [None, None, 2, 2, 3, 3]
    assert mine.last == 7


def test_a_confirmed_offset_still_knows_the_leader_epoch_before_it_and_all_later_ones() -> None:
    mine = Owned(1)
    for offset, leader in ((4, 1), (6, 2), (8, 3)):
        mine.saw(offset, leader)
    mine.confirm(4)
    assert [mine.leader_epoch(offset) for offset in (5, 7, 9)] == [1, 2, 3]
    mine.confirm(7)
    assert mine.confirmed == 7
    assert [mine.leader_epoch(offset) for offset in (5, 7, 9)] == [None, 2, 3]


def test_a_restart_forgets_what_was_seen_but_not_the_assignment_nor_what_was_taken() -> None:
    mine = Owned(1)
    mine.saw(4, 2)
    mine.told = 5
    mine.confirm(5)
    mine.taken = 7
    mine.restart(2)
    assert (mine.assigned, mine.epoch, mine.taken) == (1, 2, 7)
    assert (mine.last, mine.told, mine.confirmed, mine.leader_epoch(9)) == (-1, -1, -1, None)


# what fits


def test_a_partition_stands_still_until_it_is_granted_room() -> None:
    room = Room()
    room.assign(A, 1)
    assert room.turn(0.0, shut=False) == ([], [])
    room.grant(Credit(100, PLENTY, {A: (10, 1)}))
    assert room.owned[A].paused
    assert room.turn(0.0, shut=False) == ([], [A])
    assert not room.owned[A].paused
    assert room.turn(0.0, shut=False) == ([], [])
    assert room.fit() == 10


def test_while_every_partition_stands_still_one_record_is_asked_for_so_that_the_client_is_polled() -> None:
    room = Room()
    assert room.fit() == 1
    room.assign(A, 1)
    assert room.fit() == 1


def test_no_take_is_larger_than_the_room_of_the_narrowest_partition_that_runs() -> None:
    room = granted(a=30, b=20)
    assert room.fit() == 20
    take(room, B, 5)
    assert room.fit() == 15
    take(room, A, 20)
    assert room.fit() == 10


def test_no_take_is_larger_than_the_room_of_all() -> None:
    room = granted(7, a=1000)
    assert room.fit() == 7
    take(room, A, 3)
    assert room.fit() == 4
    take(room, A, 6)
    assert room.fit() == 0


def test_no_take_is_larger_than_five_hundred() -> None:
    assert granted(a=1000).fit() == 500


def test_the_room_of_bytes_counts_in_records_of_the_mean_size() -> None:
    room = granted(size=4096, a=1000)
    assert room.fit() == 4  # a kilobyte each, until something is known
    room.took(A, 65 * 1024)  # the mean is two kilobytes now
    room.grant(Credit(10_000, 65 * 1024 + 16 * 1024 - 1, {}))
    assert room.fit() == 7


def test_one_record_fits_while_any_byte_is_left_and_none_after_that() -> None:
    room = granted(size=10, a=1000)
    assert room.fit() == 1
    take(room, A, 9)
    assert room.fit() == 1
    take(room, A, 1)
    assert room.fit() == 0
    take(room, A, 1)
    assert room.fit() == 0


def test_records_without_bytes_do_not_make_the_room_of_bytes_endless() -> None:
    room = granted(size=5, a=2000)
    take(room, A, 1500, size=0)
    assert room.fit() == 5


# grants


def test_a_grant_for_another_epoch_or_a_partition_that_is_not_ours_is_dropped() -> None:
    room = Room()
    room.assign(A, 2)
    room.grant(Credit(100, PLENTY, {A: (10, 1), B: (10, 2)}))
    assert room.turn(0.0, shut=False) == ([], [])
    assert room.owned.keys() == {A}


def test_a_new_assignment_of_a_partition_that_runs_starts_paused_and_without_room() -> None:
    room = granted(a=10)
    room.assign(A, 2)
    assert room.fit() == 1
    assert room.turn(0.0, shut=False) == ([], [])
    assert room.owned[A].epoch == 2


def test_a_partition_that_is_removed_is_returned_and_no_longer_narrows_the_others() -> None:
    room = granted(a=10, b=20)
    take(room, A, 1)
    gone = room.remove([A, TopicPartition("t", 9)])
    assert {tp: mine.taken for tp, mine in gone.items()} == {A: 1}
    assert room.fit() == 20
    assert room.turn(0.0, shut=True) == ([B], [])


# pausing


def test_a_partition_is_paused_alone_below_an_eighth_of_its_widest_room_and_resumed_from_a_half_on() -> None:
    room = granted(a=80, b=80)
    take(room, A, 70)
    assert room.turn(0.0, shut=False) == ([], [])
    take(room, A, 1)
    assert room.turn(0.0, shut=False) == ([A], [])
    assert room.owned[A].paused
    assert room.fit() == 80
    room.grant(Credit(10_000, PLENTY, {A: (110, 1)}))
    assert room.turn(0.0, shut=False) == ([], [])
    room.grant(Credit(10_000, PLENTY, {A: (111, 1)}))
    assert room.turn(0.0, shut=False) == ([], [A])


def test_a_partition_runs_on_with_its_last_eighth_even_if_that_is_one_record() -> None:
    room = granted(a=8)
    take(room, A, 7)
    assert room.turn(0.0, shut=False) == ([], [])
    assert room.fit() == 1


def test_the_widest_room_is_kept_when_less_is_granted() -> None:
    room = granted(a=80)
    take(room, A, 79)
    room.grant(Credit(10_000, PLENTY, {A: (88, 1)}))
    assert room.turn(0.0, shut=False) == ([A], [])


def test_a_room_of_one_record_is_used_to_the_last() -> None:
    room = granted(a=1)
    assert room.fit() == 1
    take(room, A, 1)
    assert room.turn(0.0, shut=False) == ([A], [])
    room.grant(Credit(10_000, PLENTY, {A: (2, 1)}))
    assert room.turn(0.0, shut=False) == ([], [A])


def test_what_was_paused_for_another_reason_is_resumed_at_the_next_turn() -> None:
    room = granted(a=10, b=20)
    room.pause(A)
    assert room.owned[A].paused
    assert room.fit() == 20
    assert room.turn(0.0, shut=False) == ([], [A])


def test_a_held_partition_is_paused_and_not_resumed_however_much_it_is_granted() -> None:
    room = granted(a=10, b=10)
    room.hold(A, "a record that cannot be read")
    assert room.owned[A].held == "a record that cannot be read"
    assert room.turn(0.0, shut=False) == ([A], [])
    room.grant(Credit(10_000, PLENTY, {A: (1000, 1)}))
    assert room.turn(0.0, shut=False) == ([], [])


def test_while_shut_everything_stands_still_and_what_is_assigned_later_too() -> None:
    room = granted(a=10)
    assert room.turn(0.0, shut=True) == ([A], [])
    room.assign(B, 1)
    room.grant(Credit(10_000, PLENTY, {A: (20, 1), B: (20, 1)}))
    assert room.turn(0.0, shut=True) == ([], [])
    stop, go = room.turn(0.0, shut=False)
    assert (list(stop), set(go)) == ([], {A, B})


# without room for anybody


@pytest.mark.parametrize(("records", "size", "bytes_each"), [(16, PLENTY, 1), (10_000, 1600, 100)])
def test_without_room_for_all_the_partitions_are_paused_after_two_seconds_and_not_before(
    records: int, size: int, bytes_each: int
) -> None:
    room = granted(records, size, a=1000)
    take(room, A, 16, bytes_each)
    for now in (100.0, 101.9):
        assert room.turn(now, shut=False) == ([], [])
    assert room.turn(102.0, shut=False) == ([A], [])


def test_one_byte_that_is_left_is_room() -> None:
    room = granted(size=1601, a=1000)
    take(room, A, 16, 100)
    room.turn(100.0, shut=False)
    assert room.turn(102.0, shut=False) == ([], [])


def test_more_than_all_of_the_room_may_be_taken_and_counts_as_none_left() -> None:
    room = granted(size=1600, a=1000)
    take(room, A, 1, 2000)
    room.turn(100.0, shut=False)
    assert room.turn(102.0, shut=False) == ([A], [])


def test_the_two_seconds_begin_anew_when_there_was_room_in_between() -> None:
    room = granted(16, a=1000)
    take(room, A, 16)
    room.turn(100.0, shut=False)
    room.grant(Credit(17, PLENTY, {}))
    assert room.turn(101.0, shut=False) == ([], [])
    take(room, A, 1)
    room.turn(101.5, shut=False)
    assert room.turn(103.4, shut=False) == ([], [])
    assert room.turn(103.5, shut=False) == ([A], [])


def dry(records: int = 16, size: int = PLENTY, times: int = 16, bytes_each: int = 1) -> Room:
    """A room that is used up: its one partition was paused at 102 seconds."""
    room = granted(records, size, a=1000)
    take(room, A, times, bytes_each)
    room.turn(100.0, shut=False)
    assert room.turn(102.0, shut=False) == ([A], [])
    return room


@pytest.mark.parametrize(
    ("used", "credit"),
    [((16, PLENTY, 16, 1), Credit(18, PLENTY, {})), ((10_000, 1600, 16, 100), Credit(10_000, 1800, {}))],
    ids=["records", "bytes"],
)
def test_an_eighth_of_the_widest_room_ends_the_pause_at_once(used: tuple[int, int, int, int], credit: Credit) -> None:
    room = dry(*used)
    room.grant(credit)
    assert room.turn(103.0, shut=False) == ([], [A])


@pytest.mark.parametrize(
    ("used", "credit"),
    [((17, PLENTY, 17, 1), Credit(19, PLENTY, {})), ((10_000, 1600, 16, 100), Credit(10_000, 1799, {}))],
    ids=["records", "bytes"],
)
def test_less_than_an_eighth_has_to_last_for_two_seconds_to_end_the_pause(
    used: tuple[int, int, int, int], credit: Credit
) -> None:
    room = dry(*used)
    room.grant(credit)
    assert room.turn(103.0, shut=False) == ([], [])
    assert room.turn(104.9, shut=False) == ([], [])
    assert room.turn(105.0, shut=False) == ([], [A])


def test_a_pause_that_has_ended_begins_again_only_after_two_more_seconds() -> None:
    room = dry()
    room.grant(Credit(32, PLENTY, {}))
    room.turn(103.0, shut=False)
    take(room, A, 16)
    assert room.turn(104.0, shut=False) == ([], [])
    assert room.turn(105.9, shut=False) == ([], [])
    assert room.turn(106.0, shut=False) == ([A], [])


# parts of the room


def parted(*tps: TopicPartition, each: int = 1000, **parts: Part) -> Room:
    """A room whose partitions have been granted so much each, in these parts, and run."""
    room = Room()
    for tp in tps:
        room.assign(tp, 1)
    room.grant(Credit(10_000, PLENTY, dict.fromkeys(tps, (each, 1)), parts))
    assert set(room.turn(0.0, shut=False)[1]) == set(tps)
    return room


def test_no_take_is_larger_than_what_is_left_of_any_part() -> None:
    room = parted(A, B, OTHER, bus=Part(T, 100, 100), all=Part(BOTH, 100, 120))
    assert room.fit() == 100
    take(room, A, 30)
    take(room, B, 30)
    assert room.fit() == 40
    take(room, OTHER, 30)
    assert room.fit() == 30


def test_the_partitions_of_a_part_stand_still_below_an_eighth_of_it_and_go_on_from_a_half() -> None:
    room = parted(A, B, OTHER, bus=Part(T, 80, 80))
    take(room, A, 70)
    assert room.turn(0.0, shut=False) == ([], [])
    take(room, A, 1)
    stop, go = room.turn(0.0, shut=False)
    assert (set(stop), go) == ({A, B}, [])
    assert room.fit() == 500  # the others do not feel it
    room.grant(Credit(10_000, PLENTY, {}, {"bus": Part(T, 80, 71 + 39)}))
    assert room.turn(0.0, shut=False) == ([], [])
    room.grant(Credit(10_000, PLENTY, {}, {"bus": Part(T, 80, 71 + 40)}))
    stop, go = room.turn(0.0, shut=False)
    assert (stop, set(go)) == ([], {A, B})
    assert room.fit() == 40


def test_a_part_that_begins_with_little_left_is_open_all_the_same() -> None:
    room = parted(A, OTHER, bus=Part(T, 100, 30))
    assert room.fit() == 30


def test_a_part_counts_what_was_taken_before_it_was_made_and_bounds_nothing_once_it_is_gone() -> None:
    room = parted(A, OTHER)
    take(room, A, 200)
    room.grant(Credit(10_000, PLENTY, {}, {"bus": Part(T, 100, 210)}))
    assert room.turn(0.0, shut=False) == ([A], [])  # 10 of 100 are left
    room.grant(Credit(10_000, PLENTY, {}, {}))
    assert room.turn(0.0, shut=False) == ([], [A])
    assert room.fit() == 500


def test_a_part_that_stays_is_as_shut_as_before_when_another_comes() -> None:
    room = parted(A, OTHER, bus=Part(T, 100, 100))
    take(room, A, 95)
    assert room.turn(0.0, shut=False) == ([A], [])
    room.grant(Credit(10_000, PLENTY, {}, {"bus": Part(T, 100, 95 + 30), "": Part(BOTH, 100, 500)}))
    assert room.turn(0.0, shut=False) == ([], [])


def test_a_part_of_which_nothing_is_left_stands_still_however_small_it_is() -> None:
    room = parted(A, OTHER, bus=Part(T, 1, 1))
    assert room.fit() == 1
    take(room, A, 1)
    assert room.turn(0.0, shut=False) == ([A], [])
    assert room.fit() == 500
    room.grant(Credit(10_000, PLENTY, {}, {"bus": Part(T, 1, 2)}))
    assert room.turn(0.0, shut=False) == ([], [A])


@pytest.mark.parametrize("seed", range(20))
def test_however_late_records_and_grants_arrive_no_more_than_a_part_is_ever_open(seed: int) -> None:
    """The loop hears of records late, the thread of grants: what the one reckons with is never what is true."""
    random = Random(seed)
    tps = [TopicPartition("t", number) for number in range(random.randint(1, 9))]
    half = random.choice([1, 5, 100, 2000])
    room = Room()
    for tp in tps:
        room.assign(tp, 1)
    posted: list[TopicPartition] = []
    heard = settled = taken = 0
    granted: list[Credit] = []
    for _ in range(3000):
        match random.randrange(5):
            case 0:
                fits = room.fit()
                assert all(room.owned[tp].paused for tp in tps) or taken + fits - settled <= half, f"seed {seed}"
                running = [tp for tp in tps if not room.owned[tp].paused]
                for _ in range(random.randint(0, fits) if running else 0):
                    posted.append(random.choice(running))
                    room.took(posted[-1], 1)
                    taken += 1
            case 1:
                heard = random.randint(heard, taken)
            case 2:
                settled = random.randint(settled, heard)
            case 3:
                each = {tp: (posted[:heard].count(tp) + half, 1) for tp in tps}
                part = Part(T, half, heard + half - (heard - settled))
                granted.append(Credit(10 * half + heard, PLENTY, each, {"bus": part}))
            case _:
                for credit in granted[: random.randint(0, len(granted))]:
                    room.grant(credit)
                    granted.remove(credit)
                room.turn(0.0, shut=False)
        assert taken - settled <= half, f"seed {seed}"
    assert settled > half
