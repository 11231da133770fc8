"""A target is a service that takes events: one file here, one line in REGISTRY, one YAML example in config/."""

from collections.abc import Mapping
from typing import Final

from connector.targets import eventbridge, fiddler, iot_events, pinpoint, stdout
from connector.targets.contract import Kind

REGISTRY: Final[Mapping[str, Kind]] = {
    "eventbridge": eventbridge.KIND,
    "fiddler": fiddler.KIND,
    "iot_events": iot_events.KIND,
    "pinpoint": pinpoint.KIND,
    "stdout": stdout.KIND,
}
