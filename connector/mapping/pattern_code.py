"""Makes one Python function of a pattern's conditions, of `ast` nodes and never of source text.

Strings of the config become constants, names come from a closed list, `__builtins__` is empty. Only values flow from a
record, so data can never choose code.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from types import MappingProxyType
from typing import Any, Final

from connector.mapping.pattern_tree import (
    ABSENT,
    LONGEST_ADDRESS,
    Choice,
    Condition,
    Conditions,
    Leaf,
    Probe,
    Under,
    holds_for_nothing,
)


def _flat(values: list[Any]) -> Iterator[Any]:
    """The elements of an array, arrays of arrays flattened; by a loop, so that depth costs no stack."""
    waiting = [iter(values)]
    while waiting:
        for value in waiting[-1]:
            if type(value) is list:
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


def _some(values: list[Any], test: Callable[[Any], bool]) -> bool:
    """Whether a leaf among the elements passes."""
    return any(type(value) is not dict and test(value) for value in _flat(values))


def _some_object(values: list[Any], test: Callable[[Any], bool]) -> bool:
    return any(type(value) is dict and test(value) for value in _flat(values))


def _every_object(values: list[Any], test: Callable[[Any], bool]) -> bool:
    return all(type(value) is not dict or test(value) for value in _flat(values))


def _bare(values: list[Any]) -> bool:
    """Whether no element is a leaf."""
    return all(type(value) is dict for value in _flat(values))


def _like(text: str, segments: tuple[str, ...]) -> bool:
    """Whether the text is the segments with anything between them.

    The leftmost place for each is enough, so each search starts where the one before ended: linear time.
    """
    head, *middle, tail = segments
    start, end = len(head), len(text) - len(tail)
    if end < start or not text.startswith(head) or not text.endswith(tail):
        return False
    for segment in middle:
        found = text.find(segment, start, end)
        if found < 0:
            return False
        start = found + len(segment)
    return True


def _starts_in_any_case(text: str, start: str) -> bool:
    return text[: len(start)].casefold() == start.casefold()


def _ends_in_any_case(text: str, end: str) -> bool:
    return text[max(0, len(text) - len(end)) :].casefold() == end.casefold()


def _equals_in_any_case(text: str, folded: str) -> bool:
    # Folding never makes a text shorter, so a huge one is refused without folding it.
    return len(text) <= len(folded) and text.casefold() == folded


def _inside(text: str, network: IPv4Network | IPv6Network) -> bool:
    if len(text) > LONGEST_ADDRESS or "%" in text:
        return False
    try:
        return ip_address(text) in network
    except ValueError:
        return False


# All that generated code can name, besides its own locals and what `_Writer.share` gives it.
_ENVIRONMENT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "type": type,
        "str": str,
        "int": int,
        "float": float,
        "bool": bool,
        "dict": dict,
        "list": list,
        "ABSENT": ABSENT,
        "some": _some,
        "some_object": _some_object,
        "every_object": _every_object,
        "bare": _bare,
        "like": _like,
        "starts_in_any_case": _starts_in_any_case,
        "ends_in_any_case": _ends_in_any_case,
        "equals_in_any_case": _equals_in_any_case,
        "inside": _inside,
    }
)
_CALLS_ON_TEXT: Final = {
    "prefix-ignore-case": "starts_in_any_case",
    "suffix-ignore-case": "ends_in_any_case",
    "equals-ignore-case": "equals_in_any_case",
    "wildcard": "like",
    "cidr": "inside",
}
_SIGNS: Final[Mapping[str, type[ast.cmpop]]] = {
    "=": ast.Eq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}
_INLINE: Final = 3  # levels of objects in one function; deeper ones are called, or code grows as a square
_FEW: Final = 4  # up to here comparing one after the other is faster than hashing


class _Value:
    """A value in generated code: fetched into a local where it is read first, read from the local afterwards.

    The expressions are built in the order in which they run, so the first read that is built is the first that runs.
    """

    def __init__(self, local: str, fetch: ast.expr | None) -> None:
        self._local = local
        self._fetch = fetch

    def read(self) -> ast.expr:
        if self._fetch is None:
            return _name(self._local)
        fetch, self._fetch = self._fetch, None
        return ast.NamedExpr(ast.Name(self._local, ast.Store()), fetch)

    def has_type(self, *types: str) -> ast.expr:
        return _or([_compare(_call("type", self.read()), ast.Is(), _name(each)) for each in types])

    def has_no_type(self, *types: str) -> list[ast.expr]:
        return [_compare(_call("type", self.read()), ast.IsNot(), _name(each)) for each in types]


class Writer:
    """Builds the expressions of one pattern, each the body of a lambda."""

    def __init__(self) -> None:
        self.environment: dict[str, Any] = {"__builtins__": {}, **_ENVIRONMENT}
        self.trees: list[ast.Expression] = []
        self._functions: dict[int, str] = {}
        self._count = 0

    def load(self, argument: str, body: ast.expr) -> Callable[[Any], bool]:
        nothing: list[Any] = []
        arguments = ast.arguments([], [ast.arg(argument)], None, nothing, nothing, None, nothing)
        tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
        self.trees.append(tree)
        # The tree was built here node by node; no text of the config or of a record is ever parsed.
        test: Callable[[Any], bool] = eval(compile(tree, "<match>", "eval"), self.environment)
        return test

    def share(self, value: Any) -> str:
        """A name for what has no literal: a network, a function."""
        name = self.fresh("shared")
        self.environment[name] = value
        return name

    def fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def once(self, key: Conditions | tuple[Probe, ...], make: Callable[[], Callable[[Any], bool]]) -> str:
        """The name of the function for an array's element: made once; conditions outlive the writer."""
        if id(key) not in self._functions:
            self._functions[id(key)] = self.share(make())
        return self._functions[id(key)]

    # -- objects --

    def of_record(self, conditions: Conditions) -> Callable[[Any], bool]:
        it = self.fresh("it")

        def fetch(key: str) -> ast.expr:
            return _attribute(_name(it), key)  # the keys are FIELDS, the reader saw to that

        def condition(each: Condition) -> ast.expr:
            if isinstance(each, Choice):
                return _or([_and([condition(inner) for inner in branch]) for branch in each.branches])
            if isinstance(each, Under) and each.key == "headers":
                # Always there and any kind of mapping, so its type is not asked.
                return _or([self.inside(branch, lambda: fetch("headers"), 1) for branch in each.branches])
            return self.condition(each, fetch, 0)

        return self.load(it, _and([condition(each) for each in conditions]))

    def of_object(self, conditions: Conditions) -> Callable[[Any], bool]:
        """The function that tests an object, or any mapping, of a record."""
        it = self.fresh("it")
        return self.load(it, self.inside(conditions, lambda: _name(it), 0))

    def inside(self, conditions: Conditions, holder: Callable[[], ast.expr], level: int) -> ast.expr:
        def fetch(key: str) -> ast.expr:
            return _call(_attribute(holder(), "get"), ast.Constant(key), _name("ABSENT"))

        return _and([self.condition(each, fetch, level) for each in conditions])

    def condition(self, condition: Condition, fetch: Callable[[str], ast.expr], level: int) -> ast.expr:
        if isinstance(condition, Choice):
            return _or([_and([self.condition(each, fetch, level) for each in branch]) for branch in condition.branches])
        value = _Value(local := self.fresh("v"), fetch(condition.key))
        if isinstance(condition, Leaf):
            return self.leaf(condition, value)
        return _or([self.under(branch, value, local, level + 1) for branch in condition.branches])

    def under(self, branch: Conditions, value: _Value, local: str, level: int) -> ast.expr:
        is_object = value.has_type("dict")
        test = self.once(branch, lambda: self.of_object(branch))
        if holds_for_nothing(branch):
            in_array = _or([*value.has_no_type("list"), _call("every_object", value.read(), _name(test))])
        else:
            in_array = _and([value.has_type("list"), _call("some_object", value.read(), _name(test))])
        if level > _INLINE:
            return ast.IfExp(is_object, _call(test, value.read()), in_array)
        return ast.IfExp(is_object, self.inside(branch, lambda: _name(local), level), in_array)

    # -- leaves --

    def leaf(self, leaf: Leaf, value: _Value) -> ast.expr:
        found = self.tests(leaf.tests, value, certain=False)
        if found:
            test = self.once(leaf.tests, lambda: self.of_leaf(leaf.tests))
            found.append(_and([value.has_type("list"), _call("some", value.read(), _name(test))]))
        if leaf.absent:
            found.append(_compare(value.read(), ast.Is(), _name("ABSENT")))
            found.append(value.has_type("dict"))
            found.append(_and([value.has_type("list"), _call("bare", value.read())]))
        return _or(found)

    def of_leaf(self, tests: tuple[Probe, ...]) -> Callable[[Any], bool]:
        it = self.fresh("it")
        return self.load(it, _or(self.tests(tests, _Value(it, None), certain=True)))

    def tests(self, tests: Sequence[Probe], value: _Value, *, certain: bool) -> list[ast.expr]:
        """One expression for each way to pass. `certain`: the value is known to be a leaf, not absent or an object."""
        texts = tuple(test.operand for test in tests if test.kind == "text")
        numbers = tuple(test.operand for test in tests if test.kind == "number")
        found: list[ast.expr] = []
        if len(texts) == 1:
            found.append(_compare(value.read(), ast.Eq(), ast.Constant(texts[0])))
        elif len(texts) > 1:
            found.append(self.among(texts, value, "str"))
        if len(numbers) > _FEW:
            found.append(self.among(numbers, value, "int", "float"))
        else:
            for number in numbers:
                equal = _compare(value.read(), ast.Eq(), ast.Constant(number))
                # To Python true is 1 and false is 0; in JSON they are not.
                found.append(_and([equal, *value.has_no_type("bool")]) if number in (0, 1) else equal)
        found += [self.test(test, value, certain) for test in tests if test.kind not in ("text", "number")]
        return found

    def among(self, options: tuple[Any, ...], value: _Value, *types: str) -> ast.expr:
        if len(options) <= _FEW:
            return _compare(value.read(), ast.In(), _constant(options))
        # Asking a set needs a hash, which objects and arrays have not: the type first.
        return _and([value.has_type(*types), _compare(value.read(), ast.In(), _constant(frozenset(options)))])

    def test(self, test: Probe, value: _Value, certain: bool) -> ast.expr:
        match test.kind:
            case "literal":
                return _compare(value.read(), ast.Is(), ast.Constant(test.operand))
            case "prefix" | "suffix":
                affix = test.operand[0] if len(test.operand) == 1 else test.operand
                is_text = value.has_type("str")
                method = "startswith" if test.kind == "prefix" else "endswith"
                return _and([is_text, _call(_attribute(value.read(), method), ast.Constant(affix))])
            case "wildcard" if len(test.operand) == 1:
                return _compare(value.read(), ast.Eq(), ast.Constant(test.operand[0]))
            case "numeric":
                is_number = value.has_type("int", "float")
                compared = [
                    _compare(value.read(), _SIGNS[sign](), ast.Constant(number)) for sign, number in test.operand
                ]
                return _and([is_number, *compared])
            case "exists":
                return ast.Constant(True) if certain else _and(self.is_leaf(value))
            case "anything-but":
                guards = [] if certain else self.is_leaf(value)
                return _and([*guards, ast.UnaryOp(ast.Not(), _or(self.tests(test.operand, value, certain=True)))])
            case kind:
                operand = _name(self.share(test.operand)) if kind == "cidr" else ast.Constant(test.operand)
                return _and([value.has_type("str"), _call(_CALLS_ON_TEXT[kind], value.read(), operand)])

    def is_leaf(self, value: _Value) -> list[ast.expr]:
        return [_compare(value.read(), ast.IsNot(), _name("ABSENT")), *value.has_no_type("dict", "list")]


def _constant(value: tuple[Any, ...] | frozenset[Any]) -> ast.expr:
    return ast.Constant(value)  # type: ignore[arg-type]  # compile() takes tuples and frozensets, the stubs do not know


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _attribute(of: ast.expr, name: str) -> ast.expr:
    return ast.Attribute(of, name, ast.Load())


def _call(function: str | ast.expr, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_name(function) if isinstance(function, str) else function, list(arguments), [])


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [operator], [right])


def _and(parts: Sequence[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), list(parts))


def _or(parts: Sequence[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.Or(), list(parts))
