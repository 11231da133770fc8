"""`python -m tests.clients`: Fiddler's own clients publish to the simulator, we publish the same; both are compared.

Each client runs in a virtual environment of its own (`make fiddler-clients` makes them). A recorder stands before the
simulator and keeps what travels. Ends with 1 where a client is not satisfied, or where a request of ours differs from
theirs in anything that `docs/targets/fiddler.md` does not list.
"""

import asyncio
import json
import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict

from connector.batch import Trigger, pack
from connector.model import Entry, Event, Record, TopicPartition, Verdict
from connector.sandbox.fiddler import Fiddler as Sandbox
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_api import Api
from connector.targets.fiddler_files import Content, FilesV3, Publication, Taken, table
from connector.targets.fiddler_rows import Destination
from connector.targets.fiddler_settings import FiddlerSettings

HERE: Final = Path(__file__).parent
PIECE: Final = 64
LARGE: Final = 5 * 2**20
"""From so many bytes on fiddler-client 2.x uploads in pieces."""

ROWS: Final[list[dict[str, Any]]] = [
    {
        "event_id": f"e{number}",
        "timestamp": f"2024-01-01T00:00:0{number}Z",
        "n": number,
        "text": text,
        "balance": 0.1 * number,
        "active": number % 2 == 0,
        "country": "DE",
        "probability": 0.5,
    }
    for number, text in enumerate(["plain", 'quotes " and, commas', "Zoë 😀", "two\nlines"])
]
UPDATES: Final[list[dict[str, Any]]] = [{"event_id": f"e{number}", "churned": "yes"} for number in range(4)]
MANY: Final[list[dict[str, Any]]] = [
    {"event_id": f"m{number}", "timestamp": "2024-01-01T00:00:00Z", "n": number} for number in range(1001)
]
CSV: Final = table(ROWS).decode()

EVENTS_V2: Final[list[dict[str, Any]]] = [
    {"event": {"n": 1, "text": "Zoë"}, "event_id": "e1", "event_timestamp": 1637344470000, "timestamp_format": "INFER"},
    {"event": {"n": 2}, "event_id": "e2", "event_timestamp": 1637344470, "timestamp_format": "EPOCH_SECONDS"},
    {"event": {"n": 3}, "event_id": "e3", "event_timestamp": 1637344470000, "timestamp_format": "EPOCH_MILLISECONDS"},
    {
        "event": {"n": 4},
        "event_id": "e4",
        "event_timestamp": "2021-11-19 17:54:30.000000",
        "timestamp_format": "ISO_8601",
    },
    {
        "event": {"churned": "yes"},
        "event_id": "e1",
        "event_timestamp": None,
        "update_event": True,
        "timestamp_format": "INFER",
    },
    {
        "event": {"n": 5},
        "event_id": "e5",
        "event_timestamp": 1637344470000,
        "update_event": False,
        "timestamp_format": "INFER",
    },
]
BATCH_V2: Final[dict[str, Any]] = {
    "id_field": "event_id",
    "timestamp_field": "timestamp",
    "timestamp_format": "ISO_8601",
    "update_event": False,
    "group_by": "country",
}

ONLY_THEIRS: Final = frozenset({"X-Fiddler-Client-Version"})
ONLY_OURS: Final[frozenset[str]] = frozenset({"X-Fiddler-Client-Name", "X-Fiddler-Python-Version"})
OF_TRANSPORT: Final = frozenset(
    {"Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "User-Agent"}
)
"""Headers of the HTTP library; the content type is compared by itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it travelled."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Recorder:
    """A proxy before a service. It keeps every request that publishes something."""

    def __init__(self, upstream: str) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._upstream = upstream

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method != "GET":
            headers = dict(request.headers)
            self.requests.append(Request(request.method, request.path, dict(request.query), headers, body))
        headers = {key: value for key, value in request.headers.items() if key not in ("Host", "Content-Length")}
        url = f"{self._upstream}{request.raw_path}"
        async with self._session.request(request.method, url, headers=headers, data=body) as reply:
            content = await reply.read()
            return web.Response(status=reply.status, body=content, content_type=reply.content_type)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        app = web.Application(client_max_size=2**28)
        app.add_routes([web.route("*", "/{path:.*}", self._pass)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()


@dataclass(slots=True)
class Verdicts:
    """What was found, line by line."""

    good: int = 0
    bad: list[str] = field(default_factory=list)

    def say(self, what: str, *, holds: bool, else_: str = "") -> None:
        """Print one finding."""
        print(f"  {'✓' if holds else '✗'} {what}" + (f": {else_}" if not holds and else_ else ""))
        if holds:
            self.good += 1
        else:
            self.bad.append(what)


def parts(request: Request) -> list[tuple[str, str, str, bytes]]:
    """The parts of a form: name, file name, content type, content."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers["Content-Type"])
    assert boundary is not None, "a form has a boundary"
    found = []
    for piece in request.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(re.findall(r'(name|filename)="([^"]*)"', head.decode()))
        kind = re.search(rb"(?im)^content-type: *(.*)$", head)
        said = kind[1].decode().strip() if kind else ""
        found.append((names.get("name", ""), names.get("filename", ""), said, content.removesuffix(b"\r\n")))
    return sorted(found)


def plain(request: Request, sandbox: Sandbox) -> tuple[Any, ...]:
    """A request without what the service chose: ids of files, and the letters before their names."""
    names = {identity: f"FILE-{number}" for number, identity in enumerate(sandbox.files, 1)}
    names |= {part: "PART" for file in sandbox.files.values() for part, _ in file.parts.values()}
    names |= {file.name: f"NAME-{number}" for number, file in enumerate(sandbox.files.values(), 1)}

    def known(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: known(below) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [known(below) for below in value]
        if isinstance(value, bytes):
            return names.get(value.decode(errors="replace"), value) if len(value) < 100 else value
        return names.get(value, value) if isinstance(value, str) and value != "file.csv" else value

    kind = request.headers.get("Content-Type", "").partition(";")[0]
    body: Any = request.body
    if kind == "application/json":
        body = json.loads(request.body)
    elif kind == "multipart/form-data":
        body = parts(request)
    return request.method, request.path, known(request.query), kind, known(body)


def entry(target: Fiddler, fields: Mapping[str, Any], offset: int = 0) -> Entry:
    """An entry of a record without a time."""
    record = Record(TopicPartition("clients", 0), offset, -1, None, None)
    prepared = target.prepare(Event(record, "r", "t", fields, f"clients-0-{offset}/r"))
    return Entry(Event(record, "r", "t", fields, ""), prepared.body, prepared.size, prepared.group, None, lambda: None)


async def send(target: Fiddler, *fields: Mapping[str, Any]) -> None:
    """Send events as a lane would pack them, and see that all of them are delivered."""
    entries = [entry(target, one, offset) for offset, one in enumerate(fields)]
    for closed in pack(entries, target.limits, Trigger.FLUSH):
        acks = await target.send(closed.batch)
        assert {ack.verdict for ack in acks} == {Verdict.DELIVERED}, acks


def fiddler(url: str, **more: Any) -> Fiddler:
    """Our target."""
    tree = {"url": url, "token": "sandbox", "project_name": "shop", "model_name": "churn", **more}
    return Fiddler("clients", FiddlerSettings.model_validate(tree))


async def ours_v3(url: str, folder: Path) -> None:
    """The plan of v3 with our target."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(fiddler(url))
        files = await stack.enter_async_context(
            fiddler(url, publish="batch", directory=str(folder), job_poll="10ms", request_timeout="30s")
        )
        api = await stack.enter_async_context(Api(url, "sandbox", timeout=30.0, connections=2))
        await send(target, *({"event": row} for row in ROWS))
        await send(target, *({"event": row, "event_id": row["event_id"], "update_event": True} for row in UPDATES))
        await send(target, *({"event": row} for row in MANY))
        await send(files, {"events_path": "file.csv"})
        await send(files, {"events_path": "update.csv", "update_event": True})
        publication = Publication(Destination("shop", "churn"), "file.csv", Content.of_bytes(CSV.encode()))
        taken = await FilesV3(api, piece=PIECE).publish(publication)
        assert not isinstance(taken, Taken), "the model of these pieces does not exist: only the upload is compared"


async def ours_v2(url: str, folder: Path) -> None:
    """The plan of v2 with our target."""
    v2 = {"api": "v2", "organization": "acme"}
    told = {key: value for key, value in BATCH_V2.items() if value is not None}
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(fiddler(url, **v2))
        files = await stack.enter_async_context(
            fiddler(url, **v2, **told, publish="batch", directory=str(folder), job_poll="10ms", request_timeout="30s")
        )
        for event in EVENTS_V2:
            await send(target, event)
        for name in ("file.csv", "large.csv"):
            await send(files, {"events_path": name})


async def run(script: str, python: Path, url: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a client makes of a plan.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(HERE / script),
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(180):
            out, err = await process.communicate(json.dumps(plan).encode())
    except TimeoutError:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{script} failed:\n{err.decode()}")
    found: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return found


async def recorded(work: Any) -> tuple[Any, Sequence[Request], Sandbox]:
    """Do some work against a new simulator behind a recorder."""
    async with Sandbox(job_states=(), token="sandbox") as sandbox, Recorder(sandbox.url) as recorder:
        found = await work(recorder.url)
        return found, recorder.requests, sandbox


def compare(
    told: Verdicts, theirs: tuple[Sequence[Request], Sandbox], ours: tuple[Sequence[Request], Sandbox], count: int
) -> None:
    """Hold the first requests of the one against those of the other."""
    for number in range(count):
        if number >= min(len(theirs[0]), len(ours[0])):
            told.say(f"request {number + 1}", holds=False, else_="one of the two did not make it")
            continue
        one, other = theirs[0][number], ours[0][number]
        here, there = plain(other, ours[1]), plain(one, theirs[1])
        what = f"{one.method} {one.path}, {len(one.body)} bytes"
        told.say(what, holds=here == there, else_=f"\n      theirs {str(there)[:600]}\n      ours   {str(here)[:600]}")
        mine = set(CIMultiDict(other.headers)) - OF_TRANSPORT
        their = set(CIMultiDict(one.headers)) - OF_TRANSPORT
        if their - mine - ONLY_THEIRS or mine - their - ONLY_OURS:
            told.say(f"headers of {what}", holds=False, else_=f"theirs {sorted(their)}, ours {sorted(mine)}")
        if one.headers.get("Authorization") != other.headers.get("Authorization"):
            told.say(f"authorization of {what}", holds=False)


async def v3(told: Verdicts, python: Path, folder: Path) -> None:
    """fiddler-client 3.x."""
    plan = {
        "project": "shop",
        "model": "churn",
        "rows": ROWS,
        "updates": UPDATES,
        "many": MANY,
        "csv": CSV,
        "piece": PIECE,
    }
    found, requests, sandbox = await recorded(lambda url: run("fiddler_v3.py", python, url, plan))
    stored = sandbox.accepted
    told.say("gets an id for each event and update", holds=len(found["events"]) == len(found["updates"]) == len(ROWS))
    told.say("gets 1001 ids of two requests", holds=found["many"] == len(MANY))
    told.say("sees the jobs of a file and of an update succeed", holds=found["file"] == found["update"] == "SUCCESS")
    told.say("sees an upload in pieces complete", holds=found["pieces"] == "SUCCESSFUL")
    told.say("sees the job of a data frame succeed", holds=found["frame"] == "SUCCESS")
    told.say("is told that a model is missing", holds="not found" in found.get("missing", ""), else_=str(found))
    told.say("had its rows stored as sent", holds=[dict(one.row) for one in stored[: len(ROWS)]] == ROWS)
    _, mine, of_mine = await recorded(lambda url: ours_v3(url, folder))
    compare(told, (requests, sandbox), (mine, of_mine), 4 + 2 + 2 + 1 + -(-len(CSV.encode()) // PIECE) + 1)
    told.say("writes the same CSV of the same rows", holds=found["csv"] == CSV, else_=f"{found['csv']!r} {CSV!r}")


async def v2(told: Verdicts, python: Path, folder: Path) -> None:
    """fiddler-client 2.x."""
    large = LARGE // len(CSV.encode()) + 1
    (folder / "large.csv").write_text(CSV * large, newline="")
    plan = {
        "project": "shop",
        "model": "churn",
        "events": EVENTS_V2,
        "csv": CSV,
        "large": large,
        "batch": BATCH_V2,
    }
    found, requests, sandbox = await recorded(lambda url: run("fiddler_v2.py", python, url, plan))
    told.say("gets an id for each event", holds=len({*found["events"]} - {None}) == len(EVENTS_V2))
    for name in ("file", "large"):
        reply = found[name]
        shape = list(reply) == ["status", "job_uuid", "files", "message"] and reply["status"] == 202
        told.say(f"gets the reply of the reference for the {name} file", holds=shape, else_=str(reply))
    told.say("sees a job succeed", holds=found["waited"]["status"] == "SUCCESS", else_=str(found["waited"]))
    _, mine, of_mine = await recorded(lambda url: ours_v2(url, folder))
    compare(told, (requests, sandbox), (mine, of_mine), len(EVENTS_V2) + 2 + 4)


async def main(environments: Path) -> int:
    """Both clients; 1 where something does not hold."""
    told = Verdicts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("file.csv", "update.csv"):
            (folder / file).write_text(CSV, newline="")
        for title, check, where in (("fiddler-client 3.x", v3, "fiddler-v3"), ("fiddler-client 2.x", v2, "fiddler-v2")):
            print(title)
            await check(told, environments / where / "bin" / "python", folder)
    print(f"{told.good} findings hold, {len(told.bad)} do not")
    return 1 if told.bad else 0


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
