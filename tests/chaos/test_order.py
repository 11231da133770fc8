"""Order is struck: retries, partial failures, rebalances and a crash, with 64 calls in flight (T15)."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial

import pytest

from connector.model import Record, TopicPartition
from connector.sandbox.faults import error, refuse, slow
from tests.chaos.run import Run, session
from tests.kafka.process import Daemon, eventually
from tests.kafka.stage import Place, Stage, merged, orders

KEYS = 300


def restarts(taken: Iterable[Place], written: Iterable[Record], order: str) -> dict[object, int]:
    """How often what must keep its order among itself went back, by key or partition.

    Fails where anything came before what precedes it: after a step back each goes on record by record, too.
    """
    group = {Place(one.tp, one.offset): (one.tp, one.key if order == "key" else None) for one in written}
    lines: dict[object, list[Place]] = defaultdict(list)
    for place in sorted(group):
        lines[group[place]].append(place)
    number = {place: index for line in lines.values() for index, place in enumerate(line)}
    at: dict[object, int] = dict.fromkeys(lines, -1)
    backs: dict[object, int] = defaultdict(int)
    for place in taken:
        if (line := group.get(place)) is None:
            continue  # a probe
        assert number[place] <= at[line] + 1, f"{place.tp}@{place.offset} came before what precedes it"
        backs[line] += number[place] <= at[line]
        at[line] = number[place]
    return backs


def test_the_judge_of_order_sees_what_came_too_early_and_counts_what_came_again() -> None:
    records = [record(offset, b"%d" % (offset % 2)) for offset in range(6)]
    places = [Place(one.tp, one.offset) for one in records]
    assert restarts(places, records, "key") == dict.fromkeys([(records[0].tp, b"0"), (records[0].tp, b"1")], 0)
    again = [places[i] for i in (0, 2, 1, 0, 2, 3, 4, 5)]
    assert restarts(again, records, "key")[records[0].tp, b"0"] == 1
    with pytest.raises(AssertionError, match=r"t0.*@4 came before"):
        restarts([places[i] for i in (0, 1, 4, 2)], records, "key")
    with pytest.raises(AssertionError, match=r"t0.*@2 came before"):
        restarts(again, records, "partition")


def record(offset: int, key: bytes) -> Record:
    """A record of one partition."""
    return Record(TopicPartition("t0", 0), offset, 0, key, b"1")


@pytest.mark.chaos
@pytest.mark.parametrize(("order", "protocol"), [("key", "classic"), ("partition", "consumer")])
async def test_in_order_nothing_overtakes_whatever_fails_and_whoever_joins_and_leaves(
    run: Run, order: str, protocol: str
) -> None:
    """T15

    Only a crash makes something come again, and then every record from there on, in order.
    """
    async with run.stage(partitions=6) as here:
        here.bus.random.seed(run.rng.random())
        pace = {
            "order": order,
            "max_in_flight": 64,
            "batch": {"linger": "5ms", "max_entries": 4},
            "retry": {"initial": "10ms", "max": "50ms"},
        }
        group = session(run) if protocol == "classic" else {"kafka": {"group_protocol": "consumer"}}
        changes = merged(group, {"targets": {"bus": pace}, "drain_timeout": "15s"})  # each key has a queue to finish
        here.bus.faults.add(
            refuse("ThrottlingException", probability=0.2, times=None),
            slow(0.8 if order == "key" else 0.01, times=None),
            *(error("InternalFailure", status=500) for _ in range(20)),
        )
        run.struck("call failed", 20)
        first = await here.started(changes)
        written = await more(here, 0, 2_000)
        await here.until_committed(100)
        joined = await here.started(changes)
        await until_it_works(here, joined, written)
        run.struck("member joined")
        most = await first.metric("connector_in_flight")
        assert await first.stop() == 0
        run.struck("member left")
        last = await here.started(changes)
        await until_it_works(here, last, written)
        assert here.repeated() == 0
        assert await joined.metric("connector_retries_total") > 20
        written += await more(here, len(written), 2_000)
        await here.until_committed(sum((await here.committed()).values()) + 1)
        assert len(here.bus.accepted) < len(written), "the last member to go goes after the last record"
        if protocol == "classic":
            await run.kill(here, joined)
        else:
            assert await joined.stop() == 0
        await run.judge(here, written)
        backs = restarts(here.taken(), written, order)
        print(f"calls in flight {most}; of {len(backs)} lines {sum(backs.values())} began again")
        assert max(backs.values()) <= run.faults["SIGKILL"]


async def more(here: Stage, first: int, records: int) -> list[Record]:
    """Write more records."""
    key = lambda i: b"%d" % ((first + i) % KEYS)  # noqa: E731 - it goes with the numbers
    return await here.wrote(partial(here.kafka.produce, here.topic, orders(records, first), key=key))


async def until_it_works(here: Stage, member: Daemon, written: list[Record]) -> None:
    """Wait until a member has a part of the partitions, and something of it delivered; the load goes on meanwhile."""

    async def works() -> bool:
        if len(here.bus.accepted) > len(written) - 1_000:
            written.extend(await more(here, len(written), 500))
        return await member.metric("connector_events_total") > 0

    await eventually(works, within=120, what="the member that joined has delivered something")
