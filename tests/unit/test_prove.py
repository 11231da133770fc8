"""Each claim of the proof holds on a right run and falls, naming the record, when that one thing is wrong."""

import dataclasses

import pytest

from connector.model import Record, TopicPartition
from connector.sandbox.prove import DECODE, Books, Fate, Place, Sent, Verdict, Written, payload_digest, raw_digest

TP = TopicPartition("orders", 0)
PAID = Written(Place(TP, 0), "order.paid", Fate(delivered=frozenset({"paid", "audit"})), "p0", "r0")
POISON = Written(Place(TP, 1), "not JSON", Fate(buried=frozenset({DECODE})), "p1", "r1")
UNWANTED = Written(Place(TP, 2), "page.viewed", Fate(), "p2", "r2")
SENT = (Sent(PAID.place, "paid", "p0"), Sent(PAID.place, "audit", "p0"))
DEAD = (Sent(POISON.place, DECODE, "r1"),)


def judged(
    *,
    written: tuple[Written, ...] = (PAID, POISON, UNWANTED),
    sent: tuple[Sent, ...] = SENT,
    dead: tuple[Sent, ...] = DEAD,
    committed: int = 3,
    end: int = 3,
) -> dict[str, Verdict]:
    books = Books()
    for record in written:
        books.wrote(record)
    for event in sent:
        books.delivered(event)
    for letter in dead:
        books.buried(letter)
    books.committed({TP: committed})
    return {verdict.claim: verdict for verdict in books.verdicts(ends={TP: end}, committed={TP: committed})}


def fallen(verdicts: dict[str, Verdict]) -> dict[str, tuple[str, ...]]:
    return {claim: verdict.against for claim, verdict in verdicts.items() if not verdict.holds}


def test_a_right_run_holds_in_every_claim_and_is_counted() -> None:
    verdicts = judged()
    assert fallen(verdicts) == {}
    assert [str(verdict) for verdict in verdicts.values()] == [
        "ok    every record is accounted for: 3 written = 1 delivered + 1 dead-lettered + 1 not routed + 0 missing",
        "ok    each went where it belongs: 3 kinds of records",
        "ok    contents are equal: 3 digests compared",
        "ok    no duplicates: 0 came more than once",
        "ok    no commit ran ahead of a record: the group's offsets were read 1 times while it ran",
        "ok    committed = end: 1 partitions",
    ]


def test_an_event_that_never_arrived_is_named_and_so_is_the_commit_past_it() -> None:
    assert fallen(judged(sent=SENT[:1])) == {
        "every record is accounted for": (
            "orders[0]@0 (order.paid): neither delivered nor dead-lettered by route audit",
        ),
        "no commit ran ahead of a record": (
            "orders[0]@0 (order.paid): neither delivered nor dead-lettered by route audit when 3 was committed",
        ),
    }


def test_a_dead_letter_that_never_arrived_is_named() -> None:
    assert fallen(judged(dead=()))["every record is accounted for"] == (
        "orders[0]@1 (not JSON): neither delivered nor dead-lettered",
    )


def test_a_missing_record_is_counted_as_missing() -> None:
    assert judged(dead=())["every record is accounted for"].found == (
        "3 written = 1 delivered + 0 dead-lettered + 1 not routed + 1 missing"
    )


def test_an_event_that_no_route_should_have_made_is_named() -> None:
    assert fallen(judged(sent=(*SENT, Sent(UNWANTED.place, "paid", "p2")))) == {
        "each went where it belongs": ("orders[0]@2 (page.viewed): delivered by route paid, where it does not belong",)
    }


def test_an_event_that_was_buried_instead_of_delivered_is_accounted_for_but_does_not_belong_there() -> None:
    assert fallen(judged(sent=SENT[:1], dead=(*DEAD, Sent(PAID.place, "audit", "r0")))) == {
        "each went where it belongs": (
            "orders[0]@0 (order.paid): dead-lettered by route audit, where it does not belong",
        )
    }


def test_an_event_of_a_record_that_nobody_wrote_is_named() -> None:
    assert fallen(judged(sent=(*SENT, Sent(Place(TP, 9), "paid", "p9")))) == {
        "each went where it belongs": ("orders[0]@9: delivered by route paid, but the generator never wrote it",)
    }


def test_an_event_with_another_content_is_named() -> None:
    assert fallen(judged(sent=(SENT[0], Sent(PAID.place, "audit", "changed")))) == {
        "contents are equal": ("orders[0]@0 (order.paid): delivered by route audit with another content",)
    }


def test_a_dead_letter_with_another_content_is_named() -> None:
    assert fallen(judged(dead=(Sent(POISON.place, DECODE, "changed"),))) == {
        "contents are equal": ("orders[0]@1 (not JSON): dead-lettered with another content",)
    }


def test_an_event_that_came_twice_is_named_with_its_count() -> None:
    assert fallen(judged(sent=(*SENT, SENT[0], SENT[0]))) == {
        "no duplicates": ("orders[0]@0 (order.paid): delivered 3 times by route paid",)
    }


def test_a_dead_letter_that_came_twice_is_named_with_its_count() -> None:
    assert fallen(judged(dead=DEAD * 2)) == {"no duplicates": ("orders[0]@1 (not JSON): dead-lettered 2 times",)}


def test_a_partition_that_was_not_committed_to_its_end_is_named() -> None:
    assert fallen(judged(committed=2)) == {
        "committed = end": ("orders[0]@2: not committed, the end of the partition is 3",)
    }


def test_a_partition_that_was_never_committed_is_named() -> None:
    books = Books()
    books.wrote(UNWANTED)
    verdicts = books.verdicts(ends={TP: 3}, committed={})
    assert verdicts[-1].against == ("orders[0]@0: not committed, the end of the partition is 3",)


def test_a_commit_that_ran_ahead_is_remembered_though_the_event_arrives_later() -> None:
    books = Books()
    books.wrote(PAID)
    books.delivered(SENT[0])
    books.committed({TP: 1})
    books.delivered(SENT[1])
    verdicts = {verdict.claim: verdict for verdict in books.verdicts(ends={TP: 1}, committed={TP: 1})}
    assert fallen(verdicts) == {
        "no commit ran ahead of a record": (
            "orders[0]@0 (order.paid): neither delivered nor dead-lettered by route audit when 1 was committed",
        )
    }


def test_a_commit_is_judged_once_the_generator_knows_where_its_records_lie() -> None:
    books = Books()
    books.committed({TP: 1})
    books.wrote(PAID)
    books.committed({TP: 1})
    assert books.verdicts(ends={TP: 1}, committed={TP: 1})[4].against == (
        "orders[0]@0 (order.paid): neither delivered nor dead-lettered by route audit when 1 was committed",
        "orders[0]@0 (order.paid): neither delivered nor dead-lettered by route paid when 1 was committed",
    )


def test_an_event_that_comes_again_after_its_record_was_settled_is_a_duplicate() -> None:
    books = Books()
    books.wrote(PAID)
    for event in SENT:
        books.delivered(event)
    books.committed({TP: 1})
    books.delivered(SENT[0])
    verdicts = {verdict.claim: verdict for verdict in books.verdicts(ends={TP: 1}, committed={TP: 1})}
    assert fallen(verdicts) == {
        "no duplicates": ("orders[0]@0: delivered again by route paid, after it was settled and committed",)
    }


def test_a_commit_past_what_was_ever_written_is_named() -> None:
    assert fallen(judged(committed=4, end=4)) == {
        "no commit ran ahead of a record": ("orders[0]@3: committed past, but the generator never wrote it",)
    }


def test_a_run_without_records_proves_nothing() -> None:
    verdicts = judged(written=(), sent=(), dead=(), committed=0, end=0)
    assert fallen(verdicts) == {"every record is accounted for": ("a run without records proves nothing",)}


def test_where_the_routes_are_not_the_generators_own_only_what_can_be_known_is_judged() -> None:
    unknown = dataclasses.replace(PAID, fate=None)
    assert fallen(judged(written=(unknown, POISON, UNWANTED), sent=SENT[:1])) == {}


def test_many_records_against_a_claim_are_cut_in_print_but_counted() -> None:
    verdict = Verdict("claim", "found", tuple(f"record {n}" for n in range(7)))
    assert str(verdict).splitlines() == [
        "FAIL  claim: found",
        "        record 0",
        "        record 1",
        "        record 2",
        "        record 3",
        "        record 4",
        "        and 2 more",
    ]


def test_the_payload_digest_sees_the_value_and_not_its_spelling() -> None:
    assert payload_digest({"b": 1, "a": [1.5, "ü"]}) == payload_digest({"a": [1.5, "ü"], "b": 1})
    assert payload_digest({"a": 1}) != payload_digest({"a": "1"})


def test_the_raw_digest_sees_every_byte_the_order_of_headers_and_the_timestamp() -> None:
    record = Record(TP, 0, 5, b"k", b"v", (("a", b"1"), ("b", None)))
    others = (
        dataclasses.replace(record, key=None),
        dataclasses.replace(record, value=b"w"),
        dataclasses.replace(record, timestamp_ms=6),
        dataclasses.replace(record, headers=(("b", None), ("a", b"1"))),
        dataclasses.replace(record, headers=(("a", b"1"), ("b", b""))),
        dataclasses.replace(record, key=b"kv", value=b""),
    )
    assert len({raw_digest(one) for one in (record, *others)}) == 7
    assert raw_digest(dataclasses.replace(record, offset=8)) == raw_digest(record)


MODES = {"paid": "eventbridge", "audit": "pinpoint"}


def by_mode(*sent: Sent, committed: int = 0) -> dict[str, Verdict]:
    books = Books(MODES)
    for record in (PAID, UNWANTED):
        books.wrote(record)
    for event in sent:
        books.delivered(event)
    books.committed({TP: committed})
    claims = books.verdicts(ends={TP: committed}, committed={TP: committed})
    return {verdict.claim.removeprefix("every record is accounted for in "): verdict for verdict in claims}


@pytest.mark.parametrize("committed", [0, 1])
def test_each_mode_is_held_against_what_was_due_there_whether_or_not_it_is_committed(committed: int) -> None:
    whole = by_mode(*SENT, committed=committed)
    assert [(whole[mode].found, whole[mode].against) for mode in MODES.values()] == [("1 of 1", ()), ("1 of 1", ())]


def test_a_mode_that_lacks_a_record_falls_alone() -> None:
    lacking = by_mode(SENT[0])
    assert lacking["eventbridge"].holds
    assert lacking["pinpoint"].against == ("1 were due, 0 came",)


def test_a_mode_that_no_record_was_due_in_proves_nothing() -> None:
    claims = Books({"unused": "fiddler"}).verdicts(ends={}, committed={})
    assert not next(verdict for verdict in claims if verdict.claim.endswith("fiddler")).holds
