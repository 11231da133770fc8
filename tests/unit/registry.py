"""A schema registry on loopback that speaks Confluent's REST API, with a will of its own."""

import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web


@dataclass
class Registry:
    """`schemas` by id, `subjects` by subject and version; `asked` are the paths in order."""

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    answer: web.Response | None = None
    url: str = ""

    async def answered(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        parts = [unquote(part) for part in request.raw_path.partition("?")[0].split("/")]
        if parts[1:3] == ["schemas", "ids"]:
            return self._answered(request, self.schemas.get(int(parts[3])), 40403)
        return self._answered(request, self.subjects.get((parts[2], int(parts[4]))), 40401)

    def _answered(self, request: web.BaseRequest, found: dict[str, Any] | None, code: int) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.authorization.append(request.headers.get("Authorization"))
        if self.answer is not None:
            answer, self.answer = self.answer, None
            return answer
        if found is None:
            return web.json_response({"error_code": code, "message": "not found"}, status=404)
        wanted = request.query.get("format", "")
        return web.json_response({**found, "schema": found.get(wanted, found["schema"])})


@asynccontextmanager
async def serving(
    answer: Callable[[Any], Awaitable[web.StreamResponse]], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server on loopback that answers everything so; its address."""
    server = web.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def registry(context: ssl.SSLContext | None = None) -> AsyncIterator[Registry]:
    """A registry that runs for the length of a block."""
    here = Registry()
    async with serving(here.answered, context) as here.url:
        yield here


def framed(schema: int, body: bytes) -> bytes:
    """Confluent's wire format."""
    return b"\x00" + schema.to_bytes(4, "big") + body


def avro_schema(tree: Any, *references: tuple[str, str, int]) -> dict[str, Any]:
    """An Avro schema as the registry answers it."""
    named = [{"name": name, "subject": subject, "version": version} for name, subject, version in references]
    return {"schema": json.dumps(tree), **({"references": named} if named else {})}


def serialized(file: Any) -> str:
    """A file descriptor as `format=serialized` gives it."""
    return base64.b64encode(file.SerializeToString()).decode("ascii")
