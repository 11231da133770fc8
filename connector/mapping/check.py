"""Names, calls and types of a parsed expression, before any record was seen. It says every mistake it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from connector.mapping import functions
from connector.mapping.functions import ENGINE
from connector.mapping.kinds import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    LIST,
    MAP,
    NUMBER,
    NUMERIC,
    STRING,
    WORDS,
    Type,
    fits,
    joined,
    plain,
    type_of,
)
from connector.mapping.library import FUNCTIONS, NAMESPACES, Function
from connector.mapping.operators import ABSENT, Fault
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

MACRO_NESTING: Final = 2
NAMES: Final[dict[str, Type]] = {
    "topic": STRING,
    "partition": INT,
    "offset": INT,
    "timestamp": INT,
    "key": DYN,
    "headers": MAP,
    "value": DYN,
}
EACH_NAMES: Final[dict[str, Type]] = {"item": DYN, "index": INT}

_NUMBER_PAIRS: Final = [
    ("int", "int", "int"),
    ("double", "double", "double"),
    ("int", "double", "double"),
    ("double", "int", "double"),
]
_PAIRS: Final[dict[str, list[tuple[str, str, str]]]] = {
    "+": [
        *_NUMBER_PAIRS,
        ("string", "string", "string"),
        ("bytes", "bytes", "bytes"),
        ("list", "list", "list"),
        ("timestamp", "duration", "timestamp"),
        ("duration", "timestamp", "timestamp"),
        ("duration", "duration", "duration"),
    ],
    "-": [
        *_NUMBER_PAIRS,
        ("timestamp", "timestamp", "duration"),
        ("timestamp", "duration", "timestamp"),
        ("duration", "duration", "duration"),
    ],
    "*": _NUMBER_PAIRS,
    "/": _NUMBER_PAIRS,
    "%": [("int", "int", "int")],
}
_ORDERED: Final = [(kind, kind, "bool") for kind in ("string", "bytes", "bool", "timestamp", "duration")]
_OTHER_NAMES: Final = {
    "len": "size",
    "length": "size",
    "count": "size",
    "str": "string",
    "toString": "string",
    "float": "double",
    "number": "double",
    "integer": "int",
    "lower": "lowerAscii",
    "toLowerCase": "lowerAscii",
    "upper": "upperAscii",
    "toUpperCase": "upperAscii",
    "strip": "trim",
    "startswith": "startsWith",
    "endswith": "endsWith",
    "includes": "contains",
    "default": "orValue",
    "max": "math.greatest",
    "min": "math.least",
    "abs": "math.abs",
    "round": "math.round",
    "uuid": "uuid5",
    "any": "exists",
    "toJson": "json.encode",
}
_NO_CLOCK: Final = frozenset({"now", "today", "time", "random", "rand", "uuid4"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Macro variables in sight: the Python name and the type of each. `loops` counts the macros around."""

    variables: Mapping[str, tuple[str, Type]]
    loops: int = 0


TOP: Final = Scope({})


class Checker:
    """Gives every node of one expression its type, its function, its Python name; says what cannot be.

    `say(code, at, message, mend)` takes each mistake. `maps` counts the `map` macros: three can make a value that is
    far larger written out than in memory.
    """

    def __init__(
        self,
        text: str,
        say: Callable[[str, int, str, str], None],
        *,
        variables: Mapping[str, Any],
        each: bool,
        engine: Any = ENGINE,
    ) -> None:
        self.text = text
        self.say = say
        self.variables = variables
        self.names = NAMES | EACH_NAMES if each else NAMES
        self.each = each
        self.engine = engine
        self.maps = 0
        self.slots = 0

    def value(self, node: Node, scope: Scope) -> Type:
        """The type of a node that must hold a value: an optional is refused."""
        found = self.visit(node, scope)
        if found.kind == "optional":
            self.say(
                "CEL024",
                node.at,
                f"`{self.source(node)}` may be absent, and a value is needed here",
                "say what stands in for it: .orValue(…)",
            )
            return DYN
        return found

    def boolean(self, node: Node, scope: Scope, why: str) -> None:
        """A node that must be a boolean."""
        found = self.value(node, scope)
        if not fits(found.kind, "bool"):
            self.say("CEL022", node.at, f"{why} needs a boolean, and `{self.source(node)}` is {found}", "compare it")

    def source(self, node: Node) -> str:
        """A node as it was written, shortened."""
        return shown(self.text[node.start : node.end])

    def visit(self, node: Node, scope: Scope) -> Type:
        """The type of a node; also set on the node."""
        node.type = self._visit(node, scope)
        return node.type

    def _visit(self, node: Node, scope: Scope) -> Type:
        match node:
            case Literal():
                return self._known(node, node.value)
            case Ident():
                return self._ident(node, scope)
            case Select():
                return self._select(node, scope)
            case Index():
                return self._index(node, scope)
            case Has():
                return self._has(node, scope)
            case Call():
                return self._call(node, scope)
            case Macro():
                return self._macro(node, scope)
            case Unary():
                return self._unary(node, scope)
            case Binary():
                return self._binary(node, scope)
            case Logic():
                for operand in node.operands:
                    self.boolean(operand, scope, node.operator)
                return BOOL
            case Choice():
                self.boolean(node.condition, scope, "a choice")
                return joined(self.visit(node.yes, scope), self.visit(node.no, scope))
            case Items():
                return self._items(node, scope)
            case Fields():
                return self._fields(node, scope)
        raise TypeError(type(node).__name__)

    @staticmethod
    def _known(node: Node, value: Any, optional: bool = False) -> Type:
        node.known, node.constant = True, value
        return Type("optional", type_of(value)) if optional else type_of(value)

    def _ident(self, node: Ident, scope: Scope) -> Type:
        if node.name in scope.variables:
            node.slot, found = scope.variables[node.name]
            return found
        if node.name == "vars":
            return self._known(node, dict(self.variables))
        if node.name in self.names:
            node.slot = node.name
            return self.names[node.name]
        if node.name in EACH_NAMES:
            message = f"`{node.name}` is there only in the map of a route with `each`"
            self.say(
                "CEL016", node.at, message, "add each: ${…}; what leaves elements out goes there, list.filter(x, …)"
            )
        elif node.name in FUNCTIONS or node.name in NAMESPACES:
            self.say("CEL010", node.at, f"`{node.name}` is a function, not a value", "call it")
        else:
            names = [*self.names, "vars", *scope.variables]
            mend = suggestion(node.name, names) or (
                f"a field of the record is value.{node.name}; there are {', '.join(names)}"
            )
            self.say("CEL010", node.at, f"unknown name `{node.name}`", mend)
        return DYN

    def _select(self, node: Select, scope: Scope) -> Type:
        held = self.visit(node.operand, scope)
        operand = plain(held)
        optional = node.optional or held.kind == "optional"
        if node.operand.known and isinstance(node.operand.constant, Mapping):
            return self._of_vars(node, node.operand.constant, node.field, optional)
        if not fits(operand.kind, "map"):
            self.say(
                "CEL025",
                node.at,
                f"`{self.source(node.operand)}` is {operand}: it has no field `{node.field}`",
                f"write {node.field}(…)" if node.field in FUNCTIONS else "",
            )
        return Type("optional", DYN) if optional else DYN

    def _of_vars(self, node: Node, variables: Mapping[str, Any], name: str, optional: bool) -> Type:
        if name in variables:
            return self._known(node, variables[name], optional)
        if optional:
            return self._known(node, ABSENT, optional)
        mend = suggestion(name, [str(each) for each in variables]) or "define it under vars"
        self.say("CEL011", node.at, f"there is no variable `{name}`", mend)
        return DYN

    def _index(self, node: Index, scope: Scope) -> Type:
        held = self.visit(node.operand, scope)
        key = self.value(node.key, scope)
        operand = plain(held)
        optional = node.optional or held.kind == "optional"
        if node.operand.known and isinstance(node.operand.constant, Mapping) and node.key.known:
            return self._of_vars(node, node.operand.constant, str(node.key.constant), optional)
        wanted = {"list": ("int", "double"), "map": ("string",), "dyn": ("int", "double", "string")}.get(operand.kind)
        if wanted is None:
            self.say("CEL025", node.at, f"`{self.source(node.operand)}` is {operand}: it has no elements", "")
        elif not any(fits(key.kind, each) for each in wanted):
            by = "a string" if operand.kind == "map" else "an int"
            self.say("CEL020", node.key.at, f"{operand} is read by {by}, not by {key}", "")
        found = operand.of or DYN
        return Type("optional", found) if optional else found

    def _has(self, node: Has, scope: Scope) -> Type:
        operand = plain(self.visit(node.operand, scope))
        if node.operand.known and isinstance(node.operand.constant, Mapping):
            return self._known(node, node.field in node.operand.constant)
        if not fits(operand.kind, "map"):
            self.say("CEL025", node.at, f"`{self.source(node.operand)}` is {operand}: it has no fields", "")
        return BOOL

    def _macro(self, node: Macro, scope: Scope) -> Type:
        target = self.value(node.target, scope)
        if not fits(target.kind, "list") and not fits(target.kind, "map"):
            self.say("CEL020", node.at, f"{node.name}() goes through a list or a map, not {target}", "")
        if scope.loops >= MACRO_NESTING:
            self.say(
                "CEL003", node.at, f"more than {MACRO_NESTING} loops stand inside each other", "use `each`, or flatten"
            )
        element = STRING if target.kind == "map" else target.of or DYN
        self.slots += 1
        node.slot = f"x{self.slots}"
        self.maps += node.name == "map"
        inner = Scope({**scope.variables, node.variable: (node.slot, element)}, scope.loops + 1)
        if node.condition is not None:
            self.boolean(node.condition, inner, "the condition of map()")
        if node.name == "map":
            return Type("list", self.value(node.body, inner))
        self.boolean(node.body, inner, f"{node.name}()")
        if node.name == "filter":
            return Type("list", element)
        return BOOL

    def _unary(self, node: Unary, scope: Scope) -> Type:
        if node.operator == "!":
            self.boolean(node.operand, scope, "!")
            return BOOL
        found = self.value(node.operand, scope)
        if found.kind != "dyn" and found.kind not in NUMERIC:
            self.say("CEL020", node.at, f"- does not take {found}", "")
            return DYN
        return NUMBER if found.kind == "dyn" else found

    def _binary(self, node: Binary, scope: Scope) -> Type:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        sign = node.operator
        if sign == "in":
            self._within(node, left, right)
            return BOOL
        if sign in ("==", "!="):
            if "null" not in (left.kind, right.kind) and not self._comparable(left.kind, right.kind):
                self.say("CEL020", node.at, f"{left} never equals {right}", self._mend(left, right))
            return BOOL
        if sign in ("<", "<=", ">", ">="):
            if not any(fits(left.kind, a) and fits(right.kind, b) for a, b, _ in [*_NUMBER_PAIRS, *_ORDERED]):
                self.say("CEL020", node.at, f"{sign} does not take {left} and {right}", self._mend(left, right))
            return BOOL
        found = {made for a, b, made in _PAIRS[sign] if fits(left.kind, a) and fits(right.kind, b)}
        if not found:
            self.say("CEL020", node.at, f"{sign} does not take {left} and {right}", self._mend(left, right))
            return DYN
        if len(found) == 1:
            kind = found.pop()
            return joined(left, right) if kind == "list" and left.kind == right.kind else Type(kind)
        return NUMBER if found <= NUMERIC else DYN

    @staticmethod
    def _comparable(one: str, other: str) -> bool:
        return fits(one, other) or (one in NUMERIC and other in NUMERIC)

    def _mend(self, left: Type, right: Type) -> str:
        kinds = {left.kind, right.kind}
        if "string" in kinds and kinds & NUMERIC:
            return "string(…) makes text of a number, int(…) or double(…) a number of text"
        if kinds & {"timestamp", "duration"} and kinds & NUMERIC:
            return "millis(…) makes a timestamp of epoch milliseconds; duration('1h') is a span of time"
        return ""

    def _within(self, node: Binary, left: Type, right: Type) -> None:
        if not fits(right.kind, "list") and not fits(right.kind, "map"):
            mend = "write text.contains(part)" if right.kind == "string" else ""
            self.say("CEL020", node.at, f"`in` looks into a list or a map, not into {right}", mend)
        elif right.kind == "map" and not fits(left.kind, "string"):
            self.say("CEL020", node.at, f"the keys of a map are strings, not {left}", "")
        elif right.of and "null" not in (left.kind, right.of.kind) and not self._comparable(left.kind, right.of.kind):
            self.say("CEL020", node.at, f"{left} is never in a list of {right.of.kind}s", self._mend(left, right.of))

    def _items(self, node: Items, scope: Scope) -> Type:
        found: Type | None = None
        for element, optional in node.elements:
            each = self._optional(element, scope) if optional else self.value(element, scope)
            found = each if found is None else joined(found, each)
        return Type("list", found) if found else LIST

    def _fields(self, node: Fields, scope: Scope) -> Type:
        seen: set[str] = set()
        for key, value, optional in node.entries:
            kind = self.value(key, scope)
            if not fits(kind.kind, "string"):
                self.say("CEL026", key.at, f"the key of a map is a string, not {kind}", "JSON has no other keys")
            elif isinstance(key, Literal):
                if key.value in seen:
                    self.say("CEL026", key.at, f'the key "{shown(key.value)}" is twice in the map', "leave one out")
                seen.add(key.value)
            if optional:
                self._optional(value, scope)
            else:
                self.value(value, scope)
        return MAP

    def _optional(self, node: Node, scope: Scope) -> Type:
        found = self.visit(node, scope)
        if found.kind != "optional":
            self.say("CEL024", node.at, f"`{self.source(node)}` is always there, not optional", "leave the ? out")
        return plain(found)

    def _call(self, node: Call, scope: Scope) -> Type:
        name, receiver = node.name, node.receiver
        if isinstance(receiver, Ident) and receiver.name in NAMESPACES and receiver.name not in scope.variables:
            name, receiver = f"{receiver.name}.{name}", None
        elif receiver is not None and name in ("orValue", "or"):
            return self._or(node, receiver, scope)
        node.spread = ([receiver] if receiver is not None else []) + node.args
        types = [self.value(each, scope) for each in node.spread]
        function = FUNCTIONS.get(name)
        if function is None:
            self._unknown_function(node, name)
            return DYN
        node.resolved = name
        if function.style != "both" and (receiver is not None) != (function.style == "member"):
            written = f"{name}(x)" if function.style == "free" else f"x.{name}(…)"
            self.say("CEL014", node.at, f"{name}() is called in another way", f"write {written}")
            return function.gives
        if not self._arity(node, function, name, receiver is not None):
            return function.gives
        if self._arguments(node, function, name, types) and self._prepare(node, function, name):
            return self._fold(node, function, types)
        return function.gives

    def _or(self, node: Call, receiver: Node, scope: Scope) -> Type:
        found = self.visit(receiver, scope)
        if len(node.args) != 1:
            self.say("CEL013", node.at, f"{node.name}() takes one argument, not {len(node.args)}", "")
            return DYN
        if found.kind != "optional":
            self.visit(node.args[0], scope)
            self.say(
                "CEL024",
                node.at,
                f"`{self.source(receiver)}` is always there, or fails: {node.name}() belongs to an optional",
                "read the field with .?name or [?key]",
            )
            return DYN
        node.spread = [receiver, node.args[0]]
        node.resolved = node.name
        if node.name == "orValue":
            return joined(plain(found), self.value(node.args[0], scope))
        return Type("optional", joined(plain(found), self._optional(node.args[0], scope)))

    def _unknown_function(self, node: Call, name: str) -> None:
        if name in _NO_CLOCK:
            mend = "expressions know no clock and no chance, so that a redelivery is the same: use millis(timestamp)"
        elif name.split(".")[-1] in _OTHER_NAMES:
            mend = f"it is called {_OTHER_NAMES[name.split('.')[-1]]} here"
        elif name == "uint":
            mend = "there are no unsigned integers here: use int(…)"
        else:
            mend = suggestion(name, [*FUNCTIONS, "has", "orValue", "map", "filter", "exists", "all", "exists_one"])
        self.say("CEL012", node.at, f"unknown function `{name}`", mend)

    def _arity(self, node: Call, function: Function, name: str, member: bool) -> bool:
        given, most = len(node.spread), 10**6 if function.many else len(function.takes)
        if function.least <= given <= most:
            return True
        least, most, given = (each - member for each in (function.least, most, given))
        takes = f"{least}" if least == most else f"at least {least}" if function.many else f"{least} to {most}"
        self.say("CEL013", node.at, f"{name}() takes {takes} argument{'s' * (takes != '1')}, not {given}", "")
        return False

    def _arguments(self, node: Call, function: Function, name: str, types: list[Type]) -> bool:
        good = True
        for number, (argument, found) in enumerate(zip(node.spread, types, strict=True)):
            wanted = function.takes[min(number, len(function.takes) - 1)]
            if not any(fits(found.kind, each) for each in wanted):
                words = " or ".join(WORDS[each] for each in WORDS if each in wanted and each != "number")
                mend = ""
                if "timestamp" in wanted and found.kind in NUMERIC:
                    mend = "millis(…) makes a timestamp of epoch milliseconds"
                elif name == "string" or (wanted == {"string"} and found.kind in ("list", "map")):
                    mend = "json.encode(…) makes text of a list or a map"
                elif wanted == {"string"}:
                    mend = "string(…) makes text"
                self.say("CEL021", argument.at, f"{name}() takes {words}, not {found}", mend)
                good = False
        return good

    def _prepare(self, node: Call, function: Function, name: str) -> bool:
        if function.prepares is None or len(node.spread) <= function.prepares[0]:
            return True
        number, prepare = function.prepares
        argument = node.spread[number]
        if not argument.known:
            self.say("CEL029", argument.at, f"this argument of {name}() must be a literal: it is read at load", "")
            return False
        try:
            if prepare is functions.prepare_pattern:
                node.prepared = functions.prepare_pattern(argument.constant, self.engine)
            else:
                node.prepared = prepare(argument.constant)
        except LookupError:
            self.say(
                "CEL028",
                node.at,
                "matches() needs RE2, which is not installed: a pattern must take linear time",
                "install the extra `re2`, or use startsWith, endsWith, contains",
            )
            return False
        except ValueError as error:
            self.say("CEL027", argument.at, str(error), "")
            return False
        return True

    def _fold(self, node: Call, function: Function, types: list[Type]) -> Type:
        """Call a function of literals at load: its failure is a mistake of the config, its result a constant."""
        if function.prepares is not None or function.gives is DYN or not all(each.known for each in node.spread):
            return self._gives(function, types)
        try:
            result = function.run(*(each.constant for each in node.spread))
        except Fault as fault:
            self.say("CEL027", node.spread[0].at, fault.reason, "")
            return function.gives
        except (ArithmeticError, ValueError, TypeError, RecursionError):
            self.say("CEL027", node.spread[0].at, f"{node.resolved}() does not take this value", "")
            return function.gives
        if isinstance(result, list | dict):
            return function.gives
        return self._known(node, result)

    @staticmethod
    def _gives(function: Function, types: list[Type]) -> Type:
        if function.gives is NUMBER:
            kinds = {each.kind for each in types}
            return INT if kinds == {"int"} else DOUBLE if kinds == {"double"} else NUMBER
        return function.gives


def shown(text: str) -> str:
    """A piece of the config on one line, at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


def suggestion(name: str, names: list[str]) -> str:
    """`did you mean …` for a name that is close to another, else nothing."""
    close = get_close_matches(name, names, 1, 0.6)
    if not close:
        close = [each for each in names if each.lower() == name.lower()]
    return f"did you mean {close[0]}?" if close else ""
