"""The daemon's own small web server: is it alive, is it ready, what is it doing, what should be scraped."""

import asyncio
import base64
import errno
import hashlib
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

PATHS: Final = {
    "/": "the status page",
    "/livez": "200 while the daemon turns, 503 when it is stuck",
    "/readyz": "200 while it is in its group and not stopping, else 503",
    "/metrics": "metrics for Prometheus",
    "/status": "what it is doing, as JSON",
}
_LISTING: Final = "".join(f"  {path:<9} {what}\n" for path, what in PATHS.items())
_START: Final = 10.0  # seconds to find the host's address and bind it
_STOP: Final = 1.0  # seconds that an answer under way may still take when the daemon stops


class AdminState(Protocol):
    """What the server asks of the daemon. All three answer at once, from memory."""

    def live(self) -> tuple[bool, str]:
        """Whether the consumer thread and the loop turn, and why not."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether the member has joined and is not stopping, and why not."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What it is doing: a `connector.status.Status`."""
        ...


class Bound(NamedTuple):
    """Where the server really listens, which for port 0 only it can tell."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Address of the status page as a person on this machine opens it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"


class CannotListen(Exception):
    """The address of the config cannot be had; the message says why and what to do."""


@asynccontextmanager
async def serve(state: AdminState, host: str, port: int, *, registry: CollectorRegistry) -> AsyncIterator[Bound]:
    """Serve until the block is left.

    Raises:
        CannotListen: the address is taken, not ours, not allowed, or does not exist.
    """
    runner = web.AppRunner(application(state, registry), access_log=None, logger=_logger(), shutdown_timeout=_STOP)
    await runner.setup()
    try:
        try:
            async with asyncio.timeout(_START):
                await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:  # TimeoutError is an OSError
            raise CannotListen(_why(host, port, error)) from error
        address = runner.addresses[0]
        yield Bound(address[0], address[1])
    finally:
        await runner.cleanup()


def application(state: AdminState, registry: CollectorRegistry) -> web.Application:
    """The five paths, all read-only: every one answers GET and HEAD."""
    html, policy = page("connector", "admin.html")

    async def livez(_: web.Request) -> web.Response:
        return _verdict(state.live())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(state.ready())

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=_json(state.status()), content_type="application/json")

    async def root(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
        return web.Response(text=html, content_type="text/html", headers=headers)

    app = web.Application(middlewares=[_plain_words])
    for path, answer in zip(PATHS, (root, livez, readyz, metrics, status), strict=True):
        app.router.add_get(path, answer)
    return app


@web.middleware
async def _plain_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say in words what was wrong with a request, and let no browser or proxy keep or reinterpret an answer."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = web.Response(status=404, text=f"There is nothing at this path. What there is:\n{_LISTING}")
    except web.HTTPMethodNotAllowed:
        text = "This server only shows things: every path answers GET and HEAD, and nothing else.\n"
        response = web.Response(status=405, text=text, headers={"Allow": "GET, HEAD"})
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _verdict(answer: tuple[bool, str]) -> web.Response:
    good, reason = answer
    return web.Response(status=200 if good else 503, text=f"{'ok' if good else 'not ok'}: {reason}\n")


def _json(status: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(status)
    except TypeError:  # a service's own words may hold half a surrogate pair, which orjson refuses
        return json.dumps(status, default=str).encode()


def page(package: str, name: str) -> tuple[str, str]:
    """A page that ships with a package, and the policy that lets it run its own script and style, ask its own server,
    and nothing else."""
    html = files(package).joinpath(name).read_text(encoding="utf-8")

    def digest(element: str) -> str:
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"

    return html, (
        f"default-src 'none'; script-src {digest('script')}; style-src {digest('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _why(host: str, port: int, error: OSError | OverflowError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    where = f"admin.listen: cannot listen on {host}:{port}"
    if number == errno.EADDRINUSE:
        return f"{where}: the port is taken. Stop what listens there, or set another port (0 takes any free one)"
    if number == errno.EACCES:
        return f"{where}: not allowed for this user. Set a port above 1023"
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{where}: this machine has no such address. Set 127.0.0.1:{port}, or 0.0.0.0:{port} for all of its own"
    return f"{where}: {error}. Set admin.listen to HOST:PORT of this machine"


class _NotOurs(logging.Filter):
    """Passes over what strangers send that is not HTTP: a port scan is no error of ours, and must not fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _logger() -> logging.Logger:
    logger = logging.getLogger("connector.admin")
    if not logger.filters:
        logger.addFilter(_NotOurs())
    return logger
