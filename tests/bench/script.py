"""What the daemon is compared with: the script that a good engineer writes in an hour, and makes fast.

Five hundred records a time, uvloop, orjson, one client without parameter validation, sixteen calls of ten entries in
flight, each refused entry sent again, the offsets committed when all of them are through. It routes and maps the same
as the daemon's config, and passes the record's text on as it came. It has no dead letters, no drain at a rebalance, no
back-pressure by partition, no check of what it sends, no metrics.
"""

import asyncio
import sys
from typing import Any

import aioboto3
import orjson
import uvloop
from aiobotocore.config import AioConfig
from confluent_kafka import Consumer, Message


def entry_of(message: Message) -> dict[str, Any] | None:
    """The event of a record, None for one that nobody wants."""
    text = message.value()
    if text is None:
        return None
    value = orjson.loads(text)
    if value["status"] not in ("PAID", "SHIPPED"):
        return None
    return {
        "Source": f"com.acme.{value['channel']}",
        "DetailType": f"Order {value['status']}",
        "Detail": text.decode(),
        "EventBusName": "orders",
        "Time": message.timestamp()[1] / 1000,
    }


async def send(client: Any, calls: asyncio.Semaphore, entries: list[dict[str, Any]]) -> None:
    """Send ten entries; those that are refused go again."""
    async with calls:
        pause = 0.1
        while True:
            reply = await client.put_events(Entries=entries)
            if not reply["FailedEntryCount"]:
                return
            results = zip(entries, reply["Entries"], strict=True)
            entries = [entry for entry, result in results if "ErrorCode" in result]
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10)


async def main(bootstrap: str, topic: str, group: str, endpoint: str) -> None:
    """Carry records until killed."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    consumer.subscribe([topic])
    config = AioConfig(parameter_validation=False, max_pool_connections=16, retries={"total_max_attempts": 3})
    calls = asyncio.Semaphore(16)
    async with aioboto3.Session().client("events", "eu-west-1", endpoint_url=endpoint, config=config) as client:
        while True:
            messages = await asyncio.to_thread(consumer.consume, 500, 0.1)
            good = [message for message in messages if message.error() is None]
            entries = [entry for message in good if (entry := entry_of(message)) is not None]
            tens = [entries[at : at + 10] for at in range(0, len(entries), 10)]
            await asyncio.gather(*(send(client, calls, ten) for ten in tens))
            if good:
                consumer.commit(asynchronous=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
