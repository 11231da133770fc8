"""What an event pattern means, and the words for it: a leaf tests a field, `Under` goes down, `Choice` is `$or`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from connector.mapping.problem import Path

FIELDS: Final = ("topic", "partition", "offset", "timestamp", "headers", "key", "value")
"""The fields of a record, cheapest first: conditions run in this order, so that `value` is looked at last."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One alternative of a leaf: `kind` is an operator's name or `text`, `number`, `literal`. `words` is for people."""

    kind: str
    operand: Any
    words: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """The values one field may have. `absent`: a field that is not there satisfies it (`exists: false`)."""

    key: str
    tests: tuple[Probe, ...]
    absent: bool
    path: Path


@dataclass(frozen=True, slots=True)
class Under:
    """Conditions on the object in a field; in an array, on the same element. One of `branches` must hold."""

    key: str
    branches: "tuple[Conditions, ...]"
    path: Path


@dataclass(frozen=True, slots=True)
class Choice:
    """`$or`: one of `branches` must hold for the object it stands in."""

    branches: "tuple[Conditions, ...]"
    path: Path


Condition: TypeAlias = Leaf | Under | Choice
Conditions: TypeAlias = tuple[Condition, ...]


def holds_for_nothing(conditions: Conditions) -> bool:
    """Whether an object without any field satisfies all conditions. If so, every array element must."""
    return all(
        condition.absent if isinstance(condition, Leaf) else any(map(holds_for_nothing, condition.branches))
        for condition in conditions
    )


class Absent:
    """The value of a field that is not there."""

    __slots__ = ()


ABSENT: Final = Absent()

SIGNS: Final = ("=", "<", "<=", ">", ">=")
"""The signs of `numeric`."""
LONGEST_ADDRESS: Final = 64
"""No text longer than this is an IP address or network."""

SHOWN: Final = 5
WIDTH: Final = 60


def shorten(text: str) -> str:
    """A text fit for one line of a message: not too long, and encodable whatever it holds."""
    short = text if len(text) <= WIDTH else text[:WIDTH] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in short)


def quote(text: str) -> str:
    return f'"{shorten(text)}"'


def show(value: Any) -> str:
    """A scalar of the pattern as it is written in YAML."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print a huge one
    return shorten(str(value)) if isinstance(value, int | float) else "…"


def kind_of(value: Any) -> str:
    match value:
        case Absent():
            return "absent"
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
    return f"a {type(value).__name__}"


def listed(texts: Sequence[str]) -> str:
    return either([show(text) for text in texts])


def either(words: Sequence[str]) -> str:
    return " or ".join(words[:SHOWN]) + and_more(len(words))


def and_more(count: int) -> str:
    return f" or {count - SHOWN} more" if count > SHOWN else ""


def cheapest_first(conditions: Conditions) -> Conditions:
    """The conditions on a record in the order of FIELDS, within each branch of a `$or` too."""
    ordered: list[Condition] = [
        Choice(tuple(map(cheapest_first, each.branches)), each.path) if isinstance(each, Choice) else each
        for each in conditions
    ]
    return tuple(sorted(ordered, key=_cost))


def _cost(condition: Condition) -> int:
    if isinstance(condition, Choice):
        return max((_cost(each) for branch in condition.branches for each in branch), default=0)
    return FIELDS.index(condition.key)
