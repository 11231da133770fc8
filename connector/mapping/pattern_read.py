"""Reads an event pattern and says all that is wrong with it: what EventBridge would refuse is refused here."""

import difflib
import math
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from connector.mapping.pattern_or import combinations, settle
from connector.mapping.pattern_tree import (
    FIELDS,
    LONGEST_ADDRESS,
    SIGNS,
    WIDTH,
    Choice,
    Condition,
    Conditions,
    Leaf,
    Probe,
    Under,
    cheapest_first,
    either,
    kind_of,
    listed,
    quote,
    shorten,
    show,
)
from connector.mapping.problem import Locate, Path, Problem, spell

MAX_DEPTH: Final = 60
"""Levels of objects in a pattern; deeper is a mistake, and the bound keeps every recursion here shallow."""
MAX_SIZE: Final = 20_000
"""Fields and values of a pattern."""
MAX_COMBINATIONS: Final = 1000
"""EventBridge refuses a pattern whose `$or` branches multiply to more than this (user guide, "Or matching")."""

OPERATORS: Final = (
    "prefix",
    "suffix",
    "equals-ignore-case",
    "anything-but",
    "numeric",
    "exists",
    "cidr",
    "wildcard",
)

_TEXT_FIELDS: Final = frozenset({"topic"})
_NUMBER_FIELDS: Final = frozenset({"partition", "offset", "timestamp"})
# event-ruler keeps these words from being field names inside `$or` (Constants.java).
_RESERVED_IN_OR: Final = frozenset(
    {
        *OPERATORS,
        *("exactly", "html", "regex", "=", "<", "<=", ">", ">=", "not-wildcard", "not-equals-ignore-case"),
        *("date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range"),
        *("ip-address-in-range", "ip-address-not-in-range"),
    }
)
# What people write for an operator when they come from another language.
_ALIASES: Final = {
    "startswith": "prefix",
    "endswith": "suffix",
    "contains": "wildcard",
    "like": "wildcard",
    "glob": "wildcard",
    "not": "anything-but",
    "ne": "anything-but",
    "!=": "anything-but",
    "not-in": "anything-but",
    "eq": "numeric",
    "gt": "numeric",
    "gte": "numeric",
    "lt": "numeric",
    "lte": "numeric",
    "=": "numeric",
    ">": "numeric",
    ">=": "numeric",
    "<": "numeric",
    "<=": "numeric",
    "between": "numeric",
    "ignore-case": "equals-ignore-case",
    "exist": "exists",
    "ip": "cidr",
}


class Reader:
    """Turns a tree into conditions and reports what is wrong with it; goes on after a mistake to find the next."""

    def __init__(self, locate: Locate, report: list[Problem]) -> None:
        self._locate = locate
        self._report = report
        self._told: set[Path] = set()
        self._left = MAX_SIZE
        self.failed = False

    def error(self, code: str, path: Path, message: str, mend: str = "") -> None:
        self.failed = True
        self._report.append(Problem(code, self._locate(path), spell(path), message, mend))

    def warn(self, code: str, path: Path, message: str, mend: str = "") -> None:
        self._report.append(Problem(code, self._locate(path), spell(path), message, mend, "warning"))

    def room(self, path: Path) -> bool:
        """Takes one from what a pattern may hold. YAML anchors can make a small file endlessly large."""
        self._left -= 1
        if self._left == 0:
            message = f"the pattern holds more than {MAX_SIZE} fields and values"
            self.error("PAT018", path, message, "make it several routes, or say it in `when`")
        return self._left > 0

    def twice(self, path: Path) -> None:
        if path in self._told:
            return  # the same two meet again in every combination
        self._told.add(path)
        message = "the field is named twice: here and beside this $or"
        self.error("PAT024", path, message, "name it once, or put its values into each branch")

    # -- objects --

    def record(self, tree: Any, path: Path) -> Conditions:
        if not isinstance(tree, Mapping):
            self.error(
                "PAT001",
                path,
                f"a pattern is an object of the record's fields, not {kind_of(tree)}",
                "match: {value: {status: [PAID]}}",
            )
            return ()
        combined = self.read_object(tree, path, depth=1, in_or=False, top=True)
        if not self.failed and (count := combinations(combined)) > MAX_COMBINATIONS:
            self.error(
                "PAT017",
                path,
                f"the branches of $or make {count} combinations; {MAX_COMBINATIONS} are allowed",
                "split the route, or say it in `when`",
            )
        if self.failed:
            return ()
        branches = settle(combined, self.twice, in_array=False)
        conditions = branches[0] if len(branches) == 1 else (Choice(branches, path),)
        return cheapest_first(conditions)

    def read_object(self, tree: Mapping[Any, Any], path: Path, *, depth: int, in_or: bool, top: bool) -> Conditions:
        if depth > MAX_DEPTH:
            self.error("PAT018", path, f"the pattern nests more than {MAX_DEPTH} objects")
            return ()
        if not tree:
            self.error(
                "PAT002",
                path,
                "an empty object matches nothing in particular, and EventBridge refuses it",
                "leave `match` out to take every record" if top else "leave the field out, or name one below it",
            )
        conditions: list[Condition] = []
        for raw, below in tree.items():
            if not self.room(path):
                break
            if not isinstance(raw, str):
                self.error("PAT003", path, f"a field's name is text, not {kind_of(raw)}", "put the name in quotes")
                continue
            key, here = str(raw), (*path, str(raw))
            if key == "$or":
                conditions += self.read_or(below, here, depth, top)
            elif in_or and key in _RESERVED_IN_OR:
                self.error(
                    "PAT016",
                    here,
                    f"{quote(key)} cannot be a field's name inside $or",
                    "an operator goes into the list of a field: name: [{" + key + ": …}]",
                )
            elif top and key not in FIELDS:
                self.unknown_field(key, here)
            elif top and self.misplaced(key, below, here):
                continue
            else:
                conditions += self.read_field(key, below, here, depth, in_or, top)
        return tuple(conditions)

    def read_field(self, key: str, below: Any, here: Path, depth: int, in_or: bool, top: bool) -> Conditions:
        if isinstance(below, Mapping):
            inner = self.read_object(below, here, depth=depth + 1, in_or=in_or, top=False)
            if top and key == "headers":
                self.check_types(inner, "text")
            return (Under(key, (inner,), here),)
        if isinstance(below, list | tuple):
            if not top and _looks_like_operator(key, below):
                self.warn(
                    "PAT023",
                    here,
                    f"{quote(key)} is read as a field's name here, not as the operator",
                    "if you meant the operator, put it into brackets: field: [{" + key + ": …}]",
                )
            leaf = self.read_leaf(key, below, here)
            if top and key in _TEXT_FIELDS:
                self.check_types((leaf,), "text")
            elif top and key in _NUMBER_FIELDS:
                self.check_types((leaf,), "a number")
            return (leaf,)
        if key in OPERATORS:
            self.error(
                "PAT005",
                here,
                f"the operator {quote(key)} must stand in the list of a field",
                f"put it into brackets: [{{{key}: {show(below)}}}]",
            )
        else:
            self.error(
                "PAT005",
                here,
                f"the values of a field are a list, not {kind_of(below)}",
                f"put it into brackets: [{show(below)}]",
            )
        return ()

    def unknown_field(self, key: str, here: Path) -> None:
        first, dot, rest = key.partition(".")
        if dot and first in FIELDS:
            mend = f"a dot is no path: nest it, {first}: {{{shorten(rest)}: […]}}"
        elif near := _nearest(key, FIELDS):
            mend = f"did you mean {quote(near)}?"
        else:
            mend = f"a field of the message goes under value: value: {{{shorten(key)}: […]}}"
        self.error("PAT004", here, f"a record has no field {quote(key)}; it has {', '.join(sorted(FIELDS))}", mend)

    def misplaced(self, key: str, below: Any, here: Path) -> bool:
        if key in _TEXT_FIELDS | _NUMBER_FIELDS and isinstance(below, Mapping):
            kind = "text" if key in _TEXT_FIELDS else "a number"
            self.error("PAT021", here, f"{key} is {kind}, it has no fields", f"list its values: {key}: […]")
            return True
        if key == "headers" and isinstance(below, list | tuple):
            self.error(
                "PAT021",
                here,
                "headers is an object, it has no value of its own",
                "name the header: headers: {event-type: […]}",
            )
            return True
        return False

    def check_types(self, conditions: Conditions, kind: str) -> None:
        """Warns of values that a field of text (or of numbers) never has: such a pattern is legal, but a mistake."""
        for condition in conditions:
            if isinstance(condition, Choice):
                for branch in condition.branches:
                    self.check_types(branch, kind)
            elif isinstance(condition, Under):
                mend = f"list its values: {shorten(condition.key)}: […]"
                self.error("PAT021", condition.path, "a header is text, it has no fields", mend)
            elif condition.tests and not condition.absent and all(_never(test, kind) for test in condition.tests):
                mend = "put it in quotes" if kind == "text" else "list numbers without quotes, or use numeric"
                self.warn("PAT022", condition.path, f"this never matches: the field is always {kind}", mend)

    def read_or(self, below: Any, here: Path, depth: int, top: bool) -> Conditions:
        if not isinstance(below, list | tuple):
            self.error("PAT015", here, f"$or is a list of patterns, not {kind_of(below)}", "$or: [{…}, {…}]")
            return ()
        if len(below) < 2:
            self.error(
                "PAT015",
                here,
                "$or needs at least two patterns to choose from",
                "add another, or write its fields without $or",
            )
        branches: list[Conditions] = []
        for index, branch in enumerate(below):
            if isinstance(branch, Mapping):
                branches.append(self.read_object(branch, (*here, index), depth=depth + 1, in_or=True, top=top))
            else:
                self.error(
                    "PAT015",
                    (*here, index),
                    f"a branch of $or is an object, not {kind_of(branch)}",
                    "name the field: {field: [value]}",
                )
        return (Choice(tuple(branches), here),)

    # -- lists of values --

    def read_leaf(self, key: str, values: Sequence[Any], here: Path) -> Leaf:
        if not values:
            self.error("PAT006", here, "an empty list never matches", "list a value, or leave the field out")
        tests: list[Probe] = []
        absent = False
        for index, value in enumerate(values):
            if not self.room(here):
                break
            at = (*here, index)
            if isinstance(value, Mapping):
                test = self.read_matcher(value, at)
                if test is not None and test.kind == "exists" and test.operand is False:
                    absent = True
                elif test is not None:
                    tests.append(test)
            elif isinstance(value, list | tuple):
                self.error(
                    "PAT020", at, "a list inside the list of values", "write its values without the inner brackets"
                )
            elif (literal := self.read_literal(value, at)) is not None:
                tests.append(literal)
        return Leaf(key, tuple(tests), absent, here)

    def read_literal(self, value: Any, at: Path) -> Probe | None:
        """A JSON scalar as a test, in plain Python types: a YAML loader's own kinds of text are unwrapped."""
        if value is None or isinstance(value, bool):
            return Probe("literal", value, show(value))
        if isinstance(value, str):
            return Probe("text", str(value), show(value))
        if isinstance(value, int):
            return Probe("number", int(value), show(value))
        if isinstance(value, float) and math.isfinite(value):
            return Probe("number", float(value), show(value))
        mend = "put it in quotes" if not isinstance(value, float) else "use a finite number"
        self.error("PAT019", at, f"a value is text, a number, true, false or null, not {kind_of(value)}", mend)
        return None

    def read_matcher(self, matcher: Mapping[Any, Any], at: Path) -> Probe | None:
        if len(matcher) != 1:
            count = "no operator" if not matcher else f"{len(matcher)} operators"
            self.error(
                "PAT008",
                at,
                f"a matcher has exactly one operator, this has {count}",
                "[{a: …}, {b: …}] means either of them; for both use `when`",
            )
            return None
        raw, operand = next(iter(matcher.items()))
        name, here = (str(raw), (*at, str(raw))) if isinstance(raw, str) else ("", at)
        match name:
            case "prefix" | "suffix":
                return self.read_affix(name, operand, here)
            case "equals-ignore-case":
                text = self.read_text(name, operand, here)
                return None if text is None else Probe(name, text.casefold(), f"equal to {show(text)} in any case")
            case "wildcard":
                segments = self.read_wildcard(operand, here)
                return None if segments is None else Probe(name, segments, f"like {show(operand)}")
            case "numeric":
                return self.read_numeric(operand, here)
            case "cidr":
                return self.read_cidr(operand, here)
            case "exists":
                if not isinstance(operand, bool):
                    self.error("PAT009", here, f"exists is true or false, not {kind_of(operand)}", "exists: true")
                    return None
                return Probe(name, operand, "present" if operand else "absent")
            case "anything-but":
                return self.read_anything_but(operand, here)
        if near := _nearest(name, OPERATORS):
            mend = f"did you mean {quote(near)}?"
        else:
            mend = "the operators are " + ", ".join(OPERATORS)
        what = f"operator {quote(name)}" if isinstance(raw, str) else f"operator: it is text, not {kind_of(raw)}"
        self.error("PAT007", here, f"there is no {what}", mend)
        return None

    def read_text(self, name: str, operand: Any, here: Path, code: str = "PAT009") -> str | None:
        if isinstance(operand, str):
            return str(operand)
        mend = f"{name}: {show(str(operand))}" if _is_number(operand) else f'{name}: "text"'
        self.error(code, here, f"{name} takes text, not {kind_of(operand)}", mend)
        return None

    def read_texts(self, name: str, operand: Any, here: Path, code: str = "PAT009") -> list[str] | None:
        """One text or a list of at least one."""
        if not isinstance(operand, list | tuple):
            text = self.read_text(name, operand, here, code)
            return None if text is None else [text]
        if not operand:
            self.error("PAT006", here, "an empty list never matches", f'{name}: "text"')
            return None
        texts = [self.read_text(name, each, (*here, index), code) for index, each in enumerate(operand)]
        found = [text for text in texts if text is not None]
        return found if len(found) == len(texts) else None

    def read_affix(self, name: str, operand: Any, here: Path) -> Probe | None:
        word = "text starting with" if name == "prefix" else "text ending with"
        if isinstance(operand, Mapping):
            if list(operand) != ["equals-ignore-case"]:
                self.error(
                    "PAT009",
                    here,
                    f"{name} takes text, a list of texts or {{equals-ignore-case: text}}",
                    f'{name}: {{equals-ignore-case: "text"}}',
                )
                return None
            text = self.read_text("equals-ignore-case", operand["equals-ignore-case"], (*here, "equals-ignore-case"))
            return None if text is None else Probe(f"{name}-ignore-case", text, f"{word} {show(text)} in any case")
        texts = self.read_texts(name, operand, here)
        return None if texts is None else Probe(name, tuple(texts), f"{word} {listed(texts)}")

    def read_wildcard(self, operand: Any, here: Path, code: str = "PAT009") -> tuple[str, ...] | None:
        """The texts between the stars: one text means no star at all."""
        text = self.read_text("wildcard", operand, here, code)
        if text is None:
            return None
        segments, current, index = [], "", 0
        while index < len(text):
            char, following = text[index], text[index + 1 : index + 2]
            if char == "\\":
                if following not in ("*", "\\"):
                    self.error(
                        "PAT012",
                        here,
                        "a backslash in a wildcard must stand before * or another backslash",
                        r"write \\ for a backslash",
                    )
                    return None
                current += following
                index += 1
            elif char == "*":
                if following == "*":
                    self.error(
                        "PAT012",
                        here,
                        "two * in a row mean no more than one, and EventBridge refuses them",
                        r"write one *; for a star itself write \*",
                    )
                    return None
                segments.append(current)
                current = ""
            else:
                current += char
            index += 1
        return (*segments, current)

    def read_numeric(self, operand: Any, here: Path) -> Probe | None:
        if fault := _numeric_fault(operand):
            step, message = fault
            self.error("PAT010", (*here, *step), message, 'numeric: [">=", 5, "<", 10]')
            return None
        numbers = [int(number) if isinstance(number, int) else float(number) for number in operand[1::2]]
        if len(numbers) == 2 and numbers[0] >= numbers[1]:
            message = "no number is in this range: its lower bound is not less than the upper"
            self.error("PAT011", here, message, 'swap the bounds; for one number write ["=", 5]')
            return None
        pairs = tuple((str(sign), number) for sign, number in zip(operand[::2], numbers, strict=True))
        words = " and ".join(f"{sign} {show(number)}" for sign, number in pairs)
        return Probe("numeric", pairs, f"a number {words}")

    def read_cidr(self, operand: Any, here: Path) -> Probe | None:
        text = self.read_text("cidr", operand, here)
        if text is None:
            return None
        network: IPv4Network | IPv6Network | None = None
        _, _, bits = text.partition("/")
        if bits.isascii() and bits.isdigit() and len(text) <= LONGEST_ADDRESS and "%" not in text:
            try:
                network = ip_network(text, strict=False)
            except ValueError:
                network = None
        if network is None:
            self.error("PAT013", here, f"{quote(text)} is not a network", "cidr: 10.0.0.0/8 or 2001:db8::/32")
            return None
        return Probe("cidr", network, f"an address in {network}")

    def read_anything_but(self, operand: Any, here: Path) -> Probe | None:
        tests: list[Probe] = []
        if isinstance(operand, Mapping):
            name = next(iter(operand), None) if len(operand) == 1 else None
            if name not in ("prefix", "suffix", "wildcard", "equals-ignore-case"):
                self.error(
                    "PAT014",
                    here,
                    "anything-but takes one of prefix, suffix, wildcard, equals-ignore-case",
                    'anything-but: {prefix: "test-"}',
                )
                return None
            at = (*here, str(name))
            texts = self.read_texts(str(name), operand[name], at, "PAT014")
            for index, text in enumerate(texts or ()):
                where = (*at, index) if isinstance(operand[name], list | tuple) else at
                if not text and name in ("prefix", "suffix"):
                    self.error(
                        "PAT014",
                        where,
                        f"every text has the empty {name}: nothing would match",
                        'for "not empty" write anything-but: ""',
                    )
                elif name == "wildcard":
                    segments = self.read_wildcard(text, where, "PAT014")
                    if segments is not None:
                        tests.append(Probe("wildcard", segments, f"like {show(text)}"))
                elif name == "equals-ignore-case":
                    tests.append(Probe(str(name), text.casefold(), f"equal to {show(text)} in any case"))
                else:
                    word = "text starting with" if name == "prefix" else "text ending with"
                    tests.append(Probe(str(name), (text,), f"{word} {show(text)}"))
        elif isinstance(operand, list | tuple):
            if not operand:
                self.error(
                    "PAT006",
                    here,
                    "an empty list excludes nothing, and EventBridge refuses it",
                    "list a value, or write exists: true",
                )
            if not (all(isinstance(each, str) for each in operand) or all(_is_number(each) for each in operand)):
                self.error(
                    "PAT014",
                    here,
                    "the list of anything-but holds only texts or only numbers",
                    "for other conditions use `when`",
                )
                return None
            tests += [test for i, each in enumerate(operand) if (test := self.read_literal(each, (*here, i)))]
        elif (literal := self.read_literal(operand, here)) is not None:
            tests.append(literal)
        if not tests:
            return None
        return Probe("anything-but", tuple(tests), "anything but " + either([test.words for test in tests]))


def _numeric_fault(operand: Any) -> tuple[Path, str] | None:
    """What is wrong with the list of `numeric`, and at which element."""
    if not isinstance(operand, list | tuple):
        return (), f"numeric is a list of a sign and a number, not {kind_of(operand)}"
    if len(operand) not in (2, 4):
        return (), "numeric is a sign and a number, or a range of two such pairs"
    for index in range(0, len(operand), 2):
        sign, number = operand[index], operand[index + 1]
        if not isinstance(sign, str) or sign not in SIGNS:
            hint = {"==": '; equal is "="', "!=": '; for "not equal" use anything-but'}.get(str(sign), "")
            shown = quote(sign) if isinstance(sign, str) else kind_of(sign)
            return (index,), f"{shown} is not one of =, <, <=, >, >={hint}"
        if not _is_number(number):
            return (index + 1,), f"a number must follow {quote(sign)}, not {kind_of(number)}"
    if len(operand) == 4 and (operand[0] not in (">", ">=") or operand[2] not in ("<", "<=")):
        return (), "a range has its lower bound first: > or >=, then < or <="
    return None


def _never(test: Probe, kind: str) -> bool:
    """Whether a field that is always text (or always a number) can never pass."""
    if kind == "text":
        return test.kind in ("number", "numeric") or (test.kind == "literal" and isinstance(test.operand, bool))
    return test.kind not in ("number", "numeric", "exists", "anything-but")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _nearest(word: str, known: Sequence[str]) -> str:
    """The known word that was probably meant, or none."""
    if len(word) > WIDTH:
        return ""
    plain = word.strip().lower().replace("_", "-")
    if known is OPERATORS and (alias := _ALIASES.get(plain) or _ALIASES.get(plain.replace("-", ""))):
        return alias
    squeezed = {name.replace("-", ""): name for name in known}
    near = difflib.get_close_matches(plain.replace("-", ""), squeezed, n=1, cutoff=0.7)
    return squeezed[near[0]] if near else ""


def _looks_like_operator(key: str, values: Sequence[Any]) -> bool:
    if key == "numeric":
        return bool(values) and isinstance(values[0], str) and values[0] in SIGNS
    return key in ("anything-but", "equals-ignore-case")
