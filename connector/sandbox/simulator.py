"""A simulated service on loopback: what it took, in order of arrival, what goes wrong on purpose, and both over HTTP.

    GET    /_sandbox/events      what was accepted and what vanished, in order of arrival; ?since=N skips the first N
    DELETE /_sandbox/events      forgets them; numbers go on
    GET    /_sandbox/stats       counts
    GET    /_sandbox/faults      what is left of the script
    POST   /_sandbox/faults      [{"do": "throttle", "times": 3}, …] goes to the end of the script (sandbox/faults.py)
    DELETE /_sandbox/faults      forgets the script; ?do=access_denied only that kind

`connector sandbox` serves several in one place; there each has its own below `/_sandbox/NAME/`.
"""

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from uuid import UUID

import orjson
from aiohttp import web

from connector.sandbox.faults import ODD, Fault, Script

PREFIX: Final = "/_sandbox"


class Server:
    """An application that listens from `start` to `stop`, or for an `async with`, at `url`."""

    def __init__(self) -> None:
        self.url = ""
        self._runner: web.AppRunner | None = None

    @property
    def app(self) -> web.Application:
        """A new aiohttp application."""
        raise NotImplementedError

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen, and say where.

        Raises:
            OSError: the address cannot be had.
        """
        self._runner = web.AppRunner(self.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class Simulator(Server):
    """One simulated service. `accepted` and `vanished` are what it took, whatever it answered.

    Their items are dataclasses with an `index`, the place in the order of arrival over both. `unanswered` tells of each
    request whose items it took and then did not say so how many those were: a client can only send them again. A
    subclass says where it listens (`routes`), and takes its share of the script for each request that is worth one.
    """

    name: ClassVar[str]
    """The word by which a config names the type of its target."""

    max_body: ClassVar[int] = 16 * 2**20
    odd: ClassVar[frozenset[str]] = frozenset()
    """Which of the faults in `faults.ODD` its replies can have."""

    def __init__(self, *, faults: Iterable[Fault] = (), seed: int = 0, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.faults = Script(faults)
        self.accepted: list[Any] = []
        self.vanished: list[Any] = []
        self.unanswered: dict[int, int] = {}
        self.outcomes: Counter[str] = Counter()
        self.calls = 0
        self.arrived = 0
        self.random = Random(seed)  # chance of faults, and ids that a seed repeats
        self.clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Where the service itself listens."""
        raise NotImplementedError

    @property
    def state(self) -> Mapping[str, Any]:
        """What /_sandbox/stats says beside the counts."""
        return {}

    @property
    def stats(self) -> Mapping[str, Any]:
        """Counts, and the state."""
        return {
            "calls": self.calls,
            "accepted": len(self.accepted),
            "vanished": len(self.vanished),
            "outcomes": dict(self.outcomes),
            **self.state,
        }

    def control(self, prefix: str = PREFIX) -> list[web.RouteDef]:
        """What is not the service's own, below this path."""
        return [
            web.get(f"{prefix}/events", self._events),
            web.delete(f"{prefix}/events", self._forget),
            web.get(f"{prefix}/stats", self._stats),
            web.get(f"{prefix}/faults", self._left),
            web.post(f"{prefix}/faults", self._script),
            web.delete(f"{prefix}/faults", self._unscript),
        ]

    @property
    def app(self) -> web.Application:
        """A new aiohttp application of this service."""
        app = web.Application(client_max_size=0)  # `body` bounds what is read
        app.add_routes([*self.routes(), *self.control()])
        return app

    @classmethod
    def script(cls, tree: Any) -> list[Fault]:
        """Read a line of JSON, or a list of them, as faults of this service.

        Raises:
            ValueError: one is none, or not of this service.
        """
        lines = [Fault.of(line) for line in (tree if isinstance(tree, list | tuple) else [tree])]
        for line in lines:
            if line.do in ODD - cls.odd:
                raise ValueError(f"do: {cls.name} has no {line.do!r}; of that kind it has {', '.join(sorted(cls.odd))}")
            cls.check(line)
        return lines

    @classmethod
    def check(cls, line: Fault) -> None:
        """Look at a fault that another service could have.

        Raises:
            ValueError: this one could not.
        """

    def trim(self, keep: int) -> None:
        """Forget what was taken, but for the latest so many; numbers go on."""
        for log in (self.accepted, self.vanished):
            del log[: max(0, len(log) - keep)]

    def number(self) -> int:
        """The place of what arrives now."""
        number, self.arrived = self.arrived, self.arrived + 1
        return number

    def identity(self) -> str:
        """A new UUID, the same for the same seed."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    async def body(self, request: web.Request) -> bytes | None:
        """The body of a request, None where it is larger than the service reads."""
        data = bytearray()
        async for piece in request.content.iter_any():
            data += piece
            if len(data) > self.max_body:
                return None
        return bytes(data)

    async def misbehave(
        self, fault: Fault, request: web.Request, reply: web.Response, headers: Mapping[str, str]
    ) -> web.StreamResponse | None:
        """What takes the place of a reply for the faults that are the same everywhere; None for the service's own.

        `headers` are those that the service would put on any reply.
        """
        match fault.do:
            case "html":
                page = f"<html><body><h1>{fault.status}</h1></body></html>"
                return web.Response(status=fault.status, text=page, content_type="text/html")
            case "too_large":
                return web.Response(status=413)
            case "empty":
                return web.Response(
                    status=reply.status, headers={**headers, "Content-Type": reply.headers["Content-Type"]}
                )
            case "broken_json":
                written = reply.body if isinstance(reply.body, bytes) else b""
                return web.Response(
                    status=reply.status, body=written[: len(written) // 2], headers=_without_length(reply.headers)
                )
            case "never":
                await asyncio.Event().wait()
            case "cut":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
        return None

    def rows(self, since: int = 0) -> dict[str, list[dict[str, Any]]]:
        """What was accepted and what vanished, from this place in the order of arrival on."""
        logs = {"accepted": self.accepted, "vanished": self.vanished}
        return {name: [asdict(one) for one in log if one.index >= since] for name, log in logs.items()}

    async def _events(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return web.Response(status=400, text="since: write a whole number, such as ?since=100\n")
        return as_json(self.rows(int(since)))

    async def _forget(self, _: web.Request) -> web.Response:
        self.trim(0)
        return web.Response(status=204)

    async def _stats(self, _: web.Request) -> web.Response:
        return as_json(self.stats)

    async def _left(self, _: web.Request) -> web.Response:
        return as_json(self.faults.left)

    async def _script(self, request: web.Request) -> web.Response:
        try:
            lines = self.script(orjson.loads(await self.body(request) or b""))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        self.faults.add(*lines)
        return web.Response(status=204)

    async def _unscript(self, request: web.Request) -> web.Response:
        self.faults.clear(request.query.get("do"))
        return web.Response(status=204)


def _without_length(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}


def as_json(tree: Any) -> web.Response:
    """A reply of the sandbox itself. Bytes are text where they are, else {"base64": …}."""
    return web.Response(body=orjson.dumps(tree, default=_readable), content_type="application/json")


def _readable(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise TypeError
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
