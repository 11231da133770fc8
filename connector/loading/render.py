"""Shows problems: to a person with the line and a caret under the place, to a machine as JSON. Never a secret."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from connector.loading.load import MASK
from connector.loading.yaml_source import SECRET_KEY
from connector.mapping.problem import Position, Problem
from connector.settings import Loaded

_KEY = re.compile(r"\s*(?:- )*[\"']?([\w.-]+)[\"']?\s*:")
_PAIR = re.compile(r"([\w.-]+)[\"']?\s*:\s*(?=\S)")
_DRIVES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_OPEN = re.compile(r"([\w.-]+)[\"']?\s*:\s*(?=\S|$)")
_OUTSIDE = re.compile(r"!file\s|!env\s+[\"']?\w+[\"']?(?![\w:])")
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|\$\{[^}]*\}|(?:[^\s,\]}:]|:(?!\s|$))+")


def text(loaded: Loaded) -> str:
    """All problems for a person, as `file:line:col: CODE message` with what to do about each."""
    return "\n\n".join(_paragraph(problem, loaded.texts) for problem in loaded.problems)


def machine(loaded: Loaded, asked: Mapping[str, Any] | None = None) -> str:
    """All problems as one JSON object: `{"ok", "hash", "problems": [{code, level, file, line, …}]}`.

    `asked` is what Kafka and the targets said, where they were asked: `online` then.
    """
    told = {"ok": not loaded.errors, "hash": loaded.hash, "problems": [_fields(each) for each in loaded.problems]}
    return json.dumps(told if asked is None else {**told, "online": dict(asked)}, ensure_ascii=False, indent=2)


def summary(problems: Sequence[Problem]) -> str:
    """How many there are: `2 errors, 1 warning`."""
    errors = sum(problem.level == "error" for problem in problems)
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    return ", ".join(counted(count, word) for count, word in counts if count)


def safe(words: str) -> str:
    """Words in which nothing drives a terminal or turns the direction of a line; lines stay lines, JSON stays JSON."""
    return _DRIVES.sub(lambda found: f"\\u{ord(found[0]):04x}", words)


def counted(count: int, word: str) -> str:
    """`1 route`, `2 routes`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def _fields(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "level": problem.level,
        "file": problem.where.file,
        "line": problem.where.line,
        "column": problem.where.column,
        "path": problem.path,
        "message": problem.message,
        "mend": problem.mend,
    }


def _paragraph(problem: Problem, texts: Mapping[str, str]) -> str:
    where = str(problem.where) if problem.where.line else problem.where.file
    level = "" if problem.level == "error" else f" {problem.level}:"
    lines = [f"{where}:{level} {problem.code} {problem.message}"]
    lines += excerpt(problem.where, texts)
    if problem.path:
        lines.append(f"      at: {problem.path}")
    if problem.mend:
        lines.append(f"    mend: {problem.mend}")
    return "\n".join(lines)


def excerpt(where: Position, texts: Mapping[str, str]) -> list[str]:
    """The line of a position and a caret under it; nothing where there is none, or where it belongs to a secret."""
    lines = texts.get(where.file, "").split("\n")
    if not 0 < where.line <= len(lines) or _inside_secret(lines, where.line - 1):
        return []
    line = _without_secrets(lines[where.line - 1].replace("\t", " "))
    if not line.strip():
        return []
    found = _TOKEN.match(line, where.column - 1)
    width = len(found[0]) if found else 1
    return [f"{where.line:>8} | {line}", f"         | {' ' * (where.column - 1)}{'^' * min(width, 80)}"]


def _without_secrets(line: str) -> str:
    line = _USER.sub(lambda found: "*" * len(found[0]), line)  # as long as it was, for the caret's sake
    for found in _PAIR.finditer(line):
        if _holds_secret(found, line):
            return line[: found.end()] + MASK
    return line


def _holds_secret(pair: re.Match[str], line: str) -> bool:
    """Whether a secret itself stands behind this key, and not the name of where it is."""
    return SECRET_KEY.search(pair[1]) is not None and _OUTSIDE.match(line, pair.end()) is None


def _inside_secret(lines: Sequence[str], index: int) -> bool:
    """Whether a line goes on with the text of a secret that began above it."""
    indent = _indent(lines[index])
    for line in reversed(lines[:index]):
        if line.strip() and _indent(line) < indent:
            found = _KEY.match(line)
            if found is not None and SECRET_KEY.search(found[1]) is not None:
                return True
            return any(_holds_secret(pair, line) and "}" not in line[pair.end() :] for pair in _OPEN.finditer(line))
    return False


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
