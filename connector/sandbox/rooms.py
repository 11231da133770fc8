"""What `connector sandbox` reads: which buses, inputs and projects there are, and what goes wrong in which service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from connector.loading.complaints import complaints
from connector.loading.load import in_order
from connector.loading.resolve import resolved
from connector.loading.yaml_source import read
from connector.mapping.place import Places
from connector.sandbox.eventbridge import MAX_BYTES as MAX_ENTRY_BYTES
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.fiddler import Column, Fiddler, Model
from connector.sandbox.iot_events import MAX_BYTES as MAX_PAYLOAD_BYTES
from connector.sandbox.iot_events import IotEvents
from connector.sandbox.pinpoint import Pinpoint
from connector.sandbox.simulator import Simulator
from connector.settings import Loaded
from connector.targets.settings import Closed, Duration, Size

Name = Annotated[str, StringConstraints(min_length=1)]
Names = tuple[Name, ...]
ColumnType = Literal["int", "float", "bool", "str", "category", "timestamp", "vector"]

FRAUD: Final = Model(
    name="fraud",
    columns=(
        Column("event_id", "str"),
        Column("timestamp", "timestamp"),
        Column("total", "float"),
        Column("lines", "int"),
        Column("channel", "category", ("web", "app", "store")),
        Column("country", "str"),
        Column("risk", "float", low=0),
        Column("fraudulent", "bool"),
        Column("record", "str"),
    ),
    inputs=("total", "lines", "channel", "country"),
    outputs=("risk",),
    targets=("fraudulent",),
    decisions=(),
    metadata=("record",),
)
"""The model of `config/everything.yaml`."""

MODELS: Final = (Model(), FRAUD)


class Room(Closed):
    """One simulated service, not made yet."""

    simulator: ClassVar[type[Simulator]]
    faults: tuple[dict[str, Any], ...] = Field(
        (), description="The script of faults, as POST /_sandbox/…/faults has it"
    )

    def made(self, seed: int) -> Simulator:
        """The service, with its script."""
        made = self.simulator(seed=seed, **self.arguments())
        made.faults.add(*made.script(self.faults))
        return made

    def arguments(self) -> dict[str, Any]:
        """What the service is made with."""
        return self.model_dump(exclude={"faults"})

    @model_validator(mode="after")
    def _faults_are_of_this_service(self) -> "Room":
        for number, line in enumerate(self.faults):
            try:
                self.simulator.script(line)
            except ValueError as error:
                name = self.simulator.name
                raise ValueError(f"faults[{number}]: is no fault of {name}: {error}") from None
        return self


class EventBridgeRoom(Room):
    """Buses."""

    simulator: ClassVar[type[Simulator]] = EventBridge
    buses: Names = Field(("default", "orders"), description="The event buses that exist")
    max_bytes: Size = Field(MAX_ENTRY_BYTES, ge=1, description="Bytes of the entries of one call that are taken")


class IotEventsRoom(Room):
    """Inputs."""

    simulator: ClassVar[type[Simulator]] = IotEvents
    inputs: Names = Field(("orders", "stock"), description="The inputs that exist")
    max_message_bytes: Size = Field(MAX_PAYLOAD_BYTES, ge=1, description="Payload bytes of a message that are taken")
    max_batch_bytes: Size = Field(MAX_PAYLOAD_BYTES, ge=1, description="Payload bytes of a call that are taken")


class PinpointRoom(Room):
    """Projects."""

    simulator: ClassVar[type[Simulator]] = Pinpoint
    applications: Names = Field(("shop",), description="The projects that exist")


class ModelRoom(Closed):
    """A model of Fiddler, as its API describes one."""

    project: Name = Field(description="The project it is in")
    name: Name = Field(description="Its name")
    version: Name = Field("v1", description="Its version; several of one name are several models, the oldest first")
    columns: dict[Name, ColumnType] = Field(description="The data type of each column")
    categories: dict[Name, tuple[str, ...]] = Field(default={}, description="The values of columns of type category")
    inputs: Names = Field((), description="Columns that an update cannot change")
    outputs: Names = Field((), description="Columns of the prediction, which an update cannot change either")
    decisions: Names = Field((), description="Columns of the decision, likewise")
    targets: Names = Field((), description="Columns of the label")
    metadata: Names = Field((), description="Other columns")
    event_id_col: Name | None = Field(None, description="The column that holds an event's id")
    event_ts_col: Name | None = Field(None, description="The column that holds an event's time")
    event_ts_format: Name | None = Field(None, description="How that time is written; RFC 3339 by default")
    group_by: Name | None = Field(None, description="The column that groups rows (ranking models)")

    @property
    def made(self) -> Model:
        """The model."""
        columns = tuple(Column(name, type, self.categories.get(name)) for name, type in self.columns.items())
        same = ("project", "name", "version", "inputs", "outputs", "decisions", "targets", "metadata", "group_by")
        return Model(
            columns=columns,
            id_column=self.event_id_col,
            time_column=self.event_ts_col,
            time_format=self.event_ts_format,
            **{key: getattr(self, key) for key in same},
        )


class FiddlerRoom(Room):
    """Models."""

    simulator: ClassVar[type[Simulator]] = Fiddler
    models: tuple[ModelRoom, ...] | None = Field(
        None, description="The models that exist; version v1 of shop/churn and of shop/fraud by default"
    )
    token: Name | None = Field(None, description="The only token that is taken; any by default")
    organization: Name = Field("acme", description="The organization of the token, which API v2 asks for")
    strict: bool = Field(False, description="Whether a row that does not fit its model fails the whole request")
    visible_after: Duration = Field(0.0, ge=0, description="How long until an update finds an event")

    def arguments(self) -> dict[str, Any]:
        models = MODELS if self.models is None else tuple(model.made for model in self.models)
        return {**self.model_dump(exclude={"faults", "models"}), "models": models}


class Rooms(Closed):
    """Every service that the sandbox simulates."""

    eventbridge: EventBridgeRoom = EventBridgeRoom()
    iot_events: IotEventsRoom = IotEventsRoom()
    pinpoint: PinpointRoom = PinpointRoom()
    fiddler: FiddlerRoom = FiddlerRoom()

    def made(self, seed: int) -> dict[str, Simulator]:
        """The services by name. The same seed brings the same chance and the same ids."""
        return {name: getattr(self, name).made(seed) for name in type(self).model_fields}


SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "eventbridge": {"type": "eventbridge", "endpoint_url": "{url}", "region": "eu-west-1", "event_bus": "orders"},
    "iot_events": {"type": "iot_events", "endpoint_url": "{url}", "region": "eu-west-1", "input_name": "orders"},
    "pinpoint": {"type": "pinpoint", "endpoint_url": "{url}", "region": "eu-west-1", "application_id": "shop"},
    "fiddler": {
        "type": "fiddler",
        "url": "{url}",
        "token": "any",
        "project_name": "shop",
        "model_name": "churn",
        "model_version": "v1",
    },
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
