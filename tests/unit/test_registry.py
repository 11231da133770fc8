"""Records written with a schema registry: what becomes of their bytes, and how schemas are asked for."""

import asyncio
import io
import json
import ssl
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest
from aiohttp import web
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from connector.decode import Unready
from connector.formats.confluent import ConfluentRegistry
from connector.formats.glue import GlueRegistry
from connector.formats.schemas import Schemas, Unavailable, Unknown, Written, extra_missing
from connector.model import Undecodable
from connector.settings import ConfluentRegistrySettings, GlueRegistrySettings
from tests.certificates import Authority
from tests.unit.registry import Registry, avro_schema, framed, registry, serialized, serving

ADDRESS: Final = {"type": "record", "name": "com.acme.Address", "fields": [{"name": "city", "type": "string"}]}
ORDER: Final = {
    "type": "record",
    "name": "com.acme.Order",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 2}},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}},
        {"name": "note", "type": ["null", "string"]},
        {"name": "ship_to", "type": "com.acme.Address"},
        {"name": "tags", "type": {"type": "map", "values": {"type": "array", "items": "long"}}},
    ],
}
VALUE: Final = {
    "id": "f3b3ad9e-2f6f-4a5b-9c0e-0f1f6a3a2b1c",
    "at": 1_700_000_000_123,
    "day": 19_000,
    "total": "12.50",
    "raw": "/wA=",
    "status": "PAID",
    "note": None,
    "ship_to": {"city": "Oslo"},
    "tags": {"a": [1, 2**40]},
}


def avro_bytes(tree: Any, value: Any, *named: Any) -> bytes:
    known: dict[str, Any] = {}
    for one in named:
        fastavro.parse_schema(json.loads(json.dumps(one)), named_schemas=known)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(json.loads(json.dumps(tree)), named_schemas=known), value)
    return stream.getvalue()


ORDER_BYTES: Final = avro_bytes(
    ORDER,
    {
        **VALUE,
        "id": VALUE["id"],
        "at": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1_700_000_000_123),
        "total": Decimal("12.50"),
        "raw": b"\xff\x00",
    },
    ADDRESS,
)


def confluent(url: str, **more: Any) -> Schemas:
    settings = ConfluentRegistrySettings.model_validate({"type": "confluent", "url": url, **more})
    return Schemas(ConfluentRegistry(settings), "confluent")


async def read(schemas: Schemas, format: str, data: bytes) -> Any:
    """What becomes of the bytes, fetching what is needed."""
    value = schemas.decoders[format](data, ())
    if isinstance(value, Unready):
        reason = await schemas.fetch(value.schema)
        assert reason == ""
        value = schemas.decoders[format](data, ())
    return value


def holding_order(here: Registry) -> None:
    here.schemas[7] = avro_schema(ORDER, ("com.acme.Address", "address-value", 3))
    here.subjects["address-value", 3] = avro_schema(ADDRESS)


async def test_avro_becomes_json_values_and_a_schema_with_its_references_is_fetched_once() -> None:
    async with registry() as here:
        holding_order(here)
        schemas = confluent(here.url + "/")
        assert await read(schemas, "avro", framed(7, ORDER_BYTES)) == VALUE
        assert await read(schemas, "avro", framed(7, ORDER_BYTES)) == VALUE
        assert here.asked == ["/schemas/ids/7", "/subjects/address-value/versions/3"]
        json.dumps(await read(schemas, "avro", framed(7, ORDER_BYTES)), allow_nan=False)


@pytest.mark.parametrize("data", [ORDER_BYTES[:-1], ORDER_BYTES + b"x", b"", b"\xff" * 40, ORDER_BYTES[3:]])
async def test_bytes_that_the_avro_schema_did_not_write_are_told_without_a_value(data: bytes) -> None:
    async with registry() as here:
        holding_order(here)
        found = await read(confluent(here.url), "avro", framed(7, data))
        assert isinstance(found, Undecodable)
        assert found.code == "NotAvro"
        assert "Oslo" not in found.reason


def proto_file() -> descriptor_pb2.FileDescriptorProto:
    """order.proto: message Line {}, message Order { message Part {} ... }; imports money.proto and timestamp.proto."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
    file.dependency.extend(["money.proto", "google/protobuf/timestamp.proto"])
    file.message_type.add(name="Line").field.add(name="sku", number=1, type=kinds.TYPE_STRING, label=1)
    order = file.message_type.add(name="Order")
    order.enum_type.add(name="Status").value.extend(
        [
            descriptor_pb2.EnumValueDescriptorProto(name="NEW", number=0),
            descriptor_pb2.EnumValueDescriptorProto(name="PAID", number=1),
        ]
    )
    order.field.add(name="order_id", number=1, type=kinds.TYPE_INT64, label=1)
    order.field.add(name="status", number=2, type=kinds.TYPE_ENUM, type_name=".shop.Order.Status", label=1)
    order.field.add(name="total", number=3, type=kinds.TYPE_MESSAGE, type_name=".shop.Money", label=1)
    order.field.add(name="lines", number=4, type=kinds.TYPE_MESSAGE, type_name=".shop.Line", label=3)
    order.field.add(name="raw", number=5, type=kinds.TYPE_BYTES, label=1)
    order.field.add(name="at", number=6, type=kinds.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp", label=1)
    order.field.add(name="paid", number=7, type=kinds.TYPE_BOOL, label=1)
    entry = order.nested_type.add(name="CountsEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=kinds.TYPE_UINT64, label=1)
    order.field.add(name="counts", number=8, type=kinds.TYPE_MESSAGE, type_name=".shop.Order.CountsEntry", label=3)
    return file


def money_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="money.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Money").field.add(name="units", number=1, type=4, label=1)
    return file


def order_message() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(money_file())
    pool.Add(proto_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


async def test_protobuf_becomes_json_values_by_the_descriptors_that_the_registry_serves() -> None:
    message = order_message()(order_id=2**60, status=1, raw=b"\xff\x00", counts={"a": 2**63})
    message.total.units = 5
    message.lines.add(sku="A")
    message.at.FromMilliseconds(1_700_000_000_123)
    async with registry() as here:
        here.schemas[3] = {
            "schemaType": "PROTOBUF",
            "schema": "syntax = 'proto3'; ...",
            "serialized": serialized(proto_file()),
            "references": [{"name": "money.proto", "subject": "shop/money", "version": 1}],
        }
        here.subjects["shop/money", 1] = {"schema": "…", "serialized": serialized(money_file())}
        schemas = confluent(here.url)
        # the second message of the file: one index, zigzag(1) = 2
        assert await read(schemas, "protobuf", framed(3, b"\x02\x02" + message.SerializeToString())) == {
            "order_id": 2**60,
            "status": "PAID",
            "total": {"units": 5},
            "lines": [{"sku": "A"}],
            "raw": "/wA=",
            "at": "2023-11-14T22:13:20.123Z",
            "paid": False,
            "counts": {"a": 2**63},
        }
        assert await read(schemas, "protobuf", framed(3, b"\x00" + b"\x0a\x01A")) == {
            "sku": "A"
        }  # 0: the first message
        for bad in (b"", b"\x00\xff", b"\x02\x14abc", b"\x04\x02\x09", b"\xff" * 30):
            found = await read(schemas, "protobuf", framed(3, bad))
            assert isinstance(found, Undecodable), bad
            assert found.code == "NotProtobuf"


async def test_json_is_held_against_its_schema_and_a_failure_names_the_place_and_no_value() -> None:
    schema = {
        "type": "object",
        "properties": {"total": {"type": "number"}, "ship_to": {"$ref": "address.json"}},
        "required": ["total"],
    }
    async with registry() as here:
        here.schemas[9] = {
            "schemaType": "JSON",
            "schema": json.dumps(schema),
            "references": [{"name": "address.json", "subject": "address", "version": 1}],
        }
        here.subjects["address", 1] = {
            "schemaType": "JSON",
            "schema": json.dumps({"type": "object", "properties": {"city": {"type": "string"}}}),
        }
        schemas = confluent(here.url)
        good = {"total": 5, "ship_to": {"city": "Oslo"}}
        assert await read(schemas, "json_schema", framed(9, json.dumps(good).encode())) == good
        assert await read(
            schemas, "json_schema", framed(9, b'{"total": 5, "ship_to": {"city": 40404}}')
        ) == Undecodable("NotValid", "not what its JSON Schema says: `type` fails at /ship_to/city")
        found = await read(schemas, "json_schema", framed(9, b"{"))
        assert isinstance(found, Undecodable)
        assert found.code == "NotJSON"


async def test_a_json_schema_that_points_into_the_world_is_never_followed() -> None:
    async with registry() as here:
        here.schemas[9] = {"schemaType": "JSON", "schema": json.dumps({"$ref": f"{here.url}/schemas/ids/1"})}
        reason = await confluent(here.url).fetch(9)
        assert reason.startswith(
            "schema 9 of the registry cannot be used: no JSON Schema, or one that refers elsewhere"
        )
        assert here.asked == ["/schemas/ids/9"]


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "NotFramed"), (b"{}", "NotFramed"), (b'{"a": 1}', "NotFramed"), (b"\x00\x00\x00\x00", "NotFramed")],
)
async def test_bytes_without_the_header_are_told(data: bytes, code: str) -> None:
    found = confluent("http://127.0.0.1:1").decoders["avro"](data, ())
    assert isinstance(found, Undecodable)
    assert found.code == code


async def test_a_schema_of_another_type_is_told() -> None:
    async with registry() as here:
        holding_order(here)
        found = await read(confluent(here.url), "protobuf", framed(7, ORDER_BYTES))
        assert isinstance(found, Undecodable)
        assert found.code == "OtherFormat"


async def test_an_unknown_id_is_a_fault_of_the_record_for_a_minute_and_then_asked_for_again() -> None:
    now = [0.0]
    async with registry() as here:
        settings = ConfluentRegistrySettings(type="confluent", url=here.url)
        schemas = Schemas(ConfluentRegistry(settings), "confluent", lambda: now[0])
        found = await read(schemas, "avro", framed(5, b""))
        assert isinstance(found, Undecodable)
        assert found.code == "UnknownSchema"
        now[0] = 61.0
        here.schemas[5] = avro_schema("string")
        assert await read(schemas, "avro", framed(5, b"\x04hi")) == "hi"
        assert len(here.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=503, text="busy"),
        lambda: web.Response(status=404, text="<html>no such page</html>", content_type="text/html"),
        lambda: web.json_response({"error_code": 404, "message": "HTTP 404 Not Found"}, status=404),
        lambda: web.json_response({"error_code": 401, "message": "Unauthorized"}, status=401),
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        lambda: web.Response(status=200, text="no JSON"),
        lambda: web.json_response({"no": "schema"}),
        lambda: web.json_response({"schema": "{ no avro"}),
        lambda: web.json_response({"schemaType": "THRIFT", "schema": "x"}),
        lambda: web.json_response({"schema": '"string"', "references": [{"name": "x"}]}),
    ],
)
async def test_whatever_else_the_registry_says_is_an_outage_and_no_fault_of_the_record(answer: Any) -> None:
    async with registry() as here:
        here.schemas[1] = avro_schema("string")
        here.answer = answer()
        schemas = confluent(here.url)
        reason = await schemas.fetch(1)
        assert reason
        print(reason)
        assert schemas.find(1) == Unready(1)
        assert await read(schemas, "avro", framed(1, b"\x04hi")) == "hi"


async def test_a_registry_that_is_not_there_or_silent_is_an_outage_within_the_deadline() -> None:
    assert "127.0.0.1:1" in await confluent("http://127.0.0.1:1").fetch(1)

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(silent) as url:
        reason = await confluent(url, request_timeout="200ms").fetch(1)
    assert reason.endswith("no answer within 0.2 s")


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"username": "ada", "password": "pä55"}, "Basic YWRhOnDDpDU1"),
        ({"token": "abc"}, "Bearer abc"),
        ({}, None),
    ],
)
async def test_the_registry_is_told_who_asks(keys: dict[str, str], header: str | None) -> None:
    async with registry() as here:
        here.schemas[1] = avro_schema("string")
        assert await confluent(here.url, **keys).fetch(1) == ""
        assert here.authorization == [header]


async def test_tls_with_a_private_authority_and_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("registry", "127.0.0.1"), authority.issue("client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    async with registry(context) as here:
        here.schemas[1] = avro_schema("string")
        ours = {"ca": str(authority.ca), "certificate": str(client.certificate), "key": str(client.key)}
        assert await confluent(here.url, **ours).fetch(1) == ""
        assert await confluent(here.url, ca=str(authority.ca)).fetch(1) != ""  # it asks for ours, and hangs up
        other = here.url.replace("127.0.0.1", "localhost")
        assert "hostname mismatch" in (await confluent(other, **ours).fetch(1)).lower()
        assert "certificate" in (await confluent(here.url).fetch(1)).lower()
        assert "No such file" in await confluent(here.url, ca=str(tmp_path / "none.pem")).fetch(1)


VERSION: Final = "8b5cf1b4-8b5e-4b3c-9d5e-2f0d6f3a1c22"


def glued(body: bytes, compression: int = 0) -> bytes:
    """AWS Glue's wire format."""
    import uuid

    return bytes([3, compression]) + uuid.UUID(VERSION).bytes + body


class FakeRegistry:
    """Answers with what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def fetch(self, schema: Any) -> Any:
        self.asked.append(schema)
        return self.answer


async def test_glue_names_the_schema_by_its_version_and_may_compress() -> None:
    source = FakeRegistry(Written("AVRO", '"string"', {}))
    schemas = Schemas(source, "glue")
    assert await read(schemas, "avro", glued(b"\x04hi")) == "hi"
    assert await read(schemas, "avro", glued(zlib.compress(b"\x04hi"), 5)) == "hi"
    assert source.asked == [VERSION]
    for bad in (b"\x03\x00short", glued(b"x", 7), glued(b"not zlib", 5), glued(zlib.compress(b"\x04hi")[:-5], 5)):
        found = schemas.decoders["avro"](bad, ())
        assert isinstance(found, Undecodable), bad
        assert found.code == "NotFramed"


async def test_a_record_that_inflates_without_end_is_refused() -> None:
    bomb = zlib.compress(b"\0" * (65 * 2**20))
    found = Schemas(FakeRegistry(None), "glue").decoders["avro"](glued(bomb, 5), ())
    assert isinstance(found, Undecodable)
    assert "larger than" in found.reason


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, {"SchemaDefinition": '"string"', "DataFormat": "AVRO"}, Written("AVRO", '"string"', {})),
        (400, {"__type": "EntityNotFoundException", "Message": "no such version"}, Unknown()),
        (400, {"__type": "AccessDeniedException", "Message": "no"}, Unavailable("AWS Glue: AccessDeniedException: no")),
        (500, {"__type": "InternalServiceException"}, Unavailable("AWS Glue: InternalServiceException: ")),
        (200, {}, Unavailable("AWS Glue answered without a schema")),
    ],
)
async def test_glue_is_asked_for_a_schema_version(status: int, body: dict[str, Any], found: Any) -> None:
    from tests.contract.wire import session

    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["X-Amz-Target"], json.loads(await request.read())))
        return web.json_response(body, status=status)

    async with serving(answer) as url:
        plain = {"type": "glue", "region": "eu-west-1", "endpoint_url": url}
        settings = GlueRegistrySettings.model_validate(plain)
        assert await GlueRegistry(settings, sessions=session).fetch(VERSION) == found
    assert asked == [("AWSGlue.GetSchemaVersion", {"SchemaVersionId": VERSION})]


def test_the_missing_extra_is_named_with_the_command_that_mends_it() -> None:
    assert extra_missing() == ""
    assert "pip install 'connector[registry]'" in extra_missing(lambda name: None)

    def no_google(name: str) -> object:
        if name == "google.protobuf":
            raise ModuleNotFoundError(name)
        return name

    assert "connector[registry]" in extra_missing(no_google)
