"""The `map` tree as it stands in the config: literals, expressions, and texts that hold expressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from connector.mapping.check import TOP, Checker
from connector.mapping.emit import Expression
from connector.mapping.functions import ENGINE
from connector.mapping.kinds import LIST, MAP, STRING, Type, type_of
from connector.mapping.lex import Mistake
from connector.mapping.parse import parse
from connector.mapping.place import Place
from connector.mapping.problem import Locate, Path, Position, Problem, spell

LEAVES: Final = 500
"""Leaves of one map."""
DEPTH: Final = 60
"""Maps and lists of a map tree inside each other."""


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


def type_of_part(part: Part) -> Type:
    """What is known of a part's value at load."""
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

    def _branch(self, tree: Mapping[Any, Any], path: Path, depth: int) -> Part:
        entries: dict[str, Part] = {}
        meant = True
        for key, value in tree.items():
            below = (*path, key if isinstance(key, str | int) else str(key))
            if not isinstance(key, str):
                self.say("MAP008", self.locate(below), below, "the key of a map is text", "quote the key")
            elif "${" in key:
                meant = False
                self.say(
                    "MAP003",
                    self.locate(below),
                    below,
                    "YAML has read an expression as a key: `: ` inside `${}`, or `{}` around it, makes a map",
                    "quote the leaf: '${…}'",
                )
            else:
                entries[str(key)] = self.part(value, below, depth + 1)
        # A map that YAML made of an expression is not held against the target: nobody meant it.
        return Branch(entries, path) if meant else Typed(ANYTHING, path)

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
            return Typed(ANYTHING, path)
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


ANYTHING: Final = Expression(parse("dyn(null)")[0], "", Place("", (), lambda path: Position("", 1, 1)))
"""Stands for an expression that is already reported: it fits everywhere."""


def _yaml_trap(text: str, mistake: Mistake) -> str:
    if mistake.code == "MAP002" and "\n" not in text:
        return f"{mistake.mend}; quote the leaf if it holds ` #`, `: `, a comma or a bracket: YAML ends it there"
    return mistake.mend
