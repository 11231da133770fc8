"""Avro records as JSON values, by fastavro.

Numbers stay numbers, whatever their logical type: a timestamp-millis is epoch milliseconds, a date is days. A decimal
is its exact text, bytes and fixed are base64 text, an enum is its symbol, and a union is the value alone.
"""

import base64
import io
import json
import struct
from decimal import Decimal
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from connector.formats.schemas import Read, Unreadable, Written
from connector.model import Undecodable

_BROKEN: Final = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What fastavro raises on bytes that the schema did not write."""


def avro(written: Written) -> Read:
    """Compile a schema and what it refers to.

    Raises:
        Unreadable: it is no Avro schema.
    """
    named: dict[str, Any] = {}
    try:
        trees = [json.loads(text) for text in (*written.references.values(), written.text)]
        for tree in trees:
            _plain_logical(tree)
            schema = fastavro.parse_schema(tree, named_schemas=named)
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"no Avro schema ({type(error).__name__})") from None
    binary = any(_holds_bytes(tree) for tree in trees)

    def read(data: bytes) -> Any:
        stream = io.BytesIO(data)
        try:
            value = fastavro.schemaless_reader(stream, schema, None)
        except _BROKEN as error:
            return Undecodable(
                "NotAvro", f"not what its Avro schema says ({type(error).__name__} at byte {stream.tell()})"
            )
        if stream.tell() != len(data):
            return Undecodable("NotAvro", f"longer than its Avro schema says, by {len(data) - stream.tell()} bytes")
        return _as_json(value) if binary else value

    return read


def _plain_logical(tree: Any) -> None:
    """Take away every logical type but decimal: the number below is what expressions see."""
    if isinstance(tree, list):
        for one in tree:
            _plain_logical(one)
    elif isinstance(tree, dict):
        if tree.get("logicalType") not in (None, "decimal"):
            del tree["logicalType"]
        for key in ("type", "items", "values", "fields"):
            _plain_logical(tree.get(key))


def _holds_bytes(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(_holds_bytes(one) for one in tree)
    if isinstance(tree, dict):
        return any(_holds_bytes(tree.get(key)) for key in ("type", "items", "values", "fields"))
    return tree in ("bytes", "fixed")


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {key: _as_json(below) for key, below in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list) else value
