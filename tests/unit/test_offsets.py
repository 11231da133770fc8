"""Offsets on their way to Kafka: one flight at a time, nothing forgotten, nothing of an epoch that has ended."""

from connector.model import TopicPartition
from connector.offsets import Offsets

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Ours:
    """The partitions that are ours, each with its epoch."""

    def __init__(self, *tps: TopicPartition, epoch: int = 1) -> None:
        self.epochs = dict.fromkeys(tps, epoch)

    def __call__(self, tp: TopicPartition, epoch: int) -> bool:
        return self.epochs.get(tp) == epoch


def test_what_is_wanted_departs_once_and_is_done_when_it_lands() -> None:
    offsets, ours = Offsets(), Ours(A, B)
    offsets.want({A: (5, 1), B: (7, 1)}, ours, 0.0)
    assert offsets.depart(ours, 0.0) == {A: 5, B: 7}
    assert offsets.busy is True
    assert offsets.land((), ours, 1.0) == ({A: 5, B: 7}, {})
    assert offsets.depart(ours, 2.0) == {}
    assert (offsets.busy, offsets.since) == (False, None)


def test_one_commit_flies_at_a_time_and_of_what_comes_meanwhile_the_newest_follows() -> None:
    offsets, ours = Offsets(), Ours(A)
    offsets.want({A: (5, 1)}, ours, 0.0)
    offsets.depart(ours, 0.0)
    offsets.want({A: (6, 1)}, ours, 1.0)
    offsets.want({A: (8, 1)}, ours, 1.0)
    assert offsets.depart(ours, 1.0) == {}
    assert offsets.land((), ours, 2.0) == ({A: 5}, {})
    assert offsets.depart(ours, 2.0) == {A: 8}


def test_what_flies_already_is_not_sent_again() -> None:
    offsets, ours = Offsets(), Ours(A)
    offsets.want({A: (5, 1)}, ours, 0.0)
    offsets.depart(ours, 0.0)
    offsets.want({A: (5, 1)}, ours, 1.0)
    offsets.land((), ours, 2.0)
    assert not offsets.busy


def test_an_offset_of_another_epoch_is_not_even_taken() -> None:
    offsets, ours = Offsets(), Ours(B, epoch=2)
    offsets.want({A: (5, 1), B: (3, 1)}, ours, 0.0)
    assert not offsets.busy
    assert offsets.since is None


def test_an_epoch_that_ends_while_its_offset_waits_takes_the_offset_with_it() -> None:
    offsets, ours = Offsets(), Ours(A, B)
    offsets.want({A: (5, 1), B: (3, 1)}, ours, 0.0)
    ours.epochs[A] = 2
    assert offsets.depart(ours, 1.0) == {B: 3}
    ours.epochs[B] = 2
    assert offsets.land((), ours, 1.0) == ({}, {})
    assert offsets.land((), ours, 1.0) == ({}, {})
    assert offsets.since is None


def test_nothing_is_left_when_the_last_waiting_offset_turns_out_to_be_stale() -> None:
    offsets, ours = Offsets(), Ours(A)
    offsets.want({A: (5, 1)}, ours, 0.0)
    ours.epochs.clear()
    assert offsets.depart(ours, 1.0) == {}
    assert not offsets.busy
    assert offsets.since is None


def test_a_refused_offset_waits_a_tenth_of_a_second_and_departs_again() -> None:
    offsets, ours = Offsets(), Ours(A, B)
    offsets.want({A: (5, 1), B: (7, 1)}, ours, 0.0)
    offsets.depart(ours, 0.0)
    assert offsets.land({A}, ours, 10.0) == ({B: 7}, {A: 5})
    assert offsets.depart(ours, 10.09) == {}
    assert offsets.busy
    assert offsets.depart(ours, 10.1) == {A: 5}


def test_a_refused_offset_gives_way_to_a_newer_one_that_waits() -> None:
    offsets, ours = Offsets(), Ours(A)
    offsets.want({A: (5, 1)}, ours, 0.0)
    offsets.depart(ours, 0.0)
    offsets.want({A: (9, 1)}, ours, 1.0)
    assert offsets.land({A}, ours, 2.0) == ({}, {A: 5})
    assert offsets.depart(ours, 3.0) == {A: 9}


def test_a_refusal_for_a_partition_that_has_gone_is_not_tried_again() -> None:
    offsets, ours = Offsets(), Ours(A)
    offsets.want({A: (5, 1)}, ours, 0.0)
    offsets.depart(ours, 0.0)
    ours.epochs.clear()
    assert offsets.land({A}, ours, 1.0) == ({}, {})
    assert not offsets.busy


def test_the_stall_counts_from_the_first_offset_that_could_be_committed_and_anew_from_each_confirmation() -> None:
    offsets, ours = Offsets(), Ours(A, B)
    stalls = [offsets.since]
    offsets.want({A: (5, 1)}, ours, 10.0)
    offsets.want({B: (6, 1)}, ours, 20.0)
    stalls.append(offsets.since)
    offsets.depart(ours, 21.0)
    offsets.land({A, B}, ours, 22.0)
    stalls.append(offsets.since)
    offsets.depart(ours, 30.0)
    offsets.land({B}, ours, 31.0)
    stalls.append(offsets.since)
    offsets.depart(ours, 40.0)
    offsets.land((), ours, 41.0)
    stalls.append(offsets.since)
    assert stalls == [None, 10.0, 10.0, 31.0, None]


def test_partitions_that_have_gone_are_forgotten_where_they_wait() -> None:
    offsets, ours = Offsets(), Ours(A, B)
    offsets.want({A: (5, 1), B: (7, 1)}, ours, 0.0)
    offsets.forget([A], 1.0)
    assert offsets.depart(ours, 1.0) == {B: 7}
    offsets.land({B}, ours, 2.0)
    offsets.forget([A, B], 3.0)
    assert not offsets.busy
    assert offsets.since is None
