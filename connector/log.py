"""Logs: sentences with fields, one a line, as JSON or for a terminal.

Whatever a field holds, it stays inside its line and says no secret: control characters are escaped, values under keys
like `password` are masked, bytes show only their length. A reader that does not read never stops the daemon.
"""

import atexit
import json
import logging
import math
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["json", "console"]

MASK: Final = "***"
_SECRET_KEY: Final = re.compile(
    r"passw|passphrase|secret|token|authorization|credential|cookie|signature|jaas|(api|access|private|signing|ssl)key"
)
_SECRET_TEXT: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)|(?<=\bbearer )[^\s\"',;]+", re.IGNORECASE)
# Control characters, line and paragraph separators, marks that turn the direction of text, and lone surrogates: each
# could end a line, drive a terminal, or make a line read as another one.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TEXT_LENGTH: Final = 4_000
_TRACE_LENGTH: Final = 20_000
_ITEMS: Final = 100
_DEPTH: Final = 6
_LINES: Final = (
    10_000  # lines that may wait for a slow reader; with the lengths above some tens of MB at the very worst
)
_KAFKA: Final = "librdkafka"  # says the same some times a second; what matters in it comes as a trouble, once
_CLOSE: Final = 2.0  # seconds that an exit waits for the reader
_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_FIRST: Final = ("timestamp", "level", "logger", "event")
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


class Lines:
    """Writes lines to a stream in a thread of its own.

    Invariant: `write` neither waits nor raises, and lines keep their order. What finds no room is dropped and counted,
    and the count is told as soon as the reader reads again.
    """

    def __init__(self, stream: TextIO, told: Callable[[int], str], room: int = _LINES) -> None:
        """`told(n)` is the line that says that n lines were dropped."""
        self._stream = stream
        self._told = told
        self._room = room
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, without its line end."""
        if self._closed:  # the last words of a process: nothing else waits for this thread any more
            if not self._thread.is_alive():
                self._put([line])
        elif self._queue.qsize() < self._room:
            self._queue.put(line)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for two seconds at most. Later lines are written at once."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join(_CLOSE)
        atexit.unregister(self.close)

    def _run(self) -> None:
        going = True
        while going:
            lines = [self._queue.get()]
            while len(lines) < 1_000 and not self._queue.empty():  # we are the only reader, so get cannot wait
                lines.append(self._queue.get())
            going = None not in lines
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(self._told(dropped))
            self._put(line for line in lines if line is not None)

    def _put(self, lines: Iterable[str]) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = "".join(line + "\n" for line in lines).encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return  # a closed pipe, a full disk, a closed stream: there is nobody left to tell, and work goes on


class _Voice:
    """What structlog hands a finished line to; it knows under which name the line is said."""

    def __init__(self, name: str, lines: Lines) -> None:
        self.name = name
        self.msg = lines.write

    def __getattr__(self, level: str) -> Callable[[str], None]:
        return self.msg


class _Libraries(logging.Handler):
    """Brings what libraries log through `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)  # a library's wrong format string shall not hide what it says
        level = max((n for n in (10, 20, 30, 40, 50) if n <= record.levelno), default=10)
        if record.name == _KAFKA:
            level = logging.DEBUG
        # The message goes in as an argument: a `%` in it is no format.
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger(record.name).log(level, "%s", message, exc_info=error)


_current: Lines | None = None
_least: Level = "info"


def level() -> Level:
    """The least that is said now."""
    return _least


def set_level(level: Level) -> None:
    """Say this and graver things from now on, in every logger there is."""
    global _least
    _least = level


def _grave_enough(_: Any, method: str, fields: EventDict) -> EventDict:
    if _NUMBERS.get(method, logging.CRITICAL) < _NUMBERS[_least]:
        raise structlog.DropEvent
    return fields


def configure(level: Level, format: Format, stream: TextIO | None = None) -> Lines:
    """Log from now on to `stream` (standard error by default), libraries from WARNING up.

    Closing what it returns writes what still waits; the exit of the process does that by itself.
    """
    global _current
    if _current is not None:
        _current.close()
    stream = sys.stderr if stream is None else stream
    render = _json if format == "json" else _console(stream.isatty() and not os.environ.get("NO_COLOR"))
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

    def told(dropped: int) -> str:
        fields = {"level": "warning", "logger": __name__, "event": "log lines dropped, the reader is slow"}
        return render(stamp(None, "warning", {**fields, "lines": dropped}))

    def finish(_: Any, __: str, fields: EventDict) -> str:
        return render(clean(fields))

    lines = _current = Lines(stream, told)
    atexit.register(lines.close)
    set_level(level)
    processors: list[Processor] = [
        _grave_enough,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_name,
        stamp,
        structlog.processors.ExceptionRenderer(),
        finish,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),  # `_grave_enough` knows the level of now
        logger_factory=lambda name="connector", *_: _Voice(name, lines),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Libraries)]:
        root.removeHandler(handler)
    root.addHandler(_Libraries(logging.WARNING))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return lines


def _add_name(voice: Any, _: str, fields: EventDict) -> EventDict:
    fields.setdefault("logger", getattr(voice, "name", "connector"))
    return fields


def clean(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a line in plain types, bounded and without secrets, the usual ones first."""
    ordered = [name for name in _FIRST if name in fields] + [name for name in fields if name not in _FIRST]
    plain = {name: _masked(name, fields[name], 0) for name in ordered if name != "exception"}
    if "exception" in fields:
        plain["exception"] = _text(str(fields["exception"]), _TRACE_LENGTH)
    return plain


def _masked(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return MASK if _SECRET_KEY.search(re.sub(r"[^a-z]", "", key.lower())) else _plain(value, depth)


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, str):
        return _text(value, _TEXT_LENGTH)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 128 else f"<integer of {value.bit_length()} bits>"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # keys and values of records are bytes, and no business of a log
    if depth >= _DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {_words(name): _masked(_words(name), value[name], depth + 1) for name in islice(value, _ITEMS)}
    words: object = type(value).__str__
    if words is not object.__str__:
        return _words(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in islice(value, _ITEMS)]
    return f"<{type(value).__name__}>"  # its repr would show what it holds


def _words(value: Any) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  # any class may have a broken __str__, and a log call must not raise
        return f"<{type(value).__name__}>"
    return _text(f"{type(value).__name__}: {text}" if isinstance(value, BaseException) else text, _TEXT_LENGTH)


def _text(text: str, length: int) -> str:
    if len(text) > length:
        text = f"{text[:length]}… ({len(text)} characters)"
    return _SECRET_TEXT.sub(MASK, text)


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _json(fields: Mapping[str, Any]) -> str:
    # ASCII alone: every other character is written \uXXXX, the unsafe ones among them, and nothing is lost.
    return json.dumps(fields, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _console(colours: bool) -> Callable[[Mapping[str, Any]], str]:
    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours else text

    def render(fields: Mapping[str, Any]) -> str:
        rest = dict(fields)
        trace = rest.pop("exception", None)
        level = _escape(str(rest.pop("level", "")))
        parts = [
            paint(_escape(str(rest.pop("timestamp", ""))), "2"),
            paint(f"{level:<7}", _COLOURS.get(level, "0")),
            paint(_escape(str(rest.pop("event", ""))), "1"),
        ]
        parts += [f"{paint(_escape(name), '36')}={_shown(value)}" for name, value in rest.items()]
        line = " ".join(parts)
        if trace is not None:  # each line of a trace stands behind a bar, where no log line begins
            line += "".join(f"\n    | {_escape(part)}" for part in str(trace).split("\n"))
        return line

    return render


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return _escape(json.dumps(value, ensure_ascii=False, allow_nan=False))
    text = _escape(value)
    return '"' + text.replace('"', '\\"') + '"' if re.search(r"[\s=\"]|^$", text) else text
