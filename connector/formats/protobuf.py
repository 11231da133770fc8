"""Protobuf messages as JSON values, by descriptors that the registry serves.

Fields have their names of the .proto file. Numbers are numbers, of 64 bits too; bytes are base64 text, an enum is its
name, or its number where the schema has none. A field without presence shows its default, one with presence is left
out where it is not set. Timestamps are RFC 3339 text, and the other well-known types are as in Protobuf's JSON mapping.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

from connector.formats.schemas import Read, Unreadable, Written
from connector.model import Undecodable

_WELL_KNOWN: Final = (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
    api_pb2,
)
_DEEPEST: Final = 100


def protobuf(written: Written) -> Read:
    """Build the message types of a file and of what it imports.

    Raises:
        Unreadable: it is no file descriptor, or an import is missing.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    try:
        for name, text in written.references.items():
            if not name.startswith("google/protobuf/"):
                pool.Add(_file(text, name))
        own = _file(written.text, "")
        own.name = own.name or "schema.proto"
        pool.Add(own)
        file = pool.FindFileByName(own.name)
    except (binascii.Error, DecodeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no serialized Protobuf file, or an import is missing ({type(error).__name__})") from None
    types: dict[tuple[int, ...], Any] = {}

    def read(data: bytes) -> Any:
        try:
            path, start = _indexes(data)
            found = types.get(path)
            if found is None:
                found = types[path] = message_factory.GetMessageClass(_type(file, path))
            message = found()
            message.ParseFromString(data[start:])
            return _as_json(message, _DEEPEST)
        except (DecodeError, IndexError, OverflowError, json_format.Error, RecursionError, ValueError) as error:
            return Undecodable("NotProtobuf", f"not what its Protobuf schema says ({type(error).__name__})")

    return read


def _file(text: str, name: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    if name:
        file.name = name  # as the import names it
    return file


def _indexes(data: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of the file: indexes from the outermost in, as zigzag varints; a single zero is the first one."""
    count, at = _varint(data, 0)
    if not count:
        return (0,), at
    path = []
    for _ in range(min(count, _DEEPEST)):
        index, at = _varint(data, at)
        path.append(index)
    return tuple(path), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


def _type(file: FileDescriptor, path: Iterable[int]) -> Descriptor:
    types: Any = list(file.message_types_by_name.values())
    found = None
    for index in path:
        if index < 0:
            raise IndexError(index)
        found = types[index]
        types = list(found.nested_types)
    if found is None:
        raise IndexError(path)
    return found  # type: ignore[no-any-return]  # the library's lists are untyped


def _as_json(message: Message, depth: int) -> Any:
    descriptor: Any = message.DESCRIPTOR  # of the library's own kind, which has no types
    if not depth:
        raise RecursionError
    if descriptor.full_name.startswith("google.protobuf."):
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    made: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            of = field.message_type.fields_by_name["value"]
            made[field.name] = {_key(key): _one(value[key], of, depth) for key in value}
        elif field.is_repeated:
            made[field.name] = [_one(item, field, depth) for item in value]
        else:
            made[field.name] = _one(value, field, depth)
    return made


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _one(value: Any, field: Any, depth: int) -> Any:
    if field.message_type is not None:
        return _as_json(value, depth - 1)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
