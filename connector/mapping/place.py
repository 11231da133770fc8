"""Where a character of a YAML scalar stands in its file, whatever way the scalar is written."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from connector.mapping.problem import Locate, Path, Position

_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ \t]*|.)", re.DOTALL)
_FOLD: Final = re.compile(r"[ \t]*\r?\n[ \t\r\n]*")


class _Source:
    """One file. A scalar of it is followed character by character, once, as far as anybody asks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = list(accumulate((len(line) + 1 for line in self.lines), initial=0))
        self.followed: dict[int, list[int]] = {}

    def place(self, line: int, column: int, offset: int) -> tuple[int, int]:
        """Line and column, from 0, of the character at `offset` of the scalar that begins at `line` and `column`.

        Plain and quoted scalars are followed character by character, block scalars line by line; where a folded text
        cannot be followed, the answer is the nearest line.
        """
        style = self.lines[line][column : column + 1]
        if style in ("|", ">"):
            # A scalar's character stands at most so many lines below its beginning, but for runs of empty lines.
            below, found = _block(self.lines[line : line + offset + 100], offset, folded=style == ">")
            return line + below, found
        at = self._follow(self.starts[line] + column, style if style in ("'", '"') else "", offset)
        found = bisect_right(self.starts, at) - 1
        return found, at - self.starts[found]

    def _follow(self, begin: int, quote: str, offset: int) -> int:
        places = self.followed.setdefault(begin, [begin + len(quote)])
        while len(places) <= offset and places[-1] < len(self.text):
            places.append(_next(self.text, places[-1], quote))
        return places[min(offset, len(places) - 1)]


@dataclass(frozen=True, slots=True)
class Places:
    """A `Locate` that also looks into scalars: `texts` are the files as they were read, by name."""

    locate: Locate
    texts: Mapping[str, str]
    _sources: dict[str, _Source] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, path: Path) -> Position:
        return self.locate(path)

    def inside(self, path: Path, offset: int) -> Position:
        """The position of the character at `offset` of the scalar at `path`."""
        start = self.locate(path)
        if start.file not in self.texts:
            return start
        if start.file not in self._sources:
            self._sources[start.file] = _Source(self.texts[start.file])
        line, column = self._sources[start.file].place(start.line - 1, start.column - 1, offset)
        return Position(start.file, line + 1, column + 1)


def _next(text: str, at: int, quote: str) -> int:
    """The place after the source of one character of a flow scalar's value."""
    if quote == "'" and text.startswith("''", at):
        return at + 2
    if quote == '"' and text[at] == "\\" and (found := _ESCAPE.match(text, at)):
        return found.end()
    blank = _FOLD.match(text, at)
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
