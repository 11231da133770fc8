"""The Ledger against a plain model: a set of what is owed."""

import os

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from connector.commit import Ledger, Split, Totals
from connector.model import Record, Settle, TopicPartition

TP = TopicPartition("orders", 0)


def record(offset: int, size: int = 3) -> Record:
    return Record(TP, offset, 0, None, b"x" * size)


class LedgerAgainstModel(RuleBasedStateMachine):
    """Any order of opens, settles (repeated ones too), revokes and late acks; the model is a dict of sets."""

    settles = Bundle("settles")

    @initialize(start=st.integers(0, 1000))
    def begin(self, start: int) -> None:
        self.totals = Totals()
        self.ledger = Ledger(TP, 1, self.totals)
        self.next = start
        self.seen: list[int] = []
        self.owed: dict[int, set[int]] = {}
        self.position: int | None = None
        self.highest: int | None = None
        self.count = 0
        self.repeats = 0

    @rule(target=settles, gap=st.integers(0, 5), entries=st.integers(0, 4), size=st.integers(0, 9))
    def open_a_record(self, gap: int, entries: int, size: int) -> object:
        offset = self.next + gap
        self.next = offset + 1
        opened = self.ledger.open(record(offset, size), entries, 0.0)
        assert len(opened) == entries
        self.seen.append(offset)
        debts = []
        for settle in opened:
            self.count += 1
            self.owed.setdefault(offset, set()).add(self.count)
            debts.append((self.ledger, offset, self.count, settle))
        return multiple(*debts)

    @rule(debt=settles)
    def settle_one(self, debt: tuple[Ledger, int, int, Settle]) -> None:
        """The bundle keeps the debt, so it is settled again and again, and after a revoke too."""
        ledger, offset, number, settle = debt
        settle()
        if ledger is not self.ledger:
            return
        left = self.owed.get(offset, set())
        left.discard(number)
        if not left:
            self.owed.pop(offset, None)

    @rule(debt=consumes(settles))
    def settle_once_more_and_forget(self, debt: tuple[Ledger, int, int, Settle]) -> None:
        self.settle_one(debt)
        self.settle_one(debt)

    @rule(beyond=st.integers(0, 3))
    def hear_the_position(self, beyond: int) -> None:
        self.position = self.next + beyond
        self.next = self.position
        self.ledger.advance(self.position)

    @rule()
    def lose_the_partition_and_get_it_again(self) -> None:
        old = self.ledger
        old.close()
        self.ledger = Ledger(TP, old.epoch + 1, self.totals)
        self.seen, self.owed, self.position, self.highest = [], {}, None, None

    @invariant()
    def committable_is_the_lowest_owed_else_what_was_passed(self) -> None:
        committable = self.ledger.committable
        if self.owed:
            assert committable == min(self.owed)
        elif self.position is not None:
            assert committable == max(self.position, *[offset + 1 for offset in self.seen], 0)
        else:
            assert committable == (self.seen[-1] + 1 if self.seen else None)

    @invariant()
    def committable_never_goes_back_within_an_assignment(self) -> None:
        committable = self.ledger.committable
        if self.highest is not None:
            assert committable is not None
            assert committable >= self.highest
        self.highest = committable

    @invariant()
    def the_sums_are_those_of_the_model(self) -> None:
        assert self.ledger.open_records == len(self.owed) == self.totals.records
        assert self.ledger.open_bytes == self.totals.bytes
        assert self.ledger.uncommitted == (len([o for o in self.seen if o >= min(self.owed)]) if self.owed else 0)


EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "10000"))  # fewer only where each mutant of the ledger runs this test
LedgerAgainstModel.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=12, deadline=None)
TestLedgerAgainstModel = pytest.mark.timeout(400)(LedgerAgainstModel.TestCase)


def test_nothing_is_committable_before_the_first_record() -> None:
    assert Ledger(TP, 1).committable is None


def test_a_new_ledger_has_seen_nothing() -> None:
    ledger = Ledger(TP, 1)
    assert (ledger.last, ledger.position, ledger.oldest_at, ledger.closed) == (-1, None, None, False)
    assert (ledger.open_records, ledger.open_bytes, ledger.uncommitted) == (0, 0, 0)


@pytest.mark.parametrize(("offset", "next_one"), [(0, 1), (7, 8)])
def test_a_record_that_owes_nothing_is_passed_at_once(offset: int, next_one: int) -> None:
    ledger = Ledger(TP, 1)
    assert ledger.open(record(offset), 0, 0.0) == ()
    assert ledger.committable == next_one


def test_a_record_for_several_routes_stays_owed_until_all_are_settled() -> None:
    ledger = Ledger(TP, 1)
    first, second = ledger.open(record(7), 2, 0.0)
    first()
    assert ledger.committable == 7
    second()
    assert ledger.committable == 8


def test_a_settle_that_is_called_twice_pays_no_other_entry_and_is_counted() -> None:
    totals = Totals()
    ledger = Ledger(TP, 1, totals)
    first, second = ledger.open(record(7), 2, 0.0)
    first()
    first()
    assert ledger.committable == 7
    assert totals.repeats == 1
    second()
    assert ledger.committable == 8


def test_an_ack_after_the_revoke_changes_nothing() -> None:
    totals = Totals()
    old = Ledger(TP, 1, totals)
    (late,) = old.open(record(7), 1, 0.0)
    old.close()
    new = Ledger(TP, 2, totals)
    (owed,) = new.open(record(7), 1, 0.0)
    late()
    assert new.committable == 7
    assert totals.records == 1
    owed()
    assert new.committable == 8


def test_a_closed_ledger_owes_nothing_and_takes_no_new_debt() -> None:
    totals = Totals()
    ledger = Ledger(TP, 1, totals)
    ledger.open(record(7), 1, 0.0)
    ledger.close()
    assert (ledger.closed, ledger.open_records, ledger.open_bytes) == (True, 0, 0)
    (settle,) = ledger.open(record(8), 1, 0.0)  # a record that was on its way when the partition went
    settle()
    assert (ledger.open_records, ledger.open_bytes, totals.records, totals.bytes) == (0, 0, 0, 0)
    assert ledger.committable == 7


def test_a_gap_of_compaction_or_of_transaction_markers_owes_nothing() -> None:
    ledger = Ledger(TP, 1)
    (first,) = ledger.open(record(3), 1, 0.0)
    (second,) = ledger.open(record(90), 1, 0.0)
    first()
    assert ledger.committable == 90
    second()
    assert ledger.committable == 91
    ledger.advance(95)
    assert ledger.committable == 95


def test_the_position_is_not_committable_while_an_earlier_record_owes() -> None:
    ledger = Ledger(TP, 1)
    ledger.open(record(3), 1, 0.0)
    ledger.advance(100)
    assert ledger.committable == 3


def test_a_record_at_or_below_the_last_one_is_refused_because_its_partition_has_restarted() -> None:
    ledger = Ledger(TP, 1)
    ledger.open(record(3), 1, 0.0)
    with pytest.raises(ValueError, match="not above 3"):
        ledger.open(record(3), 1, 0.0)


def test_settled_callback_names_the_partition_when_a_record_is_paid_in_full() -> None:
    told: list[TopicPartition] = []
    ledger = Ledger(TP, 1, None, told.append)
    first, second = ledger.open(record(3), 2, 0.0)
    first()
    assert told == []
    second()
    assert told == [TP]


def test_the_age_is_that_of_the_lowest_owed_record() -> None:
    ledger = Ledger(TP, 1)
    (first,) = ledger.open(record(3), 1, 10.0)
    ledger.open(record(4), 1, 20.0)
    assert ledger.oldest_at == 10.0
    first()
    assert ledger.oldest_at == 20.0


def test_what_is_settled_behind_the_lowest_owed_record_still_counts_as_uncommitted() -> None:
    ledger = Ledger(TP, 1)
    (head,) = ledger.open(record(3), 1, 0.0)
    for offset in range(4, 10):
        (settle,) = ledger.open(record(offset), 1, 0.0)
        settle()
    assert ledger.uncommitted == 7
    assert ledger.open_records == 1
    head()
    assert ledger.uncommitted == 0


def test_a_record_that_is_made_anew_owes_the_new_before_the_old_is_paid() -> None:
    ledger = Ledger(TP, 1)
    (old,) = ledger.open(record(0), 1, 0.0)
    ledger.advance(1)
    new = ledger.owe(0, 2)
    assert new is not None
    old()
    assert ledger.committable == 0
    new[0]()
    assert ledger.committable == 0
    new[1]()
    assert ledger.committable == 1


def test_nothing_more_is_owed_for_a_record_that_is_settled_unknown_or_of_an_assignment_that_has_ended() -> None:
    ledger = Ledger(TP, 1)
    (settle,) = ledger.open(record(0), 1, 0.0)
    settle()
    ledger.open(record(1), 1, 0.0)
    assert ledger.owe(0, 1) is None
    assert ledger.owe(7, 1) is None
    assert ledger.owe(1, 0) == ()
    ledger.close()
    assert ledger.owe(1, 1) is None


def test_a_debt_that_is_split_is_paid_once_when_each_of_its_parts_was() -> None:
    paid: list[str] = []
    first, second = Split(lambda: paid.append("whole"), 2).parts
    first()
    first()  # a repeated ack pays nobody else's part
    assert paid == []
    second()
    second()
    assert paid == ["whole"]


def test_a_debt_of_no_parts_is_paid_at_once() -> None:
    paid: list[str] = []
    assert Split(lambda: paid.append("whole"), 0).parts == ()
    assert paid == ["whole"]
