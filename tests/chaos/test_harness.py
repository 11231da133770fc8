"""The tools of the runs themselves: a proxy does what its modes say, and the table says what the rows say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.chaos.brokers import java_hash, steady_ports
from tests.chaos.proxy import Proxy
from tests.chaos.table import BEGIN, END, table, written
from tests.kafka.process import seen

SECONDS = 60.0


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A service that says what it hears; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Caller:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def asks(self, words: bytes) -> bytes:
        """Say this and give the answer; nothing where the connection ends."""
        self._writer.write(words)
        async with asyncio.timeout(SECONDS):
            return await self._reader.read(1000)


@asynccontextmanager
async def call(proxy: Proxy) -> AsyncIterator[Caller]:
    """A connection to the proxy, closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)  # it may be reset


async def answered(proxy: Proxy) -> bool:
    """Whether a new connection gets its answer."""
    async with call(proxy) as caller:
        return await caller.asks(b"again") == b"again"


async def ended(caller: Caller) -> bool:
    """Whether the connection ends instead of an answer."""
    try:
        return await caller.asks(b"more") == b""
    except OSError:
        return True


async def test_a_proxy_passes_both_directions_and_both_ends() -> None:
    async with echo() as port, Proxy(port) as proxy:
        async with call(proxy) as caller:
            assert await caller.asks(b"one") == b"one"
            assert await caller.asks(b"two") == b"two"
            assert proxy.open == 1
        await seen(lambda: proxy.open == 0, what="the connection is over")
        assert proxy.carried == 12


async def test_a_proxy_that_is_cut_ends_what_is_open_and_refuses_the_rest_until_it_is_healed() -> None:
    async with echo() as port, Proxy(port) as proxy, call(proxy) as caller:
        assert await caller.asks(b"one") == b"one"
        await proxy.cut()
        assert await ended(caller)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.heal()
        assert await answered(proxy)


async def test_a_half_open_proxy_takes_connections_and_swallows_and_ends_them_when_it_is_healed() -> None:
    async with echo() as port, Proxy(port) as proxy, call(proxy) as old:
        assert await old.asks(b"one") == b"one"
        await proxy.half_open()
        async with call(proxy) as new, asyncio.TaskGroup() as both:
            asked = [both.create_task(ended(caller)) for caller in (old, new)]
            await seen(lambda: proxy.swallowed == 8, what="both were swallowed")
            assert not any(one.done() for one in asked)
            await proxy.heal()
        assert all(one.result() for one in asked)
        assert await answered(proxy)


async def test_what_waits_in_a_slow_proxy_goes_through_at_once_when_it_is_healed() -> None:
    async with echo() as port, Proxy(port) as proxy, call(proxy) as caller:
        assert await caller.asks(b"one") == b"one"
        await proxy.delay(3600)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(caller.asks(b"two"))
            await seen(lambda: proxy.waiting == 1, what="it waits")
            await proxy.heal()
        assert asked.result() == b"two"


async def test_a_reset_ends_what_is_open_and_lets_new_connections_pass() -> None:
    async with echo() as port, Proxy(port) as proxy, call(proxy) as caller:
        assert await caller.asks(b"one") == b"one"
        assert proxy.reset() == 1
        assert await ended(caller)
        assert await answered(proxy)


async def test_before_a_service_that_is_away_a_proxy_ends_what_it_takes() -> None:
    (nobody,) = steady_ports(1)
    async with Proxy(nobody) as proxy, call(proxy) as caller:
        assert await ended(caller)


def test_the_coordinator_is_found_by_the_hash_that_java_gives_a_name() -> None:
    assert java_hash("hello") == 99162322
    assert java_hash("connector") == 579210163  # of a negative one
    assert java_hash("polygenelubricants") == 0  # the smallest of all numbers, without its sign


def row(**changes: Any) -> dict[str, Any]:
    return {
        "run": "T9",
        "test": "tests/chaos/test_x.py::test_it_holds[classic]",
        "faults": {"SIGTERM": 9},
        "records": 3600,
        "lost": 0,
        "duplicated": 3,
        "bound": 10,
        "seed": 7,
        "seconds": 31.2,
        "held": True,
        **changes,
    }


def test_the_table_has_a_line_a_run_and_says_which_failed() -> None:
    told = table([row(), row(run="T10", held=False)]).splitlines()
    assert told[2] == "| T9 | it holds (classic) | 9 × SIGTERM | 3600 | 0 | 3 | 10 | 31 |"
    assert told[3].startswith("| T10 **failed** |")


def test_the_table_takes_the_place_between_the_markers_of_the_page() -> None:
    page = written(f"before\n{BEGIN}\nstale\n{END}\nafter\n", [row()])
    assert page.startswith(f"before\n{BEGIN}\nSeed 7.\n\n| run |")
    assert "stale" not in page
    assert page.endswith(f"{END}\nafter\n")
