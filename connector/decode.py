"""Bytes become values. What cannot be read is a value too, an Undecodable; what needs a schema first is an Unready."""

import base64
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connector.cloudevents import decode_cloudevent
from connector.model import FIRST_ID, Headers, Undecodable


@dataclass(frozen=True, slots=True)
class Unready:
    """Bytes that can be read once this schema of the registry is here."""

    schema: Hashable


Decoder = Callable[[bytes, Headers], Any]
"""Bytes and the record's headers to a value, an Undecodable or an Unready. Pure; it never waits."""


def _json(data: bytes, headers: Headers) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Undecodable("NotJSON", f"not JSON at byte {error.pos} of {len(data)}: {error.msg}")


def _string(data: bytes, headers: Headers) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return Undecodable("NotUTF8", f"not UTF-8 at byte {error.start} of {len(data)}; set the format to bytes")


def _bytes(data: bytes, headers: Headers) -> Any:
    return base64.b64encode(data).decode("ascii")


DECODERS: Final[Mapping[str, Decoder]] = {
    "json": _json,
    "string": _string,
    "bytes": _bytes,
    "cloudevents": decode_cloudevent,
}
"""The formats that need no registry. `bytes` gives base64 text, since neither JSON nor a pattern can hold bytes."""


def decode_headers(headers: Headers) -> dict[str, str | None]:
    """Header names to text, the last of a name wins; bytes that are no UTF-8 show as replacement characters.

    The first id of a replayed record is ours: a map that copies all headers makes the same event as it did at first.
    """
    return {
        name: None if value is None else value.decode("utf-8", "replace") for name, value in headers if name != FIRST_ID
    }
