"""A strict EventBridge on loopback: the wire, the limits and the words of the service, and faults on demand.

What it does where AWS was observed, it does as AWS (snapshots in localstack/localstack tests/aws/services/events): a
bus that does not exist gets EventIds and the events vanish; a bad Detail fails its entry, eleven entries fail the call.
Where AWS says nothing (an integer beyond 64 bits, a TraceHeader that is none) it refuses the entry.

    POST   /                     PutEvents, DescribeEventBus, CreateEventBus, DeleteEventBus (AWS JSON 1.1)
    GET    /_sandbox/events      what was accepted and what vanished, in order of arrival; ?since=N skips the first N
    GET    /_sandbox/stats       counts
    POST   /_sandbox/faults      [{"do": "throttle", "times": 3}, …] goes to the end of the script (sandbox/faults.py)
    DELETE /_sandbox/faults      forgets the script; ?do=access_denied only that kind
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from random import Random
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import orjson
from aiohttp import web

from connector.sandbox.faults import Fault, Script

ACCOUNT: Final = "000000000000"
REGION: Final = "eu-west-1"
MAX_BYTES: Final = 1_048_576
MAX_BODY: Final = 8 * 2**20
_TYPE: Final = "application/x-amz-json-1.1"
_BUS: Final = r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]+"
_SIGNED: Final = re.compile(
    r"(AWS4-HMAC-SHA256 Credential=[^/,]+/\d{8}/[a-z0-9-]+|AWS4-ECDSA-P256-SHA256 Credential=[^/,]+/\d{8})"
    r"/(?P<service>[a-z0-9-]+)/aws4_request, ?SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64,}"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry that the service took. `index` is its place in the order of arrival, `request` the call it came in.

    `time` is epoch seconds as sent, None where the entry had none; `at` is the clock of the simulator.
    """

    index: int
    request: int
    at: float
    bus: str
    source: str
    detail_type: str
    detail: str
    resources: tuple[str, ...]
    time: float | None
    trace_header: str | None
    event_id: str


class _Refused(Exception):
    """A whole call that the service does not take."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


class EventBridge:
    """The simulated service. `accepted` and `vanished` are what it took, whatever it answered."""

    def __init__(
        self,
        buses: Iterable[str] = ("default",),
        *,
        faults: Iterable[Fault] = (),
        max_bytes: int = MAX_BYTES,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.buses = set(buses)
        self.faults = Script(faults)
        self.accepted: list[Accepted] = []
        self.vanished: list[Accepted] = []
        self.outcomes: Counter[str] = Counter()
        self.calls = 0
        self.url = ""
        self._max_bytes = max_bytes
        self._random = Random(seed)  # chance of faults, and ids that a seed repeats
        self._clock = clock
        self._runner: web.AppRunner | None = None

    @property
    def app(self) -> web.Application:
        """A new aiohttp application of this service."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.post("/", self._call),
                web.get("/_sandbox/events", self._events),
                web.get("/_sandbox/stats", self._stats),
                web.post("/_sandbox/faults", self._script),
                web.delete("/_sandbox/faults", self._unscript),
            ]
        )
        return app

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen, and say where."""
        self._runner = web.AppRunner(self.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
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

    async def _call(self, request: web.Request) -> web.StreamResponse:
        number, self.calls = self.calls, self.calls + 1
        headers = {"x-amzn-RequestId": self._id()}
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self.outcomes["413"] += 1
            return web.Response(status=413, headers=headers)
        operation = request.headers.get("X-Amz-Target", "").removeprefix("AWSEvents.")
        try:
            _check_signature(request)
            if operation == "PutEvents":
                return await self._put_events(request, number, _tree(body), headers)
            reply = self._control(operation, _tree(body))
        except _Refused as refused:
            return self._refusal(refused, headers)
        self.outcomes[operation] += 1
        return _json(reply, headers)

    def _refusal(self, refused: _Refused, headers: Mapping[str, str]) -> web.Response:
        self.outcomes[refused.code] += 1
        return _json({"__type": refused.code, "message": refused.message}, headers, refused.status)

    async def _put_events(
        self, request: web.Request, number: int, tree: Mapping[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        whole, beside = self.faults.take()
        entries = _entries(tree, self._max_bytes) if whole is None or whole.accepted else []
        refusals = [line for line in beside if line.do == "refuse"]
        results = [self._put(entry, index, number, refusals) for index, entry in enumerate(entries)]
        await asyncio.sleep(sum(line.seconds for line in beside if line.do == "slow"))
        if whole is not None:
            return await self._misbehave(whole, request, results, headers)
        self.outcomes["PutEvents"] += 1
        return _json({"FailedEntryCount": _failed(results), "Entries": results}, headers)

    def _put(
        self, entry: Mapping[str, Any], index: int, number: int, refusals: Iterable[Fault]
    ) -> dict[str, str | None]:
        code, message = _fault_of(entry) or ("", "")
        for line in refusals:
            if not code and line.bears_on(index, entry, self._random):
                code, message = line.code, line.message
        if code:
            self.outcomes[f"entry {code}"] += 1
            return {"ErrorCode": code, "ErrorMessage": message}
        bus = str(entry.get("EventBusName") or "default").rpartition("/")[2]
        log = self.accepted if bus in self.buses else self.vanished
        taken = Accepted(
            index=len(self.accepted) + len(self.vanished),
            request=number,
            at=self._clock(),
            bus=bus,
            source=entry["Source"],
            detail_type=entry["DetailType"],
            detail=entry["Detail"],
            resources=tuple(entry.get("Resources") or ()),
            time=entry.get("Time"),
            trace_header=entry.get("TraceHeader"),
            event_id=self._id(),
        )
        log.append(taken)
        return {"EventId": taken.event_id}

    async def _misbehave(
        self, fault: Fault, request: web.Request, results: list[dict[str, str | None]], headers: dict[str, str]
    ) -> web.StreamResponse:
        self.outcomes[fault.do] += 1
        reply: dict[str, Any] = {"FailedEntryCount": _failed(results), "Entries": results}
        match fault.do:
            case "throttle":
                if fault.seconds:
                    headers["Retry-After"] = f"{fault.seconds:g}"
                return _error("ThrottlingException", "Rate exceeded", headers)
            case "expired_token":
                return _error("ExpiredTokenException", "The security token included in the request is expired", headers)
            case "access_denied":
                user = f"arn:aws:iam::{ACCOUNT}:user/sandbox"
                return _error(
                    "AccessDeniedException", f"User: {user} is not authorized to perform: events:PutEvents", headers
                )
            case "error":
                return _error(fault.code, fault.message, headers, fault.status)
            case "html":
                page = f"<html><body><h1>{fault.status}</h1></body></html>"
                return web.Response(status=fault.status, text=page, content_type="text/html")
            case "too_large":
                return web.Response(status=413)
            case "empty":
                return web.Response(headers={**headers, "Content-Type": _TYPE})
            case "broken_json":
                half = orjson.dumps(reply)
                return web.Response(body=half[: len(half) // 2], headers={**headers, "Content-Type": _TYPE})
            case "never":
                await asyncio.Event().wait()
            case "cut":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            case "no_count":
                del reply["FailedEntryCount"]
            case "wrong_count":
                reply["FailedEntryCount"] += fault.by
            case "wrong_length":
                more = [{"EventId": self._id()} for _ in range(fault.by)]
                reply["Entries"] = [*results, *more] if fault.by > 0 else results[: len(results) + fault.by]
        return _json(reply, headers)

    def _control(self, operation: str, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The few operations on buses: a preflight and a test need no more."""
        if operation not in ("DescribeEventBus", "CreateEventBus", "DeleteEventBus"):
            raise _Refused("UnknownOperationException", "")
        for line in self.faults:
            if line.do == "access_denied":
                raise _Refused("AccessDeniedException", f"User is not authorized to perform: events:{operation}")
        name = tree.get("Name", "default")
        if not isinstance(name, str) or not re.fullmatch(_BUS, name, re.ASCII):
            raise _Refused("ValidationException", "1 validation error detected: Value at 'name' failed to satisfy")
        name = name.rpartition("/")[2]
        arn = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}"
        if operation == "DeleteEventBus":
            self.buses.discard(name)
            return {}
        if operation == "CreateEventBus":
            if name in self.buses:
                raise _Refused("ResourceAlreadyExistsException", f"Event bus {name} already exists.")
            self.buses.add(name)
            return {"EventBusArn": arn}
        if name not in self.buses:
            raise _Refused("ResourceNotFoundException", f"Event bus {name} does not exist.")
        return {"Name": name, "Arn": arn}

    async def _events(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        logs = {"accepted": self.accepted, "vanished": self.vanished}
        tree = {name: [asdict(event) for event in log if event.index >= since] for name, log in logs.items()}
        return web.Response(body=orjson.dumps(tree), content_type="application/json")

    async def _stats(self, _: web.Request) -> web.Response:
        tree = {
            "calls": self.calls,
            "accepted": len(self.accepted),
            "vanished": len(self.vanished),
            "outcomes": dict(self.outcomes),
            "buses": sorted(self.buses),
        }
        return web.Response(body=orjson.dumps(tree), content_type="application/json")

    async def _script(self, request: web.Request) -> web.Response:
        try:
            tree = orjson.loads(await request.read())
            lines = [Fault.of(line) for line in (tree if isinstance(tree, list) else [tree])]
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        self.faults.add(*lines)
        return web.Response(status=204)

    async def _unscript(self, request: web.Request) -> web.Response:
        self.faults.clear(request.query.get("do"))
        return web.Response(status=204)

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


def _check_signature(request: web.Request) -> None:
    """Presence and scope only: whether the secret is right is for AWS to say."""
    given = request.headers.get("Authorization", "")
    signed = _SIGNED.fullmatch(given)
    if signed is None or "X-Amz-Date" not in request.headers:
        code = "IncompleteSignatureException" if given else "MissingAuthenticationTokenException"
        raise _Refused(code, "Missing Authentication Token")
    if signed["service"] != "events":
        raise _Refused("InvalidSignatureException", "Credential should be scoped to correct service: 'events'.")


def _tree(body: bytes) -> Mapping[str, Any]:
    try:
        tree = orjson.loads(body)
    except ValueError:
        raise _Refused("SerializationException", "") from None
    if not isinstance(tree, dict):
        raise _Refused("SerializationException", "")
    return tree


def _entries(tree: Mapping[str, Any], max_bytes: int) -> list[Mapping[str, Any]]:
    """What makes the service refuse the call as a whole."""
    entries = tree.get("Entries")
    if entries is None:
        raise _constraint("null", "entries", "Member must not be null")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _Refused("SerializationException", "")
    if not 1 <= len(entries) <= 10:
        bound = "less than or equal to 10" if entries else "greater than or equal to 1"
        raise _constraint("[PutEventsRequestEntry]", "entries", f"Member must have length {bound}")
    for number, entry in enumerate(entries, 1):
        _check_types(entry)
        bus, trace = entry.get("EventBusName"), entry.get("TraceHeader")
        if bus is not None and not (len(bus) <= 1600 and re.fullmatch(_BUS, bus, re.ASCII)):
            raise _constraint(bus, f"entries.{number}.member.eventBusName", f"Member must satisfy pattern: {_BUS}")
        if trace is not None and not 1 <= len(trace) <= 500:
            bound = "Member must have length less than or equal to 500"
            raise _constraint(trace, f"entries.{number}.member.traceHeader", bound)
        for resource in entry.get("Resources") or ():
            if len(resource) > 2048:
                bound = "Member must have length less than or equal to 2048"
                raise _constraint(resource, f"entries.{number}.member.resources", bound)
    if sum(map(counted_bytes, entries)) > max_bytes:
        raise _Refused("ValidationException", "Total size of the entries in the request is over the limit.")
    return entries


def _constraint(value: str, where: str, bound: str) -> _Refused:
    message = f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: {bound}"
    return _Refused("ValidationException", message)


def _check_types(entry: Mapping[str, Any]) -> None:
    texts = [entry.get(key) for key in ("Source", "DetailType", "Detail", "EventBusName", "TraceHeader")]
    resources, moment = entry.get("Resources") or [], entry.get("Time")
    wrong = any(text is not None and not isinstance(text, str) for text in texts)
    wrong = wrong or not isinstance(resources, list) or not all(isinstance(text, str) for text in resources)
    if wrong or isinstance(moment, bool) or not (moment is None or isinstance(moment, int | float)):
        raise _Refused("SerializationException", "")


def counted_bytes(entry: Mapping[str, Any]) -> int:
    """The size of an entry as the user guide's "Calculating PutEvents event entry size" has it, in bytes."""
    total = 14 if entry.get("Time") is not None else 0
    for key in ("Source", "DetailType", "Detail"):
        total += len((entry.get(key) or "").encode())
    return total + sum(len(resource.encode()) for resource in entry.get("Resources") or ())


def _fault_of(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    for key in ("Source", "DetailType", "Detail"):
        if not entry.get(key):
            return "InvalidArgument", f"Parameter {key} is not valid. Reason: {key} is a required argument."
    if len(entry["DetailType"]) > 128:
        return "InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is too long."
    if entry["Source"].startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    if not _is_fit(entry["Detail"]):
        return "MalformedDetail", "Detail is malformed."
    return None


def _is_fit(detail: str) -> bool:
    """Whether it is an object of at most 1000 levels whose integers fit 64 bits."""
    try:
        tree = json.loads(detail, parse_int=_int64, parse_constant=_int64)
    except RecursionError:
        return _is_fit_deep(detail)
    except ValueError:
        return False
    return isinstance(tree, dict)


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:  # NaN and Infinity come here too and are no int
        raise ValueError
    return int(digits)


def _is_fit_deep(detail: str) -> bool:
    try:
        tree = orjson.loads(detail)
    except ValueError:
        return False
    level, depth = [tree], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [below for item in level for below in (item.values() if isinstance(item, dict) else item)]
    return isinstance(tree, dict) and depth <= 1000


def _failed(results: Iterable[Mapping[str, str | None]]) -> int:
    return sum("ErrorCode" in result for result in results)


def _error(code: str, message: str, headers: Mapping[str, str], status: int = 400) -> web.Response:
    return _json({"__type": code, "message": message}, headers, status)


def _json(tree: Any, headers: Mapping[str, str], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(tree), headers={**headers, "Content-Type": _TYPE})
