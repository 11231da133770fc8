"""The simulated services alone, all behind one address: their paths do not meet. `connector sandbox` runs it.

…      as each service listens
GET    /_sandbox/            all of them: JSON, and a page for a browser; ?latest=N rows of each (20)
…      /_sandbox/NAME/       one of them: see sandbox/simulator.py
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from connector.admin import page
from connector.loading.render import summary, text
from connector.sandbox.rooms import SAMPLES, Rooms, furnish
from connector.sandbox.simulator import PREFIX, Server, Simulator, as_json

_LATEST: Final = 20
_SHOWN: Final = 1000
"""Characters of a text that the overview shows; the whole of it is under /_sandbox/NAME/events."""


class Sandbox(Server):
    """Several simulated services in one server, each with its own log and script."""

    def __init__(self, services: Mapping[str, Simulator]) -> None:
        super().__init__()
        self.services = services
        self._html, self._policy = page("connector.sandbox", "page.html")

    @property
    def app(self) -> web.Application:
        """A new aiohttp application of all services."""
        app = web.Application(client_max_size=0)  # each service bounds what it reads
        for name, service in self.services.items():
            app.add_routes([*service.routes(), *service.control(f"{PREFIX}/{name}")])
        app.add_routes([web.get(f"{PREFIX}/", self._overview), web.get(PREFIX, _to_overview)])
        app.add_routes([web.get("/", _to_overview), web.route("*", "/{path:.*}", self._nothing)])
        return app

    async def _overview(self, request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            headers = {"Content-Security-Policy": self._policy, "X-Frame-Options": "DENY"}
            return web.Response(text=self._html, content_type="text/html", headers=headers)
        latest = request.query.get("latest", str(_LATEST))
        if not latest.isdecimal():
            return web.Response(status=400, text="latest: write a whole number, such as ?latest=100\n")
        return as_json({"services": {name: _told(one, int(latest)) for name, one in self.services.items()}})

    async def _nothing(self, request: web.Request) -> web.Response:
        said = f"No simulated service listens at {request.method} {request.path}. There are:\n"
        paths = sorted({f"{route.method} {route.path}" for one in self.services.values() for route in one.routes()})
        return web.Response(status=404, text=said + "\n".join([*paths, f"GET {PREFIX}/", ""]))


async def _to_overview(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": f"{PREFIX}/"})


def _told(service: Simulator, latest: int) -> dict[str, Any]:
    rows = [
        {**_short(row), "took": name}
        for name, log in service.rows(max(0, service.arrived - latest)).items()
        for row in log
    ]
    rows.sort(key=lambda row: int(row["index"]), reverse=True)
    return {"stats": service.stats, "faults": service.faults.left, "latest": rows}


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_short(one) for one in value]
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        start = value[:_SHOWN] if isinstance(value, str) else value[:_SHOWN].decode(errors="replace")
        return f"{start}… ({len(value)} in all)"
    return value


def sandbox(config: Path | None, host: str, port: int, seed: int) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code. `config` is a file of `Rooms`."""
    rooms: Rooms | None = Rooms()
    if config is not None:
        furnished = furnish(config, os.environ)
        rooms = furnished.rooms
        if rooms is None:
            loaded = furnished.loaded
            print(f"{text(loaded)}\n\n{summary(loaded.problems)}", file=sys.stderr)
            return 78
    assert rooms is not None  # noqa: S101 - said above
    try:
        asyncio.run(_serve(Sandbox(rooms.made(seed)), host, port, sampled=config is None))
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {_why(error)}", file=sys.stderr)
        return 1
    return 0


async def _serve(services: Sandbox, host: str, port: int, *, sampled: bool) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    url = await services.start(port, host)
    try:
        print(greeting(url, services.services, sampled=sampled), flush=True)
        if not _is_loopback(host):
            print(f"\nwarning: whoever reaches {host} can use it and script its faults", file=sys.stderr, flush=True)
        await stopped.wait()
    finally:
        await services.stop()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; take another with --port (0 is any free one)"
    return f"{error.strerror or error}; take another address with --host and --port"


def greeting(url: str, services: Mapping[str, Simulator], *, sampled: bool) -> str:
    """Where everything is, and targets to copy into a config; these only where the rooms are the usual ones."""
    width = max(map(len, services))
    lines = ["Simulated services, until Ctrl-C:", ""]
    lines += [f"  {name:<{width}}  {url}" for name in services]
    lines += ["", f"  {'arrived':<{width}}  {url}{PREFIX}/", ""]
    if sampled:
        lines += ["Targets for a config (any AWS credentials will do):", "", sample(url, services), ""]
    script = f"""curl {url}{PREFIX}/{next(iter(services))}/faults -d '[{{"do": "throttle", "times": 3}}]'"""
    return "\n".join([*lines, "What is to go wrong next:", "", f"  {script}"])


def sample(url: str, services: Mapping[str, Simulator]) -> str:
    """The `targets:` of a config for these services at this address."""
    lines = ["targets:"]
    for name in services:
        lines.append(f"  {name.replace('_', '-')}:")
        lines += [f"    {key}: {str(value).format(url=url)}" for key, value in SAMPLES[name].items()]
    return "\n".join(lines)
