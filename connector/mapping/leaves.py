"""`map`, `when` and `each` compiled, each to one function of a record's names."""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.mapping import operators
from connector.mapping.emit import Emitter, Expression
from connector.mapping.fit import Fitter, Shape
from connector.mapping.kinds import fits, plain, type_of
from connector.mapping.problem import Locate, Names, Path, Problem
from connector.mapping.read import Branch, Constant, Part, Reader, Row, Text, Typed, type_of_part


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
            optional = type_of_part(part).kind == "optional"
            keys.append(None if optional else ast.Constant(key))
            values.append(self.emitter.call(operators.keep, ast.Constant(key), made) if optional else made)
        return ast.Dict(keys, values)

    def _element(self, part: Part) -> ast.expr:
        made = self.part(part)
        if type_of_part(part).kind != "optional":
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
