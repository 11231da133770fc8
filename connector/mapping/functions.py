"""What the functions of the language do: numbers, strings, hashes, encodings. Pure, bounded, strict about types."""

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL

import orjson

from connector.mapping.kinds import word
from connector.mapping.operators import (
    ABSENT,
    EPOCH,
    LARGEST,
    Fault,
    duration_text,
    greater,
    held,
    less,
    timestamp_text,
)

try:
    import re2  # type: ignore[import-untyped]  # google-re2 ships no types
except ImportError:  # the extra `re2` is not installed: `matches` is refused at load
    re2 = None

ENGINE: Final[Any] = re2
_LONGEST_NUMBER: Final = 400
_INT: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL: Final = {"NaN": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "Infinity": math.inf}
_LOWER: Final = {point: point + 32 for point in range(ord("A"), ord("Z") + 1)}
_UPPER: Final = {point: point - 32 for point in range(ord("a"), ord("z") + 1)}
_BLANKS: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_TRUE: Final = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "false", "FALSE", "False"})


def needs(kind: type, name: str, *values: Any) -> None:
    """Refuse arguments of a function that are not of this type."""
    for value in values:
        if type(value) is not kind:
            raise Fault("WrongType", f"{name}() does not take {word(value)}")


def size(value: Any) -> int:
    """Characters of a string, bytes, elements of a list, entries of a map."""
    if type(value) not in (str, bytes, list, dict):
        raise Fault("WrongType", f"{word(value)} has no size")
    return len(value)


def to_int(value: Any) -> int:
    """A double cut towards zero, a string of digits, the epoch seconds of a timestamp."""
    if type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise Fault("BadValue", "an infinite double or NaN is no int")
        return int(value)
    if type(value) is str:
        if len(value) > _LONGEST_NUMBER or _INT.fullmatch(value) is None:
            raise Fault("BadValue", "the string is no int")
        return int(value)
    if type(value) is datetime:
        return (value - EPOCH) // timedelta(seconds=1)
    raise Fault("WrongType", f"int() does not take {word(value)}")


def to_double(value: Any) -> float:
    """An int or a string of digits as a double."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if type(value) is str:
        if len(value) <= _LONGEST_NUMBER and _DOUBLE.fullmatch(value):
            return float(value)
        if value in _SPECIAL:
            return _SPECIAL[value]
        raise Fault("BadValue", "the string is no double")
    raise Fault("WrongType", f"double() does not take {word(value)}")


def to_bool(value: Any) -> bool:
    """`true`, `t`, `1` and `false`, `f`, `0` in the spellings of CEL."""
    if type(value) is bool:
        return value
    needs(str, "bool", value)
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise Fault("BadValue", "the string is no boolean")


def to_bytes(value: Any) -> bytes:
    """A string in UTF-8."""
    if type(value) is bytes:
        return value
    needs(str, "bytes", value)
    return bytes(value, "utf-8")


def starts_with(value: Any, start: Any) -> bool:
    """Whether a string begins with another."""
    needs(str, "startsWith", value, start)
    return bool(value.startswith(start))


def ends_with(value: Any, end: Any) -> bool:
    """Whether a string ends with another."""
    needs(str, "endsWith", value, end)
    return bool(value.endswith(end))


def contains(value: Any, part: Any) -> bool:
    """Whether a string holds another."""
    needs(str, "contains", value, part)
    return part in value


def lower_ascii(value: Any) -> str:
    """A to Z in lower case, everything else as it is."""
    needs(str, "lowerAscii", value)
    return str(value.lower() if value.isascii() else value.translate(_LOWER))


def upper_ascii(value: Any) -> str:
    """a to z in upper case, everything else as it is."""
    needs(str, "upperAscii", value)
    return str(value.upper() if value.isascii() else value.translate(_UPPER))


def trim(value: Any) -> str:
    """Without Unicode white space at both ends."""
    needs(str, "trim", value)
    return str(value.strip(_BLANKS))


def split(value: Any, separator: Any, limit: Any = -1) -> list[str]:
    """The parts between separators, at most `limit` of them; an empty separator parts the characters."""
    needs(str, "split", value, separator)
    needs(int, "split", limit)
    if limit == 0:
        return []
    if separator:
        return list(value.split(separator, -1 if limit < 0 else limit - 1))
    if limit < 0 or limit >= len(value):
        return list(value)
    return [*value[: limit - 1], value[limit - 1 :]]


def join(parts: Any, separator: Any = "") -> str:
    """The strings of a list, with a separator between them."""
    needs(list, "join", parts)
    needs(str, "join", separator, *parts)
    if sum(map(len, parts)) + len(separator) * len(parts) > LARGEST:
        raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return str(separator.join(parts))


def replace(value: Any, old: Any, new: Any, limit: Any = -1) -> str:
    """Every `old`, or the first `limit`, becomes `new`."""
    needs(str, "replace", value, old, new)
    needs(int, "replace", limit)
    if len(new) > len(old):
        found = value.count(old)
        found = found if limit < 0 else min(found, limit)
        if len(value) + found * (len(new) - len(old)) > LARGEST:
            raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return str(value.replace(old, new, limit if limit >= 0 else -1))


def substring(value: Any, start: Any, end: Any = ABSENT) -> str:
    """The characters from `start` up to `end`; a place outside the string fails."""
    end = size(value) if end is ABSENT else end
    needs(str, "substring", value)
    needs(int, "substring", start, end)
    if not 0 <= start <= end <= len(value):
        raise Fault("OutOfRange", f"the string has {len(value)} characters, the substring is not inside")
    return str(value[start:end])


def index_of(value: Any, part: Any, start: Any = 0) -> int:
    """Where `part` first stands, -1 where it does not."""
    needs(str, "indexOf", value, part)
    needs(int, "indexOf", start)
    if not 0 <= start <= len(value):
        raise Fault("OutOfRange", f"the string has {len(value)} characters, the index is not inside")
    return int(value.find(part, start))


def matches(value: Any, pattern: Any) -> bool:
    """Whether a regular expression (RE2, compiled at load) is found in a string."""
    needs(str, "matches", value)
    return pattern.search(value) is not None


def prepare_pattern(source: str, engine: Any = ENGINE) -> Any:
    """Compile a pattern at load.

    Raises:
        ValueError: RE2 refuses it.
        LookupError: RE2 is not installed.
    """
    if engine is None:
        raise LookupError
    options = engine.Options()
    options.log_errors = False
    options.max_mem = 2**20
    try:
        return engine.compile(source, options)
    except engine.error as error:
        raise ValueError(f"RE2 refuses the pattern: {error}") from None


def greatest(*values: Any) -> Any:
    """The largest of several numbers, or of a list of them."""
    return _pick("math.greatest", greater, values)


def least(*values: Any) -> Any:
    """The smallest of several numbers, or of a list of them."""
    return _pick("math.least", less, values)


def _pick(name: str, better: Callable[[Any, Any], bool], values: tuple[Any, ...]) -> Any:
    given = values[0] if len(values) == 1 and type(values[0]) is list else values
    if not given:
        raise Fault("BadValue", f"{name}() needs at least one number")
    best = number(name, given[0])
    for value in given:
        if better(number(name, value), best):
            best = value
    return best


def number(name: str, value: Any) -> Any:
    """An argument of a function that must be an int or a double."""
    if type(value) not in (int, float):
        raise Fault("WrongType", f"{name}() does not take {word(value)}")
    return value


def absolute(value: Any) -> Any:
    """A number without its sign."""
    return abs(number("math.abs", value))


def ceil(value: Any) -> float:
    """The next whole double above."""
    return _whole("math.ceil", math.ceil, value)


def floor(value: Any) -> float:
    """The next whole double below."""
    return _whole("math.floor", math.floor, value)


def round_(value: Any) -> float:
    """The nearest whole double; a half goes away from zero."""
    return _whole("math.round", _half_away, value)


def _half_away(value: float) -> float:
    return math.copysign(math.floor(abs(value)) + (abs(value) % 1 >= 0.5), value)


def _whole(name: str, function: Callable[[float], float], value: Any) -> float:
    given = float(number(name, value))
    # The sign stays, as IEEE 754 has it: ceil(-0.5) is -0.0.
    return math.copysign(function(given), given) if math.isfinite(given) else given


def uuid5(name: Any) -> str:
    """The version 5 UUID of a name in the URL namespace: the same text for the same name, for ever."""
    needs(str, "uuid5", name)
    digest = bytearray(hashlib.sha1(NAMESPACE_URL.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    digits = digest.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def sha256(value: Any) -> str:
    """The SHA-256 of a string (in UTF-8) or of bytes, in lower-case hexadecimal."""
    return hashlib.sha256(to_bytes(value)).hexdigest()


def _plain(value: Any) -> str:
    if type(value) is datetime:
        return timestamp_text(value)
    if type(value) is timedelta:
        return duration_text(value)
    if type(value) is bytes:
        return str(base64.b64encode(value), "ascii")
    raise Fault("WrongType", f"{word(value)} has no JSON form")


def json_encode(value: Any) -> str:
    """A value as compact JSON text; timestamps and durations as text, bytes as base64."""
    try:
        return str(held(orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)), "utf-8")
    except orjson.JSONEncodeError as error:
        if isinstance(error.__cause__, Fault):
            raise error.__cause__ from None
        raise Fault("BadValue", "the value has no JSON form: too deep, too large an integer, or broken text") from None


def json_decode(value: Any) -> Any:
    """JSON text or bytes as a value."""
    if type(value) not in (str, bytes):
        raise Fault("WrongType", f"json.decode() does not take {word(value)}")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise Fault("BadValue", "the text is no JSON") from None


def base64_encode(value: Any) -> str:
    """Bytes, or a string in UTF-8, as base64 with padding."""
    return str(held(base64.b64encode(to_bytes(value))), "ascii")


def base64_decode(value: Any) -> bytes:
    """Base64, with or without padding, as bytes."""
    needs(str, "base64.decode", value)
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Fault("BadValue", "the string is no base64") from None


def merge(first: Any, second: Any) -> dict[str, Any]:
    """The entries of both maps; where both have a key, the second's. Maps inside are not merged."""
    needs(dict, "merge", first, second)
    return {**first, **second}
