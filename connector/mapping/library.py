"""The functions an expression may call, and what each takes and gives. The list is closed: a name that is not here
is refused when the config is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connector.mapping.functions import (
    absolute,
    base64_decode,
    base64_encode,
    ceil,
    contains,
    ends_with,
    floor,
    greatest,
    index_of,
    join,
    json_decode,
    json_encode,
    least,
    lower_ascii,
    matches,
    merge,
    prepare_pattern,
    replace,
    round_,
    sha256,
    size,
    split,
    starts_with,
    substring,
    to_bool,
    to_bytes,
    to_double,
    to_int,
    trim,
    upper_ascii,
    uuid5,
)
from connector.mapping.kinds import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, MAP, NUMBER, STRING, TIMESTAMP, Type, word
from connector.mapping.operators import Fault, text
from connector.mapping.times import (
    epoch_millis,
    format_time,
    millis,
    prepare_format,
    prepare_zone,
    to_duration,
    to_timestamp,
)


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


def _part(name: str, of_time: Callable[[datetime], int], of_duration: Callable[[int], int] | None) -> Function:
    """A part of a timestamp, in UTC or a zone, or of a duration's microseconds."""

    def part(value: Any, zone: Any = None) -> int:
        if type(value) is datetime:
            return of_time(value if zone is None else value.astimezone(zone))
        if type(value) is timedelta and of_duration is not None and zone is None:
            micros = value // timedelta(microseconds=1)
            return of_duration(abs(micros)) * (-1 if micros < 0 else 1)
        raise Fault("WrongType", f"{name}() does not take {word(value)}")

    takes = "timestamp duration" if of_duration else "timestamp"
    return Function(part, _kinds(takes, "string"), INT, least=1, style="member", prepares=(1, prepare_zone))


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
