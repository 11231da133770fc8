"""The `map` tree: literals, expressions and texts in its leaves, held against what the target takes, compiled to one
function. `when` and `each` are single expressions."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from connector.mapping import operators
from connector.mapping.check import TOP, Checker, suggestion
from connector.mapping.emit import Emitter, Expression
from connector.mapping.functions import ENGINE, to_timestamp
from connector.mapping.kinds import LIST, MAP, NUMERIC, STRING, Type, fits, plain, type_of
from connector.mapping.lex import Mistake
from connector.mapping.operators import Fault
from connector.mapping.parse import parse
from connector.mapping.place import Place
from connector.mapping.problem import Locate, Names, Path, Position, Problem, spell

LEAVES: Final = 500
"""Leaves of one map."""
DEPTH: Final = 60
"""Maps and lists of a map tree inside each other."""


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
    def example(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """A leaf without `${}`."""

    value: Any
    path: Path


@dataclass(frozen=True, slots=True)
class Typed:
    """A leaf that is one `${}`: its value keeps its type."""

    expression: Expression
    path: Path


@dataclass(frozen=True, slots=True)
class Text:
    """A leaf of text and `${}`: a string."""

    parts: tuple[str | Expression, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class Branch:
    """A map of the tree."""

    entries: "dict[str, Part]"
    path: Path


@dataclass(frozen=True, slots=True)
class Row:
    """A list of the tree."""

    elements: "list[Part]"
    path: Path


Part: TypeAlias = Constant | Typed | Text | Branch | Row


class Reader:
    """Reads trees and expressions, and reports what is wrong in them: all of it, not the first."""

    def __init__(
        self,
        locate: Locate,
        report: list[Problem],
        variables: Mapping[str, Any],
        each: bool,
        engine: Any = ENGINE,
    ) -> None:
        self.locate = locate
        self.report = report
        self.variables = variables
        self.each = each
        self.engine = engine
        self.failed = False
        self.leaves = 0

    def say(self, code: str, where: Position, path: Path, message: str, mend: str = "") -> None:
        """Report a problem."""
        self.failed = True
        self.report.append(Problem(code, where, spell(path), message, mend))

    def checked(self, text: str, path: Path, start: int, braced: bool) -> tuple[Expression | None, int]:
        """The expression that begins at `start`, and where it ended; None and the text's end where it is wrong."""
        place = Place(text, path, self.locate)

        def say(code: str, at: int, message: str, mend: str) -> None:
            self.say(code, place.at(at), path, message, mend)

        try:
            root, end = parse(text, start, braced)
        except Mistake as mistake:
            say(mistake.code, mistake.at, mistake.message, _yaml_trap(text, mistake))
            return None, len(text)
        before = len(self.report)
        checker = Checker(text, say, variables=self.variables, each=self.each, engine=self.engine)
        checker.visit(root, TOP)
        good = len(self.report) == before
        return Expression(root, text, place, checker.maps) if good else None, end

    def single(self, text: Any, path: Path, word: str) -> Expression | None:
        """The expression of `when` or `each`, bare or as one `${}`."""
        if not isinstance(text, str):
            found = type_of(text)
            self.say("MAP008", self.locate(path), path, f"{word} is an expression in text, not {found}", "quote it")
            return None
        stripped = text.strip()
        if stripped.startswith("${") and stripped.endswith("}"):
            found_expression, end = self.checked(text, path, text.index("${") + 2, braced=True)
            if found_expression is not None and text[end + 1 :].strip():
                where = Place(text, path, self.locate).at(end + 1)
                self.say("CEL006", where, path, "the expression has ended before this", f"{word} is one expression")
                return None
            return found_expression
        return self.checked(text, path, 0, braced=False)[0]

    def part(self, tree: Any, path: Path, depth: int = 0) -> Part:
        """A node of the map tree with its leaves parsed and checked."""
        if depth > DEPTH:
            self.say("MAP004", self.locate(path), path, f"the map nests deeper than {DEPTH}", "make it flatter")
            return Constant(None, path)
        if isinstance(tree, Mapping):
            return self._branch(tree, path, depth)
        if isinstance(tree, list | tuple):
            return Row([self.part(each, (*path, number), depth + 1) for number, each in enumerate(tree)], path)
        self.leaves += 1
        if self.leaves == LEAVES + 1:
            self.say("MAP004", self.locate(path), path, f"the map has more than {LEAVES} leaves", "map fewer fields")
        if isinstance(tree, str):
            return self._text(str(tree), path)
        for kind in (bool, int, float):
            if isinstance(tree, kind):
                return Constant(kind(tree), path)
        if tree is not None:
            self.say(
                "MAP009", self.locate(path), path, "this YAML value is neither text, number nor boolean", "quote it"
            )
        return Constant(None, path)

    def _branch(self, tree: Mapping[Any, Any], path: Path, depth: int) -> Branch:
        entries: dict[str, Part] = {}
        for key, value in tree.items():
            below = (*path, key if isinstance(key, str | int) else str(key))
            if not isinstance(key, str):
                self.say("MAP008", self.locate(below), below, "the key of a map is text", "quote the key")
            elif "${" in key:
                self.say(
                    "MAP003",
                    self.locate(below),
                    below,
                    "YAML has read an expression as a key: `: ` inside `${}`, or `{}` around it, makes a map",
                    "quote the leaf: '${…}'",
                )
            else:
                entries[str(key)] = self.part(value, below, depth + 1)
        return Branch(entries, path)

    def _text(self, text: str, path: Path) -> Part:
        parts: list[str | Expression] = []
        literal, at, failed = "", 0, False
        while True:
            found = text.find("${", at)
            if found < 0:
                literal += text[at:]
                break
            if found > at and text[found - 1] == "$":
                literal += text[at : found - 1] + "${"
                at = found + 2
                continue
            literal += text[at:found]
            expression, end = self.checked(text, path, found + 2, braced=True)
            if literal:
                parts.append(literal)
                literal = ""
            at = end + 1
            if expression is None:
                failed = True
            else:
                parts.append(expression)
        if literal:
            parts.append(literal)
        if failed:
            return Typed(_ANYTHING, path)
        if len(parts) == 1 and isinstance(parts[0], Expression):
            return Typed(parts[0], path)
        if all(isinstance(part, str) for part in parts):
            return Constant("".join(part for part in parts if isinstance(part, str)), path)
        self._printable(parts, path)
        return Text(tuple(parts), path)

    def _printable(self, parts: Sequence[str | Expression], path: Path) -> None:
        for part in parts:
            if isinstance(part, str):
                continue
            kind, where = part.root.type.kind, part.place.at(part.root.at)
            if kind == "optional":
                self.say("CEL024", where, path, "an optional cannot stand in text", "say what stands in: .orValue(…)")
            elif kind in ("null", "list", "map"):
                mend = "" if kind == "null" else "json.encode(…) makes text of it"
                self.say("MAP006", where, path, f"{part.root.type} has no text", mend)


_ANYTHING: Final = Expression(parse("dyn(null)")[0], "", Place("", (), lambda path: Position("", 1, 1)))
"""Stands for an expression that is already reported: it fits everywhere."""


def _yaml_trap(text: str, mistake: Mistake) -> str:
    if mistake.code == "MAP002" and "\n" not in text:
        return f"{mistake.mend}; quote the leaf if it holds ` #`, `: `, a comma or a bracket: YAML ends it there"
    return mistake.mend


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
        if isinstance(part, Typed) and part.expression is _ANYTHING:
            return
        found = _type(part)
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
        if shape.kind == "json" or (shape.kind == "object" and shape.fields is None):
            self.json(part)
        if isinstance(part, Row):
            for number, each in enumerate(part.elements):
                if shape.kind == "list":
                    self.part(each, _ELEMENT, f"{key}[{number}]")
        elif isinstance(part, Branch) and shape.fields is not None:
            self.fields(part, shape.fields)

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
        if shape.max_length is not None:
            self._length(part, shape.max_length, key, len(part.value))
        if shape.kind == "time":
            try:
                to_timestamp(part.value)
            except (Fault, ValueError, OverflowError):
                where = self.reader.locate(part.path)
                mend = "write 2026-01-31T12:00:00Z, or ${millis(timestamp)}"
                self.reader.say("MAP014", where, part.path, f"`{key}` takes RFC 3339 text, and this is none", mend)

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
        case "list":
            return "write a list: [ … ]"
        case "json" if found.kind in ("bytes", "duration"):
            return "base64.encode(…) or string(…) makes text of it"
        case "boolean" if literal:
            return "write true or false, without quotes"
    return f"for example {shape.example}" if shape.example else ""


def _type(part: Part) -> Type:
    match part:
        case Constant():
            return type_of(part.value)
        case Typed():
            return part.expression.root.type
        case Text():
            return STRING
        case Branch():
            return MAP
        case Row():
            return LIST


class Builder:
    """Turns a read tree into one function."""

    def __init__(self) -> None:
        self.emitter = Emitter()

    def part(self, part: Part) -> ast.expr:
        """The Python of one node of the tree."""
        match part:
            case Constant():
                return self.emitter.constant(part.value)
            case Typed():
                return self.emitter.expression(part.expression)
            case Text():
                return ast.JoinedStr([self._piece(each) for each in part.parts])
            case Branch():
                return self._branch(part)
            case Row():
                return ast.List([self._element(each) for each in part.elements], ast.Load())

    def _piece(self, piece: str | Expression) -> ast.expr:
        if isinstance(piece, str):
            return ast.Constant(piece)
        made = self.emitter.expression(piece)
        if piece.root.type.kind not in ("string", "int"):
            made = self.emitter.placed(self.emitter.call(operators.text, made), piece.root)
        return ast.FormattedValue(made, -1, None)

    def _branch(self, branch: Branch) -> ast.Dict:
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for key, part in branch.entries.items():
            made = self.part(part)
            optional = _type(part).kind == "optional"
            keys.append(None if optional else ast.Constant(key))
            values.append(self.emitter.call(operators.keep, ast.Constant(key), made) if optional else made)
        return ast.Dict(keys, values)

    def _element(self, part: Part) -> ast.expr:
        made = self.part(part)
        if _type(part).kind != "optional":
            return made
        return ast.Starred(self.emitter.call(operators.keep_item, made), ast.Load())


def compile_map(
    tree: Any,
    path: Path,
    locate: Locate,
    report: list[Problem],
    variables: Mapping[str, Any],
    schema: Mapping[str, Shape] | None = None,
    *,
    each: bool = False,
) -> Callable[[Names], dict[str, Any]] | None:
    """Compile a `map` tree into one function of a record's names. None where something was reported.

    `schema` is what the target takes under each key; `each` says whether the route has `item` and `index`. Times come
    out as aware `datetime` in UTC, bytes as bytes. The function raises MappingFailed and nothing else.
    """
    reader = Reader(locate, report, variables, each)
    if not isinstance(tree, Mapping):
        mend = "name the target's parameters: a map of keys"
        reader.say("MAP001", locate(path), path, f"map is a map of keys, not {type_of(tree)}", mend)
        return None
    read = reader.part(tree, path)
    fitter = Fitter(reader)
    if isinstance(read, Branch) and schema is not None:
        fitter.fields(read, schema)
    if reader.failed:
        return None
    builder = Builder()
    return builder.emitter.function(builder.part(read), locate(path).file)


def compile_condition(
    text: Any, path: Path, locate: Locate, report: list[Problem], variables: Mapping[str, Any]
) -> Callable[[Names], bool] | None:
    """Compile `when`, one boolean. None where something was reported."""
    reader = Reader(locate, report, variables, each=False)
    expression = reader.single(text, path, "when")
    if expression is None:
        return None
    found, root = expression.root.type, expression.root
    if not fits(found.kind, "bool"):
        mend = "say what stands in for it: .orValue(false)" if found.kind == "optional" else "compare it with something"
        reader.say("CEL022", expression.place.at(root.at), path, f"when needs a boolean, and this is {found}", mend)
        return None
    emitter = Emitter()
    made = emitter.expression(expression)
    if found.kind != "bool":
        made = emitter.placed(emitter.call(operators.truth, made), root)
    return emitter.function(made, locate(path).file)


def compile_each(
    text: Any, path: Path, locate: Locate, report: list[Problem], variables: Mapping[str, Any]
) -> Callable[[Names], Sequence[Any]] | None:
    """Compile `each`, one list; an absent optional is an empty one. None where something was reported."""
    reader = Reader(locate, report, variables, each=False)
    expression = reader.single(text, path, "each")
    if expression is None:
        return None
    found, root = plain(expression.root.type), expression.root
    if not fits(found.kind, "list"):
        mend = "go through the keys: map.map(k, k)" if found.kind == "map" else "name a list of the record"
        reader.say("CEL023", expression.place.at(root.at), path, f"each needs a list, and this is {found}", mend)
        return None
    emitter = Emitter()
    made = emitter.expression(expression)
    if expression.root.type.kind == "optional":
        made = emitter.call(operators.or_value, made, ast.List([], ast.Load()))
    return emitter.function(emitter.placed(emitter.call(operators.listed, made), root), locate(path).file)
