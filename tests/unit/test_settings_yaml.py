"""YAML 1.2 as people write it, and what a file may not be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.loading.load import compiled, load
from connector.loading.yaml_source import parse
from connector.mapping import Names
from connector.route import compile_routes
from tests.unit.configs import KINDS, loaded, settings, told, with_lines


def _match(folder: Path, text: str) -> object:
    """What a route's `match` holds after loading this text of it."""
    found = settings(folder, with_lines(f"routes: [{{name: r, topics: [t], targets: [bus], match: {{x: {text}}}}}]"))
    assert found.routes[0].match is not None
    return found.routes[0].match["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[NO, SE]", ["NO", "SE"]),
        ("[ON, OFF, yes, no, y, n]", ["ON", "OFF", "yes", "no", "y", "n"]),
        ("[true, False, TRUE]", [True, False, True]),
        ("[null, ~, Null]", [None, None, None]),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        ("-1.5", -1.5),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("!!int '7'", 7),
        (".5", 0.5),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    found = _match(tmp_path, text)
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_as_they_are_written(tmp_path: Path) -> None:
    assert _match(tmp_path, "{404: a, NO: b, true: c}") == {"404": "a", "NO": "b", "true": "c"}


def test_anchors_aliases_and_merge_keys_work_and_the_map_itself_wins(tmp_path: Path) -> None:
    text = """\
x-common: &common {topics: [t], targets: [bus], on_error: hold}
x-more: &more {on_error: skip, final: true}
""" + with_lines(
        "routes:\n  - {name: a, <<: *common}\n  - {name: b, <<: [*common, *more], on_reject: skip}\n"
        "  - name: c\n    <<: *more\n    on_error: dead_letter\n    topics: [t]\n    targets: [bus]"
    )
    a, b, c = settings(tmp_path, text).routes
    assert (a.topics, a.on_error) == (("t",), "hold")
    assert (b.on_error, b.on_reject, b.final) == ("hold", "skip", True)
    assert (c.on_error, c.final) == ("dead_letter", True)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = "\ufeff" + with_lines("vars:\n  a: |\n    one\n    two")
    assert settings(tmp_path, text.replace("\n", "\r\n")).vars == {"a": "one\ntwo\n"}


@pytest.mark.parametrize(
    ("values", "taken", "left"),
    [
        ("[NO, SE]", ["NO", "SE"], [False, "no"]),
        ("[ON, OFF]", ["ON", "OFF"], [True, False, "on"]),
        ("[010]", [10, 10.0], ["010", 8]),
        ("['010']", ["010"], [10]),
        ("[1:30]", ["1:30"], [90, 5400]),
        ("[1e3]", [1000, 1000.0], ["1e3"]),
        ("[1.20]", [1.2], ["1.20"]),
        ("[~, null]", [None], ["null", "~", ""]),
        ("[2026-01-31]", ["2026-01-31"], []),
    ],
)
def test_a_pattern_means_what_the_yaml_reads_like(
    tmp_path: Path, values: str, taken: list[object], left: list[object]
) -> None:
    route = f"routes: [{{name: r, topics: [t], targets: [bus], match: {{value: {{x: {values}}}}}, map: {{text: a}}}}]"
    found = loaded(tmp_path, with_lines(route))
    assert found.settings is not None
    routes, problems = compile_routes(found.settings, found.locate, KINDS)
    assert routes is not None, problems
    match = routes.routes[0].match
    assert match is not None
    names = [Names("t", 0, 0, 0, None, {}, {"x": value}) for value in [*taken, *left]]
    assert [match(each) for each in names] == [True] * len(taken) + [False] * len(left)


def test_an_alias_stands_for_its_value_in_patterns_and_maps(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        "x-countries: &nordic [NO, SE]\nx-texts: &texts {text: a}\n"
        + with_lines(
            "routes:\n"
            "  - {name: a, topics: [t], targets: [bus], match: {value: {to: *nordic, from: *nordic}}, map: *texts}\n"
            "  - {name: b, topics: [t], targets: [bus], map: {<<: *texts}}"
        ),
    )
    assert found.routes[0].match == {"value": {"to": ["NO", "SE"], "from": ["NO", "SE"]}}
    assert [route.map for route in found.routes] == [{"text": "a"}, {"text": "a"}]


@pytest.mark.parametrize("before", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_mistake_stands_where_the_editor_shows_it_whatever_the_file_begins_and_its_lines_end_with(
    tmp_path: Path, before: str, ending: str
) -> None:
    text = "vesion: 1\n" + with_lines(
        "routes:\n  - name: r\n    topics: [t]\n    targets: [bus]\n    when: >-\n      value.a\n      = 1\n    map:\n"
        "      text: ${valeu.id}"
    )
    found = compiled(loaded(tmp_path, before + text.replace("\n", ending)), KINDS)
    assert [(one.code, one.where.line, one.where.column) for one in found.problems] == [
        ("CFG010", 1, 1),
        ("CEL004", 13, 7),
        ("CEL010", 15, 15),
    ]


def test_a_document_may_begin_and_end_with_its_marks(tmp_path: Path) -> None:
    assert settings(tmp_path, "---\n" + with_lines() + "...\n").version == 1


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "word"),
    [
        ("a: 1\na: 2\n", "CFG003", 2, 1, "keep one"),
        ("a: {b: 1, 'b': 2}\n", "CFG003", 1, 11, "keep one"),
        ("a:\n  b: 1\n  c: {}\n  b: 2\n", "CFG003", 4, 3, "keep one"),
        ("a:\n  b: 1\n\tc: 2\n", "CFG002", 3, 1, "spaces"),
        ("a: 1\n...\nb: 2\n", "CFG004", 3, 1, "file of its own"),
        ("a: 1\n--- {b: 2}\n", "CFG004", 2, 1, "file of its own"),
        ("a:\n\t- b\n", "CFG002", 2, 1, "spaces"),
        ("a: 1\n---\nb: 2\n", "CFG004", 2, 1, "file of its own"),
        ("", "CFG004", 1, 1, "version: 1"),
        ("# nothing\n", "CFG004", 1, 1, "version: 1"),
        ("- a\n", "CFG004", 1, 1, "version: 1"),
        ("%YAML 1.1\n---\na: b\n", "CFG004", 1, 1, "%YAML"),
        ("a: {Detail: ${value}}\n", "CFG002", 1, 14, "quotes"),
        ('a: ${x ? "b" : "c"}\n', "CFG002", 1, 14, "quotes"),
        ("when: !value.x\n", "CFG005", 1, 7, "'!value.x'"),
        ("when: !value.x && value.y # why\n", "CFG005", 1, 7, "'!value.x && value.y'"),
        ("a: !env [b]\n", "CFG005", 1, 4, "!env NAME"),
        ("a: !unknown {b: c}\n", "CFG005", 1, 4, "!sub"),
        ("a: *b\n", "CFG002", 1, 4, "anchor"),
        ("a: @b\n", "CFG002", 1, 4, "quotes"),
        ("a: b: c\n", "CFG002", 1, 5, "quotes"),
        ("? [a]\n: b\n", "CFG002", 1, 3, "quotes"),
        ("a: b\n  c\x07\n", "CFG002", 2, 4, "take it out"),
        ("<<: 1\n", "CFG005", 1, 1, "anchor"),
    ],
)
def test_what_is_no_config_says_where_and_what_to_do(text: str, code: str, line: int, column: int, word: str) -> None:
    _, problems = parse("x.yaml", text)
    problem = problems[0]
    assert (problem.code, problem.where.line, problem.where.column) == (code, line, column)
    assert word in problem.mend


def test_a_key_twice_names_the_first_place(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_lines("log: {level: info,\n  level: debug}"))
    assert told(found) == [("CFG003", 8, 3, "log.level")]
    assert f"{tmp_path / 'a.yaml'}:7:7" in found.problems[0].message


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe")
    assert [one.code for one in load([tmp_path / "a.yaml"], {}, registry={}, owned={}).problems] == ["CFG001"]


def test_a_thousand_levels_are_refused_without_a_traceback() -> None:
    _, problems = parse("x.yaml", "a: " + "[" * 1000 + "]" * 1000)
    assert [one.code for one in problems] == ["CFG002"]
    assert "deep" in problems[0].message


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    _, problems = parse("x.yaml", "\n".join(lines))
    assert [one.code for one in problems] == ["CFG002"]
    assert "aliases" in problems[0].message


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_ends_in_a_tree_or_in_problems(text: str) -> None:
    tree, problems = parse("x.yaml", text)
    assert tree is not None or problems


@given(st.text("ab:{}[]&*!'\"#-?|>%@`,\n\t $<~0.", max_size=40))
def test_any_punctuation_ends_in_a_tree_or_in_problems(text: str) -> None:
    tree, problems = parse("x.yaml", text)
    assert tree is not None or problems
