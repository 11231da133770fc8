"""Files for Fiddler: rows as CSV, files that a record names, the upload in pieces, and the job that takes them in.

Sources: fiddler-client 3.14.1 (entities/file.py, entities/events.py, entities/job.py) for API v3, 2.5.4
(api/helpers.py, api/events_mixin.py) for v2.
"""

import asyncio
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

import aiohttp
import orjson

from connector.model import Batch, TopicPartition, Unpublishable
from connector.targets import strict_json
from connector.targets.aws import Refusal, Reply
from connector.targets.fiddler_api import Api, Body, segment
from connector.targets.fiddler_rows import WIRE, Destination, Format

MAX_FILE: Final = 500 * 2**20
"""Bytes of a file (fiddler-client 3.14.1, MAX_UPLOAD_FILE_SIZE)."""

PIECE: Final = 100 * 2**20
"""Bytes of one piece of a file; a smaller file goes in one request with API v3 (fiddler-client 3.14.1)."""

WHOLE_V2: Final = 5 * 2**20
"""Below so many bytes a file goes in one request with API v2 (fiddler-client 2.5.4)."""

ACCEPTED: Final = (
    "Successfully received the event data. Please allow time for the event ingestion to complete in the Fiddler "
    "platform."
)
"""What Fiddler says to a batch that it took; v3 leaves it out, so it is said in its place."""

ENDED: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
"""States in which a job stays (fiddler-client 3.14.1, entities/job.py)."""

_LONGEST_NAME: Final = 150
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")


# rows


def line(cells: Iterable[Any]) -> str:
    """One line of CSV. Nothing stands for null, and JSON for lists and objects.

    Written by hand, because Python's writer leaves a carriage return without quotes (before 3.13).
    """
    written = [_cell(cell) for cell in cells]
    return (",".join(written) if written != [""] else '""') + "\n"  # an empty line would be no row


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            text = value
        case dict() | list() | tuple():
            text = strict_json.encode(value)
        case datetime():
            text = value.isoformat().replace("+00:00", "Z")
        case _:
            text = str(value)
    return f'"{text.replace(_QUOTE, _QUOTE * 2)}"' if _SPECIAL.search(text) else text


_QUOTE: Final = '"'
_SPECIAL: Final = re.compile(r'[",\r\n]')


def table(rows: Sequence[Mapping[str, Any]], group_by: str | None = None) -> bytes:
    """Rows as CSV with a header of every column, in order of appearance; rows of a group stand together."""
    columns = dict.fromkeys(column for row in rows for column in row)
    if group_by is not None:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            groups.setdefault(repr(row.get(group_by)), []).append(row)
        rows = [row for group in groups.values() for row in group]
    return "".join([line(columns), *(line(row.get(column) for column in columns) for row in rows)]).encode()


def name_of(batch: Batch, stem: str | None = None) -> str:
    """The name of a file of rows: topic, partition, first and last offset of each partition in it."""
    spans: dict[TopicPartition, tuple[int, int]] = {}
    for entry in batch:
        record = entry.event.record
        low, high = spans.get(record.tp, (record.offset, record.offset))
        spans[record.tp] = min(low, record.offset), max(high, record.offset)
    parts = [f"{tp.topic}-{tp.partition}-{low}-{high}" for tp, (low, high) in sorted(spans.items())]
    name = _ODD.sub("-", "_".join(([stem] if stem else []) + parts))
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return f"{name}.csv"


# files that a record names


@dataclass(frozen=True, slots=True)
class Content:
    """What is uploaded, read piece by piece; `read` takes where to begin and how many bytes."""

    size: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of_bytes(cls, text: bytes) -> "Content":
        """A text that is in memory."""
        return cls(len(text), lambda start, length: text[start : start + length])

    @classmethod
    def of_file(cls, number: int) -> "Content":
        """An open file, by its descriptor."""
        return cls(os.fstat(number).st_size, lambda start, length: _pread(number, start, length))

    async def piece(self, start: int, length: int) -> bytes:
        """Read some of it, off the loop."""
        return await asyncio.to_thread(self.read, start, length)


def _pread(number: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(number, length, start)):
        parts.append(part)
        start += len(part)
        length -= len(part)
    return b"".join(parts)


def relative(path: str) -> PurePosixPath:
    """A path below a directory.

    Raises:
        Unpublishable: it leads elsewhere, or nowhere.
    """
    found = PurePosixPath(path)
    if not path or "\0" in path or found.is_absolute() or ".." in found.parts or not found.parts:
        raise Unpublishable("must be a path below `directory` of the target, without ..", "events_path", "BadPath")
    return found


@contextmanager
def opened_below(directory: str, path: PurePosixPath) -> Iterator[int]:
    """Open a file below a directory, step by step and never through a link: a link could lead out of it.

    Raises:
        OSError: there is no such file, it is none, or something in its path is a link.
    """
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not block the daemon
        file = os.open(path.parts[-1], flags, dir_fd=here)
    finally:
        os.close(here)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "is no regular file")
        yield file
    finally:
        os.close(file)


S3_URI: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)", re.ASCII | re.DOTALL)
"""Bucket and key."""


async def fetched(stack: AsyncExitStack, body: Any, largest: int) -> int | None:
    """Put an S3 object's body into an unnamed file and give its descriptor; None where it is larger than allowed."""
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
    size = 0
    try:
        async for chunk in body.iter_chunks(2**20):
            size += len(chunk)
            if size > largest:
                return None
            await asyncio.to_thread(spool.write, chunk)
    finally:
        body.close()
    await asyncio.to_thread(spool.flush)
    return spool.fileno()


# upload and publish


@dataclass(frozen=True, slots=True)
class Taken:
    """Fiddler took a file and works on it in a job."""

    job: str
    files: Sequence[str]
    message: str = ACCEPTED

    def reply(self) -> dict[str, Any]:
        """The answer to `publish_events_batch`, as its reference shows it."""
        return {"status": 202, "job_uuid": self.job, "files": list(self.files), "message": self.message}


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything beside the content that is said of a file."""

    to: Destination
    name: str
    content: Content
    update: bool | None = None
    batch_id: str | None = None
    id_field: str | None = None
    timestamp_field: str | None = None
    timestamp_format: Format = "INFER"
    group_by: str | None = None
    model_id: str = field(default="")
    """The model's UUID, for API v3."""


class Files(Protocol):
    """How one version of the API takes files."""

    async def publish(self, publication: Publication) -> Taken | Refusal:
        """Upload a file and have it taken in."""
        ...

    def job_path(self, job: str) -> str:
        """Where a job tells how it fares."""
        ...


class FilesV3:
    """Files of API v3."""

    def __init__(self, api: Api, piece: int = PIECE) -> None:
        self._api = api
        self._piece = piece

    def job_path(self, job: str) -> str:
        """Where a job tells how it fares."""
        return f"/v3/jobs/{segment(job)}"

    async def publish(self, publication: Publication) -> Taken | Refusal:
        """Upload a file and have it taken in."""
        content = publication.content
        if content.size < self._piece:
            text = await content.piece(0, content.size)
            reply = await self._form("/v3/files/upload", publication.name, text, {})
        else:
            reply = await self._in_pieces(publication)
        if isinstance(reply, Refusal):
            return reply
        file = reply.body.get("id")
        if not isinstance(file, str):
            return Refusal("ProtocolError", "an upload without an id", status=reply.status)
        tree = {
            "source": {"file_id": file, "type": "FILE"},
            "model_id": publication.model_id,
            "env_type": "PRODUCTION",
            "env_name": None,
        }
        reply = await self._api.call("PATCH" if publication.update else "POST", "/v3/events", _json(tree))
        if isinstance(reply, Refusal):
            return reply
        job = reply.body.get("job")
        job_id = job.get("id") if isinstance(job, dict) else None
        if not isinstance(job_id, str):
            return Refusal("ProtocolError", "a published file without a job", status=reply.status)
        return Taken(job_id, [publication.name])

    async def _in_pieces(self, publication: Publication) -> Reply | Refusal:
        reply = await self._api.call("POST", "/v3/files/multipart-init", _json({"filename": publication.name}))
        if isinstance(reply, Refusal):
            return reply
        file = reply.body.get("id")
        if not isinstance(file, str):
            return Refusal("ProtocolError", "an upload without an id", status=reply.status)
        parts: list[dict[str, Any]] = []
        for number, start in enumerate(range(0, publication.content.size, self._piece), 1):
            text = await publication.content.piece(start, self._piece)
            more = {"file_id": file, "part_number": str(number)}
            reply = await self._form("/v3/files/multipart-upload", f"part_{number}_{publication.name}", text, more)
            if isinstance(reply, Refusal):
                return reply
            parts.append({"number": number, "id": reply.body.get("part_id")})
        return await self._api.call("POST", "/v3/files/multipart-complete", _json({"file_id": file, "parts": parts}))

    async def _form(self, path: str, name: str, text: bytes, fields: Mapping[str, str]) -> Reply | Refusal:
        def body() -> aiohttp.MultipartWriter:
            writer = aiohttp.MultipartWriter("form-data")
            part = writer.append(io.BytesIO(text))
            part.set_content_disposition("form-data", name="file", filename=name)
            part.headers.popall("Content-Type", None)  # Fiddler's own clients say none
            for key, value in fields.items():
                part = writer.append(value)
                part.set_content_disposition("form-data", name=key)
                part.headers.popall("Content-Type", None)
            return writer

        return await self._api.call("POST", path, body, content_type=None)


class FilesV2:
    """Files of API v2."""

    def __init__(self, api: Api, organization: str, whole: int = WHOLE_V2, piece: int = PIECE) -> None:
        self._api = api
        self._organization = organization
        self._whole = whole
        self._piece = piece

    def job_path(self, job: str) -> str:
        """Where a job tells how it fares."""
        return f"/v2/jobs/{segment(job)}"

    async def publish(self, publication: Publication) -> Taken | Refusal:
        """Upload a file and have it taken in."""
        reply = await self._upload(publication)
        if isinstance(reply, Refusal):
            return reply
        server_name = reply.body.get("file_name")
        if not isinstance(server_name, str):
            return Refusal("ProtocolError", "an upload without a file_name", status=reply.status)
        to = publication.to
        tree = {
            "file_name": [server_name],
            "batch_id": publication.batch_id,
            "events_schema": None,
            "id_field": publication.id_field,
            "is_update": publication.update,
            "timestamp_field": publication.timestamp_field,
            "timestamp_format": WIRE[publication.timestamp_format],
            "group_by": publication.group_by,
            "file_type": _file_type(publication.name),
            "upload_type": "event",
        }
        path = f"/v2/events/{segment(self._organization)}:{segment(to.project)}:{segment(to.model)}/ingest"
        reply = await self._api.call("POST", path, _json(tree))
        if isinstance(reply, Refusal):
            return reply
        job = reply.body.get("job_uuid")
        if not isinstance(job, str):
            return Refusal("ProtocolError", "a published file without a job", status=reply.status)
        files = reply.body.get("files")
        message = reply.body.get("message")
        return Taken(
            job,
            [str(file) for file in files] if isinstance(files, list) else [server_name],
            message if isinstance(message, str) else ACCEPTED,
        )

    async def _upload(self, publication: Publication) -> Reply | Refusal:
        to, content = publication.to, publication.content
        base = f"/v2/datasets/{segment(self._organization)}:{segment(to.project)}"
        said = {"upload_type": "event", "resource_identifier": to.model, "file_name": publication.name}
        if content.size < self._whole:
            text = await content.piece(0, content.size)
            return await self._put(f"{base}/upload", text, {**said, "multipart_upload": "False"})
        columns, rows = await asyncio.to_thread(_measure, content)
        tree = {**said, "num_cols": columns, "num_rows": rows}
        reply = await self._api.call("POST", f"{base}/initialize", _json(tree))
        if isinstance(reply, Refusal):
            return reply
        upload, name = reply.body.get("upload_id"), reply.body.get("file_name")
        if not isinstance(upload, str) or not isinstance(name, str):
            return Refusal("ProtocolError", "an upload without upload_id and file_name", status=reply.status)
        said = {**said, "file_name": name, "upload_id": upload}
        parts: list[dict[str, Any]] = []
        for number, start in enumerate(range(0, content.size, self._piece), 1):
            text = await content.piece(start, self._piece)
            params = {**said, "multipart_upload": "True", "part_number": str(number)}
            reply = await self._put(f"{base}/upload", text, params)
            if isinstance(reply, Refusal):
                return reply
            info = reply.body.get("info")
            info = info if isinstance(info, dict) else {}
            parts.append({"ETag": info.get("ETag"), "PartNumber": info.get("PartNumber")})
        return await self._api.call("POST", f"{base}/complete", _json({"parts": parts}), params=said)

    async def _put(self, path: str, text: bytes, params: Mapping[str, str]) -> Reply | Refusal:
        return await self._api.call(
            "PUT", path, lambda: io.BytesIO(text), params=params, content_type="application/octet-stream"
        )


def _measure(content: Content) -> tuple[int, int]:
    """Columns of the first line, and lines after it, as Fiddler's own client counts them."""
    head = content.read(0, 2**20).partition(b"\n")[0]
    lines = last = 0
    for start in range(0, content.size, 2**20):
        piece = content.read(start, 2**20)
        lines += piece.count(b"\n")
        last = piece[-1]
    return head.count(b",") + 1, lines + (last != ord("\n")) - 1


def _file_type(name: str) -> str | None:
    """Fiddler's own client says nothing of a CSV file."""
    return ".parquet" if name.lower().endswith(".parquet") else None


def _json(tree: Any) -> Body:
    text = orjson.dumps(tree)
    return lambda: io.BytesIO(text)


async def ended(api: Api, path: str, every: float, within: float) -> Mapping[str, Any] | None:
    """Ask a job how it fares until it has ended; None where it has not after so many seconds.

    An answer that is none does not end the wait: the file was taken, and only the job can tell what becomes of it.
    """
    try:
        async with asyncio.timeout(within):
            while True:
                reply = await api.call("GET", path)
                if isinstance(reply, Reply) and reply.body.get("status") in ENDED:
                    return reply.body
                await asyncio.sleep(every)
    except TimeoutError:
        return None
