"""The daemon's own small web server: is it alive, is it ready, what is it doing, what should be scraped.

Looking is free unless the config says otherwise. Whoever changes something shows the token, in a header that no browser
sends by itself and no foreign page may set: so no page that an operator happens to have open can do it in his name.
"""

import asyncio
import base64
import errno
import hashlib
import hmac
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.exposition import choose_encoder

from connector.metrics import Metrics
from connector.settings import AdminSettings

PATHS: Final = {
    "/": "the status page",
    "/livez": "200 while the daemon turns, 503 when it is stuck",
    "/readyz": "200 while it is in its group and not stopping, else 503",
    "/metrics": "metrics for Prometheus",
    "/status": "what it is doing, as JSON",
    "/events": "the same once a second, as server-sent events",
    "/config": "the config in force without its secrets; needs the token",
}
CHANGES: Final = {
    "/routes/NAME/pause": "stop a route: its records wait",
    "/routes/NAME/resume": "let it go on",
    "/routes/NAME/skip?topic=T&partition=P&offset=O": "let go a record at which it stands",
    "/reload": "read the config again and put it in force",
    "/log-level?level=L": "debug, info, warning or error, until a restart",
}
_LISTING: Final = "".join(f"  {path:<9} {what}\n" for path, what in PATHS.items()) + "".join(
    f"  POST {path}: {what}\n" for path, what in CHANGES.items()
)
_TICK: Final = 1.0  # seconds between two server-sent events
_STREAMS: Final = 16  # pages that may watch at once
_WRITE: Final = 10.0  # seconds that a page may take to read one event
_BODY: Final = 16 * 1024  # bytes of a request's body; nothing here needs one
_READ: Final = 5.0  # seconds that a request's body may take
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
        """What it is doing: a `connector.operations.status.Status`."""
        ...


class Outcome(Enum):
    """How a change ended, and the HTTP status that says so."""

    DONE = 200
    INVALID = 400
    UNKNOWN = 404
    REFUSED = 409


class Answer(NamedTuple):
    """What became of a change, in words."""

    outcome: Outcome
    words: str


class Operations(Protocol):
    """What a person with the token may do (connector.operations.operate.Operations)."""

    @property
    def admin(self) -> AdminSettings:
        """The settings of this server that are in force."""
        ...

    def config(self) -> Mapping[str, Any]:
        """The config in force, resolved, without its secrets."""
        ...

    def pause(self, route: str) -> Answer:
        """Stop a route."""
        ...

    def resume(self, route: str) -> Answer:
        """Let it go on."""
        ...

    def skip(self, route: str, topic: str, partition: int, offset: int) -> Answer:
        """Let go a record at which the route stands."""
        ...

    def set_level(self, level: str) -> Answer:
        """Say more or less in the log."""
        ...

    async def reload(self) -> Answer:
        """Read the config again and put it in force."""
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
async def serve(
    state: AdminState, operations: Operations, host: str, port: int, *, metrics: Metrics
) -> AsyncIterator[Bound]:
    """Serve until the block is left.

    Raises:
        CannotListen: the address is taken, not ours, not allowed, or does not exist.
    """
    app = application(state, operations, metrics)
    runner = web.AppRunner(app, access_log=None, logger=_logger(), shutdown_timeout=_STOP)
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


def application(state: AdminState, operations: Operations, metrics: Metrics) -> web.Application:
    """The paths that show, which answer GET and HEAD, and those that change, which answer POST."""
    html, policy = page("connector", "admin.html")
    stream = _Stream(state)

    async def livez(_: web.Request) -> web.StreamResponse:
        return _verdict(state.live())

    async def readyz(_: web.Request) -> web.StreamResponse:
        return _verdict(state.ready())

    async def scraped(request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics.registry), headers={"Content-Type": content_type})

    async def status(_: web.Request) -> web.StreamResponse:
        return web.Response(body=_json(state.status()), content_type="application/json")

    async def config(_: web.Request) -> web.StreamResponse:
        return web.Response(body=_json(operations.config()), content_type="application/json")

    async def root(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def pause(request: web.Request) -> Answer:
        return operations.pause(request.match_info["name"])

    async def resume(request: web.Request) -> Answer:
        return operations.resume(request.match_info["name"])

    async def skip(request: web.Request) -> Answer:
        try:
            partition, offset = (int(request.query[name]) for name in ("partition", "offset"))
            topic = request.query["topic"]
        except (KeyError, ValueError):
            return Answer(Outcome.INVALID, "skip needs ?topic=NAME&partition=NUMBER&offset=NUMBER")
        return operations.skip(request.match_info["name"], topic, partition, offset)

    async def level(request: web.Request) -> Answer:
        return operations.set_level(request.query.get("level", ""))

    async def reload(_: web.Request) -> Answer:
        return await operations.reload()

    def shown(answer: _Handler, *, always: bool = False) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            guarded = always or operations.admin.token_for != "changes"  # noqa: S105 - what the token is for
            refusal = _refusal(request, operations.admin) if guarded else None
            return refusal if refusal is not None else await answer(request)

        return handle

    def change(action: str, act: Callable[[web.Request], Awaitable[Answer]]) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if (refusal := _refusal(request, operations.admin)) is not None:
                metrics.changed(action, "unauthorized" if refusal.status == 401 else "refused")
                return refusal
            async with asyncio.timeout(_READ):
                await request.read()  # bounded by _BODY
            answer = await act(request)
            metrics.changed(action, "done" if answer.outcome is Outcome.DONE else "refused")
            return web.Response(status=answer.outcome.value, text=f"{answer.words}\n")

        return handle

    app = web.Application(middlewares=[_plain_words], client_max_size=_BODY)
    app.on_response_prepare.append(_say_nothing_twice)
    app.on_shutdown.append(stream.end)
    router = app.router
    for path, probe in (("/", root), ("/livez", livez), ("/readyz", readyz)):
        router.add_get(path, probe)
    for path, show in (("/metrics", scraped), ("/status", status), ("/events", stream.follow)):
        router.add_get(path, shown(show))
    router.add_get("/config", shown(config, always=True))
    for action, act in (("pause", pause), ("resume", resume), ("skip", skip)):
        router.add_post(f"/routes/{{name}}/{action}", change(action, act))
    router.add_post("/reload", change("reload", reload))
    router.add_post("/log-level", change("log-level", level))
    return app


_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _refusal(request: web.Request, admin: AdminSettings) -> web.Response | None:
    """Why this request may not do what needs the token, or None."""
    if admin.token is None:
        text = (
            "This needs a token, and the config has none, so nobody may. "
            "Write admin: {token: !file PATH} into the config and reload it (SIGHUP) or restart.\n"
        )
        return web.Response(status=403, text=text)
    origin = request.headers.get("Origin")
    if origin is not None and origin.rpartition("://")[2] != request.host:
        return web.Response(status=403, text="A page of another origin may not ask for this.\n")
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = admin.token.get_secret_value().encode()
    right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), expected)
    if kind.lower() == "bearer" and right:
        return None
    text = "The token is missing or wrong. Send Authorization: Bearer TOKEN with the admin.token of the config.\n"
    return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})


class _Stream:
    """Server-sent events: the status once a second to each page that watches, to so many at most."""

    def __init__(self, state: AdminState) -> None:
        self._state = state
        self._watching = 0
        self._ended = asyncio.Event()

    async def end(self, _: web.Application) -> None:
        """Let the pages go."""
        self._ended.set()

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Send until the page goes, is too slow, or the server ends."""
        if self._watching >= _STREAMS:
            return web.Response(
                status=503, text=f"{_STREAMS} pages are watching already; /status answers all the same.\n"
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._watching += 1
        try:
            await response.prepare(request)
            while request.method == "GET" and not self._ended.is_set():
                async with asyncio.timeout(_WRITE):
                    await response.write(b"data: " + _json(self._state.status()) + b"\n\n")
                await self._pause()
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watching -= 1
        return response

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_TICK):
                await self._ended.wait()
        except TimeoutError:
            return


@web.middleware
async def _plain_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say in words what was wrong with a request."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text=f"There is nothing at this path. What there is:\n{_LISTING}")
    except web.HTTPMethodNotAllowed as error:
        allowed = "POST" if "POST" in error.allowed_methods else "GET, HEAD"
        return web.Response(
            status=405, text=f"This path answers {allowed} and nothing else.\n", headers={"Allow": allowed}
        )
    except web.HTTPRequestEntityTooLarge:
        return web.Response(status=413, text=f"The body is too large: {_BODY} bytes at most, and none is needed.\n")
    except TimeoutError:
        return web.Response(status=408, text=f"The body did not come within {_READ:g} s.\n")


async def _say_nothing_twice(_: web.Request, response: web.StreamResponse) -> None:
    """Let no browser or proxy keep or reinterpret an answer."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"


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
