"""The commit-safety monitor catches each violation that it is there for, and nothing else."""

import pytest

from connector.model import TopicPartition
from tests.kafka.monitor import Assigned, Committed, Happening, Monitor, Moved, Revoked, Settled, Taken

A = TopicPartition("orders", 0)
B = TopicPartition("orders", 1)


def heard(*happenings: Happening) -> Monitor:
    monitor = Monitor()
    monitor.hear(*happenings)
    return monitor


def test_a_member_that_takes_settles_commits_and_gives_back_is_safe() -> None:
    heard(
        Assigned("m", 1, (A, B)),
        Taken("m", 1, A, 0),
        Taken("m", 1, A, 5),
        Taken("m", 1, B, 7, owes=2),
        Settled("m", 1, A, 5),
        Committed("m", 1, A, 0),
        Settled("m", 1, A, 0),
        Committed("m", 1, A, 6),
        Settled("m", 1, B, 7),
        Settled("m", 1, B, 7),
        Committed("m", 1, B, 8),
        Revoked("m", (A, B)),
    ).safe(at_least=3)


def test_a_position_past_the_last_record_may_be_committed() -> None:
    heard(
        Assigned("m", 1, (A,)), Taken("m", 1, A, 2), Settled("m", 1, A, 2), Moved("m", 1, A, 7), Committed("m", 1, A, 7)
    ).safe()


def test_a_record_that_owes_nothing_may_be_committed_past() -> None:
    heard(Assigned("m", 1, (A,)), Taken("m", 1, A, 2, owes=0), Committed("m", 1, A, 3)).safe()


def test_a_new_epoch_begins_anew_and_may_commit_lower() -> None:
    heard(
        Assigned("m", 1, (A,)),
        Taken("m", 1, A, 9),
        Settled("m", 1, A, 9),
        Committed("m", 1, A, 10),
        Assigned("m", 2, (A,)),
        Taken("m", 2, A, 0),
        Settled("m", 2, A, 0),
        Committed("m", 2, A, 1),
    ).safe(at_least=2)


def test_a_late_ack_of_an_ended_epoch_changes_nothing() -> None:
    heard(
        Assigned("m", 1, (A,)),
        Taken("m", 1, A, 0),
        Revoked("m", (A,)),
        Settled("m", 1, A, 0),
        Assigned("m", 2, (A,)),
        Taken("m", 2, A, 0),
        Committed("m", 2, A, 0),
    ).safe()


def test_two_members_of_one_log_are_told_apart() -> None:
    heard(
        Assigned("m", 1, (A,)),
        Assigned("n", 1, (B,)),
        Taken("m", 1, A, 0),
        Taken("n", 1, B, 0),
        Settled("n", 1, B, 0),
        Committed("n", 1, B, 1),
        Committed("m", 1, A, 0),
    ).safe()


@pytest.mark.parametrize(
    ("happenings", "words"),
    [
        pytest.param(
            [Committed("m", 1, A, 0)],
            "m, happening 1: orders[0] was committed to 0 while not assigned in epoch 1",
            id="commit without an assignment",
        ),
        pytest.param(
            [Assigned("m", 1, (B,)), Committed("m", 1, A, 0)],
            "m, happening 2: orders[0] was committed to 0 while not assigned in epoch 1",
            id="commit of another partition",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Committed("n", 1, A, 0)],
            "n, happening 2: orders[0] was committed to 0 while not assigned in epoch 1",
            id="commit of another member's partition",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 0, owes=0), Revoked("m", (A,)), Committed("m", 1, A, 1)],
            "m, happening 4: orders[0] was committed to 1 while not assigned in epoch 1",
            id="commit after the revoke",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Assigned("m", 2, (A,)), Taken("m", 2, A, 0, owes=0), Committed("m", 1, A, 1)],
            "m, happening 4: orders[0] was committed to 1 while not assigned in epoch 1",
            id="commit of an ended epoch",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 4, owes=0), Committed("m", 1, A, 6)],
            "m, happening 3: orders[0] was committed to 6, past the position 5",
            id="commit past the last record",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Moved("m", 1, A, 5), Committed("m", 1, A, 6)],
            "m, happening 3: orders[0] was committed to 6, past the position 5",
            id="commit past the position",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 4), Taken("m", 1, A, 5, owes=0), Committed("m", 1, A, 5)],
            "m, happening 4: orders[0] was committed to 5, past 4 which is not settled",
            id="commit past an unsettled record",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 4, owes=2), Settled("m", 1, A, 4), Committed("m", 1, A, 5)],
            "m, happening 4: orders[0] was committed to 5, past 4 which is not settled",
            id="commit past a record that is settled in part",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Moved("m", 1, A, 9), Committed("m", 1, A, 9), Committed("m", 1, A, 8)],
            "m, happening 4: orders[0] was committed to 8 after 9: it goes back",
            id="commit that goes back",
        ),
        pytest.param(
            [Taken("m", 1, A, 3)],
            "m, happening 1: orders[0]@3 was taken while orders[0] was not assigned in epoch 1",
            id="record without an assignment",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Revoked("m", (A,)), Taken("m", 1, A, 3)],
            "m, happening 3: orders[0]@3 was taken while orders[0] was not assigned in epoch 1",
            id="record after the revoke",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 3), Taken("m", 1, A, 3)],
            "m, happening 3: orders[0]@3 was taken after 3: offsets go up within an epoch",
            id="the same record twice in an epoch",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Moved("m", 1, A, 9), Taken("m", 1, A, 3)],
            "m, happening 3: orders[0]@3 was taken after the position 9 was told",
            id="record before the position",
        ),
        pytest.param(
            [Moved("m", 1, A, 3)],
            "m, happening 1: a position of orders[0] was told while it was not assigned in epoch 1",
            id="position without an assignment",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Taken("m", 1, A, 3), Settled("m", 1, A, 3), Settled("m", 1, A, 3)],
            "m, happening 4: orders[0]@3 owes nothing and was settled: it may have paid another's debt",
            id="settled more often than owed",
        ),
        pytest.param(
            [Assigned("m", 1, (A,)), Revoked("m", (A,)), Assigned("m", 1, (A,))],
            "m, happening 3: epoch 1 of orders[0] has ended and begins again",
            id="an epoch twice",
        ),
    ],
)
def test_each_violation_is_caught_and_named(happenings: list[Happening], words: str) -> None:
    assert heard(*happenings).violations == [words]


def test_every_violation_is_shown_not_only_the_first() -> None:
    monitor = heard(Committed("m", 1, A, 0), Taken("m", 1, B, 0))
    with pytest.raises(AssertionError, match=r"(?s)happening 1: .*happening 2: "):
        monitor.safe()


def test_a_log_without_the_expected_commits_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="only 0 commits were heard, 1 were expected"):
        heard(Assigned("m", 1, (A,))).safe()
