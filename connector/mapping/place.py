"""Where a character of a YAML scalar stands in its file, whatever way the scalar is written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.mapping.problem import Locate, Path, Position

_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ \t]*|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Places:
    """A `Locate` that also looks into scalars: `texts` are the files as they were read, by name."""

    locate: Locate
    texts: Mapping[str, str]
    _lines: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, path: Path) -> Position:
        return self.locate(path)

    def inside(self, path: Path, offset: int) -> Position:
        """The position of the character at `offset` of the scalar at `path`."""
        start = self.locate(path)
        if start.file not in self.texts:
            return start
        if start.file not in self._lines:
            self._lines[start.file] = self.texts[start.file].split("\n")
        # A scalar's character stands at most so many lines below its beginning, but for runs of empty lines.
        lines = self._lines[start.file][start.line - 1 : start.line + offset + 100]
        line, column = position(lines, start.column - 1, offset)
        return Position(start.file, start.line + line, column + 1)


def position(lines: list[str], column: int, offset: int) -> tuple[int, int]:
    """Line and column, from 0, of the character at `offset` of the scalar that begins in the first line at `column`.

    Plain and quoted scalars are followed character by character, block scalars line by line; where a folded text
    cannot be followed, the answer is the nearest line.
    """
    style = lines[0][column : column + 1]
    if style in ("|", ">"):
        return _block(lines, offset, folded=style == ">")
    text = "\n".join(lines)
    quote = style if style in ("'", '"') else ""
    at = column + len(quote)
    for _ in range(offset):
        if at >= len(text):
            break
        at = _next(text, at, quote)
    before = text[:at]
    return before.count("\n"), at - (before.rfind("\n") + 1)


def _next(text: str, at: int, quote: str) -> int:
    """The place after the source of one character of a flow scalar's value."""
    if quote == "'" and text.startswith("''", at):
        return at + 2
    if quote == '"' and text[at] == "\\" and (found := _ESCAPE.match(text, at)):
        return found.end()
    blank = re.compile(r"[ \t]*\r?\n[ \t\r\n]*").match(text, at)
    # A line break inside a flow scalar folds with the indentation around it into one space.
    return blank.end() if blank else at + 1


def _block(lines: list[str], offset: int, folded: bool) -> tuple[int, int]:
    """In a block scalar each line is itself behind its indentation; the line breaks count one character."""
    body = lines[1:]
    first = next((line for line in body if line.strip()), "")
    indent = len(first) - len(first.lstrip(" "))
    left = offset
    for number, line in enumerate(body):
        length = max(0, len(line) - indent)
        if left <= length and (line.strip() or not folded):
            return number + 1, indent + left
        if folded and not line.strip():
            continue
        left -= length + 1
    return 1, indent


@dataclass(frozen=True, slots=True)
class Place:
    """The scalar at `path`. `at(offset)` is exact for a plain scalar on one line; with `Places` for the others too."""

    text: str
    path: Path
    locate: Locate

    def at(self, offset: int) -> Position:
        """The position of the character at `offset` of the scalar's value."""
        if isinstance(self.locate, Places):
            return self.locate.inside(self.path, offset)
        start = self.locate(self.path)
        return start if "\n" in self.text else start._replace(column=start.column + offset)
