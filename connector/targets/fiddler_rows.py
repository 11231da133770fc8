"""From an event's fields to the row that Fiddler takes: times, ids, types and columns. Nothing here does I/O.

`prepare` makes a `Row`, which knows no model. `shape` fits it to a model once that was read: id and time go into the
model's own columns, for API v3 has no other place for them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import orjson

from connector.model import Ack, Unpublishable, Verdict
from connector.targets import strict_json
from connector.targets.aws import wrong_type

Format: TypeAlias = Literal["INFER", "EPOCH_MILLISECONDS", "EPOCH_SECONDS", "ISO_8601"]
FORMATS: Final = ("INFER", "EPOCH_MILLISECONDS", "EPOCH_SECONDS", "ISO_8601")

ISO_8601: Final = "%Y-%m-%d %H:%M:%S.%f"

WIRE: Final[Mapping[str, str]] = {
    "INFER": "infer",
    "EPOCH_MILLISECONDS": "epoch milliseconds",
    "EPOCH_SECONDS": "epoch seconds",
    "ISO_8601": ISO_8601,
}
"""What the formats are called in API v2 (fiddler-client 2.5.4, fiddler/constants.py)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_IN_SECONDS: Final = datetime(1975, 1, 1, tzinfo=UTC)
"""A time before it was most likely given in seconds where milliseconds were meant (fiddler-client 1.8.6)."""
_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?\d{1,15}(\.\d{1,9})?", re.ASCII)
_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII | re.IGNORECASE
)

Time: TypeAlias = datetime | str
"""A moment, or a text whose meaning is left to the service (INFER)."""


class Destination(NamedTuple):
    """A model by its names, or by its UUIDs; without a version Fiddler takes the oldest."""

    project: str
    model: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.project}/{self.model}" + (f"@{self.version}" if self.version else "")


@dataclass(frozen=True, slots=True)
class Row:
    """One event of a model, as the map has it.

    `update` is None where nobody said anything. `given_id` and `given_time` tell what was mapped from what stands in
    for it: the redelivery id, the record's timestamp.
    """

    to: Destination
    values: Mapping[str, Any]
    id: str
    time: Time | None
    format: Format = "INFER"
    update: bool | None = None
    cast: bool = False
    given_id: bool = False
    given_time: bool = False
    batch_id: str | None = None
    moved: tuple[str, ...] = ()
    """Fields whose values are the id and the time: the model's own columns take them."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a publisher needs to know of a model. `types` maps its columns to Fiddler's data types."""

    id: str
    types: Mapping[str, str]
    fixed: frozenset[str] = frozenset()
    """Inputs, outputs and decisions: an update cannot change them."""
    needed: frozenset[str] = frozenset()
    """Inputs and outputs."""
    categories: Mapping[str, frozenset[str]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    id_column: str | None = None
    time_column: str | None = None
    time_format: str | None = None
    group_by: str | None = None

    @classmethod
    def of(cls, data: Any) -> "Model":
        """Read the `data` of `GET /v3/models/{id}`.

        Raises:
            ValueError: it is no model.
        """
        try:
            columns = data["schema"]["columns"]
            spec = {key: frozenset(data["spec"].get(key) or ()) for key in ("inputs", "outputs", "decisions")}
            return cls(
                id=str(UUID(data["id"])),
                types={column["name"]: str(column.get("data_type")) for column in columns},
                fixed=spec["inputs"] | spec["outputs"] | spec["decisions"],
                needed=spec["inputs"] | spec["outputs"],
                categories={
                    column["name"]: frozenset(map(str, column["categories"]))
                    for column in columns
                    if column.get("categories")
                },
                bounds={column["name"]: (column.get("min"), column.get("max")) for column in columns},
                id_column=data.get("event_id_col"),
                time_column=data.get("event_ts_col"),
                time_format=data.get("event_ts_format"),
                group_by=(data.get("task_params") or {}).get("group_by"),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("the reply is no model") from None


@dataclass(frozen=True, slots=True)
class Shaped:
    """A row in the model's columns, and a code for what Fiddler will drop of it (empty: nothing)."""

    values: Mapping[str, Any]
    warning: str = ""


def is_uuid(name: str) -> bool:
    """Whether a name is an id, which needs no looking up."""
    try:
        return str(UUID(name)) == name.lower()
    except ValueError:
        return False


def moment(value: Any, form: Format, path: str) -> Time:
    """Read a timestamp of a map by its format; a datetime is one whatever the format.

    INFER takes whole numbers for epoch milliseconds and leaves other texts to the service, as Fiddler's own clients do.

    Raises:
        Unpublishable: WrongType or BadTime.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise Unpublishable("has no time zone", path, "BadTime")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise Unpublishable("is not a time of the calendar", path, "BadTime") from None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong_type(path, "a time, a number or text", value)
    text = value.strip() if isinstance(value, str) else repr(value).removesuffix(".0")
    try:
        match form:
            case "INFER" if isinstance(value, str) and text and not _WHOLE.fullmatch(text):
                return text
            case "INFER" | "EPOCH_MILLISECONDS" if _WHOLE.fullmatch(text):
                return _EPOCH + timedelta(milliseconds=int(text))
            case "EPOCH_SECONDS" if _DECIMAL.fullmatch(text):
                return _EPOCH + timedelta(seconds=float(text) if "." in text else int(text))
            case "ISO_8601" if _ISO.fullmatch(text):
                return _parsed(text)
    except (OverflowError, ValueError):
        raise Unpublishable("is not a time of the calendar", path, "BadTime") from None
    raise Unpublishable(f"is not a time of the format {form}", path, "BadTime")


def _parsed(text: str) -> datetime:
    found = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    return found.replace(tzinfo=UTC) if found.utcoffset() is None else found.astimezone(UTC)


def of_record(timestamp_ms: int) -> datetime | None:
    """The timestamp of a record as a moment, None where it has none of the calendar."""
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms) if timestamp_ms >= 0 else None
    except OverflowError:
        return None


def written(time: Time, form: Format) -> str:
    """The text of a time in a format, as API v2 takes it. A moment under INFER is written as epoch milliseconds."""
    if isinstance(time, str):
        return time
    if form == "ISO_8601":
        return time.strftime(ISO_8601)
    milliseconds = (time - _EPOCH) // timedelta(milliseconds=1)
    if form == "EPOCH_SECONDS":
        seconds, rest = divmod(milliseconds, 1000)
        return f"{seconds}.{rest:03d}" if rest else str(seconds)
    return str(milliseconds)


def _in_column(time: Time, model: Model) -> Any:
    """A time as the model's time column takes it."""
    if isinstance(time, str):
        if model.time_format is None or not _ISO.fullmatch(time):
            return time
        try:
            time = _parsed(time)
        except ValueError:
            return time
    if model.types.get(str(model.time_column)) in ("int", "float"):
        return (time - _EPOCH) // timedelta(milliseconds=1)
    if model.time_format is not None and "%" in model.time_format:
        try:
            return time.strftime(model.time_format)
        except ValueError:  # no format of this platform's: RFC 3339 is the better guess
            pass
    return time.isoformat(timespec="milliseconds" if time.microsecond % 1000 == 0 else "microseconds").replace(
        "+00:00", "Z"
    )


NO_ID_COLUMN: Final = "NoIdColumn"
UNKNOWN_COLUMNS: Final = "UnknownColumns"


def shape(row: Row, model: Model, *, unknown: Literal["warn", "reject"] = "warn") -> Shaped | Ack:
    """Put a row into the model's columns, or say why it cannot be: an Ack that is no delivery.

    A column that the model does not have is sent all the same, for the model may have it by now; Fiddler drops it.
    """
    values = dict(row.values)
    warning = ""
    if row.given_id or not row.update:
        if model.id_column is None:
            if row.update:
                detail = f"{row.to} has no event_id_col, so an update cannot find its event"
                return Ack(Verdict.HOLD, NO_ID_COLUMN, detail)
            warning = NO_ID_COLUMN if row.given_id else ""
        elif row.given_id:
            whole = model.types.get(model.id_column) == "int" and _WHOLE.fullmatch(row.id)
            values[model.id_column] = int(row.id) if whole else row.id
        elif model.types.get(model.id_column) not in ("int", "float"):  # the redelivery id is text
            values.setdefault(model.id_column, row.id)
    # another time would move the event, so an update has none of its own
    wanted = row.given_time or (not row.update and model.time_column not in values)
    if row.time is not None and model.time_column is not None and wanted:
        values[model.time_column] = _in_column(row.time, model)
    known = {*model.types, model.id_column, model.time_column}
    for name in row.moved:
        if name not in known:
            values.pop(name, None)
    if strangers := sorted(name for name in values if name not in known):
        if unknown == "reject":
            return Ack(Verdict.REJECTED, UNKNOWN_COLUMNS, f"{row.to} has no column {', '.join(strangers)[:200]}")
        warning = UNKNOWN_COLUMNS
    if row.cast:
        for name in values:
            try:
                values[name] = cast(values[name], model.types.get(name, ""), model.categories.get(name))
            except ValueError as error:
                return Ack(Verdict.REJECTED, "Uncastable", f"column {name[:100]} {error}")
    return Shaped(values, warning)


def cast(value: Any, kind: str, categories: frozenset[str] | None = None) -> Any:
    """Turn a value into the data type of its column, without losing anything of it.

    Raises:
        ValueError: it is no such value; the message does not repeat it.
    """
    if value is None:
        return None
    try:
        match kind:
            case "int":
                found: Any = _int(value)
            case "float":
                found = float(value)
                if not math.isfinite(found):
                    raise ValueError
            case "bool":
                found = _bool(value)
            case "str" | "category":
                found = _str(value)
            case "vector":
                found = _vector(value)
            case _:
                return value
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"takes {kind}, and the value is none") from None
    if categories is not None and str(found) not in categories:
        raise ValueError("holds a value that is none of its categories")
    return found


def _int(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    if (found := int(value)) not in strict_json.INT64:
        raise ValueError
    return found


def _bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in ("true", "false", "1", "0", "1.0", "0.0"):
        raise ValueError
    return word[0] in "t1"


def _str(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def _vector(value: Any) -> list[float]:
    found = orjson.loads(value) if isinstance(value, str) else value
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise TypeError
    numbers = [float(each) for each in found]
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


class Finding(NamedTuple):
    """What a dry run says of a row, in the form of Fiddler's own reports (fiddler-client 1.8.6)."""

    type: Literal["fatal", "warning"]
    desc: str


def report(row: Row, model: Model, shaped: Shaped | Ack) -> Iterator[Finding]:
    """Everything that is wrong with a row for a model. No value is repeated."""
    if isinstance(shaped, Ack):
        yield Finding("fatal", f"{shaped.code}: {shaped.detail}")
        return
    if isinstance(row.time, datetime) and row.given_time and row.time < _IN_SECONDS:
        yield Finding("warning", "event_timestamp lies before 1975: is it in seconds?")
    if row.time is not None and model.time_column is None:
        yield Finding("warning", "the model has no event_ts_col: event_timestamp is dropped")
    if shaped.warning == NO_ID_COLUMN:
        yield Finding("warning", "the model has no event_id_col: event_id is dropped")
    values = shaped.values
    for name in values:
        if name not in model.types and name not in (model.id_column, model.time_column):
            yield Finding("warning", f"the model has no column {name}: it is dropped")
    if row.update:
        for name in sorted(model.fixed & values.keys()):
            yield Finding("fatal", f"{name} is an input, output or decision, which an update cannot change")
        return
    for name in sorted(model.needed - values.keys()):
        yield Finding("warning", f"{name} is an input or output of the model, and is missing")
    for name, value in values.items():
        yield from _misfits(name, value, model)


_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "vector": (list, tuple),
}


def _misfits(name: str, value: Any, model: Model) -> Iterator[Finding]:
    kind = model.types.get(name, "")
    wanted = _PYTHON.get(kind)
    if value is None or wanted is None:
        if value is not None and name in model.categories and str(value) not in model.categories[name]:
            yield Finding("warning", f"{name} holds a value that is none of its categories")
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "bool"):
        yield Finding("warning", f"{name} takes {kind}, not {type(value).__name__}")
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high = model.bounds.get(name, (None, None))
    below, above = low is not None and value < low, high is not None and value > high
    if below or above:
        yield Finding("warning", f"{name} is out of the model's range")
