"""The leaves of `map`: what they make, and how they are held against what a target takes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connector.mapping import MappingFailed, Path, Places, Position, Problem, compile_map
from connector.targets.contract import Leaf
from tests.unit.mapping.cel import VARS, leaf, locate, names, problems

RECORD = names({"id": "o-1", "n": 5, "d": 2.0, "yes": True, "nil": None, "tags": ["a"], "at": 1_700_000_000_000})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (2.5, 2.5),
        (True, True),
        (None, None),
        ([], []),
        ({}, {}),
        ([1, "a", {"b": None}], [1, "a", {"b": None}]),
        ("$", "$"),
        ("$5 and {x}", "$5 and {x}"),
        ("$${value.id}", "${value.id}"),
        ("a $${b} ${value.id}", "a ${b} o-1"),
        ("${value.id}$${b}", "o-1${b}"),
        ("${value.n}", 5),
        ("${value}", RECORD.value),
        (" ${value.n}", " 5"),
        ("${value.id}", "o-1"),
        ("${value.id}${value.n}", "o-15"),
        ("n=${value.n} d=${value.d} yes=${value.yes}", "n=5 d=2 yes=true"),
        ("at ${millis(value.at)}", "at 2023-11-14T22:13:20Z"),
        ("for ${duration('90s')}", "for 90s"),
        ("raw ${b'hi'}", "raw hi"),
        ("${topic}/${partition}/${offset}", "orders/3/7"),
        ("${{'a': '}'}.a}", "}"),
        ("${'$${x}'}", "$${x}"),
        ("${millis(value.at)}", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("${value.?gone}", "absent"),
        ("${value.?nil}", None),
        ({"a": "${value.?gone}", "b": 1}, {"b": 1}),
        ({"a": "${value.?id}", "b": {"c": "${value.?gone}"}}, {"a": "o-1", "b": {}}),
        (["${value.?gone}", "${value.id}", "${value.?n}"], ["o-1", 5]),
        ("stage ${vars.stage} ${vars.limit}", "stage dev 5"),
        ("${vars.on}", True),
    ],
)
def test_a_leaf_makes_its_value(text: Any, expected: Any) -> None:
    found = leaf(text, RECORD)
    assert (found, type(found)) == (expected, type(expected))


def test_keys_keep_the_order_of_the_map() -> None:
    assert list(leaf({"b": 1, "a": "${value.?id}", "c": "${value.?gone}", "d": 2}, RECORD)) == ["b", "a", "d"]


def test_a_literal_part_is_made_anew_for_each_record() -> None:
    report: list[Problem] = []
    mapped = compile_map({"tags": ["a"]}, ("map",), locate, report, {})
    assert mapped is not None
    mapped(RECORD)["tags"].append("b")
    assert mapped(RECORD) == {"tags": ["a"]}


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("${value.a", "MAP002", 20),
        ("a ${", "MAP002", 22),
        ({"${value": "x"}, "MAP003", 20),
        ({"${value.paid ? 'a'": "'b'}"}, "MAP003", 20),
        ("no ${value.?a}", "CEL024", 32),
        ("no ${null}", "MAP006", 25),
        ("no ${[1]}", "MAP006", 25),
        ("no ${headers}", "MAP006", 25),
        ({5: "a"}, "MAP008", 20),
        (datetime(2026, 1, 1, tzinfo=UTC), "MAP009", 20),
        ("a ${valeu.b}", "CEL010", 24),
        ("a ${1} ${2 +}", "CEL006", 32),
    ],
)
def test_a_leaf_that_cannot_work_is_refused(text: Any, code: str, column: int) -> None:
    assert [(each.code, each.where.column) for each in problems(text)] == [(code, column)]


def test_a_map_that_is_none_is_refused() -> None:
    report: list[Problem] = []
    assert compile_map(["a"], ("map",), locate, report, {}) is None
    assert [each.code for each in report] == ["MAP001"]


def test_a_map_of_more_than_500_leaves_is_refused_once() -> None:
    assert [each.code for each in problems({str(number): 1 for number in range(600)})] == ["MAP004"]


def test_a_map_that_nests_too_deep_is_refused() -> None:
    tree: Any = 1
    for _ in range(3000):
        tree = [tree]
    assert [each.code for each in problems(tree)] == ["MAP004"]


def test_the_mistakes_of_all_leaves_are_told_at_once() -> None:
    found = problems({"a": "${topic + 1}", "b": ["${valeu}", "${1 +}"], "c": {"d": "${now()}"}})
    assert [(each.code, each.path) for each in found] == [
        ("CEL020", "map.x.a"),
        ("CEL010", "map.x.b[0]"),
        ("CEL006", "map.x.b[1]"),
        ("CEL012", "map.x.c.d"),
    ]


SCHEMA = {
    "Source": Leaf("string", required=True, max_length=10, example="com.acme.shop"),
    "Time": Leaf("time"),
    "Resources": Leaf("list"),
    "Detail": Leaf("json"),
    "Count": Leaf("integer"),
    "Ratio": Leaf("number"),
    "Flag": Leaf("boolean"),
    "Attributes": Leaf("object"),
    "Body": Leaf("document"),
    "Names": Leaf("object", values=Leaf("string", max_length=5)),
    "Numbers": Leaf("object", values=Leaf("number")),
    "Channel": Leaf("string", choices=("PUSH", "SMS")),
    "Bus": Leaf("string", pattern="[a-z]+", example="orders"),
    "Country": Leaf("string", pattern="[A-Z]{2}"),
    "Session": Leaf("object", fields={"Id": Leaf("string", required=True), "Start": Leaf("time")}),
}


def fitted(tree: dict[str, Any]) -> list[Problem]:
    report: list[Problem] = []
    compile_map(tree, ("map",), lambda path: Position("r.yaml", 1 + len(path), 1), report, VARS, SCHEMA)
    return report


@pytest.mark.parametrize(
    "tree",
    [
        {"Source": "com.acme"},
        {"Source": "${value.source}"},
        {"Source": "a.${value.n}"},
        {"Source": "a", "Time": "2026-01-31T12:00:00Z"},
        {"Source": "a", "Time": "${millis(timestamp)}"},
        {"Source": "a", "Time": "${value.at}"},
        {"Source": "a", "Time": "${value.?at}"},
        {"Source": "a", "Resources": ["a", "${value.?b}"]},
        {"Source": "a", "Resources": "${value.tags.map(t, string(t))}"},
        {"Source": "a", "Detail": {"n": 1, "at": "${millis(timestamp)}"}},
        {"Source": "a", "Detail": "${value}"},
        {"Source": "a", "Detail": '{"a": 1}'},
        {"Source": "a", "Count": 1, "Ratio": 1, "Flag": False},
        {"Source": "a", "Count": "${offset}", "Ratio": "${offset / 2.0}", "Flag": "${offset > 1}"},
        {"Source": "a", "Attributes": {"any": "thing"}, "Session": {"Id": "${key}", "Start": "${value.at}"}},
        {"Source": "a", "Session": "${value.session}"},
        {"Source": "a", "Body": {"a": 1}},
        {"Source": "a", "Body": '{"a": 1}'},
        {"Source": "a", "Body": "${base64.decode(topic)}"},
        {"Source": "a", "Body": "${value}", "Names": "${value.names}", "Numbers": {}},
        {"Source": "a", "Names": {"x": "${value.x}", "y": "${value.?y}", "z": "abc"}, "Numbers": {"a": 1, "b": 1.5}},
        {"Source": "a", "Channel": "SMS", "Bus": "orders", "Country": "${value.country}"},
    ],
)
def test_a_map_that_fits_the_target_is_taken(tree: dict[str, Any]) -> None:
    assert fitted(tree) == []


@pytest.mark.parametrize(
    ("tree", "code", "word"),
    [
        ({}, "MAP011", "Source: com.acme.shop"),
        ({"Source": "a", "Sorce": "b"}, "MAP010", "did you mean Source?"),
        ({"Source": "a", "Session": {"Id": "a", "Strat": "b"}}, "MAP010", "did you mean Start?"),
        ({"Source": "a", "Session": {}}, "MAP011", "Id"),
        ({"Source": 5}, "MAP012", "quote it"),
        ({"Source": None}, "MAP012", "leave the key out"),
        ({"Source": "${offset}"}, "MAP012", "string(…)"),
        ({"Source": ["a"]}, "MAP012", "a list"),
        ({"Source": "${[topic]}"}, "MAP012", "json.encode"),
        ({"Source": "a" * 11}, "MAP013", "10 characters"),
        ({"Source": "abcdefghijk.${topic}"}, "MAP013", "10 characters"),
        ({"Source": "${value.?source}"}, "MAP015", "orValue"),
        ({"Source": "a", "Time": "yesterday"}, "MAP014", "RFC 3339"),
        ({"Source": "a", "Time": 1700000000000}, "MAP012", "millis(…)"),
        ({"Source": "a", "Time": "${timestamp}"}, "MAP012", "millis(…)"),
        ({"Source": "a", "Resources": "a"}, "MAP012", "a list"),
        ({"Source": "a", "Resources": [1]}, "MAP012", "quote it"),
        ({"Source": "a", "Resources": "${[1]}"}, "MAP012", "strings"),
        ({"Source": "a", "Count": "1"}, "MAP012", "leave the quotes out"),
        ({"Source": "a", "Count": "${1.5}"}, "MAP012", "int(…)"),
        ({"Source": "a", "Ratio": "${topic}"}, "MAP012", "double(…)"),
        ({"Source": "a", "Flag": "true"}, "MAP012", "without quotes"),
        ({"Source": "a", "Detail": {"raw": "${bytes(topic)}"}}, "MAP012", "base64.encode"),
        ({"Source": "a", "Detail": {"wait": "${duration('1s')}"}}, "MAP012", "string(…)"),
        ({"Source": "a", "Attributes": "a"}, "MAP012", "write a map of keys: {name: …}"),
        ({"Source": "a", "Body": 5}, "MAP012", "put it under a name"),
        ({"Source": "a", "Body": "${value.lines.map(l, l.id)}"}, "MAP012", "a JSON object, not a list"),
        ({"Source": "a", "Body": {"raw": "${bytes(topic)}"}}, "MAP012", "base64.encode"),
        ({"Source": "a", "Names": {"x": 5}}, "MAP012", "`Names.x` takes a string, not an int (quote it)"),
        ({"Source": "a", "Names": {"x": "${offset}"}}, "MAP012", "string(…)"),
        ({"Source": "a", "Names": {"x": "abcdef"}}, "MAP013", "`Names.x` takes 5 characters"),
        ({"Source": "a", "Numbers": {"x": "5"}}, "MAP012", "leave the quotes out"),
        ({"Source": "a", "Count": "${millis(timestamp)}"}, "MAP012", "epochMillis(…)"),
        ({"Source": "a", "Channel": "PUHS"}, "MAP016", "did you mean PUSH? one of PUSH, SMS"),
        ({"Source": "a", "Channel": ""}, "MAP016", "(one of PUSH, SMS)"),
        ({"Source": "a", "Bus": "a bus"}, "MAP016", "for example orders"),
        ({"Source": "a", "Bus": "orders\n"}, "MAP016", "for example orders"),
        ({"Source": "a", "Country": "Norway"}, "MAP016", "write it in the form [A-Z]{2}"),
    ],
)
def test_a_map_that_does_not_fit_the_target_is_refused(tree: dict[str, Any], code: str, word: str) -> None:
    found = fitted(tree)
    assert [each.code for each in found] == [code], found
    assert word in str(found[0])


YAML = """\
map:
  plain: ${value.x}
  double: "a \\"b\\" ${value.x}"
  single: 'it''s ${value.x}'
  folded: >-
    one
    two ${value.x}
  block: |
    one
      two ${value.x}
  long: one
    two ${value.x}
"""
STARTS = {"plain": (2, 10), "double": (3, 11), "single": (4, 11), "folded": (5, 11), "block": (8, 10), "long": (11, 9)}
TEXTS = {
    "plain": "${value.x}",
    "double": 'a "b" ${value.x}',
    "single": "it's ${value.x}",
    "folded": "one two ${value.x}",
    "block": "one\n  two ${value.x}\n",
    "long": "one two ${value.x}",
}


@pytest.mark.parametrize(
    ("name", "line", "column"),
    [
        ("plain", 2, 18),
        ("double", 3, 28),
        ("single", 4, 26),
        ("folded", 7, 17),
        ("block", 10, 19),
        ("long", 12, 17),
    ],
)
def test_a_failure_points_into_a_scalar_however_it_is_written(name: str, line: int, column: int) -> None:
    def find(path: Path) -> Position:
        return Position("r.yaml", *STARTS.get(str(path[-1]), (1, 1)))

    report: list[Problem] = []
    mapped = compile_map({name: TEXTS[name]}, ("map",), Places(find, {"r.yaml": YAML}), report, {})
    assert mapped is not None, report
    with pytest.raises(MappingFailed) as caught:
        mapped(names({}))
    assert caught.value.where == Position("r.yaml", line, column)
    assert YAML.split("\n")[line - 1][column - 1 :].startswith("x}")


def test_two_failing_leaves_of_one_map_are_told_apart() -> None:
    def find(path: Path) -> Position:
        return Position("r.yaml", {"a": 5, "b": 9}.get(str(path[-1]), 1), 3)

    report: list[Problem] = []
    mapped = compile_map({"a": "${value.x}", "b": "${value.y}"}, ("map",), find, report, {})
    assert mapped is not None
    with pytest.raises(MappingFailed, match=r"r\.yaml:9:11"):
        mapped(names({"x": 1}))
