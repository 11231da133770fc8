"""A `map` tree held against what the target takes: its keys, their types, the length of literals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from connector.mapping.check import suggestion
from connector.mapping.kinds import NUMERIC, Type, fits, plain
from connector.mapping.operators import Fault
from connector.mapping.problem import Position
from connector.mapping.read import ANYTHING, Branch, Constant, Part, Reader, Row, Text, Typed, type_of_part
from connector.mapping.times import to_timestamp


class Shape(Protocol):
    """What a target takes under one key; `connector.targets.contract.Leaf` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def fields(self) -> "Mapping[str, Shape] | None": ...
    @property
    def values(self) -> "Shape | None": ...
    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def pattern(self) -> str: ...
    @property
    def example(self) -> str: ...


class Fitter:
    """Holds a tree against what the target takes."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def fields(self, branch: Branch, shapes: Mapping[str, Shape]) -> None:
        """The keys of a map: unknown and missing ones, and each value."""
        say, locate = self.reader.say, self.reader.locate
        for key, part in branch.entries.items():
            if key in shapes:
                self.part(part, shapes[key], key)
                continue
            mend = suggestion(key, list(shapes)) or f"the target takes {', '.join(shapes)}"
            say("MAP010", locate(part.path), part.path, f"the target takes no `{key}`", mend)
        for key, shape in shapes.items():
            if shape.required and key not in branch.entries:
                mend = f"{key}: {shape.example}" if shape.example else ""
                say("MAP011", locate(branch.path), branch.path, f"`{key}` is missing, and the target needs it", mend)

    def part(self, part: Part, shape: Shape, key: str) -> None:
        """One value."""
        if isinstance(part, Typed) and part.expression is ANYTHING:
            return
        found = type_of_part(part)
        where = self._where(part)
        if found.kind == "optional" and shape.required:
            mend = "say what stands in for it: .orValue(…)"
            self.reader.say("MAP015", where, part.path, f"`{key}` is needed, and this may be absent", mend)
        found = plain(found)
        if not _takes(shape.kind, found.kind):
            self.reader.say(
                "MAP012",
                where,
                part.path,
                f"`{key}` takes {_SHAPES[shape.kind]}, not {found}",
                _mend(shape, part, found),
            )
            return
        if isinstance(part, Constant) and isinstance(part.value, str):
            self._literal(part, shape, key)
        elif isinstance(part, Text) and shape.max_length is not None:
            self._length(part, shape.max_length, key, sum(len(each) for each in part.parts if isinstance(each, str)))
        if shape.kind == "list" and found.of is not None and not fits(found.of.kind, "string"):
            self.reader.say("MAP012", where, part.path, f"`{key}` takes strings, not {found.of.kind}s", "string(…)")
        if isinstance(part, Row) and shape.kind == "list":
            for number, each in enumerate(part.elements):
                self.part(each, _ELEMENT, f"{key}[{number}]")
        elif isinstance(part, Branch) and shape.fields is not None:
            self.fields(part, shape.fields)
        elif isinstance(part, Branch) and shape.values is not None:
            for name, each in part.entries.items():
                self.part(each, shape.values, f"{key}.{name}")
        elif shape.kind in ("json", "object") or isinstance(part, Branch):
            self.json(part)

    def json(self, part: Part) -> None:
        """A value that ends in JSON: bytes and durations have no one form there."""
        if isinstance(part, Branch):
            for each in part.entries.values():
                self.json(each)
        elif isinstance(part, Row):
            for each in part.elements:
                self.json(each)
        elif isinstance(part, Typed) and (kind := plain(part.expression.root.type).kind) in ("bytes", "duration"):
            mend = "base64.encode(…) or string(…)" if kind == "bytes" else "string(…) gives seconds: 90s"
            found = plain(part.expression.root.type)
            self.reader.say("MAP012", self._where(part), part.path, f"{found} has no JSON form", mend)

    def _where(self, part: Part) -> Position:
        if isinstance(part, Typed):
            return part.expression.place.at(part.expression.root.start)
        return self.reader.locate(part.path)

    def _literal(self, part: Constant, shape: Shape, key: str) -> None:
        text, say = part.value, self.reader.say
        where = self.reader.locate(part.path)
        if shape.max_length is not None:
            self._length(part, shape.max_length, key, len(text))
        if shape.choices and text not in shape.choices:
            close = suggestion(text, list(shape.choices))
            mend = f"{close} one of {', '.join(shape.choices)}".lstrip()
            say("MAP016", where, part.path, f"`{key}` does not take this text", mend)
        elif shape.pattern and not re.fullmatch(shape.pattern, text, re.DOTALL):
            mend = f"for example {shape.example}" if shape.example else f"write it in the form {shape.pattern}"
            say("MAP016", where, part.path, f"`{key}` does not take this text", mend)
        if shape.kind == "time":
            try:
                to_timestamp(text)
            except (Fault, ValueError, OverflowError):
                mend = "write 2026-01-31T12:00:00Z, or ${millis(timestamp)}"
                say("MAP014", where, part.path, f"`{key}` takes RFC 3339 text, and this is none", mend)

    def _length(self, part: Part, most: int, key: str, length: int) -> None:
        if length > most:
            where = self.reader.locate(part.path)
            self.reader.say("MAP013", where, part.path, f"`{key}` takes {most} characters, not {length}", "shorten it")


@dataclass(frozen=True, slots=True)
class _Strings:
    """The shape of an element of a list of strings."""

    kind: str = "string"
    required: bool = False
    max_length: int | None = None
    fields: Mapping[str, Shape] | None = None
    values: Shape | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    example: str = ""


_ELEMENT: Final = _Strings()
_SHAPES: Final = {
    "string": "a string",
    "integer": "an int",
    "number": "a number",
    "boolean": "a boolean",
    "time": "a timestamp or RFC 3339 text",
    "list": "a list of strings",
    "json": "JSON",
    "document": "a JSON object",
    "object": "a map",
}
_KINDS: Final[dict[str, frozenset[str]]] = {
    "string": frozenset({"string"}),
    "integer": frozenset({"int", "number"}),
    "number": NUMERIC,
    "boolean": frozenset({"bool"}),
    "time": frozenset({"timestamp", "string"}),
    "list": frozenset({"list"}),
    "json": frozenset({"null", "bool", "int", "double", "number", "string", "timestamp", "list", "map"}),
    "document": frozenset({"map", "string", "bytes"}),
    "object": frozenset({"map"}),
}


def _takes(shape: str, kind: str) -> bool:
    return kind == "dyn" or kind in _KINDS[shape]


def _mend(shape: Shape, part: Part, found: Type) -> str:
    literal = isinstance(part, Constant)
    match shape.kind:
        case "string" | "list" if found.kind == "null":
            return "leave the key out"
        case "string" if literal:
            return "quote it"
        case "string":
            return "json.encode(…) makes text of it" if found.kind in ("list", "map") else "string(…) makes text of it"
        case "time" if found.kind in NUMERIC:
            return "millis(…) makes a timestamp of epoch milliseconds"
        case "integer" | "number" if found.kind == "string":
            return "leave the quotes out" if literal else "int(…) or double(…) makes a number of it"
        case "integer" if found.kind == "double":
            return "int(…) cuts it"
        case "integer" | "number" if found.kind == "timestamp":
            return "epochMillis(…) makes epoch milliseconds of it"
        case "list":
            return "write a list: [ … ]"
        case "json" if found.kind in ("bytes", "duration"):
            return "base64.encode(…) or string(…) makes text of it"
        case "boolean" if literal:
            return "write true or false, without quotes"
        case "document":
            return "put it under a name: {name: …}"
        case "object" if not shape.example:
            return "write a map of keys: {name: …}"
    return f"for example {shape.example}" if shape.example else ""
