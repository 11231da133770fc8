"""JSON with a JSON Schema: the value must be what its schema says."""

import json
from typing import Any, Final

import jsonschema_rs
import orjson

from connector.formats.schemas import Read, Unreadable, Written
from connector.model import Undecodable

_BASE: Final = "json-schema:///"
"""Where jsonschema_rs looks for a reference without an address of its own."""


def json_schema(written: Written) -> Read:
    """Compile a schema and what it refers to. Nothing is ever looked up elsewhere.

    Raises:
        Unreadable: it is no JSON Schema, or refers to something else.
    """

    def retrieve(address: str) -> Any:
        return json.loads(written.references[address.removeprefix(_BASE)])

    try:
        validator = jsonschema_rs.validator_for(json.loads(written.text), retriever=retrieve)
    except (jsonschema_rs.ReferencingError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON Schema, or one that refers elsewhere ({type(error).__name__})") from None

    def read(data: bytes) -> Any:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            return Undecodable("NotJSON", f"not JSON at byte {error.pos} of {len(data)}: {error.msg}")
        if not validator.is_valid(value):
            first = next(iter(validator.iter_errors(value)))
            keyword = first.schema_path[-1] if first.schema_path else "schema"
            return Undecodable(
                "NotValid", f"not what its JSON Schema says: `{keyword}` fails at {_place(first.instance_path)}"
            )
        return value

    return read


def _place(path: list[str | int]) -> str:
    """Where in the value: names of fields are the schema's business, not the record's secret."""
    return "/" + "/".join(str(part) for part in path)
