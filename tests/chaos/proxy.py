"""A TCP proxy on loopback that stands before a broker or a service, and does to connections what networks do."""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Final, Literal, Self

from tests.kafka.stage import alone

Mode = Literal["pass", "cut", "half-open", "delay"]

CHUNK: Final = 2**16


class _Link:
    """One connection through the proxy: what the client sees of it, and what the service sees."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = list(writers)
        self.lost = False  # bytes of it were swallowed, so it must not be believed again

    def reset(self) -> None:
        """End both sides with RST, as a firewall does or a host that has forgotten the connection."""
        for writer in self.writers:
            connected: socket.socket | None = writer.get_extra_info("socket")
            if connected is not None and not writer.transport.is_closing():
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Carries connections from its own port to `host:port`.

    Invariant: a mode holds for the connections that are open already and for those to come, until the next one.

    - pass: everything goes through.
    - cut: nobody listens, and what was open is reset.
    - half-open: connections stay open and are taken, and what either side says is swallowed.
    - delay: everything goes through later; told to pass again, what waits goes through at once.
    """

    def __init__(self, port: int, *, listen: int = 0, host: str = "127.0.0.1") -> None:
        self.port = listen
        self.mode: Mode = "pass"
        self.carried = 0  # bytes
        self.swallowed = 0
        self.waiting = 0  # pieces
        self._to = (host, port)
        self._delay = 0.0
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            raise alone(failures) from None

    @property
    def url(self) -> str:
        """As a service of HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections go through it now."""
        return len(self._links)

    async def heal(self) -> None:
        """Let everything pass. A connection of which something was swallowed is reset: nobody may believe it."""
        self._become("pass")
        for link in [link for link in self._links if link.lost]:
            link.reset()
        await self._listen()

    async def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        self._become("cut")
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    async def half_open(self) -> None:
        """Take connections and keep them, and let nothing through: as when the other side's host is gone."""
        self._become("half-open")
        await self._listen()

    async def delay(self, seconds: float) -> None:
        """Let each piece of what is said wait so long."""
        self._delay = seconds
        self._become("delay")
        await self._listen()

    def reset(self) -> int:
        """End the connections that are open now with RST, and say how many. New ones pass."""
        for link in self._links:
            link.reset()
        return len(self._links)

    def _become(self, mode: Mode) -> None:
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._group.create_task(self._carry(reader, writer), name=f"a connection to port {self._to[1]}")

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            there, onward = await asyncio.open_connection(*self._to)
        except OSError:  # nobody there: the client sees what it would see without us
            link.reset()
        else:
            link.writers.append(onward)
            if self.mode == "cut" or writer.transport.is_closing():
                link.reset()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, onward, link))
                both.create_task(self._pump(there, writer, link))
        finally:
            self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        """Carry one direction to its end. When one direction ends, both do: no client of ours closes only half."""
        try:
            while data := await reader.read(CHUNK):
                await self._wait()
                if self.mode == "half-open":
                    link.lost = True
                    self.swallowed += len(data)
                    continue
                writer.write(data)
                await writer.drain()
                self.carried += len(data)
        except OSError:
            pass  # reset, by us or by a side of it
        finally:
            if self.mode == "half-open":
                link.lost = True  # the other side does not hear of the end either
                await self._healed()
            for each in link.writers:
                each.close()

    async def _wait(self) -> None:
        if self.mode != "delay":
            return
        until = asyncio.get_running_loop().time() + self._delay
        self.waiting += 1
        try:
            async with asyncio.timeout_at(until):
                while self.mode == "delay":
                    await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self.waiting -= 1

    async def _healed(self) -> None:
        while self.mode == "half-open":
            await self._changed.wait()
