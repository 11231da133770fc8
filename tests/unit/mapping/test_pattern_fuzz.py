"""Patterns and records nobody wrote: no crash, no escape, and the answers of a second, plainer implementation."""

import ast
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.mapping import pattern_code
from connector.mapping.pattern import compile_match
from connector.mapping.pattern_code import Writer
from connector.mapping.pattern_read import Reader
from connector.mapping.pattern_tree import FIELDS
from connector.mapping.problem import Problem
from tests.unit.mapping.match import ROOT, compiled, nowhere, record

ODD_TEXT = st.text(max_size=6) | st.sampled_from(
    [
        "$or",
        "value",
        "__class__",
        "__import__('os').abort()",
        "\ud800",
        "a**",
        "\\",
        "prefix",
        "numeric",
        "10.0.0.0/8",
        "x" * 300,
    ]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT | st.binary(max_size=3)
TREE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.one_of(ODD_TEXT, SCALAR), inner, max_size=4),
    max_leaves=25,
)

KEY = st.sampled_from(["a", "b", "__class__", "get"])
WORD = st.text("ab*\\ß", max_size=4)
NUMBER = st.integers(-2, 3) | st.sampled_from([0.0, 1.0, 1.5, 10**40])
LIKE = st.lists(st.sampled_from(["a", "b", r"\*", r"\\"]), max_size=3).map("*".join)


@st.composite
def numeric(draw: st.DrawFn) -> dict[str, Any]:
    low, high = draw(NUMBER), draw(NUMBER)
    if low < high and draw(st.booleans()):
        return {"numeric": [draw(st.sampled_from([">", ">="])), low, draw(st.sampled_from(["<", "<="])), high]}
    return {"numeric": [draw(st.sampled_from(["=", "<", "<=", ">", ">="])), low]}


def one_or_many(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return texts | st.lists(texts, min_size=1, max_size=3)


SOME_WORD = WORD.filter(bool)
MATCHER = st.one_of(
    one_or_many(WORD).map(lambda x: {"prefix": x}),
    one_or_many(WORD).map(lambda x: {"suffix": x}),
    LIKE.map(lambda x: {"wildcard": x}),
    numeric(),
    st.booleans().map(lambda x: {"exists": x}),
    st.one_of(WORD, NUMBER, st.lists(WORD, min_size=1), st.lists(NUMBER, min_size=1)).map(
        lambda x: {"anything-but": x}
    ),
    one_or_many(SOME_WORD).map(lambda x: {"anything-but": {"prefix": x}}),
    one_or_many(LIKE).map(lambda x: {"anything-but": {"wildcard": x}}),
)
LEAF = st.lists(st.none() | st.booleans() | NUMBER | WORD | MATCHER, min_size=1, max_size=6)


def objects(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    below: st.SearchStrategy[Any] = LEAF if depth == 0 else LEAF | objects(depth - 1)
    plain = st.dictionaries(KEY, below, min_size=1, max_size=3)
    if depth == 0:
        return plain
    choice = st.lists(objects(depth - 1), min_size=2, max_size=3)
    return plain | st.builds(lambda fields, branches: {**fields, "$or": branches}, plain, choice)


PATTERN = objects(2)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=12,
)


# ---- the plainer implementation: every way through $or is written out, then each is asked of the record -------------


def ways(pattern: dict[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    """Each way as (key, list of tests) and (key, ways below)."""
    found: list[list[tuple[str, Any]]] = [[]]
    for key, below in pattern.items():
        if key == "$or":
            found = [way + more for way in found for branch in below for more in ways(branch)]
        elif isinstance(below, dict):
            found = [[*way, (key, more)] for way in found for more in ways(below)]
        else:
            found = [[*way, (key, tuple(below))] for way in found]
    yield from found


def joined(way: list[tuple[str, Any]]) -> dict[tuple[str, bool], Any]:
    """The conditions below one field in one place, as one element of an array must meet them all."""
    fields: dict[tuple[str, bool], Any] = {}
    for key, below in way:
        deeper = isinstance(below, list)
        if deeper:
            fields.setdefault((key, True), []).extend(below)
        else:
            fields.setdefault((key, False), []).append(below)
    return fields


def leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [] if isinstance(value, dict) else [value]


def inner(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in inner(each)]
    return [value] if isinstance(value, dict) else []


def nothing_holds(way: list[tuple[str, Any]]) -> bool:
    return holds(way, {})


def holds(way: list[tuple[str, Any]], value: dict[str, Any]) -> bool:
    for (key, deeper), below in joined(way).items():
        there = [value[key]] if key in value else []
        if deeper:
            found = [holds(below, each) for each in inner(there)]
            if not (all(found) if nothing_holds(below) else any(found)):
                return False
        else:
            for tests in below:
                found_leaves = leaves(there)
                absent = not found_leaves and {"exists": False} in [each for each in tests if isinstance(each, dict)]
                if not absent and not any(passes(test, leaf) for test in tests for leaf in found_leaves):
                    return False
    return True


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def passes(test: Any, leaf: Any) -> bool:
    if not isinstance(test, dict):
        return same(test, leaf)
    ((operator, operand),) = test.items()
    many = operand if isinstance(operand, list) else [operand]
    match operator:
        case "exists":
            return operand is True
        case "numeric":
            pairs = list(zip(operand[::2], operand[1::2], strict=True))
            compare = {"=": lambda a, b: a == b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
                       ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}  # fmt: skip
            return is_number(leaf) and all(compare[sign](leaf, number) for sign, number in pairs)
        case "anything-but" if isinstance(operand, dict):
            return not passes(operand, leaf)
        case "anything-but":
            return not any(same(each, leaf) for each in many)
    if not isinstance(leaf, str):
        return False
    if operator == "wildcard":
        return any(like(each, leaf) for each in many)
    return any(leaf.startswith(each) if operator == "prefix" else leaf.endswith(each) for each in many)


def like(pattern: str, text: str) -> bool:
    """A wildcard by its definition: each star tries every length. Good for short texts only."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(like(pattern[1:], text[index:]) for index in range(len(text) + 1))
    if pattern[0] == "\\":
        pattern = pattern[1:]
    return text[:1] == pattern[0] and like(pattern[1:], text[1:])


# ---- properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(TREE)
@example({"value": {"a": [{"cidr": "٠.0.0.0/8"}]}})
@example({"value": {"a": [{"cidr": "10.0.0.0/٨"}]}})
@example({"value": {"a": [{"anything-but": {"wildcard": ["\\"]}}]}})
def test_any_tree_is_compiled_or_refused_with_a_reason(tree: Any) -> None:
    for pattern in (tree, {"value": tree}, {"value": {"a": tree}}, {"value": {"a": [tree]}}, {"value": {"$or": tree}}):
        report: list[Problem] = []
        match = compile_match(pattern, ROOT, nowhere, report)
        assert (match is None) == any(problem.level == "error" for problem in report)
        for problem in report:
            str(problem).encode()
        if match is not None:
            assert match(record(value=tree)) in (True, False)


@settings(max_examples=250, deadline=None)
@given(PATTERN, VALUE)
@example({"a": {"b": ["x"]}, "$or": [{"a": {"get": ["y"]}}, {"b": [1]}]}, {"a": [{"b": "x"}, {"get": "y"}]})
def test_generated_code_answers_like_the_plain_implementation(pattern: dict[str, Any], value: Any) -> None:
    report: list[Problem] = []
    match = compile_match({"value": pattern}, ROOT, nowhere, report)
    if match is None:
        assert {problem.code for problem in report} == {"PAT024"}
        return
    whole = {"value": value}
    expected = any(holds(way, whole) for way in ways({"value": pattern}))
    assert match(record(value=value)) is expected
    assert (match.explain(record(value=value)) is None) is expected


@settings(max_examples=300, deadline=None)
@given(LIKE, st.text("ab*\\", max_size=8))
def test_a_wildcard_means_what_its_definition_says(pattern: str, text: str) -> None:
    assert compiled({"value": [{"wildcard": pattern}]})(record(value=text)) is like(pattern, text)


class Watched(str):
    """A text that writes down where it was searched."""

    __slots__ = ("searched",)
    searched: list[tuple[int, int]]

    def find(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        found = super().find(sub, start, end)
        self.searched.append((start, found + len(sub) if found >= 0 else end))
        return found


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=12), st.text("ab", max_size=200))
@example(["a"] * 8 + ["b"], "a" * 120)
@example(["aab"] * 12, "aa" * 100)
def test_a_wildcard_searches_no_part_of_a_text_twice(segments: list[str], text: str) -> None:
    watched = Watched(text)
    watched.searched = []
    pattern_code._like(watched, ("", *segments, ""))
    assert len(watched.searched) <= len(segments)
    assert sum(end - start for start, end in watched.searched) <= len(text)
    assert all(one[1] <= next_[0] for one, next_ in zip(watched.searched, watched.searched[1:], strict=False))


ALLOWED = (
    *(ast.Expression, ast.Lambda, ast.arguments, ast.arg, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.IfExp),
    *(ast.Compare, ast.Eq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.Call, ast.Attribute),
    *(ast.NamedExpr, ast.Name, ast.Load, ast.Store, ast.Constant),
)
NAMES = {
    *("type", "str", "int", "float", "bool", "dict", "list", "ABSENT", "some", "some_object", "every_object", "bare"),
    *("like", "starts_in_any_case", "ends_in_any_case", "equals_in_any_case", "inside"),
}


@settings(max_examples=100, deadline=None)
@given(PATTERN)
@example({"__import__('os')": [{"prefix": "__builtins__"}], "\n": [{"cidr": "::/0"}]})
def test_generated_code_is_made_of_a_closed_set_of_nodes_and_names(pattern: dict[str, Any]) -> None:
    reader = Reader(nowhere, [])
    conditions = reader.record({"value": pattern}, ROOT)
    if reader.failed:
        return
    writer = Writer()
    writer.of_record(conditions)
    assert writer.trees
    for tree in writer.trees:
        assert isinstance(tree.body, ast.Lambda)
        local = {argument.arg for argument in tree.body.args.args} | {
            node.target.id for node in ast.walk(tree) if isinstance(node, ast.NamedExpr)
        }
        assert not local & NAMES
        for node in ast.walk(tree):
            assert isinstance(node, ALLOWED), ast.dump(node)
            if isinstance(node, ast.Name):
                assert node.id in NAMES | local or (node.id.startswith("shared") and node.id[6:].isdigit())
            if isinstance(node, ast.Attribute):
                assert node.attr in {"get", "startswith", "endswith", *FIELDS}
            if isinstance(node, ast.Constant):
                assert type(node.value) in (str, int, float, bool, type(None), tuple, frozenset)
    assert writer.environment["__builtins__"] == {}
    assert {name for name in writer.environment if not name.startswith("shared")} == NAMES | {"__builtins__"}


@settings(max_examples=50, deadline=None)
@given(PATTERN, VALUE, VALUE)
def test_what_a_record_holds_changes_neither_the_code_nor_later_answers(pattern: Any, one: Any, other: Any) -> None:
    report: list[Problem] = []
    match = compile_match({"value": pattern}, ROOT, nowhere, report)
    if match is None:
        return
    first = match(record(value=one))
    match(record(value=other))
    match.explain(record(value=other))
    assert match(record(value=one)) is first
