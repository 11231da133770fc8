"""One small adapter per registered target: how its service is started, scripted and asked what arrived.

A new target adds an adapter here and passes `test_contract.py`; without one the suite fails.
"""

import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import pytest

from connector.model import Event, Verdict
from connector.sandbox import faults
from connector.sandbox.eventbridge import EventBridge as Sandbox
from connector.sandbox.eventbridge import counted_bytes
from connector.sandbox.fiddler import Fiddler as FiddlerSandbox
from connector.sandbox.iot_events import IotEvents as IotSandbox
from connector.sandbox.pinpoint import Pinpoint as PinpointSandbox
from connector.sandbox.simulator import Simulator
from connector.targets.contract import Target
from connector.targets.eventbridge import ENTRY_CODES, EventBridge, EventBridgeSettings
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_settings import FiddlerSettings
from connector.targets.iot_events import MESSAGE_CODES, IotEvents, IotEventsSettings
from connector.targets.pinpoint import EVENT_CODES, Pinpoint, PinpointSettings
from connector.targets.stdout import Stdout, StdoutSettings
from tests.contract.wire import event, ready, record, session


class World(Protocol):
    """A target with its service around it."""

    @property
    def target(self) -> Target: ...

    def event(self, number: int, text: str = "") -> Event:
        """An event that the service takes. Its size grows with the text."""
        ...

    def arrived(self) -> list[int]:
        """The numbers of the events that the service took, in order."""
        ...

    def counted(self) -> list[int]:
        """What each of these counted, in bytes."""
        ...

    def refuse(self, index: int | None, code: str) -> None:
        """The next call refuses the entry at that index, or all, with this code."""
        ...

    def refuse_call(self, code: str, status: int) -> None:
        """The next call is refused whole."""
        ...

    def trouble(self, name: str) -> None:
        """The next call meets this trouble."""
        ...

    def mend(self) -> None:
        """End every trouble."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the suite must know of a target. An empty table says that the service has no such answers."""

    open: Callable[[Mapping[str, Any]], AbstractAsyncContextManager[World]]
    entry_codes: Mapping[str, Verdict]
    unknown_codes: Sequence[str]
    call_codes: Mapping[tuple[str, int], Verdict]
    unreadable: Sequence[str]
    silences: Sequence[str]
    lowered: Mapping[str, Any]


@dataclass(slots=True)
class _BridgeWorld:
    target: EventBridge
    sandbox: Sandbox

    def event(self, number: int, text: str = "") -> Event:
        fields = {"Source": "com.acme", "DetailType": "Order é", "Detail": {"n": number, "text": text}}
        return event(fields, record(offset=number, timestamp_ms=1_700_000_000_123))

    def arrived(self) -> list[int]:
        return [int(taken.resources[0].partition("/")[0].rpartition("-")[2]) for taken in self.sandbox.accepted]

    def counted(self) -> list[int]:
        return [
            counted_bytes(
                {
                    "Source": taken.source,
                    "DetailType": taken.detail_type,
                    "Detail": taken.detail,
                    "Resources": taken.resources,
                    "Time": taken.time,
                }
            )
            for taken in self.sandbox.accepted
        ]

    def refuse(self, index: int | None, code: str) -> None:
        self.sandbox.faults.add(faults.refuse(code, entry=index))

    def refuse_call(self, code: str, status: int) -> None:
        self.sandbox.faults.add(faults.error(code, "no", status))

    def trouble(self, name: str) -> None:
        self.sandbox.faults.add(_TROUBLES[name])

    def mend(self) -> None:
        self.sandbox.faults.clear()


_TROUBLES: Final[Mapping[str, faults.Fault]] = {
    "accepted, then an empty body": faults.empty(),
    "accepted, then half a body": faults.broken_json(),
    "accepted, then one result too few": faults.wrong_length(-1),
    "accepted, then one result too many": faults.wrong_length(1),
    "accepted, then no FailedEntryCount": faults.no_count(),
    "accepted, then a wrong FailedEntryCount": faults.wrong_count(),
    "accepted, then cut": faults.cut(accepted=True),
    "cut before": faults.cut(),
    "an HTML page with 500": faults.html(500),
    "an HTML page with 503": faults.html(503),
    "throttled": faults.throttle(),
    "silent before": faults.never(),
    "accepted, then silent": faults.never(accepted=True),
}


@asynccontextmanager
async def _bridge(settings: Mapping[str, Any]) -> AsyncIterator[World]:
    async with Sandbox() as sandbox:
        read = EventBridgeSettings.model_validate(
            {"transport": "sdk", "endpoint_url": sandbox.url, "region": "eu-west-1", **settings}
        )
        async with EventBridge("bus", read, sessions=session) as target:
            yield _BridgeWorld(target, sandbox)


@dataclass(slots=True)
class _ModelledWorld:
    """What the simulators that botocore's models drive have in common."""

    target: Any
    sandbox: Simulator

    def refuse(self, index: int | None, code: str) -> None:
        self.sandbox.faults.add(faults.refuse(code, entry=index))

    def refuse_call(self, code: str, status: int) -> None:
        self.sandbox.faults.add(faults.error(code, "no", status))

    def trouble(self, name: str) -> None:
        self.sandbox.faults.add({**_TROUBLES, **_ODD}[name])

    def mend(self) -> None:
        self.sandbox.faults.clear()


_ODD: Final[Mapping[str, faults.Fault]] = {
    "accepted, then no list of failures": faults.no_count(),
    "accepted, then a failure of nobody": faults.wrong_length(1),
    "accepted, then no answers to events": faults.no_count(),
}


class _IotWorld(_ModelledWorld):
    def event(self, number: int, text: str = "") -> Event:
        return event({"payload": {"n": number, "text": text}}, record(offset=number, timestamp_ms=1_700_000_000_123))

    def arrived(self) -> list[int]:
        return [json.loads(taken.payload)["n"] for taken in self.sandbox.accepted]

    def counted(self) -> list[int]:
        return [len(taken.payload) for taken in self.sandbox.accepted]


@asynccontextmanager
async def _iot(settings: Mapping[str, Any]) -> AsyncIterator[World]:
    """An account whose quota of message size was raised, so that the suite's texts fit."""
    raised = {"input_name": "orders", "max_message_bytes": "4KiB", "max_batch_bytes": "4KiB"}
    async with IotSandbox(max_message_bytes=4096, max_batch_bytes=4096) as sandbox:
        tree = {"transport": "sdk", "endpoint_url": sandbox.url, "region": "eu-west-1", **raised, **settings}
        async with IotEvents("iot", IotEventsSettings.model_validate(tree), sessions=session) as target:
            yield _IotWorld(target, sandbox)


class _PinpointWorld(_ModelledWorld):
    def event(self, number: int, text: str = "") -> Event:
        pieces = [text[at : at + 200] for at in range(0, len(text), 200)]
        fields = {
            "EndpointId": f"user-{number}",
            "EventType": "order.é",
            "Attributes": {"n": str(number)} | {f"text-{at}": piece for at, piece in enumerate(pieces)},
        }
        return event(fields, record(offset=number, timestamp_ms=1_700_000_000_123))

    def arrived(self) -> list[int]:
        return [int(taken.event["Attributes"]["n"]) for taken in self.sandbox.accepted]

    def counted(self) -> list[int]:
        return [taken.bytes - len('{"BatchItem": }') for taken in self.sandbox.accepted]


@asynccontextmanager
async def _pinpoint(settings: Mapping[str, Any]) -> AsyncIterator[World]:
    async with PinpointSandbox() as sandbox:
        tree = {
            "transport": "sdk",
            "endpoint_url": sandbox.url,
            "region": "eu-west-1",
            "application_id": "shop",
            **settings,
        }
        async with Pinpoint("pinpoint", PinpointSettings.model_validate(tree), sessions=session) as target:
            yield _PinpointWorld(target, sandbox)


class _FiddlerWorld(_ModelledWorld):
    def event(self, number: int, text: str = "") -> Event:
        return event({"event": {"n": number, "text": text}}, record(offset=number, timestamp_ms=1_700_000_000_123))

    def arrived(self) -> list[int]:
        return [int(taken.row["n"]) for taken in self.sandbox.accepted]

    def counted(self) -> list[int]:
        return [taken.bytes for taken in self.sandbox.accepted]


@asynccontextmanager
async def _fiddler(settings: Mapping[str, Any]) -> AsyncIterator[World]:
    async with FiddlerSandbox(job_states=()) as sandbox:
        tree = {"url": sandbox.url, "token": "t", "project_name": "shop", "model_name": "churn", **settings}
        async with Fiddler("fiddler", FiddlerSettings.model_validate(tree), sessions=session) as target:
            yield _FiddlerWorld(target, sandbox)


def _fiddler_files(settings: Mapping[str, Any]) -> AbstractAsyncContextManager[World]:
    return _fiddler({"publish": "batch", "job_poll": "1ms", **settings})


def _fiddler_files_v2(settings: Mapping[str, Any]) -> AbstractAsyncContextManager[World]:
    return _fiddler_files({"api": "v2", "organization": "acme", **settings})


class _Stream(io.BytesIO):
    """A stream that meets trouble once when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = self.blocks_before = self.blocks_after = False
        self.release = threading.Event()

    def write(self, data: Any, /) -> int:
        if self.fails:
            self.fails = False
            raise BrokenPipeError
        if self.blocks_before:
            self.release.wait()
            return 0
        return super().write(data)

    def flush(self) -> None:
        if self.blocks_after:
            self.release.wait()
        super().flush()


@dataclass(slots=True)
class _StdoutWorld:
    target: Stdout
    stream: _Stream

    def event(self, number: int, text: str = "") -> Event:
        return event({"text": text}, record(offset=number))

    def _lines(self) -> list[bytes]:
        return self.stream.getvalue().splitlines(keepends=True)

    def arrived(self) -> list[int]:
        return [int(line.partition(b'"offset":')[2].partition(b",")[0]) for line in self._lines()]

    def counted(self) -> list[int]:
        return [len(line) for line in self._lines()]

    def refuse(self, index: int | None, code: str) -> None:
        raise NotImplementedError

    def refuse_call(self, code: str, status: int) -> None:
        raise NotImplementedError

    def trouble(self, name: str) -> None:
        self.stream.fails = name == "a broken pipe"
        self.stream.blocks_before = name == "blocked before"
        self.stream.blocks_after = name == "written, then blocked"

    def mend(self) -> None:
        self.trouble("none")
        self.stream.release.set()


@asynccontextmanager
async def _stdout(settings: Mapping[str, Any]) -> AsyncIterator[World]:
    stream = _Stream()
    try:
        async with Stdout("out", StdoutSettings.model_validate(settings), stream=stream) as target:
            yield _StdoutWorld(target, stream)
    finally:  # else the thread of a blocked write would outlive the test
        stream.release.set()


_ANY_TROUBLE: Final = [
    "accepted, then an empty body",
    "accepted, then half a body",
    "accepted, then cut",
    "cut before",
    "an HTML page with 500",
    "an HTML page with 503",
    "throttled",
]

_FIDDLER_CODES: Final = {
    ("RequestTimeout", 408): Verdict.RETRY,
    ("TooManyRequests", 429): Verdict.RETRY,
    ("InternalServerError", 500): Verdict.RETRY,
    ("BadGateway", 502): Verdict.RETRY,
    ("ServiceUnavailable", 503): Verdict.RETRY,
    ("GatewayTimeout", 504): Verdict.RETRY,
    ("BadRequest", 400): Verdict.REJECTED,
    ("RequestEntityTooLarge", 413): Verdict.REJECTED,
    ("UnprocessableEntity", 422): Verdict.REJECTED,
    ("Unauthorized", 401): Verdict.HOLD,
    ("Forbidden", 403): Verdict.HOLD,
    ("ObjectNotFound", 404): Verdict.HOLD,
    ("MethodNotAllowed", 405): Verdict.HOLD,
    ("Conflict", 409): Verdict.HOLD,
    ("SomethingNew", 418): Verdict.HOLD,
    ("NotImplemented", 501): Verdict.HOLD,
}
_FIDDLER: Final = Adapter(
    open=_fiddler,
    entry_codes={},
    unknown_codes=[],
    call_codes=_FIDDLER_CODES,
    unreadable=[
        *_ANY_TROUBLE,
        "accepted, then one result too few",
        "accepted, then one result too many",
        "accepted, then no answers to events",
    ],
    silences=["silent before", "accepted, then silent"],
    lowered={"max_entries": 3, "max_bytes": "2KiB"},
)
_FIDDLER_FILES: Final = replace(
    _FIDDLER, open=_fiddler_files, unreadable=[*_ANY_TROUBLE, "accepted, then no answers to events"]
)

ADAPTERS: Final[dict[str, Adapter]] = {
    "fiddler": _FIDDLER,
    "fiddler files": _FIDDLER_FILES,
    "fiddler files v2": replace(_FIDDLER_FILES, open=_fiddler_files_v2),
    "eventbridge": Adapter(
        open=_bridge,
        entry_codes=ENTRY_CODES,
        unknown_codes=["SomethingNewException"],
        call_codes={
            ("InternalException", 500): Verdict.RETRY,
            ("ServiceUnavailable", 503): Verdict.RETRY,
            ("ThrottlingException", 400): Verdict.RETRY,
            ("TooManyRequestsException", 429): Verdict.RETRY,
            ("SomethingNewException", 500): Verdict.RETRY,
            ("ValidationException", 400): Verdict.REJECTED,
            ("413", 413): Verdict.REJECTED,
            ("AccessDeniedException", 400): Verdict.HOLD,
            ("ExpiredTokenException", 400): Verdict.HOLD,
            ("IncompleteSignature", 403): Verdict.HOLD,
            ("InvalidClientTokenId", 403): Verdict.HOLD,
            ("InvalidSignatureException", 400): Verdict.HOLD,
            ("MissingAuthenticationTokenException", 400): Verdict.HOLD,
            ("OptInRequired", 403): Verdict.HOLD,
            ("RequestExpired", 400): Verdict.HOLD,
            ("ResourceNotFoundException", 400): Verdict.HOLD,
            ("SignatureDoesNotMatch", 403): Verdict.HOLD,
            ("SomethingNewException", 400): Verdict.HOLD,
            ("UnknownOperationException", 404): Verdict.HOLD,
            ("UnrecognizedClientException", 400): Verdict.HOLD,
        },
        unreadable=[name for name in _TROUBLES if "silent" not in name],
        silences=["silent before", "accepted, then silent"],
        lowered={"max_entries": 3, "max_bytes": "2KiB"},
    ),
    "iot_events": Adapter(
        open=_iot,
        entry_codes=MESSAGE_CODES,
        unknown_codes=["SomethingNewException"],
        call_codes={
            ("InternalFailureException", 500): Verdict.RETRY,
            ("ServiceUnavailableException", 503): Verdict.RETRY,
            ("ThrottlingException", 429): Verdict.RETRY,
            ("SomethingNewException", 500): Verdict.RETRY,
            ("InvalidRequestException", 400): Verdict.REJECTED,
            ("ValidationException", 400): Verdict.REJECTED,
            ("413", 413): Verdict.REJECTED,
            ("AccessDeniedException", 403): Verdict.HOLD,
            ("ExpiredTokenException", 403): Verdict.HOLD,
            ("IncompleteSignature", 403): Verdict.HOLD,
            ("InvalidSignatureException", 403): Verdict.HOLD,
            ("MissingAuthenticationTokenException", 403): Verdict.HOLD,
            ("ResourceNotFoundException", 404): Verdict.HOLD,
            ("SomethingNewException", 400): Verdict.HOLD,
            ("UnrecognizedClientException", 403): Verdict.HOLD,
        },
        unreadable=[*_ANY_TROUBLE, "accepted, then no list of failures", "accepted, then a failure of nobody"],
        silences=["silent before", "accepted, then silent"],
        lowered={"max_entries": 3, "max_bytes": "2KiB"},
    ),
    "pinpoint": Adapter(
        open=_pinpoint,
        entry_codes=EVENT_CODES,
        unknown_codes=["302"],
        call_codes={
            ("InternalServerErrorException", 500): Verdict.RETRY,
            ("ServiceUnavailable", 503): Verdict.RETRY,
            ("TooManyRequestsException", 429): Verdict.RETRY,
            ("SomethingNewException", 500): Verdict.RETRY,
            ("BadRequestException", 400): Verdict.REJECTED,
            ("PayloadTooLargeException", 413): Verdict.REJECTED,
            ("ExpiredTokenException", 403): Verdict.HOLD,
            ("ForbiddenException", 403): Verdict.HOLD,
            ("InvalidSignatureException", 403): Verdict.HOLD,
            ("MethodNotAllowedException", 405): Verdict.HOLD,
            ("MissingAuthenticationTokenException", 403): Verdict.HOLD,
            ("NotFoundException", 404): Verdict.HOLD,
            ("SomethingNewException", 400): Verdict.HOLD,
            ("UnrecognizedClientException", 403): Verdict.HOLD,
        },
        unreadable=[*_ANY_TROUBLE, "accepted, then no answers to events"],
        silences=["silent before", "accepted, then silent"],
        lowered={"max_entries": 3, "max_bytes": "2KiB"},
    ),
    "stdout": Adapter(
        open=_stdout,
        entry_codes={},
        unknown_codes=[],
        call_codes={},
        unreadable=["a broken pipe"],
        silences=["blocked before", "written, then blocked"],
        lowered={"max_entries": 3, "max_bytes": "2KiB"},
    ),
}


def _lean(adapter: Adapter) -> Adapter:
    """The same target by the lean way, which is open from the second call on."""

    @asynccontextmanager
    async def opened(settings: Mapping[str, Any]) -> AsyncIterator[World]:
        async with adapter.open({"transport": "lean", **settings}) as world:
            for _ in range(20):  # a short deadline may pass while the client opens
                acks = await world.target.send(ready(world.target, world.event(999)))
                if acks[0].verdict is Verdict.DELIVERED:
                    break
            else:
                raise AssertionError(f"no first call got through: {acks}")
            sandbox: Any = world
            sandbox.sandbox.accepted.clear()
            yield world

    return replace(adapter, open=opened)


AWS: Final = ("eventbridge", "iot_events", "pinpoint")
ADAPTERS.update({f"{kind} lean": _lean(ADAPTERS[kind]) for kind in AWS})


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """The adapter of each registered target in turn, and of each way in which it sends."""
    return ADAPTERS[request.param]


@pytest.fixture
async def world(adapter: Adapter) -> AsyncIterator[World]:
    """Each registered target with its service, at default settings."""
    async with adapter.open({}) as opened:
        yield opened
