"""A parsed expression: one small class per form, each knowing where in the text it stands."""

from dataclasses import dataclass, field
from typing import Any

from connector.mapping.kinds import DYN, Type


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """One form. `start` and `end` bound its text, `at` is the character that a message points at.

    `type`, and `constant` where the value is known at load (`known`), are filled in by `check`.
    """

    start: int
    end: int
    at: int
    type: Type = field(default=DYN, init=False)
    known: bool = field(default=False, init=False)
    constant: Any = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    """A number, string, bytes, boolean or null."""

    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    """A name; `slot` is the Python name that `check` gave it."""

    name: str
    slot: str = ""


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`, or `operand.?field`."""

    operand: Node
    field: str
    optional: bool = False


@dataclass(slots=True, eq=False)
class Index(Node):
    """`operand[key]`, or `operand[?key]`."""

    operand: Node
    key: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """`name(args)` or `receiver.name(args)`; `spread` is set by `check` to the arguments the function really gets."""

    name: str
    receiver: Node | None
    args: list[Node]
    resolved: str = ""
    spread: list[Node] = field(default_factory=list)
    prepared: Any = None


@dataclass(slots=True, eq=False)
class Has(Node):
    """`has(operand.field)`."""

    operand: Node
    field: str


@dataclass(slots=True, eq=False)
class Macro(Node):
    """`target.name(variable, body)`, `map` also with a condition. `slot` is the variable's Python name."""

    name: str
    target: Node
    variable: str
    condition: Node | None
    body: Node
    slot: str = ""


@dataclass(slots=True, eq=False)
class Unary(Node):
    """`-operand` or `!operand`."""

    operator: str
    operand: Node


@dataclass(slots=True, eq=False)
class Binary(Node):
    """`left operator right`."""

    operator: str
    left: Node
    right: Node


@dataclass(slots=True, eq=False)
class Logic(Node):
    """`a && b && …` or `a || b || …`, flat."""

    operator: str
    operands: list[Node]


@dataclass(slots=True, eq=False)
class Choice(Node):
    """`condition ? yes : no`."""

    condition: Node
    yes: Node
    no: Node


@dataclass(slots=True, eq=False)
class Items(Node):
    """`[a, ?b]`: elements, each with whether it is optional."""

    elements: list[tuple[Node, bool]]


@dataclass(slots=True, eq=False)
class Fields(Node):
    """`{key: value, ?key: value}`: entries, each with whether it is optional."""

    entries: list[tuple[Node, Node, bool]]
