"""`connector test`: what passes, what fails and how it is shown, and which tests are refused before they run."""

from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as Xml

import pytest
from typer.testing import CliRunner

from connector.cli import cli
from connector.dryrun.testing import beside, reduced, same

_ROOT: Final = Path(__file__).parents[2]

_CONFIG: Final = """\
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: g}
targets: {screen: {type: stdout}, bus: {type: eventbridge, region: eu-west-1}}
routes:
  - name: paid
    topics: [shop]
    match: {value: {status: [PAID]}}
    targets: [screen, bus]
    map: {Source: com.acme, DetailType: "${value.type}", Time: "${millis(timestamp)}", Detail: {n: "${value.n}"}}
  - name: lines
    topics: [shop]
    match: {value: {kind: [lines]}}
    each: ${value.lines}
    targets: [screen]
    map: {sku: "${item.sku}"}
unrouted: skip
dead_letters: {topic: dead}
"""
_PAID: Final = "{status: PAID, type: Order, n: 1}"
_MADE: Final = "{Source: com.acme, DetailType: Order, Time: 1970-01-01T00:00:00Z, Detail: {n: 1}}"
_LINES: Final = "{kind: lines, lines: [{sku: A}, {}, {sku: B}]}"


def _connector(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def _tested(folder: Path, record: str, expect: str, config: str = _CONFIG) -> tuple[int, str, str]:
    """One test beside the config."""
    (folder / "shop.yaml").write_text(config)
    (folder / "shop_test.yaml").write_text(f"tests:\n  - name: it\n    record: {record}\n    expect: {expect}\n")
    return _connector("test", folder / "shop.yaml")


@pytest.mark.parametrize(
    ("record", "expect"),
    [
        (f"{{value: {_PAID}}}", f"{{paid: {{equals: {_MADE}}}}}"),
        (f"{{value: {_PAID}}}", f"{{paid: [{{equals: {_MADE}}}]}}"),
        (f"{{value: {_PAID}}}", "{paid: {contains: {Detail: {n: 1.0}}}, lines: nothing}"),
        (f"{{value: {_PAID}, timestamp: 1500}}", "{paid: {contains: {Time: 1970-01-01T00:00:01.500Z}}}"),
        ("{value: {status: NEW}}", "nothing"),
        ("{value: {status: NEW}}", "{paid: nothing}"),
        ("{key: k}", "nothing"),
        ("{value: {status: PAID, type: Order}}", "{paid: {error: MissingField}}"),
        ("{value: {status: PAID, type: '', n: 1}}", "{paid: {error: Missing}}"),
        (f"{{value: {_LINES}}}", "{lines: [equals: {sku: A}, error: MissingField, contains: {sku: B}]}"),
        ("{file: shop.yaml}", "{error: NotJSON}"),
    ],
)
def test_what_is_as_expected_passes(tmp_path: Path, record: str, expect: str) -> None:
    assert _tested(tmp_path, record, expect) == (0, "passed  it\n1 test, 0 failed\n", "")


@pytest.mark.parametrize(
    ("record", "expect", "diff"),
    [
        (
            f"{{value: {_PAID}}}",
            "{paid: {contains: {DetailType: Order, Detail: {n: 2}}}}",
            [
                "route paid: - expected, + made",
                " {",
                '   "Detail": {',
                '-    "n": 2',
                '+    "n": 1',
                "   },",
                '   "DetailType": "Order"',
                " }",
            ],
        ),
        (
            "{value: {status: NEW}}",
            "{paid: {contains: {}}}",
            ['route paid: made nothing: no match: value.status is text, but must be "PAID"', "-{}"],
        ),
        (
            "{value: {kind: lines, lines: [{sku: A}, {sku: B}]}}",
            "{lines: {equals: {sku: A}}}",
            ["route lines, event 2: not expected", "+{", '+  "sku": "B"', "+}"],
        ),
        (
            "{value: {kind: lines, lines: [{sku: A}]}}",
            "{lines: [equals: {sku: A}, error: MissingField]}",
            ["route lines, event 2: not made", "-error MissingField"],
        ),
        (
            "{value: {kind: lines, lines: [{sku: A}]}}",
            "nothing",
            ["route lines: nothing was expected", "+{", '+  "sku": "A"', "+}"],
        ),
        ("{file: shop.yaml}", "{paid: nothing}", ["the record as a whole: nothing was expected", "+error NotJSON: "]),
        ("{value: {}}", "{error: NotJSON}", ["the record as a whole: nothing was made", "-error NotJSON"]),
        ("{file: none.json}", "nothing", ["the record cannot be made: "]),
        ("{key: 5}", "nothing", ["the record cannot be made: the key is a text here, because its format is string: "]),
        ("{value: .inf}", "nothing", ["the record cannot be made: the value has no JSON form: "]),
    ],
)
def test_what_is_not_is_shown_with_a_diff_and_ends_with_1(
    tmp_path: Path, record: str, expect: str, diff: list[str]
) -> None:
    code, out, _ = _tested(tmp_path, record, expect)
    lines = out.splitlines()
    assert code == 1
    assert lines[:2] == ["FAILED  it", f"  at {tmp_path}/shop_test.yaml:2:11"]
    assert lines[-1] == "1 test, 1 failed"
    shown = lines[2:-1]
    assert len(shown) == len(diff)
    for line, start in zip(shown, diff, strict=True):
        assert line.startswith(f"  {start}")


def test_an_event_is_made_only_when_every_target_can_encode_it(tmp_path: Path) -> None:
    long = f"{{value: {{status: PAID, n: 1, type: {'x' * 129}}}}}"
    assert _tested(tmp_path, long, "{paid: {error: TooLong}}")[0] == 0
    assert _tested(tmp_path, long, "{paid: {contains: {}}}")[0] == 1


def test_an_unrouted_record_is_an_error_unless_it_is_let_go(tmp_path: Path) -> None:
    config = _CONFIG.replace("unrouted: skip", "unrouted: dead_letter")
    assert _tested(tmp_path, "{value: {}}", "{error: Unrouted}", config)[0] == 0
    assert _tested(tmp_path, "{value: {}}", "nothing", config)[0] == 1


def test_formats_say_how_key_and_value_become_bytes(tmp_path: Path) -> None:
    config = _CONFIG.replace("status: [PAID]", "status: [PAID]").replace(
        "unrouted: skip", "unrouted: skip\ntopics: {shop: {format: bytes, key_format: json}}"
    )
    config = config.replace("match: {value: {kind: [lines]}}", "match: {value: [YWI=], key: {id: [7]}}")
    config = config.replace("${value.lines}", "${[value]}").replace("${item.sku}", "${item}")
    assert _tested(tmp_path, "{value: YWI=, key: {id: 7}}", "{lines: {equals: {sku: YWI=}}}", config)[0] == 0
    assert "base64" in _tested(tmp_path, "{value: '%'}", "nothing", config)[1]


@pytest.mark.parametrize(
    ("record", "expect", "told"),
    [
        ("{}", "{piad: nothing}", "4:20: CFG032 no route is called `piad`"),
        ("{topic: shp}", "nothing", "3:21: CFG033 no route reads the topic `shp`"),
        ("{topik: shop}", "nothing", "3:14: CFG010 unknown key `topik`"),
        ("{value: 1, file: x}", "nothing", "3:13: CFG012 `record` has both value and file"),
        ("{}", "{paid: {contain: {}}}", "CFG012 `paid` needs exactly one of equals, contains and error"),
        ("{}", "{paid: [{equals: {}, contains: {}}]}", "CFG012 `0` needs exactly one of equals, contains and error"),
        ("{}", "some", "4:13: CFG012 `expect` needs what each route makes"),
        ("{}", "{paid: some}", "4:20: CFG012 `paid` needs a list"),
    ],
)
def test_a_test_that_cannot_be_meant_is_bad_config(tmp_path: Path, record: str, expect: str, told: str) -> None:
    code, out, err = _tested(tmp_path, record, expect)
    assert (code, out) == (78, "")
    assert told in err
    assert err.endswith("\n1 error, 1 warning\n")


def test_a_record_needs_a_topic_where_routes_read_several(tmp_path: Path) -> None:
    config = _CONFIG.replace("topics: [shop]", "topics: [shop, '^more.*']", 1)
    code, _, err = _tested(tmp_path, "{}", "nothing", config)
    assert code == 78
    assert "CFG033 the record of `it` needs a topic: the routes read shop, ^more.*" in err
    assert _tested(tmp_path, "{topic: more-of-it, value: {}}", "nothing", config)[0] == 0


def test_a_test_file_must_not_change_the_config(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(_CONFIG)
    (tmp_path / "shop_test.yaml").write_text("x-a: 1\ntests: []\nvars: {a: 1}\n")
    code, _, err = _connector("test", tmp_path / "shop.yaml")
    assert code == 78
    assert "shop_test.yaml:3:1: CFG034 `vars` stands in a file of route tests" in err


def test_tests_stand_in_the_config_beside_it_and_in_directories(tmp_path: Path) -> None:
    test = "tests: [{name: NAME, record: {value: {}}, expect: nothing}]\n"
    (tmp_path / "shop.yaml").write_text(_CONFIG + test.replace("NAME", "inside"))
    (tmp_path / "shop_test.yaml").write_text(test.replace("NAME", "beside"))
    (tmp_path / "more_test.yaml").write_text(test.replace("NAME", "of the directory"))
    assert _connector("test", tmp_path / "shop.yaml")[1] == "passed  inside\npassed  beside\n2 tests, 0 failed\n"
    assert _connector("test", tmp_path)[1].count("passed") == 3
    assert _connector("test", tmp_path / "shop.yaml", tmp_path / "shop_test.yaml")[1].count("passed") == 2
    assert beside([tmp_path]) == [tmp_path / "more_test.yaml", tmp_path / "shop_test.yaml"]


def test_no_tests_at_all_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(_CONFIG)
    code, _, err = _connector("test", tmp_path / "shop.yaml")
    assert code == 1
    assert err.startswith("no tests")


def test_junit_has_every_test_and_what_failed(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(_CONFIG)
    (tmp_path / "shop_test.yaml").write_text(
        "tests:\n"
        "  - {name: good, record: {value: {}}, expect: nothing}\n"
        f'  - {{name: "b<a>d \\u0001", record: {{value: {_PAID}}}, expect: nothing}}\n'
    )
    code, _, _ = _connector("test", tmp_path / "shop.yaml", "--junit", tmp_path / "out.xml")
    root = Xml.fromstring((tmp_path / "out.xml").read_text())
    cases = root.findall("testsuite/testcase")
    assert code == 1
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert [(case.get("name"), case.get("line")) for case in cases] == [("good", "2"), ("b<a>d �", "3")]
    assert [case.find("failure") is not None for case in cases] == [False, True]
    failure = cases[1].find("failure")
    assert failure is not None
    assert '+  "Source": "com.acme"' in (failure.text or "")


def test_a_junit_file_that_cannot_be_written_ends_with_1(tmp_path: Path) -> None:
    code, _, err = _connector("test", _ROOT / "config" / "samples.yaml", "--junit", tmp_path / "none" / "out.xml")
    assert code == 1
    assert "cannot be written: No such file" in err


@pytest.mark.parametrize("config", ["samples.yaml", "full.yaml"])
def test_the_shipped_tests_pass(config: str) -> None:
    code, out, err = _connector("test", _ROOT / "config" / config)
    assert (code, err) == (0, ""), out


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ([True], [1], False),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("1", 1, False),
        (None, None, True),
    ],
)
def test_values_are_equal_as_json_is(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal


def test_contains_looks_at_the_expected_keys_and_at_whole_lists() -> None:
    assert reduced({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4}) == {"a": {"b": 2}}
    assert reduced([{"a": 1}], [{"a": 1, "b": 2}, {"c": 3}]) == [{"a": 1}, {"c": 3}]
    assert reduced({"a": 1}, {}) == {}


def test_records_of_a_registrys_format_are_written_decoded_and_need_no_registry(tmp_path: Path) -> None:
    config = tmp_path / "avro.yaml"
    config.write_text(
        """\
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: g}
topics: {shop: {format: avro, key_format: protobuf}, news: {format: cloudevents}}
schema_registry: {type: confluent, url: "http://127.0.0.1:1"}
targets: {out: {type: stdout}}
routes:
  - {name: orders, topics: [shop], targets: [out], map: {id: "${value.id}", shop: "${key.shop}"}}
  - {name: news, topics: [news], targets: [out], map: {type: "${value.type}", n: "${value.data.n}"}}
unrouted: skip
dead_letters: {topic: dead}
tests:
  - name: an order in Avro
    record: {topic: shop, key: {shop: oslo}, value: {id: 7}}
    expect: {orders: {equals: {id: 7, shop: oslo}}}
  - name: a CloudEvent in binary mode
    record: {topic: news, headers: {ce_specversion: "1.0", ce_id: a, ce_source: /s, ce_type: t}, value: {n: 1}}
    expect: {news: {equals: {type: t, n: 1}}}
"""
    )
    result = CliRunner().invoke(cli, ["test", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 tests, 0 failed" in result.stdout
