"""`connector status` shows a running daemon in the terminal, and says in words where nobody answers."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from rich.console import Console
from typer.testing import CliRunner, Result

from connector import admin
from connector.cli import cli
from connector.metrics import Metrics
from connector.operations import watch
from connector.operations.attention import attention
from connector.settings import AdminSettings
from tests.unit.test_admin import TOKEN, Daemon, status_of_a_daemon


@pytest.fixture
async def daemon() -> Daemon:
    daemon = Daemon()
    status = status_of_a_daemon()
    status["attention"] = attention(status)
    daemon.says = status
    return daemon


@pytest.fixture
async def url(daemon: Daemon) -> AsyncIterator[str]:
    async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=Metrics(CollectorRegistry())) as bound:
        yield bound.url


async def ran(*arguments: str, **environ: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, ["status", *arguments], env=environ))


async def test_json_is_the_status_itself(url: str, daemon: Daemon) -> None:
    result = await ran(url, "--once", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == daemon.says


async def test_once_tells_what_stands_still_before_the_tables(url: str) -> None:
    result = await ran(url.removeprefix("http://"), "--once", COLUMNS="120")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    held, routes = text.index("orders-bus is held: AccessDeniedException"), text.index("paid-orders")
    assert held < routes
    assert "It stands at shop.orders.v1[0], offset 115400." in text
    assert "<b>on</b>" in text  # a service's words are text, whatever they look like


async def test_a_daemon_that_asks_for_its_token_gets_it_from_the_environment(url: str, daemon: Daemon) -> None:
    daemon.admin = AdminSettings(token=SecretStr(TOKEN), token_for="everything")
    result = await ran(url, "--once")
    assert result.exit_code == 1
    assert "set CONNECTOR_ADMIN__TOKEN" in result.stderr
    result = await ran(url, "--json", CONNECTOR_ADMIN__TOKEN=TOKEN)
    assert result.exit_code == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1/", "nowhere:0", "http://[::", "ftp://x"])
async def test_nobody_there_is_said_in_a_line_without_a_traceback(address: str) -> None:
    result = await ran(address, "--once")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "nothing answers at" in result.stderr


async def test_another_server_is_not_taken_for_a_daemon() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="hello" if request.query_string == "" else "")

    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        result = await ran(f"{host}:{port}", "--once")
        assert result.exit_code == 1
        assert "is no connector: its /status is no JSON" in result.stderr
    finally:
        await runner.cleanup()


async def test_it_goes_on_looking_and_says_when_nobody_answers_any_more(daemon: Daemon) -> None:
    screen = io.StringIO()
    console = Console(width=120, force_terminal=True, file=screen)

    async def shown(words: str) -> None:
        async with asyncio.timeout(60):
            while words not in screen.getvalue():  # noqa: ASYNC110 - a screen has no event to wait for
                await asyncio.sleep(0.01)

    async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=Metrics(CollectorRegistry())) as bound:
        following = asyncio.create_task(watch.follow(bound.url, None, console, every=0.01))
        await shown("everything-else")
    await shown("asking again")
    following.cancel()
    await asyncio.wait({following})
