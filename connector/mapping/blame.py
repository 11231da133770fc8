"""A failure at run time, told with its place in the config and without the record's values."""

import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from connector.mapping.check import shown
from connector.mapping.operators import Fault
from connector.mapping.problem import MappingFailed, Names, Position
from connector.mapping.tree import Binary, Index, Node, Select

Sources: TypeAlias = dict[tuple[int, int], tuple[Node, str, Position]]
"""What stands at a line and a column (from 0) of the YAML."""
_FAILURES: Final = (
    Fault,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    MemoryError,
)


def guarded(made: Callable[[Names], Any], file: str, sources: Sources) -> Callable[[Names], Any]:
    """A compiled function that raises MappingFailed and nothing else."""

    def mapped(names: Names) -> Any:
        try:
            return made(names)
        except _FAILURES as error:
            raise _blame(error, file, sources) from None

    mapped.__wrapped__ = made  # type: ignore[attr-defined]  # for a test that looks at the code
    return mapped


def _blame(error: BaseException, file: str, sources: Sources) -> MappingFailed:
    """What failed and where, from the last frame of the traceback that is ours."""
    line, column = _last_place(error.__traceback__, file)
    known = sources.get((line, column)) if column is not None else None
    if known is None:
        # Python runs without fine-grained positions: the line is still right.
        first = min((place for place in sources if place[0] == line), default=None)
        where = Position(file, line, 1) if first is None else sources[first][2]
        return MappingFailed(where, _reason(error), _code(error))
    node, text, where = known
    written = shown(text[node.start : node.end])
    if isinstance(error, KeyError | TypeError) and isinstance(node, Select | Index):
        operand = shown(text[node.operand.start : node.operand.end])
        name = node.field if isinstance(node, Select) else node.key.constant
        if isinstance(error, KeyError):
            return MappingFailed(where, f"`{operand}` has no field `{name}`", "MissingField")
        return MappingFailed(where, f"`{operand}` is {_met(error)}: it has no field `{name}`", "WrongType")
    if isinstance(error, TypeError) and isinstance(node, Binary):
        # Only a sum with a text literal is left to Python itself.
        return MappingFailed(where, f"`{written}`: + joins text with text only, string(…) makes it", "WrongType")
    return MappingFailed(where, f"`{written}`: {_reason(error)}", _code(error))


def _last_place(trace: TracebackType | None, file: str) -> tuple[int, int | None]:
    line, column = 1, None
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == file:
            for number, (start, _, first, _) in enumerate(code.co_positions()):
                if number == trace.tb_lasti // 2:
                    line, column = start or trace.tb_lineno, first
        trace = trace.tb_next
    return line, column


_PYTHON_TYPES: Final = {
    "NoneType": "null",
    "bool": "a boolean",
    "int": "an int",
    "float": "a double",
    "str": "a string",
    "string": "a string",
    "list": "a list",
    "byte": "bytes",
    "datetime.datetime": "a timestamp",
    "datetime.timedelta": "a duration",
}


def _met(error: BaseException) -> str:
    """The type that had no fields, from Python's message, which names types only."""
    found = re.match(r"'?([A-Za-z.]+)'? (?:object is not subscriptable|indices)", str(error))
    return _PYTHON_TYPES.get(found[1], "no map") if found else "no map"


def _code(error: BaseException) -> str:
    match error:
        case Fault():
            return error.code
        case KeyError():
            return "MissingField"
        case TypeError() | AttributeError():
            return "WrongType"
        case RecursionError():
            return "TooDeep"
        case MemoryError():
            return "TooLarge"
        case ArithmeticError() | IndexError():
            return "OutOfRange"
    return "BadValue"


def _reason(error: BaseException) -> str:
    """Our own words for a failure: Python's would tell the value."""
    if isinstance(error, Fault):
        return error.reason
    return {
        "MissingField": "there is no such field",
        "WrongType": "the value has another type",
        "TooDeep": "the value is nested too deep",
        "TooLarge": "the value is too large",
        "OutOfRange": "the result is out of range",
        "BadValue": "the value is broken text or out of range",
    }[_code(error)]
