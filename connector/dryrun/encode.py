"""Values become bytes, the way back of `decode`: for records that a person writes, in route tests and dry runs."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from connector.model import Record, TopicPartition
from connector.settings import RecordSettings, TopicSettings


class Unwritable(ValueError):
    """A record as written cannot be a Kafka record; the reason says what to write instead."""


def encode(value: Any, format: str, what: str) -> bytes | None:
    """The bytes that a topic's format would decode to this value; None for None.

    Raises:
        Unwritable: the format has no such value. `what` says in the reason which part of the record it is.
    """
    if value is None:
        return None
    if format in ("json", "cloudevents"):  # of the latter the data, or the whole event, as its headers say
        try:
            # A lone surrogate passes as bytes that no decoder takes, as a broken producer writes it.
            return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError) as error:
            raise Unwritable(f"the {what} has no JSON form: {error}") from None
    if not isinstance(value, str):
        raise Unwritable(f"the {what} is a text here, because its format is {format}: put quotes around it")
    if format == "string":
        return value.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Unwritable(f"the {what} is base64 here, because its format is bytes") from None


def record_of(written: RecordSettings, topic: str, settings: TopicSettings, folder: Path) -> Record:
    """The Kafka record that a person wrote; `folder` is what a `file` is relative to.

    Raises:
        Unwritable: a part has no bytes in its format, or the file cannot be read.
    """
    if written.file is None:
        value = encode(written.value, settings.format, "value")
    else:
        file = folder / written.file
        try:
            value = file.read_bytes()
        except OSError as error:
            raise Unwritable(f"{file} cannot be read: {error.strerror or error}") from None
    headers = tuple(
        (name, None if text is None else text.encode("utf-8", "surrogatepass"))
        for name, text in written.headers.items()
    )
    key = encode(written.key, settings.key_format, "key")
    return Record(TopicPartition(topic, written.partition), written.offset, written.timestamp, key, value, headers)
