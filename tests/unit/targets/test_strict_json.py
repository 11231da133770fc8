"""strict_json: what passes, what does not, and that no depth hurts."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.targets.strict_json import Flaw, encode, parse

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # half of a surrogate pair is not Unicode, and has its own test
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: st.lists(below) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), below),
    max_leaves=30,
)
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON)


def nested(levels: int, inside: str = "1") -> str:
    """An object of so many levels, as text."""
    return '{"a":' * levels + inside + "}" * levels


def nest(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def code_of(text: str | bytes) -> str:
    with pytest.raises(Flaw) as flaw:
        parse(text)
    return flaw.value.code


@given(OBJECTS)
def test_what_is_encoded_reads_back_equal(value: dict[str, Any]) -> None:
    assert json.loads(encode(value)) == value
    assert parse(encode(value)) == value


@given(OBJECTS)
def test_the_standard_writer_is_understood(value: dict[str, Any]) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, indent=2).encode()) == value


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)  # each is 600 levels deep; a machine may be slow
@given(OBJECTS)
def test_deep_objects_pass_the_same_way_as_shallow_ones(value: dict[str, Any]) -> None:
    deep: Any = value
    for _ in range(600):
        deep = [deep]
    text = encode({"a": deep})
    assert text == '{"a":' + "[" * 600 + encode(value) + "]" * 600 + "}"
    assert encode(parse(text)) == text


@pytest.mark.parametrize("levels", [1, 253, 254, 255, 900, 999, 1000])
def test_a_thousand_levels_pass(levels: int) -> None:
    assert encode(parse(nested(levels, "{}" if levels < 1000 else "1"))).count("{") >= levels
    assert encode(nest(levels)) == '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize("levels", [1001, 1024, 1025, 10_000, 200_000])
def test_more_than_a_thousand_levels_are_too_deep(levels: int) -> None:
    assert code_of(nested(levels)) == "TooDeep"
    assert code_of(nested(levels).encode()) == "TooDeep"
    assert code_of('{"a":' + "[" * levels + "]" * levels + "}") == "TooDeep"
    value = nest(levels)
    with pytest.raises(Flaw) as flaw:
        encode(value)
    assert flaw.value.code == "TooDeep"
    while value:  # take it apart from outside: nothing may recurse, the test's own clean-up included
        value = value.pop("a", {})


def test_brackets_in_text_count_for_no_level() -> None:
    assert parse('{"a":"' + "[" * 5000 + '"}') == {"a": "[" * 5000}
    assert parse(json.dumps({"a": '"[' * 5000})) == {"a": '"[' * 5000}


def test_many_objects_beside_each_other_are_not_deep() -> None:
    assert parse(json.dumps({"a": [{"b": n} for n in range(3000)]}))["a"][2999] == {"b": 2999}


@pytest.mark.parametrize("wide", ["", ',"w":[' + "{}," * 2000 + "{}]"], ids=["short", "long"])
@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ('"b":1,"b":2', "DuplicateKey"),
        ('"b":1,"\\u0062":2', "DuplicateKey"),
        ('"b":{"c":1,"d":{"c":1},"c":1}', "DuplicateKey"),
        ('"b":NaN', None),
        ('"b":-Infinity', None),
        ('"b":1e400', "NotFinite"),
        ('"b":-1e400', "NotFinite"),
        ('"b":9223372036854775808', "IntegerOutOfRange"),
        ('"b":-9223372036854775809', "IntegerOutOfRange"),
        ('"b":18446744073709551616', "IntegerOutOfRange"),
        ('"b":' + "9" * 5000, "IntegerOutOfRange"),
        ('"b":', "MalformedJson"),
        ('"b":01', "MalformedJson"),
        ('"b":1.', "MalformedJson"),
        ('"b":+1', "MalformedJson"),
        ('"b":1-1', "MalformedJson"),
        ("b:1", "MalformedJson"),
        ("'b':1", "MalformedJson"),
        ('"b":1,', "MalformedJson"),
        ('"b":"\t"', "MalformedJson"),
        ('"b":"\\x"', "MalformedJson"),
        ('"b":[1,]', "MalformedJson"),
        ('"b":[1}', "MalformedJson"),
    ],
)
def test_a_flaw_has_the_same_name_in_short_and_long_texts(inside: str, code: str | None, wide: str) -> None:
    # orjson, which reads the long ones, calls NaN malformed: both are refused, that is what counts
    expected = {code} if code else {"NotFinite", "MalformedJson"}
    assert code_of("{" + inside + wide + "}") in expected


@pytest.mark.parametrize("wide", ["", ',"w":[' + "{}," * 2000 + "{}]"], ids=["short", "long"])
def test_the_last_integers_of_64_bits_pass(wide: str) -> None:
    value = parse('{"a":9223372036854775807,"b":-9223372036854775808,"c":[{"a":1},{"a":-0}]' + wide + "}")
    assert (value["a"], value["b"]) == (2**63 - 1, -(2**63))


@pytest.mark.parametrize("text", ["[]", "1", '"{}"', "null", "true", "[" + "{}," * 2000 + "{}]"])
def test_only_an_object_passes(text: str) -> None:
    assert code_of(text) == "NotAnObject"


@pytest.mark.parametrize("text", ["", " ", "{}{}", "{} x", "{", "}", "\ufeff{}", b"\x00", "]" * 3000, "[" * 900])
def test_what_is_no_json_is_malformed(text: str | bytes) -> None:
    assert code_of(text) == "MalformedJson"


def test_bytes_that_are_not_utf8_are_named_so() -> None:
    assert code_of(b'{"a":"\xff"}') == "NotUTF8"


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_text_is_an_object_or_a_flaw(text: str | bytes) -> None:
    with contextlib.suppress(Flaw):
        assert isinstance(parse(text), dict)


@pytest.mark.parametrize(
    ("value", "code", "where"),
    [
        ({"a": [1, {"b": float("nan")}]}, "NotFinite", ".a[1].b"),
        ({"a": float("-inf")}, "NotFinite", ".a"),
        ({"a": {"b": 2**63}}, "IntegerOutOfRange", ".a.b"),
        ({"a": -(2**63) - 1}, "IntegerOutOfRange", ".a"),
        ({"a": b"raw"}, "WrongType", ".a"),
        ({"a": {1: "b"}}, "WrongType", ".a"),
        ({"a": {1, 2}}, "WrongType", ".a"),
        ({"a": datetime(2026, 1, 1)}, "WrongType", ".a"),  # noqa: DTZ001  # a time without a zone is the point
        ({"a": "\ud800"}, "NotUTF8", ""),
        ({"\ud800": 1}, "NotUTF8", ""),
    ],
)
def test_a_value_that_json_does_not_have_is_named_with_its_place(value: Any, code: str, where: str) -> None:
    with pytest.raises(Flaw) as flaw:
        encode(value)
    assert (flaw.value.code, flaw.value.where) == (code, where)


def test_a_very_long_place_is_cut() -> None:
    value: Any = float("nan")
    for _ in range(900):
        value = {"name": value}
    with pytest.raises(Flaw) as flaw:
        encode(value)
    assert len(flaw.value.where) == 201


def test_times_become_rfc_3339_and_text_stays_unescaped() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    east = moment.astimezone(timezone(timedelta(hours=2)))
    assert encode({"a": moment, "b": east, "c": "é😀", "d": (1, None, True)}) == (
        '{"a":"2026-01-02T03:04:05.678900Z","b":"2026-01-02T05:04:05.678900+02:00","c":"é😀","d":[1,null,true]}'
    )
