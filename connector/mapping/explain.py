"""What each code of patterns, of expressions and of `map` means: `connector explain CODE`."""

from collections.abc import Mapping
from typing import Final

EXPLAIN: Final[Mapping[str, str]] = {
    "PAT001": """A pattern is a map of the record's fields.
They are topic, partition, offset, timestamp, key, headers and value:
  match: {headers: {event-type: [{prefix: "order."}]}, value: {status: [PAID]}}""",
    "PAT002": """An empty map in a pattern.
It says nothing, and EventBridge refuses it. To take every record, leave `match` out. To ask that a field is there,
name something in it: user: {id: [{exists: true}]}.""",
    "PAT003": """A field's name that is no text.
Put the name in quotes.""",
    "PAT004": """A field that no record has.
A record has topic, partition, offset, timestamp (epoch milliseconds), key, headers and value. What the producer sent is
under value. A dot is part of a name, and no path.
  wrong   status: [PAID]        value.status: [PAID]
  right   value: {status: [PAID]}""",
    "PAT005": """Values that are not in a list.
The values of a field are always a list, even when there is one; an operator stands inside that list.
  wrong   status: PAID          status: {prefix: "P"}
  right   status: [PAID]        status: [{prefix: "P"}]""",
    "PAT006": """An empty list.
It could never match, and EventBridge refuses it. List a value, or leave the field out to accept all.""",
    "PAT007": """An operator that does not exist.
There are prefix, suffix, equals-ignore-case, anything-but, numeric, exists, cidr and wildcard, spelled with hyphens.
What they cannot say goes into `when`, which is one CEL condition.""",
    "PAT008": """No operator, or several, in one matcher.
[{prefix: a}, {suffix: z}] means either. Two conditions on one field that must both hold are a wildcard, "a*z", or go
into `when`; a range of numbers is one numeric.""",
    "PAT009": """An operator with an operand of the wrong type.
prefix, suffix, equals-ignore-case, wildcard and cidr take text, exists takes true or false. prefix and suffix also take
a list of texts, or {equals-ignore-case: text}.""",
    "PAT010": """A numeric that cannot be read.
It is a list of a sign in quotes and a number: ["=", 5], [">", 5]; a range has the lower bound first:
[">=", 5, "<", 10]. The signs are = < <= > >=; "not equal" is anything-but.""",
    "PAT011": """A numeric range without any number in it.
The lower bound must be less than the upper one. For one number write ["=", 5].""",
    "PAT012": """A wildcard that cannot be read.
* is any text, also none; EventBridge refuses two in a row, and so do we. \\* is a star and \\\\ a backslash; before
anything else a backslash is refused. In YAML put backslashes into single quotes: '\\*'.""",
    "PAT013": """A cidr that is no network.
An address, a slash, a number of bits: 10.0.0.0/8, 2001:db8::/32.""",
    "PAT014": """An anything-but that cannot be read.
It takes one value, a list of texts or a list of numbers (not mixed), or one of {prefix}, {suffix}, {wildcard},
{equals-ignore-case} with a text or a list of texts. It matches a field that is there and is none of them; it does not
match an absent field.""",
    "PAT015": """$or that is no list of patterns.
It takes at least two, each a pattern for the place where $or stands:
  $or: [{psi: [{numeric: [">", 80]}]}, {alarm: [true]}]""",
    "PAT016": """A field inside $or that is called like an operator.
EventBridge forbids it. If the operator was meant, it goes into the list of a field: name: [{prefix: "a"}].""",
    "PAT017": """Too many combinations of $or.
The branches of all $or of a pattern multiply; EventBridge refuses more than 1000. Split the route, or say it in
`when`.""",
    "PAT018": """A pattern that is too large.
60 objects inside each other, 20000 fields and values. A long list to look up belongs into the service behind the
target.""",
    "PAT019": """A value that no record can have.
A value is text, a number, true, false or null. Infinity and NaN are not JSON.""",
    "PAT020": """A list inside the list of values.
Arrays of the record need nothing special: a field matches when any element does.""",
    "PAT021": """Fields of something that has none, or values of something that has only fields.
topic is text; partition, offset and timestamp are numbers; a header is text. headers is a map: name the header,
headers: {event-type: [created]}.""",
    "PAT022": """This can never match. (A warning.)
topic and headers are text; partition, offset and timestamp are numbers. A header that carries a number is still text:
write "3" in quotes.""",
    "PAT023": """An operator where a field's name stands. (A warning.)
It is read as a field of that name, as in EventBridge.
  wrong   total: {numeric: [">", 5]}
  right   total: [{numeric: [">", 5]}]""",
    "PAT024": """A field that is named twice on one way through $or.
Beside it and inside a branch, or in two $or: EventBridge lets one of the two win without a word. Put the values into
each branch.""",
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
    "MAP016": """A text that the target never takes.
Each event of the route would be refused. The message says which texts it takes, or gives an example.""",
}
