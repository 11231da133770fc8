"""Reads YAML 1.2 into a tree in which every value knows where it stands, and merges several files into one.

The tree is built from the parser's events, so that scalars follow the core schema of YAML 1.2 alone: `NO` and `on` are
text, `010` is ten, `1:30` is text. Tags (`!env X`) stay on their nodes for `connector.loading.resolve`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from connector.mapping import problem as said
from connector.mapping.problem import Position, Problem

Scalar: TypeAlias = str | int | float | bool | None

SUFFIXES: Final = (".yaml", ".yml")
SECRET_KEY: Final = re.compile(r"passw|secret|token|jaas|api_?key|private|\.pem$|credential", re.IGNORECASE)
"""Keys whose values are never repeated, whatever is wrong with them."""

_DEPTH: Final = 60
_NODES: Final = 200_000
_NULL: Final = re.compile(r"null|Null|NULL|~|")
_BOOL: Final = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?[0-9]{1,400}")
_OCTAL_OR_HEX: Final = re.compile(r"0o([0-7]{1,400})|0x([0-9a-fA-F]{1,400})")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF_OR_NAN: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CORE: Final = "tag:yaml.org,2002:"

Branch: TypeAlias = "dict[str, Node]"


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML value: a dict, a tuple or a scalar, where it stands, and where its key does.

    `tag` is a tag that is still to be resolved. `origin` says that the value came out of a variable (`env`) or out of a
    file (`file`): the first is not quoted in messages, the second is never shown at all. `size` counts the node and all
    below it, aliases as often as they are used.
    """

    at: Position
    data: "dict[str, Node] | tuple[Node, ...] | Scalar" = field(repr=False)  # it may be a secret
    key: Position | None = None
    tag: str = ""
    origin: Literal["", "env", "file"] = ""
    size: int = 1

    @property
    def branch(self) -> "dict[str, Node]":
        """Its keys, none where it is no map."""
        return self.data if isinstance(self.data, dict) else {}

    def find(self, path: said.Path) -> "Node | None":
        """The node at a path below this one."""
        node: Node | None = self
        for step in path:
            data = node.data if node is not None else None
            if isinstance(step, str) and isinstance(data, dict):
                node = data.get(step)
            elif isinstance(step, int) and isinstance(data, tuple) and 0 <= step < len(data):
                node = data[step]
            else:
                return None
        return node

    def without(self, path: said.Path) -> "Node":
        """This tree without the value at a path."""
        step = path[0]
        if isinstance(self.data, dict):
            if len(path) == 1:
                return replace(self, data={key: node for key, node in self.data.items() if key != step})
            return replace(
                self, data={k: node.without(path[1:]) if k == step else node for k, node in self.data.items()}
            )
        if isinstance(self.data, tuple) and len(path) > 1:
            nodes = (node.without(path[1:]) if index == step else node for index, node in enumerate(self.data))
            return replace(self, data=tuple(nodes))
        return self

    def locate(self, path: said.Path) -> Position:
        """Where the value at a path stands, or the nearest one above it."""
        for length in range(len(path), -1, -1):
            if (node := self.find(path[:length])) is not None:
                return node.at
        return self.at

    def walk(self, path: said.Path = ()) -> Iterator[tuple[said.Path, "Node"]]:
        """This node and all below it, with their paths."""
        yield path, self
        if isinstance(self.data, dict):
            for key, node in self.data.items():
                yield from node.walk((*path, key))
        elif isinstance(self.data, tuple):
            for index, node in enumerate(self.data):
                yield from node.walk((*path, index))

    def plain(self) -> Any:
        """The value without positions: dicts, lists and scalars."""
        if isinstance(self.data, dict):
            return {key: node.plain() for key, node in self.data.items()}
        if isinstance(self.data, tuple):
            return [node.plain() for node in self.data]
        return self.data

    def plain_at(self, path: said.Path) -> Any:
        """The plain value at a path below this one, None where nothing stands."""
        return node.plain() if (node := self.find(path)) is not None else None


def branch(data: "dict[str, Node]", at: Position, key: Position | None = None) -> Node:
    """A map of nodes."""
    return Node(at, data, key, size=1 + sum(node.size for node in data.values()))


class _Refused(Exception):
    """One document cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _scalar(text: str) -> Scalar:
    """A plain scalar by the core schema of YAML 1.2 (section 10.3.2)."""
    if _NULL.fullmatch(text):
        return None
    if found := _BOOL.fullmatch(text):
        return bool(found[1])
    if _INT.fullmatch(text):
        return int(text)
    if found := _OCTAL_OR_HEX.fullmatch(text):
        return int(found[1], 8) if found[1] else int(found[2], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if found := _INF_OR_NAN.fullmatch(text):
        return float("nan") if found[3] else float(f"{found[1]}inf")
    return text


class _Document:
    """Builds one file's tree from the parser's events; problems that do not stop it are collected."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.split("\n")
        self.problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._path: list[str | int] = []
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)

    def read(self) -> Node:
        event = self._next()
        while not isinstance(event, yaml.DocumentStartEvent):
            if isinstance(event, yaml.StreamEndEvent):
                raise self._refused("CFG004", Position(self.name, 1, 1), "the file is empty", "start with `version: 1`")
            event = self._next()
        if event.version is not None and tuple(event.version) != (1, 2):
            at = Position(self.name, 1, 1)
            raise self._refused("CFG004", at, "the file asks for another YAML than 1.2", "take the %YAML line out")
        root = self._node(self._next(), 0)
        self._next()
        after = self._next()
        if isinstance(after, yaml.DocumentStartEvent):
            message = "a second document starts here, and it would be left out"
            raise self._refused("CFG004", self._at(after), message, "put it into a file of its own; files are merged")
        if not isinstance(root.data, dict):
            raise self._refused("CFG004", root.at, "a config is a map of keys", "start with `version: 1`")
        return root

    def _next(self) -> Any:
        try:
            return next(self._events)
        except MarkedYAMLError as error:
            raise _Refused(self._unparsable(error)) from error
        except YAMLError as error:  # the reader's, which carries no mark
            at = Position(self.name, 1, 1)
            for number, line in enumerate(self.lines, 1):
                if found := re.search(r"[^\t\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", line):
                    at = Position(self.name, number, found.start() + 1)
                    break
            raise self._refused("CFG002", at, "a control character, which YAML forbids", "take it out") from error

    def _refused(self, code: str, at: Position, message: str, mend: str) -> _Refused:
        return _Refused(Problem(code, at, "", message, mend))

    def _at(self, event: Any) -> Position:
        return Position(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _unparsable(self, error: MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        begun = error.context_mark.line if error.context_mark is not None else line
        message = f"YAML does not parse: {error.problem or error.context or 'unreadable'}"
        if error.context and error.problem:
            message += f" {error.context}"
            if begun != line:
                message += f" that begins at line {begun + 1}"
        near = self.lines[max(0, min(begun, line)) : line + 1]
        return Problem("CFG002", Position(self.name, line + 1, column + 1), "", message, self._trap(near, message))

    @staticmethod
    def _trap(lines: Sequence[str], message: str) -> str:
        """The usual reason, where a line shows one."""
        if any("${" in line for line in lines[-3:]):
            signs = '`: `, ` #`, `"`, `{`, `}` and `,`'
            return f"put single quotes around the whole value with ${{…}}: YAML reads {signs} in it for itself"
        if any(re.search(r":\s+!(?!env\b|file\b|sub\b)", line) for line in lines[-1:]):
            return "put quotes around an expression that begins with `!`: YAML takes it for a tag"
        if "\\t" in message or any("\t" in line[: len(line) - len(line.lstrip())] for line in lines[-1:]):
            return "indent with spaces: YAML forbids tabs there"
        if "mapping values" in message:
            return "put quotes around a value that has `: ` in it, or check the indentation"
        if "cannot start any token" in message:
            return "put quotes around a value that begins with this character"
        return "check the quotes, brackets and indentation above this place"

    def _node(self, event: Any, depth: int) -> Node:
        at = self._at(event)
        if depth > _DEPTH:
            raise self._refused("CFG002", at, f"nested more than {_DEPTH} deep", "make it flatter")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                mend = "define the anchor above, with `&`; quote a text that starts with `*`"
                name = "of this name" if self._secret() else f"`&{event.anchor}`"
                raise self._refused("CFG002", at, f"no anchor {name} stands above this alias", mend)
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            node = self._leaf(event, at)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._no_tag(event, at)
            node = self._sequence(at, depth)
        else:
            self._no_tag(event, at)
            node = self._mapping(at, depth)
        if node.size > _NODES:
            raise self._refused("CFG002", at, f"more than {_NODES} values, aliases counted", "use fewer aliases")
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _leaf(self, event: Any, at: Position) -> Node:
        tag, quoted = event.tag, event.style is not None
        if tag in (None, "!"):
            return Node(at, event.value if quoted or tag else _scalar(event.value))
        if tag in ("!env", "!file", "!sub"):
            return Node(at, event.value, tag=tag[1:])
        if tag == f"{_CORE}str":
            return Node(at, event.value)
        if tag.startswith(_CORE) and tag[len(_CORE) :] in ("int", "float", "bool", "null"):
            return Node(at, _scalar(event.value))
        return Node(self._unknown_tag(tag, at), event.value)

    def _no_tag(self, event: Any, at: Position) -> None:
        if event.tag in ("!env", "!file", "!sub"):
            self.problems.append(Problem("CFG005", at, "", f"{event.tag} takes a text", f"write {event.tag} NAME"))
        elif event.tag not in (None, "!", f"{_CORE}map", f"{_CORE}seq"):
            self._unknown_tag(event.tag, at)

    def _unknown_tag(self, tag: str, at: Position) -> Position:
        line = self.lines[at.line - 1] if at.line <= len(self.lines) else ""
        start = line.find(tag.replace(_CORE, "!!"))
        text = re.sub(r"\s+#.*", "", line[start:].strip()) if start >= 0 else tag
        if start >= 0:
            at = at._replace(column=start + 1)
        begins, quoted = tag.replace(_CORE, "!!"), f": '{text}'"
        if self._secret():
            begins, quoted = "!", ""
        mend = f"if an expression was meant, quote it{quoted}; the tags are !env, !file and !sub"
        self.problems.append(Problem("CFG005", at, "", f"YAML reads `{begins}` as a tag", mend))
        return at

    def _secret(self) -> bool:
        """Whether what is being read belongs to a key of secrets."""
        return any(isinstance(step, str) and SECRET_KEY.search(step) for step in self._path)

    def _sequence(self, at: Position, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._path.append(len(items))
            items.append(self._node(event, depth + 1))
            self._path.pop()
        return Node(at, tuple(items), size=1 + sum(item.size for item in items))

    def _mapping(self, at: Position, depth: int) -> Node:
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            place = self._at(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused("CFG002", place, "a key must be text", "put quotes around it")
            key, quoted = event.value, event.style is not None
            self._path.append(key)
            node = self._node(self._next(), depth + 1)
            if (
                node.data is None and node.at.line > place.line
            ):  # nothing stands here: YAML says where the next thing is
                node = replace(node, at=place)
            way = said.spell(tuple(self._path))
            self._path.pop()
            if key == "<<" and not quoted:
                merged = self._merge(node, place) | merged
            elif key in found:
                first = found[key].key
                message = f"the key `{key}` stands twice, first at {first}"
                self.problems.append(Problem("CFG003", place, way, message, "keep one of them"))
            else:
                found[key] = replace(node, key=place)
        return branch(merged | found, at)

    def _merge(self, node: Node, place: Position) -> Branch:
        """`<<: *anchor` or `<<: [*a, *b]`: keys that are not said here; the earlier anchor wins."""
        merged: dict[str, Node] = {}
        for one in node.data if isinstance(node.data, tuple) else (node,):
            if not isinstance(one.data, dict):
                self.problems.append(
                    Problem("CFG005", place, "", "`<<` merges maps only", "write <<: *anchor-of-a-map")
                )
                continue
            merged = one.data | merged
        return merged


def parse(name: str, text: str) -> tuple[Node | None, list[Problem]]:
    """One file's tree, None where it cannot be read; `name` is how positions call the file."""
    document = _Document(name, text)
    try:
        root = document.read()
    except _Refused as refused:
        return None, [*document.problems, refused.problem]
    return root, document.problems


def files(paths: Sequence[str | Path]) -> tuple[list[Path], list[Problem]]:
    """The files that are meant, each once: a directory stands for its *.yaml and *.yml but for route tests."""
    found: list[Path] = []
    problems: list[Problem] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):  # asks without raising: whoever reads the file says why it cannot be read
            found.append(path)
            continue
        configs = [one for one in inside(path) if not one.stem.endswith("_test")]
        if not configs:
            message = "no *.yaml in this directory, or no right to list it"
            problems.append(Problem("CFG001", Position(str(path), 1, 1), "", message, "name the file"))
        found.extend(configs)
    return list(dict.fromkeys(found)), problems


def inside(folder: Path) -> list[Path]:
    """The YAML files of a directory, by name; none where it may not be listed."""
    return sorted(one for suffix in SUFFIXES for one in folder.glob(f"*{suffix}") if os.path.isfile(one))


def read(paths: Sequence[str | Path]) -> tuple[Node, list[Problem], dict[str, str]]:
    """All files merged into one tree, without the free `x-` keys; every problem; the texts by file name."""
    found, problems = files(paths)
    texts: dict[str, str] = {}
    trees: list[Node] = []
    for path in found:
        at = Position(str(path), 1, 1)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            mend = "check the path and its permissions"
            problems.append(Problem("CFG001", at, "", f"cannot be read: {error.strerror or error}", mend))
            continue
        except UnicodeDecodeError:
            problems.append(Problem("CFG001", at, "", "is not UTF-8", "save it as UTF-8"))
            continue
        texts[str(path)] = text = text.replace("\r\n", "\n")
        tree, more = parse(str(path), text)
        problems.extend(more)
        if tree is not None:
            trees.append(branch({k: v for k, v in tree.branch.items() if not k.startswith("x-")}, tree.at))
    start = Position(str(found[0]) if found else "", 1, 1)
    root = branch({}, start)
    for tree in trees:
        root = _joined(root, tree, (), problems)
    return root, problems, texts


def _joined(first: Node, second: Node, path: said.Path, problems: list[Problem]) -> Node:
    """Two files' nodes of one path as one: maps merge, `routes` and `tests` append, any other is refused."""
    named = len(path) == 2 and path[0] in ("targets", "topics")
    if isinstance(first.data, dict) and isinstance(second.data, dict) and not named:
        data = dict(first.data)
        for key, node in second.data.items():
            data[key] = _joined(data[key], node, (*path, key), problems) if key in data else node
        return branch(data, first.at, first.key)
    if path in (("routes",), ("tests",)) and isinstance(first.data, tuple) and isinstance(second.data, tuple):
        return replace(first, data=first.data + second.data, size=first.size + second.size)
    if path != ("version",) or first.data != second.data:
        place = second.key or second.at
        message = f"`{said.spell(path)}` stands twice, first at {first.key or first.at}"
        problems.append(Problem("CFG006", place, said.spell(path), message, "keep it in one file"))
    return first


def overlaid(base: Node, top: Node) -> Node:
    """`top` with what only `base` says, as `defaults` are: maps merge, anything else is replaced."""
    if not isinstance(base.data, dict) or not isinstance(top.data, dict):
        return top
    data: dict[str, Node] = dict(base.data)
    for key, node in top.data.items():
        data[key] = overlaid(base.data[key], node) if key in base.data else node
    return branch(data, top.at, top.key)
