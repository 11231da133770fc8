"""What the pages tell people to type is there: commands and their flags, make targets, links, and what is printed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

import pytest
import typer.main
from typer.core import TyperGroup, TyperOption
from typer.testing import CliRunner

from connector.cli import cli

_ROOT: Final = Path(__file__).parents[2]
_PAGES: Final = [one for at in ("*.md", "docs/**/*.md", "deploy/**/*.md") for one in sorted(_ROOT.glob(at))]
_TEXT: Final = {page: page.read_text(encoding="utf-8") for page in _PAGES}
_FENCE: Final = re.compile(r"^(?P<margin> *)```(?P<word>.*)\n(?P<text>(?:.*\n)*?)(?P=margin)```$", re.MULTILINE)
_CLI: Final = typer.main.get_command(cli)
_MAKEFILE: Final = (_ROOT / "Makefile").read_text(encoding="utf-8")
_GOALS: Final = set(re.findall(r"^([a-z-]+):", _MAKEFILE, re.MULTILINE))
_VARIABLES: Final = set(re.findall(r"^([A-Z]+) [?:]?=", _MAKEFILE, re.MULTILINE))

_PLAYED: Final = {"README.md", "docs/getting-started.md"}
"""Pages whose commands are played here, one after the other, in a folder with the files that the page shows."""

_ELSEWHERE: Final = {
    r"make$|make (check|test)": "this test is a part of it",
    r"\. \.venv/bin/activate": "is for a shell; this test runs in that environment already",
    r"make run( ARGS=.*)?$|connector demo": "tests/flow/test_demo.py plays the demo, its proof and its sabotage",
    r"make run CONFIG=|(OTEL_.* )?connector run": "runs until it is stopped: tests/kafka/test_processes.py",
    r"make (chaos|soak)|\.venv/bin/python -m tests\.chaos\.table": "takes minutes; test_harness.py there has the table",
    r"make bench": "takes minutes: .ci/run has the short form",
    r"connector check --online": "asks a cluster: tests/kafka/test_processes_faults.py",
    r"connector try .*--live": "reads a cluster: tests/kafka/test_try.py",
    r"connector dead-letters": "reads a cluster: tests/kafka/test_dead_letters.py",
    r"connector sandbox|curl .*/_sandbox/|export AWS_ENDPOINT_URL": "tests/unit/test_sandbox_command.py does",
    r"connector status": "asks a daemon that runs: tests/unit/test_watch.py",
    r"connector try orders\.yaml .*order\.json": "on files of the reader's: tests/unit/test_try.py",
    r"connector test orders\.yaml --junit": "on files of the reader's: tests/unit/test_route_tests.py",
    r"python deploy/sizing\.py": "tests/deploy/test_sizing.py compares what it prints",
    r"helm ": "needs a Kubernetes cluster; tests/deploy/test_files.py holds the chart",
    r"pip install": "needs a published package; every extra is in requirements-dev.lock",
}
"""Commands that are not run here, and why: what begins as said is run where the reason says, or cannot be."""


class Block(NamedTuple):
    """What stands between two fences, without the margin."""

    word: str
    text: str


class Typed(NamedTuple):
    """A command of a page, and what the page says it prints; empty where it does not say."""

    command: str
    printed: str


def _blocks(page: Path) -> list[Block]:
    return [Block(found["word"], dedent(found["text"])) for found in _FENCE.finditer(_TEXT[page])]


def _typed(text: str) -> Iterator[Typed]:
    """The commands of a console block: a line that begins with `$ `, with its comment and its continuation left out."""
    for part in re.split(r"^\$ ", re.sub(r"\\\n\s*", "", text), flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        yield Typed(re.sub(r" +# .*", "", line), printed.strip("\n"))


def _commands() -> list[tuple[str, Typed]]:
    return [
        (page.relative_to(_ROOT).as_posix(), typed)
        for page in _PAGES
        for block in _blocks(page)
        if block.word == "console"
        for typed in _typed(block.text)
    ]


def _prose(page: Path) -> str:
    """The page without what stands between fences."""
    return _FENCE.sub("", _TEXT[page])


def _inline() -> Iterator[tuple[Path, str]]:
    """What stands between backticks in a sentence and begins with one of our commands."""
    for page in _PAGES:
        for found in re.findall(r"`((?:connector|make) [a-z][^`]*)`", " ".join(_prose(page).split())):
            yield page, found.replace("\\|", "|")


def _wrong_flags(words: list[str]) -> Iterator[str]:
    """What the command line would refuse of `connector …`: commands and flags that are not there."""
    command = _CLI
    rest = words[1:]
    while isinstance(command, TyperGroup) and rest:
        names = rest.pop(0).split("|")  # `list|show|replay` speaks of three commands
        if unknown := [name for name in names if name not in command.commands]:
            yield f"no command {unknown[0]}"
            return
        command = command.commands[names[0]]
    known = {flag for each in command.params if isinstance(each, TyperOption) for flag in each.opts} | {"--help", "-h"}
    yield from (f"no flag {word}" for word in rest if word.startswith("--") and word.partition("=")[0] not in known)


def _wrong(command: str) -> list[str]:
    """What is wrong with a command, as far as it is one of ours."""
    words = [word.strip("[]…") for word in shlex.split(command, comments=True)]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words and words[0].endswith("connector"):
        return list(_wrong_flags(words))
    if words[:1] != ["make"]:
        return []
    goals = [word for word in words[1:] if "=" not in word]
    given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    wrong = [f"no goal {goal}" for goal in goals if goal not in _GOALS]
    wrong += [f"no variable {name}" for name in given if name not in _VARIABLES]
    if goals == ["run"] and "ARGS" in given:
        wrong += _wrong_flags(["connector", "run" if "CONFIG" in given else "demo", *shlex.split(given["ARGS"])])
    return wrong


_COMMANDS: Final = _commands()


@pytest.mark.parametrize(("page", "typed"), _COMMANDS, ids=[f"{page}: {typed.command}" for page, typed in _COMMANDS])
def test_a_command_that_a_page_tells_to_type_is_there_with_its_flags(page: str, typed: Typed) -> None:
    assert _wrong(typed.command) == [], page


def test_a_command_in_a_sentence_is_there_with_its_flags() -> None:
    wrong = [f"{page.relative_to(_ROOT)}: `{command}`: {why}" for page, command in _inline() for why in _wrong(command)]
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("connector chek my.yaml", "no command chek"),
        ("connector check --onlin my.yaml", "no flag --onlin"),
        ("OTEL_X=1 .venv/bin/connector dead-letters list|shw my.yaml", "no command shw"),
        ("make runn", "no goal runn"),
        ("make run CONFG=my.yaml", "no variable CONFG"),
        ('make run ARGS="--record 5"', "no flag --record"),
    ],
)
def test_a_command_that_is_not_there_is_noticed(command: str, why: str) -> None:
    assert _wrong(command) == [why]


def test_every_command_of_the_docs_is_run_somewhere_or_says_why_not() -> None:
    left = {typed.command for page, typed in _COMMANDS if page not in _PLAYED or not _is_played(typed.command)}
    assert [command for command in left if not any(re.match(each, command) for each in _ELSEWHERE)] == []
    assert [each for each in _ELSEWHERE if not any(re.match(each, command) for command in left)] == [], (
        "nobody types it"
    )
    named = re.findall(r"tests/\w+/\w+\.py|\.ci/run", " ".join(_ELSEWHERE.values()))
    assert [file for file in named if not (_ROOT / file).exists()] == []


def _is_played(command: str) -> bool:
    return "connector " in command and not any(re.match(each, command) for each in _ELSEWHERE)


@pytest.mark.parametrize("page", sorted(_PLAYED))
def test_the_commands_of_a_page_print_what_it_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    played = 0
    for block in _blocks(_ROOT / page):
        if name := re.match(r"# (\w+\.yaml)\n", block.text):
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
        for command, printed in _typed(block.text) if block.word == "console" else ():
            if _is_played(command):
                done = CliRunner().invoke(cli, shlex.split(command)[1:])
                assert done.exit_code == 0, f"{command}\n{done.output}"
                whole = ".*".join(re.escape(part) for part in printed.split("…"))
                assert not printed or re.fullmatch(whole, done.stdout.strip("\n")), f"{command}\n{done.stdout}"
                played += 1
    assert played > 0


_TESTS: Final = re.compile(r"def (test_\w+)")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        anchors.add(next(name for name in (plain, *(f"{plain}-{n}" for n in range(1, 99))) if name not in anchors))
    return anchors


def _dead(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    if "://" in link or link.startswith("mailto:"):
        return False
    to = (page.parent / path).resolve() if path else page
    return not to.exists() or (bool(anchor) and to.suffix == ".md" and anchor not in _anchors(to))


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_ROOT).as_posix())
def test_what_a_page_points_at_is_there(page: Path) -> None:
    assert [link for link in _LINK.findall(_prose(page)) if _dead(page, link)] == []


def test_the_page_on_the_architecture_names_every_module_and_no_other() -> None:
    _, _, part = _TEXT[_ROOT / "docs" / "architecture.md"].partition("## Where things are")
    named = sorted(re.findall(r"`(\w+(?:\.py|/))`", part.partition("\n## ")[0]))
    package = _ROOT / "connector"
    folders = [f"{one.parent.name}/" for one in package.glob("*/__init__.py")]
    assert named == sorted([one.name for one in package.glob("*.py") if one.name != "__init__.py"] + folders)


def test_each_decision_has_a_number_of_its_own() -> None:
    files = sorted((_ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(file.name.partition("-")[0]) for file in files]
    assert len(set(numbers)) == len(numbers)
    assert [int(re.findall(r"\A# (\d+)\. ", _TEXT[file])[0]) for file in files] == numbers


def test_a_command_in_a_block_is_marked_as_one() -> None:
    """Else nothing would hold it: only blocks of the word `console` are read for commands."""
    loose = [
        (page.name, line)
        for page in _PAGES
        for block in _blocks(page)
        if block.word != "console"
        for line in re.findall(r"^(?:\$ )?(?:connector|make) [a-z].*", block.text, re.MULTILINE)
    ]
    assert loose == []


def test_a_test_that_a_page_names_is_there() -> None:
    named = {name for page in _PAGES for name in re.findall(r"`(test_\w+)`", _TEXT[page])}
    there = {name for file in (_ROOT / "tests").rglob("test_*.py") for name in _TESTS.findall(file.read_text("utf-8"))}
    assert named - there == set()
    assert named


def test_a_dead_link_is_noticed() -> None:
    index = _ROOT / "docs" / "README.md"
    assert not _dead(index, "config.md#all-keys")
    assert _dead(index, "config.md#no-such-part")
    assert _dead(index, "no-such-page.md")


def test_every_page_is_found_from_the_index() -> None:
    index = _ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(_TEXT[index])}
    pages = {page for page in _PAGES if page.is_relative_to(index.parent) and page.parent.name != "adr"} - {index}
    assert {page.name for page in pages - linked} == set()
