"""What both mapping languages say and see: where something is wrong, how to mend it, and the names of one record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias


class Position(NamedTuple):
    """A place in a config file. Line and column count from 1; the column counts characters, not bytes."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One mistake in a config, said to the person who must mend it.

    `code` is stable (`connector explain CODE` says more), `path` is the dotted way to the YAML node, `message` says
    what is wrong and why, `mend` what to write instead. A warning does not stop the start.
    """

    code: str
    where: Position
    path: str
    message: str
    mend: str = ""
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.where}: {self.code} {self.message}" + (f" ({self.mend})" if self.mend else "")


Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the root of the config to a node, such as `("routes", 2, "map", "Detail")`."""

Locate: TypeAlias = Callable[[Path], Position]
"""Finds the YAML value at a path. A path that does not exist gives the nearest node above it, never an error."""


def spell(path: Path) -> str:
    """A path as a person writes it: `routes[2].map.Detail`. What UTF-8 cannot carry is escaped."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(slots=True)
class Names:
    """What patterns and expressions see of one record.

    `timestamp` is epoch milliseconds. `headers` holds the last header of each name. `key` and `value` are decoded (JSON
    values, text, or None for a null). `item` and `index` are set only where a route has `each`. The config's `vars` are
    not here: they are constants, given at compile time.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: Any
    headers: Mapping[str, str | None]
    value: Any
    item: Any = None
    index: int = 0


class MappingFailed(Exception):
    """One record could not be mapped: a missing field, a wrong type.

    `where` is the expression in the config, `code` a stable word for the cause. `reason` never contains a value of the
    record, because it ends in logs and headers.
    """

    def __init__(self, where: Position, reason: str, code: str) -> None:
        super().__init__(f"{where}: {code} {reason}")
        self.where = where
        self.reason = reason
        self.code = code
