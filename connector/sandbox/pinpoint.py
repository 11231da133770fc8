"""A strict Pinpoint on loopback: PutEvents by its service model and its quotas, projects, and faults on demand.

What an item of a call does wrong fails that item: a bare 400 where Endpoint or Events is missing, the response of the
endpoint or of the event where that part is wrong. An event whose attribute value is too long gets a 202 and vanishes,
as the quota page says. What AWS does with two spellings of one endpoint id in a call is documented nowhere: here it
fails the call.

    POST   /v1/apps/{id}/events  PutEvents
    GET    /v1/apps/{id}         GetApp; POST /v1/apps CreateApp; DELETE /v1/apps/{id} DeleteApp
    …      /_sandbox/            see sandbox/simulator.py
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from connector.sandbox.faults import Fault
from connector.sandbox.modelled import ACCOUNT, REGION, Call, Flaw, Modelled, Refused, flaws, model

MAX_EVENTS: Final = 100
MAX_REQUEST: Final = 4_000_000
MAX_EVENT: Final = 1_000_000
MAX_ENDPOINT: Final = 15_000
_ISO_8601: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One event, or one update of an endpoint without an event (`event_id` and `event` are None).

    `endpoint` is empty where the event was taken and its endpoint was not.
    `index` is its place in the order of arrival, `request` the call it came in, `bytes` the size of that call's body;
    `at` is the clock of the simulator.
    """

    index: int
    request: int
    at: float
    bytes: int
    application: str
    endpoint_id: str
    endpoint: Mapping[str, Any]
    event_id: str | None
    event: Mapping[str, Any] | None


class Pinpoint(Modelled):
    """The simulated service. `vanished` are the events it answered with 202 and dropped."""

    name: ClassVar[str] = "pinpoint"
    odd: ClassVar[frozenset[str]] = frozenset({"bare", "no_count", "refuse_endpoint", "wrong_length"})
    serves: ClassVar[Mapping[str, tuple[str, ...]]] = {"pinpoint": ("PutEvents", "GetApp", "CreateApp", "DeleteApp")}
    throttled: ClassVar[str] = "TooManyRequestsException"
    denied: ClassVar[str] = "ForbiddenException"
    invalid: ClassVar[str] = "BadRequestException"
    message_key: ClassVar[str] = "Message"

    def __init__(self, applications: Iterable[str] = ("shop",), **more: Any) -> None:
        """`more` is what `Simulator` takes: faults, seed, clock."""
        super().__init__(**more)
        self.applications = set(applications)
        shape = model("pinpoint").shape_for
        self._endpoint_shape, self._event_shape = shape("PublicEndpoint"), shape("Event")

    @property
    def state(self) -> Mapping[str, Any]:
        return {"applications": sorted(self.applications)}

    def refuse(self, call: Call, found: Iterable[Flaw]) -> None:
        """A flaw inside an item of PutEvents fails that item; any other fails the call."""
        items = ("EventsRequest", "BatchItem")
        super().refuse(call, (flaw for flaw in found if flaw.where[:2] != items or len(flaw.where) == 2))

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Take the events and endpoints of a PutEvents, and answer each."""
        application = call.parameters["ApplicationId"]
        items = call.parameters["EventsRequest"]["BatchItem"]
        if call.bytes > MAX_REQUEST:
            raise Refused("PayloadTooLargeException", "The payload is too large.", 413)
        if application not in self.applications:
            raise Refused("NotFoundException", "Resource not found", 404)
        if len({name.casefold() for name in items}) != len(items):
            raise Refused(self.invalid, "Two endpoint ids differ in case only.")
        events = sum(len(item["Events"]) for item in items.values() if _is_item(item))
        if events > MAX_EVENTS:
            raise Refused(self.invalid, f"A request has at most {MAX_EVENTS} events.")
        lines = list(beside)
        index = 0
        results: dict[str, Any] = {}
        for endpoint_id, item in items.items():
            if not _is_item(item) or not re.fullmatch(r"[^${}]+", endpoint_id):
                self.outcomes["item 400"] += 1
                results[endpoint_id] = 400
                continue
            results[endpoint_id], index = self._item(call, endpoint_id, item, index, lines)
        return {"Results": results}

    def _item(
        self, call: Call, endpoint_id: str, item: Mapping[str, Any], index: int, lines: list[Fault]
    ) -> tuple[dict[str, Any], int]:
        """The results of an endpoint. `index` counts the entries of the call: events, and endpoints without any."""
        endpoint, events = item["Endpoint"], item["Events"]
        update = self._endpoint_answer(endpoint)
        for line in lines:
            alone = line.do == "refuse" and not events
            if (line.do == "refuse_endpoint" or alone) and line.bears_on(index, item, self.random):
                update = _answer(int(line.code), line.message)
        if not events:
            if update["StatusCode"] == 202:
                self._take(call, endpoint_id, endpoint, None, None, vanishes=False)
            return {"EndpointItemResponse": update, "EventsItemResponse": {}}, index + 1
        answers: dict[str, Any] = {}
        for event_id, event in events.items():
            answer = self._event_answer(event)
            for line in lines:
                if line.do == "refuse" and line.bears_on(index, event, self.random):
                    answer = _answer(int(line.code), line.message)
            if answer["StatusCode"] == 202:
                kept = endpoint if update["StatusCode"] == 202 else {}
                self._take(call, endpoint_id, kept, event_id, event, vanishes=_is_dropped(event))
            else:
                self.outcomes[f"entry {answer['StatusCode']}"] += 1
            answers[event_id] = answer
            index += 1
        return {"EndpointItemResponse": update, "EventsItemResponse": answers}, index

    def _endpoint_answer(self, endpoint: Any) -> dict[str, Any]:
        for flaw in flaws(self._endpoint_shape, endpoint, ("Endpoint",)):
            return _answer(400, str(flaw))
        attributes = (
            endpoint.get("Attributes"),
            endpoint.get("Metrics"),
            (endpoint.get("User") or {}).get("UserAttributes"),
        )
        if sum(len(named or ()) for named in attributes) > 250 or len(json.dumps(endpoint)) > MAX_ENDPOINT:
            return _answer(400, "Endpoint too large")
        for named in attributes:
            for name, values in (named or {}).items():
                listed = values if isinstance(values, list) else []
                if len(name) > 50 or len(listed) > 50 or any(len(value) > 100 for value in listed):
                    return _answer(400, "Invalid attribute")
        for key, allowed in (("EndpointStatus", ("ACTIVE", "INACTIVE")), ("OptOut", ("ALL", "NONE"))):
            if endpoint.get(key) not in (None, *allowed):
                return _answer(400, f"Invalid {key}")
        if not _is_time(endpoint.get("EffectiveDate")):
            return _answer(400, "Invalid EffectiveDate")
        return _answer(202, "Accepted")

    def _event_answer(self, event: Any) -> dict[str, Any]:
        for flaw in flaws(self._event_shape, event, ("Events",)):
            return _answer(400, str(flaw))
        names = [*(event.get("Attributes") or ()), *(event.get("Metrics") or ())]
        if len(names) > 40 or any(len(name) > 50 for name in names) or len(json.dumps(event)) > MAX_EVENT:
            return _answer(400, "Event too large")
        run = event.get("Session") or {}
        if not all(map(_is_time, (event["Timestamp"], run.get("StartTimestamp"), run.get("StopTimestamp")))):
            return _answer(400, "Invalid timestamp")
        return _answer(202, "Accepted")

    def _take(
        self, call: Call, endpoint_id: str, endpoint: Any, event_id: str | None, event: Any, *, vanishes: bool
    ) -> None:
        taken = Accepted(
            index=self.number(),
            request=call.number,
            at=self.clock(),
            bytes=call.bytes,
            application=call.parameters["ApplicationId"],
            endpoint_id=endpoint_id,
            endpoint=endpoint,
            event_id=event_id,
            event=event,
        )
        (self.vanished if vanishes else self.accepted).append(taken)

    @classmethod
    def check(cls, line: Fault) -> None:
        """Codes of entries are statuses."""
        if line.do in ("refuse", "refuse_endpoint") and not line.code.isdecimal():
            raise ValueError('code: an entry of Pinpoint fails with a status, such as "400"')

    def spoil(self, fault: Fault, call: Call, reply: dict[str, Any]) -> dict[str, Any]:
        """Bare statuses, no answers to events, or answers to some events too few or too many."""
        if fault.do == "bare":
            return {"Results": dict.fromkeys(call.parameters["EventsRequest"]["BatchItem"], fault.status)}
        results = reply.setdefault("Results", {})
        for result in results.values():
            if fault.do == "no_count" and isinstance(result, dict):
                del result["EventsItemResponse"]
        if fault.do == "wrong_length" and fault.by > 0:
            results.update({f"nobody-{number}": 202 for number in range(fault.by)})
        elif fault.do == "wrong_length":
            full = {name: result for name, result in results.items() if isinstance(result, dict)}
            places = [(name, event) for name, result in full.items() for event in result["EventsItemResponse"]]
            for name, event in places[fault.by :]:
                del results[name]["EventsItemResponse"][event]
        return reply

    def manage(self, call: Call) -> dict[str, Any]:
        """The few operations on projects: a preflight and a test need no more."""
        if call.operation == "CreateApp":
            name = call.parameters["CreateApplicationRequest"]["Name"]
            self.applications.add(name)  # the real service makes an id of its own
            return {"ApplicationResponse": _application(name)}
        name = call.parameters["ApplicationId"]
        if name not in self.applications:
            raise Refused("NotFoundException", "Resource not found", 404)
        if call.operation == "DeleteApp":
            self.applications.discard(name)
        return {"ApplicationResponse": _application(name)}


def _application(name: str) -> dict[str, str]:
    return {"Arn": f"arn:aws:mobiletargeting:{REGION}:{ACCOUNT}:apps/{name}", "Id": name, "Name": name}


def _is_item(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("Endpoint"), dict) and isinstance(item.get("Events"), dict)


def _answer(status: int, message: str) -> dict[str, Any]:
    return {"StatusCode": status, "Message": message}


def _is_dropped(event: Mapping[str, Any]) -> bool:
    return any(len(value) > 200 for value in (event.get("Attributes") or {}).values())


def _is_time(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(_ISO_8601.fullmatch(value)) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False
