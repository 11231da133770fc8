"""What each code means, and how to mend it: `connector explain CODE`. The codes of a config, and those of a record."""

from collections.abc import Mapping
from typing import Final

from connector import mapping

EXPLAIN: Final[Mapping[str, str]] = {
    "CFG001": """A file cannot be read.
The path does not exist, its permissions forbid reading, it is not UTF-8, or a directory has no *.yaml in it. Files
that end in _test.yaml are route tests, and are left out of a directory.""",
    "CFG002": """YAML does not parse.
The most frequent cause is a value with ${…} that is not in quotes. YAML gives `: `, ` #`, `{`, `}`, `[`, `]` and `,` a
meaning of its own:
  wrong   DetailType: ${value.paid ? "Paid" : "Open"}
  right   DetailType: '${value.paid ? "Paid" : "Open"}'
  wrong   {Detail: ${value}}
  right   {Detail: '${value}'}
Indent with spaces, never with tabs.""",
    "CFG003": """A key stands twice in one map.
YAML's readers would keep one of them, and not always the same. Keep the one that is meant. Keys that come in by
`<<: *anchor` do not count: what stands in the map itself wins.""",
    "CFG004": """The file is no config.
It is empty, holds a list or a text instead of keys, holds several documents (a line `---` between them), or asks for
another YAML than 1.2. Each document belongs in a file of its own: `connector run a.yaml b.yaml` merges them.""",
    "CFG005": """A tag that cannot stand here.
The tags are !env NAME, !file PATH and !sub "text with ${var}". An expression that begins with `!` must be quoted,
because YAML takes it for a tag:
  wrong   when: !value.test
  right   when: '!value.test'
In `map`, `when` and `each` no tag may stand: expressions never read from outside the config. Give the value a name in
`vars` and write vars.name.""",
    "CFG006": """Two files give the same key.
Maps are merged and routes are appended; anything else may be given by one file only, so that the order of the files
never decides. Targets and topics are given whole by one file.""",
    "CFG007": """!env finds no value.
Set the environment variable, or give a default after a colon: !env "STAGE:dev". An empty default is !env "STAGE:".""",
    "CFG008": """!file finds no text.
The path is relative to the config file in which it stands. One newline at the end of the file is left out.""",
    "CFG009": """!sub knows no such variable.
Between ${ and } stands the name of one of `vars`, or a dotted way into it. $${ is a literal ${. Environment
variables are read with !env.""",
    "CFG010": """A key that is not known here.
Keys that nobody reads are refused, because they are misspelt more often than not. At the top level, keys that begin
with x- are free, for anchors.""",
    "CFG011": """Something that must be said is missing.
It may come from any of the merged files, from `defaults`, or from the environment, such as
CONNECTOR_KAFKA__GROUP_ID.""",
    "CFG012": """A value of the wrong kind, or out of its bounds.
In YAML 1.2 a bare 010 is the number ten and 1.20 is the number 1.2: put quotes around what is meant as a text. NO,
on and yes are texts; only true and false are not.""",
    "CFG013": """A quantity without its unit.
Durations: 200ms, 30s, 5m, 2h, 1d. Sizes: 512B, 256KiB, 64MiB (powers of two), 64kB, 1MB (powers of ten). Rates: 400/s,
1000/m.""",
    "CFG014": """A value that is not one of the choices.
The message lists them.""",
    "CFG015": """No target is of this type.
`type` says which service a target is. The message lists those that this program knows.""",
    "CFG016": """A variable CONNECTOR_… that names no setting.
Names are CONNECTOR_SECTION__KEY, with two underscores between the levels: CONNECTOR_KAFKA__GROUP_ID. Hyphens and
dots of names are underscores: CONNECTOR_TARGETS__ORDERS_BUS__REGION is targets.orders-bus.region. Routes come from
files only.""",
    "CFG020": """Two routes of one name.
The name is part of every redelivery id and of every metric; two routes of one name could not be told apart.""",
    "CFG021": """A route names a target that does not exist, or names one twice.
The names are the keys of `targets`.""",
    "CFG022": """A topic that cannot be consumed.
Kafka's topic names have letters, digits, `.`, `_` and `-`, at most 249. What begins with ^ is a regular expression
(Python's) that must take the whole name: '^shop\\.returns\\..*'.""",
    "CFG023": """A fallback with a pattern.
`fallback: true` runs where no other route of the topic matched; a pattern of its own would let records fall through
again, and nobody would see it. Give the pattern to a plain route.""",
    "CFG024": """A policy says dead_letter, but there is no dead-letter topic.
dead_letter is the default of on_error and on_reject. Either add
  dead_letters: {topic: my-group.dead}
or choose skip or hold, for all routes at once in defaults: {route: {on_error: hold, on_reject: hold}}.""",
    "CFG025": """A route consumes the dead-letter topic.
Each failure would be consumed again and fail again. To send dead letters through the routes again, replay them.""",
    "CFG026": """A batch that can never fill.
A batch waits for more records than may be open, so only `linger` would ever send it. A warning where it fills only with
records of several partitions, because one may not have so many open.""",
    "CFG027": """Times that contradict each other.
drain_timeout < shutdown_timeout: a stop drains first and then commits. drain_timeout < max.poll.interval.ms: a drain
runs inside a rebalance, and a member that takes longer is thrown out of the group. retry.initial <= retry.max.""",
    "CFG028": """Limits that contradict each other.
max_open_per_partition counts records that are not settled, max_uncommitted_per_partition counts these and the settled
ones behind them. The second is never below the first.""",
    "CFG029": """A librdkafka property that the daemon must own.
The promise to lose nothing rests on it, or a setting of the daemon says the same. The message names the setting to
use.""",
    "CFG030": """Settings for a topic that no route consumes.
`topics` says how records are read, not which topics are; usually the name is misspelt.""",
    "CFG031": """A map that does not fit its target.
Each value may be right by itself, but the target's settings forbid what the map makes of it, so that every event would
be refused. For EventBridge: a computed EventBusName needs `event_buses`, the closed list of buses that are looked
after, because PutEvents answers success for a bus that does not exist; a literal one must be event_bus or listed.""",
    "CFG032": """A route test names a route that does not exist.
The keys of `expect` are names of routes. What becomes of a record that no route can even read is said by
  expect: {error: NotJSON}""",
    "CFG033": """A route test whose record no route reads.
`record.topic` is a topic that some route reads. It may be left out where all routes read one and the same topic.""",
    "CFG034": """A file of route tests holds more than tests.
`connector test` reads orders_test.yaml beside orders.yaml, the daemon does not: what else stood in it would count
in the tests and not in the daemon. Only `tests`, `version` and x-… keys may stand there.""",
    "CFG035": """A format that cannot be read as the config stands.
avro, protobuf and json_schema name their schema by an id, so they need `schema_registry` and the extra:
  pip install 'connector[registry]'
AWS Glue serves the text of a Protobuf schema, which only a Protobuf compiler reads; a Confluent registry serves its
descriptor.""",
    "CFG036": """A target would send the bytes of a record that are no JSON.
Where a map leaves out the event itself (Detail of EventBridge, payload of IoT Events), the record's value goes out as
it came. In avro, protobuf and json_schema that is a header and more: write for example Detail: ${value}.""",
    "CFG039": """A dry run that would eat records.
A dry run commits what it has reported, so the group's offsets move on although nothing was sent. It needs a group of
its own, whose kafka.group_id says so with `dry-run` in it, and no target beside it that really sends.""",
    "CFG040": """Targets that share partitions share their fate. (A warning.)
One offset cannot be committed twice: while a target is held, the records it owes keep their partitions from moving on,
and other targets fed by the same partitions stop as soon as the partition's room is full. For full isolation run one
daemon with its own group for each target.""",
    "CFG041": """An ordered target is slow by its nature. (A warning.)
order: key lets one event of a key be under way, order: partition one of a partition: the next one waits for the ack.
The rate is one divided by (a call's time + batch.linger), for each key or partition.""",
    "CFG042": """The service is retired or will be. (A warning.)
It works as long as the service answers.""",
    "CFG043": """A target that no route names. (A warning.)
Nothing is ever sent to it, but its preflight would run.""",
    "CFG044": """Something of a target that works otherwise than one may think. (A warning.)
The message says what. For Fiddler: without model_version its oldest version of the model gets the events.""",
}

OF_RECORDS: Final[Mapping[str, str]] = {
    "NotJSON": """A record's value or key is no JSON, or what a map made has no JSON form.
The whole record follows on_error, once and not by route. Where a topic holds something else, say so: topics: {NAME:
{format: string}}, or bytes; key_format is for the key. NaN, a number beyond a double, half a surrogate pair, a byte
order mark and more than 1024 levels are no JSON either.""",
    "NotUTF8": """Bytes that are no UTF-8, or text that cannot become it.
Of a record's value or key: `format: bytes` (or `key_format: bytes`) gives it as base64 text. Of a target's field: the
text holds half of a surrogate pair, and the service would refuse the whole call for it.""",
    "NotFramed": """Bytes that do not begin as the registry's wire format does.
Confluent's is a zero and four bytes of schema id, AWS Glue's a three, a byte for the compression and sixteen of version
id. The producer may write plain JSON or Avro without a registry, or another registry is meant in `schema_registry`.""",
    "UnknownSchema": """The registry has no schema of the id that a record carries.
The record was written with another registry, or its schema was deleted. Bring the schema back, then replay.""",
    "OtherFormat": """A record's schema is of another type than the topic's format.
Set topics: {NAME: {format: …}} to what the schema is: avro, protobuf or json_schema.""",
    "NotAvro": """Bytes that are not what their Avro schema says.
They are cut or changed, or the producer wrote them with another schema than the one it named.""",
    "NotProtobuf": """Bytes that are not what their Protobuf schema says.
They are cut or changed, or the producer wrote them with another schema than the one it named.""",
    "NotValid": """JSON that is not what its JSON Schema says.
The reason names the keyword that fails and the place, without the value. Mend the producer, or its schema.""",
    "NotCloudEvent": """A record that is no CloudEvent, in a topic whose format is cloudevents.
Structured: the header content-type is application/cloudevents+json, and the value is the event. Binary: headers
ce_specversion, ce_id, ce_source and ce_type, and the value is the data.""",
    "SchemaUnavailable": """The schema registry cannot be asked for a record's schema.
The daemon waits: the partition stops at the record and asks again, with a growing pause. Nothing is lost.""",
    "Unrouted": """No route takes the record, and `unrouted` is not skip.
`connector try` says of each route which condition failed. Add a route, one with fallback: true, or unrouted: skip.""",
    "NoRoute": """A dead letter belongs to a route or a topic that the config no longer has.
A letter owes what its route makes of it: give the route its name again. Or write the record back to its topic with
`connector dead-letters replay --to-source`, if a route reads it.""",
    "NotTaken": """A dead letter's route makes nothing any more of what was buried.
Its match, when or each passes the record by, or it has lost the target. `connector dead-letters show` says which
condition failed. To clear such letters away, let the route take them and set its on_error: skip.""",
    "MissingField": """An expression reads a field that the record does not have.
Where it may be missing, write value.?name: alone in a leaf it drops its key, .orValue(x) says what stands in. Where it
must be there, the record follows on_error.""",
    "WrongType": """A value has another type than the expression, or the field of the target, takes.
Nothing is cast on its own: int(…), double(…), string(…), bool(…) cast, millis(…) makes a time of epoch milliseconds,
json.encode(…) makes text of a list or a map. Null has no fields: value.?a.?b reads through it.""",
    "BadValue": """A value of the right type that cannot be read.
int("abc"), timestamp("yesterday"), json.decode of what is no JSON, text that is no Unicode. Look before you cast:
value.n.matches("^[0-9]+$") ? int(value.n) : 0.""",
    "OutOfRange": """A number, an index or a time beyond what there can be.
list[5] of four elements (list[?5] may be absent), a substring outside its text, a time outside the years 1 to 9999, a
number beyond what the target's field takes.""",
    "DivideByZero": """An int is divided by zero.
Write the choice: value.n == 0 ? 0 : value.sum / value.n. Doubles divide by IEEE 754 and never fail.""",
    "TooLarge": """Too large, for an expression or for the target.
An expression may make values of 16 Mi elements and run loops inside each other for five million steps; `each` may make
10,000 events of a record. A target takes what its service takes: `connector try` prints the size and the limit. Map
less of the record.""",
    "TooDeep": """Lists and maps nest too deep to be compared or written.
Map a part of the record, or write it as text: json.encode(…) of what is inside.""",
    "TooLong": """A text has more characters than the target's field takes.
Shorten it in the map: value.name.substring(0, 100), where every value is that long; or take another field.""",
    "TooMany": """More entries than the target's field takes.
Map the ones that matter, by name.""",
    "Missing": """A field that the target needs is empty or absent.
Say in `map` what stands in for it: ${value.?name.orValue("none")}.""",
    "UnknownField": """A field that the target's API does not have.
Keys of `map` are spelled as the API's reference spells them, in this case too.""",
    "NotAllowed": """A value that is not one of those that the target's field takes.
The message lists them.""",
    "NotFinite": """NaN, Infinity, or a number beyond a double: JSON has none of them.
Divisions of doubles by zero make them. Write a choice around the division.""",
    "NotAnObject": """The target wants a JSON object here.
Put the value under a name: Detail: {lines: '${value.lines}'}.""",
    "MalformedJson": """Text that stands for JSON, and is none.
A text as Detail or payload is sent as it is. Map the value itself, ${value}, and it is written as JSON.""",
    "DuplicateKey": """Text that stands for JSON has an object with the same key twice.
Readers differ in which of the two counts. ${json.decode(value.text)} takes the last one.""",
    "IntegerOutOfRange": """An integer beyond 64 bits.
Other readers would round it. Send it as text: ${string(value.id)}.""",
    "BadTime": """What stands for a time is none.
RFC 3339 text with a zone (2026-01-31T12:00:00Z), or a time: ${millis(value.ms)}, ${timestamp(value.text)}.""",
    "ReservedSource": """EventBridge keeps sources that begin with aws. for AWS services.
Take a name of your own: Source: com.acme.shop.""",
    "BadTraceHeader": """TraceHeader is no AWS X-Ray header.
It looks like Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1.""",
    "BadBusName": """EventBusName is neither the name nor the ARN of an event bus.""",
    "UnlistedBus": """EventBusName was computed, and `event_buses` does not list it.
PutEvents answers success for a bus that does not exist, so only listed buses, which are looked after, are sent to.""",
    "BadInputName": """inputName is no name of an IoT Events input.
Letters, digits, `_`, `.` and `-`.""",
    "BadMessageId": """messageId is not 1 to 64 letters, digits, `_` and `-`.
${uuid5(…)} makes one of any text.""",
    "BadEndpointId": """EndpointId holds `$`, `{` or `}`, which Pinpoint does not take.""",
    "BadName": """A name of a Fiddler project or model that can be none.
It is part of a path or a look-up: no / : ? # % or unprintable character may stand in it.""",
    "BadPath": """What stands for a file of Fiddler leads elsewhere, or nowhere.
A path below `directory` of the target, without .. and not absolute, or s3://BUCKET/KEY; and of the kind that
data_source says, where it says one.""",
    "Twice": """Two fields of a map that are one thing.
project_id is the deprecated name of project_name, model_id of model_name, batch_source of events_path; and a record is
a row (`event`) or names a file. Keep one of the two.""",
    "Uncastable": """A value that is not of its column's data type, and casting_type asks for it.
int and float take numbers and texts of them, bool takes true, false, 1 and 0, a category one of its values. Nothing is
cut to fit.""",
    "UnknownColumns": """A column that the model does not have, and unknown_columns is reject.
Map the columns one by one, or write unknown_columns: warn: then Fiddler drops them, and
connector_warnings_total counts the events.""",
    "NoIdColumn": """The Fiddler model has no event_id_col, so event_id has no place in it.
Updates are held for it, since they would find no event; new events go without their id, with a warning. Onboard the
model with an event_id_col.""",
    "FieldMismatch": """id_field, timestamp_field or group_by of the target is not what the Fiddler model says.
A file that a record names is sent as it is, so its columns must be called as the model has them.""",
    "FileMissing": """A record names a file that cannot be read below `directory` of the target.
It is looked for five times, then the record follows on_reject. Links are not followed: they could lead elsewhere.""",
    "DirectoryMissing": """`directory` of a Fiddler target is not there.
It is no fault of a record that names a file below it, so the target holds until the directory is mounted or
created.""",
    "NotPermitted": """A file that a record names may not be read by this process.
Give its user the right to read what lies below `directory`; the target holds until then.""",
    "JobFailed": """The job of a file failed four times, and half of it again, down to this row.
The detail has Fiddler's reason.""",
    "JobTimeout": """The job of a file has not ended within job_timeout.
The file is sent again, and its rows may be there twice, with the same ids. Raise job_timeout, or make files
smaller.""",
    "ModelMisused": """The routes do something for which the Fiddler model has no place.
The detail says what: an update that maps inputs, outputs or decisions, which Fiddler drops, or a group_by that is not
the model's.""",
    "Unpublishable": """The target could never take this event.
The reason stands beside the code.""",
    "Timeout": """No answer in time.
The service may have taken the events: they are sent again, with the same ids. request_timeout of the target says how
long a call may take.""",
    "ProtocolError": """An answer that cannot be read as an acknowledgement.
Another length than the call's, without the expected keys, no JSON: not acknowledged means not delivered, so the events
are sent again. A proxy between here and the service is the usual cause.""",
    "MSG_SIZE_TOO_LARGE": """The dead-letter topic does not take a record of this size.
Raise the topic's max.message.bytes to what the source topics take, or set dead_letters.oversize: reference.""",
}
"""What is said of one record, event or call: in dead letters, logs, /status and `connector try`. Codes that are neither
here nor above are the service's own words."""

ALL: Final[Mapping[str, str]] = {**EXPLAIN, **mapping.EXPLAIN, **OF_RECORDS}
"""The codes of the config, of its two languages, and of records."""

_FOLDED: Final = {code.upper(): code for code in ALL}


def meant(code: str) -> str | None:
    """The code as it is written, whatever its case; None where there is no such code."""
    return code if code in ALL else _FOLDED.get(code.upper())


def explain(code: str) -> str | None:
    """The explanation of a code, None where there is no such code."""
    return ALL.get(meant(code) or "")
