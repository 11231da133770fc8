"""`match`: an EventBridge event pattern, checked as a whole at load and compiled to one Python function.

The rules are those of the EventBridge user guide ("Comparison operators", "Arrays in event patterns") and of AWS's
event-ruler. The few that those leave open, or where we differ on purpose, stand in docs/match.md.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

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
    and_more,
    either,
    holds_for_nothing,
    kind_of,
)
from connector.mapping.problem import Locate, Names, Path, Problem


class Match:
    """A compiled pattern. `test` is the bare function: call it in a hot loop, it costs half of calling the object.

    The answer depends on nothing but the pattern and the record. Neither way raises, whatever the record holds.
    """

    __slots__ = ("_conditions", "test")

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self.test: Callable[[Names], bool] = Writer().of_record(conditions)

    def __call__(self, names: Names) -> bool:
        return self.test(names)

    def explain(self, names: Names) -> str | None:
        """The first condition that failed, in words; None if the record matches. It never contains a record's value."""
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


def _why(conditions: Conditions, holder: Mapping[str, Any], prefix: str) -> str | None:
    """The first of the conditions that does not hold for an object, in words without its values."""
    for condition in conditions:
        if _holds(condition, holder):
            continue
        if isinstance(condition, Choice):
            reasons = [_why(branch, holder, prefix) or "" for branch in condition.branches]
            return "no branch of $or holds: " + "; ".join(reasons[:SHOWN]) + and_more(len(reasons))
        name = f"{prefix}.{condition.key}" if prefix else condition.key
        value = holder.get(condition.key, ABSENT)
        if isinstance(condition, Leaf):
            words = [test.words for test in condition.tests] + (["absent"] if condition.absent else [])
            return f"{name} is {kind_of(value)}, but must be {either(words)}"
        if isinstance(value, Mapping) and len(condition.branches) == 1:
            return _why(condition.branches[0], value, name)
        if isinstance(value, Mapping):
            return f"{name}: none of {len(condition.branches)} ways through its $or holds"
        if isinstance(value, list):
            every = holds_for_nothing(condition.branches[0])
            return f"{name} is a list, and " + ("not every object in it passes" if every else "no object in it passes")
        return f"{name} is {kind_of(value)}, but must be an object"
    return None


def _holds(condition: Condition, holder: Mapping[str, Any]) -> bool:
    writer = Writer()
    return writer.of_object((condition,))(holder)


EXPLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PAT001": "`match` is an object whose keys are fields of the record: topic, partition, offset, timestamp, key, "
        'headers, value. Example: `match: {headers: {event-type: [{prefix: "order."}]}, value: {status: [PAID]}}`.',
        "PAT002": "An empty object in a pattern says nothing, and EventBridge refuses it. To take every record, leave "
        "`match` out. To ask that a field is there, name one of its leaves: `user: {id: [{exists: true}]}`.",
        "PAT003": "Field names in a pattern are text. YAML reads a bare `1`, `true` or `null` as something else: put "
        'the name in quotes, as in `"1": [a]`.',
        "PAT004": "A record has the fields topic, partition, offset, timestamp (epoch milliseconds), key, headers and "
        "value. What the producer sent is under `value`: write `value: {status: [PAID]}`, not `status: [PAID]`. Dots "
        "are part of a name: `value.status` is not a path.",
        "PAT005": "The values of a field are always a list, even when there is one: `status: [PAID]`. A matcher is an "
        'object inside that list: `status: [{prefix: "P"}]`.',
        "PAT006": "An empty list could never match, and EventBridge refuses it. List at least one value, or leave the "
        "field out to accept all values.",
        "PAT007": "The operators are prefix, suffix, equals-ignore-case, anything-but, numeric, exists, cidr and "
        "wildcard, spelled with hyphens. What they cannot say goes into `when`, which is one CEL condition.",
        "PAT008": "A matcher object has one operator; `[{prefix: a}, {suffix: z}]` means either. Two conditions "
        "on one field that must both hold go into `when`; a range of numbers is one `numeric`.",
        "PAT009": "The operand has the wrong type. prefix, suffix, equals-ignore-case, wildcard and cidr take text, "
        "exists takes true or false. prefix and suffix also take a list of texts or {equals-ignore-case: text}.",
        "PAT010": '`numeric` is a list: `["=", 5]`, `[">", 5]`, or a range with the lower bound first: '
        '`[">=", 5, "<", 10]`. The signs are =, <, <=, >, >= in quotes. "Not equal" is `anything-but`.',
        "PAT011": "The lower bound of a numeric range must be less than the upper one, otherwise no number is in it. "
        'For one number write `["=", 5]`.',
        "PAT012": "In a wildcard `*` stands for any characters, also none. EventBridge refuses two in a row, so do we. "
        r"`\*` is a star and `\\` a backslash; a backslash before anything else is refused. In YAML use single quotes "
        r"for backslashes: '\*'.",
        "PAT013": "`cidr` takes a network such as 10.0.0.0/8 or 2001:db8::/32: an address, a slash, a number of bits.",
        "PAT014": "anything-but takes one value, a list of texts or a list of numbers (not mixed), or one of {prefix}, "
        "{suffix}, {wildcard}, {equals-ignore-case} with a text or a list of texts. It matches when the field is there "
        "and is none of them; it does not match an absent field.",
        "PAT015": "`$or` is a list of at least two objects, each a pattern of its own for the place where it stands: "
        '`$or: [{psi: [{numeric: [">", 80]}]}, {alarm: [true]}]`. It holds when one of them does.',
        "PAT016": "Inside `$or` EventBridge does not allow a field to be called like an operator. If you meant the "
        'operator, it goes into the list of a field: `name: [{prefix: "a"}]`.',
        "PAT017": "The branches of all `$or` of a pattern multiply; EventBridge refuses more than 1000 combinations. "
        "Split the route, or say it in `when`.",
        "PAT018": "A pattern may nest 60 objects and hold 20000 fields and values. A long list of values to look up "
        "belongs in the service behind the target, not in a route.",
        "PAT019": "A value in a pattern is text, a number, true, false or null. YAML reads an unquoted date as a date: "
        'put it in quotes, `"2024-01-31"`. Infinity and NaN are not JSON.',
        "PAT020": "The list of a field holds values and matcher objects, not lists. Arrays in the record need nothing "
        "special: a field matches when any element does.",
        "PAT021": "topic is text; partition, offset and timestamp are numbers: they have no fields of their own. "
        "headers is an object: name the header, `headers: {event-type: [created]}`.",
        "PAT022": "This can never match: topic and headers are text, partition, offset and timestamp are numbers. A "
        'header that carries a number is still text: write "3" in quotes.',
        "PAT023": "An operator that stands where a field's name belongs is read as a field of that name, as in "
        'EventBridge. If you meant the operator, put it into brackets: `total: [{numeric: [">", 5]}]`.',
        "PAT024": "A field is named twice on one way through `$or`, beside it and inside a branch, or in two `$or`. "
        "EventBridge lets one of the two win without a word. Put the values into each branch.",
    }
)
