"""A strict IoT Events on loopback: BatchPutMessage by its service model, inputs, and faults on demand.

An input that does not exist fails its message. A messageId seen within five minutes is answered with success and
ignored (developer guide). What AWS does with more than ten messages, with one messageId twice in a call, or with too
large a payload is documented nowhere: here the first two and too large a batch fail the call, and too large a message
fails alone.

    POST   /inputs/messages      BatchPutMessage
    GET    /inputs/{name}        DescribeInput; POST /inputs CreateInput; DELETE /inputs/{name} DeleteInput
    …      /_sandbox/            see sandbox/simulator.py
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from connector.sandbox.faults import Fault
from connector.sandbox.modelled import ACCOUNT, REGION, Call, Modelled, Refused, unblob

MAX_MESSAGES: Final = 10
MAX_BYTES: Final = 1024
MEMORY: Final = 300.0
"""Seconds for which a messageId is remembered."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message that the service took. `index` is its place in the order of arrival, `request` the call it came in.

    `time` is epoch milliseconds as sent, None where the message had none; `at` is the clock of the simulator.
    """

    index: int
    request: int
    at: float
    input: str
    message_id: str
    payload: bytes
    time: int | None


class IotEvents(Modelled):
    """The simulated service. `vanished` are the messages it ignored, for it had seen their ids."""

    name: ClassVar[str] = "iot_events"
    odd: ClassVar[frozenset[str]] = frozenset({"no_count", "wrong_length"})
    serves: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "iotevents-data": ("BatchPutMessage",),
        "iotevents": ("DescribeInput", "CreateInput", "DeleteInput"),
    }
    invalid: ClassVar[str] = "InvalidRequestException"

    def __init__(
        self,
        inputs: Iterable[str] = ("orders",),
        *,
        max_message_bytes: int = MAX_BYTES,
        max_batch_bytes: int = MAX_BYTES,
        **more: Any,
    ) -> None:
        """`more` is what `Simulator` takes: faults, seed, clock."""
        super().__init__(**more)
        self.inputs = set(inputs)
        self._max_message_bytes = max_message_bytes
        self._max_batch_bytes = max_batch_bytes
        self._seen: dict[str, float] = {}

    @property
    def state(self) -> Mapping[str, Any]:
        return {"inputs": sorted(self.inputs)}

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Take the messages of a BatchPutMessage, and list those that it does not take."""
        messages = call.parameters["messages"]
        payloads = [unblob(message["payload"]) or b"" for message in messages]
        counts = Counter(message["messageId"] for message in messages)
        if len(messages) > MAX_MESSAGES:
            raise Refused(self.invalid, f"A batch has at most {MAX_MESSAGES} messages.")
        if max(counts.values()) > 1:
            raise Refused(self.invalid, "Each messageId within a batch must be unique.")
        if sum(map(len, payloads)) > self._max_batch_bytes:
            raise Refused(self.invalid, f"The payload of a batch has at most {self._max_batch_bytes} bytes.")
        refusals = [line for line in beside if line.do == "refuse"]
        failures = []
        for index, (message, payload) in enumerate(zip(messages, payloads, strict=True)):
            if failure := self._fault_of(message, payload, index, refusals):
                code, text = failure
                self.outcomes[f"entry {code}"] += 1
                failures.append({"messageId": message["messageId"], "errorCode": code, "errorMessage": text})
            else:
                self._take(call, message, payload)
        return {"BatchPutMessageErrorEntries": failures}

    def _fault_of(
        self, message: Mapping[str, Any], payload: bytes, index: int, refusals: Iterable[Fault]
    ) -> tuple[str, str] | None:
        if message["inputName"] not in self.inputs:
            return "ResourceNotFoundException", f"Input {message['inputName']} does not exist."
        if len(payload) > self._max_message_bytes:
            return self.invalid, f"The payload of a message has at most {self._max_message_bytes} bytes."
        for line in refusals:
            if line.bears_on(index, message, self.random):
                return line.code, line.message
        return None

    def _take(self, call: Call, message: Mapping[str, Any], payload: bytes) -> None:
        now = self.clock()
        identity = message["messageId"]
        known = now - self._seen.get(identity, float("-inf")) < MEMORY
        if not known:
            self._seen[identity] = now
        taken = Accepted(
            index=self.number(),
            request=call.number,
            at=now,
            input=message["inputName"],
            message_id=identity,
            payload=payload,
            time=(message.get("timestamp") or {}).get("timeInMillis"),
        )
        (self.vanished if known else self.accepted).append(taken)

    def spoil(self, fault: Fault, call: Call, reply: dict[str, Any]) -> dict[str, Any]:
        """The list of failures is missing, or names messages that were never sent, or too few."""
        failures = reply.get("BatchPutMessageErrorEntries", [])
        if fault.do == "no_count":
            return {}
        if fault.do == "wrong_length":
            stranger = {"messageId": "nobody", "errorCode": "InternalFailureException", "errorMessage": ""}
            failures = [*failures, *[stranger] * fault.by] if fault.by > 0 else failures[: len(failures) + fault.by]
        return {"BatchPutMessageErrorEntries": failures}

    def manage(self, call: Call) -> dict[str, Any]:
        """The few operations on inputs: a preflight and a test need no more."""
        name = call.parameters["inputName"]
        arn = f"arn:aws:iotevents:{REGION}:{ACCOUNT}:input/{name}"
        configuration = {
            "inputName": name,
            "inputArn": arn,
            "creationTime": int(self.clock()),
            "lastUpdateTime": int(self.clock()),
            "status": "ACTIVE",
        }
        if call.operation == "CreateInput":
            if name in self.inputs:
                raise Refused("ResourceAlreadyExistsException", f"Input {name} already exists.", 409)
            self.inputs.add(name)
            return {"inputConfiguration": configuration}
        if name not in self.inputs:
            raise Refused("ResourceNotFoundException", f"Input {name} does not exist.", 404)
        if call.operation == "DeleteInput":
            self.inputs.discard(name)
            return {}
        return {"input": {"inputConfiguration": configuration}}
