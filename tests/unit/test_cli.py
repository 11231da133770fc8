"""The command line: what is printed, and which code it ends with."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from connector import __version__
from connector.cli import cli

_ROOT: Final = Path(__file__).parents[2]

_SOUND = """\
kafka: {bootstrap_servers: localhost:1, group_id: g}
targets: {out: {type: eventbridge, endpoint_url: "http://127.0.0.1:1", region: eu-west-1}}
routes:
  - name: all
    topics: [t]
    targets: [out]
    map: {Source: "${value.a}", DetailType: D}
unrouted: skip
dead_letters: {topic: dead}
"""


def _connector(*arguments: str | Path, **environ: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(one) for one in arguments], env=environ, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def _file(folder: Path, text: str) -> Path:
    file = folder / "orders.yaml"
    file.write_text(text)
    return file


def test_check_of_a_sound_config_ends_with_0(tmp_path: Path) -> None:
    code, out, _ = _connector("check", _file(tmp_path, _SOUND))
    assert code == 0
    assert out.startswith("ok: 1 route, 1 target, hash ")


def test_check_shows_each_mistake_with_its_line_and_a_caret_and_ends_with_78(tmp_path: Path) -> None:
    file = _file(tmp_path, _SOUND.replace("unrouted: skip", "unrouted: skp").replace("topics", "topcis"))
    code, out, _ = _connector("check", file)
    assert code == 78
    assert out == (
        f"{file}:5:5: CFG010 unknown key `topcis`\n"
        "       5 |     topcis: [t]\n"
        "         |     ^^^^^^\n"
        "      at: routes[0].topcis\n"
        "    mend: did you mean `topics`?\n"
        "\n"
        f"{file}:8:11: CFG014 `unrouted` cannot be `skp`\n"
        "       8 | unrouted: skp\n"
        "         |           ^^^\n"
        "      at: unrouted\n"
        "    mend: did you mean skip? one of skip, dead_letter, hold\n"
        "\n"
        "2 errors\n"
    )


def test_check_tells_the_mistakes_of_expressions_beside_the_others(tmp_path: Path) -> None:
    file = _file(tmp_path, _SOUND.replace("${value.a}", "${vaule.a}").replace("skip", "skp"))
    code, out, _ = _connector("check", "--format", "json", file)
    assert code == 78
    problems = json.loads(out)["problems"]
    assert [(one["line"], one["path"]) for one in problems] == [(7, "routes[0].map.Source"), (8, "unrouted")]


def test_check_speaks_json_to_machines(tmp_path: Path) -> None:
    file = _file(tmp_path, _SOUND.replace("skip", "skp"))
    code, out, _ = _connector("check", file, "--format", "json")
    assert code == 78
    assert json.loads(out) == {
        "ok": False,
        "hash": "",
        "problems": [
            {
                "code": "CFG014",
                "level": "error",
                "file": str(file),
                "line": 8,
                "column": 11,
                "path": "unrouted",
                "message": "`unrouted` cannot be `skp`",
                "mend": "did you mean skip? one of skip, dead_letter, hold",
            }
        ],
    }


def test_a_warning_is_printed_and_ends_with_0(tmp_path: Path) -> None:
    code, out, _ = _connector(
        "check", _file(tmp_path, _SOUND.replace("region: eu-west-1", "region: eu-west-1, order: key"))
    )
    assert code == 0
    assert "warning: CFG041" in out
    assert "1 warning\n" in out


def test_run_of_a_wrong_config_consumes_nothing_and_ends_with_78(tmp_path: Path) -> None:
    code, out, err = _connector("run", _file(tmp_path, "a: {b: ${c}}\n"))
    assert code == 78
    assert out == ""
    assert "orders.yaml:1:9: CFG002" in err
    assert "put single quotes around" in err


def test_a_missing_file_is_bad_config_and_no_traceback(tmp_path: Path) -> None:
    code, out, _ = _connector("check", tmp_path / "none.yaml")
    assert code == 78
    assert "CFG001 cannot be read: No such file or directory" in out


@pytest.mark.parametrize("command", ["check", "try", "test", "run"])
@pytest.mark.parametrize("name", ["a" * 5000, "orders.yaml/below", ""], ids=["too long", "below a file", "no name"])
def test_a_name_that_no_file_can_have_is_bad_config_and_no_traceback(tmp_path: Path, command: str, name: str) -> None:
    _file(tmp_path, _SOUND)
    value = ["--value", "{}"] if command == "try" else []
    code, out, err = _connector(command, tmp_path / "none" if name == "" else tmp_path / name, *value)
    assert code == 78
    assert "CFG001" in out + err


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = _file(tmp_path, _SOUND)
    code, out, _ = _connector("check", file, tmp_path, file)
    assert (code, out[:25]) == (0, "ok: 1 route, 1 target, ha")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_and_is_no_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "connector", "check", str(_file(tmp_path, _SOUND))],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=_ROOT,
        )
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")


def test_a_reader_that_goes_away_ends_the_command_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "connector", "schema"],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=_ROOT,
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [["check"], ["check", "x", "--format", "xml"], ["fly"], ["explain", "CFG999"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert _connector(*arguments)[0] == 2


def test_the_environment_is_read(tmp_path: Path) -> None:
    code, out, _ = _connector("check", _file(tmp_path, _SOUND), CONNECTOR_LOG__LEVLE="debug")
    assert code == 78
    assert out.startswith("environment CONNECTOR_LOG__LEVLE: CFG016 CONNECTOR_LOG__LEVLE names no setting\n")


@pytest.mark.parametrize(
    "line",
    [
        "admin: {token: hunter2, tokn: x}",
        "admin:\n  token: [hunter2]",
        "admin:\n  token: |\n    hunter2\n    hunter3\n  \tx",
        'admin: {token: "hunter2}',
        "admin: {listen: 1, token: hunter2}",
    ],
)
def test_the_line_that_is_shown_keeps_its_secret(tmp_path: Path, line: str) -> None:
    code, out, _ = _connector("check", _file(tmp_path, f"{_SOUND}{line}\n"))
    assert code == 78
    assert "hunter" not in out


def test_explain_says_what_a_code_means() -> None:
    code, out, _ = _connector("explain", "cfg024")
    assert code == 0
    assert out.startswith("CFG024: A policy says dead_letter")


def test_explain_knows_what_is_said_of_records_too_and_whatever_the_case() -> None:
    code, out, _ = _connector("explain", "missingfield")
    assert code == 0
    assert out.startswith("MissingField: An expression reads a field")


def test_explain_without_a_code_lists_all_of_them() -> None:
    code, out, _ = _connector("explain")
    assert code == 0
    assert {"CEL001", "CFG001", "MAP001", "MissingField", "NotJSON", "PAT001"} <= set(re.findall(r"^\S+", out, re.M))
    assert max(map(len, out.splitlines())) <= 120


def test_explain_of_an_unknown_code_says_which_was_meant() -> None:
    assert "did you mean CFG010?" in _connector("explain", "CFG0010")[2]
    assert "A service's own codes are in docs/targets" in _connector("explain", "ThrottlingException")[2]


def test_schema_is_json_with_the_registered_targets() -> None:
    code, out, _ = _connector("schema")
    assert code == 0
    kinds = json.loads(out)["properties"]["targets"]["additionalProperties"]["properties"]["type"]["enum"]
    assert {"eventbridge", "stdout"} <= set(kinds)


def test_version_is_said() -> None:
    assert _connector("--version") == (0, f"connector {__version__}\n", "")


def test_the_commands_are_listed() -> None:
    code, out, _ = _connector("--help")
    assert code == 0
    for command in ("run", "check", "explain", "schema", "demo"):
        assert command in out


@pytest.mark.slow  # the client gives a broker that does not answer 20 s
def test_check_online_of_a_cluster_that_is_not_there_ends_with_1(tmp_path: Path) -> None:
    code, out, _ = _connector("check", "--online", "--format", "json", _file(tmp_path, _SOUND))
    told = json.loads(out)
    assert (code, told["ok"], told["online"]["ok"]) == (1, True, False)
    assert any("localhost:1" in failure for failure in told["online"]["failures"])


def test_python_m_connector_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connector", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=_ROOT,
    )
    assert (done.returncode, done.stdout) == (0, f"connector {__version__}\n")


def test_ctrl_c_while_the_daemon_still_loads_ends_it_without_a_traceback(tmp_path: Path) -> None:
    for module in ("typer", "confluent_kafka"):  # of the command line, and of the daemon
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "connector", "run", _file(tmp_path, _SOUND)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        assert process.stderr is not None
        with process, process.stderr as said:
            head = next(line for line in said if line.rstrip().endswith(f" {module}"))
            process.send_signal(signal.SIGINT)
            rest = said.read()
        assert head
        assert "Traceback" not in rest
        assert process.returncode == -signal.SIGINT


def test_the_demo_refuses_a_sabotage_that_it_does_not_know() -> None:
    code, _, err = _connector("demo", "--sabotage", "fire")
    assert code == 2
    assert "there is only" in err
