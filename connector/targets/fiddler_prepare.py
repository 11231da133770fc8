"""From an event to an entry of Fiddler: a row, or a file that the record names. Pure, and without a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson

from connector.model import Event, Limits, Prepared, Unpublishable
from connector.targets import strict_json
from connector.targets.aws import text, wrong_type
from connector.targets.fiddler_files import S3_URI, line, relative
from connector.targets.fiddler_rows import (
    FORMATS,
    WIRE,
    Destination,
    Format,
    Model,
    Row,
    Shaped,
    moment,
    of_record,
    shape,
    written,
)
from connector.targets.fiddler_settings import MAP, FiddlerSettings

ID_COLUMN: Final = "__event_id"
TIME_COLUMN: Final = "__timestamp"
"""Columns of a file of API v2 for what no field of the row is named for (names of fiddler-client 1.8.6)."""

_TYPICAL: Final = Model("", {}, id_column="event_id", time_column="timestamp")
"""Stands for the model where only the size of a row is asked."""

Source: TypeAlias = Literal["LOCAL_DISK", "AWS_S3"]


@dataclass(frozen=True, slots=True)
class Named:
    """A file that a record names: a path below the directory, or an S3 URI."""

    to: Destination
    path: str
    source: Source
    format: Format = "INFER"
    update: bool | None = None
    batch_id: str | None = None


def prepared(event: Event, settings: FiddlerSettings, limits: Limits) -> Prepared:
    """Make a row, or a file's name.

    The size is that of its JSON or CSV, with an id and a time in columns called `event_id` and `timestamp`.

    Raises:
        Unpublishable: with the field, the reason and a code of ours.
    """
    fields = event.fields
    for key in fields:
        if key not in MAP:
            raise Unpublishable(f"Fiddler does not know this field; it knows {', '.join(MAP)}", key, "UnknownField")
    to = _destination(fields, settings)
    update = _flag(fields, "update_event", settings.update_event)
    form = _format(fields, settings)
    batch_id = settings.batch_id
    if fields.get("batch_id") is not None:
        batch_id = text(fields["batch_id"], "batch_id", 100)
    if (path := _path(fields)) is not None:
        if "event" in fields:
            raise Unpublishable("stands beside a file: map one of them", "event", "Twice")
        named = Named(to, path, _source(path, settings), form, update, batch_id)
        return Prepared(named, len(path.encode()), group=f"file {event.id}")
    row = _row(event, settings, to, update, form, batch_id)
    try:
        size = _size(row, settings)
    except strict_json.Flaw as flaw:
        raise Unpublishable(flaw.reason, f"event{flaw.where}", flaw.code) from None
    if size > limits.entry_bytes:
        raise Unpublishable(f"the event has {size} bytes, {limits.entry_bytes} are allowed", "event", "TooLarge")
    group = f"{method(update)} {to}"
    if settings.publish == "batch":
        group = f"{group} {form} {batch_id or ''}".rstrip()
    return Prepared(row, size, group)


def method(update: bool | None) -> str:
    """POST for new events, PATCH for updates; the two never share a call."""
    return "PATCH" if update else "POST"


def ingest(row: Row) -> dict[str, Any]:
    """The body of `/ingest/event` of API v2."""
    time = row.time if row.given_time or not row.update else None
    return {
        "event": row.values,
        "event_id": row.id,
        "id_field": None,
        "is_update": row.update,
        "event_timestamp": written(time, row.format) if time is not None else None,
        "timestamp_format": WIRE[row.format],
    }


def columns_v2(row: Row, settings: FiddlerSettings) -> dict[str, Any]:
    """A row of a file of API v2, with id and time under the names that the call tells Fiddler."""
    values = dict(row.values)
    values[settings.id_field or ID_COLUMN] = row.id
    if row.time is not None and (row.given_time or not row.update):
        values[settings.timestamp_field or TIME_COLUMN] = written(row.time, row.format)
    return values


def show(body: Row | Named) -> dict[str, Any]:
    """The parameters of the call; which columns id and time go into, only the model can say."""
    shown: dict[str, Any] = {"project_name": body.to.project, "model_name": body.to.model}
    if body.to.version is not None:
        shown["model_version"] = body.to.version
    if isinstance(body, Named):
        shown |= {"events_path": body.path, "data_source": body.source}
    else:
        shown |= {"event": body.values, "event_id": body.id}
        if body.time is not None and (body.given_time or not body.update):
            shown["event_timestamp"] = written(body.time, body.format)
    shown |= {"timestamp_format": body.format, "update_event": bool(body.update)}
    if body.batch_id is not None:
        shown["batch_id"] = body.batch_id
    plain: dict[str, Any] = orjson.loads(strict_json.encode(shown))
    return plain


def _destination(fields: Mapping[str, Any], settings: FiddlerSettings) -> Destination:
    names = (
        _name(fields, "project_name", "project_id", settings.project),
        _name(fields, "model_name", "model_id", settings.model),
    )
    version = fields.get("model_version", settings.model_version)
    return Destination(*names, None if version is None else text(version, "model_version", 200))


def _name(fields: Mapping[str, Any], key: str, alias: str, default: str | None) -> str:
    if key in fields and alias in fields:
        raise Unpublishable(f"and {alias} are one thing: keep {key}", key, "Twice")
    if default and key not in fields and alias not in fields:
        return default
    said = alias if alias in fields else key
    name = text(fields.get(said, default or ""), said, 200)
    if not name:
        raise Unpublishable("is neither mapped nor in the target", said, "Missing")
    if any(character in "/:?#%\\" or not character.isprintable() for character in name):
        raise Unpublishable("is not a name", said, "BadName")
    return name


def _format(fields: Mapping[str, Any], settings: FiddlerSettings) -> Format:
    form: Any = fields.get("timestamp_format", settings.timestamp_format)
    if form not in FORMATS:
        raise Unpublishable(f"must be one of {', '.join(FORMATS)}", "timestamp_format", "NotAllowed")
    found: Format = form
    return found


def _flag(fields: Mapping[str, Any], key: str, default: bool | None) -> bool | None:
    value = fields.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(key, "true or false", value)
    return value


def _path(fields: Mapping[str, Any]) -> str | None:
    if "events_path" in fields and "batch_source" in fields:
        raise Unpublishable("and batch_source are one thing: keep events_path", "events_path", "Twice")
    for key in ("events_path", "batch_source"):
        if fields.get(key) is not None:
            return text(fields[key], key, 1024)
    return None


def _source(path: str, settings: FiddlerSettings) -> Source:
    """Where a path leads; it is safe to open what this lets pass."""
    found: Source = "AWS_S3" if path.startswith("s3://") else "LOCAL_DISK"
    if settings.publish != "batch":
        raise Unpublishable("is for publish: batch", "events_path", "UnknownField")
    if settings.data_source not in (None, found):
        reason = f"is no path of {settings.data_source}, which is data_source of the target"
        raise Unpublishable(reason, "events_path", "BadPath")
    if found == "AWS_S3":
        if not S3_URI.fullmatch(path):
            raise Unpublishable("is not s3://BUCKET/KEY", "events_path", "BadPath")
        return found
    if settings.directory is None:
        raise Unpublishable("needs `directory` in the target, below which files are read", "events_path", "BadPath")
    relative(path)
    return found


def _row(
    event: Event,
    settings: FiddlerSettings,
    to: Destination,
    update: bool | None,
    form: Format,
    batch_id: str | None,
) -> Row:
    fields = event.fields
    values = _values(event)
    identity, where = fields.get("event_id"), "event_id"
    if identity is None and settings.id_field is not None:
        identity, where = values.get(settings.id_field), f"event.{settings.id_field}"
    given_id = identity not in (None, "")
    if update and not given_id:
        raise Unpublishable("is needed: an update finds its event by it", where, "Missing")
    time, at = fields.get("event_timestamp"), "event_timestamp"
    if time is None and settings.timestamp_field is not None:
        time, at = values.get(settings.timestamp_field), f"event.{settings.timestamp_field}"
    given_time = time not in (None, "")
    return Row(
        to=to,
        values=values,
        id=_identity(identity, where) if given_id else event.id,
        time=moment(time, form, at) if given_time else of_record(event.record.timestamp_ms),
        format=form,
        update=update,
        cast=bool(_flag(fields, "casting_type", settings.casting_type)),
        given_id=given_id,
        given_time=given_time,
        batch_id=batch_id,
        moved=tuple(name for name in (settings.id_field, settings.timestamp_field) if name is not None),
    )


def _values(event: Event) -> Mapping[str, Any]:
    """The row: what is mapped, else the record's value, as an object of JSON."""
    value = event.fields.get("event", event.record.value)
    try:
        if isinstance(value, str | bytes):
            value = strict_json.parse(value)
    except strict_json.Flaw as flaw:
        raise Unpublishable(flaw.reason, f"event{flaw.where}", flaw.code) from None
    if not isinstance(value, Mapping):
        raise Unpublishable("must be an object of columns", "event", "NotAnObject")
    return value


def _identity(value: Any, path: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value, path, 1024)


def _size(row: Row, settings: FiddlerSettings) -> int:
    if settings.publish == "event" and settings.api == "v2":
        return len(strict_json.encode(ingest(row)).encode())
    shaped = shape(row, _TYPICAL)
    values = shaped.values if isinstance(shaped, Shaped) else row.values
    size = len(strict_json.encode(values).encode())  # what has no JSON form has none in CSV either
    if settings.publish == "event":
        return size
    cells = columns_v2(row, settings) if settings.api == "v2" else values
    return len(line(cells.values()).encode())
