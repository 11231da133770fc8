"""A real process on the embedded broker, as an operator meets it: signals, tokens, a config mended and broken."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import EventBridge

pytestmark = pytest.mark.timeout(300)

TOKEN: Final = "token-CANARY-0123456789"
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
CONFIG: Final = """
version: 1
vars: {{api_token: vars-CANARY, word: !env WORD}}
kafka:
  bootstrap_servers: "{servers}"
  group_id: operator
targets:
  bus: {{type: eventbridge, region: eu-west-1, endpoint_url: "{url}", batch: {{linger: 10ms}}}}
  model:
    {{type: fiddler, url: "http://127.0.0.1:1", token: !sub "model-${{word}}", project_name: shop, model_name: churn}}
schema_registry: {{type: confluent, url: "http://127.0.0.1:1", username: me, password: registry-CANARY}}
topics: {{coded: {{format: avro}}}}
routes:
  - {{name: scored, topics: [scored], targets: [model], map: {{event: "${{value}}"}}}}
  - {{name: coded, topics: [coded], targets: [bus], map: {{Source: shop, DetailType: x, Detail: "${{value}}"}}}}
  - name: orders
    topics: [orders]
    targets: [bus]
    map: {{Source: shop, DetailType: {kind}, Detail: "${{value}}"}}
unrouted: skip
dead_letters: {{topic: dead}}
commit_interval: 100ms
admin: {{listen: 127.0.0.1:0, token: !file token}}
"""


class Process:
    """`connector run` with its log, the service it sends to, and a writer of records."""

    def __init__(self, folder: Path, servers: str, bridge: EventBridge) -> None:
        self.file = folder / "operator.yaml"
        self.bridge = bridge
        self.lines: list[str] = []
        self.url = ""
        self._servers = servers
        self._writer = Producer({"bootstrap.servers": servers, "log_level": 2})
        self.running: asyncio.subprocess.Process

    def config(self, kind: str) -> None:
        self.file.write_text(CONFIG.format(servers=self._servers, url=self.bridge.url, kind=kind))

    def write(self, count: int) -> None:
        for i in range(count):
            self._writer.produce("orders", b'{"payload": "record-CANARY", "id": %d}' % i)
        self._writer.flush(10)

    def poison(self, topic: str, value: bytes) -> None:
        self._writer.produce(topic, value, headers={"authorization": "Bearer record-CANARY"})
        self._writer.flush(10)

    def letters(self, count: int) -> list[list[tuple[str, bytes]]]:
        """The headers of so many dead letters."""
        reader = Consumer({"bootstrap.servers": self._servers, "group.id": "reader", "log_level": 2})
        partitions = reader.list_topics("dead", 30).topics["dead"].partitions
        reader.assign([TopicPartition("dead", number, 0) for number in partitions])
        try:
            found: list[list[tuple[str, bytes]]] = []
            while len(found) < count:
                if (message := reader.poll(1)) is not None and message.error() is None:
                    headers: Any = message.headers()  # the client's types allow more than it gives
                    found.append([(name, value or b"") for name, value in headers or ()])
            return found
        finally:
            reader.close()

    async def status(self) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}status") as answer:
            return await answer.json()

    async def post(self, path: str, **headers: str) -> tuple[int, str]:
        shown = {**BEARER, **headers}
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}{path}", headers=shown) as answer:
            return answer.status, await answer.text()

    async def until(self, true: Callable[[Any], bool]) -> Any:
        """Wait until the status says something; return it."""
        while not true(status := await self.status()):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.05)
        return status

    async def log(self, words: str) -> str:
        """Wait for a line of the log."""
        while not (found := [line for line in self.lines if words in line]):
            assert self.running.returncode is None, "\n".join(self.lines)
            await asyncio.sleep(0.05)
        return found[0]

    async def hear(self) -> None:
        assert self.running.stderr is not None
        async for line in self.running.stderr:
            self.lines.append(line.decode())


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[Process]:
    (folder / "token").write_text(f"{TOKEN}\n")
    environ = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "aws-CANARY",
        "AWS_SESSION_TOKEN": "session-CANARY",
        "WORD": "env-CANARY",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20otel-CANARY",
    }
    async with Broker() as broker, EventBridge() as bridge:
        await broker.topics("orders", "dead", "scored", "coded")
        made = Process(folder, broker.bootstrap_servers, bridge)
        made.config("First")
        made.running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "connector", "run", str(made.file), stderr=asyncio.subprocess.PIPE, env=environ
        )
        hearing = asyncio.create_task(made.hear())
        try:
            started = await made.log('"event":"started"')
            found = re.search(r'"admin":"([^"]+)"', started)
            assert found is not None
            made.url = found[1]
            await made.until(lambda status: status["kafka"]["joined"])
            yield made
        finally:
            if made.running.returncode is None:
                made.running.kill()
            await made.running.wait()
            await hearing


async def test_hangup_puts_a_mended_config_in_force_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    async with process(tmp_path) as daemon:
        daemon.write(20)
        first = await daemon.until(lambda status: status["totals"]["delivered"] == 20)
        daemon.config("Second")
        daemon.running.send_signal(signal.SIGHUP)
        second = await daemon.until(lambda status: status["reload"] is not None)
        assert second["reload"]["outcome"] == "applied"
        assert second["config_hash"] != first["config_hash"]
        daemon.write(20)
        await daemon.until(lambda status: status["totals"]["delivered"] == 40)
        assert [event.detail_type for event in daemon.bridge.accepted] == ["First"] * 20 + ["Second"] * 20
        daemon.file.write_text("version: 1\nroutes: [")
        code, words = await daemon.post("reload")
        assert code == 409
        assert "operator.yaml:2:" in words
        daemon.file.rename(daemon.file.with_suffix(".gone"))
        code, words = await daemon.post("reload")
        assert code == 409
        assert "operator.yaml" in words
        third = await daemon.status()
        assert third["reload"]["outcome"] == "refused"
        assert third["config_hash"] == second["config_hash"]
        daemon.write(20)
        await daemon.until(lambda status: status["totals"]["delivered"] == 60)
        daemon.running.send_signal(signal.SIGTERM)
        assert await daemon.running.wait() == 0
        await daemon.log("reload refused")


async def test_no_secret_and_no_payload_is_shown_anywhere(tmp_path: Path) -> None:
    async with process(tmp_path) as daemon:
        assert (await daemon.post("log-level?level=debug"))[0] == 200
        daemon.write(5)
        await daemon.until(lambda status: status["totals"]["delivered"] == 5)
        await daemon.log('"level":"debug"')
        daemon.poison("orders", b"\xff record-CANARY")
        daemon.poison("orders", b'{"a": "record-CANARY" record-CANARY}')
        daemon.poison("scored", b'{"a": "record-CANARY"}')
        daemon.poison("coded", b"\0\0\0\0\1record-CANARY")
        await daemon.until(lambda status: status["totals"]["dead_lettered"] == 2)
        await daemon.log('"target":"model"')
        status = await daemon.until(lambda status: status["kafka"]["trouble"])
        assert "127.0.0.1:1" in json.dumps(status)
        letters = await asyncio.to_thread(daemon.letters, 2)
        told = [str(value) for pairs in letters for name, value in pairs if name != "authorization"]
        assert any("orders" in value for value in told)
        shown = [*told]
        async with aiohttp.ClientSession(daemon.url) as session:
            for path in ("/", "/status", "/metrics", "/livez", "/readyz", "/config", "/nothing"):
                async with session.get(path, headers=BEARER) as answer:
                    shown.append(await answer.text())
            async with session.get("/config", headers=BEARER) as answer:
                config = (await answer.json())["config"]
            async with session.get("/config") as answer:
                assert answer.status == 401
        assert config["kafka"]["group_id"] == "operator"
        assert config["admin"]["token"] == "***"
        assert config["targets"]["model"]["token"] == config["vars"]["word"] == "***"
        assert (await daemon.post("routes/orders/pause", Authorization="Bearer token-CANARY-9876543210"))[0] == 401
        assert (await daemon.post("routes/nowhere/pause"))[0] == 404
        assert [text for text in [*shown, *daemon.lines] if "CANARY" in text] == []
        daemon.running.send_signal(signal.SIGTERM)
        assert await daemon.running.wait() == 0
