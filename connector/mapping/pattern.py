"""`match`: an EventBridge event pattern, checked as a whole at load and compiled to one Python function.

The rules are those of the EventBridge user guide ("Comparison operators", "Arrays in event patterns") and of AWS's
event-ruler. The few that those leave open, or where we differ on purpose, stand in docs/match.md.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from connector.mapping.pattern_code import Writer
from connector.mapping.pattern_read import Reader
from connector.mapping.pattern_tree import (
    ABSENT,
    FIELDS,
    SHOWN,
    Choice,
    Condition,
    Conditions,
    Leaf,
    Under,
    and_more,
    either,
    holds_for_nothing,
    kind_of,
)
from connector.mapping.problem import Locate, Names, Path, Problem


class Reason(NamedTuple):
    """Why a record does not match: the first condition that failed, in words without the record's values, and where."""

    words: str
    path: Path


class Match:
    """A compiled pattern. `test` is the bare function: call it in a hot loop, it costs half of calling the object.

    `outside` tests only what can be told before key and value are read; None where the pattern says nothing of that.
    The answer depends on nothing but the pattern and the record. Neither way raises, whatever the record holds.
    """

    __slots__ = ("_conditions", "outside", "test")

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self.test: Callable[[Names], bool] = Writer().of_record(conditions)
        outer = tuple(each for each in conditions if not isinstance(each, Choice) and each.key not in ("key", "value"))
        self.outside: Callable[[Names], bool] | None = Writer().of_record(outer) if outer else None

    def __call__(self, names: Names) -> bool:
        return self.test(names)

    def explain(self, names: Names) -> Reason | None:
        """The first condition that failed; None if the record matches."""
        if self.test(names):
            return None
        record = {field: getattr(names, field) for field in FIELDS} | {"headers": dict(names.headers)}
        return _why(self._conditions, record, "")


def compile_match(tree: Any, path: Path, locate: Locate, report: list[Problem]) -> Match | None:
    """Compiles the pattern `tree` that stands at `path` of the config.

    All mistakes are added to `report` at once; None is returned if one of them is an error.
    """
    reader = Reader(locate, report)
    conditions = reader.record(tree, path)
    return None if reader.failed else Match(conditions)


def _why(conditions: Conditions, holder: Mapping[str, Any], prefix: str) -> Reason | None:
    """The first of the conditions that does not hold for an object."""
    for condition in conditions:
        if _holds(condition, holder):
            continue
        if isinstance(condition, Choice):
            reasons = [why.words for branch in condition.branches if (why := _why(branch, holder, prefix)) is not None]
            return Reason(
                "no branch of $or holds: " + "; ".join(reasons[:SHOWN]) + and_more(len(reasons)), condition.path
            )
        name = f"{prefix}.{condition.key}" if prefix else condition.key
        value = holder.get(condition.key, ABSENT)
        if isinstance(condition, Under) and isinstance(value, Mapping) and len(condition.branches) == 1:
            return _why(condition.branches[0], value, name)
        return Reason(f"{name}{_unlike(condition, value)}", condition.path)
    return None


def _unlike(condition: Leaf | Under, value: Any) -> str:
    """What is wrong with a field's value, in words that follow its name."""
    if isinstance(condition, Leaf):
        words = [test.words for test in condition.tests] + (["absent"] if condition.absent else [])
        return f" is {kind_of(value)}, but must be {either(words)}"
    if isinstance(value, Mapping):
        return f": none of {len(condition.branches)} ways through its $or holds"
    if isinstance(value, list):
        every = holds_for_nothing(condition.branches[0])
        return " is a list, and " + ("not every object in it passes" if every else "no object in it passes")
    return f" is {kind_of(value)}, but must be an object"


def _holds(condition: Condition, holder: Mapping[str, Any]) -> bool:
    writer = Writer()
    return writer.of_object((condition,))(holder)
