"""An AWS service of JSON on loopback, driven by botocore's service model, for simulators to build on.

The model says where an operation listens, what its input must look like and which status its reply has. What a
service takes and answers, each simulator says itself. A member that the model does not know is refused: services
ignore it, but here it is a mistake of the client.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

import orjson
from aiohttp import web
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

from connector.sandbox.faults import Fault
from connector.sandbox.simulator import Simulator

ACCOUNT: Final = "000000000000"
REGION: Final = "eu-west-1"
_SIGNED: Final = re.compile(
    r"(AWS4-HMAC-SHA256 Credential=[^/,]+/\d{8}/[a-z0-9-]+|AWS4-ECDSA-P256-SHA256 Credential=[^/,]+/\d{8})"
    r"/(?P<service>[a-z0-9-]+)/aws4_request, ?SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64,}"
)
"""SigV4, and SigV4a, which has no region in its scope and a longer signature."""


class Flaw(NamedTuple):
    """Where an input leaves its model, and what the model asks for there. `of_type`: the value is of another type."""

    where: tuple[str, ...]
    constraint: str
    of_type: bool = False

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
                yield Flaw(where, "Member must be an object", of_type=True)
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
                yield Flaw(where, "Member must be an object", of_type=True)
                return
            for key, below in value.items():
                yield from flaws(shape.key, key, (*where, key))
                yield from flaws(shape.value, below, (*where, key))
        case ListShape():
            if not isinstance(value, list):
                yield Flaw(where, "Member must be a list", of_type=True)
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
                yield Flaw(where, "Member must be a string", of_type=True)
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
                yield Flaw(where, "Member must be an integer", of_type=True)
                return
            bits = 31 if shape.type_name == "integer" else 63
            if not -(2**bits) <= value < 2**bits:
                yield Flaw(where, f"Member must have {bits + 1} bits")
            yield from _bounds(shape, value, where, "value")
        case "double" | "float" | "timestamp":  # these services write a time as epoch seconds
            if not isinstance(value, int | float) or isinstance(value, bool):
                yield Flaw(where, "Member must be a number", of_type=True)
        case "boolean":
            if not isinstance(value, bool):
                yield Flaw(where, "Member must be a boolean", of_type=True)
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


@cache
def model(service: str) -> ServiceModel:
    """The service model of the installed botocore."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


class Call(NamedTuple):
    """One request, read: its parameters by their names on the wire, and the size of its body in bytes."""

    operation: str
    parameters: dict[str, Any]
    number: int
    bytes: int


class Modelled(Simulator):
    """A simulated AWS service.

    A subclass names its operations (`serves`: service → operations; the first one is what the script of faults bears
    on) and says what they do.
    """

    serves: ClassVar[Mapping[str, tuple[str, ...]]]
    throttled: ClassVar[str] = "ThrottlingException"
    denied: ClassVar[str] = "AccessDeniedException"
    statuses: ClassVar[Mapping[str, int]] = {"throttled": 429, "denied": 403}
    invalid: ClassVar[str]
    message_key: ClassVar[str] = "message"

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Do what the main operation does, and give its reply.

        Raises:
            Refused: the whole call.
        """
        raise NotImplementedError

    def manage(self, call: Call) -> dict[str, Any]:
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

    def routes(self) -> Iterable[web.RouteDef]:
        """A route for each operation; one for all of them where the service is told the operation by a header."""
        named = {name: model(service).operation_model(name) for service, names in self.serves.items() for name in names}
        main = next(iter(named))
        of_rest = {name: operation for name, operation in named.items() if not _by_header(operation)}
        for name, operation in of_rest.items():
            path = re.sub(r"\{([^}]+)\}", lambda found: "{" + found[1].replace("-", "_") + "}", _uri(operation))
            yield web.route(operation.http["method"], path, self._handler(operation, main=name == main))
        handlers = {
            f"{operation.service_model.metadata['targetPrefix']}.{name}": self._handler(operation, main=name == main)
            for name, operation in named.items()
            if name not in of_rest
        }
        if handlers:
            yield web.post("/", self._dispatched(named[main], handlers))

    def _dispatched(self, main: OperationModel, handlers: Mapping[str, Callable[[web.Request], Any]]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            handler = handlers.get(request.headers.get("X-Amz-Target", ""))
            if handler is not None:
                reply: web.StreamResponse = await handler(request)
                return reply
            self.calls += 1
            return self._refusal(main, Refused("UnknownOperationException", ""), {"x-amzn-RequestId": self.identity()})

        return handle

    def _handler(self, operation: OperationModel, *, main: bool) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            number, self.calls = self.calls, self.calls + 1
            headers = {"x-amzn-RequestId": self.identity()}
            body = await self.body(request)
            if body is None:
                self.outcomes["413"] += 1
                return web.Response(status=413, headers=headers)
            try:
                _check_signature(request, operation.service_model, self.statuses["denied"])
                call = Call(operation.name, _parameters(operation, request, body), number, len(body))
                if main:
                    return await self._main(operation, call, request, headers)
                self._check_policy(operation)
                self.refuse(call, _input_flaws(operation, call))
                reply = self.manage(call)
            except Refused as refused:
                return self._refusal(operation, refused, headers)
            self.outcomes[operation.name] += 1
            return _success(operation, _wire(operation, reply), headers)

        return handle

    async def _main(
        self, operation: OperationModel, call: Call, request: web.Request, headers: dict[str, str]
    ) -> web.StreamResponse:
        whole, beside = self.faults.take()
        reply: dict[str, Any] = {}
        if whole is None or whole.accepted:
            self.refuse(call, _input_flaws(operation, call))
            before = self.arrived
            reply = self.perform(call, beside)
            self.unanswered[call.number] = self.arrived - before
        await asyncio.sleep(sum(line.seconds for line in beside if line.do == "slow"))  # the client may go meanwhile
        if whole is not None:
            self.outcomes[whole.do] += 1
            return await self._misbehave(whole, operation, call, request, reply, headers)
        self.outcomes[operation.name] += 1
        self.unanswered.pop(call.number, None)
        return _success(operation, reply, headers)

    async def _misbehave(
        self,
        fault: Fault,
        operation: OperationModel,
        call: Call,
        request: web.Request,
        reply: dict[str, Any],
        headers: dict[str, str],
    ) -> web.StreamResponse:
        if fault.do == "throttle" and fault.seconds:
            headers["Retry-After"] = f"{fault.seconds:g}"
        if (refused := self._scripted(fault, operation)) is not None:
            return _error(operation, self.message_key, refused, headers)
        written = _success(operation, self.spoil(fault, call, reply), headers)
        return await self.misbehave(fault, request, written, headers) or written

    def _scripted(self, fault: Fault, operation: OperationModel) -> Refused | None:
        denied = self.statuses["denied"]
        match fault.do:
            case "throttle":
                return Refused(self.throttled, "Rate exceeded", self.statuses["throttled"])
            case "expired_token":
                message = "The security token included in the request is expired"
                return Refused("ExpiredTokenException", message, denied)
            case "access_denied":
                user = f"arn:aws:iam::{ACCOUNT}:user/sandbox"
                return Refused(self.denied, f"User: {user} is not authorized to perform: {operation.name}", denied)
            case "error":
                return Refused(fault.code, fault.message, fault.status)
        return None

    def _check_policy(self, operation: OperationModel) -> None:
        for line in self.faults:
            if line.do == "access_denied":
                message = f"User is not authorized to perform: {operation.name}"
                raise Refused(self.denied, message, self.statuses["denied"])

    def _refusal(self, operation: OperationModel, refused: Refused, headers: Mapping[str, str]) -> web.Response:
        self.outcomes[refused.code] += 1
        return _error(operation, self.message_key, refused, headers)


def _by_header(operation: OperationModel) -> bool:
    return bool(operation.service_model.metadata["protocol"] == "json")


def _error(operation: OperationModel, message_key: str, refused: Refused, headers: Mapping[str, str]) -> web.Response:
    if _by_header(operation):
        return _json(operation, {"__type": refused.code, "message": refused.message}, headers, refused.status)
    tree = {message_key: refused.message, "RequestID": headers["x-amzn-RequestId"]}
    return _json(operation, tree, {**headers, "x-amzn-ErrorType": refused.code}, refused.status)


def _success(operation: OperationModel, tree: Any, headers: Mapping[str, str]) -> web.Response:
    return _json(operation, tree, headers, int(operation.http.get("responseCode", 200)))


def _uri(operation: OperationModel) -> str:
    return str(operation.http["requestUri"])


def _check_signature(request: web.Request, service: ServiceModel, status: int) -> None:
    """Presence and scope only: whether the secret is right is for AWS to say."""
    given = request.headers.get("Authorization", "")
    signed = _SIGNED.fullmatch(given)
    if signed is None or "X-Amz-Date" not in request.headers:
        code = "IncompleteSignatureException" if given else "MissingAuthenticationTokenException"
        raise Refused(code, "Missing Authentication Token", status)
    if signed["service"] != service.signing_name:
        wanted = f"Credential should be scoped to correct service: '{service.signing_name}'."
        raise Refused("InvalidSignatureException", wanted, status)


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


def _json(operation: OperationModel, tree: Any, headers: Mapping[str, str], status: int) -> web.Response:
    version = operation.service_model.metadata.get("jsonVersion")
    kind = f"application/x-amz-json-{version}" if _by_header(operation) else "application/json"
    return web.Response(status=status, body=orjson.dumps(tree), headers={**headers, "Content-Type": kind})
