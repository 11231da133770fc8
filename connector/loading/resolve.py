"""Fills a tree from outside the files: `CONNECTOR_…` variables laid over it, then `!env`, `!file` and `!sub` resolved.

It happens after parsing and on text leaves only, so what comes from outside can never become YAML.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any, Final

from pydantic_settings import EnvSettingsSource, SettingsError

from connector.loading.yaml_source import Node, branch
from connector.mapping.problem import Path, Position, Problem, spell
from connector.settings import Settings

_PREFIX: Final = "CONNECTOR_"
_BETWEEN: Final = "__"
_ENV: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::(.*))?", re.DOTALL)
_SUB: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_EXPRESSIONS: Final = ("map", "when", "each")
_FROM_FILES_ONLY: Final = frozenset({"version", "routes", "tests"})
_FILE_BYTES: Final = 1 << 20


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of variables, of those that are passed in instead of the process's own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items()}


def from_environment(root: Node, environ: Mapping[str, str], problems: list[Problem]) -> Node:
    """The tree with each `CONNECTOR_SECTION__KEY` in its place; one that names no setting is a problem."""
    ours: dict[str, str] = {}
    known = sorted(set(Settings.model_fields) - _FROM_FILES_ONLY)
    for name, value in environ.items():
        if not name.upper().startswith(_PREFIX):
            continue
        section, nested, _ = name[len(_PREFIX) :].lower().partition(_BETWEEN)
        if section in known:
            ours[name] = value
        elif nested:
            problems.append(_unknown(name, section, known))
    for name, value in sorted(ours.items()):  # one by one, so that a value knows the variable it came from
        at = Position(f"environment {name}", 0, 0)
        try:
            found = _Environment({name: value})()
        except SettingsError:
            mend = f"give JSON, or name a key: {name}{_BETWEEN}KEY"
            problems.append(Problem("CFG016", at, "", f"the value of {name} is not JSON", mend))
            continue
        root = _grafted(root, found, at, (), problems)
    return root


def _unknown(name: str, section: str, known: list[str]) -> Problem:
    at = Position(f"environment {name}", 0, 0)
    if section in _FROM_FILES_ONLY:
        return Problem("CFG016", at, "", f"{name}: `{section}` comes from files only", "take the variable away")
    close = get_close_matches(section, known, 1)
    mend = f"did you mean {_PREFIX}{close[0].upper()}{name[len(_PREFIX) + len(section) :]}?" if close else ""
    return Problem("CFG016", at, "", f"{name} names no setting", mend or f"the sections are {', '.join(known)}")


def _key(step: str, node: Node, path: Path) -> str:
    """The key that a variable means: names of variables know no case, dot or hyphen."""
    alike = [key for key in node.branch if re.sub(r"[^a-z0-9]", "_", key.lower()) == re.sub(r"[^a-z0-9]", "_", step)]
    if len(alike) == 1:
        return alike[0]
    return step.replace("_", ".") if path == ("kafka", "properties") else step


def _grafted(node: Node, value: Any, at: Position, path: Path, problems: list[Problem]) -> Node:
    if not isinstance(value, dict):
        return replace(_planted(value, at), key=node.key)
    data = dict(node.branch)
    for step, below in value.items():
        key = _key(step, node, path)
        if path == ("targets",) and key not in data:
            close = get_close_matches(step, [name.lower() for name in data], 1)
            mend = f"did you mean {close[0]}?" if close else f"the targets are {', '.join(data) or 'none'}"
            name = at.file.partition(" ")[2]
            problems.append(Problem("CFG016", at, spell((*path, key)), f"{name} names no target of the files", mend))
            continue
        data[key] = _grafted(data.get(key, branch({}, at, at)), below, at, (*path, key), problems)
    return branch(data, node.at, node.key)


def _planted(value: Any, at: Position) -> Node:
    if isinstance(value, dict):
        return branch({key: _planted(below, at) for key, below in value.items()}, at, at)
    if isinstance(value, list):
        return Node(at, tuple(_planted(below, at) for below in value), at)
    return Node(at, value, at, origin="env")


def resolved(root: Node, environ: Mapping[str, str], problems: list[Problem]) -> Node:
    """The tree with every tag replaced by its text. A tag that cannot be resolved is a problem and keeps its text."""
    return _Tags(root, environ, problems).node(root, ())


class _Tags:
    """Resolves the tags of one tree. A variable of `!sub` may itself have a tag; `_open` finds circles."""

    def __init__(self, root: Node, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._root = root
        self._environ = environ
        self._problems = problems
        self._open: list[Path] = []

    def node(self, node: Node, path: Path) -> Node:
        if isinstance(node.data, dict):
            data: dict[str, Node] = {key: self.node(below, (*path, key)) for key, below in node.data.items()}
            return replace(node, data=data)
        if isinstance(node.data, tuple):
            return replace(node, data=tuple(self.node(below, (*path, i)) for i, below in enumerate(node.data)))
        if not node.tag:
            return node
        place = path[2:] if path[:1] == ("routes",) or path[:2] == ("defaults", "route") else ()
        if place and place[0] in _EXPRESSIONS:
            message = f"!{node.tag} cannot stand in `{place[0]}`: expressions never read from outside the config"
            self._say("CFG005", node, path, message, f"put it under vars: {{x: !{node.tag} …}} and write ${{vars.x}}")
            return replace(node, tag="")
        if node.tag == "env":
            return self._env(node, path)
        return self._file(node, path) if node.tag == "file" else self._sub(node, path)

    def _say(self, code: str, node: Node, path: Path, message: str, mend: str) -> None:
        problem = Problem(code, node.at, spell(path), message, mend)
        if problem not in self._problems:  # a variable is resolved again for each !sub that names it
            self._problems.append(problem)

    def _env(self, node: Node, path: Path) -> Node:
        found = _ENV.fullmatch(str(node.data))
        if found is None:
            message = "!env takes the name of a variable, with a default after a colon if there is one"
            self._say("CFG007", node, path, message, 'write !env NAME or !env "NAME:default"')
            return replace(node, tag="")
        name, default = found[1], found[2]
        text: str | None = self._environ.get(name, default)
        if text is None:
            message = f"the environment variable {name} is not set"
            self._say("CFG007", node, path, message, f'set it, or give a default: !env "{name}:…"')
        return replace(node, data=text if text is not None else node.data, tag="", origin="env")

    def _file(self, node: Node, path: Path) -> Node:
        file = File(node.at.file).parent / str(node.data)
        try:
            with file.open("rb") as stream:
                content = stream.read(_FILE_BYTES + 1)
            if len(content) > _FILE_BYTES:
                self._say(
                    "CFG008", node, path, f"{file} is larger than 1MiB", "!file is for small texts, as secrets are"
                )
            text = content.decode()
        except OSError as error:
            message = f"{file} cannot be read: {error.strerror or error}"
            self._say(
                "CFG008", node, path, message, "check the path and its permissions; it is relative to this config"
            )
            return replace(node, tag="")
        except UnicodeDecodeError:
            self._say("CFG008", node, path, f"{file} is not UTF-8 text", "!file takes text only")
            return replace(node, tag="")
        return replace(node, data=text.removesuffix("\n").removesuffix("\r"), tag="", origin="file")

    def _sub(self, node: Node, path: Path) -> Node:
        origin = node.origin
        if path in self._open:
            circle = " → ".join(spell(one) for one in [*self._open[self._open.index(path) :], path])
            self._say("CFG009", node, path, f"the variables stand in a circle: {circle}", "break it")
            return replace(node, tag="")
        self._open.append(path)

        def value(found: re.Match[str]) -> str:
            nonlocal origin
            if found[0] == "$${":
                return "${"
            var = self._var(found[1].strip(), node, path) if found[0].endswith("}") else None
            if var is None:
                return found[0]
            origin = max(origin, var.origin)  # file outweighs env, and env nothing
            return str(var.data).lower() if isinstance(var.data, bool) else str(var.data)

        text = _SUB.sub(value, str(node.data))
        self._open.pop()
        return replace(node, data=text, tag="", origin=origin)

    def _var(self, name: str, node: Node, path: Path) -> Node | None:
        where: Path = ("vars", *name.removeprefix("vars.").split("."))
        found = self._root.find(where)
        if found is None:
            variables = self._root.branch.get("vars")
            names = sorted(variables.branch) if variables is not None else []
            close = get_close_matches(name, names, 1)
            mend = f"did you mean ${{{close[0]}}}?" if close else f"vars has {', '.join(names) or 'no keys'}"
            message = f"!sub knows no variable `{name}`: it reads `vars`, not the environment"
            self._say("CFG009", node, path, message, mend)
            return None
        found = self.node(found, where)
        if isinstance(found.data, dict | tuple) or found.data is None:
            self._say("CFG009", node, path, f"the variable `{name}` is no single value", "name one text or number")
            return None
        return found
