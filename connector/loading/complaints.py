"""Says pydantic's findings in the words of a config: which file, line, column and key, what is wrong, what to write.

A value is quoted only where it is a wrong key or a wrong choice out of the files; one that came from the environment or
out of a file is never repeated, for it may be a secret.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from connector.loading.yaml_source import Node
from connector.mapping.problem import Path, Problem, spell

_WRONG_KIND: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a map of keys",
    "model_type": "a map of keys",
    "model_attributes_type": "a map of keys",
    "tuple_type": "a list",
    "list_type": "a list",
}
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_UNKNOWN: Final = ("CFG010", "CFG016")
_UNIT: Final = re.compile(r"needs a (?:unit|rate)\b")

_OF_A_KEY: Final = re.compile(r"([a-z_]\w*(?:\.\w+|\[\d+\])*): ")
"""How a validator of a whole section begins when one key of it is at fault: `batch.max_entries: …`."""


def complaints(error: ValidationError, model: type[BaseModel], tree: Node, prefix: Path = ()) -> Iterator[Problem]:
    """The problems of one failed validation; `tree` is the whole config, `prefix` the way to what was validated.

    A key that is missing because it was misspelt is one mistake, not two.
    """
    found = [_complaint(one, model, tree, prefix) for one in error.errors(include_url=False)]
    meant = "".join(problem.mend for problem in found if problem.code in _UNKNOWN)
    for problem in found:
        if problem.code != "CFG011" or f"`{problem.path.rpartition('.')[2]}`?" not in meant:
            yield problem


def unknown(error: ValidationError, tree: Node, prefix: Path = ()) -> list[Path]:
    """The paths of the keys that a validation did not know."""
    found = [one for one in error.errors(include_url=False) if one["type"] == "extra_forbidden"]
    return [_path(one["loc"], one["type"], tree, prefix) for one in found]


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that was probably meant, empty if none is near."""
    known = list(words)
    folded = {one.lower().replace("-", "_"): one for one in known}
    close = get_close_matches(word.lower().replace("-", "_"), list(folded), 1)
    return folded[close[0]] if close else ""


def _complaint(found: ErrorDetails, model: type[BaseModel], tree: Node, prefix: Path) -> Problem:
    kind, loc, context = found["type"], found["loc"], found.get("ctx", {})
    if loc and loc[-1] == "[key]":
        loc, kind = loc[:-1], "key"
    path = _path(loc, kind, tree, prefix)
    node = tree.find(path)
    at = tree.locate(path)
    name = spell(path)
    key = path[-1] if path else ""
    if node is not None and kind in ("extra_forbidden", "key"):
        at = node.key or at
    if kind == "extra_forbidden":
        here = _model_at(model, loc[:-1])
        keys = list(here.model_fields) if here is not None else []
        if at.line == 0:
            variable = at.file.partition(" ")[2]
            close = nearest(str(key), keys)
            mend = f"did you mean `{close}`?" if close else f"`{spell(path[:-1])}` has {', '.join(keys)}"
            return Problem("CFG016", at, name, f"{variable} names no setting", mend)
        return Problem("CFG010", at, name, f"unknown key `{key}`", _meant(str(key), keys, model, path))
    if kind == "missing":
        owner = _model_at(model, loc[:-1])
        field = owner.model_fields.get(str(loc[-1])) if owner is not None else None
        mend = f"add it: {field.description}" if field is not None and field.description else "add it"
        return Problem("CFG011", at, name, f"`{key}` is missing", mend)
    if kind == "union_tag_not_found":
        types = [str(tag) for one in _models_at(model, loc) for tag in get_args(one.model_fields["type"].annotation)]
        return Problem("CFG011", at, f"{name}.type", "`type` is missing", f"one of {', '.join(types)}")
    if kind in ("literal_error", "union_tag_invalid"):
        return _choice(found, node, at, name)
    if kind == "key" or kind == "string_pattern_mismatch":
        return Problem("CFG012", at, name, f"`{key}` is not written as it must be", _allowed(found))
    if kind in _WRONG_KIND:
        return _wrong_kind(kind, node, at, name, key)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return Problem("CFG012", at, name, f"`{key}` must be {words} {_number(context[bound])}")
    if kind in ("too_short", "string_too_short"):
        return Problem("CFG012", at, name, f"`{key}` is empty", "name at least one" if kind == "too_short" else "")
    if kind == "string_too_long":
        return Problem("CFG012", at, name, f"`{key}` has more than {context['max_length']} characters", "shorten it")
    message = str(context.get("error", found["msg"]))
    if named := _OF_A_KEY.match(message):
        below = (*path, *(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", named[1])))
        if tree.find(below) is not None:
            return Problem("CFG012", tree.locate(below), spell(below), f"`{below[-1]}` {message[named.end() :]}")
    reason, _, mend = message.partition(": write ")
    code = "CFG013" if _UNIT.match(message) else "CFG012"
    return Problem(code, at, name, f"`{key}` {reason}", f"write {mend}" if mend else "")


def _path(loc: tuple[int | str, ...], kind: str, tree: Node, prefix: Path) -> Path:
    """pydantic's location as a path of the tree: it names the member of a union where the config has no key."""
    path = prefix
    for index, step in enumerate(loc):
        last = index == len(loc) - 1
        if tree.find((*path, step)) is not None or (last and kind == "missing"):
            path = (*path, step)
    return path


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType):
        return [model for one in get_args(annotation) for model in _models(one)]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is not None and arguments and origin is not Literal:
        return _models(arguments[0]) if hasattr(annotation, "__metadata__") else []
    return []


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that reads what stands at a location below a model."""
    return next(iter(_models_at(model, loc)), None)


def _models_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that may read it; several where `type` decides and is not known."""
    now: list[type[BaseModel]] = [model]
    for step in loc:
        tagged = [one for one in now if step in get_args(getattr(one.model_fields.get("type"), "annotation", None))]
        if tagged and len(now) > 1:
            now = tagged
            continue
        fields = [one.model_fields[step] for one in now if isinstance(step, str) and step in one.model_fields]
        if not fields:
            continue  # the name of an entry in a map, or the index of one in a list
        annotation: Any = fields[0].annotation
        if get_origin(annotation) in (dict, tuple, list):
            annotation = get_args(annotation)[1 if get_origin(annotation) is dict else 0]
        now = _models(annotation)
    return now


def _meant(key: str, keys: list[str], model: type[BaseModel], path: Path) -> str:
    if close := nearest(key, keys):
        return f"did you mean `{close}`?"
    for name, field in model.model_fields.items():
        for below in _models(field.annotation):
            if key in below.model_fields:
                return f"`{key}` stands under `{name}`"
    if len(path) == 1:
        return f"the keys here are {', '.join(keys)}; keys that begin with x- are free"
    return f"the keys here are {', '.join(keys)}"


def _choice(found: ErrorDetails, node: Node | None, at: Any, name: str) -> Problem:
    context = found.get("ctx", {})
    listed = str(context.get("expected_tags") or context.get("expected", ""))
    choices = re.findall(r"'([^']*)'", listed) or [listed]
    written = node.branch["type"] if node is not None and "type" in node.branch else node
    mend = f"one of {', '.join(choices)}" if len(choices) > 1 else f"write {choices[0]}"
    if written is not None and isinstance(written.data, str) and (close := nearest(written.data, choices)):
        mend = f"did you mean {close}? {mend}"
    if written is not None and written is not node:
        at, name = written.at, f"{name}.type"
    last = name.rpartition(".")[2]
    quoted = f"`{written.data}`" if written is not None and not written.origin else "this value"
    return Problem("CFG014", at, name, f"`{last}` cannot be {quoted}", mend)


def _allowed(found: ErrorDetails) -> str:
    pattern = str(found.get("ctx", {}).get("pattern", ""))
    return f"write it in the form {pattern}" if pattern else ""


def _wrong_kind(kind: str, node: Node | None, at: Any, name: str, key: Any) -> Problem:
    wanted = _WRONG_KIND[kind]
    data = node.data if node is not None else None
    if node is not None and data is None:
        return Problem("CFG012", at, name, f"`{key}` is empty: it needs {wanted}", "fill it or take the key out")
    mend = ""
    if kind == "string_type" and isinstance(data, int | float):
        mend = "put quotes around it"
    elif kind in ("tuple_type", "list_type") and isinstance(data, str):
        mend = "put it into [ ]"
    elif wanted == "a map of keys":
        mend = f"write {key}: {{KEY: value}}"
    return Problem("CFG012", at, name, f"`{key}` needs {wanted}, not {_kind(data)}", mend)


def _kind(data: Any) -> str:
    if isinstance(data, bool):
        return "true or false"
    return {str: "a text", int: "a number", float: "a number", dict: "a map", tuple: "a list"}.get(type(data), "this")


def _number(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
