"""The shop writes the same records for the same seed, of every kind, and knows where each one landed."""

import asyncio
from collections import Counter
from itertools import islice
from typing import Any

import orjson
import pytest

from connector.loading.load import load
from connector.model import TopicPartition
from connector.sandbox.broker import RETAINED_BYTES, Broker
from connector.sandbox.demo import shipped
from connector.sandbox.generate import (
    MODES,
    Draft,
    Writer,
    drafts,
    fate_in_everything,
    fate_in_quickstart,
    fate_unknown,
)
from connector.sandbox.prove import DECODE, Fate, Place, Written, payload_digest
from connector.settings import Settings


def some(kind: str, seed: int = 7) -> Draft:
    return next(draft for draft in drafts(seed) if draft.kind == kind)


def value(draft: Draft) -> Any:
    return orjson.loads(draft.value or b"")


def test_the_same_seed_makes_the_same_records() -> None:
    assert list(islice(drafts(3), 300)) == list(islice(drafts(3), 300))


def test_another_seed_makes_other_records() -> None:
    assert list(islice(drafts(3), 20)) != list(islice(drafts(4), 20))


def test_each_hundred_records_hold_every_kind_and_the_first_hundred_one_that_is_too_large() -> None:
    assert Counter(draft.kind for draft in islice(drafts(0), 100)) == {
        "order.created": 26,
        "order.paid": 24,
        "order.shipped": 16,
        "order.cancelled": 6,
        "page.viewed": 13,
        "stock.counted": 5,
        "tombstone": 3,
        "not JSON": 2,
        "missing field": 2,
        "wrong type": 2,
        "too large": 1,
    }


def test_one_record_of_five_hundred_is_too_large() -> None:
    assert sum(draft.kind == "too large" for draft in islice(drafts(0), 1000)) == 2


def test_an_order_is_whole_json_whose_total_is_that_of_its_lines() -> None:
    paid = value(some("order.paid"))
    assert paid["status"] == "PAID"
    assert paid["total"] == pytest.approx(sum(line["quantity"] * line["price"] for line in paid["lines"]))
    assert some("order.paid").payload == payload_digest(paid)


def test_what_is_broken_is_broken_in_one_point_only() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        value(some("not JSON"))
    assert "channel" not in value(some("missing field"))
    assert isinstance(value(some("wrong type"))["channel"], dict)
    assert len(some("too large").value or b"") > 1_048_576
    assert some("tombstone").value is None


def test_no_two_records_have_the_same_content() -> None:
    payloads = [draft.payload for draft in islice(drafts(5), 2000) if draft.value is not None]
    assert len(set(payloads)) == len(payloads)


@pytest.mark.parametrize(
    ("kind", "fate"),
    [
        ("order.created", Fate(delivered=frozenset({"new-orders"}))),
        ("order.paid", Fate(delivered=frozenset({"paid-orders"}))),
        ("order.shipped", Fate(delivered=frozenset({"paid-orders"}))),
        ("order.cancelled", Fate()),
        ("page.viewed", Fate()),
        ("tombstone", Fate()),
        ("not JSON", Fate(buried=frozenset({DECODE}))),
        ("missing field", Fate(buried=frozenset({"paid-orders"}))),
        ("wrong type", Fate(buried=frozenset({"paid-orders"}))),
        ("too large", Fate(buried=frozenset({"paid-orders"}))),
    ],
)
def test_the_fate_of_each_kind_in_the_quickstart_is_known(kind: str, fate: Fate) -> None:
    assert fate_in_quickstart(some(kind)) == fate


def test_every_route_of_the_config_for_all_services_has_a_mode_and_each_mode_gets_records() -> None:
    routes = {route.name for route in everything().routes}
    due = Counter(route for draft in islice(drafts(0), 500) for route in fate_in_everything(draft).delivered)
    assert routes == set(MODES) == set(due)


def test_what_the_quickstart_makes_of_a_draft_the_config_for_all_services_makes_too() -> None:
    for draft in islice(drafts(0), 200):
        usual, all_of_it = fate_in_quickstart(draft), fate_in_everything(draft)
        assert usual.delivered <= all_of_it.delivered
        assert usual.buried == all_of_it.buried


def everything() -> Settings:
    settings = load([shipped("everything.yaml")], {}).settings
    assert settings is not None
    return settings


async def test_each_record_is_told_with_the_place_where_it_landed() -> None:
    told: list[Written] = []
    async with Broker() as broker:
        partitions = await broker.topics("orders")
        writer = Writer(broker.bootstrap_servers, partitions, fate_in_quickstart, told.append)
        await writer.write(drafts(1), 200)
        await writer.close()
    assert Counter(written.kind for written in told) == Counter(draft.kind for draft in islice(drafts(1), 200))
    for tp in partitions:
        offsets = [written.place.offset for written in told if written.place.tp == tp]
        assert offsets == list(range(len(offsets)))
    assert len({written.place for written in told}) == 200


async def test_the_writer_waits_for_commits_before_it_outgrows_what_the_broker_keeps() -> None:
    told: list[Written] = []
    large = some("too large")
    async with Broker() as broker:
        partitions = await broker.topics("orders")
        writer = Writer(broker.bootstrap_servers, partitions, fate_unknown, told.append)
        async with asyncio.TaskGroup() as root:
            writing = root.create_task(writer.write(iter([large] * 6), None))
            await asyncio.sleep(0)  # one step: it has queued what it may
            await writer.flush()
            assert not writing.done()
            assert len(told) * len(large.value or b"") < RETAINED_BYTES
            async with asyncio.timeout(20):
                while not writing.done():
                    writer.committed({written.place.tp: written.place.offset + 1 for written in told})
                    await asyncio.sleep(0)
        await writer.close()
    assert len(told) == 6


async def test_a_rate_spreads_the_records_over_time() -> None:
    told: list[Written] = []
    loop = asyncio.get_running_loop()
    async with Broker() as broker:
        partitions = await broker.topics("orders")
        writer = Writer(broker.bootstrap_servers, partitions, fate_unknown, told.append)
        began = loop.time()
        await writer.write(drafts(1), 21, rate=100)
        assert loop.time() - began >= 0.19
        await writer.close()


async def test_the_timestamp_is_the_clocks() -> None:
    told: list[Written] = []
    clock = iter((1_000.0, 1_000.0, 2_000.0)).__next__
    async with Broker() as broker:
        partitions = await broker.topics("orders")
        writer = Writer(broker.bootstrap_servers, partitions, fate_unknown, told.append, clock=clock)
        await writer.write(iter([some("order.paid")] * 3), None)
        await writer.close()
    assert told[0].raw == told[1].raw != told[2].raw
    assert told[0].place == Place(TopicPartition("orders", told[0].place.tp.partition), 0)
