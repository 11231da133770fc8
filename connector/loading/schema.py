"""The JSON Schema of the config, made from its models, and the tables of docs/config.md, made from the schema."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from connector.settings import RouteSettings, Settings
from connector.targets import settings as units
from connector.targets.contract import Kind
from connector.targets.settings import TargetSettings

_DURATION: Final = r"^\s*\d+(\.\d+)?\s*(us|ms|s|m|h|d)\s*$"
_DECIDES: Final = "Decides which keys stand beside it"
_EVERY_ROUTE: Final = "Keys of a route, for every route that does not say otherwise"
_EVERY_TARGET: Final = "Keys of a target, for every target whose type has them"
_KEPT: Final = ("name", "type")
"""What stays required: anything else may come from another file, from `defaults` or from the environment."""

_UNITS: Final[Mapping[Callable[[Any], Any], JsonSchemaValue]] = {
    units.seconds: {
        "title": "duration",
        "type": "string",
        "pattern": _DURATION,
        "examples": ["200ms", "30s", "5m"],
    },
    units.seconds_or_never: {
        "title": "duration or never",
        "type": "string",
        "pattern": f"^never$|{_DURATION}",
        "examples": ["never", "10m"],
    },
    units.size: {
        "title": "size",
        "type": ["string", "integer"],
        "pattern": r"^\s*\d+(\.\d+)?\s*([kKMG]i?)?B\s*$",
        "examples": ["256KiB", "64MiB"],
    },
    units.per_second: {
        "title": "rate",
        "type": "string",
        "pattern": r"^\s*\d+(\.\d+)?\s*/\s*(s|m|h)\s*$",
        "examples": ["400/s", "1000/m"],
    },
}


_POWERS: Final = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


def spelled(read: Callable[[Any], Any], value: Any) -> Any:
    """A quantity as a person writes it in the config: 0.2 → `200ms`, 67108864 → `64MiB`."""
    if value is None:
        return "never" if read is units.seconds_or_never else None
    if read is units.size:
        unit = next((unit for unit, count in _POWERS.items() if value and value % count == 0), "B")
        return f"{value // _POWERS.get(unit, 1)}{unit}"
    if read is units.per_second:
        return f"{value:g}/s"
    return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:g}s"


def _reader(schema: Any) -> Callable[[Any], Any] | None:
    """The function that reads a quantity, where a core schema has one."""
    while isinstance(schema, dict):
        function = schema.get("function")
        if schema.get("type") == "function-before" and isinstance(function, dict) and function["function"] in _UNITS:
            read: Callable[[Any], Any] = function["function"]
            return read
        schema = schema.get("schema")
    return None


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with quantities as they are written and without titles that repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        read = _reader(schema)
        return dict(_UNITS[read]) if read is not None else super().function_before_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        read = _reader(schema)
        if read is None and not isinstance(default, BaseModel):
            return super().default_schema(schema)
        inner = self.generate_inner(schema["schema"])
        return {**inner, "default": spelled(read, default)} if read is not None else inner


def schema(kinds: Mapping[str, Kind], *, whole: bool = False) -> dict[str, Any]:
    """JSON Schema (2020-12) of one config file: every key with its kind, default and meaning.

    A file may leave out what another one says; `whole` requires what the merged config must have.
    """
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation") for model in (Settings, RouteSettings, TargetSettings)
    ]
    models += [(kind.settings, "validation") for kind in kinds.values()]
    references, made = models_json_schema(models, schema_generator=_Generator)
    defs = made["$defs"]
    for one in defs.values():
        if "const" in (kind := one["properties"].get("type", {})):
            kind.setdefault("description", _DECIDES)
        if "required" in one and not whole:
            one["required"] = [key for key in one["required"] if key in _KEPT]
            if not one["required"]:
                del one["required"]
    settings = defs.pop("Settings")
    properties = settings["properties"]
    route = references[RouteSettings, "validation"]
    properties["targets"]["additionalProperties"] = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(kinds), "description": _DECIDES}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}},
                "then": references[kind.settings, "validation"],
            }
            for name, kind in sorted(kinds.items())
        ],
    }
    properties["targets"].pop("patternProperties", None)
    properties["defaults"] = {
        "description": "What every route or target says that does not say otherwise",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "route": {**_open(defs, route), "description": _EVERY_ROUTE},
            "target": {"type": "object", "description": _EVERY_TARGET},
        },
    }
    required = {"required": settings["required"]} if whole else {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "connector",
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^x-": {"description": "Free, for anchors"}},
        **required,
        "properties": properties,
        "$defs": defs,
    }


def _open(defs: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """A definition without its required keys."""
    model = defs[reference["$ref"].rpartition("/")[2]]
    return {key: value for key, value in model.items() if key != "required"}


NEEDED: Final = "needed"


class Key(NamedTuple):
    """One key of the config: its dotted path, the types it belongs to (all where empty), and what it holds.

    `default` is Markdown, or NEEDED.
    """

    path: str
    types: tuple[str, ...]
    kind: str
    default: str
    description: str


def keys(made: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Iterator[Key]:
    """Every key of the config, sections before what stands in them."""
    defs = made["$defs"]
    for name, node in made["properties"].items():
        if name == "targets":
            yield Key(name, (), "map by name", NEEDED, node["description"])
            models = {kind: defs[kinds[kind].settings.__name__] for kind in sorted(kinds)}
            yield from _union("targets.<name>", models, defs)
        elif name == "defaults":
            yield Key("defaults.route", (), "section", "", _EVERY_ROUTE)
            yield Key("defaults.target", (), "section", "", _EVERY_TARGET)
        else:
            yield from _key(name, node, defs, name in made.get("required", ()))


def _union(prefix: str, models: Mapping[str, Mapping[str, Any]], defs: Mapping[str, Any]) -> Iterator[Key]:
    """The keys of models that `type` tells apart; what is the same for several is said once."""
    yield Key(f"{prefix}.type", (), " | ".join(sorted(models)), NEEDED, _DECIDES)
    rows: dict[Key, list[str]] = {}
    for name, model in models.items():
        for key in _below(prefix, model, defs):
            if key.path != f"{prefix}.type":
                rows.setdefault(key, []).append(name)
    for key, names in rows.items():
        yield key._replace(types=() if len(names) == len(models) else tuple(names))


def _below(prefix: str, model: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Key]:
    for name, node in model.get("properties", {}).items():
        yield from _key(f"{prefix}.{name}", node, defs, name in model.get("required", ()))


def _key(path: str, node: Mapping[str, Any], defs: Mapping[str, Any], needed: bool) -> Iterator[Key]:
    inner = _resolved(node, defs)
    description = str(node.get("description") or inner.get("description", "")).split("\n")[0].removesuffix(".")
    if "discriminator" in inner:
        yield Key(path, (), "section", "", description)
        members = {name: _resolved({"$ref": to}, defs) for name, to in inner["discriminator"]["mapping"].items()}
        yield from _union(path, members, defs)
        return
    below = _resolved(inner.get("additionalProperties") or inner.get("items") or {}, defs)
    yield Key(path, (), _kind(node, defs), NEEDED if needed else _default(node), description)
    if "properties" in inner:
        yield from _below(path, inner, defs)
    elif "properties" in below:
        yield from _below(f"{path}[]" if "items" in inner else f"{path}.<name>", below, defs)


def _resolved(node: Any, defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node behind its reference, and without the null of what may be left out."""
    if not isinstance(node, Mapping):
        return {}
    if "$ref" in node:
        return _resolved(defs[node["$ref"].rpartition("/")[2]], defs)
    choices = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
    return _resolved(choices[0], defs) if len(choices) == 1 else node


_KINDS: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true | false",
    "object": "map",
}


def _kind(node: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    inner = _resolved(node, defs)
    if "properties" in inner:
        return "section"
    if "title" in inner:
        return str(inner["title"])
    if "enum" in inner:
        return " | ".join(map(str, inner["enum"]))
    if "const" in inner:
        return str(inner["const"])
    if inner.get("format") == "password":
        return "secret"
    if inner.get("type") == "array":
        return f"list of {_kind(inner.get('items', {}), defs)}s"
    if "anyOf" in inner:
        return " or ".join(_kind(one, defs) for one in inner["anyOf"])
    return _KINDS.get(str(inner.get("type")), "any")


def _default(node: Mapping[str, Any]) -> str:
    default = node.get("default")
    if default in (None, {}, [], "") and not isinstance(default, bool):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def tables(kinds: Mapping[str, Kind]) -> str:
    """The reference of docs/config.md: one table of all keys, in Markdown."""
    rows = ["| key | with type | value | default | meaning |", "|---|---|---|---|---|"]
    for key in keys(schema(kinds, whole=True), kinds):
        cells = (f"`{key.path}`", ", ".join(key.types), key.kind, key.default, key.description)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
