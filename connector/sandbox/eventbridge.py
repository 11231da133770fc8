"""A strict EventBridge on loopback: the wire, the limits and the words of the service, and faults on demand.

What it does where AWS was observed, it does as AWS (snapshots in localstack/localstack tests/aws/services/events): a
bus that does not exist gets EventIds and the events vanish; a bad Detail fails its entry, eleven entries fail the call.
Where AWS says nothing (an integer beyond 64 bits, a TraceHeader that is none) it refuses the entry.

    POST   /                     PutEvents, DescribeEventBus, CreateEventBus, DeleteEventBus (AWS JSON 1.1)
    …      /_sandbox/            see sandbox/simulator.py
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson

from connector.sandbox.faults import Fault
from connector.sandbox.modelled import ACCOUNT, REGION, Call, Flaw, Modelled, Refused

MAX_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry that the service took. `index` is its place in the order of arrival, `request` the call it came in.

    `time` is epoch seconds as sent, None where the entry had none; `at` is the clock of the simulator; `endpoint_id` is
    that of the call.
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
    endpoint_id: str | None = None


class EventBridge(Modelled):
    """The simulated service. `vanished` are the events that it answered with an id, though their bus does not exist."""

    name: ClassVar[str] = "eventbridge"
    odd: ClassVar[frozenset[str]] = frozenset({"no_count", "wrong_count", "wrong_length"})
    max_body: ClassVar[int] = 8 * 2**20
    serves: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "events": ("PutEvents", "DescribeEventBus", "CreateEventBus", "DeleteEventBus")
    }
    invalid: ClassVar[str] = "ValidationException"
    statuses: ClassVar[Mapping[str, int]] = {"throttled": 400, "denied": 400}

    def __init__(self, buses: Iterable[str] = ("default",), *, max_bytes: int = MAX_BYTES, **more: Any) -> None:
        """`more` is what `Simulator` takes: faults, seed, clock."""
        super().__init__(**more)
        self.buses = set(buses)
        self._max_bytes = max_bytes

    @property
    def state(self) -> Mapping[str, Any]:
        return {"buses": sorted(self.buses)}

    def refuse(self, call: Call, found: Iterable[Flaw]) -> None:
        """What is of another type cannot be read at all; else the first flaw, its place in the words of the service."""
        listed = list(found)
        if any(flaw.of_type for flaw in listed):
            raise Refused("SerializationException", "")
        super().refuse(call, (flaw._replace(where=tuple(map(_camel, flaw.where))) for flaw in listed))

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Take the entries of a PutEvents, and answer each."""
        entries = call.parameters["Entries"]
        if sum(map(counted_bytes, entries)) > self._max_bytes:
            raise Refused(self.invalid, "Total size of the entries in the request is over the limit.")
        refusals = [line for line in beside if line.do == "refuse"]
        results = [self._put(call, entry, index, refusals) for index, entry in enumerate(entries)]
        return {"FailedEntryCount": _failed(results), "Entries": results}

    def _put(
        self, call: Call, entry: Mapping[str, Any], index: int, refusals: Iterable[Fault]
    ) -> dict[str, str | None]:
        code, message = _fault_of(entry) or ("", "")
        for line in refusals:
            if not code and line.bears_on(index, entry, self.random):
                code, message = line.code, line.message
        if code:
            self.outcomes[f"entry {code}"] += 1
            return {"ErrorCode": code, "ErrorMessage": message}
        bus = str(entry.get("EventBusName") or "default").rpartition("/")[2]
        taken = Accepted(
            index=self.number(),
            request=call.number,
            at=self.clock(),
            bus=bus,
            source=entry["Source"],
            detail_type=entry["DetailType"],
            detail=entry["Detail"],
            resources=tuple(entry.get("Resources") or ()),
            time=entry.get("Time"),
            trace_header=entry.get("TraceHeader"),
            event_id=self.identity(),
            endpoint_id=call.parameters.get("EndpointId"),
        )
        (self.accepted if bus in self.buses else self.vanished).append(taken)
        return {"EventId": taken.event_id}

    def spoil(self, fault: Fault, call: Call, reply: dict[str, Any]) -> dict[str, Any]:
        """A count that is missing or wrong, results too few or too many."""
        results = reply.get("Entries", [])
        tree = {"FailedEntryCount": _failed(results), "Entries": results}
        match fault.do:
            case "no_count":
                del tree["FailedEntryCount"]
            case "wrong_count":
                tree["FailedEntryCount"] += fault.by
            case "wrong_length":
                more = [{"EventId": self.identity()} for _ in range(fault.by)]
                tree["Entries"] = [*results, *more] if fault.by > 0 else results[: len(results) + fault.by]
        return tree

    def manage(self, call: Call) -> dict[str, Any]:
        """The few operations on buses: a preflight and a test need no more."""
        name = call.parameters.get("Name", "default").rpartition("/")[2]
        arn = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}"
        if call.operation == "DeleteEventBus":
            self.buses.discard(name)
            return {}
        if call.operation == "CreateEventBus":
            if name in self.buses:
                raise Refused("ResourceAlreadyExistsException", f"Event bus {name} already exists.")
            self.buses.add(name)
            return {"EventBusArn": arn}
        if name not in self.buses:
            raise Refused("ResourceNotFoundException", f"Event bus {name} does not exist.")
        return {"Name": name, "Arn": arn}


def _camel(part: str) -> str:
    return part[:1].lower() + part[1:]


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
