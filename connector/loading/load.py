"""From files and environment to frozen settings, or to every problem at once.

Each target and each route is validated for itself, so one mistake hides no other.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as File
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from connector.kafka_properties import OWNED_PROPERTIES
from connector.loading import checks
from connector.loading.complaints import complaints, nearest, unknown
from connector.loading.resolve import from_environment, resolved
from connector.loading.yaml_source import SECRET_KEY, Node, branch, overlaid, read
from connector.mapping.place import Places
from connector.mapping.problem import Path, Problem, spell
from connector.route import compile_routes
from connector.settings import KafkaSettings, Loaded, RouteSettings, Settings
from connector.targets import REGISTRY
from connector.targets.contract import Kind
from connector.targets.settings import TargetSettings

Read = TypeVar("Read", bound=BaseModel)

MASK: Final = "***"
_SHORTEST: Final = 6  # characters of a secret, or of a part of one, that is looked for wherever it may also stand
_USER_IN_URL: Final = re.compile(r"://[^/@\s]+@")
_UNREADABLE: Final = frozenset({"CFG001", "CFG002", "CFG004"})


def load(
    paths: Sequence[str | File],
    environ: Mapping[str, str],
    *,
    registry: Mapping[str, Kind] = REGISTRY,
    owned: Mapping[str, str] = OWNED_PROPERTIES,
) -> Loaded:
    """Read, merge and check a config of files and directories. Never raises for what stands in it.

    `registry` are the kinds of targets, `owned` the librdkafka properties that are the daemon's own with the setting to
    use instead.
    """
    tree, problems, texts = read(paths)
    locate = Places(tree.locate, texts)
    if any(problem.code in _UNREADABLE for problem in problems):
        return Loaded(None, in_order(problems), locate, texts=texts)
    tree = from_environment(tree, environ, problems)
    tree = resolved(tree, environ, problems)
    written = tree
    tree = _with_defaults(tree, registry, problems)
    locate = Places(tree.locate, texts)
    known = {problem.where for problem in problems}

    found: list[Problem] = []
    targets = _targets(tree, registry, found)
    routes = _routes(tree, found)
    settings = _head(tree, found)
    parts = checks.Parts(settings, targets, routes, tree)
    found.extend(checks.check(parts, registry, owned))
    problems.extend(_as_written(problem, tree, written) for problem in found if problem.where not in known)

    paths_of = {place: path for path, node in tree.walk() for place in (node.at, node.key) if place is not None}
    problems = [p if p.path else p._replace(path=spell(paths_of.get(p.where, ()))) for p in in_order(problems)]
    there = {name: target for name, target in targets.items() if target is not None}
    if settings is not None and parts.whole and not any(problem.level == "error" for problem in problems):
        whole = settings.model_copy(update={"targets": there, "routes": tuple(routes.values())})
        plain = _masked(whole, tree)
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return Loaded(whole, tuple(problems), locate, digest, texts, plain, whole)
    return Loaded(None, tuple(problems), locate, texts=texts, draft=_draft(parts, there))


def compiled(loaded: Loaded, registry: Mapping[str, Kind] = REGISTRY) -> Loaded:
    """The same with the mistakes of the routes' patterns and expressions, told even where there are others."""
    if loaded.draft is None:
        return loaded
    _, found = compile_routes(loaded.draft, loaded.locate, registry)
    known = {problem.where for problem in loaded.errors}  # what has no value yet cannot be compiled either
    problems = in_order([*loaded.problems, *(problem for problem in found if problem.where not in known)])
    wrong = any(problem.level == "error" for problem in problems)
    return replace(loaded, problems=problems, settings=None if wrong else loaded.settings)


_UNREAD: Final = Settings(
    kafka=KafkaSettings(bootstrap_servers="unread", group_id="unread"), targets={}, routes=(), unrouted="hold"
)
"""Stands in a draft for what could not be read."""


def _draft(parts: checks.Parts, targets: Mapping[str, TargetSettings]) -> Settings:
    """What could be read, every route in its place."""
    routes = tuple(_mapped(parts.routes.get(index)) for index in range(_count(parts.tree)))
    rest = parts.settings or _UNREAD.model_copy(update={"vars": parts.variables})
    return rest.model_copy(update={"targets": targets, "routes": routes})


def _count(tree: Node) -> int:
    routes = tree.branch.get("routes")
    return len(routes.data) if routes is not None and isinstance(routes.data, tuple) else 0


def _mapped(route: RouteSettings | None) -> RouteSettings:
    """What of a route a draft needs: its patterns and expressions. One that could not be read has none."""
    if route is None:
        return RouteSettings.model_construct(name="", topics=(), targets=())
    return route.model_copy(update={"topics": ()})


def in_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Each once, as they stand in the files."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.where, problem.code, problem.path)))


def _with_defaults(tree: Node, kinds: Mapping[str, Kind], problems: list[Problem]) -> Node:
    """`defaults.route` under each route, `defaults.target` under each target as far as its type has the key."""
    defaults = tree.branch.get("defaults")
    data = {key: node for key, node in tree.branch.items() if key != "defaults"}
    if defaults is None:
        return tree
    for key, node in defaults.branch.items():
        if key not in ("route", "target"):
            mend = f"did you mean `{close}`?" if (close := nearest(key, ("route", "target"))) else "route or target"
            problems.append(Problem("CFG010", node.key or node.at, f"defaults.{key}", f"unknown key `{key}`", mend))
        elif not isinstance(node.data, dict):
            problems.append(Problem("CFG012", node.at, f"defaults.{key}", f"`{key}` needs a map of keys"))
    route, target = defaults.branch.get("route"), defaults.branch.get("target")
    routes, targets = data.get("routes"), data.get("targets")
    if route is not None and routes is not None and isinstance(routes.data, tuple):
        data["routes"] = replace(routes, data=tuple(overlaid(route, one) for one in routes.data))
    if target is not None and targets is not None:
        somewhere = set(TargetSettings.model_fields).union(*(kind.settings.model_fields for kind in kinds.values()))
        for key, node in target.branch.items():
            if key not in somewhere:
                mend = f"did you mean `{close}`?" if (close := nearest(key, somewhere)) else "no target has it"
                where = f"defaults.target.{key}"
                problems.append(Problem("CFG010", node.key or node.at, where, f"unknown key `{key}`", mend))
        data["targets"] = replace(
            targets, data={name: overlaid(_fitting(target, one, kinds), one) for name, one in targets.branch.items()}
        )
    return branch(data, tree.at)


def _fitting(defaults: Node, target: Node, kinds: Mapping[str, Kind]) -> Node:
    kind = kinds.get(str(target.branch["type"].data)) if "type" in target.branch else None
    fields = kind.settings.model_fields if kind is not None else TargetSettings.model_fields
    return branch({key: node for key, node in defaults.branch.items() if key in fields}, defaults.at)


def _as_written(problem: Problem, tree: Node, written: Node) -> Problem:
    """The problem with the path that a person wrote, where a value of `defaults` stands in many places of the tree."""
    defaults = written.branch.get("defaults")
    if defaults is None or tree is written:
        return problem
    for path, node in defaults.walk(("defaults",)):
        if problem.where in (node.at, node.key):
            return problem._replace(path=spell(path))
    return problem


def _targets(tree: Node, kinds: Mapping[str, Kind], problems: list[Problem]) -> dict[str, TargetSettings | None]:
    """Each target read by its type's model; None where it cannot be read."""
    found: dict[str, TargetSettings | None] = {}
    parent = tree.branch.get("targets")
    for name, node in (parent.branch if parent is not None else {}).items():
        found[name] = None
        path: Path = ("targets", name)
        where = node.branch.get("type")
        if not isinstance(node.data, dict):
            problems.append(Problem("CFG012", node.at, spell(path), f"`{name}` needs a map of keys", "give its type"))
        elif where is None:
            mend = f"one of {', '.join(sorted(kinds))}"
            problems.append(Problem("CFG011", node.at, spell((*path, "type")), "`type` is missing", mend))
        elif not isinstance(where.data, str) or where.data not in kinds:
            close = nearest(str(where.data), kinds)
            mend = f"one of {', '.join(sorted(kinds))}"
            mend = f"did you mean {close}? {mend}" if close else mend
            quoted = "this" if where.origin else f"`{where.data}`"
            problems.append(Problem("CFG015", where.at, spell((*path, "type")), f"{quoted} is no type of target", mend))
        else:
            found[name] = _valid(kinds[where.data].settings, tree, path, problems)
    return found


def _valid(
    model: type[Read],
    tree: Node,
    path: Path,
    problems: list[Problem],
    adapted: Callable[[Any], Any] = lambda plain: plain,
) -> Read | None:
    """What stands at a path, read by a model. Unknown keys are complained of and left out, so that the checks go on."""
    try:
        return model.model_validate(adapted(tree.plain_at(path)))
    except ValidationError as error:
        problems.extend(complaints(error, model, tree, path))
        known = tree
        for extra in unknown(error, tree, path):
            known = known.without(extra)
    try:
        return model.model_validate(adapted(known.plain_at(path)))
    except ValidationError:  # complained of above
        return None


def _routes(tree: Node, problems: list[Problem]) -> dict[int, RouteSettings]:
    """The routes that can be read, by their place in the list."""
    read_ones = ((index, _valid(RouteSettings, tree, ("routes", index), problems)) for index in range(_count(tree)))
    return {index: route for index, route in read_ones if route is not None}


def _head(tree: Node, problems: list[Problem]) -> Settings | None:
    """All but targets and routes, of which only the presence and the names are checked here."""

    def adapted(plain: dict[str, Any]) -> dict[str, Any]:
        plain.pop("defaults", None)
        if isinstance(plain.get("targets"), dict):
            plain["targets"] = {name: TargetSettings(type="") for name in plain["targets"]}
        if isinstance(plain.get("routes"), list):
            plain["routes"] = ()
        return plain

    return _valid(Settings, tree, (), problems, adapted)


def _secrets(value: Any) -> Iterator[str]:
    """Every secret in settings, but for those so short that they would be found in any word."""
    if isinstance(value, SecretStr):
        if len(value) >= _SHORTEST:
            yield value.get_secret_value()
        return
    below: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        below = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        below = value.values()
    elif isinstance(value, list | tuple):
        below = value
    for each in below:
        yield from _secrets(each)


def _masked(settings: Settings, tree: Node) -> dict[str, Any]:
    """The settings as they may be shown: no secret, nothing out of a file, no user in an address.

    What is a secret in one place is one in every other: a password may have come by way of `vars`.
    """
    secret = {path for path, node in tree.walk() if node.origin == "file"}
    words = sorted(set(_secrets(settings)), key=len, reverse=True)

    def shown(value: Any, path: Path) -> Any:
        if path in secret or isinstance(value, SecretStr):
            return MASK
        if isinstance(value, BaseModel):
            return {name: shown(getattr(value, name), (*path, name)) for name in type(value).model_fields}
        if isinstance(value, Mapping):
            return {key: shown(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [shown(below, (*path, index)) for index, below in enumerate(value)]
        if isinstance(value, str):
            if (path[-2:-1] == ("properties",) or path[:1] == ("vars",)) and SECRET_KEY.search(str(path[-1])):
                return MASK
            if path[:1] == ("vars",) and len(value) >= _SHORTEST and any(value in word for word in words):
                return MASK  # a part of it
            for word in words:
                value = value.replace(word, MASK)
            return _USER_IN_URL.sub(f"://{MASK}@", value)
        return value

    return dict(shown(settings, ()))
