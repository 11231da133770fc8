"""What `connector sandbox` reads: which buses, inputs and projects there are, and what goes wrong in which service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints, ValidationError, model_validator

from connector.complaints import complaints
from connector.load import in_order
from connector.mapping.place import Places
from connector.resolve import resolved
from connector.sandbox.eventbridge import MAX_BYTES as MAX_ENTRY_BYTES
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.iot_events import MAX_BYTES as MAX_PAYLOAD_BYTES
from connector.sandbox.iot_events import IotEvents
from connector.sandbox.pinpoint import Pinpoint
from connector.sandbox.simulator import Simulator
from connector.settings import Loaded
from connector.targets.settings import Closed, Size
from connector.yaml_source import read

Names = tuple[Annotated[str, StringConstraints(min_length=1)], ...]


class Room(Closed):
    """One simulated service, not made yet."""

    simulator: ClassVar[type[Simulator]]
    faults: tuple[dict[str, Any], ...] = Field(
        (), description="The script of faults, as POST /_sandbox/…/faults has it"
    )

    def made(self, seed: int) -> Simulator:
        """The service, with its script."""
        made = self.simulator(seed=seed, **self.model_dump(exclude={"faults"}))
        made.faults.add(*made.script(self.faults))
        return made

    @model_validator(mode="after")
    def _faults_are_of_this_service(self) -> "Room":
        trial = self.simulator()
        for number, line in enumerate(self.faults):
            try:
                trial.script(line)
            except ValueError as error:
                raise ValueError(f"faults[{number}]: is no fault of {trial.name}: {error}") from None
        return self


class EventBridgeRoom(Room):
    """Buses."""

    simulator: ClassVar[type[Simulator]] = EventBridge
    buses: Names = Field(("default", "orders"), description="The event buses that exist")
    max_bytes: Size = Field(MAX_ENTRY_BYTES, ge=1, description="Bytes of the entries of one call that are taken")


class IotEventsRoom(Room):
    """Inputs."""

    simulator: ClassVar[type[Simulator]] = IotEvents
    inputs: Names = Field(("orders",), description="The inputs that exist")
    max_message_bytes: Size = Field(MAX_PAYLOAD_BYTES, ge=1, description="Payload bytes of a message that are taken")
    max_batch_bytes: Size = Field(MAX_PAYLOAD_BYTES, ge=1, description="Payload bytes of a call that are taken")


class PinpointRoom(Room):
    """Projects."""

    simulator: ClassVar[type[Simulator]] = Pinpoint
    applications: Names = Field(("shop",), description="The projects that exist")


class Rooms(Closed):
    """Every service that the sandbox simulates."""

    eventbridge: EventBridgeRoom = EventBridgeRoom()
    iot_events: IotEventsRoom = IotEventsRoom()
    pinpoint: PinpointRoom = PinpointRoom()

    def made(self, seed: int) -> dict[str, Simulator]:
        """The services by name. The same seed brings the same chance and the same ids."""
        return {name: getattr(self, name).made(seed) for name in type(self).model_fields}


SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "eventbridge": {"type": "eventbridge", "endpoint_url": "{url}", "region": "eu-west-1", "event_bus": "orders"},
    "iot_events": {"type": "iot_events", "endpoint_url": "{url}", "region": "eu-west-1", "input_name": "orders"},
    "pinpoint": {"type": "pinpoint", "endpoint_url": "{url}", "region": "eu-west-1", "application_id": "shop"},
}
"""A target of a config for each service, as it is when nothing was configured."""


@dataclass(frozen=True, slots=True)
class Furnished:
    """What became of a file: `rooms` is None where it has a mistake, which `loaded` tells."""

    rooms: Rooms | None
    loaded: Loaded = field(repr=False)


def furnish(path: Path, environ: Mapping[str, str]) -> Furnished:
    """Read a YAML file of rooms. Never raises for what stands in it."""
    tree, problems, texts = read([path])
    tree = resolved(tree, environ, problems)
    rooms = None
    if not problems:
        try:
            rooms = Rooms.model_validate(tree.plain())
        except ValidationError as error:
            problems.extend(complaints(error, Rooms, tree))
    return Furnished(rooms, Loaded(None, in_order(problems), Places(tree.locate, texts), texts=texts))
