"""The types of the expression language: what is known of a value before any record was seen."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Type:
    """A type; `of` is what a list or an optional holds, where that is known.

    `dyn` is anything (a JSON value), `number` an int or a double.
    """

    kind: str
    of: "Type | None" = None

    def __str__(self) -> str:
        return WORDS[self.kind]


WORDS: Final = {
    "dyn": "any value",
    "null": "null",
    "bool": "a boolean",
    "int": "an int",
    "double": "a double",
    "number": "a number",
    "string": "a string",
    "bytes": "bytes",
    "timestamp": "a timestamp",
    "duration": "a duration",
    "list": "a list",
    "map": "a map",
    "optional": "an optional",
}

DYN: Final = Type("dyn")
NULL: Final = Type("null")
BOOL: Final = Type("bool")
INT: Final = Type("int")
DOUBLE: Final = Type("double")
NUMBER: Final = Type("number")
STRING: Final = Type("string")
BYTES: Final = Type("bytes")
TIMESTAMP: Final = Type("timestamp")
DURATION: Final = Type("duration")
LIST: Final = Type("list")
MAP: Final = Type("map")

NUMERIC: Final = frozenset({"int", "double", "number"})

_OF_VALUE: Final[dict[type, Type]] = {
    type(None): NULL,
    bool: BOOL,
    int: INT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    datetime: TIMESTAMP,
    timedelta: DURATION,
    list: LIST,
    dict: MAP,
}


def type_of(value: Any) -> Type:
    """The type of a value at hand; what is no JSON value and none of ours is `dyn`."""
    return _OF_VALUE.get(type(value), DYN)


def word(value: Any) -> str:
    """A value's type in words, for messages: never the value."""
    return str(type_of(value)) if type(value) in _OF_VALUE else "an unknown type"


def fits(found: str, wanted: str) -> bool:
    """Whether a value of the kind `found` may turn out to be one of `wanted`."""
    if found == wanted or "dyn" in (found, wanted):
        return True
    return "number" in (found, wanted) and found in NUMERIC and wanted in NUMERIC


def joined(one: Type, other: Type) -> Type:
    """The narrowest type that holds both."""
    if one == other:
        return one
    if "optional" in (one.kind, other.kind):
        return Type("optional", joined(plain(one), plain(other)))
    if one.kind == other.kind:
        return Type(one.kind)
    return NUMBER if one.kind in NUMERIC and other.kind in NUMERIC else DYN


def plain(found: Type) -> Type:
    """What an optional holds; any other type is itself."""
    return (found.of or DYN) if found.kind == "optional" else found
