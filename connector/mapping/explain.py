"""What each code of the expression language and of `map` means: `connector explain CODE`."""

from collections.abc import Mapping
from typing import Final

EXPLAIN: Final[Mapping[str, str]] = {
    "CEL001": """An expression is too long.
One expression has at most 4096 characters. Make it several leaves, or compute less of it.""",
    "CEL002": """An expression nests too deep, or chains too long.
Brackets, choices and signs stand in each other at most 60 times; one chain such as a + b + c has at most 250 steps.""",
    "CEL003": """Loops in loops in loops.
map, filter, exists, all and exists_one may stand inside each other twice. `each` makes one event per element, and is
the outer loop more often than not.""",
    "CEL004": """A character that means nothing, or a string that does not end.
Strings stand in "double" or 'single' quotes and end on their line; a triple-quoted string may go over lines.
  wrong   ${value.a = 1}      right   ${value.a == 1}
  wrong   ${value.a & b}      right   ${value.a && b}""",
    "CEL005": """A number or a string escape that cannot be read.
Escapes are \\n \\t \\r \\" \\' \\\\ \\xHH \\uHHHH and so on; r"…" takes backslashes as they are. There are no unsigned
integers: write 1, not 1u.""",
    "CEL006": """The expression does not follow CEL's grammar.
Where it stands in the YAML matters too: quote a leaf that holds `: ` (a choice, a map), ` #`, or that sits in {} or [].
  wrong   DetailType: ${value.paid ? "Paid": "Open"}
  right   DetailType: '${value.paid ? "Paid" : "Open"}'
There is no `and`, `or`, `not`, `if`: write && || ! and condition ? a : b.""",
    "CEL007": """An empty expression.
Between ${ and } stands one expression: ${value}. A literal ${ is written $${.""",
    "CEL010": """A name that is not known.
There are topic, partition, offset, timestamp (epoch milliseconds), key, headers, value and vars; with `each` also item
and index. Fields of the record are read from value: value.status. A header with a hyphen is headers["event-type"].""",
    "CEL011": """A variable that is not defined.
vars.name is a constant of the config: define it under vars. Expressions never read the environment; vars do, with
!env.""",
    "CEL012": """A function that is not known.
The list is in docs/map.md. There is no clock and no chance, because a redelivered record must give the same event.""",
    "CEL013": """Too few or too many arguments.
docs/map.md lists what each function takes.""",
    "CEL014": """A function called in the wrong way.
Some are called on a value, value.name.startsWith("a"), others around it, int(value.n). size and matches take both.""",
    "CEL015": """has() or a macro without what it needs.
has(value.field) takes a field. The macros take a new name first: list.map(x, x.id). For a key that is no name, write
"a-key" in value.""",
    "CEL016": """item and index outside of `each`.
They are the element and its number, and exist only in the map of a route that has `each`.""",
    "CEL020": """An operator that does not take these types.
topic + 1 adds text and a number: write topic + string(1). == between types that are never equal is refused too.
A record's fields may be anything, so that value.n + 1 is tried at run time.""",
    "CEL021": """A function that does not take this type.
int, double, string make one of another; millis makes a timestamp of epoch milliseconds; json.encode makes text of a
list or a map.""",
    "CEL022": """A boolean is needed.
Nothing but true and false counts as such: write value.name != "" or has(value.name), not value.name.""",
    "CEL023": """`each` needs a list.
It makes one event per element: each: ${value.lines}. An absent optional, ${value.?lines}, makes none.""",
    "CEL024": """An optional where a value is needed, or the other way round.
value.?name and value[?"name"] may be absent. .orValue(x) says what stands in, .or(value.?other) tries another. Alone in
a leaf, an absent optional drops its key; in text or in an operation it cannot stand. orValue belongs to an optional
only: write value.?name.orValue("x"), with the question mark.""",
    "CEL025": """Fields or elements of something that has none.
topic is text, partition, offset and timestamp are ints. For parts of the record's time write
millis(timestamp).getFullYear().""",
    "CEL026": """A key that no map can have.
JSON has strings only as keys, each once.""",
    "CEL027": """A literal that cannot work.
int("abc"), a pattern that RE2 refuses, a time zone or a format that does not exist: what is known at load is tried at
load.""",
    "CEL028": """matches() without RE2.
A pattern must take linear time, whatever the record holds; Python's own `re` does not. Install the extra `re2`
(google-re2), or use startsWith, endsWith, contains.""",
    "CEL029": """An argument that must be a literal.
Patterns, time formats and time zones are read when the config is loaded, so that data never chooses them.""",
    "MAP001": """map is no map.
Its keys are the parameters of the target's API, spelled as its reference spells them.""",
    "MAP002": """${ without }.
Close it; write $${ for a literal ${. YAML may have cut the leaf: it ends a plain one at ` #` and, inside {} and [], at
a comma or a bracket. Quote the leaf: '${…}'.""",
    "MAP003": """YAML has made a key of an expression.
`: ` inside a leaf, or {} around it, makes a map. Quote the leaf: '${…}'. Keys are literal: they hold no ${}.""",
    "MAP004": """A map that is too large.
500 leaves, 60 levels. Whole parts of a record are mapped as one: Detail: ${value}.""",
    "MAP006": """A value that has no text in a text.
Lists and maps are written by json.encode(…); null has no text: write a choice.""",
    "MAP008": """A text is needed here.
Keys of a map are texts, and when and each are expressions in text. Quote it.""",
    "MAP009": """A YAML value that is neither text, number nor boolean.
Quote it, and it is text.""",
    "MAP010": """A key that the target does not take.
Keys are spelled as the target's API reference spells them: DetailType, not detail-type.""",
    "MAP011": """A key that the target needs is missing.""",
    "MAP012": """A value of another type than the target takes.
A number for text is quoted or made text by string(…), epoch milliseconds become a time by millis(…).""",
    "MAP013": """A literal that is longer than the target takes.""",
    "MAP014": """A text that is no time.
RFC 3339: 2026-01-31T12:00:00Z, 2026-01-31T12:00:00.5+01:00.""",
    "MAP015": """A needed key that may be absent.
An absent optional drops its key, and the target would refuse the event. Say what stands in: .orValue(…).""",
}
