"""Expressions written by their types: the operands of each operator are chosen for it, so that most have a value.

A rule is one way to use an operator, a function, a macro or a form: the kind of its value, its text, and the kinds of
its operands. A slot `~kind` is not always evaluated (the branch of a choice, the body of a macro): what stands in it is
not counted as evaluated. In a macro it sees its variable, and `~~kind` also that of the macro inside.
"""

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

MACROS: Final = 2
"""Macros inside each other: one more is refused (docs/map.md, "Bounds")."""
DEPTH: Final = 3
"""Operators inside each other, below the one that is wanted."""


class Rule(NamedTuple):
    """`feature` is what is counted, `marks` name deliberate differences that the rule runs into."""

    feature: str
    kind: str
    text: str
    slots: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()
    where: Mapping[str, str] = {}
    """Variables of a macro and their kinds, seen in its lazy slots."""
    needs: frozenset[str] = frozenset()
    """What an implementation must have besides the feature, for this use of it."""


class Scope(NamedTuple):
    """The variables of the macros around an expression, their kinds, and how many macros these are."""

    names: Mapping[str, str] = {}
    loops: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """An expression: `sure` are the features that are evaluated if it has a value, `uses` all of them."""

    text: str
    kind: str
    sure: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    closed: bool = True
    """Whether it may stand as an operand without brackets."""


def rule(
    feature: str,
    kind: str,
    text: str,
    *slots: str,
    marks: str = "",
    where: Mapping[str, str] | None = None,
    needs: str = "",
) -> Rule:
    """A rule, with its words in text."""
    return Rule(feature, kind, text, slots, frozenset(marks.split()), where or {}, frozenset([needs] if needs else []))


def _operators() -> Iterable[Rule]:
    for kind in ("int", "double"):
        for sign in "+-*/":
            yield rule(sign, kind, f"{{}} {sign} {{}}", kind, kind)
    for sign in "+-*/":
        yield rule(sign, "double", f"{{}} {sign} {{}}", "int", "double", marks="mixed")
        yield rule(sign, "double", f"{{}} {sign} {{}}", "double", "int", marks="mixed")
    yield rule("%", "int", "{} % {}", "int", "int")
    yield rule("- (sign)", "int", "-{}", "int")
    yield rule("- (sign)", "double", "-{}", "double")
    for kind in ("string", "bytes", "ints", "strings", "duration"):
        yield rule("+", kind, "{} + {}", kind, kind)
    yield rule("+", "timestamp", "{} + {}", "timestamp", "duration")
    yield rule("+", "timestamp", "{} + {}", "duration", "timestamp", needs="duration + timestamp")
    yield rule("-", "timestamp", "{} - {}", "timestamp", "duration")
    yield rule("-", "duration", "{} - {}", "timestamp", "timestamp")
    yield rule("-", "duration", "{} - {}", "duration", "duration")
    kinds = ("int", "double", "string", "bool", "bytes", "timestamp", "duration")
    for sign in ("==", "!=", "<", "<=", ">", ">="):
        for kind in kinds:
            yield rule(sign, "bool", f"{{}} {sign} {{}}", kind, kind)
        yield rule(sign, "bool", f"{{}} {sign} {{}}", "field int", "field double")
    for sign in ("==", "!="):
        for kind in ("ints", "strings", "map", "objects"):
            yield rule(sign, "bool", f"{{}} {sign} {{}}", kind, kind)
        yield rule(sign, "bool", f"{{}} {sign} null", "any")
        yield rule(sign, "bool", f"{{}} {sign} null", "null")
        yield rule(sign, "bool", f"{{}} {sign} {{}}", "any", "any")
    yield rule("in", "bool", "{} in {}", "int", "ints")
    yield rule("in", "bool", "{} in {}", "string", "strings")
    yield rule("in", "bool", "{} in {}", "name", "map")
    yield rule("in", "bool", "{} in {}", "any", "mixed")
    yield rule("&&", "bool", "{} && {}", "bool", "~bool")
    yield rule("||", "bool", "{} || {}", "bool", "~bool")
    yield rule("&&", "bool", "{} && {} && {}", "bool", "~bool", "~bool")
    yield rule("||", "bool", "{} || {} || {}", "bool", "~bool", "~bool")
    yield rule("!", "bool", "!{}", "bool")
    for kind in ("int", "double", "string", "bool", "timestamp", "ints", "strings", "map"):
        yield rule("?:", kind, "{} ? {} : {}", "bool", f"~{kind}", f"~{kind}")


def _selection() -> Iterable[Rule]:
    for kind in ("int", "double", "string", "bool", "ints", "strings", "map", "any"):
        yield rule("field", kind, "{}", f"field {kind}")
        yield rule(".?", f"optional {kind}", "{}", f"maybe {kind}")
        yield rule("orValue", kind, "{}.orValue({})", f"optional {kind}", f"~{kind}")
        yield rule("or", f"optional {kind}", "{}.or({})", f"optional {kind}", f"optional {kind}")
    yield rule("index", "int", "{}[{}]", "ints", "place")
    yield rule("index", "string", "{}[{}]", "strings", "place")
    yield rule("index", "any", "{}[{}]", "mixed", "place")
    yield rule("index", "int", "{}[{}]", "counts", "name")
    yield rule("index", "string", "{}[0].sku", "objects")
    yield rule("[?]", "optional int", "{}[?{}]", "ints", "place")
    yield rule("[?]", "optional string", "{}[?{}]", "strings", "place")
    yield rule("[?]", "optional int", "{}[?{}]", "counts", "name")
    yield rule("has", "bool", "has({})", "path")
    yield rule("has", "bool", "has({}.a)", "counts")
    yield rule("[a, ?b]", "ints", "[{}, ?{}]", "int", "dotted int")
    yield rule("{?k: v}", "map", '{{"a": {}, ?"b": {}}}', "int", "dotted string")
    for kind in ("string", "strings", "int"):
        yield rule(".?", f"optional {kind}", "{}.?x.y", f"maybe {kind}", marks="beyond")


def _literals() -> Iterable[Rule]:
    for kind in ("int", "double", "string", "bytes", "bool", "null"):
        yield rule(f"{kind} literal", kind, "{}", f"literal {kind}")
    yield rule("list literal", "ints", "[{}, {}]", "int", "int")
    yield rule("list literal", "strings", "[{}, {}]", "string", "string")
    yield rule("list literal", "mixed", "[{}, {}, {}]", "any", "any", "int")
    yield rule("map literal", "map", '{{"a": {}, "b": {}}}', "int", "any")
    yield rule("map literal", "map", '{{"a": {{"b": {}}}}}', "int")
    yield rule("map literal", "counts", '{{"a": {}, "b": {}}}', "int", "int")
    yield rule("map literal", "single", "{{{}: {}}}", "name", "int")


def _macros() -> Iterable[Rule]:
    for kind, element in (("ints", "int"), ("strings", "string"), ("objects", "object")):
        seen = {"x": element}
        for macro in ("exists", "all", "exists_one"):
            yield rule(macro, "bool", f"{{}}.{macro}(x, {{}})", kind, "~bool", where=seen)
        yield rule("filter", kind, "{}.filter(x, {})", kind, "~bool", where=seen)
        for made, body in (("ints", "~int"), ("strings", "~string")):
            yield rule("map", made, "{}.map(x, {})", kind, body, where=seen)
            yield rule("map with a condition", made, "{}.map(x, {}, {})", kind, "~bool", body, where=seen)
    yield rule("exists", "bool", "{}.exists(x, {})", "counts", "~bool", where={"x": "string"})
    yield rule("all", "bool", "{}.all(x, {})", "counts", "~bool", where={"x": "string"})
    yield rule("exists_one", "bool", "{}.exists_one(x, {})", "counts", "~bool", where={"x": "string"})
    yield rule("map", "strings", "{}.map(x, x)", "single", where={"x": "string"})
    yield rule("filter", "strings", "{}.filter(x, {})", "single", "~bool", where={"x": "string"})
    yield rule("map", "any", "{}.map(x, {}.map(y, {}))", "ints", "~ints", "~~int", where={"x": "int", "y": "int"})
    yield rule(
        "exists",
        "bool",
        "{}.exists(x, {}.exists(y, {}))",
        "ints",
        "~strings",
        "~~bool",
        where={"x": "int", "y": "string"},
    )


def _conversions() -> Iterable[Rule]:
    for kind in ("string", "ints", "strings", "map", "bytes", "mixed"):
        yield rule("size", "int", "size({})", kind)
        yield rule("size", "int", "{}.size()", kind)
    for kind in ("int", "double", "timestamp", "digits"):
        yield rule("int", "int", "int({})", kind)
    for kind in ("int", "double", "decimal"):
        yield rule("double", "double", "double({})", kind)
    for kind in ("int", "string", "timestamp", "duration", "utf8"):
        yield rule("string", "string", "string({})", kind)
    yield rule("string", "string", "string({})", "short")
    yield rule("string", "string", "string({})", "double", marks="digits")
    yield rule("string", "string", "string({})", "bool", marks="bool-text", needs="string of a boolean")
    yield rule("bool", "bool", "bool({})", "bool")
    yield rule("bool", "bool", "bool({})", "truth")
    for kind in ("string", "bytes"):
        yield rule("bytes", "bytes", "bytes({})", kind)
    for kind in ("int", "string", "ints"):
        yield rule("dyn", kind, "dyn({})", kind)
    yield rule("timestamp", "timestamp", "timestamp({})", "rfc3339")
    yield rule("timestamp", "timestamp", "timestamp({})", "timestamp", needs="timestamp of a timestamp")
    yield rule("timestamp", "timestamp", "timestamp({})", "seconds", needs="timestamp of seconds")
    for kind in ("span", "duration"):
        yield rule("duration", "duration", "duration({})", kind)


def _times() -> Iterable[Rule]:
    days = ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek")
    hours = ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
    for name in (*days, *hours):
        yield rule(name, "int", f"{{}}.{name}()", "timestamp")
        yield rule(name, "int", f"{{}}.{name}({{}})", "timestamp", "zone", needs="zone")
    for name in hours:
        yield rule(name, "int", f"{{}}.{name}()", "duration")
    yield rule("millis", "timestamp", "millis({})", "epoch")
    yield rule("epochMillis", "int", "epochMillis({})", "timestamp")
    yield rule("formatTime", "string", "formatTime({}, {})", "timestamp", "format")


def _texts() -> Iterable[Rule]:
    for name in ("startsWith", "endsWith", "contains"):
        yield rule(name, "bool", f"{{}}.{name}({{}})", "string", "string")
        yield rule(name, "bool", f"{{}}.{name}({{}})", "string", "part")
    for name in ("lowerAscii", "upperAscii", "trim"):
        yield rule(name, "string", f"{{}}.{name}()", "string")
    yield rule("split", "strings", "{}.split({})", "string", "part")
    yield rule("split", "strings", "{}.split({}, {})", "string", "part", "limit")
    yield rule("join", "string", "{}.join()", "strings")
    yield rule("join", "string", "{}.join({})", "strings", "string")
    yield rule("replace", "string", "{}.replace({}, {})", "string", "part", "string")
    yield rule("replace", "string", "{}.replace({}, {}, {})", "string", "part", "string", "limit")
    yield rule("substring", "string", "{}.substring({})", "long", "place")
    yield rule("substring", "string", "{}.substring({}, {})", "long", "place", "end")
    yield rule("indexOf", "int", "{}.indexOf({})", "string", "part")
    yield rule("indexOf", "int", "{}.indexOf({}, {})", "long", "part", "place")
    yield rule("matches", "bool", "{}.matches({})", "string", "pattern")
    yield rule("matches", "bool", "matches({}, {})", "string", "pattern", needs="matches as a function")
    for name in ("uuid5", "sha256"):
        yield rule(name, "string", f"{name}({{}})", "string")
    yield rule("sha256", "string", "sha256({})", "bytes")
    for kind in ("int", "string", "bool", "ints", "strings", "single"):
        yield rule("json.encode", "string", "json.encode({})", kind)
    yield rule("json.decode", "any", "json.decode({})", "json")
    yield rule("json.decode", "any", "json.decode(json.encode({}))", "any")
    yield rule("base64.encode", "string", "base64.encode({})", "bytes")
    yield rule("base64.encode", "string", "base64.encode({})", "string", marks="wider")
    yield rule("base64.decode", "bytes", "base64.decode({})", "base64")
    yield rule("base64.decode", "bytes", "base64.decode(base64.encode({}))", "bytes")
    yield rule("merge", "map", "merge({}, {})", "map", "map")
    yield rule("merge", "map", "merge({}, {})", "counts", "single")


def _maths() -> Iterable[Rule]:
    for name in ("math.greatest", "math.least"):
        for kind in ("int", "double"):
            yield rule(name, kind, f"{name}({{}}, {{}})", kind, kind)
            yield rule(name, kind, f"{name}({{}}, {{}}, {{}})", kind, kind, kind)
        yield rule(name, "any", f"{name}({{}}, {{}})", "int", "double")
        yield rule(name, "int", f"{name}([{{}}, {{}}])", "int", "int")
    for kind in ("int", "double"):
        yield rule("math.abs", kind, "math.abs({})", kind)
    for name in ("math.ceil", "math.floor", "math.round"):
        yield rule(name, "double", f"{name}({{}})", "double")
        yield rule(name, "double", f"{name}({{}})", "int", marks="wider")


def _beyond() -> Iterable[Rule]:
    """What a deliberate difference is about, and nothing else is."""
    yield rule("map literal", "any", "{{{}: 1}}", "int", marks="keys")
    yield rule("?:", "any", "{} ? {} : {}", "bool", "~int", "~string", marks="branches")
    yield rule("==", "bool", "{} == null", "int", marks="branches")
    yield rule(".?", "string", "{}.?x.orValue({})", "field null", "~string", marks="null")
    yield rule("matches", "bool", "{}.matches({})", "string", "field string", marks="computed")
    yield rule("getHours", "int", "{}.getHours({})", "timestamp", "field zone", marks="computed", needs="zone")
    yield rule("int literal", "any", "{}u", "digit", marks="unsigned")
    yield rule("dyn", "bool", "type({}) == int", "int", marks="unsigned")
    yield rule("string", "string", "string(timestamp('2026-01-31T12:00:00.12345678{}Z'))", "digit", marks="nanoseconds")


RULES: Final[tuple[Rule, ...]] = (
    *_operators(),
    *_selection(),
    *_literals(),
    *_macros(),
    *_conversions(),
    *_times(),
    *_texts(),
    *_maths(),
)
BEYOND: Final = tuple(_beyond())
FEATURES: Final = tuple(dict.fromkeys(each.feature for each in RULES))

_BINDING: Final = frozenset(
    {"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "?:", "!", "- (sign)"}
)
_ALPHABET: Final = "ab,. -Z9éß😀"
_NAMES: Final = ("a", "b", "c", "n")
_ZONES: Final = ("UTC", "+02:00", "-05:30", "Europe/Oslo", "America/New_York", "Asia/Kolkata")
_PATTERNS: Final = ("^a", "b+$", "[a-z]+", "^[^,]*,", "a.b", "", "(?i)z", "\\\\d", "^$", "é")
_FORMATS: Final = ("%Y-%m-%d", "%H:%M:%S.%L", "%d/%b/%y %I:%M %p", "%A %j %B %a", "%s", "%f%z%%", "day %d")
_JSON: Final = ("[1, 2.5, null]", '{"a": {"b": [true, "x"]}}', '"text"', "12", "-1.5e3", "[]", '[{"é": "\\u00e9"}]')
_WRONG: Final = 0.02
"""How often an operand is of another kind than the operator takes."""


def record(random: Random) -> dict[str, Any]:
    """A value for the fields that expressions read: the same names and kinds, other contents."""
    return {
        **{f"i{number}": _int(random) for number in range(3)},
        **{f"d{number}": _double(random) for number in range(3)},
        **{f"s{number}": _text(random) for number in range(4)},
        "pattern": random.choice(_PATTERNS).replace("\\\\", "\\"),
        "zone": random.choice(_ZONES),
        "t": True,
        "f": False,
        "nil": None,
        "ints": [_int(random) for _ in range(random.randint(1, 5))],
        "few": [random.randint(-3, 3) for _ in range(random.randint(0, 3))],
        "strings": [_text(random) for _ in range(random.randint(1, 4))],
        "mixed": [1, 2.5, "a", None, True, [1], {"a": 1}],
        "counts": {name: random.randint(-9, 9) for name in random.sample(_NAMES, 3)},
        "nested": {"a": {"b": {"c": random.randint(0, 9)}}, "b": None, "n": 1},
        "objects": [
            {"sku": _text(random), "qty": random.randint(0, 4), **({"price": 2.5} if random.random() < 0.7 else {})}
            for _ in range(random.randint(1, 4))
        ],
        "at": _rfc3339(random),
        "span": _span(random),
    }


def _int(random: Random) -> int:
    if random.random() < 0.03:
        return random.choice((2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 10**18))
    return random.choice((0, 1, 2, 3, -1, 7, 10, 100, random.randint(-1000, 1000), random.randint(-(2**40), 2**40)))


def _double(random: Random) -> float:
    if random.random() < 0.05:
        return random.choice((1e300, -1e-300, 9007199254740993.0, 5e-324, 0.1 + 0.2))
    return random.choice((0.0, 0.5, -0.5, 1.0, 2.5, -2.5, 3.75, 100.0, random.randint(-800, 800) / 8))


def _text(random: Random) -> str:
    return "".join(random.choice(_ALPHABET) for _ in range(random.choice((0, 1, 2, 3, 5, 8))))


def _rfc3339(random: Random) -> str:
    year = random.choice((1970, 1999, 2000, 2024, 2026, 2038))
    date = f"{year}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    time = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    return (
        date
        + "T"
        + time
        + random.choice(("", "", ".5", ".250", ".123456"))
        + random.choice(("Z", "Z", "+01:00", "-05:30"))
    )


def _span(random: Random) -> str:
    sign, amount = random.choice(("", "", "-")), random.choice(("0", "1", "1.5", "90", "36"))
    return sign + amount + random.choice(("h", "m", "s", "ms", "s", "m30s", "h2m3s"))


def quoted(random: Random, text: str) -> str:
    """A text as one of CEL's string literals."""
    if random.random() < 0.15 and not set(text) & set("\"'\\"):
        return random.choice((f"r'{text}'", f"'''{text}'''", f'"""{text}"""', f'R"{text}"'))
    written = json.dumps(text, ensure_ascii=random.random() < 0.2 and all(ord(each) < 0x10000 for each in text))
    return written if random.random() < 0.6 or "'" in text or '"' in text else "'" + written[1:-1] + "'"


class Generator:
    """Makes expressions; the same seed makes the same ones."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._by_kind: dict[str, list[Rule]] = {}
        self._by_feature: dict[str, list[Rule]] = {}
        for each in RULES:
            self._by_kind.setdefault(each.kind, []).append(each)
            self._by_feature.setdefault(each.feature, []).append(each)

    def of(self, feature: str, depth: int = DEPTH) -> Made:
        """An expression whose value needs this feature."""
        return self._whole(
            self.apply(self.random.choice(self._by_feature[feature]), self.random.randint(0, depth), Scope())
        )

    def beyond(self) -> Made:
        """An expression that shows a deliberate difference."""
        return self._whole(self.apply(self.random.choice(BEYOND), 1, Scope()))

    def _whole(self, made: Made) -> Made:
        """An optional is no value: something stands in for it."""
        if not made.kind.startswith("optional "):
            return made
        kind = made.kind.removeprefix("optional ")
        return self._join(
            rule("orValue", kind, "{}.orValue({})"), [made, self.make(kind, 0, Scope())], lazy=[False, True]
        )

    def make(self, kind: str, depth: int, scope: Scope) -> Made:
        """An expression of a kind; a leaf where `depth` is used up."""
        if self.random.random() < _WRONG and not kind.startswith(("optional", "maybe", "dotted", "path", "field")):
            kind = self.random.choice(("int", "double", "string", "bool", "ints", "single", "null", "timestamp"))
            return self._marked(self.make(kind, 0, scope), "wrong")
        if kind == "any":
            kind = self.random.choice(("int", "double", "string", "bool", "null", "ints", "map"))
        rules = [each for each in self._by_kind.get(kind, []) if scope.loops + len(each.where) <= MACROS]
        if depth <= 0 or not rules or self.random.random() < 0.25:
            return self.atom(kind, scope)
        return self.apply(self.random.choice(rules), depth - 1, scope)

    def apply(self, chosen: Rule, depth: int, scope: Scope) -> Made:
        """One use of a rule."""
        operands = []
        for slot in chosen.slots:
            kind = slot.lstrip("~")
            loops = 0 if kind == slot or not chosen.where else len(slot) - len(kind)
            seen = dict(list(chosen.where.items())[:loops])
            operands.append(self.make(kind, depth, Scope({**scope.names, **seen}, scope.loops + loops)))
        return self._join(chosen, operands, [slot.startswith("~") for slot in chosen.slots])

    def _join(self, chosen: Rule, operands: Sequence[Made], lazy: Sequence[bool]) -> Made:
        bare = chosen.feature in _BINDING and self.random.random() < 0.05
        written = [
            each.text if each.closed or bare or self._bracketed(chosen) else f"({each.text})" for each in operands
        ]
        # Without brackets the text may mean something else, and its features may not be evaluated.
        loose = bare and any(not each.closed for each in operands)
        sure = {chosen.feature} if not loose else set()
        for operand, later in zip(operands, lazy, strict=True):
            if not later and not loose:
                sure |= operand.sure
        return Made(
            chosen.text.format(*written),
            chosen.kind,
            frozenset(sure),
            (chosen.needs | {chosen.feature}).union(*(each.uses for each in operands)),
            chosen.marks.union(*(each.marks for each in operands)) | (frozenset({"loose"}) if loose else frozenset()),
            closed=chosen.feature not in _BINDING,
        )

    @staticmethod
    def _bracketed(chosen: Rule) -> bool:
        """Whether the text of a rule closes off its operands by itself."""
        return chosen.text.endswith("({})") and chosen.text.count("{}") == 1

    @staticmethod
    def _marked(made: Made, mark: str) -> Made:
        return Made(made.text, made.kind, made.sure, made.uses, made.marks | {mark}, made.closed)

    def atom(self, kind: str, scope: Scope) -> Made:
        """A field, a variable of a macro, a name of the record, or a literal."""
        names = [name for name, held in scope.names.items() if held == kind]
        if names and self.random.random() < 0.7:
            return Made(self.random.choice(names), kind)
        if kind.startswith(("field ", "maybe ", "dotted ")):
            return self._field(kind)
        if kind.startswith("optional "):
            return self.apply(rule(".?", kind, "{}", f"maybe {kind.removeprefix('optional ')}"), 0, scope)
        if "object" in scope.names.values() and kind in ("int", "string", "double") and self.random.random() < 0.7:
            name = next(name for name, held in scope.names.items() if held == "object")
            return Made(f"{name}.{({'int': 'qty', 'string': 'sku', 'double': 'price'})[kind]}", kind)
        return self._made(kind)

    def _field(self, kind: str) -> Made:
        sort, _, held = kind.partition(" ")
        names = {
            "int": ("i0", "i1", "i2"),
            "double": ("d0", "d1", "d2"),
            "string": ("s0", "s1", "s2", "s3"),
            "bool": ("t", "f"),
            "ints": ("ints", "few"),
            "strings": ("strings",),
            "map": ("counts", "nested"),
            "any": ("i0", "d1", "s0", "t", "nil", "ints"),
            "null": ("nil",),
            "zone": ("zone",),
        }[held]
        name = self.random.choice(names)
        if sort != "field":
            name = self.random.choice((name, "gone"))
            if sort == "dotted" or self.random.random() < 0.5:
                return Made(f"value.?{name}", held, frozenset({".?"}), frozenset({".?"}))
            return Made(f"value[?'{name}']", held, frozenset({"[?]"}), frozenset({"[?]"}))
        if held == "string" and name == "s3" and self.random.random() < 0.5:
            name = "pattern"
        if self.random.random() < 0.01:
            name = "gone"
        return Made(
            self.random.choice((f"value.{name}", f"value['{name}']", f"value.{name}")), held, frozenset({"field"})
        )

    def _made(self, kind: str) -> Made:
        random = self.random
        if kind in ("int", "double", "string", "bool", "ints", "strings") and random.random() < 0.55:
            return self._field(f"field {kind}")
        feature = frozenset({f"{kind} literal"})
        text, sure = "", frozenset[str]()
        match kind.removeprefix("literal "):
            case "int":
                text, sure = (
                    random.choice((str(_int(random)), hex(random.randint(0, 300)), "partition", "offset")),
                    feature,
                )
            case "double":
                text = random.choice((repr(_double(random)), "1e3", ".5", "2.5E-1", repr(random.randint(0, 80) / 8)))
                sure = feature
            case "string" if random.random() < 0.1:
                text = random.choice(("topic", "key", "headers.type", "headers['type']"))
            case "string":
                text, sure = quoted(random, random.choice((_text(random), "a\\b", "x\ny\t'"))), feature
            case "bool":
                text, sure = random.choice(("true", "false")), feature
            case "null":
                text, sure = random.choice(("null", "null", "value.nil")), feature
            case "bytes":
                text, sure = random.choice((f"b{quoted(random, 'abé')}", "b'\\xff\\x00'", "b''", "br'\\x41'")), feature
            case "ints":
                text = "[" + ", ".join(str(_int(random)) for _ in range(random.randint(0, 3))) + "]"
                sure = frozenset({"list literal"})
            case "strings":
                text = "[" + ", ".join(quoted(random, _text(random)) for _ in range(random.randint(1, 3))) + "]"
                sure = frozenset({"list literal"})
            case "mixed":
                text = random.choice(("value.mixed", "[1, 'a', null]", "[[1], {'a': 1}, 2.5]"))
            case "map":
                text = random.choice(
                    ("value.counts", "value.nested", "{}", "{'a': 1, 'b': {'c': null}}", "value.nested.a")
                )
            case "counts":
                text = "value.counts"
            case "single":
                text = random.choice(("{'a': 1}", "value.nested.a", '{"é": 2}'))
            case "objects":
                text = "value.objects"
            case "object":
                text = "value.objects[0]"
            case "timestamp":
                return self.apply(rule("timestamp", kind, "timestamp({})", "rfc3339"), 0, Scope())
            case "duration":
                return self.apply(rule("duration", kind, "duration({})", "span"), 0, Scope())
            case "path":
                text = "value." + random.choice(
                    ("i0", "nil", "gone", "nested.a", "nested.gone", "counts.a", "nested.a.b")
                )
            case special:
                wrong = random.random() < 0.05
                text = random.choice(_WRONGS[special] if wrong and special in _WRONGS else self._special(special))
                return Made(text, kind, marks=frozenset({"wrong"} if wrong else ()), closed=not text.startswith("-"))
        return Made(text, kind, sure, sure, closed=not text.startswith("-"))

    def _special(self, kind: str) -> Sequence[str]:
        """Operands that a function needs to have a value: digits for int(), a place inside a list."""
        random = self.random
        choices: dict[str, Sequence[str]] = {
            "name": [f"'{random.choice(_NAMES)}'", f'"{random.choice(_NAMES)}"'],
            "place": ["0", "0", "0", "1"],
            "end": ["2", "3", "3"],
            "limit": ["-1", "0", "1", "2", "3", "100"],
            "digit": string.digits,
            "digits": [f"'{_int(random)}'", "'007'"],
            "decimal": [f"'{_double(random)!r}'", "'1e3'", "'-2'", "'NaN'", "'.5'", "'5.'"],
            "short": ["1.5", "-2.25", "0.5", "100.25"],
            "utf8": ["b'abc'", 'b"é"', "bytes(value.s0)"],
            "truth": ["'true'", "'True'", "'TRUE'", "'t'", "'1'", "'false'", "'False'", "'FALSE'", "'f'", "'0'"],
            "rfc3339": ["value.at", quoted(random, _rfc3339(random))],
            "span": ["value.span", quoted(random, _span(random))],
            "seconds": [str(random.randint(-(10**9), 2 * 10**9)), "0", "timestamp / 1000"],
            "epoch": [str(random.randint(0, 2 * 10**12)), "timestamp", "timestamp + 1"],
            "zone": [f"'{random.choice(_ZONES)}'", "'+02:00'"],
            "format": [f"'{random.choice(_FORMATS)}'"],
            "part": [quoted(random, random.choice((",", "a", "ab", "é", "", "😀", "."))), "value.s1"],
            "long": ["'abcdef'", "'a,é😀b,c'", "(value.s0 + 'abcd')", "'été, abc'"],
            "pattern": [f"'{random.choice(_PATTERNS)}'"],
            "json": [quoted(random, random.choice(_JSON)), "json.encode(value.ints)"],
            "base64": ["'aGk='", "'aGk'", "''", "'/+8='", "base64.encode(b'\\xff')"],
        }
        return choices[kind]


_WRONGS: Final[Mapping[str, Sequence[str]]] = {
    "place": ["-1", "9", "value.few.size()", "99"],
    "end": ["99", "0", "-1"],
    "digits": ["'x'", "''", "' 1'", "'1.5'", "'0x1F'", "'1_0'", "'+5'"],
    "decimal": ["'x'", "''", "'1,5'", "'1_0'", "'inf'", "'-inf'", "'Infinity'"],
    "utf8": ["b'\\xff'", "b'\\xc3'"],
    "truth": ["'yes'", "'tRUE'", "''", "'T'", "'F'"],
    "rfc3339": ["'2026-02-30T00:00:00Z'", "'2026-01-01'", "'now'", "'2026-01-01T00:00:00'", "'2026-01-01 00:00:00Z'"],
    "span": ["'1d'", "''", "'5'", "'h'", "'1h-1m'"],
    "zone": ["'Nowhere/Land'"],
    "json": ["'{'", "'nul'", "''"],
    "base64": ["'!'", "'a'", "'aGk$'"],
}
"""Operands that a function refuses, or that implementations may not agree about."""
