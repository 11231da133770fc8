"""Schemas of a registry: which one a record was written with, what it makes of the bytes, and how it is fetched once.

Decoding never waits. A record whose schema is not here is Unready; whoever decodes fetches it and tries again.
"""

import time
import uuid
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Protocol

from connector.decode import Decoder, Unready
from connector.model import Headers, Undecodable

REGISTRY_FORMATS: Final = ("avro", "protobuf", "json_schema")
_CONFLUENT: Final = 0
_GLUE: Final = 3
_ZLIB: Final = 5
_UNKNOWN_FOR: Final = 60.0
"""Seconds until an unknown schema is asked for again."""
_LARGEST: Final = 64 * 2**20
"""Bytes that a compressed record may become; a fetch cannot be larger by default."""

Read = Callable[[bytes], Any]
"""What a schema makes of the bytes behind the header: a value, or an Undecodable."""


@dataclass(frozen=True, slots=True)
class Written:
    """A schema as the registry has it: its kind (`AVRO`, `PROTOBUF`, `JSON`), its text, and what it refers to, by name.

    For Protobuf the texts are serialized file descriptors in base64. References stand before what refers to them.
    """

    kind: str
    text: str
    references: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The registry answered that it has no such schema."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The registry did not answer, or not with a schema; `reason` says which, without a secret."""

    reason: str


class Registry(Protocol):
    """Where schemas come from."""

    async def fetch(self, schema: Any) -> Written | Unknown | Unavailable:
        """Ask for one schema, within a deadline; never raises for what the registry does."""
        ...


def extra_missing(find: Callable[[str], object] = find_spec) -> str:
    """What to tell someone whose formats need the extra; empty where it is there."""
    try:
        there = all(find(name) for name in ("fastavro", "google.protobuf", "jsonschema_rs"))
    except ModuleNotFoundError:  # not even the package `google`
        there = False
    return "" if there else "needs the extra `registry`: pip install 'connector[registry]'"


class Schemas:
    """The schemas that were fetched, and the decoders of the formats that need one.

    Invariant: a schema never changes under its id, so what was fetched is kept for good. That an id is unknown is kept
    for a minute: it may be registered late. What could not be asked is not kept at all.
    """

    def __init__(self, registry: Registry, kind: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`kind` is `confluent` or `glue`: how a record names its schema."""
        self._registry = registry
        self._clock = clock
        self._known: dict[Hashable, tuple[str, Read]] = {}
        self._unknown: dict[Hashable, float] = {}
        parse = _confluent if kind == "confluent" else _glue
        self.decoders: Final[Mapping[str, Decoder]] = {name: _Framed(self, name, parse) for name in REGISTRY_FORMATS}

    def find(self, schema: Hashable) -> tuple[str, Read] | Undecodable | Unready:
        """The kind of a schema and its reader, as far as it is known."""
        known = self._known.get(schema)
        if known is not None:
            return known
        if self._unknown.get(schema, 0.0) > self._clock():
            return Undecodable("UnknownSchema", f"written with schema {schema}, which the registry does not know")
        return Unready(schema)

    async def fetch(self, schema: Hashable) -> str:
        """Fetch a schema; empty where it is known or unknown now, else why the registry cannot be asked."""
        found = await self._registry.fetch(schema)
        if isinstance(found, Unavailable):
            return found.reason
        if isinstance(found, Unknown):
            self._unknown[schema] = self._clock() + _UNKNOWN_FOR
            return ""
        try:
            self._known[schema] = found.kind, compile_schema(found)
        except Unreadable as error:
            return f"schema {schema} of the registry cannot be used: {error}"
        return ""


class Unreadable(Exception):
    """A schema that we cannot compile; the message holds no more of it than the place."""


def compile_schema(written: Written) -> Read:
    """Compile a schema; the libraries of the extra are imported here, when the first one comes.

    Raises:
        Unreadable: it is none, or uses what its library does not know.
    """
    if written.kind == "AVRO":
        from connector.formats.avro import avro

        return avro(written)
    if written.kind == "PROTOBUF":
        from connector.formats.protobuf import protobuf

        return protobuf(written)
    if written.kind == "JSON":
        from connector.formats.json_schema import json_schema

        return json_schema(written)
    raise Unreadable(f"its type {written.kind} is none of AVRO, PROTOBUF and JSON")


_KINDS: Final = {"avro": "AVRO", "protobuf": "PROTOBUF", "json_schema": "JSON"}


class _Framed:
    """The decoder of one format: header, schema, bytes."""

    def __init__(
        self, schemas: Schemas, format: str, parse: Callable[[bytes], tuple[Hashable, bytes] | Undecodable]
    ) -> None:
        self._schemas = schemas
        self._format = format
        self._parse = parse

    def __call__(self, data: bytes, headers: Headers) -> Any:
        framed = self._parse(data)
        if isinstance(framed, Undecodable):
            return framed
        schema, body = framed
        found = self._schemas.find(schema)
        if not isinstance(found, tuple):
            return found
        kind, read = found
        if kind != _KINDS[self._format]:
            return Undecodable("OtherFormat", f"written with a schema of type {kind}, but the format is {self._format}")
        return read(body)


def _confluent(data: bytes) -> tuple[Hashable, bytes] | Undecodable:
    """Confluent's wire format: a zero, four bytes of schema id, the rest."""
    if len(data) < 5 or data[0] != _CONFLUENT:
        return Undecodable("NotFramed", "not in Confluent's wire format: it does not begin with a zero and a schema id")
    return int.from_bytes(data[1:5], "big"), data[5:]


def _glue(data: bytes) -> tuple[Hashable, bytes] | Undecodable:
    """AWS Glue's: a three, how it is compressed, sixteen bytes of schema version id, the rest."""
    if len(data) < 18 or data[0] != _GLUE:
        return Undecodable(
            "NotFramed", "not in AWS Glue's wire format: it does not begin with a three and a version id"
        )
    schema, body = str(uuid.UUID(bytes=data[2:18])), data[18:]
    if data[1] == 0:
        return schema, body
    if data[1] != _ZLIB:
        return Undecodable("NotFramed", f"compressed in a way that is not known: {data[1]}")
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(body, _LARGEST)
    except zlib.error:
        return Undecodable("NotFramed", "compressed, but not with zlib")
    if not inflate.eof:
        return Undecodable("NotFramed", f"compressed to something that is cut, or larger than {_LARGEST} bytes")
    return schema, body
