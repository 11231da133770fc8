"""A PutEvents endpoint that costs next to nothing: it counts entries, answers for each, and reads nothing else.

It is a process of its own, so its cost is in nobody's figure. How many entries it took stands in the first eight bytes
of a file that the harness maps; with `--latency` it prints at its end how long each order was on its way.
"""

import argparse
import asyncio
import mmap
import re
import signal
import struct
import time
from pathlib import Path
from typing import Final, cast

import orjson
import uvloop

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SENT_AT: Final = re.compile(rb'\\"at\\":(\d+)')
ACCEPTED: Final = b'{"EventId":"11710aed-b79e-4468-a20b-bb3c0c3b4860"}'
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
        """Take one call."""
        if b"DescribeEventBus" in head:
            return answer(b'{"Name":"orders"}')
        entries = body.count(b'"DetailType"')
        if self._latency:
            now = time.time()
            self.latencies += [now - int(at) / 1e6 for at in SENT_AT.findall(body)]
        failed = 0
        if self._every:
            failed = (self._seen + entries) // self._every - self._seen // self._every
            self._seen += entries
        self.taken += entries - failed
        struct.pack_into("<q", self._counter, 0, self.taken)
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
