"""Bytes become values: json, string, bytes. What cannot be read is a value too, an Undecodable, not an exception."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connector.model import FIRST_ID, Headers


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why bytes could not be read, in words that hold none of them."""

    code: str
    reason: str


Decoder = Callable[[bytes], Any]


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Undecodable("NotJSON", f"not JSON at byte {error.pos} of {len(data)}: {error.msg}")


def _string(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return Undecodable("NotUTF8", f"not UTF-8 at byte {error.start} of {len(data)}; set the format to bytes")


def _bytes(data: bytes) -> Any:
    return base64.b64encode(data).decode("ascii")


DECODERS: Final[Mapping[str, Decoder]] = {"json": _json, "string": _string, "bytes": _bytes}
"""`bytes` gives base64 text, since neither JSON nor a pattern can hold bytes."""


def decode_headers(headers: Headers) -> dict[str, str | None]:
    """Header names to text, the last of a name wins; bytes that are no UTF-8 show as replacement characters.

    The first id of a replayed record is ours: a map that copies all headers makes the same event as it did at first.
    """
    return {
        name: None if value is None else value.decode("utf-8", "replace") for name, value in headers if name != FIRST_ID
    }
