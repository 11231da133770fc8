"""Amazon EventBridge, PutEvents (Classic custom event buses).

`prepare` refuses what the service could never take, `send` reads the reply by position, and these are the verdicts:

| the service says | verdict |
|---|---|
| entry: an EventId and no ErrorCode | DELIVERED |
| entry: InternalFailure, ThrottlingException and their like | RETRY |
| entry: InvalidArgument, MalformedDetail, RedactionFailure, NotAuthorizedFor{Source,DetailType}Exception | REJECTED |
| entry: AccessDeniedException, InvalidAccountIdException | HOLD |
| every entry of the call not authorised for its source or detail type | HOLD |
| entry: any other code | RETRY, five times, then REJECTED |
| call: another length, FailedEntryCount missing or wrong, an empty or unreadable body | RETRY for all |
| call: throttled, 5xx, no reply, no connection | RETRY for all |
| call: ValidationException, 413 | halved until the culprit stands alone, then REJECTED |
| call: ResourceNotFoundException | HOLD for a bus of the settings, REJECTED for a computed one |
| call: credentials, signature, permission, any other 4xx | HOLD |

`codes:` of the target's settings goes before this table.

Sources: API reference (PutEvents, PutEventsRequestEntry, PutEventsResultEntry, Common Errors); user guide, "Calculating
PutEvents event entry size"; snapshots recorded against AWS in localstack/localstack tests/aws/services/events.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator

from connector.model import (
    Ack,
    Batch,
    BatchRefused,
    Entry,
    Event,
    Health,
    Limits,
    Preflight,
    Prepared,
    Unpublishable,
    Verdict,
)
from connector.targets import strict_json, trace
from connector.targets.aws import (
    COMPUTED,
    CULPRIT,
    OVERRIDES,
    UNKNOWN_TRIES,
    AwsSettings,
    Refusal,
    Reply,
    Service,
    Sessions,
    crt_missing,
    epoch_ms,
    record_ms,
    session,
    text,
    tidy,
    verdict,
    wrong_type,
)
from connector.targets.contract import Complaint, Kind, Leaf
from connector.targets.settings import BatchSettings

MAX_ENTRIES: Final = 10
"""Entries of one PutEvents (API reference)."""

MAX_BYTES: Final = 1_048_576
"""Bytes of one PutEvents, all entries together; some regions still have 262,144 (API reference: "less than 1MB")."""

DEFAULT_BYTES: Final = 1023 * 1024
"""An event of exactly 1 MB gets an EventId but its envelope makes it too large for targets such as CloudWatch Logs."""

TIME_BYTES: Final = 14
"""What a Time counts in the size of an entry, however it is written (user guide)."""

MAX_DETAIL_TYPE: Final = 128
MAX_RESOURCE: Final = 2048
MAX_TRACE_HEADER: Final = 500
MAX_BUS: Final = 1600

BUS: Final = r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]+"
"""Name or ARN of a bus (API reference, PutEventsRequestEntry)."""

_BUS: Final = re.compile(BUS, re.ASCII)
_TRACE: Final = re.compile(r"[A-Za-z]+=[^;=\s]+(;\s?[A-Za-z]+=[^;=\s]+)*;?", re.ASCII)
_ROOT: Final = re.compile(r"(?:^|;\s?)Root=1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}(?:;|$)")

ENTRY_CODES: Final[Mapping[str, Verdict]] = {
    "InternalException": Verdict.RETRY,
    "InternalFailure": Verdict.RETRY,
    "ServiceUnavailable": Verdict.RETRY,
    "ThrottlingException": Verdict.RETRY,
    "InvalidArgument": Verdict.REJECTED,
    "MalformedDetail": Verdict.REJECTED,
    "NotAuthorizedForDetailTypeException": Verdict.REJECTED,
    "NotAuthorizedForSourceException": Verdict.REJECTED,
    "RedactionFailure": Verdict.REJECTED,
    "AccessDeniedException": Verdict.HOLD,
    "InvalidAccountIdException": Verdict.HOLD,
}

NOT_AUTHORISED: Final = frozenset({"NotAuthorizedForSourceException", "NotAuthorizedForDetailTypeException"})

BUS_MISSING: Final = "ResourceNotFoundException"

MAP: Final[Mapping[str, Leaf]] = {
    "Source": Leaf("string", required=True, pattern=r"(?!aws\.).+", example="com.acme.orders"),
    "DetailType": Leaf(
        "string", required=True, max_length=MAX_DETAIL_TYPE, pattern=".+", example="Order ${value.status}"
    ),
    "Detail": Leaf("document", example="${value}"),
    "Resources": Leaf("list", example="['arn:aws:s3:::acme-orders']"),
    "Time": Leaf("time", example="${millis(timestamp)}"),
    "EventBusName": Leaf("string", max_length=MAX_BUS, example="orders"),
    "TraceHeader": Leaf("string", max_length=MAX_TRACE_HEADER, example="${headers['X-Amzn-Trace-Id']}"),
}


BusName = Annotated[str, Field(pattern=rf"^{BUS}$", max_length=MAX_BUS)]


class EventBridgeSettings(AwsSettings):
    """Where events go, and where the redelivery id goes in them."""

    type: Literal["eventbridge"] = "eventbridge"
    event_bus: BusName = Field("default", description="Name or ARN of the bus of events without an EventBusName")
    event_buses: tuple[BusName, ...] = Field((), description="Every bus that EventBusName of a map may name")
    endpoint_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9\-]+\.[A-Za-z0-9\-]+$",
        max_length=50,
        description="A global endpoint, for example abcde.veo; needs the extra crt",
    )
    id_to: str = Field(
        "resources",
        pattern=r"^(none|resources|detail(\.[^.\s]+)+)$",
        description="Where the id of redeliveries goes: resources, detail.PATH or none",
    )
    trace_header: Literal["traceparent", "none"] = Field(
        "traceparent", description="Where the map has no TraceHeader: the record's traceparent in X-Ray's form, or none"
    )

    @field_validator("batch")
    @classmethod
    def _fits_a_call(cls, batch: BatchSettings) -> BatchSettings:
        if batch.max_entries is not None and batch.max_entries > MAX_ENTRIES:
            raise ValueError(f"max_entries: EventBridge takes {MAX_ENTRIES} entries a call at most")
        if batch.max_bytes is not None and not 0 < batch.max_bytes <= MAX_BYTES:
            raise ValueError(f"max_bytes: EventBridge takes 1 to {MAX_BYTES} bytes (1MiB) a call")
        return batch

    @field_validator("endpoint_id")
    @classmethod
    def _can_be_signed(cls, endpoint_id: str | None) -> str | None:
        if endpoint_id is not None and (missing := crt_missing()):
            raise ValueError(missing)
        return endpoint_id


class EventBridge:
    """One PutEvents a call. An entry is delivered when the reply gives it an EventId, no ErrorCode, and adds up."""

    def __init__(self, name: str, settings: EventBridgeSettings, *, sessions: Sessions = session) -> None:
        self.name = name
        self._settings = settings
        self._service = Service("events", settings, sessions=sessions, as_written=True)
        self._codes = {code: OVERRIDES[word] for code, word in settings.codes.items()}
        self._buses = tuple(dict.fromkeys((settings.event_bus, *settings.event_buses)))
        self._id_path = settings.id_to.split(".")[1:]
        self._endpoint = {} if settings.endpoint_id is None else {"EndpointId": settings.endpoint_id}
        limit = settings.batch.max_bytes or DEFAULT_BYTES
        self._limits = Limits(settings.batch.max_entries or MAX_ENTRIES, limit, limit)

    @property
    def limits(self) -> Limits:
        """Ten entries, 1023 KiB of them together, or what `batch` says."""
        return self._limits

    async def __aenter__(self) -> Self:
        """Open nothing yet; see `Service`."""
        await self._service.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self._service.__aexit__(kind, error, trace)

    def prepare(self, event: Event) -> Prepared:
        """Make a PutEventsRequestEntry as it goes on the wire, Time in epoch seconds.

        Raises:
            Unpublishable: with the field, the reason and a code of ours.
        """
        fields = event.fields
        if not fields.keys() <= MAP.keys():
            key, known = next(key for key in fields if key not in MAP), ", ".join(MAP)
            raise Unpublishable(f"PutEvents does not know this field; it knows {known}", key, "UnknownField")
        entry: dict[str, Any] = {
            "Source": _source(fields),
            "DetailType": _detail_type(fields),
            "Detail": self._detail(event),
            "EventBusName": self._bus(fields),
        }
        if resources := self._resources(event):
            entry["Resources"] = resources
        if (time := _time(event)) is not None:
            entry["Time"] = time
        if "TraceHeader" in fields:
            entry["TraceHeader"] = _trace_header(fields["TraceHeader"])
        elif self._settings.trace_header == "traceparent" and (parent := trace.traceparent(event.record)):
            entry["TraceHeader"] = trace.xray(parent)
        size = entry_size(entry)
        if size > self._limits.entry_bytes:
            limit = self._limits.entry_bytes
            raise Unpublishable(f"the entry has {size} bytes, a call takes {limit}", "Detail", "TooLarge")
        return Prepared(entry, size)

    def _detail(self, event: Event) -> str:
        value = event.fields.get("Detail", event.record.value)
        path = self._id_path
        try:
            match value:
                case None:
                    raise strict_json.Flaw("NotAnObject", "is null: PutEvents needs a JSON object")
                case str() | bytes():  # sent as it came, so that no number loses a digit
                    parsed = strict_json.parse(value)
                    if path:
                        return strict_json.encode(_with_id(parsed, path, event.id))
                    return value if isinstance(value, str) else value.decode()
                case dict():
                    return strict_json.encode(_with_id(value, path, event.id) if path else value, event.record.value)
                case _:
                    raise strict_json.Flaw("NotAnObject", "must be a JSON object")
        except strict_json.Flaw as flaw:
            raise Unpublishable(flaw.reason, f"Detail{flaw.where}", flaw.code) from None

    def _resources(self, event: Event) -> list[str]:
        given = event.fields.get("Resources", [])
        if not isinstance(given, list | tuple):
            raise wrong_type("Resources", "a list of text", given)
        resources = list(given)
        if self._settings.id_to == "resources":
            resources.append(event.id)
        for index, resource in enumerate(resources):
            text(resource, f"Resources[{index}]", MAX_RESOURCE)
        return resources

    def _bus(self, fields: Mapping[str, Any]) -> str:
        if "EventBusName" not in fields:
            return self._settings.event_bus
        bus = text(fields["EventBusName"], "EventBusName", MAX_BUS)
        if not _BUS.fullmatch(bus):
            raise Unpublishable("is neither a bus name nor the ARN of a bus", "EventBusName", "BadBusName")
        if bus not in self._buses:
            raise Unpublishable("is not in event_buses of this target: add it there", "EventBusName", "UnlistedBus")
        return bus

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one PutEvents of the batch.

        Raises:
            BatchRefused: because of an entry that the reply does not name.
        """
        outcome = await self._service.call("put_events", Entries=[entry.body for entry in batch], **self._endpoint)
        if isinstance(outcome, Refusal):
            return self._refused(batch, outcome)
        return self._read(len(batch), outcome)

    def _read(self, count: int, reply: Reply) -> list[Ack]:
        said = f"request {reply.request_id}"
        results = reply.body.get("Entries")
        failed = reply.body.get("FailedEntryCount")
        if not isinstance(results, list) or len(results) != count:
            found = f"{len(results)} results" if isinstance(results, list) else "no results"
            return _unread(count, f"{found} for {count} entries ({said})")
        errors = [_error_code(result) for result in results]
        if type(failed) is not int or failed != count - errors.count(""):
            return _unread(count, f"FailedEntryCount does not agree with the results ({said})")
        ours = _nobody_authorised(errors)
        return [
            self._ack(code, result, said, ours=ours) if code else Ack(Verdict.DELIVERED, "", _event_id(result, said))
            for code, result in zip(errors, results, strict=True)
        ]

    def _ack(self, code: str, result: Any, said: str, *, ours: bool) -> Ack:
        message = result.get("ErrorMessage") if isinstance(result, dict) else None
        detail = f"{tidy(message)} ({said})" if isinstance(message, str) else said
        if code == "ProtocolError":
            return Ack(Verdict.RETRY, code, f"neither EventId nor ErrorCode ({said})")
        if (wanted := self._codes.get(code)) is not None:
            return Ack(wanted, code, detail)
        if (known := ENTRY_CODES.get(code)) is None:
            return Ack(Verdict.RETRY, code, detail, tries=UNKNOWN_TRIES)
        return Ack(Verdict.HOLD if ours and code in NOT_AUTHORISED else known, code, detail)

    def _refused(self, batch: Batch, refusal: Refusal) -> list[Ack]:
        said = f" (request {refusal.request_id})" if refusal.request_id else ""
        ack = Ack(self._verdict(batch, refusal), refusal.code, f"{refusal.message}{said}", refusal.retry_after)
        if ack.verdict is Verdict.REJECTED:
            raise BatchRefused(ack)
        return [ack] * len(batch)

    def _verdict(self, batch: Batch, refusal: Refusal) -> Verdict:
        if (wanted := self._codes.get(refusal.code)) is not None:
            return wanted
        if refusal.code in CULPRIT or refusal.status == 413:
            return Verdict.REJECTED
        if refusal.code == BUS_MISSING:
            return Verdict.REJECTED if any(self._computed(entry) for entry in batch) else Verdict.HOLD
        return verdict(refusal)

    def _computed(self, entry: Entry) -> bool:
        return bool(entry.body["EventBusName"] != self._settings.event_bus)

    async def preflight(self) -> Preflight:
        """DescribeEventBus for every bus that an event may name: PutEvents itself says yes to one that is not there."""
        missing: list[str] = []
        doubt: Refusal | None = None
        for bus in self._buses:
            outcome = await self._service.call("describe_event_bus", Name=bus)
            if isinstance(outcome, Reply):
                if not outcome.body.get("Name"):
                    doubt = Refusal("ProtocolError", "DescribeEventBus answered without a Name", outcome.request_id)
            elif outcome.code == BUS_MISSING:
                missing.append(bus)
            else:
                doubt = outcome
                if outcome.status == 0:  # no reply at all: the other buses would only cost further deadlines
                    break
        if missing:
            detail = f"no such event bus: {', '.join(missing)}; create it, or mend event_bus and event_buses"
            return Preflight(Health.MISSING, BUS_MISSING, detail, tuple(missing))
        if doubt is not None:
            return Preflight(Health.UNKNOWN, doubt.code, doubt.message)
        return Preflight(Health.OK)


def entry_size(entry: Mapping[str, Any]) -> int:
    """Bytes that EventBridge counts of an entry: 14 for a Time, and UTF-8 of Source, DetailType, Detail, Resources."""
    size = TIME_BYTES if "Time" in entry else 0
    for part in (entry["Source"], entry["DetailType"], entry["Detail"], *entry.get("Resources", ())):
        size += len(part) if part.isascii() else len(part.encode())
    return size


def _source(fields: Mapping[str, Any]) -> str:
    source = text(fields.get("Source", ""), "Source")
    if not source:
        raise Unpublishable("must not be empty", "Source", "Missing")
    if source.startswith("aws."):
        raise Unpublishable("must not start with aws., which is for AWS services", "Source", "ReservedSource")
    return source


def _detail_type(fields: Mapping[str, Any]) -> str:
    detail_type = text(fields.get("DetailType", ""), "DetailType", MAX_DETAIL_TYPE)
    if not detail_type:
        raise Unpublishable("must not be empty", "DetailType", "Missing")
    return detail_type


def _trace_header(value: Any) -> str:
    header = text(value, "TraceHeader", MAX_TRACE_HEADER)
    if not _TRACE.fullmatch(header) or not _ROOT.search(header):
        raise Unpublishable(
            "is not an X-Ray header: Root=1-8 hex digits-24 hex digits;Parent=…;Sampled=…",
            "TraceHeader",
            "BadTraceHeader",
        )
    return header


def _time(event: Event) -> float | None:
    """Epoch seconds with milliseconds: of the map, else of the record, else none, and EventBridge takes its own."""
    milliseconds = epoch_ms(event.fields["Time"], "Time") if "Time" in event.fields else record_ms(event)
    return None if milliseconds is None else milliseconds / 1000


def _with_id(value: Mapping[str, Any], path: Sequence[str], identity: str) -> dict[str, Any]:
    """A copy of the objects along the path, with the id at its end: what an event holds is never changed."""
    root = dict(value)
    here, place = root, ""
    for name in path[:-1]:
        place = f"{place}.{name}"
        below = here.get(name, {})
        if not isinstance(below, dict):
            raise strict_json.Flaw("WrongType", "must be an object, so that id_to can put the id in it", place)
        here[name] = here = dict(below)
    here[path[-1]] = identity
    return root


def _unread(count: int, why: str) -> list[Ack]:
    return [Ack(Verdict.RETRY, "ProtocolError", why)] * count


def _error_code(result: Any) -> str:
    """The code of a failed entry; empty for a delivered one, `ProtocolError` for one that says neither."""
    if not isinstance(result, dict):
        return "ProtocolError"
    code = result.get("ErrorCode")
    if isinstance(code, str) and code:
        return code.partition(":")[0][:100]  # the reference shows `InternalFailure: Internal Service Failure` too
    event_id = result.get("EventId")
    return "" if code is None and isinstance(event_id, str) and event_id else "ProtocolError"


def _event_id(result: Any, said: str) -> str:
    return f"EventId {result['EventId']} ({said})"


def _nobody_authorised(errors: Sequence[str]) -> bool:
    """Whether every entry was refused for want of a right: then a policy is wrong, not ten entries by chance."""
    return NOT_AUTHORISED.issuperset(set(errors) - {"AccessDeniedException"})


def _check(settings: EventBridgeSettings, fields: Mapping[str, Any]) -> Iterator[Complaint]:
    """An EventBusName that every event would be refused for: `_bus` knows only the listed buses."""
    bus = fields.get("EventBusName")
    if not isinstance(bus, str):
        return
    if COMPUTED.search(bus):
        if not settings.event_buses:
            message = "is computed, but the target lists no event_buses: a bus that nobody looks after loses events"
            yield ("EventBusName",), message, "list in event_buses of the target every bus that it may name"
        return
    bus = bus.replace("$${", "${")
    if bus not in (settings.event_bus, *settings.event_buses):
        message = f"names `{bus}`, which is neither event_bus nor one of event_buses of the target"
        yield ("EventBusName",), message, "add it to event_buses, or leave EventBusName out for event_bus"


KIND: Final = Kind(settings=EventBridgeSettings, map=MAP, make=EventBridge, check=_check, value="Detail")
