"""One JSON line per event on standard output, for trying things out."""

import asyncio
import base64
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self

import orjson
from pydantic import Field

from connector.model import Ack, Batch, Event, Health, Limits, Preflight, Prepared, Unpublishable, Verdict
from connector.targets.contract import Kind, Leaf
from connector.targets.settings import TargetSettings

LIMITS: Final = Limits(entries=500, bytes=2**24, entry_bytes=2**24)
"""No service sets these: they keep one write short."""

MAP: Final[Mapping[str, Leaf]] = {}
"""Any key goes: without a closed list there is nothing to check a map against."""


class StdoutSettings(TargetSettings):
    """Nothing to set beyond what every target has."""

    type: Literal["stdout"] = "stdout"
    max_in_flight: int = Field(1, ge=1, le=1000, description="Writes under way at once; one keeps the lines in order")


class Stdout:
    """An event is delivered once its line is written and flushed; a stream that fails or blocks delivers nothing."""

    def __init__(self, name: str, settings: StdoutSettings, *, stream: BinaryIO | None = None) -> None:
        self.name = name
        self._timeout = settings.request_timeout
        self._stream = stream if stream is not None else sys.stdout.buffer
        batch = settings.batch
        limit = LIMITS.bytes if batch.max_bytes is None else batch.max_bytes
        self._limits = Limits(batch.max_entries or LIMITS.entries, limit, limit)

    @property
    def limits(self) -> Limits:
        """What one write carries."""
        return self._limits

    async def __aenter__(self) -> Self:
        """Open nothing: the stream is there."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the stream open: it is not ours."""

    def prepare(self, event: Event) -> Prepared:
        """Write the line. `value` stands in for `fields` when the route maps nothing.

        Raises:
            Unpublishable: the line would be too long, or the fields have no JSON form.
        """
        record = event.record
        line: dict[str, Any] = {
            "id": event.id,
            "route": event.route,
            "topic": record.tp.topic,
            "partition": record.tp.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
            "key": record.key,
        }
        line |= {"fields": dict(event.fields)} if event.fields else {"value": _json(record.value)}
        try:
            body = orjson.dumps(line, default=_plain, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise Unpublishable(f"cannot be written as JSON: {error}", "fields", "NotJSON") from None
        if len(body) > self._limits.entry_bytes:
            raise Unpublishable(f"the line has {len(body)} bytes of {self._limits.entry_bytes}", "fields", "TooLarge")
        return Prepared(body, len(body))

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Write the lines in one piece, off the loop: a terminal that is paused must not stop the daemon."""
        text = b"".join(entry.body for entry in batch)
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.to_thread(self._write, text)
        except TimeoutError:
            return [Ack(Verdict.RETRY, "Timeout", f"standard output took nothing for {self._timeout:g} s")] * len(batch)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            return [Ack(Verdict.RETRY, type(error).__name__, "standard output cannot be written")] * len(batch)
        return [Ack(Verdict.DELIVERED)] * len(batch)

    def _write(self, text: bytes) -> None:
        self._stream.write(text)
        self._stream.flush()

    async def preflight(self) -> Preflight:
        """Always there."""
        return Preflight(Health.OK)


def _json(value: bytes | None) -> Any:
    """A record's value as JSON where it is JSON, else as text or base64."""
    try:
        return None if value is None else orjson.loads(value)
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    """What orjson cannot write: bytes become text, or base64 where they are none."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"type is not JSON serializable: {type(value).__name__}")


def _show(body: bytes) -> str:
    return body.decode().removesuffix("\n")


KIND: Final = Kind(settings=StdoutSettings, map=MAP, make=Stdout, show=_show)
