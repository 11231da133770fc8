"""The status page in a real browser: it says what `/status` says, names what stands still, and can change it."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from connector.admin import serve
from connector.app import App, real_parts
from connector.loading.load import load
from connector.metrics import Metrics
from connector.operations.operate import Operations
from connector.route import compile_routes
from connector.sandbox import faults
from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import EventBridge
from tests.browser.conftest import Browser

pytestmark = pytest.mark.timeout(240)

TOKEN: Final = "token-of-the-browser-test-0123"
CONFIG: Final = """
version: 1
kafka: {{bootstrap_servers: "{servers}", group_id: page}}
targets:
  orders-bus: {{type: eventbridge, region: eu-west-1, endpoint_url: "{url}", batch: {{linger: 10ms}}}}
routes:
  - name: orders
    topics: [shop.orders.v1]
    targets: [orders-bus]
    map: {{Source: shop, DetailType: Order, Detail: "${{value}}"}}
  - name: invoices
    topics: [shop.invoices.v1]
    targets: [orders-bus]
    on_error: hold
    map: {{Source: shop, DetailType: Invoice, Detail: "${{value}}"}}
unrouted: skip
dead_letters: {{topic: page.dead}}
commit_interval: 100ms
admin: {{token: !file token}}
"""


@dataclass
class Stage:
    """A daemon with its page, the service it sends to, and a writer of records."""

    app: App
    url: str
    bridge: EventBridge
    writer: Producer

    def write(self, topic: str, *values: bytes, partition: int = 0) -> None:
        for value in values:
            self.writer.produce(topic, value, partition=partition)
        self.writer.flush(10)

    async def status(self) -> Any:
        async with aiohttp.ClientSession(self.url) as session, session.get("/status") as answer:
            return await answer.json()


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    os.environ |= {"AWS_ACCESS_KEY_ID": "page", "AWS_SECRET_ACCESS_KEY": "page"}
    (folder / "token").write_text(f"{TOKEN}\n")
    async with Broker() as broker, EventBridge() as bridge:
        await broker.topics("shop.orders.v1", "shop.invoices.v1", "page.dead")
        (folder / "page.yaml").write_text(CONFIG.format(servers=broker.bootstrap_servers, url=bridge.url))
        loaded = load([folder / "page.yaml"], {})
        assert loaded.settings is not None, loaded.problems
        routes, _ = compile_routes(loaded.settings, loaded.locate)
        assert routes is not None
        metrics = Metrics(CollectorRegistry())
        app = App(loaded, routes, metrics, real_parts())
        async with serve(app, Operations(app), "127.0.0.1", 0, metrics=metrics) as bound, asyncio.TaskGroup() as group:
            daemon = group.create_task(app.run())
            yield Stage(
                app, bound.url, bridge, Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2})
            )
            app.stop()
            await daemon


def number(text: str) -> int:
    return int(text.replace(",", ""))


async def test_the_page_says_what_the_status_says_and_asks_nobody_else(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        daemon.write("shop.orders.v1", *(b'{"id":%d}' % i for i in range(1234)))
        daemon.write("shop.orders.v1", b"{poison", partition=1)
        await browser.says("Dead letters in page.dead: 1 since the start", "Route orders: NotJSON × 1")
        await browser.says("Nothing needs you now")

        async def settled() -> bool:
            totals = (await daemon.status())["totals"]
            return bool(totals["delivered"] == 1234 and totals["dead_lettered"] == 1 and totals["open_records"] == 0)

        await browser.until(settled, "all records")
        status = await daemon.status()

        async def equal() -> bool:
            cells = await browser.run(
                "return Object.fromEntries([...document.querySelectorAll('#totals > div')]"
                ".map(d => [d.children[0].textContent, d.children[1].textContent]))"
            )
            totals = status["totals"]
            shown = {"Consumed": "consumed", "Delivered": "delivered", "Dead letters": "dead_lettered"}
            return all(number(cells[title]) == totals[name] for title, name in shown.items())

        await browser.until(equal, "the totals of /status")
        header = await browser.text("#about")
        assert status["config_hash"][:12] in header
        assert status["started_at"][:19].replace("T", " ") in header
        assert await rows(browser, "routes", "Route", "Matched", "Delivered", "Dead letters") == [
            [r["name"], f"{r['matched']:,}", f"{r['delivered']:,}", f"{r['dead_lettered']:,}"] for r in status["routes"]
        ]
        bus = next(t for t in status["targets"] if t["name"] == "orders-bus")
        assert ["orders-bus", f"{bus['in_flight']} of {bus['max_in_flight']}", f"{bus['delivered']:,}"] in await rows(
            browser, "targets", "Target", "In flight", "Delivered"
        )

        async def committed() -> bool:
            now = await daemon.status()
            expected = sorted(
                [f"{p['topic']}[{p['partition']}]", "–" if p["committed"] is None else f"{p['committed']:,}"]
                for p in now["partitions"]
            )
            return sorted(await rows(browser, "partitions", "Partition", "Committed")) == expected

        await browser.until(committed, "the committed offsets of /status")
        asked = await browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
        assert {re.sub(r"^(http://[^/]+/).*", r"\1", url) for url in asked} <= {daemon.url}
        await browser.shot("flows")


async def rows(browser: Browser, table: str, *columns: str) -> list[list[str]]:
    """The cells of some columns of a table, as they are shown."""
    script = f"""
        const table = document.getElementById('{table}');
        const titles = [...table.tHead.rows[0].cells].map(c => c.textContent);
        const wanted = {list(columns)}.map(c => titles.indexOf(c));
        return [...table.tBodies[0].rows].map(r => wanted.map(i => r.cells[i].textContent));
    """
    found: list[list[str]] = await browser.run(script)
    return found


async def test_an_outage_is_named_with_all_that_the_one_who_is_called_needs(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        daemon.write("shop.orders.v1", *(b'{"id":%d}' % i for i in range(100)))
        await browser.says("Everything flows")

        async def delivered() -> bool:
            return bool((await daemon.status())["totals"]["delivered"] == 100)

        await browser.until(delivered, "a first delivery")
        daemon.bridge.faults.add(faults.access_denied(times=None))
        began = time.monotonic()
        daemon.write("shop.orders.v1", *(b'{"id":%d}' % i for i in range(50)))
        text = await browser.says("orders-bus is held: AccessDenied", "50 waiting", of="#attention")
        print(f"named after {time.monotonic() - began:.1f} s")
        held = next(t["held"] for t in (await daemon.status())["targets"] if t["held"])
        assert held["code"] in text
        assert f"It stands at shop.orders.v1[0], offset {held['offset']}" in text
        assert held["offset"] == 100
        assert f"Since {held['since'][:19].replace('T', ' ')} UTC, for " in text
        assert re.search(r"Next try in [\d.]+ (s|min)", text)
        assert "At risk: nothing is lost" in text
        assert f"To do: {held['todo']}" in text
        assert await browser.do(lambda: browser.driver.title) == "(1) connector"
        assert [row[:2] for row in await rows(browser, "errors", "Target", "Code")] == [["orders-bus", held["code"]]]
        await browser.shot("held")
        daemon.bridge.faults.clear("access_denied")
        await browser.says("Everything flows")
        await browser.until(lambda: all_delivered(daemon, 150), "the rest delivered")


async def all_delivered(daemon: Stage, count: int) -> bool:
    return bool((await daemon.status())["totals"]["delivered"] == count)


async def test_a_service_that_is_down_is_named_too(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        daemon.bridge.faults.add(faults.error("ServiceUnavailable", status=503, times=None))
        daemon.write("shop.orders.v1", *(b'{"id":%d}' % i for i in range(20)))
        text = await browser.says("orders-bus gets nothing through", "20 waiting", of="#attention")
        assert "ServiceUnavailable" in text
        assert re.search(r"It stands at shop\.orders\.v1\[0\], offset \d+", text)
        daemon.bridge.faults.clear("error")
        await browser.says("Everything flows")


async def test_a_route_is_paused_and_resumed_with_the_token_and_not_without(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        await browser.says("Everything flows")
        await browser.press("Pause")
        await browser.confirm("a-wrong-token-0123456789")
        await browser.says("The token is missing or wrong", of="#said")
        assert daemon.app.standstill.routes == {}
        await browser.press("Pause")
        await browser.confirm(TOKEN)
        await browser.says("route orders is paused in this process", of="#said")
        daemon.write("shop.orders.v1", b"{}", b"{}", b"{}")
        await browser.says("Route orders is paused", "3 waiting", "A restart lets it go on".lower(), of="#attention")
        assert daemon.bridge.accepted == []
        await browser.shot("paused")
        await browser.press("Resume orders")
        await browser.confirm(TOKEN)
        await browser.says("Everything flows")
        await browser.until(lambda: all_delivered(daemon, 3), "what waited")


async def test_a_record_that_holds_its_partition_is_named_and_skipped(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        daemon.write("shop.invoices.v1", b"{}", b"{}", b"{poison", b"{}", partition=2)
        text = await browser.says("shop.invoices.v1[2] stands at offset 2", of="#attention")
        assert "Route invoices: the value is" in text
        assert "poison" not in text
        await browser.shot("poison")
        await browser.press("Skip offset 2")
        await browser.confirm(TOKEN)
        await browser.says("skipped 1 event(s) of shop.invoices.v1[2]@2", of="#said")
        await browser.says("Everything flows")

        async def committed() -> bool:
            return any(
                (p["topic"], p["partition"], p["committed"]) == ("shop.invoices.v1", 2, 4)
                for p in (await daemon.status())["partitions"]
            )

        await browser.until(committed, "the commit behind it")


async def test_it_fits_a_phone_follows_the_dark_and_can_be_used_without_a_mouse(
    browser: Browser, tmp_path: Path
) -> None:
    async with stage(tmp_path) as daemon:
        phone = {"width": 390, "height": 1600, "deviceScaleFactor": 1, "mobile": True}
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setDeviceMetricsOverride", phone)
        try:
            await browser.open(daemon.url)
            await browser.says("Everything flows")
            light = await browser.run("return getComputedStyle(document.body).backgroundColor")
            wide = "return [document.documentElement.scrollWidth, window.innerWidth]"
            needed, there = await browser.run(wide)
            assert needed <= there == 390
            await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setEmulatedMedia", dark)
            assert await browser.run("return getComputedStyle(document.body).backgroundColor") != light
            await browser.shot("phone")
        finally:
            await browser.do(browser.driver.execute_cdp_cmd, "Emulation.clearDeviceMetricsOverride", {})
            await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setEmulatedMedia", {"features": []})
        body = await browser.do(browser.driver.find_element, By.TAG_NAME, "body")
        await browser.do(body.send_keys, Keys.TAB)
        assert await browser.run("return document.activeElement.textContent") == "Skip to what needs attention"
        await browser.press("Pause")
        await browser.until(
            lambda: browser.run("return document.activeElement.id === 'token'"), "the focus in its dialog"
        )
        field = await browser.do(browser.driver.find_element, By.ID, "token")
        await browser.do(field.send_keys, Keys.ESCAPE)
        await browser.until(lambda: browser.run("return !document.getElementById('ask').open"), "its dialog closed")
        assert daemon.app.standstill.routes == {}


async def test_a_daemon_that_has_gone_is_not_mistaken_for_one_that_is_well(browser: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path) as daemon:
        await browser.open(daemon.url)
        await browser.says("Everything flows")
    await browser.says("No news from the daemon", "What you see is of", of="#connection")
    await browser.says("nothing answers at this address", of="#connection")
    assert "stale" in await browser.run("return document.body.className")
    errors = [line["message"] for line in await browser.do(browser.driver.get_log, "browser")]
    assert [line for line in errors if "Uncaught" in line or "Content Security Policy" in line] == []
