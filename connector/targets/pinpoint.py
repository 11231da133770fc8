"""Amazon Pinpoint, PutEvents. AWS ended it on 2026-10-30; this speaks to what is compatible with it.

Entries are events of endpoints, or updates of endpoints without an event. A call carries one application; in it the
events of an endpoint stand together under one Endpoint body. These are the verdicts:

| the service says | verdict |
|---|---|
| event: 202 | DELIVERED |
| event: 429, 5xx, or nothing | RETRY |
| event: 405 | HOLD |
| event: any other 4xx | REJECTED |
| event: any other status | RETRY, five times, then REJECTED |
| endpoint: a bare status instead of a result | that status for each of its entries |
| endpoint update without events | by its EndpointItemResponse, as an event |
| EndpointItemResponse failed beside a delivered event | `endpoint_errors`: warn (DELIVERED), or reject (as an event) |
| call: no Results, an unreadable body | RETRY for all |
| call: throttled, 5xx, no reply, no connection | RETRY for all |
| call: BadRequestException, ValidationException, 413 | halved until the culprit stands alone, then REJECTED |
| call: NotFoundException | HOLD for an application of the config, REJECTED for a computed one |
| call: credentials, signature, permission, 405, any other 4xx | HOLD |

`codes:` of the target's settings goes before this table; the codes of entries are statuses, such as "400".

Sources: API reference of Pinpoint (Events) and its service model 2016-12-01; developer guide, "Amazon Pinpoint quotas";
the end of support notice in the user guide.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import structlog
from pydantic import Field, field_validator

from connector.model import (
    Ack,
    Alike,
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
from connector.targets.aws import (
    CULPRIT,
    OVERRIDES,
    UNKNOWN_TRIES,
    AwsSettings,
    Refusal,
    Reply,
    Service,
    Sessions,
    epoch_ms,
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
from connector.targets.settings import BatchSettings

MAX_EVENTS: Final = 100
"""Events of one PutEvents (quota page)."""

MAX_BYTES: Final = 4_000_000 - len('{"BatchItem": }')
"""Bytes of the entries of one PutEvents, whose body may have 4 MB (quota page), as JSON with escapes, as it is sent."""

MAX_EVENT_BYTES: Final = 1_000_000
MAX_EVENT_KEYS: Final = 40
MAX_EVENT_KEY: Final = 50
MAX_EVENT_VALUE: Final = 200
"""An event with a longer attribute value is answered with 202 and dropped (quota page): we must refuse it ourselves."""

MAX_ENDPOINT_BYTES: Final = 15_000
MAX_ENDPOINT_KEYS: Final = 250
MAX_ENDPOINT_KEY: Final = 50
MAX_ENDPOINT_VALUE: Final = 100
MAX_ENDPOINT_VALUES: Final = 50
"""Values of one attribute of an endpoint or user (quota page)."""

CHANNELS: Final = (
    *("PUSH", "GCM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "ADM", "SMS", "VOICE", "EMAIL"),
    *("BAIDU", "CUSTOM", "IN_APP"),
)

STATUSES: Final = ("ACTIVE", "INACTIVE")
OPT_OUTS: Final = ("ALL", "NONE")

LAST: Final = "botocore 1.44.5 is known to have it"

EVENT_CODES: Final[Mapping[str, Verdict]] = {
    "400": Verdict.REJECTED,
    "403": Verdict.REJECTED,
    "404": Verdict.REJECTED,
    "405": Verdict.HOLD,
    "429": Verdict.RETRY,
    "500": Verdict.RETRY,
    "503": Verdict.RETRY,
}
"""What a status of an event means, by example; 202 and 400 are documented."""

APPLICATION_MISSING: Final = "NotFoundException"

ID: Final = "[^${}]+"
COUNTRY: Final = "[A-Za-z]{2}"
_ID: Final = re.compile(ID)
_COUNTRY: Final = re.compile(COUNTRY)
_INT32: Final = range(-(2**31), 2**31)

Check: TypeAlias = Callable[[Any, str], Any]
"""Takes a value of the map and its path, gives what goes on the wire, raises Unpublishable."""


def _words(*allowed: str) -> Check:
    def check(value: Any, path: str) -> str:
        if text(value, path) not in allowed:
            raise Unpublishable(f"must be one of {', '.join(allowed)}", path, "NotAllowed")
        return str(value)

    return check


def _time(value: Any, path: str) -> str:
    return iso(epoch_ms(value, path))


def iso(milliseconds: int) -> str:
    """Epoch milliseconds as AWS's own clients write a time: `2026-01-31T23:59:59.123Z`."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: Any, path: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(path, "a number", value)
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:  # botocore would send them as the texts "NaN" and "Infinity"
        raise Unpublishable("is NaN, Infinity or beyond a double", path, "NotFinite")
    return value


def _degrees(bound: int) -> Check:
    def check(value: Any, path: str) -> float:
        degrees = _number(value, path)
        if not -bound <= degrees <= bound:
            raise Unpublishable(f"is not from -{bound} to {bound}", path, "OutOfRange")
        return round(float(degrees), 1)

    return check


def _int32(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(path, "a whole number", value)
    if value not in _INT32:
        raise Unpublishable("is beyond 32 bits", path, "OutOfRange")
    return value


def _country(value: Any, path: str) -> str:
    if not _COUNTRY.fullmatch(text(value, path)):
        raise Unpublishable("is not a two-letter country code of ISO 3166-1", path, "NotAllowed")
    return str(value)


def _filled(value: Any, path: str) -> str:
    if not text(value, path):
        raise Unpublishable("must not be empty", path, "Missing")
    return str(value)


def _value(longest: int) -> Check:
    return lambda value, path: text(value, path, longest)


def _values(value: Any, path: str) -> list[str]:
    if not isinstance(value, list | tuple):
        raise wrong_type(path, "a list of text", value)
    if len(value) > MAX_ENDPOINT_VALUES:
        reason = f"has {len(value)} values, {MAX_ENDPOINT_VALUES} are allowed"
        raise Unpublishable(reason, path, "TooMany")
    return [text(one, f"{path}[{index}]", MAX_ENDPOINT_VALUE) for index, one in enumerate(value)]


def _map(longest_key: int, inner: Check) -> Check:
    """A map with keys of the user's own. Paths name no key but by its place: it is data, perhaps a person's."""

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        made: dict[str, Any] = {}
        for index, (key, one) in enumerate(value.items()):
            name = text(key, f"{path} (key {index + 1})", longest_key)
            made[name] = inner(one, f"{path} (value {index + 1})")
        return made

    return check


def _object(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for key in value:
            if key not in fields:
                raise Unpublishable(f"Pinpoint knows {', '.join(fields)}", f"{path}.{key}", "UnknownField")
        for key in required:
            if key not in value:
                raise Unpublishable("is needed", f"{path}.{key}", "Missing")
        return {key: fields[key](one, f"{path}.{key}") for key, one in value.items()}

    return check


EVENT: Final[Mapping[str, Check]] = {
    "AppPackageName": text,
    "AppTitle": text,
    "AppVersionCode": text,
    "Attributes": _map(MAX_EVENT_KEY, _value(MAX_EVENT_VALUE)),
    "ClientSdkVersion": text,
    "EventType": _filled,
    "Metrics": _map(MAX_EVENT_KEY, _number),
    "SdkName": text,
    "Session": _object(
        {"Duration": _int32, "Id": _filled, "StartTimestamp": _time, "StopTimestamp": _time}, ("Id", "StartTimestamp")
    ),
    "Timestamp": _time,
}
"""The structure Event."""

ENDPOINT: Final[Mapping[str, Check]] = {
    "Address": text,
    "Attributes": _map(MAX_ENDPOINT_KEY, _values),
    "ChannelType": _words(*CHANNELS),
    "Demographic": _object(
        dict.fromkeys(
            (
                *("AppVersion", "Locale", "Make", "Model", "ModelVersion", "Platform", "PlatformVersion"),
                "Timezone",
            ),
            text,
        )
    ),
    "EffectiveDate": _time,
    "EndpointStatus": _words(*STATUSES),
    "Location": _object(
        {
            "City": text,
            "Country": _country,
            "Latitude": _degrees(90),
            "Longitude": _degrees(180),
            "PostalCode": text,
            "Region": text,
        }
    ),
    "Metrics": _map(MAX_ENDPOINT_KEY, _number),
    "OptOut": _words(*OPT_OUTS),
    "RequestId": text,
    "User": _object({"UserAttributes": _map(MAX_ENDPOINT_KEY, _values), "UserId": text}),
}
"""The structure PublicEndpoint."""

_ENDPOINT: Final = _object(ENDPOINT)
_STRING: Final = Leaf("string")
_TIME: Final = Leaf("time", example="${millis(timestamp)}")
_NUMBERS: Final = Leaf("object", values=Leaf("number"))
_LISTS: Final = Leaf("object", values=Leaf("list"))

MAP: Final[Mapping[str, Leaf]] = {
    "ApplicationId": Leaf("string", example="810c7aab86d42fb2b56c8c966example"),
    "EndpointId": Leaf("string", required=True, pattern=ID, example="${value.device}"),
    "EventId": Leaf("string", example="${value.id}"),
    "EventType": Leaf("string", pattern=".+", example="order.${value.status}"),
    "Timestamp": _TIME,
    "Attributes": Leaf("object", values=Leaf("string", max_length=MAX_EVENT_VALUE)),
    "Metrics": _NUMBERS,
    "Session": Leaf(
        "object",
        fields={
            "Id": Leaf("string", required=True, pattern=".+", example="${value.session}"),
            "StartTimestamp": Leaf("time", required=True, example="${millis(timestamp)}"),
            "StopTimestamp": _TIME,
            "Duration": Leaf("integer"),
        },
    ),
    "AppPackageName": _STRING,
    "AppTitle": _STRING,
    "AppVersionCode": _STRING,
    "ClientSdkVersion": _STRING,
    "SdkName": _STRING,
    "Endpoint": Leaf(
        "object",
        fields={
            "Address": _STRING,
            "Attributes": _LISTS,
            "ChannelType": Leaf("string", choices=CHANNELS),
            "Demographic": Leaf(
                "object",
                fields=dict.fromkeys(
                    (
                        *("AppVersion", "Locale", "Make", "Model", "ModelVersion", "Platform", "PlatformVersion"),
                        "Timezone",
                    ),
                    _STRING,
                ),
            ),
            "EffectiveDate": _TIME,
            "EndpointStatus": Leaf("string", choices=STATUSES),
            "Location": Leaf(
                "object",
                fields={
                    "City": _STRING,
                    "Country": Leaf("string", pattern=COUNTRY, example="NO"),
                    "Latitude": Leaf("number"),
                    "Longitude": Leaf("number"),
                    "PostalCode": _STRING,
                    "Region": _STRING,
                },
            ),
            "Metrics": _NUMBERS,
            "OptOut": Leaf("string", choices=OPT_OUTS),
            "RequestId": _STRING,
            "User": Leaf("object", fields={"UserAttributes": _LISTS, "UserId": _STRING}),
        },
    ),
}

ApplicationId = Annotated[str, Field(pattern=r"^[^\s/]+$")]


class PinpointSettings(AwsSettings):
    """Where events go."""

    type: Literal["pinpoint"] = "pinpoint"
    endpoint_url: str = Field(
        pattern=r"^https?://[^\s/@]+(/\S*)?$", description="Address of the service, which AWS itself has ended"
    )
    application_id: ApplicationId | None = Field(None, description="Project of events without an ApplicationId")
    application_ids: tuple[ApplicationId, ...] = Field(
        (), description="Projects that computed names may say and that must be there"
    )
    endpoint_errors: Literal["warn", "reject"] = Field(
        "warn", description="What a failed endpoint update means for its delivered event"
    )

    @field_validator("type")
    @classmethod
    def _can_be_spoken(cls, kind: str) -> str:
        if missing := model_missing("pinpoint", LAST):
            raise ValueError(missing)
        return kind

    @field_validator("batch")
    @classmethod
    def _fits_a_call(cls, batch: BatchSettings) -> BatchSettings:
        if batch.max_entries is not None and batch.max_entries > MAX_EVENTS:
            raise ValueError(f"max_entries: Pinpoint takes {MAX_EVENTS} events a call at most")
        if batch.max_bytes is not None and not 0 < batch.max_bytes <= MAX_BYTES:
            raise ValueError(f"max_bytes: Pinpoint takes 1 to {MAX_BYTES} bytes of entries a call")
        return batch


class Pinpoint:
    """One PutEvents a call. An event is delivered when the reply has 202 for it by endpoint id and event id."""

    def __init__(self, name: str, settings: PinpointSettings, *, sessions: Sessions = session) -> None:
        self.name = name
        self._settings = settings
        self._service = Service("pinpoint", settings, sessions=sessions, as_written=True)
        self._codes = {code: OVERRIDES[word] for code, word in settings.codes.items()}
        self._applications = tuple(dict.fromkeys(filter(None, (settings.application_id, *settings.application_ids))))
        self._log = structlog.get_logger("connector.targets.pinpoint").bind(target=name)
        most = settings.batch.max_bytes or MAX_BYTES
        self._limits = Limits(settings.batch.max_entries or MAX_EVENTS, most, most)

    @property
    def limits(self) -> Limits:
        """A hundred events, 4 MB of them together, or what `batch` says."""
        return self._limits

    def fed_by(self, maps: Sequence[Mapping[str, Any]]) -> None:
        """Learn which applications the routes name in so many words: these are held for while they are missing."""
        self._applications = tuple(dict.fromkeys((*self._applications, *literals(maps, "ApplicationId"))))

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
        """Make {EndpointId, Endpoint, EventId, Event}; the last two are missing for an update without an event.

        The size is that of the JSON which the entry would be alone in a call. The group is the application. In one call
        an endpoint has one spelling and one Endpoint body, and none of its event ids twice.

        Raises:
            Unpublishable: with the field, the reason and a code of ours.
        """
        for key in event.fields:
            if key not in MAP:
                known = ", ".join(MAP)
                raise Unpublishable(f"PutEvents does not know this field; it knows {known}", key, "UnknownField")
        body: dict[str, Any] = {"EndpointId": _identity(event.fields.get("EndpointId"), "EndpointId")}
        body["Endpoint"] = _endpoint(event.fields.get("Endpoint", {}))
        if made := _event(event, update=bool(body["Endpoint"])):
            body["EventId"] = _filled(event.fields.get("EventId", event.id), "EventId")
            body["Event"] = made
        size = len(json.dumps(_items([body])))
        if size > self._limits.entry_bytes:
            raise Unpublishable(f"the entry has {size} bytes, a call takes {self._limits.entry_bytes}", "", "TooLarge")
        endpoint = body["EndpointId"].casefold()  # Pinpoint takes two spellings for one endpoint
        said = json.dumps([body["EndpointId"], body["Endpoint"]], sort_keys=True)
        return Prepared(
            body,
            size,
            group=self._application(event.fields),
            unique=f"{endpoint} {body['EventId']}" if "Event" in body else None,
            alike=Alike(endpoint, hashlib.blake2b(said.encode(), digest_size=16).hexdigest()),
        )

    def _application(self, fields: Mapping[str, Any]) -> str:
        if "ApplicationId" in fields:
            return _filled(fields["ApplicationId"], "ApplicationId")
        if self._settings.application_id is None:
            raise Unpublishable("is neither mapped nor application_id of the target", "ApplicationId", "Missing")
        return self._settings.application_id

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one PutEvents of the batch.

        Raises:
            BatchRefused: because of an event that the reply does not name.
        """
        outcome = await self._service.call(
            "put_events",
            ApplicationId=batch[0].group,
            EventsRequest={"BatchItem": _items([entry.body for entry in batch])},
        )
        if isinstance(outcome, Refusal):
            return self._refused(batch, outcome)
        return self._read(batch, outcome)

    def _read(self, batch: Batch, reply: Reply) -> list[Ack]:
        said = f"request {reply.request_id}"
        results = reply.body.get("Results")
        if not isinstance(results, dict):
            return [Ack(Verdict.RETRY, "ProtocolError", f"no Results ({said})")] * len(batch)
        folded = {name.casefold(): result for name, result in results.items()}
        acks: list[Ack] = []
        for entry in batch:
            endpoint = entry.body["EndpointId"]
            result = results[endpoint] if endpoint in results else folded.get(endpoint.casefold())
            acks.append(self._entry_ack(entry, result, said))
        return acks

    def _entry_ack(self, entry: Entry, result: Any, said: str) -> Ack:
        if not isinstance(result, dict):  # a bare 202 or 400 may stand for the whole endpoint (API reference)
            return self._status_ack({"StatusCode": result}, said)
        update = result.get("EndpointItemResponse")
        if "Event" not in entry.body:
            return self._status_ack(update, said)
        events = result.get("EventsItemResponse")
        ack = self._status_ack(events.get(entry.body["EventId"]) if isinstance(events, dict) else None, said)
        if ack.verdict is not Verdict.DELIVERED or not entry.body["Endpoint"] or update is None:
            return ack
        return self._after_update(entry, ack, self._status_ack(update, said))

    def _after_update(self, entry: Entry, ack: Ack, update: Ack) -> Ack:
        """What a delivered event is worth whose endpoint could not be updated."""
        if update.verdict is Verdict.DELIVERED:
            return ack
        if self._settings.endpoint_errors == "reject":
            return update
        record = entry.event.record
        self._log.warning(
            "event delivered, but its endpoint was not updated",
            code=update.code,
            detail=update.detail,
            topic=record.tp.topic,
            partition=record.tp.partition,
            offset=record.offset,
        )
        return ack

    def _status_ack(self, item: Any, said: str) -> Ack:
        """The ack of an EventItemResponse or EndpointItemResponse; None and what is none of these is no answer."""
        status = item.get("StatusCode") if isinstance(item, dict) else None
        if type(status) is not int:
            return Ack(Verdict.RETRY, "ProtocolError", f"no StatusCode for this entry ({said})")
        message = item.get("Message")
        detail = f"{tidy(message)} ({said})" if isinstance(message, str) else said
        if status == 202:
            return Ack(Verdict.DELIVERED, "", detail)
        code = str(status)
        if (wanted := self._codes.get(code)) is not None:
            return Ack(wanted, code, detail)
        if status == 405:
            return Ack(Verdict.HOLD, code, detail)
        if status == 429 or 500 <= status <= 599:
            return Ack(Verdict.RETRY, code, detail)
        if 400 <= status <= 499:
            return Ack(Verdict.REJECTED, code, detail)
        return Ack(Verdict.RETRY, code, detail, tries=UNKNOWN_TRIES)

    def _refused(self, batch: Batch, refusal: Refusal) -> list[Ack]:
        said = f" (request {refusal.request_id})" if refusal.request_id else ""
        ack = Ack(self._verdict(batch, refusal), refusal.code, f"{refusal.message}{said}", refusal.retry_after)
        if ack.verdict is Verdict.REJECTED and refusal.code != APPLICATION_MISSING:
            raise BatchRefused(ack)
        return [ack] * len(batch)  # a missing application is the same for all: halving would find nothing new

    def _verdict(self, batch: Batch, refusal: Refusal) -> Verdict:
        if (wanted := self._codes.get(refusal.code)) is not None:
            return wanted
        if refusal.code in CULPRIT or refusal.code == "BadRequestException" or refusal.status == 413:
            return Verdict.REJECTED
        if refusal.code == APPLICATION_MISSING:
            return Verdict.HOLD if batch[0].group in self._applications else Verdict.REJECTED
        return verdict(refusal)

    async def preflight(self) -> Preflight:
        """GetApp for every application of the settings."""
        if not self._applications:
            detail = "every ApplicationId is computed; list in application_ids those that should be looked after"
            return Preflight(Health.UNKNOWN, "NoApplicationIds", detail)
        missing: list[str] = []
        doubt: Preflight | None = None
        for application in self._applications:
            outcome = await self._service.call("get_app", ApplicationId=application)
            if isinstance(outcome, Reply):
                if outcome.body.get("Id") != application:
                    doubt = Preflight(Health.UNKNOWN, "ProtocolError", "GetApp answered without the Id")
            elif outcome.code == APPLICATION_MISSING:
                missing.append(application)
            else:
                doubt = Preflight(Health.UNKNOWN, outcome.code, _grant(outcome))
                if outcome.status == 0:  # no reply at all: the others would only cost further deadlines
                    break
        if missing:
            detail = f"no such application: {', '.join(missing)}; mend application_id and application_ids"
            return Preflight(Health.MISSING, APPLICATION_MISSING, detail, tuple(missing))
        return doubt or Preflight(Health.OK)


def _items(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The BatchItem of a call: each endpoint once, its events under it."""
    items: dict[str, Any] = {}
    for body in bodies:
        item = items.setdefault(body["EndpointId"], {"Endpoint": body["Endpoint"], "Events": {}})
        if "Event" in body:
            item["Events"][body["EventId"]] = body["Event"]
    return items


def _identity(value: Any, path: str) -> str:
    if value is None:
        raise Unpublishable("is needed", path, "Missing")
    identity = _filled(value, path)
    if not _ID.fullmatch(identity):
        raise Unpublishable("must not contain $, { or }", path, "BadEndpointId")
    return identity


def _event(event: Event, *, update: bool) -> dict[str, Any]:
    """The Event, or nothing for an update of an endpoint alone."""
    given = {key: value for key, value in event.fields.items() if key in EVENT}
    if "EventType" not in given:
        if update and not given and "EventId" not in event.fields:
            return {}
        raise Unpublishable("is needed; only an update of an Endpoint goes without an event", "EventType", "Missing")
    made = {key: EVENT[key](value, key) for key, value in given.items()}
    if "Timestamp" not in made:
        milliseconds = record_ms(event)
        if milliseconds is None:
            raise Unpublishable("is needed, for the record has no timestamp", "Timestamp", "Missing")
        made["Timestamp"] = iso(milliseconds)
    keys = len(made.get("Attributes", ())) + len(made.get("Metrics", ()))
    if keys > MAX_EVENT_KEYS:
        reason = f"and Metrics have {keys} keys together, {MAX_EVENT_KEYS} are allowed"
        raise Unpublishable(reason, "Attributes", "TooMany")
    if (size := len(json.dumps(made))) > MAX_EVENT_BYTES:
        raise Unpublishable(f"the event has {size} bytes, {MAX_EVENT_BYTES} are allowed", "", "TooLarge")
    return made


def _endpoint(value: Any) -> dict[str, Any]:
    made: dict[str, Any] = _ENDPOINT(value, "Endpoint")
    keys = sum(
        map(len, (made.get("Attributes", ()), made.get("Metrics", ()), made.get("User", {}).get("UserAttributes", ())))
    )
    if keys > MAX_ENDPOINT_KEYS:
        reason = f"has {keys} attributes and metrics, its user's included; {MAX_ENDPOINT_KEYS} are allowed"
        raise Unpublishable(reason, "Endpoint", "TooMany")
    if (size := len(json.dumps(made))) > MAX_ENDPOINT_BYTES:
        raise Unpublishable(f"has {size} bytes, {MAX_ENDPOINT_BYTES} are allowed", "Endpoint", "TooLarge")
    return made


def _grant(refusal: Refusal) -> str:
    if refusal.status in (401, 403):
        return f"{refusal.message}; grant mobiletargeting:GetApp on the applications"
    return refusal.message


def _check(settings: PinpointSettings, fields: Mapping[str, Any]) -> Iterator[Complaint]:
    """What no record could mend: no application, no event and no update."""
    if fields.get("ApplicationId") is None and settings.application_id is None:
        mend = "write application_id in the target, or map ApplicationId"
        yield (), "says no ApplicationId, and the target has no application_id", mend
    if "EventType" not in fields:
        event = next((key for key in fields if key in EVENT or key == "EventId"), None)
        if event is not None:
            yield (event,), "is of an event, but the map says no EventType", "add EventType"
        elif "Endpoint" not in fields:
            yield (), "says neither EventType nor Endpoint", "add EventType, or Endpoint for an update without an event"


KIND: Final = Kind(
    settings=PinpointSettings,
    map=MAP,
    make=Pinpoint,
    retired="AWS ended Pinpoint on 2026-10-30: this target works with a compatible service at endpoint_url only",
    check=_check,
)
