"""One expression evaluated three times: by us, by Google's C++ implementation, and by the Rust one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final, Protocol

import cel as rust
from cel.stdlib import add_stdlib_to_context
from cel_expr_python import cel as google
from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

from connector.mapping import MappingFailed, Names, Path, Position, Problem, compile_map
from tests.differential import standins
from tests.differential.differences import Outcome


@dataclass(frozen=True, slots=True)
class Seen:
    """The record that an expression is evaluated for."""

    value: dict[str, Any]
    topic: str = "orders"
    partition: int = 3
    offset: int = 70
    timestamp: int = 1_700_000_000_123
    key: str = "k-1"

    def names(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp,
            "key": self.key,
            "headers": {"type": "order.paid"},
            "value": self.value,
        }


class Oracle(Protocol):
    """An implementation of CEL. `lacks` are the features it does not have at all."""

    name: str
    lacks: frozenset[str]

    def evaluate(self, expression: str, seen: int) -> Outcome:
        """What it makes of an expression for the record of this number."""
        ...


FAILURES: Final = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What the others raise where an expression has no value: the errors of Python functions come through as they are."""


def _nowhere(path: Path) -> Position:
    return Position("differential.yaml", 1, 1)


class Ours:
    """The compiler under test, through the leaf of a map as a config has it."""

    name = "connector"
    lacks: frozenset[str] = frozenset()

    def __init__(self, records: list[Seen]) -> None:
        self._records = [Names(**each.names()) for each in records]

    def evaluate(self, expression: str, seen: int) -> Outcome:
        report: list[Problem] = []
        mapped = compile_map({"x": "${" + expression + "}"}, ("map",), _nowhere, report, {})
        if mapped is None:
            return Outcome(error=" ".join(f"{each.code} {each.message}" for each in report), refused=True)
        try:
            return Outcome(mapped(self._records[seen]).get("x"))
        except MappingFailed as failed:
            return Outcome(error=f"{failed.code} {failed.reason}")


class Google:
    """cel-expr-python, the C++ implementation with a type checker."""

    name = "cel-expr-python"
    lacks: frozenset[str] = frozenset()

    def __init__(self, records: list[Seen]) -> None:
        kind = google.Type
        kinds = {"MAP": kind.Map(kind.STRING, kind.DYN), "LIST": kind.List(kind.DYN)}
        own = []
        for name, (run, takes, gives) in standins.FUNCTIONS.items():
            overloads = [
                google.Overload(
                    id=f"own_{name.replace('.', '_')}_{number}",
                    return_type=kinds.get(gives) or getattr(kind, gives),
                    parameters=[kinds.get(word) or getattr(kind, word) for word in words],
                    impl=run,
                )
                for number, words in enumerate(product(*(each.split() for each in takes)))
            ]
            own.append(google.FunctionDecl(name, overloads))
        variables = {
            "topic": kind.STRING,
            "partition": kind.INT,
            "offset": kind.INT,
            "timestamp": kind.INT,
            "key": kind.DYN,
            "headers": kinds["MAP"],
            "value": kind.DYN,
        }
        extensions = [
            ext_strings.ExtStrings(),
            ext_math.ExtMath(),
            ext_optional.ExtOptional(),
            ext_encoders.ExtEncoders(),
        ]
        self._env = google.NewEnv(variables=variables, extensions=extensions, functions=own)
        self._records = [self._env.Activation(each.names()) for each in records]

    def evaluate(self, expression: str, seen: int) -> Outcome:
        try:
            compiled = self._env.compile(expression)
        except (RuntimeError, ValueError) as error:
            return Outcome(error=str(error), refused=True)
        try:
            found = compiled.eval(self._records[seen])
            if found.type().name() == "ERROR":
                return Outcome(error=str(found.plain_value()))
            return Outcome(_plain(found.plain_value()))
        except FAILURES as error:
            return Outcome(error=f"{type(error).__name__} {error}")


def _plain(value: Any) -> Any:
    """Bytes come out as bytearray."""
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


class Rust:
    """common-expression-language, the Rust implementation; it checks no types before it runs."""

    name = "common-expression-language"
    lacks = frozenset(
        {
            ".?",
            "[?]",
            "or",
            "orValue",
            "[a, ?b]",
            "{?k: v}",
            "zone",
            "timestamp of seconds",
            "timestamp of a timestamp",
            "string of a boolean",
            "duration + timestamp",
            "matches as a function",
        }
    )

    def __init__(self, records: list[Seen]) -> None:
        self._records = []
        for each in records:
            context = rust.Context(variables=each.names())
            add_stdlib_to_context(context)
            for name, (run, _, _) in standins.FUNCTIONS.items():
                context.add_function(name, run)
            self._records.append(context)

    def evaluate(self, expression: str, seen: int) -> Outcome:
        try:
            return Outcome(rust.evaluate(expression, self._records[seen]))
        except FAILURES as error:
            return Outcome(error=f"{type(error).__name__} {error}")


ORACLES: Final[tuple[Callable[[list[Seen]], Oracle], ...]] = (Google, Rust)


def agree(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same: the same value of the same type, or no value on either side."""
    if one.error or other.error:
        return bool(one.error) and bool(other.error)
    return same(one.value, other.value)


def same(one: Any, other: Any) -> bool:
    """Equality that tells an int from a double and a boolean, and takes NaN for NaN."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if isinstance(one, datetime | timedelta):
        return type(one) is type(other) and bool(one == other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)
