"""All the services, in one process that costs next to nothing: it counts entries and answers for each of them.

It reads no more of a call than its answer needs. A process of its own, its cost is in nobody's figure. How many
entries it took stands in the first eight bytes of a file that the harness maps; with `--latency` it prints at its end
how long each order was on its way.
"""

import argparse
import asyncio
import json
import mmap
import re
import signal
import struct
import time
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote

import orjson
import uvloop

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SENT_AT: Final = re.compile(rb'\\"at\\":(\d+)')
ACCEPTED: Final = b'{"EventId":"11710aed-b79e-4468-a20b-bb3c0c3b4860"}'
AVRO: Final = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "channel", "type": "string"},
        {"name": "status", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "note", "type": "string"},
    ],
}
"""The schema that the registry has under id 1."""

COLUMNS: Final = {"event_id": "str", "timestamp": "timestamp", "channel": "str", "status": "str", "amount": "float"}
MODEL: Final = "0b3c2b4e-5f57-4a34-8c3a-5d1c5a1b9f10"
FOUND: Final[dict[str, Any]] = {
    "/inputs/orders": {"input": {"inputConfiguration": {"inputName": "orders"}}},
    "/v1/apps/bench": {"Id": "bench", "Name": "bench"},
    "/schemas/ids/1": {"schema": json.dumps(AVRO)},
    "/v3/projects": {"data": {"items": [{"id": MODEL}]}},
    "/v3/models": {"data": {"items": [{"id": MODEL}]}},
    f"/v3/models/{MODEL}": {
        "data": {
            "id": MODEL,
            "schema": {"columns": [{"name": name, "data_type": kind} for name, kind in COLUMNS.items()]},
            "spec": {"inputs": ["channel", "status"], "outputs": ["amount"], "decisions": []},
            "event_id_col": "event_id",
            "event_ts_col": "timestamp",
        }
    },
    "/v3/jobs/1": {"data": {"id": "1", "status": "SUCCESS"}},
}
"""What is only looked at, by its path."""

THROTTLED: Final = b'{"ErrorCode":"ThrottlingException","ErrorMessage":"Rate exceeded"}'


def answer(body: bytes) -> bytes:
    """An HTTP reply with this body."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: bench\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Stub:
    """What the service has taken. `refuse` of each thousand entries are throttled, to come again."""

    def __init__(self, counter: mmap.mmap, delay: float, refuse: int, latency: bool) -> None:
        self.delay = delay
        self.taken = 0
        self.latencies: list[float] = []
        self._counter = counter
        self._latency = latency
        self._every = 1000 // refuse if refuse else 0
        self._seen = 0
        self._plain: dict[int, bytes] = {}

    def reply(self, head: bytes, body: bytes) -> bytes:
        """Answer one request."""
        if b"DescribeEventBus" in head:
            return answer(b'{"Name":"orders"}')
        if b"AWSEvents.PutEvents" in head:
            return self._put_events(body)
        method, target, _ = head.split(b" ", 2)
        path = unquote(target.decode()).partition("?")[0]
        return answer(orjson.dumps(FOUND[path] if method == b"GET" else self._posted(path, body)))

    def _posted(self, path: str, body: bytes) -> Any:
        """Take what is sent to a service other than EventBridge."""
        if path == "/inputs/messages":
            self._took(body.count(b'"messageId"'))
            return {"BatchPutMessageErrorEntries": []}
        if path == "/v3/files/upload":
            self._took(body.count(b"\n", body.index(b"\r\n\r\n"), body.rindex(b"\r\n--")) - 2)  # of the form, the head
            return {"data": {"id": "1"}}
        sent = orjson.loads(body)
        if path == "/v3/events":
            if sent["source"]["type"] == "FILE":
                return {"data": {"job": {"id": "1"}}}
            self._took(count := len(sent["source"]["events"]))
            return {"data": {"event_ids": [MODEL] * count}}
        taken = {"StatusCode": 202, "Message": "Accepted"}
        results = {
            endpoint: {"EventsItemResponse": dict.fromkeys(item["Events"], taken)}
            for endpoint, item in sent["BatchItem"].items()
        }
        self._took(sum(len(item["Events"]) for item in sent["BatchItem"].values()))
        return {"Results": results}

    def _took(self, entries: int) -> None:
        self.taken += entries
        struct.pack_into("<q", self._counter, 0, self.taken)

    def _put_events(self, body: bytes) -> bytes:
        entries = body.count(b'"DetailType"')
        if self._latency:
            now = time.time()
            self.latencies += [now - int(at) / 1e6 for at in SENT_AT.findall(body)]
        failed = 0
        if self._every:
            failed = (self._seen + entries) // self._every - self._seen // self._every
            self._seen += entries
        self._took(entries - failed)
        if not failed and entries in self._plain:
            return self._plain[entries]
        results = b",".join([ACCEPTED] * (entries - failed) + [THROTTLED] * failed)
        whole = answer(b'{"FailedEntryCount":%d,"Entries":[%s]}' % (failed, results))
        if not failed:
            self._plain[entries] = whole
        return whole


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other, whatever pieces they come in."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._pieces = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's does not say that it is one

    def data_received(self, data: bytes) -> None:
        self._pieces += data
        while (end := self._pieces.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._pieces, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._pieces) < size:
                return
            reply = self._stub.reply(bytes(self._pieces[:end]), bytes(self._pieces[end + 4 : size]))
            del self._pieces[:size]
            if self._stub.delay:
                asyncio.get_running_loop().call_later(self._stub.delay, self._write, reply)
            else:
                self._write(reply)

    def _write(self, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(reply)


async def serve(port: int, stub: Stub) -> None:
    """Answer until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with await loop.create_server(lambda: Connection(stub), "127.0.0.1", port):
        await ended.wait()
    if stub.latencies:
        print(orjson.dumps(stub.latencies).decode())


def main() -> None:
    """Run until SIGTERM."""
    asked = argparse.ArgumentParser()
    asked.add_argument("port", type=int)
    asked.add_argument("counter", type=Path)
    asked.add_argument("--delay", type=float, default=0.0, help="seconds until a call is answered")
    asked.add_argument("--refuse", type=int, default=0, help="of a thousand entries, so many are throttled")
    asked.add_argument("--latency", action="store_true")
    options = asked.parse_args()
    with options.counter.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
        uvloop.run(serve(options.port, Stub(counter, options.delay, options.refuse, options.latency)))


if __name__ == "__main__":
    main()
