"""The same answers as moto's own matcher, where that one is right. moto is a test double and used in tests only."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.events.models import EventPattern

from tests.unit.mapping.match import compiled, record
from tests.unit.mapping.test_pattern import VALUES

# (name, pattern, value, the documented answer): what moto 5.2.5 gets wrong. When it learns, a line here fails and goes.
MOTO_IS_WRONG: list[tuple[str, Any, Any, bool]] = [
    ("true equals 1", {"a": [True]}, {"a": 1}, False),
    ("1 equals true", {"a": [1]}, {"a": True}, False),
    ("numeric accepts true and false", {"a": [{"numeric": [">", 0]}]}, {"a": True}, False),
    ("anything-but takes true for 1", {"a": [{"anything-but": 1}]}, {"a": True}, True),
    ("wildcard stops at a newline", {"a": [{"wildcard": "x*y"}]}, {"a": "x\ny"}, True),
    ("cidr accepts integers", {"a": [{"cidr": "10.0.0.0/8"}]}, {"a": 167772161}, False),
    ("cidr refuses host bits", {"a": [{"cidr": "10.0.0.9/8"}]}, {"a": "10.0.0.1"}, True),
    ("cidr accepts an interface name", {"a": [{"cidr": "fe80::/10"}]}, {"a": "fe80::1%eth0"}, False),
    ("arrays of objects", {"a": {"b": [1]}}, {"a": [{"b": 2}, {"b": 1}]}, True),
    ("arrays of arrays", {"a": [1]}, {"a": [[1]]}, True),
    ("an object counts as a value", {"a": [{"anything-but": "x"}]}, {"a": {}}, False),
    ("an empty object exists", {"a": [{"exists": True}]}, {"a": {}}, False),
    ("an empty array exists", {"a": [{"exists": True}]}, {"a": []}, False),
    ("an array of objects exists", {"a": [{"exists": True}]}, {"a": [{"b": 1}]}, False),
    ("dots in a name are a path", {"a.b": [1]}, {"a": {"b": 1}}, False),
    ("an empty object in an array exists", {"a": [{"exists": False}]}, {"a": [[], {}]}, True),
]


def moto(pattern: Any, value: Any) -> bool:
    event: Any = {"value": value}  # moto's type is an EventBridge event, but it matches any object
    return EventPattern.load(json.dumps({"value": pattern})).matches_event(event)


def wrong(pattern: Any, value: Any) -> bool:
    """Whether the pair falls under a line of MOTO_IS_WRONG."""
    text, event = json.dumps(pattern), json.dumps(value)
    odd_arrays = any(token in event for token in ("[[", "[{", "[]", "{}", ", [", ", {"))
    booleans = any(word in text + event for word in ("true", "false")) and any(digit in text + event for digit in "01")
    numeric_boolean = "numeric" in text and ("true" in event or "false" in event)
    dotted = any("." in key for key in [*pattern, *(value if isinstance(value, dict) else ())])
    surrogates = "\\ud" in text + event  # two halves of a pair become one character on the way through JSON
    return surrogates or odd_arrays or booleans or numeric_boolean or dotted or "cidr" in text or "\\n" in event


@pytest.mark.parametrize(("name", "pattern", "value", "right"), MOTO_IS_WRONG)
def test_a_known_mistake_of_moto_is_not_ours(name: str, pattern: Any, value: Any, right: bool) -> None:
    assert compiled({"value": pattern})(record(value=value)) is right
    assert moto(pattern, value) is not right, f"moto has learnt: {name}"


COMPARED = [(pattern, value, expected) for pattern, value, expected in VALUES if not wrong(pattern, value)]


@pytest.mark.parametrize(("pattern", "value", "expected"), COMPARED)
def test_moto_agrees_with_the_table(pattern: Any, value: Any, expected: bool) -> None:
    assert moto(pattern, value) is expected


def test_most_of_the_table_is_compared_with_moto() -> None:
    assert len(COMPARED) > 110


WORD = st.text("abAB*", max_size=4)
NUMBER = st.integers(-9, 9) | st.sampled_from([0.5, 1e9])
FEW = st.lists(WORD.filter(bool), min_size=1, max_size=3)
LIKE = st.lists(st.sampled_from(["a", "b", "B", r"\*"]), max_size=3).map("*".join)
TEST = st.one_of(
    *(st.none(), NUMBER, WORD),
    WORD.map(lambda x: {"prefix": x}),
    WORD.map(lambda x: {"suffix": {"equals-ignore-case": x}}),
    WORD.map(lambda x: {"equals-ignore-case": x}),
    LIKE.map(lambda x: {"wildcard": x}),
    st.booleans().map(lambda x: {"exists": x}),
    (WORD | FEW | NUMBER).map(lambda x: {"anything-but": x}),
    FEW.map(lambda x: {"anything-but": {"prefix": x}}),
    FEW.map(lambda x: {"anything-but": {"equals-ignore-case": x}}),
    st.builds(lambda sign, x: {"numeric": [sign, x]}, st.sampled_from(["=", "<", "<=", ">", ">="]), NUMBER),
)
LEAF = st.lists(TEST, min_size=1, max_size=3)
FIELDS = st.dictionaries(
    st.sampled_from("ab"), LEAF | st.dictionaries(st.sampled_from("cd"), LEAF, min_size=1), min_size=1
)
OR = st.lists(st.dictionaries(st.sampled_from("ef"), LEAF, min_size=1), min_size=2, max_size=3)
PATTERN = FIELDS | st.builds(lambda fields, branches: {**fields, "$or": branches}, FIELDS, OR)
SCALAR = st.none() | NUMBER | WORD
FLAT = SCALAR | st.lists(SCALAR, min_size=1, max_size=3)
VALUE = st.dictionaries(
    st.sampled_from("abef"), FLAT | st.dictionaries(st.sampled_from("cd"), FLAT, min_size=1), min_size=1
)


@settings(max_examples=250, deadline=None)
@given(PATTERN, VALUE)
def test_moto_agrees_on_patterns_and_records_without_its_known_mistakes(pattern: Any, value: Any) -> None:
    assert compiled({"value": pattern})(record(value=value)) is moto(pattern, value)
