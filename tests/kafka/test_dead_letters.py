"""A poison record's whole way on the real broker: buried, the config mended, replayed, delivered, and not twice."""

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from connector.model import Record
from tests.kafka.cluster import Kafka
from tests.kafka.process import eventually, seen, spawn
from tests.kafka.stage import Stage, orders, stage

pytestmark = pytest.mark.broker

STRICT: Final = {"Source": "com.acme.shop", "DetailType": "Order ${value.status}"}
MENDED: Final = {"Source": "com.acme.shop", "DetailType": 'Order ${value.?status.orValue("placed")}'}


def mapped(here: Stage, fields: Mapping[str, Any], topic: str = "") -> dict[str, Any]:
    """Changes of the config: the route with this map."""
    return {"routes": [{"name": "orders", "topics": [topic or here.topic], "targets": ["bus"], "map": fields}]}


async def dead_letters(here: Stage, config: Path, command: str, *flags: str) -> tuple[int, dict[str, Any]]:
    """Run `connector dead-letters` as a process: its exit code and what it says as JSON."""
    out, errors = config.with_suffix(f".{command}.out"), config.with_suffix(f".{command}.err")
    process = spawn(["dead-letters", command, str(config), *flags, "--json"], errors, out)
    try:
        await seen(lambda: process.poll() is not None, within=60, what=f"dead-letters {command} has ended")
    finally:
        process.kill()
        code = process.wait(10)
    assert out.read_text(), errors.read_text()
    return code, json.loads(out.read_text())


def original(record: Record) -> tuple[Any, ...]:
    """What a record was before it was buried."""
    own = tuple(pair for pair in record.headers if not pair[0].startswith(("__connect.", "__connector.")))
    return record.key, record.value, record.timestamp_ms, own


async def test_a_poison_record_is_buried_the_config_mended_and_the_letter_replayed_once(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path) as here:
        daemon = await here.started(mapped(here, STRICT))
        poison = await here.produce([*orders(3), b"\xffnot JSON"])
        await here.until_at_end()
        letters = await here.buried()
        assert [original(letter) for letter in letters] == [original(record) for record in poison]
        assert await daemon.stop() == 0

        mended = here.write(mapped(here, MENDED))
        code, found = await dead_letters(here, mended, "replay", "--yes")
        assert (code, found["replayed"], found["stopped"]) == (1, 3, "")
        assert [(one["code"], one["letters"]) for one in found["left"]] == [("NotJSON", 1)]
        ids = [f"{record.tp.topic}-{record.tp.partition}-{record.offset}/orders" for record in poison[:3]]
        assert [event.resources[-1] for event in here.bus.accepted] == ids
        assert [event.detail.encode() for event in here.bus.accepted] == [record.value for record in poison[:3]]

        _, found = await dead_letters(here, mended, "replay", "--yes")  # nobody but the group remembers
        assert (found["replayed"], found["replayed_before"], len(here.bus.accepted)) == (0, 3, 3)
        assert [original(letter) for letter in await here.buried()] == [original(letter) for letter in letters]


async def test_a_letter_that_goes_back_to_its_topic_is_delivered_under_its_first_id(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with stage(kafka, tmp_path) as here:
        topic = kafka.topic()  # beside the stage's own, which takes a payload at one place only
        daemon = await here.started(mapped(here, STRICT, topic))
        (poison,) = await here.produce(1, topic=topic)
        await eventually(here.buried, what="the record is buried")
        assert await daemon.stop() == 0
        mended = mapped(here, MENDED, topic)
        code, found = await dead_letters(here, here.write(mended), "replay", "--to-source", "--yes")
        assert (code, found["replayed"]) == (0, 1)
        back = (await asyncio.to_thread(kafka.read, topic))[-1]
        assert (back.tp, back.offset) == (poison.tp, poison.offset + 1)
        assert original(back) == original(poison)
        daemon = await here.started(mended)
        await seen(lambda: here.bus.accepted, what="the bus has the event")
        (event,) = here.bus.accepted
        assert event.resources[-1] == f"{poison.tp.topic}-{poison.tp.partition}-{poison.offset}/orders"
        assert event.detail.encode() == poison.value
        assert await daemon.stop() == 0


async def test_only_one_replay_runs_and_one_that_was_stopped_goes_on_where_it_was(kafka: Kafka, tmp_path: Path) -> None:
    async with stage(kafka, tmp_path) as here:
        daemon = await here.started(mapped(here, STRICT))
        await here.produce(90)
        await here.until_at_end()
        assert await daemon.stop() == 0
        mended = here.write(mapped(here, MENDED))
        errors, other = mended.with_suffix(".err"), mended.with_suffix(".other")
        process = spawn(["dead-letters", "replay", str(mended), "--yes", "--rate", "5/s"], errors)
        second = None
        try:
            await seen(lambda: len(here.bus.accepted) >= 3, what="some letters are replayed")
            second = spawn(["dead-letters", "replay", str(mended), "--yes"], other)
            await seen(lambda: second is not None and second.poll() is not None, what="the second replay has ended")
            assert process.poll() is None, "the first goes on"
            process.send_signal(signal.SIGINT)
            await seen(lambda: process.poll() is not None, what="the first replay has ended")
        finally:
            for one in (process, second):
                if one is not None:
                    one.kill()
                    one.wait(10)
        assert "another replay of this group runs" in other.read_text()
        assert errors.read_text() == ""
        first = len(here.bus.accepted)
        code, found = await dead_letters(here, mended, "replay", "--yes")
        assert (code, found["replayed"], found["replayed_before"]) == (0, 90 - first, first)
        assert here.missing(await asyncio.to_thread(kafka.read, here.topic)) == []
        assert here.repeated() == 0
