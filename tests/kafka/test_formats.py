"""Avro from a real Kafka, by a schema registry on loopback: away at first, then there."""

import io
import json

import fastavro
import pytest
from aiohttp import web

from connector.sandbox.eventbridge import EventBridge
from tests.kafka.cluster import Kafka
from tests.kafka.inside import config, inside, route
from tests.unit.registry import avro_schema, framed, registry

pytestmark = pytest.mark.broker

ORDER = {"type": "record", "name": "Order", "fields": [{"name": "n", "type": "long"}]}


def written(n: int) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(dict(ORDER)), {"n": n})
    return framed(7, stream.getvalue())


async def test_avro_records_wait_for_the_registry_and_are_delivered_as_json(kafka: Kafka) -> None:
    topic, plain = kafka.topic(2, name="avro"), kafka.topic(name="plain")
    async with EventBridge() as service, registry() as schemas:
        schemas.schemas[7] = avro_schema(ORDER)
        schemas.answer = web.Response(status=503)
        text = config(
            kafka,
            service,
            topics={topic: {"format": "avro"}},
            schema_registry={"type": "confluent", "url": schemas.url},
            routes=[route("orders", topic), route("rest", plain)],
        )
        async with inside(kafka, text, service) as daemon:
            await daemon.written(topic, [written(n) for n in range(40)])
            await daemon.written(plain, [b'{"plain": true}'])
            await daemon.until(lambda: service.accepted, what="what needs no schema is delivered meanwhile")
            await daemon.caught_up(topic, plain)
            details = [json.loads(event.detail)["value"] for event in service.accepted]
            assert sorted(value["n"] for value in details if "n" in value) == [*range(40)]
            assert {"plain": True} in details
        assert schemas.asked == ["/schemas/ids/7"] * 2
