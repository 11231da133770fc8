"""What compiled expressions do at run time: arithmetic, comparison, selection, lists. Pure, bounded, strict.

Every step that could grow without end is held: a text or list to 16 Mi elements, an integer to 8192 bits, the work of
loops inside each other to a purse of steps.
"""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connector.mapping.kinds import word


class Fault(Exception):
    """A value that an expression cannot work with. `reason` names types and fields, never a value."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Absent:
    """The one value of an optional that holds nothing. It never leaves the compiled function."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = Absent()
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST: Final = 16 * 2**20
"""Characters, bytes or elements of one value made by an expression."""
LONGEST_INT: Final = 8192
"""Bits of an integer made by an expression."""
MOST_EVENTS: Final = 10_000
"""Elements of `each`: a record's events are in memory together, and a record of 1 MB could ask for half a million."""
STEPS: Final = 5_000_000
"""Steps that loops inside each other may take for one record: a second or so."""

_NUMBERS: Final = frozenset({int, float})
_GROWING: Final = frozenset({str, bytes, list})
_ORDERED: Final = frozenset({str, bytes, bool, datetime, timedelta})
_KEYS: Final = frozenset({str, int, float, bool})
_SIZED: Final = frozenset({str, bytes, list, dict})


def wrong(sign: str, *values: Any) -> Fault:
    """The fault of an operator that does not take these types."""
    return Fault("WrongType", f"{sign} does not take {' and '.join(word(value) for value in values)}")


def held(value: Any) -> Any:
    """A value, unless it has grown beyond what one may hold."""
    if len(value) > LARGEST:
        raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return value


def add(a: Any, b: Any) -> Any:
    """`a + b`: numbers, strings, bytes, lists, timestamps with durations."""
    one, other = type(a), type(b)
    if one in _NUMBERS and other in _NUMBERS:
        return a + b
    if one is other and one in _GROWING:
        if len(a) + len(b) > LARGEST:
            raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
        return a + b
    if (one is timedelta and other in (datetime, timedelta)) or (one is datetime and other is timedelta):
        return a + b
    raise wrong("+", a, b)


def subtract(a: Any, b: Any) -> Any:
    """`a - b`: numbers, timestamps and durations."""
    one, other = type(a), type(b)
    if one in _NUMBERS and other in _NUMBERS:
        return a - b
    if (one is datetime and other in (datetime, timedelta)) or (one is timedelta and other is timedelta):
        return a - b
    raise wrong("-", a, b)


def multiply(a: Any, b: Any) -> Any:
    """`a * b`: numbers."""
    one, other = type(a), type(b)
    if one is int and other is int:
        if a.bit_length() + b.bit_length() > LONGEST_INT:
            raise Fault("TooLarge", "the integer is too large")
        return a * b
    if one in _NUMBERS and other in _NUMBERS:
        return a * b
    raise wrong("*", a, b)


def divide(a: Any, b: Any) -> Any:
    """`a / b`: of two ints an int, cut towards zero; otherwise a double, by IEEE 754 also when `b` is zero."""
    one, other = type(a), type(b)
    if one is int and other is int:
        if b == 0:
            raise Fault("DivideByZero", "an integer is divided by zero")
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    if one in _NUMBERS and other in _NUMBERS:
        if b == 0:
            return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
        return a / b
    raise wrong("/", a, b)


def modulo(a: Any, b: Any) -> Any:
    """`a % b` of ints; the sign is the dividend's."""
    if type(a) is not int or type(b) is not int:
        raise wrong("%", a, b)
    if b == 0:
        raise Fault("DivideByZero", "an integer is divided by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def negate(a: Any) -> Any:
    """`-a` of a number."""
    if type(a) not in _NUMBERS:
        raise wrong("-", a)
    return -a


def truth(a: Any) -> bool:
    """A boolean as it is; nothing else is true or false."""
    if a is True or a is False:
        return bool(a)
    raise Fault("WrongType", f"a boolean is needed, not {word(a)}")


def equal(a: Any, b: Any) -> bool:
    """`a == b`: 1 equals 1.0, true does not equal 1; values of different types differ."""
    one, other = type(a), type(b)
    if one is list and other is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if one is dict and other is dict:
        return len(a) == len(b) and all(name in b and equal(value, b[name]) for name, value in a.items())
    if one is other or (one in _NUMBERS and other in _NUMBERS):
        return bool(a == b)
    return False


def differ(a: Any, b: Any) -> bool:
    """`a != b`."""
    return not equal(a, b)


def _ordered(sign: str, a: Any, b: Any) -> None:
    one, other = type(a), type(b)
    if not ((one in _NUMBERS and other in _NUMBERS) or (one is other and one in _ORDERED)):
        raise wrong(sign, a, b)


def less(a: Any, b: Any) -> bool:
    """`a < b` of two numbers, strings, bytes, booleans, timestamps or durations."""
    _ordered("<", a, b)
    return bool(a < b)


def less_equal(a: Any, b: Any) -> bool:
    """`a <= b`."""
    _ordered("<=", a, b)
    return bool(a <= b)


def greater(a: Any, b: Any) -> bool:
    """`a > b`."""
    _ordered(">", a, b)
    return bool(a > b)


def greater_equal(a: Any, b: Any) -> bool:
    """`a >= b`."""
    _ordered(">=", a, b)
    return bool(a >= b)


def within(a: Any, container: Any) -> bool:
    """`a in container`: an element of a list or a key of a map."""
    kind = type(container)
    if kind is list:
        if type(a) is str:
            return a in container
        return any(equal(a, element) for element in container)
    if kind is dict and type(a) in _KEYS:
        return type(a) is str and a in container
    raise wrong("in", a, container)


def at(container: Any, key: Any) -> Any:
    """`container[key]`: a list by whole number from 0, a map by string."""
    kind, by = type(container), type(key)
    if kind is dict and by is str:
        if key in container:
            return container[key]
        raise Fault("MissingField", "the map has no such key")
    if kind is list and (by is int or (by is float and key.is_integer())):
        if 0 <= key < len(container):
            return container[int(key)]
        raise Fault("OutOfRange", f"the list has {len(container)} elements, and none at this index")
    raise Fault("WrongType", f"{word(container)} is not read by {word(key)}")


def optional_field(container: Any, name: str) -> Any:
    """`container.?name`: absent where the map has no such key, or where there is null instead of a map."""
    if type(container) is dict:
        return container.get(name, ABSENT)
    if container is None or container is ABSENT:
        return ABSENT
    raise Fault("WrongType", f"{word(container)} has no fields")


def optional_at(container: Any, key: Any) -> Any:
    """`container[?key]`: absent where there is no such key or element, or null instead of the container."""
    kind, by = type(container), type(key)
    if container is None or container is ABSENT:
        return ABSENT
    if kind is dict and by is str:
        return container.get(key, ABSENT)
    if kind is list and (by is int or (by is float and key.is_integer())):
        return container[int(key)] if 0 <= key < len(container) else ABSENT
    raise Fault("WrongType", f"{word(container)} is not read by {word(key)}")


def or_value(optional: Any, default: Any) -> Any:
    """`optional.orValue(default)`."""
    return default if optional is ABSENT else optional


def or_else(optional: Any, default: Callable[[], Any]) -> Any:
    """`optional.orValue(default)` where the default costs something or may fail."""
    return default() if optional is ABSENT else optional


def field_or(container: Any, name: str, default: Any) -> Any:
    """`container.?name.orValue(default)` in one step."""
    if type(container) is dict:
        return container.get(name, default)
    if container is None or container is ABSENT:
        return default
    raise Fault("WrongType", f"{word(container)} has no fields")


def has(container: Any, name: str) -> bool:
    """`has(container.name)`."""
    if type(container) is dict:
        return name in container
    if container is ABSENT:
        return False
    raise Fault("WrongType", f"{word(container)} has no fields")


def keep(name: Any, value: Any) -> dict[str, Any]:
    """An entry to be merged into a map: none where the value is absent."""
    return {} if value is ABSENT else {key_of(name): value}


def keep_item(value: Any) -> tuple[Any, ...]:
    """An element to be put into a list: none where the value is absent."""
    return () if value is ABSENT else (value,)


def key_of(name: Any) -> str:
    """A key of a map: JSON has strings only."""
    if type(name) is not str:
        raise Fault("WrongType", f"the key of a map is a string, not {word(name)}")
    return name


def entries(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """A map of computed keys; a key twice is refused."""
    made = {key_of(name): value for name, value in pairs if value is not ABSENT}
    if len(made) != sum(value is not ABSENT for _, value in pairs):
        raise Fault("BadValue", "a key is twice in the map")
    return made


def elements(target: Any) -> list[Any]:
    """What a macro goes through: the elements of a list, the keys of a map."""
    if type(target) is list:
        return target
    if type(target) is dict:
        return list(target)
    raise Fault("WrongType", f"a list or a map is needed, not {word(target)}")


def listed(value: Any) -> list[Any]:
    """What `each` goes through: a list, and not one too long."""
    if type(value) is not list:
        raise Fault("WrongType", f"each needs a list, not {word(value)}")
    if len(value) > MOST_EVENTS:
        raise Fault(
            "TooLarge", f"each makes one event per element, {MOST_EVENTS} at most, and the list has {len(value)}"
        )
    return value


def purse() -> list[int]:
    """The steps that inner loops may take for this record."""
    return [STEPS]


def inner_elements(purse: list[int], target: Any) -> list[Any]:
    """`elements` of a loop inside a loop: paid from the purse."""
    found = elements(target)
    _pay(purse, len(found) + 1)
    return found


def paid(purse: list[int], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function whose cost grows with its arguments, inside a loop: paid from the purse."""
    result = function(*args)
    _pay(purse, 1 + sum(len(value) // 16 for value in (*args, result) if type(value) in _SIZED))
    return result


def paid_deep(purse: list[int], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that looks at all of its arguments' depth, inside a loop: paid before it begins."""
    _pay(purse, 1 + sum(weight(value, purse[0]) for value in args))
    return function(*args)


def _pay(purse: list[int], steps: int) -> None:
    purse[0] -= steps
    if purse[0] < 0:
        raise Fault("TooLarge", "the loops of the expression take too long for this record")


def weight(value: Any, limit: int = LARGEST) -> int:
    """How large a value is when it is written out, in elements; ends early beyond `limit`.

    A value may hold the same list many times over: what is written out is then far larger than what is in memory.
    """
    total = 0
    open_: list[Iterable[Any]] = [(value,)]
    while open_:
        for part in open_.pop():
            kind = type(part)
            total += 1
            if kind is list:
                open_.append(part)
            elif kind is dict:
                open_.append(part.values())
            elif kind in _SIZED:
                total += len(part) // 16
            if total > limit:
                return total
    return total


def weighed(value: Any) -> Any:
    """A value, unless it would be too large when written out."""
    if weight(value) > LARGEST:
        raise Fault("TooLarge", f"the result is larger than {LARGEST} elements")
    return value


def exactly_one(found: Iterable[bool]) -> bool:
    """Whether one and only one is true."""
    return sum(found) == 1


def text(value: Any) -> str:
    """A value as text, as CEL's string() writes it; null, lists and maps have none."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        if value.bit_length() > LONGEST_INT:
            raise Fault("TooLarge", "the integer is too large")
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return double_text(value)
    if kind is datetime:
        return timestamp_text(value)
    if kind is timedelta:
        return duration_text(value)
    if kind is bytes:
        return str(value, "utf-8")
    raise Fault("WrongType", f"{word(value)} has no text")


def double_text(value: float) -> str:
    """The shortest digits that read back as the same double; a whole one without `.0`."""
    if value != value:
        return "NaN"
    written = repr(value)
    return written[:-2] if written.endswith(".0") else written


def timestamp_text(value: datetime) -> str:
    """RFC 3339 in UTC; the fraction only where there is one, in three or six digits."""
    whole = f"{value.year:04}-{value.month:02}-{value.day:02}T{value.hour:02}:{value.minute:02}:{value.second:02}"
    rest = value.microsecond
    if not rest:
        return whole + "Z"
    return f"{whole}.{rest // 1000:03}Z" if rest % 1000 == 0 else f"{whole}.{rest:06}Z"


def duration_text(value: timedelta) -> str:
    """Seconds, as protobuf's JSON writes them: `5400s`, `1.500s`."""
    micros = (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds
    sign, (seconds, rest) = "-" if micros < 0 else "", divmod(abs(micros), 1_000_000)
    if not rest:
        return f"{sign}{seconds}s"
    return f"{sign}{seconds}.{rest // 1000:03}s" if rest % 1000 == 0 else f"{sign}{seconds}.{rest:06}s"
