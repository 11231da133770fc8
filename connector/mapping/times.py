"""Timestamps and durations: read, written, and taken apart. A timestamp is an aware `datetime` in UTC."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from connector.mapping.functions import needs, number
from connector.mapping.operators import EPOCH, Fault

_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_DURATION: Final = re.compile(r"[+-]?(?:0|(?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:h|ms|m|s|us|µs|ns))+)", re.ASCII)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_MICROS: Final = {"h": 3.6e9, "m": 6e7, "s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}


def to_timestamp(value: Any) -> datetime:
    """RFC 3339 text, or epoch seconds."""
    if type(value) is datetime:
        return value
    if type(value) is int:
        return EPOCH + timedelta(0, value)
    needs(str, "timestamp", value)
    if len(value) > 40 or _TIMESTAMP.fullmatch(value) is None:
        raise Fault("BadValue", "the string is no RFC 3339 timestamp")
    return datetime.fromisoformat(value.upper()).astimezone(UTC)


def to_duration(value: Any) -> timedelta:
    """`1h30m`, `-1.5s`, `200ms`; units h, m, s, ms, us, ns."""
    if type(value) is timedelta:
        return value
    needs(str, "duration", value)
    if len(value) > 200 or _DURATION.fullmatch(value) is None:
        raise Fault("BadValue", "the string is no duration, such as 1h30m or 200ms")
    micros = sum(float(amount) * _MICROS[unit] for amount, unit in _PART.findall(value))
    return timedelta(microseconds=-micros if value[0] == "-" else micros)


def millis(value: Any) -> datetime:
    """A timestamp from epoch milliseconds."""
    number("millis", value)
    return EPOCH + timedelta(0, 0, 0, value)


def epoch_millis(value: Any) -> int:
    """Whole epoch milliseconds of a timestamp, cut downwards."""
    needs(datetime, "epochMillis", value)
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
    for place, part in enumerate(parts):
        if place % 2 == 0:
            pieces.append(part)
        elif part in _DIRECTIVES:
            pieces.append(_DIRECTIVES[part])
        else:
            raise ValueError(f"%{part} is no part of a time; there are %{' %'.join(_DIRECTIVES)}")
    return tuple(piece for piece in pieces if piece != "")


def format_time(value: Any, pieces: Any) -> str:
    """A timestamp in UTC, written by a format."""
    needs(datetime, "formatTime", value)
    return "".join([piece if type(piece) is str else piece(value) for piece in pieces])


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
        return UTC if source in ("UTC", "") else ZoneInfo(source)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {source!r} on this machine") from None
