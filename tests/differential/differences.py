"""What may differ: the deliberate differences of docs/map.md, and faults of the others that the third one confirms.

A test holds `DIFFERENCES` against the table of docs/map.md, in both directions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tests.differential.generate import Made


class Outcome(NamedTuple):
    """A value, or why there is none: `refused` before a record was seen, or at run time."""

    value: Any = None
    error: str = ""
    refused: bool = False


class Mismatch(NamedTuple):
    """An expression, what we make of it, and the other thing that another made of it."""

    made: Made
    ours: Outcome
    theirs: Outcome


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of the table "What differs from CEL".

    `here` and `why` are its first and last column. `examples` are expressions and what they give here; None is an
    expression that is refused or fails here. `explains` says whether a mismatch is this difference.
    """

    here: str
    why: str
    examples: tuple[tuple[str, Any], ...]
    explains: Callable[[Mismatch], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """Where another implementation is wrong, by the specification or by its own checker.

    It explains a mismatch where the third implementation makes of the expression what we do. One that is `certain` also
    explains it where the third does not know the expression, or has a fault of its own there; these are counted apart.
    """

    oracle: str
    what: str
    certain: bool
    explains: Callable[[Mismatch], bool]


def _only_here(*marks: str) -> Callable[[Mismatch], bool]:
    """We give a value where the other has none, and the expression is marked."""
    return lambda it: not it.ours.error and bool(it.theirs.error) and bool(it.made.marks & set(marks))


def _refused(code: str) -> Callable[[Mismatch], bool]:
    return lambda it: it.ours.refused and code in it.ours.error and not it.theirs.error


_LAZY: Final = frozenset({"&&", "||", "exists", "all"})
_OVERFLOW: Final = re.compile(r"overflow|out of range|range", re.IGNORECASE)
_MIXED: Final = re.compile(
    r"_([-+*/]|[<>]=?)_'? ?(applied to )?'?\(((int|int64), double|double, (int|int64))\)"
    r"|: float . int|: int . float"
)
_BRANCHES: Final = re.compile(r"no matching overload for '(_\?_:_|_==_|_!=_|@in|orValue|or)'")
_WIDER: Final = re.compile(
    r"found : (millis\(double|math\.(ceil|floor|round)\(int64|base64\.encode\(string)"
    r"|'(millis' applied to '\(double|math\.(ceil|floor|round)' applied to '\(int|base64\.encode' applied to '\(string)"
)
_OF_NULL: Final = re.compile(r"_(\[\?_\]|\?\._)\(null_type")
_STATIC: Final = re.compile(r"CEL02[0-57]")


def _overflows(it: Mismatch) -> bool:
    return not it.ours.error and bool(it.theirs.error) and _OVERFLOW.search(it.theirs.error) is not None


def _ends_at_an_error(it: Mismatch) -> bool:
    return bool(it.ours.error) and not it.ours.refused and not it.theirs.error and bool(it.made.uses & _LAZY)


def _early(it: Mismatch) -> bool:
    """Refused at load, though the part that fails is not reached there; only where the expression has such a part."""
    compares = "never" in it.ours.error and bool(it.made.uses & {"==", "!=", "in"})
    return (
        it.ours.refused
        and not it.theirs.error
        and _STATIC.search(it.ours.error) is not None
        and ("wrong" in it.made.marks or "loose" in it.made.marks or compares)
    )


def _mixes(it: Mismatch) -> bool:
    """An int met a double in arithmetic: by a rule for it, or by an operand of another kind."""
    error = it.theirs.error
    mixed = "mixed" in it.made.marks or _MIXED.search(error) is not None
    return not it.ours.error and bool(error) and mixed


def _other_key(it: Mismatch) -> bool:
    return not it.theirs.error and ("key" in it.ours.error or "is not read by" in it.ours.error)


DIFFERENCES: Final = (
    Difference(
        "An int and a double mix: `value.n * 2.5` is a double, and `1 < 1.5`.",
        "JSON has one kind of number: a price of 100 and one of 99.5 must both work.",
        (("value.n * 2.5", 17.5), ("1 + 0.5", 1.5), ("value.d - 1", 1.5), ("value.n / 2.0", 3.5)),
        _mixes,
    ),
    Difference(
        "Ints have no bounds in arithmetic (8192 bits).",
        "An id near 2⁶³ is not lost on the way.",
        (
            ("9223372036854775807 + value.n", 9223372036854775814),
            ("-9223372036854775807 - value.n", -9223372036854775814),
            ("math.abs(-9223372036854775808)", 9223372036854775808),
        ),
        _overflows,
    ),
    Difference(
        "`&&`, `||`, `exists` and `all` go from left to right, and an error ends them.",
        "A condition means what it reads like; a missing field is not hidden.",
        (("value.gone || true", None), ("true || value.gone", True), ("[1, 2].exists(x, x == 2 || value.gone)", None)),
        _ends_at_an_error,
    ),
    Difference(
        '`string(true)` is `"true"`.',
        "Text with `${}` needs it.",
        (("string(true)", "true"), ("string(value.n > 9)", "false")),
        _only_here("bool-text"),
    ),
    Difference(
        "`string(1e7)` is `10000000`: the shortest digits, a whole double without `.0`; not a number is `NaN`.",
        "`1` and `1.0` are one number in JSON.",
        (
            ("string(1e7)", "10000000"),
            ("string(value.d * 2.0)", "5"),
            ("string(0.0 / 0.0)", "NaN"),
            ("string(0.1)", "0.1"),
        ),
        lambda it: "digits" in it.made.marks and not it.ours.error,
    ),
    Difference(
        "Keys of maps are strings.",
        "JSON has no others.",
        (("{1: 2}", None), ("{value.n: 2}", None), ("value[?1].orValue(0)", None)),
        _other_key,
    ),
    Difference(
        "`.?x` of null is absent.",
        "Producers write null where there is no object.",
        (("value.nil.?x.orValue('none')", "none"), ("value.?nil.?x.y.orValue('none')", "none")),
        lambda it: not it.ours.error and ("null" in it.made.marks or _OF_NULL.search(it.theirs.error) is not None),
    ),
    Difference(
        "Branches of a choice, what `orValue` puts in and elements of a list may be of different types; "
        "`x == null` is always allowed.",
        "JSON mixes types.",
        (
            ("value.n > 5 ? 'a' : 1", "a"),
            ("[1, 'a', null]", [1, "a", None]),
            ("1 == null", False),
            ("'a' != null", True),
        ),
        lambda it: not it.ours.error and it.theirs.refused and _BRANCHES.search(it.theirs.error) is not None,
    ),
    Difference(
        "Patterns of `matches` and time zones are literals, zones known at load.",
        "Data never chooses code.",
        (("value.s.matches(value.s)", None), ("millis(0).getHours(value.s)", None), ("value.s.matches('^O')", True)),
        _refused("CEL029"),
    ),
    Difference(
        'What surely fails is refused at load, also where it is not reached: `value.x ? int("a") : 1`.',
        "A mistake is told before the start, not by the one record that finds it.",
        (("value.n > 9 ? int('a') : 1", None), ("value.n > 9 && topic < 1", None)),
        _early,
    ),
    Difference(
        "No unsigned ints, no `type()`, no messages.",
        "JSON has none of them.",
        (("1u", None), ("type(1) == int", None)),
        lambda it: it.ours.refused and not it.theirs.error and "unsigned" in it.made.marks,
    ),
    Difference(
        "Times have microseconds.",
        "It is what Python's `datetime` holds.",
        (
            ("string(duration('1500ns'))", "0.000002s"),
            ("string(timestamp('2026-01-01T00:00:00.123456789Z'))", "2026-01-01T00:00:00.123456Z"),
        ),
        lambda it: "nanoseconds" in it.made.marks,
    ),
    Difference(
        "`base64.encode` and `sha256` take strings too, in UTF-8; "
        "`math.ceil`, `floor`, `round` and `millis` take ints and doubles.",
        "It is what records hold.",
        (("base64.encode('hi')", "aGk="), ("math.ceil(2)", 2.0), ("epochMillis(millis(1.0))", 1)),
        lambda it: not it.ours.error and ("wider" in it.made.marks or _WIDER.search(it.theirs.error) is not None),
    ),
)

_TIMES: Final = frozenset({"timestamp", "duration", "millis"})


def _negated_twice(it: Mismatch) -> bool:
    return "a boolean is needed" in it.ours.error and "!!" in it.made.text.replace("(", "").replace(" ", "")


FAULTS: Final = (
    Fault("cel-expr-python", "!! is dropped by the parser, so that !!1 is 1", True, _negated_twice),
    Fault("common-expression-language", "!! is dropped by the parser, so that !!1 is 1", True, _negated_twice),
    Fault(
        "cel-expr-python",
        "''.split('') is [''], where Go's strings.Split, which the extension describes, gives []",
        True,
        lambda it: "split" in it.made.uses and not it.theirs.error,
    ),
    Fault(
        "cel-expr-python",
        "int() of a boolean that is known only at run time is 0 or 1; its own checker refuses int(true)",
        True,
        lambda it: "does not take a boolean" in it.ours.error and "int" in it.made.uses,
    ),
    Fault(
        "cel-expr-python",
        "substring() up to the very end of a string is out of range, unless it is empty: 'abc'.substring(0, 3)",
        True,
        lambda it: "is greater than <string>.size()" in it.theirs.error and not it.ours.error,
    ),
    Fault(
        "cel-expr-python",
        "an operand of a wrong type is refused where it is not reached, or where we know its type only at run time",
        True,
        lambda it: it.theirs.refused and not it.ours.error and "wrong" in it.made.marks,
    ),
    Fault(
        "cel-expr-python",
        "int() and double() pass over blanks around the digits",
        False,
        lambda it: "the string is no" in it.ours.error and bool(it.made.uses & {"int", "double"}),
    ),
    Fault(
        "cel-expr-python",
        "a Python function cannot give a map that holds a time",
        True,
        lambda it: "Non-CEL value type" in it.theirs.error,
    ),
    Fault(
        "common-expression-language",
        "size() of a string counts bytes; the specification counts code points",
        False,
        lambda it: "size" in it.made.uses,
    ),
    Fault(
        "common-expression-language",
        "string() of a timestamp has +00:00 for Z or another offset, and of a duration is 1h30m0s for 5400s",
        False,
        lambda it: "string" in it.made.uses and bool(it.made.uses & _TIMES),
    ),
    Fault(
        "common-expression-language",
        "parts of times: getDate() is one less, those of a timestamp use its offset, those of a duration differ",
        False,
        lambda it: bool(it.made.uses & _TIMES),
    ),
    Fault(
        "common-expression-language",
        "the smallest int with a minus is itself; the specification asks for an error",
        False,
        lambda it: "- (sign)" in it.made.uses,
    ),
    Fault(
        "common-expression-language",
        "a comparison with NaN is an error; by IEEE 754 it is false",
        False,
        lambda it: "No such overload" in it.theirs.error and bool(it.made.uses & {"<", "<=", ">", ">="}),
    ),
    Fault(
        "common-expression-language",
        "math.ceil(), floor() and round() lose the sign of zero",
        False,
        lambda it: bool(it.made.uses & {"math.ceil", "math.floor", "math.round"}),
    ),
    Fault(
        "common-expression-language",
        "base64.decode() refuses text without padding",
        False,
        lambda it: "base64.decode" in it.made.uses,
    ),
    Fault(
        "common-expression-language",
        "nothing is checked before it runs, and its extensions are Python functions that take what Python takes",
        False,
        lambda it: "wrong" in it.made.marks or "loose" in it.made.marks,
    ),
)
