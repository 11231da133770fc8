"""The limits: what consuming alone costs, and what ten entries a signed call alone cost. Each prints its CPU seconds.

Neither does anything of a daemon's work between the two, so nothing built on these libraries can be cheaper.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aioboto3
import aiohttp
import orjson
import uvloop
from aiobotocore.config import AioConfig
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from confluent_kafka import Consumer

IN_FLIGHT: Final = 16
Call = Callable[[], Awaitable[None]]


def consume(bootstrap: str, topic: str, group: str, records: int, decode: bool) -> float:
    """CPU seconds of one record, with `orjson.loads` or without; the first tenth is the start and is not counted."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen = counted = 0
    began = 0.0
    while seen < records * 0.95:
        messages = consumer.consume(500, 0.1)
        for message in messages:
            value = message.value()
            if decode and value is not None:
                orjson.loads(value)
        seen += len(messages)
        if not began and seen >= records * 0.1:
            began, counted = time.process_time(), seen
    spent = time.process_time() - began
    consumer.close()
    return spent / (seen - counted)


def entries_of(size: int) -> list[dict[str, Any]]:
    """Ten entries as the daemon would send them."""
    detail = orjson.dumps({"status": "PAID", "channel": "web", "note": "x" * size}).decode()[:size]
    one = {"Source": "com.acme.web", "DetailType": "Order PAID", "Detail": detail, "EventBusName": "orders"}
    return [{**one, "Time": 1_769_860_800.25, "Resources": [f"orders-0-{n}/paid"]} for n in range(10)]


async def timed(call: Call, calls: int) -> float:
    """CPU seconds of one call, with sixteen in flight."""

    async def some(count: int) -> None:
        for _ in range(count):
            await call()

    async def all_of(count: int) -> None:
        await asyncio.gather(*(some(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))

    await all_of(calls // 10)
    began = time.process_time()
    await all_of(calls)
    return (time.process_time() - began) / (calls // IN_FLIGHT * IN_FLIGHT)


async def signed(endpoint: str, size: int, calls: int) -> float:
    """Botocore's own signer, orjson, one aiohttp session."""
    signer = SigV4Auth(Credentials("test", "test"), "events", "eu-west-1")
    entries = entries_of(size)
    fixed = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def call() -> None:
            request = AWSRequest("POST", endpoint, headers=fixed, data=orjson.dumps({"Entries": entries}))
            signer.add_auth(request)
            async with session.post(endpoint, data=request.data, headers=dict(request.headers)) as reply:
                assert orjson.loads(await reply.read())["FailedEntryCount"] == 0

        return await timed(call, calls)


async def boto(endpoint: str, size: int, calls: int) -> float:
    """The client as the plain script uses it."""
    config = AioConfig(parameter_validation=False, max_pool_connections=IN_FLIGHT)
    entries = entries_of(size)
    async with aioboto3.Session().client("events", "eu-west-1", endpoint_url=endpoint, config=config) as client:

        async def call() -> None:
            reply = await client.put_events(Entries=entries)
            assert reply["FailedEntryCount"] == 0

        return await timed(call, calls)


def main(what: str, *given: str) -> float:
    """`consume|decode BOOTSTRAP TOPIC GROUP RECORDS` or `signed|boto ENDPOINT SIZE CALLS`."""
    if what in ("consume", "decode"):
        bootstrap, topic, group, records = given
        return consume(bootstrap, topic, group, int(records), what == "decode")
    endpoint, size, calls = given
    return uvloop.run({"signed": signed, "boto": boto}[what](endpoint, int(size), int(calls)))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
