"""Records of an enemy through the whole daemon: each becomes its own events or a dead letter that keeps its bytes."""

import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from connector.model import Headers
from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.iot_events import IotEvents
from tests.hostile import ODD, WORDS, written

pytestmark = pytest.mark.timeout(300)

CONFIG: Final = """
version: 1
kafka: {{bootstrap_servers: "{servers}", group_id: hostile}}
topics: {{hostile: {{key_format: bytes}}}}
targets:
  bus: {{type: eventbridge, region: eu-west-1, endpoint_url: "{bus}", batch: {{linger: 10ms}}}}
  input: {{type: iot_events, region: eu-west-1, endpoint_url: "{input}", batch: {{linger: 10ms}}}}
defaults: {{route: {{topics: [hostile]}}}}
routes:
  - name: bus
    targets: [bus]
    map: {{Source: "s ${{value.kind}}", DetailType: "${{value.kind}}", Detail: "${{value}}"}}
  - {{name: input, targets: [input], map: {{inputName: in, payload: "${{value}}"}}}}
unrouted: dead_letter
dead_letters: {{topic: dead, max_consecutive: 100000}}
commit_interval: 100ms
admin: {{listen: 127.0.0.1:0}}
log: {{level: debug, format: json}}
"""


class Written(NamedTuple):
    """A record as the enemy wrote it."""

    key: bytes | None
    value: bytes
    headers: Headers


def records(rng: random.Random) -> Iterator[Written]:
    """One of each trick, in every place where it can stand."""
    for word in WORDS:
        raw = word.encode("utf-8", "surrogatepass")
        name = word.encode("utf-8", "replace").decode()
        yield Written(raw, written({"kind": word, "id": 1}), ((name, raw),))
        yield Written(raw, written({"kind": "k", word: word, "deep": [{word: [word]}]}), (("traceparent", raw),))
    for value in ODD:
        yield Written(rng.randbytes(9), value, (("ce_id", b"\r\nX: y"), ("a", None)))
    for _ in range(60):
        yield Written(None, rng.randbytes(rng.randrange(1, 60)), (("\r\nX", rng.randbytes(8)),))


def read(message: Message) -> Written:
    headers: Any = message.headers()  # the client's types allow a map and texts, which it never gives
    return Written(message.key(), message.value() or b"", tuple(headers or ()))


def letters(servers: str) -> list[Written]:
    """Every dead letter there is."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": "reader", "log_level": 2})
    try:
        partitions = reader.list_topics("dead", 30).topics["dead"].partitions
        places = [TopicPartition("dead", number, 0) for number in partitions]
        count = sum(reader.get_watermark_offsets(place, 30)[1] for place in places)
        reader.assign(places)
        found: list[Written] = []
        while len(found) < count:
            found += [read(message) for message in reader.consume(100, 0.5) if message.error() is None]
        return found
    finally:
        reader.close()


def write(servers: str, wanted: list[Written]) -> dict[tuple[int, int], Written]:
    """Write them all; give them by partition and offset."""
    places: dict[tuple[int, int], Written] = {}
    producer = Producer({"bootstrap.servers": servers, "log_level": 2})
    for one in wanted:

        def landed(error: Any, message: Message, one: Written = one) -> None:
            assert error is None
            places[message.partition() or 0, message.offset() or 0] = one

        producer.produce("hostile", one.value, one.key, headers=list(one.headers), on_delivery=landed)
    assert producer.flush(60) == 0
    return places


async def carried(folder: Path, servers: str, urls: dict[str, str], count: int) -> str:
    """Run the daemon until so many records are settled; give its log."""
    config = folder / "hostile.yaml"
    config.write_text(CONFIG.format(servers=servers, **urls))
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    command = [sys.executable, "-m", "connector", "run", str(config)]
    running = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environ)
    assert running.stderr is not None
    lines: list[bytes] = []

    async def hear(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            lines.append(line)

    hearing = asyncio.create_task(hear(running.stderr))
    try:
        while not (found := re.search(rb'"admin":"([^"]+)"', b"".join(lines))):
            assert running.returncode is None, b"".join(lines)
            await asyncio.sleep(0.05)
        async with aiohttp.ClientSession() as session:
            settled = 0
            while settled < count:
                async with session.get(found[1].decode() + "status") as answer:
                    totals = (await answer.json())["totals"]
                settled = totals["consumed"] - totals["open_records"]
                await asyncio.sleep(0.1)
        running.terminate()
        assert await running.wait() == 0
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
        await hearing
    return b"".join(lines).decode()


async def test_every_record_of_an_enemy_is_its_own_event_or_a_dead_letter_and_one_line_of_the_log(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    wanted = list(records(random.Random(seed)))
    async with Broker() as broker, EventBridge() as bus, IotEvents(["in"]) as inputs:
        servers = broker.bootstrap_servers
        await broker.topics("hostile", "dead")
        places = await asyncio.to_thread(write, servers, wanted)
        log = await carried(tmp_path, servers, {"bus": bus.url, "input": inputs.url}, len(wanted))
        carried_to = Counter(item.partition("/")[0] for event in bus.accepted for item in event.resources)
        buried = await asyncio.to_thread(letters, servers)

    lost = Counter({f"hostile-{partition}-{offset}": 1 for partition, offset in places}) - carried_to
    assert len(bus.accepted) == len(carried_to), "an event came out of another"
    paid = len(inputs.accepted)
    for letter in buried:
        told = dict(letter.headers)
        place = int(told["__connect.errors.partition"] or b""), int(told["__connect.errors.offset"] or b"")
        own = tuple(pair for pair in letter.headers if not pair[0].startswith("__conne"))
        assert (letter.key, letter.value, own) == places[place]
        paid += told["__connector.errors.target"] != b"bus"
        if told["__connector.errors.target"] != b"input":
            del lost[f"hostile-{place[0]}-{place[1]}"]
    assert lost == Counter()
    assert paid == len(wanted)
    for event in bus.accepted:
        partition, offset = (int(part) for part in event.resources[-1].partition("/")[0].split("-")[1:])
        value = places[partition, offset].value
        assert json.loads(event.detail) == json.loads(value)
        assert event.detail_type == json.loads(value)["kind"]
    payloads = Counter(json.dumps(json.loads(one.payload)) for one in inputs.accepted)
    assert payloads <= Counter(json.dumps(json.loads(places[place].value)) for place in decoded(places))
    assert bus.accepted
    assert inputs.accepted
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
    assert not re.search("jndi|evil|DROP TABLE|Traceback", log)


def decoded(places: dict[tuple[int, int], Written]) -> Iterator[tuple[int, int]]:
    """Where what is JSON to Python stands."""
    for place, one in places.items():
        try:
            json.loads(one.value)
        except (ValueError, RecursionError):
            continue
        yield place
