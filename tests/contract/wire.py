"""What tests of AWS targets need: credentials that never leave the machine, entries, and a service of raw replies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self

import aioboto3
from aiohttp import web

from connector.model import Entry, Event, Headers, Prepared, Record, TopicPartition
from connector.targets.aws import AwsSettings
from connector.targets.contract import Target


@cache
def _session(region: str) -> aioboto3.Session:
    return aioboto3.Session("test", "test", region_name=region)


def session(settings: AwsSettings) -> aioboto3.Session:
    """A session that asks nobody for credentials; one for all tests, for it reads its service models from files."""
    return _session(settings.region or "eu-west-1")


def record(
    value: bytes | None = b'{"total":1}', *, offset: int = 0, timestamp_ms: int = -1, headers: Headers = ()
) -> Record:
    """One record of one topic."""
    return Record(TopicPartition("shop.orders.v1", 3), offset, timestamp_ms, b"k", value, headers)


def event(fields: Mapping[str, Any], of: Record | None = None) -> Event:
    """An event of that record with these fields."""
    of = of if of is not None else record()
    return Event(of, "paid", "bus", fields, f"shop.orders.v1-3-{of.offset}/paid")


def entry(event: Event, prepared: Prepared) -> Entry:
    """The event ready for the wire, in nobody's ledger."""
    return Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, lambda: None, prepared.alike)


def ready(target: Target, *events: Event) -> tuple[Entry, ...]:
    """Prepare events for a call."""
    return tuple(entry(each, target.prepare(each)) for each in events)


@dataclass(frozen=True, slots=True)
class Raw:
    """One reply, byte for byte."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire:
    """A service that answers what it is given, the last reply for ever, and keeps the requests."""

    def __init__(self, replies: Iterable[Raw]) -> None:
        self.replies = list(replies)
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.lines: list[tuple[str, str]] = []
        self.url = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        self.lines.append((request.method, request.raw_path))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "r-1", **reply.headers}
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 2**20)
        app.add_routes([web.route("*", "/{path:.*}", self._answer)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
