"""An AWS service of REST and JSON on loopback, driven by botocore's service model, for simulators to build on.

The model says where an operation listens, what its input must look like and which status its reply has. What a
service takes and answers, each simulator says itself. A member that the model does not know is refused: services
ignore it, but here it is a mistake of the client.

    GET    /_sandbox/events      what was accepted and what vanished, in order of arrival; ?since=N skips the first N
    GET    /_sandbox/stats       counts
    POST   /_sandbox/faults      [{"do": "throttle", "times": 3}, …] goes to the end of the script (sandbox/faults.py)
    DELETE /_sandbox/faults      forgets the script; ?do=access_denied only that kind
"""

import asyncio
import base64
import binascii
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, Self
from uuid import UUID

import orjson
from aiohttp import web
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

from connector.sandbox.faults import Fault, Script

ACCOUNT: Final = "000000000000"
REGION: Final = "eu-west-1"
MAX_BODY: Final = 16 * 2**20
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/,]+/\d{8}/[a-z0-9-]+/(?P<service>[a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64}"
)


class Flaw(NamedTuple):
    """Where an input leaves its model, and what the model asks for there."""

    where: tuple[str, ...]
    constraint: str

    def __str__(self) -> str:
        place = ".".join(self.where)
        return f"1 validation error detected: Value at '{place}' failed to satisfy constraint: {self.constraint}"


class Refused(Exception):
    """A whole call that the service does not take."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


def flaws(shape: Shape, value: Any, where: tuple[str, ...] = ()) -> Iterator[Flaw]:
    """Where a value of JSON leaves its shape: type, required, min, max, pattern, enum, unknown members."""
    match shape:
        case StructureShape():
            if not isinstance(value, dict):
                yield Flaw(where, "Member must be an object")
                return
            named = {member.serialization.get("name", name): member for name, member in shape.members.items()}
            for name in shape.required_members:
                if value.get(shape.members[name].serialization.get("name", name)) is None:
                    yield Flaw((*where, name), "Member must not be null")
            for key, below in value.items():
                if key not in named:
                    yield Flaw((*where, key), f"Member must be one of {', '.join(named)}")
                elif below is not None:
                    yield from flaws(named[key], below, (*where, key))
        case MapShape():
            if not isinstance(value, dict):
                yield Flaw(where, "Member must be an object")
                return
            for key, below in value.items():
                yield from flaws(shape.key, key, (*where, key))
                yield from flaws(shape.value, below, (*where, key))
        case ListShape():
            if not isinstance(value, list):
                yield Flaw(where, "Member must be a list")
                return
            yield from _bounds(shape, len(value), where, "length")
            for number, below in enumerate(value, 1):
                yield from flaws(shape.member, below, (*where, str(number), "member"))
        case _:
            yield from _scalar(shape, value, where)


def _scalar(shape: Shape, value: Any, where: tuple[str, ...]) -> Iterator[Flaw]:
    match shape.type_name:
        case "string":
            if not isinstance(value, str):
                yield Flaw(where, "Member must be a string")
                return
            yield from _bounds(shape, len(value), where, "length")
            enum = shape.enum if isinstance(shape, StringShape) else []
            if enum and value not in enum:
                yield Flaw(where, f"Member must satisfy enum value set: [{', '.join(enum)}]")
            pattern = shape.metadata.get("pattern")
            if pattern is not None and not _fits(pattern, value):
                yield Flaw(where, f"Member must satisfy regular expression pattern: {pattern}")
        case "blob":
            if unblob(value) is None:
                yield Flaw(where, "Member must be Base64 text")
        case "integer" | "long":
            if not isinstance(value, int) or isinstance(value, bool):
                yield Flaw(where, "Member must be an integer")
                return
            bits = 31 if shape.type_name == "integer" else 63
            if not -(2**bits) <= value < 2**bits:
                yield Flaw(where, f"Member must have {bits + 1} bits")
            yield from _bounds(shape, value, where, "value")
        case "double" | "float":
            if not isinstance(value, int | float) or isinstance(value, bool):
                yield Flaw(where, "Member must be a number")
        case "boolean":
            if not isinstance(value, bool):
                yield Flaw(where, "Member must be a boolean")
        case _:
            raise NotImplementedError(shape.type_name)


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value, re.ASCII) is not None
    except re.error:  # a few patterns of other operations are Java's own: they are not checked
        return True


def _bounds(shape: Shape, size: int, where: tuple[str, ...], what: str) -> Iterator[Flaw]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield Flaw(where, f"Member must have {what} greater than or equal to {least}")
    if most is not None and size > most:
        yield Flaw(where, f"Member must have {what} less than or equal to {most}")


def unblob(value: Any) -> bytes | None:
    """The bytes of a blob in JSON, None where it is no Base64."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except binascii.Error:
        return None


def model(service: str) -> ServiceModel:
    """The service model of the installed botocore."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


class Call(NamedTuple):
    """One request, read: its parameters by their names on the wire, and the size of its body in bytes."""

    operation: str
    parameters: dict[str, Any]
    number: int
    bytes: int


class Modelled:
    """A simulated service. `accepted` and `vanished` are what it took, whatever it answered.

    A subclass names its operations (`serves`: service → operations; the first one is what the script of faults bears
    on) and says what they do.
    """

    serves: ClassVar[Mapping[str, tuple[str, ...]]]
    throttled: ClassVar[str] = "ThrottlingException"
    denied: ClassVar[str] = "AccessDeniedException"
    invalid: ClassVar[str]
    message_key: ClassVar[str] = "message"

    def __init__(
        self,
        *,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.faults = Script(faults)
        self.accepted: list[Any] = []
        self.vanished: list[Any] = []
        self.outcomes: Counter[str] = Counter()
        self.calls = 0
        self.url = ""
        self.random = Random(seed)  # chance of faults, and ids that a seed repeats
        self.clock = clock
        self._runner: web.AppRunner | None = None

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Do what the main operation does, and give its reply.

        Raises:
            Refused: the whole call.
        """
        raise NotImplementedError

    def control(self, call: Call) -> dict[str, Any]:
        """Do what another operation does, and give its reply.

        Raises:
            Refused: the whole call.
        """
        raise NotImplementedError

    def refuse(self, call: Call, found: Iterable[Flaw]) -> None:
        """Say what flaws of an input mean for the call.

        Raises:
            Refused: the whole call.
        """
        for flaw in found:
            raise Refused(self.invalid, str(flaw))

    def spoil(self, fault: Fault, call: Call, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply with what the fault does to its shape; it is empty where the service took nothing."""
        return reply

    @property
    def state(self) -> Mapping[str, Any]:
        """What /_sandbox/stats says beside the counts."""
        return {}

    @property
    def app(self) -> web.Application:
        """A new aiohttp application of this service."""
        app = web.Application(client_max_size=MAX_BODY)
        main = True
        for service, operations in self.serves.items():
            of = model(service)
            for name in operations:
                operation = of.operation_model(name)
                path = re.sub(r"\{([^}]+)\}", lambda found: "{" + found[1].replace("-", "_") + "}", _uri(operation))
                app.router.add_route(operation.http["method"], path, self._handler(operation, main=main))
                main = False
        app.add_routes(
            [
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

    def identity(self) -> str:
        """A new UUID, the same for the same seed."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def _handler(self, operation: OperationModel, *, main: bool) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            number, self.calls = self.calls, self.calls + 1
            headers = {"x-amzn-RequestId": self.identity()}
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                self.outcomes["413"] += 1
                return web.Response(status=413, headers=headers)
            try:
                _check_signature(request, operation.service_model)
                call = Call(operation.name, _parameters(operation, request, body), number, len(body))
                if main:
                    return await self._main(operation, call, request, headers)
                self._check_policy(operation)
                self.refuse(call, _input_flaws(operation, call))
                reply = self.control(call)
            except Refused as refused:
                return self._refusal(refused, headers)
            self.outcomes[operation.name] += 1
            return _json(_wire(operation, reply), headers, operation.http.get("responseCode", 200))

        return handle

    async def _main(
        self, operation: OperationModel, call: Call, request: web.Request, headers: dict[str, str]
    ) -> web.StreamResponse:
        whole, beside = self.faults.take()
        reply: dict[str, Any] = {}
        if whole is None or whole.accepted:
            self.refuse(call, _input_flaws(operation, call))
            reply = self.perform(call, beside)
        await asyncio.sleep(sum(line.seconds for line in beside if line.do == "slow"))
        if whole is not None:
            self.outcomes[whole.do] += 1
            return await self._misbehave(whole, operation, call, request, reply, headers)
        self.outcomes[operation.name] += 1
        return _json(reply, headers, operation.http.get("responseCode", 200))

    async def _misbehave(
        self,
        fault: Fault,
        operation: OperationModel,
        call: Call,
        request: web.Request,
        reply: dict[str, Any],
        headers: dict[str, str],
    ) -> web.StreamResponse:
        status = operation.http.get("responseCode", 200)
        match fault.do:
            case "throttle":
                if fault.seconds:
                    headers["Retry-After"] = f"{fault.seconds:g}"
                return self._error(self.throttled, "Rate exceeded", headers, 429)
            case "expired_token":
                message = "The security token included in the request is expired"
                return self._error("ExpiredTokenException", message, headers, 403)
            case "access_denied":
                message = f"User: arn:aws:iam::{ACCOUNT}:user/sandbox is not authorized to perform: {operation.name}"
                return self._error(self.denied, message, headers, 403)
            case "error":
                return self._error(fault.code, fault.message, headers, fault.status)
            case "html":
                page = f"<html><body><h1>{fault.status}</h1></body></html>"
                return web.Response(status=fault.status, text=page, content_type="text/html")
            case "too_large":
                return web.Response(status=413)
            case "empty":
                return web.Response(status=status, headers=headers, content_type="application/json")
            case "broken_json":
                half = orjson.dumps(reply)
                body = half[: len(half) // 2]
                return web.Response(status=status, body=body, headers=headers, content_type="application/json")
            case "never":
                await asyncio.Event().wait()
            case "cut":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
        return _json(self.spoil(fault, call, reply), headers, status)

    def _check_policy(self, operation: OperationModel) -> None:
        for line in self.faults:
            if line.do == "access_denied":
                raise Refused(self.denied, f"User is not authorized to perform: {operation.name}", 403)

    def _refusal(self, refused: Refused, headers: Mapping[str, str]) -> web.Response:
        self.outcomes[refused.code] += 1
        return self._error(refused.code, refused.message, headers, refused.status)

    def _error(self, code: str, message: str, headers: Mapping[str, str], status: int) -> web.Response:
        tree = {self.message_key: message, "RequestID": headers["x-amzn-RequestId"]}
        return _json(tree, {**headers, "x-amzn-ErrorType": code}, status)

    async def _events(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        logs = {"accepted": self.accepted, "vanished": self.vanished}
        tree = {name: [asdict(event) for event in log if event.index >= since] for name, log in logs.items()}
        return web.Response(body=orjson.dumps(tree, default=_readable), content_type="application/json")

    async def _stats(self, _: web.Request) -> web.Response:
        tree = {
            "calls": self.calls,
            "accepted": len(self.accepted),
            "vanished": len(self.vanished),
            "outcomes": dict(self.outcomes),
            **self.state,
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


def _uri(operation: OperationModel) -> str:
    return str(operation.http["requestUri"])


def _check_signature(request: web.Request, service: ServiceModel) -> None:
    """Presence and scope only: whether the secret is right is for AWS to say."""
    given = request.headers.get("Authorization", "")
    signed = _SIGNED.fullmatch(given)
    if signed is None or "X-Amz-Date" not in request.headers:
        code = "IncompleteSignatureException" if given else "MissingAuthenticationTokenException"
        raise Refused(code, "Missing Authentication Token", 403)
    if signed["service"] != service.signing_name:
        wanted = f"Credential should be scoped to correct service: '{service.signing_name}'."
        raise Refused("InvalidSignatureException", wanted, 403)


def _parameters(operation: OperationModel, request: web.Request, body: bytes) -> dict[str, Any]:
    """The input by its names in the API: what stands in the path, and the body, alone or as the payload member."""
    shape = operation.input_shape
    if shape is None:
        return {}
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        if member.serialization.get("location") == "uri":
            parameters[name] = request.match_info[member.serialization.get("name", name).replace("-", "_")]
    tree: Any = {}
    if body:
        try:
            tree = orjson.loads(body)
        except ValueError:
            raise Refused("SerializationException", "the body is not JSON") from None
    payload = shape.serialization.get("payload")
    if payload is not None:
        return {**parameters, payload: tree}
    if not isinstance(tree, dict):
        raise Refused("SerializationException", "the body is not an object")
    return {**tree, **parameters}


def _input_flaws(operation: OperationModel, call: Call) -> Iterator[Flaw]:
    shape = operation.input_shape
    if shape is None:
        return
    for name in shape.required_members:
        if call.parameters.get(name) is None:
            yield Flaw((name,), "Member must not be null")
    for name, value in call.parameters.items():
        if name in shape.members:
            yield from flaws(shape.members[name], value, (name,))
        else:
            yield Flaw((name,), f"Member must be one of {', '.join(shape.members)}")


def _wire(operation: OperationModel, reply: dict[str, Any]) -> Any:
    """A reply as it is written: its payload member alone where the model has one."""
    shape = operation.output_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    return reply[payload] if payload is not None else reply


def _readable(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise TypeError
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _json(tree: Any, headers: Mapping[str, str], status: int) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(tree), headers=headers, content_type="application/json")
