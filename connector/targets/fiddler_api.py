"""Fiddler over HTTP: one request, its reply as a value, what a refusal means, and the models that were read.

Envelopes of v2 and v3 are alike: `{"data": …}` for success, `{"error": {"code", "message", "errors"}}` else (API
guidelines; fiddler-client 3.14.1, schemas/response.py). No retries here: the lane owns them.
"""

import asyncio
import platform
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

import aiohttp
import orjson

from connector.model import Verdict
from connector.targets import trace
from connector.targets.aws import CONNECT_TIMEOUT, UNTRUSTED, Refusal, Reply, retry_after, tidy, unreadable
from connector.targets.fiddler_rows import Destination, Model, is_uuid

CULPRIT: Final = frozenset({400, 413, 422})
"""The call is refused because of a row that the reply does not name."""

NOT_FOUND: Final = frozenset({"ProjectNotFound", "ModelNotFound"})
"""Words of ours for a look-up that found nothing."""

DUPLICATE: Final = 409
"""What a repeated request may be answered with, once Fiddler knows repeats (fiddler-client 3.14.1,
entities/events.py): the first one was taken."""

Body: TypeAlias = Callable[[], Any]
"""Makes the body of a request; called once a request, since a form can be sent only once."""


def verdict(refusal: Refusal) -> Verdict:
    """Say what a refused request means, by its status; what nobody knows is HOLD."""
    status = refusal.status
    if refusal.code == UNTRUSTED:
        return Verdict.HOLD
    if status == 0 or 200 <= status < 300 or status in (408, 429) or (status >= 500 and status != 501):
        return Verdict.RETRY
    return Verdict.REJECTED if status in CULPRIT else Verdict.HOLD


def grant(refusal: Refusal, wanted: str) -> str:
    """The message of a refusal, with what to do where a right is missing."""
    if refusal.status == 401:
        return f"{refusal.message}; give `token` a valid key: Fiddler's Settings, Credentials"
    if refusal.status == 403:
        return f"{refusal.message}; grant the token's user {wanted} (Fiddler's Settings, Access)"
    return refusal.message


class Api:
    """One Fiddler behind one call.

    `call` answers with a value whatever happens on the way, within `timeout` seconds; only cancellation passes through.
    """

    def __init__(self, url: str, token: str, *, timeout: float, connections: int, ca: str | None = None) -> None:
        """`timeout` in seconds; `ca` is the file of the authority to trust, those of the system by default."""
        self._ca = ca
        self._unusable: Refusal | None = None
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._connections = connections
        self._headers = {
            "Authorization": f"Bearer {token}",
            "X-Fiddler-Client-Name": "connector",
            "X-Fiddler-Python-Version": platform.python_version(),
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pool of connections; nothing is sent. With a `ca` that cannot be read every call is refused."""
        context: ssl.SSLContext | bool = True
        if self._ca is not None:
            if reason := unreadable(self._ca):
                self._unusable = Refusal(UNTRUSTED, reason)
            else:
                context = ssl.create_default_context(cafile=self._ca)
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=context),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str | None = "application/json",
    ) -> Reply | Refusal:
        """Make one request. `body` gives bytes, or a form, whose content type is its own (`content_type` None)."""
        if self._session is None:
            raise RuntimeError(f"{method} {path} called outside of `async with`")
        if self._unusable is not None:
            return self._unusable
        headers = dict(trace.outgoing())
        if body is not None and content_type is not None:
            headers["Content-Type"] = content_type
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(
                    method,
                    f"{self._url}{path}",
                    params=params,
                    data=body() if body is not None else None,
                    headers=headers,
                    allow_redirects=False,  # a POST that is redirected may come back as a GET
                ) as answer,
            ):
                return _read(answer.status, answer.headers, await answer.read())
        except TimeoutError:
            return Refusal("Timeout", f"no reply within {self._timeout:g} s; Fiddler may have taken the request")
        except (aiohttp.ClientError, OSError) as error:
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            return Refusal(UNTRUSTED if untrusted else type(error).__name__, tidy(str(error)))


def _read(status: int, headers: Mapping[str, str], text: bytes) -> Reply | Refusal:
    try:
        tree = orjson.loads(text)
    except ValueError:
        tree = None
    tree = tree if isinstance(tree, dict) else {}
    if 200 <= status < 300:
        if isinstance(data := tree.get("data"), dict):
            return Reply(data, status=status)
        return Refusal("ProtocolError", "a success without data", status=status)
    if 300 <= status < 400:
        return Refusal(str(status), f"a redirect to {headers.get('Location', 'nowhere')}: correct `url`", status=status)
    said = tree.get("error")
    said = said if isinstance(said, dict) else {}
    errors = said.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = first.get("reason")
    message = said.get("message") or first.get("message") or ("an HTML page" if text[:1] == b"<" else "no message")
    return Refusal(
        str(code)[:100] if code else str(status), tidy(str(message)), status=status, retry_after=retry_after(headers)
    )


def segment(text: str) -> str:
    """A name as part of a path."""
    return quote(text, safe="")


@dataclass(slots=True)
class _LookUp:
    """A look-up under way, and what it found; nothing where it was cancelled."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    found: Model | Refusal | None = None


class Models:
    """The models of API v3 by their names, each read once and again when it has grown old.

    Two askers of one model share one look-up. A look-up that fails is not remembered.
    """

    def __init__(self, api: Api, clock: Callable[[], float], lifetime: float) -> None:
        self._api = api
        self._clock = clock
        self._lifetime = lifetime
        self._known: dict[Destination, tuple[Model, float]] = {}
        self._asked: dict[Destination, _LookUp] = {}

    async def of(self, destination: Destination, *, newer_than: float | None = None) -> Model | Refusal:
        """Give a model that was read within the lifetime, or within `newer_than` seconds."""
        known = self._known.get(destination)
        if known is not None and self._clock() - known[1] <= (self._lifetime if newer_than is None else newer_than):
            return known[0]
        while (look_up := self._asked.get(destination)) is not None:
            await look_up.over.wait()
            if look_up.found is not None:
                return look_up.found
        look_up = self._asked[destination] = _LookUp()
        try:
            look_up.found = found = await self._read(destination)
        finally:  # cancelled: the next of those who wait asks
            del self._asked[destination]
            look_up.over.set()
        if isinstance(found, Model):
            self._known[destination] = (found, self._clock())
        return found

    def forget(self, destination: Destination) -> None:
        """Read the model anew next time: Fiddler no longer knows the id we had."""
        self._known.pop(destination, None)

    async def _read(self, destination: Destination) -> Model | Refusal:
        identity = destination.model
        if not is_uuid(identity):
            project = await self._project(destination.project)
            if isinstance(project, Refusal):
                return project
            rules = {"name": destination.model, "project_id": project}
            if destination.version is not None:
                rules["version"] = destination.version
            params = {"filter": _filter(rules), "limit": "1", "ordering": "created_at"}
            found = await self._first("/v3/models", params, "ModelNotFound", f"no such model: {destination}")
            if isinstance(found, Refusal):
                return found
            identity = found
        reply = await self._api.call("GET", f"/v3/models/{segment(identity)}")
        if isinstance(reply, Refusal):
            return reply
        try:
            return Model.of(reply.body)
        except ValueError as error:
            return Refusal("ProtocolError", str(error), status=reply.status)

    async def _project(self, name: str) -> str | Refusal:
        if is_uuid(name):
            return name
        params = {"filter": _filter({"name": name})}
        return await self._first("/v3/projects", params, "ProjectNotFound", f"no such project: {name}")

    async def _first(self, path: str, params: Mapping[str, str], code: str, missing: str) -> str | Refusal:
        """The id of the first item of a list."""
        reply = await self._api.call("GET", path, params=params)
        if isinstance(reply, Refusal):
            return reply
        items = reply.body.get("items")
        if not isinstance(items, list):
            return Refusal("ProtocolError", "a list without items", status=reply.status)
        if not items:
            return Refusal(code, missing, status=404)
        identity = items[0].get("id") if isinstance(items[0], dict) else None
        if not isinstance(identity, str):
            return Refusal("ProtocolError", "an item without an id", status=reply.status)
        return identity


def _filter(rules: Mapping[str, str]) -> str:
    written = [{"field": name, "operator": "equal", "value": value} for name, value in rules.items()]
    return orjson.dumps({"condition": "AND", "rules": written}).decode()
