"""A target is a service that takes events: one file here, one line in REGISTRY, one YAML example in config/."""

from collections.abc import Mapping
from typing import Final

from connector.targets import eventbridge, stdout
from connector.targets.contract import Kind

REGISTRY: Final[Mapping[str, Kind]] = {
    "eventbridge": eventbridge.KIND,
    "stdout": stdout.KIND,
}
