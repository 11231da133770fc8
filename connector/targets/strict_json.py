"""JSON as strict services take it: one object, no duplicate keys, finite numbers, 64-bit integers, 1000 levels at most.

Both directions are safe on hostile depth: nothing here recurses on what a record holds.
"""

import json
import math
import re
from datetime import datetime
from typing import Any, Final, NoReturn

import orjson

LEVELS: Final = 1000
"""PutEvents processes nested JSON up to 1000 levels deep (API reference, PutEvents). The outer object is level one."""

INT64: Final = range(-(2**63), 2**63)
"""Integers that PutEvents takes (API reference, PutEvents)."""

_QUICK_LEVELS: Final = 200
"""Below this depth the C encoder may recurse; orjson itself stops at 254."""

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG: Final = b"0" * 19
"""An integer beyond 64 bits has at least as many digits; within a text they only cost a second look."""

_SAFE: Final = orjson.OPT_STRICT_INTEGER
"""Integers of up to 53 bits alone: cheaper than looking for long ones in what was written."""

_PLAIN: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")([ \t\n\r]*:)?|[{}\[\]]|-?[0-9][0-9.eE+-]*', re.DOTALL)


class Flaw(ValueError):
    """What makes a value or a text unfit. `where` is a path below it (`.lines[3].price`), `reason` holds no value."""

    def __init__(self, code: str, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.where = where


def parse(text: str | bytes) -> dict[str, Any]:
    """Read the text of one JSON object.

    Raises:
        Flaw: NotUTF8, MalformedJson, NotAnObject, DuplicateKey, NotFinite, IntegerOutOfRange or TooDeep.
    """
    if (quick := _parse_canonical(text)) is not None:
        return quick
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise Flaw("NotUTF8", f"is not UTF-8 (byte {error.start})") from None
    value = _parse_quick(text) if text.count("{") + text.count("[") <= LEVELS else _parse_deep(text)
    if not isinstance(value, dict):
        raise Flaw("NotAnObject", "must be a JSON object")
    return value


def encode(value: Any, read_from: bytes | None = None) -> str:
    """Write a value as compact JSON, non-ASCII characters as themselves, aware datetimes as RFC 3339.

    `read_from` is the text that the value may have been read from: what is written the same again is as good as it was.

    Raises:
        Flaw: NotUTF8, NotFinite, IntegerOutOfRange, TooDeep or WrongType, with its place.
    """
    if (quick := _encode_everyday(value, read_from)) is not None:
        return quick
    levels = _inspect(value)
    try:
        return (_dump(value) if levels <= _QUICK_LEVELS else _dump_deep(value)).decode()
    except TypeError:  # after _inspect only half of a surrogate pair is left to refuse
        raise Flaw("NotUTF8", "holds text that is not valid Unicode") from None


def _parse_canonical(text: str | bytes) -> dict[str, Any] | None:
    """Read an object that orjson would write the very same way, None for any other text.

    What comes back the same has no key twice, no number that lost a digit or was cut to infinity, and no more levels
    than orjson writes, so only an integer between 63 and 64 bits could be wrong with it.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = orjson.loads(data)
        same = type(value) is dict and orjson.dumps(value) == data
    except ValueError:
        return None
    except TypeError:  # deeper than orjson writes
        return None
    return value if same and _LONG not in data.translate(_DIGITS) else None


def _encode_everyday(value: Any, read_from: bytes | None) -> str | None:
    """Write a value that holds nothing unusual, None for any other.

    orjson refuses by itself what JSON does not have, but for three things: it writes NaN and Infinity as null, takes
    integers of up to 64 bits without a sign, and times without a zone. So times are left to `_inspect`, long numbers
    too, and a null must be one in the text that was read, or in the value as well.
    """
    try:
        data = orjson.dumps(value, option=_PLAIN | _SAFE)
    except TypeError:
        try:
            data = orjson.dumps(value, option=_PLAIN)
        except TypeError:
            return None
        if _LONG in data.translate(_DIGITS):
            return None
    if data != read_from and b"null" in data and orjson.loads(data) != value:
        return None
    return data.decode()


def _parse_quick(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:  # deeper than this interpreter's C stack allows, not deeper than the service does
        return _parse_deep(text)
    except json.JSONDecodeError as error:
        raise Flaw("MalformedJson", f"is not JSON: {error.msg.lower()} (character {error.pos})") from None


def _parse_deep(text: str) -> Any:
    _scan(text)
    try:
        return orjson.loads(text)
    except ValueError as error:  # orjson takes 1024 levels, more than _scan lets pass
        reason = str(error).partition(":")[0]
        raise Flaw("MalformedJson", f"is not JSON: {reason}") from None


def _scan(text: str) -> None:
    """Find in a token scan, at any depth, what orjson would let pass or would call by another name."""
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "{[":
            keys.append(set())
            if len(keys) > LEVELS:
                raise Flaw("TooDeep", f"is nested deeper than {LEVELS} levels")
        elif first in "}]":
            del keys[-1:]
        elif first != '"':
            if token[0].lstrip("-").isdigit():
                _integer(token[0])
            else:
                _float(token[0])
        elif token[2] and keys:
            key = token[1] if "\\" not in token[1] else _key(token[1])
            if key in keys[-1]:
                _duplicate()
            keys[-1].add(key)


def _key(token: str) -> str:
    try:
        return f'"{json.loads(token)}"'
    except json.JSONDecodeError:
        return token  # orjson names the fault


def _duplicate() -> NoReturn:
    raise Flaw("DuplicateKey", "has an object with the same key twice")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        _duplicate()
    return value


def _integer(digits: str) -> int:
    if len(digits) <= 20 and (number := int(digits)) in INT64:
        return number
    raise Flaw("IntegerOutOfRange", "has an integer beyond 64 bits")


def _float(digits: str) -> float:
    try:
        number = float(digits)
    except ValueError:
        raise Flaw("MalformedJson", "is not JSON: not a number") from None
    if math.isinf(number):
        raise Flaw("NotFinite", "has a number too large for a double")
    return number


def _constant(name: str) -> NoReturn:
    raise Flaw("NotFinite", f"has {name}, which is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _inspect(value: Any) -> int:
    """Check every key and leaf, level by level, and count the levels."""
    level, depth = [value], 0
    while level:
        deeper: list[Any] = []
        nested = False
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is dict:
                nested = True
                for key in item:
                    if type(key) is not str:
                        raise Flaw("WrongType", "has a key that is not text", _where(value, item))
                deeper.extend(item.values())
            elif kind is list or kind is tuple:
                nested = True
                deeper.extend(item)
            elif fault := _leaf(item):
                code, reason = fault
                raise Flaw(code, reason, _where(value, item))
        depth += nested
        if depth > LEVELS:
            raise Flaw("TooDeep", f"is nested deeper than {LEVELS} levels")
        level = deeper
    return depth


def _leaf(item: Any) -> tuple[str, str] | None:
    match item:
        case int():
            return None if item in INT64 else ("IntegerOutOfRange", "is an integer beyond 64 bits")
        case float():
            return None if math.isfinite(item) else ("NotFinite", "is NaN or Infinity, which JSON does not have")
        case datetime():
            return None if item.utcoffset() is not None else ("WrongType", "is a time without a zone")
        case bytes():
            return "WrongType", "is bytes, which JSON does not have: write base64.encode(…) in the map"
        case _:
            return "WrongType", f"is a {type(item).__name__}, which JSON does not have"


def _where(root: Any, culprit: Any) -> str:
    """Find the path to the very object that is at fault. Only walked when there is one."""
    todo: list[tuple[Any, str]] = [(root, "")]
    while todo:
        item, path = todo.pop()
        if item is culprit:
            return path if len(path) <= 200 else f"{path[:200]}…"
        if type(item) is dict:
            todo.extend((below, f"{path}.{key}") for key, below in item.items())
        elif type(item) in (list, tuple):
            todo.extend((below, f"{path}[{index}]") for index, below in enumerate(item))
    return ""


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _dump_deep(value: Any) -> bytes:
    """Encode without recursion. Bytes on the pile are finished text: `_inspect` let none pass as a value."""
    out: list[bytes] = []
    pile: list[Any] = [value]
    while pile:
        item = pile.pop()
        if type(item) is bytes:
            out.append(item)
        elif type(item) is dict:
            parts: list[Any] = [b"{"]
            for index, (key, below) in enumerate(item.items()):
                parts += [(b"," if index else b"") + _dump(key) + b":", below]
            pile.extend(reversed([*parts, b"}"]))
        elif type(item) in (list, tuple):
            parts = [b"["]
            for index, below in enumerate(item):
                parts += [b"," if index else b"", below]
            pile.extend(reversed([*parts, b"]"]))
        else:
            out.append(_dump(item))
    return b"".join(out)
