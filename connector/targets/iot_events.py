"""AWS IoT Events Data, BatchPutMessage. AWS ended the service on 2026-05-20; this speaks to what is compatible with it.

`prepare` refuses what the service could never take. The reply lists failures only, so `send` trusts a reply that has
the list and names nobody else, and these are the verdicts:

| the service says | verdict |
|---|---|
| a message that the list of failures does not name | DELIVERED |
| message: InternalFailureException, ServiceUnavailableException, ThrottlingException | RETRY |
| message: InvalidRequestException | REJECTED |
| message: ResourceNotFoundException | HOLD for an input of the config, REJECTED for a computed one |
| message: any other code | RETRY, five times, then REJECTED |
| call: no list, a failure of a message that was not sent or under two codes, an unreadable body | RETRY for all |
| call: throttled, 5xx, no reply, no connection | RETRY for all |
| call: InvalidRequestException, ValidationException, 413 | halved until the culprit stands alone, then REJECTED |
| call: credentials, signature, permission, any other 4xx | HOLD |

`codes:` of the target's settings goes before this table.

Sources: API reference of IoT Events Data (BatchPutMessage, Message, BatchPutMessageErrorEntry) and its service model
2018-10-23; developer guide, "AWS IoT Events quotas"; the end of support notice in the developer guide.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

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
from connector.targets import strict_json
from connector.targets.aws import (
    CULPRIT,
    OVERRIDES,
    UNKNOWN_TRIES,
    AwsSettings,
    Refusal,
    Reply,
    Service,
    Sessions,
    literals,
    model_missing,
    record_ms,
    session,
    text,
    tidy,
    verdict,
    wrong_type,
)
from connector.targets.contract import Complaint, Kind, Leaf
from connector.targets.settings import BatchSettings, Size

MAX_MESSAGES: Final = 10
"""Messages of one BatchPutMessage (API reference)."""

MAX_BYTES: Final = 1024
"""Payload bytes. The API reference says 1 KiB a batch, the quota page 1 KB a message (adjustable): both count here."""

MAX_MESSAGE_ID: Final = 64
MAX_INPUT: Final = 128
INPUT: Final = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
"""Name of an input (service model)."""

LAST: Final = "botocore 1.43.37 was the last to have it"
"""botocore 1.43.38 removed `iotevents` and `iotevents-data` after the end of the service (botocore's CHANGELOG)."""

_INPUT: Final = re.compile(INPUT)
MESSAGE_ID: Final = r"[a-zA-Z0-9_-]+"
_MESSAGE_ID: Final = re.compile(MESSAGE_ID)
_INT64: Final = 2**63

MESSAGE_CODES: Final[Mapping[str, Verdict]] = {
    "InternalFailureException": Verdict.RETRY,
    "ServiceUnavailableException": Verdict.RETRY,
    "ThrottlingException": Verdict.RETRY,
    "InvalidRequestException": Verdict.REJECTED,
    "ResourceNotFoundException": Verdict.HOLD,
}
"""BatchPutMessageErrorEntry knows these and no others. HOLD is for an input of the config."""

INPUT_MISSING: Final = "ResourceNotFoundException"

MAP: Final[Mapping[str, Leaf]] = {
    "inputName": Leaf("string", max_length=MAX_INPUT, pattern=INPUT, example="orders"),
    "messageId": Leaf("string", max_length=MAX_MESSAGE_ID, pattern=MESSAGE_ID, example="${uuid5(value.id)}"),
    "payload": Leaf("document", example="${value}"),
    "timestamp": Leaf("object", fields={"timeInMillis": Leaf("integer", example="${timestamp}")}),
}

InputName = Annotated[str, Field(pattern=rf"^{INPUT}$", max_length=MAX_INPUT)]


class IotEventsSettings(AwsSettings):
    """Where messages go."""

    type: Literal["iot_events"] = "iot_events"
    endpoint_url: str = Field(
        pattern=r"^https?://[^\s/@]+(/\S*)?$", description="Address of the service, which AWS itself has ended"
    )
    input_name: InputName | None = Field(None, description="The input of events without an inputName")
    input_names: tuple[InputName, ...] = Field(
        (), description="Inputs that computed names may say and that must be there"
    )
    max_message_bytes: Size = Field(MAX_BYTES, ge=1, description="Payload bytes of one message that the service takes")
    max_batch_bytes: Size = Field(MAX_BYTES, ge=1, description="Payload bytes of one call that the service takes")

    @field_validator("type")
    @classmethod
    def _can_be_spoken(cls, kind: str) -> str:
        if missing := model_missing("iotevents-data", LAST):
            raise ValueError(missing)
        return kind

    @field_validator("batch")
    @classmethod
    def _fits_a_call(cls, batch: BatchSettings) -> BatchSettings:
        if batch.max_entries is not None and batch.max_entries > MAX_MESSAGES:
            raise ValueError(f"max_entries: IoT Events takes {MAX_MESSAGES} messages a call at most")
        if batch.max_bytes == 0:
            raise ValueError("max_bytes: a call needs at least a byte")
        return batch

    @model_validator(mode="after")
    def _bounds_the_batch(self) -> Self:
        if self.batch.max_bytes is not None and self.batch.max_bytes > self.max_batch_bytes:
            raise ValueError(f"batch.max_bytes is above max_batch_bytes, {self.max_batch_bytes} bytes: raise that too")
        return self


class IotEvents:
    """One BatchPutMessage a call. A message is delivered when a reply that lists failures does not list it."""

    def __init__(self, name: str, settings: IotEventsSettings, *, sessions: Sessions = session) -> None:
        self.name = name
        self._settings = settings
        self._data = Service("iotevents-data", settings, sessions=sessions, as_written=True)
        self._control = Service("iotevents", settings, sessions=sessions, as_written=True)
        self._codes = {code: OVERRIDES[word] for code, word in settings.codes.items()}
        self._inputs = tuple(dict.fromkeys(filter(None, (settings.input_name, *settings.input_names))))
        most = settings.batch.max_bytes or settings.max_batch_bytes
        self._limits = Limits(settings.batch.max_entries or MAX_MESSAGES, most, min(most, settings.max_message_bytes))

    @property
    def limits(self) -> Limits:
        """Ten messages, 1 KiB of payload each and together, or what the settings say."""
        return self._limits

    def fed_by(self, maps: Sequence[Mapping[str, Any]]) -> None:
        """Learn which inputs the routes name in so many words: these are held for while they are missing."""
        self._inputs = tuple(dict.fromkeys((*self._inputs, *literals(maps, "inputName"))))

    async def __aenter__(self) -> Self:
        """Open nothing yet; see `Service`."""
        await self._data.__aenter__()
        await self._control.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the clients."""
        await self._data.__aexit__(kind, error, trace)
        await self._control.__aexit__(kind, error, trace)

    def prepare(self, event: Event) -> Prepared:
        """Make a Message with its payload in bytes. The size is the payload's, the messageId is unique in a call.

        Raises:
            Unpublishable: with the field, the reason and a code of ours.
        """
        for key in event.fields:
            if key not in MAP:
                known = ", ".join(MAP)
                raise Unpublishable(f"BatchPutMessage does not know this field; it knows {known}", key, "UnknownField")
        message: dict[str, Any] = {
            "messageId": _message_id(event),
            "inputName": self._input(event.fields),
            "payload": _payload(event),
        }
        if (milliseconds := _timestamp(event)) is not None:
            message["timestamp"] = {"timeInMillis": milliseconds}
        size = len(message["payload"])
        if size > self._limits.entry_bytes:
            limit = self._limits.entry_bytes
            raise Unpublishable(f"the payload has {size} bytes, a message takes {limit}", "payload", "TooLarge")
        return Prepared(message, size, unique=message["messageId"])

    def _input(self, fields: Mapping[str, Any]) -> str:
        if "inputName" not in fields:
            if self._settings.input_name is None:
                raise Unpublishable("is neither mapped nor input_name of the target", "inputName", "Missing")
            return self._settings.input_name
        name = text(fields["inputName"], "inputName", MAX_INPUT)
        if not _INPUT.fullmatch(name):
            raise Unpublishable("is not the name of an input: letters, digits, _ . and -", "inputName", "BadInputName")
        return name

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one BatchPutMessage of the batch.

        Raises:
            BatchRefused: because of a message that the reply does not name.
        """
        outcome = await self._data.call("batch_put_message", messages=[entry.body for entry in batch])
        if isinstance(outcome, Refusal):
            return self._refused(batch, outcome)
        return self._read(batch, outcome)

    def _read(self, batch: Batch, reply: Reply) -> list[Ack]:
        said = f"request {reply.request_id}"
        failures = reply.body.get("BatchPutMessageErrorEntries")
        if not isinstance(failures, list):
            return _unread(batch, f"no BatchPutMessageErrorEntries ({said})")
        sent = {entry.body["messageId"] for entry in batch}
        failed: dict[str, tuple[str, str]] = {}
        for failure in failures:
            identity = failure.get("messageId") if isinstance(failure, dict) else None
            if not isinstance(identity, str) or identity not in sent:
                return _unread(batch, f"a failure of a message that was not sent ({said})")
            code = _word(failure.get("errorCode"))[:100] or "ProtocolError"
            if failed.setdefault(identity, (code, _word(failure.get("errorMessage"))))[0] != code:
                return _unread(batch, f"a message failed with two codes ({said})")
        return [
            self._ack(entry, *failed[identity], said)
            if (identity := entry.body["messageId"]) in failed
            else Ack(Verdict.DELIVERED, "", said)
            for entry in batch
        ]

    def _ack(self, entry: Entry, code: str, message: str, said: str) -> Ack:
        if code == "ProtocolError":
            return Ack(Verdict.RETRY, code, f"a failure without errorCode ({said})")
        detail = f"{tidy(message)} ({said})" if message else said
        if (wanted := self._codes.get(code)) is not None:
            return Ack(wanted, code, detail)
        if (known := MESSAGE_CODES.get(code)) is None:
            return Ack(Verdict.RETRY, code, detail, tries=UNKNOWN_TRIES)
        if code == INPUT_MISSING and entry.body["inputName"] not in self._inputs:
            known = Verdict.REJECTED
        return Ack(known, code, detail)

    def _refused(self, batch: Batch, refusal: Refusal) -> list[Ack]:
        said = f" (request {refusal.request_id})" if refusal.request_id else ""
        ack = Ack(self._verdict(refusal), refusal.code, f"{refusal.message}{said}", refusal.retry_after)
        if ack.verdict is Verdict.REJECTED:
            raise BatchRefused(ack)
        return [ack] * len(batch)

    def _verdict(self, refusal: Refusal) -> Verdict:
        if (wanted := self._codes.get(refusal.code)) is not None:
            return wanted
        if refusal.code in CULPRIT or refusal.code == "InvalidRequestException" or refusal.status == 413:
            return Verdict.REJECTED
        return verdict(refusal)

    async def preflight(self) -> Preflight:
        """DescribeInput for every input of the settings, asked of the same address."""
        if not self._inputs:
            detail = "every inputName is computed; list in input_names those that should be looked after"
            return Preflight(Health.UNKNOWN, "NoInputNames", detail)
        missing: list[str] = []
        doubt: Preflight | None = None
        for name in self._inputs:
            outcome = await self._control.call("describe_input", inputName=name)
            if isinstance(outcome, Reply):
                if not outcome.body.get("input"):
                    doubt = Preflight(Health.UNKNOWN, "ProtocolError", "DescribeInput answered without an input")
            elif outcome.code == INPUT_MISSING:
                missing.append(name)
            else:
                doubt = Preflight(Health.UNKNOWN, outcome.code, _grant(outcome))
                if outcome.status == 0:  # no reply at all: the other inputs would only cost further deadlines
                    break
        if missing:
            detail = f"no such input: {', '.join(missing)}; create it, or mend input_name and input_names"
            return Preflight(Health.MISSING, INPUT_MISSING, detail, tuple(missing))
        return doubt or Preflight(Health.OK)


def _message_id(event: Event) -> str:
    """What the map says, else the redelivery id, hashed into the alphabet of messageIds."""
    if "messageId" not in event.fields:
        digest = hashlib.sha256(event.id.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
    identity = text(event.fields["messageId"], "messageId", MAX_MESSAGE_ID)
    if not _MESSAGE_ID.fullmatch(identity):
        raise Unpublishable("is not 1 to 64 letters, digits, _ and -", "messageId", "BadMessageId")
    return identity


def _payload(event: Event) -> bytes:
    if isinstance(value := event.fields.get("payload"), bytes):
        return value
    if "payload" not in event.fields:
        value = event.record.value
    try:
        match value:
            case None:
                raise strict_json.Flaw("NotAnObject", "is null: IoT Events reads JSON objects")
            case str() | bytes():  # sent as it came, so that no number loses a digit
                strict_json.parse(value)
                return value.encode() if isinstance(value, str) else value
            case dict():
                return strict_json.encode(value).encode()
            case _:
                raise strict_json.Flaw("NotAnObject", "must be a JSON object, or bytes")
    except strict_json.Flaw as flaw:
        raise Unpublishable(flaw.reason, f"payload{flaw.where}", flaw.code) from None


def _timestamp(event: Event) -> int | None:
    """Epoch milliseconds: of the map, else of the record, else none, and IoT Events takes its own."""
    given = event.fields.get("timestamp", {})
    if not isinstance(given, dict):
        raise wrong_type("timestamp", "an object such as {timeInMillis: …}", given)
    for key in given:
        if key != "timeInMillis":
            raise Unpublishable("IoT Events knows timeInMillis only", f"timestamp.{key}", "UnknownField")
    if "timeInMillis" not in given:
        return record_ms(event) or None  # the service takes no zero
    value = given["timeInMillis"]
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type("timestamp.timeInMillis", "a whole number of milliseconds", value)
    if not 1 <= value < _INT64:
        raise Unpublishable("is not from 1 to 9223372036854775807", "timestamp.timeInMillis", "OutOfRange")
    return value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unread(batch: Batch, why: str) -> list[Ack]:
    return [Ack(Verdict.RETRY, "ProtocolError", why)] * len(batch)


def _grant(refusal: Refusal) -> str:
    if refusal.status in (401, 403) or "AccessDenied" in refusal.code:
        return f"{refusal.message}; grant iotevents:DescribeInput on the inputs"
    return refusal.message


def _check(settings: IotEventsSettings, fields: Mapping[str, Any]) -> Iterator[Complaint]:
    """An inputName that nobody says."""
    if fields.get("inputName") is None and settings.input_name is None:
        mend = "write input_name in the target, or map inputName"
        yield (), "says no inputName, and the target has no input_name", mend


def _show(body: Mapping[str, Any]) -> dict[str, Any]:
    """The message with its payload as text; in Base64, as it travels, where it is none."""
    try:
        payload = body["payload"].decode()
    except UnicodeDecodeError:
        payload = base64.b64encode(body["payload"]).decode()
    return {**body, "payload": payload}


KIND: Final = Kind(
    value="payload",
    settings=IotEventsSettings,
    map=MAP,
    make=IotEvents,
    retired="AWS ended IoT Events on 2026-05-20: this target works with a compatible service at endpoint_url only",
    check=_check,
    show=_show,
)
