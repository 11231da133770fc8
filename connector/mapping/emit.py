"""A checked tree into Python: `ast` nodes, never source text, compiled into one function with a closed set of names.

Each node carries the line and column of the YAML it came from, so that a failure at run time is found by the
traceback's own fine-grained positions, which cost nothing while all goes well.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import CodeType, FunctionType
from typing import Any, Final

from connector.mapping import operators
from connector.mapping.blame import Sources, guarded
from connector.mapping.check import NAMES
from connector.mapping.kinds import NUMERIC
from connector.mapping.library import FUNCTIONS
from connector.mapping.operators import ABSENT
from connector.mapping.place import Place
from connector.mapping.problem import Names
from connector.mapping.tree import (
    Binary,
    Call,
    Choice,
    Fields,
    Has,
    Ident,
    Index,
    Items,
    Literal,
    Logic,
    Macro,
    Node,
    Select,
    Unary,
)

_ARITHMETIC: Final = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.modulo,
}
_COMPARISON: Final[dict[str, tuple[type[ast.cmpop], Callable[[Any, Any], bool]]]] = {
    "==": (ast.Eq, operators.equal),
    "!=": (ast.NotEq, operators.differ),
    "<": (ast.Lt, operators.less),
    "<=": (ast.LtE, operators.less_equal),
    ">": (ast.Gt, operators.greater),
    ">=": (ast.GtE, operators.greater_equal),
}
_SAFE_EQUAL: Final = frozenset({"string", "bytes", "timestamp", "duration"})
_ORDERED: Final = frozenset({"string", "bytes", "timestamp", "duration", "bool"})
_SMALL: Final = frozenset({"int", "double", "number", "bool", "null", "timestamp", "duration"})


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression, the text it stands in, and where that text is."""

    root: Node
    text: str
    place: Place
    maps: int = 0


class Emitter:
    """Collects what one function needs while its parts become `ast` nodes.

    `names` are the record's names it reads, `given` the functions and constants it may call, `sources` what stands at
    each place, to say what failed there.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.given: dict[str, Any] = {}
        self.sources: Sources = {}
        self.loops = 0
        self.pays = False
        self.constants = 0
        self.text = ""
        self.place: Place | None = None
        self.weighs = False

    def expression(self, expression: Expression) -> ast.expr:
        """The Python of a whole expression."""
        self.text, self.place = expression.text, expression.place
        self.weighs = expression.maps > 2
        made = self.emit(expression.root)
        return self.call(operators.weighed, made) if self.weighs else made

    def emit(self, node: Node) -> ast.expr:
        """The Python of one node, with its place in the YAML."""
        made = self.constant(node.constant) if node.known else self._emit(node)
        return made if hasattr(made, "lineno") else self.placed(made, node)

    def placed(self, made: ast.expr, node: Node) -> ast.expr:
        if self.place is not None:
            where = self.place.at(node.at)
            column = where.column - 1
            made.lineno = made.end_lineno = where.line
            made.col_offset, made.end_col_offset = column, column + max(1, node.end - node.at)
            self.sources.setdefault((where.line, column), (node, self.text, where))
            if not isinstance(node, Literal | Ident):
                self.sources[where.line, column] = (node, self.text, where)
        return made

    def name(self, name: str, value: Any) -> ast.expr:
        """A name of the closed list that the function is given."""
        self.given[name] = value
        return ast.Name(name, ast.Load())

    def call(self, function: Callable[..., Any], *args: ast.expr) -> ast.expr:
        """A call of one of our operators."""
        return ast.Call(self.name(f"f_{function.__name__.strip('_')}", function), list(args), [])

    def constant(self, value: Any) -> ast.expr:
        """A value known at load: strings and numbers become constants, never code."""
        if value is ABSENT:
            return self.name("f_absent", ABSENT)
        if isinstance(value, dict):
            return ast.Dict([ast.Constant(str(key)) for key in value], [self.constant(each) for each in value.values()])
        if isinstance(value, list | tuple):
            return ast.List([self.constant(each) for each in value], ast.Load())
        if value is None or type(value) in (bool, int, float, str, bytes):
            return ast.Constant(value)
        if type(value) not in (datetime, timedelta):
            raise TypeError(type(value).__name__)
        return self.given_constant(value)

    def given_constant(self, value: Any) -> ast.expr:
        self.constants += 1
        return self.name(f"k{self.constants}", value)

    def _emit(self, node: Node) -> ast.expr:
        match node:
            case Ident():
                if node.slot in NAMES or node.slot in ("item", "index"):
                    self.names.add(node.slot)
                return ast.Name(node.slot, ast.Load())
            case Select():
                return self._select(node)
            case Index():
                return self._index(node)
            case Has():
                return self.call(operators.has, self.emit(node.operand), ast.Constant(node.field))
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary():
                if node.operator == "!":
                    return ast.UnaryOp(ast.Not(), self.boolean(node.operand))
                return self.call(operators.negate, self.emit(node.operand))
            case Binary():
                return self._binary(node)
            case Logic():
                sign = ast.And() if node.operator == "&&" else ast.Or()
                return ast.BoolOp(sign, [self.boolean(each) for each in node.operands])
            case Choice():
                return ast.IfExp(self.boolean(node.condition), self.emit(node.yes), self.emit(node.no))
            case Items():
                return ast.List(
                    [
                        ast.Starred(self.call(operators.keep_item, self.emit(each)), ast.Load())
                        if optional
                        else self.emit(each)
                        for each, optional in node.elements
                    ],
                    ast.Load(),
                )
            case Fields():
                return self._fields(node)
        raise TypeError(type(node).__name__)

    def boolean(self, node: Node) -> ast.expr:
        """A node whose value must be a boolean: checked at run time where it is not known."""
        made = self.emit(node)
        return made if node.type.kind == "bool" else self.placed(self.call(operators.truth, made), node)

    def _select(self, node: Select) -> ast.expr:
        operand = self.emit(node.operand)
        if node.optional or node.operand.type.kind == "optional":
            return self.call(operators.optional_field, operand, ast.Constant(node.field))
        return ast.Subscript(operand, ast.Constant(node.field), ast.Load())

    def _index(self, node: Index) -> ast.expr:
        operand, key = self.emit(node.operand), self.emit(node.key)
        if node.optional or node.operand.type.kind == "optional":
            return self.call(operators.optional_at, operand, key)
        if node.key.known and type(node.key.constant) is str:
            return ast.Subscript(operand, key, ast.Load())
        return self.call(operators.at, operand, key)

    def _call(self, node: Call) -> ast.expr:
        if node.resolved in ("orValue", "or"):
            return self._or(node)
        function = FUNCTIONS[node.resolved]
        args = [self.emit(each) for each in node.spread]
        if node.prepared is not None and function.prepares:
            args[function.prepares[0]] = self.given_constant(node.prepared)
        if self.weighs and function.costs == "depth":
            args = [self.call(operators.weighed, each) for each in args]
        called = self.name(f"f_{node.resolved.replace('.', '_')}", function.run)
        large = any(each.type.kind not in _SMALL for each in node.spread)
        if self.loops and function.costs and large:
            return self._paid(called, args, deep=function.costs == "depth")
        return ast.Call(called, args, [])

    def _paid(self, called: ast.expr, args: list[ast.expr], deep: bool) -> ast.expr:
        self.pays = True
        payer = operators.paid_deep if deep else operators.paid
        return self.call(payer, ast.Name("purse", ast.Load()), called, *args)

    def _or(self, node: Call) -> ast.expr:
        optional, default = node.spread
        if default.known and isinstance(optional, Select) and optional.optional and not optional.known:
            operand = optional.operand
            made = (self.emit(operand), ast.Constant(optional.field), self.emit(default))
            return self.placed(self.call(operators.field_or, *made), optional)
        if default.known or isinstance(default, Ident):
            return self.call(operators.or_value, self.emit(optional), self.emit(default))
        first = self.emit(optional)
        later = ast.Lambda(
            ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]), self.emit(default)
        )
        return self.call(operators.or_else, first, later)

    def _macro(self, node: Macro) -> ast.expr:
        target = self.emit(node.target)
        if self.loops:
            self.pays = True
            target = self.call(operators.inner_elements, ast.Name("purse", ast.Load()), target)
        else:
            target = self.call(operators.elements, target)
        self.placed(target, node)
        self.loops += 1
        variable = ast.Name(node.slot, ast.Store())
        conditions = [] if node.condition is None else [self.boolean(node.condition)]
        body = self.emit(node.body) if node.name == "map" else self.boolean(node.body)
        self.loops -= 1
        if node.name == "filter":
            loop = ast.comprehension(variable, target, [body], 0)
            return ast.ListComp(ast.Name(node.slot, ast.Load()), [loop])
        loop = ast.comprehension(variable, target, conditions, 0)
        if node.name == "map":
            return ast.ListComp(body, [loop])
        judge: Callable[..., bool] = {"exists": any, "all": all, "exists_one": operators.exactly_one}[node.name]
        return self.call(judge, ast.GeneratorExp(body, [loop]))

    def _binary(self, node: Binary) -> ast.expr:
        sign, left, right = node.operator, node.left, node.right
        if sign == "in":
            return self._within(node)
        a, b = self.emit(left), self.emit(right)
        one, other = left.type.kind, right.type.kind
        literal = left.known or right.known
        if sign in _ARITHMETIC:
            # Python's own operator where the types are known and nothing can grow: not in a loop, never a product.
            numbers = one in NUMERIC and other in NUMERIC
            strings = one == other == "string" or (literal and "string" in (one, other))
            if not self.loops and ((sign in "+-" and numbers) or (sign == "+" and strings)):
                return ast.BinOp(a, ast.Add() if sign == "+" else ast.Sub(), b)
            return self._operator(_ARITHMETIC[sign], a, b, pay=not (numbers or literal))
        compare, function = _COMPARISON[sign]
        if sign in ("==", "!="):
            return self._equal(node, compare(), function, a, b)
        if (one in NUMERIC and other in NUMERIC) or (one == other and one in _ORDERED):
            return ast.Compare(a, [compare()], [b])
        return self._operator(function, a, b, pay=not literal and one not in _SMALL and other not in _SMALL)

    def _operator(
        self, function: Callable[..., Any], a: ast.expr, b: ast.expr, pay: bool, deep: bool = False
    ) -> ast.expr:
        if self.loops and pay:
            return self._paid(self.name(f"f_{function.__name__}", function), [a, b], deep)
        return self.call(function, a, b)

    def _equal(
        self, node: Binary, compare: ast.cmpop, function: Callable[..., Any], a: ast.expr, b: ast.expr
    ) -> ast.expr:
        kinds = (node.left.type.kind, node.right.type.kind)
        if node.left.known and node.right.known:
            # Python's compiler would warn of an `is` between literals.
            return self.call(function, a, b)
        if "null" in kinds:
            other = node.left
            if kinds[0] == "null":
                a, b, other = b, a, node.right
            # Python folds a sum of literals into one, and would warn of an `is` there; what may be null is no sum.
            if not isinstance(b, ast.Constant) or other.type.kind != "dyn":
                return self.call(function, a, b)
            return ast.Compare(a, [ast.Is() if isinstance(compare, ast.Eq) else ast.IsNot()], [b])
        if set(kinds) & _SAFE_EQUAL or set(kinds) <= NUMERIC:
            return ast.Compare(a, [compare], [b])
        for side in (node.left, node.right):
            # true equals 1 for Python and not for CEL; no boolean equals another number.
            if side.known and type(side.constant) in (int, float) and side.constant not in (0, 1):
                return ast.Compare(a, [compare], [b])
        small = kinds[0] in _SMALL or kinds[1] in _SMALL
        return self._operator(function, a, b, pay=not small, deep=True)

    def _within(self, node: Binary) -> ast.expr:
        left, right = node.left, node.right
        strings = self._strings(right)
        if strings is not None:
            return ast.Compare(
                self.emit(left), [ast.In()], [ast.Tuple([ast.Constant(each) for each in strings], ast.Load())]
            )
        a, b = self.emit(left), self.emit(right)
        if left.type.kind == "string" and right.type.kind == "map":
            return ast.Compare(a, [ast.In()], [b])
        return self._operator(operators.within, a, b, pay=not isinstance(right, Items), deep=True)

    @staticmethod
    def _strings(node: Node) -> tuple[str, ...] | None:
        """The strings of a list that holds nothing else and is known at load."""
        if node.known and isinstance(node.constant, list | tuple):
            found = list(node.constant)
        elif isinstance(node, Items) and all(each.known and not optional for each, optional in node.elements):
            found = [each.constant for each, _ in node.elements]
        else:
            return None
        return tuple(found) if all(type(each) is str for each in found) else None

    def _fields(self, node: Fields) -> ast.expr:
        if all(isinstance(key, Literal) and type(key.value) is str for key, _, _ in node.entries):
            keys: list[ast.expr | None] = []
            values: list[ast.expr] = []
            for key, value, optional in node.entries:
                made = self.emit(value)
                keys.append(None if optional else self.emit(key))
                values.append(self.call(operators.keep, self.emit(key), made) if optional else made)
            return ast.Dict(keys, values)
        pairs: list[ast.expr] = [
            ast.Tuple([self.emit(key), self.emit(value)], ast.Load()) for key, value, _ in node.entries
        ]
        return self.call(operators.entries, ast.List(pairs, ast.Load()))

    def function(self, body: ast.expr, file: str) -> Callable[[Names], Any]:
        """One function of the record's names around a body; whatever fails in it is a MappingFailed at its place."""
        lines: list[ast.stmt] = [
            ast.Assign(
                [ast.Name(name, ast.Store())], ast.Attribute(ast.Name("names", ast.Load()), name, ast.Load()), None
            )
            for name in sorted(self.names)
        ]
        if self.pays:
            lines.append(ast.Assign([ast.Name("purse", ast.Store())], self.call(operators.purse), None))
        lines.append(ast.Return(body))
        takes = ast.arguments(posonlyargs=[], args=[ast.arg("names")], kwonlyargs=[], kw_defaults=[], defaults=[])
        module = ast.Module([ast.FunctionDef("mapped", takes, lines, [])], [])
        ast.fix_missing_locations(module)
        # Nothing is executed to make the function: its code is taken out of the module's constants.
        whole = compile(module, file, "exec", dont_inherit=True, optimize=0)
        code = next(each for each in whole.co_consts if isinstance(each, CodeType))
        made = FunctionType(code, {"__builtins__": {}, **self.given})
        return guarded(made, file, dict(self.sources))
