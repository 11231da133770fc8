"""The record that a person gives to `connector try`: a file, standard input, flags, or some of each."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from connector.dryrun.encode import Unwritable, record_of
from connector.loading.checks import usual_topic
from connector.loading.complaints import nearest
from connector.loading.yaml_source import SUFFIXES
from connector.model import Record, TopicPartition
from connector.settings import PATTERN_MARK, RecordSettings, Settings
from connector.topics import Topics

__all__ = ["Given", "Unwritable", "parted", "record"]

STDIN: Final = Path("-")


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says of a record: the value's bytes in `file` or `value`, or all of it where `whole`."""

    file: Path | None = None
    value: str | None = None
    topic: str | None = None
    key: str | None = None
    headers: tuple[str, ...] = ()
    timestamp: int | None = None
    whole: bool = False

    @property
    def is_a_record(self) -> bool:
        """Whether it says more than a topic."""
        return self != Given(topic=self.topic)


def parted(paths: Sequence[Path]) -> tuple[list[Path], Path | None]:
    """The configs, and the record: the last path, where it is `-` or neither a directory nor YAML."""
    *before, last = paths
    if before and (last == STDIN or (last.suffix not in SUFFIXES and not os.path.isdir(last))):
        return before, last
    return list(paths), None


def record(
    given: Given, settings: Settings, stdin: BinaryIO, now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> Record:
    """The record that is meant; flags outweigh a whole record's own words. `now` tells epoch milliseconds.

    Raises:
        Unwritable: there is none, two, or one that cannot be.
    """
    if given.file is not None and given.value is not None:
        raise Unwritable("give the value once: RECORD.json or --value")
    if given.file is None and given.value is None:
        raise Unwritable("give a record: RECORD.json, - for standard input, or --value TEXT")
    data = given.value.encode("utf-8", "surrogateescape") if given.value is not None else _read(given.file, stdin)
    said = _whole(data) if given.whole else RecordSettings()
    topic = _topic(given.topic or said.topic, settings)
    if given.whole:
        made = record_of(said, topic, settings.topic(topic), (given.file or STDIN).parent)
    else:
        made = Record(TopicPartition(topic, 0), 0, 0, None, data)
    if given.timestamp is not None or "timestamp" not in said.model_fields_set:
        made = replace(made, timestamp_ms=now() if given.timestamp is None else given.timestamp)
    if given.key is not None:
        made = replace(made, key=given.key.encode("utf-8", "surrogateescape"))
    return replace(made, headers=(*made.headers, *(_header(header) for header in given.headers)))


def _read(file: Path | None, stdin: BinaryIO) -> bytes:
    try:
        return stdin.read() if file is None or file == STDIN else file.read_bytes()
    except OSError as error:
        raise Unwritable(f"{file} cannot be read: {error.strerror or error}") from None


def _whole(data: bytes) -> RecordSettings:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unwritable(f"--whole: the record is not JSON: {error}") from None
    keys = ", ".join(RecordSettings.model_fields)
    if not isinstance(said, dict):
        raise Unwritable(f"--whole: the record is an object with the keys {keys}")
    try:
        return RecordSettings.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            raise Unwritable(f"--whole: unknown key {first['loc'][-1]}; there are {keys}") from None
        place = ".".join(str(step) for step in first["loc"]) or "the record"
        raise Unwritable(f"--whole: {place}: {first.get('ctx', {}).get('error', first['msg'])}") from None


def _topic(said: str | None, settings: Settings) -> str:
    topics = list(dict.fromkeys(topic for route in settings.routes for topic in route.topics))
    topic = said or usual_topic(topics)
    if topic is None:
        raise Unwritable(f"say --topic: the routes read {', '.join(topics)}")
    if not Topics(topics).resolve([topic]).count(topic):
        close = nearest(topic, [one for one in topics if not one.startswith(PATTERN_MARK)])
        mend = f"did you mean {close}?" if close else f"they read {', '.join(topics)}"
        raise Unwritable(f"no route reads the topic {topic}: {mend}")
    return topic


def _header(text: str) -> tuple[str, bytes]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise Unwritable("--header takes NAME=TEXT")
    return name, value.encode("utf-8", "surrogateescape")
