"""Hostile expressions and hostile records: a value, a refusal or a failure, never a crash, a hang or an escape."""

import ast
import json
from types import CodeType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.mapping import MappingFailed, Problem, compile_condition, compile_each, compile_map
from connector.mapping.check import TOP, Checker
from connector.mapping.emit import Emitter, Expression
from connector.mapping.lex import Mistake
from connector.mapping.operators import LARGEST, MOST_EVENTS
from connector.mapping.parse import parse
from connector.mapping.place import Place
from tests.unit.mapping.cel import VARS, evaluate, failure, locate, names, outcome
from tests.unit.mapping.test_cel_values import RECORD, VALUES

ALLOWED = (
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.Store,
    ast.Subscript,
    ast.Call,
    ast.Lambda,
    ast.arguments,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Starred,
    ast.ListComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.IfExp,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Compare,
    ast.cmpop,
)


def python_of(text: str) -> tuple[ast.expr, Emitter] | None:
    """The Python nodes of an expression, or None where it is refused."""
    refused: list[str] = []
    try:
        root, _ = parse(text)
    except Mistake:
        return None
    checker = Checker(text, lambda code, at, message, mend: refused.append(code), variables=VARS, each=True)
    checker.visit(root, TOP)
    if refused:
        return None
    emitter = Emitter()
    return emitter.expression(Expression(root, text, Place(text, (), locate), checker.maps)), emitter


def held(text: str) -> bool:
    """Assert that an expression makes only allowed nodes and closed names; say whether it was taken."""
    made = python_of(text)
    if made is None:
        return False
    tree, emitter = made
    for node in ast.walk(tree):
        assert isinstance(node, ALLOWED), type(node)
        if isinstance(node, ast.Name):
            known = node.id in emitter.given or node.id in emitter.names or node.id == "purse"
            assert known or (node.id[0] == "x" and node.id[1:].isdigit()), node.id
    return True


@pytest.mark.parametrize("expression", [expression for expression, _ in VALUES])
def test_an_expression_makes_only_nodes_and_names_of_the_closed_list(expression: str) -> None:
    assert held(expression)


TOKENS = """
value topic vars item index headers x y . .? [ [? ] ( ) { } , : ? ! - + * / % == != < <= in && || 1 2.5 0x1 'a' "b"
b"c" r"d" true null has size int string map filter exists all exists_one orValue or math json timestamp duration millis
matches split __class__ __import__ __builtins__ lambda import f_add k1 purse names x1 $ #
"""
PIECES = st.sampled_from([*TOKENS.split(), "\\", "\n"])


@given(st.lists(PIECES, max_size=30).map(" ".join))
@settings(max_examples=400, deadline=None)
def test_no_text_of_tokens_crashes_the_compiler_or_escapes_the_names(text: str) -> None:
    held(text)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_text_at_all_crashes_the_compiler(text: str) -> None:
    held(text)
    compile_map({"x": "a ${" + text + "} b"}, ("map",), locate, [], VARS)
    compile_condition(text, ("when",), locate, [], VARS)


LITERALS = st.sampled_from(
    ["1", "2.5", "'a'", "true", "null", "value.n", "value.d", "value.id", "value.tags", "value.x"]
)


def grown(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(children, children)
    return st.one_of(
        st.tuples(children, st.sampled_from(["+", "-", "*", "/", "%", "==", "<", "in", "&&", "||"]), children).map(
            lambda found: f"({found[0]} {found[1]} {found[2]})"
        ),
        pair.map(lambda found: f"[{found[0]}, {found[1]}]"),
        pair.map(lambda found: f"(true ? {found[0]} : {found[1]})"),
        pair.map(lambda found: f"{found[0]}.map(i, {found[1]})"),
        pair.map(lambda found: f"{found[0]}.exists(i, i == {found[1]})"),
        children.map(lambda found: f"value.?gone.orValue({found})"),
        st.tuples(st.sampled_from(["size", "string", "int", "double", "!", "-"]), children).map(
            lambda found: f"{found[0]}({found[1]})"
        ),
    )


@given(st.recursive(LITERALS, grown, max_leaves=12))
@settings(max_examples=400, deadline=None)
def test_whatever_is_taken_gives_a_value_or_fails_at_a_place(text: str) -> None:
    report: list[Problem] = []
    mapped = compile_map({"x": "${" + text + "}"}, ("map",), locate, report, VARS)
    assert (mapped is None) == bool(report)
    if mapped is not None:
        found = outcome(text, RECORD)
        if isinstance(found, MappingFailed):
            assert found.where.line == 10
            assert 20 <= found.where.column <= 22 + len(text)


ESCAPES = [
    "value.__class__",
    "value.__class__.__mro__[1].__subclasses__",
    "value['__class__']",
    "topic.__class__",
    "f_add",
    "names",
    "k1",
    "purse",
    "value.x.format(value)",
    "__builtins__",
    "__import__('os').system('id')",
    "''.join.__globals__",
    "value.map(f_add, f_add)",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_no_expression_reaches_python(expression: str) -> None:
    if held(expression):
        with pytest.raises(MappingFailed):
            evaluate(expression, {"x": "{0.__class__}"} if "map" not in expression else "text")


def test_a_field_called_like_an_attribute_is_a_field() -> None:
    assert evaluate("value.__class__", {"__class__": "mine"}) == "mine"


def test_the_compiled_function_has_no_builtins_and_only_its_own_names() -> None:
    mapped = compile_map({"x": "${value.n + 1}", "y": "a ${value.n}"}, ("map",), locate, [], {})
    made: Any = getattr(mapped, "__wrapped__", None)
    assert made.__globals__["__builtins__"] == {}
    assert set(made.__globals__) == {"__builtins__", "f_add", "f_text"}
    assert isinstance(made.__code__, CodeType)
    assert made.__code__.co_filename == "orders.yaml"


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "expression",
    ["value.a == value.b", "json.encode(value.a)", "value.a in [value.b, value.b]", "value.a != [1]", "{'a': value.a}"],
)
def test_a_record_of_ten_thousand_levels_ends_in_a_value_or_a_failure(expression: str) -> None:
    found = outcome(expression, {"a": deep(10_000), "b": deep(10_000)})
    assert not isinstance(found, MappingFailed) or found.code in ("TooDeep", "BadValue")


def test_infinity_and_nan_of_a_record_are_doubles() -> None:
    record = {"inf": json.loads("1e9999"), "nan": json.loads("NaN")}
    assert evaluate("string(value.inf)", record) == "inf"
    assert evaluate("value.nan == value.nan", record) is False
    assert failure("int(value.inf)", record).code == "BadValue"
    assert failure("millis(value.inf)", record).code in ("BadValue", "OutOfRange")
    assert evaluate("math.round(value.inf)", record) == float("inf")


@pytest.mark.parametrize("expression", ["sha256(value)", "uuid5(value)", "json.encode(value)", "bytes(value)"])
def test_a_lone_surrogate_fails_where_it_must_become_bytes(expression: str) -> None:
    assert failure(expression, "\ud800").code == "BadValue"


@pytest.mark.parametrize(
    "expression",
    [
        "[value]" + ".map(a, a + a)" * 200,
        "[value]" + ".map(a, a.replace('a', 'aaaaaaaa'))" * 100,
        "[value]" + ".map(a, [a, a, a].join())" * 150,
        "[[value]]" + ".map(a, a + a)" * 200,
        "[{'a': value}]" + ".map(a, {'a': a, 'b': a})" * 120,
        "json.encode([value]" + ".map(a, [a, a])" * 200 + ")",
        "[value]" + ".map(a, json.encode([a, a]))" * 120,
        "[7]" + ".map(a, a * a)" * 200,
        "base64.encode(" * 59 + "value" + ")" * 59,
        "json.encode(" * 59 + "value + '\"'" + ")" * 59,
    ],
    ids=lambda text: text[:40],
)
def test_a_value_that_grows_without_end_is_stopped(expression: str) -> None:
    assert failure(expression, "a" * 200).code == "TooLarge"


@pytest.mark.parametrize(
    "expression",
    [
        "value.list.map(a, value.list.map(b, a))",
        "value.list.filter(a, a in value.list.map(b, b))",
        "value.list.exists(a, value.list.all(b, b >= 0) && a < 0)",
        "value.list.filter(a, value.list == value.same && a < 0)",
        "value.list.map(a, json.encode(value.list).size())",
        "value.list.exists(a, value.text.contains('x'))",
    ],
)
def test_work_that_grows_with_the_square_of_a_record_is_stopped(expression: str) -> None:
    numbers = list(range(20_000))
    assert failure(expression, {"list": numbers, "same": list(numbers), "text": "a" * 100_000}).code == "TooLarge"


def test_each_makes_ten_thousand_events_of_a_record_and_no_more() -> None:
    report: list[Problem] = []
    each = compile_each("${value.lines}", ("each",), locate, report, {})
    assert each is not None, report
    assert len(each(names({"lines": [1] * MOST_EVENTS}))) == MOST_EVENTS == 10_000
    with pytest.raises(MappingFailed) as caught:
        each(names({"lines": [1] * (MOST_EVENTS + 1)}))
    assert (caught.value.code, "10001" in caught.value.reason) == ("TooLarge", True)


def test_a_string_of_ten_megabytes_is_handled() -> None:
    big = {"s": "a" * 10_000_000}
    assert evaluate("size(value.s.upperAscii() + 'b')", big) == 10_000_001
    assert failure("value.s + value.s", big).code == "TooLarge"
    assert failure("int(value.s)", big).code == "BadValue"
    assert failure("double(value.s)", big).code == "BadValue"
    assert len(big["s"]) < LARGEST
