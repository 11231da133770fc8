"""The functions an expression may call, and what each takes and gives. The list is closed: a name that is not here
is refused when the config is loaded."""

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from uuid import NAMESPACE_URL
from zoneinfo import ZoneInfo

import orjson

from connector.mapping.kinds import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    MAP,
    NUMBER,
    STRING,
    TIMESTAMP,
    Type,
    word,
)
from connector.mapping.operators import (
    LARGEST,
    Fault,
    duration_text,
    greater,
    held,
    less,
    text,
    timestamp_text,
)

try:
    import re2  # type: ignore[import-untyped]  # google-re2 ships no types
except ImportError:  # the extra `re2` is not installed: `matches` is refused at load
    re2 = None

ENGINE: Final[Any] = re2
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NUMBER: Final = 400
_INT: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL: Final = {"NaN": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "Infinity": math.inf}
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_DURATION: Final = re.compile(r"[+-]?(?:0|(?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:h|ms|m|s|us|µs|ns))+)", re.ASCII)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_MICROS: Final = {"h": 3.6e9, "m": 6e7, "s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
_LOWER: Final = {point: point + 32 for point in range(ord("A"), ord("Z") + 1)}
_UPPER: Final = {point: point - 32 for point in range(ord("a"), ord("z") + 1)}
_BLANKS: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _needs(kind: type, name: str, *values: Any) -> None:
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
    _needs(str, "bool", value)
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise Fault("BadValue", "the string is no boolean")


def to_bytes(value: Any) -> bytes:
    """A string in UTF-8."""
    if type(value) is bytes:
        return value
    _needs(str, "bytes", value)
    return bytes(value, "utf-8")


def to_timestamp(value: Any) -> datetime:
    """RFC 3339 text, or epoch seconds."""
    if type(value) is datetime:
        return value
    if type(value) is int:
        return EPOCH + timedelta(0, value)
    _needs(str, "timestamp", value)
    if len(value) > 40 or _TIMESTAMP.fullmatch(value) is None:
        raise Fault("BadValue", "the string is no RFC 3339 timestamp")
    return datetime.fromisoformat(value.upper()).astimezone(UTC)


def to_duration(value: Any) -> timedelta:
    """`1h30m`, `-1.5s`, `200ms`; units h, m, s, ms, us, ns."""
    if type(value) is timedelta:
        return value
    _needs(str, "duration", value)
    if len(value) > 200 or _DURATION.fullmatch(value) is None:
        raise Fault("BadValue", "the string is no duration, such as 1h30m or 200ms")
    micros = sum(float(amount) * _MICROS[unit] for amount, unit in _PART.findall(value))
    return timedelta(microseconds=-micros if value[0] == "-" else micros)


def starts_with(value: Any, start: Any) -> bool:
    """Whether a string begins with another."""
    _needs(str, "startsWith", value, start)
    return bool(value.startswith(start))


def ends_with(value: Any, end: Any) -> bool:
    """Whether a string ends with another."""
    _needs(str, "endsWith", value, end)
    return bool(value.endswith(end))


def contains(value: Any, part: Any) -> bool:
    """Whether a string holds another."""
    _needs(str, "contains", value, part)
    return part in value


def lower_ascii(value: Any) -> str:
    """A to Z in lower case, everything else as it is."""
    _needs(str, "lowerAscii", value)
    return str(value.lower() if value.isascii() else value.translate(_LOWER))


def upper_ascii(value: Any) -> str:
    """a to z in upper case, everything else as it is."""
    _needs(str, "upperAscii", value)
    return str(value.upper() if value.isascii() else value.translate(_UPPER))


def trim(value: Any) -> str:
    """Without Unicode white space at both ends."""
    _needs(str, "trim", value)
    return str(value.strip(_BLANKS))


def split(value: Any, separator: Any, limit: Any = -1) -> list[str]:
    """The parts between separators, at most `limit` of them; an empty separator parts the characters."""
    _needs(str, "split", value, separator)
    _needs(int, "split", limit)
    if limit == 0:
        return []
    if separator:
        return list(value.split(separator, -1 if limit < 0 else limit - 1))
    if limit < 0 or limit >= len(value):
        return list(value)
    return [*value[: limit - 1], value[limit - 1 :]]


def join(parts: Any, separator: Any = "") -> str:
    """The strings of a list, with a separator between them."""
    _needs(list, "join", parts)
    _needs(str, "join", separator, *parts)
    if sum(map(len, parts)) + len(separator) * len(parts) > LARGEST:
        raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return str(separator.join(parts))


def replace(value: Any, old: Any, new: Any, limit: Any = -1) -> str:
    """Every `old`, or the first `limit`, becomes `new`."""
    _needs(str, "replace", value, old, new)
    _needs(int, "replace", limit)
    if len(new) > len(old):
        found = value.count(old)
        found = found if limit < 0 else min(found, limit)
        if len(value) + found * (len(new) - len(old)) > LARGEST:
            raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return str(value.replace(old, new, limit if limit >= 0 else -1))


def substring(value: Any, start: Any, end: Any = None) -> str:
    """The characters from `start` up to `end`; a place outside the string fails."""
    end = size(value) if end is None else end
    _needs(str, "substring", value)
    _needs(int, "substring", start, end)
    if not 0 <= start <= end <= len(value):
        raise Fault("OutOfRange", f"the string has {len(value)} characters, the substring is not inside")
    return str(value[start:end])


def index_of(value: Any, part: Any, start: Any = 0) -> int:
    """Where `part` first stands, -1 where it does not."""
    _needs(str, "indexOf", value, part)
    _needs(int, "indexOf", start)
    if not 0 <= start <= len(value):
        raise Fault("OutOfRange", f"the string has {len(value)} characters, the index is not inside")
    return int(value.find(part, start))


def matches(value: Any, pattern: Any) -> bool:
    """Whether a regular expression (RE2, compiled at load) is found in a string."""
    _needs(str, "matches", value)
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
    best = _number(name, given[0])
    for value in given:
        if better(_number(name, value), best):
            best = value
    return best


def _number(name: str, value: Any) -> Any:
    if type(value) not in (int, float):
        raise Fault("WrongType", f"{name}() does not take {word(value)}")
    return value


def absolute(value: Any) -> Any:
    """A number without its sign."""
    return abs(_number("math.abs", value))


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
    number = float(_number(name, value))
    return float(function(number)) if math.isfinite(number) else number


def millis(value: Any) -> datetime:
    """A timestamp from epoch milliseconds."""
    _number("millis", value)
    return EPOCH + timedelta(0, 0, 0, value)


def epoch_millis(value: Any) -> int:
    """Whole epoch milliseconds of a timestamp, cut downwards."""
    _needs(datetime, "epochMillis", value)
    return int((value - EPOCH) // timedelta(milliseconds=1))


_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DIRECTIVES: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda t: f"{t.year:04}",
    "y": lambda t: f"{t.year % 100:02}",
    "m": lambda t: f"{t.month:02}",
    "d": lambda t: f"{t.day:02}",
    "H": lambda t: f"{t.hour:02}",
    "I": lambda t: f"{(t.hour + 11) % 12 + 1:02}",
    "p": lambda t: "AM" if t.hour < 12 else "PM",
    "M": lambda t: f"{t.minute:02}",
    "S": lambda t: f"{t.second:02}",
    "L": lambda t: f"{t.microsecond // 1000:03}",
    "f": lambda t: f"{t.microsecond:06}",
    "j": lambda t: f"{t.timetuple().tm_yday:03}",
    "a": lambda t: _DAYS[t.weekday()][:3],
    "A": lambda t: _DAYS[t.weekday()],
    "b": lambda t: _MONTHS[t.month - 1][:3],
    "B": lambda t: _MONTHS[t.month - 1],
    "s": lambda t: str((t - EPOCH) // timedelta(seconds=1)),
    "z": lambda t: "+0000",
    "%": lambda t: "%",
}

Pieces = tuple[str | Callable[[datetime], str], ...]


def prepare_format(source: str) -> Pieces:
    """Read a format at load: `%Y-%m-%d %H:%M:%S.%L`.

    Raises:
        ValueError: a directive is unknown.
    """
    pieces: list[str | Callable[[datetime], str]] = []
    parts = re.split(r"%(.?)", source, flags=re.DOTALL)
    for number, part in enumerate(parts):
        if number % 2 == 0:
            pieces.append(part)
        elif part in _DIRECTIVES:
            pieces.append(_DIRECTIVES[part])
        else:
            raise ValueError(f"%{part} is no part of a time; there are %{' %'.join(_DIRECTIVES)}")
    return tuple(piece for piece in pieces if piece != "")


def format_time(value: Any, pieces: Any) -> str:
    """A timestamp in UTC, written by a format."""
    _needs(datetime, "formatTime", value)
    return "".join([piece if type(piece) is str else piece(value) for piece in pieces])


def uuid5(name: Any) -> str:
    """The version 5 UUID of a name in the URL namespace: the same text for the same name, for ever."""
    _needs(str, "uuid5", name)
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
    _needs(str, "base64.decode", value)
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Fault("BadValue", "the string is no base64") from None


def merge(first: Any, second: Any) -> dict[str, Any]:
    """The entries of both maps; where both have a key, the second's. Maps inside are not merged."""
    _needs(dict, "merge", first, second)
    return {**first, **second}


def prepare_zone(source: str) -> tzinfo:
    """A time zone at load: `Europe/Oslo`, `+02:00`, `UTC`.

    Raises:
        ValueError: there is no such zone on this machine.
    """
    if re.fullmatch(r"[+-]?[0-9]{2}:[0-9]{2}", source, re.ASCII):
        sign = "" if source[0] in "+-" else "+"
        zone = datetime.fromisoformat(f"2000-01-01T00:00:00{sign}{source}").tzinfo
        if zone is not None:
            return zone
    try:
        return UTC if source in ("UTC", "Z", "") else ZoneInfo(source)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {source!r} on this machine") from None


def _part(name: str, of_time: Callable[[datetime], int], of_duration: Callable[[int], int] | None) -> "Function":
    def part(value: Any, zone: Any = None) -> int:
        if type(value) is datetime:
            return of_time(value if zone is None else value.astimezone(zone))
        if type(value) is timedelta and of_duration is not None and zone is None:
            micros = value // timedelta(microseconds=1)
            return of_duration(abs(micros)) * (-1 if micros < 0 else 1)
        raise Fault("WrongType", f"{name}() does not take {word(value)}")

    takes = "timestamp duration" if of_duration else "timestamp"
    return Function(part, _kinds(takes, "string"), INT, least=1, style="member", prepares=(1, prepare_zone))


@dataclass(frozen=True, slots=True)
class Function:
    """One callable name.

    `takes` are the kinds of each argument, a method's receiver first; the last repeats where `many`. `least` arguments
    must be given. `style` is `member` (`a.f(b)`), `free` (`f(a)`) or `both`. `prepares` names an argument that must be
    a literal and what reads it at load. `costs` is how its time grows: not at all, with the `size` of the arguments, or
    with their whole `depth`; inside a loop that is paid for.
    """

    run: Callable[..., Any]
    takes: tuple[frozenset[str], ...]
    gives: Type
    least: int
    style: str = "free"
    many: bool = False
    prepares: tuple[int, Callable[[str], Any]] | None = None
    costs: str = ""


def _kinds(*words: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(each.split()) for each in words)


def _free(run: Callable[..., Any], gives: Type, *takes: str, costs: str = "", many: bool = False) -> Function:
    return Function(run, _kinds(*takes), gives, len(takes), costs=costs, many=many)


def _member(run: Callable[..., Any], gives: Type, *takes: str, least: int = 0, costs: str = "size") -> Function:
    return Function(run, _kinds(*takes), gives, least or len(takes), "member", costs=costs)


_ANY: Final = "dyn"
FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(size, _kinds("string bytes list map"), INT, 1, "both"),
    "int": _free(to_int, INT, "int double number string timestamp"),
    "double": _free(to_double, DOUBLE, "int double number string"),
    "string": _free(text, STRING, "int double number string bytes bool timestamp duration"),
    "bool": _free(to_bool, BOOL, "bool string"),
    "bytes": _free(to_bytes, BYTES, "string bytes", costs="size"),
    "timestamp": _free(to_timestamp, TIMESTAMP, "string int timestamp"),
    "duration": _free(to_duration, DURATION, "string duration"),
    "dyn": _free(lambda value: value, DYN, _ANY),
    "startsWith": _member(starts_with, BOOL, "string", "string", costs=""),
    "endsWith": _member(ends_with, BOOL, "string", "string", costs=""),
    "contains": _member(contains, BOOL, "string", "string"),
    "lowerAscii": _member(lower_ascii, STRING, "string"),
    "upperAscii": _member(upper_ascii, STRING, "string"),
    "trim": _member(trim, STRING, "string"),
    "split": _member(split, Type("list", STRING), "string", "string", "int", least=2),
    "join": _member(join, STRING, "list", "string", least=1, costs="depth"),
    "replace": _member(replace, STRING, "string", "string", "string", "int", least=3),
    "substring": _member(substring, STRING, "string", "int", "int", least=2),
    "indexOf": _member(index_of, INT, "string", "string", "int", least=2),
    "matches": Function(
        matches, _kinds("string", "string"), BOOL, 2, "both", prepares=(1, prepare_pattern), costs="size"
    ),
    "math.greatest": _free(greatest, NUMBER, "int double number list", many=True, costs="size"),
    "math.least": _free(least, NUMBER, "int double number list", many=True, costs="size"),
    "math.abs": _free(absolute, NUMBER, "int double number"),
    "math.ceil": _free(ceil, DOUBLE, "int double number"),
    "math.floor": _free(floor, DOUBLE, "int double number"),
    "math.round": _free(round_, DOUBLE, "int double number"),
    "millis": _free(millis, TIMESTAMP, "int double number"),
    "epochMillis": _free(epoch_millis, INT, "timestamp"),
    "formatTime": Function(format_time, _kinds("timestamp", "string"), STRING, 2, prepares=(1, prepare_format)),
    "uuid5": _free(uuid5, STRING, "string", costs="size"),
    "sha256": _free(sha256, STRING, "string bytes", costs="size"),
    "json.encode": _free(json_encode, STRING, _ANY, costs="depth"),
    "json.decode": _free(json_decode, DYN, "string bytes", costs="size"),
    "base64.encode": _free(base64_encode, STRING, "string bytes", costs="size"),
    "base64.decode": _free(base64_decode, BYTES, "string", costs="size"),
    "merge": _free(merge, MAP, "map", "map", costs="size"),
    "getFullYear": _part("getFullYear", lambda t: t.year, None),
    "getMonth": _part("getMonth", lambda t: t.month - 1, None),
    "getDate": _part("getDate", lambda t: t.day, None),
    "getDayOfMonth": _part("getDayOfMonth", lambda t: t.day - 1, None),
    "getDayOfYear": _part("getDayOfYear", lambda t: t.timetuple().tm_yday - 1, None),
    "getDayOfWeek": _part("getDayOfWeek", lambda t: t.isoweekday() % 7, None),
    "getHours": _part("getHours", lambda t: t.hour, lambda micros: micros // 3_600_000_000),
    "getMinutes": _part("getMinutes", lambda t: t.minute, lambda micros: micros // 60_000_000),
    "getSeconds": _part("getSeconds", lambda t: t.second, lambda micros: micros // 1_000_000),
    "getMilliseconds": _part("getMilliseconds", lambda t: t.microsecond // 1000, lambda micros: micros // 1000 % 1000),
}
NAMESPACES: Final = frozenset(name.split(".")[0] for name in FUNCTIONS if "." in name)
