"""Room per partition, then in all; what may be committed, and by which epoch."""

from connector.assignment import Assignment, Bounds
from connector.model import Record, Settle, TopicPartition
from connector.room import Part

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
OTHER = TopicPartition("returns", 0)
BOUNDS = Bounds(max_open_records=20, max_open_bytes=1000, max_open_per_partition=8, max_uncommitted_per_partition=12)


def assignment(*tps: TopicPartition, bounds: Bounds = BOUNDS) -> Assignment:
    made = Assignment(bounds, lambda: None)
    made.assign(1, tps)
    return made


def take(of: Assignment, tp: TopicPartition, offset: int, size: int = 10) -> Settle:
    record = Record(tp, offset, 0, None, b"x" * size)
    share = of.took(tp, [record], of.shares[tp].ledger.epoch)
    assert share is of.shares[tp]
    (settle,) = share.ledger.open(record, 1, 0.0)
    return settle


def test_a_new_partition_has_the_whole_of_its_own_limit() -> None:
    credit = assignment(A).credit()
    assert credit == (20, 1000, {A: (8, 1)}, {})


def test_only_the_partitions_whose_room_has_changed_are_named() -> None:
    of = assignment(A, B)
    of.credit()
    take(of, A, 0)()
    assert of.credit().per_partition == {A: (9, 1)}
    assert of.credit().per_partition == {}


def test_a_partition_is_full_until_it_is_granted_room_and_again_when_all_of_it_is_taken() -> None:
    of = assignment(A, B)
    assert list(of.full()) == [A, B]
    of.credit()
    assert list(of.full()) == []
    for offset in range(8):
        take(of, A, offset)
    assert list(of.full()) == [A]


def test_what_was_taken_beyond_the_limits_of_all_is_no_room_and_no_debt() -> None:
    of = assignment(A, bounds=Bounds(2, 100, 8, 12))
    for offset in range(3):
        take(of, A, offset, size=50)
    assert of.credit() == (3, 150, {A: (8, 1)}, {})


def test_every_record_that_is_paid_in_full_is_told() -> None:
    told: list[str] = []
    of = Assignment(BOUNDS, lambda: told.append("settled"))
    of.assign(1, [A])
    settle = take(of, A, 0)
    assert told == []
    settle()
    assert told == ["settled"]


def test_settling_gives_room_again() -> None:
    of = assignment(A)
    settles = [take(of, A, offset) for offset in range(8)]
    assert of.credit().per_partition == {A: (8, 1)}
    settles[3]()
    assert of.credit() == (8 + 13, 80 + 930, {A: (9, 1)}, {})


def test_what_is_settled_behind_a_stuck_head_counts_against_the_uncommitted_limit() -> None:
    of = assignment(A)
    take(of, A, 0)
    for offset in range(1, 12):
        take(of, A, offset)()
    assert of.shares[A].ledger.open_records == 1
    assert of.credit().per_partition == {A: (12, 1)}  # all of it taken: no room


def test_partitions_that_a_held_lane_stops_share_half_of_the_room() -> None:
    of = assignment(A, B)
    for offset in range(8):
        take(of, A, offset)
    for offset in range(1):
        take(of, B, offset)
    assert of.credit({A, B}).per_partition == {A: (8, 1), B: (8, 1)}
    take(of, B, 1)
    assert of.credit({A, B}).per_partition == {B: (2, 1)}
    assert of.credit(()).per_partition == {B: (8, 1)}


def test_a_partition_that_a_hold_policy_stopped_gets_nothing_more() -> None:
    of = assignment(A)
    take(of, A, 0)
    assert of.credit().per_partition == {A: (8, 1)}
    of.halt(A, "a record that cannot be mapped")
    assert of.credit().per_partition == {A: (1, 1)}
    of.halt(A, "another one")
    assert of.shares[A].halted == "a record that cannot be mapped"


def test_a_partition_that_has_gone_cannot_be_halted_nor_restarted() -> None:
    of = assignment(A)
    of.close([A])
    of.halt(A, "a record that cannot be mapped")
    of.restart(2, A)
    assert of.shares == {}


def test_a_restarted_partition_begins_a_new_epoch_and_owes_nothing_of_the_old_one() -> None:
    of = assignment(A)
    take(of, A, 90)()
    of.confirm({A: 91})
    late = take(of, A, 91)
    of.credit()
    of.restart(2, A)
    assert (of.totals.records, of.shares[A].ledger.epoch) == (0, 2)
    assert of.credit().per_partition == {A: (10, 2)}  # the two that were taken still count, but none is open
    take(of, A, 90)()
    late()
    assert of.committable() == {A: (91, 2)}  # Kafka confirmed a 91 of other records


def test_a_restarted_partition_is_granted_anew_even_if_its_room_is_the_same() -> None:
    of = assignment(A)
    assert of.credit().per_partition == {A: (8, 1)}
    of.restart(2, A)
    assert of.credit().per_partition == {A: (8, 2)}


def test_a_record_that_owes_nothing_takes_no_room() -> None:
    of = assignment(A)
    of.credit()
    of.took(A, [Record(A, 0, 0, None, None)], 1)
    of.shares[A].ledger.open(Record(A, 0, 0, None, None), 0, 0.0)
    assert of.credit().per_partition == {A: (9, 1)}


def test_after_a_restart_an_ack_of_the_old_records_does_not_move_the_new_ones() -> None:
    of = assignment(A)
    late = take(of, A, 5)
    of.restart(2, A)
    take(of, A, 5)
    late()
    assert of.committable() == {A: (5, 2)}
    assert of.totals.records == 1


def test_a_revoked_partition_gives_back_its_share_of_the_global_room() -> None:
    of = assignment(A, B)
    for offset in range(8):
        take(of, A, offset)
    of.close([A])
    assert of.credit().records == 8 + 20
    assert of.totals.records == 0


def test_committable_names_the_epoch_and_only_what_is_not_confirmed_yet() -> None:
    of = assignment(A, B)
    take(of, A, 5)()
    take(of, B, 7)
    assert of.committable() == {A: (6, 1), B: (7, 1)}
    of.confirm({A: 6, B: 7})
    assert of.committable() == {}


def test_a_confirmation_for_a_partition_that_has_gone_is_nobodys() -> None:
    of = assignment(A)
    of.close([A])
    of.confirm({A: 6})
    assert of.shares == {}


def test_an_ack_of_the_old_assignment_does_not_move_the_new_one() -> None:
    of = assignment(A)
    late = take(of, A, 5)
    of.assign(2, [A])
    assert of.totals.records == 0
    take(of, A, 5)
    late()
    assert of.committable() == {A: (5, 2)}


def test_the_oldest_open_record_is_that_of_all_partitions() -> None:
    of = assignment(A, B)
    of.shares[A].ledger.open(Record(A, 0, 0, None, None), 1, 30.0)
    of.shares[B].ledger.open(Record(B, 0, 0, None, None), 1, 20.0)
    assert of.oldest_at() == 20.0


def test_what_some_topics_may_take_together_counts_from_what_they_brought_so_far() -> None:
    of = assignment(A, B, OTHER)
    take(of, A, 0)
    take(of, B, 0)
    take(of, OTHER, 0)
    both = frozenset({"orders", "returns"})
    left = {"bus": (frozenset({"orders"}), 8), "all": (both, -1)}
    assert of.credit((), left).parts == {"bus": Part(frozenset({"orders"}), 10, 2 + 8), "all": Part(both, 10, 3 - 1)}
    assert of.credit().parts == {}


def test_a_record_of_an_assignment_that_has_ended_is_counted_all_the_same_because_the_thread_counted_it() -> None:
    of = assignment(A)
    assert of.took(A, [Record(A, 0, 0, None, b"x" * 10)], 7) is None
    assert of.took(B, [Record(B, 0, 0, None, b"x" * 10)], 1) is None
    assert of.credit((), {"bus": (frozenset({"orders"}), 5)}) == (
        22,
        1020,
        {A: (8, 1)},
        {"bus": Part(frozenset({"orders"}), 10, 7)},
    )


def test_of_a_room_for_one_record_a_half_is_still_one() -> None:
    assert assignment(A, bounds=Bounds(1, 100, 8, 12)).half == 1


def test_records_that_come_together_count_each() -> None:
    of = assignment(A)
    of.credit()
    share = of.took(A, [Record(A, offset, 0, None, b"x" * (10 + offset)) for offset in range(3)], 1)
    assert share is of.shares[A]
    assert share.taken == 3
    assert of.credit((), {"bus": (frozenset({"orders"}), 5)}) == (
        23,
        1033,
        {A: (11, 1)},
        {"bus": Part(frozenset({"orders"}), 10, 8)},
    )
