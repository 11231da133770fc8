"""What is refused at load: each mistake with its code, its place and a word of what is said."""

import pytest

from connector.mapping import EXPLAIN, Problem, compile_condition, compile_each
from connector.mapping.check import TOP, Checker
from connector.mapping.parse import parse
from tests.unit.mapping.cel import VARS, leaf, locate, names, problems

# A leaf stands at line 10, column 20; `${` takes two characters, so an expression begins in column 22.
MISTAKES: list[tuple[str, str, int, str]] = [
    ("a" * 4097, "CEL001", 22, "4096"),
    ("(" * 61 + "1" + ")" * 61, "CEL002", 82, "60"),
    ("!" * 70 + "true", "CEL002", 82, "60"),
    ("[" * 61 + "]" * 61, "CEL002", 82, "60"),
    ("+".join(["1"] * 252), "CEL002", 523, "250"),
    ("value" + ".a" * 251, "CEL002", 527, "250"),
    ("value.a.map(x, x.map(y, y.map(z, z)))", "CEL003", 48, "2 loops"),
    ("value.a = 1", "CEL004", 30, "== compares"),
    ("value.a & true", "CEL004", 30, "write &&"),
    ("value.a; 1", "CEL004", 29, "statements"),
    ("`a`", "CEL004", 22, 'value["the-name"]'),
    ("'abc", "CEL004", 22, "not closed"),
    ("1u", "CEL005", 23, "unsigned"),
    ("rb'a'", "CEL006", 24, "has ended before this"),
    ("12abc", "CEL005", 22, "no number"),
    ("1e999", "CEL005", 22, "too large"),
    ("9" * 401, "CEL005", 22, "too large"),
    ("'\\q'", "CEL005", 23, "escape"),
    ("'\\ud800'", "CEL005", 23, "no character"),
    ("b'\\u0041'", "CEL005", 24, "\\xHH"),
    ("1 +", "CEL006", 25, "the end"),
    ("1 2", "CEL006", 24, "`2`"),
    ("(1", "CEL006", 24, "closed with )"),
    ("[1 2]", "CEL006", 25, "commas"),
    ("{'a' 1}", "CEL006", 27, '"key": value'),
    ("value.a and value.b", "CEL006", 30, "write &&"),
    ("if", "CEL006", 22, "condition ? a : b"),
    ("value.in", "CEL006", 28, '["in"]'),
    ("value.0", "CEL006", 27, "list[0]"),
    ("true ? 1", "CEL006", 30, "condition ? a : b"),
    ("a b", "CEL006", 24, "`b`"),
    ("", "CEL007", 22, "empty"),
    ("valeu.x", "CEL010", 22, "did you mean value?"),
    ("status", "CEL010", 22, "value.status"),
    ("size", "CEL010", 22, "is a function"),
    ("vars.stag", "CEL011", 27, "did you mean stage?"),
    ("vars.deep.zone", "CEL011", 32, "no variable"),
    ("vars['nothing']", "CEL011", 26, "define it under vars"),
    ("sise(value)", "CEL012", 22, "did you mean size?"),
    ("value.a.toUpperCase()", "CEL012", 30, "upperAscii"),
    ("now()", "CEL012", 22, "no clock"),
    ("math.max(1, 2)", "CEL012", 27, "math.greatest"),
    ("__import__('os')", "CEL012", 22, "unknown function"),
    ("uint(1)", "CEL012", 22, "int(…)"),
    ("size()", "CEL013", 22, "1 argument, not 0"),
    ("'a'.replace('b')", "CEL013", 26, "2 to 3 arguments, not 1"),
    ("value.a.map(x)", "CEL013", 30, "list.map(x, …)"),
    ("value.?a.orValue()", "CEL013", 31, "one argument"),
    ("startsWith(topic, 'a')", "CEL014", 22, "x.startsWith"),
    ("value.a.int()", "CEL014", 30, "int(x)"),
    ("has(value)", "CEL015", 22, "has(value.field)"),
    ("value.a.map(x.y, 1)", "CEL015", 34, "a new name"),
    ("item.sku", "CEL016", 22, "each"),
    ("topic + 1", "CEL020", 28, "string(…)"),
    ("1 + true", "CEL020", 24, "an int and a boolean"),
    ("topic < 1", "CEL020", 28, "a string and an int"),
    ("topic == 1", "CEL020", 28, "never equals"),
    ("-topic", "CEL020", 22, "a string"),
    ("'a' in topic", "CEL020", 26, "contains"),
    ("1 in headers", "CEL020", 24, "keys of a map"),
    ("1 in ['a']", "CEL020", 24, "never in a list"),
    ("headers[0]", "CEL020", 30, "by a string"),
    ("timestamp + duration('1h')", "CEL020", 32, "millis(…)"),
    ("topic.map(x, x)", "CEL020", 28, "a list or a map"),
    ("timestamp.getFullYear()", "CEL021", 22, "millis(…)"),
    ("partition.startsWith('a')", "CEL021", 22, "string(…)"),
    ("string([1])", "CEL021", 29, "json.encode"),
    ("size(1)", "CEL021", 27, "an int"),
    ("topic && true", "CEL022", 22, "a boolean"),
    ("!partition", "CEL022", 23, "a boolean"),
    ("1 ? 2 : 3", "CEL022", 22, "a boolean"),
    ("value.a.filter(x, 1)", "CEL022", 40, "a boolean"),
    ("value.?a + 1", "CEL024", 29, "orValue"),
    ("value.a.orValue(1)", "CEL024", 30, ".?name"),
    ("[?value.a]", "CEL024", 30, "leave the ? out"),
    ("value.a.map(x, x.?b)", "CEL024", 40, "orValue"),
    ("topic.x", "CEL025", 28, "is a string"),
    ("timestamp.getFullYear", "CEL025", 32, "getFullYear(…)"),
    ("partition[0]", "CEL025", 31, "an int"),
    ("{1: 2}", "CEL026", 23, "a string"),
    ("{'a': 1, 'a': 2}", "CEL026", 31, "twice"),
    ("int('x')", "CEL027", 26, "no int"),
    ("timestamp('2026')", "CEL027", 32, "RFC 3339"),
    ("timestamp('2026-02-30T00:00:00Z')", "CEL027", 32, "does not take"),
    ("duration('1d')", "CEL027", 31, "1h30m"),
    ("topic.matches('(')", "CEL027", 36, "RE2"),
    ("topic.matches('(?=a)')", "CEL027", 36, "RE2"),
    ("formatTime(millis(1), '%Q')", "CEL027", 44, "%Q"),
    ("millis(1).getHours('Z')", "CEL027", 41, "time zone"),
    ("millis(1).getHours('Nowhere/Land')", "CEL027", 41, "time zone"),
    ("topic.matches(key)", "CEL029", 36, "literal"),
    ("formatTime(millis(1), topic)", "CEL029", 44, "literal"),
]


@pytest.mark.parametrize(("expression", "code", "column", "word"), MISTAKES, ids=[each[0][:40] for each in MISTAKES])
def test_a_mistake_is_refused_at_its_place(expression: str, code: str, column: int, word: str) -> None:
    found = problems("${" + expression + "}")
    assert [(each.code, str(each.where)) for each in found][:1] == [(code, f"orders.yaml:10:{column}")], found
    assert word in str(found[0])
    assert found[0].path == "map.x"


def test_every_code_of_the_table_is_explained() -> None:
    assert {code for _, code, _, _ in MISTAKES} <= set(EXPLAIN)


def test_every_mistake_of_an_expression_is_told_at_once() -> None:
    found = problems("${topic + 1 == nothing && sise(valeu)}")
    assert [each.code for each in found] == ["CEL020", "CEL010", "CEL010", "CEL012"]


def test_a_pattern_is_refused_where_re2_is_not_installed() -> None:
    found: list[Problem] = []

    def say(code: str, at: int, message: str, mend: str) -> None:
        found.append(Problem(code, locate(()), "", message, mend))

    text = "topic.matches('a')"
    Checker(text, say, variables={}, each=False, engine=None).visit(parse(text)[0], TOP)
    assert [each.code for each in found] == ["CEL028"]
    assert "install the extra `re2`" in found[0].mend


@pytest.mark.parametrize("text", ["value.total > 10", "${value.total > 10}", " ${ value.total > 10 } ", "value.big"])
def test_a_condition_stands_bare_or_as_one_expression(text: str) -> None:
    report: list[Problem] = []
    condition = compile_condition(text, ("when",), locate, report, VARS)
    assert condition is not None, report
    assert condition(names({"total": 11, "big": True})) is True
    assert condition(names({"total": 9, "big": False})) is False


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("topic", "CEL022"),
        ("1 + 1", "CEL022"),
        ("value.?yes", "CEL022"),
        (True, "MAP008"),
        ("${true} && ${false}", "CEL006"),
        ("", "CEL007"),
        ("item.x", "CEL016"),
    ],
)
def test_a_condition_that_is_no_boolean_is_refused(text: object, code: str) -> None:
    report: list[Problem] = []
    assert compile_condition(text, ("when",), locate, report, VARS) is None
    assert [each.code for each in report] == [code], report


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("${value.lines}", {"lines": [1, 2]}, [1, 2]),
        ("value.lines", {"lines": []}, []),
        ("${value.?lines}", {}, []),
        ("${value.lines.filter(l, l > 1)}", {"lines": [1, 2]}, [2]),
        ("[1, 2]", None, [1, 2]),
    ],
)
def test_each_gives_the_elements_of_a_list(text: str, value: object, expected: list[object]) -> None:
    report: list[Problem] = []
    each = compile_each(text, ("each",), locate, report, VARS)
    assert each is not None, report
    assert each(names(value)) == expected


@pytest.mark.parametrize(("text", "code"), [("topic", "CEL023"), ("headers", "CEL023"), (5, "MAP008")])
def test_each_of_something_that_is_no_list_is_refused(text: object, code: str) -> None:
    report: list[Problem] = []
    assert compile_each(text, ("each",), locate, report, VARS) is None
    assert [found.code for found in report] == [code]


def test_item_and_index_are_known_where_the_route_has_each() -> None:
    record = names(None, item={"sku": "A"}, index=4)
    assert leaf("${item.sku}-${index}", record, each=True) == "A-4"
